"""What a policy says about one call, read straight off the rules with Python's integers.

This is the judge of everything that turns a policy into a filter, so it shares no code with `lower`: it walks the
conditions as they are written, computes with plain integers, and says which rule decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seclude.policy.groups import expand
from seclude.policy.nodes import Action, And, Binary, Comparison, Literal, Name, Not, Or, Range, Set, Unary
from seclude.policy.operands import operand
from seclude.policy.policy import header_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.abi import Architecture
    from seclude.policy.nodes import Call, Condition, Expression, Rule
    from seclude.policy.operands import Operand
    from seclude.policy.policy import Policy

__all__ = ["Outcome", "evaluate", "value_of"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happens to one call.

    ``value`` is the 32-bit SECCOMP_RET_* word. ``reason`` is "rule" (then ``rule`` is it), "default", "unknown", "x32",
    "negative", "multiplexer" or "badarch"; ``place`` is ``file:line`` of the rule or header line, "" for a built-in default.
    """

    value: int
    action: Action
    rule: Rule | None
    place: str
    reason: str


def evaluate(policy: Policy, arch: str | int | Architecture, nr: int, args: Sequence[int] = (), ip: int = 0) -> Outcome:
    """The outcome of call ``nr`` with up to six ``args`` (taken modulo 2**64) on ``arch`` (a name, or an audit token).

    x86_64 and x32 share a token: there ``nr`` decides. Raises `UsageError` for an architecture's name that does not exist.
    """
    from seclude import abi

    nr &= 0xFFFFFFFF
    words = _words(nr, args, ip)
    token = arch if isinstance(arch, int) else abi.arch(arch).token
    candidates = [one for one in policy.architectures if one.token == token]
    first = policy.architectures[0]
    if not candidates:
        return _header(policy, "badarch", first)
    if nr >= 0x80000000:
        return _header(policy, "negative", candidates[0])
    shared = any(one.name in ("x86_64", "x32") for one in candidates)
    if shared:
        wanted = "x32" if nr & 0x40000000 else "x86_64"
        here = [one for one in candidates if one.name == wanted]
        if not here:
            return _header(policy, "x32" if wanted == "x32" else "badarch", candidates[0] if wanted == "x32" else first)
        candidates = here
    return _on(policy, candidates[0], nr, words)


def _words(nr: int, args: Sequence[int], ip: int = 0) -> list[int]:
    words = [nr, 0, ip & 0xFFFFFFFF, ip >> 32 & 0xFFFFFFFF]
    for value in (*args, *(0,) * (6 - len(args))):
        words += [value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF]
    return words


def value_of(node: Expression, arch: Architecture, call: str, args: Sequence[int]) -> int:
    """The value of an expression for one call, unsigned in its parameter's width."""
    return _read(node, _Where(arch, call, _words(0, args)))[0]


def _on(policy: Policy, arch: Architecture, nr: int, words: list[int]) -> Outcome:
    listed = False
    name = _name_of(policy, arch, nr)
    for rule, call in _listing(policy, arch, nr):
        listed = True
        if call.condition is None or _holds(call.condition, arch, name, words):
            return Outcome(_word(rule.action, arch), rule.action, rule, rule.place, "rule")
    if not listed and not name:
        return _header(policy, "unknown", arch)
    if not listed and name in ("socketcall", "ipc"):
        action = Action("errno", "ENOSYS")
        return Outcome(_word(action, arch), action, None, "", "multiplexer")
    return _header(policy, "default", arch)


def _name_of(policy: Policy, arch: Architecture, nr: int) -> str:
    names = policy._once(("names", arch.name), lambda: {number: name for name, number in policy.calls_of(arch).items()})
    found: str = names.get(nr, "")
    return found


def _listing(policy: Policy, arch: Architecture, nr: int) -> list[tuple[Rule, Call]]:
    """The rules that list the call, in order."""
    index = policy._once(("listing", arch.name), lambda: _index(policy, arch))
    found: list[tuple[Rule, Call]] = index.get(nr, [])
    return found


