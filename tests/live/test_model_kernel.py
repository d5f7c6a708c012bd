"""The model and the running kernel side by side: what matters most, one real process (or several threads) a test."""

from __future__ import annotations

import os
import sys

import pytest

from model_support import ALLOW, always, of
from model_twin import Twin
from seclude.bpf import codes
from seclude.bpf.program import Program
from seclude.kernel.ptrace import event_message
from seclude.model import uapi
from seclude.model.filter import Fprog
from seclude.model.uapi import FAULT
from support import need_root

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="the victim is x86-64 code"),
]

FILTER, STRICT = codes.SECCOMP_SET_MODE_FILTER, codes.SECCOMP_SET_MODE_STRICT
TSYNC, LISTENER, ESRCH, KILLABLE = 1, 8, 16, 32
GETPPID, GETUID, GETPID = 110, 102, 39


@pytest.fixture
def twin():
    need_root()
    with Twin() as made:
        yield made


@pytest.fixture
def nobody():
    need_root()
    with Twin(privileged=False) as made:
        yield made


def test_arguments_are_checked_in_the_kernels_order(nobody):
    me = nobody.actors[0]
    good = always(ALLOW)
    bad = Program([(0x06, 0, 0, ALLOW), (0x20, 0, 0, 3)])
    for op, flags, uargs in [
        (0, 1, None), (0, 0, FAULT), (4, 0, None), (0xFFFFFFFF, 0, None),
        (2, 1, ALLOW), (2, 0, None), (2, 0, FAULT), (2, 0, 0x12340000), (2, 0, ALLOW | 1), (2, 0, codes.SECCOMP_RET_USER_NOTIF), (2, 0, 0),
        (3, 1, None), (3, 0, None), (3, 0, "sizes"),
        (1, 64, None), (1, 1 << 31, None), (1, TSYNC | LISTENER, None), (1, TSYNC | LISTENER | ESRCH, None), (1, KILLABLE, None),
        (1, KILLABLE | LISTENER, None), (1, ESRCH, None), (1, 0, None), (1, 0, FAULT), (1, 0, Fprog(None, 0)), (1, 0, Fprog(None, 4097)),
        (1, 0, Fprog(None, 1)), (1, 0, Fprog(FAULT, 1)), (1, 0, good), (1, 0, bad),
    ]:  # fmt: skip
        nobody.seccomp(me, op, flags, uargs)
    for option, *args in [(38, 0), (38, 1, 1), (38, 2), (39, 1), (39,), (21,), (22, 0), (22, 3), (22, 2, 0), (22, 2, good), (38, 1), (39,)]:
        nobody.prctl(me, option, *args)
    # With no_new_privs what came after EACCES shows itself.
    for uargs in (Fprog(None, 1), Fprog(FAULT, 1), bad, Program([(0x06, 0, 0, 0)] * 5)):
        if isinstance(uargs, Program) and len(uargs) == 5:
            uargs = Program([*[(0x06, 0, 0, ALLOW)] * 4, (0x04, 0, 0, 0)])
        nobody.seccomp(me, FILTER, 0, uargs)
    nobody.seccomp(me, FILTER, 0, good)
    nobody.status(me)
    nobody.seccomp(me, STRICT, 0, None)


VALUES = [
    codes.SECCOMP_RET_ERRNO, codes.SECCOMP_RET_ERRNO | 1, codes.SECCOMP_RET_ERRNO | 4095, codes.SECCOMP_RET_ERRNO | 4096, codes.SECCOMP_RET_ERRNO | 0xFFFF,
    codes.SECCOMP_RET_TRACE | 5, codes.SECCOMP_RET_USER_NOTIF, codes.SECCOMP_RET_LOG, ALLOW, ALLOW | 7, codes.SECCOMP_RET_TRAP | 9,
]  # fmt: skip


