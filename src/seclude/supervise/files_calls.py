"""Calls that name files, done by the supervisor for its target: each resolved to a handle, judged, and done on exactly that handle.

Every function here gets an `Act`: the call, the target's view, the rules. It returns ``(result, writes)``: what the call returns (or a verdict), and what is to
be written into the target's memory first. A refusal of the rules is `Refused`; what the kernel refuses is its OSError, as the target would have seen it.

What differs from the kernel's own doing: O_PATH gives a descriptor that can also be read (and only where that is granted); a FIFO that nobody opens at the other end
waits here, and only a fatal signal takes the target out of it; ENOSYS is answered to a few old 32-bit forms of stat.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from fcntl import F_SETFL, fcntl

from seclude.kernel import paths
from seclude.kernel.libc import syscall
from seclude.supervise.call import Gone
from seclude.supervise.files_resolve import Found, Missing
from seclude.supervise.files_rules import HIDDEN, NOTHING, PASS, READ, WRITE
from seclude.supervise.verdict import Emulate, Inject, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from seclude.kernel.identity import Identity
    from seclude.supervise.call import Call
    from seclude.supervise.files_resolve import Resolver, View
    from seclude.supervise.files_rules import Rules

    Outcome: TypeAlias = tuple[int | Verdict, tuple[tuple[int, bytes], ...]]

__all__ = ["AT_FDCWD", "Act", "Refused"]

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, AT_EACCESS = 0x100, 0x200, 0x400, 0x1000, 0x200
_PATH_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TMPFILE = os.O_TMPFILE & ~os.O_DIRECTORY
_TTY = os.makedev(5, 0)
#: of another process, these only: what any process may read of any other, whoever it is
_OF_OTHERS = frozenset(
    (b"", b"stat", b"statm", b"status", b"cmdline", b"comm", b"cgroup", b"limits", b"loginuid", b"sessionid", b"sched", b"schedstat")
)
#: of its own process, never through the supervisor
_NOT_OWN = frozenset((b"mem", b"map_files", b"attr", b"pagemap", b"ns"))
_OWN_WRITTEN = frozenset((b"comm", b"oom_score_adj", b"timerslack_ns", b"coredump_filter"))
_TRIES = 16  # races for one name that are run before giving up


class Refused(Exception):  # noqa: N818 - a decision, not a fault
    """The rules do not grant this: ``path``, the ``level`` it has and the one it would ``need``."""

    def __init__(self, path: bytes, level: int, need: int, why: str = "") -> None:
        super().__init__(path)
        self.path, self.level, self.need, self.why = path, level, need, why


class Act:
    """One call being done. ``base`` descriptors are taken as the supervisor, everything else as the target (`enter`)."""

    __slots__ = ("_bases", "_entered", "_hidden", "_identity", "_mask", "call", "narrow", "resolver", "rules", "view")

    def __init__(
        self, call: Call, view: View, resolver: Resolver, rules: Rules, identity: Identity, hidden: frozenset[tuple[int, int]] = frozenset()
    ) -> None:
        self.call, self.view, self.resolver, self.rules = call, view, resolver, rules
        self._identity, self._hidden = identity, hidden
        arch = call.arch
        self.narrow = arch is not None and (arch.bits == 32 or bool(arch.x32_bit))  # pointers and longs have 32 bits
        self._mask = 0xFFFFFFFF if self.narrow else -1
        self._bases: list[int] = []
        self._entered = False

    # -- arguments

    def register(self, index: int) -> int:
        """An argument register, unsigned."""
        return self.call.raw[index]

    def int32(self, index: int) -> int:
        """An argument as an int."""
        value = self.call.raw[index] & 0xFFFFFFFF
        return value - (1 << 32) if value >> 31 else value

    def address(self, index: int) -> int:
        """An argument as a pointer or a size."""
        return self.call.raw[index] & self._mask

    def path(self, index: int) -> bytes:
        """The path that an argument points to, read once. Raises `Unreadable`."""
        return self.call.path_at(self.call.raw[index] & self._mask)

    def path_or_null(self, index: int) -> bytes:
        """As `path`, but NULL is an empty path (statx)."""
        return self.path(index) if self.address(index) else b""

    def base(self, dirfd: int, path: bytes) -> int:
        """The handle that a path starts from; closed with the rest. Raises OSError."""
        handle = self.resolver.base(self.view, dirfd, path)
        if handle != self.view.root:
            self._bases.append(handle)
        return handle

    # -- handles, judged

    def of_descriptor(self, fd: int) -> Found:
        """The file of a descriptor of the target's, which needs no grant to be looked at. Raises OSError."""
        if not self.call.reads and not self.call.waits():
            raise Gone  # nothing was read, so nobody has asked yet
        found = self.resolver.of_descriptor(self.view, fd)
        self._bases.append(found.handle)
        return found

    def locate(self, dirfd: int, path: bytes, *, follow: bool, real: bool = False) -> Found:
        """What a path names, looked up as the target (``real``: see `enter`). Raises OSError."""
        base = self.base(dirfd, path)
        self.enter(real=real)
        found = self.resolver.find(self.view, base, path, follow=follow)
        assert isinstance(found, Found)
        self._bases.append(found.handle)
        return found

    def hold(self, handle: int) -> None:
        """Close ``handle`` with the rest."""
        self._bases.append(handle)

    def require(self, path: bytes, level: int, *, proc: bool = False) -> None:
        """Raise `Refused` unless ``path`` has ``level``. ``proc``: it lies in a /proc, where more is to be looked at."""
        judged = self._judged_in_proc(path, level) if proc else path
        got = self.rules.level(judged)
        if got < level:
            raise Refused(judged, got, level)

    def require_found(self, found: Found, level: int) -> None:
        """`require` for a file; what has no place in the tree (pipes, sockets) is the target's own already."""
        if not found.path.startswith(b"/"):
            if not found.through:
                raise Refused(found.path, NOTHING, level)
            return
        if self._hidden and (found.stat.st_dev, found.stat.st_ino) in self._hidden:
            raise Refused(found.path, HIDDEN, level)
        self.require(found.path, level, proc=found.proc)

    def _judged_in_proc(self, path: bytes, level: int) -> bytes:
        """The path that the rules are asked about: a target's own directory is /proc/self. Raises `Refused` for what no rule may grant."""
        parts = path.split(b"/")
        if len(parts) < 3 or parts[1] != b"proc":
            if len(parts) == 2 and parts[1] == b"proc":
                return path
            raise Refused(path, NOTHING, level, "it lies in a /proc that is mounted elsewhere")
        if not parts[2].isdigit():
            return path
        rest = parts[3:]
        if int(parts[2]) != self.view.caller.process:
            if (rest[0] if rest else b"") not in _OF_OTHERS or level > READ:
                raise Refused(path, NOTHING, level, "it belongs to another process")
            return path
        if rest[:1] == [b"task"] and len(rest) > 2:
            rest = rest[2:]
        if rest and (rest[0] in _NOT_OWN or (level > READ and rest[0] not in _OWN_WRITTEN)):
            raise Refused(path, NOTHING, level, "a supervisor does not open that for its target")
        return b"/".join([b"", b"proc", b"self", *parts[3:]])

    # -- as the target

    def enter(self, *, real: bool = False) -> None:
        """Be the target to the file system from here on. ``real``: by its real ids, as access(2) asks. Raises PermissionError."""
        who = self.view.caller
        uid, gid = (who.real_uid, who.real_gid) if real else (who.uid, who.gid)
        identity = self._identity
        effective = who.capabilities if not real else who.permitted if uid == 0 else 0  # fs/open.c, access_override_creds
        if effective & identity.capabilities and self.resolver.is_foreign(self.view):
            effective = 0
        if not identity.is_own(uid, gid, who.groups, effective):
            identity.enter(uid, gid, who.groups, effective)
            self._entered = True

    def umask(self) -> _Umask:
        """The target's umask, for as long as a file is made: also the kernel knows best when it counts (not where a directory has a default ACL)."""
        return _Umask(self.view.caller.umask)

    def leave(self) -> None:
        """Be oneself again."""
        if self._entered:
            self._entered = False
            self._identity.leave()

    def close(self) -> None:
        """Close every handle that was taken, and leave the target's identity."""
        self.leave()
        for handle in self._bases:
            os.close(handle)
        self._bases.clear()
        self.view.close()


