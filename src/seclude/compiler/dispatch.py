"""Search trees over an axis that is cut into runs: fewest expected tests, then fewest instructions.

A test is a cut (JGE) or a point (JEQ). A point that is tested away leaves a hole, and where both sides of the hole lead to the same
place they become one run: that is why testing points first can be shorter than any order of cuts.

Two searches. `_Window` is for even weights: a dynamic program over ranges of runs that tries the cuts nearest to the middle of the weight, and chains of
points where the rest of a range leads to one place. `_Heavy` is for uneven weights: it first settles the few heaviest points, exactly (a state is a range and the
set of points already tested away, every remaining heavy point and every cut beside one is tried), and leaves what remains
to `_Window`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.compiler.blocks import JEQ, JGE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seclude.compiler.blocks import Block, Blocks
    from seclude.decision.nodes import Node
    from seclude.decision.parts import Runs

__all__ = ["tree"]

_FULL = 0xFFFF_FFFF
#: what one more instruction may save of the mean: a hundredth of a step... of the total weight
_SIZE = 0.004
_CHAIN = 4
_WINDOW = 3
_HEAVY_POINTS = 14
_HEAVY_SHARE = 0.004


def tree(
    cut: Runs,
    weights: Sequence[float],
    block: Callable[[Node], Block],
    blocks: Blocks,
    points: Mapping[int, float] | None = None,
) -> Block:
    """Blocks that find the run which holds A. ``points`` are the weights of single numbers, parts of their runs' ``weights``."""
    starts = list(cut.starts)
    ends = [start - 1 for start in starts[1:]] + [_FULL]
    total = sum(weights) or 1.0
    pieces = [(starts[i], ends[i], kid, weights[i] / total) for i, kid in enumerate(cut.kids)]
    heavy: list[tuple[int, float]] = []
    if points:
        heavy = sorted(((number, weight / total) for number, weight in points.items() if weight > _HEAVY_SHARE * total), key=lambda p: -p[1])
        heavy = heavy[:_HEAVY_POINTS]
    if heavy:
        return _Heavy(pieces, heavy).build(block, blocks)
    return _Window(pieces).build(block, blocks)


Piece = tuple[int, int, "Node", float]


class _Window:
    """Pieces ``(first, last, kid, weight)`` in ascending order, neighbours different; gaps between them are never asked about."""

    def __init__(self, pieces: Sequence[Piece], width: int = _WINDOW) -> None:
        self.pieces = pieces
        self.width = width
        self.total = [0.0]
        for piece in pieces:
            self.total.append(self.total[-1] + piece[3])
        # self.alike[i]: up to where the wide pieces from i on all lead to one place, and that place
        size = len(pieces)
        self.alike = [size] * size
        wide: Node | None = None
        until = at = size
        for i in range(size - 1, -1, -1):
            first, last, kid, _ = pieces[i]
            if first != last:
                if wide is not None and kid is not wide:
                    until = at
                wide, at = kid, i
            self.alike[i] = until
        self.memo: dict[tuple[int, int], tuple[float, int]] = {}

    def chain(self, low: int, high: int) -> tuple[list[Piece], Node] | None:
        """The points of a range whose rest leads to one place, heaviest first, and that place."""
        if self.alike[low] < high:
            return None
        pieces = self.pieces[low:high]
        rest = next((kid for first, last, kid, _ in pieces if first != last), None)
        if rest is None:
            # Points only: what most of them lead to needs no test.
            kids = [piece[2] for piece in pieces]
            rest = max(kids, key=kids.count)
        points = [piece for piece in pieces if piece[2] is not rest]
        if len(points) > _CHAIN:
            return None
        points.sort(key=lambda piece: -piece[3])
        return points, rest

    def cost(self, low: int, high: int) -> float:
        """The expected tests of a range, each instruction counted as `_SIZE`."""
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
                best += left + _SIZE
                left -= piece[3]
        if chain is None or len(chain[0]) > 1:
            for cut in self.cuts(low, high):
                cost = weight + _SIZE + self.solve(low, cut)[0]
                if cost < best:
                    cost += self.solve(cut, high)[0]
                    if cost < best:
                        best, way = cost, cut
        self.memo[key] = best, way
        return best, way

    def cuts(self, low: int, high: int) -> range:
        """The cuts nearest to the middle of the weight."""
        total = self.total
        middle = (total[low] + total[high]) / 2
        left, right = low + 1, high - 1
        while left < right:
            probe = (left + right) // 2
            if total[probe] < middle:
                left = probe + 1
            else:
                right = probe
        reach = self.width // 2 + 1 if high - low > 3 else 3
        return range(max(low + 1, left - reach), min(high - 1, left + reach - 1) + 1)

    def build(self, block: Callable[[Node], Block], blocks: Blocks) -> Block:
        """The blocks of the whole."""

        def walk(low: int, high: int) -> Block:
            if high - low == 1:
                return block(self.pieces[low][2])
            _, cut = self.solve(low, high)
            if cut >= 0:
                return blocks.jump(JGE, self.pieces[cut][0], walk(cut, high), walk(low, cut))
            chain = self.chain(low, high)
            assert chain is not None
            return blocks.equals([(piece[0], block(piece[2])) for piece in chain[0]], block(chain[1]))

        return walk(0, len(self.pieces))


