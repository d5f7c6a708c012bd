"""What a register of the BPF machine holds while a program is read: a constant, some bits of one word, or 32 diagrams.

``int`` is a constant; ``Masked(word, mask)`` is ``word & mask``, mask not 0; a 32-tuple has one test a bit, least significant
first. Values are normal: a masked word or a vector that is constant is an ``int``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.decision.nodes import FALSE, TRUE, Node, boolean
from seclude.decision.ops import both, either, invert, ite
from seclude.decision.words import FULL, bit_set

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ARITHMETIC", "Masked", "Value", "bits_of", "divide", "equal", "greater_or_equal", "negate", "overlap", "select"]


class Masked(NamedTuple):
    """Some bits of one word."""

    word: int
    mask: int


Bits = tuple[Node, ...]
Value = int | Masked | Bits


def bits_of(value: Value, width: int = 32) -> Bits:
    """The value as ``width`` tests, least significant bit first."""
    if isinstance(value, int):
        return tuple(boolean(bool(value >> bit & 1)) for bit in range(width))
    if isinstance(value, Masked):
        word, mask = value
        return tuple(bit_set(word, bit) if mask >> bit & 1 else FALSE for bit in range(width))
    return value + (FALSE,) * (width - 32)


def _normal(bits: Bits) -> Value:
    out = 0
    for position, bit in enumerate(bits):
        if bit is TRUE:
            out |= 1 << position
        elif bit is not FALSE:
            return bits
    return out


def _xor(a: Node, b: Node) -> Node:
    return ite(a, invert(b), b)


def _sum(a: Bits, b: Bits, carry: Node) -> tuple[Bits, Node]:
    out = []
    for x, y in zip(a, b, strict=True):
        half = _xor(x, y)
        out.append(_xor(half, carry))
        carry = ite(half, carry, x)
    return tuple(out), carry


def equal(a: Value, b: Value) -> Node:
    """Where the two are equal."""
    out = TRUE
    for x, y in zip(bits_of(a), bits_of(b), strict=True):
        out = ite(x, both(y, out), both(invert(y), out))
        if out is FALSE:
            break
    return out


def greater_or_equal(a: Value, b: Value) -> Node:
    """Where ``a >= b``, unsigned."""
    return _at_least(bits_of(a), bits_of(b))


def _at_least(a: Bits, b: Bits) -> Node:
    out = TRUE
    for x, y in zip(a, b, strict=True):
        out = ite(x, ite(y, out, TRUE), ite(y, FALSE, out))
    return out


def overlap(a: Value, b: Value) -> Node:
    """Where ``a & b`` is not 0."""
    out = FALSE
    for x, y in zip(bits_of(a), bits_of(b), strict=True):
        out = either(both(x, y), out)
    return out


def select(test: Node, then: Value, other: Value) -> Value:
    """``then`` where the test holds, else ``other``."""
    return _normal(tuple(ite(test, x, y) for x, y in zip(bits_of(then), bits_of(other), strict=True)))


def negate(a: Value) -> Value:
    """Two's complement."""
    return _subtract(0, a)


def _add(a: Value, b: Value) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return a + b & FULL
    return _normal(_sum(bits_of(a), bits_of(b), FALSE)[0])


def _subtract(a: Value, b: Value) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return a - b & FULL
    return _normal(_sum(bits_of(a), tuple(invert(bit) for bit in bits_of(b)), TRUE)[0])


def _multiply(a: Value, b: Value) -> Value:
    if isinstance(a, int):
        a, b = b, a
    if isinstance(a, int) and isinstance(b, int):
        return a * b & FULL
    factor, total = bits_of(a), bits_of(0)
    for position, bit in enumerate(bits_of(b)):
        if bit is not FALSE:
            shifted = (FALSE,) * position + factor[: 32 - position]
            total, _ = _sum(total, tuple(both(bit, x) for x in shifted), FALSE)
    return _normal(total)


def divide(a: Value, b: Value) -> Value:
    """``a // b``, unsigned, where ``b`` is not 0 (elsewhere the machine ends the program before)."""
    if isinstance(b, int):
        if isinstance(a, int):
            return a // b if b else 0
        if b and b & (b - 1) == 0:
            return _right(a, b.bit_length() - 1)
    # Schoolbook: bring down one bit, subtract where it fits. 33 bits, for the remainder doubles before it is reduced.
    dividend, divisor = bits_of(a), bits_of(b, 33)
    inverse = tuple(invert(bit) for bit in divisor)
    rest: Bits = (FALSE,) * 33
    quotient: list[Node] = []
    for bit in reversed(dividend):
        rest = (bit, *rest[:32])
        fits = _at_least(rest, divisor)
        less, _ = _sum(rest, inverse, TRUE)
        rest = tuple(ite(fits, x, y) for x, y in zip(less, rest, strict=True))
        quotient.append(fits)
    return _normal(tuple(reversed(quotient)))


def _left(a: Value, b: Value) -> Value:
    if isinstance(b, int):
        distance = b & 31
        if isinstance(a, int):
            return a << distance & FULL
        return _normal((FALSE,) * distance + bits_of(a)[: 32 - distance])
    return _barrel(_left, a, bits_of(b))


def _right(a: Value, b: Value) -> Value:
    if isinstance(b, int):
        distance = b & 31
        if isinstance(a, int):
            return a >> distance
        return _normal(bits_of(a)[distance:] + (FALSE,) * distance)
    return _barrel(_right, a, bits_of(b))


def _barrel(shift: Callable[[Value, Value], Value], a: Value, distance: Bits) -> Value:
    # The kernel shifts by the low five bits of X (a 32-bit eBPF shift).
    for position in range(5):
        a = select(distance[position], shift(a, 1 << position), a)
    return a


def _and(a: Value, b: Value) -> Value:
    if isinstance(a, int):
        a, b = b, a
    if isinstance(b, int):
        if isinstance(a, int):
            return a & b
        if isinstance(a, Masked):
            return Masked(a.word, a.mask & b) if a.mask & b else 0
    return _normal(tuple(both(x, y) for x, y in zip(bits_of(a), bits_of(b), strict=True)))


def _or(a: Value, b: Value) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return a | b
    return _normal(tuple(either(x, y) for x, y in zip(bits_of(a), bits_of(b), strict=True)))


def _exclusive_or(a: Value, b: Value) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return a ^ b
    return _normal(tuple(_xor(x, y) for x, y in zip(bits_of(a), bits_of(b), strict=True)))


#: BPF_OP(code) → operation of A with K or X
ARITHMETIC: dict[int, Callable[[Value, Value], Value]] = {
    0x00: _add,
    0x10: _subtract,
    0x20: _multiply,
    0x30: divide,
    0x40: _or,
    0x50: _and,
    0x60: _left,
    0x70: _right,
    0xA0: _exclusive_or,
}
