"""What the kernel's documentation says of seccomp, as scenarios. Each test names the page and section that states it.

Pages: "seccomp filter" is Documentation/userspace-api/seccomp_filter.rst; (2) are the Linux man-pages.
"""

from __future__ import annotations

import itertools

import pytest

from model_support import ALLOW, X86_64, always, of, ready
from seclude.abi import arch
from seclude.bpf.program import Program
from seclude.model import KernelModel, uapi
from seclude.model.entry import mode1_syscalls
from seclude.model.filter import Fprog, signed_action
from seclude.model.log import actions_avail, actions_logged, write_actions_logged
from seclude.model.notify import Response, SeccompNotif
from seclude.model.ptrace import seccomp_get_filter, seccomp_get_metadata, set_options
from seclude.model.seccomp import Out
from seclude.model.task import CATCH, DEFAULT, IGNORE, UserDispatch
from seclude.model.uapi import FAULT

STRICT, FILTER, AVAIL, SIZES = range(4)
TSYNC, LOG, SPEC, LISTENER, ESRCH, KILLABLE = 1, 2, 4, 8, 16, 32
KILL_PROCESS, KILL_THREAD, TRAP, ERRNO = 0x80000000, 0, 0x30000, 0x50000
NOTIF, TRACE, LOGGED = 0x7FC00000, 0x7FF00000, 0x7FFC0000
ACTIONS = [KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, NOTIF, TRACE, LOGGED, ALLOW]


@pytest.fixture
def kernel():
    return KernelModel()


def load(kernel, task, program, flags=0):
    return kernel.seccomp(task, FILTER, flags, program).value


# --- seccomp(2), DESCRIPTION: SECCOMP_SET_MODE_STRICT


def test_strict_mode_permits_read_write_exit_and_sigreturn(kernel):
    for name in ("read", "write", "rt_sigreturn"):
        task = kernel.process()
        assert kernel.seccomp(task, STRICT).value == 0
        assert kernel.syscall(task, name).ran
    task = kernel.process()
    kernel.seccomp(task, STRICT)
    kernel.exit(task, 4)
    assert task.process.status == 4 << 8


@pytest.mark.parametrize(
    ("machine", "call", "numbers"),
    [
        ("x86_64", "x86_64", {0, 1, 60, 15, 335, 336}), ("x86_64", "x86", {3, 4, 1, 119}), ("aarch64", "aarch64", {63, 64, 93, 139}),
        ("aarch64", "arm", {3, 4, 1, 173}), ("s390x", "s390x", {3, 4, 1, 119}), ("riscv64", "riscv64", {63, 64, 93, 139}),
    ],
)  # fmt: skip
def test_what_strict_mode_permits_on_each_architecture(machine, call, numbers):
    assert mode1_syscalls(KernelModel(arch=machine), arch(call).token) == numbers


def test_other_calls_in_strict_mode_are_sigkill_for_the_thread(kernel):
    task = kernel.process()
    other = kernel.clone_thread(task)
    assert kernel.prctl(other, uapi.PR_SET_SECCOMP, 1).value == 0
    call = kernel.syscall(other, "getpid")
    assert (call.state, other.exit_code, other.mode) == ("gone", uapi.SIGKILL, uapi.SECCOMP_MODE_DEAD)
    assert [(record.sig, record.code) for record in call.log] == [(uapi.SIGKILL, KILL_THREAD)]
    assert kernel.syscall(task, "getpid").value == task.tid, "the others go on"


def test_exit_group_is_not_permitted_in_strict_mode(kernel):
    task = kernel.process()
    kernel.seccomp(task, STRICT)
    kernel.exit_group(task, 3)
    assert task.process.status == uapi.SIGKILL


def test_strict_mode_needs_null_and_no_flags_and_no_filter_before(kernel):
    task = ready(kernel)
    assert kernel.seccomp(task, STRICT, 1).value == -uapi.EINVAL
    assert kernel.seccomp(task, STRICT, 0, FAULT).value == -uapi.EINVAL
    load(kernel, task, always(ALLOW))
    assert kernel.seccomp(task, STRICT).value == -uapi.EINVAL


def test_strict_mode_through_prctl_ignores_the_pointer_and_takes_the_time_stamp_counter(kernel):
    # PR_SET_SECCOMP(2const); the counter: arch/x86/kernel/process.c
    task = kernel.process()
    assert kernel.prctl(task, uapi.PR_SET_SECCOMP, 1, 0x1234).value == 0
    assert task.tsc_disabled


# --- seccomp(2), DESCRIPTION: SECCOMP_SET_MODE_FILTER; PR_SET_NO_NEW_PRIVS(2const)