class _Heavy:
    """Pieces, and the heaviest points among or inside them."""

    def __init__(self, pieces: Sequence[Piece], heavy: Sequence[tuple[int, float]]) -> None:
        self.pieces = pieces
        self.total = [0.0]
        for piece in pieces:
            self.total.append(self.total[-1] + piece[3])
        self.points: list[tuple[int, float, int]] = []  # number, weight, piece; ascending
        for number, weight in sorted(heavy):
            index = next(i for i, piece in enumerate(pieces) if piece[0] <= number <= piece[1])
            self.points.append((number, weight, index))
        self.exact = len(self.points) <= 10
        self.memo: dict[tuple[int, int, int], tuple[float, int, int]] = {}
        self.removed: dict[int, float] = {0: 0.0}
        self.light: dict[tuple[int, int, int], tuple[float, _Window]] = {}

    def inside(self, low: int, high: int, mask: int) -> int:
        """``mask`` without the points outside of the range."""
        for at, (_, _, index) in enumerate(self.points):
            if not low <= index < high:
                mask &= ~(1 << at)
        return mask

    def weight(self, low: int, high: int, mask: int) -> float:
        gone = self.removed.get(mask)
        if gone is None:
            gone = self.removed[mask] = sum(point[1] for at, point in enumerate(self.points) if mask >> at & 1)
        return max(0.0, self.total[high] - self.total[low] - gone)

    def rest(self, low: int, high: int, mask: int) -> tuple[float, _Window]:
        """What remains of a range without the removed points, by `_Window`."""
        key = (low, high, mask)
        found = self.light.get(key)
        if found is None:
            gone = {self.points[at][0]: self.points[at][1] for at in range(len(self.points)) if mask >> at & 1}
            out: list[Piece] = []
            for first, last, kid, weight in self.pieces[low:high]:
                if first == last and first in gone:
                    continue
                weight -= sum(w for number, w in gone.items() if first <= number <= last)
                if out and out[-1][2] is kid:
                    before = out[-1]
                    out[-1] = (before[0], last, kid, before[3] + max(weight, 0.0))
                else:
                    out.append((first, last, kid, max(weight, 0.0)))
            window = _Window(out, 1)
            found = self.light[key] = (window.cost(0, len(out)) if out else 0.0, window)
        return found

    def same(self, low: int, high: int, mask: int) -> bool:
        """Whether all that remains of a range leads to one place."""
        seen = None
        gone = {self.points[at][0] for at in range(len(self.points)) if mask >> at & 1}
        for first, last, kid, _ in self.pieces[low:high]:
            if first == last and first in gone:
                continue
            if seen is None:
                seen = kid
            elif seen is not kid:
                return False
        return True

    def solve(self, low: int, high: int, mask: int) -> tuple[float, int, int]:
        """``(cost, cut, point)``: the cut, or the index of the point to test, or -1 for both: leave it to `rest`."""
        key = (low, high, mask)
        found = self.memo.get(key)
        if found is not None:
            return found
        waiting = [at for at, (_, _, index) in enumerate(self.points) if low <= index < high and not mask >> at & 1]
        if high - low == 1 or self.same(low, high, mask):
            best = (0.0, -1, -1)
        elif not waiting:
            best = (self.rest(low, high, mask)[0], -1, -1)
        else:
            best = self.options(low, high, mask, waiting)
        self.memo[key] = best
        return best

    def options(self, low: int, high: int, mask: int, waiting: list[int]) -> tuple[float, int, int]:
        weight = self.weight(low, high, mask)
        step = weight + _SIZE
        best = (1e30, -1, -1)
        cuts = set()
        for at in waiting:
            index = self.points[at][2]
            cuts |= {index, index + 1}
        candidates = sorted(waiting, key=lambda at: -self.points[at][1])
        if not self.exact:
            candidates = candidates[:3]
            near = sorted(range(low + 1, high), key=lambda cut: abs(2 * self.total[cut] - self.total[low] - self.total[high]))
            cuts = {cut for cut in cuts if low < cut < high and abs(2 * self.total[cut] - self.total[low] - self.total[high]) < 0.7 * weight} | set(near[:2])
        for at in candidates:
            cost = step + self.solve(low, high, mask | 1 << at)[0]
            if cost < best[0]:
                best = (cost, -1, at)
        for cut in cuts:
            if low < cut < high:
                cost = step + self.solve(low, cut, self.inside(low, cut, mask))[0]
                if cost < best[0]:
                    cost += self.solve(cut, high, self.inside(cut, high, mask))[0]
                    if cost < best[0]:
                        best = (cost, cut, -1)
        return best

    def build(self, block: Callable[[Node], Block], blocks: Blocks) -> Block:
        def walk(low: int, high: int, mask: int) -> Block:
            _, cut, at = self.solve(low, high, mask)
            if at >= 0:
                number, _, index = self.points[at]
                return blocks.jump(JEQ, number, block(self.pieces[index][2]), walk(low, high, mask | 1 << at))
            if cut >= 0:
                return blocks.jump(
                    JGE,
                    self.pieces[cut][0],
                    walk(cut, high, self.inside(cut, high, mask)),
                    walk(low, cut, self.inside(low, cut, mask)),
                )
            return self.rest(low, high, mask)[1].build(block, blocks)

        return walk(0, len(self.pieces), 0)


