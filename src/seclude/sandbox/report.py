"""What a run's result looks like on a terminal, and as JSON for programs.

One line a kind of denial. Variants of one call that differ in their arguments only are folded after a few, since a target can make
thousands of them; the rest is counted. What the target showed came escaped already.

A rule that answers ENOSYS says that a call does not exist here, so that programs take an older one (clone for clone3). Where the
command then succeeded, it missed nothing, and only the JSON form and ``verbose`` show these; where it failed, they come last.
"""

from __future__ import annotations

from seclude.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from seclude.sandbox.result import Job, Result
    from seclude.supervise.record import Denial

__all__ = ["JSON_VERSION", "signal_name", "to_json", "to_text"]

#: raised when a field changes its meaning or goes away; fields may be added without
JSON_VERSION = 1
VARIANTS = 5
_TIMES = "\N{MULTIPLICATION SIGN}"
_BOLD, _RED, _DIM, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


def to_text(result: Result, *, verbose: bool = False, colour: bool = False, width: int = 0) -> str:
    """The report of a run, "" where there is nothing to say. ``width`` > 0 breaks lines that are longer."""
    lines = []
    if result.error:
        lines.append(f"seclude: {printable(result.error)}")
    shown: dict[tuple[object, ...], list[Denial]] = {}
    succeeded = result.code == 0 and not verbose
    for denial in sorted(result.denials, key=_is_absence):
        if succeeded and _is_absence(denial):
            continue
        shown.setdefault((denial.arch, denial.call, denial.value, denial.rule), []).append(denial)
    for variants in shown.values():
        variants.sort(key=lambda denial: -denial.count)
        lines += [_line(denial, colour, width) for denial in variants[:VARIANTS]]
        rest = variants[VARIANTS:]
        if rest:
            lines.append(f"  and {len(rest)} more forms of {rest[0].call}, {sum(denial.count for denial in rest)}{_TIMES} in all")
    if result.overflow:
        lines.append(f"seclude: {result.overflow} further denied calls were counted, but are too various to list")
    if result.limit:
        lines.append(f"seclude: ended by the limit {result.limit}")
    if result.signal is not None and not result.limit and (verbose or result.denials):
        lines.append(f"seclude: the command was ended by {signal_name(result.signal)}")
    lines += [f"seclude: note: {note}" for note in result.notes]
    if verbose:
        ended = f"; what was left was ended by {result.ended_by}" if result.ended_by else ""
        lines.append(
            f"seclude: code {result.code}, cpu {result.cpu:.3f} s, wall {result.wall:.3f} s, memory {result.memory / 1048576:.1f} MiB{ended}"
        )
    return "".join(line + "\n" for line in lines)


def _is_absence(denial: Denial) -> bool:
    """Whether a rule (not the default) made as if the call did not exist, for which callers are prepared."""
    return denial.reason == "rule" and denial.action == "errno" and denial.result == "ENOSYS"


def _line(denial: Denial, colour: bool, width: int) -> str:
    bold, red, dim, plain = (_BOLD, _RED, _DIM, _PLAIN) if colour else ("", "", "", "")
    verb = {"kill_process": "killed", "kill_thread": "killed", "trap": "trapped"}.get(denial.action, "denied")
    outcome = denial.result if denial.action in ("errno", "busy", "handler") else f"{denial.action} ({denial.result})"
    parts = [f"{bold}{red}{verb} {denial.count}{_TIMES}{plain}  {bold}{denial.text}{plain} → {outcome}"]
    bare = [f"{verb} {denial.count}{_TIMES}  {denial.text} → {outcome}"]
    if denial.where:
        parts.append(f"{dim}at:{plain} {denial.where}")
        bare.append(f"at: {denial.where}")
    if denial.rule:
        parts.append(f"{dim}rule:{plain} {denial.rule}")
        bare.append(f"rule: {denial.rule}")
    if denial.action == "handler":
        parts.append(denial.reason)
        bare.append(parts[-1])
    elif denial.action == "busy":
        parts.append("one listener a process: --no-report leaves it to the target")
        bare.append(parts[-1])
    if denial.suggestion and denial.action != "busy":
        parts.append(f"{dim}to allow:{plain} {denial.suggestion}")
        bare.append(f"to allow: {denial.suggestion}")
    if width and len("   ".join(bare)) > width:
        return "\n      ".join(parts)
    return "   ".join(parts)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9, by the names the C module has."""
    from seclude.kernel.signals import csignal

    for name in dir(csignal):
        if name.startswith("SIG") and not name.startswith("SIG_") and getattr(csignal, name) == number:
            return name
    return f"signal {number}"


def to_json(result: Result, job: Job) -> str:
    """The result as one JSON object; see docs/reference: ``version`` is `JSON_VERSION`."""
    import json

    plain: dict[str, Any] = result.to_plain()
    for name in ("stdout", "stderr"):
        del plain[name]
    for denial in plain["denials"]:
        # 64-bit words do not survive every JSON reader
        denial["args"] = [hex(word) for word in denial["args"]]
        denial["ip"] = hex(denial["ip"])
        denial["token"] = hex(denial["token"])
        denial["value"] = hex(denial["value"])
    head = {
        "version": JSON_VERSION,
        "command": [word.decode("utf-8", "backslashreplace") for word in job.argv],
        "policy": job.artifact.name,
    }
    return json.dumps({**head, **plain}, ensure_ascii=True) + "\n"