def test_a_filter_needs_no_new_privs_or_cap_sys_admin(kernel):
    task = kernel.process()
    assert load(kernel, task, always(ALLOW)) == -uapi.EACCES
    assert load(kernel, kernel.process(privileged=True), always(ALLOW)) == 0
    assert kernel.prctl(task, uapi.PR_SET_NO_NEW_PRIVS, 1).value == 0
    assert load(kernel, task, always(ALLOW)) == 0


@pytest.mark.parametrize(
    ("arguments", "value"), [((1,), 0), ((0,), -22), ((2,), -22), ((1, 1), -22), ((1, 0, 1), -22), ((1, 0, 0, 1), -22)]
)
def test_no_new_privs_is_set_by_one_and_zeros_and_never_unset(kernel, arguments, value):
    task = kernel.process()
    assert kernel.prctl(task, uapi.PR_SET_NO_NEW_PRIVS, *arguments).value == value
    kernel.prctl(task, uapi.PR_SET_NO_NEW_PRIVS, 0)
    assert kernel.prctl(task, uapi.PR_GET_NO_NEW_PRIVS).value == int(value == 0)


def test_filters_are_inherited_by_fork_and_clone_and_kept_over_execve(kernel):
    task = ready(kernel)
    load(kernel, task, of(ERRNO | 5, "mkdir"))
    for child in (kernel.fork(task), kernel.clone_thread(task)):
        assert kernel.syscall(child, "mkdir").value == -5
        assert child.status() == task.status()
    kernel.execve(task, "program")
    assert kernel.syscall(task, "mkdir").value == -5


def test_a_childs_own_filter_is_not_its_parents(kernel):
    task = ready(kernel)
    load(kernel, task, of(ERRNO | 5, "mkdir"))
    child = kernel.fork(task)
    load(kernel, child, of(ERRNO | 6, "mkdir"))
    assert (kernel.syscall(child, "mkdir").value, kernel.syscall(task, "mkdir").value) == (-6, -5)
    assert [(one.number, one.refs, one.users) for one in kernel.filters] == [(1, 2, 2), (2, 1, 1)]


def test_a_filter_that_forbids_seccomp_and_prctl_is_the_last(kernel):
    task = ready(kernel)
    load(kernel, task, of(ERRNO | 1, "seccomp", "prctl"))
    assert load(kernel, task, always(ALLOW)) == -1
    assert kernel.prctl(task, uapi.PR_SET_SECCOMP, 2, always(ALLOW)).value == -1


def test_the_mode_of_a_task_that_nothing_forbids_to_ask(kernel):
    task = ready(kernel)
    assert kernel.prctl(task, uapi.PR_GET_SECCOMP).value == 0
    assert kernel.prctl(task, uapi.PR_SET_SECCOMP, 2, always(ALLOW)).value == 0
    assert kernel.prctl(task, uapi.PR_GET_SECCOMP).value == 2
    assert kernel.prctl(task, uapi.PR_SET_SECCOMP, 3).value == -uapi.EINVAL


# --- seccomp(2), ERRORS: sizes and limits


@pytest.mark.parametrize(
    ("uargs", "value"),
    [
        (None, -14), (FAULT, -14), (Fprog(None, 0), -22), (Fprog(None, 4097), -22), (Fprog(None, 1), -22), (Fprog(FAULT, 1), -14),
        (Fprog(always(ALLOW), 0), -22), (Fprog(always(ALLOW), 2), -14), (always(ALLOW), 0),
        (Program([(0x20, 0, 0, 64), (6, 0, 0, 0)]), -22), (Program([(0x20, 0, 0, 2), (6, 0, 0, 0)]), -22), (Program([(0, 0, 0, 0)]), -22),
        (Program([(0x34, 0, 0, 0), (6, 0, 0, 0)]), -22), (Program([(5, 0, 0, 1), (6, 0, 0, 0)]), -22),
    ],
)  # fmt: skip
def test_programs_are_checked(kernel, uargs, value):
    assert load(kernel, ready(kernel), uargs) == value


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        (64, -22), (1 << 31, -22), (TSYNC | LISTENER, -22), (TSYNC | LISTENER | ESRCH, 3), (KILLABLE, -22), (KILLABLE | LISTENER, 3), (LISTENER, 3),
        (LOG, 0), (SPEC, 0), (TSYNC, 0), (ESRCH, 0), (LOG | SPEC | TSYNC | ESRCH, 0),
    ],
)  # fmt: skip
def test_flags(kernel, flags, value):
    task = ready(kernel)
    assert load(kernel, task, always(ALLOW), flags) == value
    assert task.spec_mitigated == (value >= 0 and not flags & SPEC)


def test_a_path_has_32768_instructions_and_each_filter_costs_four_more(kernel):
    task = ready(kernel)
    big = Program([(6, 0, 0, ALLOW)] * 4096)
    assert [load(kernel, task, big) for _ in range(4)] == [0, 0, 0, -uapi.ENOMEM]
    assert task.filter_count == 3
    # Only what is on the path counts: a fork that stopped earlier has room of its own.
    assert load(kernel, task, always(ALLOW)) == 0


