"""The notify engine's and the ptrace engine's answers in every order of the target's moves: killed, interrupted, memory changed under them."""

from __future__ import annotations

import os

import pytest

from model_support import X86_64, of, result
from seclude.bpf import codes
from seclude.model import explore, sample, uapi
from seclude.model.protocol import Modelled
from seclude.model.scenario import Scenario, Step
from seclude.supervise.handlers import Handler
from seclude.supervise.notify_engine import GIVES, Attendant
from seclude.supervise.observer import Observer
from seclude.supervise.plain import Plain
from seclude.supervise.ptrace_engine import GIVES as PTRACE_GIVES
from seclude.supervise.ptrace_engine import PtraceEngine
from seclude.supervise.record import Record
from seclude.supervise.router import Router
from seclude.supervise.verdict import Allow, Deny, Inject, Kill, Return, Rewrite

KILLABLE = codes.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
GOOD, EVIL = b"/tmp/good\0", b"/etc/evil\0"


def supervise(kernel, listener, one, record):
    """The notify engine with one handler, until nobody is left under the filter."""
    router = Router([one], [X86_64], gives=GIVES, engine="notify")
    attendant = Attendant(kernel, listener.fd, router, record)
    try:
        while kernel.readable(listener.fd):
            notification = kernel.receive(listener.fd)
            if notification is not None:
                chain = router.find(notification.arch, notification.nr)
                assert chain is not None
                attendant.attend(notification, chain)
    finally:
        attendant.close()


def attended(function, *others, call="mkdir", may=(Allow, Deny), how="restart"):
    """A notified call that ``function`` decides, while ``others`` happen: each is given the scenario and the target."""
    s = Scenario()
    target = s.process("target")
    s.kernel.sigaction(target, uapi.SIGUSR1, how)
    target.process.memory[0x7000] = GOOD
    listener = s.listen(target, of(codes.SECCOMP_RET_USER_NOTIF, call), KILLABLE)
    kernel = Modelled(s, listener.supervisor)
    source = s.kernel.open(listener.supervisor, "a file")
    record = Record()
    one = Handler(lambda asked: function(asked, source), [call], may)
    made = s.actor("target", s.calls(target, call, 0x7000, 0o755))
    for number, other in enumerate(others):
        s.actor(f"other {number}", other(s, target))

    s.main = lambda: supervise(kernel, listener, one, record)
    s.outcome = lambda: (result(made), sum(denial.count for denial in record.denials))
    s.check = lambda: awake(made)
    return s


def awake(actor):
    assert result(actor) not in ("sleeping", "running"), "the call waits for an answer that never comes"


def signalled(signal):
    return lambda s, target: s.signals(target, signal)


def changes(s, target):
    """Another thread puts another path where the handler looks."""

    def begin() -> None:
        target.process.memory[0x7000] = EVIL

    return Step(begin)


def outcomes(build):
    return set(explore(build).outcomes)


def test_a_denial_is_given_and_counted_once_whatever_signal_comes():
    assert outcomes(lambda: attended(lambda call, fd: Deny("EACCES"), signalled(uapi.SIGUSR1))) == {(-uapi.EACCES, 1)}


def test_a_target_killed_at_any_moment_is_no_error():
    found = outcomes(lambda: attended(lambda call, fd: Deny("EACCES"), signalled(uapi.SIGKILL)))
    assert found == {("never made", 0), ("gone", 0), ("gone", 1)}


def test_an_allow_after_a_look_at_memory_never_lets_the_other_path_through():
    def judge(call, fd):
        return Allow() if call.path("pathname") == os.fsdecode(GOOD[:-1]) else Deny("EACCES")

    # Emulation is what the router would ask for; without one for this call it is refused, never let run.
    assert outcomes(lambda: attended(judge, changes)) <= {(-uapi.EPERM, 1), (-uapi.EACCES, 1)}


def test_an_allow_without_a_look_lets_it_run():
    # The model does not execute mkdir(2): it returns, with a result that nobody knows.
    assert outcomes(lambda: attended(lambda call, fd: Allow())) == {(None, 0)}


@pytest.mark.parametrize("closed", [False, True], ids=["in one step", "ours is closed between"])
def test_an_injected_descriptor_comes_with_its_answer_or_not_at_all(closed, monkeypatch):
    monkeypatch.setattr("seclude.supervise.attendant.discard", lambda verdict: None)  # the descriptor is the model's

    def build(signal, how="restart"):
        s = attended(lambda call, fd: Inject(fd, close=closed), signalled(signal), call="open", may=(Inject,), how=how)
        target = s.kernel.tasks[0]
        s.outcome = lambda: (
            result(s.actors[0]),
            [file.name for fd, (file, _) in target.process.files.table.items() if fd > 2] == ["a file"],
        )
        return s

    assert outcomes(lambda: build(uapi.SIGUSR1)) == {(3, True)}
    # Interrupted before it was received, the call is EINTR and nothing was injected.
    assert outcomes(lambda: build(uapi.SIGUSR1, "catch")) == {(3, True), (-uapi.EINTR, False)}


def test_kill_ends_the_target_and_nobody_else():
    assert outcomes(lambda: attended(lambda call, fd: Kill(), may=(Kill,))) <= {("gone", 1)}


TRACE = codes.SECCOMP_RET_TRACE | 7
OPTIONS = uapi.PTRACE_O_TRACESECCOMP | uapi.PTRACE_O_TRACEEXIT | uapi.PTRACE_O_EXITKILL | uapi.PTRACE_O_TRACESYSGOOD


