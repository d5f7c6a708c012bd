"""Findings written down: for a person, as JSON, as SARIF 2.1.0 for code scanning, and as GitHub's workflow commands.

The JSON's schema is ``seclude.lint/1``: keys may be added under the same number, never changed or removed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from seclude._version import __version__
from seclude.analysis.lint_rules import RULES, SEVERITIES
from seclude.analysis.lint_rules.base import HIGH, MEDIUM
from seclude.bpf.names import action_text
from seclude.errors import Diagnostic, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.analysis.lint import Finding, Report
    from seclude.decision.witness import SystemCall

__all__ = ["FORMATS", "SCHEMA", "as_github", "as_json", "as_sarif", "as_text", "dumped", "shown_call"]

SCHEMA = "seclude.lint/1"


def shown_call(call: SystemCall) -> str:
    """A witness with its architecture: ``x86_64: socket(AF_ALG, SOCK_STREAM, 0)``."""
    arch = call.arch
    return f"{arch.name if arch else f'architecture {call.token:#x}'}: {call}"


def _answer(finding: Finding) -> str:
    assert finding.value is not None
    return action_text(finding.value, finding.witness.arch if finding.witness else None)


def _wrapped(label: str, text: str, width: int = 110) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, initial_indent=f"  {label}: ", subsequent_indent=" " * (len(label) + 4), break_long_words=False)


def as_text(name: str, report: Report, *, quiet: bool = False) -> str:
    """The findings for a person, worst first, and a line that counts them."""
    lines: list[str] = []
    for finding in report.findings:
        head = str(finding)
        if finding.span is not None:
            lines.append(
                str(Diagnostic(head.removeprefix(f"{finding.id} {finding.level}: "), finding.span, "", f"{finding.level} {finding.id}"))
            )
        else:
            where = f", instruction {finding.instruction[1]}" if finding.instruction else ""
            lines.append(f"{name}{where}: {head}")
        if finding.witness is not None:
            lines += _wrapped("call", f"{shown_call(finding.witness)} → {_answer(finding)}")
        if not quiet:
            lines += _wrapped("why", finding.rule.why)
            lines += _wrapped("fix", finding.rule.fix)
        lines.append("")
    lines.append(f"{name}: {_counted(report)}")
    return printable("\n".join(lines)) + "\n"


def _counted(report: Report) -> str:
    counts = [(SEVERITIES[s], sum(f.severity == s for f in report.findings)) for s in reversed(range(len(SEVERITIES)))]
    found = ", ".join(f"{number} {severity}" for severity, number in counts if number) or "nothing found"
    return found + (f"; {len(report.suppressed)} suppressed with a reason" if report.suppressed else "")


def as_json(name: str, report: Report, *, profile: str, fail_on: str, failed: bool) -> dict[str, Any]:
    """The report as data."""
    return {
        "schema": SCHEMA,
        "input": name,
        "profile": profile or None,
        "fail_on": fail_on,
        "failed": failed,
        "findings": [_finding(finding) for finding in report.findings],
        "suppressed": [{**_finding(finding), "reason": reason} for finding, reason in report.suppressed],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    witness = None
    if finding.witness is not None:
        call = finding.witness
        witness = {
            "text": shown_call(call), "arch": call.arch.name if call.arch else None, "token": call.token, "number": call.number,
            "args": list(call.args), "ip": call.ip, "value": finding.value, "action": _answer(finding),
        }  # fmt: skip
    place = None
    if finding.span is not None:
        place = {"file": finding.span.file, "line": finding.span.line, "column": finding.span.column}
    return {
        "rule": finding.id,
        "name": finding.rule.name,
        "severity": finding.level,
        "text": finding.text,
        "calls": list(finding.calls),
        "architectures": list(finding.archs),
        "witness": witness,
        "why": finding.rule.why,
        "fix": finding.rule.fix,
        "place": place,
        "instruction": {"program": finding.instruction[0], "index": finding.instruction[1]} if finding.instruction else None,
    }


def _message(finding: Finding) -> str:
    shown = f" For instance {shown_call(finding.witness)} gets {_answer(finding)}." if finding.witness is not None else ""
    return f"{str(finding).split(': ', 1)[1]}.{shown}"


def _sarif_level(severity: int) -> str:
    return "error" if severity >= HIGH else "warning" if severity >= MEDIUM else "note"


def as_sarif(inputs: Sequence[tuple[str, Report]]) -> dict[str, Any]:
    """One SARIF 2.1.0 run over all inputs (OASIS, "Static Analysis Results Interchange Format")."""
    results = []
    for name, report in inputs:
        results += [_sarif_result(name, finding, None) for finding in report.findings]
        results += [_sarif_result(name, finding, reason) for finding, reason in report.suppressed]
    rules = [
        {
            "id": one.id,
            "name": one.name,
            "shortDescription": {"text": one.question},
            "fullDescription": {"text": one.why},
            "help": {"text": one.fix},
            "defaultConfiguration": {"level": _sarif_level(one.severity)},
        }
        for one in RULES.values()
    ]
    tool = {"driver": {"name": "seclude", "version": __version__, "rules": rules}}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": tool, "columnKind": "unicodeCodePoints", "results": results}],
    }


def _sarif_result(name: str, finding: Finding, reason: str | None) -> dict[str, Any]:
    from urllib.parse import quote

    physical: dict[str, Any] = {"artifactLocation": {"uri": quote(finding.span.file if finding.span else name)}}
    if finding.span is not None:
        physical["region"] = {"startLine": finding.span.line, "startColumn": finding.span.column, "endColumn": finding.span.end}
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "ruleIndex": list(RULES).index(finding.id),
        "level": _sarif_level(finding.severity),
        "message": {"text": _message(finding)},
        "locations": [{"physicalLocation": physical}],
        "properties": {"severity": finding.level, "calls": list(finding.calls), "architectures": list(finding.archs)},
    }
    if reason is not None:
        result["suppressions"] = [{"kind": "inSource", "justification": reason}]
    return result


def as_github(name: str, report: Report) -> str:
    """A workflow command a finding, which GitHub shows beside the line (docs.github.com, "Workflow commands for GitHub Actions")."""
    lines = []
    for finding in report.findings:
        word = {"error": "error", "warning": "warning", "note": "notice"}[_sarif_level(finding.severity)]
        place = f"file={_property(finding.span.file if finding.span else name)}"
        if finding.span is not None:
            place += f",line={finding.span.line},col={finding.span.column}"
        lines.append(f"::{word} {place},title={_property(f'{finding.id} {finding.rule.name}')}::{_data(_message(finding))}")
    return "".join(line + "\n" for line in lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def dumped(value: object) -> str:
    """JSON text."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


#: ``--format`` words
FORMATS = ("text", "json", "sarif", "github")
