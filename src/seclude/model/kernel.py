"""The model of one running kernel: its tasks, its clock (one step at a time), and the system calls as plain methods.

Every method that stands for a system call takes the task that makes it, lets the call in through the task's own filters, and
returns the `SystemCall`, which keeps changing while the call sleeps. Unless ``by_hand`` is set, everything that can run does so
before the method returns: the model is always at rest between two calls, as a kernel is whose programs wait for each other. With
``by_hand`` nothing moves until `step` is told to: that is how a scheduler tries every order.
"""

from __future__ import annotations

from seclude.abi import Architecture, by_token
from seclude.abi import arch as find_arch
from seclude.bpf.codes import SECCOMP_RET_ALLOW
from seclude.errors import InternalError, UsageError
from seclude.model import ptrace
from seclude.model.calls import Activity, Point, Sleep, SystemCall
from seclude.model.entry import do_syscall
from seclude.model.files import File, Files
from seclude.model.filter import Fprog
from seclude.model.invariants import check
from seclude.model.listener import seccomp_notify_ioctl
from seclude.model.machine import BODIES, MODELLED, bitmap_sizes, numbers
from seclude.model.notify import seccomp_notify_poll, seccomp_notify_release
from seclude.model.seccomp import do_seccomp, prctl_seccomp
from seclude.model.signals import exit_to_user_mode, ignored, send_signal
from seclude.model.task import (
    Credentials,
    Exited,
    PidNamespace,
    Process,
    Siginfo,
    Task,
    alloc_pid,
    begin_new_exec,
    copy_process,
    do_exit,
    do_group_exit,
    do_notify_parent,
    release_task,
    task_pid_vnr,
)
from seclude.model.uapi import (
    ACTION_NAMES,
    EBADF,
    EINVAL,
    ERESTARTSYS,
    PTRACE_EVENT_CLONE,
    PTRACE_EVENT_FORK,
    PTRACE_EVENT_VFORK,
    PTRACE_EVENT_VFORK_DONE,
)
from seclude.model.versions import NEWEST, Version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seclude.model.calls import Body, Steps
    from seclude.model.filter import SeccompFilter
    from seclude.model.log import LogRecord

__all__ = ["KernelModel"]

_ENOTTY = 25


