"""ptrace(2), as far as it meets seccomp: stops, the registers of the call, filters as a tracer reads them, and SUSPEND_SECCOMP.

Source: kernel/ptrace.c, kernel/seccomp.c (``seccomp_get_filter``, ``seccomp_get_metadata``), include/linux/ptrace.h.
"""

from __future__ import annotations

from seclude.bpf.codes import SECCOMP_FILTER_FLAG_LOG, SECCOMP_MODE_DISABLED, SECCOMP_MODE_FILTER
from seclude.model.calls import Sleep
from seclude.model.task import Siginfo, do_notify_parent, task_pid_vnr
from seclude.model.uapi import (
    EACCES,
    EINVAL,
    EIO,
    ENOENT,
    EPERM,
    ESRCH,
    PTRACE_EVENT_CLONE,
    PTRACE_EVENT_EXIT,
    PTRACE_EVENT_FORK,
    PTRACE_EVENT_SECCOMP,
    PTRACE_EVENT_STOP,
    PTRACE_EVENT_VFORK,
    PTRACE_EVENT_VFORK_DONE,
    PTRACE_O_EXITKILL,
    PTRACE_O_MASK,
    PTRACE_O_SUSPEND_SECCOMP,
    PTRACE_O_TRACECLONE,
    PTRACE_O_TRACEEXIT,
    PTRACE_O_TRACEFORK,
    PTRACE_O_TRACESECCOMP,
    PTRACE_O_TRACESYSGOOD,
    PTRACE_O_TRACEVFORK,
    PTRACE_O_TRACEVFORKDONE,
    SIGKILL,
    SIGTRAP,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.bpf.program import Program
    from seclude.model.calls import Steps, SystemCall
    from seclude.model.filter import SeccompFilter
    from seclude.model.kernel import KernelModel
    from seclude.model.task import Task

__all__ = [
    "Stop",
    "begin_traced",
    "detach",
    "exit_ptrace",
    "ptrace_event",
    "ptrace_event_enabled",
    "ptrace_event_pid",
    "ptrace_init_task",
    "ptrace_report_syscall",
    "ptrace_signal",
    "resume",
    "seccomp_get_filter",
    "seccomp_get_metadata",
    "seize",
    "set_call",
    "set_options",
]

_ENABLED_BY = {
    PTRACE_EVENT_FORK: PTRACE_O_TRACEFORK,
    PTRACE_EVENT_VFORK: PTRACE_O_TRACEVFORK,
    PTRACE_EVENT_CLONE: PTRACE_O_TRACECLONE,
    PTRACE_EVENT_VFORK_DONE: PTRACE_O_TRACEVFORKDONE,
    PTRACE_EVENT_SECCOMP: PTRACE_O_TRACESECCOMP,
    PTRACE_EVENT_EXIT: PTRACE_O_TRACEEXIT,
}
#: sizeof struct seccomp_metadata, and of its first field
_METADATA, _FILTER_OFF = 16, 8


class Stop:
    """A tracee's stop: ``status`` as wait(2) tells it, ``message`` as PTRACE_GETEVENTMSG does, ``info`` the signal about to be delivered."""

    __slots__ = ("info", "listening", "message", "released", "reported", "signal", "status")

    def __init__(self, signal: int, event: int = 0, message: int = 0, info: Siginfo | None = None) -> None:
        self.status = event << 16 | signal << 8 | 0x7F
        self.message = message
        self.info = info
        self.reported = False
        self.released = False
        self.listening = False
        #: what the tracer resumes it with
        self.signal = 0

    @property
    def event(self) -> int:
        return self.status >> 16


def ptrace_stop(kernel: KernelModel, task: Task, stop: Stop) -> Steps[int]:
    """Wait for the tracer: the signal it resumed with, 0 where there is none (any more)."""
    task.stop = stop
    kernel.tell(f"{kernel.name(task)} stops for its tracer (status {stop.status:#x})")
    yield Sleep("its tracer", lambda: stop.released, killable=True)
    task.stop = None
    return stop.signal if stop.released else 0


def ptrace_event_enabled(task: Task, event: int) -> bool:
    """Whether the task has a tracer that asked for this event."""
    return task.tracer is not None and bool(task.ptrace_options & _ENABLED_BY[event])


def ptrace_event(kernel: KernelModel, task: Task, event: int, message: int) -> Steps[None]:
    """An event's stop."""
    yield from ptrace_stop(kernel, task, Stop(SIGTRAP, event, message))


def ptrace_event_pid(kernel: KernelModel, task: Task, event: int, other: Task) -> Steps[None]:
    """An event that is about another task: its message is the number that the tracer sees it by."""
    assert task.tracer is not None
    yield from ptrace_event(kernel, task, event, task_pid_vnr(other, task.tracer))


def ptrace_init_task(maker: Task, child: Task) -> None:
    """A child that its maker's tracer is told of has that tracer too, with the same options."""
    child.tracer = maker.tracer
    child.ptrace_options = maker.ptrace_options


def begin_traced(kernel: KernelModel, child: Task) -> Steps[None]:
    """The stop of a child that is traced from its birth, before anything of it runs (JOBCTL_TRAP_STOP, as its maker was seized)."""
    yield from ptrace_stop(kernel, child, Stop(SIGTRAP, PTRACE_EVENT_STOP))


def ptrace_signal(kernel: KernelModel, task: Task, info: Siginfo) -> Steps[Siginfo]:
    """The stop before a signal is delivered: the tracer may let another one through, or none."""
    stop = Stop(info.signo, info=info)
    signal = yield from ptrace_stop(kernel, task, stop)
    return info if signal == info.signo else Siginfo(signal)


def ptrace_report_syscall(kernel: KernelModel, task: Task) -> Steps[None]:
    """The stop at the beginning or the end of a call, after PTRACE_SYSCALL."""
    good = 0x80 if task.ptrace_options & PTRACE_O_TRACESYSGOOD else 0
    task.ptrace_syscall = False
    signal = yield from ptrace_stop(kernel, task, Stop(SIGTRAP | good))
    if signal:
        task.pending.append(Siginfo(signal))


# --- requests


def check_ptrace_options(tracer: Task, options: int) -> int:
    """0, or why a tracer may not set these."""
    if options & ~PTRACE_O_MASK:
        return -EINVAL
    if options & PTRACE_O_SUSPEND_SECCOMP and (
        not tracer.credentials.init_cap_sys_admin
        or tracer.mode != SECCOMP_MODE_DISABLED
        or tracer.ptrace_options & PTRACE_O_SUSPEND_SECCOMP
    ):
        return -EPERM
    return 0


def seize(tracer: Task, tracee: Task, options: int = 0) -> int:
    """PTRACE_SEIZE: 0 or a negated errno."""
    if tracee.tracer is not None or tracee.process is tracer.process:
        return -EPERM
    refused = check_ptrace_options(tracer, options)
    if refused:
        return -EIO if refused == -EINVAL else refused
    if tracee.exiting:
        return -EPERM
    tracee.tracer = tracer
    tracee.ptrace_options = options
    return 0


def set_options(tracer: Task, tracee: Task, options: int) -> int:
    """PTRACE_SETOPTIONS."""
    refused = _stopped(tracer, tracee) or check_ptrace_options(tracer, options)
    if not refused:
        tracee.ptrace_options = options
    return refused


def _stopped(tracer: Task, tracee: Task) -> int:
    return 0 if tracee.tracer is tracer and tracee.stop is not None and not tracee.exited else -ESRCH


def resume(tracer: Task, tracee: Task, signal: int = 0, *, syscall: bool = False) -> int:
    """PTRACE_CONT, or PTRACE_SYSCALL: the stopped thread goes on, with ``signal``."""
    refused = _stopped(tracer, tracee)
    if refused:
        return refused
    assert tracee.stop is not None
    if not 0 <= signal <= 64:
        return -EIO
    tracee.ptrace_syscall = syscall
    tracee.stop.signal = signal
    tracee.stop.released = True
    return 0


def detach(kernel: KernelModel, tracer: Task, tracee: Task, signal: int = 0) -> int:
    """PTRACE_DETACH: the thread goes on without a tracer."""
    refused = resume(tracer, tracee, signal)
    if not refused:
        _unlink(tracee)
        kernel.tell(f"{kernel.name(tracee)} has no tracer any more")
    return refused


def _unlink(tracee: Task) -> None:
    tracee.tracer = None
    tracee.ptrace_options = 0
    tracee.ptrace_syscall = False


def set_call(
    tracer: Task, tracee: Task, call: SystemCall, nr: int | None = None, args: Sequence[int] | None = None, value: int | None = None
) -> int:
    """PTRACE_SETREGS, as far as a call is concerned: its number, its arguments, the register its result is in."""
    refused = _stopped(tracer, tracee)
    if refused:
        return refused
    if nr is not None:
        call.nr = nr
    if args is not None:
        call.args = tuple(args) + (0,) * (6 - len(args))
    if value is not None:
        call.result = value
    return 0


def exit_ptrace(kernel: KernelModel, tracer: Task) -> None:
    """A tracer ends: its tracees are killed where they were to be (EXITKILL), else they go on; a call at its seccomp stop **runs**."""
    for tracee in list(kernel.tasks):
        if tracee.tracer is tracer:
            kill = bool(tracee.ptrace_options & PTRACE_O_EXITKILL)
            _unlink(tracee)
            if tracee.exited and not tracee.is_leader:
                kernel.release(tracee)
            elif tracee.exited:
                if tracee.process.zombie:
                    do_notify_parent(kernel, tracee.process)
            elif kill:
                kernel.send_signal(tracee, Siginfo(SIGKILL))
            elif tracee.stop is not None:
                tracee.stop.released = True


# --- what a tracer reads


def _get_nth_filter(tracee: Task, offset: int) -> SeccompFilter | int:
    if tracee.mode != SECCOMP_MODE_FILTER:
        return -EINVAL
    chain = tracee.chain()
    if offset >= len(chain):
        return -ENOENT
    return chain[len(chain) - 1 - offset]


def _may_read(tracer: Task) -> bool:
    return tracer.credentials.init_cap_sys_admin and tracer.mode == SECCOMP_MODE_DISABLED


def seccomp_get_filter(tracer: Task, tracee: Task, offset: int) -> Program | int:
    """PTRACE_SECCOMP_GET_FILTER: the filter as it was given, offset 0 the **oldest**."""
    if _stopped(tracer, tracee):
        return -ESRCH
    if not _may_read(tracer):
        return -EACCES
    found = _get_nth_filter(tracee, offset)
    return found if isinstance(found, int) else found.program


def seccomp_get_metadata(tracer: Task, tracee: Task, offset: int, size: int = _METADATA) -> tuple[int, int] | int:
    """PTRACE_SECCOMP_GET_METADATA: ``(bytes told, flags)``; LOG is the only flag that is kept."""
    if _stopped(tracer, tracee):
        return -ESRCH
    if not _may_read(tracer):
        return -EACCES
    size = min(size, _METADATA)
    if size < _FILTER_OFF:
        return -EINVAL
    found = _get_nth_filter(tracee, offset)
    if isinstance(found, int):
        return found
    return size, SECCOMP_FILTER_FLAG_LOG if found.log else 0
