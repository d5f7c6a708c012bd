"""From what a target calls a file to a handle of it: in the target's root, from its directories, seen as the target would see it.

The problem: a supervisor that walks a path walks it as itself. /proc/self is the supervisor, an absolute link starts at the supervisor's root, /dev/fd/0
is the supervisor's stdin. So a path is walked in one step (openat2) only where that cannot matter: the root is the same, no magic link is met, and the end
is not in a /proc. In every other case it is walked here, one component at a time, each pinned before it is looked at.

What is returned is a handle: whatever is renamed afterwards, it stays the same file, and its path is asked of the kernel, not put together from the words
that the target used. Of what does not exist yet the directory is the handle.

Rejected: RESOLVE_IN_ROOT with the target's root (a relative path would be confined to the target's directory, so that ``..`` stops there); realpath before the open
(the walk happens twice).

What can still go wrong: a file that is removed between the pin and the look has no path any more; it is answered as one that does not exist.

Source: path_resolution(7), openat2(2), symlink(7), proc(5); fs/namei.c.
"""

from __future__ import annotations

import errno
import os
import stat

from seclude.kernel import paths
from seclude.kernel.impersonation import caller
from seclude.supervise.files_sticky import permit_following

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.kernel.impersonation import Caller

__all__ = ["Found", "Missing", "Resolver", "View", "Waits"]

_MOST_LINKS = 40  # MAXSYMLINKS (include/linux/namei.h)
_PATH_MAX = 4096
_PROC_ROOT = 1  # inode of a /proc's own root (PROC_ROOT_INO)
_KEPT = 64  # threads whose directories in /proc are kept open
_DIRECTORY = os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY
_LINK = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
_REMOVED = b" (deleted)"


class Waits(Exception):  # noqa: N818 - an outcome, not a fault
    """The way leads through a file system that may keep its callers waiting (`Resolver.waiting`)."""


class Found:
    """A file: its ``handle``, its ``path`` as the kernel prints it, its ``stat``. ``own`` is how a descriptor of the target's own is open (its O_ACCMODE)
    where the path led through it, else -1; ``through`` says that a /proc link of the target's own led there at all. ``within`` is the status of the directory in which it was
    looked up, where that was asked for (`Resolver.find`, ``create``) and may matter: it is not the caller's own. Close it.
    """  # fmt: skip

    __slots__ = ("handle", "own", "path", "proc", "stat", "through", "within")

    def __init__(
        self, handle: int, path: bytes, status: os.stat_result, *, proc: bool = False, own: int = -1, through: bool = False
    ) -> None:
        self.handle, self.path, self.stat, self.proc, self.own, self.through = handle, path, status, proc, own, through
        self.within: os.stat_result | None = None

    @property
    def kind(self) -> int:
        """The type of the file: ``stat.S_IFREG`` and so on."""
        return stat.S_IFMT(self.stat.st_mode)

    def close(self) -> None:
        """Close the handle. Harmless if done twice."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1


class Missing:
    """A name in an existing directory: the directory's ``handle`` and ``path``, the last component ``name`` (with the slashes that followed it)."""

    __slots__ = ("handle", "name", "path", "proc")

    def __init__(self, handle: int, path: bytes, name: bytes, proc: bool) -> None:
        self.handle, self.path, self.name, self.proc = handle, path, name, proc

    @property
    def whole(self) -> bytes:
        """The path that the name would have."""
        name = self.name.rstrip(b"/")
        if name in (b".", b"..", b""):
            return self.path
        return (b"" if self.path == b"/" else self.path) + b"/" + name

    def close(self) -> None:
        """Close the handle. Harmless if done twice."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1


class View:
    """A thread's side of the file system at one moment: its directory in /proc (``proc``), its root, who it is, and who it asks as (``fsuid``). Close it."""

    __slots__ = ("_shared", "caller", "fsuid", "ordinary", "proc", "root", "tid")

    def __init__(self, tid: int, proc: int, root: int, who: Caller, *, ordinary: bool) -> None:
        self.tid, self.proc, self.caller = tid, proc, who
        self.fsuid = who.uid  # access(2) asks as another
        self._shared = root >= 0
        self.root = root if root >= 0 else os.open("root", _DIRECTORY, dir_fd=proc)
        self.ordinary = ordinary  # the same root and pid namespace as ours

    def close(self) -> None:
        """Close the root's handle, if it is its own."""
        if not self._shared:
            self._shared = True
            os.close(self.root)


