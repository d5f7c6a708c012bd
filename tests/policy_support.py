"""For tests of policies: what a lowered predicate says about sixteen words, and policies made at random."""

import itertools
import random

from seclude import abi
from seclude.abi.prototypes import prototype
from seclude.errors import PolicyError
from seclude.policy import evaluate, parse
from seclude.policy.lowered import All, Any, Negation, Test
from seclude.policy.nodes import And, Binary, Comparison, Literal, Name, Not, Or, Range, Set, Unary

#: calls with parameters of every kind: int, unsigned, 16 bits, 64 bits (split where registers are narrow), pointers
CALLS = (
    "openat",
    "fchmodat",
    "lseek",
    "pread64",
    "socket",
    "prctl",
    "mprotect",
    "ftruncate",
    "prlimit64",
    "fallocate",
    "kill",
    "personality",
)
NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    0x7F,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
LITTLE = tuple(one.name for one in abi.ALL if one.byteorder == "little")
BIG = tuple(one.name for one in abi.ALL if one.byteorder == "big")


def holds(predicate, words):
    """What `lowered` promises of a predicate, read from its docstring."""
    match predicate:
        case All(parts=parts):
            return all(holds(part, words) for part in parts)
        case Any(parts=parts):
            return any(holds(part, words) for part in parts)
        case Negation(part=part):
            return not holds(part, words)
        case Test(field=field, mask=mask, ranges=ranges):
            assert all(low <= high for low, high in ranges)
            assert all(first[1] < second[0] for first, second in itertools.pairwise(ranges))
            value, shift = 0, 0
            for word, bits in field.parts:
                value |= (words[word] & (1 << bits) - 1) << shift
                shift += bits
            return any(low <= value & mask <= high for low, high in ranges)
    raise AssertionError(predicate)


def lowered_value(lowered, words):
    """The word that a lowered policy returns."""
    nr, token = words[0], words[1]
    for one in lowered.tokens:
        if one.token == token:
            call = one.calls.get(nr)
            if call is None:
                return next(value for low, high, value in one.others if low <= nr <= high)
            return next((clause.value for clause in call.clauses if holds(clause.condition, words)), call.otherwise)
    return lowered.badarch


def words_of(token, nr, args, ip=0):
    words = [nr & 0xFFFFFFFF, token, ip & 0xFFFFFFFF, ip >> 32]
    for value in (*args, *(0,) * (6 - len(args))):
        words += [value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF]
    return words


def both(policy, lowered, arch, nr, args, ip=0):
    """The value by rules and by the lowered form; they must be the same."""
    outcome = evaluate(policy, arch, nr, args, ip)
    value = lowered_value(lowered, words_of(abi.arch(arch).token, nr, args, ip))
    assert value == outcome.value, (arch, nr, list(map(hex, args)), hex(value), outcome)
    return value


# ── random policies ─────────────────────────────────────────────────────────────────────────────────────────────────


def random_literal(rnd, signed=True):
    value = rnd.choice(NUMBERS) if rnd.random() < 0.8 else rnd.getrandbits(rnd.choice((3, 12, 31, 40)))
    if signed and rnd.random() < 0.25:
        value = -min(value, 1 << 31) or -1
    text = hex(value) if value >= 0 and rnd.random() < 0.5 else ""
    return Literal(value, text)


def random_constant(rnd):
    kind = rnd.random()
    if kind < 0.7:
        return random_literal(rnd)
    if kind < 0.8:
        return Name(rnd.choice(("O_RDWR", "O_CREAT", "AF_UNIX", "PROT_EXEC", "AT_FDCWD")))
    if kind < 0.9:
        return Binary("|", random_literal(rnd, False), random_literal(rnd, False))
    return rnd.choice((Binary("<<", Literal(1), Literal(rnd.randrange(31))), Unary("~", random_literal(rnd, False))))


def random_parameter(rnd, names):
    return Name(rnd.choice(names), rnd.random() < 0.1)