def test_every_pair_of_actions_in_both_orders(twin):
    me = twin.actors[0]
    twin.sigaction(me, uapi.SIGSYS, "catch")
    twin.prctl(me, 38, 1)
    calls = [(102, 0), (104, 0), (107, 0), (108, 0), (110, 0), (111, 0), (39, 0), (186, 0), (24, 0), (95, 0o22)]
    pairs = [(first, second) for first in VALUES for second in VALUES]
    for at in range(0, len(pairs), len(calls)):
        group = list(zip(calls, pairs[at : at + len(calls)], strict=False))
        for which in (0, 1):
            lines = [(0x20, 0, 0, 0)]
            for (nr, _), pair in group:
                lines += [(0x15, 0, 1, nr), (0x06, 0, 0, pair[which])]
            child_filter = Program([*lines, (0x06, 0, 0, ALLOW)])
            if which == 0:
                child = twin.fork(me) if len(twin.actors) < 9 else None
                if child is None:
                    return
            twin.seccomp(child, FILTER, 0, child_filter)
        for (nr, argument), _ in group:
            twin.call(child, nr, argument)
        twin.exit(child, group=True)


@pytest.mark.parametrize(
    ("value", "how"),
    [(0, "catch"), (0x80000000, "catch"), (0x12340000, "catch"), (codes.SECCOMP_RET_TRAP, "default"), (codes.SECCOMP_RET_TRAP, "ignore")],
)
def test_the_ways_to_die(twin, value, how):
    me = twin.actors[0]
    twin.prctl(me, 38, 1)
    twin.sigaction(me, uapi.SIGSYS, how)
    twin.seccomp(me, FILTER, 0, of(value, GETPPID))
    assert twin.call(me, GETPPID) == "gone"
    twin.ended()


def test_a_blocked_trap_is_fatal(twin):
    me = twin.actors[0]
    twin.sigaction(me, uapi.SIGSYS, "catch")
    twin.block(me, uapi.SIGSYS)
    twin.seccomp(me, FILTER, 0, of(codes.SECCOMP_RET_TRAP | 1, GETPPID))
    assert twin.call(me, GETPPID) == "gone"
    twin.ended()


def test_a_killed_thread_leaves_the_others(twin):
    me = twin.actors[0]
    other = twin.thread(me)
    twin.seccomp(other, FILTER, 0, of(codes.SECCOMP_RET_KILL_THREAD, GETPPID))
    assert twin.call(other, GETPPID) == "gone"
    twin.status(me)
    assert twin.call(me, GETUID) == 0


def test_a_killed_thread_whose_leader_has_left_is_the_last(twin):
    me = twin.actors[0]
    other = twin.thread(me)
    twin.seccomp(other, FILTER, 0, of(codes.SECCOMP_RET_KILL_THREAD, GETPPID))
    twin.exit(me, 3)
    assert twin.call(other, GETPPID) == "gone"
    twin.ended()


def test_strict_mode(twin):
    me = twin.actors[0]
    twin.prctl(me, 22, 1)
    assert twin.call(me, GETPID) == "gone"
    twin.ended()


def test_int_0x80_is_another_architecture(twin):
    me = twin.actors[0]
    twin.sigaction(me, uapi.SIGSYS, "catch")
    twin.seccomp(me, FILTER, 0, of(codes.SECCOMP_RET_TRAP | 3, 64))  # getppid of i386, semget of x86-64
    twin.call(me, 64, arch="x86")
    twin.call(me, 20, arch="x86")


@pytest.mark.parametrize("nr", [-1, 335, 336, 500, 0x3FFFFFFF, 0x40000027, 0x7FFFFFFF])
def test_odd_numbers(twin, nr):
    me = twin.actors[0]
    lines = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, 0),
        (0x06, 0, 0, ALLOW),
        (0x15, 0, 1, 1),
        (0x06, 0, 0, ALLOW),
        (0x15, 0, 1, 231),
        (0x06, 0, 0, ALLOW),
    ]
    twin.sigaction(me, uapi.SIGSYS, "catch")
    twin.seccomp(me, FILTER, 0, Program([*lines, (0x06, 0, 0, codes.SECCOMP_RET_ERRNO | 77)]))
    if nr in (335, 336):
        # Not stopped by the filter, as nothing can: what the call itself does to a program that is not probed is its own business.
        assert twin.kernel.syscall(me.task, nr).cached
        return
    twin.call(me, nr)


