"""A search tree for even weights: a dynamic program over ranges of runs.

A range is either cut near the middle of its weight, or, where all that remains besides a few points leads to one place, those points are
tested one after the other. Few cuts of each range are looked at, so the work grows with the number of runs and not with its cube.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from seclude.compiler.blocks import JGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seclude.compiler.blocks import Block, Blocks
    from seclude.decision.nodes import Node

__all__ = ["CHAIN", "SIZE", "Even", "Piece"]

#: a run: first and last value, where it leads, its share of the whole weight
Piece = tuple[int, int, "Node", float]
#: one instruction less is worth this share of the whole weight, run once
SIZE = 0.0008
#: so many points are tested one after the other where the rest of a range leads to one place
CHAIN = 4
#: cuts tried on each side of the middle; all of them in a range of few runs, one in a range of many
_WINDOW = 1
_SMALL = 6
_LARGE = 150


class Even:
    """Pieces ``(first, last, kid, weight)`` in ascending order, neighbours different; gaps between them are never asked about."""

    def __init__(self, pieces: Sequence[Piece], size: float = SIZE) -> None:
        self.pieces = pieces
        self.size = size
        self.total = [0.0]
        for piece in pieces:
            self.total.append(self.total[-1] + piece[3])
        # self.alike[i]: up to where the wide pieces from i on all lead to one place, and that place
        count = len(pieces)
        self.alike = [count] * count
        wide: Node | None = None
        until = at = count
        for i in range(count - 1, -1, -1):
            first, last, kid, _ = pieces[i]
            if first != last:
                if wide is not None and kid is not wide:
                    until = at
                wide, at = kid, i
            self.alike[i] = until
        self.memo: dict[tuple[int, int], tuple[float, int]] = {}

    def chain(self, low: int, high: int) -> tuple[list[Piece], Node] | None:
        """The points of a range whose rest leads to one place, heaviest first, and that place."""
        if self.alike[low] < high or high - low > 2 * CHAIN + 1:
            return None
        pieces = self.pieces[low:high]
        rest = next((kid for first, last, kid, _ in pieces if first != last), None)
        if rest is None:
            # Points only: what most of them lead to needs no test.
            kids = [piece[2] for piece in pieces]
            rest = max(kids, key=kids.count)
        points = [piece for piece in pieces if piece[2] is not rest]
        if len(points) > CHAIN:
            return None
        points.sort(key=lambda piece: -piece[3])
        return points, rest

    def cost(self, low: int, high: int) -> float:
        """The expected tests of a range, each instruction counted as ``size``."""
        return self.solve(low, high)[0]

    def solve(self, low: int, high: int) -> tuple[float, int]:
        """The cost, and the cut that gives it, or -1 for a chain."""
        if high - low == 1:
            return 0.0, -1
        key = (low, high)
        found = self.memo.get(key)
        if found is not None:
            return found
        total = self.total
        weight = total[high] - total[low]
        best, way = 1e30, -1
        chain = self.chain(low, high) if self.alike[low] >= high else None
        if chain is not None:
            left, best = weight, 0.0
            for piece in chain[0]:
                best += left + self.size
                left -= piece[3]
        if chain is None or len(chain[0]) > 1:
            memo, solve, step = self.memo, self.solve, weight + self.size
            for cut in self.cuts(low, high):
                below = (memo.get((low, cut)) or solve(low, cut))[0] if cut - low > 1 else 0.0
                if step + below < best:
                    above = (memo.get((cut, high)) or solve(cut, high))[0] if high - cut > 1 else 0.0
                    if step + below + above < best:
                        best, way = step + below + above, cut
        self.memo[key] = best, way
        return best, way

    def cuts(self, low: int, high: int) -> range:
        """The cuts nearest to the middle of the weight."""
        total = self.total
        middle = (total[low] + total[high]) / 2
        left = bisect_left(total, middle, low + 1, high - 1)
        if high - low > _LARGE:
            return range(left, left + 1)
        reach = _WINDOW if high - low > _SMALL else 3
        return range(max(low + 1, left - reach), min(high - 1, left + reach - 1) + 1)

    def build(self, block: Callable[[Node], Block], blocks: Blocks, low: int = 0, high: int = 0) -> Block:
        """The blocks of a range, or of the whole."""

        def walk(low: int, high: int) -> Block:
            if high - low == 1:
                return block(self.pieces[low][2])
            _, cut = self.solve(low, high)
            if cut >= 0:
                return blocks.jump(JGE, self.pieces[cut][0], walk(cut, high), walk(low, cut))
            chain = self.chain(low, high)
            assert chain is not None
            return blocks.equals([(piece[0], block(piece[2])) for piece in chain[0]], block(chain[1]))

        return walk(low, high or len(self.pieces))
