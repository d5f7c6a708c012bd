"""A word's axis cut into runs: the form in which architectures and numbers are read, printed and compiled.

The diagram stays the canonical form; runs are a projection of it (`runs`) and a fast way to build it (`to_node`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from seclude.decision.nodes import LEVEL_WORD, WORD_LEVEL, Node
from seclude.decision.words import FULL, from_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RUN_LIMIT", "Runs", "TooManyRunsError", "measure", "runs", "runs_of", "word_of"]

#: more runs than this are not listed; the diagram is used instead
RUN_LIMIT = 4096


class TooManyRunsError(Exception):
    """The function of this word has more runs than was asked for: inside the room, a sign to use the diagram."""


class Runs:
    """``kids[i]`` from ``starts[i]`` up to the next start, or to 2**32 - 1. Neighbours differ; ``starts[0]`` is 0."""

    __slots__ = ("kids", "starts")

    def __init__(self, starts: tuple[int, ...], kids: tuple[Node, ...]) -> None:
        self.starts = starts
        self.kids = kids

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[tuple[int, int, Node]]:
        """``(first, last, kid)``, both ends inclusive, ascending."""
        starts = self.starts
        ends = [start - 1 for start in starts[1:]] + [FULL]
        return zip(starts, ends, self.kids, strict=True)

    def to_node(self, word: int) -> Node:
        """The diagram of this function of ``word``."""
        return from_runs(word, self.starts, self.kids)


def word_of(node: Node) -> int | None:
    """The first word that the diagram asks for, or None for a leaf."""
    return LEVEL_WORD[node.level] if node.kids else None


def runs(node: Node, word: int, limit: int = RUN_LIMIT) -> Runs:
    """The diagram as runs of ``word``; it must not depend on earlier words. Raises `TooManyRunsError`."""
    base = WORD_LEVEL[word]
    below = base + 8
    starts: list[int] = []
    kids: list[Node] = []

    def walk(node: Node, level: int, first: int) -> None:
        if node.level >= below:
            if not kids or kids[-1] is not node:
                if len(kids) >= limit:
                    raise TooManyRunsError
                starts.append(first)
                kids.append(node)
            return
        step = 1 << (28 - 4 * (level - base))
        children = node.kids if node.level == level else (node,) * 16
        for kid in children:
            if kid.level >= below:
                if not kids or kids[-1] is not kid:
                    if len(kids) >= limit:
                        raise TooManyRunsError
                    starts.append(first)
                    kids.append(kid)
            else:
                walk(kid, level + 1, first)
            first += step

    walk(node, base, 0)
    return Runs(tuple(starts), tuple(kids))


def measure(node: Node, word: int) -> tuple[int, int]:
    """How many runs the function of this word has, and how many nodes it takes as a diagram of that word."""
    base = WORD_LEVEL[word]
    below = base + 8
    known: dict[Node, tuple[Node, Node, int]] = {}

    def walk(node: Node, level: int) -> tuple[Node, Node, int]:
        # What the first and the last value lead to, and the number of runs, for the digits from ``level`` on.
        if node.level >= below:
            return node, node, 1
        found = known.get(node)
        if found is None:
            parts = [walk(kid, node.level + 1) for kid in node.kids]
            count = sum(part[2] for part in parts) - sum(a[1] is b[0] for a, b in pairwise(parts))
            found = known[node] = (parts[0][0], parts[15][1], count)
        first, last, count = found
        again = 1 << 4 * (node.level - level)  # digits that are not asked for repeat the pattern
        return first, last, again * count - (again - 1) * (first is last)

    return walk(node, base)[2], len(known)


def runs_of(pieces: list[tuple[int, Node]]) -> Runs:
    """Runs from ``(start, kid)`` in ascending order, equal neighbours joined."""
    starts: list[int] = []
    kids: list[Node] = []
    for start, kid in pieces:
        if not kids or kids[-1] is not kid:
            starts.append(start)
            kids.append(kid)
    return Runs(tuple(starts), tuple(kids))