def test_tsync_takes_every_thread_along(twin):
    me = twin.actors[0]
    threads = [twin.thread(me), twin.thread(me)]
    twin.prctl(me, 38, 1)
    twin.seccomp(me, FILTER, TSYNC, of(codes.SECCOMP_RET_ERRNO | 5, GETPPID))
    for thread in threads:
        twin.status(thread)
        assert twin.call(thread, GETPPID) == -5
    # Divergence: nothing is loaded anywhere, and the first thread in the way is named.
    twin.seccomp(threads[1], FILTER, 0, of(codes.SECCOMP_RET_ERRNO | 6, GETUID))
    assert twin.seccomp(me, FILTER, TSYNC, always(ALLOW)) == ("actor", 2)
    assert twin.seccomp(me, FILTER, TSYNC | ESRCH, always(ALLOW)) == -uapi.ESRCH
    assert twin.seccomp(threads[1], FILTER, TSYNC, always(ALLOW)) == 0
    for actor in twin.actors:
        twin.status(actor)
        twin.call(actor, GETUID)


def test_tsync_passes_over_a_dead_leader(twin):
    me = twin.actors[0]
    other, third = twin.thread(me), twin.thread(me)
    twin.seccomp(me, FILTER, 0, of(codes.SECCOMP_RET_ERRNO | 5, GETUID))
    twin.exit(me)
    twin.seccomp(other, FILTER, TSYNC, of(codes.SECCOMP_RET_ERRNO | 6, GETPPID))
    twin.status(third)
    twin.call(third, GETPPID)


def test_fork_keeps_what_there_is(twin):
    me = twin.actors[0]
    twin.prctl(me, 38, 1)
    twin.seccomp(me, FILTER, 0, of(codes.SECCOMP_RET_ERRNO | 5, GETPPID))
    child = twin.fork(me)
    twin.status(child)
    twin.seccomp(child, FILTER, 0, of(codes.SECCOMP_RET_ERRNO | 6, GETPPID))
    twin.status(child)
    twin.status(me)
    assert (twin.call(child, GETPPID), twin.call(me, GETPPID)) == (-6, -5)


def test_the_limit_of_a_path_counts_converted_instructions(twin):
    me = twin.actors[0]
    big = Program([(0x06, 0, 0, ALLOW)] * 4096)
    assert [twin.seccomp(me, FILTER, 0, big) for _ in range(4)] == [0, 0, 0, -uapi.ENOMEM]
    twin.status(me)


# --- notification


def supervised(twin, flags=0, call=GETPPID):
    me = twin.actors[0]
    twin.sigaction(me, uapi.SIGUSR1, "catch")
    twin.sigaction(me, uapi.SIGUSR2, "restart")
    twin.seccomp(me, FILTER, LISTENER | flags, of(codes.SECCOMP_RET_USER_NOTIF, call))
    return me


def test_a_call_is_received_and_answered(twin):
    me = supervised(twin, call=GETUID)
    twin.poll()
    for answer in ({"val": 7}, {"error": -13}, {"val": -7}, {"error": 5}, {"val": 3, "error": -4}, {"flags": 1}):
        twin.call(me, GETUID, 1, 2, 3, 4, 5, 6)
        twin.poll()
        twin.id_valid(0)
        number = twin.receive()
        twin.poll()
        twin.id_valid(number)
        twin.id_valid(number, uapi.SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR)
        twin.id_valid(number + 1)
        twin.reply(number + 1)
        twin.reply(number, flags=2)
        twin.reply(number, val=1, flags=1)
        twin.reply(number, **answer)
        twin.woken(me)
        twin.reply(number)
        twin.poll()


def test_a_listener_at_a_time(twin):
    me = supervised(twin)
    assert twin.seccomp(me, FILTER, LISTENER, always(ALLOW)) == -uapi.EBUSY
    twin.close()
    assert twin.seccomp(me, FILTER, LISTENER, always(ALLOW)) == 3
    assert twin.call(me, GETPPID) == -uapi.ENOSYS


