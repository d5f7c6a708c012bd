"""Against an independent compiler, libseccomp, where its Python binding is installed: the same rules, one decision.

A disagreement is judged by the definition of the rules and by the machine, each on a call that shows it; ours must be right every time.
"""

import json
import random

import pytest

from decision_support import outcome
from seclude.bpf import Program
from seclude.bpf.machine import run as machine
from seclude.compiler import compile as build
from seclude.decision import from_program
from seclude.decision.nodes import END, FALSE, LEVEL_SHIFT, LEVEL_WORD, boolean
from seclude.decision.ops import apply
from seclude.policy.lowered import All, Clause, Field, Lowered, LoweredCall, LoweredToken, Negation
from seclude.policy.lowered import Test as Asks
from support import need_system_module, run

X86_64, ALLOW, EPERM, ALL = 0xC000003E, 0x7FFF0000, 0x00050001, (1 << 64) - 1
VALUES = (0, 1, 2, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (1 << 32) + 7, 1 << 63, ALL - 1)

# A request a line: [[number, [[argument, operator, value, mask], ...]], ...]; the reply is the filter in hexadecimal, or "" where it is refused.
BUILDER = r"""
import json, os, sys, seccomp
for line in sys.stdin:
    request = json.loads(line)
    filter = seccomp.SyscallFilter(seccomp.ERRNO(1))
    filter.set_attr(seccomp.Attr.CTL_OPTIMIZE, request["level"])
    try:
        for number, conditions in request["rules"]:
            args = [seccomp.Arg(i, getattr(seccomp, op), *([mask, value] if op == "MASKED_EQ" else [value])) for i, op, value, mask in conditions]
            filter.add_rule(seccomp.ALLOW, number, *args)
        read, write = os.pipe()
        with os.fdopen(write, "wb") as out:
            filter.export_bpf(out)
        with os.fdopen(read, "rb") as back:
            print(back.read().hex())
    except (RuntimeError, ValueError, OSError):
        print("")
"""


def random_rules(rnd):
    rules = []
    for number in rnd.sample(range(100), 3):
        for _ in range(rnd.randrange(1, 4)):
            arguments = rnd.sample(range(6), rnd.choice((1, 1, 2, 3, 6)))
            conditions = []
            for index in sorted(arguments):
                op = rnd.choice(("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"))
                mask = rnd.choice((0xFF, 0xFFFFFFFF, 0x7E020000, ALL, 0xFF00000000))
                value = rnd.choice(VALUES) & (mask if op == "MASKED_EQ" else ALL)
                conditions.append([index, op, value, mask])
            rules.append([number, conditions])
    return rules


def condition(index, op, value, mask):
    register = Field(((4 + 2 * index, 32), (5 + 2 * index, 32)))

    def within(low, high):
        return Asks(register, ALL, ((low, high),) if low <= high else ())

    match op:
        case "EQ":
            return within(value, value)
        case "NE":
            return Negation(within(value, value))
        case "LT":
            return within(0, value - 1)
        case "LE":
            return within(0, value)
        case "GT":
            return within(value + 1, ALL)
        case "GE":
            return within(value, ALL)
    return Asks(register, mask, ((value, value),))


def lowered(rules):
    calls: dict[int, list[Clause]] = {}
    for number, conditions in rules:
        clause = Clause(All(tuple(condition(*one) for one in conditions)), ALLOW, 0, True, "x", None)
        calls.setdefault(number, []).append(clause)
    table = {number: LoweredCall(str(number), tuple(clauses), EPERM) for number, clauses in calls.items()}
    return Lowered("little", (LoweredToken(X86_64, "x86_64", table, ((0, 0xFFFFFFFF, EPERM),)),), 0)


def theirs(requests):
    python = need_system_module("seccomp", "python3-seccomp")
    done = run([python, "-c", BUILDER], stdin="".join(json.dumps(one) + "\n" for one in requests))
    assert done.status == 0, done
    return [Program.from_bytes(bytes.fromhex(line), "little") if line else None for line in done.stdout.splitlines()]


