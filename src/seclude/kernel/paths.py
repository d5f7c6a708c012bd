"""Files by handle: pin with O_PATH, look at what was pinned, act on exactly that (openat2(2), statx(2), open(2) O_PATH).

The problem: a path means another file each time it is walked. A handle (a descriptor opened with O_PATH) means one file for good, whatever is
renamed meanwhile; its path can be asked for (/proc/self/fd), and it can be opened, changed or looked at through that same name, without a walk.

Rejected: comparing paths before and after (what was swapped twice looks the same); O_PATH descriptors handed on (a notification cannot inject them).

What can still go wrong: the path of a handle is as of the moment it is asked for, and a removed file's ends in " (deleted)", which a name can end in
too; a mount that is reachable from nowhere prints a path that is none. What relies on paths must keep others from mounting.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from seclude.kernel.libc import libc, number, syscall

__all__ = [
    "MAGIC_PROC", "NO_MAGICLINKS", "Handle", "at", "handle_path", "is_proc", "link_text", "mount_of", "open_at", "pin",
]  # fmt: skip

#: resolve flags of openat2(2), linux/openat2.h
NO_MAGICLINKS = 0x02
MAGIC_PROC = 0x9FA0  # PROC_SUPER_MAGIC, linux/magic.h
AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW = 0x1000, 0x100
_AT_FDCWD = -100
_STATX_MNT_ID = 0x1000
_HANDLE = os.O_PATH | os.O_CLOEXEC


class _How(ctypes.Structure):
    """struct open_how."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_raw = libc.syscall
_hows: dict[tuple[int, int, int], _How] = {}


def pin(directory: int, path: bytes, *, follow: bool = True, resolve: int = NO_MAGICLINKS) -> int:
    """A handle of ``path`` as it is now, or a negated errno (openat2(2), Linux 5.6)."""
    key = (_HANDLE | (0 if follow else os.O_NOFOLLOW), 0, resolve)
    how = _hows.get(key)
    if how is None:
        how = _hows[key] = _How(*key)
    got: int = _raw(
        ctypes.c_long(number("openat2")),
        ctypes.c_long(directory),
        ctypes.c_char_p(path),
        ctypes.byref(how),
        ctypes.c_long(ctypes.sizeof(how)),
    )
    return got if got >= 0 else -ctypes.get_errno()


def open_at(directory: int, name: bytes, flags: int, mode: int = 0) -> int:
    """openat(2): a descriptor. Raises OSError."""
    return os.open(name, flags | os.O_CLOEXEC, mode, dir_fd=directory)


def handle_path(handle: int) -> bytes:
    """What the kernel calls the file of a handle: a path, or ``pipe:[1]`` and the like. Raises OSError."""
    return os.readlink(b"/proc/self/fd/%d" % handle)


def link_text(handle: int) -> bytes:
    """What the symbolic link says of which ``handle`` was taken (readlinkat(2) with an empty path). Raises OSError."""
    return os.readlink(b"", dir_fd=handle)


def mount_of(handle: int) -> int:
    """The number of the mount that a handle is in, as /proc/PID/mountinfo has it; -1 where the kernel does not say (before 5.8)."""
    buffer = ctypes.create_string_buffer(256)
    if syscall("statx", handle, b"", AT_EMPTY_PATH, _STATX_MNT_ID, buffer) < 0:
        return -1
    (mask,) = struct.unpack_from("=I", buffer, 0)
    return struct.unpack_from("=Q", buffer, 0x90)[0] if mask & _STATX_MNT_ID else -1


_kinds: dict[int, bool] = {}


def is_proc(handle: int, device: int) -> bool:
    """Whether a handle is in a /proc. ``device`` is its st_dev: file systems of that kind have no block device, and each a number of its own."""
    if os.major(device):
        return False
    known = _kinds.get(device)
    if known is None:
        buffer = ctypes.create_string_buffer(256)
        if syscall("fstatfs", handle, buffer) < 0:
            return True  # then nothing is taken for granted
        known = _kinds[device] = struct.unpack_from("=q" if ctypes.sizeof(ctypes.c_long) == 8 else "=i", buffer, 0)[0] == MAGIC_PROC
    return known


def at(handle: int) -> bytes:
    """A path that means the file of ``handle`` itself, for calls that take paths; a symbolic link is not followed further."""
    return b"/proc/self/fd/%d" % handle


class Handle:
    """A handle that is closed when it is left: ``with Handle(fd) as fd``."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        if fd < 0:
            raise OSError(-fd or errno.EIO, os.strerror(-fd))
        self.fd = fd

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *exception: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
