"""Tests of words as diagrams: ``(word & mask) in ranges`` for one word, and for fields joined from several."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from seclude.decision.nodes import FALSE, TRUE, WORD_LEVEL, Node, forget, make
from seclude.decision.ops import ite

if TYPE_CHECKING:
    from seclude.policy.lowered import Field

__all__ = ["FULL", "bit_set", "equals", "field_in", "from_runs", "in_ranges", "overlaps", "word_in"]

FULL = 0xFFFF_FFFF
Ranges = tuple[tuple[int, int], ...]
_cache: dict[tuple[object, ...], Node] = {}
forget.append(_cache.clear)


def from_runs(word: int, starts: tuple[int, ...] | list[int], kids: tuple[Node, ...] | list[Node]) -> Node:
    """The function that is ``kids[i]`` where ``starts[i] <= word < starts[i + 1]``; ``starts[0]`` is 0. Kids lie below the word."""
    base = WORD_LEVEL[word]
    last = len(starts) - 1

    def build(level: int, first: int, index: int) -> Node:
        # The run that holds ``first`` is ``index``; this node covers the values whose leading digits are those of ``first``.
        step = 1 << (28 - 4 * (level - base))
        out = []
        for value in range(first, first + 16 * step, step):
            while index < last and starts[index + 1] <= value:
                index += 1
            if index == last or starts[index + 1] >= value + step:
                out.append(kids[index])
            else:
                out.append(build(level + 1, value, index))
        return make(level, tuple(out))

    return build(base, 0, 0) if last else kids[0]


def in_ranges(word: int, ranges: Ranges) -> Node:
    """Whether the whole word lies in one of the disjoint, sorted, inclusive ranges."""
    starts = [0]
    kids = [FALSE]
    for low, high in ranges:
        if low > FULL:
            break
        if low == starts[-1]:
            kids[-1] = TRUE
        else:
            starts.append(low)
            kids.append(TRUE)
        if high < FULL:
            starts.append(high + 1)
            kids.append(FALSE)
    return from_runs(word, starts, kids)


def word_in(word: int, mask: int, ranges: Ranges) -> Node:
    """Whether ``word & mask`` lies in one of the ranges."""
    key = (word, mask, ranges)
    found = _cache.get(key)
    if found is None:
        found = in_ranges(word, ranges) if mask == FULL else _masked(word, mask, ranges)
        _cache[key] = found
    return found


def _masked(word: int, mask: int, ranges: Ranges) -> Node:
    base = WORD_LEVEL[word]
    memo: dict[tuple[int, Ranges], Node] = {}

    def build(digit: int, within: Ranges) -> Node:
        # ``within`` are ranges of what the remaining digits may add, relative to the digits already read.
        shift = 28 - 4 * digit
        span = (16 << shift) - 1
        if not within:
            return FALSE
        if within == ((0, span),):
            return TRUE
        key = (digit, within)
        if key in memo:
            return memo[key]
        bits = mask >> shift & 15
        step = 1 << shift
        parts: dict[int, Node] = {}
        for value in range(16):
            value &= bits
            if value not in parts:
                low = value * step
                cut = tuple((max(a - low, 0), min(b - low, step - 1)) for a, b in within if b >= low and a < low + step)
                parts[value] = build(digit + 1, cut) if shift else (TRUE if cut else FALSE)
        node = memo[key] = make(base + digit, tuple(parts[value & bits] for value in range(16)))
        return node

    clipped = tuple((a, min(b, FULL)) for a, b in ranges if a <= FULL)
    return build(0, clipped)


def equals(word: int, value: int) -> Node:
    """Whether the word is ``value``."""
    return word_in(word, FULL, ((value, value),))


def overlaps(word: int, mask: int) -> Node:
    """Whether ``word & mask`` is not zero."""
    return word_in(word, mask, ((1, FULL),))


def bit_set(word: int, bit: int) -> Node:
    """Whether this bit of the word is set."""
    return overlaps(word, 1 << bit)


def field_in(field: Field, mask: int, ranges: Ranges) -> Node:
    """Whether ``field & mask`` lies in one of the ranges, for a field of any number of parts, in any order of words."""
    return _joined(field.parts, mask, ranges)


def _joined(parts: tuple[tuple[int, int], ...], mask: int, ranges: Ranges) -> Node:
    word, bits = parts[-1]
    below = sum(width for _, width in parts[:-1])
    own = mask >> below & ((1 << bits) - 1)
    if not below:
        return word_in(word, own, ranges)
    # The most significant part cuts into pieces; in each, the parts below it must lie in one set of ranges.
    size = 1 << below
    cuts = {0, 1 << bits}
    for low, high in ranges:
        for edge in (low >> below, high >> below):
            cuts |= {edge, edge + 1}
    edges = sorted(cuts)
    groups: dict[Ranges, list[tuple[int, int]]] = {}
    for first, following in pairwise(edges):
        start = first * size
        rest = tuple((max(a - start, 0), min(b - start, size - 1)) for a, b in ranges if b >= start and a < start + size)
        if rest:
            groups.setdefault(rest, []).append((first, following - 1))
    out = FALSE
    for rest, pieces in groups.items():
        lower = _joined(parts[:-1], mask & (size - 1), rest) if rest != ((0, size - 1),) else TRUE
        out = ite(word_in(word, own, _merge(pieces)), lower, out)
    return out


def _merge(pieces: list[tuple[int, int]]) -> Ranges:
    out: list[tuple[int, int]] = []
    for low, high in pieces:
        if out and out[-1][1] + 1 == low:
            out[-1] = (out[-1][0], high)
        else:
            out.append((low, high))
    return tuple(out)
