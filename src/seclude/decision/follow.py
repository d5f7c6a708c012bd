"""The first two passes of reading a program: what is live, and which contents of the registers occur where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.decision.nodes import END, FALSE, TRUE, Node
from seclude.decision.ops import ite
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.value import result
from seclude.decision.vectors import ARITHMETIC, Masked, Value, bits_of, divide, equal, greater_or_equal, negate, overlap
from seclude.decision.words import FULL, word_in
from seclude.errors import BudgetError, FilterError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STATE_BUDGET", "RunTest", "State", "Step", "Target", "follow"]

#: how many (instruction, contents) pairs are followed before `BudgetError`
STATE_BUDGET = 200_000
_SECCOMP_DATA_SIZE = 64
_X = 1 << 16
_A = 1 << 17

#: what is live, in order: scratch words 0..15, X, A; dead ones are left out
State = tuple[tuple[int, Value], ...]
#: runs of a test on architecture or number: axis, starts, and at each start whether it holds
RunTest = tuple[int, tuple[int, ...], tuple[bool, ...]]

# Steps: what one instruction does in one state, for the third pass.
#   Node                                  a return
#   (pc, state)                           go on there
#   (test, (pc, state), (pc, state))      go on there or there; a test is a Node or a RunTest
Target = tuple[int, State]
Step = Node | Target | tuple[Node | RunTest, Target | Node, Target]


def _liveness(instructions: Sequence[tuple[int, int, int, int]]) -> list[int]:
    """For each instruction, the set of registers (bits: scratch words, `_X`, `_A`) whose contents matter when it starts."""
    size = len(instructions)
    live = [0] * size
    for pc in range(size - 1, -1, -1):
        code, jt, jf, k = instructions[pc]
        kind = code & 7
        if kind == 5:
            if code & 0xF0 == 0:
                live[pc] = live[pc + 1 + k]
            else:
                live[pc] = live[pc + 1 + jt] | live[pc + 1 + jf] | _A | (_X if code & 8 else 0)
        elif kind == 6:
            live[pc] = _A if code & 0x18 == 0x10 else 0
        else:
            after = live[pc + 1]
            if kind == 0:
                live[pc] = after & ~_A | (1 << k if code == 0x60 else 0)
            elif kind == 1:
                live[pc] = after & ~_X | (1 << k if code == 0x61 else 0)
            elif kind == 2:
                live[pc] = after & ~(1 << k) | _A
            elif kind == 3:
                live[pc] = after & ~(1 << k) | _X
            elif kind == 4:
                # A division by X ends the program where X is 0: it matters even if its result does not.
                live[pc] = after | _A | (_X if code & 8 and code != 0x84 else 0) if after & _A or code == 0x3C else after
            elif code == 0x07:
                live[pc] = after & ~_X | _A if after & _X else after
            else:
                live[pc] = after & ~_A | _X if after & _A else after
    return live


def _word_at(offset: int, byteorder: str) -> int:
    """The word number that ``LD [offset]`` loads from struct seccomp_data."""
    word = offset >> 2
    return word ^ 1 if byteorder == "big" and word > 1 else word


def follow(instructions: Sequence[tuple[int, int, int, int]], byteorder: str) -> list[dict[State, Step]]:
    """For each instruction, the states that reach it and what it does in each. Raises `BudgetError`, and `FilterError` on an unknown load."""
    live = _liveness(instructions)
    size = len(instructions)
    steps: list[dict[State, Step]] = [{} for _ in range(size)]

    def enter(pc: int, registers: dict[int, Value]) -> Target:
        wanted = live[pc]
        if wanted == _A:
            state: State = ((17, registers.get(17, 0)),)
        elif not wanted:
            state = ()
        else:
            state = tuple((register, registers.get(register, 0)) for register in range(18) if wanted >> register & 1)
        if state not in steps[pc]:
            steps[pc][state] = FALSE
        return pc, state

    enter(0, {})
    total = 0
    for pc in range(size):
        here = steps[pc]
        total += len(here)
        if total > STATE_BUDGET:
            raise BudgetError(
                f"this filter is too complex: more than {STATE_BUDGET} different register contents up to instruction {pc}",
                "typical cause: scratch words that remember the outcome of many independent tests",
            )
        code, jt, jf, k = instructions[pc]
        kind = code & 7
        for state in list(here):
            if kind == 6:
                here[state] = _returned(dict(state).get(17, 0)) if code & 0x18 == 0x10 else result(k)
                continue
            registers = dict(state)
            if kind == 5:
                if code & 0xF0 == 0:
                    here[state] = enter(pc + 1 + k, registers)
                    continue
                a = registers[17]
                test = _test(code & 0xF0, a, registers[16] if code & 8 else k)
                if test is TRUE:
                    here[state] = enter(pc + 1 + jt, registers)
                elif test is FALSE:
                    here[state] = enter(pc + 1 + jf, registers)
                else:
                    here[state] = (test, enter(pc + 1 + jt, registers), enter(pc + 1 + jf, registers))
                continue
            guard: Node | RunTest | None = None
            if kind == 0:
                registers[17] = _loaded(code, k, registers, byteorder)
            elif kind == 1:
                registers[16] = _loaded(code, k, registers, byteorder)
            elif kind == 2:
                registers[k] = registers.get(17, 0)
            elif kind == 3:
                registers[k] = registers.get(16, 0)
            elif kind == 7:
                if code == 0x07:
                    registers[16] = registers.get(17, 0)
                else:
                    registers[17] = registers.get(16, 0)
            elif 17 in registers:
                if code == 0x84:
                    registers[17] = negate(registers[17])
                else:
                    operand = registers[16] if code & 8 else k
                    if code == 0x3C:
                        guard = _test(0x10, operand, 0)
                    if guard is not TRUE:
                        operation = divide if code & 0xF0 == 0x30 else ARITHMETIC[code & 0xF0]
                        registers[17] = operation(registers[17], operand)
            if guard is None or guard is FALSE:
                here[state] = enter(pc + 1, registers)
            elif guard is TRUE:
                here[state] = result(0)
            else:
                here[state] = (guard, result(0), enter(pc + 1, registers))
    return steps


def _loaded(code: int, k: int, registers: dict[int, Value], byteorder: str) -> Value:
    mode = code & 0xE0
    if mode == 0x20:
        return Masked(_word_at(k, byteorder), FULL)
    if mode == 0x60:
        return registers.get(k, 0)
    if mode == 0x80:
        return _SECCOMP_DATA_SIZE
    if mode == 0x00:
        return k
    raise FilterError(f"instruction code {code:#x} is not one that seccomp takes")


def _test(operation: int, a: Value, b: Value) -> Node | RunTest:
    """Where the jump is taken."""
    if isinstance(b, int):
        if isinstance(a, int):
            taken = (a == b, a > b, a >= b, a & b != 0)[(operation >> 4) - 1]
            return TRUE if taken else FALSE
        if isinstance(a, Masked):
            return _word_test(operation, a.word, a.mask, b)
    if operation == 0x10:
        return equal(a, b)
    if operation == 0x20:
        return ite(greater_or_equal(b, a), FALSE, TRUE)
    if operation == 0x30:
        return greater_or_equal(a, b)
    return overlap(a, b)


def _word_test(operation: int, word: int, mask: int, k: int) -> Node | RunTest:
    if operation == 0x40:
        mask &= k
        if not mask:
            return FALSE
        ranges: tuple[tuple[int, int], ...] = ((1, FULL),)
    elif operation == 0x10:
        ranges = ((k, k),)
    else:
        low = k + 1 if operation == 0x20 else k
        if low > FULL:
            return FALSE
        ranges = ((low, FULL),)
    if word <= 1:
        if mask == FULL and operation != 0x40:
            return _run_test(word, *ranges[0])
        node = word_in(word, mask, ranges)
        if node.level == END:
            return node
        try:
            cut = runs(node, word, 64)
        except TooManyRunsError:
            return node
        return 1 - word, cut.starts, tuple(kid is TRUE for kid in cut.kids)
    return word_in(word, mask, ranges)


def _run_test(word: int, low: int, high: int) -> Node | RunTest:
    axis = 1 - word
    if low == 0:
        return TRUE if high == FULL else (axis, (0, high + 1), (True, False))
    if high == FULL:
        return axis, (0, low), (False, True)
    return axis, (0, low, high + 1), (False, True, False)


def _returned(a: Value) -> Node:
    """``RET A``: the value as a diagram of RET words."""
    if isinstance(a, int):
        return result(a)
    return _choose(bits_of(a), 31, 0)


def _choose(bits: tuple[Node, ...], position: int, value: int) -> Node:
    # Only data that the kernel looks at is spelled out: the action decides how many of the low bits matter.
    def walk(position: int, value: int) -> Node:
        if position < 0:
            return result(value)
        if position == 15 and result(value) is result(value | 1) and value & 0xFFFF0000 != 0x00050000:
            return result(value)
        bit = bits[position]
        if bit is TRUE:
            return walk(position - 1, value | 1 << position)
        if bit is FALSE:
            return walk(position - 1, value)
        return ite(bit, walk(position - 1, value | 1 << position), walk(position - 1, value))

    return walk(position, value)
