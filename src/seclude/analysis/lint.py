"""``seclude lint``: what a filter lets through that it should not, and what else is wrong with it, each with a call that shows it.

    findings = lint(decision, programs, profile="service").findings

Every rule is a question to the decision, so it does not matter how a filter is written: what is found is what some call gets, and that call, the
witness, is part of the finding. It has been put to the decision once more before it is reported. The rules are in `seclude.analysis.lint_rules`.

Stacked filters are judged together, as `seclude.decision.stack` of them; hygiene (L36, L37, L39) is asked of each program as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seclude.analysis.lint_rules import PROFILES, RULES, SEVERITIES
from seclude.analysis.lint_view import Subject
from seclude.decision.nodes import FALSE, budget
from seclude.decision.witness import witness
from seclude.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seclude.abi import Architecture
    from seclude.analysis.lint_places import Suppression
    from seclude.analysis.lint_rules import Rule
    from seclude.analysis.lint_view import Hit
    from seclude.bpf import Program
    from seclude.decision.nodes import Node
    from seclude.decision.value import Decision
    from seclude.decision.witness import SystemCall
    from seclude.errors import Span
    from seclude.policy import Policy

__all__ = ["Finding", "Report", "lint", "severity_number", "unloadable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that applies: ``text`` says what can be done, by ``calls`` (names, none where numbers have none) on ``archs``.

    ``witness`` is one call that shows it and ``value`` the RET word it gets; both are None for what no call can show (a program that the kernel refuses,
    unreachable instructions). ``instruction`` is (which program, index), ``span`` the place in a policy's text. ``roots`` are the calls, as diagrams.
    """

    rule: Rule
    severity: int
    text: str
    calls: tuple[str, ...]
    archs: tuple[str, ...]
    witness: SystemCall | None = None
    value: int | None = None
    instruction: tuple[int, int] | None = None
    span: Span | None = None
    roots: tuple[Node, ...] = field(default=(), repr=False, compare=False)

    @property
    def id(self) -> str:
        return self.rule.id

    @property
    def level(self) -> str:
        """The severity's name."""
        return SEVERITIES[self.severity]

    def __str__(self) -> str:
        calls = f": {_listed(self.calls)}" if self.calls else ""
        archs = f" ({', '.join(self.archs)})" if self.archs else ""
        return f"{self.id} {self.level}: {self.text}{calls}{archs}"


