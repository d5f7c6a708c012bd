"""Arrows from jumps to their targets, beside a listing::

    ┌──    if (A == ARCH_X86_64) goto 0003
    │      return KILL_PROCESS
    └─▶    A = sys_number

One lane for each target, however many jumps lead there; the shortest arrows lie nearest to the text. Where no lane is free an arrow is
left out (the text names the target all the same), so the time is linear.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["gutter"]

_LANES = 6


def _lanes(targets: Mapping[int, Sequence[int]]) -> list[tuple[int, int, int]]:
    """``(lane, first source, target)`` of each arrow that finds a lane; lane 0 is nearest to the text."""
    taken: list[list[tuple[int, int]]] = [[] for _ in range(_LANES)]
    placed = []
    for first, target in sorted(((min(sources), target) for target, sources in targets.items()), key=lambda one: (one[1] - one[0], one[0])):
        for lane, intervals in enumerate(taken):
            at = bisect_left(intervals, (first, target))
            before_ends = intervals[at - 1][1] if at else -1
            after_begins = intervals[at][0] if at < len(intervals) else target + 1
            if before_ends < first and after_begins > target:
                insort(intervals, (first, target))
                placed.append((lane, first, target))
                break
    return placed


def gutter(length: int, targets: Mapping[int, Sequence[int]], *, ascii_only: bool = False) -> list[str]:
    """The arrows' column of each of ``length`` lines: ``targets`` maps a line to the earlier lines that jump there.

    All columns are equally wide; none is drawn where there are no targets.
    """
    placed = _lanes(targets)
    if not placed:
        return [""] * length
    width = 1 + max(lane for lane, _, _ in placed)
    corner = "+++|-+>" if ascii_only else "┌├└│─┼▶"
    begin, more, end, upright, level, cross, head = tuple(corner)
    # One cell a lane, the outermost first, and two for the line into the text.
    rows = [[" "] * (width + 2) for _ in range(length)]
    marks: dict[int, list[tuple[int, str, bool]]] = {}
    for lane, first, target in placed:
        column = width - 1 - lane
        for row in range(first + 1, target):
            rows[row][column] = upright
        for source in targets[target]:
            marks.setdefault(source, []).append((column, begin if source == first else more, False))
        marks.setdefault(target, []).append((column, end, True))
    for row, corners in marks.items():
        cells = rows[row]
        left = min(column for column, _, _ in corners)
        for column in range(left, width + 1):
            cells[column] = cross if cells[column] == upright else level
        for column, mark, _ in corners:
            inner = column != left
            cells[column] = (cross if ascii_only else ("┬" if mark == begin else "┴" if mark == end else cross)) if inner else mark
        if any(arrives for _, _, arrives in corners):
            cells[width] = head
    return ["".join(cells) for cells in rows]
