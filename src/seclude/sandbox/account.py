"""What is said of a run when it is over: what it used, which limit it reached, how its command ended."""

from __future__ import annotations

import os
import resource
import time

from seclude.errors import InternalError
from seclude.kernel.signals import csignal
from seclude.sandbox.family import cpu_of_children
from seclude.sandbox.launch import not_executed
from seclude.sandbox.result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.sandbox.engine import Run

__all__ = ["result_of"]


def result_of(run: Run, ended_by: str) -> Result:
    """The result of a run whose processes have all been waited for, but for those that ``run.notes`` names; ``ended_by``: how what was left was ended.

    Raises `InternalError` where the end of its main process was never told.
    """
    result = Result()
    result.wall = time.monotonic() - run.started_at
    usage = run.plan.cgroup.usage() if run.plan.cgroup is not None else None
    result.cpu = cpu_of_children() - run.cpu_before
    result.memory = result.resident = _resident(run)
    if usage is not None:
        result.cpu = usage.cpu if usage.cpu is not None else result.cpu
        result.memory = usage.memory_peak if usage.memory_peak is not None else result.memory
        result.oom_kills = usage.oom_kills or 0
        if usage.oom_kills and not run.limit:
            if run.main_status is not None and run.main_status & 0x7F == csignal.SIGKILL:
                run.limit = "memory"
            else:
                run.notes.append("the limit memory ended processes of the run, but not the command itself")
    result.cpu = max(0.0, result.cpu - run.cpu_to_start)
    result.address_space = run.address_space
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
    if run.own_filter:
        run.notes.append("the target stacked a filter of its own: what that one denies first is not reported here")
    _outcome(run, result)
    if run.supervision is not None:
        run.supervision.finish(result)
    if run.watching is not None:
        run.watching.finish(result)
    result.notes += [*run.notes, *run.plan.notes]  # after what was lost
    return result


def _resident(run: Run) -> int:
    """Peak bytes of the largest process's resident set.

    What is seen of a process at its end is exact, but of its last program only; what is waited for keeps also what an exec gave up (``setmax_mm_hiwater_rss``
    in kernel fork.c and exec.c), though from our own child on, which had a part of ours. So the latter counts where it is more than that can have been.
    """
    waited_for = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    if run.resident and waited_for <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024:
        return run.resident
    return max(run.resident, waited_for)


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
