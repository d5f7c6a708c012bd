"""What the running kernel does with one call under given filters, found out without the call being made.

The problem: to see that a filter allows ``reboot`` one must not reboot. A child loads first a filter that answers TRACE to everything, then those that
are judged. Allow and log are weaker than TRACE, so the child stops before its call where they would let it through, and is killed there; what is
stronger shows itself: a result, a SIGSYS, a death.

The child's own calls stop as well and go on, until it has loaded the last filter: from there on it makes one call, from a page of machine code, so that
also ``int 0x80`` can be asked about. x86-64 only.

What can still go wrong: kill_thread and kill_process are both the end of a process of one thread. A filter without listener answers notify with ENOSYS, as it would errno(ENOSYS).
LOG cannot be told from ALLOW here. `observable` says of an answer what of it can be seen.

Sources: kernel/seccomp.c (order of actions), ptrace(2).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys

from seclude.errors import KernelError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from seclude.abi import Architecture

__all__ = ["observable", "probe"]

#: the data of our own TRACE: what a judged filter answers with TRACE has other data, or cannot be told from allow
_OURS = 0xA5E8
_TRACE = 0x7FF00000
_MASK = 0xFFFFFFFFFFFFFFFF
# PTRACE_O_TRACESYSGOOD | TRACESECCOMP | EXITKILL
_OPTIONS = 1 << 0 | 1 << 7 | 1 << 20
_EVENT_SECCOMP, _SIGILL, _SIGTRAP, _SIGSYS = 7, 4, 5, 31


def observable(value: int) -> str:
    """Of a filter's answer (32 bits), what `probe` can see."""
    action, data = value & 0xFFFF0000, value & 0xFFFF
    if action in (0x7FFF0000, 0x7FFC0000):
        return "let through"
    if action == 0x50000:
        return f"result {-min(data, 4095)}"
    if action == 0x7FC00000:
        return f"result {-errno.ENOSYS}"
    if action == _TRACE:
        return f"a tracer's stop with {data}"
    if action == 0x30000:
        return f"SIGSYS with {data}"
    return "killed by SIGSYS"


def probe(filters: Sequence[bytes], arch: Architecture, nr: int, args: Sequence[int]) -> str:
    """What becomes of the call under ``filters``, the oldest first, in the words of `observable`.

    Raises `UsageError` for an architecture other than x86_64, x32 and x86 on an x86-64 machine, `KernelError` where the kernel refuses a filter or tracing.
    """
    if os.uname().machine != "x86_64" or sys.maxsize < 1 << 32 or arch.name not in ("x86_64", "x32", "x86"):
        raise UsageError(f"{arch.name}: the running kernel is asked about x86_64, x32 and x86 calls on x86-64 machines only")
    begin_r, begin_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(begin_w)
            _child(filters, arch, nr, args, begin_r)
        finally:
            os._exit(125)
    os.close(begin_r)
    try:
        return _watch(pid, begin_w, len(filters))
    finally:
        try:
            os.kill(pid, 9)
            while os.WIFSTOPPED(os.waitpid(pid, 0x40000000)[1]):
                continue
        except (ProcessLookupError, ChildProcessError):
            pid = 0


# --- the child


def _child(filters: Sequence[bytes], arch: Architecture, nr: int, args: Sequence[int], begin: int) -> NoReturn:
    import gc

    gc.disable()
    from seclude.kernel import prctl
    from seclude.kernel.seccomp import prepare

    prctl.set_no_new_privs()
    every = struct.pack("=HBBI", 6, 0, 0, _TRACE | _OURS)
    loads = [prepare(raw) for raw in (every, *filters)]
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_code([ctypes.addressof(one) for one in loads], arch, nr, args))
    run = ctypes.PYFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    os.read(begin, 1)
    run()
    os._exit(125)


_RAX, _RBX, _RCX, _RDX, _RSI, _RDI, _RBP, _R8, _R9, _R10 = 0, 3, 1, 2, 6, 7, 5, 8, 9, 10
_SECCOMP_NR, _SYSCALL, _INT_80 = 317, b"\x0f\x05", b"\xcd\x80"


def _load(register: int, value: int) -> bytes:
    """``mov register, value`` of 64 bits."""
    return bytes((0x48 | register >> 3, 0xB8 | register & 7)) + struct.pack("<Q", value & _MASK)


def _code(loads: Sequence[int], arch: Architecture, nr: int, args: Sequence[int]) -> bytes:
    """Machine code: load each filter with seccomp(2), stop dead where one is refused, make the call, stop dead."""
    code = b""
    for address in loads:
        code += _load(_RAX, _SECCOMP_NR) + _load(_RDI, 1) + _load(_RSI, 0) + _load(_RDX, address) + _SYSCALL
        code += b"\x48\x85\xc0\x74\x02\x0f\x0b"  # test rax, rax; jz over; ud2
    registers = (_RBX, _RCX, _RDX, _RSI, _RDI, _RBP) if arch.name == "x86" else (_RDI, _RSI, _RDX, _R10, _R8, _R9)
    for register, value in zip(registers, args, strict=True):
        code += _load(register, value)
    return code + _load(_RAX, nr & 0xFFFFFFFF) + (_INT_80 if arch.name == "x86" else _SYSCALL) + b"\x0f\x0b"


# --- the parent


def _watch(pid: int, begin: int, filters: int) -> str:
    """Follow the child to the one call, and see what becomes of it."""
    from seclude.kernel import ptrace

    ptrace.seize(pid, _OPTIONS)
    ptrace.interrupt(pid)
    _next(pid)
    ptrace.resume_to_call(pid)
    os.write(begin, b"x")
    os.close(begin)
    loaded = -1  # the first load is the one that makes everything stop
    asked = loading = False
    result = 0
    while True:
        kind, event, signal = _next(pid)
        if kind == "ended":
            if asked and signal:
                return _death(signal)
            raise KernelError("the child that was to make the call ended before it", "is the machine short of memory?")
        if kind == "event" and event == _EVENT_SECCOMP:
            if asked:
                data = ptrace.event_message(pid)
                return "let through" if data == _OURS else f"a tracer's stop with {data}"
        elif kind == "signal":
            if signal == _SIGSYS and asked:
                return f"SIGSYS with {struct.unpack_from('=i', ptrace.signal_info(pid), 4)[0]}"
            if signal == _SIGILL and asked:
                return f"result {result}"
            if signal == _SIGILL:
                raise KernelError("the running kernel refuses to load the filter after the others", "see: seclude lint")
        elif kind == "call":
            where, _, _, values = ptrace.call_stop(pid)
            if where == "exit":
                # A trap and a death also have a result; what tells is what comes next.
                result = values[0]
                loaded += loading and values[0] == 0
                loading = False
            elif loaded == filters:
                asked = True
            elif values[0] == _SECCOMP_NR:
                loading = True
        ptrace.resume_to_call(pid, signal if kind == "signal" else 0)


def _next(pid: int) -> tuple[str, int, int]:
    """The next stop of the child: ``("event", number, 0)``, ``("call", 0, 0)``, ``("signal", 0, number)``, or ``("ended", 0, signal)``."""
    _, status = os.waitpid(pid, 0x40000000)
    if not os.WIFSTOPPED(status):
        return "ended", 0, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    signal, event = status >> 8 & 0xFF, status >> 16
    if event:
        return "event", event, 0
    if signal == _SIGTRAP | 0x80:
        return "call", 0, 0
    return "signal", 0, signal


def _death(signal: int) -> str:
    return "killed by SIGSYS" if signal == _SIGSYS else f"killed by signal {signal}"
