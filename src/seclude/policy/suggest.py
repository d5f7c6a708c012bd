"""The rule that would have allowed a call: what a report of a denial tells the user to add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.errors import PolicyError
from seclude.policy.evaluate import evaluate, value_of
from seclude.policy.language import prepend
from seclude.policy.nodes import And, Binary, Comparison, Name, Not, Or
from seclude.policy.operands import operand
from seclude.policy.printer import print_condition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seclude.abi import Architecture
    from seclude.policy.nodes import Condition, Expression
    from seclude.policy.policy import Policy

__all__ = ["suggest"]

#: calls that mean quite different things by their first parameter: never offered as a whole
_BY_FIRST = frozenset({"socket", "socketpair", "prctl", "personality", "unshare", "socketcall", "ipc"})


def suggest(policy: Policy, arch: str | int | Architecture, nr: int, args: Sequence[int] = ()) -> str | None:
    """The smallest rule that, put in front with ``allow``, permits this call; None where no rule can.

    The text is what ``--allow`` and `prepend` take: ``openat``, ``socket(domain == AF_INET)``, ``on x86: 500``. With a condition where
    the call means different things by its first parameter, or the policy judges its arguments already. Each offer has
    been tried: under the policy with that rule in front, the call is allowed.
    """
    outcome = evaluate(policy, arch, nr, args)
    if outcome.reason in ("badarch", "negative", "x32"):
        return None
    here = _architecture(policy, arch, nr)
    for text in _offers(policy, here, nr, tuple(args)):
        try:
            mended = prepend(policy, [("allow", text, "--allow")])
        except PolicyError:
            continue
        if evaluate(mended, here, nr, args).action.kind == "allow":
            return text
    return None


def _architecture(policy: Policy, arch: str | int | Architecture, nr: int) -> Architecture:
    from seclude import abi

    token = arch if isinstance(arch, int) else abi.arch(arch).token
    found = [one for one in policy.architectures if one.token == token]
    return next((one for one in found if bool(one.x32_bit) == bool(nr >> 30 & 1)), found[0])


def _offers(policy: Policy, arch: Architecture, nr: int, args: tuple[int, ...]) -> Iterator[str]:
    name = arch.call_name(nr) if nr in policy.calls_of(arch).values() else None
    if name is None:
        yield str(nr)
        yield f"on {arch.name}: {nr}"
        return
    judged = list(_judged(policy, arch, name, nr))
    if judged:
        for decoded in (True, False):
            parts = [_equal(node, arch, name, args, decoded) for node in judged]
            yield f"{name}({' and '.join(dict.fromkeys(parts))})"
    yield name


def _judged(policy: Policy, arch: Architecture, name: str, nr: int) -> Iterator[Expression]:
    """The parameters, with the masks over them, that the policy's rules for this call look at."""
    seen = []
    for rule in policy.rules:
        for call in rule.calls:
            if call.condition is None or call.number not in (None, nr) or (call.name and policy.number(arch, call.name) != nr):
                continue
            for node in _lefts(call.condition):
                if node not in seen and _is_parameter(node, arch, name):
                    seen.append(node)
    if not seen and name in _BY_FIRST:
        from seclude.abi.prototypes import prototype

        found = prototype(arch, name)
        if found and found.parameters:
            seen.append(Name(found.parameters[0].name))
    yield from seen


def _lefts(node: Condition) -> Iterator[Expression]:
    match node:
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from _lefts(part)
        case Not(part=part):
            yield from _lefts(part)
        case Comparison(first=first, rest=rest):
            yield first
            for _, right in rest:
                if isinstance(right, (Name, Binary)):
                    yield right
        case _:
            yield node


def _parameter(node: Expression) -> Name | None:
    """The name in ``p`` or ``p & mask``."""
    match node:
        case Name():
            return node
        case Binary(op="&", left=Name() as left):
            return left
    return None


def _is_parameter(node: Expression, arch: Architecture, call: str) -> bool:
    name = _parameter(node)
    found = operand(arch, call, name) if name and name.name != "ip" else None
    return found is not None and not found.pointer


def _equal(node: Expression, arch: Architecture, call: str, args: tuple[int, ...], decoded: bool) -> str:
    from seclude.abi.constants import decode
    from seclude.abi.prototypes import prototype

    value = value_of(node, arch, call, args)
    text = str(value) if value < 1024 else hex(value)
    name = _parameter(node)
    found = prototype(arch, call)
    parameter = found.parameter(name.name) if found and name and not name.raw else None
    if decoded and parameter is not None:
        text = _spelt(decode(parameter, value, arch))
    return f"{print_condition(node)} == {text}"


def _spelt(decoded: str) -> str:
    """``S_IFCHR|0644`` as the language writes it: octal with its letter, nothing for bits that are not there."""
    parts = [f"0o{part[1:]}" if part[:1] == "0" and part.isdigit() and part != "0" else part for part in decoded.split("|")]
    return " | ".join(part for part in parts if part.strip("0o") or len(parts) == 1)
