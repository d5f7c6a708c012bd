"""The BPF machine as the kernel runs it for seccomp, and the emulator of the kernel's constant-allow bitmap.

A program is any sequence of ``(code, jt, jf, k)``; its input is the sixteen 32-bit **logical words** of struct
seccomp_data, in an order that does not depend on the byte order of the target::

    0 nr   1 arch   2 ip.low   3 ip.high   4 arg0.low   5 arg0.high   ...   14 arg5.low   15 arg5.high

``LD|W|ABS`` with byte offset ``k`` reads logical word ``k / 4`` on a little-endian target. On a big-endian one the high word of a
64-bit field comes first, so the two words of each such field are swapped (``word_at``, ``offset_of``).

Semantics (net/core/filter.c, checked against the running kernel): A, X and the scratch cells start as 0; arithmetic is
modulo 2^32; a shift by X uses ``X & 31``; division by an X of 0 ends the program with 0, that is KILL_THREAD; LEN is 64.

Nothing heavy is imported here: ``seclude run`` decodes and runs programs with it.
"""

from __future__ import annotations

import sys
from struct import calcsize, iter_unpack

from seclude.errors import FilterError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from seclude.bpf.program import Program

    #: A program, or any other sequence of ``(code, jt, jf, k)``.
    Code: TypeAlias = Program | Sequence[tuple[int, int, int, int]]

__all__ = ["constant_allow", "decode", "evaluate", "offset_of", "pack_data", "run", "word_at"]

_MASK = 0xFFFFFFFF
_ALLOW = 0x7FFF0000
_X32_BIT = 0x40000000

assert calcsize("=HBBI") == 8


def decode(raw: bytes, byteorder: str = sys.byteorder) -> list[tuple[int, int, int, int]]:
    """The instructions of a program in bytes: an array of struct sock_filter in the byte order of the target.

    Raises ``FilterError`` if the length is not a multiple of eight.
    """
    if len(raw) % 8:
        whole = len(raw) // 8
        raise FilterError(
            f"{len(raw)} bytes are not a whole number of BPF instructions: {len(raw) % 8} bytes are left over at offset {8 * whole}",
            "an instruction is 8 bytes; check that nothing was cut off or appended",
        )
    return list(iter_unpack(">HBBI" if _is_big(byteorder) else "<HBBI", raw))


def pack_data(nr: int, arch: int, ip: int = 0, args: Iterable[int] = ()) -> tuple[int, ...]:
    """A struct seccomp_data as logical words. Numbers are taken modulo the width of their field, missing arguments are 0."""
    wide = [ip, *args]
    if len(wide) > 7:
        from seclude.errors import UsageError

        raise UsageError(f"a system call has at most six arguments, not {len(wide) - 1}")
    words = [nr & _MASK, arch & _MASK]
    for value in wide:
        words += (value & _MASK, value >> 32 & _MASK)
    return (*words, *[0] * (16 - len(words)))


def word_at(offset: int, byteorder: str = sys.byteorder) -> int:
    """The logical word that ``LD|W|ABS offset`` reads; raises ``FilterError`` where the kernel refuses the offset."""
    if offset & 3 or not 0 <= offset < 64:
        raise FilterError(
            f"no word of struct seccomp_data is at byte offset {offset}", "offsets are multiples of 4 below 64 (linux/seccomp.h)"
        )
    word = offset >> 2
    return word ^ 1 if word > 1 and _is_big(byteorder) else word


def offset_of(word: int, byteorder: str = sys.byteorder) -> int:
    """The byte offset from which logical word ``word`` (0..15) is loaded: the inverse of ``word_at``."""
    return 4 * (word ^ 1 if word > 1 and _is_big(byteorder) else word)


