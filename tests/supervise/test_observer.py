"""Wait statuses in, requests and records out: every stop a seized tree can make, in the order the kernel may tell them."""

from __future__ import annotations

import struct

import pytest

from seclude.abi import arch
from seclude.kernel import ptrace
from seclude.supervise.observer import GO, HOLD, LEAVE, Observer, Together
from seclude.supervise.plain import Plain
from seclude.supervise.record import Record
from supervise_support import program

X86_64 = arch("x86_64")
KILL, TRAP, ALLOW = 0x80000000, 0x30005, 0x7FFF0000
SIGSYS, SIGTERM, SIGSTOP, SIGTRAP = 31, 15, 19, 5


class Stopped:
    """A kernel whose threads are stopped as told."""

    def __init__(self, *, message=0, code=1, call=("getpriority", 0, 11), gone=False):
        self.message, self.code, self.call, self.gone = message, code, call, gone
        self.log = []

    def resume(self, tid, signal=0):
        if self.gone:
            raise ProcessLookupError
        self.log.append(("resume", tid, signal))

    def resume_to_call(self, tid, signal=0):
        self.log.append(("resume to call", tid, signal))

    def parent(self, tid):
        return 100

    def listen(self, tid):
        self.log.append(("listen", tid))

    def event_message(self, tid):
        return self.message

    def stopped_call(self, tid):
        return 1, X86_64.token, 0x1000, (0,) * 6, self.message

    def skip(self, tid, token, value):
        self.log.append(("skip", tid, value))

    def signal_info(self, tid):
        return struct.pack("=iii", SIGSYS, 5, self.code).ljust(128, b"\0")

    def call_at_stop(self, tid):
        name, *args = self.call
        return X86_64.number(name), X86_64.token, 0x1000, (*args, *(0,) * (6 - len(args)))

    def read_string(self, tid, address, limit):
        return None


class Told:
    """A `Calls` that keeps a log and answers as told."""

    def __init__(self, name="one", answer=GO):
        self.name, self.answer = name, answer
        self.log = []

    def entered(self, tid, call):
        self.log.append((self.name, "entered", tid, call[4]))
        return self.answer

    def __getattr__(self, word):
        return lambda *given: self.log.append((self.name, word, *given))


def observer(kernel, value=ALLOW, calls=None, loaded=None):
    told: list[tuple[object, ...]] = []
    watching = Observer(
        kernel, 100, Plain(program(value)), Record(),
        started=lambda pid: told.append(("started", pid)),
        leaving=lambda tid: told.append(("leaving", tid)),
        stopped=lambda pid, signal: told.append(("stopped", pid, signal)),
        calls=calls,
        loaded=None if loaded is None else Plain(program(loaded)),
    )  # fmt: skip
    return watching, told


def stop(signal, event=0):
    return event << 16 | signal << 8 | 0x7F


@pytest.mark.parametrize("signal", [SIGTERM, SIGSTOP, 17, 34])
def test_signals_are_passed_on_unchanged(signal):
    kernel = Stopped()
    watching, _ = observer(kernel)
    assert watching.handle(100, stop(signal)) is False
    assert kernel.log == [("resume", 100, signal)]


def test_a_group_stop_is_left_in_place_and_told_for_the_main_process():
    kernel = Stopped()
    watching, told = observer(kernel)
    watching.handle(100, stop(SIGSTOP, ptrace.EVENT_STOP))
    watching.handle(101, stop(SIGSTOP, ptrace.EVENT_STOP))
    assert kernel.log == [("listen", 100), ("listen", 101)]
    assert told == [("stopped", 100, SIGSTOP)]


def test_a_new_thread_and_the_end_of_a_stop_go_on():
    kernel = Stopped()
    watching, _ = observer(kernel)
    watching.handle(102, stop(SIGTRAP, ptrace.EVENT_STOP))
    assert kernel.log == [("resume", 102, 0)]
    assert watching.alive == {100, 102}


