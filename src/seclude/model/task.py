"""Tasks and thread groups: the parts of struct task_struct and struct signal_struct that seccomp looks at or changes.

A task is a thread; a process is a thread group with a leader. A task holds the newest of its filters, counts them, and is in
one of four modes. Source: include/linux/{sched,seccomp}.h, kernel/{fork,exit}.c, fs/exec.c.
"""

from __future__ import annotations

from typing import NamedTuple

from seclude.bpf.codes import SECCOMP_MODE_DISABLED
from seclude.model.files import Files
from seclude.model.filter import get_seccomp_filter, seccomp_filter_release
from seclude.model.uapi import (
    PTRACE_EVENT_EXIT,
    PTRACE_O_TRACEEXIT,
    SIGCHLD,
    SIGKILL,
    signal_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from seclude.model.calls import Activity, Steps
    from seclude.model.filter import SeccompFilter
    from seclude.model.kernel import KernelModel
    from seclude.model.ptrace import Stop

__all__ = [
    "CATCH",
    "DEFAULT",
    "IGNORE",
    "RESTART",
    "Credentials",
    "Exited",
    "PidNamespace",
    "Process",
    "Siginfo",
    "Task",
    "UserDispatch",
    "begin_new_exec",
    "copy_process",
    "do_exit",
    "do_notify_parent",
    "release_task",
    "task_pid_vnr",
]

#: what a process does with a signal: SIG_DFL, SIG_IGN, a handler, a handler with SA_RESTART
DEFAULT, IGNORE, CATCH, RESTART = "default", "ignore", "catch", "restart"


class Exited(Exception):  # noqa: N818 - not an error: do_exit does not return
    """The running task is gone."""


class Siginfo(NamedTuple):
    """What comes with a SIGSYS: siginfo_t as seccomp fills it in (``seccomp_init_siginfo``)."""

    signo: int
    code: int = 0
    errno: int = 0
    call_addr: int = 0
    syscall: int = 0
    arch: int = 0


class Credentials(NamedTuple):
    """``cap_sys_admin``: in the task's own user namespace; ``init_cap_sys_admin``: in the first one."""

    cap_sys_admin: bool = False
    init_cap_sys_admin: bool = False


class PidNamespace:
    """A pid namespace; ``parent`` is None for the first."""

    __slots__ = ("last", "parent")

    def __init__(self, parent: PidNamespace | None = None) -> None:
        self.parent = parent
        self.last = 0


class UserDispatch(NamedTuple):
    """prctl(PR_SET_SYSCALL_USER_DISPATCH): calls from outside ``[offset, offset + length)`` are SIGSYS while the byte ``selector`` says so; None: always."""

    offset: int = 0
    length: int = 0
    selector: bytearray | None = None


class Process:
    """A thread group: what its threads share."""

    __slots__ = (
        "files",
        "group_exit_code",
        "handlers",
        "immutable",
        "leader",
        "live",
        "memory",
        "namespace",
        "parent",
        "threads",
        "vfork_maker",
    )

    def __init__(self, files: Files, namespace: PidNamespace, parent: Process | None) -> None:
        self.files = files
        self.namespace = namespace
        self.parent = parent
        self.leader: Task
        #: every thread that is not released yet, the leader first
        self.threads: list[Task] = []
        #: signal_struct.live: threads that have not begun to exit
        self.live = 0
        self.handlers: dict[int, str] = {}
        #: signals whose disposition was forced to the default for good (SA_IMMUTABLE): no tracer sees them
        self.immutable: set[int] = set()
        self.group_exit_code: int | None = None
        #: address → bytes, for whoever reads a target's memory
        self.memory: dict[int, bytes] = {}
        #: the task that waits for this process's exec or end (CLONE_VFORK); None where none does, or does any more
        self.vfork_maker: Task | None = None

    @property
    def zombie(self) -> bool:
        """Whether nothing of it runs any more."""
        return all(task.exited for task in self.threads)

    @property
    def status(self) -> int | None:
        """What wait(2) tells: None while it lives."""
        if not self.zombie:
            return None
        return self.group_exit_code if self.group_exit_code is not None else self.leader.exit_code


class Task:
    """struct task_struct. ``tid`` is its number in the first pid namespace."""

    __slots__ = (
        "activity", "blocked", "comm", "credentials", "dispatch", "exit_code", "exited", "exiting", "filter", "filter_count", "handled",
        "mode", "no_new_privs", "numbers", "pending", "process", "ptrace_options", "ptrace_syscall", "spec_mitigated", "stop", "stopped", "tid",
        "tracer", "tsc_disabled",
    )  # fmt: skip

    def __init__(self, process: Process, numbers: dict[PidNamespace, int], comm: str) -> None:
        self.process = process
        self.numbers = numbers
        self.tid = numbers[_first(process.namespace)]
        self.comm = comm
        self.credentials = Credentials()
        self.no_new_privs = False
        # struct seccomp
        self.mode = SECCOMP_MODE_DISABLED
        self.filter: SeccompFilter | None = None
        self.filter_count = 0
        #: PF_EXITING, and whether do_exit is through
        self.exiting = False
        self.exited = False
        #: the low 7 bits are a signal, bits 8 to 15 a status: as wait(2) tells it
        self.exit_code = 0
        self.blocked: set[int] = set()
        self.pending: list[Siginfo] = []
        #: the signals whose handlers ran, in order
        self.handled: list[Siginfo] = []
        self.stopped = False
        self.tracer: Task | None = None
        self.ptrace_options = 0
        self.ptrace_syscall = False
        self.stop: Stop | None = None
        self.dispatch: UserDispatch | None = None
        self.tsc_disabled = False
        self.spec_mitigated = False
        #: the call or the delivery that the task is in; None in user mode
        self.activity: Activity | None = None

    def __repr__(self) -> str:
        return f"<Task {self.tid}>"

    @property
    def is_leader(self) -> bool:
        return self.process.leader is self

    def fatal_signal_pending(self) -> bool:
        """Whether SIGKILL waits for it (include/linux/sched/signal.h)."""
        return any(info.signo == SIGKILL for info in self.pending)

    def signal_pending(self) -> bool:
        """Whether a signal that is not blocked waits for it."""
        return any(info.signo == SIGKILL or info.signo not in self.blocked for info in self.pending)

    def chain(self) -> list[SeccompFilter]:
        """Its filters, the newest first: the order in which they run."""
        found = []
        one = self.filter
        while one is not None:
            found.append(one)
            one = one.prev
        return found

    def status(self) -> dict[str, int]:
        """The lines of /proc/TID/status that are seccomp's."""
        return {"NoNewPrivs": int(self.no_new_privs), "Seccomp": self.mode, "Seccomp_filters": self.filter_count}


def _first(namespace: PidNamespace) -> PidNamespace:
    while namespace.parent is not None:
        namespace = namespace.parent
    return namespace


def task_pid_vnr(task: Task, viewer: Task) -> int:
    """The number of ``task`` in the pid namespace of ``viewer``; 0 where it has none there."""
    return task.numbers.get(viewer.process.namespace, 0)


def alloc_pid(namespace: PidNamespace, first: int = 0) -> dict[PidNamespace, int]:
    """A number in ``namespace`` and each around it."""
    numbers: dict[PidNamespace, int] = {}
    one: PidNamespace | None = namespace
    while one is not None:
        one.last = max(one.last + 1, first if one.parent is None else 0)
        numbers[one] = one.last
        one = one.parent
    return numbers


def copy_process(kernel: KernelModel, parent: Task, *, thread: bool = False, new_pid_namespace: bool = False) -> Task:
    """fork(2), or clone(2) with CLONE_THREAD: the new task. What it has of its parent's seccomp is ``copy_seccomp``."""
    if thread:
        process = parent.process
    else:
        namespace = PidNamespace(parent.process.namespace) if new_pid_namespace else parent.process.namespace
        files = Files(parent.process.files.limit)
        for fd, (file, cloexec) in parent.process.files.table.items():
            files.fd_install(fd, file, cloexec=cloexec)
        process = Process(files, namespace, parent.process)
        process.handlers = dict(parent.process.handlers)
        process.memory = dict(parent.process.memory)
    child = Task(process, alloc_pid(process.namespace), parent.comm)
    if not process.threads:
        process.leader = child
    child.credentials = parent.credentials
    child.blocked = set(parent.blocked)
    child.tsc_disabled = parent.tsc_disabled
    child.spec_mitigated = parent.spec_mitigated
    process.files.sharers += 1
    process.threads.append(child)
    process.live += 1
    copy_seccomp(parent, child)
    kernel.tasks.append(child)
    return child


def copy_seccomp(parent: Task, child: Task) -> None:
    """The child starts with the parent's mode, filters, their count and no_new_privs. Syscall user dispatch is not inherited."""
    get_seccomp_filter(parent)
    child.mode = parent.mode
    child.filter = parent.filter
    child.filter_count = parent.filter_count
    child.no_new_privs = parent.no_new_privs


def begin_new_exec(kernel: KernelModel, task: Task, comm: str = "") -> None:
    """execve(2) that succeeds: other threads end, the task becomes the leader and takes its number; filters stay, handlers do not."""
    process = task.process
    for other in list(process.threads):
        if other is not task and not other.exited:
            _leave(kernel, other, 0)
    former = process.leader
    if former is not task:
        task.numbers, former.numbers = former.numbers, task.numbers
        task.tid, former.tid = former.tid, task.tid
        process.leader = task
        release_task(kernel, former)
    process.handlers = {signal: how for signal, how in process.handlers.items() if how == IGNORE}
    for fd, (file, cloexec) in list(process.files.table.items()):
        if cloexec:
            del process.files.table[fd]
            kernel.fput(file)
    process.vfork_maker = None
    task.dispatch = None
    task.comm = comm or task.comm


def do_exit(kernel: KernelModel, task: Task, code: int) -> Steps[NoReturn]:
    """The task ends, after a tracer that asked for it had a look. Does not return: raises `Exited`."""
    from seclude.model.ptrace import ptrace_event

    if not task.exiting and task.ptrace_options & PTRACE_O_TRACEEXIT:
        yield from ptrace_event(kernel, task, PTRACE_EVENT_EXIT, code)
    _leave(kernel, task, code)
    raise Exited


def do_group_exit(kernel: KernelModel, task: Task, code: int) -> Steps[NoReturn]:
    """The whole process ends: every other thread is killed. Does not return."""
    process = task.process
    if process.group_exit_code is None:
        process.group_exit_code = code
        zap_other_threads(kernel, task)
    yield from do_exit(kernel, task, process.group_exit_code)
    raise AssertionError


def zap_other_threads(kernel: KernelModel, task: Task) -> None:
    """SIGKILL for every other thread of the process."""
    for other in list(task.process.threads):
        if other is not task and not other.exiting:
            kernel.wake_with(other, Siginfo(SIGKILL))


def _leave(kernel: KernelModel, task: Task, code: int) -> None:
    process = task.process
    task.exiting = True
    task.exit_code = code
    process.live -= 1
    if process.live == 0 and process.group_exit_code is None and kernel.version.has("last_status"):
        process.group_exit_code = code  # synchronize_group_exit
    kernel.tell(f"{kernel.name(task)} ends ({_code_text(code)})")
    if kernel.version.has("release_at_exit"):
        seccomp_filter_release(kernel, task)
    process.files.sharers -= 1
    if process.files.sharers == 0:
        for fd, (file, _) in list(process.files.table.items()):
            del process.files.table[fd]
            kernel.fput(file)
    if process.live == 0:
        process.vfork_maker = None
    kernel.exit_ptrace(task)
    task.pending.clear()
    task.stop = None
    task.exited = True
    if not task.is_leader and task.tracer is None:
        release_task(kernel, task)
    if process.zombie:
        # forget_original_parent: whoever is left behind belongs to the machine's first process, which is not modelled.
        for other in kernel.tasks:
            if other.process.parent is process:
                other.process.parent = None
        tracer = process.leader.tracer
        if tracer is not None and tracer.process is not process.parent:
            # Its tracer is told, and its parent once the tracer has waited for it.
            kernel.send_signal(tracer, Siginfo(SIGCHLD))
        else:
            do_notify_parent(kernel, process)


def do_notify_parent(kernel: KernelModel, process: Process) -> None:
    """SIGCHLD for whoever made an ended process, if that still lives."""
    if process.parent is not None and not process.parent.zombie:
        kernel.send_signal(process.parent.leader, Siginfo(SIGCHLD))


def release_task(kernel: KernelModel, task: Task) -> None:
    """The task is reaped: by wait(2) for the leader of a process, at once for other threads. Kernels before 6.11 let go of filters here."""
    seccomp_filter_release(kernel, task)
    if task in task.process.threads:
        task.process.threads.remove(task)
    kernel.tasks.remove(task)


def _code_text(code: int) -> str:
    return signal_text(code & 0x7F) if code & 0x7F else f"status {code >> 8}"