class _Umask:
    """``with _Umask(mask)``: the process's umask, meanwhile."""

    __slots__ = ("_before", "_mask")

    def __init__(self, mask: int) -> None:
        self._mask = mask
        self._before = mask

    def __enter__(self) -> None:
        self._before = os.umask(self._mask)

    def __exit__(self, *exception: object) -> None:
        os.umask(self._before)


# -- opening


def open_(act: Act, dirfd: int, path: bytes, flags: int, mode: int) -> Outcome:
    """open(2): the descriptor is opened here and given to the target."""
    if flags & os.O_PATH:
        return _open_path(act, dirfd, path, flags & _PATH_FLAGS)
    base = act.base(dirfd, path)
    act.enter()
    follow = not flags & os.O_NOFOLLOW and flags & (os.O_CREAT | os.O_EXCL) != os.O_CREAT | os.O_EXCL
    create = bool(flags & os.O_CREAT) and not flags & _TMPFILE
    for _ in range(_TRIES):
        there = act.resolver.find(act.view, base, path, follow=follow, create=create)
        try:
            if isinstance(there, Missing):
                try:
                    return Inject(_create(act, there, flags, mode), cloexec=bool(flags & os.O_CLOEXEC)), ()
                except FileExistsError:
                    if flags & os.O_EXCL:
                        raise
                    continue  # somebody made it meanwhile
            if create and flags & os.O_EXCL:
                act.require_found(there, PASS)
                raise FileExistsError(errno.EEXIST, "")
            if create and path.endswith(b"/"):
                raise IsADirectoryError(errno.EISDIR, "")
            return _open_found(act, there, flags, mode)
        finally:
            there.close()
    raise OSError(errno.EAGAIN, "")