@pytest.mark.parametrize("event", [ptrace.EVENT_FORK, ptrace.EVENT_VFORK, ptrace.EVENT_CLONE])
def test_a_child_that_is_gone_before_its_parents_event_is_told_is_not_taken_for_alive(event):
    kernel = Stopped(message=103)
    watching, _ = observer(kernel)
    watching.handle(103, stop(SIGTRAP, ptrace.EVENT_STOP))
    assert watching.alive == {100, 103}
    watching.handle(103, 0)
    watching.handle(100, stop(SIGTRAP, event))
    assert watching.alive == {100}
    assert kernel.log == [("resume", 103, 0), ("resume", 100, 0)]


def test_the_first_exec_starts_the_target_once():
    watching, told = observer(Stopped(message=100))
    for _ in range(2):
        watching.handle(100, stop(SIGTRAP, ptrace.EVENT_EXEC))
    assert told == [("started", 100)]


def test_exec_by_another_thread_takes_the_leaders_number():
    watching, _ = observer(Stopped(message=105))
    watching.handle(105, stop(SIGTRAP, ptrace.EVENT_STOP))
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_EXEC))
    assert watching.alive == {100}


@pytest.mark.parametrize("status", [SIGSYS, SIGSYS | 0x80])
def test_a_call_that_the_policy_kills_is_recorded_on_the_way_out(status):
    kernel = Stopped(message=status)
    watching, told = observer(kernel, KILL)
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_EXIT))
    (denial,) = watching.record.denials
    assert (denial.call, denial.action, denial.result) == ("getpriority", "kill_process", "SIGSYS")
    assert told == [("leaving", 100)]
    assert kernel.log == [("resume", 100, 0)]


@pytest.mark.parametrize(("status", "value"), [(SIGSYS, ALLOW), (SIGSYS, TRAP), (9, KILL), (0, KILL)])
def test_other_ends_are_no_kills_of_ours(status, value):
    watching, _ = observer(Stopped(message=status), value)
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_EXIT))
    assert watching.record.denials == []


def test_a_trap_is_recorded_and_delivered():
    kernel = Stopped()
    watching, _ = observer(kernel, TRAP)
    watching.handle(100, stop(SIGSYS))
    (denial,) = watching.record.denials
    assert denial.action == "trap"
    assert kernel.log == [("resume", 100, SIGSYS)]


@pytest.mark.parametrize(("code", "value"), [(0, TRAP), (1, ALLOW)])
def test_a_sigsys_that_somebody_sent_or_another_filter_raised_is_only_delivered(code, value):
    kernel = Stopped(code=code)
    watching, _ = observer(kernel, value)
    watching.handle(100, stop(SIGSYS))
    assert watching.record.denials == []
    assert kernel.log == [("resume", 100, SIGSYS)]


def test_a_thread_killed_under_us_is_no_error():
    watching, _ = observer(Stopped(gone=True))
    assert watching.handle(100, stop(SIGTERM)) is False
    assert watching.handle(100, 9) is True
    assert watching.alive == set()


CALL_STOP = SIGTRAP | 0x80


def test_calls_are_asked_for_only_where_somebody_wants_them():
    assert observer(Stopped())[0].options == ptrace.OBSERVE
    assert observer(Stopped(), calls=Told())[0].options == ptrace.OBSERVE | 1 << 7 | 1


@pytest.mark.parametrize(
    ("answer", "log"),
    [(GO, [("resume", 100, 0)]), (LEAVE, [("resume to call", 100, 0)]), (HOLD, []), (HOLD | LEAVE, [])],
)  # fmt: skip
def test_before_a_call_a_thread_goes_on_as_answered(answer, log):
    kernel, calls = Stopped(message=7), Told(answer=answer)
    watching, _ = observer(kernel, calls=calls)
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_SECCOMP))
    assert calls.log == [("one", "began", 100, 0), ("one", "entered", 100, 7)]
    assert kernel.log == log
    if answer & HOLD:
        watching.release(100)
        assert kernel.log == [("resume to call" if answer & LEAVE else "resume", 100, 0)]


def test_a_trace_that_the_filter_in_force_does_not_give_is_the_targets_own_and_stays_unanswered():
    kernel, calls = Stopped(message=7), Told(answer=LEAVE)
    watching, _ = observer(kernel, calls=calls, loaded=ALLOW)
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_SECCOMP))
    assert kernel.log == [("skip", 100, -38), ("resume", 100, 0)]
    watching, _ = observer(kernel, calls=calls, loaded=0x7FF00007)
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_SECCOMP))
    assert kernel.log[2:] == [("resume to call", 100, 0)]


