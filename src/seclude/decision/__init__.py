"""What a policy or a filter means: one canonical value, so that equal meaning is the same object."""

from seclude.decision.policy import from_policy, shadowed
from seclude.decision.read import from_program
from seclude.decision.reporting import reported
from seclude.decision.value import Decision

__all__ = ["Decision", "from_policy", "from_program", "reported", "shadowed"]
