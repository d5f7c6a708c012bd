"""The intermediate form: a program as hash-consed blocks, one instruction each, linked by reference.

The machine model is that of `seclude.bpf`. A block is one of::

    ("ret", value)                   end with this RET word
    ("load", word, next)             A = word, then next
    ("and", mask, next)              A &= mask, then next
    ("jump", code, k, then, other)   compare A with k

Invariant: a block that reads A (and, jump) is reached only with A as the block's maker meant it. `Blocks` shares equal
blocks, so identical argument tests of different calls and architectures become one piece of code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AND", "JEQ", "JGE", "JGT", "JSET", "LOAD", "RET", "Block", "Blocks"]

RET, LOAD, AND = 0x06, 0x20, 0x54
JEQ, JGT, JGE, JSET = 0x15, 0x25, 0x35, 0x45


class Block:
    """One instruction: its ``code``, its constant ``k`` (for LOAD a word number) and the blocks that follow, the taken branch first."""

    __slots__ = ("code", "k", "next")

    def __init__(self, code: int, k: int, following: tuple[Block, ...]) -> None:
        self.code = code
        self.k = k
        self.next = following

    def below(self) -> set[Block]:
        """This block and every one that may follow."""
        seen = {self}
        todo = [self]
        while todo:
            for one in todo.pop().next:
                if one not in seen:
                    seen.add(one)
                    todo.append(one)
        return seen


class Blocks:
    """The blocks of one program, each made once."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int, tuple[Block, ...]], Block] = {}

    def _make(self, code: int, k: int, following: tuple[Block, ...]) -> Block:
        key = (code, k, following)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = Block(code, k, following)
        return found

    def ret(self, value: int) -> Block:
        """End with this RET word."""
        return self._make(RET, value, ())

    def load(self, word: int, following: Block) -> Block:
        """``A = word``; nothing where what follows is an end already."""
        return following if following.code in (RET, LOAD) else self._make(LOAD, word, (following,))

    def mask(self, mask: int, following: Block) -> Block:
        """``A &= mask``."""
        return following if following.code in (RET, LOAD) else self._make(AND, mask, (following,))

    def jump(self, code: int, k: int, then: Block, other: Block) -> Block:
        """Compare A with ``k``; nothing where both ways are the same."""
        return then if then is other else self._make(code, k, (then, other))

    def equals(self, values: Sequence[tuple[int, Block]], other: Block) -> Block:
        """A chain of JEQ, the first value tested first."""
        for value, then in reversed(values):
            other = self.jump(JEQ, value, then, other)
        return other
