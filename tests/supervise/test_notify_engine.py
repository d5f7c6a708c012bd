"""The notify engine on a kernel made of dictionaries: each verdict as it reaches the kernel, and every way in which a call can be over."""

import _thread
import asyncio
import errno
import os
import threading

import pytest

from seclude.abi import arch
from seclude.errors import UsageError
from seclude.kernel.proc import Status
from seclude.supervise import Allow, Deny, Emulate, Gone, Inject, Kill, Return, Rewrite, Router, Skip, handler
from seclude.supervise.notify_engine import GIVES, Attendant
from seclude.supervise.record import Record

HERE = arch("x86_64")


class Waiting:
    """A notification."""

    def __init__(self, name, *args, id_=1, tid=77):
        self.id, self.pid, self.arch, self.nr, self.ip = id_, tid, HERE.token, HERE.number(name), 0x9000
        self.args = (*args, *[0] * (6 - len(args)))


class Kernel:
    """Remembers what it was asked to do; calls that are ``over`` do not wait any more."""

    def __init__(self, memory=b"/etc\0", addfd=None):
        self.memory, self.addfd = memory, addfd
        self.log, self.over, self.killed = [], set(), []
        self.given = -1

    def still_waiting(self, listener, id_):
        return id_ not in self.over

    def _answer(self, what, id_):
        if id_ in self.over:
            self.log.append(("late", id_))
            return False
        self.over.add(id_)
        self.log.append(what)
        return True

    def reply(self, listener, id_, *, error=0, value=0):
        if self.given >= 0:
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(self.given)
        return self._answer(("error", error) if error else ("value", value), id_)

    def continue_(self, listener, id_):
        return self._answer("continue", id_)

    def add_fd(self, listener, id_, fd, *, newfd=None, cloexec=True, send=True):
        os.fstat(fd)
        if self.addfd is not None:
            raise OSError(self.addfd, os.strerror(self.addfd))
        if not send and id_ not in self.over:
            self.given = fd
            self.log.append(("fd", newfd, cloexec, send))
            return 5
        if send:
            return 5 if self._answer(("fd", newfd, cloexec, send), id_) else None
        if id_ in self.over:
            return None
        self.log.append(("fd", newfd, cloexec, send))
        return 5

    def read(self, tid, address, size):
        return self.memory[:size] if address != 0x9000 else b"\x90"

    def read_string(self, tid, address, limit):
        return self.memory.partition(b"\0")[0]

    def status(self, tid):
        return Status({"Tgid": "70"})

    def link(self, tid, name):
        return None

    def end(self, pid, still):
        if still():
            self.killed.append(pid)
            return True
        return False


class Engine:
    """An attendant with its kernel, asked for one call at a time."""

    def __init__(self, *handlers, kernel=None):
        self.kernel = kernel or Kernel()
        self.router = Router(handlers, [HERE], gives=GIVES, engine="notify")
        self.record = Record()
        self.attendant = Attendant(self.kernel, 99, self.router, self.record)  # type: ignore[arg-type]

    def ask(self, *words, **more):
        call = Waiting(*words, **more)
        chain = self.router.find(call.arch, call.nr)  # type: ignore[arg-type]
        assert chain is not None
        self.attendant.attend(call, chain)  # type: ignore[arg-type]
        return self

    def finish(self):
        """Wait for the threads."""
        while self.attendant.pending:
            os.eventfd_read(self.blocking())
            os.eventfd_write(self.attendant.wake, 1)
            self.attendant.drain()
        return self

    def blocking(self):
        os.set_blocking(self.attendant.wake, True)
        return self.attendant.wake

    @property
    def reasons(self):
        return [denial.reason for denial in self.record.denials]


@pytest.fixture
def engine():
    made = []

    def make(*handlers, kernel=None):
        made.append(Engine(*handlers, kernel=kernel))
        return made[-1]

    yield make
    for one in made:
        os.set_blocking(one.attendant.wake, False)
        one.attendant.close()


def answering(verdict, *calls, may=None, **more):
    @handler(*(calls or ("chdir",)), may=may or {type(verdict)}, **more)
    def one(call):
        return verdict

    return one


@pytest.mark.parametrize(
    ("verdict", "log"),
    [
        (Allow(), ["continue"]),
        (Deny("EACCES"), [("error", 13)]),
        (Return(7), [("value", 7)]),
        (Kill(), [("error", 1)]),
    ],
)
@pytest.mark.parametrize("threads", [False, True])
def test_each_verdict(engine, verdict, log, threads):
    one = engine(answering(verdict, threads=threads)).ask("chdir", 0x1000).finish()
    assert one.kernel.log == log
    assert one.kernel.killed == ([70] if isinstance(verdict, Kill) else [])
    assert [denial.result for denial in one.record.denials] == {Deny: ["EACCES"], Kill: ["SIGKILL"]}.get(type(verdict), [])


