"""Sets of calls: all (architecture, number, instruction pointer, arguments) for which something holds.

A set is canonical like a decision: equal sets are the same object. Sets combine with ``&``, ``|``, ``-`` and ``~``, compare with ``<=``, are true
where not empty, and count exactly: a call is sixteen 32-bit words, so the set of all calls has 2**512 members.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from seclude.decision.nodes import END, FALSE, LEVEL_SHIFT, LEVEL_WORD, TRUE, Node, boolean, budget, reachable, roots
from seclude.decision.ops import both, either, excluding, invert, map_leaves
from seclude.decision.value import ARCH, NR
from seclude.decision.words import equals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seclude.abi import Architecture
    from seclude.decision.value import Decision
    from seclude.decision.witness import SystemCall

__all__ = ["ALL_CALLS", "NO_CALLS", "Calls", "calls_of", "calls_where", "calls_with", "count"]


class Calls:
    """A set of calls. ``root`` is its diagram, with the leaves `TRUE` and `FALSE`. Made by `calls_of`, `calls_where` and the operators."""

    __slots__ = ("__weakref__", "root")

    def __init__(self, root: Node) -> None:
        self.root = root

    def __repr__(self) -> str:
        if self.root.level == END:
            return "<every call>" if self else "<no call>"
        return f"<Calls of {len(reachable([self.root]))} nodes>"

    def __bool__(self) -> bool:
        return self.root is not FALSE

    def __contains__(self, words: Sequence[int]) -> bool:
        """Whether the call with these sixteen words (0 nr, 1 arch, 2 ip.low, 3 ip.high, 4 arg0.low, ...) is in the set."""
        node = self.root
        while node.level != END:
            node = node.kids[words[LEVEL_WORD[node.level]] >> LEVEL_SHIFT[node.level] & 15]
        return node is TRUE

    def __and__(self, other: Calls) -> Calls:
        with budget("this set of calls"):
            return calls_with(both(self.root, other.root))

    def __or__(self, other: Calls) -> Calls:
        with budget("this set of calls"):
            return calls_with(either(self.root, other.root))

    def __sub__(self, other: Calls) -> Calls:
        with budget("this set of calls"):
            return calls_with(excluding(self.root, other.root))

    def __invert__(self) -> Calls:
        with budget("this set of calls"):
            return calls_with(invert(self.root))

    def __le__(self, other: Calls) -> bool:
        """Whether every member is one of ``other`` too."""
        return not self - other

    def count(self) -> int:
        """How many calls are in the set, exactly; of 2**512."""
        return count(self.root)

    def witness(self) -> SystemCall | None:
        """A member, as typical a call as the set has; None where it is empty. See `seclude.decision.witness`."""
        from seclude.decision.witness import witness

        return witness(self.root)


_known: WeakValueDictionary[Node, Calls] = WeakValueDictionary()


def calls_with(root: Node) -> Calls:
    """The one set with this diagram."""
    found = _known.get(root)
    if found is None:
        found = _known.setdefault(root, Calls(root))
        roots.add(found)
    return found


NO_CALLS = calls_with(FALSE)
ALL_CALLS = calls_with(TRUE)


def count(root: Node, first: int = 0, last: int = END) -> int:
    """How many assignments of the digits on levels ``first`` .. ``last`` - 1 lead to `TRUE`."""
    memo: dict[Node, int] = {}

    def walk(node: Node) -> int:
        # Members, as if the levels above ``node`` did not exist.
        if node.level >= last:
            return 1 if node is TRUE else 0
        found = memo.get(node)
        if found is None:
            found = memo[node] = sum(walk(kid) << 4 * (min(kid.level, last) - node.level - 1) for kid in node.kids)
        return found

    return walk(root) << 4 * (min(root.level, last) - first)


def calls_where(decision: Decision, holds: Callable[[int], bool]) -> Calls:
    """The calls whose RET word (as `canonical_value` leaves it) fulfils ``holds``."""
    with budget("this set of calls"):
        return calls_with(map_leaves(decision.root, lambda node: boolean(holds(node.value))))


def calls_of(arch: Architecture | str | int | None = None, call: str | int | None = None) -> Calls:
    """Every call of an architecture (a name, or an audit token), or every call of one name or number there.

    x86_64 and x32 share a token and are told apart by bit 30 of the number. A call's name without an architecture means that call on
    every architecture that has it. Raises `UsageError` for an unknown architecture, and for a call that none of them has.
    """
    from seclude import abi
    from seclude.errors import UsageError, nearest

    with budget("this set of calls"):
        if arch is None:
            if call is None:
                return ALL_CALLS
            if isinstance(call, int):
                return calls_with(equals(NR, call))
            archs: tuple[Architecture, ...] = abi.ALL
        elif isinstance(arch, int) and not abi.by_token(arch):
            archs = ()
        else:
            archs = (abi.arch(arch),)
        if not archs:
            assert isinstance(arch, int)
            number = equals(NR, call) if isinstance(call, int) else TRUE
            return calls_with(both(equals(ARCH, arch), number))
        out = FALSE
        for one in archs:
            own = both(equals(ARCH, one.token), _side(one))
            if isinstance(call, int):
                own = both(own, equals(NR, call))
            elif call is not None:
                found = one.number(call)
                own = both(own, equals(NR, found)) if found is not None else FALSE
            out = either(out, own)
        if isinstance(call, str) and out is FALSE:
            guess = nearest(call, {name for one in archs for name in one.calls()})
            where = f" on {archs[0].name}" if len(archs) == 1 else ""
            raise UsageError(f"no system call {call!r}{where}" + (f"; did you mean {guess!r}?" if guess else ""))
        return calls_with(out)


def _side(arch: Architecture) -> Node:
    """Which numbers belong to x86_64 and which to x32, under the token that they share."""
    from seclude.decision.words import word_in

    if arch.x32_bit:
        return word_in(NR, 0xFFFF_FFFF, ((0x4000_0000, 0x7FFF_FFFF),))
    if arch.name == "x86_64":
        return word_in(NR, 0xFFFF_FFFF, ((0, 0x3FFF_FFFF), (0x8000_0000, 0xFFFF_FFFF)))
    return TRUE
