"""Hash-consed diagrams: the canonical form of any function of the sixteen words that a filter sees.

A word is read as eight 4-bit digits, most significant first. A node stands for one digit of one word and has sixteen
children; a leaf holds a value. Levels count digits in this order of words::

    arch, nr, ip.high, ip.low, arg0.high, arg0.low, ... arg5.high, arg5.low

Invariants, kept by `make`: children lie on greater levels; no node has sixteen equal children; no two nodes have the same
level and children. So two functions are equal exactly if they are the same object.

Sixteen-way nodes rather than bits: an equality or a comparison touches one path of eight nodes a word, and Python pays
for nodes visited, not for the width of a tuple.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock, local
from typing import TYPE_CHECKING
from weakref import WeakSet

from seclude.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "END",
    "FALSE",
    "LEVEL_SHIFT",
    "LEVEL_WORD",
    "NODE_BUDGET",
    "TRUE",
    "WORD_LEVEL",
    "WORD_ORDER",
    "Node",
    "boolean",
    "budget",
    "forget",
    "leaf",
    "make",
    "reachable",
    "roots",
]

#: word numbers (as in `seclude.policy.lowered`: 0 nr, 1 arch, 2 ip.low, ...) in the order in which diagrams ask for them
WORD_ORDER = (1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
#: word → level of its first digit
WORD_LEVEL = tuple(8 * WORD_ORDER.index(word) for word in range(16))
#: level → word, and how far that digit lies from the word's right end
LEVEL_WORD = tuple(WORD_ORDER[level // 8] for level in range(128))
LEVEL_SHIFT = tuple(28 - 4 * (level % 8) for level in range(128))
#: the level of leaves
END = 128

#: how many new nodes one operation may make before it stops with `BudgetError`
NODE_BUDGET = 250_000
#: when the table holds this many nodes, those that no live root reaches are dropped before the next operation
COLLECT_AT = 2_000_000


class Node:
    """A digit with sixteen ``kids``, or a leaf (``level`` is `END`, ``kids`` empty) holding ``value``. Made by `make` and `leaf` only."""

    __slots__ = ("kids", "level", "value")

    def __init__(self, level: int, kids: tuple[Node, ...], value: int) -> None:
        self.level = level
        self.kids = kids
        self.value = value

    def __repr__(self) -> str:
        if self.level == END:
            return f"<leaf {self.value:#x}>"
        return f"<word {LEVEL_WORD[self.level]} digit {LEVEL_SHIFT[self.level] // 4}>"


_tables: list[dict[tuple[Node, ...], Node]] = [{} for _ in range(END)]
_leaves: dict[int, Node] = {}
#: the answers of tests; apart from every RET word, so that a test can never be taken for a decision
TRUE = Node(END, (), 1)
FALSE = Node(END, (), 0)


class _Budget(local):
    """Each thread's own: two threads may compile at once, and share the tables, whose operations are atomic."""

    def __init__(self) -> None:
        self.left = self.limit = NODE_BUDGET
        self.depth = 0
        self.what = "this decision"


_budget = _Budget()
#: everything that must outlive a collection: objects with a ``root`` node
roots: WeakSet[object] = WeakSet()
#: how many threads are within a budget: a collection waits until there is none
_running = 0
_gate = Lock()


def leaf(value: int) -> Node:
    """The leaf holding ``value``."""
    found = _leaves.get(value)
    if found is None:
        found = _leaves.setdefault(value, Node(END, (), value))
        _spend()
    return found


def boolean(value: bool) -> Node:
    """`TRUE` or `FALSE`."""
    return TRUE if value else FALSE


def make(level: int, kids: tuple[Node, ...]) -> Node:
    """The node with these sixteen children, or the child itself where all are equal. Raises `BudgetError`."""
    first = kids[0]
    if first is kids[15] and kids.count(first) == 16:
        return first
    table = _tables[level]
    found = table.get(kids)
    if found is None:
        found = table.setdefault(kids, Node(level, kids, 0))
        _spend()
    return found


def _spend() -> None:
    _budget.left -= 1
    if _budget.left < 0 < _budget.depth:
        raise BudgetError(
            f"{_budget.what} is too complex: more than {_budget.limit} diagram nodes",
            "typical causes: multiplying or dividing arguments, combining the bits of two arguments, returning an argument",
        )


@contextmanager
def budget(what: str, limit: int = NODE_BUDGET) -> Iterator[None]:
    """Within the block at most ``limit`` new nodes are made, else `BudgetError` naming ``what``. An outer block's budget rules."""
    global _running
    outer = _budget.depth == 0
    if outer:
        with _gate:
            if not _running and sum(map(len, _tables)) > COLLECT_AT:
                _collect()
            _running += 1
        _budget.left = _budget.limit = limit
        _budget.what = what
    _budget.depth += 1
    try:
        yield
    finally:
        _budget.depth -= 1
        if outer:
            with _gate:
                _running -= 1


def reachable(tops: Iterable[Node]) -> set[Node]:
    """Every node below ``tops``, they and the leaves included."""
    seen = set(tops)
    todo = list(seen)
    while todo:
        for kid in set(todo.pop().kids):
            if kid not in seen:
                seen.add(kid)
                todo.append(kid)
    return seen


#: functions that empty caches which hold nodes
forget: list[object] = []


def _collect() -> None:
    """Drop every node that no root reaches. Only between operations: one in progress holds nodes that nothing names yet."""
    for clear in forget:
        clear()  # type: ignore[operator]
    kept = reachable(root.root for root in list(roots))  # type: ignore[attr-defined]
    for level, table in enumerate(_tables):
        _tables[level] = {kids: node for kids, node in table.items() if node in kept}
    for value in [value for value, node in _leaves.items() if node not in kept]:
        del _leaves[value]
