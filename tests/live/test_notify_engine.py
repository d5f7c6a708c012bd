"""`NotifyEngine` by itself, on the real kernel: many targets in one loop, descriptors, interrupted calls, and targets that go away."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

import support
from run_support import c_program
from seclude.abi import native
from seclude.supervise import Allow, Deny, Emulate, Inject, Kill, NotifyEngine, Return, Router, handler

pytestmark = pytest.mark.live

KILLABLE = 1 << 5  # SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
SOURCE = (Path(__file__).parent / "notify_victim.c").read_text()


def victim():
    return c_program(SOURCE, "-pthread")


class Target:
    """A victim, its listener in our hands; `serve` lets it go on."""

    def __init__(self, *words, flags=KILLABLE, nobody=False):
        self.link, theirs = socket.socketpair()
        with theirs:
            command = [victim(), str(theirs.fileno()), str(flags), *map(str, words)]
            self.process = support.start(command, nobody=nobody, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()])
        _, (self.listener,), _, _ = socket.recv_fds(self.link, 1, 1)

    def serve(self, engine, *handlers):
        one = engine.add(self.listener, Router(handlers, [native()]))
        self.link.send(b"g")
        self.link.close()
        return one

    def end(self):
        out, _ = self.process.communicate(timeout=support.PATIENCE)
        return self.process.returncode, out.decode().splitlines()


@contextlib.contextmanager
def engine(**more):
    made = NotifyEngine(**more)
    try:
        yield made
    finally:
        made.close()


@handler("getsid", may={Return})
def session(call):
    return Return(1000 + int(call.args["pid"]))


@handler("getpgid", may={Allow, Deny, Return, Kill, Emulate})
def group(call):
    pid = int(call.args["pid"])
    answers = {
        0: Allow(),
        1: Deny("EACCES"),
        2: Return(42),
        3: Emulate(lambda call: -2),
        4: Emulate(lambda call: Return(7)),
        5: Kill(),
    }
    return answers[pid]


def answer(*words, handlers, **more):
    """Run one victim under ``handlers``: its exit status, its lines, and what the record has."""
    with engine() as made:
        target = Target(*words, **more)
        served = target.serve(made, *handlers)
        made.run()
        while served.pending:  # threads that find that nobody waits any more
            os.sched_yield()
            served.drain()
        return *target.end(), served


def test_each_verdict_reaches_the_target():
    code, lines, served = answer("calls", 0, 1, 2, 3, 4, 5, 0, handlers=[group])
    assert lines[1:] == ["1 -1 13", "2 42 0", "3 -1 2", "4 7 0"]
    assert lines[0] != "0 -1 1"
    assert code == -signal.SIGKILL
    assert [(denial.result, denial.count) for denial in served.record.denials] == [("EACCES", 1), ("SIGKILL", 1)]


def test_what_nobody_handles_is_enosys():
    with engine() as made:
        target = Target("calls", 0, 1)
        target.serve(made, session)
        made.run()
        assert target.end() == (0, ["0 -1 38", "1 -1 38"])
        assert made.unhandled == 2


@pytest.mark.parametrize("newfd", [None, 77])
@pytest.mark.parametrize("cloexec", [True, False])
@pytest.mark.parametrize("threads", [False, True])
def test_a_descriptor_of_ours_becomes_the_targets(tmp_path, newfd, cloexec, threads):
    (tmp_path / "file").write_text("hello")

    @handler("epoll_create1", may={Inject}, threads=threads)
    def decide(call):
        return Inject(os.open(tmp_path / "file", os.O_RDONLY), newfd=newfd, cloexec=cloexec)

    _, lines, _ = answer("inject", handlers=[decide])
    assert lines[1:] == [f"flags {int(cloexec)} 0", "read 5 0", "hello"]
    assert newfd is None or lines[0] == "fd 77 0"


def test_a_descriptor_that_the_kernel_refuses_is_an_error_and_not_a_hang():
    @handler("epoll_create1", may={Inject})
    def handle(call):
        return Inject(os.open("/", os.O_PATH))

    _, lines, served = answer("inject", handlers=[handle])
    assert lines[0] == "fd -1 9"
    assert "O_PATH" in served.record.denials[0].reason


def test_a_target_without_a_free_descriptor_is_told_so():
    @handler("epoll_create1", may={Inject})
    def handle(call):
        return Inject(os.open("/", os.O_RDONLY))

    _, lines, served = answer("nofile", handlers=[handle])
    assert lines == ["fd -1 24"]
    assert served.record.denials == []


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("restart", [0, 1])
def test_signals_a_thousand_times_a_second_interrupt_nothing_that_was_received(threads, restart):
    effects = []

    def perform(call):
        effects.append(int(call.args["pid"]))
        select.select([], [], [], 0.003)  # longer than the time between two signals
        return 1000 + effects[-1]

    @handler("getsid", may={Emulate}, threads=threads)
    def decide(call):
        return Emulate(perform)

    _, lines, served = answer("storm", 20, restart, handlers=[decide])
    wrong, interrupted = lines[0].split()[1::2]
    assert wrong == "0"
    assert restart == 0 or interrupted == "0"
    assert sorted(effects) == list(range(20))  # each effect once: what was interrupted had not been received
    assert served.undone == 0


def test_without_the_flag_a_received_call_is_interrupted_and_its_effect_undone_before_it_comes_again():
    done, undone = [], []
    first = threading.Event()

    def perform(call):
        done.append(call.args["pid"])
        if not first.is_set():
            first.set()
            while call.waits():  # until a signal takes the call back
                os.sched_yield()
        return 1000 + call.args["pid"]

    @handler("getsid", may={Emulate})
    def decide(call):
        return Emulate(perform, undo=lambda call, result: undone.append(result))

    _, lines, served = answer("storm", 3, 1, flags=0, handlers=[decide])
    assert lines[0].startswith("wrong 0")
    assert len(done) - len(undone) == 3
    assert len(undone) == served.undone >= 1


@pytest.mark.parametrize("threads", [False, True])
def test_numbers_that_are_too_large_are_answered(threads):
    """A handler may have taken them from a register of the target's."""

    @handler("getpgid", may={Inject, Emulate}, threads=threads)
    def decide(call):
        return Emulate(lambda call: 1 << 63) if call.args["pid"] else Inject(os.open(os.devnull, os.O_RDONLY), newfd=1 << 33)

    held = len(os.listdir("/proc/self/fd"))
    _, lines, served = answer("calls", 0, 1, handlers=[decide])
    assert lines == ["0 -1 9", "1 -1 1"]
    assert sorted(denial.result for denial in served.record.denials) == ["EBADF", "EPERM"]
    assert len(os.listdir("/proc/self/fd")) == held


