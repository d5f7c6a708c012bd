"""Long lists, many masks and policies that do not fit."""

import random

import pytest

from bench_support import docker, load
from decision_support import X86_64
from seclude.bpf import run
from seclude.compiler import compile as build
from seclude.decision.read import from_instructions
from seclude.errors import BudgetError
from seclude.policy import parse

ALLOW = 0x7FFF0000


def values(seed, count):
    rnd = random.Random(seed)
    return sorted({rnd.getrandbits(16) | 0x5000 for _ in range(count)})


def listed(calls, count, archs="x86_64"):
    lines = [f"allow {call}(arg1 in {{{', '.join(map(hex, values(call, count)))}}})" for call in calls]
    return parse("\n".join(["default errno(EPERM)", f"arch {archs}", "allow read", *lines, ""]))


@pytest.mark.slow
def test_five_hundred_values():
    built = build(listed(["ioctl"], 500))
    chosen = set(values("ioctl", 500))
    assert len(built) < 1.4 * len(chosen)
    steps = []
    for value in range(0x5000, 0x10000, 7):
        answer, executed = run(built.program, (16, X86_64, 0, 0, 0, 0, value, *[0] * 9))
        assert (answer == ALLOW) == (value in chosen)
        steps.append(executed)
    assert max(steps) < 25


@pytest.mark.slow
def test_size_goes_before_speed_where_a_filter_would_not_fit():
    built = build(listed(["ioctl", "fcntl", "futex", "madvise", "setsockopt", "getsockopt"], 500))
    assert len(built) <= 4096


@pytest.mark.slow
def test_what_does_not_fit_says_what_is_large():
    calls = ["ioctl", "fcntl", "futex", "madvise", "setsockopt", "getsockopt", "socket", "mprotect"]
    with pytest.raises(BudgetError, match=r"more than 4096 instructions[\s\S]*the arguments of \w+ on x86_64: \d+ instructions"):
        build(listed(calls, 700))


def test_rules_with_many_conditions_of_several_arguments():
    rules = [f"allow prctl(option == {i} and arg2 in {{{i * 3}, {i * 5 + 1}}} and arg3 & {1 << i % 16} != 0)" for i in range(60)]
    built = build(parse("\n".join(["default errno(EPERM)", "arch x86_64", *rules, ""])))
    assert len(built) < 450
    for i in range(60):
        for second, third, want in (
            (i * 3, 1 << i % 16, True),
            (i * 3, 0, False),
            (i * 5 + 1, 0xFFFFFFFF, True),
            (i * 5 + 2, 0xFFFFFFFF, i * 5 + 2 == i * 3),
        ):
            words = (157, X86_64, 0, 0, i, 0, 0, 0, second, 0, third, 0, *[0] * 4)
            assert (run(built.program, words)[0] == ALLOW) == want


@pytest.mark.slow
def test_four_thousand_instructions_are_read():
    code = [(0x20, 0, 0, 4), (0x15, 1, 0, X86_64), (0x06, 0, 0, 0), (0x20, 0, 0, 0)]
    rnd = random.Random(1)
    while len(code) < 4092:
        code += [(0x15, 0, 1, rnd.getrandbits(20)), (0x06, 0, 0, rnd.choice((ALLOW, 0x50001, 0x50002)))]
    code.append((0x06, 0, 0, 0x80000000))
    decision = from_instructions(code, "little")
    for _ in range(300):
        number = rnd.choice(code)[3] if rnd.random() < 0.9 else rnd.getrandbits(20)
        words = (number, X86_64, *[0] * 14)
        assert decision.value(words) == run(code, words, "little")[0]


def test_the_same_filter_in_every_mode_means_the_same():
    decisions = {build(docker(), optimize_for=mode).decision for mode in ("uniform", "blend", "bitmap", "profile")}
    assert len(decisions) == 1
    assert load(bytes(build(docker())))[0][0] == 0x20
