"""Calls that change what there is: names made, moved and removed, and a file's mode, owner, times, size and extended attributes.

Names are changed in the directory that was pinned and judged, whatever its own name is meanwhile; everything else on the handle of the file itself.

What differs from the kernel's own doing: devices are never made nor changed, nor removed where they are granted by themselves; a directory in which something is hidden
cannot be renamed to where that would not be; what was granted by itself (and not by a directory above) is not renamed and not removed where it is a directory.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct

from seclude.kernel import paths
from seclude.kernel.libc import syscall
from seclude.kernel.paths import AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW
from seclude.supervise.files_act import Act, Refused
from seclude.supervise.files_rules import PASS, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.supervise.files_act import Outcome
    from seclude.supervise.files_resolve import Found, Missing

__all__ = [
    "add_name",
    "change_mode",
    "change_owner",
    "change_size",
    "change_times",
    "get_xattr",
    "list_xattr",
    "make_directory",
    "make_link",
    "make_node",
    "move",
    "read_times",
    "remove",
    "remove_xattr",
    "set_xattr",
]  # fmt: skip

_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_XATTR_MOST = 65536  # XATTR_SIZE_MAX, XATTR_LIST_MAX (linux/limits.h)
#: what is written to /dev/null is nobody's; the device itself is everybody's
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_NO_DEVICES = "a supervisor changes no devices for its target, nor their names"
_NAME_MOST = 256  # XATTR_NAME_MAX and its NUL


def _done(result: int) -> Outcome:
    if result < 0:
        raise OSError(-result, "")
    return 0, ()


# -- names


def _place(act: Act, dirfd: int, path: bytes, base: int | None = None) -> Missing:
    """The directory and the last component of ``path``, as the target; what is there may be changed. Raises `Refused`, OSError."""
    start = act.base(dirfd, path) if base is None else base
    act.enter()
    place = act.resolver.parent(act.view, start, path)
    act.hold(place.handle)
    if place.proc:
        raise Refused(place.whole, PASS, WRITE, "nothing is made or removed in a /proc")
    act.require(place.whole, WRITE)
    if _is_grant(act, place) and _kind(place) in _DEVICES:
        raise Refused(place.whole, WRITE, WRITE, _NO_DEVICES)
    return place


def _is_grant(act: Act, place: Missing) -> bool:
    """Whether the name was granted by itself: what lies above it was not."""
    return act.rules.level(place.path) < WRITE


def make_directory(act: Act, dirfd: int, path: bytes, mode: int) -> Outcome:
    """Make a directory, mkdir(2)."""
    place = _place(act, dirfd, path)
    with act.umask():
        os.mkdir(place.name, mode & 0o7777, dir_fd=place.handle)
    return 0, ()


def make_node(act: Act, dirfd: int, path: bytes, mode: int) -> Outcome:
    """Make a file, FIFO or socket by mknod(2), but no device: a name for one would open what the rules never saw."""
    kind = stat.S_IFMT(mode & 0xFFFF)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        raise Refused(path, WRITE, WRITE, "a supervisor makes no devices for its target")
    place = _place(act, dirfd, path)
    with act.umask():
        os.mknod(place.name, mode & 0xFFFF, 0, dir_fd=place.handle)
    return 0, ()


def remove(act: Act, dirfd: int, path: bytes, flags: int) -> Outcome:
    """Remove a name, unlink(2), rmdir(2)."""
    if flags & ~AT_REMOVEDIR:
        raise OSError(errno.EINVAL, "")
    place = _place(act, dirfd, path)
    if flags & AT_REMOVEDIR:
        if _is_grant(act, place):
            raise Refused(place.path, act.rules.level(place.path), WRITE)
        os.rmdir(place.name, dir_fd=place.handle)
    else:
        os.unlink(place.name, dir_fd=place.handle)
    return 0, ()


def move(act: Act, from_fd: int, source: bytes, to_fd: int, target: bytes, flags: int) -> Outcome:
    """Move a name, rename(2), renameat2(2). What is hidden beneath is judged without looking whether it is a directory: that could change."""
    if flags & ~(_RENAME_NOREPLACE | _RENAME_EXCHANGE):
        raise OSError(errno.EINVAL, "")
    first, second = act.base(from_fd, source), act.base(to_fd, target)
    old, new = _place(act, from_fd, source, first), _place(act, to_fd, target, second)
    ways = [(old, new)] + ([(new, old)] if flags & _RENAME_EXCHANGE else [])
    for one, other in ways:
        if not act.rules.may_move(one.whole, other.whole):
            raise Refused(one.whole, WRITE, WRITE, "something in it is hidden, and would not be under the other name")
        if _is_grant(act, one) and _is_directory(one):
            raise Refused(one.path, act.rules.level(one.path), WRITE)
    return _done(syscall("renameat2", old.handle, old.name, new.handle, new.name, flags, wait=True))


def _is_directory(place: Missing) -> bool:
    return _kind(place) == stat.S_IFDIR


def _kind(place: Missing) -> int:
    """The type of what has the name now; 0 where nothing has."""
    try:
        return stat.S_IFMT(os.stat(place.name, dir_fd=place.handle, follow_symlinks=False).st_mode)
    except OSError:
        return 0


def add_name(act: Act, from_fd: int, source: bytes, to_fd: int, target: bytes, flags: int) -> Outcome:
    """Give a file another name, link(2). It must be granted for writing itself, else the second name would grant it."""
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise OSError(errno.EINVAL, "")
    second = act.base(to_fd, target)
    if not source and flags & AT_EMPTY_PATH:
        found = act.of_descriptor(from_fd)
        act.enter()
    else:
        found = act.locate(from_fd, source, follow=bool(flags & AT_SYMLINK_FOLLOW))
    if not (found.stat.st_nlink == 0 and found.through and found.own in (os.O_WRONLY, os.O_RDWR)):  # one of O_TMPFILE gets its first name
        act.require_found(found, WRITE)
    place = _place(act, to_fd, target, second)
    return _done(syscall("linkat", AT_FDCWD, paths.at(found.handle), place.handle, place.name, AT_SYMLINK_FOLLOW, wait=True))


def make_link(act: Act, text: bytes, dirfd: int, path: bytes) -> Outcome:
    """Make a link, symlink(2): where it leads is judged when it is followed."""
    if not text:
        raise FileNotFoundError(errno.ENOENT, "")
    place = _place(act, dirfd, path)
    os.symlink(text, place.name, dir_fd=place.handle)
    return 0, ()


# -- what a file has


def _changed(act: Act, dirfd: int, path: bytes | None, flags: int) -> Found:
    """The file to be changed, judged; ``path`` None is the descriptor itself."""
    if path is None or (not path and flags & AT_EMPTY_PATH and dirfd != AT_FDCWD):
        found = act.of_descriptor(dirfd)
        act.enter()
        if found.stat.st_nlink == 0 and found.own in (os.O_WRONLY, os.O_RDWR):
            return found  # it has no name, and may be written already
    else:
        found = act.locate(dirfd, path or (b"." if flags & AT_EMPTY_PATH else b""), follow=not flags & AT_SYMLINK_NOFOLLOW)
    act.require_found(found, WRITE)
    if found.kind in _DEVICES:
        raise Refused(found.path, WRITE, WRITE, _NO_DEVICES)
    return found


def change_mode(act: Act, dirfd: int, path: bytes | None, mode: int, flags: int) -> Outcome:
    """Change a mode: chmod(2), fchmodat2(2), fchmod(2)."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise OSError(errno.EINVAL, "")
    found = _changed(act, dirfd, path, flags)
    if found.kind == stat.S_IFLNK:
        raise OSError(errno.EOPNOTSUPP, "")
    os.chmod(paths.at(found.handle), mode & 0o7777)
    return 0, ()


