"""A set of values of one register, as a condition of the policy language.

The same set has many spellings: ``x in {1, 2, 3}``, ``x in 1..3``, ``x & 0xf == 2``, ``x != 0``. Each kind that fits is tried and the shortest
text wins, since what was written by a person is nearly always the shortest. Where none is short, the set (or all but it) is told in two parts:
what some digits must be, and what is to be asked then. The last resort is one digit after the other. Every spelling is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.decision.calls import count
from seclude.decision.nodes import END, FALSE, LEVEL_SHIFT, TRUE, Node, boolean, make, reachable
from seclude.decision.ops import either, invert
from seclude.errors import BudgetError
from seclude.policy.nodes import And, Binary, Comparison, Literal, Name, Not, Or, Range, Set, Unary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.decision.vocabulary import Term, Vocabulary
    from seclude.policy.nodes import Condition, Expression

__all__ = ["SETS", "TERMS", "Speller", "cost", "join_and", "join_or"]

#: comparisons in one condition beyond which nobody calls it one
TERMS = 4000
#: sets that are spelled, attempts included, for the conditions on one call
SETS = 600
#: values listed one by one
_LISTED = 600
#: ranges listed one by one
_RANGES = 64
#: a spelling that costs no more is short enough
_SHORT = 24
#: one that costs more is a list of many values, and stays one
_LONG = 250
#: how often a set is split
_DEPTH = 3


def join_or(parts: list[Condition]) -> Condition:
    """``a or b or c``, flattened."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Or) else (part,))]
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def join_and(parts: list[Condition]) -> Condition:
    """``a and b and c``, flattened."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, And) else (part,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def cost(node: Condition | Set | Range) -> int:
    """How much there is to read: a number costs more than a name, a long one more than a short one."""
    match node:
        case Name():
            return 2
        case Literal(value=value):
            return 3 + value.bit_length() // 12 if value else 1
        case Set(items=items):
            return 1 + sum(map(cost, items))
        case Range(low=low, high=high):
            return 2 + cost(low) + cost(high)
        case Comparison(first=first, rest=rest):
            return 1 + cost(first) + sum(cost(right) + (op == "not in") for op, right in rest)
        case And(parts=parts) | Or(parts=parts):
            return 1 + sum(map(cost, parts))
        case Binary(left=left, right=right):
            return 1 + cost(left) + cost(right)
        case Not(part=part) | Unary(part=part):
            return 1 + cost(part)


class Speller:
    """Spells sets of one call's registers. One for each condition: it counts what it spells against a budget."""

    def __init__(self, vocabulary: Vocabulary, sets: int = SETS) -> None:
        self.vocabulary = vocabulary
        self.left = self.limit = sets
        self.known: dict[Node, Condition] = {}

    def condition(self, inside: Node, depth: int = 0) -> Condition:
        """Where the register that ``inside`` asks about is in it. ``inside`` depends on that one register and is not constant."""
        found = self.known.get(inside)
        if found is None:
            self.left -= 1
            if self.left < 0:
                raise BudgetError(f"a condition on {self.vocabulary.call or 'a call'} has more than {self.limit} parts")
            found = self.known[inside] = _Set(inside, self).spell(depth)
        return found


def register_of(level: int) -> int:
    """The register (0..5, -1 for the instruction pointer) that a level of a diagram belongs to."""
    return level // 16 - 2