def test_the_last_close_answers_enosys(twin):
    me = supervised(twin)
    twin.call(me, GETPPID)
    twin.close()
    assert twin.woken(me) == -uapi.ENOSYS
    assert twin.call(me, GETPPID) == -uapi.ENOSYS


@pytest.mark.parametrize("received", [False, True])
def test_a_signal_interrupts_the_wait(twin, received):
    me = supervised(twin)
    twin.call(me, GETPPID)
    number = twin.receive() if received else 1
    twin.kill(me, uapi.SIGUSR1)
    assert twin.woken(me) == -uapi.EINTR
    twin.poll()
    twin.id_valid(number)
    twin.reply(number)
    if not received:
        # The counter was not taken back: RECV returns at once.
        assert twin.receive() == -uapi.ENOENT


def test_a_restarted_call_has_a_new_id(twin):
    me = supervised(twin)
    twin.call(me, GETPPID)
    first = twin.receive()
    twin.kill(me, uapi.SIGUSR2)
    twin.poll()
    assert twin.id_valid(first) == -uapi.ENOENT
    second = twin.receive()
    assert second == first + 1
    twin.reply(second, val=5)
    assert twin.woken(me) == 5


def test_under_wait_killable_a_received_call_is_not_interrupted(twin):
    me = supervised(twin, KILLABLE)
    twin.call(me, GETPPID)
    number = twin.receive()
    twin.kill(me, uapi.SIGUSR1)
    twin.id_valid(number)
    twin.reply(number, val=5)
    assert twin.woken(me) == 5


def test_nobody_left(twin):
    me = supervised(twin)
    child = twin.fork(me)
    twin.exit(me, group=True)
    twin.poll()
    twin.exit(child, group=True)
    twin.poll()
    assert twin.receive() == -uapi.ENOENT
    assert twin.receive(zeroed=False) == -uapi.EINVAL
    assert twin.set_flags(2) == -uapi.EINVAL
    assert twin.set_flags(1) == 0


def test_descriptors_are_given(twin):
    me = supervised(twin)
    twin.call(me, GETPPID)
    number = twin.receive()
    twin.reply(number)
    twin.woken(me)
    twin.call(me, GETPPID)
    number += 1
    assert twin.add_fd(number) == -uapi.EINPROGRESS
    assert twin.receive() == number
    for options in (
        {"size": 16}, {"size": 4096}, {"size": 40, "tail": 1}, {"newfd_flags": 1}, {"flags": 4}, {"newfd": 9}, {"srcfd": 999}, {"path_only": True},
    ):  # fmt: skip
        assert twin.add_fd(number, **options) < 0
    assert twin.add_fd(number + 5) == -uapi.ENOENT
    assert twin.add_fd(number) == 3
    assert twin.add_fd(number, size=40) == 4
    assert twin.add_fd(number, flags=1, newfd=50, newfd_flags=uapi.O_CLOEXEC) == 50
    assert twin.add_fd(number, flags=1, newfd=50) == 50
    assert twin.add_fd(number, flags=2) == 5
    assert twin.woken(me) == 5
    assert twin.add_fd(number) == -uapi.ENOENT


def test_notifications_are_first_in_first_out(twin):
    me = supervised(twin)
    others = [twin.thread(me), twin.fork(me)]
    for actor in (others[1], me, others[0]):
        twin.call(actor, GETPPID)
        twin.poll()
    for actor in (others[1], me, others[0]):
        number = twin.receive()
        twin.reply(number, val=number)
        assert twin.woken(actor) == number


def test_a_copy_that_fails_leaves_the_call_to_be_received_again(twin):
    me = supervised(twin)
    twin.call(me, GETPPID)
    assert twin.receive(writable=False) == -uapi.EFAULT
    twin.poll()
    number = twin.receive()
    twin.reply(number, val=5)
    assert twin.woken(me) == 5