@pytest.mark.parametrize("number", [None, errno.EBADF, errno.EMFILE, errno.EBUSY])
def test_a_descriptor_arrives_and_ours_is_closed_before_the_answer_or_an_error_does(engine, number):
    fd = os.open("/", os.O_RDONLY)
    one = engine(answering(Inject(fd, newfd=9, cloexec=False)), kernel=Kernel(addfd=number)).ask("chdir", 0x1000)
    assert one.kernel.log == ([("fd", 9, False, False), ("value", 5)] if number is None else [("error", number)])
    assert bool(one.record.denials) == (number in (errno.EBADF, errno.EBUSY))
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_a_descriptor_that_is_to_stay_open_does_and_arrives_with_the_answer(engine):
    with open(os.devnull) as file:
        one = engine(answering(Inject(file.fileno(), close=False))).ask("chdir", 0x1000)
        assert one.kernel.log == [("fd", None, True, True)]
        os.fstat(file.fileno())


@pytest.mark.parametrize("place", ["loop", "thread", "event loop"])
@pytest.mark.parametrize(
    ("raised", "number", "reason"),
    [
        (ValueError("no\nsuch \x1b"), 1, r"handler decide raised ValueError: no such \x1b (test_notify_engine.py:"),
        (SystemExit(3), 1, "handler decide raised SystemExit: 3 (test_notify_engine.py:"),
        (None, 1, "handler decide answered None, which is no verdict"),
        (7, 1, "handler decide answered 7, which is no verdict"),
        (Return(3), 1, "handler decide answered Return, which it does not declare: write may={Allow, Deny, Return}"),
    ],
)
def test_a_handler_that_fails_denies_and_is_told(engine, place, raised, number, reason):
    def function(call):
        if isinstance(raised, BaseException):
            raise raised
        return raised

    if place == "event loop":

        @handler("chdir")
        async def decide(call):
            await asyncio.sleep(0)
            return function(call)

    else:

        @handler("chdir", threads=place == "thread")
        def decide(call):
            return function(call)

    decide.name = "decide"
    one = engine(decide).ask("chdir", 0x1000).finish()
    assert one.kernel.log == [("error", number)]
    assert len(one.reasons) == 1
    assert one.reasons[0].startswith(reason)


def test_a_bad_pointer_is_efault_as_the_kernel_has_it(engine):
    @handler("chdir")
    def decide(call):
        call.path("path")

    kernel = Kernel()
    kernel.read_string = lambda *where: None  # type: ignore[method-assign]
    assert engine(decide, kernel=kernel).ask("chdir", 0x1000).kernel.log == [("error", errno.EFAULT)]


def test_allow_after_a_look_is_refused_or_done_here(engine):
    @handler("chdir")
    def decide(call):
        assert call.path("path") == "/etc"
        return Allow()

    one = engine(decide).ask("chdir", 0x1000)
    assert one.kernel.log == [("error", 1)]
    assert "after looking at the target's memory" in one.reasons[0]

    other = engine(decide)
    other.router.performers["chdir"] = lambda call: len(call.path("path"))
    assert other.ask("chdir", 0x1000).finish().kernel.log == [("value", 4)]


def test_handlers_of_one_call_are_asked_in_turn_until_one_does_not_allow(engine):
    asked = []

    def say(name, verdict):
        @handler("chdir")
        def one(call):
            asked.append(name)
            return verdict

        return one

    one = engine(say("first", Allow()), say("second", Deny("ENOENT")), say("third", Allow())).ask("chdir", 0x1000)
    assert asked == ["first", "second"]
    assert one.kernel.log == [("error", 2)]


@pytest.mark.parametrize(
    ("answer", "log"),
    [
        (lambda call: 3, ("value", 3)),
        (lambda call: -13, ("value", -13)),
        (lambda call: Deny("ENOENT"), ("error", 2)),
        (lambda call: (_ for _ in ()).throw(FileNotFoundError(2, "no")), ("value", -2)),
        (lambda call: (_ for _ in ()).throw(KeyError("x")), ("error", 1)),
        (lambda call: None, ("error", 1)),
        (lambda call: True, ("error", 1)),
        (lambda call: 1 << 63, ("error", 1)),
        (lambda call: Allow(), ("error", 1)),
        (lambda call: Emulate(lambda call: 0), ("error", 1)),
    ],
)
def test_an_emulated_call(engine, answer, log):
    one = engine(answering(Emulate(answer))).ask("chdir", 0x1000).finish()
    assert one.kernel.log == [log]
    assert len(one.record.denials) == (log[0] == "error")


def test_a_fault_while_a_thread_answers_denies_and_leaves_the_thread(engine):
    class Faulty(Record):
        faults = 1

        def seen(self, *watched):
            self.faults -= 1
            if self.faults >= 0:
                raise ZeroDivisionError
            return "", ""

    one = engine(answering(Return(7), threads=True))
    one.attendant.record = Faulty()
    one.ask("chdir", 0x1000).finish()
    assert one.kernel.log == [("error", 1)]
    one.ask("chdir", 0x1000, id_=2).finish()
    assert one.kernel.log == [("error", 1), ("value", 7)]


