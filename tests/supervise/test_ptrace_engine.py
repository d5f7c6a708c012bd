"""Stops in, requests and records out: what the ptrace engine does to a thread for each verdict, and when a thread is gone before its verdict."""

from __future__ import annotations

import select
import threading
from typing import Any

import pytest

import seclude
from seclude.abi import arch
from seclude.errors import UsageError
from seclude.supervise import Allow, Deny, Emulate, Inject, Kill, Return, Rewrite, Skip, handler
from seclude.supervise.call import Call
from seclude.supervise.observer import GO, HOLD
from seclude.supervise.plain import Plain
from seclude.supervise.ptrace_engine import GIVES, PtraceEngine, new_registers
from seclude.supervise.record import Record
from seclude.supervise.router import Router

X86_64, X86, ARM = arch("x86_64"), arch("x86"), arch("arm")
POLICY = """
default allow
arch x86_64
errno(EACCES) getpgid(pid == 13)
kill getpgid(pid == 9)
trap(3) getpgid(pid == 8)
errno(0) getpgid(pid == 7)
notify getpgid, chdir, getcwd
trace(5) getsid
errno(EPERM) getppid
"""
TARGET = 100


class Standing:
    """A kernel with one stopped thread; what is asked of it is kept."""

    def __init__(self, memory=b"/etc/passwd\0"):
        self.log = []
        self.memory = memory
        self.gone = self.leaving = False
        self.ends = True

    def _request(self, *what):
        if self.gone:
            raise ProcessLookupError
        self.log.append(what)

    def stopped_call(self, tid):
        if self.gone:
            raise ProcessLookupError
        if self.leaving:
            raise OSError(22, "does not stand before a call")
        return stopped("getpgid")

    def skip(self, tid, token, value):
        self._request("skip", tid, value)

    def set_call(self, tid, token, nr, args):
        self._request("set", tid, nr, args)

    def resume(self, tid, signal=0):
        self._request("resume", tid)

    def end(self, pid, still):
        assert still()
        self.log.append(("end", pid))
        return self.ends

    def write(self, tid, address, data, still=None):
        assert still is None  # the thread is ours: it stands still
        self.log.append(("write", tid, address, bytes(data)))
        return address != 0xBAD

    def read(self, tid, address, size):
        return self.memory[:size]

    def read_string(self, tid, address, limit):
        return self.memory.partition(b"\0")[0]

    def status(self, tid):
        return None

    def link(self, tid, name):
        return None


def stopped(name, *args, data=0):
    return X86_64.number(name), X86_64.token, 0x1000, (*args, *(0,) * (6 - len(args))), data


@pytest.fixture(scope="module")
def plain():
    return Plain(bytes(seclude.compile(seclude.parse(POLICY))))


@pytest.fixture
def engine(plain):
    made = []

    def make(*handlers, **options):
        kernel: Any = Standing(**options)
        one = PtraceEngine(kernel, Router(handlers, [X86_64], gives=GIVES, engine="ptrace"), plain, Record())
        made.append(one)
        return one, kernel

    yield make
    for one in made:
        one.close()


def deciding(answer, *, may=None, calls=("getpgid", "getsid", "chdir"), **options):
    @handler(*calls, may=may or {type(answer)}, **options)
    def decide(call):
        return answer

    return decide


@pytest.mark.parametrize(
    ("verdict", "log"),
    [
        (Allow(), []),
        (Deny("ENOENT"), [("skip", TARGET, -2)]),
        (Return(77), [("skip", TARGET, 77)]),
        (Skip(-4095), [("skip", TARGET, -4095)]),
        (Rewrite({"pid": 21}), [("set", TARGET, 121, (21, 0, 0, 0, 0, 0))]),
        (Rewrite([33, 44]), [("set", TARGET, 121, (33, 44, 0, 0, 0, 0))]),
    ],
)  # fmt: skip
def test_each_verdict_is_given_at_the_stop(engine, verdict, log):
    one, kernel = engine(deciding(verdict))
    assert one.entered(TARGET, stopped("getpgid", 5)) == GO
    assert kernel.log == log


