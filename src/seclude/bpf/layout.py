"""Where each line's instructions come to stand, once far conditional jumps have got the ``goto`` that they need.

Before: ``if (A == 1) goto L`` with L 300 instructions ahead. After: ``if (A == 1) goto next else goto +1``, ``goto L``. A goto put in moves
everything behind it, which can push other targets out of reach: repeated until nothing changes. Only ever more gotos are needed, so it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["lay_out", "place_of"]

_REACH = 255


def place_of(starts: Sequence[int], line: int) -> int:
    """The instruction that a line begins with; beyond the last line, as many instructions beyond the end."""
    end = len(starts) - 1
    return starts[line] if line <= end else starts[end] + line - end


def lay_out(targets: Sequence[tuple[int, ...]]) -> tuple[list[int], set[tuple[int, int]]]:
    """Where each line begins (and where the program ends), and which ``(line, branch)`` need a goto behind their line.

    ``targets`` holds for each line the lines that it leads to: two of a conditional jump, one or none of anything else.
    """
    branches = [(index, branch, goal) for index, goals in enumerate(targets) if len(goals) == 2 for branch, goal in enumerate(goals)]
    far: set[tuple[int, int]] = set()
    while True:
        sizes = [1] * len(targets)
        for index, _ in far:
            sizes[index] += 1
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + size)
        more = {
            (index, branch)
            for index, branch, goal in branches
            if (index, branch) not in far and place_of(starts, goal) - starts[index] - 1 > _REACH
        }
        if not more:
            return starts, far
        far |= more
