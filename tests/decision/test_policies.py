"""Policies' decisions, against the definition of a lowered policy; reachability; reporting."""

import random

import pytest

from decision_support import ALLOW, ARM, ERRNO1, I386, KILL, X86_64, boundary_values, outcome, random_lowered, random_words
from seclude.decision import from_policy, reported, shadowed
from seclude.decision.value import canonical_value
from seclude.errors import Span
from seclude.policy.lowered import All, Any, Clause, Field, Lowered, LoweredCall, LoweredToken, Negation
from seclude.policy.lowered import Test as Asks

FD = Field(((4, 32),))
ALWAYS = All(())


def is_one_of(*values):
    return Asks(FD, 0xFFFFFFFF, tuple((value, value) for value in sorted(values)))


@pytest.mark.parametrize("seed", range(60))
def test_random_policies_mean_what_they_are_defined_to(seed):
    rnd = random.Random(seed)
    low = random_lowered(rnd, tokens=rnd.choice(((X86_64,), (X86_64, I386), (ARM,))))
    decision = from_policy(low)
    values = boundary_values(low)
    calls = [(token.token, number) for token in low.tokens for number in token.calls]
    for _ in range(60):
        words = list(random_words(rnd, values))
        if rnd.random() < 0.8:
            words[1], words[0] = rnd.choice(calls)
        assert decision.value(words) == canonical_value(outcome(low, words))


def policy(*clauses, otherwise=ERRNO1, tokens=(X86_64,)):
    calls = {0: LoweredCall("read", tuple(clauses), otherwise)}
    return Lowered("little", tuple(LoweredToken(token, "x", calls, ((0, 0xFFFFFFFF, ERRNO1),)) for token in tokens), KILL)


def rule(index, value, condition=ALWAYS, named=True, file="f"):
    return Clause(condition, value, index, named, file, Span(file, index + 1, 1, 5, "a rule"))


@pytest.mark.parametrize(
    ("clauses", "at_fault"),
    [
        ([rule(0, ALLOW), rule(1, KILL)], [2]),
        ([rule(0, ALLOW), rule(1, ALLOW)], []),
        ([rule(0, ALLOW), rule(1, KILL, named=False)], []),
        ([rule(0, ALLOW, file="outer"), rule(1, KILL)], []),
        ([rule(0, ALLOW, is_one_of(1)), rule(1, KILL)], []),
        ([rule(0, ALLOW, is_one_of(1, 2)), rule(1, KILL, is_one_of(2))], [2]),
        ([rule(0, ALLOW, is_one_of(1)), rule(1, KILL, Negation(is_one_of(1))), rule(2, ALLOW)], [3]),
        ([rule(0, ALLOW, is_one_of(1)), rule(1, ALLOW, Negation(is_one_of(1))), rule(2, ALLOW)], []),
        ([rule(0, ALLOW), rule(1, KILL, Any(()))], []),
    ],
)
def test_shadowed_rules(clauses, at_fault):
    assert [fault.span and fault.span.line for fault in shadowed(policy(*clauses))] == at_fault


def test_a_rule_with_effect_on_one_architecture_is_no_fault():
    full = LoweredToken(X86_64, "x86_64", {0: LoweredCall("read", (rule(1, KILL),), ERRNO1)}, ((0, 0xFFFFFFFF, KILL),))
    dead = LoweredToken(I386, "x86", {3: LoweredCall("read", (rule(0, ALLOW), rule(1, KILL)), ERRNO1)}, ((0, 0xFFFFFFFF, KILL),))
    assert not shadowed(Lowered("little", (full, dead), KILL))
    assert len(shadowed(Lowered("little", (dead,), KILL))) == 1


def test_both_places_are_named():
    (fault,) = shadowed(policy(rule(0, ALLOW), rule(1, KILL)))
    assert "f:1:1" in str(fault)
    assert str(fault).startswith("f:2:1: error: read is already decided")


def test_reported_turns_denials_into_notifications_and_nothing_else():
    calls = {
        0: LoweredCall("read", (rule(0, ALLOW, is_one_of(1)),), ERRNO1),
        1: LoweredCall("write", (), 0x00030005),
        2: LoweredCall("open", (), KILL),
        317: LoweredCall("seccomp", (rule(0, ALLOW),), ERRNO1),
    }
    told = reported(from_policy(Lowered("little", (LoweredToken(X86_64, "x86_64", calls, ((0, 0xFFFFFFFF, ERRNO1),)),), KILL)))

    def ask(number, *args):
        words = [number, X86_64, 0, 0, *(half for arg in args for half in (arg & 0xFFFFFFFF, arg >> 32))]
        return told.value(words + [0] * (16 - len(words)))

    assert ask(0, 1) == ALLOW
    assert ask(0, 2) == 0x7FC00000
    assert ask(1) == 0x00030005
    assert ask(2) == KILL
    assert ask(999) == 0x7FC00000
    assert ask(317, 1, 1) == ALLOW
    assert ask(317, 1, 8) == 0x7FC00000
    assert ask(317, 1 | 1 << 32, 8 | 1 << 40) == 0x7FC00000
    assert ask(317, 2, 8) == ALLOW
