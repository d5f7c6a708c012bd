"""``narrowed(decision, ...)``: chosen calls that a policy permits are asked about, or refused; nothing becomes more permitted than it was.

What a policy denies, kills, traps, notifies or traces stays as it is, and so does every call that is not chosen. So a broker that is put between a target and its
files decides no more than the policy left open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.decision.nodes import FALSE, budget, leaf
from seclude.decision.ops import both, either, ite, map_leaves
from seclude.decision.value import ARCH, NR, Decision, decision_of
from seclude.decision.words import equals

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NOTIFY", "narrowed", "refusal"]

_ACTION = 0xFFFF_0000
_LOG, _ALLOW = 0x7FFC_0000, 0x7FFF_0000
#: the value of a call that a supervisor is asked about
NOTIFY = 0x7FC0_0000


def refusal(number: int) -> int:
    """The value of a call that fails with that errno."""
    return 0x0005_0000 | number


def narrowed(decision: Decision, calls: Iterable[tuple[int, int]], value: int) -> Decision:
    """The decision whose allow and log leaves have ``value`` for these calls: AUDIT_ARCH token and number of each."""
    instead = leaf(value)
    with budget("this policy with its files or hosts brokered"):
        chosen = FALSE
        for token, number in calls:
            chosen = either(chosen, both(equals(ARCH, token), equals(NR, number & 0xFFFF_FFFF)))
        changed = map_leaves(decision.root, lambda node: instead if node.value & _ACTION in (_ALLOW, _LOG) else node)
        return decision_of(ite(chosen, changed, decision.root))