def _create(act: Act, missing: Missing, flags: int, mode: int) -> int:
    act.require(missing.whole, WRITE, proc=missing.proc)
    if missing.name.endswith(b"/"):
        raise IsADirectoryError(errno.EISDIR, "")
    with act.umask():
        return paths.open_at(missing.handle, missing.name, flags | os.O_CREAT | os.O_EXCL | os.O_NOCTTY, mode & 0o7777)


def _open_found(act: Act, found: Found, flags: int, mode: int) -> Outcome:
    access = flags & os.O_ACCMODE
    writes = access != os.O_RDONLY or flags & (os.O_TRUNC | _TMPFILE)
    try:
        act.require_found(found, WRITE if writes else READ)
    except Refused:
        # A descriptor that the target has can be opened once more through /proc/self/fd (/dev/stdin), for nothing that it is not open for.
        if found.own not in (access, os.O_RDWR) or (flags & os.O_TRUNC and found.own == os.O_RDONLY) or flags & _TMPFILE:
            raise
    if found.kind == stat.S_IFLNK:
        raise OSError(errno.ENOTDIR if flags & os.O_DIRECTORY else errno.ELOOP, "")
    if found.stat.st_rdev == _TTY and found.kind == stat.S_IFCHR and not _same_session(act.view.tid):
        raise OSError(errno.ENXIO, "")  # it would be the supervisor's terminal
    how = flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) | os.O_NOCTTY
    cloexec = bool(flags & os.O_CLOEXEC)
    if found.kind == stat.S_IFIFO and not flags & os.O_NONBLOCK and access != os.O_RDWR:
        from seclude.supervise.files_wait import open_fifo

        end = open_fifo(found.handle, access)
        return (Inject(end, cloexec=cloexec) if end >= 0 else _waiting(found, access, cloexec, fifo=True)), ()
    if flags & _TMPFILE == _TMPFILE:
        with act.umask():
            return Inject(os.open(paths.at(found.handle), how | os.O_CLOEXEC, mode & 0o7777), cloexec=cloexec), ()
    try:
        # Without blocking, whatever was asked for: a target could take a lease of a file (fcntl(2), F_SETLEASE), and hold its supervisor by opening it.
        opened = os.open(paths.at(found.handle), how | os.O_NONBLOCK | os.O_CLOEXEC)
    except BlockingIOError:
        if flags & os.O_NONBLOCK:
            raise
        return _waiting(found, how, cloexec, fifo=False), ()
    if not flags & os.O_NONBLOCK:
        fcntl(opened, F_SETFL, how)
    return Inject(opened, cloexec=cloexec), ()


