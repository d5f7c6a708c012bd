"""The clock beside a supervisor's own: what counts as held, and what does not."""

from __future__ import annotations

import os
import signal
import time

import pytest

from run_support import gone
from seclude.kernel import proc
from seclude.sandbox import held
from seclude.sandbox.held import Clock

pytestmark = pytest.mark.live


@pytest.fixture
def child():
    """A process that answers each byte with one, and its end of the line; it keeps SIGTERM blocked, and takes it when told ``s``."""
    ours, theirs = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.close(ours[1])
        os.write(theirs[1], b"!")
        while said := os.read(ours[0], 1):
            if said == b"s":
                signal.sigwait({signal.SIGTERM})
            os.write(theirs[1], said)
        os._exit(0)
    os.read(theirs[0], 1)

    def say(word):
        os.write(ours[1], word)
        return os.read(theirs[0], 1)

    yield pid, say
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for one in (*ours, *theirs):
        os.close(one)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(held, "GRACE", 0.0)
    monkeypatch.setattr(held, "STILL", 0.0)


def asleep(pid):
    while (status := proc.status(pid)) is not None and status.state != "S":
        os.sched_yield()


def overdue(pid):
    clock = Clock(pid)
    clock.told(time.monotonic() - 2, time.monotonic() - 1, 0.0)
    return clock


def test_nothing_is_due_before_anything_was_said(child):
    clock = Clock(child[0])
    assert clock.timeout() is None
    assert not clock.held()


def test_before_the_limit_nobody_is_looked_at(child):
    clock = Clock(child[0])
    clock.told(time.monotonic(), time.monotonic() + 1000, 0.0)
    left = clock.timeout()
    assert left is not None
    assert 900_000 < left <= 1_000_001
    assert not clock.held()


def test_one_that_sleeps_on_beyond_its_limit_is_held(child):
    pid, _ = child
    asleep(pid)
    clock = overdue(pid)
    assert clock.timeout() == 0
    assert not clock.held()  # one look tells nothing
    assert clock.held()
    assert clock.late


def test_one_that_has_turns_is_not(child):
    pid, say = child
    clock = overdue(pid)
    for _ in range(5):
        say(b"x")
        asleep(pid)
        assert not clock.held()


def test_but_for_ever_neither(child, monkeypatch):
    pid, say = child
    clock = overdue(pid)
    assert not clock.held()
    monkeypatch.setattr(held, "LAST", 0.5)
    say(b"x")
    assert clock.held()


def test_one_that_says_that_nothing_is_left_has_all_the_time_there_is(child):
    pid, _ = child
    asleep(pid)
    clock = overdue(pid)
    clock.held()
    clock.told(0.0, 0.0, 0.0)
    assert clock.timeout() is None
    clock.asked(signal.SIGTERM)
    assert clock.timeout() is None
    assert not clock.held()


def test_a_limit_that_begins_anew(child):
    pid, _ = child
    asleep(pid)
    clock = overdue(pid)
    clock.held()
    clock.told(time.monotonic(), time.monotonic() + 1000, 0.0)
    assert not clock.held()
    assert not clock.late


def test_a_signal_that_is_not_taken(child):
    pid, _ = child
    asleep(pid)
    clock = Clock(pid)
    os.kill(pid, signal.SIGTERM)
    clock.asked(signal.SIGTERM)
    assert not clock.held()
    assert clock.held()
    assert (clock.late, clock.signal) == (False, signal.SIGTERM)


def test_a_signal_that_is(child):
    pid, say = child
    clock = Clock(pid)
    os.kill(pid, signal.SIGTERM)
    clock.asked(signal.SIGTERM)
    say(b"s")
    asleep(pid)
    assert not clock.held()
    assert clock.timeout() is None
    assert not clock.held()


def test_one_whose_host_is_gone(child):
    pid, _ = child
    asleep(pid)
    clock = Clock(pid)
    clock.asked()
    assert not clock.held()
    assert clock.held()


def test_one_whose_host_is_gone_may_pass_on_what_the_target_wrote(child):
    pid, _ = child
    asleep(pid)
    clock = Clock(pid)
    clock.told(0.0, 0.0, 0.0)
    clock.asked()
    assert not any(clock.held() for _ in range(5))


def test_the_end_of_one_that_sleeps(child):
    # What is ended need not be a supervisor. A child of its own is ended with it.
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        inner = os.fork()
        if inner == 0:
            signal.pause()
        os.write(writing, b"%d" % inner)
        signal.pause()
    inner = os.pidfd_open(int(os.read(reading, 20)))
    clock = overdue(pid)
    result = held.end(clock, {child[0]} | {one for one in proc.children() if one != pid})
    assert (result.code, result.limit, result.bound_by, result.signal) == (124, "wall", {"wall": "guard"}, 9)
    assert result.wall >= 2
    assert "its guard ended the run" in result.notes[0]
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
    assert gone(inner)
    for one in (reading, writing, inner):
        os.close(one)


def limited(pid, seconds):
    clock = Clock(pid)
    clock.told(time.monotonic() - 1000, 0.0, seconds)
    return clock


def test_processor_time_that_is_used_up_while_the_supervisor_sleeps(child, monkeypatch):
    pid, _ = child
    asleep(pid)
    monkeypatch.setattr(held, "cpu_used", lambda _: 2.5)
    clock = limited(pid, 2.0)
    assert [clock.held() for _ in range(3)] == [False, False, True]  # two looks, and one more once it is known to be used up
    assert (clock.cpu, clock.late) == (True, False)


def test_or_while_it_has_turns_which_is_its_own_affair(child, monkeypatch):
    pid, say = child
    monkeypatch.setattr(held, "cpu_used", lambda _: 2.5)
    clock = limited(pid, 2.0)
    for _ in range(5):
        say(b"x")
        asleep(pid)
        assert not clock.held()


def test_processor_time_that_is_not_used_up(child, monkeypatch):
    pid, _ = child
    asleep(pid)
    monkeypatch.setattr(held, "cpu_used", lambda _: 1.0)
    clock = limited(pid, 1000.0)
    assert not any(clock.held() for _ in range(5))
    assert clock.timeout() > 1000  # what is left takes that long at the least, whoever works