def test_a_full_table_takes_no_descriptor_and_the_call_still_waits(twin):
    me = supervised(twin)
    twin.call(me, GETPPID)
    number = twin.receive()
    assert twin.add_fd(number, flags=3, newfd=1_000_000) == -uapi.EBADF
    twin.poll()
    assert twin.id_valid(number) == 0, "a SEND that failed leaves it SENT"
    twin.reply(number, val=5)
    assert twin.woken(me) == 5


@pytest.mark.parametrize("flags", [0, KILLABLE])
def test_stop_and_continue(twin, flags):
    me = supervised(twin, flags)
    twin.call(me, GETPPID)
    first = twin.receive()
    twin.kill(me, uapi.SIGSTOP)
    twin.poll()
    twin.id_valid(first)
    twin.kill(me, uapi.SIGCONT)
    twin.poll()
    number = first if flags else twin.receive()
    twin.reply(number, val=5)
    assert twin.woken(me) == 5


@pytest.mark.parametrize("signal", [uapi.SIGKILL, uapi.SIGTERM])
@pytest.mark.parametrize("received", [False, True])
def test_a_target_killed_in_the_middle(twin, signal, received):
    me = supervised(twin, KILLABLE)
    twin.call(me, GETPPID)
    number = twin.receive() if received else 1
    twin.kill(me, signal)
    twin.ended()
    twin.poll()
    if received:
        twin.id_valid(number)
        twin.reply(number)
    else:
        assert twin.receive() == -uapi.ENOENT


# --- ptrace

STOP = 7 << 16 | 5 << 8 | 0x7F


@pytest.fixture
def traced(twin):
    me = twin.actors[0]
    twin.sigaction(me, uapi.SIGSYS, "catch")
    twin.sigaction(me, uapi.SIGUSR1, "catch")
    program = Program(
        [
            (0x20, 0, 0, 0),
            (0x15, 0, 1, GETPPID), (0x06, 0, 0, codes.SECCOMP_RET_TRACE | 0x1234),
            (0x15, 0, 1, 111), (0x06, 0, 0, codes.SECCOMP_RET_TRACE | 1),
            (0x15, 0, 1, GETUID), (0x06, 0, 0, codes.SECCOMP_RET_ERRNO | 77),
            (0x15, 0, 1, 104), (0x06, 0, 0, codes.SECCOMP_RET_KILL_PROCESS),
            (0x06, 0, 0, ALLOW),
        ]
    )  # fmt: skip
    twin.seccomp(me, FILTER, 2, program)
    return me


def test_a_tracer_lets_a_call_be_made(twin, traced):
    assert twin.seize(traced, uapi.PTRACE_O_TRACESECCOMP) == 0
    twin.call(traced, 111)
    assert twin.stop(traced) == STOP
    assert twin.message(traced) == 1
    twin.resume(traced)
    twin.woken(traced)


@pytest.mark.parametrize(("nr", "result"), [(39, ("actor", 0)), (GETUID, -77), (111, None), (500, -38)])
def test_a_changed_call_is_judged_again(twin, traced, nr, result):
    twin.seize(traced, uapi.PTRACE_O_TRACESECCOMP)
    twin.call(traced, GETPPID)
    assert twin.stop(traced) == STOP
    assert twin.message(traced) == 0x1234
    twin.change(traced, nr)
    twin.resume(traced)
    value = twin.woken(traced)
    assert result is None or value == result


def test_a_tracer_skips_fakes_and_changes_a_call_into_death(twin, traced):
    twin.seize(traced, uapi.PTRACE_O_TRACESECCOMP)
    for value in (0, 42, -13):
        twin.call(traced, GETPPID)
        assert twin.stop(traced) == STOP
        twin.skip(traced, value)
        twin.resume(traced)
        assert twin.woken(traced) == value
    twin.call(traced, GETPPID)
    twin.stop(traced)
    twin.change(traced, 104)
    twin.resume(traced)
    twin.ended()