def _waiting(found: Found, how: int, cloexec: bool, *, fifo: bool) -> Emulate:
    """The rest of an open that has to wait, for a thread that may. It was permitted already: only what it waits for is not there yet."""
    held = _Held(os.dup(found.handle))

    def wait(call: Call) -> Verdict:
        from seclude.supervise.files_wait import await_fifo, await_lease

        return Inject((await_fifo if fifo else await_lease)(call, held.handle, how), cloexec=cloexec)

    return Emulate(wait)


class _Held:
    """A handle that is closed with whoever holds it: a wait that never begins, since its caller is gone, has no end to close it in."""

    __slots__ = ("handle",)

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __del__(self) -> None:
        os.close(self.handle)


def _open_path(act: Act, dirfd: int, path: bytes, flags: int) -> Outcome:
    """O_PATH: such a descriptor cannot be given away; one open for reading can do as much, and more, so reading must be granted."""
    base = act.base(dirfd, path)
    act.enter()
    found = act.resolver.find(act.view, base, path, follow=not flags & os.O_NOFOLLOW)
    try:
        assert isinstance(found, Found)
        act.require_found(found, READ)
        if found.kind not in (stat.S_IFDIR, stat.S_IFREG):
            raise Refused(found.path, READ, READ, "O_PATH of what is no file or directory cannot be given by a supervisor")
        if flags & os.O_DIRECTORY and found.kind != stat.S_IFDIR:
            raise NotADirectoryError(errno.ENOTDIR, "")
        return Inject(os.open(paths.at(found.handle), os.O_RDONLY | os.O_CLOEXEC), cloexec=bool(flags & os.O_CLOEXEC)), ()
    finally:
        found.close()


def _same_session(tid: int) -> bool:
    try:
        return os.getsid(tid) == os.getsid(0)
    except OSError:
        return False


def open_how(act: Act, dirfd: int, path: bytes, how: int, size: int) -> Outcome:
    """Open as by openat2(2). Flags that confine the resolution are not emulated: ENOSYS, upon which programs do without."""
    if size < 24:
        raise OSError(errno.EINVAL, "")
    if size > 24:
        raise OSError(errno.E2BIG, "")
    flags, mode, resolve = struct.unpack("=QQQ", act.call.bytes(how, 24))
    if resolve:
        raise OSError(errno.ENOSYS, "")
    if flags >> 31 or (mode and not flags & (os.O_CREAT | _TMPFILE)) or mode & ~0o7777:
        raise OSError(errno.EINVAL, "")
    return open_(act, dirfd, path, flags, mode)


# -- looking


def look(act: Act, dirfd: int, path: bytes, buffer: int, flags: int, *, wide: bool = False) -> Outcome:
    """stat(2), lstat(2), fstatat(2): the kernel's own structure where the target has our architecture."""
    found = _looked_at(act, dirfd, path, flags)
    arch = act.call.arch
    if arch is not None and arch.bits == 64 and not arch.x32_bit:
        raw = ctypes.create_string_buffer(256)
        result = syscall("newfstatat", found.handle, b"", raw, AT_EMPTY_PATH)
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
    result = syscall("statx", found.handle, b"", AT_EMPTY_PATH | flags & 0x6000, mask, raw)
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
    text = text[:room]
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
    result = syscall("faccessat2", found.handle, b"", mode, AT_EMPTY_PATH | AT_EACCESS)
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
    result = syscall("fstatfs", found.handle, raw)
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