def random_operand(rnd, names):
    name = random_parameter(rnd, names)
    kind = rnd.random()
    if kind < 0.6:
        return name
    if kind < 0.8:
        return Binary("&", name, random_constant(rnd)) if rnd.random() < 0.8 else Binary("&", random_constant(rnd), name)
    if kind < 0.9:
        return Binary("|", Binary("&", name, random_literal(rnd, False)), random_literal(rnd, False))
    return Unary("~", name) if rnd.random() < 0.5 else Binary("&", Unary("~", name), random_literal(rnd, False))


def random_condition(rnd, names, depth=2):
    kind = rnd.random()
    if depth and kind < 0.2:
        return And(tuple(random_condition(rnd, names, depth - 1) for _ in range(rnd.randrange(2, 4))))
    if depth and kind < 0.4:
        return Or(tuple(random_condition(rnd, names, depth - 1) for _ in range(rnd.randrange(2, 4))))
    if depth and kind < 0.5:
        return Not(random_condition(rnd, names, depth - 1))
    left = random_operand(rnd, names)
    if kind < 0.6:
        return left
    if kind < 0.7:
        return Comparison(left, ((rnd.choice(("in", "not in")), Set(tuple(random_constant(rnd) for _ in range(rnd.randrange(1, 4))))),))
    if kind < 0.8:
        low, high = sorted((rnd.choice(NUMBERS[:12]), rnd.choice(NUMBERS[:14])))
        if rnd.random() < 0.3:
            low = -rnd.randrange(1, 300)
        return Comparison(left, (("in", Range(Literal(low), Literal(high))),))
    op = rnd.choice(("==", "==", "!=", "<", "<=", ">", ">="))
    if kind < 0.85:
        return Comparison(random_constant(rnd), ((op, left), (rnd.choice(("<=", "!=")), random_constant(rnd))))
    return Comparison(left, ((op, random_constant(rnd)),))


def usable_names(archs, call):
    """Parameters of ``call`` that every architecture knows and that are no pointers, by name and by register, and ``ip``."""
    common: set[str] = {"ip"}
    for number, arch in enumerate(archs):
        found = prototype(arch, call)
        assert found is not None
        names = {
            name
            for p in found.parameters
            if p.kind not in ("pointer", "path", "sockaddr")
            for name in (p.name, *p.aliases, f"arg{p.index}")
        }
        common = names | {"ip"} if not number else common & (names | {"ip"})
    return sorted(common)


def random_policy(rnd: random.Random, archs):
    """A policy that is well formed, with conditions on ``CALLS``; faulty draws (literals too wide) are drawn again."""
    from seclude.policy.printer import print_condition

    actions = ("allow", "log", "kill", "errno(EPERM)", "errno(7)", "trap(9)", "kill_thread", "notify", "trace(3)")
    lines = [f"default {rnd.choice(actions)}", f"arch {', '.join(archs)}"]
    words = [word for word in ("unknown", "negative", "badarch", "x32") if rnd.random() < 0.3 and not (word == "x32" and "x32" in archs)]
    lines += [f"{word} {rnd.choice(actions)}" for word in words]
    lines.append(f"{rnd.choice(actions)} {rnd.choice(('@base', '@ipc', '@network-io', 'read'))}")
    for _ in range(rnd.randrange(1, 6)):
        call = rnd.choice(CALLS)
        names = usable_names(archs, call)
        for _ in range(8):
            where = f"on {rnd.choice(archs)}: " if rnd.random() < 0.2 else ""
            line = f"{where}{rnd.choice(actions)} {call}({print_condition(random_condition(rnd, names))})"
            try:
                parse("\n".join(["default kill", lines[1], line]))
            except PolicyError:
                continue
            lines.append(line)
            break
    return parse("\n".join(lines) + "\n")


def random_arguments(rnd: random.Random):
    """Six registers: mostly around the numbers that conditions use, also with rubbish in their high halves."""
    args = []
    for _ in range(6):
        value = rnd.choice(NUMBERS) + rnd.choice((0, 0, 1, -1)) if rnd.random() < 0.8 else rnd.getrandbits(64)
        if rnd.random() < 0.2:
            value = -rnd.randrange(1, 300)
        if rnd.random() < 0.3:
            value = (value & 0xFFFFFFFF) | rnd.getrandbits(32) << 32
        args.append(value % (1 << 64))
    return args