def run(instructions: Code, words: Sequence[int], byteorder: str | None = None) -> tuple[int, int]:
    """Run a program on logical words: its 32-bit result and the number of executed instructions, the last one included.

    ``byteorder`` is the target's: by default that of the ``Program``, or of this machine. Raises ``FilterError`` where
    an instruction is one that the kernel would have refused to load (``validate`` tells without running).
    """
    if byteorder is None:
        byteorder = getattr(instructions, "byteorder", sys.byteorder)
    if _is_big(byteorder):
        words = [*words[:2], *(words[i ^ 1] for i in range(2, 16))]
    # Indexing a plain tuple is twice as fast as a Program's.
    instructions = getattr(instructions, "instructions", instructions)
    a = x = 0
    cells: list[int] | None = None
    pc = steps = 0
    try:
        while True:
            code, jt, jf, k = instructions[pc]
            pc += 1
            steps += 1
            # The commonest first: this chain is the machine's cost.
            if code == 0x15:  # JEQ K
                pc += jt if a == k else jf
            elif code == 0x20:  # LD ABS
                if k & 3:
                    raise FilterError(_refused(pc - 1, code, k))
                a = words[k >> 2]
            elif code == 0x35:  # JGE K
                pc += jt if a >= k else jf
            elif code == 0x25:  # JGT K
                pc += jt if a > k else jf
            elif code == 0x45:  # JSET K
                pc += jt if a & k else jf
            elif code == 0x06:  # RET K
                return k, steps
            elif code == 0x54:  # AND K
                a &= k
            elif code == 0x05:  # JA
                pc += k
            elif code == 0x16:  # RET A
                return a, steps
            elif code == 0x60 or code == 0x61:  # LD MEM, LDX MEM
                value = cells[k] if cells is not None else (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)[k]
                if code == 0x60:
                    a = value
                else:
                    x = value
            elif code == 0x02 or code == 0x03:  # ST, STX
                if cells is None:
                    cells = [0] * 16
                cells[k] = a if code == 0x02 else x
            elif code == 0x00:  # LD IMM
                a = k
            elif code == 0x01:  # LDX IMM
                x = k
            elif code == 0x07:  # TAX
                x = a
            elif code == 0x87:  # TXA
                a = x
            elif code == 0x80:  # LD LEN
                a = 64
            elif code == 0x81:  # LDX LEN
                x = 64
            elif code in _JUMPS_X:
                operation = code & 0xF0
                if operation == 0x10:
                    taken = a == x
                elif operation == 0x20:
                    taken = a > x
                elif operation == 0x30:
                    taken = a >= x
                else:
                    taken = a & x != 0
                pc += jt if taken else jf
            elif code in _ALU:
                operand = x if code & 0x08 else k
                operation = code & 0xF0
                if operation == 0x00:
                    a = a + operand & _MASK
                elif operation == 0x10:
                    a = a - operand & _MASK
                elif operation == 0x20:
                    a = a * operand & _MASK
                elif operation == 0x30:
                    if operand == 0:
                        if code & 0x08:
                            return 0, steps
                        raise FilterError(_refused(pc - 1, code, k))
                    a //= operand
                elif operation == 0x40:
                    a |= operand
                elif operation == 0x50:
                    a &= operand
                elif operation == 0x80:
                    a = -a & _MASK
                elif operation == 0xA0:
                    a ^= operand
                else:
                    if code & 0x08:
                        operand &= 31
                    elif operand > 31:
                        raise FilterError(_refused(pc - 1, code, k))
                    a = a << operand & _MASK if operation == 0x60 else a >> operand
            else:
                raise FilterError(_refused(pc - 1, code, k))
    except IndexError:
        if pc >= len(instructions) and not _reaches_outside(instructions[-1:]):
            raise FilterError(f"the program runs off its end, to instruction {pc} of {len(instructions)}", _ADVICE) from None
        raise FilterError(_refused(pc - 1, code, k)) from None


_JUMPS_X = frozenset((0x1D, 0x2D, 0x3D, 0x4D))
_ALU = frozenset({*range(0x04, 0x85, 0x10), *range(0x0C, 0x7D, 0x10), 0xA4, 0xAC})
_ADVICE = "check the program first: the kernel would have refused to load it"


def _refused(pc: int, code: int, k: int) -> str:
    return f"instruction {pc} (code 0x{code:02x}, k 0x{k:x}) is one that the kernel refuses to load"


def _reaches_outside(last: Sequence[tuple[int, int, int, int]]) -> bool:
    """Whether the last instruction itself reads or writes a word that does not exist."""
    return any((code == 0x20 and k >= 64) or (code in (0x60, 0x61, 0x02, 0x03) and k >= 16) for code, _, _, k in last)


def evaluate(program: Code, arch: int | str, nr: int | str, *args: int, ip: int = 0) -> int:
    """The 32-bit result of a program for one call: ``evaluate(program, "x86_64", "socket", 2, 1, 0)``.

    ``arch`` is an AUDIT_ARCH token or an architecture's name, ``nr`` a number or, where ``arch`` is a name, a call of it. Raises
    ``UsageError`` for an unknown name.
    """
    if isinstance(arch, str) or isinstance(nr, str):
        from seclude.abi import arch as architecture_of
        from seclude.errors import UsageError, nearest

        architecture = architecture_of(arch)
        if isinstance(nr, str):
            number = architecture.number(nr)
            if number is None:
                near = nearest(nr, architecture.calls())
                raise UsageError(f"{architecture.name} has no call {nr!r}", f"did you mean {near!r}?" if near else "")
            nr = number
        arch = architecture.token
    return run(program, pack_data(nr, arch, ip, args))[0]


def constant_allow(instructions: Code, token: int, nr: int) -> bool:
    """Whether this program lets the kernel keep ``(token, nr)`` in its constant-allow bitmap (kernel/seccomp.c, since 5.11).

    The kernel runs the program knowing only nr and arch, and gives up at the first instruction outside: loads of those two
    words, jumps comparing A with a constant, ALU AND with a constant, and a final ``RET ALLOW`` without data. A pair in the bitmap of every filter of a task
    costs no filter run at all.

    Numbers with bit 30 (x32) or bit 31 are never in the bitmap, and the kernel keeps it only for the numbers of its own tables and for its native
    and compat architectures: this function judges the program, not which kernel loads it. (On x86-64, uretprobe 335 and uprobe 336 are always
    allowed by kernels that have them, whatever the filter says.)
    """
    nr &= _MASK
    if nr >= _X32_BIT:
        return False
    instructions = getattr(instructions, "instructions", instructions)
    a = pc = 0
    while pc < len(instructions):
        code, jt, jf, k = instructions[pc]
        pc += 1
        if code == 0x20:
            if k == 0:
                a = nr
            elif k == 4:
                a = token
            else:
                return False
        elif code == 0x15:
            pc += jt if a == k else jf
        elif code == 0x35:
            pc += jt if a >= k else jf
        elif code == 0x25:
            pc += jt if a > k else jf
        elif code == 0x45:
            pc += jt if a & k else jf
        elif code == 0x05:
            pc += k
        elif code == 0x54:
            a &= k
        else:
            return code == 0x06 and k == _ALLOW
    return False


def _is_big(byteorder: str) -> bool:
    if byteorder == "little":
        return False
    if byteorder == "big":
        return True
    from seclude.errors import UsageError

    raise UsageError(f"byte order {byteorder!r} is neither 'little' nor 'big'")
