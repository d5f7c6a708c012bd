"""What a run used, noted while its processes are there; and what is said of it when it is over: which limit it reached, how its command ended."""

from __future__ import annotations

import os
import resource
import time

from seclude.errors import InternalError
from seclude.kernel import proc
from seclude.kernel.signals import csignal
from seclude.sandbox.family import cpu_of_children
from seclude.sandbox.launch import not_executed
from seclude.sandbox.result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.sandbox.engine import Run
    from seclude.sandbox.limits import LimitPlan

__all__ = ["Account", "result_of"]


class Account:
    """What has to be noted of a run while its processes are there. Made before there is any."""

    __slots__ = ("_filters_before", "_outside", "_reaped_before", "_to_start", "address_space", "own_filter", "resident")

    def __init__(self) -> None:
        self._reaped_before = cpu_of_children()
        status = proc.status("self")
        self._filters_before = (status.filters or 0) if status is not None else 0
        self._outside = self._to_start = 0.0
        #: peak bytes of any process
        self.resident = self.address_space = 0
        #: whether the target stacked a filter
        self.own_filter = False

    def joins(self, pid: int) -> None:
        """The main process joins a control group, which does not count what it has used."""
        self._outside = proc.run_time(pid) or 0.0

    def begins(self, pid: int) -> None:
        """The target's own program begins. What its process used until here was for confining it."""
        self._to_start = max(0.0, (proc.run_time(pid) or 0.0) - self._outside)

    def leaves(self, tid: int) -> None:
        """A thread ends, and its status is still there."""
        status = proc.status(tid)
        if status is None:
            return
        # A filter may be one thread's alone.
        self.own_filter = self.own_filter or (status.filters or 0) > self._filters_before + 1
        # Of every thread: it may be the last, when the first, in whose name the process is, has been gone for long.
        self.resident = max(self.resident, (status.number("VmHWM") or 0) * 1024)
        self.address_space = max(self.address_space, (status.number("VmPeak") or 0) * 1024)

    def look_at(self, pid: int) -> None:
        """Whether the main process has left, while its status is there: one that is killed does not stop on its way out, nor one untraced."""
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is not None and ended.si_code != os.CLD_TRAPPED:  # a tracer is told of stops too
            self.leaves(pid)

    def cpu_now(self, plan: LimitPlan, processes: Iterable[int]) -> float:
        """CPU seconds of the target so far; ``processes``: those that live, for where no group counts."""
        return max(0.0, plan.cpu_used(processes, self._reaped()) - self._to_start)

    def cpu(self, counted: float | None) -> float:
        """CPU seconds of the target at the end, which a group has ``counted``, or what was reaped."""
        return max(0.0, (self._reaped() if counted is None else counted) - self._to_start)

    def _reaped(self) -> float:
        return cpu_of_children() - self._reaped_before


def result_of(run: Run, ended_by: str) -> Result:
    """The result of a run whose processes have all been waited for, but for those that ``run.notes`` names; ``ended_by``: how what was left was ended.

    Raises `InternalError` where the end of its main process was never told.
    """
    result = Result()
    result.wall = time.monotonic() - run.started_at
    usage = run.plan.cgroup.usage() if run.plan.cgroup is not None else None
    result.cpu = run.account.cpu(None if usage is None else usage.cpu)
    result.memory = result.resident = _resident(run.account)
    if usage is not None:
        result.memory = usage.memory_peak if usage.memory_peak is not None else result.memory
        result.oom_kills = usage.oom_kills or 0
        if usage.oom_kills and not run.limit:
            if run.main_status is not None and run.main_status & 0x7F == csignal.SIGKILL:
                run.limit = "memory"
            else:
                run.notes.append("the limit memory ended processes of the run, but not the command itself")
    result.address_space = run.account.address_space
    result.bound_by = run.plan.bound_by
    _limit_by_signal(run, result.cpu)
    if run.relay.exceeded:  # what it wrote last may be seen after its end only
        run.limit = run.limit or "output"
    if run.responder is not None:
        run.responder.settle()
    result.denials = run.record.denials
    result.overflow = run.record.overflow
    result.limit = run.limit
    result.ended_by = ended_by
    result.reporting = "+".join(word for word, on in (("notify", run.report), ("ptrace", run.trace)) if on) or "none"
    result.stdout = bytes(run.relay.captured[1]) if 1 in run.relay.captured else None
    result.stderr = bytes(run.relay.captured[2]) if 2 in run.relay.captured else None
    if run.account.own_filter:
        run.notes.append("the target stacked a filter of its own: what that one denies first is not reported here")
    _outcome(run, result)
    if run.supervision is not None:
        run.supervision.finish(result)
    if run.watching is not None:
        run.watching.finish(result)
    result.notes += [*run.notes, *run.plan.notes]  # after what was lost
    return result


def _resident(account: Account) -> int:
    """Peak bytes of the largest process's resident set.

    What is seen of a process at its end is exact, but of its last program only; what is waited for keeps also what an exec gave up (``setmax_mm_hiwater_rss``
    in kernel fork.c and exec.c), though from our own child on, which had a part of ours. So the latter counts where it is more than that can have been.
    """
    waited_for = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    if account.resident and waited_for <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024:
        return account.resident
    return max(account.resident, waited_for)


def _limit_by_signal(run: Run, cpu: float) -> None:
    """The kernel may end the command at a limit before the engine's own clock has a look: then the signal tells, if the use agrees.

    Only roughly: the kernel's limit goes by ticks, its accounts by the clock, and on a busy machine they differ.
    """
    signal = (run.main_status or 0) & 0x7F
    if signal == csignal.SIGXCPU and run.plan.cpu is not None and cpu >= run.plan.cpu / 2:
        run.limit = run.limit or "cpu"
    elif signal == csignal.SIGXFSZ and run.plan.output is not None:
        run.limit = run.limit or "output"


def _outcome(run: Run, result: Result) -> None:
    status = run.main_status
    if status is None:
        raise InternalError("the main process's status was never seen")
    failure = run.spawn.failure
    if failure is not None and failure[0] == "execve":
        number = failure[1]
        result.code, result.error = not_executed(run.path, run.job.cwd, number)
        return
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        result.status = result.code = code
    else:
        result.signal, result.code = -code, 128 - code
    if run.limit == "wall":
        result.code = 124
    if code == -csignal.SIGSYS and not any(denial.result == "SIGSYS" for denial in result.denials):
        if run.trace:
            run.notes.append("the command was ended by SIGSYS, but not by this policy: a filter of its own, or a signal sent to it")
        else:
            run.notes.append("the command was ended by SIGSYS: the policy killed a call, which cannot be named without ptrace")
