"""Local sockets: which files and abstract names a run may connect to, send to and bind (unix(7)).

The problem: a path means another file each time it is walked, and a name in a directory that the target can write is whatever the target makes of it. So a
grant is pinned when the run starts: its directory by a handle, and, where the socket is there already, the socket itself by its inode. A target's path is walked
once, by a thread that has the target's credentials, in the target's root and working directory, without the magic links of /proc (they would be the
supervisor's); what the walk found is compared with the grant by inode, and it is that handle, ``/proc/self/fd/N``, through which the kernel then connects.

A socket that was not there when the run started is known by the name in its directory, if it has no other name (a hard link would lend it one).

What can still go wrong: a peer that asks who connected gets the target's user and groups, but the supervisor's process id. Where a path with a slash is
bound, the socket's own name (getsockname(2)) is the last part of it. Abstract names are per network namespace, and here the supervisor's thread speaks: a target in
another one is connected within its own, since that is the socket's.
"""

from __future__ import annotations

import _socket
import errno
import os
import stat

from seclude.kernel import libc, paths, sockets
from seclude.supervise.acting import Refused
from seclude.supervise.network_rules import suggestion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from seclude.kernel.credentials import Identity
    from seclude.supervise.acting import Actor
    from seclude.supervise.network_rules import Grant

__all__ = ["Denied", "Local", "Place"]

_PATH_AT = 2  # offsetof(struct sockaddr_un, sun_path)
_LONGEST = 110  # sizeof(struct sockaddr_un)
_CLONE_FS = 0x200
_IN_ROOT, _BENEATH = 0x10, 0x08  # RESOLVE_IN_ROOT, RESOLVE_BENEATH: openat2(2)
_FAMILY = _socket.AF_UNIX.to_bytes(2, sockets.BYTE_ORDER)


class Denied(Exception):  # noqa: N818 - an outcome, not a fault
    """What was asked for is not granted; ``suggestion`` is the option that would grant it, or ""; ``errno`` what the target is told, as connect(2) and bind(2) say where
    something in between forbids it.
    """  # fmt: skip

    def __init__(self, why: str, suggestion: str = "", errno: str = "EACCES") -> None:
        super().__init__(why)
        self.suggestion = suggestion
        self.errno = errno


class _Pinned:
    """One path granted: ``directory`` (a handle, -1 where there is none), ``name`` in it, and ``socket`` (a handle, -1 where there was none)."""

    __slots__ = ("directory", "name", "path", "socket")

    def __init__(self, path: bytes) -> None:
        self.path = path
        # Whoever grants a link means what it points to now; a link that appears later is the target's.
        where, self.name = os.path.split(os.path.realpath(path))
        self.directory = _handle(where)
        self.socket = -1
        if self.directory >= 0:
            self.socket = paths.pin(self.directory, self.name, follow=False, resolve=0)

    def is_socket(self, handle: int) -> bool:
        """Whether ``handle`` is the socket that was granted."""
        found = os.stat(handle)
        if self.socket >= 0:
            return os.path.samestat(found, os.stat(self.socket))
        if self.directory < 0:
            return False
        try:
            here = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(found, here) and found.st_nlink == 1

    def is_place(self, directory: int, name: bytes) -> bool:
        """Whether ``name`` in ``directory`` is the place that was granted."""
        return self.directory >= 0 and name == self.name and os.path.samestat(os.stat(directory), os.stat(self.directory))

    def close(self) -> None:
        for handle in (self.directory, self.socket):
            if handle >= 0:
                os.close(handle)


def _handle(path: bytes) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1