def test_memory_is_read_from_the_right_target():
    @handler("memfd_create", may={Return, Deny})
    def decide(call):
        return Return(len(call.path("uname" if "uname" in call.args.names else "name")))

    assert answer("name", handlers=[decide])[1] == ["name 8 0"]


@pytest.mark.parametrize("what", ["threads", "children"])
def test_threads_and_children_share_a_listener(what):
    slow = handler("getsid", may={Return}, threads=True)(session.function)
    assert answer(what, handlers=[slow])[1] == ["wrong 0" if what == "threads" else "bad 0"]


def test_a_target_killed_in_its_call_holds_nobody():
    deciding, go = threading.Event(), threading.Event()

    @handler("getpgid", may={Return}, threads=True)
    def slow(call):
        deciding.set()
        go.wait()
        return Return(1)

    with engine() as made:
        doomed, other = Target("calls", 1), Target("loop", 50)
        attendant = doomed.serve(made, slow)
        other.serve(made, session)
        while not deciding.is_set():
            made.step(0.1)
        doomed.process.kill()
        while made.listeners:
            made.step()
        assert doomed.end()[0] == -signal.SIGKILL
        assert other.end()[0] == 0
        assert attendant.pending == 1
        go.set()


def test_a_closed_engine_answers_enosys_and_lets_nothing_through():
    deciding, go, over = threading.Event(), threading.Event(), threading.Event()

    @handler("getpgid", may={Allow}, threads=True)
    def never(call):
        deciding.set()
        go.wait()
        over.set()
        return Allow()

    made = NotifyEngine()
    target = Target("calls", 0, 0)
    target.serve(made, never)
    while not deciding.is_set():
        made.step(0.1)
    made.stop()
    made.run()
    made.close()
    assert target.end() == (0, ["0 -1 38", "0 -1 38"])
    go.set()
    assert over.wait(support.PATIENCE)


def rest():
    """What this process holds: descriptors, and kilobytes."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return len(os.listdir("/proc/self/fd")), int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.soak
def test_many_targets_at_once_leave_nothing_behind():
    """64 targets in one loop: calls of all are answered, by the loop and by threads, and neither descriptors nor memory stay."""
    slow = handler("getsid", may={Return}, threads=True)(session.function)
    calls, rounds = (400, 60) if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else (20, 1)

    def once():
        with engine() as made:
            targets = [Target("loop", calls) for _ in range(64)]
            for number, target in enumerate(targets):
                target.serve(made, slow if number % 2 else session)
            made.run()
            assert [target.end()[0] for target in targets] == [0] * 64

    once()
    before = rest()
    for _ in range(rounds):
        once()
    after = rest()
    print(f"{rounds} rounds of 64 targets: descriptors {before[0]} -> {after[0]}, resident {before[1]} -> {after[1]} kB")
    assert after[0] == before[0]
    assert after[1] - before[1] < 8192, (before, after)