def test_no_descriptor_no_filter(kernel):
    task = ready(kernel, nofile=3)
    assert load(kernel, task, always(ALLOW), LISTENER) == -uapi.EMFILE
    assert (task.mode, task.filter) == (0, None)


# --- seccomp(2): SECCOMP_GET_ACTION_AVAIL, SECCOMP_GET_NOTIF_SIZES


def test_known_actions(kernel):
    task = kernel.process()
    assert [kernel.seccomp(task, AVAIL, 0, action).value for action in ACTIONS] == [0] * 8
    assert {kernel.seccomp(task, AVAIL, 0, value).value for value in (1, ALLOW | 1, 0x12340000, 0xFFFFFFFF)} == {-uapi.EOPNOTSUPP}
    assert [kernel.seccomp(task, AVAIL, flags, uargs).value for flags, uargs in ((1, 0), (0, None), (0, FAULT))] == [-22, -14, -14]


def test_sizes_of_the_structures(kernel):
    out = Out()
    assert kernel.seccomp(kernel.process(), SIZES, 0, out).value == 0
    assert out.value == (80, 24, 64)
    assert [kernel.seccomp(kernel.process(), SIZES, flags, uargs).value for flags, uargs in ((1, out), (0, None))] == [-22, -14]
    assert kernel.seccomp(kernel.process(), 4).value == -uapi.EINVAL


# --- seccomp(2), Filters: return values and their order


@pytest.mark.parametrize(("first", "second"), list(itertools.product([*ACTIONS, 0x12340000, 0xFFFF0000], repeat=2)))
def test_the_most_severe_action_counts_and_on_a_tie_the_newest_filters_data(kernel, first, second):
    task = ready(kernel)
    kernel.sigaction(task, uapi.SIGSYS, CATCH)
    load(kernel, task, of(first | 1, "mkdir"))
    load(kernel, task, of(second | 2, "mkdir"))
    call = kernel.syscall(task, "mkdir")
    winner = first | 1 if signed_action(first) < signed_action(second) else second | 2
    if signed_action(winner) >= signed_action(ALLOW):
        # What ranks at ALLOW or above it never replaces the answer to begin with.
        winner = ALLOW
    assert call.evaluations[0].value == winner
    assert effect(call) == EFFECTS.get(winner & 0xFFFF0000, "the process")


EFFECTS = {TRAP: "SIGSYS", ERRNO: "skipped", NOTIF: "skipped", TRACE: "skipped", LOGGED: "made", ALLOW: "made"}


def effect(call):
    if call.task.exited:
        return "the process" if call.task.process.zombie else "the thread"
    return "SIGSYS" if call.signals else "made" if call.ran else "skipped"


@pytest.mark.parametrize(("data", "value"), [(0, 0), (1, -1), (4094, -4094), (4095, -4095), (4096, -4095), (0xFFFF, -4095)])
def test_errno_is_at_most_4095_and_0_is_success(kernel, data, value):
    task = ready(kernel)
    load(kernel, task, of(ERRNO | data, "mkdir"))
    call = kernel.syscall(task, "mkdir")
    assert (call.value, call.ran) == (value, False)


@pytest.mark.parametrize("action", [KILL_PROCESS, 0x12340000, 0xFFFF0000])
def test_kill_process_and_what_nobody_knows_end_the_process(kernel, action):
    task = ready(kernel)
    other = kernel.clone_thread(task)
    kernel.sigaction(task, uapi.SIGSYS, CATCH)
    load(kernel, other, of(action, "mkdir"))
    if signed_action(action) >= signed_action(ALLOW):
        pytest.skip("it ranks above ALLOW")
    kernel.syscall(other, "mkdir")
    assert task.process.status == uapi.SIGSYS


def test_kill_thread_ends_the_thread_and_the_last_one_the_process(kernel):
    task = ready(kernel)
    other = kernel.clone_thread(task)
    load(kernel, task, of(KILL_THREAD, "mkdir"), TSYNC)
    kernel.syscall(other, "mkdir")
    assert (other.exited, task.exited) == (True, False)
    kernel.syscall(task, "mkdir")
    assert task.process.status == uapi.SIGSYS


