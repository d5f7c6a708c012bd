"""Opening files for a target: open(2), openat2(2).

What differs from the kernel's own doing: O_PATH gives a descriptor that can also be read (and only where that is granted); what would sleep (a FIFO whose other end is
closed, a file that somebody has a lease of) sleeps in a thread here.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from fcntl import F_SETFL, fcntl

from seclude.kernel import paths
from seclude.supervise.descriptors import Share
from seclude.supervise.files_act import Act, Refused
from seclude.supervise.files_resolve import Found, Missing
from seclude.supervise.files_rules import PASS, READ, WRITE
from seclude.supervise.files_sticky import permit_creation
from seclude.supervise.verdict import Emulate, Inject, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.supervise.call import Call
    from seclude.supervise.files_act import Outcome

__all__ = ["open_", "open_how"]

_PATH_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TMPFILE = os.O_TMPFILE & ~os.O_DIRECTORY
_TTY = os.makedev(5, 0)
_HELD = 4  # descriptors of an open that waits: the handle, the end that is held, and a pipe now and then
_TRIES = 16  # races for one name that are run before giving up


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
    if flags & os.O_CREAT and not flags & _TMPFILE:  # although it is there: in the order of fs/namei.c, do_open
        if found.kind == stat.S_IFDIR:
            raise IsADirectoryError(errno.EISDIR, "")
        if found.within is not None:
            permit_creation(found.within, found.stat, act.view.fsuid)
    if found.kind == stat.S_IFLNK:
        raise OSError(errno.ENOTDIR if flags & os.O_DIRECTORY else errno.ELOOP, "")
    if found.stat.st_rdev == _TTY and found.kind == stat.S_IFCHR and not _same_session(act.view.tid):
        raise OSError(errno.ENXIO, "")  # it would be the supervisor's terminal
    how = flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) | os.O_NOCTTY
    cloexec = bool(flags & os.O_CLOEXEC)
    if found.kind == stat.S_IFIFO and not flags & os.O_NONBLOCK and access != os.O_RDWR:
        from seclude.supervise.files_wait import open_fifo

        end, ready = open_fifo(found.handle, access)
        return (Inject(end, cloexec=cloexec) if ready else _waiting(found, access, cloexec, fifo=True, end=end)), ()
    if flags & _TMPFILE == _TMPFILE:
        with act.umask():
            return Inject(os.open(paths.at(found.handle), how | os.O_CLOEXEC, mode & 0o7777), cloexec=cloexec), ()
    try:
        # Without blocking, whatever was asked for: a target could take a lease of a file (fcntl(2), F_SETLEASE), and hold its supervisor by opening it.
        opened = act.resolver.reopen(found.handle, how | os.O_NONBLOCK)
    except BlockingIOError:
        if flags & os.O_NONBLOCK:
            raise
        return _waiting(found, how, cloexec), ()
    if not flags & os.O_NONBLOCK:
        fcntl(opened, F_SETFL, how)
    return Inject(opened, cloexec=cloexec), ()


def _waiting(found: Found, how: int, cloexec: bool, *, fifo: bool = False, end: int = -1) -> Emulate:
    """The rest of an open that has to wait, for a thread that may. It was permitted already: only what it waits for is not there yet. ``end`` is taken over."""
    held = _Held(found.handle, end)

    def wait(call: Call) -> Verdict:
        from seclude.supervise.files_wait import await_fifo, await_lease

        return Inject(await_fifo(call, held.handle, how, held.take()) if fifo else await_lease(call, held.handle, how), cloexec=cloexec)

    return Emulate(wait)


#: what opens that wait hold
_share = Share(4)


class _Held:
    """A copy of a handle, and an end, that are closed with whoever holds them: a wait that never begins, since its caller is gone, has no end to close them in.

    Raises OSError.
    """

    __slots__ = ("_end", "handle")

    def __init__(self, handle: int, end: int) -> None:
        self._end = end
        self.handle = -1
        if not _share.take(_HELD):
            raise OSError(errno.ENFILE, "")
        try:
            self.handle = os.dup(handle)
        except BaseException:
            _share.give(_HELD)
            raise

    def take(self) -> int:
        """The end, which is the caller's to close from now on."""
        end, self._end = self._end, -1
        return end

    def __del__(self) -> None:
        if self._end >= 0:
            os.close(self._end)
        if self.handle >= 0:
            os.close(self.handle)
            _share.give(_HELD)


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
        cloexec = bool(flags & os.O_CLOEXEC)
        try:
            opened = act.resolver.reopen(found.handle, os.O_RDONLY | os.O_NONBLOCK)  # as in `_open_found`: there may be a lease
        except BlockingIOError:
            return _waiting(found, os.O_RDONLY, cloexec), ()
        os.set_blocking(opened, True)
        return Inject(opened, cloexec=cloexec), ()
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
    raw = act.call.bytes(how, size) if size <= 4096 else b"\1" * 25
    if any(raw[24:]):
        raise OSError(errno.E2BIG, "")  # of a later kernel, which we may not be
    flags, mode, resolve = struct.unpack_from("=QQQ", raw)
    if resolve:
        raise OSError(errno.ENOSYS, "")
    if flags >> 31 or (mode and not flags & (os.O_CREAT | _TMPFILE)) or mode & ~0o7777:
        raise OSError(errno.EINVAL, "")
    return open_(act, dirfd, path, flags, mode)
