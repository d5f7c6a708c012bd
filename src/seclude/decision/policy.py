"""A policy's decision, and what that says about its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.decision.nodes import FALSE, TRUE, Node, budget
from seclude.decision.ops import both, either, excluding, invert, ite
from seclude.decision.parts import Runs, runs_of
from seclude.decision.value import ARCH, NR, Decision, canonical_value, decision_of, result
from seclude.decision.words import field_in
from seclude.errors import Diagnostic
from seclude.policy.lowered import All, Any, Lowered, Negation, Test

if TYPE_CHECKING:
    from seclude.policy.lowered import Clause, LoweredCall, LoweredToken, Predicate

__all__ = ["condition", "from_lowered", "from_policy", "lowered", "shadowed"]


def lowered(policy: object) -> Lowered:
    """``policy`` as the policy room resolves it; a `Lowered` is passed through."""
    if isinstance(policy, Lowered):
        return policy
    from seclude.policy import lower

    return lower(policy)  # type: ignore[arg-type]


def from_policy(policy: object) -> Decision:
    """The decision of a `Policy` or of a `Lowered`. Raises `PolicyError`, `BudgetError`."""
    return from_lowered(lowered(policy))


def from_lowered(low: Lowered) -> Decision:
    """The decision of a resolved policy."""
    with budget("this policy"):
        bad = result(low.badarch)
        pieces = [(0, bad)]
        for token in sorted(low.tokens, key=lambda token: token.token):
            if pieces[-1][0] == token.token:
                pieces.pop()
            pieces.append((token.token, _numbers(token).to_node(NR)))
            if token.token < 0xFFFF_FFFF:
                pieces.append((token.token + 1, bad))
        return decision_of(runs_of(pieces).to_node(ARCH))


def _numbers(token: LoweredToken) -> Runs:
    """The axis of numbers under one token."""
    pieces: list[tuple[int, Node]] = []
    calls = sorted(token.calls)
    at = 0
    for first, last, value in token.others:
        other = result(value)
        position = first
        while at < len(calls) and calls[at] <= last:
            number = calls[at]
            if number > position:
                pieces.append((position, other))
            pieces.append((number, _call(token.calls[number])))
            position = number + 1
            at += 1
        if position <= last:
            pieces.append((position, other))
    return runs_of(pieces)


def _call(call: LoweredCall) -> Node:
    node = result(call.otherwise)
    for clause in reversed(call.clauses):
        then = result(clause.value)
        node = then if isinstance(clause.condition, All) and not clause.condition.parts else condition(clause.condition, then, node)
    return node


def condition(predicate: Predicate, then: Node = TRUE, other: Node = FALSE) -> Node:
    """``then`` where the predicate holds, ``other`` elsewhere."""
    # The test is made on its own first: it is small, while ``other`` holds all that the later rules say.
    return ite(_test(predicate), then, other)


def _test(predicate: Predicate) -> Node:
    match predicate:
        case Test(field, mask, ranges):
            return field_in(field, mask, ranges)
        case Negation(part):
            return invert(_test(part))
        case All(parts):
            out = TRUE
            for part in reversed(parts):
                out = both(_test(part), out)
            return out
        case Any(parts):
            out = FALSE
            for part in reversed(parts):
                out = either(_test(part), out)
            return out


def shadowed(policy: object) -> list[Diagnostic]:
    """The rules that can never apply although their author named the call and meant another action.

    A call *named* in a rule is at fault if on every architecture the earlier rules of the same text decide it wholly, and
    somewhere with another action. With the same action it is silent, and so are members that come through a group and
    rules shadowed by another text (an including file, a rule prepended on the command line).
    """
    low = lowered(policy)
    several = [
        call
        for token in low.tokens
        for call in token.calls.values()
        if len(call.clauses) > 1 and len({one.value for one in call.clauses}) > 1
    ]
    # (rule, call) → for every architecture: the clause, and the one that decides instead of it, or None where it has effect
    found: dict[tuple[int, str], list[tuple[Clause, Clause | None]]] = {}
    with budget("this policy"):
        for call in several:
            taken: dict[str, Node] = {}  # file → what its rules so far decide; one union a rule, for policies list values by the thousand
            for index, clause in enumerate(call.clauses):
                own = condition(clause.condition)
                before = taken.get(clause.file, FALSE)
                if clause.named:
                    hidden = own is not FALSE and excluding(own, before) is FALSE
                    winner = _winner(call.clauses[:index], clause, own) if hidden else None
                    found.setdefault((clause.rule, call.name), []).append((clause, winner))
                taken[clause.file] = either(own, before)
    if not any(winner for cases in found.values() for _, winner in cases):
        return []
    for token in low.tokens:
        for call in token.calls.values():
            if call not in several:
                for clause in call.clauses:
                    found.get((clause.rule, call.name), []).append((clause, None))
    out = []
    for (_, name), cases in found.items():
        if all(winner is not None for _, winner in cases):
            clause, winner = cases[0]
            assert winner is not None
            where = f" at {winner.span}" if winner.span else ""
            out.append(
                Diagnostic(
                    f"{name} is already decided{where}, with another action: this rule can never apply",
                    clause.span,
                    "rules are tried in order: move this one up, or remove one of the two",
                )
            )
    return out


def _winner(earlier: tuple[Clause, ...], clause: Clause, own: Node) -> Clause | None:
    """The first clause of the same text that takes some of what ``clause`` would decide (``own``), with another action; else None."""
    left = own
    for other in earlier:
        if other.file == clause.file:
            its = condition(other.condition)
            if canonical_value(other.value) != canonical_value(clause.value) and both(left, its) is not FALSE:
                return other
            left = excluding(left, its)
    return None
