"""The registers of a thread that stands before a call (PTRACE_EVENT_SECCOMP): read them, change the call, or skip it.

The problem: which registers hold a call depends on the kernel's architecture, on the width of the code that the thread runs and
on how it made the call: ``int 0x80`` from 64-bit code is an i386 call in 64-bit registers. The architecture comes from
PTRACE_GET_SYSCALL_INFO (never from the code segment), the width from the size of the register set that the kernel hands out.

A call is skipped by number -1 together with a result: without the result the target would see what the register happened to hold
(ENOSYS on x86, its own first argument on arm64).

Since Linux 6.16 PTRACE_SET_SYSCALL_INFO changes a call wherever its registers are; before, it is done here by register sets.

What can still go wrong: on arm64 a filter sees the first argument in a copy (orig_x0) that a register set of a 64-bit task has not, so that after a
change of this argument, on a kernel before 6.16, the kernel's own second evaluation judges the old value. Whoever rewrites must judge the new one himself.

Sources: arch/x86/include/asm/user_{32,64}.h, asm/syscall.h; arch/arm64/include/uapi/asm/ptrace.h, kernel/ptrace.c; kernel/ptrace.c
(ptrace_get_syscall_info); ptrace(2).
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    #: number (signed), architecture's token, instruction pointer, six arguments, the filter's 16 bits of data
    Stopped = tuple[int, int, int, tuple[int, ...], int]

__all__ = ["Layout", "layout", "rewritten", "set_call", "skip", "skipped", "stopped_call"]

_GETREGSET, _SETREGSET, _GET_SYSCALL_INFO, _SET_SYSCALL_INFO = 0x4204, 0x4205, 0x420E, 0x4212
_NT_PRSTATUS, _NT_ARM_SYSTEM_CALL = 1, 0x404
_SECCOMP = 3  # PTRACE_SYSCALL_INFO_SECCOMP
_EIO = 5
_I386 = 0x40000003
_LARGEST = 34 * 8

_machine = os.uname().machine
_ptrace = ctypes.PyDLL(None, use_errno=True).ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

# op, arch, ip, (stack pointer skipped), nr, six arguments, data: struct ptrace_syscall_info of linux/ptrace.h
_INFO = struct.Struct("=BxxxIQ8xq6QI4x")


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Layout:
    """Where a call is in a register set of NT_PRSTATUS: indices of words of ``width`` bytes.

    ``number`` is None where the number is a register set of its own (NT_ARM_SYSTEM_CALL). ``copy`` is where a second copy of the first argument is kept, or None.
    """

    __slots__ = ("args", "copy", "number", "result", "width", "words")

    def __init__(self, width: int, words: int, number: int | None, result: int, args: tuple[int, ...], copy: int | None = None) -> None:
        self.width = width
        self.words = words
        self.number = number
        self.result = result
        self.args = args
        self.copy = copy


# r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss fs_base gs_base ds es fs gs
_X86_64 = Layout(8, 27, 15, 10, (14, 13, 12, 7, 9, 8))
_INT_80 = Layout(8, 27, 15, 10, (5, 11, 12, 13, 14, 4))
# bx cx dx si di bp ax ds es fs gs orig_ax ip cs flags sp ss
_X86_32 = Layout(4, 17, 11, 6, (0, 1, 2, 3, 4, 5))
# x0..x30 sp pc pstate
_ARM64 = Layout(8, 34, None, 0, (0, 1, 2, 3, 4, 5))
# r0..r15 cpsr orig_r0
_ARM = Layout(4, 18, None, 0, (0, 1, 2, 3, 4, 5), copy=17)


def layout(machine: str, size: int, arch: int) -> Layout:
    """The layout of a register set of ``size`` bytes on a kernel for ``machine`` (as uname -m says), in a call of architecture ``arch``.

    Raises OSError (ENOTSUP) for a register set that is none of those known: nothing is guessed.
    """
    if machine == "aarch64":
        known: tuple[Layout, ...] = (_ARM64, _ARM)
    elif machine == "x86_64":
        known = (_INT_80 if arch == _I386 else _X86_64, _X86_32)
    else:
        known = (_X86_32,) if machine in ("i386", "i486", "i586", "i686") else ()
    for one in known:
        if one.width * one.words == size:
            return one
    import errno

    raise OSError(errno.ENOTSUP, f"{size} bytes of registers are no layout known of {machine}")


def rewritten(raw: bytes, where: Layout, nr: int, args: Sequence[int]) -> bytes:
    """``raw`` with number ``nr`` and six arguments ``args``, cut to the width of the registers."""
    changed = list(_unpack(raw, where))
    if where.number is not None:
        changed[where.number] = nr
    for index, value in zip(where.args, args, strict=True):
        changed[index] = value
    if where.copy is not None:
        changed[where.copy] = args[0]
    return _pack(changed, where)


def skipped(raw: bytes, where: Layout, value: int) -> bytes:
    """``raw`` with no call (number -1) and the result ``value``."""
    changed = list(_unpack(raw, where))
    if where.number is not None:
        changed[where.number] = -1
    changed[where.result] = value
    return _pack(changed, where)


def _unpack(raw: bytes, where: Layout) -> tuple[int, ...]:
    return struct.unpack(f"={where.words}{'Q' if where.width == 8 else 'I'}", raw)


def _pack(words: Sequence[int], where: Layout) -> bytes:
    mask = (1 << 8 * where.width) - 1
    return struct.pack(f"={where.words}{'Q' if where.width == 8 else 'I'}", *[word & mask for word in words])


def stopped_call() -> Callable[[int], Stopped]:
    """A reader of the call before which a thread stands: ``(nr, arch, ip, args, data)``, in one request (Linux 5.3).

    The reader has one buffer: use it from one thread, as ptrace itself. It raises ProcessLookupError where the thread is gone, and
    OSError (EINVAL) at any other stop.
    """
    buffer = ctypes.create_string_buffer(_INFO.size)
    address = ctypes.addressof(buffer)
    unpack, size, request = _INFO.unpack_from, _INFO.size, _ptrace

    def read(tid: int) -> Stopped:
        if request(_GET_SYSCALL_INFO, tid, size, address) < 0:
            _fail()
        op, arch, ip, nr, a, b, c, d, e, f, data = unpack(buffer)
        if op != _SECCOMP:
            import errno

            raise OSError(errno.EINVAL, f"thread {tid} does not stand before a call that a filter stopped")
        return nr, arch, ip, (a, b, c, d, e, f), data

    return read


def set_call(tid: int, arch: int, nr: int, args: Sequence[int]) -> None:
    """Have a thread that stands before a call of architecture ``arch`` make this one instead: the filters judge it again."""
    info = ctypes.create_string_buffer(_INFO.pack(_SECCOMP, 0, 0, nr, *args, 0), _INFO.size)
    if _ptrace(_SET_SYSCALL_INFO, tid, _INFO.size, ctypes.addressof(info)) == 0:
        return
    if ctypes.get_errno() != _EIO:  # what a request that the kernel does not know is answered with
        _fail()
    _change(tid, arch, nr, lambda raw, where: rewritten(raw, where, nr, args))


def skip(tid: int, arch: int, value: int) -> None:
    """Have a thread that stands before a call go on behind it, with ``value`` as its result (-4095..-1: a negated errno)."""
    _change(tid, arch, -1, lambda raw, where: skipped(raw, where, value))


def _change(tid: int, arch: int, nr: int, change: Callable[[bytes, Layout], bytes]) -> None:
    buffer = ctypes.create_string_buffer(_LARGEST)
    vector = _Vector(ctypes.addressof(buffer), _LARGEST)
    _request(_GETREGSET, tid, _NT_PRSTATUS, vector)
    raw = buffer.raw[: vector.length]
    where = layout(_machine, len(raw), arch)
    buffer.raw = change(raw, where).ljust(_LARGEST, b"\0")
    if where.number is None:
        # First the number: a thread killed between the two makes no call at all.
        word = ctypes.c_int(nr)
        _request(_SETREGSET, tid, _NT_ARM_SYSTEM_CALL, _Vector(ctypes.addressof(word), ctypes.sizeof(word)))
    _request(_SETREGSET, tid, _NT_PRSTATUS, vector)


def _request(request: int, tid: int, which: int, vector: _Vector) -> None:
    if _ptrace(request, tid, which, ctypes.addressof(vector)) == -1:
        _fail()


def _fail() -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