@pytest.mark.parametrize(
    ("how", "blocked", "dies"), [(CATCH, False, False), (CATCH, True, True), (IGNORE, False, True), (DEFAULT, False, True)]
)
def test_trap_with_each_disposition(kernel, how, blocked, dies):
    task = ready(kernel)
    kernel.sigaction(task, uapi.SIGSYS, how)
    if blocked:
        task.blocked.add(uapi.SIGSYS)
    load(kernel, task, of(TRAP | 0xFFFF, "mkdir"))
    call = kernel.syscall(task, "mkdir", ip=0x1234)
    (info,) = call.signals
    assert info == (uapi.SIGSYS, uapi.SYS_SECCOMP, 0xFFFF, 0x1234, 83, X86_64.token)
    assert task.exited is dies
    if not dies:
        # "The return value of the call depends on the architecture": on x86-64 the number, unless the handler writes another.
        assert (task.handled, call.value) == ([info], 83)


def test_division_by_zero_and_an_odd_value_kill(kernel):
    task = ready(kernel)
    load(kernel, task, Program([(0x20, 0, 0, 0), (0x15, 0, 2, 83), (0x3C, 0, 0, 0), (6, 0, 0, ALLOW), (6, 0, 0, ALLOW)]))
    kernel.syscall(task, "mkdir")
    assert task.process.status == uapi.SIGSYS


def test_filters_see_numbers_that_no_call_has(kernel):
    task = ready(kernel)
    load(kernel, task, of(ERRNO | 9, -1, 0x40000000, 5000))
    assert [kernel.syscall(task, nr).value for nr in (-1, 0x40000000, 5000)] == [-9, -9, -9]
    assert [kernel.syscall(task, nr).value for nr in (-2, 5001)] == [-uapi.ENOSYS] * 2


def test_what_the_kernel_does_not_have_is_enosys_on_each_architecture(kernel):
    task = kernel.process()
    assert [kernel.syscall(task, 5000, arch=name).value for name in ("x86_64", "x86")] == [-uapi.ENOSYS] * 2
    old = KernelModel("5.2")
    assert old.syscall(old.process(), "clone3").value == -uapi.ENOSYS
    assert kernel.syscall(task, "clone3").ran


# --- seccomp(2), SECCOMP_RET_TRACE; "seccomp filter", Pitfalls: a tracer is no judge of its own


def traced(kernel, program, options=uapi.PTRACE_O_TRACESECCOMP):
    tracer, task = kernel.process("tracer", privileged=True), ready(kernel)
    load(kernel, task, program)
    assert kernel.seize(tracer, task, options) == 0
    return tracer, task


def test_without_a_tracer_that_asked_trace_is_enosys(kernel):
    task = ready(kernel)
    load(kernel, task, of(TRACE | 5, "mkdir"))
    assert kernel.syscall(task, "mkdir").value == -uapi.ENOSYS
    _, other = traced(kernel, of(TRACE | 5, "mkdir"), 0)
    assert kernel.syscall(other, "mkdir").value == -uapi.ENOSYS


def test_a_tracer_lets_skips_redirects_and_kills(kernel):
    tracer, task = traced(kernel, of(TRACE | 5, "mkdir"))
    call = kernel.syscall(task, "mkdir")
    assert (task.stop.event, task.stop.message) == (uapi.PTRACE_EVENT_SECCOMP, 5)
    assert kernel.wait(tracer) == (task.tid, 7 << 16 | 5 << 8 | 0x7F)
    kernel.resume(tracer, task)
    assert (call.ran, call.state) == (True, "returned")

    call = kernel.syscall(task, "mkdir")
    kernel.set_call(tracer, call, nr=-1, value=42)
    kernel.resume(tracer, task)
    assert (call.ran, call.value) == (False, 42)

    call = kernel.syscall(task, "mkdir")
    kernel.set_call(tracer, call, nr=39)
    kernel.resume(tracer, task)
    assert (call.ran, call.value) == (True, task.tid)

    call = kernel.syscall(task, "mkdir")
    kernel.kill(task, uapi.SIGKILL)
    assert (call.ran, call.state) == (False, "gone")


def test_a_changed_call_is_judged_again_and_a_second_trace_is_an_allow(kernel):
    program = Program(
        [
            (0x20, 0, 0, 0),
            (0x15, 0, 1, 83),
            (6, 0, 0, TRACE),
            (0x15, 0, 1, 84),
            (6, 0, 0, TRACE),
            (0x15, 0, 1, 39),
            (6, 0, 0, ERRNO | 7),
            (6, 0, 0, ALLOW),
        ]
    )
    tracer, task = traced(kernel, program)
    for nr, ran in ((39, False), (84, True)):
        call = kernel.syscall(task, "mkdir")
        kernel.set_call(tracer, call, nr=nr)
        kernel.resume(tracer, task)
        assert call.ran is ran
        assert [one.recheck for one in call.evaluations] == [False, True]


def test_a_tracer_that_dies_lets_the_call_run_unless_exitkill(kernel):
    # ptrace(2), PTRACE_O_EXITKILL
    for options, state in ((uapi.PTRACE_O_TRACESECCOMP, "returned"), (uapi.PTRACE_O_TRACESECCOMP | uapi.PTRACE_O_EXITKILL, "gone")):
        tracer, task = traced(kernel, of(TRACE, "mkdir"), options)
        call = kernel.syscall(task, "mkdir")
        kernel.exit_group(tracer)
        assert (call.state, call.ran) == (state, state == "returned")


