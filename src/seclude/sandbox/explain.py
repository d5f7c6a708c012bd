"""After a denial: which rule said so, and which option would allow it. Imported only then; it needs the whole policy room.

The policy is read again from the texts that its filter was compiled from, not from files that may have changed since. A
suggestion is tried on the policy before it is made: what would not allow the call is not suggested.
"""

from __future__ import annotations

from seclude.errors import PolicyError, SecludeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.compiler.artifact import Artifact
    from seclude.policy import Policy
    from seclude.policy.evaluate import Outcome
    from seclude.policy.nodes import Rule
    from seclude.supervise.record import Denial

__all__ = ["explain", "place_of", "policy_of", "rules_that_allow"]

_PERMITTED = (0x7FFF0000, 0x7FFC0000)
#: parameters that tell one use of a call from another: a suggestion names their value
_TELLING = ("domain", "family", "request", "cmd", "option", "operation", "op")
_LONGEST_RULE = 60
#: suggestions for one call that name a value: a target could make a thousand, and each one tried costs milliseconds
_VALUES = 8


def policy_of(artifact: Artifact) -> Policy:
    """The policy that ``artifact`` was compiled from. Raises `PolicyError` where its texts are not at hand (made in Python)."""
    from seclude.policy import parse
    from seclude.sandbox.prepare import with_rules

    if not artifact.sources:
        raise PolicyError("a policy made in Python has no text")
    extra = len(artifact.overrides)
    sources = artifact.sources[: len(artifact.sources) - extra]
    file, text = sources[0]
    rest = list(sources[1:])

    def included(name: str, including: str) -> tuple[str, str]:
        import os

        from seclude.policy.language import is_file

        wanted = os.path.normpath(os.path.join(os.path.dirname(including), name)) if is_file(name) else name + ".seclude"
        for there, body in rest:
            if there == wanted:
                return there, body
        raise PolicyError(f"include {name}: its text is not part of the compiled policy")

    return with_rules(parse(text, file, include=included, native=artifact.native), artifact.overrides)


def place_of(artifact: Artifact, arch: str, nr: int, args: tuple[int, ...]) -> str:
    """The rule that decides one call, as a report names it; "" where it cannot be told."""
    from seclude.policy.evaluate import evaluate

    try:
        return _said(evaluate(policy_of(artifact), arch, nr, args))
    except SecludeError:
        return ""


def explain(denials: Iterable[Denial], artifact: Artifact, policy: Policy | None = None) -> None:
    """Fill in ``rule``, ``reason`` and ``suggestion`` of each denial."""
    from seclude.policy.evaluate import evaluate

    try:
        known = policy_of(artifact) if policy is None else policy
    except SecludeError:
        return
    tried: dict[tuple[str, int], bool] = {}
    for denial in denials:
        outcome = evaluate(known, denial.token, denial.nr, denial.args, denial.ip)
        if (
            denial.action == "handler"
        ):  # its reason is the handler's own, and no rule would be a better answer; a broker stands for no rule at all
            denial.rule = _said(outcome) if denial.reason.startswith("handler ") else ""
            continue
        if denial.action == "errno" and outcome.value & 0xFFFF0000 in _PERMITTED:
            denial.reason, denial.rule = "broker", "refused while files or addresses are brokered: it would go around that"
            continue
        denial.reason = "a listener of its own" if denial.action == "busy" else outcome.reason
        denial.rule = _said(outcome)
        if denial.action == "busy":
            denial.suggestion = "--no-report"
        elif denial.action in ("notify", "trace"):
            denial.reason = "nothing handles it"
            denial.suggestion = _suggest(known, denial, tried)
        else:
            denial.suggestion = _suggest(known, denial, tried)


def _said(outcome: Outcome) -> str:
    """``default (container.seclude:3)``, ``errno(EPERM) mount, umount2 (container.seclude:12)``."""
    said = _rule_text(outcome.rule) if outcome.rule is not None else outcome.reason
    return f"{said} ({outcome.place})" if outcome.place else said


def _rule_text(rule: Rule) -> str:
    text = str(rule)
    return text if len(text) <= _LONGEST_RULE else text[:_LONGEST_RULE].rstrip(", ") + ", ..."


def _suggest(policy: Policy, denial: Denial, tried: dict[tuple[str, int], bool]) -> str:
    """``--allow 'socket(domain == AF_INET)'``, or "" where no rule of one call allows it (a foreign architecture, an unknown number)."""
    if denial.call.startswith("#"):
        return ""
    for rule in (_telling(denial), denial.call):
        if not rule:
            continue
        key = (rule, denial.token)
        if key not in tried:
            if rule != denial.call and sum(other.startswith(denial.call + "(") for other, _ in tried) >= _VALUES:
                continue
            tried[key] = _allows(policy, rule, denial)
        if tried[key]:
            return f"--allow '{rule}'" if rule != denial.call else f"--allow {rule}"
    return ""


def rules_that_allow(policy: Policy, denial: Denial) -> list[str]:
    """Rules of one call that would allow it, the narrowest first: ``socket(domain == AF_INET)``, then ``socket``."""
    if denial.call.startswith("#"):
        return []
    return [rule for rule in (_telling(denial), denial.call) if rule and _allows(policy, rule, denial)]


def _telling(denial: Denial) -> str:
    from seclude.abi import arch
    from seclude.abi.constants import decode
    from seclude.abi.prototypes import prototype

    known = prototype(arch(denial.arch), denial.call)
    for parameter in known.parameters if known is not None else ():
        if parameter.name in _TELLING and len(parameter.registers) == 1:
            value = parameter.value(denial.args)
            shown = decode(parameter, value, arch(denial.arch))
            return f"{denial.call}({parameter.name} == {shown if shown.isidentifier() else value})"
    return ""


def _allows(policy: Policy, rule: str, denial: Denial) -> bool:
    from seclude.policy import prepend
    from seclude.policy.evaluate import evaluate

    try:
        changed = prepend(policy, [("allow", rule, "--allow")])
    except SecludeError:
        return False
    return evaluate(changed, denial.token, denial.nr, denial.args, denial.ip).value & 0xFFFF0000 in _PERMITTED
