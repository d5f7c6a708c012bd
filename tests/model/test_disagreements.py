"""Where the model once said something else than the running kernel (6.18): what was found, told again in the fewest steps."""

from __future__ import annotations

from seclude.bpf import Program, codes
from seclude.model import KernelModel, uapi
from seclude.model.task import IGNORE

GETUID = 102
KILLS_GETUID = Program(
    [(0x20, 0, 0, 0), (0x15, 0, 1, GETUID), (0x06, 0, 0, codes.SECCOMP_RET_KILL_PROCESS), (0x06, 0, 0, codes.SECCOMP_RET_ALLOW)]
)


def test_an_audit_record_names_the_process_not_the_thread():
    """kernel/auditsc.c, audit_log_task: task_tgid_nr."""
    kernel = KernelModel()
    leader = kernel.process(privileged=True)
    thread = kernel.clone_thread(leader)
    kernel.seccomp(thread, codes.SECCOMP_SET_MODE_FILTER, 0, KILLS_GETUID)
    kernel.syscall(thread, "getuid")
    assert [record.pid for record in kernel.log] == [leader.tid]


def test_a_process_whose_threads_end_one_by_one_has_the_status_of_the_last():
    """kernel/exit.c, synchronize_group_exit."""
    kernel = KernelModel()
    parent = kernel.process()
    child = kernel.fork(parent)
    first, second = kernel.clone_thread(child), kernel.clone_thread(child)
    kernel.exit(child, 200)
    kernel.exit(first, 77)
    assert kernel.wait(parent) is None
    kernel.exit(second, 213)
    assert kernel.wait(parent) == (child.tid, 213 << 8)


def test_a_signal_that_waits_is_dropped_when_it_is_ignored():
    """kernel/signal.c, do_sigaction: blocked or not."""
    kernel = KernelModel()
    task = kernel.process()
    task.blocked.add(uapi.SIGUSR1)
    kernel.kill(task, uapi.SIGUSR1)
    assert [info.signo for info in task.pending] == [uapi.SIGUSR1]
    kernel.sigaction(task, uapi.SIGUSR1, IGNORE)
    assert task.pending == []


def test_a_process_whose_parent_ended_has_another_parent():
    """kernel/exit.c, forget_original_parent: the one that adopts it is not part of the model, and has no number."""
    kernel = KernelModel()
    parent = kernel.process()
    child = kernel.fork(parent)
    assert kernel.syscall(child, "getppid").value == parent.tid
    kernel.exit_group(parent)
    assert kernel.syscall(child, "getppid").value == 0
