"""Two decisions, or a stack of them, taken together.

For comparison, actions fall into three classes: **deny** (kill_process, kill_thread, trap, errno, and every action that the kernel does
not know, which acts as kill_process) < **undecided** (notify, trace: someone else decides) < **permit** (log, allow).

* `subset(a, b)`: nowhere is A's class above B's, so A lets nothing through that B stops. With ``strict`` A's action must come no later than
  B's in the kernel's own order (kill_process first, allow last), and where the actions are the same, their data must be too.
* `intersection` and `union` give each call the lesser and the greater of the two answers, by class, then the kernel's order, then data. So
  what an intersection permits is what both permit, and the two operations form a distributive lattice.
* `stack` is what the kernel does with several filters: the first action in its order wins, and among equal actions the data of the newest
  filter (kernel/seccomp.c, seccomp_run_filters). That looks at whole returned values, data that the kernel later ignores included; as
  `canonical_value` never changes an action and the winner is always one of the values, combining what it leaves gives the same result.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from seclude.decision.calls import ALL_CALLS, Calls, calls_where, calls_with
from seclude.decision.nodes import END, FALSE, TRUE, Node, budget, leaf, roots
from seclude.decision.ops import apply, ite, map_leaves
from seclude.decision.value import Decision, decision_of, result
from seclude.errors import BudgetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "CLASSES",
    "DENY",
    "PERMIT",
    "UNDECIDED",
    "Difference",
    "action_class",
    "denied",
    "difference",
    "equivalent",
    "excess",
    "intersection",
    "order_key",
    "pair",
    "permitted",
    "rank",
    "restrict",
    "stack",
    "subset",
    "undecided",
    "union",
]

DENY, UNDECIDED, PERMIT = range(3)
#: class → its name
CLASSES = ("deny", "undecided", "permit")

_KILL_PROCESS = 0x8000_0000
# linux/seccomp.h: USER_NOTIF, TRACE; LOG, ALLOW
_OF_ACTION = {0x7FC0_0000: UNDECIDED, 0x7FF0_0000: UNDECIDED, 0x7FFC_0000: PERMIT, 0x7FFF_0000: PERMIT}


def action_class(value: int) -> int:
    """`DENY`, `UNDECIDED` or `PERMIT` for a RET word."""
    return _OF_ACTION.get(value & 0xFFFF_0000, DENY)


def rank(value: int) -> int:
    """The action's place in the kernel's order, smallest first: the action half as a signed number (kernel/seccomp.c, ACTION_ONLY)."""
    action = value & 0xFFFF_0000
    return action - 0x1_0000_0000 if action & _KILL_PROCESS else action


@cache
def order_key(value: int) -> tuple[int, int, int]:
    """The key by which `intersection` and `union` choose."""
    return action_class(value), rank(value), value & 0xFFFF


# ── sets ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def permitted(decision: Decision) -> Calls:
    """The calls that log or allow lets through."""
    return calls_where(decision, lambda value: action_class(value) == PERMIT)


def undecided(decision: Decision) -> Calls:
    """The calls that a listener or a tracer decides."""
    return calls_where(decision, lambda value: action_class(value) == UNDECIDED)


def denied(decision: Decision) -> Calls:
    """The calls that are stopped: killed, trapped, or answered with an errno."""
    return calls_where(decision, lambda value: action_class(value) == DENY)


# ── two decisions ───────────────────────────────────────────────────────────────────────────────────────────────────


def equivalent(a: Decision, b: Decision) -> bool:
    """Whether the two mean the same, for every call."""
    return a is b


def _within(a: int, b: int) -> bool:
    return action_class(a) <= action_class(b)


def _strictly_within(a: int, b: int) -> bool:
    return a == b or rank(a) < rank(b)


def excess(a: Decision, b: Decision, *, strict: bool = False) -> Difference:
    """The calls for which ``a`` is not within ``b``, with both answers: false exactly if `subset` holds."""
    return difference(a, b).only(lambda x, y: not (_strictly_within if strict else _within)(x, y))


def subset(a: Decision, b: Decision, *, strict: bool = False) -> bool:
    """Whether ``a`` permits no more than ``b``; ``strict`` compares by the kernel's order and data. See the top of the module."""
    return a is b or not excess(a, b, strict=strict)


