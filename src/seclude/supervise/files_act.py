"""One call on files being done: its arguments, the handles it takes, what the rules say of them, and being the target meanwhile.

Every entry of `files_table` gets an `Act` and returns ``(result, writes)``: what the call returns (or a verdict), and what is to be written into the target's memory
first. A refusal of the rules is `Refused`; what the kernel refuses is its OSError, as the target would have seen it.
"""

from __future__ import annotations

import _thread
import os

from seclude.kernel.libc import syscall
from seclude.supervise.call import Gone
from seclude.supervise.files_resolve import Found
from seclude.supervise.files_rules import HIDDEN, NOTHING, READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from seclude.kernel.impersonation import Impersonation
    from seclude.supervise.call import Call
    from seclude.supervise.files_resolve import Resolver, View
    from seclude.supervise.files_rules import Rules
    from seclude.supervise.verdict import Verdict

    Outcome: TypeAlias = tuple[int | Verdict, tuple[tuple[int, bytes], ...]]

__all__ = ["Act", "Refused", "part"]

#: of another process, these only: what any process may read of any other, whoever it is
_OF_OTHERS = frozenset(
    (b"", b"stat", b"statm", b"status", b"cmdline", b"comm", b"cgroup", b"limits", b"loginuid", b"sessionid", b"sched", b"schedstat")
)
#: of its own process, never through the supervisor
_NOT_OWN = frozenset((b"mem", b"map_files", b"attr", b"pagemap", b"ns"))
_OWN_WRITTEN = frozenset((b"comm", b"oom_score_adj", b"timerslack_ns", b"coredump_filter"))


class Refused(Exception):  # noqa: N818 - a decision, not a fault
    """The rules do not grant this: ``path``, the ``level`` it has and the one it would ``need``."""

    def __init__(self, path: bytes, level: int, need: int, why: str = "") -> None:
        super().__init__(path)
        self.path, self.level, self.need, self.why = path, level, need, why


class Act:
    """One call being done. ``base`` descriptors are taken as the supervisor, everything else as the target (`enter`)."""

    __slots__ = ("_apart", "_bases", "_entered", "_hidden", "_impersonation", "_mask", "call", "narrow", "resolver", "rules", "view")

    def __init__(
        self,
        call: Call,
        view: View,
        resolver: Resolver,
        rules: Rules,
        impersonation: Impersonation,
        hidden: frozenset[tuple[int, int]] = frozenset(),
        *,
        apart: bool = False,
    ) -> None:
        """``apart``: this thread has a umask of its own (`part`)."""
        self.call, self.view, self.resolver, self.rules = call, view, resolver, rules
        self._impersonation, self._hidden = impersonation, hidden
        arch = call.arch
        self.narrow = arch is not None and (arch.bits == 32 or bool(arch.x32_bit))  # pointers and longs have 32 bits
        self._mask = 0xFFFFFFFF if self.narrow else -1
        self._bases: list[int] = []
        self._entered = False
        self._apart = apart

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
        self.view.fsuid = uid
        own = self._impersonation
        effective = who.capabilities if not real else who.permitted if uid == 0 else 0  # fs/open.c, access_override_creds
        if effective & own.capabilities and self.resolver.is_foreign(self.view):
            effective = 0
        if not own.is_own(uid, gid, who.groups, effective):
            own.enter(uid, gid, who.groups, effective)
            self._entered = True

    def umask(self) -> _Umask:
        """The target's umask, for as long as a file is made: also the kernel knows best when it counts (not where a directory has a default ACL)."""
        return _Umask(self.view.caller.umask, apart=self._apart)

    def leave(self) -> None:
        """Be oneself again."""
        if self._entered:
            self._entered = False
            self._impersonation.leave()

    def close(self) -> None:
        """Close every handle that was taken, and leave the target's identity."""
        self.leave()
        for handle in self._bases:
            os.close(handle)
        self._bases.clear()
        self.view.close()


#: brokers act in several threads, and the process has one umask
_umask_lock = _thread.allocate_lock()
_CLONE_FS = 0x200  # linux/sched.h


def part() -> bool:
    """Give this thread a umask of its own, and a working directory (unshare(2)): what it makes may wait for a server, and meanwhile nobody is to wait for the
    process's umask. False where the kernel refuses.
    """  # fmt: skip
    with _umask_lock:  # so that it begins with the supervisor's own
        return syscall("unshare", _CLONE_FS) >= 0


class _Umask:
    """``with _Umask(mask)``: the process's umask, meanwhile, and nobody else's; or that of a thread which has its own (``apart``)."""

    __slots__ = ("_apart", "_before", "_mask")

    def __init__(self, mask: int, *, apart: bool) -> None:
        self._mask, self._apart = mask, apart
        self._before = mask

    def __enter__(self) -> None:
        if not self._apart:
            _umask_lock.acquire()
        self._before = os.umask(self._mask)

    def __exit__(self, *exception: object) -> None:
        os.umask(self._before)
        if not self._apart:
            _umask_lock.release()