def test_a_kill_skips_first_and_leaves_the_thread_to_its_death(engine):
    one, kernel = engine(deciding(Kill("no")))
    assert one.entered(TARGET, stopped("getpgid", 5)) == HOLD
    assert kernel.log == [("skip", TARGET, -1), ("end", TARGET)]
    (denial,) = one.record.denials
    assert (denial.result, denial.action, denial.reason) == ("SIGKILL", "handler", "handler deciding.<locals>.decide: no")


def test_where_the_target_cannot_be_killed_the_call_is_denied_all_the_same(engine):
    one, kernel = engine(deciding(Kill()))
    kernel.ends = False
    assert one.entered(TARGET, stopped("getpgid", 5)) == GO
    assert kernel.log[0] == ("skip", TARGET, -1)


def test_trace_data_reaches_the_handler(engine):
    seen = []

    @handler("getsid", "getpgid")
    def decide(call):
        seen.append((call.name, call.data, call.args["pid"], call.tid))
        return Allow()

    one, _ = engine(decide)
    one.entered(TARGET, stopped("getsid", 3, data=5))
    one.entered(TARGET, stopped("getpgid", 4))
    assert seen == [("getsid", 5, 3, TARGET), ("getpgid", 0, 4, TARGET)]


def test_data_that_a_filter_of_the_target_chose_is_not_believed(engine):
    seen = []

    @handler("getsid")
    def decide(call):
        seen.append(call.data)
        return Allow()

    one, kernel = engine(decide)
    one.entered(TARGET, stopped("getsid", 3, data=4711))
    assert seen == [5]
    assert one.entered(TARGET, stopped("getuid", data=4711)) == GO
    assert kernel.log == []  # the policy allows it


def test_what_no_handler_takes_is_enosys_and_told(engine):
    one, kernel = engine(deciding(Allow(), calls=("getsid",)))
    assert one.entered(TARGET, stopped("getpgid", 5)) == GO
    assert kernel.log == [("skip", TARGET, -38)]
    (denial,) = one.record.denials
    assert (denial.call, denial.action, denial.result) == ("getpgid", "notify", "ENOSYS")


def test_a_stop_that_the_policy_has_no_reason_for_is_not_let_through(engine):
    one, kernel = engine(deciding(Allow()))
    assert one.entered(TARGET, stopped("getppid")) == GO
    assert kernel.log == [("skip", TARGET, -38)]


@pytest.mark.parametrize(
    ("pid", "log", "result", "answer"),
    [
        (13, [("skip", TARGET, -13)], "EACCES", GO),
        (9, [("skip", TARGET, -1), ("end", TARGET)], "SIGKILL", HOLD),
        (8, [("skip", TARGET, -1), ("end", TARGET)], "SIGKILL", HOLD),
        (7, [("skip", TARGET, 0)], None, GO),
    ],
)
def test_a_rewritten_call_is_judged_by_the_policy(engine, pid, log, result, answer):
    one, kernel = engine(deciding(Rewrite({"pid": pid})))
    assert one.entered(TARGET, stopped("getpgid", 5)) == answer
    assert kernel.log == log
    assert [denial.result for denial in one.record.denials] == ([result] if result else [])
    assert all("rewrote it into a call for which the policy says" in denial.reason for denial in one.record.denials)


@pytest.mark.parametrize("args", [{"nothing": 1}, {6: 1}, {-1: 1}])
def test_a_rewrite_of_what_the_call_has_not_denies(engine, args):
    one, kernel = engine(deciding(Rewrite(args)))
    assert one.entered(TARGET, stopped("getpgid", 5)) == GO
    assert kernel.log == [("skip", TARGET, -1)]
    assert "answered Rewrite" in one.record.denials[0].reason


