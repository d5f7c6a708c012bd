"""``seclude lint --fix``: the changes to a policy's text that are safe to make unasked.

A fix is safe if it has been proven to do what it says and nothing else: the mended policy permits no call that the old one denied, and every call
that it answers differently is one that the finding is about. What cannot be proven is left, and the finding stays.

Mended are: header lines that permit what nobody listed (L02, L04, L07), conditions that look at bits which the kernel ignores (L12), calls
that need to be gone with ENOSYS (L06, L09, L19), and answers that end a single thread (L37).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seclude.analysis.lint import Report, lint
from seclude.decision.nodes import FALSE, TRUE, Node, boolean, budget
from seclude.decision.ops import either, excluding
from seclude.errors import SecludeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.analysis.lint import Finding
    from seclude.decision import Decision
    from seclude.policy import Policy

__all__ = ["Fixed", "fixed"]

_HEADERS = {"L02": ("badarch", "kill_process"), "L04": ("x32", "kill_process"), "L07": ("unknown", "errno(ENOSYS)")}
_GONE = {"L06": "socketcall ipc", "L09": "clone3", "L19": "io_uring_setup io_uring_enter io_uring_register"}
_RULE_LINE = re.compile(r"\s*(?:allow|log|notify|kill\w*|errno|trap|trace|on|include)\b")


@dataclass(frozen=True, slots=True)
class Fixed:
    """The mended text, what is still found in it, and the ids of the rules whose findings went."""

    before: str
    text: str
    report: Report
    mended: tuple[str, ...]

    def diff(self, name: str) -> str:
        """The change as a unified diff."""
        from difflib import unified_diff

        lines = unified_diff(self.before.splitlines(keepends=True), self.text.splitlines(keepends=True), name, name)
        return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


def fixed(policy: Policy, *, profile: str = "") -> Fixed:
    """Mend the policy's own text (never an included file's) as far as it can be proven safe. Raises `BudgetError`."""
    from seclude.decision import from_policy

    before = text = policy.sources[0][1]
    decision = from_policy(policy)
    report = lint(decision, policy=policy, profile=profile)
    mended: list[str] = []
    tried: set[str] = set()
    while True:
        step = next(
            (
                (finding, candidate, found)
                for finding in report.findings
                for candidate in _candidates(finding, text, policy.file)
                if candidate not in tried and not tried.add(candidate)  # type: ignore[func-returns-value]
                for found in [_proven(candidate, policy, decision, finding)]
                if found is not None
            ),
            None,
        )
        if step is None:
            return Fixed(before, text, report, tuple(mended))
        finding, text, (policy, decision) = step
        mended.append(finding.id)
        report = lint(decision, policy=policy, profile=profile)


def _proven(text: str, policy: Policy, old: Decision, finding: Finding) -> tuple[Policy, Decision] | None:
    """The policy and the decision of ``text`` if it may take the old one's place."""
    from seclude.decision import calls_of, difference, from_policy, permitted, shadowed
    from seclude.policy import parse

    try:
        fresh = parse(text, policy.file, native=policy.native or None)
        if shadowed(fresh):
            return None
        new = from_policy(fresh)
    except SecludeError:
        return None
    if new is old or not permitted(new) <= permitted(old):
        return None
    with budget("the proof of a fix"):
        meant: Node = FALSE
        for root in finding.roots:
            meant = either(meant, root)
        meant = _same_calls(meant)
        if finding.id == "L07":  # the header line is about all numbers without a name, the finding about those above the last name
            named = [calls_of(arch, number).root for arch in policy.architectures for number in policy.calls_of(arch).values()]
            for arch in policy.architectures:
                meant = either(meant, calls_of(arch).root)
            for root in named:
                meant = excluding(meant, root)
        if excluding(difference(old, new).calls.root, meant) is not FALSE:
            return None
    return fresh, new


def _same_calls(root: Node) -> Node:
    """Every call of the architectures and numbers that occur in the set, whatever the arguments."""
    from seclude.decision.nodes import make

    memo: dict[Node, Node] = {}

    def walk(node: Node) -> Node:
        if node.level >= 16:
            return boolean(node is not FALSE)
        if node not in memo:
            memo[node] = make(node.level, tuple([walk(kid) for kid in node.kids]))
        return memo[node]

    return TRUE if root is TRUE else walk(root)


def _candidates(finding: Finding, text: str, file: str) -> Iterator[str]:
    lines = text.split("\n")
    span = finding.span
    at = span.line - 1 if span is not None and span.file == file else None
    if finding.id in _HEADERS:
        word, action = _HEADERS[finding.id]
        for index, line in enumerate(lines):
            if re.match(rf"\s*{word}\s", line):
                yield _with(lines, index, re.sub(rf"^(\s*{word}\s+)[^#]*?(\s*(#.*)?)$", rf"\g<1>{action}\g<2>", line))
    elif finding.id == "L12" and at is not None and span is not None:
        cut = lines[at][span.column - 1 : span.end - 1]
        yield _with(lines, at, lines[at][: span.column - 1] + cut.replace(":u64", "") + lines[at][span.end - 1 :])
        yield _with(lines, at, lines[at].replace(":u64", ""))
    elif finding.id == "L37" and at is not None:
        yield _with(lines, at, re.sub(r"\bkill_thread\b", "kill_process", lines[at]))
    elif finding.id in _GONE:
        yield from _gone([call for call in _GONE[finding.id].split() if finding.id == "L06" or call in finding.calls], finding, lines)


def _gone(calls: list[str], finding: Finding, lines: list[str]) -> Iterator[str]:
    """Answer the calls with ENOSYS before any other rule does, and do not name them below."""
    where = f"on {', '.join(finding.archs)}: " if finding.id == "L06" else ""
    first = next((index for index, line in enumerate(lines) if _RULE_LINE.match(line)), len(lines))
    for group in (calls, *([call] for call in calls if len(calls) > 1)):
        rest: list[str] = []
        for index, line in enumerate(lines):
            kept = _without(line, group)
            if kept is not None or index < first:
                rest.append(line if kept is None else kept)
        added = f"{where}errno(ENOSYS) {', '.join(group)}"
        for body in (lines, rest):
            yield "\n".join([*body[:first], added, *body[first:]])


def _without(line: str, calls: list[str]) -> str | None:
    """A rule's line that does not name the calls any more; None where nothing is left of it."""
    if not re.match(r"\s*(?:on\b[^:]*:\s*)?(?:allow|log)\b", line):
        return line
    code, mark, comment = line.partition("#")
    for call in calls:
        code = re.sub(rf",\s*{call}\b(?!\s*\()", "", code)
        code = re.sub(rf"\b{call}\b(?!\s*\()\s*,\s*", "", code)
        code = re.sub(rf"^\s*(?:on\b[^:]*:\s*)?(?:allow|log)\s+{call}\s*$", "", code)
    return code + mark + comment if (code + mark).strip() else None


def _with(lines: list[str], index: int, line: str) -> str:
    return "\n".join([*lines[:index], line, *lines[index + 1 :]])