def test_a_signal_at_the_stop_waits_until_the_call_is_over(twin, traced):
    twin.seize(traced, uapi.PTRACE_O_TRACESECCOMP)
    twin.call(traced, GETPPID)
    twin.stop(traced)
    twin.kill(traced, uapi.SIGUSR1)
    twin.skip(traced, 42)
    twin.resume(traced)
    assert twin.stop(traced) == uapi.SIGUSR1 << 8 | 0x7F
    twin.resume(traced, uapi.SIGUSR1)
    assert twin.woken(traced) == 42


def test_the_entry_stop_comes_before_the_filters(twin, traced):
    twin.seize(traced, uapi.PTRACE_O_TRACESECCOMP | uapi.PTRACE_O_TRACESYSGOOD)
    twin.call(traced, GETPPID)
    twin.stop(traced)
    twin.skip(traced, 1)
    twin.resume(traced, syscall=True)
    assert twin.stop(traced) == 0x85 << 8 | 0x7F, "the exit stop of a call that was skipped"
    twin.resume(traced)
    assert twin.woken(traced) == 1


def test_filters_are_read_back_and_suspended(twin, traced):
    twin.seccomp(traced, FILTER, 0, of(codes.SECCOMP_RET_ERRNO | 5, 39))
    twin.seize(traced, uapi.PTRACE_O_TRACESECCOMP)
    twin.call(traced, GETPPID)
    twin.stop(traced)
    assert twin.filters(traced) == [(10, 2), (4, 0)]
    assert twin.options(traced, 1 << 25) == -uapi.EINVAL
    assert twin.options(traced, uapi.PTRACE_O_SUSPEND_SECCOMP) == 0
    twin.skip(traced, 1)
    twin.resume(traced)
    twin.woken(traced)
    # Suspended: even what is killed otherwise is made.
    assert twin.call(traced, 39) == ("actor", 0)


# --- children of tracees


BIRTH = uapi.PTRACE_O_TRACESECCOMP | uapi.PTRACE_O_TRACEFORK | uapi.PTRACE_O_TRACECLONE
BEGUN = uapi.PTRACE_EVENT_STOP << 16 | uapi.SIGTRAP << 8 | 0x7F


@pytest.mark.parametrize("thread", [False, True], ids=["fork", "clone"])
def test_what_a_tracee_makes_is_traced_from_its_first_instruction_on(twin, traced, thread):
    event = uapi.PTRACE_EVENT_CLONE if thread else uapi.PTRACE_EVENT_FORK
    assert twin.seize(traced, BIRTH) == 0
    child = twin.born(traced, thread)
    assert twin.stop(traced) == event << 16 | uapi.SIGTRAP << 8 | 0x7F
    assert twin.told_of(traced, child) == ("actor", 1)
    assert twin.stop(child) == BEGUN
    twin.status(child)
    for actor in (child, traced):
        twin.resume(actor)
    twin.greeted(traced, child)
    # Its tracer's options are its own as well: the call that its filter traces stops it.
    twin.call(child, GETPPID)
    assert twin.stop(child) == STOP
    assert twin.message(child) == 0x1234
    twin.skip(child, 7)
    twin.resume(child)
    assert twin.woken(child) == 7
    # And so on: what it makes itself.
    third = twin.born(child, thread)
    assert twin.stop(child) == event << 16 | uapi.SIGTRAP << 8 | 0x7F
    assert twin.told_of(child, third) == ("actor", 2)
    assert twin.stop(third) == BEGUN
    for actor in (third, child):
        twin.resume(actor)
    twin.greeted(child, third)


@pytest.mark.parametrize("thread", [False, True], ids=["fork", "clone"])
def test_without_the_option_a_tracees_child_has_no_tracer(twin, traced, thread):
    """And then what its filter would have traced is not made."""
    other = uapi.PTRACE_O_TRACEFORK if thread else uapi.PTRACE_O_TRACECLONE
    assert twin.seize(traced, uapi.PTRACE_O_TRACESECCOMP | uapi.PTRACE_O_TRACEVFORK | other) == 0
    child = twin.thread(traced) if thread else twin.fork(traced)
    assert twin.call(child, GETPPID) == -uapi.ENOSYS