@pytest.mark.parametrize("verdict", [Allow(), Rewrite({"path": 4096})])
def test_no_call_is_let_run_on_the_strength_of_memory(engine, verdict):
    @handler("chdir", may={Allow, Rewrite})
    def decide(call):
        assert call.path("path") == "/etc/passwd"
        return verdict

    one, kernel = engine(decide)
    assert one.entered(TARGET, stopped("chdir", 0x5000)) == GO
    assert kernel.log == [("skip", TARGET, -1)]
    assert "after looking at the target's memory" in one.record.denials[0].reason


def test_a_handler_that_raises_or_answers_what_it_did_not_declare_denies(engine):
    @handler("getpgid")
    def raising(call):
        raise RuntimeError("broken")

    @handler("getsid")
    def undeclared(call):
        return Return(1)

    one, kernel = engine(raising, undeclared)
    for name in ("getpgid", "getsid"):
        assert one.entered(TARGET, stopped(name)) == GO
    assert kernel.log == [("skip", TARGET, -1)] * 2
    assert ["broken" in denial.reason or "does not declare" in denial.reason for denial in one.record.denials] == [True, True]


def test_an_injection_is_refused_before_anything_runs(plain):
    with pytest.raises(UsageError, match="may answer Inject, which the engine ptrace cannot do"):
        Router([deciding(Inject(0))], [X86_64], gives=GIVES, engine="ptrace")


def settled(one):
    """Wait for what runs beside the tracer, and give it."""
    poll = select.poll()
    poll.register(one.wake, select.POLLIN)
    assert poll.poll(20_000)
    one.drain()


@pytest.mark.parametrize("kind", ["threads", "async", "emulate", "async emulate"])
def test_a_slow_handler_holds_its_own_thread_and_no_other(engine, kind):
    free = threading.Event()

    def slow(call):
        assert free.wait(20)
        return 5

    if kind == "threads":

        @handler("getpgid", may={Return}, threads=True)
        def decide(call):
            return Return(slow(call))

    elif kind == "async":

        @handler("getpgid", may={Return})
        async def decide(call):
            return Return(slow(call))

    elif kind == "emulate":

        @handler("getpgid", may={Emulate})
        def decide(call):
            return Emulate(slow)

    else:

        @handler("getpgid", may={Emulate})
        async def decide(call):
            return Emulate(slow)

    one, kernel = engine(decide, deciding(Deny("EPERM"), calls=("getsid",)))
    assert one.entered(TARGET, stopped("getpgid")) == HOLD
    assert one.entered(101, stopped("getsid")) == GO
    assert kernel.log == [("skip", 101, -1)]
    assert one.held == 1
    free.set()
    settled(one)
    assert kernel.log[1:] == [("skip", TARGET, 5), ("resume", TARGET)]
    assert one.held == 0


@pytest.mark.parametrize("event", ["gone", "exec", "exec by another thread", "killed", "on its way out"])
def test_a_verdict_for_a_thread_that_is_gone_touches_nobody(engine, event):
    begun, free = threading.Event(), threading.Event()
    undone = []

    def slow(call):
        begun.set()
        assert free.wait(20)
        return 9

    one, kernel = engine(deciding(Emulate(slow, undo=lambda call, result: undone.append((call.tid, result)))))
    assert one.entered(TARGET, stopped("getpgid")) == HOLD
    assert begun.wait(20)
    if event == "gone":
        one.gone(TARGET, 9)
    elif event == "exec":
        one.executed(TARGET, TARGET)
    elif event == "exec by another thread":
        one.executed(TARGET, 105)
        # The number's new owner is in a call of its own by now.
        assert one.entered(TARGET, stopped("getuid")) == GO
    elif event == "killed":
        kernel.gone = True
    else:
        kernel.leaving = True
    free.set()
    settled(one)
    assert kernel.log == []
    assert undone == [(TARGET, 9)]
    assert one.held == 0


def giving(data, result, undone=None):
    @handler("getcwd", may={Emulate})
    def decide(call):
        def there(call):
            call.write("buf", data)
            return result

        return Emulate(there, undo=None if undone is None else lambda call, value: undone.append(value))

    return decide


