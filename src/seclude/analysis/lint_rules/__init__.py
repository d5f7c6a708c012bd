"""The rules of ``seclude lint``: one function each, grouped by what goes wrong. `RULES` maps id to rule, in order.

A rule asks questions of a `Subject` (`seclude.analysis.lint_view`) and yields hits; whatever it says is about the decision, never about a text.
"""

from __future__ import annotations

from seclude.analysis.lint_rules import actions, architectures, arguments, calls, namespaces, program, siblings
from seclude.analysis.lint_rules.base import REGISTRY, SEVERITIES, Rule

__all__ = ["PROFILES", "RULES", "SEVERITIES", "Rule"]

RULES: dict[str, Rule] = dict(sorted(REGISTRY.items()))
#: profile of use → what is judged
PROFILES = {
    "container": "a whole container of ordinary programs",
    "service": "one long-running service",
    "compute": "code that computes on what it was given and needs nothing else",
}
_MODULES = (actions, architectures, arguments, calls, namespaces, program, siblings)