def test_what_was_done_for_a_target_that_died_is_undone_once(engine):
    undone = []
    kernel = Kernel()

    def perform(call):
        kernel.over.add(1)
        return 3

    one = engine(answering(Emulate(perform, undo=lambda call, result: undone.append(result))), kernel=kernel).ask("chdir", 0x1000).finish()
    assert undone == [3]
    assert one.attendant.undone == 1
    assert one.record.denials == []


def test_nothing_is_done_for_a_target_that_died_before(engine):
    def perform(call):
        raise AssertionError

    kernel = Kernel()
    kernel.over.add(1)
    one = engine(answering(Emulate(perform)), kernel=kernel).ask("chdir", 0x1000).finish()
    assert set(kernel.log) <= {("late", 1)}
    assert one.record.denials == []


@pytest.mark.parametrize("threads", [False, True])
def test_a_handler_that_wrongly_takes_a_call_for_gone_leaves_nobody_waiting(engine, threads):
    @handler("chdir", threads=threads)
    def decide(call):
        raise Gone

    assert engine(decide).ask("chdir", 0x1000).finish().kernel.log == [("error", 1)]


def test_a_denial_counts_where_it_arrived(engine):
    kernel = Kernel()
    kernel.over.add(1)
    one = engine(answering(Deny("EACCES"), "getpid"), kernel=kernel).ask("getpid").ask("getpid", id_=2).ask("getpid", id_=3)
    assert [denial.count for denial in one.record.denials] == [2]


def test_slow_handlers_hold_nobody_else(engine):
    go = threading.Semaphore(0)

    @handler("chdir", threads=True, may={Return})
    def slow(call):
        go.acquire()
        return Return(int(call.raw[1]))

    one = engine(slow, answering(Return(1), "getpid"))
    for number in range(4):
        one.ask("chdir", 0x1000, number, id_=10 + number)
    one.ask("getpid", id_=2)
    assert one.kernel.log == [("value", 1)]
    for _ in range(4):
        go.release()
    one.finish()
    assert sorted(one.kernel.log) == [("value", 0), ("value", 1), ("value", 1), ("value", 2), ("value", 3)]


def test_without_a_thread_the_call_is_denied(engine, monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    one = engine(answering(Allow(), threads=True)).ask("chdir", 0x1000)
    assert one.kernel.log == [("error", errno.EAGAIN)]
    assert one.attendant.pending == 0


# -- the router


def test_what_the_engine_cannot_do_is_refused_before_anything_runs():
    for kind, engine, gives in ((Rewrite, "notify", GIVES), (Skip, "notify", GIVES)):
        with pytest.raises(UsageError, match=f"may answer {kind.__name__}, which the engine {engine} cannot do"):
            Router([answering(Allow(), may={Allow, kind})], [HERE], gives=gives, engine=engine)


def test_names_that_no_call_has():
    with pytest.raises(UsageError, match="no call 'opennat'; did you mean open"):
        Router([answering(Allow(), "opennat")], [HERE])
    with pytest.raises(UsageError, match="has none of its calls"):
        Router([answering(Allow(), "arm_fadvise64_64")], [HERE])
    with pytest.raises(UsageError, match="@netwrk"):
        Router([answering(Allow(), "@netwrk")], [HERE])


def test_groups_and_architectures():
    router = Router([answering(Allow(), "@network-io", "open")], [HERE, arch("aarch64")])
    assert router.find(HERE.token, HERE.number("connect")) is not None  # type: ignore[arg-type]
    assert router.find(arch("aarch64").token, arch("aarch64").number("connect")) is not None  # type: ignore[arg-type]
    assert router.find(HERE.token, HERE.number("open")) is not None  # type: ignore[arg-type]
    assert router.find(HERE.token, HERE.number("read")) is None  # type: ignore[arg-type]


def test_a_handler_that_takes_no_call_is_blamed_itself(engine):
    @handler("chdir")  # type: ignore[arg-type]
    def decide():
        raise AssertionError

    (reason,) = engine(decide).ask("chdir", 0x1000).finish().reasons
    assert "takes 0 positional arguments but 1 was given" in reason
    assert "router.py" not in reason


def test_an_effect_is_undone_when_the_listener_is_closed_under_it():
    """The number is another file's by then: every ioctl is ENOTTY, and nobody got the answer."""
    undone = []

    class Closed(Kernel):
        gone = False

        def still_waiting(self, listener, id_):
            if self.gone:
                raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
            return True

        def reply(self, listener, id_, *, error=0, value=0):
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    def perform(call):
        assert call.waits()
        call.kernel.gone = True
        assert not call.waits()
        return 7

    @handler("getsid", may={Emulate})
    def decide(call):
        return Emulate(perform, undo=lambda call, result: undone.append(result))

    made = Engine(decide, kernel=Closed()).ask("getsid").finish()
    assert undone == [7]
    assert made.attendant.undone == 1