def test_the_end_of_a_call_is_told_once_whatever_comes_between():
    kernel, calls = Stopped(message=103), Told(answer=LEAVE)
    watching, _ = observer(kernel, calls=calls)
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_SECCOMP))
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_FORK))
    watching.handle(100, stop(CALL_STOP))
    watching.handle(100, stop(SIGTERM))
    assert kernel.log == [("resume to call", 100, 0)] * 2 + [("resume", 100, 0), ("resume", 100, SIGTERM)]
    assert calls.log[2:] == [("one", "left", 100), ("one", "signalled", 100, SIGTERM)]


def test_a_call_that_never_ends_is_forgotten():
    kernel, calls = Stopped(), Told(answer=LEAVE)
    watching, _ = observer(kernel, calls=calls)
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_SECCOMP))
    watching.handle(100, 9)
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_STOP))  # another with the same number
    assert kernel.log == [("resume to call", 100, 0), ("resume", 100, 0)]
    assert calls.log[2:] == [("one", "gone", 100, 9), ("one", "began", 100, 100)]


def test_exec_by_another_thread_takes_the_call_along():
    kernel, calls = Stopped(message=105), Told(answer=LEAVE)
    watching, _ = observer(kernel, calls=Together(calls))
    watching.handle(105, stop(SIGTRAP, ptrace.EVENT_STOP))
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_SECCOMP))
    watching.handle(105, stop(SIGTRAP, ptrace.EVENT_SECCOMP))
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_EXEC))
    watching.handle(100, stop(CALL_STOP))
    assert kernel.log[-2:] == [("resume to call", 100, 0), ("resume", 100, 0)]
    assert calls.log[-2:] == [("one", "executed", 100, 105), ("one", "left", 100)]
    watching.handle(105, stop(SIGTERM))
    assert kernel.log[-1] == ("resume", 105, SIGTERM)


def test_exec_by_another_thread_forgets_what_the_leader_was_in():
    kernel, calls = Stopped(message=105), Told(answer=LEAVE)
    watching, _ = observer(kernel, calls=calls)
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_SECCOMP))
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_EXEC))
    assert kernel.log[-1] == ("resume", 100, 0)


def test_several_are_told_in_turn_and_only_who_asked_hears_of_the_end():
    first, second = Told("first", LEAVE), Told("second", HOLD)
    second.log = first.log
    kernel = Stopped()
    watching, _ = observer(kernel, calls=Together(first, second))
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_SECCOMP))
    assert kernel.log == []
    watching.release(100)
    watching.handle(100, stop(CALL_STOP))
    assert kernel.log == [("resume to call", 100, 0), ("resume", 100, 0)]
    assert first.log[2:] == [("first", "entered", 100, 0), ("second", "entered", 100, 0), ("first", "left", 100)]
    second.answer = LEAVE
    watching.handle(100, stop(SIGTRAP, ptrace.EVENT_SECCOMP))
    watching.handle(100, 0)
    assert first.log[-2:] == [("first", "gone", 100, 0), ("second", "gone", 100, 0)]
    watching.handle(100, stop(CALL_STOP))
    assert first.log[-1][1] == "began"


I386 = [("eax", 6), ("ebx", 0), ("ecx", 1), ("edx", 2), ("esi", 3), ("edi", 4), ("ebp", 5)]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_register_layouts(machine, monkeypatch):
    monkeypatch.setattr(ptrace, "_machine", machine)
    if machine == "aarch64":
        raw = struct.pack("=34Q", *range(34))
        assert ptrace._call(raw, 0xC00000B7) == (8, (0, 1, 2, 3, 4, 5))
        return
    raw = struct.pack("=27Q", *range(27))
    assert ptrace._call(raw, X86_64.token) == (15, (14, 13, 12, 7, 9, 8))
    assert ptrace._call(raw, 0x40000003) == (15, (5, 11, 12, 13, 14, 4))
    narrow = struct.pack("=17I", *range(17))
    assert ptrace._call(narrow, 0x40000003) == (11, (0, 1, 2, 3, 4, 5))
    assert ptrace._signed((1 << 64) - 1) == -1
