"""Operations on diagrams, each memoised on the nodes it meets, so that its cost is bounded by products of diagram sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.decision.nodes import END, FALSE, TRUE, Node, forget, make

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["apply", "both", "either", "excluding", "invert", "ite", "map_leaves"]

_ite: dict[tuple[Node, Node, Node], Node] = {}
forget.append(_ite.clear)
_MEMO_LIMIT = 400_000


def ite(test: Node, then: Node, other: Node) -> Node:
    """``then`` where ``test`` holds, ``other`` elsewhere. ``test`` has the leaves `TRUE` and `FALSE`."""
    if test is TRUE or then is other:
        return then
    if test is FALSE:
        return other
    if then is TRUE and other is FALSE:
        return test
    key = (test, then, other)
    found = _ite.get(key)
    if found is not None:
        return found
    level = min(test.level, then.level, other.level)
    thens = then.kids if then.level == level else (then,) * 16
    others = other.kids if other.level == level else (other,) * 16
    if test.level == level:
        kids = tuple(
            [t if c is TRUE or t is o else o if c is FALSE else ite(c, t, o) for c, t, o in zip(test.kids, thens, others, strict=True)]
        )
    else:
        kids = tuple([t if t is o else ite(test, t, o) for t, o in zip(thens, others, strict=True)])
    if len(_ite) > _MEMO_LIMIT:
        _ite.clear()
    node = _ite[key] = make(level, kids)
    return node


def both(a: Node, b: Node) -> Node:
    """Where both tests hold."""
    return ite(a, b, FALSE)


def either(a: Node, b: Node) -> Node:
    """Where at least one test holds."""
    return ite(a, TRUE, b)


def invert(a: Node) -> Node:
    """Where the test does not hold."""
    return ite(a, FALSE, TRUE)


def excluding(a: Node, b: Node) -> Node:
    """Where ``a`` holds and ``b`` does not."""
    return ite(b, FALSE, a)


def map_leaves(node: Node, function: Callable[[Node], Node]) -> Node:
    """The diagram with every leaf replaced by ``function(leaf)``, itself a leaf or a diagram of the same order of words."""
    memo: dict[Node, Node] = {}

    def walk(node: Node) -> Node:
        found = memo.get(node)
        if found is None:
            found = function(node) if node.level == END else make(node.level, tuple([walk(kid) for kid in node.kids]))
            memo[node] = found
        return found

    return walk(node)


def apply(function: Callable[[Node, Node], Node | None], a: Node, b: Node) -> Node:
    """The diagram of ``function(a(x), b(x))``.

    ``function`` is asked about every pair of nodes met and may answer early; for two leaves it must answer.
    """
    memo: dict[tuple[Node, Node], Node] = {}

    def walk(a: Node, b: Node) -> Node:
        key = (a, b)
        found = memo.get(key)
        if found is None:
            found = function(a, b)
            if found is None:
                level = min(a.level, b.level)
                left = a.kids if a.level == level else (a,) * 16
                right = b.kids if b.level == level else (b,) * 16
                found = make(level, tuple([walk(x, y) for x, y in zip(left, right, strict=True)]))
            memo[key] = found
        return found

    return walk(a, b)
