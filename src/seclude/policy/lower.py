"""A checked policy as `Lowered`: names, types and architectures resolved, ready for `decision`.

Per audit token, every number that the table names or a rule lists gets its clauses in order; all other numbers get a
run: ``unknown``, ``negative``, and on x86_64's token ``x32``. The multiplexers socketcall and ipc answer ENOSYS unless
a rule lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.errors import InternalError
from seclude.policy.check import expand_call
from seclude.policy.conditions import Scope, lower_condition
from seclude.policy.lowered import All, Clause, Lowered, LoweredCall, LoweredToken
from seclude.policy.nodes import Action

if TYPE_CHECKING:
    from seclude.abi import Architecture
    from seclude.policy.nodes import Call, Header, Rule
    from seclude.policy.policy import Policy

__all__ = ["ACTION_NAMES", "action_word", "lower"]

#: linux/seccomp.h, SECCOMP_RET_*
_RET = {
    "kill_process": 0x80000000,
    "kill_thread": 0x00000000,
    "trap": 0x00030000,
    "errno": 0x00050000,
    "notify": 0x7FC00000,
    "trace": 0x7FF00000,
    "log": 0x7FFC0000,
    "allow": 0x7FFF0000,
}
#: a RET word without its data → the action's name in the policy language
ACTION_NAMES = {value: name for name, value in _RET.items()}
_X32_FIRST, _X32_LAST = 0x40000000, 0x7FFFFFFF
_LAST = 0xFFFFFFFF


def action_word(action: Action, arch: Architecture) -> int:
    """The 32-bit value a filter returns for ``action``; errno names resolve on ``arch``."""
    data = action.data
    if isinstance(data, str):
        from seclude.abi.constants import errno_number

        data = errno_number(data, arch)
        if data is None:
            raise InternalError(f"{action} was not checked for {arch}")
    return _RET[action.kind] | (data or 0)


def lower(policy: Policy) -> Lowered:
    """What ``policy`` means on each of its audit tokens."""
    tokens: dict[int, list[Architecture]] = {}
    for arch in policy.architectures:
        tokens.setdefault(arch.token, []).append(arch)
    first = policy.architectures[0]
    badarch = action_word(_given(policy.effective.badarch), first)
    return Lowered(first.byteorder, tuple(_token(policy, archs, badarch) for archs in tokens.values()), badarch)


def _given(action: Action | None) -> Action:
    assert action is not None  # filled in by `Policy.effective`, or refused by `check`
    return action


def _token(policy: Policy, archs: list[Architecture], badarch: int) -> LoweredToken:
    calls: dict[int, LoweredCall] = {}
    for arch in archs:
        calls.update(_calls(policy, arch))
    name = next((arch.name for arch in archs if not arch.x32_bit), archs[0].name)
    return LoweredToken(archs[0].token, name, dict(sorted(calls.items())), _others(policy.effective, archs, badarch))


def _others(header: Header, archs: list[Architecture], badarch: int) -> tuple[tuple[int, int, int], ...]:
    plain = next((arch for arch in archs if not arch.x32_bit), None)
    x32 = next((arch for arch in archs if arch.x32_bit), None)
    negative = action_word(_given(header.negative), archs[0])
    unknown = action_word(_given(header.unknown), plain) if plain else badarch
    runs = [(0, _X32_LAST, unknown)]
    if x32 or archs[0].name == "x86_64":
        above = action_word(_given(header.unknown), x32) if x32 else action_word(_given(header.x32), archs[0])
        runs = [(0, _X32_FIRST - 1, unknown), (_X32_FIRST, _X32_LAST, above)]
    merged = runs[:1]
    for low, high, value in [*runs[1:], (_X32_LAST + 1, _LAST, negative)]:
        if merged[-1][2] == value:
            merged[-1] = (merged[-1][0], high, value)
        else:
            merged.append((low, high, value))
    return tuple(merged)


def _calls(policy: Policy, arch: Architecture) -> dict[int, LoweredCall]:
    clauses: dict[int, list[Clause]] = {}
    names = {number: name for name, number in policy.calls_of(arch).items()}
    for index, rule in enumerate(policy.rules):
        if rule.archs and arch.name not in rule.archs:
            continue
        value = action_word(rule.action, arch)
        for call in rule.calls:
            for number in _numbers(policy, arch, call):
                clauses.setdefault(number, []).append(_clause(rule, index, call, value, arch, names.get(number, "")))
    default = action_word(_given(policy.effective.default), arch)
    calls = {}
    for number in names.keys() | clauses.keys():
        listed = clauses.get(number, ())
        name = names.get(number) or str(number)
        calls[number] = LoweredCall(name, tuple(listed), default)
    for name in arch.multiplexers:
        number = arch.calls()[name]
        if number in names and number not in clauses:
            calls[number] = LoweredCall(name, (), action_word(Action("errno", "ENOSYS"), arch))
    return calls


def _numbers(policy: Policy, arch: Architecture, call: Call) -> list[int]:
    if call.number is not None:
        return [call.number]
    found = (policy.number(arch, name) for name in expand_call(call))
    return list(dict.fromkeys(number for number in found if number is not None))


def _clause(rule: Rule, index: int, call: Call, value: int, arch: Architecture, name: str) -> Clause:
    condition = All(()) if call.condition is None else lower_condition(call.condition, Scope(arch, name))
    return Clause(condition, value, index, not call.is_group, rule.file, call.span)
