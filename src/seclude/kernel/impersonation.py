"""Act on files as somebody else, and be oneself again: one thread's fsuid, fsgid, groups and effective capabilities (credentials(7), setfsuid(2), capabilities(7)).

The problem: a supervisor that opens a file for its target must be refused what the target would be refused. The kernel judges files by four
things of the calling *thread*; the C library's functions change all threads of a process, so the calls are made raw here.

Order: groups and ids while the capability to change them is still there, effective capabilities last; back in the reverse order. What cannot be taken
back ends the process: it must never go on as somebody else.

Rejected: a thread for each call that becomes the target for good, as for addresses (`seclude.kernel.credentials`): to make one costs more than to open a file, and
real and saved ids need no replacing where only files are judged and nothing waits.

What can still go wrong: an unprivileged supervisor can become nobody but itself; `Impersonation.enter` raises PermissionError then.
"""

from __future__ import annotations

import ctypes
import os

from seclude.errors import KernelError
from seclude.kernel import capabilities, prctl
from seclude.kernel.ids import id_call, set_groups
from seclude.kernel.libc import libc

__all__ = ["Caller", "Impersonation", "caller"]

#: reaching into processes is judged where it matters, not here; a target never has it
_IGNORED = 1 << capabilities.CAP_SYS_PTRACE
_raw = libc.syscall


class Caller:
    """Who a thread is to the file system: ``uid`` and ``gid`` (fsuid, fsgid), real ones, ``groups`` sorted, ``capabilities`` effective, those ``permitted``; and its
    process, its numbers in each pid namespace from ours inwards, its umask.
    """  # fmt: skip

    __slots__ = ("capabilities", "gid", "groups", "permitted", "pids", "process", "real_gid", "real_uid", "tgids", "uid", "umask")

    def __init__(self, raw: bytes) -> None:
        def words(name: bytes) -> list[bytes]:
            at = raw.index(b"\n" + name + b":\t") + len(name) + 3
            return raw[at : raw.index(b"\n", at)].split()

        self.umask = int(words(b"Umask")[0], 8)
        self.process = int(words(b"Tgid")[0])
        uid, gid = words(b"Uid"), words(b"Gid")
        self.uid, self.gid, self.real_uid, self.real_gid = int(uid[3]), int(gid[3]), int(uid[0]), int(gid[0])
        self.groups = tuple(map(int, words(b"Groups")))
        self.tgids, self.pids = tuple(map(int, words(b"NStgid"))), tuple(map(int, words(b"NSpid")))
        self.capabilities, self.permitted = int(words(b"CapEff")[0], 16), int(words(b"CapPrm")[0], 16)


_callers: dict[tuple[bytes, bytes], Caller] = {}
_REMEMBERED = 256
#: the last one: where its two parts lay, the parts, and whom they mean
_last: tuple[int, bytes, int, bytes, Caller | None] = (0, b"\n", 0, b"\n", None)


def caller(raw: bytes) -> Caller | None:
    """A `Caller` from /proc/TID/status; None where it does not say all that is needed (a thread that is ending)."""
    global _last
    # The same lines mean the same caller, and a thread that makes many calls has the same lines: to take them apart again costs more than to read them.
    at, head, later, tail, known = _last
    if raw.startswith(head, at) and raw.startswith(tail, later):
        return known
    start, middle = raw.find(b"\nUmask:"), raw.find(b"\nVm")
    sets, end = raw.find(b"\nCapPrm:", middle), raw.find(b"\nCapBnd:", middle)
    if start < 0 or middle < 0 or sets < 0 or end < 0:
        return None
    key = raw[start : middle + 3], raw[sets : end + 8]
    known = _callers.get(key)
    if known is None:
        try:
            known = Caller(raw)
        except (ValueError, IndexError):
            return None
        if len(_callers) >= _REMEMBERED:
            _callers.clear()
        _callers[key] = known
    _last = start, key[0], sets, key[1], known
    return known


class Impersonation:
    """Who this thread is itself, and how to be somebody else for a while. For the thread that made it only."""

    __slots__ = ("_death_signal", "_fsgid", "_fsuid", "capabilities", "gid", "groups", "uid")

    def __init__(self) -> None:
        self._fsuid = id_call("setfsuid")
        self._fsgid = id_call("setfsgid")
        self.uid, self.gid = self._set(self._fsuid, -1), self._set(self._fsgid, -1)
        self.groups = tuple(os.getgroups())
        self.capabilities = capabilities.sets()["effective"]
        self._death_signal = prctl.parent_death_signal()

    @staticmethod
    def _set(call: int, value: int) -> int:
        return int(_raw(ctypes.c_long(call), ctypes.c_long(value))) & 0xFFFFFFFF

    def is_own(self, uid: int, gid: int, groups: tuple[int, ...], effective: int) -> bool:
        """Whether these are this thread's own, as far as files are concerned: then there is nothing to enter."""
        return uid == self.uid and gid == self.gid and groups == self.groups and not self.capabilities & ~effective & ~_IGNORED

    def enter(self, uid: int, gid: int, groups: tuple[int, ...], effective: int) -> None:
        """Become that, with no capability that this thread lacks. Raises PermissionError, and then nothing has changed. `leave` it in any case."""
        try:
            if groups != self.groups:
                self._set_groups(groups)
            if self._change(self._fsgid, gid) != gid or self._change(self._fsuid, uid) != uid:
                raise PermissionError(1, "the supervisor may not act as the target's user")
            capabilities.set_effective(self.capabilities & effective)
        except (OSError, KernelError) as error:
            self.leave()
            raise PermissionError(1, f"the supervisor may not act as the target's user ({error})") from None

    def leave(self) -> None:
        """Be oneself again. Ends the process where that fails."""
        try:
            capabilities.set_effective(self.capabilities)
            good = self._change(self._fsuid, self.uid) == self.uid and self._change(self._fsgid, self.gid) == self.gid
            if tuple(os.getgroups()) != self.groups:
                self._set_groups(self.groups)
            capabilities.set_effective(self.capabilities)  # the change of fsuid moves those about files
            if self._death_signal:
                prctl.set_parent_death_signal(self._death_signal)  # which a change of fsuid clears (kernel/cred.c, commit_creds)
        except (OSError, KernelError):
            good = False
        if not good:
            os._exit(125)

    def _change(self, call: int, value: int) -> int:
        self._set(call, value)
        return self._set(call, -1)

    @staticmethod
    def _set_groups(groups: tuple[int, ...]) -> None:
        result = set_groups(groups)
        if result < 0:
            raise PermissionError(-result, os.strerror(-result))
