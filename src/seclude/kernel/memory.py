"""Another process's memory, read into a copy: process_vm_readv(2) first (3 µs), /proc/TID/mem where that is missing.

The problem: what is read can change the next instant, or belong to another process altogether once a thread id is
reused. So a caller reads each pointer once, decides on the copy, and afterwards asks the listener whether the
notification still stands. Nothing here is fit for letting a call pass.

What can still go wrong: a target that made itself non-dumpable hides its memory from an unprivileged reader (EPERM),
and so do Yama 2 and 3. Then there is no answer, `None`, and a report says ``<unreadable>``.
"""

from __future__ import annotations

import _thread
import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["open_memory", "read", "read_at", "read_string", "write"]

_PAGE = os.sysconf("SC_PAGESIZE")
_HIGHEST = 1 << 8 * ctypes.sizeof(ctypes.c_void_p)


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


# Without the interpreter's lock: the page may be one that somebody takes his time to fill (userfaultfd(2), a mapped file), and other threads must go on meanwhile.
_libc = ctypes.CDLL(None, use_errno=True)
_readv, _writev = _libc.process_vm_readv, _libc.process_vm_writev
for _function in (_readv, _writev):
    _function.restype = ctypes.c_ssize_t
    _function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)


class _Scratch(_thread._local):
    """One thread's buffer of a page, and the vectors that name it and the place to read."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(_PAGE)
        self._local, self._remote = _Vector(ctypes.addressof(self._buffer), _PAGE), _Vector(0, 0)
        self.at, self.local = ctypes.addressof(self._buffer), ctypes.addressof(self._local)
        self._there = ctypes.addressof(self._remote)

    def remote(self, address: int, size: int) -> int:
        """The address of the vector for ``size`` bytes at ``address``."""
        self._remote.base, self._remote.length = address, size
        return self._there


_scratch = _Scratch()


def read(tid: int, address: int, size: int) -> bytes | None:
    """Up to ``size`` bytes at ``address`` of the thread's memory: fewer where a mapping ends, None where none is readable."""
    if size <= 0:
        return b""
    if not 0 < address < _HIGHEST:
        return None
    if size <= _PAGE:  # most are: no new objects for these
        got = _readv(tid, _scratch.local, 1, _scratch.remote(address, size), 1, 0)
        if got > 0:
            return ctypes.string_at(_scratch.at, got)
    else:
        buffer = ctypes.create_string_buffer(size)
        local, remote = _Vector(ctypes.addressof(buffer), size), _Vector(address, size)
        got = _readv(tid, ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0)
        if got > 0:
            return buffer.raw[:got]
    try:
        memory = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.pread(memory, size, address) or None
    except (OSError, OverflowError):
        return None
    finally:
        os.close(memory)


def read_string(tid: int, address: int, limit: int = 4096) -> bytes | None:
    """The bytes up to the first NUL, at most ``limit``. Read page by page, so that a string at the end of a mapping is whole."""
    out = b""
    if 0 < address < _HIGHEST:  # most are short: one read, nothing put together
        got = _readv(tid, _scratch.local, 1, _scratch.remote(address, min(limit, _PAGE - address % _PAGE, 256)), 1, 0)
        if got > 0:
            out = ctypes.string_at(_scratch.at, got)
            end = out.find(b"\0")
            if end >= 0:
                return out[:end]
    while len(out) < limit:
        at = address + len(out)
        piece = read(tid, at, min(limit - len(out), _PAGE - at % _PAGE, 256 if not out else _PAGE))
        if not piece:
            return out or None
        head, nul, _ = piece.partition(b"\0")
        out += head
        if nul:
            break
    return out


def write(tid: int, address: int, data: bytes, still: Callable[[], bool] | None = None) -> bool | None:
    """All of ``data`` into the thread's memory. False where it cannot be written whole: a part may have been.

    Without ``still`` the thread must be held (a tracer's, which has not been waited for): then its number is its own, and only what it could write itself is
    written. With it, ``still()`` is asked once the memory is held, and None returned where it is not the asker's any more: by the number alone another
    process could be written to. That way goes through /proc/TID/mem, which heeds no protection of the target's own pages.
    """
    if not data:
        return True
    if not 0 < address < 1 << 8 * ctypes.sizeof(ctypes.c_void_p) - 1:
        return False
    if still is None:
        buffer = ctypes.create_string_buffer(data, len(data))
        local, remote = _Vector(ctypes.addressof(buffer), len(data)), _Vector(address, len(data))
        return bool(_writev(tid, ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0) == len(data))
    try:
        memory = os.open(f"/proc/{tid}/mem", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False if still() else None
    try:
        return None if not still() else os.pwrite(memory, data, address) == len(data)
    except OSError:
        return False
    finally:
        os.close(memory)


def open_memory(pid: int) -> int | None:
    """A close-on-exec descriptor of the process's memory as it is now, None where it may not be read.

    The right is asked for once, here: what is opened before a process makes itself non-dumpable stays readable.
    """
    try:
        return os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def read_at(descriptor: int, address: int, size: int) -> bytes | None:
    """Up to ``size`` bytes at ``address`` through a descriptor of `open_memory`; None where nothing can be read."""
    if size <= 0:
        return b""
    if not 0 < address < 1 << 63:
        return None
    try:
        return os.pread(descriptor, size, address) or None
    except (OSError, OverflowError):
        return None
