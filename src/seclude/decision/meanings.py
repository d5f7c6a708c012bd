"""The third pass of reading a program: the meaning of each instruction in each state, made once from those of its successors."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, TypeVar

from seclude.decision.nodes import FALSE, TRUE, Node
from seclude.decision.ops import ite
from seclude.decision.parts import RUN_LIMIT, TooManyRunsError
from seclude.decision.words import from_runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.decision.follow import RunTest, State, Step, Target

_M = TypeVar("_M")

__all__ = ["AsDiagrams", "AsRuns", "Axis", "Meaning"]

#: longer lists of runs are not looked up among those that exist: chains of thousands of tests make each only once
_SHARED_RUNS = 300


class Axis:
    """A meaning that still depends on the architecture (``axis`` 0) or the number (1): runs of meanings of later axes."""

    __slots__ = ("axis", "kids", "starts")

    def __init__(self, axis: int, starts: tuple[int, ...], kids: tuple[Meaning, ...]) -> None:
        self.axis = axis
        self.starts = starts
        self.kids = kids


Meaning = Axis | Node


class AsRuns:
    """The third pass, with the first two axes as runs. Raises `TooManyRunsError` where that does not pay."""

    def __init__(self, steps: list[dict[State, Step]]) -> None:
        self.steps = steps
        self.meanings: list[dict[State, Meaning]] = []
        self.known: dict[tuple[int, tuple[int, ...], tuple[Meaning, ...]], Axis] = {}
        self.chosen: dict[tuple[Node | RunTest, Meaning, Meaning], Meaning] = {}

    def meaning(self) -> Node:
        self.meanings = _backwards(self.steps, self.choose)
        return self.node(next(iter(self.meanings[0].values())))

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


class AsDiagrams:
    """The third pass with diagrams throughout."""

    def __init__(self, steps: list[dict[State, Step]]) -> None:
        self.steps = steps
        self.meanings: list[dict[State, Node]] = []

    def meaning(self) -> Node:
        self.meanings = _backwards(self.steps, _ite)
        return next(iter(self.meanings[0].values()))


def _backwards(
    steps: list[dict[State, Step]], choose: Callable[[Node | RunTest, _M | Node, _M | Node], _M | Node]
) -> list[dict[State, _M | Node]]:
    """The meaning of every instruction in every state, the last instruction first: jumps only go forward."""
    meanings: list[dict[State, _M | Node]] = [{} for _ in steps]

    def at(target: Target | Node) -> _M | Node:
        return target if isinstance(target, Node) else meanings[target[0]][target[1]]

    for pc in range(len(steps) - 1, -1, -1):
        for state, step in steps[pc].items():
            if isinstance(step, Node) or len(step) == 2:
                meanings[pc][state] = at(step)
            else:
                test, then, other = step
                meanings[pc][state] = choose(test, at(then), at(other))
    return meanings


def _ite(test: Node | RunTest, then: Node, other: Node) -> Node:
    return ite(_as_node(test), then, other)


def _as_node(test: Node | RunTest) -> Node:
    if isinstance(test, Node):
        return test
    axis, starts, flags = test
    return from_runs(1 - axis, starts, [TRUE if flag else FALSE for flag in flags])
