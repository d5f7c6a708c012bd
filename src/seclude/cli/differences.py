"""How a difference is shown: for people, and as JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from seclude.bpf.names import action_text
from seclude.cli.options import Option
from seclude.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.cli.options import Arguments
    from seclude.cli.sources import Source
    from seclude.decision import Calls, Decision, Difference
    from seclude.decision.changes import Change

__all__ = ["SHOW_OPTIONS", "agree", "chosen", "show"]

SHOW_OPTIONS = (
    Option("--on", "ARCH", "look at calls of this architecture only", many=True),
    Option("--call", "NAME", "look at this call only (a name or a number)", many=True),
    Option("--json", "", "print JSON instead: answer (true or false), verdict, differences"),
    Option("--all", "", "print every difference, not the first 40"),
)
_SHOWN = 40
_WIDTH = 100
#: a condition longer than this says less than its witness; --json has it
_LONGEST = 400


def chosen(arguments: Arguments) -> Calls:
    """The calls that ``--on`` and ``--call`` leave to look at. Raises `UsageError`."""
    from seclude.decision.calls import ALL_CALLS, NO_CALLS, calls_of

    archs, names = arguments.all("on"), arguments.all("call")
    if not archs and not names:
        return ALL_CALLS
    out = NO_CALLS
    for arch in archs or (None,):
        for name in names or (None,):
            out |= calls_of(arch, _number(name))
    return out


def _number(name: str | None) -> str | int | None:
    if name is None or not name[:1].isdigit():
        return name
    try:
        number = int(name, 0)
    except ValueError:
        raise UsageError(f"--call takes a name or a number, not {name!r}") from None
    if number >= 1 << 32:
        raise UsageError(f"{name} is no system call number: they have 32 bits")
    return number


def show(arguments: Arguments, a: Source, b: Source, difference: Difference, *, verdict: str, typed: bool) -> None:
    """Print a difference that is there. ``verdict`` is its headline; ``typed`` adds what the kernel makes of ignored bits."""
    from seclude.decision import same_to_kernel
    from seclude.decision.changes import changes

    found = changes(difference)
    same = typed and difference.a is a.decision and same_to_kernel(a.decision, b.decision)
    bypasses = {"A": _bypass(a.decision), "B": _bypass(b.decision)} if typed else {}
    if arguments.flag("json"):
        report: dict[str, Any] = {
            "answer": False,
            "verdict": verdict,
            "a": a.name,
            "b": b.name,
            "calls": str(difference.calls.count()),
            "differences": [_as_json(change) for change in found],
        }
        if typed:
            report["same_to_kernel"] = same
            report["bypass"] = bypasses
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    out = [f"{verdict}   A: {a.about}   B: {b.about}"]
    limit = None if arguments.flag("all") else _SHOWN
    out += _lines(found[:limit])
    if limit is not None and len(found) > limit:
        out.append(f"... and {len(found) - limit} more (--all shows them)")
    if same:
        out.append("These differences lie only in bits that the kernel ignores: what a program can have done is the same under both.")
    out += [f"{side} can be bypassed: {text}" for side, text in bypasses.items() if text]
    sys.stdout.write("\n".join(out) + "\n")


def agree(arguments: Arguments, a: Source, b: Source, verdict: str, sentence: str) -> None:
    """Print that there is nothing to show."""
    if arguments.flag("json"):
        report = {"answer": True, "verdict": verdict, "a": a.name, "b": b.name, "differences": []}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        sys.stdout.write(f"{verdict}: {sentence}\n")


def _lines(found: Iterable[Change]) -> Iterable[str]:
    heading = ""
    for change in found:
        where = change.where
        if where != heading:
            yield f"{where}:"
            heading = where
        answers = f"A: {action_text(change.a, change.arch)}   B: {action_text(change.b, change.arch)}"
        on = f" on {change.witness.arch.name}" if change.arch is None and change.witness.arch else ""
        yield f"{change.sign} {change.witness}{on}   {answers}"
        condition = change.condition
        if condition and len(condition) <= _LONGEST:
            yield f"    where {condition}"
        names = change.names()
        if len(names) > 1:
            shown = [name for name in names if name != change.witness.name]
            yield from _wrapped(f"    and {len(shown)} more: ", shown)
        elif names and names[0] != change.witness.name:
            yield f"    for {names[0]}"


def _wrapped(start: str, names: list[str]) -> Iterable[str]:
    line = start
    for index, name in enumerate(names):
        piece = name + (", " if index < len(names) - 1 else "")
        if len(line) + len(piece) > _WIDTH and line.strip():
            yield line.rstrip()
            line = "      "
        line += piece
    yield line


def _as_json(change: Change) -> dict[str, Any]:
    call = change.witness
    return {
        "sign": change.sign,
        "architecture": change.arch.name if change.arch else None,
        "tokens": [list(run) for run in change.tokens],
        "numbers": [list(run) for run in change.numbers],
        "calls": change.names(),
        "condition": change.condition or None,
        "a": action_text(change.a, change.arch),
        "b": action_text(change.b, change.arch),
        "values": [change.a, change.b],
        "witness": {
            "text": str(call),
            "token": call.token,
            "number": call.number,
            "arguments": [f"{value:#x}" for value in call.args],
            "instruction_pointer": f"{call.ip:#x}",
        },
    }


def _bypass(decision: Decision) -> str | None:
    """A call that gets past ``decision`` by bits that the kernel ignores, in words."""
    from seclude.decision import bypass

    call = bypass(decision).witness()
    if call is None:
        return None
    where = f" on {call.arch.name}" if call.arch else ""
    action = action_text(decision.value(call.words), call.arch)
    clean = call.clean()
    stopped = action_text(decision.value(clean.words), call.arch)
    return f"{call}{where} gets {action}, and {clean}, which is the same to the kernel, {stopped}"