def test_the_tracers_entry_stop_comes_before_the_filters(kernel):
    # seccomp(2), NOTES, and kernel/entry/common.c: since 4.8 a tracer cannot change a call behind the filters' back
    tracer, task = traced(kernel, of(ERRNO | 7, "mkdir"))
    task.ptrace_syscall = True
    call = kernel.syscall(task, "getpid")
    assert call.evaluations == []
    kernel.set_call(tracer, call, nr=83)
    kernel.resume(tracer, task)
    assert call.value == -7


def test_user_dispatch_comes_before_everything(kernel):
    # Documentation/admin-guide/syscall-user-dispatch.rst
    task = ready(kernel)
    kernel.sigaction(task, uapi.SIGSYS, CATCH)
    load(kernel, task, of(KILL_PROCESS, "mkdir"))
    task.dispatch = UserDispatch(0x1000, 0x1000)
    call = kernel.syscall(task, "mkdir", ip=0x5000)
    assert ([info.code for info in call.signals], call.evaluations) == ([uapi.SYS_USER_DISPATCH], [])
    assert kernel.syscall(task, "mkdir", ip=0x1800).state == "gone"


def test_suspend_needs_an_unfiltered_cap_sys_admin_tracer_and_lasts_as_long_as_it(kernel):
    # ptrace(2), PTRACE_O_SUSPEND_SECCOMP
    tracer, task = traced(kernel, of(ERRNO | 7, "mkdir"), 0)
    task.ptrace_syscall = True
    kernel.syscall(task, "getpid")
    assert set_options(tracer, task, uapi.PTRACE_O_SUSPEND_SECCOMP) == 0
    kernel.resume(tracer, task)
    assert kernel.syscall(task, "mkdir").ran
    kernel.exit_group(tracer)
    assert kernel.syscall(task, "mkdir").value == -7
    weak = kernel.process("weak")
    assert kernel.seize(weak, task, uapi.PTRACE_O_SUSPEND_SECCOMP) == -uapi.EPERM
    load(kernel, strong := kernel.process("strong", privileged=True), always(ALLOW))
    assert kernel.seize(strong, task, uapi.PTRACE_O_SUSPEND_SECCOMP) == -uapi.EPERM


def test_filters_are_read_back_the_oldest_first(kernel):
    # ptrace(2), PTRACE_SECCOMP_GET_FILTER
    first, second = of(ERRNO | 7, "mkdir"), always(ALLOW)
    tracer, task = traced(kernel, first)
    load(kernel, task, second, LOG)
    assert seccomp_get_filter(tracer, task, 0) == -uapi.ESRCH, "it is not stopped"
    task.ptrace_syscall = True
    kernel.syscall(task, "getpid")
    assert [seccomp_get_filter(tracer, task, n) for n in (0, 1, 2)] == [first, second, -uapi.ENOENT]
    assert [seccomp_get_metadata(tracer, task, n) for n in (0, 1, 2)] == [(16, 0), (16, LOG), -uapi.ENOENT]
    assert [seccomp_get_metadata(tracer, task, 1, size) for size in (7, 8, 100)] == [-uapi.EINVAL, (8, LOG), (16, LOG)]
    tracer.credentials = tracer.credentials._replace(init_cap_sys_admin=False)
    assert seccomp_get_filter(tracer, task, 0) == -uapi.EACCES


# --- seccomp(2), Seccomp-specific BPF details and /proc interfaces: logging


@pytest.mark.parametrize("flag", [0, LOG])
@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_logged(kernel, action, flag):
    task = ready(kernel)
    load(kernel, task, of(action | 1, "mkdir"), flag)
    call = kernel.syscall(task, "mkdir")
    always_logged = action in (KILL_PROCESS, KILL_THREAD, LOGGED)
    assert len(call.log) == (always_logged or (flag == LOG and action != ALLOW))
    if call.log:
        assert (call.log[0].code, call.log[0].sig) == (action, uapi.SIGSYS if action in (KILL_PROCESS, KILL_THREAD) else 0)


def test_the_filter_that_decides_must_have_asked_for_the_log(kernel):
    task = ready(kernel)
    load(kernel, task, of(ERRNO | 1, "mkdir"))
    load(kernel, task, of(ERRNO | 2, "rmdir"), LOG)
    assert (len(kernel.syscall(task, "mkdir").log), len(kernel.syscall(task, "rmdir").log)) == (0, 1)


