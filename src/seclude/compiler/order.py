"""Which word of a diagram to load first, where that makes calls cheaper.

Diagrams ask for words in a fixed order, high words before low ones. Code need not. Where the answer to ``domain != 40`` is no only for one low word, most calls
are decided by the low word alone, and where ``arg1 == 2`` is allowed whatever ``arg0`` is, ``arg1`` comes first.

A *guard*, a word that every permitted call must pass, stays first: whatever is looked at before it, it is looked at too. For everything
else all orders are weighed, on calls made of the values at which the diagram's words turn: each word on its own, small values and zero high
words being the usual ones, permitted calls a hundred times as often as denied ones.

To ask for a word first, the diagram is turned: into one of that word alone whose leaves stand for what then remains (`Order.behind`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from seclude.compiler.even import Even
from seclude.compiler.weights import is_permitted
from seclude.decision.nodes import END, LEVEL_SHIFT, LEVEL_WORD, WORD_LEVEL, WORD_ORDER, Node, make, reachable
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.words import FULL

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EFFORT", "Order", "usual", "ways"]

#: denied calls, and values of a high word that are not zero, as a share of the others
_DENIED = 0.01
_HIGH = 0.03
#: values of a word that are weighed at most, and runs of a word that are weighed as a search tree
_VALUES = 32
_RUNS = 24
#: a diagram of more nodes keeps its order; so does one for which more nodes would have to be looked at, and, in all, one compile
_NODES = 60
_EFFORT_EACH = 800
EFFORT = 2_500
#: another order must be this much better
_BETTER = 0.99

#: the values of a word that are weighed, each with its share
Values = list[tuple[int, float]]


def usual(first: int, last: int) -> float:
    """How often a run of permitted values is asked for, a single one being 1.

    A range counts a little more than a value, and what is left open to the top (as ``!= 40`` leaves it) hardly, for the
    values that programs pass are small.
    """
    return 0.1 if last == FULL != first else 1 + (last - first).bit_length() / 4


def ways(node: Node, word: int, limit: int) -> list[tuple[int, int, Node]]:
    """``(first, last, kid)`` for each run of the word; where there are more than ``limit``, one value for each place that it leads to."""
    try:
        return list(runs(node, word, limit))
    except TooManyRunsError:
        below = WORD_LEVEL[word] + 8
        found: dict[Node, int] = {}
        todo, seen = [(node, 0)], {node}
        while todo:
            one, value = todo.pop()
            for digit, kid in enumerate(one.kids):
                reached = value | digit << LEVEL_SHIFT[one.level]
                if kid.level >= below:
                    found.setdefault(kid, reached)
                elif kid not in seen:
                    seen.add(kid)
                    todo.append((kid, reached))
        return [(value, value, kid) for kid, value in found.items()]


class _TooMuchError(Exception):
    """The search for an order costs more than it is worth."""


class Order:
    """Orders of words for the diagrams of one compile; with no ``effort`` the fixed one."""

    def __init__(self, effort: int = EFFORT) -> None:
        #: the leaf of a turned diagram → the diagram that it stands for
        self.behind: dict[Node, Node] = {}
        self._leaves: dict[Node, Node] = {}
        self._turned: dict[tuple[Node, int], Node] = {}
        self._chosen: dict[Node, int] = {}
        self._all = self._left = effort

    def first(self, node: Node) -> tuple[int, Node]:
        """The word to load first, and the diagram of that word: ``node`` itself, or one whose leaves are in `behind`."""
        if node not in self._chosen:
            self._chosen[node] = LEVEL_WORD[node.level]
            if self._searched(node):
                self._left = min(self._all, _EFFORT_EACH)
                before = self._left
                with suppress(_TooMuchError):
                    weighed = _Weighed(self, node)
                    weighed.cost(node)
                    self._chosen |= weighed.chosen
                self._all -= before - self._left
        word = self._chosen[node]
        return word, self.turn(node, word)

    def _searched(self, node: Node) -> bool:
        return self._all > 0 and not _is_guard(node) and len(reachable([node])) <= _NODES and len(_words_of(node)) > 1

    def turn(self, node: Node, word: int) -> Node:
        """The diagram of ``word`` alone whose leaves stand for what remains."""
        if LEVEL_WORD[node.level] == word:
            return node
        found = self._turned.get((node, word))
        if found is None:
            found = self._turned[node, word] = self._turn(node, WORD_LEVEL[word])
        return found

    def _turn(self, node: Node, base: int) -> Node:
        memo: dict[Node, Node] = {}

        def walk(node: Node) -> Node:
            found = memo.get(node)
            if found is None:
                below = reachable([node])
                self._left -= len(below)
                if self._left < 0:
                    raise _TooMuchError
                digits = [one for one in below if base <= one.level < base + 8]
                if not digits:
                    found = self._leaf(node)
                else:
                    level = min(one.level for one in digits)
                    asked = [one for one in digits if one.level == level]
                    parts: dict[tuple[Node, ...], Node] = {}
                    kids = []
                    for digit in range(16):
                        key = tuple([one.kids[digit] for one in asked])
                        if key not in parts:
                            parts[key] = walk(_fixed(node, level, digit))
                        kids.append(parts[key])
                    found = make(level, tuple(kids))
                memo[node] = found
            return found

        return walk(node)

    def _leaf(self, node: Node) -> Node:
        if node.level == END:
            return node
        found = self._leaves.get(node)
        if found is None:
            found = self._leaves[node] = Node(END, (), 0)
            self.behind[found] = node
        return found


class _Weighed:
    """The expected cost of a diagram and of all that may remain of it, on one choice of values."""

    def __init__(self, order: Order, root: Node) -> None:
        self.order = order
        self.values: Mapping[int, Values] = {word: _values(root, word) for word in _words_of(root)}
        self.known: dict[Node, tuple[float, float]] = {}
        #: the best first word of each diagram that was weighed
        self.chosen: dict[Node, int] = {}

    def cost(self, node: Node) -> tuple[float, float]:
        """``(executed instructions times share, share)`` of the calls that come here; a denied call has a small share."""
        if node.level == END:
            return 0.0, 1.0 if is_permitted(node) else _DENIED
        found = self.known.get(node)
        if found is None:
            candidates = [LEVEL_WORD[node.level]] if _is_guard(node) else _words_of(node)
            best, word = self.way(node, candidates[0]), candidates[0]
            for other in candidates[1:]:
                way = self.way(node, other)
                if way[0] < _BETTER * best[0]:
                    best, word = way, other
            self.chosen[node] = word
            found = self.known[node] = best
        return found

    def way(self, node: Node, word: int) -> tuple[float, float]:
        """The same with this word first."""
        turned = self.order.turn(node, word)
        total = share = 0.0
        places: dict[int, float] = {}
        for value, part in self.values[word]:
            leaf = turned
            while leaf.level < WORD_LEVEL[word] + 8:
                leaf = leaf.kids[value >> LEVEL_SHIFT[leaf.level] & 15]
            below, weight = self.cost(self.order.behind.get(leaf, leaf))
            total += part * below
            share += part * weight
            places[value] = part * weight
        return total + share * (1 + _tests(turned, word, places)), share


def _tests(turned: Node, word: int, places: Mapping[int, float]) -> float:
    """About how many tests tell the places of a word apart."""
    try:
        cut = runs(turned, word, _RUNS)
    except TooManyRunsError:
        return 2.0  # mostly a mask and a compare
    total = sum(places.values()) or 1.0
    pieces = [(first, last, kid, sum(w for value, w in places.items() if first <= value <= last) / total) for first, last, kid in cut]
    return Even(pieces).cost(0, len(pieces))


def _values(root: Node, word: int) -> Values:
    base = WORD_LEVEL[word]
    inner = [one for one in reachable([root]) if one.level < base + 8]
    entries = {kid for one in inner if one.level < base for kid in one.kids if base <= kid.level < base + 8}
    if base <= root.level < base + 8:
        entries.add(root)
    found: dict[int, float] = {}
    for entry in entries:
        for first, last, _ in ways(entry, word, _VALUES):
            weight = usual(first, last) * (_HIGH if word % 2 and first else 1.0)
            found[first] = max(found.get(first, 0.0), weight)
    heaviest = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:_VALUES]
    total = sum(weight for _, weight in heaviest)
    return [(value, weight / total) for value, weight in heaviest]


def _words_of(node: Node) -> list[int]:
    """The words that a diagram asks for, in its own order."""
    asked = {LEVEL_WORD[one.level] for one in reachable([node]) if one.level < END}
    return [word for word in WORD_ORDER if word in asked]


def _is_guard(node: Node) -> bool:
    """Whether all values of the first word but those of one place are denied at once."""
    below = WORD_LEVEL[LEVEL_WORD[node.level]] + 8
    places: set[Node] = set()
    todo, seen = [node], {node}
    while todo:
        for kid in todo.pop().kids:
            if kid.level >= below:
                places.add(kid)
                if len(places) > 2:
                    return False
            elif kid not in seen:
                seen.add(kid)
                todo.append(kid)
    return any(one.level == END and not is_permitted(one) for one in places)


def _fixed(node: Node, level: int, digit: int) -> Node:
    """The diagram with the digit of this level given."""
    memo: dict[Node, Node] = {}

    def walk(node: Node) -> Node:
        if node.level >= level:
            return node.kids[digit] if node.level == level else node
        found = memo.get(node)
        if found is None:
            found = memo[node] = make(node.level, tuple([walk(kid) for kid in node.kids]))
        return found

    return walk(node)
