"""Random policies: what the filter does is what the policy is defined to mean, on one and on several architectures, in both byte orders."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_support import ARM, I386, X86_64, boundary_values, outcome, random_lowered, random_program, random_words
from seclude import abi
from seclude.bpf import Program, check
from seclude.bpf.machine import constant_allow, run
from seclude.compiler import compile_decision
from seclude.compiler.weights import MODES
from seclude.decision import from_policy, from_program
from seclude.decision.value import canonical_value
from seclude.errors import BudgetError

ALLOW = 0x7FFF0000
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.slow
@given(
    seeds,
    st.sampled_from([(X86_64,), (X86_64, I386), (ARM,), (I386, X86_64, ARM)]),
    st.sampled_from(["little", "big"]),
    st.sampled_from([3, 12, 50]),
)
def test_filters_do_what_policies_mean(seed, tokens, byteorder, calls):
    rnd = random.Random(seed)
    low = random_lowered(rnd, tokens=tokens, calls=calls, byteorder=byteorder)
    decision = from_policy(low)
    profile = {name: rnd.random() ** 8 for name in abi.arch("x86_64").calls()} if rnd.random() < 0.5 else None
    program = compile_decision(decision, byteorder, optimize_for=rnd.choice(MODES), weights=profile)
    check(program)
    values = boundary_values(low)
    numbers = [(token.token, number) for token in low.tokens for number in token.calls]
    for token, number in numbers:
        words = list(random_words(rnd, values))
        words[1], words[0] = token, number
        value, _ = run(program.instructions, words, byteorder)
        assert value == canonical_value(outcome(low, words))
        if decision.of_call(token, number).value == ALLOW:
            assert constant_allow(program.instructions, token, number)
    for _ in range(30):
        words = list(random_words(rnd, values))
        assert run(program.instructions, words, byteorder)[0] == canonical_value(outcome(low, words))


@pytest.mark.slow
@given(seeds, st.sampled_from(["little", "big"]))
def test_any_program_compiles_again_to_the_same_meaning(seed, byteorder):
    rnd = random.Random(seed)
    program = Program(random_program(rnd, rnd.randrange(3, 40), heavy=False), byteorder)
    try:
        decision = from_program(program)
        again = compile_decision(decision, byteorder)
    except BudgetError:
        return
    assert from_program(again) is decision
    for _ in range(30):
        words = random_words(rnd)
        assert run(again.instructions, words, byteorder)[0] == canonical_value(run(program.instructions, words, byteorder)[0])
