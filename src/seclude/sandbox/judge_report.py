"""Judgements for people and for programs; notes, for people, apart from the verdict. What came from a submission is escaped and cut."""

from __future__ import annotations

from seclude.errors import printable
from seclude.sandbox.judge_verdict import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from seclude.sandbox.judge import Judge
    from seclude.sandbox.judge_verdict import Judgement
    from seclude.supervise.record import Denial

__all__ = ["JSON_VERSION", "cases_to_json", "cases_to_text", "notes_of", "to_json", "to_text"]

#: raised when a field changes its meaning or goes away; fields may be added without
JSON_VERSION = 1
_RED, _GREEN, _PLAIN = "\x1b[1;31m", "\x1b[1;32m", "\x1b[0m"


def to_text(judged: Judgement, *, hints: bool = True, colour: bool = False, verbose: bool = False) -> str:
    """The verdict with its reason, what was used, and the calls that were denied."""
    lines = [f"{_painted(judged, judged.verdict, colour)}{_why(judged, hints)}", f"  {_usage(judged)}"]
    lines += _details(judged, verbose)
    return "".join(line + "\n" for line in lines)


def cases_to_text(judged: Sequence[Judgement], total: int, *, hints: bool = True, colour: bool = False, verbose: bool = False) -> str:
    """A table, the reason of each failure, and how many of ``total`` were accepted."""
    head = ("case", "verdict", "cpu", "wall", "memory", "output")
    rows = [
        (printable(one.name), one.verdict, f"{one.cpu:.3f} s", f"{one.wall:.3f} s", size(one.memory), size(one.output)) for one in judged
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for number, row in enumerate([head, *rows]):
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        if number:
            cells[1] = _painted(judged[number - 1], cells[1], colour)
        lines.append("  ".join(cells))
    for one in judged:
        if not one.accepted:
            lines.append(f"{printable(one.name)}: {one.verdict}{_why(one, hints)}")
            lines += _details(one, verbose)
    accepted = sum(one.accepted for one in judged)
    missing = total - len(judged)
    lines.append(f"{accepted} of {total} accepted" + (f", {missing} not run" if missing else ""))
    return "".join(line + "\n" for line in lines)


def _painted(judged: Judgement, text: str, colour: bool) -> str:
    return f"{_GREEN if judged.accepted else _RED}{text}{_PLAIN}" if colour else text


def _why(judged: Judgement, hints: bool) -> str:
    if judged.difference is not None:
        return f": {judged.difference.describe(hints=hints)}"
    return f": {printable(judged.reason)}" if judged.reason else ""


def _usage(judged: Judgement) -> str:
    return f"cpu {judged.cpu:.3f} s, wall {judged.wall:.3f} s, memory {size(judged.memory)}, output {size(judged.output)}"


def notes_of(judged: Iterable[Judgement]) -> str:
    """What the user should know besides, each once: for stderr."""
    return "".join(f"seclude: note: {printable(note)}\n" for note in dict.fromkeys(note for one in judged for note in one.notes))


def _details(judged: Judgement, verbose: bool) -> list[str]:
    lines = []
    if judged.denied is not None:
        lines.append(f"  {_denial(judged.denied)}")
    others = [denial for denial in judged.denials if denial is not judged.denied] if verbose or not judged.accepted else []
    lines += [f"  {_denial(denial)}" for denial in others[:5]]
    if len(others) > 5:
        lines.append(f"  and {len(others) - 5} more kinds of denied calls")
    if verbose:
        bound = ", ".join(f"{limit} by {what}" for limit, what in judged.bound_by.items())
        lines.append(f"  limits: {bound or 'none'}")
        lines.append(f"  largest resident set: {size(judged.resident)}")
    if judged.ended_by and verbose:
        lines.append(f"  what it left behind was ended by {judged.ended_by}")
    return lines


def _denial(denial: Denial) -> str:
    verb = {"kill_process": "killed", "kill_thread": "killed", "trap": "trapped"}.get(denial.action, "denied")
    rule = f"   rule: {denial.rule}" if denial.rule else ""
    return f"{verb} {denial.count}\N{MULTIPLICATION SIGN}  {denial.text} → {denial.result}{rule}"


def _head(judge: Judge, command: Sequence[str]) -> dict[str, Any]:
    limits = {name: value for name in judge.limits.__slots__ if (value := getattr(judge.limits, name)) is not None}
    return {"version": JSON_VERSION, "command": list(command), "policy": judge.artifact.name, "limits": limits}


def to_json(judge: Judge, command: Sequence[str], judged: Judgement, *, hints: bool = True) -> str:
    """One object on one line: see the reference."""
    import json

    plain = judged.to_plain(hints=hints)
    del plain["name"]
    return json.dumps({**_head(judge, command), **plain}) + "\n"


def cases_to_json(judge: Judge, command: Sequence[str], judged: Sequence[Judgement], total: int, *, hints: bool = True) -> str:
    """One object on one line, its ``cases`` in order; ``verdict`` is that of the first case that was not accepted."""
    import json

    first = next((one for one in judged if not one.accepted), None)
    whole = {
        **_head(judge, command),
        "verdict": first.verdict if first is not None else "accepted",
        "accepted": sum(one.accepted for one in judged),
        "total": total,
        "cases": [one.to_plain(hints=hints) for one in judged],
    }
    return json.dumps(whole) + "\n"
