"""Laws of the policy language: what is printed reads back, and what is lowered means what the rules say, everywhere."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_support import BIG, CALLS, LITTLE, both, random_arguments, random_condition, random_policy
from seclude import abi
from seclude.errors import PolicyError
from seclude.policy import lower, parse
from seclude.policy.parser import parse_condition
from seclude.policy.printer import print_condition

seeds = st.integers(0, 2**32 - 1)


def _some_archs(rnd):
    family = rnd.choice((LITTLE, LITTLE, BIG))
    return rnd.sample(family, rnd.choice((1, 1, 2, 3)))


@given(seeds)
def test_a_condition_reads_back_as_it_was_printed(seed):
    rnd = random.Random(seed)
    condition = random_condition(rnd, ["flags", "arg2", "ip"], depth=4)
    text = print_condition(condition)
    assert parse_condition(text) == condition
    assert print_condition(parse_condition(text)) == text


@pytest.mark.slow
@given(seeds)
def test_a_policy_reads_back_as_it_was_printed(seed):
    rnd = random.Random(seed)
    policy = random_policy(rnd, _some_archs(rnd))
    again = parse(str(policy))
    assert again == policy
    assert str(again) == str(policy)


@pytest.mark.slow
@pytest.mark.parametrize("arch", abi.ARCHITECTURES)
def test_what_is_lowered_means_what_the_rules_say(arch):
    rnd = random.Random(arch)
    family = LITTLE if arch in LITTLE else BIG
    for turn in range(25):
        others = rnd.sample([other for other in family if other != arch], turn % 3)
        policy = random_policy(rnd, [arch, *others])
        lowered = lower(policy)
        assert lowered.byteorder == abi.arch(arch).byteorder
        for one in policy.architectures:
            numbers = [number for call in CALLS if (number := one.number(call)) is not None]
            for number in numbers * 4:
                both(policy, lowered, one.name, number, random_arguments(rnd), rnd.choice((0, 1, 2**32, rnd.getrandbits(64))))
            edges = (
                0,
                one.highest,
                one.highest + 1,
                0x3FFFFFFF,
                0x40000000,
                0x40000000 | 59,
                0x40000200,
                0x7FFFFFFF,
                0x80000000,
                0xFFFFFFFF,
            )
            for number in (*edges, *rnd.sample(sorted(one.calls().values()), 20)):
                both(policy, lowered, one.name, number, random_arguments(rnd))


@pytest.mark.slow
@given(st.text(max_size=200) | st.text("allow default(){},.:&|~<>=!@ \n0x9abckillerrnoEPERM#on", max_size=200))
def test_no_text_does_worse_than_a_policy_error(text):
    try:
        policy = parse(text)
    except PolicyError as error:
        found = error
    else:
        assert parse(str(policy)) == policy
        return
    assert found.diagnostics
    assert len(str(found)) < 60_000


@given(st.binary(max_size=100))
def test_no_bytes_do_worse_than_a_policy_error(raw):
    with pytest.raises(PolicyError):
        parse(raw)