@pytest.mark.parametrize(
    ("address", "room", "result", "log"),
    [
        (0x5000, 5, 5, [("write", TARGET, 0x5000, b"/its\0"), ("skip", TARGET, 5)]),
        (0xBAD, 64, 5, [("write", TARGET, 0xBAD, b"/its\0"), ("skip", TARGET, -14)]),
        (0x5000, 5, -2, [("skip", TARGET, -2)]),
        (0x5000, 4, 5, [("skip", TARGET, -1)]),
        (0, 64, 5, [("skip", TARGET, -1)]),
    ],
    ids=["room", "no memory", "an error", "too little room", "NULL"],
)  # fmt: skip
def test_what_an_emulated_call_gives_back_is_written_with_its_answer_and_never_beyond_its_room(engine, address, room, result, log):
    undone: list[int] = []
    one, kernel = engine(giving(b"/its\0", result, undone))
    assert one.entered(TARGET, stopped("getcwd", address, room)) == HOLD
    assert kernel.log == []
    settled(one)
    assert kernel.log == [*log, ("resume", TARGET)]
    assert undone == ([5] if address == 0xBAD else [])


def test_nothing_is_written_to_a_thread_that_is_gone(engine):
    one, kernel = engine(giving(b"/its\0", 5))
    assert one.entered(TARGET, stopped("getcwd", 0x5000, 64)) == HOLD
    one.executed(TARGET, TARGET)
    settled(one)
    assert kernel.log == []


def test_a_call_that_is_gone_before_a_thread_had_time_for_it_is_never_decided(engine):
    free, asked = threading.Event(), []

    def slow(call):
        asked.append(call.tid)
        assert free.wait(20)
        return Allow()

    decide = handler("getpgid", threads=True)(slow)
    one, _ = engine(decide)
    one._pool.size = 1
    assert one.entered(TARGET, stopped("getpgid")) == HOLD
    assert one.entered(101, stopped("getpgid")) == HOLD
    one.gone(101, 9)
    free.set()
    while one.held or one._pool.waiting:
        settled(one)
    assert asked == [TARGET]


def test_only_the_execve_by_which_the_target_begins_passes_and_only_once(engine):
    one, kernel = engine()
    call = stopped("chdir", 1, 2, 3)
    one.start = (TARGET, X86_64.token, call[0], (1, 2, 3))
    assert one.entered(101, call) == GO
    assert one.entered(TARGET, stopped("chdir", 1, 2, 4)) == GO
    assert len(kernel.log) == 2
    assert one.entered(TARGET, call) == GO
    assert len(kernel.log) == 2
    assert one.entered(TARGET, call) == GO
    assert len(kernel.log) == 3
    one.start = (TARGET, X86_64.token, call[0], (1, 2, 3))
    one.executed(TARGET, TARGET)
    assert one.start is None


def test_registers_of_a_rewrite():
    def of(architecture, name, raw, args):
        kernel: Any = Standing()
        call = Call(kernel, 1, architecture.token, architecture.number(name), 0, raw, lambda: True)
        return new_registers(call, Rewrite(args))

    raw = tuple(range(10, 16))
    assert of(X86_64, "openat", raw, {"flags": -1, 0: -100}) == ((1 << 64) - 100, 11, (1 << 64) - 1, 13, 14, 15)
    assert of(X86, "openat", raw, {"dirfd": -100}) == ((1 << 32) - 100, 11, 12, 13, 14, 15)
    # A 64-bit offset in two registers, which ARM aligns to an even one.
    assert of(ARM, "pread64", raw, {"offset": 5 << 32 | 7}) == (10, 11, 12, 13, 7, 5)
    for bad in ({"nothing": 1}, {6: 1}):
        with pytest.raises(LookupError):
            of(X86_64, "openat", raw, bad)


def test_nothing_is_written_to_a_closed_engine(engine):
    free = threading.Event()

    def slow(call):
        assert free.wait(20)
        return 1

    one, kernel = engine(deciding(Emulate(slow)))
    assert one.entered(TARGET, stopped("getpgid")) == HOLD
    one.close()
    free.set()
    assert kernel.log == []