class Resolver:
    """Walks for targets. One thread's; it acts as whoever the thread is when asked, so enter the target's identity first (`kernel.impersonation`)."""

    __slots__ = ("_handles", "_identity", "_kept", "_pid", "_root", "_user_namespace", "waiting")

    def __init__(self) -> None:
        self._kept: dict[int, tuple[int, int]] = {}
        self._pid = b"%d" % os.getpid()
        self._identity = paths.Identities().of
        self._root = os.open("/", _DIRECTORY)
        self._handles = os.open("/proc/self/fd", _DIRECTORY)  # held, since the way to it costs as much as what is looked up in it
        self._user_namespace = os.readlink("/proc/self/ns/user")
        #: devices of file systems that are not to be entered: `Waits` is raised before anything is asked of one. For a thread that must not be kept
        self.waiting: frozenset[int] = frozenset()

    # -- the target

    def view(self, tid: int) -> View | None:
        """How the thread sees files now; None where it is gone, or may not be looked at (it made itself non-dumpable, and we are not privileged)."""
        for _ in range(2):  # what was kept may be a dead thread's, whose number is another's now: then everything about it fails
            kept = self._kept.get(tid)
            if kept is None:
                kept = self._open(tid)
                if kept is None:
                    return None
            try:
                who = caller(os.pread(kept[1], 8192, 0))
                if who is None:
                    return None
                where = os.readlink("root", dir_fd=kept[0])
                # A path of / is our root, or its twin in a mount namespace that was made from ours: brokered targets mount nothing, so it holds the same.
                return View(tid, kept[0], self._root if where == "/" else -1, who, ordinary=where == "/" and len(who.tgids) == 1)
            except OSError as error:
                if error.errno not in (errno.ESRCH, errno.ENOENT):
                    return None
                self._forget(tid)
        return None

    def is_foreign(self, view: View) -> bool:
        """Whether the thread is in another user namespace, so that its capabilities count for nothing here. Raises OSError."""
        return os.readlink("ns/user", dir_fd=view.proc) != self._user_namespace

    def _open(self, tid: int) -> tuple[int, int] | None:
        if len(self._kept) >= _KEPT:
            self._forget_all()
        try:
            proc = os.open(f"/proc/{tid}", _DIRECTORY)
        except OSError:
            return None
        try:
            kept = proc, os.open("status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        except OSError:
            os.close(proc)
            return None
        self._kept[tid] = kept
        return kept

    def _forget(self, tid: int) -> None:
        for descriptor in self._kept.pop(tid, ()):
            os.close(descriptor)

    def close(self) -> None:
        """Close everything that is kept open."""
        self._forget_all()
        if self._root >= 0:
            os.close(self._root)
            os.close(self._handles)
            self._root = self._handles = -1

    def _forget_all(self) -> None:
        for tid in tuple(self._kept):
            self._forget(tid)

    def base(self, view: View, dirfd: int, path: bytes) -> int:
        """A handle of where ``path`` starts: the view's own ``root``, else one to close, of the current directory (``dirfd`` AT_FDCWD) or of a descriptor of the
        target's. Raises OSError.
        """  # fmt: skip
        if path.startswith(b"/"):
            return view.root
        try:
            return os.open("cwd" if dirfd == paths.AT_FDCWD else f"fd/{dirfd}", os.O_PATH | os.O_CLOEXEC, dir_fd=view.proc)
        except FileNotFoundError:
            raise OSError(errno.EBADF if dirfd != paths.AT_FDCWD else errno.ENOENT, "") from None

    def reopen(self, handle: int, flags: int) -> int:
        """A descriptor of what ``handle`` is of, opened as ``flags`` say. Raises OSError."""
        return os.open(b"%d" % handle, flags | os.O_CLOEXEC, dir_fd=self._handles)

    # -- what is there

    def find(self, view: View, base: int, path: bytes, *, follow: bool, create: bool = False) -> Found | Missing:
        """What ``path`` names from the handle ``base``. ``create``: a last component that does not exist is `Missing`, not ENOENT. Raises OSError."""
        if not path:
            raise OSError(errno.ENOENT, "")
        if view.ordinary:
            # What is cached is nobody's to answer; for everything else it is looked, at each step, where it leads.
            handle = paths.pin(base, path, follow=follow, resolve=paths.NO_MAGICLINKS | (paths.CACHED if self.waiting else 0))
            if handle >= 0:
                found = self._found(handle)
                if not found.proc and not (create and found.stat.st_uid != view.fsuid):
                    return found
                found.close()
            elif -handle not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES) and not (self.waiting and -handle == errno.EAGAIN):
                raise OSError(-handle, "")
        return self._walk(view, base, path, follow=follow, create=create)

    def parent(self, view: View, base: int, path: bytes) -> Missing:
        """The directory that the last component of ``path`` is looked up in, and that component. Raises OSError."""
        if not path:
            raise OSError(errno.ENOENT, "")
        stripped = path.rstrip(b"/")
        head, slash, tail = stripped.rpartition(b"/")
        name = tail + path[len(stripped) :]
        if not stripped:
            head, slash, name = b"", b"", b"/"
        if slash:
            # Through the directory, not to it: a link to it is not the last of the path then (fs.protected_symlinks).
            directory = self.find(view, base, head + b"/.", follow=True)
            assert isinstance(directory, Found)
        else:
            directory = self._found(os.dup(base))
        if directory.kind != stat.S_IFDIR:
            directory.close()
            raise OSError(errno.ENOTDIR, "")
        return Missing(directory.handle, directory.path, name, directory.proc)

    def of_descriptor(self, view: View, fd: int) -> Found:
        """The file that a descriptor of the target's is open on. Raises OSError, EBADF where there is none."""
        try:
            handle = os.open(f"fd/{fd}", os.O_PATH | os.O_CLOEXEC, dir_fd=view.proc)
        except FileNotFoundError:
            raise OSError(errno.EBADF, "") from None
        try:
            self._enter(handle)
            status = os.fstat(handle)
            found = Found(handle, paths.handle_path(handle), status, proc=paths.is_proc(handle, status.st_dev), through=True)
            found.own = _access(view.proc, b"%d" % fd, handle)
        except (OSError, Waits):
            os.close(handle)
            raise
        return found

    def current(self, view: View) -> tuple[Found, bytes]:
        """The directory that the thread is in, and its path in the thread's own root. Raises OSError, ENOENT where it was removed."""
        found = self._found(self.base(view, paths.AT_FDCWD, b""))
        try:
            root = b"/" if view.ordinary else paths.handle_path(view.root)
        except OSError:
            found.close()
            raise
        if root == b"/":
            return found, found.path
        if found.path != root and not found.path.startswith(root + b"/"):
            return found, b"(unreachable)" + found.path  # getcwd(2)
        return found, found.path[len(root) :] or b"/"

    def _enter(self, handle: int) -> None:
        """Raise `Waits` before anything is asked of the file system of ``handle``, if it is one of those."""
        if self.waiting and paths.device(self._identity(handle)) in self.waiting:
            raise Waits

    def _found(self, handle: int, *, removed: bool = False) -> Found:
        """``handle`` with its path and status; it is closed where that fails. ``removed``: it may have no name any more."""
        try:
            self._enter(handle)
            status = os.fstat(handle)
            path = os.readlink(b"%d" % handle, dir_fd=self._handles)
            if path.endswith(_REMOVED) and path.startswith(b"/") and not removed:
                path = _real_name(path, status)
            return Found(handle, path, status, proc=paths.is_proc(handle, status.st_dev))
        except (OSError, Waits):
            os.close(handle)
            raise

    # -- one component at a time

    def _walk(self, view: View, base: int, path: bytes, *, follow: bool, create: bool) -> Found | Missing:
        at = os.dup(base)
        own, through = -1, False
        within: os.stat_result | None = None
        try:
            todo = [part for part in reversed(path.split(b"/")) if part]
            must_be_directory = path.endswith(b"/")
            links = 0
            root = self._identity(view.root)
            while todo:
                name = todo.pop()
                self._enter(at)
                status = os.fstat(at)
                if not stat.S_ISDIR(status.st_mode):
                    raise OSError(errno.ENOTDIR, "")
                if name == b"." or (name == b".." and self._identity(at) == root):
                    os.close(os.open(b".", _DIRECTORY, dir_fd=at))  # whether it may be passed at all
                    continue
                last, within = not todo, status
                in_proc = paths.is_proc(at, status.st_dev)
                if in_proc and status.st_ino == _PROC_ROOT:
                    name = self._in_proc_root(view, at, name, todo, whole=not last or follow or must_be_directory)
                try:
                    step = os.open(name, _LINK, dir_fd=at)
                except FileNotFoundError:
                    if last and create:
                        missing = Missing(at, self._directory(at), name + (b"/" if must_be_directory else b""), in_proc)
                        at = -1
                        return missing
                    raise
                try:
                    self._enter(step)
                    below = os.fstat(step)
                    if not stat.S_ISLNK(below.st_mode) or (last and not follow and not must_be_directory):
                        at, step = step, at
                        continue
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, "")
                    if in_proc and status.st_ino != _PROC_ROOT:
                        jumped, access = self._jump(view, at, name)
                        os.close(at)
                        at, own, through = jumped, (access if last else -1), True
                        continue
                    if last:
                        permit_following(status, below, view.fsuid)
                    text = paths.link_text(step)
                finally:
                    os.close(step)
                if not text:
                    raise OSError(errno.ENOENT, "")
                if sum(map(len, todo)) + len(todo) + len(text) > _PATH_MAX:
                    raise OSError(errno.ENAMETOOLONG, "")
                must_be_directory = must_be_directory or (last and text.endswith(b"/"))
                todo += [part for part in reversed(text.split(b"/")) if part]
                if text.startswith(b"/"):
                    os.close(at)
                    at = os.dup(view.root)
                own = -1
            handle, at = at, -1
            found = self._found(handle, removed=own >= 0)
            found.own, found.through, found.within = own, through, within
            if must_be_directory and found.kind != stat.S_IFDIR:
                found.close()
                raise OSError(errno.ENOTDIR, "")
            return found
        finally:
            if at >= 0:
                os.close(at)

    def _directory(self, handle: int) -> bytes:
        path = paths.handle_path(handle)
        return _real_name(path, os.fstat(handle)) if path.endswith(_REMOVED) else path

    def _in_proc_root(self, view: View, at: int, name: bytes, todo: list[bytes], *, whole: bool) -> bytes:
        """The name to look up in a /proc for ``name``: self and thread-self are the target's; the supervisor is not there."""
        if name in (b"self", b"thread-self") and whole:
            process, thread = self._numbers(view, at)
            if name == b"thread-self":
                todo += [b"%d" % thread, b"task"]
            return b"%d" % process
        if name == self._pid:
            raise OSError(errno.ENOENT, "")
        return name

    def _numbers(self, view: View, at: int) -> tuple[int, int]:
        """The target's process and thread numbers in the pid namespace of the /proc ``at``: that /proc lists the numbers from its own namespace inwards."""
        who = view.caller
        for level, process in enumerate(who.tgids):
            try:
                descriptor = os.open(f"{process}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=at)
            except OSError:
                continue
            try:
                seen = caller(os.read(descriptor, 8192))
            finally:
                os.close(descriptor)
            if seen is not None and seen.tgids == who.tgids[level:]:
                return process, who.pids[level]
        raise OSError(errno.ENOENT, "")

    def _jump(self, view: View, at: int, name: bytes) -> tuple[int, int]:
        """Follow a magic link of the target's own process; where it leads, and how the descriptor is open if it is one."""
        where = paths.handle_path(at)
        process, thread = b"/proc/%d" % view.caller.process, b"/proc/%d/task/%d" % (view.caller.process, view.tid)
        if where in (process + b"/fd", thread + b"/fd"):
            handle = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=at)
            return handle, _access(view.proc, name, handle)
        if where in (process, thread) and name in (b"exe", b"cwd", b"root"):
            return os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=at), -1
        raise PermissionError(errno.EACCES, "")


