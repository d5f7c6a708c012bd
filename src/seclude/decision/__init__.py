"""What a policy or a filter means: one canonical value, so that equal meaning is the same object."""

from seclude.decision.calls import Calls, calls_of
from seclude.decision.changes import Change, changes
from seclude.decision.clauses import Clause, clauses
from seclude.decision.compare import (
    Difference,
    denied,
    difference,
    equivalent,
    intersection,
    permitted,
    restrict,
    stack,
    subset,
    undecided,
    union,
)
from seclude.decision.decompile import NoSpellingError, decompile
from seclude.decision.policy import from_policy, shadowed
from seclude.decision.read import from_program
from seclude.decision.reporting import reported, traced
from seclude.decision.typed import bypass, same_to_kernel, typed
from seclude.decision.value import Decision
from seclude.decision.witness import SystemCall

__all__ = [
    "Calls",
    "Change",
    "Clause",
    "Decision",
    "Difference",
    "NoSpellingError",
    "SystemCall",
    "bypass",
    "calls_of",
    "changes",
    "clauses",
    "decompile",
    "denied",
    "difference",
    "equivalent",
    "from_policy",
    "from_program",
    "intersection",
    "permitted",
    "reported",
    "restrict",
    "same_to_kernel",
    "shadowed",
    "stack",
    "subset",
    "traced",
    "typed",
    "undecided",
    "union",
]