def disagreement(number, ours, other):
    """A call that the two answer differently, or None."""
    apart = apply(
        lambda x, y: FALSE if x is y else boolean(True) if x.level == END == y.level else None,
        ours.of_call(X86_64, number),
        other.of_call(X86_64, number),
    )
    if apart is FALSE:
        return None
    words = [0] * 16
    words[0], words[1] = number, X86_64
    while apart.level != END:
        digit = next(i for i, kid in enumerate(apart.kids) if kid is not FALSE)
        words[LEVEL_WORD[apart.level]] |= digit << LEVEL_SHIFT[apart.level]
        apart = apart.kids[digit]
    return words


@pytest.mark.slow
@pytest.mark.parametrize("level", [1, 2])
def test_random_rules(level):
    rnd = random.Random(level)
    requests = [{"level": level, "rules": random_rules(rnd)} for _ in range(60)]
    same = 0
    for request, program in zip(requests, theirs(requests), strict=True):
        low = lowered(request["rules"])
        ours = build(low)
        if program is None:
            continue
        other = from_program(program)
        for number in low.tokens[0].calls:
            words = disagreement(number, ours.decision, other)
            if words is None:
                same += 1
                continue
            # One of the two is wrong, and the definition says which.
            right = outcome(low, words)
            assert machine(ours.program.instructions, words, "little")[0] == right
            assert machine(program.instructions, words, "little")[0] != right
    assert same > 75


def test_a_value_that_one_rule_turns_away_is_offered_to_the_next():
    """Two rules whose 64-bit compares share a high word: what fails the first must still be compared with the second."""
    rules = [[1, [[0, "GT", 1 << 32, ALL], [1, "EQ", 5, ALL]]], [1, [[0, "GE", (1 << 32) + 7, ALL], [2, "EQ", 6, ALL]]]]
    low = lowered(rules)
    built = build(low)
    for arg0 in ((1 << 32) + 7, (1 << 32) + 8, 2 << 32):
        for second, third in ((5, 0), (0, 6), (5, 6), (0, 0)):
            words = [1, X86_64, 0, 0, arg0 & 0xFFFFFFFF, arg0 >> 32, second, 0, third, 0, *[0] * 6]
            want = ALLOW if second == 5 or third == 6 else EPERM
            assert machine(built.program.instructions, words, "little")[0] == outcome(low, words) == want


# Found by `test_random_rules`: rules of one call that a compiler which shares tests between them can join wrongly. Each has a call that shows it.
EXAMPLES = {
    "two rules on the upper half of one argument, each with conditions of its own": (
        [
            [[0, "LE", 1, ALL], [2, "GE", 1 << 31, ALL], [3, "LT", (1 << 32) + 1, ALL]],
            [[0, "GT", 1 << 63, ALL], [5, "GT", (1 << 31) - 1, ALL]],
        ],
        (0, 0, 1 << 31, (1 << 32) + (1 << 31) + 1, 0, 1 << 31),
        EPERM,
    ),
    "two bounds of one argument, the lower one of which the other rule's conditions do not reach": (
        [[[1, "GT", (1 << 32) - 1, ALL], [3, "GE", 0, ALL]], [[3, "LE", 1 << 31, ALL]], [[3, "LE", (1 << 32) + 1, ALL]]],
        (0, 0, 0, (1 << 31) + 1, 0, 0),
        ALLOW,
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_a_proof_is_for(name):
    ways, arguments, want = EXAMPLES[name]
    low = lowered([[7, conditions] for conditions in ways])
    words = [7, X86_64, 0, 0, *(half for one in arguments for half in (one & 0xFFFFFFFF, one >> 32))]
    built = build(low)
    assert machine(built.program.instructions, words, "little")[0] == outcome(low, words) == built.decision.value(words) == want
