"""Where in a policy's text a finding comes from, and the comments there that say it is known.

A suppression is a comment with the rule, perhaps the calls, and why::

    # lint: ignore L29, L30(mknodat): a general container runs compilers and package managers
    allow @sysv            # lint: ignore L25(mbind): the database places its memory

On a line of its own it holds for what the file's rules permit; behind a rule, for what that line permits. One without a reason, with an
unknown rule, or that no finding needs is itself reported, as L40.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seclude.errors import Span, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.decision.witness import SystemCall
    from seclude.policy import Policy

__all__ = ["Suppression", "place_of", "suppressions"]

_COMMENT = re.compile(r"#\s*lint\s*:\s*ignore\b(?P<rest>.*)")
_RULE = re.compile(r"\s*,?\s*(?P<id>[A-Za-z]+\d+)(?:\s*\((?P<calls>[^)]*)\))?")


class Suppression:
    """One comment: the rules it names, each with the calls it is limited to (none: all), and the reason. ``used`` counts findings."""

    __slots__ = ("alone", "fault", "reason", "rules", "span", "used")

    def __init__(self, rules: dict[str, frozenset[str]], reason: str, span: Span, alone: bool, fault: str) -> None:
        self.rules = rules
        self.reason = reason
        self.span = span
        self.alone = alone
        self.fault = fault
        self.used: dict[str, int] = dict.fromkeys(rules, 0)

    def matches(self, rule: str, call: str, place: Span | None, main: str) -> bool:
        """Whether it covers a hit of ``rule`` by ``call`` that comes from ``place``; ``main`` is the file that was asked about."""
        calls = self.rules.get(rule)
        if calls is None or (calls and call not in calls):
            return False
        if self.alone:
            return place is None or place.file == self.span.file or self.span.file == main
        return place is not None and place.file == self.span.file and place.line == self.span.line


def suppressions(policy: Policy) -> list[Suppression]:
    """Every suppression in the policy's texts."""
    return [one for file, text in policy.sources for one in _of_text(file, text)]


def _of_text(file: str, text: str) -> Iterator[Suppression]:
    from seclude.analysis.lint_rules import RULES

    for number, line in enumerate(text.splitlines(), 1):
        match = _COMMENT.search(line)
        if match is None:
            continue
        listed, _, reason = match["rest"].partition(":")
        rules: dict[str, frozenset[str]] = {}
        position = 0
        while found := _RULE.match(listed, position):
            rules[found["id"].upper()] = frozenset(word.strip() for word in (found["calls"] or "").split(",") if word.strip())
            position = found.end()
        span = Span(file, number, match.start() + 1, len(line) + 1, line)
        unknown = [name for name in rules if name not in RULES]
        fault = ""
        if listed[position:].strip() or not rules:
            fault = f"cannot be read at {listed[position:].strip()!r}" if listed[position:].strip() else "names no rule"
        elif unknown:
            fault = f"names {', '.join(unknown)}, which is no rule"
        elif not reason.strip():
            fault = "gives no reason"
        yield Suppression(rules, reason.strip(), span, not line[: match.start()].strip(), fault)


def place_of(policy: Policy, call: SystemCall, *, rules_only: bool = False) -> Span | None:
    """Where the policy decides this call: the call in its rule, a header line, or None where a built-in default does.

    ``rules_only``: None where no rule does.
    """
    from seclude.policy import evaluate

    try:
        outcome = evaluate(policy, call.token, call.number, call.args, call.ip)
    except UsageError:
        return None
    if outcome.rule is None and rules_only:
        return None
    if outcome.rule is None:
        word = outcome.reason if outcome.reason != "multiplexer" else ""
        return policy.effective.spans.get(word) if word else None
    name = call.name
    fallback = outcome.rule.span
    for one in outcome.rule.calls:
        if one.span is not None and (one.name == name or one.number == call.number):
            return one.span
    from seclude.policy import group

    for one in outcome.rule.calls:
        if one.span is not None and one.is_group and name in group(one.name[1:]).calls:
            return one.span
    return fallback
