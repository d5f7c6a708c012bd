"""A policy as text that `parse` reads back to the same value.

Names, number bases and constant expressions stay as they were written; parentheses are those that Python's precedence
needs, no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.policy.nodes import (
    HEADER_ACTIONS,
    And,
    Binary,
    Comparison,
    Include,
    Literal,
    Name,
    Not,
    Or,
    Range,
    Set,
    Unary,
)

if TYPE_CHECKING:
    from seclude.policy.nodes import Call, Condition, Expression, Header, Rule
    from seclude.policy.policy import Policy

__all__ = ["print_call", "print_condition", "print_policy", "print_rule"]

#: how tightly a node binds, as in Python; larger is tighter
_OR, _AND, _NOT, _COMPARE, _BITOR, _BITAND, _SHIFT, _UNARY, _ATOM = range(9)
_BINARY = {"|": _BITOR, "&": _BITAND, "<<": _SHIFT}


def _rank(node: Condition | Set | Range) -> int:
    match node:
        case Or():
            return _OR
        case And():
            return _AND
        case Not():
            return _NOT
        case Comparison():
            return _COMPARE
        case Binary(op=op):
            return _BINARY[op]
        case Unary():
            return _UNARY
        case Literal(value=value):
            return _UNARY if value < 0 else _ATOM
        case _:
            return _ATOM


def _at(node: Condition | Set | Range, least: int) -> str:
    """``node`` printed where the surroundings bind as tightly as ``least``."""
    text = print_condition(node)
    return text if _rank(node) >= least else f"({text})"


def print_condition(node: Condition | Set | Range) -> str:
    """One condition or expression on one line."""
    match node:
        case Or(parts=parts):
            return " or ".join(_at(p, _AND) for p in parts)
        case And(parts=parts):
            return " and ".join(_at(p, _NOT) for p in parts)
        case Not(part=part):
            return f"not {_at(part, _NOT)}"
        case Comparison(first=first, rest=rest):
            return _at(first, _BITOR) + "".join(f" {op} {_at(right, _BITOR)}" for op, right in rest)
        case Binary(op=op, left=left, right=right):
            rank = _BINARY[op]
            return f"{_at(left, rank)} {op} {_at(right, rank + 1)}"
        case Unary(op=op, part=part):
            return f"{op}{_at(part, _UNARY)}"
        case Set(items=items):
            return "{" + ", ".join(_at(i, _BITOR) for i in items) + "}"
        case Range(low=low, high=high):
            return f"{_bound(low)}..{_bound(high)}"
        case Literal(value=value, text=text):
            return text or str(value)
        case Name(name=name, raw=raw):
            return f"{name}:u64" if raw else name


def _bound(node: Expression) -> str:
    return _at(node, _BITOR)


def print_call(call: Call) -> str:
    """A call with its condition."""
    name = call.name if call.number is None else str(call.number)
    return name if call.condition is None else f"{name}({print_condition(call.condition)})"


def print_rule(rule: Rule) -> str:
    """A rule on one line."""
    where = f"on {', '.join(rule.archs)}: " if rule.archs else ""
    return f"{where}{rule.action} " + ", ".join(map(print_call, rule.calls))


def _print_header(header: Header) -> list[str]:
    lines = []
    for word in ("default", "arch", *HEADER_ACTIONS[1:], "tables"):
        value = getattr(header, word)
        if value is not None:
            lines.append(f"{word:8} {', '.join(value) if word == 'arch' else value}")
    return lines


def print_policy(policy: Policy) -> str:
    """The whole policy: header lines first, then rules and includes in order."""
    lines = _print_header(policy.header)
    lines += [f"include {item.name}" if isinstance(item, Include) else print_rule(item) for item in policy.items]
    return "\n".join(lines) + "\n"
