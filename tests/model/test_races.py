"""Races of the listener's requests with signals, deaths, closing and each other, in every order; each set of outcomes is the whole of it.

Source: seccomp_unotify(2), NOTES; kernel/seccomp.c. Where releases differ, both are here.
"""

from __future__ import annotations

import pytest

from model_support import always, of
from seclude.bpf import codes
from seclude.model import explore, uapi
from seclude.model.notify import SeccompNotif
from seclude.model.scenario import Listener, Scenario
from seclude.model.task import CATCH, RESTART

NOTIF, ERRNO, ALLOW = codes.SECCOMP_RET_USER_NOTIF, codes.SECCOMP_RET_ERRNO, codes.SECCOMP_RET_ALLOW
KILLABLE, TSYNC = codes.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, codes.SECCOMP_FILTER_FLAG_TSYNC
SEND = codes.SECCOMP_ADDFD_FLAG_SEND


def result(actor):
    """What became of an actor's last call: a value, ``gone``, ``sleeping``, or None where it was never made."""
    if not actor.done:
        return None
    return actor.last.value if actor.last.state == "returned" else actor.last.state


def second(s, listener):
    """Another thread of the supervisor, at the same listener, which takes the first notification's id for granted."""
    other = Listener(s.kernel.clone_thread(listener.supervisor, "second"), listener.fd)
    guess = SeccompNotif()
    guess.id = 1
    other.received.append(guess)
    return other


def racing(*steps, how=CATCH, flags=0, version="6.18"):
    def build():
        s = Scenario(version)
        target = s.process("target")
        s.kernel.sigaction(target, uapi.SIGUSR1, how)
        listener = s.listen(target, of(NOTIF, "mkdir"), flags)
        source = s.kernel.open(listener.supervisor, "a file")
        call = s.actor("target", s.calls(target, "mkdir"))
        actors = [s.actor(f"other {number}", *step(s, target, listener, source)) for number, step in enumerate(steps)]
        s.outcome = lambda: (result(call), *(tuple(made.value for made in actor.done) for actor in actors))
        return s

    return set(explore(build).outcomes)


def test_of_two_supervisors_one_answers():
    def one(s, target, listener, source):
        return s.receives(listener), s.answers(listener, 7)

    def two(s, target, listener, source):
        return (s.answers(second(s, listener), 8),)

    found = racing(one, two)
    # Too early it is ENOENT or EINPROGRESS, then one of the two answers counts, and the other finds nothing or finds it answered.
    assert {(value, b) for value, _, (b,) in found} == {(7, -uapi.ENOENT), (7, -uapi.EINPROGRESS), (8, 0)}
    assert {a for value, (_, a), _ in found if value == 8} == {-uapi.ENOENT, -uapi.EINPROGRESS}


def test_close_against_answer():
    def answer(s, target, listener, source):
        return s.receives(listener), s.answers(listener, 7), s.closes(listener)

    assert racing(answer) == {(7, (0, 0, 0))}


def test_descriptor_against_signal():
    def inject(s, target, listener, source):
        return s.receives(listener), s.injects(listener, source, SEND)

    def signal(s, target, listener, source):
        return (s.signals(target, uapi.SIGUSR1),)

    found = racing(inject, signal)
    # Given and returned; taken back before it was received, or while it was; or the target left when the descriptor was on its way (ESRCH).
    assert (3, (0, 3), ()) in found
    assert all(value in (3, -uapi.EINTR) for value, *_ in found)
    assert {(value, made[-1]) for value, made, _ in found} <= {(3, 3), (-uapi.EINTR, -uapi.ENOENT), (-uapi.EINTR, -uapi.ESRCH)}
    # Killable from the moment it was received: what was received is answered.
    kept = racing(inject, signal, flags=KILLABLE)
    assert {(value, made) for value, made, _ in kept} == {(3, (0, 3)), (-uapi.EINTR, (-uapi.ENOENT, -uapi.ENOENT))}


def signals(s, target, listener, source):
    return (s.signals(target, uapi.SIGUSR1),)


def kills(s, target, listener, source):
    return (s.signals(target, uapi.SIGKILL),)


def answers(s, target, listener, source):
    return s.receives(listener), s.answers(listener, 7)


@pytest.mark.parametrize("version", ["5.19", "6.16", "6.17", "6.18"])
def test_an_answer_given_at_once_against_a_signal_under_wait_killable(version):
    found = racing(answers, signals, flags=KILLABLE, version=version)
    lost = (-uapi.EINTR, (0, 0), ())
    # Before 6.17: SEND said 0, and the target never saw the answer.
    assert (lost in found) is (version in ("5.19", "6.16"))
    assert found - {lost} == {(7, (0, 0), ()), (-uapi.EINTR, (-uapi.ENOENT, -uapi.ENOENT), ())}


def test_an_answer_against_a_signal_without_it():
    assert racing(answers, signals) == {
        (7, (0, 0), ()),
        (-uapi.EINTR, (0, 0), ()),
        (-uapi.EINTR, (0, -uapi.ENOENT), ()),
        (-uapi.EINTR, (-uapi.ENOENT, -uapi.ENOENT), ()),
    }


def test_a_restarted_call_may_ask_again_with_what_was_answered():
    # The supervisor sees its one answer taken; the call sleeps again as another notification.
    found = racing(answers, signals, how=RESTART)
    assert ("sleeping", (0, 0), ()) in found
    assert (7, (0, 0), ()) in found
    assert {value for value, *_ in found} == {7, "sleeping"}


