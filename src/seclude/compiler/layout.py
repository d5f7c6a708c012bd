"""Blocks into instructions: order, shared code, and jumps longer than 255.

A classic BPF jump skips at most 255 instructions forwards. The program is emitted from its end, so the distance to every
target is known when a jump is written. Where a target lies too far, a copy of it (if it is a RET) or a JA to it is put
right here, and from then on *that* is where later jumps go: otherwise every one of them would need its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.compiler.blocks import LOAD, RET, Block
from seclude.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_INSTRUCTIONS", "MAX_JUMP", "emit"]

#: BPF_MAXINSNS (linux/bpf_common.h)
MAX_INSTRUCTIONS = 4096
MAX_JUMP = 255
_JA = 0x05
Instruction = tuple[int, int, int, int]


def offset_of(word: int, byteorder: str) -> int:
    """Where a word lies in struct seccomp_data (linux/seccomp.h)."""
    return 4 * (word ^ 1 if byteorder == "big" and word > 1 else word)


def emit(root: Block, byteorder: str, blame: Callable[[], str] = str) -> list[Instruction]:
    """The program whose first instruction is ``root``. Raises `BudgetError` beyond 4096 instructions; ``blame`` then says what is large."""
    out: list[Instruction] = []  # the program back to front
    place: dict[Block, int] = {}  # where a block's code starts, as an index of ``out``
    sizes = _sizes(root)

    def near(target: Block) -> None:
        # Called when the next instruction cannot reach ``target``.
        if target.code == RET:
            out.append((RET, 0, 0, target.k))
        else:
            out.append((_JA, 0, 0, len(out) - place[target] - 1))
        place[target] = len(out) - 1

    def jump(block: Block) -> None:
        then, other = block.next
        while True:
            if len(out) - place[then] - 1 > MAX_JUMP:
                near(then)
            elif len(out) - place[other] - 1 > MAX_JUMP:
                near(other)
            else:
                break
        out.append((block.code, len(out) - place[then] - 1, len(out) - place[other] - 1, block.k))

    todo = [root]
    while todo:
        block = todo[-1]
        if block in place:
            todo.pop()
            continue
        # The larger part first: it ends up behind the smaller one, whose size is then the distance to it.
        waiting = [one for one in block.next if one not in place]
        if waiting:
            if len(waiting) == 2 and sizes[waiting[0]] < sizes[waiting[1]]:
                waiting.reverse()
            todo.append(waiting[0])
            continue
        todo.pop()
        if block.code == RET:
            out.append((RET, 0, 0, block.k))
        elif len(block.next) == 1:
            following = block.next[0]
            if place[following] != len(out) - 1:
                # It stands elsewhere. A jump is copied: as long as a JA to it, and one step less to run.
                if len(following.next) == 2:
                    jump(following)
                elif following.code == RET:
                    out.append((RET, 0, 0, following.k))
                else:
                    out.append((_JA, 0, 0, len(out) - place[following] - 1))
            out.append((block.code, 0, 0, offset_of(block.k, byteorder) if block.code == LOAD else block.k))
        else:
            jump(block)
        place[block] = len(out) - 1
        if len(out) > MAX_INSTRUCTIONS:
            raise BudgetError(
                f"the filter needs more than {MAX_INSTRUCTIONS} instructions, the most that the kernel takes",
                blame() and f"largest: {blame()}",
            )
    out.reverse()
    return out


def _sizes(root: Block) -> dict[Block, int]:
    """How much code stands below each block, shared parts counted each time (a bound that orders them)."""
    sizes: dict[Block, int] = {}
    todo = [root]
    while todo:
        block = todo[-1]
        waiting = [one for one in block.next if one not in sizes]
        if waiting:
            todo += waiting
        else:
            todo.pop()
            sizes[block] = 1 + sum(sizes[one] for one in block.next)
    return sizes