def _real_name(path: bytes, status: os.stat_result) -> bytes:
    """The path of a handle that prints as removed, if that is its real name; else there is no such file any more."""
    try:
        there = os.lstat(path)
    except OSError:
        there = None
    if there is None or not os.path.samestat(there, status):
        raise OSError(errno.ENOENT, "")
    return path


def _access(proc: int, fd: bytes, handle: int) -> int:
    """How the target's descriptor is open: its O_ACCMODE, or -1 (O_PATH, or it cannot be told).

    ``handle`` was taken through the same number a moment ago, and another thread of the target's can have put another file there since (dup2(2)): it counts only if
    what is open is still the file of the handle. The kernel prints flags, mount and inode of one and the same file (fs/proc/fd.c, seq_show; the inode since Linux 5.14).
    """
    try:
        theirs, ours = _information(b"fdinfo/" + fd, proc), _information(b"/proc/self/fdinfo/%d" % handle)
    except OSError:
        return -1
    if theirs is None or ours is None or theirs[1] != ours[1]:
        return -1
    flags = theirs[0]
    return -1 if flags & os.O_PATH else flags & os.O_ACCMODE


def _information(name: bytes, directory: int | None = None) -> tuple[int, bytes] | None:
    """Flags of a descriptor, and the lines that say which file it is, from its fdinfo (proc_pid_fdinfo(5)); None where it does not say. Raises OSError."""
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        raw = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    flags, mount, inode = raw.find(b"flags:\t"), raw.find(b"mnt_id:\t"), raw.find(b"ino:\t")
    if not 0 <= flags < mount < inode:
        return None
    return int(raw[flags + 7 : raw.index(b"\n", flags)], 8), raw[mount : raw.index(b"\n", inode)]
