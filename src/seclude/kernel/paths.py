"""Files by handle: pin with O_PATH, look at what was pinned, act on exactly that (openat2(2), statx(2), open(2) O_PATH).

The problem: a path means another file each time it is walked. A handle (a descriptor opened with O_PATH) means one file for good, whatever is
renamed meanwhile; its path can be asked for (/proc/self/fd), and it can be opened, changed or looked at through that same name, without a walk.

Rejected: comparing paths before and after (what was swapped twice looks the same); O_PATH descriptors handed on (a notification cannot inject them).

What can still go wrong: the path of a handle is as of the moment it is asked for, and a removed file's ends in " (deleted)", which a name can end in
too; a mount that is reachable from nowhere prints a path that is none. What relies on paths must keep others from mounting.
"""

from __future__ import annotations

import ctypes
import os
import struct

from seclude.kernel.libc import number, syscall

__all__ = [
    "AT_EACCESS",
    "AT_EMPTY_PATH",
    "AT_FDCWD",
    "AT_REMOVEDIR",
    "AT_SYMLINK_FOLLOW",
    "AT_SYMLINK_NOFOLLOW",
    "CACHED",
    "MAGIC_PROC",
    "NO_MAGICLINKS",
    "Identities",
    "at",
    "device",
    "handle_path",
    "is_proc",
    "link_text",
    "open_at",
    "pin",
]  # fmt: skip

#: resolve flags of openat2(2), linux/openat2.h
NO_MAGICLINKS, CACHED = 0x02, 0x20
MAGIC_PROC = 0x9FA0  # PROC_SUPER_MAGIC, linux/magic.h
#: linux/fcntl.h: AT_REMOVEDIR and AT_EACCESS are one number, for calls that take only one of them
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_EACCESS, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = 0x100, 0x200, 0x200, 0x400, 0x1000
_STATX_INO, _STATX_MNT_ID = 0x100, 0x1000
_DONT_SYNC = 0x4000  # AT_STATX_DONT_SYNC: what is asked here never changes, and no server is to be asked for it
_HANDLE = os.O_PATH | os.O_CLOEXEC


class _How(ctypes.Structure):
    """struct open_how."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


# Both without the interpreter's lock: a file system may take its time to answer (FUSE, NFS), and other threads must go on meanwhile.
_openat2 = ctypes.CDLL(None, use_errno=True).syscall
_openat2.restype = ctypes.c_long
_openat2.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_long)
_hows: dict[tuple[int, int], tuple[_How, int]] = {}


def pin(directory: int, path: bytes, *, follow: bool = True, resolve: int = NO_MAGICLINKS) -> int:
    """A handle of ``path`` as it is now, or a negated errno (openat2(2), Linux 5.6). `CACHED`: EAGAIN where that would ask a disk or a server (Linux 5.12)."""
    key = _HANDLE | (0 if follow else os.O_NOFOLLOW), resolve
    how = _hows.get(key)
    if how is None:
        made = _How(key[0], 0, resolve)
        how = _hows[key] = made, ctypes.addressof(made)
    got: int = _openat2(number("openat2"), directory, path, how[1], 24)
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


_statx = ctypes.CDLL(None, use_errno=True).syscall
_statx.restype = ctypes.c_long
_statx.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_void_p)


class Identities:
    """What tells a file from every other, its mount included: the same directory can be mounted twice. For one thread."""

    __slots__ = ("_address", "_buffer", "_number")

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(256)  # struct statx
        self._address = ctypes.addressof(self._buffer)
        self._number = number("statx")

    def of(self, handle: int) -> bytes:
        """Inode, device and mount of a handle, as they lie in struct statx (the mount is 0 before Linux 5.8). Raises OSError."""
        if _statx(self._number, handle, b"", AT_EMPTY_PATH | _DONT_SYNC, _STATX_INO | _STATX_MNT_ID, self._address) < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        raw = self._buffer.raw
        return raw[0x20:0x28] + raw[0x88:0x98]


def device(identity: bytes) -> int:
    """The st_dev in what `Identities.of` gives."""
    return os.makedev(*struct.unpack_from("=II", identity, 8))


_kinds: dict[int, bool] = {}


def is_proc(handle: int, device: int) -> bool:
    """Whether a handle is in a /proc. ``device`` is its st_dev: file systems of that kind have no block device, and each a number of its own."""
    if os.major(device):
        return False
    known = _kinds.get(device)
    if known is None:
        buffer = ctypes.create_string_buffer(256)
        if syscall("fstatfs", handle, buffer, wait=True) < 0:
            return True  # then nothing is taken for granted
        known = _kinds[device] = struct.unpack_from("=q" if ctypes.sizeof(ctypes.c_long) == 8 else "=i", buffer, 0)[0] == MAGIC_PROC
    return known


def at(handle: int) -> bytes:
    """A path that means the file of ``handle`` itself, for calls that take paths; a symbolic link is not followed further."""
    return b"/proc/self/fd/%d" % handle
