"""What is wrong with a policy beyond its syntax, and what is worth saying: names, types, ranges, architectures.

All faults are found, not the first. A fault that holds on some architectures only names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.errors import Diagnostic, PolicyError, UsageError, nearest
from seclude.policy.conditions import ConditionError, Scope, lower_condition
from seclude.policy.groups import GROUPS, expand
from seclude.policy.nodes import HEADER_ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.abi import Architecture
    from seclude.errors import Span
    from seclude.policy.nodes import Action, Call, Rule
    from seclude.policy.policy import Policy

__all__ = ["check", "expand_call", "rule_architectures"]

_NAME_FAULTS = 40


def check(policy: Policy) -> list[Diagnostic]:
    """Every finding: severity "error" makes the policy unusable, "warning" and "note" do not."""
    from seclude.abi import tables_version

    try:
        tables_version(policy.tables)
        return [*_check_header(policy), *_check_rules(policy)]
    except PolicyError as error:
        return list(error.diagnostics)
    except UsageError as error:
        first = error.diagnostics[0]
        return [Diagnostic(first.message, policy.effective.spans.get("tables"), first.remedy)]


def _check_header(policy: Policy) -> list[Diagnostic]:
    header = policy.effective
    found: list[Diagnostic] = []
    if header.default is None:
        found.append(
            Diagnostic(
                f"{policy.file}: a policy needs a 'default' line: what happens to calls that no rule decides",
                None,
                "for instance: default errno(EPERM)",
            )
        )
    words = header.arch or ()
    spans = header.spans
    if words and all(word == "compat" for word in words):
        found.append(
            Diagnostic(
                "'compat' adds the 32-bit companions of what is listed, but nothing is", spans.get("arch"), "write: arch native, compat"
            )
        )
    archs = policy.architectures
    orders = {arch.byteorder: arch.name for arch in archs}
    if len(orders) > 1:
        found.append(
            Diagnostic(
                f"architectures of both byte orders: {orders['little']} is little endian, {orders['big']} big endian",
                spans.get("arch"),
                "a filter is loaded by one kernel; write one policy for each",
            )
        )
    if policy.header.x32 is not None and any(arch.x32_bit for arch in archs):
        found.append(
            Diagnostic(
                "x32 is listed as an architecture, so rules decide its numbers", policy.header.spans.get("x32"), "drop one of the two lines"
            )
        )
    for word in HEADER_ACTIONS:
        action = getattr(header, word)
        if action is not None:
            found += _check_action(action, archs, spans.get(word))
    return found


def _check_action(action: Action, archs: Iterable[Architecture], span: Span | None) -> list[Diagnostic]:
    if action.kind in ("trap", "trace"):
        if not isinstance(action.data, int) or not 0 <= action.data <= 0xFFFF:
            return [Diagnostic(f"{action} is out of range", span, "the kernel passes on 16 bits: 0..65535")]
        return []
    if action.kind != "errno":
        return []
    if action.data == 0:
        return [Diagnostic("errno(0) makes a refused call look like a success", span, "most programs then go wrong later", "warning")]
    if isinstance(action.data, str):
        from seclude.abi.constants import errno_number

        missing = [arch.name for arch in archs if errno_number(action.data, arch) is None]
        if missing:
            guess = nearest(action.data.upper(), _errno_names())
            where = "" if len(missing) == len(list(archs)) else f" on {', '.join(missing)}"
            return [Diagnostic(f"unknown errno {action.data!r}{where}" + (f"; did you mean {guess}?" if guess else ""), span)]
    elif action.data is None or not 1 <= action.data <= 4095:
        return [Diagnostic(f"{action} is out of range", span, "the kernel returns at most 4095")]
    return []


def _errno_names() -> Iterable[str]:
    import errno

    return errno.errorcode.values()


def rule_architectures(policy: Policy, rule: Rule) -> tuple[Architecture, ...]:
    """The policy's architectures that ``rule`` is for."""
    return tuple(arch for arch in policy.architectures if not rule.archs or arch.name in rule.archs)


def _check_rules(policy: Policy) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    relative = {"native", "compat"} & set(policy.effective.arch or ())
    for rule in policy.rules:
        archs = rule_architectures(policy, rule)
        if not archs:
            if not relative:
                names = ", ".join(rule.archs)
                found.append(Diagnostic(f"no effect: {names} is not among the policy's architectures", rule.span, severity="note"))
            # Faults in it still count, on the architectures it names.
            from seclude import abi

            archs = tuple(abi.arch(name) for name in rule.archs)
        found += _check_action(rule.action, archs, rule.span)
        skipped: dict[str, list[str]] = {}
        for call in rule.calls:
            if sum(f.severity == "error" for f in found) < _NAME_FAULTS:
                found += _check_call(policy, call, archs, skipped)
        for where, absent in skipped.items():
            found.append(Diagnostic(f"not on {where}, skipped there: {', '.join(absent)}", rule.span, severity="note"))
    return found