def _index(policy: Policy, arch: Architecture) -> dict[int, list[tuple[Rule, Call]]]:
    index: dict[int, list[tuple[Rule, Call]]] = {}
    for rule in policy.rules:
        if rule.archs and arch.name not in rule.archs:
            continue
        for call in rule.calls:
            if call.number is not None:
                index.setdefault(call.number, []).append((rule, call))
                continue
            for name in expand(call.name) if call.name.startswith("@") else (call.name,):
                number = policy.number(arch, name)
                if number is not None:
                    index.setdefault(number, []).append((rule, call))
    return index


def _header(policy: Policy, word: str, arch: Architecture) -> Outcome:
    action: Action = getattr(policy.effective, word)
    return Outcome(_word(action, arch), action, None, header_place(policy, word), word)


def _word(action: Action, arch: Architecture) -> int:
    data = action.data
    if isinstance(data, str):
        from seclude.abi.constants import errno_number

        data = errno_number(data, arch)
    match action.kind:
        case "kill_process":
            return 0x80000000
        case "kill_thread":
            return 0
        case "trap":
            return 0x30000 + (data or 0)
        case "errno":
            return 0x50000 + (data or 0)
        case "notify":
            return 0x7FC00000
        case "trace":
            return 0x7FF00000 + (data or 0)
        case "log":
            return 0x7FFC0000
        case _:
            return 0x7FFF0000


class _Where:
    """The call a condition is asked about."""

    def __init__(self, arch: Architecture, call: str, words: list[int]) -> None:
        self.arch = arch
        self.call = call
        self.words = words

    def operand(self, name: Name) -> Operand | None:
        return operand(self.arch, self.call, name)

    def number(self, of: Operand) -> int:
        """The unsigned value of a parameter as the kernel reads it."""
        total, shift = 0, 0
        for word, bits in of.parts:
            total += self.words[word] % (1 << bits) << shift
            shift += bits
        return total


def _holds(node: Condition, arch: Architecture, call: str, words: list[int]) -> bool:
    return _true(node, _Where(arch, call, words))


def _true(node: Condition, where: _Where) -> bool:
    match node:
        case And(parts=parts):
            return all(_true(part, where) for part in parts)
        case Or(parts=parts):
            return any(_true(part, where) for part in parts)
        case Not(part=part):
            return not _true(part, where)
        case Comparison(first=first, rest=rest):
            left = first
            for op, right in rest:
                if not _compare(left, op, right, where):
                    return False
                if not isinstance(right, (Set, Range)):
                    left = right
            return True
        case _:
            return _read(node, where)[0] != 0


def _read(node: Expression, where: _Where) -> tuple[int, Operand | None]:
    """The value, and the parameter it is made from: a parameter's value is unsigned in its width."""
    match node:
        case Literal(value=value):
            return value, None
        case Name(name=name):
            of = where.operand(node)
            if of is not None:
                return where.number(of), of
            return _constant(name, where), None
        case Unary(op="-", part=part):
            return -_read(part, where)[0], None
        case Unary(part=part):
            value, of = _read(part, where)
            return (~value if of is None else (1 << of.width) - 1 - value), of
        case Binary(op=op, left=left, right=right):
            one, first = _read(left, where)
            two, second = _read(right, where)
            value = {"&": lambda: one & two, "|": lambda: one | two, "<<": lambda: one << two}[op]()
            of = first or second
            return (value if of is None else value % (1 << of.width)), of


def _constant(name: str, where: _Where) -> int:
    from seclude.abi.constants import constant

    value = 0 if name == "NULL" else constant(name, where.arch)
    assert value is not None  # checked when the policy was made
    return value


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >= 1 << (width - 1) else value


def _compare(left_node: Expression, op: str, right_node: Expression | Set | Range, where: _Where) -> bool:
    left, of = _read(left_node, where)
    if isinstance(right_node, Set):
        assert of is not None
        return any((left - _read(item, where)[0]) % (1 << of.width) == 0 for item in right_node.items) == (op == "in")
    if isinstance(right_node, Range):
        assert of is not None
        low, high = _read(right_node.low, where)[0], _read(right_node.high, where)[0]
        value = _signed(left, of.width) if low < 0 or high < 0 else left
        return (low <= value <= high) == (op == "in")
    right, other = _read(right_node, where)
    both = of or other
    assert both is not None
    if op in ("==", "!="):
        return ((left - right) % (1 << both.width) == 0) == (op == "==")
    if both.signed:
        left, right = (_signed(left, both.width), right) if of else (left, _signed(right, both.width))
    match op:
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case _:
            return left >= right