class KernelModel:
    """A kernel of ``version`` (5.0 to 6.18) on a machine of ``arch``. Raises `UsageError` for others."""

    def __init__(self, version: str = f"{NEWEST[0]}.{NEWEST[1]}", arch: str | Architecture = "x86_64", *, by_hand: bool = False) -> None:
        self.version = Version.read(version)
        self.arch = find_arch(arch)
        if self.arch.name not in MODELLED:
            raise UsageError(f"the kernel of {self.arch.name} is not modelled", f"one of {', '.join(MODELLED)}")
        self.by_hand = by_hand
        #: numbers of the native table at this version, and bit 30 where x32 shares the token
        self.names = numbers(self.arch.name, self.version)
        self.x32_bit = 0x40000000 if self.arch.name == "x86_64" else 0
        #: audit token → numbers in the bitmap
        self.bitmap_sizes = bitmap_sizes(self.arch.name, self.version)
        #: the id of a listener's first notification: a random number in the kernel
        self.first_id = 1
        self.actions_logged = frozenset(name for action, name in ACTION_NAMES.items() if action != SECCOMP_RET_ALLOW)
        self.tasks: list[Task] = []
        self.filters: list[SeccompFilter] = []
        self.filters_made = 0
        self.log: list[LogRecord] = []
        self.activities: list[Activity] = []
        #: the newest call of each task that still exists
        self.newest: dict[Task, SystemCall] = {}
        self.story: list[str] = []
        #: called with every line of the story as it happens
        self.watchers: list[Callable[[str], None]] = []
        self.namespace = PidNamespace()
        self.namespace.last = 99

    # --- telling

    def tell(self, line: str) -> None:
        """One line of what happens, for people."""
        self.story.append(line)
        for watcher in self.watchers:
            watcher(line)

    def name(self, task: Task) -> str:
        """How the story calls a task."""
        shared = sum(one.comm == task.comm for one in self.tasks) > 1
        return f"{task.comm} {task.tid}" if shared else task.comm

    def call_text(self, call: SystemCall) -> str:
        """The call's name, or its number."""
        found = by_token(call.arch)
        nr = call.nr & 0xFFFFFFFF
        for one in found:
            name = one.call_name(nr)
            if name is not None:
                return name
        return f"call {nr - (1 << 32) if nr >> 31 else nr}"

    # --- tasks

    def process(self, comm: str = "task", *, privileged: bool = False, nofile: int = 1024) -> Task:
        """A new process of one thread, with stdin, stdout and stderr. ``privileged``: CAP_SYS_ADMIN in the first user namespace."""
        files = Files(nofile)
        process = Process(files, self.namespace, None)
        task = Task(process, alloc_pid(self.namespace), comm)
        process.leader = task
        process.threads.append(task)
        process.live = 1
        files.sharers = 1
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            files.fd_install(fd, File(name), cloexec=False)
        if privileged:
            task.credentials = Credentials(cap_sys_admin=True, init_cap_sys_admin=True)
        self.tasks.append(task)
        return task

    def fork(self, parent: Task, comm: str = "", *, new_pid_namespace: bool = False, vfork: bool = False) -> Task:
        """fork(2), or with ``vfork`` clone(2) with CLONE_VFORK: the new process's only task. (The call itself is taken as allowed.)"""
        return self._kernel_clone(parent, comm, PTRACE_EVENT_VFORK if vfork else PTRACE_EVENT_FORK, new_pid_namespace=new_pid_namespace)

    def clone_thread(self, parent: Task, comm: str = "") -> Task:
        """clone(2) with CLONE_THREAD: a new thread of the same process."""
        return self._kernel_clone(parent, comm, PTRACE_EVENT_CLONE)

    def _kernel_clone(self, parent: Task, comm: str, event: int, *, new_pid_namespace: bool = False) -> Task:
        traced, vfork = ptrace.ptrace_event_enabled(parent, event), event == PTRACE_EVENT_VFORK
        if (traced or vfork) and parent.activity is not None:  # it is to stop or to wait
            raise UsageError(f"task {parent.tid} is in a call already: {parent.activity!r}")
        child = copy_process(self, parent, thread=event == PTRACE_EVENT_CLONE, new_pid_namespace=new_pid_namespace)
        child.comm = comm or parent.comm
        if vfork:
            child.process.vfork_maker = parent
        if traced:
            ptrace.ptrace_init_task(parent, child)
            self._start(Activity(child, "begins", ptrace.begin_traced(self, child)))
        if traced or vfork:
            self._start(Activity(parent, "makes a task", self._made(parent, child, event, traced=traced)))
        self.rest()
        return child

    def _made(self, parent: Task, child: Task, event: int, *, traced: bool) -> Steps[None]:
        """What a maker still does in its call once the child is there."""
        if traced:
            yield from ptrace.ptrace_event_pid(self, parent, event, child)
        if event == PTRACE_EVENT_VFORK:
            yield Sleep("its child's exec or end", lambda: child.process.vfork_maker is None, killable=True)
            if child.process.vfork_maker is None and ptrace.ptrace_event_enabled(parent, PTRACE_EVENT_VFORK_DONE):
                yield from ptrace.ptrace_event_pid(self, parent, PTRACE_EVENT_VFORK_DONE, child)

    def execve(self, task: Task, comm: str = "") -> None:
        """execve(2) of a program without set-user-ID."""
        begin_new_exec(self, task, comm)
        self.rest()

    def exit(self, task: Task, status: int = 0) -> SystemCall:
        """exit(2): this thread ends."""

        def body(kernel: KernelModel, task: Task) -> Steps[int]:
            yield from do_exit(kernel, task, (status & 0xFF) << 8)
            raise AssertionError

        return self.syscall(task, "exit", status, body=body)

    def exit_group(self, task: Task, status: int = 0) -> SystemCall:
        """exit_group(2): the whole process ends."""

        def body(kernel: KernelModel, task: Task) -> Steps[int]:
            yield from do_group_exit(kernel, task, (status & 0xFF) << 8)
            raise AssertionError

        return self.syscall(task, "exit_group", status, body=body)

    def wait(self, parent: Task, *, peek: bool = False) -> tuple[int, int] | None:
        """wait4(-1, WNOHANG | __WALL): ``(id, status)`` of a child that ended or a tracee that stopped; None where there is none now,
        ``(0, 0)`` where there is nobody to wait for. Ids are those that ``parent`` sees. ``peek``: nothing changes by it (WNOWAIT).
        """
        anyone = False
        for task in list(self.tasks):
            tracee = task.tracer is parent
            child = task.is_leader and task.process.parent is parent.process
            if not tracee and not child:
                continue
            anyone = True
            if not tracee and task.tracer is not None:
                continue  # a child still, but its tracer is first to be told
            if tracee and task.stop is not None and not task.stop.reported and not task.stop.released:
                task.stop.reported = not peek
                return task_pid_vnr(task, parent), task.stop.status
            status = (task.process.status if task.is_leader else task.exit_code) if task.exited else None
            if status is not None:
                number = task_pid_vnr(task, parent)
                if not peek:
                    self._reap(parent, task)
                    self.rest()
                return number, status
        return None if anyone else (0, 0)

    def _reap(self, waiter: Task, task: Task) -> None:
        """An ended task was waited for. A process whose waiter was only its tracer is left for its parent, who is told now."""
        real = task.process.parent
        if task.is_leader and task.tracer is waiter and real is not None and real is not waiter.process and not real.zombie:
            task.tracer = None
            do_notify_parent(self, task.process)
        else:
            self.release(task)

    def release(self, task: Task) -> None:
        """Reap an ended task."""
        release_task(self, task)
        self.newest.pop(task, None)

    # --- signals

    def send_signal(self, task: Task, info: Siginfo, *, group: bool = False) -> None:
        """A signal for a thread, or with ``group`` for its process."""
        send_signal(self, task, info, group=group)

    def kill(self, task: Task, signal: int, *, group: bool = False) -> None:
        """tgkill(2), or kill(2) with ``group``."""
        self.send_signal(task, Siginfo(signal), group=group)
        self.rest()

    def sigaction(self, task: Task, signal: int, how: str) -> None:
        """sigaction(2): one of DEFAULT, IGNORE, CATCH, RESTART of `seclude.model.task`. What waits and is ignored from now on is dropped, blocked or not."""
        task.process.handlers[signal] = how
        if ignored(task, signal):
            for one in task.process.threads:
                one.pending = [info for info in one.pending if info.signo != signal]

    def wake_with(self, task: Task, info: Siginfo) -> None:
        """Queue a signal; a task in user mode begins to deliver it."""
        task.pending.append(info)
        if task.activity is None and task.signal_pending():
            self._start(Activity(task, "takes a signal", self._deliver(task)))

    def _deliver(self, task: Task) -> Steps[None]:
        yield Point("user mode")
        yield from exit_to_user_mode(self, task)

    # --- system calls

    def syscall(
        self,
        task: Task,
        call: str | int,
        *args: int,
        arch: str | int | Architecture | None = None,
        ip: int = 0x401000,
        body: Body | None = None,
    ) -> SystemCall:
        """Any call: by name or number, on ``arch`` (default: the machine's own). ``body`` is what it does once it is let in."""
        if task.exited:
            raise UsageError(f"task {task.tid} has ended: it makes no more calls")
        if task.activity is not None:
            raise UsageError(f"task {task.tid} is in a call already: {task.activity!r}")
        architecture = self.arch if arch is None else find_arch(arch) if not isinstance(arch, int) else None
        token = architecture.token if architecture is not None else int(str(arch))
        if isinstance(call, str):
            if architecture is None:
                raise UsageError("a call by name needs an architecture by name")
            number = architecture.number(call)
            if number is None:
                raise UsageError(f"{architecture.name} has no call {call!r}")
        else:
            number = call
        padded = tuple(value & 0xFFFFFFFFFFFFFFFF for value in args) + (0,) * (6 - len(args))
        made = SystemCall(task, number, token, ip, padded, body)
        self.newest[task] = made
        made.activity = Activity(task, f"call {call}", do_syscall(self, made))
        self.tell(f"{self.name(task)} calls {self.call_text(made)}")
        self._start(made.activity)
        self.rest()
        return made

    def implementation(self, token: int, nr: int) -> Body | None:
        """What the model itself knows to execute."""
        name = self.names.get(nr) if token == self.arch.token else None
        return BODIES.get(name) if name is not None else None

    def seccomp(self, task: Task, op: int, flags: int = 0, uargs: object = None) -> SystemCall:
        """seccomp(2); ``uargs`` as of `do_seccomp`. A `Program` stands for the struct that describes it."""
        given = _fprog(uargs)
        return self.syscall(
            task, "seccomp", op, flags, 0 if given is None else 0x7000, body=lambda kernel, task: do_seccomp(kernel, task, op, flags, given)
        )

    def prctl(self, task: Task, option: int, *args: object) -> SystemCall:
        """prctl(2)."""
        given = tuple(_fprog(value) for value in args)
        registers = [value if isinstance(value, int) else 0x7000 for value in given]
        return self.syscall(task, "prctl", option, *registers, body=lambda kernel, task: prctl_seccomp(kernel, task, option, given))

    def ioctl(self, task: Task, fd: int, cmd: int, arg: object = None) -> SystemCall:
        """ioctl(2) on a listener (ENOTTY on other files)."""

        def body(kernel: KernelModel, task: Task) -> Steps[int]:
            file = task.process.files.fget(fd)
            if file is None:
                return -EBADF
            if file.filter is None:
                return -_ENOTTY
            # The call holds the file: closing the descriptor meanwhile does not end the listener.
            file.count += 1
            try:
                return (yield from seccomp_notify_ioctl(kernel, task, file, cmd, arg))
            finally:
                kernel.fput(file)

        return self.syscall(task, "ioctl", fd, cmd, arg if isinstance(arg, int) else 0x7000, body=body)

    def close(self, task: Task, fd: int) -> SystemCall:
        """close(2)."""

        def body(kernel: KernelModel, task: Task) -> Steps[int]:
            yield from ()
            found = task.process.files.table.pop(fd, None)
            if found is None:
                return -EBADF
            kernel.fput(found[0])
            return 0

        return self.syscall(task, "close", fd, body=body)

    def open(self, task: Task, name: str, *, path_only: bool = False, cloexec: bool = False) -> int:
        """A descriptor for an ordinary file; ``path_only``: opened with O_PATH."""
        fd = task.process.files.get_unused_fd()
        if fd >= 0:
            task.process.files.fd_install(fd, File(name, path_only=path_only), cloexec=cloexec)
        return fd

    def give(self, giver: Task, fd: int, taker: Task) -> int:
        """The taker's new descriptor for the giver's file: pidfd_getfd(2), or SCM_RIGHTS."""
        file = giver.process.files.fget(fd)
        if file is None:
            return -EBADF
        new = taker.process.files.get_unused_fd()
        if new >= 0:
            taker.process.files.fd_install(new, file, cloexec=True)
        return new

    def poll(self, task: Task, fd: int) -> int:
        """poll(2) of a listener, for every bit: -EBADF or -EINVAL where it is none."""
        file = task.process.files.fget(fd)
        if file is None:
            return -EBADF
        return seccomp_notify_poll(self, file.filter) if file.filter is not None else -EINVAL

    def fput(self, file: File) -> None:
        """One way to an open file less; the last closes it."""
        file.count -= 1
        if file.count == 0 and not file.released:
            file.released = True
            if file.filter is not None:
                seccomp_notify_release(self, file)

    # --- ptrace(2)

    def seize(self, tracer: Task, tracee: Task, options: int = 0) -> int:
        """PTRACE_SEIZE: 0 or a negated errno."""
        return ptrace.seize(tracer, tracee, options)

    def resume(self, tracer: Task, tracee: Task, signal: int = 0, *, syscall: bool = False) -> int:
        """PTRACE_CONT, or with ``syscall`` PTRACE_SYSCALL."""
        result = ptrace.resume(tracer, tracee, signal, syscall=syscall)
        self.rest()
        return result

    def detach(self, tracer: Task, tracee: Task, signal: int = 0) -> int:
        """PTRACE_DETACH."""
        result = ptrace.detach(self, tracer, tracee, signal)
        self.rest()
        return result

    def set_call(
        self, tracer: Task, call: SystemCall, nr: int | None = None, args: Sequence[int] | None = None, value: int | None = None
    ) -> int:
        """PTRACE_SETREGS of the task in ``call``."""
        return ptrace.set_call(tracer, call.task, call, nr, args, value)

    def exit_ptrace(self, tracer: Task) -> None:
        """See `ptrace.exit_ptrace`."""
        ptrace.exit_ptrace(self, tracer)

    # --- time

    def _start(self, activity: Activity) -> None:
        activity.task.activity = activity
        self.activities.append(activity)

    def step(self, activity: Activity) -> None:
        """One step of an activity that is runnable, to where it next lets others run."""
        waiting = activity.waiting
        value = 0
        if isinstance(waiting, Sleep) and not waiting.ready():
            value = -ERESTARTSYS
        task = activity.task
        try:
            activity.waiting = activity.steps.send(value) if waiting is not None else next(activity.steps)
        except StopIteration:
            self._finish(activity)
            if not task.exited and task.signal_pending():
                self._start(Activity(task, "takes a signal", self._deliver(task)))
        except Exited:
            self._finish(activity)
        check(self)

    def _finish(self, activity: Activity) -> None:
        activity.done = True
        activity.waiting = None
        self.activities.remove(activity)
        activity.task.activity = None

    def runnable(self) -> list[Activity]:
        """What could take a step now."""
        return [one for one in self.activities if one.runnable()]

    def rest(self) -> None:
        """Let everything run until nothing can, unless ``by_hand``."""
        if self.by_hand:
            return
        for _ in range(100_000):
            ready = self.runnable()
            if not ready:
                check(self)
                return
            self.step(ready[0])
        raise InternalError("the model does not come to rest", "; ".join(map(repr, self.runnable())))


def _fprog(value: object) -> object:
    from seclude.bpf.program import Program

    return Fprog(value) if isinstance(value, Program) else value