class Local:
    """What is granted of local sockets, and the calls on them."""

    __slots__ = ("_abstract", "_binds", "_connects")

    def __init__(self, connects: Iterable[Grant], binds: Iterable[Grant]) -> None:
        connects, binds = tuple(connects), tuple(binds)
        self._connects = [_Pinned(grant.path) for grant in connects if grant.kind == "unix"]
        self._binds = [_Pinned(grant.path) for grant in binds if grant.kind == "unix"]
        self._abstract = {
            "--connect": frozenset(grant.path for grant in connects if grant.kind == "abstract"),
            "--bind": frozenset(grant.path for grant in binds if grant.kind == "abstract"),
        }

    def close(self) -> None:
        for one in (*self._connects, *self._binds):
            one.close()

    def connect(self, actor: Actor, fd: int, raw: bytes) -> int:
        """Connect to the address ``raw``. Raises `Denied`, `Refused`, OSError."""
        return self.send(actor, actor.identity(), raw, lambda at: sockets.connect(fd, at))

    def send(self, actor: Actor, identity: Identity, raw: bytes, act: Callable[[bytes], int]) -> int:
        """``act(address)`` as the target, where ``raw`` is granted: with an address that means the very socket that was judged."""
        path = self._path(raw, "--connect")
        if path is None:
            return actor.perform(lambda: act(raw), identity)
        with Place(actor) as place:

            def walk_and_act() -> int:
                handle = place.walk(path)
                try:
                    if not stat.S_ISSOCK(os.stat(handle).st_mode):
                        return -errno.ECONNREFUSED
                    if not any(one.is_socket(handle) for one in self._connects):
                        raise _denied(
                            "--connect", _said(handle), "another socket took the place of the one granted" if self._was(path) else ""
                        )
                    return act(_FAMILY + paths.at(handle) + b"\0")
                finally:
                    os.close(handle)

            return actor.perform(walk_and_act, identity)

    def _was(self, path: bytes) -> bool:
        return any(one.path == path and one.socket >= 0 for one in self._connects)

    def bind(self, actor: Actor, fd: int, raw: bytes) -> int:
        """Bind to the address ``raw``. Raises `Denied`, `Refused`, OSError."""
        if raw[:2] == _FAMILY and len(raw) == _PATH_AT:
            raise Denied("an abstract name of the kernel's choice (autobind) is not granted by --bind")
        path = self._path(raw, "--bind")
        identity = actor.identity()
        if path is None:
            return actor.perform(lambda: sockets.bind(fd, raw), identity)
        if path.endswith(b"/"):
            return -errno.EISDIR if path.strip(b"/") else -errno.EADDRINUSE
        where, slash, name = path.rpartition(b"/")
        umask = actor.call.status.umask
        with Place(actor) as place:

            def walk_and_bind() -> int:
                directory = place.walk((where or b"/") if slash else b".")
                try:
                    if not any(one.is_place(directory, name) for one in self._binds):
                        raise _denied("--bind", os.path.join(_said(directory), name))
                    # Root, working directory and umask become this thread's own, so that the name without a slash is made in the
                    # directory that was judged, and with the target's umask.
                    if libc.syscall("unshare", _CLONE_FS) < 0:
                        raise Refused("no file system context of its own for a thread")
                    os.fchdir(directory)
                    os.umask(0o777 if umask is None else umask)
                    return sockets.bind(fd, _FAMILY + name + b"\0")
                finally:
                    os.close(directory)

            return actor.perform(walk_and_bind, identity)

    def _path(self, raw: bytes, option: str) -> bytes | None:
        """The path in an address; None for an abstract name that is granted. Raises `Denied`, and OSError for what the kernel would not take."""
        if raw[:2] != _FAMILY or not _PATH_AT < len(raw) <= _LONGEST:
            raise OSError(errno.EINVAL, "not an address of a local socket")
        body = raw[_PATH_AT:]
        if body[0]:
            return body.partition(b"\0")[0]
        name = body[1:]
        if name not in self._abstract[option]:
            shown = name.decode("utf-8", "backslashreplace")
            plain = bool(name) and shown.isprintable() and shown.encode() == name
            raise Denied(f"the abstract name @{shown} is not granted by {option}", suggestion(option, f"unix:@{shown}") if plain else "")
        return None


def _said(handle: int) -> bytes:
    try:
        return paths.handle_path(handle)
    except OSError:
        return b"?"


def _denied(option: str, path: bytes, why: str = "") -> Denied:
    shown = os.fsdecode(path)
    plain = shown.isprintable() and path.startswith(b"/")
    text = shown if plain else ascii(shown)
    return Denied(why or f"unix:{text} is not granted by {option}", suggestion(option, f"unix:{shown}") if plain and not why else "")


class Place:
    """Where the target's paths begin: handles of its root and its working directory, taken before credentials are switched."""

    __slots__ = ("_cwd", "_root")

    def __init__(self, actor: Actor) -> None:
        tid = actor.call.tid
        self._root = self._cwd = -1
        try:
            self._root = os.open(f"/proc/{tid}/root", os.O_PATH | os.O_CLOEXEC)
            self._cwd = os.open(f"/proc/{tid}/cwd", os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            self.__exit__()
            raise Refused(f"the target's root and working directory cannot be looked at: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in (self._root, self._cwd):
            if handle >= 0:
                os.close(handle)

    def walk(self, path: bytes) -> int:
        """A handle of the file that ``path`` means to the target. A wrong turn would do no harm: what is reached is judged, and that is what is used. Raises OSError as the walk does, `Denied` for magic links, and for a way out of a foreign root."""
        if path.startswith(b"/"):
            found = paths.pin(self._root, path, resolve=paths.NO_MAGICLINKS | _IN_ROOT)
        elif os.path.samestat(os.stat(self._root), os.stat("/")):
            found = paths.pin(self._cwd, path)
        else:
            found = paths.pin(self._cwd, path, resolve=paths.NO_MAGICLINKS | _BENEATH)
            if found == -errno.EXDEV:
                raise Denied("a relative path that leaves the working directory, in a root of the target's own")
        if found >= 0:
            return found
        if found == -errno.ELOOP and path.startswith((b"/proc/", b"/dev/")):
            raise Denied("a path through the links of /proc")
        raise OSError(-found, os.strerror(-found))