def test_actions_logged_is_set_by_names(kernel):
    root, task = kernel.process(privileged=True), ready(kernel)
    assert actions_avail() == "kill_process kill_thread trap errno user_notif trace log allow"
    assert actions_logged(kernel) == "kill_process kill_thread trap errno user_notif trace log"
    assert write_actions_logged(kernel, task, "log") == -uapi.EPERM
    assert {write_actions_logged(kernel, root, text) for text in ("allow", "kill", "log,trap")} == {-uapi.EINVAL}
    assert write_actions_logged(kernel, root, "log trap") == 0
    assert actions_logged(kernel) == "trap log"
    load(kernel, task, of(KILL_PROCESS, "mkdir"))
    assert kernel.syscall(task, "mkdir").log == []


# --- seccomp(2), SECCOMP_FILTER_FLAG_TSYNC


def threads(kernel, count=3):
    task = ready(kernel)
    return [task, *(kernel.clone_thread(task) for _ in range(count - 1))]


def test_tsync_gives_every_thread_the_filters_and_no_new_privs(kernel):
    first = kernel.process()
    others = [kernel.clone_thread(first) for _ in range(2)]
    kernel.prctl(first, uapi.PR_SET_NO_NEW_PRIVS, 1)
    load(kernel, first, of(ERRNO | 1, "mkdir"))
    load(kernel, first, of(ERRNO | 2, "rmdir"), TSYNC)
    for task in others:
        assert task.status() == {"NoNewPrivs": 1, "Seccomp": 2, "Seccomp_filters": 2}
        assert (kernel.syscall(task, "mkdir").value, kernel.syscall(task, "rmdir").value) == (-1, -2)
    assert [(one.refs, one.users) for one in kernel.filters] == [(1, 1), (3, 3)]


@pytest.mark.parametrize("flags", [TSYNC, TSYNC | ESRCH])
def test_a_thread_that_diverged_is_in_the_way_and_nothing_is_loaded(kernel, flags):
    a, b, c = threads(kernel)
    load(kernel, a, of(ERRNO | 1, "mkdir"))
    load(kernel, c, of(ERRNO | 2, "mkdir"))
    before = [task.status() for task in (a, b, c)]
    assert load(kernel, a, always(ALLOW), flags) == (-uapi.ESRCH if flags & ESRCH else c.tid)
    assert [task.status() for task in (a, b, c)] == before
    assert len(kernel.filters) == 2


def test_a_thread_in_strict_mode_is_in_the_way(kernel):
    a, b = threads(kernel, 2)
    kernel.seccomp(b, STRICT)
    assert load(kernel, a, always(ALLOW), TSYNC) == b.tid


def test_a_dead_leader_is_not(kernel):
    a, b = threads(kernel, 2)
    load(kernel, a, of(ERRNO | 1, "mkdir"))
    kernel.exit(a)
    assert not a.process.zombie
    assert load(kernel, b, always(ALLOW), TSYNC) == 0
    old = KernelModel("6.9")
    a, b = threads(old, 2)
    load(old, a, of(ERRNO | 1, "mkdir"))
    old.exit(a)
    assert load(old, b, always(ALLOW), TSYNC) == a.tid, "before 6.11 its filters still counted"


def test_a_thread_outside_the_callers_pid_namespace_cannot_be_named(kernel):
    parent = ready(kernel)
    child = kernel.fork(parent, new_pid_namespace=True)
    other = kernel.clone_thread(child)
    load(kernel, other, of(ERRNO | 1, "mkdir"))
    assert load(kernel, child, always(ALLOW), TSYNC) == 2, "numbers are those of the caller's namespace"
    del other.numbers[child.process.namespace]
    assert load(kernel, child, always(ALLOW), TSYNC) == -uapi.ESRCH


def test_exec_by_another_thread_ends_the_rest_and_keeps_its_filters(kernel):
    a, b = threads(kernel, 2)
    load(kernel, b, of(ERRNO | 5, "mkdir"))
    number = a.tid
    kernel.execve(b)
    assert (b.tid, b.process.threads, kernel.syscall(b, "mkdir").value) == (number, [b], -5)


# --- seccomp_unotify(2)


def supervised(kernel, flags=0, call="mkdir"):
    task, boss = ready(kernel), kernel.process("boss")
    fd = load(kernel, task, of(NOTIF, call), LISTENER | flags)
    listener = kernel.give(task, fd, boss)
    kernel.close(task, fd)
    return task, boss, listener


def receive(kernel, boss, listener):
    buffer = SeccompNotif()
    made = kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_RECV, buffer)
    return buffer if made.value == 0 else made.value


def send(kernel, boss, listener, *fields, **named):
    return kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_SEND, Response(*fields, **named)).value


def test_a_listener_without_a_filter_that_notifies_is_fine(kernel):
    task = ready(kernel)
    assert load(kernel, task, always(ALLOW), LISTENER) == 3
    assert kernel.poll(task, 3) == 0