class _Set:
    """One set: its diagram, which bits it depends on, and the values of those bits."""

    def __init__(self, inside: Node, speller: Speller) -> None:
        self.inside = inside
        self.speller = speller
        self.base = inside.level // 16 * 16
        self.mask = _support(inside)
        self.size = 1 << self.mask.bit_count()
        self.members = count(inside, self.base, self.base + 16) >> (64 - self.mask.bit_count())
        zero = self.members in (1, self.size - 1) and (_at(inside, self.base, 0) is TRUE) == (self.members == 1)
        self.term: Term = speller.vocabulary.term(register_of(inside.level), self.mask >> 32, self.mask & 0xFFFF_FFFF, zero=zero)

    def spell(self, depth: int) -> Condition:
        best = min(self._spellings(), key=cost, default=None)
        if best is None or (depth == 0 and _SHORT < cost(best) < _LONG):
            best = self._split(best, depth)
        return best if best is not None else self._by_digit(depth)

    # A value is up to 64 bits: the high word's digits come first, as in the diagram.

    def _spellings(self) -> Iterator[Condition]:
        masked = self._masked(self.mask)
        if self.members <= _LISTED:
            yield self._listed(masked, self.inside, "==", "in")
        if self.size - self.members <= _LISTED:
            yield self._listed(masked, invert(self.inside), "!=", "not in")
        if self.term.pointer:
            return
        bits = self.mask.bit_length()
        for node, positive in ((self.inside, True), (invert(self.inside), False)):
            ranges = _ranges(node, self.base, bits)
            if ranges is not None and (positive or len(ranges) == 1):
                yield self._ranges(ranges, bits, positive)

    def _masked(self, mask: int) -> Expression:
        if mask == (1 << self.term.width) - 1:
            return self.term.name
        return Binary("&", self.term.name, self.term.mask(mask))

    def _listed(self, left: Expression, node: Node, one: str, many: str) -> Condition:
        values = list(_values(node, self.base, self.mask))
        numbers = [self.term.number(value, self.mask) for value in values]
        return Comparison(left, ((one, numbers[0]) if len(numbers) == 1 else (many, Set(tuple(numbers))),))

    def _ranges(self, ranges: list[tuple[int, int]], bits: int, positive: bool) -> Condition:
        whole = bits == self.term.width
        left = self.term.name if whole else self._masked((1 << bits) - 1)
        top = (1 << bits) - 1
        half = 1 << (bits - 1)
        if whole and self.term.signed:
            # In signed order: what lies above the middle comes first.
            parts = [piece for low, high in ranges for piece in _apart(low, high, half)]
            pieces = [(low - 2 * half if low >= half else low, high - 2 * half if high >= half else high) for low, high in parts]
            ranges = _merged(sorted(pieces))
            lowest, highest = -half, half - 1
        else:
            lowest, highest = 0, top
        ordered = whole or not self.term.signed
        out: list[Condition] = []
        single: list[int] = []
        for low, high in ranges:
            if low == high:
                single.append(low)
            elif ordered and low == lowest:
                # "< 0" rather than "<= -1", "<= 4096" rather than "< 4097": the rounder number, in binary.
                strict = high + 1 == 0 or (high + 1).bit_count() < high.bit_count() if high >= -1 else False
                word = ("<" if strict else "<=") if positive else (">=" if strict else ">")
                out.append(Comparison(left, ((word, self._end(high + strict)),)))
            elif ordered and high == highest:
                strict = low > 0 and (low - 1).bit_count() < low.bit_count()
                word = (">" if strict else ">=") if positive else ("<=" if strict else "<")
                out.append(Comparison(left, ((word, self._end(low - strict)),)))
            else:
                out.append(Comparison(left, (("in" if positive else "not in", Range(self._end(low), self._end(high))),)))
        numbers = [self.term.number(value & ((1 << self.term.width) - 1), top) for value in single]
        if len(numbers) == 1:
            out.insert(0, Comparison(left, (("==" if positive else "!=", numbers[0]),)))
        elif numbers:
            out.insert(0, Comparison(left, (("in" if positive else "not in", Set(tuple(numbers))),)))
        return join_or(out)

    def _end(self, value: int) -> Literal:
        return Literal(value) if value < 0 else self.term.plain(value)

    def _split(self, best: Condition | None, depth: int) -> Condition | None:
        """The set as what some of its bits must be, and what the others must be then; or everything else, told that way."""
        if self.term.pointer or depth >= _DEPTH:
            return best
        for node, inside in ((self.inside, True), (invert(self.inside), False)):
            size = len(reachable([node]))
            for part in _parts(node, self.base):
                rest = _given(node, part)
                # A part that leaves the rest as large as the whole explains nothing.
                if rest.level == END or len(reachable([rest])) >= size:
                    continue
                first = self.speller.condition(part if inside else invert(part), depth + 1)
                if best is not None and cost(first) >= cost(best):
                    continue
                then = self.speller.condition(rest if inside else invert(rest), depth + 1)
                whole = (join_and if inside else join_or)([first, then])
                if best is None or cost(whole) < cost(best):
                    best = whole
                    if cost(best) <= _SHORT:
                        return best
        return best

    def _by_digit(self, depth: int) -> Condition:
        shift = LEVEL_SHIFT[self.inside.level] + (32 if self.inside.level < self.base + 8 else 0)
        groups: dict[Node, list[int]] = {}
        for digit, kid in enumerate(self.inside.kids):
            groups.setdefault(kid, []).append(digit)
        out: list[Condition] = []
        left = Binary("&", self.term.name, self.term.plain(15 << shift))
        for kid, digits in groups.items():
            if kid is FALSE:
                continue
            values = [self.term.plain(digit << shift) for digit in digits]
            test = Comparison(left, (("==", values[0]) if len(values) == 1 else ("in", Set(tuple(values))),))
            out.append(test if kid is TRUE else join_and([test, self.speller.condition(kid, depth + 1)]))
        return join_or(out)


def _shift(level: int, base: int) -> int:
    """How far a digit lies from the right end of the 64-bit register."""
    return LEVEL_SHIFT[level] + (32 if level < base + 8 else 0)


def _support(inside: Node) -> int:
    """The bits of the 64-bit register that matter."""
    base = inside.level // 16 * 16
    mask = 0
    for node in reachable([inside]):
        if node.kids:
            shift = _shift(node.level, base)
            for bit in (1, 2, 4, 8):
                if not mask >> shift & bit and any(node.kids[digit] is not node.kids[digit ^ bit] for digit in range(16)):
                    mask |= bit << shift
    return mask


def _at(node: Node, base: int, value: int) -> Node:
    while node.kids:
        node = node.kids[value >> _shift(node.level, base) & 15]
    return node


