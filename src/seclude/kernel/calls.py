"""What a tracer asks for at every stop, in as few steps as the kernel allows: one request tells a call and its end, one copy reads memory.

The problem: a traced call costs two stops, and each request made there is paid thousands of times a second. So nothing is allocated here but what
is returned: the buffers that the kernel fills are made once. PTRACE_GET_SYSCALL_INFO (Linux 5.3) tells architecture, number and arguments
at a seccomp stop and the result at the end, on every architecture, where PTRACE_GETREGSET would need one layout for each.

What can still go wrong: one process may use this from one thread only, which ptrace(2) asks for anyway. What is read changes the next instant; it is fit
for showing, never for deciding.
"""

from __future__ import annotations

import ctypes
import os
import struct

from seclude.kernel import memory

__all__ = ["ENTRY", "EXIT", "LARGEST", "NONE", "SECCOMP", "call_info", "call_result", "copy"]

#: the kinds of stop that the kernel tells apart: none of a call, before a call, behind it, before it because of a filter (linux/ptrace.h)
NONE, ENTRY, EXIT, SECCOMP = 0, 1, 2, 3
_GET_SYSCALL_INFO = 0x420E
#: bytes that one `copy` takes at most
LARGEST = 1 << 16

_library = ctypes.PyDLL(None, use_errno=True)  # our own: prototypes set on a shared one would change it for others
_ptrace = _library.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_readv = _library.process_vm_readv
_readv.restype = ctypes.c_ssize_t
_readv.argtypes = (ctypes.c_long, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)

_INFO = ctypes.create_string_buffer(96)
_INFO_AT = ctypes.addressof(_INFO)
_INFO_VIEW = memoryview(_INFO).cast("B")
# struct ptrace_syscall_info: op, arch, instruction pointer, stack pointer, then nr and six arguments, or the result
_CALL = struct.Struct("=BxxxIQQ7Q").unpack_from
_END = struct.Struct("=BxxxIQQq").unpack_from


def call_info(tid: int) -> tuple[int, ...]:
    """What the stopped thread is at: ``(kind, arch, ip, sp, nr, six arguments)``, or for `EXIT` ``(kind, arch, ip, sp, result)``.

    A result is negative where the call failed, and then an errno of that architecture. ProcessLookupError: killed meanwhile.
    """
    if _ptrace(_GET_SYSCALL_INFO, tid, 96, _INFO_AT) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return _END(_INFO) if _INFO_VIEW[0] == EXIT else _CALL(_INFO)


def call_result(tid: int) -> int:
    """The result of the call behind which the thread is stopped: negative where it failed, and then an errno."""
    return call_info(tid)[4]


_BUFFER = ctypes.create_string_buffer(LARGEST)
_BYTES = memoryview(_BUFFER).cast("B")
_BUFFER_AT = ctypes.addressof(_BUFFER)
_VECTORS = ctypes.create_string_buffer(4 * ctypes.sizeof(ctypes.c_size_t))  # two struct iovec: ours, the target's
_LOCAL = ctypes.addressof(_VECTORS)
_fill = struct.Struct("=4Q" if ctypes.sizeof(ctypes.c_size_t) == 8 else "=4I").pack_into
_REMOTE = _LOCAL + 2 * ctypes.sizeof(ctypes.c_size_t)
_WORD = 1 << 8 * ctypes.sizeof(ctypes.c_size_t)


def copy(tid: int, address: int, size: int) -> bytes | None:
    """Up to ``size`` (at most `LARGEST`) bytes of the thread's memory: fewer where a mapping ends, None where none is readable."""
    if not 0 < address < _WORD:
        return None
    if size > LARGEST:
        size = LARGEST
    elif size <= 0:
        return b""
    _fill(_VECTORS, 0, _BUFFER_AT, size, address, size)
    got = _readv(tid, _LOCAL, 1, _REMOTE, 1, 0)
    if got > 0:
        return bytes(_BYTES[:got])
    return memory.read(tid, address, size)  # by way of /proc, where process_vm_readv is not to be had