def test_a_tracer_that_suspends_filters_suspends_them_for_what_the_tracee_makes(twin, traced):
    assert twin.seize(traced, BIRTH | uapi.PTRACE_O_SUSPEND_SECCOMP) == 0
    child = twin.born(traced)
    twin.stop(traced)
    twin.told_of(traced, child)
    assert twin.stop(child) == BEGUN
    for actor in (child, traced):
        twin.resume(actor)
    twin.greeted(traced, child)
    assert twin.call(child, GETUID) == 0, "ERRNO(77), were it not suspended"


def test_a_vfork_is_another_event_and_its_end_one_more(twin, traced):
    assert twin.seize(traced, BIRTH | uapi.PTRACE_O_TRACEVFORK | uapi.PTRACE_O_TRACEVFORKDONE) == 0
    child = twin.born(traced, vfork=True)
    assert twin.stop(traced) == uapi.PTRACE_EVENT_VFORK << 16 | uapi.SIGTRAP << 8 | 0x7F
    twin.told_of(traced, child)
    assert twin.stop(child) == BEGUN
    twin.resume(traced)
    assert child.task.process.vfork_maker is traced.task, "it waits for its child's exec or end"
    twin.resume(child)
    assert child.receive()[0] == child.tid
    twin.exit(child, 3, group=True)
    assert twin.stop(traced) == uapi.PTRACE_EVENT_VFORK_DONE << 16 | uapi.SIGTRAP << 8 | 0x7F
    assert twin.who(traced.task.stop.message, False) == twin.who(event_message(traced.tid), True) == ("actor", 1)
    assert twin.stop(child) == 3 << 8
    twin.resume(traced)
    # Now that the tracer has waited for the child, whose maker is told; that is a signal, and seen as one.
    assert twin.stop(traced) == uapi.SIGCHLD << 8 | 0x7F
    twin.resume(traced)
    assert traced.receive()[0] == child.tid


# --- user dispatch


ON, OFF, BLOCK = 1, 0, 1


@pytest.mark.parametrize(
    "given",
    [
        (ON, 0, 0, 0), (ON, 0, 0, 2), (ON, 1, 256, 1), (ON, 1, 256, 2), (ON, 0x1000, 0, 1), (ON, 0x1000, (1 << 64) - 1, 1), (ON, 0x1000, (1 << 64) - 0x1000, 1),
        (ON, 0, 5, 1), (OFF, 0, 0, 0), (OFF, 1, 0, 0), (OFF, 0, 5, 0), (OFF, 0, 0, 1), (77, 0, 0, 0), (77, 0, 0, 2),
    ],
)  # fmt: skip
def test_what_user_dispatch_may_be_set_to(twin, given):
    me = twin.actors[0]
    if given != (ON, 0, 0, 0):  # that alone would be the end of it: no call of the actor's gets through
        twin.dispatch(me, *given)
        twin.call(me, GETUID)


def test_user_dispatch_is_asked_before_the_filters(twin):
    me = twin.actors[0]
    twin.sigaction(me, uapi.SIGSYS, "catch")
    twin.seccomp(me, FILTER, 0, of(codes.SECCOMP_RET_ERRNO | 5, GETPPID, GETUID))
    assert twin.call(me, GETPPID) == -5
    assert twin.dispatch(me, ON, 0, 0, 1) == 0
    assert twin.call(me, GETPPID) == -5, "the selector lets it through, to the filter"
    assert twin.call(me, GETPPID, selector=BLOCK) == GETPPID, "the number, as the register held it: SIGSYS, of code 2"
    assert twin.call(me, -1, selector=BLOCK) == -1
    # A range that the call comes from is let through, whatever the selector says; one that it does not come from is not.
    assert twin.dispatch(me, ON, 1, 256, 1) == 0
    assert twin.call(me, GETPPID, selector=BLOCK) == -5
    assert twin.dispatch(me, ON, 0x1000, 256, 1) == 0
    assert twin.call(me, GETUID, selector=BLOCK) == GETUID
    assert twin.dispatch(me, OFF) == 0
    assert twin.call(me, GETUID, selector=BLOCK) == -5