class _Steps:
    """A limit on the pairs of nodes that one comparison looks at: two large diagrams have more pairs than their result has nodes."""

    __slots__ = ("left", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self.left = _PAIRS

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise BudgetError(f"{self.what} is too complex: more than {_PAIRS} pairs of diagram nodes")


_PAIR = 1 << 64
_PAIRS = 2_000_000


class Difference:
    """Where two decisions differ, with both answers. False where they are the same.

    ``root`` is a diagram: `FALSE` where both agree, else a leaf that stands for the two RET words (see `pair`).
    """

    __slots__ = ("__weakref__", "a", "b", "root")

    def __init__(self, a: Decision, b: Decision, root: Node) -> None:
        self.a = a
        self.b = b
        self.root = root

    def __repr__(self) -> str:
        return f"<Difference of {self.a!r} and {self.b!r}>"

    def __bool__(self) -> bool:
        return self.root is not FALSE

    @property
    def calls(self) -> Calls:
        """The calls that the two answer differently."""
        return self.where(lambda *_: True)

    def where(self, holds: Callable[[int, int], bool]) -> Calls:
        """The calls that are answered differently and whose two RET words fulfil ``holds``."""

        def choose(node: Node) -> Node:
            return TRUE if node is not FALSE and holds(*pair(node)) else FALSE

        with budget("this difference"):
            return calls_with(map_leaves(self.root, choose))

    def only(self, holds: Callable[[int, int], bool]) -> Difference:
        """The part of the difference where the two RET words fulfil ``holds``."""
        return self.within(self.where(holds))

    def within(self, calls: Calls) -> Difference:
        """The part of the difference that lies in ``calls``."""
        if calls is ALL_CALLS:
            return self
        with budget("this difference"):
            return _difference(self.a, self.b, ite(calls.root, self.root, FALSE))


def pair(node: Node) -> tuple[int, int]:
    """The two RET words of a leaf of a `Difference`."""
    return node.value >> 32 & 0xFFFF_FFFF, node.value & 0xFFFF_FFFF


_differences: WeakValueDictionary[tuple[Decision, Decision, Node], Difference] = WeakValueDictionary()


def _difference(a: Decision, b: Decision, root: Node) -> Difference:
    found = _differences.get((a, b, root))
    if found is None:
        found = _differences[a, b, root] = Difference(a, b, root)
        roots.add(found)
    return found


def difference(a: Decision, b: Decision) -> Difference:
    """The calls for which the two give different answers. Raises `BudgetError`."""
    steps = _Steps("the difference of these filters")

    def compare(x: Node, y: Node) -> Node | None:
        if x is y:
            return FALSE
        steps.take()
        if x.level == END == y.level:
            return leaf(_PAIR | x.value << 32 | y.value)
        return None

    with budget("the difference of these filters"):
        return _difference(a, b, apply(compare, a.root, b.root))


# ── combinations ────────────────────────────────────────────────────────────────────────────────────────────────────


def _pointwise(what: str, decisions: Sequence[Decision], choose: Callable[[int, int], int]) -> Decision:
    if not decisions:
        raise UsageError(f"{what} needs at least one decision")

    steps = _Steps(what)

    def combine(x: Node, y: Node) -> Node | None:
        if x is y:
            return x
        steps.take()
        return leaf(choose(x.value, y.value)) if x.level == END == y.level else None

    with budget(what):
        root = decisions[0].root
        for other in decisions[1:]:
            root = apply(combine, root, other.root)
        return decision_of(root)


def intersection(*decisions: Decision) -> Decision:
    """For each call the least of the answers: it permits what all of them permit."""
    return _pointwise("this intersection", decisions, lambda a, b: min(a, b, key=order_key))


def union(*decisions: Decision) -> Decision:
    """For each call the greatest of the answers: it permits what any of them permits."""
    return _pointwise("this union", decisions, lambda a, b: max(a, b, key=order_key))


def stack(*decisions: Decision) -> Decision:
    """What the kernel makes of filters that are loaded one after the other, the oldest first."""
    return _pointwise("this stack of filters", decisions, lambda older, newer: older if rank(older) < rank(newer) else newer)


def restrict(decision: Decision, calls: Calls, outside: int = _KILL_PROCESS) -> Decision:
    """``decision`` for ``calls``, and the RET word ``outside`` for every other call."""
    with budget("this restriction"):
        return decision_of(ite(calls.root, decision.root, result(outside)))