def _check_call(policy: Policy, call: Call, archs: tuple[Architecture, ...], skipped: dict[str, list[str]]) -> list[Diagnostic]:
    if call.number is not None:
        found = _check_number(call, archs)
        return found or _check_condition(call, {arch: arch.call_name(call.number) or "" for arch in archs})
    if call.is_group:
        if call.name not in GROUPS:
            guess = nearest(call.name, GROUPS)
            hint = f"; did you mean {guess}?" if guess else ""
            return [Diagnostic(f"unknown group {call.name}{hint}", call.span, "see: seclude policy list")]
        if call.condition is not None:
            return [Diagnostic("a group takes no condition: its calls have different parameters", call.span, "name the calls")]
        return []
    having = [arch for arch in archs if policy.number(arch, call.name) is not None]
    if not having:
        return [_unknown_call(policy, call, archs)]
    if len(having) < len(archs):
        where = ", ".join(arch.name for arch in archs if arch not in having)
        skipped.setdefault(where, []).append(call.name)
    return _check_condition(call, dict.fromkeys(having, call.name))


def _unknown_call(policy: Policy, call: Call, archs: tuple[Architecture, ...]) -> Diagnostic:
    from seclude import abi

    where = f" on {', '.join(arch.name for arch in archs)}" if archs else ""
    for arch in archs:
        if arch.number(call.name) is not None:
            return Diagnostic(
                f"{call.name} came with Linux {abi.since(call.name, arch)}, later than this policy's 'tables {policy.tables}'",
                call.span,
                "raise the 'tables' line to use it",
            )
    others = [other.name for other in abi.ALL if other.number(call.name) is not None]
    if others:
        return Diagnostic(
            f"no system call {call.name!r}{where}", call.span, f"it exists on {', '.join(others[:6])}" + (" ..." if len(others) > 6 else "")
        )
    names = {name for arch in archs for name in policy.calls_of(arch)}
    guess = nearest(call.name, names) or ("@" + call.name if "@" + call.name in GROUPS else "")
    return Diagnostic(f"unknown system call {call.name!r}" + (f"; did you mean {guess!r}?" if guess else ""), call.span)


def _check_number(call: Call, archs: tuple[Architecture, ...]) -> list[Diagnostic]:
    number = call.number or 0
    if len(archs) != 1:
        names = ", ".join(arch.name for arch in archs)
        return [
            Diagnostic(f"a number means a call on one architecture, and this rule is for {names}", call.span, f"write: on {archs[0]}: ...")
        ]
    arch = archs[0]
    if number >> 31:
        return [Diagnostic(f"numbers with bit 31 set, such as {number:#x}, are decided by 'negative'", call.span)]
    if arch.x32_bit and not number & arch.x32_bit:
        return [Diagnostic(f"{number} is no number of x32", call.span, f"x32's have bit 30 set: {number | arch.x32_bit:#x}")]
    if arch.name == "x86_64" and number >> 30:
        return [Diagnostic(f"{number:#x} is a number of x32", call.span, "list x32 as an architecture and write: on x32: ...")]
    return []


def _check_condition(call: Call, having: dict[Architecture, str]) -> list[Diagnostic]:
    if call.condition is None:
        return []
    faults: dict[tuple[str, str, Span | None], list[str]] = {}
    wide: dict[tuple[str, Span | None], list[str]] = {}
    remarks: dict[tuple[str, Span | None], list[str]] = {}
    for arch, name in having.items():
        scope = Scope(arch, name)
        try:
            lower_condition(call.condition, scope)
        except ConditionError as fault:
            faults.setdefault((fault.message, fault.remedy, fault.span), []).append(arch.name)
        for item in dict.fromkeys(scope.wide):
            wide.setdefault(item, []).append(arch.name)
        for item in dict.fromkeys(scope.remarks):
            remarks.setdefault(item, []).append(arch.name)
    found = []
    for (message, remedy, span), names in faults.items():
        found.append(Diagnostic(message + _where(names, having), span or call.span, remedy))
    spans_wide: dict[Span | None, set[str]] = {}
    for (_, span), names in wide.items():
        spans_wide.setdefault(span, set()).update(names)
    for (message, span), names in wide.items():
        everywhere = len(spans_wide[span]) == len(having)
        found.append(Diagnostic(message + _where(names, having), span or call.span, severity="error" if everywhere else "note"))
    for (message, span), names in remarks.items():
        found.append(Diagnostic(message + _where(names, having), span or call.span, severity="warning"))
    return found


def _where(names: list[str], having: dict[Architecture, str]) -> str:
    return "" if len(names) == len(having) else f" (on {', '.join(names)})"


def expand_call(call: Call) -> tuple[str, ...]:
    """The names that ``call`` lists: its own, or its group's members."""
    return expand(call.name) if call.is_group else (call.name,)
