"""What the compiler has reached, held: sizes and executed instructions of the benchmark policies. Better numbers replace these."""

import pytest

from bench_support import P300, X86_64, docker, docker_mean, load, one_argument_each, p300_measured, p300_text
from seclude.bpf import constant_allow
from seclude.compiler import compile as build
from seclude.policy import parse


def p300(mode, typed=False):
    built = build(parse(p300_text(typed)), optimize_for=mode, weights=P300["profile"])
    wrong, profile, uncached = p300_measured(load(bytes(built)), typed)
    assert wrong == 0
    numbers = P300["numbers"]
    assert all(constant_allow(built.program.instructions, X86_64, numbers[name]) for name in P300["allow"])
    return len(built), profile, uncached


@pytest.mark.slow
def test_p300_blend():
    size, profile, uncached = p300("blend")
    assert size <= 116
    assert profile <= 8.36
    assert uncached <= 9.44


@pytest.mark.slow
def test_p300_profile():
    _, profile, _ = p300("profile")
    assert profile <= 7.85


@pytest.mark.slow
def test_p300_bitmap():
    size, _, uncached = p300("bitmap")
    assert size <= 110
    assert uncached <= 8.84  # the optimum of dispatch by JGE and JEQ


@pytest.mark.slow
def test_p300_bitmap_with_typed_arguments():
    size, _, uncached = p300("bitmap", typed=True)
    assert size <= 96
    assert uncached <= 8.02


def test_docker_uniform():
    built = build(docker(), optimize_for="uniform")
    assert len(built) <= 246
    assert docker_mean(load(bytes(built)), built.decision) <= 8.86


@pytest.mark.slow
@pytest.mark.parametrize(("values", "most"), [(1, 660), (5, 1260)])
def test_many_argument_filters(values, most):
    built = build(one_argument_each(120, values))
    assert len(built) <= most
