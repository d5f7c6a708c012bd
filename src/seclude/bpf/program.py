"""Instructions and programs as values, with constructors spelled as in linux/filter.h."""

from __future__ import annotations

import sys
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, SupportsIndex, overload

from seclude.bpf.machine import decode
from seclude.errors import FilterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BPF_JUMP", "BPF_STMT", "Instruction", "Program"]

_PACK = {"little": Struct("<HBBI").pack, "big": Struct(">HBBI").pack}


class Instruction(NamedTuple):
    """One classic BPF instruction: struct sock_filter (linux/filter.h).

    ``code`` has 16 bits, ``jt`` and ``jf`` (instructions to skip where a test holds, and where not) 8 each, ``k`` 32, unsigned.
    """

    code: int
    jt: int
    jf: int
    k: int


def BPF_STMT(code: int, k: int) -> Instruction:
    """An instruction that does not branch, as C's macro. A negative ``k`` is stored modulo 2^32, as C does."""
    return BPF_JUMP(code, k, 0, 0)


def BPF_JUMP(code: int, k: int, jt: int, jf: int) -> Instruction:
    """A conditional jump, as C's macro, with its order of arguments.

    Raises ``FilterError`` where a number does not fit its field. (C would cut a jump over 255 silently, and the filter would mean
    something else.)
    """
    return _fitting(code, jt, jf, k & 0xFFFFFFFF if -0x80000000 <= k < 0 else k, None)


def _fitting(code: int, jt: int, jf: int, k: int, index: int | None) -> Instruction:
    for name, value, bits in (("code", code, 16), ("jt", jt, 8), ("jf", jf, 8), ("k", k, 32)):
        if not 0 <= value < 1 << bits:
            where = "" if index is None else f"instruction {index}: "
            raise FilterError(
                f"{where}{name} = {value} does not fit in {bits} bits",
                "a conditional jump skips at most 255 instructions; jump to a JA nearby" if name in ("jt", "jf") else "",
            )
    return Instruction(code, jt, jf, k)


class Program:
    """A BPF program: an immutable sequence of instructions, and the byte order of the target that it is for.

    Any instructions make a program, also none and also those that no kernel would load; ``seclude.bpf.check`` judges. Raises
    ``FilterError`` where a field does not fit, ``UsageError`` for an unknown byte order.
    """

    __slots__ = ("byteorder", "instructions")

    instructions: tuple[Instruction, ...]
    byteorder: str

    def __init__(self, instructions: Iterable[tuple[int, int, int, int]], byteorder: str = sys.byteorder) -> None:
        if byteorder not in _PACK:
            raise UsageError(f"byte order {byteorder!r} is neither 'little' nor 'big'")
        object.__setattr__(self, "byteorder", byteorder)
        object.__setattr__(self, "instructions", tuple(_fitting(code, jt, jf, k, i) for i, (code, jt, jf, k) in enumerate(instructions)))

    @classmethod
    def from_bytes(cls, raw: bytes, byteorder: str = sys.byteorder) -> Program:
        """Read an array of struct sock_filter; raises ``FilterError`` where its length is not a multiple of eight."""
        return cls(decode(raw, byteorder), byteorder)

    def to_bytes(self) -> bytes:
        """The array of struct sock_filter that seccomp(2) of the target takes."""
        pack = _PACK[self.byteorder]
        return b"".join([pack(*instruction) for instruction in self.instructions])

    __bytes__ = to_bytes

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Program cannot be changed ({name})")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Program cannot be changed ({name})")

    def __reduce__(self) -> tuple[object, ...]:
        return Program, (self.instructions, self.byteorder)

    def __len__(self) -> int:
        return len(self.instructions)

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self.instructions)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Instruction: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Instruction, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Instruction | tuple[Instruction, ...]:
        return self.instructions[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Program):
            return NotImplemented
        return self.instructions == other.instructions and self.byteorder == other.byteorder

    def __hash__(self) -> int:
        return hash((self.instructions, self.byteorder))

    def __repr__(self) -> str:
        return f"<Program: {len(self.instructions)} instructions, {self.byteorder}-endian>"