def _values(node: Node, base: int, mask: int) -> Iterator[int]:
    """The members whose other bits are zero, ascending."""

    def walk(node: Node, level: int, value: int) -> Iterator[int]:
        if node is FALSE:
            return
        if level == base + 16:
            yield value
            return
        shift = _shift(level, base)
        bits = mask >> shift & 15
        for digit in range(16):
            if not digit & ~bits:
                kid = node.kids[digit] if node.level == level else node
                yield from walk(kid, level + 1, value | digit << shift)

    return walk(node, base, 0)


def _ranges(node: Node, base: int, bits: int) -> list[tuple[int, int]] | None:
    """The values of the lowest ``bits`` bits that are inside, as inclusive ranges; None where there are more than `_RANGES`."""
    top = base + (64 - bits) // 4
    if _edges(node, top) > 2 * _RANGES:
        return None
    out: list[tuple[int, int]] = []

    def walk(node: Node, level: int, first: int) -> None:
        if node is TRUE:
            last = first + (1 << min(4 * (base + 16 - level), bits)) - 1
            if out and out[-1][1] + 1 == first:
                out[-1] = (out[-1][0], last)
            else:
                out.append((first, last))
            return
        shift = _shift(level, base)
        for digit in range(1 << min(4, bits - shift)):
            kid = node.kids[digit] if node.level == level else node
            if kid is not FALSE:
                walk(kid, level + 1, first + (digit << shift))

    walk(node, top, 0)
    return out if len(out) <= _RANGES else None


def _edges(node: Node, level: int) -> int:
    """How often the set begins or ends along the axis of the digits from ``level`` on, at most; in time linear in its nodes."""
    memo: dict[Node, tuple[int, Node, Node]] = {}

    def walk(node: Node, level: int) -> tuple[int, Node, Node]:
        # (edges inside, whether the first value is inside, and the last); digits that are skipped repeat what is below.
        if not node.kids:
            return 0, node, node
        found = memo.get(node)
        if found is None:
            edges = 0
            before: Node | None = None
            parts = [walk(kid, node.level + 1) for kid in node.kids]
            for inner, first, last in parts:
                edges += inner + (before is not None and before is not first)
                before = last
            found = memo[node] = (edges, parts[0][1], parts[-1][2])
        copies = 16 ** (node.level - level)
        return found[0] * copies + (copies - 1) * (found[1] is not found[2]), found[1], found[2]

    return walk(node, level)[0]


def _apart(low: int, high: int, at: int) -> Iterator[tuple[int, int]]:
    if low < at <= high:
        yield low, at - 1
        yield at, high
    else:
        yield low, high


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for low, high in ranges:
        if out and out[-1][1] + 1 == low:
            out[-1] = (out[-1][0], high)
        else:
            out.append((low, high))
    return out


def _parts(inside: Node, base: int) -> Iterator[Node]:
    """Sets that hold ``inside`` and look at fewer bits: what its low digits can be, what its high digits can be."""
    seen = {inside, TRUE}
    for low in (8, 4, 6, 2, 7, 5, 3, 1, 12, 10, 14):
        cut = base + 16 - low
        for part in (_low(inside, cut), _high(inside, cut)):
            if part not in seen:
                seen.add(part)
                yield part


def _low(inside: Node, cut: int) -> Node:
    """What the digits from level ``cut`` on can be."""
    memo: dict[Node, Node] = {}

    def walk(node: Node) -> Node:
        if node.level >= cut:
            return node
        if node not in memo:
            out = FALSE
            for kid in set(node.kids):
                out = either(out, walk(kid))
            memo[node] = out
        return memo[node]

    return walk(inside)


def _high(inside: Node, cut: int) -> Node:
    """What the digits before level ``cut`` can be."""
    memo: dict[Node, Node] = {}

    def walk(node: Node) -> Node:
        if node.level >= cut:
            return boolean(node is not FALSE)
        if node not in memo:
            memo[node] = make(node.level, tuple([walk(kid) for kid in node.kids]))
        return memo[node]

    return walk(inside)


def _given(inside: Node, part: Node) -> Node:
    """A set that is as ``inside`` within ``part``; outside it is chosen so that little depends on it."""
    memo: dict[tuple[Node, Node], Node] = {}

    def walk(node: Node, where: Node) -> Node:
        if where is TRUE or node.level == END:
            return node
        key = (node, where)
        found = memo.get(key)
        if found is None:
            level = min(node.level, where.level)
            if where.level < node.level:
                some = FALSE
                for kid in set(where.kids):
                    some = either(some, kid)
                found = walk(node, some)
            else:
                parts = where.kids if where.level == level else (where,) * 16
                kids = [None if here is FALSE else walk(kid, here) for kid, here in zip(node.kids, parts, strict=True)]
                found = make(level, tuple([_beside(kids, digit) for digit in range(16)]))
            memo[key] = found
        return found

    return walk(inside, part)


def _beside(kids: list[Node | None], digit: int) -> Node:
    """The digit's own child, or that of the digit that differs in the least bits."""
    for other in _NEIGHBOURS:
        kid = kids[digit ^ other]
        if kid is not None:
            return kid
    raise AssertionError("a part holds its set")


_NEIGHBOURS = sorted(range(16), key=lambda bits: (bits.bit_count(), bits))
