"""Conditions with names become predicates over words: types, widths and signs are settled here, per call and architecture.

A value in a condition is a constant, or one parameter with some bits masked away, inverted or set. Every comparison of
one with a constant is the question whether its unsigned bits lie in some ranges, which is what `lowered.Test` asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seclude.errors import nearest
from seclude.policy.lowered import All, Any, Field, Negation, Test
from seclude.policy.nodes import And, Binary, Comparison, Literal, Name, Not, Or, Range, Set, Unary
from seclude.policy.operands import NoOperandError, Operand, operand, parameter_names

if TYPE_CHECKING:
    from seclude.abi import Architecture
    from seclude.errors import Span
    from seclude.policy.lowered import Predicate
    from seclude.policy.nodes import Condition, Expression

__all__ = ["ConditionError", "Scope", "lower_condition"]

TRUE: Predicate = All(())
FALSE: Predicate = Any(())
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class ConditionError(Exception):
    """What is wrong with a condition, where, and what to do."""

    def __init__(self, message: str, span: Span | None, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.remedy = remedy


@dataclass(slots=True)
class Scope:
    """Where a condition stands: the call and the architecture. ``wide`` collects literals that do not fit their parameter,
    ``remarks`` what is surely not meant.
    """

    arch: Architecture
    call: str
    wide: list[tuple[str, Span | None]] = field(default_factory=list)
    remarks: list[tuple[str, Span | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Bits:
    """``((x ^ inverted) & mask) | ones`` of one parameter x; ``inverted`` within ``mask``, ``ones`` outside it."""

    operand: Operand
    mask: int
    inverted: int
    ones: int
    span: Span | None

    @property
    def plain(self) -> bool:
        return not self.inverted and not self.ones

    @property
    def full(self) -> int:
        return (1 << self.operand.width) - 1


_Value = int | _Bits


def lower_condition(node: Condition, scope: Scope) -> Predicate:
    """The predicate that ``node`` means for ``scope.call`` on ``scope.arch``. Raises `ConditionError`."""
    match node:
        case And(parts=parts):
            return All(tuple(lower_condition(p, scope) for p in parts))
        case Or(parts=parts):
            return Any(tuple(lower_condition(p, scope) for p in parts))
        case Not(part=part):
            return Negation(lower_condition(part, scope))
        case Comparison():
            return _comparison(node, scope)
        case _:
            value = _value(node, scope)
            if isinstance(value, int):
                raise ConditionError("a constant alone is no condition", node.span, _operator_remedy(node))
            return Negation(_within(value, ((0, 0),)))


def _operator_remedy(node: Expression) -> str:
    return "name a parameter of the call, as in: flags & O_CREAT" if not isinstance(node, Literal) else ""


def _comparison(node: Comparison, scope: Scope) -> Predicate:
    parts: list[Predicate] = []
    left = _value(node.first, scope)
    for op, right_node in node.rest:
        if isinstance(right_node, (Set, Range)):
            parts.append(_membership(op, left, right_node, node.span, scope))
            break
        right = _value(right_node, scope)
        parts.append(_pair(left, op, right, node.span, scope))
        left = right
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _pair(left: _Value, op: str, right: _Value, span: Span | None, scope: Scope) -> Predicate:
    if isinstance(left, int):
        if isinstance(right, int):
            raise ConditionError("this compares two constants", span, "one side must be a parameter of the call")
        return _against(right, _FLIPPED.get(op, op), left, span, scope)
    if not isinstance(right, int):
        raise ConditionError("this compares two parameters", span, "compare each with a constant: filters judge one argument at a time")
    return _against(left, op, right, span, scope)


def _against(left: _Bits, op: str, right: int, span: Span | None, scope: Scope) -> Predicate:
    if op in ("==", "!="):
        equal = _within(left, ((_modulo(left, right, span, scope),) * 2,))
        if left.plain and left.mask != left.full and right & left.full & ~left.mask:
            outside = right & left.full & ~left.mask
            scope.remarks.append((f"this can never be equal: {outside:#x} lies outside the mask {left.mask:#x}", span))
        return equal if op == "==" else Negation(equal)
    _no_pointer(left, span)
    width, signed = left.operand.width, left.operand.signed
    lowest, highest = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
    if not lowest <= right <= highest:
        scope.wide.append((f"{right} is outside of {_type(left)}: {lowest}..{highest}", span))
    low, high = {"<": (lowest, right - 1), "<=": (lowest, right), ">": (right + 1, highest), ">=": (right, highest)}[op]
    return _within(left, _unsigned(max(low, lowest), min(high, highest), width))


def _membership(op: str, left: _Value, right: Set | Range, span: Span | None, scope: Scope) -> Predicate:
    if isinstance(left, int):
        raise ConditionError("'in' needs a parameter of the call on its left", span)
    if isinstance(right, Set):
        values = sorted({_modulo(left, _constant(item, scope), item.span or span, scope) for item in right.items})
        inside = _within(left, _joined(values))
    else:
        _no_pointer(left, right.span or span)
        low, high = _constant(right.low, scope), _constant(right.high, scope)
        if low > high:
            raise ConditionError(f"the range {low}..{high} is empty", right.span or span, "the lower end stands first")
        width = left.operand.width
        lowest, highest = (-(1 << width - 1), (1 << width - 1) - 1) if low < 0 else (0, (1 << width) - 1)
        if low < lowest or high > highest:
            scope.wide.append((f"{low}..{high} does not fit {width} bits", right.span or span))
        inside = _within(left, _unsigned(max(low, lowest), min(high, highest), width))
    return inside if op == "in" else Negation(inside)


def _joined(values: list[int]) -> tuple[tuple[int, int], ...]:
    """Sorted numbers as disjoint inclusive ranges."""
    ranges: list[tuple[int, int]] = []
    for value in values:
        if ranges and ranges[-1][1] == value - 1:
            ranges[-1] = (ranges[-1][0], value)
        else:
            ranges.append((value, value))
    return tuple(ranges)


def _unsigned(low: int, high: int, width: int) -> tuple[tuple[int, int], ...]:
    """The numbers ``low..high``, some perhaps negative, as ranges of bits."""
    if low > high:
        return ()
    if low >= 0:
        return ((low, high),)
    top = 1 << width
    if high < 0:
        return ((low + top, high + top),)
    return ((0, high), (low + top, top - 1)) if high + 1 < low + top else ((0, top - 1),)


def _modulo(left: _Bits, value: int, span: Span | None, scope: Scope) -> int:
    if left.operand.pointer and value:
        raise ConditionError("a pointer can only be compared with NULL", span, "a filter cannot see what a pointer points to")
    width = left.operand.width
    if not -(1 << width - 1) <= value < 1 << width:
        scope.wide.append((f"{value:#x} does not fit {_type(left)}", span))
    return value & left.full


def _no_pointer(bits: _Bits, span: Span | None) -> None:
    if bits.operand.pointer:
        raise ConditionError("a pointer can only be compared with NULL, by == and !=", span, "name:u64 is the raw register")


def _type(bits: _Bits) -> str:
    return f"{'a signed' if bits.operand.signed else 'an unsigned'} parameter of {bits.operand.width} bits"


def _constant(node: Expression, scope: Scope) -> int:
    value = _value(node, scope)
    if not isinstance(value, int):
        raise ConditionError("this compares two parameters", node.span, "a set or range holds constants")
    return value


def _value(node: Expression, scope: Scope) -> _Value:
    match node:
        case Literal(value=value):
            return value
        case Name():
            return _name(node, scope)
        case Unary(op=op, part=part):
            inner = _value(part, scope)
            if isinstance(inner, int):
                return -inner if op == "-" else ~inner
            if op == "-":
                raise ConditionError("a parameter cannot be negated", node.span, "negate the constant it is compared with")
            _no_pointer(inner, node.span)
            inverted = inner.mask & ~inner.inverted
            return _Bits(inner.operand, inner.mask, inverted, inner.full & ~inner.mask & ~inner.ones, node.span)
        case Binary(op=op, left=left, right=right):
            return _binary(op, _value(left, scope), _value(right, scope), node.span, scope)


def _binary(op: str, left: _Value, right: _Value, span: Span | None, scope: Scope) -> _Value:
    if isinstance(left, int) and isinstance(right, int):
        if op == "<<":
            if not 0 <= right < 64:
                raise ConditionError(f"a shift by {right}", span, "arguments have 64 bits: shift by 0..63")
            return left << right
        return left & right if op == "&" else left | right
    if op == "<<":
        raise ConditionError("only constants can be shifted", span)
    if isinstance(left, int):
        assert not isinstance(right, int)
        return _with_bits(op, right, left, span, scope)
    if not isinstance(right, int):
        raise ConditionError("this combines two parameters", span, "filters judge one argument at a time")
    return _with_bits(op, left, right, span, scope)


def _with_bits(op: str, left: _Bits, right: int, span: Span | None, scope: Scope) -> _Bits:
    _no_pointer(left, span)
    bits = _modulo(left, right, span, scope)
    if op == "&":
        mask = left.mask & bits
        return _Bits(left.operand, mask, left.inverted & mask, left.ones & bits, span)
    mask = left.mask & ~bits
    return _Bits(left.operand, mask, left.inverted & mask, left.ones | bits, span)


def _name(node: Name, scope: Scope) -> _Value:
    from seclude.abi.constants import constant, constant_names

    try:
        found = operand(scope.arch, scope.call, node)
    except NoOperandError as error:
        raise ConditionError(str(error), node.span, "argN:u64 is the raw register") from None
    if found is not None:
        _same_word(node, scope)
        return _Bits(found, (1 << found.width) - 1, 0, 0, node.span)
    value = 0 if node.name == "NULL" else constant(node.name, scope.arch)
    names = list(parameter_names(scope.arch, scope.call))
    if value is None:
        guess = nearest(node.name, names) or nearest(node.name, [*names, *constant_names()])
        what = f"parameter of {scope.call}" if scope.call else "parameter"
        hint = f"; did you mean {guess!r}?" if guess else ""
        known = f"its parameters are {', '.join(names)}" if names else "its parameters are arg0..arg5: no prototype is known"
        raise ConditionError(f"{node.name!r} is neither a {what} nor a constant{hint}", node.span, known)
    if node.raw:
        raise ConditionError(f"{node.name} is a constant; ':u64' belongs to a parameter", node.span)
    return value


def _same_word(node: Name, scope: Scope) -> None:
    """``arg2`` is the third register; where the man page gives that name to another, say so."""
    from seclude.abi.prototypes import prototype

    found = prototype(scope.arch, scope.call) if scope.call and node.name.startswith("arg") else None
    for parameter in found.parameters if found else ():
        if parameter.name == node.name and node.name != f"arg{parameter.index}":
            text = (
                f"{node.name} is register {node.name[3:]}, counted from 0; what the man page calls {node.name} is arg{parameter.index} here"
            )
            scope.remarks.append((text, node.span))


def _within(bits: _Bits, ranges: tuple[tuple[int, int], ...]) -> Predicate:
    """Whether the unsigned value lies in one of the ranges."""
    if not ranges:
        return FALSE
    if ranges == ((0, bits.full),):
        return TRUE
    if bits.plain and bits.mask:
        return Test(Field(bits.operand.parts), bits.mask, ranges)
    parts: list[Predicate] = []
    for low, high in ranges:
        if low == high:
            parts.append(_prefix(bits, low, bits.full))
        else:
            above: Predicate = Negation(_at_most(bits, low - 1)) if low else TRUE
            parts.append(All((above, _at_most(bits, high))))
    return parts[0] if len(parts) == 1 else Any(tuple(parts))


def _prefix(bits: _Bits, value: int, where: int) -> Predicate:
    """Whether the bits ``where`` are those of ``value``: on inverted and set bits too, this asks for bits of the parameter."""
    if (value ^ bits.ones) & where & ~bits.mask:
        return FALSE
    mask = bits.mask & where
    wanted = (value ^ bits.inverted) & mask
    return Test(Field(bits.operand.parts), mask, ((wanted, wanted),)) if mask else TRUE


def _at_most(bits: _Bits, limit: int) -> Predicate:
    """``value <= limit``: equal, or equal down to a set bit of the limit that the value lacks."""
    smaller = (_prefix(bits, limit & ~(1 << bit), bits.full & ~((1 << bit) - 1)) for bit in range(bits.operand.width) if limit >> bit & 1)
    return Any((_prefix(bits, limit, bits.full), *smaller))
