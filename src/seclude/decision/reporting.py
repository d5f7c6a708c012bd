"""``reported(decision)``: the named transformation under which denials are told to a supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.decision.nodes import FALSE, Node, budget, leaf
from seclude.decision.ops import both, ite, map_leaves
from seclude.decision.value import ARCH, NR, Decision, decision_of
from seclude.decision.words import equals, overlaps

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["listener_requests", "reported"]

_ACTION = 0xFFFF_0000
_ERRNO, _USER_NOTIF, _LOG, _ALLOW = 0x0005_0000, 0x7FC0_0000, 0x7FFC_0000, 0x7FFF_0000
# linux/seccomp.h
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
_ARG0_LOW, _ARG1_LOW = 4, 6


def listener_requests(architectures: Iterable[tuple[int, int]]) -> Node:
    """Where a call is ``seccomp(SECCOMP_SET_MODE_FILTER, flags with NEW_LISTENER)``: op and flags are unsigned int (kernel/seccomp.c).

    ``architectures``: the AUDIT_ARCH token and the number of seccomp(2) of each.
    """
    asked = both(equals(_ARG0_LOW, _SECCOMP_SET_MODE_FILTER), overlaps(_ARG1_LOW, _SECCOMP_FILTER_FLAG_NEW_LISTENER))
    out = FALSE
    for token, number in architectures:
        out = ite(both(equals(ARCH, token), equals(NR, number)), asked, out)
    return out


def reported(decision: Decision) -> Decision:
    """The decision whose errno leaves are notifications, so that a supervisor can name each denial before it answers with that errno.

    Kills, traps and permitted calls stay as they are, but for one: where a process may ask for a listener of its own, which
    the kernel refuses with EBUSY while ours lives (seccomp(2)), the call is notified, and answered with that EBUSY.
    """
    from seclude.abi import ARCHITECTURES, arch

    named = []
    for name in ARCHITECTURES:
        one = arch(name)
        number = one.number("seccomp")
        if number is not None:
            named.append((one.token, number))
    notify = leaf(_USER_NOTIF)
    with budget("the reported form of this policy"):
        root = map_leaves(decision.root, lambda node: notify if node.value & _ACTION == _ERRNO else node)
        permits = map_leaves(root, lambda node: notify if node.value & _ACTION in (_ALLOW, _LOG) else node)
        return decision_of(ite(listener_requests(named), permits, root))
