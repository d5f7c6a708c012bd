"""Search trees over an axis that is cut into runs: fewest expected tests, then fewest instructions.

A test is a cut (JGE) or a point (JEQ). A point that is tested away leaves a hole, and where both sides of the hole lead to
the same place they become one run: that is why testing points first can be shorter than any order of cuts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.compiler.even import SIZE, Even
from seclude.compiler.uneven import FEW, Uneven

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seclude.compiler.blocks import Block, Blocks
    from seclude.decision.nodes import Node
    from seclude.decision.parts import Runs

__all__ = ["tree"]

_FULL = 0xFFFF_FFFF
#: weights are uneven if `FEW` points have more than this share of the whole
_UNEVEN = 0.3


def tree(
    cut: Runs,
    weights: Sequence[float],
    block: Callable[[Node], Block],
    blocks: Blocks,
    points: Mapping[int, float] | None = None,
    size: float = SIZE,
) -> Block:
    """Blocks that find the run which holds A.

    ``points`` are the weights of single numbers, parts of their runs' ``weights``;
    ``size`` is the share of the whole weight that one instruction less is worth.
    """
    starts = list(cut.starts)
    ends = [start - 1 for start in starts[1:]] + [_FULL]
    total = sum(weights) or 1.0
    pieces = [(starts[i], ends[i], kid, weights[i] / total) for i, kid in enumerate(cut.kids)]
    if points and sum(sorted(points.values(), reverse=True)[:FEW]) > _UNEVEN * total:
        return Uneven(pieces, {number: weight / total for number, weight in points.items()}, size).build(block, blocks)
    return Even(pieces, size).build(block, blocks)
