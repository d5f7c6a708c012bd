"""A compiled policy packed for the run path: both filters, the texts that explain them, and what is said when it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude._version import __version__
from seclude.compiler.artifact import Artifact
from seclude.compiler.build import compile, compile_decision  # noqa: A004 -- the word for it
from seclude.decision.nodes import END, reachable
from seclude.decision.reporting import asked_by_trace, reported
from seclude.policy.lower import ACTION_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.decision.value import Decision
    from seclude.policy import Policy

__all__ = ["pack"]

_PERMIT = ("log", "allow")
_ATTENDED = ("notify", "trace")


def pack(
    policy: Policy, name: str, native: str, overrides: Iterable[tuple[str, str]] = (), forms: Iterable[tuple[str, str]] = ()
) -> Artifact:
    """Compile ``policy`` and ``reported(policy)``, both proven. ``forms`` change the reported one: ``("trace", CALLS)``,
    ``("engine", "ptrace")``; ``("broker", CALLS)`` and ``("refuse", "ERRNO CALLS")`` narrow both: chosen calls that the policy permits are notified, or denied.

    Raises as `seclude.compiler.compile` does, and `UsageError` for a form that names an unknown call.
    """
    forms = tuple(forms)
    plain = compile(policy)
    byteorder = plain.program.byteorder
    summary: dict[str, str] = {}
    decision, program = _narrowed(plain.decision, policy, forms), bytes(plain)
    if decision != plain.decision:
        program = compile_decision(decision, byteorder, order=plain.order).to_bytes()
    attended = asked_by_trace(decision) if ("engine", "ptrace") in forms else decision
    watched = reported(attended)
    for kind, text in forms:
        if kind == "trace":
            watched = _traced(watched, text, policy, summary, asked=("engine", "ptrace") in forms)
    told = compile_decision(watched, byteorder, order=plain.order)
    return Artifact(
        name,
        policy.sources,
        byteorder,
        native,
        program,
        told.to_bytes(),
        _summary(policy, decision, len(program) // 8, len(told)) | summary,
        overrides,
    )


def _narrowed(decision: Decision, policy: Policy, forms: Iterable[tuple[str, str]]) -> Decision:
    """``decision`` with what the forms "broker" and "refuse" ask about and refuse; calls that an architecture lacks are skipped."""
    for kind, text in forms:
        if kind not in ("broker", "refuse"):
            continue
        from seclude.abi.constants import errno_number
        from seclude.decision.narrowing import NOTIFY, narrowed, refusal
        from seclude.policy.chosen import chosen

        error, _, calls = text.rpartition(" ")
        names, _ = chosen(calls)
        for arch in policy.architectures:
            value = NOTIFY if kind == "broker" else refusal(errno_number(error, arch.name) or 1)
            numbers = (arch.number(name) for name in names)
            decision = narrowed(decision, [(arch.token, number) for number in numbers if number is not None], value)
    return decision


def _traced(decision: Decision, text: str, policy: Policy, summary: dict[str, str], *, asked: bool) -> Decision:
    """``traced(decision, the calls of text)``; what ``text`` means is left in the summary, so that a run need not look up groups."""
    from seclude.decision.reporting import traced
    from seclude.policy.chosen import chosen

    names, others = chosen(text)
    summary["traced"] = ("!" if others else "") + ",".join(names)
    if others and not names:
        return traced(decision, None, asked=asked)
    numbers = ((arch.token, arch.number(name)) for arch in policy.architectures for name in names)
    return traced(decision, [(token, number) for token, number in numbers if number is not None], others=others, asked=asked)


def _summary(policy: Policy, decision: Decision, plain: int, told: int) -> dict[str, str]:
    from seclude.abi import TABLES

    kinds = {ACTION_NAMES.get(value & 0xFFFF_0000, "unknown") for value in decision.leaves()}
    attended = {"attended": _attended(policy, decision)} if kinds.intersection(_ATTENDED) else {}
    return attended | {
        "version": __version__,
        "tables": TABLES,
        "calls": str(_permitted(policy, decision)),
        "default": str(policy.effective.default),
        "architectures": ", ".join(arch.name for arch in policy.architectures),
        "instructions": str(plain),
        "reported_instructions": str(told),
        "actions": ", ".join(kind for kind in ACTION_NAMES.values() if kind in kinds),
    }


def _attended(policy: Policy, decision: Decision) -> str:
    """``x86_64:connect,openat x86:connect``: the calls that some arguments take to a handler, so that a run need not read the decision again."""
    words = []
    for arch in policy.architectures:
        names = []
        for name, number in policy.calls_of(arch).items():
            ends = reachable([decision.of_call(arch.token, number)])
            if any(node.level == END and ACTION_NAMES.get(node.value & 0xFFFF_0000) in _ATTENDED for node in ends):
                names.append(name)
        words.append(f"{arch.name}:{','.join(names)}")
    return " ".join(words)


def _permitted(policy: Policy, decision: Decision) -> int:
    """How many calls of the first architecture are permitted with some arguments at least."""
    first = policy.architectures[0]
    count = 0
    for number in set(policy.calls_of(first).values()):
        ends = reachable([decision.of_call(first.token, number)])
        count += any(node.level == END and ACTION_NAMES.get(node.value & 0xFFFF_0000) in _PERMIT for node in ends)
    return count
