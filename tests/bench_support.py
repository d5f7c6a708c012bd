"""The benchmark policies, and a judge of filters that shares no code with the package."""

import json
import random
import struct
from pathlib import Path

from seclude import abi
from seclude.policy.lowered import All, Clause, Field, Lowered, LoweredCall, LoweredToken, Negation
from seclude.policy.lowered import Test as Asks

DATA = Path(__file__).parent / "compiler" / "data"
P300 = json.loads((DATA / "p300.json").read_text())
DOCKER = json.loads((DATA / "docker.json").read_text())
X86_64 = 0xC000003E
ALLOW, KILL_THREAD, EPERM = 0x7FFF0000, 0, 0x00050001
ALL = (1 << 64) - 1


def load(raw):
    return [struct.unpack_from("<HBBI", raw, i) for i in range(0, len(raw), 8)]


def run(program, nr, arch, args):
    """A classic-BPF machine: ``(value, steps)``."""
    words = struct.unpack("<16I", struct.pack("<IIQ6Q", nr & 0xFFFFFFFF, arch, 0, *(arg & ALL for arg in args)))
    pc = a = steps = 0
    while True:
        code, jt, jf, k = program[pc]
        pc += 1
        steps += 1
        if code == 0x20:
            a = words[k // 4]
        elif code == 0x15:
            pc += jt if a == k else jf
        elif code == 0x25:
            pc += jt if a > k else jf
        elif code == 0x35:
            pc += jt if a >= k else jf
        elif code == 0x45:
            pc += jt if a & k else jf
        elif code == 0x54:
            a &= k
        elif code == 0x05:
            pc += k
        elif code == 0x06:
            return k, steps
        else:
            raise ValueError(hex(code))


def _holds(condition, args):
    index, op, value, *mask = condition
    arg = args[index]
    return {
        "eq": arg == value,
        "lt": arg < value,
        "le": arg <= value,
        "gt": arg > value,
        "ge": arg >= value,
        "ne": arg != value,
        "meq": (arg & mask[0]) == value if mask else None,
    }[op]


def p300_text(typed=False):
    """P300 in the policy language; untyped, it compares raw 64-bit registers."""

    def spelled(condition):
        index, op, value, *mask = condition
        arg = f"arg{index}" if typed else f"arg{index}:u64"
        if op == "meq":
            return f"{arg} & {mask[0] & 0xFFFFFFFF if typed else mask[0]:#x} == {value:#x}"
        if typed and op != "eq":  # unsigned, whatever the C type
            return {"lt": f"{arg} in 0..{value - 1:#x}", "le": f"{arg} in 0..{value:#x}", "gt": f"{arg} in {value + 1:#x}..0xffffffff"}[op]
        return f"{arg} {({'eq': '==', 'lt': '<', 'le': '<=', 'gt': '>', 'ge': '>=', 'ne': '!='})[op]} {value:#x}"

    lines = ["default kill_process", "arch x86_64", *(f"allow {name}" for name in P300["allow"])]
    for name, rules in P300["args"].items():
        lines.append(f"allow {name}(" + " or ".join(" and ".join(f"({spelled(one)})" for one in rule) for rule in rules) + ")")
    return "\n".join(lines) + "\n"


def p300_measured(program, typed=False):
    """``(wrong verdicts, profile mean, uncached mean)`` of executed instructions."""
    table, rnd, wrong = P300["numbers"], random.Random(1), 0
    for name, rules in P300["args"].items():
        edges = {(c[2] + d) & ALL for r in rules for c in r for d in (-1, 0, 1)} | {
            c[3] & 0xFFFFFFFF for r in rules for c in r if len(c) > 3
        }
        values = sorted(edges | {0, 1, 1 << 32, (1 << 32) + 1, ALL})
        if typed:
            rules = [[[*c[:3], *(x & 0xFFFFFFFF for x in c[3:])] for c in r] for r in rules]
        for _ in range(300):
            args = [rnd.choice(values) if rnd.random() < 0.8 else rnd.getrandbits(64) for _ in range(6)]
            seen = [arg & 0xFFFFFFFF for arg in args] if typed else args
            if typed and name in ("mmap", "mprotect"):  # prot is an unsigned long there
                continue
            want = any(all(_holds(c, seen) for c in r) for r in rules)
            wrong += (run(program, table[name], X86_64, args)[0] == ALLOW) != want
    allowed = set(P300["allow"])
    for name, nr in table.items():
        if name not in P300["args"]:
            wrong += (run(program, nr, X86_64, [rnd.getrandbits(64) for _ in range(6)])[0] == ALLOW) != (name in allowed)
            wrong += run(program, nr | 0x40000000, X86_64, [0] * 6)[0] == ALLOW
    cost = {name: run(program, table[name], X86_64, [0] * 6)[1] for name in allowed}
    for name, samples in P300["samples"].items():
        cost[name] = sum(run(program, table[name], X86_64, s + [0] * (6 - len(s)))[1] for s in samples) / len(samples)
    profile = P300["profile"]
    uncached = {name: share for name, share in profile.items() if name in P300["args"]}

    def mean(shares):
        return sum(cost[name] * share for name, share in shares.items()) / sum(shares.values())

    return wrong, mean(profile), mean(uncached)


def docker():
    """Docker's profile as it was resolved: raw 64-bit compares, EPERM for everything else, KILL_THREAD for other tokens."""
    archs = [abi.arch(name) for name in DOCKER["architectures"]]
    tokens: dict[int, dict[int, tuple[str, list[Clause]]]] = {}
    for arch in archs:
        calls = tokens.setdefault(arch.token, {})
        for action, name, conditions in DOCKER["rules"]:
            number = arch.number(name)
            if number is not None:
                calls.setdefault(number, (name, []))[1].append(_clause(action, conditions))
    lowered = [
        LoweredToken(
            token, "x", {nr: LoweredCall(name, tuple(clauses), EPERM) for nr, (name, clauses) in calls.items()}, ((0, 0xFFFFFFFF, EPERM),)
        )
        for token, calls in tokens.items()
    ]
    return Lowered("little", tuple(lowered), KILL_THREAD)


def _clause(action, conditions):
    parts: list[Asks | Negation] = []
    for index, op, value, *more in conditions:
        register = Field(((4 + 2 * index, 32), (5 + 2 * index, 32)))
        match op.removeprefix("SCMP_CMP_"):
            case "EQ":
                parts.append(Asks(register, ALL, ((value, value),)))
            case "NE":
                parts.append(Negation(Asks(register, ALL, ((value, value),))))
            case "MASKED_EQ":
                parts.append(Asks(register, value, ((more[0], more[0]),)))
            case "LT":
                parts.append(Asks(register, ALL, ((0, value - 1),)))
            case "GT":
                parts.append(Asks(register, ALL, ((value + 1, ALL),)))
            case other:
                raise ValueError(other)
    value = ALLOW if action == "ALLOW" else 0x00050000 | int(action.removeprefix("ERRNO(").removesuffix(")"))
    return Clause(All(tuple(parts)), value, 0, True, "docker", None)


def docker_mean(program, decision):
    """Executed instructions, mean over the x86_64 numbers that it allows at least in part, all arguments zero."""
    steps = []
    for number in range(1024):
        node = decision.of_call(X86_64, number)
        if node.kids or node.value == ALLOW:
            steps.append(run(program, number, X86_64, [0] * 6)[1])
    return sum(steps) / len(steps)


def one_argument_each(calls, values):
    """``calls`` calls, each allowed for ``values`` values of its own of one raw register."""
    register = Field(((4, 32), (5, 32)))
    table = {}
    for index in range(calls):
        points = sorted({1000 + index * 17 + 977 * v * v for v in range(values)})
        clause = Clause(Asks(register, ALL, tuple((p, p) for p in points)), ALLOW, index, True, "x", None)
        table[index * 3] = LoweredCall(f"call{index}", (clause,), EPERM)
    return Lowered("little", (LoweredToken(X86_64, "x86_64", table, ((0, 0xFFFFFFFF, EPERM),)),), KILL_THREAD)