def traced(function, *others, may=(Allow, Deny), policy=None, calls=("mkdir",), options=OPTIONS):
    """A call that the ptrace engine decides, inside its observer."""
    s = Scenario()
    tracer = s.kernel.process("tracer")
    target = s.kernel.fork(tracer, "target")
    target.no_new_privs = True
    s.kernel.sigaction(target, uapi.SIGUSR1, "restart")
    program = policy or of(TRACE, *calls)
    s.load(target, program)
    assert s.kernel.seize(tracer, target, options) == 0
    kernel = Modelled(s, tracer)
    record = Record()
    one = Handler(function, calls, may)
    made = s.actor("target", *(s.calls(target, call, 0x7000, 0o755) for call in calls))
    for number, other in enumerate(others):
        s.actor(f"other {number}", other(s, target))

    def supervise():
        router = Router([one], [X86_64], gives=PTRACE_GIVES, engine="ptrace")
        plain = Plain(program.to_bytes())
        engine = PtraceEngine(kernel, router, plain, record)
        observer = Observer(
            kernel, target.tid, plain, record, started=lambda pid: None, leaving=lambda tid: None, stopped=lambda pid, signal: None,
            calls=engine, loaded=plain,
        )  # fmt: skip
        try:
            while kernel.changed():
                found = kernel.wait()
                if found is not None and found[0]:
                    observer.handle(*found)
        finally:
            engine.close()
            os.close(engine.wake)

    s.main = supervise
    s.outcome = lambda: (result(made), sum(denial.count for denial in record.denials))
    s.check = lambda: awake(made)
    return s


def test_the_ptrace_engine_denies_once_whatever_signal_comes():
    assert outcomes(lambda: traced(lambda call: Deny("EACCES"), signalled(uapi.SIGUSR1))) == {(-uapi.EACCES, 1)}


def test_the_ptrace_engine_survives_a_target_killed_at_any_moment():
    found = explore(lambda: traced(lambda call: Deny("EACCES"), signalled(uapi.SIGKILL)))
    assert set(found.outcomes) <= {("never made", 0), ("gone", 0), ("gone", 1)}
    assert ("gone", 1) in found.outcomes
    assert found.orders > 20


class Born:
    """A step of a child that is there once the step before was taken."""

    def __init__(self, s, maker, call):
        self._begin = lambda: s.kernel.syscall(self.task, call, 0x7000, 0o755)
        self._maker = maker
        self.children = []

    @property
    def task(self):
        return self.children[0] if self.children else self._maker

    def begin(self):
        return self._begin()


@pytest.mark.parametrize("thread", [False, True], ids=["fork", "clone"])
def test_what_a_target_makes_is_attended_from_its_first_call_on_in_every_order(thread):
    """Whichever the tracer hears of first: that a task was made, or that one has stopped which it never heard of."""

    def build(*others):
        s = traced(
            lambda call: Deny("EACCES"), *others, calls=("mkdir",), options=OPTIONS | uapi.PTRACE_O_TRACEFORK | uapi.PTRACE_O_TRACECLONE
        )
        (actor, *_), target = s.actors, s.kernel.tasks[1]
        child = Born(s, target, "mkdir")

        def begin():
            child.children.append((s.kernel.clone_thread if thread else s.kernel.fork)(target, "child"))

        actor.steps = (Step(begin, target), child)
        return s

    assert outcomes(build) == {(-uapi.EACCES, 1)}
    found = set(sample(lambda: build(signalled(uapi.SIGKILL)), 300).outcomes)
    assert found <= {(-uapi.EACCES, 1), ("never made", 0), ("gone", 0), ("gone", 1)}, "killed at any moment, and nobody is left waiting"


def test_a_rewritten_call_is_judged_again():
    policy = of(TRACE, "mkdir")
    found = outcomes(lambda: traced(lambda call: Rewrite({"mode": 0o700}), may=(Rewrite,), policy=policy))
    assert found == {(None, 0)}


def test_a_result_is_given_without_the_call():
    assert outcomes(lambda: traced(lambda call: Return(42), may=(Return,))) == {(42, 0)}


@pytest.mark.parametrize("value", [codes.SECCOMP_RET_KILL_PROCESS, codes.SECCOMP_RET_TRAP])
def test_the_observer_records_kills_and_traps_and_leaves_them_as_they_are(value):
    s = traced(lambda call: Allow(), policy=of(value, "mkdir"))
    from seclude.model.scheduler import Chooser

    state, counted = s.run(Chooser())
    assert (state, counted) == ("gone", 1)


def test_two_targets_get_their_own_answers_and_the_death_of_one_is_nothing_to_the_other():
    def build():
        s = Scenario()
        first = s.process("first")
        listener = s.listen(first, of(codes.SECCOMP_RET_USER_NOTIF, "mkdir"), KILLABLE)
        other = s.kernel.fork(first, "other")
        kernel = Modelled(s, listener.supervisor)
        one = Handler(lambda call: Return(call.raw[0]), ["mkdir"], [Return])
        a = s.actor("first", s.calls(first, "mkdir", 11))
        b = s.actor("other", s.calls(other, "mkdir", 22))
        s.actor("somebody", s.signals(other, uapi.SIGKILL))

        s.main = lambda: supervise(kernel, listener, one, Record())
        s.outcome = lambda: (result(a), result(b))
        return s

    # Every order would be hundreds of thousands.
    assert set(sample(build, 600).outcomes) == {(11, "gone"), (11, "never made")}
