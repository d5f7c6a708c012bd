"""A search tree for uneven weights: a dynamic program that also remembers which heavy points have been tested away."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from seclude.compiler.blocks import JEQ, JGE
from seclude.compiler.even import CHAIN, SIZE, Even

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seclude.compiler.blocks import Block, Blocks
    from seclude.compiler.even import Piece
    from seclude.decision.nodes import Node

__all__ = ["FEW", "Uneven"]

#: a place is rare if at most so many numbers lead to it: they must be found one by one
FEW = 8
#: cuts tried on each side of the middle
_NEAR = 1
#: points lighter than this share of the whole are never tested for speed alone
_LEAST = 0.002
#: nor any lighter than this share of what remains in a range
_PEEL = 0.25
#: cuts are tried on both sides of the points of a range that have at least this share of it, this many of each kind
_BESIDE = 0.06
_BESIDE_COUNT = 8
#: ranges lighter than this share of the whole are left to `Even`
_LIGHT = 0.005
#: states after which only the nearest cuts are tried: the search ends, with a tree that is good and no longer the best
_EFFORT = 3000
_DONE = -4

#: a number with a weight of its own: weight, number, index of its piece
Point = tuple[float, int, int]


class _Range:
    """What is known of a range of pieces: three lists of its points, each heaviest first, with the weight of the first 0, 1, 2... of them.

    When ``need[i]`` points of list ``i`` are gone, for every ``i``, what remains leads to ``rest``; more than there are if it never does.
    """

    __slots__ = ("need", "points", "rest", "sums")

    def __init__(self, points: list[list[Point]], need: tuple[int, int, int], rest: Node) -> None:
        self.points = points
        self.need = need
        self.rest = rest
        self.sums = []
        for one in points:
            sums = [0.0]
            for weight, _, _ in one:
                sums.append(sums[-1] + weight)
            self.sums.append(sums)


def _below(points: Sequence[Sequence[Point]], gone: tuple[int, int, int], cut: int) -> tuple[int, int, int]:
    """How many of the points that are gone lie below a cut, for each list."""
    a, b, c = gone
    return (
        sum([point[2] < cut for point in points[0][:a]]),
        sum([point[2] < cut for point in points[1][:b]]),
        sum([point[2] < cut for point in points[2][:c]]),
    )


class Uneven:
    """A state is a range of pieces and how many of the heaviest points of each of three lists have been tested away.

    The lists: points of places that only a few numbers lead to (they must be tested for at some time); heavy points
    inside of wide pieces (testing them first is for speed alone); pieces that are one number of a place with wide pieces elsewhere (testing
    them joins their neighbours). Within one list the heavier point goes first in some best tree; between lists it need not.
    """

    def __init__(self, pieces: Sequence[Piece], points: Mapping[int, float], size: float = SIZE) -> None:
        self.pieces = pieces
        self.size = size
        self.total = [0.0]
        for piece in pieces:
            self.total.append(self.total[-1] + piece[3])
        span: dict[Node, int] = {}
        for first, last, kid, _ in pieces:
            span[kid] = span.get(kid, 0) + last - first + 1
        self.few = {kid for kid, numbers in span.items() if numbers <= FEW}
        firsts = [piece[0] for piece in pieces]
        lists: list[list[Point]] = [[], [], []]
        for index, (first, last, kid, weight) in enumerate(pieces):
            if kid in self.few:
                lists[0] += [(points.get(number, 0.0), number, index) for number in range(first, last + 1)]
            elif first == last:
                lists[2].append((weight, first, index))
        for number, weight in points.items():
            if weight > _LEAST:
                index = bisect_right(firsts, number) - 1
                first, last, kid, _ = pieces[index]
                if first != last and kid not in self.few:
                    lists[1].append((weight, number, index))
        self.points = [sorted(one, reverse=True) for one in lists]
        self.window = Even(pieces, size)
        self.ranges: dict[tuple[int, int], _Range] = {}
        self.memo: dict[tuple[int, int, int, int, int], tuple[float, int]] = {}

    def range(self, low: int, high: int) -> _Range:
        found = self.ranges.get((low, high))
        if found is None:
            found = self.ranges[low, high] = self._range(low, high)
        return found

    def _range(self, low: int, high: int) -> _Range:
        pieces = self.pieces
        points = [[point for point in one if low <= point[2] < high] for one in self.points]
        wide = {kid for first, last, kid, _ in pieces[low:high] if first != last and kid not in self.few}
        if wide:
            rest = next(iter(wide))
        else:
            rest = pieces[(points[2] or points[0])[-1][2]][2]
        if len(wide) > 1:
            need = (len(points[0]) + 1, 0, 0)
        else:
            found = []
            for one in (points[0], points[2]):
                count = len(one)
                while count and pieces[one[count - 1][2]][2] is rest:
                    count -= 1
                found.append(count)
            need = (found[0], 0, found[1])
        return _Range(points, need, rest)

    def solve(self, low: int, high: int, a: int, b: int, c: int) -> tuple[float, int]:
        """``(cost, way)``: a cut, or -1, -2, -3 to test the next point of that list, or `_DONE`."""
        key = (low, high, a, b, c)
        found = self.memo.get(key)
        if found is None:
            found = self.memo[key] = self._solve(low, high, a, b, c)
        return found

    def _solve(self, low: int, high: int, a: int, b: int, c: int) -> tuple[float, int]:
        here = self.range(low, high)
        if (a >= here.need[0] and c >= here.need[2]) or high - low == 1:
            return 0.0, _DONE
        total, sums = self.total, here.sums
        if total[high] - total[low] < _LIGHT and not (a or b or c):
            return self.window.cost(low, high), _DONE
        weight = max(0.0, total[high] - total[low] - sums[0][a] - sums[1][b] - sums[2][c])
        step = weight + self.size
        best, way = 1e30, _DONE
        few = here.need[0] - a + here.need[2] - c <= CHAIN and here.need[0] <= len(here.points[0])
        points = here.points
        if a < len(points[0]) and (few or points[0][a][0] >= _PEEL * weight):
            best, way = step + self.solve(low, high, a + 1, b, c)[0], -1
        if b < len(points[1]) and len(self.memo) < _EFFORT and points[1][b][0] >= _PEEL * weight:
            cost = step + self.solve(low, high, a, b + 1, c)[0]
            if cost < best:
                best, way = cost, -2
        if c < len(points[2]) and (few or points[2][c][0] >= _PEEL * weight):
            cost = step + self.solve(low, high, a, b, c + 1)[0]
            if cost < best:
                best, way = cost, -3
        x = y = z = 0
        for cut in self.cuts(low, high, (a, b, c), here, weight):
            if a or b or c:
                x, y, z = _below(points, (a, b, c), cut)
            cost = step + self.solve(low, cut, x, y, z)[0]
            if cost < best:
                cost += self.solve(cut, high, a - x, b - y, c - z)[0]
                if cost < best:
                    best, way = cost, cut
        return best, way

    def cuts(self, low: int, high: int, gone: tuple[int, int, int], here: _Range, weight: float) -> set[int]:
        """The cuts nearest to the middle of the remaining weight, and both sides of what is heavy."""
        total = self.total
        removed = [point for one, count in zip(here.points, gone, strict=True) for point in one[:count]]
        target = total[low] + weight / 2
        left, right = low + 1, high - 1
        while left < right:
            probe = (left + right) // 2
            if total[probe] - sum(point[0] for point in removed if point[2] < probe) < target:
                left = probe + 1
            else:
                right = probe
        out = set(range(left - _NEAR, left + _NEAR + (high - low < 12)))
        if len(self.memo) > _EFFORT:
            return {cut for cut in out if low < cut < high}
        for one, count in zip(here.points, gone, strict=True):
            for point in one[count : count + _BESIDE_COUNT]:
                if point[0] < _BESIDE * weight:
                    break
                out |= {point[2], point[2] + 1}
        return {cut for cut in out if low < cut < high}

    def build(self, block: Callable[[Node], Block], blocks: Blocks) -> Block:
        def walk(low: int, high: int, gone: tuple[int, int, int]) -> Block:
            here = self.range(low, high)
            _, way = self.solve(low, high, *gone)
            if way == _DONE:
                light = gone == (0, 0, 0) and here.need != (0, 0, 0) and high - low > 1
                return self.window.build(block, blocks, low, high) if light else block(here.rest)
            if way < 0:
                one = -1 - way
                _, number, index = here.points[one][gone[one]]
                after = (gone[0] + (one == 0), gone[1] + (one == 1), gone[2] + (one == 2))
                return blocks.jump(JEQ, number, block(self.pieces[index][2]), walk(low, high, after))
            x, y, z = _below(here.points, gone, way)
            above = walk(way, high, (gone[0] - x, gone[1] - y, gone[2] - z))
            return blocks.jump(JGE, self.pieces[way][0], above, walk(low, way, (x, y, z)))

        return walk(0, len(self.pieces), (0, 0, 0))