def change_owner(act: Act, dirfd: int, path: bytes | None, owner: int, group: int, flags: int) -> Outcome:
    """Change owner and group: chown(2), lchown(2), fchownat(2), fchown(2). -1 leaves one as it is."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise OSError(errno.EINVAL, "")
    found = _changed(act, dirfd, path, flags)
    return _done(syscall("fchownat", found.handle, b"", owner, group, AT_EMPTY_PATH, wait=True))


def change_times(act: Act, dirfd: int, path: bytes | None, times: bytes | None, flags: int) -> Outcome:
    """Change times: utimensat(2). ``times``: two struct timespec of this machine, or None for now."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise OSError(errno.EINVAL, "")
    found = _changed(act, dirfd, path, flags)
    return _done(syscall("utimensat", found.handle, b"", times, AT_EMPTY_PATH, wait=True))


def read_times(act: Act, index: int, form: str, scale: int = 1) -> bytes | None:
    """Two struct timespec of this machine from the target's times; None where it gave none.

    ``form`` is the target's structure (of `struct`), ``scale`` what its fractions are multiplied by.
    """
    if not act.address(index):
        return None
    values = struct.unpack("=" + form, act.call.bytes(index, struct.calcsize("=" + form)))
    if len(values) == 2:  # struct utimbuf: whole seconds
        values = (values[0], 0, values[1], 0)
    if scale != 1 and not all(0 <= fraction < 10**6 for fraction in values[1::2]):
        raise OSError(errno.EINVAL, "")
    return struct.pack("=4q", values[0], values[1] * scale, values[2], values[3] * scale)