@pytest.mark.parametrize("how", ["catch", "default", "ignore", "blocked"])
@pytest.mark.parametrize("selector", [BLOCK, 2, 255])
def test_a_dispatched_call_whose_signal_nobody_takes_is_the_end(twin, how, selector):
    me = twin.actors[0]
    twin.sigaction(me, uapi.SIGSYS, "catch" if how == "blocked" else how)
    if how == "blocked":
        twin.block(me, uapi.SIGSYS)
    twin.seccomp(me, FILTER, 0, of(codes.SECCOMP_RET_KILL_PROCESS, GETUID))
    twin.dispatch(me, ON, 0, 0, 1)
    if twin.call(me, GETPPID, selector=selector) == "gone":
        assert how != "catch" or selector != BLOCK
        twin.ended()
    else:
        assert (how, selector) == ("catch", BLOCK)


def test_user_dispatch_is_one_threads_and_no_childs(twin):
    me = twin.actors[0]
    twin.sigaction(me, uapi.SIGSYS, "catch")
    twin.seccomp(me, FILTER, 0, of(codes.SECCOMP_RET_ERRNO | 5, GETPPID))
    twin.dispatch(me, ON, 0, 0, 1)
    for other in (twin.thread(me), twin.fork(me)):
        assert twin.call(other, GETPPID, selector=BLOCK) == -5
    assert twin.call(me, GETPPID, selector=BLOCK) == GETPPID


def test_a_tracer_sees_nothing_of_a_dispatched_call(twin, traced):
    """Neither its filter's stop nor, after PTRACE_SYSCALL, its beginning and its end."""
    twin.dispatch(traced, ON, 0, 0, 1)
    twin.seize(traced, uapi.PTRACE_O_TRACESECCOMP | uapi.PTRACE_O_TRACESYSGOOD)
    twin.call(traced, GETPPID)
    assert twin.stop(traced) == STOP
    twin.skip(traced, 1)
    twin.resume(traced)
    twin.woken(traced)
    twin.call(traced, GETPPID, selector=BLOCK)
    assert twin.stop(traced) == uapi.SIGSYS << 8 | 0x7F, "the signal alone"
    twin.resume(traced, uapi.SIGSYS)
    assert twin.woken(traced) == GETPPID


# --- pid namespaces


def test_a_supervisor_outside_sees_its_own_numbers_of_those_inside(twin):
    me = supervised(twin)
    inner = twin.fork(me, namespace=True)
    third = twin.fork(inner)
    for actor in (third, me, inner):
        twin.call(actor, GETPPID)
        number = twin.receive()  # compares the process: this one's number for it
        twin.reply(number, val=actor.index + 50)
        assert twin.woken(actor) == actor.index + 50
    assert [twin.call(actor, GETPID) for actor in (inner, third)] == [1, 2]


def test_a_supervisor_inside_sees_nobody_outside(twin):
    """The pid of a notification is 0 where its reader's namespace has no number for it."""
    me = twin.actors[0]
    fd = twin.seccomp(me, FILTER, LISTENER, of(codes.SECCOMP_RET_USER_NOTIF, GETPPID), keep=True)
    inner = twin.fork(me, namespace=True)
    third, thread = twin.fork(inner), twin.thread(inner)
    for actor, number in ((third, 2), (thread, 3), (me, 0)):
        twin.call(actor, GETPPID)
        assert twin.receive_inside(inner, fd) == number


def test_tsync_names_a_thread_as_its_callers_namespace_does(twin):
    me = twin.actors[0]
    twin.prctl(me, 38, 1)
    inner = twin.fork(me, namespace=True)
    thread = twin.thread(inner)
    twin.seccomp(thread, FILTER, 0, of(codes.SECCOMP_RET_ERRNO | 5, GETPPID))
    assert twin.seccomp(inner, FILTER, TSYNC, always(ALLOW)) == 2
    assert twin.call(inner, GETPPID) == 0, "its maker has no number there"
