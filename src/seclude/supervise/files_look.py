"""Looking at files for a target: stat(2), readlink(2), access(2), statfs(2). What is seen goes into the target's memory.

What differs from the kernel's own doing: ENOSYS is answered to a few old 32-bit forms of stat, for which every C library of the last twenty years has another.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct

from seclude.kernel import paths, pidfd
from seclude.kernel.libc import syscall
from seclude.kernel.paths import AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from seclude.supervise.call import Gone
from seclude.supervise.files_rules import PASS, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.supervise.files_act import Act, Outcome
    from seclude.supervise.files_resolve import Found

__all__ = ["ask", "look", "look_at_system", "look_statx", "read_link", "watch", "working_directory"]

_IN_DONT_FOLLOW = 0x02000000  # linux/inotify.h


def look(act: Act, dirfd: int, path: bytes, buffer: int, flags: int, *, wide: bool = False) -> Outcome:
    """stat(2), lstat(2), fstatat(2): the kernel's own structure where the target has our architecture."""
    found = _looked_at(act, dirfd, path, flags)
    arch = act.call.arch
    if arch is not None and arch.bits == 64 and not arch.x32_bit:
        raw = ctypes.create_string_buffer(256)
        result = syscall("newfstatat", found.handle, b"", raw, AT_EMPTY_PATH, wait=True)
        if result < 0:
            raise OSError(-result, "")
        return 0, ((act.address(buffer), raw.raw[:_STAT_SIZE]),)
    if arch is None or arch.name != "x86" or not wide:
        raise OSError(errno.ENOSYS, "")
    return 0, ((act.address(buffer), _stat64_of_x86(found.stat)),)


_STAT_SIZE = 144 if os.uname().machine == "x86_64" else 128  # struct stat: arch/x86/include/uapi/asm/stat.h, asm-generic/stat.h


def _stat64_of_x86(status: os.stat_result) -> bytes:
    """Struct stat64 of 32-bit x86 (arch/x86/include/uapi/asm/stat.h), packed."""

    def seconds(nanoseconds: int) -> tuple[int, int]:
        whole, rest = divmod(nanoseconds, 10**9)
        return whole & 0xFFFFFFFF, rest

    return struct.pack(
        "<Q4xIIIIIQ4xqIQIIIIIIQ", status.st_dev, status.st_ino & 0xFFFFFFFF, status.st_mode, status.st_nlink, status.st_uid, status.st_gid,
        status.st_rdev, status.st_size, status.st_blksize, status.st_blocks, *seconds(status.st_atime_ns), *seconds(status.st_mtime_ns),
        *seconds(status.st_ctime_ns), status.st_ino,
    )  # fmt: skip


def look_statx(act: Act, dirfd: int, path: bytes, flags: int, mask: int, buffer: int) -> Outcome:
    """Look as by statx(2), whose structure is the same everywhere."""
    if mask >> 31:
        raise OSError(errno.EINVAL, "")
    found = _looked_at(act, dirfd, path, flags)
    raw = ctypes.create_string_buffer(256)
    result = syscall("statx", found.handle, b"", AT_EMPTY_PATH | flags & 0x6000, mask, raw, wait=True)
    if result < 0:
        raise OSError(-result, "")
    return 0, ((act.address(buffer), raw.raw),)


def _looked_at(act: Act, dirfd: int, path: bytes, flags: int) -> Found:
    if not path and flags & AT_EMPTY_PATH and dirfd != AT_FDCWD:
        return act.of_descriptor(dirfd)
    if not path and flags & AT_EMPTY_PATH:
        path = b"."
    found = act.locate(dirfd, path, follow=not flags & AT_SYMLINK_NOFOLLOW)
    act.require_found(found, PASS)
    return found


def read_link(act: Act, dirfd: int, path: bytes, buffer: int, size: int) -> Outcome:
    """Read a link, readlink(2)."""
    room = act.int32(size)
    if room <= 0:
        raise OSError(errno.EINVAL, "")
    found = _looked_at(act, dirfd, path, AT_SYMLINK_NOFOLLOW | (AT_EMPTY_PATH if dirfd != AT_FDCWD else 0))
    if found.kind != stat.S_IFLNK:
        raise OSError(errno.EINVAL if path else errno.ENOENT, "")
    if found.proc and found.path in (b"/proc/self", b"/proc/thread-self"):
        process, thread = act.view.caller.process, act.view.tid
        text = b"%d" % process if found.path == b"/proc/self" else b"%d/task/%d" % (process, thread)
    else:
        text = paths.link_text(found.handle)
        if found.proc and found.path.endswith(b"/cwd"):  # as for getcwd
            act.require(text.removesuffix(b" (deleted)"), PASS, proc=text.startswith(b"/proc"))
    text = text[:room]
    return len(text), ((act.address(buffer), text),)


