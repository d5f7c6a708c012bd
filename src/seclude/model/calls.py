"""What a task is doing: an activity is one call, or one delivery of signals, that advances in steps.

Functions of the model that can sleep are generators, and ``yield`` where the kernel would let others run: a `Sleep`
where it waits for something, a `Point` where it is about to take a lock that others contend for. Between two of them a step is
atomic, as the kernel's is under that lock. The value of the ``yield`` of a sleep is 0, or -ERESTARTSYS where a signal ended it.
"""

from __future__ import annotations

from typing import NamedTuple

from seclude.model.uapi import ENOSYS, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeAlias, TypeVar

    from seclude.model.filter import Evaluation
    from seclude.model.kernel import KernelModel
    from seclude.model.log import LogRecord
    from seclude.model.task import Siginfo, Task

    T = TypeVar("T")
    #: what a function of the model that can sleep is
    Steps: TypeAlias = Generator["Sleep | Point", int, T]
    Body: TypeAlias = Callable[[KernelModel, Task], Steps[int]]

__all__ = ["Activity", "Point", "Sleep", "SystemCall"]


class Sleep(NamedTuple):
    """``ready`` ends it; so does a signal: any that is not blocked, or only SIGKILL where it is ``killable``."""

    why: str
    ready: Callable[[], bool]
    killable: bool = False


class Point(NamedTuple):
    """A moment at which others may run."""

    where: str


class Activity:
    """Something that a task is doing, and where in it it stands."""

    __slots__ = ("done", "name", "steps", "task", "waiting")

    def __init__(self, task: Task, name: str, steps: Steps[None]) -> None:
        self.task = task
        self.name = name
        self.steps = steps
        self.waiting: Sleep | Point | None = None
        self.done = False

    def runnable(self) -> bool:
        """Whether it can take a step now."""
        if self.done:
            return False
        if not isinstance(self.waiting, Sleep):
            return True
        return self.waiting.ready() or self.interrupted()

    def interrupted(self) -> bool:
        """Whether a signal ends the present sleep."""
        if not isinstance(self.waiting, Sleep):
            return False
        return self.task.fatal_signal_pending() if self.waiting.killable else self.task.signal_pending()

    def __repr__(self) -> str:
        return f"<{self.name} of {self.task.tid}: {'done' if self.done else self.waiting}>"


class SystemCall:
    """One system call of a task, from the instruction to its return, restarts included.

    ``value`` is what the program gets: a result, or a negated errno; None while it has not returned, and where the model does not
    know what the call itself would give. ``state`` is ``running``, ``sleeping`` (``why`` says for what), ``returned``, or ``gone`` where the task
    did not survive it. ``ran`` is whether the kernel executed the call itself; ``evaluations`` are the runs of the task's filters, ``log`` the
    audit records, ``signals`` the SIGSYS that it was sent.
    """

    __slots__ = (
        "activity",
        "arch",
        "args",
        "body",
        "dispatched",
        "entered",
        "evaluations",
        "ip",
        "known",
        "log",
        "nr",
        "original",
        "ran",
        "restarts",
        "result",
        "signals",
        "task",
    )

    def __init__(self, task: Task, nr: int, arch: int, ip: int, args: tuple[int, ...], body: Body | None) -> None:
        self.task = task
        self.nr = nr
        self.arch = arch
        self.ip = ip
        self.args = args
        self.body = body
        self.original = (nr, args)
        #: the return register: -ENOSYS at entry, as on x86
        self.result = -ENOSYS
        #: whether ``result`` is known
        self.known = True
        self.ran = False
        #: whether user dispatch took it: then no stop at its end is told
        self.dispatched = False
        self.entered = 0
        self.restarts = 0
        self.evaluations: list[Evaluation] = []
        self.signals: list[Siginfo] = []
        self.log: list[LogRecord] = []
        self.activity: Activity | None = None

    @property
    def state(self) -> str:
        if self.activity is not None and not self.activity.done:
            return "sleeping" if isinstance(self.activity.waiting, Sleep) and not self.activity.runnable() else "running"
        return "gone" if self.task.exited else "returned"

    @property
    def why(self) -> str:
        """What it sleeps for."""
        waiting = self.activity.waiting if self.activity is not None and not self.activity.done else None
        return waiting.why if isinstance(waiting, Sleep) else ""

    @property
    def value(self) -> int | None:
        return self.result if self.state == "returned" and self.known else None

    @property
    def cached(self) -> bool:
        """Whether the bitmap answered the last entry, so that no filter ran."""
        return bool(self.evaluations) and self.evaluations[-1].cached

    def __repr__(self) -> str:
        known = self.value
        return f"<call {self.nr} of {self.task.tid}: {self.state}{'' if known is None else ' ' + errno_text(known)}>"
