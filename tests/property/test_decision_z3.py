"""Reading programs, judged by an SMT solver: over all 2**512 calls, program and decision never differ."""

import random

import pytest
import z3

from decision_support import X86_64, random_lowered, random_program
from seclude.compiler import compile_decision
from seclude.decision import from_policy
from seclude.decision.nodes import END, LEVEL_SHIFT, LEVEL_WORD
from seclude.decision.read import from_instructions
from seclude.errors import BudgetError

WORDS = [z3.BitVec(f"w{index}", 32) for index in range(16)]


def number(value):
    return z3.BitVecVal(value, 32)


OPERATIONS = {
    0x00: lambda a, b: a + b,
    0x10: lambda a, b: a - b,
    0x20: lambda a, b: a * b,
    0x30: z3.UDiv,
    0x40: lambda a, b: a | b,
    0x50: lambda a, b: a & b,
    0x60: lambda a, b: a << (b & 31),
    0x70: lambda a, b: z3.LShR(a, b & 31),
    0xA0: lambda a, b: a ^ b,
}
TESTS = {0x10: lambda a, b: a == b, 0x20: z3.UGT, 0x30: z3.UGE, 0x40: lambda a, b: a & b != 0}


def meaning(instructions, byteorder):
    """The program's RET word as a formula; jumps go forward, so each instruction is met once, with the contents of all ways to it merged."""
    arrivals = {0: [(z3.BoolVal(True), (number(0),) * 18)]}
    ends = []

    def go(pc, condition, registers):
        arrivals.setdefault(pc, []).append((condition, registers))

    for pc, (code, jt, jf, k) in enumerate(instructions):
        if pc not in arrivals:
            continue
        here = arrivals[pc]
        condition = z3.simplify(z3.Or([one for one, _ in here]))
        registers = list(here[-1][1])
        for one, other in reversed(here[:-1]):
            registers = [a if a is b else z3.If(one, a, b) for a, b in zip(other, registers, strict=True)]
        a, x, kind = registers[16], registers[17], code & 7
        operand = x if code & 8 else number(k)
        if kind == 6:
            ends.append((condition, a if code & 0x18 == 0x10 else number(k)))
            continue
        if kind == 5:
            if code & 0xF0 == 0:
                go(pc + 1 + k, condition, registers)
            else:
                taken = TESTS[code & 0xF0](a, operand)
                go(pc + 1 + jt, z3.And(condition, taken), registers)
                go(pc + 1 + jf, z3.And(condition, z3.Not(taken)), registers)
            continue
        if kind in (0, 1):
            mode = code & 0xE0
            index = k // 4 ^ (1 if byteorder == "big" and k >= 8 else 0)
            value = WORDS[index] if mode == 0x20 else registers[k] if mode == 0x60 else number(64 if mode == 0x80 else k)
            registers[16 + kind] = value
        elif kind in (2, 3):
            registers[k] = a if kind == 2 else x
        elif kind == 7:
            registers[17 if code == 0x07 else 16] = a if code == 0x07 else x
        elif code == 0x84:
            registers[16] = -a
        else:
            if code == 0x3C:
                ends.append((z3.And(condition, x == 0), number(0)))
                condition = z3.And(condition, x != 0)
            registers[16] = OPERATIONS[code & 0xF0](a, operand)
        go(pc + 1, condition, registers)
    out = number(0)
    for condition, value in ends:
        out = z3.If(condition, value, out)
    action, data = out & 0xFFFF0000, out & 0xFFFF
    kept = z3.If(
        action == 0x50000,
        z3.If(z3.UGT(data, 4095), number(4095), data),
        z3.If(z3.Or(action == 0x30000, action == 0x7FF00000), data, number(0)),
    )
    return action | kept


def formula(node, memo):
    if node.level == END:
        return number(node.value)
    found = memo.get(node)
    if found is None:
        shift = LEVEL_SHIFT[node.level]
        digit = z3.Extract(shift + 3, shift, WORDS[LEVEL_WORD[node.level]])
        found = formula(node.kids[15], memo)
        for value in range(14, -1, -1):
            if node.kids[value] is not node.kids[value + 1] or value == 14:
                found = z3.If(z3.ULE(digit, value), formula(node.kids[value], memo), found)
        memo[node] = found
    return found


def never_differ(instructions, byteorder, decision):
    solver = z3.Solver()
    solver.set("timeout", 20_000)
    solver.add(meaning(instructions, byteorder) != formula(decision.root, {}))
    answer = solver.check()
    assert answer != z3.sat, solver.model()
    return answer == z3.unsat


@pytest.mark.slow
def test_random_programs():
    proven = 0
    for seed in range(90):
        rnd = random.Random(seed)
        byteorder = rnd.choice(("little", "big"))
        instructions = random_program(rnd, rnd.randrange(4, 40), words=rnd.choice((2, 4, 16)), heavy=seed % 5 == 0)
        try:
            decision = from_instructions(instructions, byteorder)
        except BudgetError:
            continue
        if len(decision) < 400:
            proven += never_differ(instructions, byteorder, decision)
    assert proven > 60


@pytest.mark.slow
def test_compiled_policies():
    for seed in range(6):
        low = random_lowered(random.Random(seed), tokens=(X86_64,), calls=4, filtered=0.6)
        decision = from_policy(low)
        assert never_differ(compile_decision(decision, "little").instructions, "little", decision)
