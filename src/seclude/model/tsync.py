"""SECCOMP_FILTER_FLAG_TSYNC: put every thread of the process under the caller's filters, or none.

A thread can be synchronised where it has no filter, or where its newest filter is one of the caller's own as they were before
the new one. Threads on their way out are passed over (since 6.11; before, their filters were still looked at).

Source: kernel/seccomp.c (``seccomp_can_sync_threads``, ``seccomp_sync_threads``).
"""

from __future__ import annotations

from seclude.bpf.codes import SECCOMP_MODE_DISABLED, SECCOMP_MODE_FILTER
from seclude.model.filter import get_seccomp_filter, is_ancestor, release_filter
from seclude.model.task import task_pid_vnr
from seclude.model.uapi import ESRCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.model.kernel import KernelModel
    from seclude.model.task import Task

__all__ = ["seccomp_can_sync_threads", "seccomp_sync_threads"]


def _others(kernel: KernelModel, caller: Task) -> Iterator[Task]:
    for thread in caller.process.threads:
        if thread is caller or (thread.exiting and kernel.version.has("release_at_exit")):
            continue
        yield thread


def seccomp_can_sync_threads(kernel: KernelModel, caller: Task) -> int:
    """0, or the number of the first thread in the way as the caller sees it; -ESRCH where the caller cannot see it."""
    for thread in _others(kernel, caller):
        if thread.mode == SECCOMP_MODE_DISABLED:
            continue
        if thread.mode == SECCOMP_MODE_FILTER and is_ancestor(thread.filter, caller.filter):
            continue
        return task_pid_vnr(thread, caller) or -ESRCH
    return 0


def seccomp_sync_threads(kernel: KernelModel, caller: Task, flags: int) -> None:
    """Give every other thread the caller's filters, their count, and no_new_privs where the caller has it."""
    from seclude.model.seccomp import seccomp_assign_mode

    for thread in _others(kernel, caller):
        # The new leaf first: the old filter is below it, and stays.
        get_seccomp_filter(caller)
        release_filter(kernel, thread.filter)
        thread.filter = caller.filter
        thread.filter_count = caller.filter_count
        if caller.no_new_privs:
            thread.no_new_privs = True
        if thread.mode == SECCOMP_MODE_DISABLED:
            seccomp_assign_mode(thread, SECCOMP_MODE_FILTER, flags)