def working_directory(act: Act, buffer: int, size: int) -> Outcome:
    """Name the current directory, getcwd(2): one that it may look at. Chdir(2) is free, and may have gone through a link that it may not read."""
    if not act.call.waits():
        raise Gone  # nothing was read of it, so nobody has asked yet
    found, path = act.resolver.current(act.view)
    act.hold(found.handle)
    act.require_found(found, PASS)
    text = path + b"\0"
    if len(text) > act.address(size):
        raise OSError(errno.ERANGE, "")
    return len(text), ((act.address(buffer), text),)


def ask(act: Act, dirfd: int, path: bytes, mode: int, flags: int) -> Outcome:
    """Ask as by access(2) and faccessat2(2): by the real ids unless AT_EACCESS; what the rules do not grant is EACCES."""
    if mode & ~7 or flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise OSError(errno.EINVAL, "")
    if not path and flags & AT_EMPTY_PATH and dirfd != AT_FDCWD:
        found = act.of_descriptor(dirfd)
        act.enter(real=not flags & AT_EACCESS)
    else:
        path = path or (b"." if flags & AT_EMPTY_PATH else b"")
        found = act.locate(dirfd, path, follow=not flags & AT_SYMLINK_NOFOLLOW, real=not flags & AT_EACCESS)
        act.require_found(found, PASS)
        level = act.rules.level(found.path) if found.path.startswith(b"/") and not found.proc else WRITE
        passing = found.kind == stat.S_IFDIR and not mode & 4
        if (mode & 2 and level < WRITE) or (mode & 5 and level < READ and not passing):
            raise PermissionError(errno.EACCES, "")  # a question, with an answer: nothing was denied
    result = syscall("faccessat2", found.handle, b"", mode, AT_EMPTY_PATH | AT_EACCESS, wait=True)
    if result < 0:
        raise OSError(-result, "")
    return 0, ()


def look_at_system(act: Act, dirfd: int, path: bytes, buffer: int, size: int = -1) -> Outcome:
    """Look at a file system: statfs(2), and statfs64(2) of 32-bit x86, which has its structure's ``size`` as an argument."""
    arch = act.call.arch
    native = arch is not None and arch.bits == 64 and not arch.x32_bit
    if not native and (arch is None or arch.name != "x86"):
        raise OSError(errno.ENOSYS, "")
    if size >= 0 and act.address(size) not in (84, 88):  # fs/statfs.c, kcompat_sys_statfs64
        raise OSError(errno.EINVAL, "")
    found = _looked_at(act, dirfd, path, 0)
    raw = ctypes.create_string_buffer(120)
    result = syscall("fstatfs", found.handle, raw, wait=True)
    if result < 0:
        raise OSError(-result, "")
    if native:
        return 0, ((act.address(buffer), raw.raw),)
    kind, block, *counts, system, longest, fragment, flags = struct.unpack_from("=7qQ3q", raw)
    head, tail = (kind & 0xFFFFFFFF, block), (system, longest, fragment, flags)
    if size >= 0:
        return 0, ((act.address(buffer), struct.pack("<2I5qQ3I16x", *head, *counts, *tail)),)
    if any(count >> 32 and count != -1 for count in counts):
        raise OSError(errno.EOVERFLOW, "")
    return 0, ((act.address(buffer), struct.pack("<2I5IQ3I16x", *head, *(count & 0xFFFFFFFF for count in counts), *tail)),)


def watch(act: Act, fd: int, path: bytes, mask: int) -> Outcome:
    """Watch a file: inotify_add_watch(2), done on the target's own inotify instance."""
    found = act.locate(AT_FDCWD, path, follow=not mask & _IN_DONT_FOLLOW)
    act.require_found(found, READ)
    act.leave()  # to take a descriptor is the supervisor's right
    handle = pidfd.open_thread(act.call.tid, act.view.caller.process)
    try:
        if not act.call.waits():
            raise Gone
        instance = pidfd.take_descriptor(handle, fd)
    finally:
        os.close(handle)
    try:
        act.enter()
        result = syscall("inotify_add_watch", instance, paths.at(found.handle), mask & ~_IN_DONT_FOLLOW, wait=True)
    finally:
        os.close(instance)
    if result < 0:
        raise OSError(-result, "")
    return result, ()
