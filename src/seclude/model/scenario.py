"""The language of scenarios: a kernel is set up, actors each do one thing after another, and a check says what must hold at the end.

>>> from seclude.bpf import Program, codes
>>> from seclude.model import explore, uapi
>>> from seclude.model.scenario import Scenario
>>> def scenario():
...     s = Scenario("6.18")
...     target = s.process("target")
...     listener = s.listen(target, Program([(0x06, 0, 0, codes.SECCOMP_RET_USER_NOTIF)]))
...     call = s.actor("target", s.calls(target, "getppid"))
...     s.actor("supervisor", s.closes(listener))
...     s.outcome = lambda: call.last.value
...     return s
>>> sorted(explore(scenario).outcomes)
[-38]

In whatever order the two happen, the call is ENOSYS (-38). Steps are callables; a step that starts a `SystemCall` ends when the call does.
"""

from __future__ import annotations

from typing import NamedTuple

from seclude.bpf.codes import SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_SET_MODE_FILTER
from seclude.errors import UsageError
from seclude.model.kernel import KernelModel
from seclude.model.notify import AddFd, Response, SeccompNotif
from seclude.model.scheduler import Chooser
from seclude.model.uapi import (
    PR_SET_NO_NEW_PRIVS,
    SECCOMP_IOCTL_NOTIF_ADDFD,
    SECCOMP_IOCTL_NOTIF_RECV,
    SECCOMP_IOCTL_NOTIF_SEND,
    signal_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from seclude.bpf.program import Program
    from seclude.model.calls import Activity, SystemCall
    from seclude.model.task import Task

__all__ = ["Actor", "Listener", "Scenario", "Step"]


class Step(NamedTuple):
    """What an actor does next. It begins when ``task``, if it is anyone's doing, is in no other call; it is left out where the task has ended."""

    begin: Callable[[], SystemCall | None]
    task: Task | None = None


class Listener:
    """A listener as one supervisor holds it. ``received`` are the notifications that it took, in order."""

    __slots__ = ("fd", "received", "supervisor")

    def __init__(self, supervisor: Task, fd: int) -> None:
        self.supervisor = supervisor
        self.fd = fd
        self.received: list[SeccompNotif] = []


class Actor:
    """Steps, one after the other. ``done`` are the calls it made; ``last`` is the newest."""

    __slots__ = ("at", "done", "name", "steps")

    def __init__(self, name: str, steps: tuple[Step, ...]) -> None:
        self.name = name
        self.steps = steps
        self.at = 0
        self.done: list[SystemCall] = []

    @property
    def last(self) -> SystemCall:
        return self.done[-1]

    def free(self) -> bool:
        """Whether it can begin its next step."""
        if self.at == len(self.steps) or (self.done and self.last.state in ("running", "sleeping")):
            return False
        task = self.steps[self.at].task
        return task is None or task.exited or task.activity is None

    def begin(self) -> None:
        step = self.steps[self.at]
        self.at += 1
        if step.task is not None and step.task.exited:
            return
        made = step.begin()
        if made is not None:
            self.done.append(made)


class Scenario:
    """One bounded piece of concurrency. While it is set up the kernel does everything at once; `run` lets the chooser decide the order."""

    def __init__(self, version: str = "6.18", arch: str = "x86_64") -> None:
        self.kernel = KernelModel(version, arch)
        self.actors: list[Actor] = []
        #: what a run comes to: one value of those that `explore` collects
        self.outcome: Callable[[], Hashable] = lambda: None
        #: raises AssertionError where a run went wrong
        self.check: Callable[[], None] = lambda: None
        #: a supervisor that is ordinary Python: called once the actors may begin, and free to run while they do (`interleave`)
        self.main: Callable[[], None] | None = None
        self._chooser = Chooser()
        self._supervisors = 0

    # --- set-up

    def process(self, name: str, *, privileged: bool = False) -> Task:
        """A process with no_new_privs."""
        task = self.kernel.process(name, privileged=privileged)
        made = self.kernel.prctl(task, PR_SET_NO_NEW_PRIVS, 1)
        assert made.value == 0
        return task

    def load(self, task: Task, program: Program, flags: int = 0) -> int:
        """Load a filter; raises `UsageError` where the kernel refuses it."""
        value = self.kernel.seccomp(task, SECCOMP_SET_MODE_FILTER, flags, program).value
        if value is None or value < 0:
            raise UsageError(f"the filter is not loaded: {value}")
        return value

    def listen(self, task: Task, program: Program, flags: int = 0, supervisor: Task | None = None) -> Listener:
        """Load a filter with a listener, and hand that to a supervisor, which alone has it then."""
        fd = self.load(task, program, flags | SECCOMP_FILTER_FLAG_NEW_LISTENER)
        if supervisor is None:
            self._supervisors += 1
            supervisor = self.kernel.process(f"supervisor{self._supervisors if self._supervisors > 1 else ''}")
        given = self.kernel.give(task, fd, supervisor)
        # As at an execve: the task's filter may have something to say about close(2).
        self.kernel.fput(task.process.files.table.pop(fd)[0])
        return Listener(supervisor, given)

    def actor(self, name: str, *steps: Step) -> Actor:
        """Someone who does these things, each when the one before has ended."""
        made = Actor(name, steps)
        self.actors.append(made)
        return made

    # --- steps

    def calls(self, task: Task, call: str | int, *args: int) -> Step:
        """The task makes a system call."""
        return Step(lambda: self.kernel.syscall(task, call, *args), task)

    def loads(self, task: Task, program: Program, flags: int = 0) -> Step:
        """The task loads a filter."""
        return Step(lambda: self.kernel.seccomp(task, SECCOMP_SET_MODE_FILTER, flags, program), task)

    def receives(self, listener: Listener) -> Step:
        """The supervisor receives a notification."""

        def step() -> SystemCall:
            buffer = SeccompNotif()
            listener.received.append(buffer)
            return self.kernel.ioctl(listener.supervisor, listener.fd, SECCOMP_IOCTL_NOTIF_RECV, buffer)

        return Step(step, listener.supervisor)

    def answers(self, listener: Listener, val: int = 0, error: int = 0, flags: int = 0) -> Step:
        """The supervisor answers what it received last; with no notification in hand the id is 0."""

        def step() -> SystemCall:
            id = listener.received[-1].id if listener.received else 0
            return self.kernel.ioctl(listener.supervisor, listener.fd, SECCOMP_IOCTL_NOTIF_SEND, Response(id, val, error, flags))

        return Step(step, listener.supervisor)

    def injects(self, listener: Listener, srcfd: int, flags: int = 0, newfd: int = 0) -> Step:
        """The supervisor gives the target a descriptor."""

        def step() -> SystemCall:
            id = listener.received[-1].id if listener.received else 0
            return self.kernel.ioctl(listener.supervisor, listener.fd, SECCOMP_IOCTL_NOTIF_ADDFD, AddFd(id, srcfd, flags, newfd))

        return Step(step, listener.supervisor)

    def closes(self, listener: Listener) -> Step:
        """The supervisor closes the listener."""
        return Step(lambda: self.kernel.close(listener.supervisor, listener.fd), listener.supervisor)

    def signals(self, task: Task, signal: int) -> Step:
        """Somebody sends the task a signal."""

        def step() -> None:
            self.kernel.tell(f"{signal_text(signal)} is sent to {self.kernel.name(task)}")
            if not task.exited:
                self.kernel.kill(task, signal)

        return Step(step)

    # --- the run

    def run(self, chooser: Chooser) -> Hashable:
        """One order of everything; what it came to. Raises AssertionError where the check fails."""
        self._chooser = chooser
        self.kernel.by_hand = True
        if self.main is not None:
            self.main()
        while self._move(()):
            pass
        self.kernel.by_hand = False
        self.check()
        return self.outcome()

    def interleave(self, mine: SystemCall | None = None) -> None:
        """Where `main` lets others run: any number of their steps, by choice; with a call of its own, until that has ended.

        Raises AssertionError where the call sleeps and nothing is left that could wake it.
        """
        if mine is None:
            while self._move((None,)):
                pass
            return
        if mine.activity is not None and not mine.activity.done:
            self.kernel.step(mine.activity)
        while mine.state in ("running", "sleeping"):
            moved = self._move(())
            assert moved, f"{self.kernel.call_text(mine)} sleeps for ever: it waits for {mine.why}"

    def until(self, condition: Callable[[], bool]) -> bool:
        """Where `main` waits: others run, by choice, until the condition holds. False where it never will."""
        while not condition():
            if not self._move(()):
                return False
        return True

    def _move(self, more: tuple[None, ...]) -> bool:
        """One step of somebody's; False where nobody can take one, or the choice was to go on (``more``)."""
        moves: list[Actor | Activity | None] = [*more]
        moves += self.kernel.runnable()
        moves += [actor for actor in self.actors if actor.free()]
        if not moves:
            return False
        move = moves[self._chooser.choose(len(moves))]
        if move is None:
            return False
        if isinstance(move, Actor):
            move.begin()
            # A call begins with its first step: what comes before it is nobody else's business.
            if move.done and move.last.activity is not None and not move.last.activity.done:
                self.kernel.step(move.last.activity)
        else:
            self.kernel.step(move)
        return True
