"""ptrace(2), as much of it as watching needs: seize, resume, listen, and what a stopped thread was doing.

The problem: a call that the kernel answers with death (kill_process, kill_thread) is never shown to anyone. A seized
thread stops once more on its way out (PTRACE_EVENT_EXIT) with its registers still those of the fatal call.

Rejected: PTRACE_ATTACH (sends a SIGSTOP that the target can see), PTRACE_SYSCALL (stops every call, allowed ones too),
and taking the architecture from the code segment: ``int 0x80`` from 64-bit code is an i386 call. PTRACE_GET_SYSCALL_INFO
(Linux 5.3) says which it was.

What can still go wrong: every request fails with ESRCH once the thread is killed under us; callers take that as "gone".
All requests must come from the thread that seized. A process made with CLONE_UNTRACED is not followed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = [
    "EVENT_CLONE",
    "EVENT_EXEC",
    "EVENT_EXIT",
    "EVENT_FORK",
    "EVENT_SECCOMP",
    "EVENT_STOP",
    "EVENT_VFORK",
    "OBSERVE",
    "OBSERVE_CALLS",
    "TRACE_CALLS",
    "WALL",
    "call_at_stop",
    "call_stop",
    "detach",
    "event_message",
    "interrupt",
    "listen",
    "resume",
    "resume_to_call",
    "seccomp_filter",
    "seccomp_flags",
    "seize",
    "signal_info",
    "supported",
]

EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_EXIT, EVENT_SECCOMP, EVENT_STOP = 1, 2, 3, 4, 6, 7, 128
#: TRACEFORK | TRACEVFORK | TRACECLONE | TRACEEXEC | TRACEEXIT | EXITKILL
OBSERVE = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 20

#: the same, TRACESECCOMP (a filter's TRACE is told) and TRACESYSGOOD (bit 7 of SIGTRAP marks the end of a call)
OBSERVE_CALLS = OBSERVE | 1 << 7 | 1 << 0

#: TRACESYSGOOD | TRACEFORK | TRACEVFORK | TRACECLONE | TRACEEXEC | EXITKILL: every call stops, with bit 7 of SIGTRAP set
TRACE_CALLS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 20

_SEIZE, _CONT, _LISTEN = 0x4206, 7, 0x4208
_DETACH, _SYSCALL, _INTERRUPT = 17, 24, 0x4207
_SECCOMP_GET_FILTER, _SECCOMP_GET_METADATA = 0x420C, 0x420D
_GETEVENTMSG, _GETSIGINFO, _GETREGSET, _GET_SYSCALL_INFO = 0x4201, 0x4202, 0x4204, 0x420E
_NT_PRSTATUS = 1

#: wait for every child, made with SIGCHLD or without, and for every thread that is traced (waitpid(2), ``__WALL``)
WALL = 0x40000000

_ptrace = ctypes.PyDLL(None, use_errno=True).ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

_I386 = 0x40000003
_machine = os.uname().machine


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _request(request: int, tid: int, address: int = 0, data: int = 0) -> None:
    if _ptrace(request, tid, address, data) == -1:
        _fail()


def _fail() -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def supported() -> bool:
    """Whether a stopped thread's call can be read here: the register layouts known are those of x86 and arm64."""
    return _machine in ("x86_64", "i686", "i586", "i486", "i386", "aarch64")


def seize(pid: int, options: int = OBSERVE) -> None:
    """Start to watch, without stopping it. OSError EPERM: another tracer, or not ours to watch (Yama, capabilities)."""
    _request(_SEIZE, pid, 0, options)


def resume(tid: int, signal: int = 0) -> None:
    """Let a stopped thread go on, with ``signal`` delivered."""
    if _ptrace(_CONT, tid, 0, signal) == -1:
        _fail()


def listen(tid: int) -> None:
    """Leave a thread in its group stop, and hear of what ends it."""
    _request(_LISTEN, tid)


def event_message(tid: int) -> int:
    """What belongs to the event: the new process's id, the thread id before exec, or the status at exit."""
    value = ctypes.c_ulong()
    _request(_GETEVENTMSG, tid, 0, ctypes.addressof(value))
    return value.value


def signal_info(tid: int) -> bytes:
    """The 128 bytes of siginfo_t of the signal about to be delivered."""
    buffer = ctypes.create_string_buffer(128)
    _request(_GETSIGINFO, tid, 0, ctypes.addressof(buffer))
    return buffer.raw


