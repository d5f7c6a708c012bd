"""Who a thread is, and how a thread of ours becomes that, for good: user and group ids, supplementary groups, capabilities (credentials(7)).

The problem: what a supervisor does for a target, the kernel checks against the supervisor. A privileged supervisor would open, bind and connect for its
target what the target itself may not, and a peer that asks who is there (SO_PEERCRED) would see the supervisor. Credentials are per thread in the
kernel, whatever POSIX says of processes; so a thread takes the target's before it acts, and ends after it: all three user ids are replaced, so there is no way back.
Files, which need no more than the file system's ids, are done by a thread that comes back: `seclude.kernel.impersonation`.

Rejected: setresuid(3) and its like, which make every thread of the process change (nptl(7)); seteuid alone, which leaves the saved id to be forged with.

What can still go wrong: the process id stays ours, and so does a security module's label; a peer can see both. A target in a user namespace of its own
has capabilities over that namespace only, which a thread outside cannot have: it gets none.

Source: capabilities(7), user_namespaces(7); kernel/sys.c, kernel/cred.c.
"""

from __future__ import annotations

import ctypes
import os

from seclude.errors import KernelError
from seclude.kernel import capabilities, prctl
from seclude.kernel.ids import id_call, set_groups
from seclude.kernel.libc import failed, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.kernel.proc import Status

__all__ = ["Identity", "assume", "identity_of", "own_identity"]

PR_SET_KEEPCAPS = 8


class Identity:
    """``uids`` and ``gids`` are real, effective, saved and file system id; ``groups`` the supplementary ones, sorted; ``capabilities`` those effective, a bit mask."""

    __slots__ = ("capabilities", "gids", "groups", "uids")

    def __init__(self, uids: tuple[int, ...], gids: tuple[int, ...], groups: tuple[int, ...], capabilities: int) -> None:
        self.uids, self.gids = uids, gids
        self.groups, self.capabilities = tuple(sorted(groups)), capabilities

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(self._all())

    def _all(self) -> tuple[object, ...]:
        return self.uids, self.gids, self.groups, self.capabilities

    def with_capabilities(self, more: int) -> Identity:
        """The same with the capabilities of the mask ``more`` added."""
        return Identity(self.uids, self.gids, self.groups, self.capabilities | more)

    def __repr__(self) -> str:
        return f"Identity(uids={self.uids}, gids={self.gids}, groups={self.groups}, capabilities={self.capabilities:#x})"


def identity_of(status: Status, tid: int | None = None) -> Identity | None:
    """The identity in a ``/proc/TID/status``; None where a field is missing. ``tid`` also looks whether it is in our user namespace: if not, without capabilities."""
    uids, gids = _four(status, "Uid"), _four(status, "Gid")
    effective = status.capabilities("Eff")
    if uids is None or gids is None or effective is None:
        return None
    groups = tuple(int(word) for word in status.fields.get("Groups", "").split())
    if tid is not None and not _same_namespace(tid):
        effective = 0
    return Identity(uids, gids, groups, effective)


def _four(status: Status, name: str) -> tuple[int, ...] | None:
    words = status.fields.get(name, "").split()
    return tuple(map(int, words)) if len(words) == 4 else None


def _same_namespace(tid: int) -> bool:
    try:
        return os.readlink(f"/proc/{tid}/ns/user") == os.readlink("/proc/self/ns/user")
    except OSError:
        return False  # one that may not be looked at is taken for another's: then nothing is lent


def own_identity() -> Identity:
    """The calling thread's: each of these asks the kernel for the thread's own (getresuid(2), capget(2))."""
    uids, gids = os.getresuid(), os.getresgid()
    nobody = ctypes.c_uint32(0xFFFFFFFF).value  # an id that cannot be set: setfsuid(2) then only tells what it was
    fsuid, fsgid = syscall(id_call("setfsuid"), nobody), syscall(id_call("setfsgid"), nobody)
    return Identity(
        (*uids, fsuid & 0xFFFFFFFF), (*gids, fsgid & 0xFFFFFFFF), tuple(os.getgroups()), capabilities.sets()["effective"]
    )  # fmt: skip


def assume(wanted: Identity) -> None:
    """Make the calling thread ``wanted``, for good. Call it in a thread that ends soon. Raises `KernelError` where the thread is not allowed to.

    Capabilities that the thread does not have are not gained: it ends up with those of ``wanted`` that it has.
    """
    here = own_identity()
    if here == wanted:
        return
    if here.groups != wanted.groups:
        _check("setgroups", set_groups(wanted.groups))
    if here.gids != wanted.gids:
        _do("setresgid", *wanted.gids[:3])
    if here.uids != wanted.uids:
        prctl.raw(PR_SET_KEEPCAPS, 1)  # else leaving user id 0 would clear what the target kept
        _do("setresuid", *wanted.uids[:3])
    # setfsuid(2) and setfsgid(2) tell no errors: what came of it is looked at below. They follow the effective ids by themselves.
    if wanted.gids[3] != wanted.gids[1]:
        syscall(id_call("setfsgid"), wanted.gids[3])
    if wanted.uids[3] != wanted.uids[1]:
        syscall(id_call("setfsuid"), wanted.uids[3])
    capabilities.limit(wanted.capabilities)
    now = own_identity()
    if (now.uids, now.gids, now.groups) != (wanted.uids, wanted.gids, wanted.groups) or now.capabilities & ~wanted.capabilities:
        raise KernelError(f"this thread could not become {wanted}: it is {now}", "run Seclude as the target's own user")


def _do(name: str, *arguments: int) -> None:
    _check(name, syscall(id_call(name), *arguments))


def _check(name: str, result: int) -> None:
    if result < 0:
        raise failed(name, -result, "to act as the target", "run Seclude as the target's own user, or as root")