def test_notify_without_a_listener_is_enosys(kernel):
    task = ready(kernel)
    load(kernel, task, of(NOTIF, "mkdir"))
    assert kernel.syscall(task, "mkdir").value == -uapi.ENOSYS


def test_one_listener_at_a_time_and_again_once_it_is_closed(kernel):
    task, boss, listener = supervised(kernel)
    assert load(kernel, task, always(ALLOW), LISTENER) == -uapi.EBUSY
    assert load(kernel, kernel.fork(task), always(ALLOW), LISTENER) == -uapi.EBUSY
    kernel.close(boss, listener)
    assert load(kernel, task, always(ALLOW), LISTENER) == 3


def test_the_answer_is_passed_on_as_it_is(kernel):
    task, boss, listener = supervised(kernel)
    for val, error, result in ((7, 0, 7), (-7, 0, -7), (3, -13, -13), (0, 5, 5), (0, 0, 0)):
        call = kernel.syscall(task, "mkdir")
        assert send(kernel, boss, listener, receive(kernel, boss, listener).id, val, error) == 0
        assert call.value == result


def test_continue_takes_no_value(kernel):
    task, boss, listener = supervised(kernel)
    call = kernel.syscall(task, "mkdir")
    number = receive(kernel, boss, listener).id
    assert [send(kernel, boss, listener, number, *rest) for rest in ((1, 0, 1), (0, -1, 1), (0, 0, 2), (0, 0, 3))] == [-22] * 4
    assert send(kernel, boss, listener, number, flags=1) == 0
    assert (call.ran, call.log) == (True, [])


def test_states_of_a_notification_and_what_each_request_says(kernel):
    task, boss, listener = supervised(kernel)
    valid = uapi.SECCOMP_IOCTL_NOTIF_ID_VALID
    call = kernel.syscall(task, "mkdir")
    assert kernel.poll(boss, listener) == 0x41
    assert (send(kernel, boss, listener, 1), kernel.ioctl(boss, listener, valid, 1).value) == (-uapi.EINPROGRESS, -uapi.ENOENT)
    receive(kernel, boss, listener)
    assert kernel.poll(boss, listener) == 0x104
    assert (kernel.ioctl(boss, listener, valid, 1).value, send(kernel, boss, listener, 1)) == (0, 0)
    assert (send(kernel, boss, listener, 1), kernel.poll(boss, listener), call.value) == (-uapi.ENOENT, 0, 0)


def test_faults_and_unknown_requests(kernel):
    _, boss, listener = supervised(kernel)
    requests = [
        uapi.SECCOMP_IOCTL_NOTIF_RECV,
        uapi.SECCOMP_IOCTL_NOTIF_SEND,
        uapi.SECCOMP_IOCTL_NOTIF_ID_VALID,
        uapi.SECCOMP_IOCTL_NOTIF_ADDFD,
    ]
    assert {kernel.ioctl(boss, listener, request, FAULT).value for request in requests} == {-uapi.EFAULT}
    assert kernel.ioctl(boss, listener, 0x5401, 0).value == -uapi.EINVAL
    assert (kernel.ioctl(boss, 99, requests[0]).value, kernel.ioctl(boss, 0, requests[0]).value) == (-uapi.EBADF, -25)


def test_a_copy_that_fails_leaves_the_notification_to_be_received_again(kernel):
    task, boss, listener = supervised(kernel)
    call = kernel.syscall(task, "mkdir")
    assert kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_RECV, SeccompNotif(writable=False)).value == -uapi.EFAULT
    assert kernel.poll(boss, listener) == 0x41
    assert send(kernel, boss, listener, receive(kernel, boss, listener).id, 5) == 0
    assert call.value == 5


def test_an_interrupted_notification_leaves_the_count_too_high(kernel):
    task, boss, listener = supervised(kernel)
    kernel.sigaction(task, uapi.SIGUSR1, CATCH)
    call = kernel.syscall(task, "mkdir")
    kernel.kill(task, uapi.SIGUSR1)
    assert (call.value, kernel.poll(boss, listener)) == (-uapi.EINTR, 0)
    assert receive(kernel, boss, listener) == -uapi.ENOENT, "at once, though nothing is there"
    sleeping = kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_RECV, SeccompNotif())
    assert (sleeping.state, sleeping.why) == ("sleeping", "a notification")


def test_stop_and_continue_make_a_new_notification(kernel):
    task, boss, listener = supervised(kernel)
    call = kernel.syscall(task, "mkdir")
    first = receive(kernel, boss, listener).id
    kernel.kill(task, uapi.SIGSTOP)
    assert kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_ID_VALID, first).value == -uapi.ENOENT
    kernel.kill(task, uapi.SIGCONT)
    second = receive(kernel, boss, listener).id
    assert (second, call.restarts) == (first + 1, 1)