def call_at_stop(tid: int) -> tuple[int, int, int, tuple[int, ...]]:
    """``(nr, arch, ip, args)`` of the call the stopped thread is in, as a filter would see it; nr is -1 outside of any."""
    info = ctypes.create_string_buffer(96)
    if _ptrace(_GET_SYSCALL_INFO, tid, len(info), ctypes.addressof(info)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    arch, ip = struct.unpack_from("=IQ", info.raw, 4)
    registers = ctypes.create_string_buffer(1024)
    vector = _Vector(ctypes.addressof(registers), len(registers))
    _request(_GETREGSET, tid, _NT_PRSTATUS, ctypes.addressof(vector))
    nr, args = _call(registers.raw[: vector.length], arch)
    return nr, arch, ip, args


def _call(raw: bytes, arch: int) -> tuple[int, tuple[int, ...]]:
    """Number and arguments out of a user_regs_struct. Sources: arch/x86/include/asm/user_{32,64}.h, asm/syscall.h; arm64 ptrace.h."""
    if _machine == "aarch64":
        if len(raw) >= 34 * 8:
            words = struct.unpack_from("=34Q", raw)
            return _signed(words[8]), words[0:6]
        words = struct.unpack_from("=18I", raw)  # a 32-bit task: r0..r15, cpsr, orig_r0
        return _signed(words[7]), (words[17], *words[1:6])
    if len(raw) == 17 * 4:  # a 32-bit task: ebx ecx edx esi edi ebp eax xds xes xfs xgs orig_eax eip cs eflags esp ss
        words = struct.unpack("=17I", raw)
        return _signed(words[11]), words[0:6]
    words = struct.unpack_from("=27Q", raw)  # r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip ...
    if arch == _I386:
        low = [word & 0xFFFFFFFF for word in words]
        return _signed(words[15]), (low[5], low[11], low[12], low[13], low[14], low[4])
    return _signed(words[15]), (words[14], words[13], words[12], words[7], words[9], words[8])


def _signed(word: int) -> int:
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >> 31 else word


def resume_to_call(tid: int, signal: int = 0) -> None:
    """Let a stopped thread go on to the beginning or the end of its next call, with ``signal`` delivered."""
    _request(_SYSCALL, tid, 0, signal)


def interrupt(tid: int) -> None:
    """Have a seized thread stop (EVENT_STOP) without a signal that it could see."""
    _request(_INTERRUPT, tid)


def detach(tid: int, signal: int = 0) -> None:
    """Let go of a stopped thread, with ``signal`` delivered."""
    _request(_DETACH, tid, 0, signal)


def call_stop(tid: int) -> tuple[str, int, int, tuple[int, ...]]:
    """What a thread that `resume_to_call` resumed is stopped in, on every architecture (PTRACE_GET_SYSCALL_INFO, 5.3).

    ``("entry", arch, ip, (nr, six arguments))``, ``("exit", arch, ip, (result,))`` or ``("", arch, ip, ())``. At the entry no
    filter has seen the call yet; ``result`` is negative where the call failed, and then an errno.
    """
    info = ctypes.create_string_buffer(96)
    if _ptrace(_GET_SYSCALL_INFO, tid, len(info), ctypes.addressof(info)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    kind, arch, ip = struct.unpack_from("=BxxxIQ", info)
    if kind == 1:
        return "entry", arch, ip, struct.unpack_from("=7Q", info, 24)
    if kind == 2:
        return "exit", arch, ip, struct.unpack_from("=q", info, 24)
    return "", arch, ip, ()


def seccomp_filter(tid: int, index: int) -> bytes | None:
    """The instructions of a stopped thread's filter, 0 the oldest; None where it has no such filter.

    OSError EACCES: the caller lacks CAP_SYS_ADMIN in the first user namespace, or is under seccomp itself; EINVAL: the kernel
    has no CONFIG_CHECKPOINT_RESTORE. Source: kernel/seccomp.c, seccomp_get_filter.
    """
    length = _ptrace(_SECCOMP_GET_FILTER, tid, index, None)
    if length >= 0:
        buffer = ctypes.create_string_buffer(8 * length)
        length = _ptrace(_SECCOMP_GET_FILTER, tid, index, ctypes.addressof(buffer))
        if length >= 0:
            return buffer.raw[: 8 * length]
    number = ctypes.get_errno()
    if number == errno.ENOENT:
        return None
    raise OSError(number, os.strerror(number))


def seccomp_flags(tid: int, index: int) -> int | None:
    """The flags that the kernel keeps of a filter, of which LOG is the only one; None where it does not say (before 4.16)."""
    metadata = ctypes.create_string_buffer(struct.pack("=QQ", index, 0), 16)
    if _ptrace(_SECCOMP_GET_METADATA, tid, 16, ctypes.addressof(metadata)) < 16:
        return None
    flags: int = struct.unpack_from("=Q", metadata, 8)[0]
    return flags