def test_a_target_killed_at_any_moment_costs_the_supervisor_only_enoent():
    for flags in (0, KILLABLE):
        found = racing(answers, kills, flags=flags)
        assert {value for value, *_ in found} == {"gone", None}
        assert {made for value, made, _ in found if value} == {(0, 0), (0, -uapi.ENOENT), (-uapi.ENOENT, -uapi.ENOENT)}


def test_close_against_a_waiting_receiver():
    def closes(s, target, listener, source):
        return (s.closes(second(s, listener)),)

    # The call in progress holds the listener open: what it receives then is answered ENOSYS when it lets go.
    assert racing(lambda s, target, listener, source: (s.receives(listener),), closes) == {
        (-uapi.ENOSYS, (0,), (0,)),
        (-uapi.ENOSYS, (-uapi.EBADF,), (0,)),
    }


def test_queued_descriptors_make_a_descriptor_with_send_wait():
    def plain(s, target, listener, source):
        return s.receives(listener), s.injects(listener, source), s.answers(listener, 7)

    def with_send(s, target, listener, source):
        return (s.injects(second(s, listener), source, SEND),)

    found = racing(plain, with_send)
    values = {(value, made[1], other) for value, made, (other,) in found}
    # EBUSY: one was queued and not taken yet; then the call is answered by the first supervisor.
    assert (7, 3, -uapi.EBUSY) in values
    # It was first: then the call returned its descriptor, and the other one found the call answered, or gone.
    assert (3, -uapi.EINPROGRESS, 3) in values
    assert (3, -uapi.ENOENT, 3) in values
    # One after the other: two descriptors, and the second is the result.
    assert (4, 3, 4) in values
    # Too early, or too late.
    assert {other for value, made, other in values if value == 7} == {-uapi.EBUSY, -uapi.ENOENT, -uapi.EINPROGRESS}


def test_queued_descriptors_are_taken_the_newest_first():
    def one(s, target, listener, source):
        return s.receives(listener), s.injects(listener, source)

    def two(s, target, listener, source):
        return (s.injects(second(s, listener), source),)

    numbers = {(made[1], other) for _, made, (other,) in racing(one, two)}
    # Both orders of numbers: whoever was queued last is served first.
    assert {(3, 4), (4, 3)} <= numbers


def test_a_signal_against_a_queued_descriptor():
    def inject(s, target, listener, source):
        return s.receives(listener), s.injects(listener, source), s.answers(listener, 7)

    found = racing(inject, signals)
    assert {made[1] for _, made, _ in found} == {3, -uapi.ENOENT, -uapi.ESRCH}
    assert {made[2] for _, made, _ in found} == {0, -uapi.ENOENT}


def test_a_copy_that_fails_against_a_signal():
    def faults(s, target, listener, source):
        def begin():
            return s.kernel.ioctl(listener.supervisor, listener.fd, uapi.SECCOMP_IOCTL_NOTIF_RECV, SeccompNotif(writable=False))

        from seclude.model.scenario import Step

        return (Step(begin, listener.supervisor), *answers(s, target, listener, source))

    found = racing(faults, signals)
    # Where it was interrupted before the copy was tried there is nothing to fail; where it was put back, it is received again.
    assert (7, (-uapi.EFAULT, 0, 0), ()) in found
    assert {made[0] for _, made, _ in found} == {-uapi.EFAULT, -uapi.ENOENT}


def test_a_second_filter_against_a_notification_that_waits():
    def build():
        s = Scenario()
        main = s.process("main")
        listener = s.listen(main, of(NOTIF, "mkdir"))
        worker = s.kernel.clone_thread(main, "worker")
        call = s.actor("worker", s.calls(worker, "mkdir"), s.calls(worker, "mkdir"))
        s.actor("main", s.loads(main, of(ERRNO | 5, "mkdir"), TSYNC))
        s.actor("supervisor", s.receives(listener), s.answers(listener, 7))
        s.outcome = lambda: tuple(made.value if made.state == "returned" else made.state for made in call.done)
        return s

    # The filters that a call met are those of the moment it came in; the next call meets the new one.
    assert set(explore(build).outcomes) == {(7, -5), (-5, -5), (7, "sleeping")}


def test_tsync_against_a_load_of_another_thread():
    def build():
        s = Scenario()
        main = s.process("main")
        worker = s.kernel.clone_thread(main, "worker")
        tsync = s.actor("main", s.loads(main, of(ERRNO | 5, "mkdir"), TSYNC))
        own = s.actor("worker", s.loads(worker, of(ERRNO | 6, "mkdir")), s.calls(worker, "mkdir"))
        s.outcome = lambda: ("the worker" if tsync.last.value == worker.tid else tsync.last.value, own.last.value, worker.filter_count)
        return s

    # Either TSYNC came first and the worker's is on top of it, or the worker diverged first and TSYNC names it.
    assert set(explore(build).outcomes) == {(0, -6, 2), ("the worker", -6, 1)}


def test_a_listener_against_a_second_listener():
    def build():
        s = Scenario()
        main = s.process("main")
        worker = s.kernel.clone_thread(main, "worker")
        new = codes.SECCOMP_FILTER_FLAG_NEW_LISTENER | codes.SECCOMP_FILTER_FLAG_TSYNC | codes.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
        actors = [s.actor(task.comm, s.loads(task, always(ALLOW), new)) for task in (main, worker)]
        s.outcome = lambda: tuple(sorted(actor.last.value or 0 for actor in actors))
        return s

    # Both have their descriptor reserved before the lock, so the one that fails may have had the lower number.
    assert set(explore(build).outcomes) == {(-uapi.EBUSY, 3), (-uapi.EBUSY, 4)}
