"""Programs read into decisions: exact symbolic execution of everything that the kernel's checks accept.

Classic BPF jumps forward only, so the program counter orders the work. Three passes:

1. liveness, backwards: which of A, X and the scratch words an instruction's successors still read;
2. states, forwards: at each instruction, the distinct symbolic contents of what is live. Paths that meet with equal
   contents are one state, so a chain of diamonds costs its length and not its number of paths;
3. meanings, backwards: each state's diagram, made once from those of its successors.

While tests look at whole architectures and numbers, as compilers' output does, the third pass cuts those two axes into
runs (`Axis`) and keeps diagrams for what lies below; a program that looks at low bits of a number is read again with
diagrams throughout. The result is the same canonical diagram.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from seclude.decision.nodes import END, FALSE, TRUE, Node, budget
from seclude.decision.ops import ite
from seclude.decision.parts import RUN_LIMIT, TooManyRunsError, runs
from seclude.decision.value import Decision, decision_of, result
from seclude.decision.vectors import ARITHMETIC, Masked, Value, bits_of, divide, equal, greater_or_equal, negate, overlap
from seclude.decision.words import FULL, from_runs, word_in
from seclude.errors import BudgetError, FilterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["STATE_BUDGET", "Axis", "Meaning", "Reading", "from_instructions", "from_program", "read"]

#: how many (instruction, contents) pairs are followed before `BudgetError`
STATE_BUDGET = 200_000
_SECCOMP_DATA_SIZE = 64
#: longer lists of runs are not looked up among those that exist: chains of thousands of tests make each only once
_SHARED_RUNS = 300
_X = 1 << 16
_A = 1 << 17

#: what is live, in order: scratch words 0..15, X, A; dead ones are left out
State = tuple[tuple[int, Value], ...]
#: runs of a test on architecture or number: axis, starts, and at each start whether it holds
RunTest = tuple[int, tuple[int, ...], tuple[bool, ...]]


def from_program(program: object) -> Decision:
    """The decision of a `seclude.bpf.Program`. Raises `FilterError` (not a seccomp filter) and `BudgetError`."""
    from seclude.bpf import check

    check(program)  # type: ignore[arg-type]
    return from_instructions(program.instructions, program.byteorder)  # type: ignore[attr-defined]


def from_instructions(instructions: Sequence[tuple[int, int, int, int]], byteorder: str) -> Decision:
    """The decision of instructions that the kernel would accept; words lie in memory as ``byteorder`` says."""
    return read(instructions, byteorder).decision


class Reading:
    """A program read. ``meanings[pc]`` holds what the program means from there on, once for each register content that occurs."""

    __slots__ = ("decision", "meanings")

    def __init__(self, decision: Decision, meanings: Sequence[Iterable[Meaning]]) -> None:
        self.decision = decision
        self.meanings = meanings


def read(instructions: Sequence[tuple[int, int, int, int]], byteorder: str) -> Reading:
    """As `from_instructions`, with the meaning of each instruction."""
    with budget("this filter"):
        steps = _follow(instructions, byteorder)
        third: _Runs | _Diagrams = _Runs(steps)
        try:
            root = third.meaning()
        except TooManyRunsError:
            third = _Diagrams(steps)
            root = third.meaning()
        return Reading(decision_of(root), [here.values() for here in third.meanings])


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


def _follow(instructions: Sequence[tuple[int, int, int, int]], byteorder: str) -> list[dict[State, Step]]:
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


class Axis:
    """A meaning that still depends on the architecture (``axis`` 0) or the number (1): runs of meanings of later axes."""

    __slots__ = ("axis", "kids", "starts")

    def __init__(self, axis: int, starts: tuple[int, ...], kids: tuple[Meaning, ...]) -> None:
        self.axis = axis
        self.starts = starts
        self.kids = kids


Meaning = Axis | Node


class _Runs:
    """The third pass, with the first two axes as runs. Raises `TooManyRunsError` where that does not pay."""

    def __init__(self, steps: list[dict[State, Step]]) -> None:
        self.steps = steps
        self.meanings: list[dict[State, Meaning]] = [{} for _ in steps]
        self.known: dict[tuple[int, tuple[int, ...], tuple[Meaning, ...]], Axis] = {}
        self.chosen: dict[tuple[Node | RunTest, Meaning, Meaning], Meaning] = {}

    def meaning(self) -> Node:
        meanings = self.meanings

        def at(target: Target | Node) -> Meaning:
            return target if isinstance(target, Node) else meanings[target[0]][target[1]]

        for pc in range(len(self.steps) - 1, -1, -1):
            for state, step in self.steps[pc].items():
                if isinstance(step, Node) or len(step) == 2:
                    meanings[pc][state] = at(step)
                else:
                    test, then, other = step
                    meanings[pc][state] = self.choose(test, at(then), at(other))
        return self.node(next(iter(meanings[0].values())))

    def node(self, meaning: Meaning) -> Node:
        if isinstance(meaning, Node):
            return meaning
        return from_runs(1 - meaning.axis, meaning.starts, [self.node(kid) for kid in meaning.kids])

    def axis(self, axis: int, starts: list[int], kids: list[Meaning]) -> Meaning:
        if len(kids) == 1:
            return kids[0]
        if len(kids) > RUN_LIMIT:
            raise TooManyRunsError
        key = (axis, tuple(starts), tuple(kids))
        if len(kids) > _SHARED_RUNS:
            return Axis(*key)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = Axis(*key)
        return found

    def choose(self, test: Node | RunTest, then: Meaning, other: Meaning) -> Meaning:
        if then is other:
            return then
        key = (test, then, other)
        found = self.chosen.get(key)
        if found is None:
            found = self.chosen[key] = self._choose(test, then, other)
        return found

    def _choose(self, test: Node | RunTest, then: Meaning, other: Meaning) -> Meaning:
        first = min(then.axis if isinstance(then, Axis) else 2, other.axis if isinstance(other, Axis) else 2)
        if isinstance(test, Node):
            if test is TRUE or test is FALSE:
                return then if test is TRUE else other
            if test.level < 16:
                raise TooManyRunsError
            if first == 2:
                assert isinstance(then, Node)
                assert isinstance(other, Node)
                return ite(test, then, other)
        elif test[0] <= first:
            return self.splice(test, then, other)
        # The test asks about a later axis than the meanings do: it is asked inside each of their runs.
        starts: list[int] = []
        kids: list[Meaning] = []
        edges = sorted({*_edges(then, first), *_edges(other, first)})
        for start in edges:
            kid = self.choose(test, _within(then, first, start), _within(other, first, start))
            if not kids or kids[-1] is not kid:
                starts.append(start)
                kids.append(kid)
        return self.axis(first, starts, kids)

    def splice(self, test: RunTest, then: Meaning, other: Meaning) -> Meaning:
        axis, bounds, flags = test
        starts: list[int] = []
        kids: list[Meaning] = []
        for index, (start, flag) in enumerate(zip(bounds, flags, strict=True)):
            source = then if flag else other
            if isinstance(source, Axis) and source.axis == axis:
                low = bisect_right(source.starts, start) - 1
                high = bisect_left(source.starts, bounds[index + 1]) if index + 1 < len(bounds) else len(source.starts)
                new_starts = [start, *source.starts[low + 1 : high]]
                new_kids: list[Meaning] = list(source.kids[low:high])
            else:
                new_starts = [start]
                new_kids = [source]
            if kids and kids[-1] is new_kids[0]:
                del new_starts[0], new_kids[0]
            starts += new_starts
            kids += new_kids
        return self.axis(axis, starts, kids)


def _edges(meaning: Meaning, axis: int) -> tuple[int, ...]:
    return meaning.starts if isinstance(meaning, Axis) and meaning.axis == axis else (0,)


def _within(meaning: Meaning, axis: int, value: int) -> Meaning:
    if isinstance(meaning, Axis) and meaning.axis == axis:
        return meaning.kids[bisect_right(meaning.starts, value) - 1]
    return meaning


class _Diagrams:
    """The third pass with diagrams throughout."""

    def __init__(self, steps: list[dict[State, Step]]) -> None:
        self.steps = steps
        self.meanings: list[dict[State, Node]] = [{} for _ in steps]

    def meaning(self) -> Node:
        meanings = self.meanings

        def at(target: Target | Node) -> Node:
            return target if isinstance(target, Node) else meanings[target[0]][target[1]]

        for pc in range(len(self.steps) - 1, -1, -1):
            for state, step in self.steps[pc].items():
                if isinstance(step, Node) or len(step) == 2:
                    meanings[pc][state] = at(step)
                else:
                    test, then, other = step
                    meanings[pc][state] = ite(_as_node(test), at(then), at(other))
        return next(iter(meanings[0].values()))


def _as_node(test: Node | RunTest) -> Node:
    if isinstance(test, Node):
        return test
    axis, starts, flags = test
    return from_runs(1 - axis, starts, [TRUE if flag else FALSE for flag in flags])