@pytest.mark.parametrize(
    ("flags", "received", "signal", "state"),
    [
        (0, False, uapi.SIGUSR1, "returned"), (0, True, uapi.SIGUSR1, "returned"), (KILLABLE, False, uapi.SIGUSR1, "returned"),
        (KILLABLE, True, uapi.SIGUSR1, "sleeping"), (KILLABLE, True, uapi.SIGKILL, "gone"), (KILLABLE, True, uapi.SIGTERM, "gone"),
        (0, True, uapi.SIGKILL, "gone"), (0, False, uapi.SIGTERM, "gone"),
    ],
)  # fmt: skip
def test_who_interrupts_the_wait_in_each_phase(kernel, flags, received, signal, state):
    task, boss, listener = supervised(kernel, flags)
    kernel.sigaction(task, uapi.SIGUSR1, CATCH)
    call = kernel.syscall(task, "mkdir")
    if received:
        receive(kernel, boss, listener)
    kernel.kill(task, signal)
    assert call.state == state


def test_the_last_close_answers_what_waits_and_what_comes(kernel):
    task, boss, listener = supervised(kernel)
    second = kernel.give(boss, listener, kernel.process("second boss"))
    assert second == 3
    call = kernel.syscall(task, "mkdir")
    kernel.close(boss, listener)
    assert call.state == "sleeping", "another has it still"
    kernel.exit_group(kernel.tasks[-1])
    assert (call.value, kernel.syscall(task, "mkdir").value) == (-uapi.ENOSYS, -uapi.ENOSYS)


def test_nobody_left_is_hup_and_enoent(kernel):
    task, boss, listener = supervised(kernel)
    child = kernel.fork(task)
    kernel.exit_group(task)
    assert kernel.poll(boss, listener) == 0
    waiting = kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_RECV, SeccompNotif())
    kernel.exit_group(child)
    assert (kernel.poll(boss, listener), waiting.value) == (0x10, -uapi.ENOENT)


def test_numbers_are_those_of_the_supervisors_pid_namespace(kernel):
    outer = kernel.process("outer")
    boss = kernel.fork(outer, "boss", new_pid_namespace=True)
    task = ready(kernel)
    listener = kernel.give(task, load(kernel, task, of(NOTIF, "mkdir"), LISTENER), boss)
    kernel.syscall(task, "mkdir")
    assert receive(kernel, boss, listener).pid == 0, "outside of it there is none"
    inner = kernel.fork(task, new_pid_namespace=True)
    kernel.syscall(inner, "mkdir")
    far = kernel.give(boss, listener, outer)
    assert receive(kernel, outer, far).pid == inner.tid
    assert next(iter(inner.numbers.values())) == 1


def test_notifications_are_received_in_their_order(kernel):
    task, boss, listener = supervised(kernel)
    others = [kernel.fork(task), kernel.clone_thread(task)]
    for one in (others[1], task, others[0]):
        kernel.syscall(one, "mkdir")
    assert [receive(kernel, boss, listener).pid for _ in range(3)] == [others[1].tid, task.tid, others[0].tid]


def test_a_supervisor_that_is_killed_leaves_nobody_hanging_unless_the_target_has_the_listener_too(kernel):
    # seccomp_unotify(2), NOTES: close the target's copy
    task, boss, _ = supervised(kernel)
    call = kernel.syscall(task, "mkdir")
    kernel.kill(boss, uapi.SIGKILL)
    assert call.value == -uapi.ENOSYS
    keeps, other = ready(kernel), kernel.process("other")
    kernel.give(keeps, load(kernel, keeps, of(NOTIF, "mkdir"), LISTENER), other)
    call = kernel.syscall(keeps, "mkdir")
    kernel.kill(other, uapi.SIGKILL)
    assert call.state == "sleeping"


# --- ptrace(2), wait(2): a tracee that is another's child


@pytest.mark.parametrize("waits", [True, False], ids=["it waits", "it ends"])
def test_a_tracees_parent_is_told_of_its_end_after_its_tracer(kernel, waits):
    parent, tracer = kernel.process("parent"), kernel.process("tracer")
    kernel.sigaction(parent, uapi.SIGCHLD, CATCH)
    child = kernel.fork(parent, "child")
    assert kernel.seize(tracer, child) == 0
    kernel.exit_group(child, 3)
    assert (kernel.wait(parent), parent.handled) == (None, [])
    if waits:
        assert kernel.wait(tracer) == (child.tid, 3 << 8)
        assert kernel.wait(tracer) == (0, 0), "it was nobody's of its own"
    else:
        kernel.exit_group(tracer)
    assert [info.signo for info in parent.handled] == [uapi.SIGCHLD]
    assert kernel.wait(parent) == (child.tid, 3 << 8)
    assert kernel.wait(parent) == (0, 0)
