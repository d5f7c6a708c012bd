"""How a rule is written down, and the register of them all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from seclude.analysis.lint_view import Hit, Subject, View

__all__ = ["CRITICAL", "HIGH", "LOW", "MEDIUM", "NOTE", "REGISTRY", "SEVERITIES", "Rule", "permits", "rule"]

NOTE, LOW, MEDIUM, HIGH, CRITICAL = range(5)
#: severity → its name, mildest first
SEVERITIES = ("note", "low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: ``question`` is what is asked of the decision, ``why`` what the defect costs, ``fix`` what to do.

    ``contexts`` are other severities for a profile of use. A rule of a program is asked of the instructions as well.
    """

    id: str
    name: str
    severity: int
    question: str
    why: str
    fix: str
    check: Callable[[Subject], Iterable[Hit]] = field(compare=False)
    contexts: Mapping[str, int] = field(default_factory=dict, compare=False)

    def severity_in(self, profile: str) -> int:
        """The severity in a profile of use, "" for none."""
        return self.contexts.get(profile, self.severity)


REGISTRY: dict[str, Rule] = {}


def rule(
    id: str, name: str, severity: int, *, question: str, why: str, fix: str, contexts: Mapping[str, int] | None = None
) -> Callable[[Callable[[Subject], Iterable[Hit]]], Callable[[Subject], Iterable[Hit]]]:
    """Register the function that checks a rule."""

    def register(check: Callable[[Subject], Iterable[Hit]]) -> Callable[[Subject], Iterable[Hit]]:
        assert id not in REGISTRY, id
        REGISTRY[id] = Rule(id, name, severity, question, why, fix, check, contexts or {})
        return check

    return register


def permits(view: View, text: str, calls: str) -> Iterator[Hit]:
    """A hit for each of the calls that is permitted."""
    for call in calls.split():
        yield from view.hit(text, call)