def _listed(calls: Sequence[str], most: int = 12) -> str:
    return ", ".join(calls[:most]) + (f" and {len(calls) - most} more" if len(calls) > most else "")


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, worst first, and what was found but suppressed, with the reason given."""

    findings: tuple[Finding, ...]
    suppressed: tuple[tuple[Finding, str], ...] = ()

    def worst(self) -> int:
        """The greatest severity, -1 for none."""
        return max((finding.severity for finding in self.findings), default=-1)


def severity_number(name: str) -> int:
    """The place of a severity among `SEVERITIES`. Raises `UsageError`."""
    if name not in SEVERITIES:
        guess = nearest(name, SEVERITIES)
        raise UsageError(f"no severity {name!r}" + (f"; did you mean {guess!r}?" if guess else ""), f"severities: {', '.join(SEVERITIES)}")
    return SEVERITIES.index(name)


def lint(
    decision: Decision,
    programs: Sequence[Program] = (),
    *,
    policy: Policy | None = None,
    home: Architecture | None = None,
    profile: str = "",
    rules: Iterable[str] = (),
) -> Report:
    """Every rule (or those named) asked of the decision, and of the programs that it came from.

    ``policy`` is what the decision was made from, if it was: findings then have a place in its text, and suppressions there hold. ``home`` is whose
    numbers are meant where a filter does not look at the architecture (default: this process's). ``profile`` is one of `PROFILES`, or "".
    Raises `UsageError` for an unknown rule or profile, `BudgetError`.
    """
    from seclude import abi

    if profile and profile not in PROFILES:
        raise UsageError(f"no profile of use {profile!r}", f"profiles: {', '.join(PROFILES)}")
    wanted = _rules(rules)
    archs = policy.architectures if policy is not None else ()
    known = _Known(policy)
    with budget("the judgement of this filter", 2_000_000):
        subject = Subject(decision, programs, home=home or (archs[0] if archs else abi.native()), archs=archs, profile=profile)
        for one in wanted:
            known.judge(subject, one)
    found = known.found + ([] if rules else known.unneeded())
    return Report(tuple(sorted(found, key=_order)), tuple(known.suppressed))


def _order(finding: Finding) -> tuple[int, str, str]:
    return -finding.severity, finding.id, finding.text


def _rules(names: Iterable[str]) -> list[Rule]:
    chosen = []
    for name in names:
        one = RULES.get(name.upper())
        if one is None:
            guess = nearest(name.upper(), RULES)
            raise UsageError(
                f"no lint rule {name!r}" + (f"; did you mean {guess}?" if guess else ""), "they are listed by: seclude lint --rules"
            )
        chosen.append(one)
    return chosen or list(RULES.values())


class _Known:
    """The findings of a run, with a policy's suppressions taken out."""

    def __init__(self, policy: Policy | None) -> None:
        self.policy = policy
        self.found: list[Finding] = []
        self.suppressed: list[tuple[Finding, str]] = []
        self.comments: list[Suppression] = []
        if policy is not None:
            from seclude.analysis.lint_places import suppressions

            self.comments = suppressions(policy)

    def judge(self, subject: Subject, rule: Rule) -> None:
        """Ask one rule."""
        grouped: dict[tuple[Suppression | None, str, int | None, tuple[int, int] | None], list[Hit]] = {}
        for hit in rule.check(subject):
            comment = self.comment(rule, hit)
            grouped.setdefault((comment, hit.text, hit.severity, hit.instruction), []).append(hit)
        for (comment, *_), hits in grouped.items():
            finding = _finding(subject, rule, hits, self.policy)
            if comment is None:
                self.found.append(finding)
            else:
                self.suppressed.append((finding, comment.reason))

    def comment(self, rule: Rule, hit: Hit) -> Suppression | None:
        """The suppression that covers a hit."""
        candidates = [one for one in self.comments if not one.fault and rule.id in one.rules]
        if not candidates:
            return None
        from seclude.analysis.lint_places import place_of

        assert self.policy is not None
        shown = witness(hit.root) if hit.root is not FALSE else None
        place = place_of(self.policy, shown) if shown is not None else None
        for one in candidates:
            if one.matches(rule.id, hit.call, place, self.policy.file):
                one.used[rule.id] += 1
                return one
        return None

    def unneeded(self) -> list[Finding]:
        """L40: suppressions of the file itself that are wrong, or that nothing needs. Those of included files are judged with their own file."""
        rule = RULES["L40"]
        out = []
        for one in self.comments:
            assert self.policy is not None
            if one.span.file != self.policy.file:
                continue
            if one.fault:
                out.append(Finding(rule, rule.severity, f"this suppression {one.fault}", (), (), span=one.span))
                continue
            idle = [name for name, count in one.used.items() if not count]
            if idle:
                out.append(Finding(rule, rule.severity, f"nothing is found that this suppresses: {', '.join(idle)}", (), (), span=one.span))
        return out


def _finding(subject: Subject, rule: Rule, hits: list[Hit], policy: Policy | None) -> Finding:
    first = hits[0]
    shown = witness(first.root) if first.root is not FALSE else None
    value, place = None, None
    if shown is not None:
        # The judge is the decision itself, walked for this one call: no part of how the hit was found has a say.
        value = subject.decision.value(shown.words)
        if policy is not None:
            from seclude.analysis.lint_places import place_of

            # What should have denied it is the place to mend: a rule, or else what permits it.
            place = (rule.id == "L12" and place_of(policy, _meant(shown), rules_only=True)) or place_of(policy, shown)
    calls = tuple(dict.fromkeys(hit.call for hit in hits if hit.call))
    archs = tuple(dict.fromkeys(hit.arch.name for hit in hits if hit.arch is not None))
    usual = rule.severity_in(subject.profile)
    severity = usual if first.severity is None else min(first.severity, usual) if usual < rule.severity else first.severity
    roots = tuple(hit.root for hit in hits if hit.root is not FALSE)
    return Finding(rule, severity, first.text, calls, archs, shown, value, first.instruction, place, roots)


def _meant(call: SystemCall) -> SystemCall:
    """The same call to the kernel, as compilers make it: the rule that denies this one is the one to mend."""
    from seclude.decision.typed import ignored_bits

    arch = call.arch
    if arch is None:
        return call
    ignored = ignored_bits(arch, call.name)
    return type(call).from_words([word & ~bits for word, bits in zip(call.words, ignored, strict=True)])


def unloadable(programs: Sequence[Program]) -> Report:
    """The findings of L39 where a program is not one that the kernel takes: there is no decision to ask. Empty where all load."""
    from seclude.analysis.lint_rules.base import CRITICAL
    from seclude.bpf import validate

    found = []
    for which, program in enumerate(programs):
        for fault in validate(program):
            text = f"the kernel refuses it: {fault}".replace("\n  ", "; ")
            found.append(Finding(RULES["L39"], CRITICAL, text, (), (), None, None, (which, fault.instruction or 0)))
    return Report(tuple(found))
