"""Named transformations of a decision, each compiled and proven like any other: what a supervisor needs to be told.

``reported(decision)``: denials are notified. ``traced(decision, calls)``: permitted calls stop for a tracer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.decision.nodes import FALSE, Node, budget, leaf
from seclude.decision.ops import both, either, ite, map_leaves
from seclude.decision.value import ARCH, NR, Decision, decision_of
from seclude.decision.words import equals, overlaps

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["TRACED", "asked_by_trace", "listener_requests", "reported", "traced"]

_ACTION = 0xFFFF_0000
_ERRNO, _USER_NOTIF, _TRACE, _LOG, _ALLOW = 0x0005_0000, 0x7FC0_0000, 0x7FF0_0000, 0x7FFC_0000, 0x7FFF_0000
#: the return value of a call that the policy allows and that a tracer is to see: TRACE with the data 0
TRACED = _TRACE
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


def asked_by_trace(decision: Decision) -> Decision:
    """The decision whose notify leaves are trace(0): a tracer asks the handlers of both. Apply it before `reported`, whose notifications are others."""
    trace = leaf(_TRACE)
    with budget("this policy for a tracer"):
        return decision_of(map_leaves(decision.root, lambda node: trace if node.value & _ACTION == _USER_NOTIF else node))


def traced(decision: Decision, calls: Iterable[tuple[int, int]] | None, *, others: bool = False, asked: bool = False) -> Decision:
    """The decision whose allow leaves, for the chosen calls, stop for a tracer before the call runs (`TRACED`).

    ``calls``: AUDIT_ARCH token and number of each; None chooses every call there is, and ``others`` all but those named. Apply it to the
    reported form. The policy's own trace leaves become notifications first, so that a stop means "allowed, and to be shown" and nothing
    else, unless they are ``asked`` of a tracer too, who then must tell one from the other by the policy. Kills, traps, errno and notifications stay what they are, and so does **log**: TRACE would outrank it, and the kernel's audit record,
    which is what log is for, would be lost.
    """
    trace, notify = leaf(TRACED), leaf(_USER_NOTIF)
    with budget("the traced form of this policy"):
        root = decision.root if asked else map_leaves(decision.root, lambda node: notify if node.value & _ACTION == _TRACE else node)
        shown = map_leaves(root, lambda node: trace if node.value & _ACTION == _ALLOW else node)
        if calls is None:
            return decision_of(shown)
        chosen = FALSE
        for token, number in calls:
            chosen = either(chosen, both(equals(ARCH, token), equals(NR, number & 0xFFFF_FFFF)))
        return decision_of(ite(chosen, root, shown) if others else ite(chosen, shown, root))
