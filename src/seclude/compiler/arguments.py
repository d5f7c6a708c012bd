"""What remains after the dispatch: a diagram over the instruction pointer and the arguments, as blocks.

Each word is loaded once on a path, in the order that `seclude.compiler.order` finds best. Values with few runs become a search tree; sets closed under bits become JSET, or AND and
JEQ; what is left is split bit by bit, which always ends, since every test makes the diagram smaller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.compiler.blocks import JEQ, JSET
from seclude.compiler.dispatch import tree
from seclude.compiler.order import EFFORT, Order, usual
from seclude.compiler.weights import is_permitted
from seclude.decision.nodes import END, LEVEL_SHIFT, WORD_LEVEL, make
from seclude.decision.parts import RUN_LIMIT, measure, runs, runs_of
from seclude.decision.words import FULL

if TYPE_CHECKING:
    from seclude.compiler.blocks import Block, Blocks
    from seclude.decision.nodes import Node
    from seclude.decision.parts import Runs

__all__ = ["SIZE", "Arguments"]

#: what one instruction less is worth, as a share of all that one call executes: a call is a small part of all calls
SIZE = 0.01

#: up to so many runs a word is searched as an axis at once; up to so many for each node of its diagram if it is no set of flags
_FEW = 24
_MANY = 8
#: a run of at most so many values may be part of a set of flags
_CUBE = 64


class Arguments:
    """Diagrams to blocks, each diagram once."""

    def __init__(self, blocks: Blocks, size: float = SIZE) -> None:
        self.blocks = blocks
        self.size = size
        self.known: dict[Node, Block] = {}
        self.tested: dict[tuple[int, Node], Block] = {}
        self.permitted: dict[Node, bool] = {}
        # Where size is all that counts, the order that diagrams share is the one that shares most code.
        self.order = Order(EFFORT if size <= SIZE else 0)

    def block(self, node: Node) -> Block:
        """The code of ``node``: expects nothing in A."""
        found = self.known.get(node)
        if found is None:
            if node in self.order.behind:
                found = self.block(self.order.behind[node])
            elif node.level == END:
                found = self.blocks.ret(node.value)
            else:
                word, turned = self.order.first(node)
                found = self.blocks.load(word, self.test(word, turned))
            self.known[node] = found
        return found

    def test(self, word: int, node: Node) -> Block:
        """The code that decides ``node`` with ``word`` in A."""
        if node.level >= WORD_LEVEL[word] + 8:
            return self.block(node)
        key = (word, node)
        found = self.tested.get(key)
        if found is None:
            found = self.tested[key] = self._test(word, node)
        return found

    def _test(self, word: int, node: Node) -> Block:
        base = WORD_LEVEL[word]
        count, size = measure(node, word)
        if count <= _FEW:
            cut = runs(node, word)
            return self.cube(cut) or self.search(cut)
        closed = _closed(node, base)
        if closed is not None:
            mask, value, inside, outside = closed
            if value == 0:
                return self.blocks.jump(JSET, mask, self.block(outside), self.block(inside))
            if value == mask and mask.bit_count() <= 2:
                # Two tests that often end after the first, against AND and JEQ, which are always two. The higher bit first:
                # of flags and protections it is the rarer one.
                then, other = self.block(inside), self.block(outside)
                for bit in (mask & -mask, mask & (mask - 1)):
                    then = self.blocks.jump(JSET, bit, then, other) if bit else then
                return then
            return self.blocks.mask(mask, self.blocks.jump(JEQ, value, self.block(inside), self.block(outside)))
        if count <= min(_MANY * size, RUN_LIMIT):
            return self.search(runs(node, word))
        bit = LEVEL_SHIFT[node.level] + max(b for b in range(4) if any(node.kids[d] is not node.kids[d ^ 1 << b] for d in range(16)))
        on, off = (_fixed(node, bit, flag) for flag in (True, False))
        return self.blocks.jump(JSET, 1 << bit, self.test(word, on), self.test(word, off))

    def cube(self, cut: Runs) -> Block | None:
        """One JSET for all subsets of some bits, where that replaces at least three runs: flags of which any may be set."""
        places: dict[Node, set[int]] = {}
        for first, last, kid in cut:
            if last - first < _CUBE:
                places.setdefault(kid, set()).update(range(first, last + 1))
        for kid, values in places.items():
            free = _free_bits(values)
            inside = {value for value in values if not value & ~free}
            if len(inside) < 4:
                continue
            kept = [(first, place) for first, last, place in cut if not _covered(first, last, inside)]
            if len(cut) - len(kept) < 3:
                continue
            # What is tested away is never asked about again: the run before it may have it.
            rest = runs_of([(0, kept[0][1]), *kept[1:]])
            return self.blocks.jump(JSET, FULL & ~free, self.search(rest), self.block(kid))
        return None

    def search(self, cut: Runs) -> Block:
        """A search tree. What is permitted counts, for programs repeat calls that work."""
        weights = []
        for first, last, kid in cut:
            permitted = self.permitted.get(kid)
            if permitted is None:
                permitted = self.permitted[kid] = is_permitted(self.order.behind.get(kid, kid))
            weights.append(usual(first, last) if permitted else 0.01)
        return tree(cut, weights, self.block, self.blocks, size=self.size)


def _free_bits(values: set[int]) -> int:
    """Bits of which every combination is among the values, found one by one, the lowest first."""
    if 0 not in values:
        return 0
    free, cube = 0, {0}
    for value in sorted(values):
        if value and value & (value - 1) == 0 and (more := {one | value for one in cube}) <= values:
            free |= value
            cube |= more
    return free


def _covered(first: int, last: int, values: set[int]) -> bool:
    return last - first < _CUBE and all(value in values for value in range(first, last + 1))


def _fixed(node: Node, bit: int, on: bool) -> Node:
    """The diagram with one bit of its first digit fixed."""
    place = 1 << (bit - LEVEL_SHIFT[node.level])
    return make(node.level, tuple([node.kids[d | place if on else d & ~place] for d in range(16)]))


def _closed(node: Node, base: int) -> tuple[int, int, Node, Node] | None:
    """``(mask, value, inside, outside)`` if the word's function is "``word & mask == value``" choosing between two diagrams."""
    below = base + 8
    mask = 0
    outcomes: set[Node] = set()
    seen = {node}
    todo = [node]
    while todo:
        one = todo.pop()
        shift = LEVEL_SHIFT[one.level]
        for b in range(4):
            if any(one.kids[d] is not one.kids[d ^ 1 << b] for d in range(16)):
                mask |= 1 << (shift + b)
        for kid in one.kids:
            if kid.level >= below:
                outcomes.add(kid)
                if len(outcomes) > 2:
                    return None
            elif kid not in seen:
                seen.add(kid)
                todo.append(kid)
    if len(outcomes) != 2:
        return None
    for inside in outcomes:
        values = _values(node, inside, mask, below)
        if values is not None:
            (outside,) = outcomes - {inside}
            return mask, values, inside, outside
    return None


def _values(node: Node, inside: Node, mask: int, below: int) -> int | None:
    """The one value under ``mask`` that leads to ``inside``, or None if there are more."""
    value = 0
    while node.level < below:
        shift = LEVEL_SHIFT[node.level]
        digits = {d & (mask >> shift & 15) for d in range(16) if node.kids[d] is inside or node.kids[d].level < below}
        ways = {node.kids[d] for d in digits}
        if len(digits) != 1:
            return None
        (digit,) = digits
        (node,) = ways
        value |= digit << shift
    return value if node is inside else None