def change_size(act: Act, path: bytes, size: int) -> Outcome:
    """Change a size: truncate(2)."""
    if size < 0:
        raise OSError(errno.EINVAL, "")
    found = _changed(act, AT_FDCWD, path, 0)
    if found.kind != stat.S_IFREG:
        raise OSError(errno.EISDIR if found.kind == stat.S_IFDIR else errno.EINVAL, "")
    if size > found.stat.st_size and size > _longest(act):
        raise OSError(errno.EFBIG, "")  # here it is the supervisor's own limit that the kernel goes by; SIGXFSZ is not sent
    opened = os.open(paths.at(found.handle), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # not truncate(2), which would wait for a lease
    try:
        os.ftruncate(opened, size)
    finally:
        os.close(opened)
    return 0, ()


def _longest(act: Act) -> float:
    """How long the target may make a file (RLIMIT_FSIZE, getrlimit(2)), in bytes."""
    descriptor = os.open("limits", os.O_RDONLY | os.O_CLOEXEC, dir_fd=act.view.proc)
    try:
        raw = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    at = raw.index(b"\nMax file size ") + 15
    soft = raw[at : raw.index(b"\n", at)].split()[0]
    return float("inf") if soft == b"unlimited" else int(soft)


# -- extended attributes (xattr(7))


def _name(act: Act, index: int) -> bytes:
    raw = act.path(index)
    if not 0 < len(raw) < _NAME_MOST:
        raise OSError(errno.ERANGE, "")
    return raw


def _seen(act: Act, path: bytes, flags: int) -> Found:
    found = act.locate(AT_FDCWD, path, follow=not flags & AT_SYMLINK_NOFOLLOW)
    act.require_found(found, PASS if found.kind in (stat.S_IFLNK, stat.S_IFDIR) else READ)
    return found


def set_xattr(act: Act, fd: int, path: bytes | None, flags: int) -> Outcome:
    """Set an attribute: setxattr(2), lsetxattr(2), fsetxattr(2)."""
    name, size = _name(act, 1), act.address(3)
    if size > _XATTR_MOST:
        raise OSError(errno.E2BIG, "")
    value = act.call.bytes(2, size) if size else b""
    found = _changed(act, fd, path, flags)
    return _done(syscall("setxattr", paths.at(found.handle), name, value, len(value), act.int32(4), wait=True))


def remove_xattr(act: Act, fd: int, path: bytes | None, flags: int) -> Outcome:
    """Remove an attribute: removexattr(2), lremovexattr(2), fremovexattr(2)."""
    name = _name(act, 1)
    found = _changed(act, fd, path, flags)
    return _done(syscall("removexattr", paths.at(found.handle), name, wait=True))


def get_xattr(act: Act, path: bytes, flags: int) -> Outcome:
    """Get an attribute: getxattr(2), lgetxattr(2)."""
    name = _name(act, 1)
    found = _seen(act, path, flags)
    return _given(act, 2, lambda buffer, size: syscall("getxattr", paths.at(found.handle), name, buffer, size, wait=True))


def list_xattr(act: Act, path: bytes, flags: int) -> Outcome:
    """List attributes: listxattr(2), llistxattr(2)."""
    found = _seen(act, path, flags)
    return _given(act, 1, lambda buffer, size: syscall("listxattr", paths.at(found.handle), buffer, size, wait=True))


def _given(act: Act, index: int, ask: Callable[[object, int], int]) -> Outcome:
    """What ``ask(buffer, size)`` gives, for the target's buffer at argument ``index`` and its size in the next."""
    size = min(act.address(index + 1), _XATTR_MOST)
    buffer = ctypes.create_string_buffer(size) if size else None
    got = ask(buffer, size)
    if got < 0:
        raise OSError(-got, "")
    return got, (((act.address(index), buffer.raw[:got]),) if buffer is not None else ())
