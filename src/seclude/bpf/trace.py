"""A program run one instruction at a time, with what the registers hold after each.

The same machine as ``seclude.bpf.machine.run``, written a second time: there for speed, here to be watched. Each is the other's witness in the tests.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from seclude.bpf.machine import word_at
from seclude.bpf.validator import check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seclude.bpf.machine import Code

__all__ = ["Step", "trace"]

_MASK = 0xFFFFFFFF


class Step(NamedTuple):
    """One executed instruction: its index, A and X after it, the scratch cell it wrote and what, and the next index, or the result.

    ``cell`` and ``stored`` are None where nothing was stored; ``next`` is None where the program ended with ``result``.
    """

    pc: int
    a: int
    x: int
    cell: int | None
    stored: int | None
    next: int | None
    result: int | None


def trace(instructions: Code, words: Sequence[int], byteorder: str | None = None) -> Iterator[Step]:
    """The steps of a run on logical words, the last one with a result. Raises ``FilterError`` for a program the kernel would refuse."""
    check(instructions)
    order: str = getattr(instructions, "byteorder", sys.byteorder) if byteorder is None else byteorder
    lines = tuple(instructions)
    cells = [0] * 16
    a = x = pc = 0
    while True:
        code, jt, jf, k = lines[pc]
        cell = stored = result = None
        here, following = pc, pc + 1
        kind, operation = code & 0x07, code & 0xF0
        operand = x if code & 0x08 else k
        match kind:
            case 0x06:  # RET
                result = a if code & 0x10 else k
            case 0x05:  # JMP
                following += k if operation == 0 else jt if _holds(operation, a, operand) else jf
            case 0x04:  # ALU
                outcome = _arithmetic(operation, a, operand)
                if outcome is None:
                    result = 0  # a division by an X of 0 ends the program
                else:
                    a = outcome
            case 0x02 | 0x03:  # ST, STX
                cell, stored = k, a if kind == 0x02 else x
                cells[cell] = stored
            case 0x07:  # MISC
                a, x = (x, x) if code & 0x80 else (a, a)
            case _:  # LD, LDX
                value = _loaded(code & 0xE0, k, words, cells, order)
                a, x = (value, x) if kind == 0x00 else (a, value)
        if result is not None:
            yield Step(here, a, x, cell, stored, None, result)
            return
        pc = following
        yield Step(here, a, x, cell, stored, pc, None)


def _loaded(mode: int, k: int, words: Sequence[int], cells: Sequence[int], byteorder: str) -> int:
    match mode:
        case 0x00:  # IMM
            return k
        case 0x20:  # ABS
            return words[word_at(k, byteorder)]
        case 0x60:  # MEM
            return cells[k]
        case _:  # LEN
            return 64


def _holds(operation: int, a: int, operand: int) -> bool:
    match operation:
        case 0x10:
            return a == operand
        case 0x20:
            return a > operand
        case 0x30:
            return a >= operand
        case _:
            return a & operand != 0


def _arithmetic(operation: int, a: int, operand: int) -> int | None:
    """The new A, or None for a division by zero."""
    match operation:
        case 0x00:
            value = a + operand
        case 0x10:
            value = a - operand
        case 0x20:
            value = a * operand
        case 0x30:
            if operand == 0:
                return None
            value = a // operand
        case 0x40:
            value = a | operand
        case 0x50:
            value = a & operand
        case 0x60:
            value = a << (operand & 31)
        case 0x70:
            value = a >> (operand & 31)
        case 0x80:
            value = -a
        case _:
            value = a ^ operand
    return value & _MASK
