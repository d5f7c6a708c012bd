"""Exploring: every order once, outcomes with their stories, and a failing order told as a sequence."""

from __future__ import annotations

import doctest

import pytest

import seclude.model.scenario
from model_support import always, of
from seclude.bpf import codes
from seclude.errors import BudgetError
from seclude.model import explore, sample, uapi
from seclude.model.scenario import Scenario
from seclude.model.scheduler import Chooser, Violation


def test_the_module_shows_what_it_does():
    assert doctest.testmod(seclude.model.scenario).failed == 0


def test_every_sequence_of_choices_is_had_once():
    seen = []
    given: list[int] | None = []
    while given is not None:
        chooser = Chooser(given)
        first = chooser.choose(3)
        seen.append((first, chooser.choose(2) if first else chooser.choose(1)))
        given = chooser.following()
    assert seen == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)]


def two_threads(check=None):
    s = Scenario()
    first = s.process("first")
    second = s.kernel.clone_thread(first, "second")
    a = s.actor("first", s.loads(first, of(codes.SECCOMP_RET_ERRNO | 1, "getppid"), codes.SECCOMP_FILTER_FLAG_TSYNC))
    b = s.actor("second", s.loads(second, of(codes.SECCOMP_RET_ERRNO | 2, "getppid"), codes.SECCOMP_FILTER_FLAG_TSYNC))
    s.outcome = lambda: (a.last.value, b.last.value, first.filter_count, second.filter_count)
    if check is not None:
        s.check = lambda: check(a, b)
    return s


def test_two_threads_that_synchronise_each_other_stack():
    # Whoever is second has the first one's filter by then: it stacks, and both have two.
    found = explore(two_threads)
    assert found.orders > 1
    assert set(found.outcomes) == {(0, 0, 2, 2)}


def test_a_failing_order_is_told():
    def never(a, b):
        assert b.last.value != 0, "the second load succeeded"

    with pytest.raises(Violation) as caught:
        explore(lambda: two_threads(never))
    text = str(caught.value)
    assert "the second load succeeded" in text.partition("in this order:\n")[0]
    assert "second has filter 2" in text or "second has filter 1" in text
    # Its choices replay it.
    with pytest.raises(AssertionError):
        two_threads(never).run(Chooser(caught.value.choices))


def test_a_scenario_without_end_is_refused():
    with pytest.raises(BudgetError, match="more than 3 orders"):
        explore(two_threads, limit=3)


@pytest.mark.parametrize(("version", "lost"), [("5.19", True), ("6.17", True), ("5.14", True)])
def test_an_interrupted_call_can_lose_an_answer_that_was_taken(version, lost):
    # seccomp_unotify(2), BUGS ff.: SEND can succeed although the target never sees the answer.
    def build():
        s = Scenario(version)
        target = s.process("target")
        listener = s.listen(target, always(codes.SECCOMP_RET_USER_NOTIF))
        s.kernel.sigaction(target, uapi.SIGUSR1, "catch")
        call = s.actor("target", s.calls(target, "getppid"))
        answer = s.actor("supervisor", s.receives(listener), s.answers(listener, val=7))
        s.actor("somebody", s.signals(target, uapi.SIGUSR1))
        s.outcome = lambda: (call.last.value, answer.last.value if answer.last.nr == 16 and len(answer.done) == 2 else None)
        return s

    found = explore(build).outcomes
    assert (7, 0) in found
    assert ((-uapi.EINTR, 0) in found) is lost


def test_a_sample_is_the_same_each_time_and_part_of_the_whole():
    whole = explore(two_threads)
    some = [sample(two_threads, 20, seed=3) for _ in range(2)]
    assert some[0].outcomes == some[1].outcomes
    assert some[0].orders == 20
    assert set(some[0].outcomes) <= set(whole.outcomes)
