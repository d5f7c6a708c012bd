"""Search trees over an axis that is cut into runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.compiler.blocks import JGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seclude.compiler.blocks import Block, Blocks
    from seclude.decision.nodes import Node
    from seclude.decision.parts import Runs

__all__ = ["tree"]

_FULL = 0xFFFF_FFFF


def tree(cut: Runs, weights: Sequence[float], block: Callable[[Node], Block], blocks: Blocks) -> Block:
    """Blocks that find the run which holds A, cheap for heavy runs."""
    starts = cut.starts
    kids = cut.kids
    ends = [start - 1 for start in starts[1:]] + [_FULL]
    total = [0.0]
    for weight in weights:
        total.append(total[-1] + weight)

    def build(low: int, high: int) -> Block:
        if high - low == 1:
            return block(kids[low])
        wide = {kids[index] for index in range(low, high) if ends[index] > starts[index]}
        if len(wide) <= 1 and high - low <= 5:
            points = [index for index in range(low, high) if ends[index] == starts[index]]
            if not wide:
                wide = {kids[points.pop()]}
            (rest,) = wide
            points = sorted((index for index in points if kids[index] is not rest), key=lambda index: -weights[index])
            if len(points) <= 2:
                return blocks.equals([(starts[index], block(kids[index])) for index in points], block(rest))
        middle = (total[low] + total[high]) / 2
        best = min(range(low + 1, high), key=lambda index: abs(total[index] - middle))
        return blocks.jump(JGE, starts[best], build(best, high), build(low, best))

    return build(0, len(kids))
