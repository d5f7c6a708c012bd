"""The start of a run: what its target will be confined by, what the child does before it is, and why a start failed.

The order of the child's steps matters: the parent-death signal first, so that from then on nothing survives us; no_new_privs before a capability is
dropped, since only then is a bounding set that cannot be lowered harmless; the limits last, since memory may be short afterwards.
"""

from __future__ import annotations

import errno
import os
import resource
import select

from seclude.abi import native
from seclude.errors import KernelError
from seclude.kernel import capabilities, landlock, prctl, seccomp
from seclude.kernel.notify import wake_in_step
from seclude.kernel.signals import csignal
from seclude.kernel.spawn import Spawn, call_of_exec, close_at_exec
from seclude.sandbox.launch import refuse_forbidden_start
from seclude.supervise.notifications import Responder
from seclude.supervise.plain import ALLOW, LOG, without_trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.kernel.landlock import Ruleset
    from seclude.sandbox.engine import Run
    from seclude.sandbox.limits import LimitPlan
    from seclude.sandbox.result import Job

    Step = tuple[str, Callable[..., object], tuple[object, ...]]

__all__ = ["Retry", "await_filter", "confinement", "start_to_pass", "summary"]

_IGNORED_BY_PYTHON = (csignal.SIGPIPE, csignal.SIGXFSZ)


class Retry(Exception):  # noqa: N818 - an outcome, not a fault
    """The start failed before anything of the target ran; without reporting, or without tracing, it may not."""

    def __init__(self, report: bool, trace: bool, note: str) -> None:
        super().__init__(note)
        self.report, self.trace = report, trace


def _filter_flags(report: bool) -> int:
    """The flags of seccomp(2) that the filter is installed with."""
    return seccomp.NEW_LISTENER | seccomp.WAIT_KILLABLE_RECV if report else 0


def summary(run: Run) -> str:
    """One line on what was put in force, for ``--verbose`` and for ``on_loaded``."""
    job, report, trace = run.job, run.report, run.trace
    words = job.artifact.summary
    how = {(True, True): "errno answers and kills are reported", (True, False): "errno answers are reported"}
    told = how.get((report, trace), "kills are reported" if trace else "nothing is reported")
    count = len(job.artifact.reported if report else job.artifact.plain) // 8
    flags = "|".join(seccomp.flag_names(_filter_flags(report))) or "none"
    listed = f"{words.get('calls', '?')} calls listed, default {words.get('default', '?')}"
    brokered = run.supervision.brokers.notes if run.supervision is not None and run.supervision.brokers is not None else []
    return "; ".join([f"policy {job.artifact.name}: {listed}; {count} instructions; flags {flags}; {told}", *brokered])


def _steps(job: Job, plan: LimitPlan, domain: Ruleset | None, *, outside: bool, shown: bool = False) -> list[Step]:
    """What the child does between clone and the filter. ``outside``: RLIMIT_NOFILE is set by us later, or it would bind the listener's number.
    ``shown``: its execve is traced, so a supervisor without privileges must be able to read what that is given.
    """
    out: list[Step] = [
        ("PR_SET_PDEATHSIG", prctl.set_parent_death_signal, (csignal.SIGKILL,)),
        ("no_new_privs", prctl.set_no_new_privs, ()),
        ("drop CAP_SYS_PTRACE", capabilities.drop, (capabilities.CAP_SYS_PTRACE,)),
    ]
    if job.reach is not None:
        # Any user's files stay readable to root, within the domain; but /proc/kcore, say, shows what no domain hides.
        kept = 1 << capabilities.CAP_DAC_OVERRIDE | 1 << capabilities.CAP_DAC_READ_SEARCH
        out.append(("limit capabilities", capabilities.limit, (kept,)))
    if job.umask is not None:
        out.append(("umask", os.umask, (job.umask,)))
    if job.cwd is not None:
        out.append((f"chdir to {os.fsdecode(job.cwd)}", os.chdir, (job.cwd,)))
    out += [("signal", csignal.signal, (number, csignal.SIG_DFL)) for number in _IGNORED_BY_PYTHON]
    if csignal.getsignal(csignal.SIGINT) not in (csignal.SIG_IGN, csignal.SIG_DFL):
        # The interpreter's handler would make an exception of it, between the filter and exec; what should end is the target.
        out.append(("signal", csignal.signal, (csignal.SIGINT, csignal.SIG_DFL)))
    if not shown:
        out.append(("PR_SET_DUMPABLE", prctl.set_dumpable, (False,)))  # no core of a failed exec; exec sets it again
    if domain is not None:
        out.append(("Landlock", domain.restrict, ()))
    for kind, soft, hard in plan.rlimits:
        if kind != resource.RLIMIT_NOFILE or not outside:
            out.append(("setrlimit", resource.setrlimit, (kind, (soft, hard))))
    return out


def confinement(run: Run) -> tuple[Spawn, bytes, Ruleset | None]:
    """Make what watches the target, ``run.watching`` and ``run.supervision``, and what it is to be confined by.

    The child, not started yet; its filter; its Landlock domain, to be closed once the child has used it. Raises `SecludeError` where the run is refused.
    """
    job = run.job
    if "watch" in job.supervision:
        from seclude.sandbox.watching import Watching

        run.watching = Watching(job, run)
    # Without a listener files are held by Landlock alone, which needs no supervision.
    if job.supervision.keys() - {"watch", *(() if job.report else ("read", "write", "hide", "runtime"))}:
        from seclude.sandbox.supervision import build

        run.supervision = build(job, run)
    artifact = job.artifact
    if run.supervision is not None:
        program = run.supervision.program(artifact, report=run.report)
    else:
        program = without_trace(artifact.reported) if run.report else artifact.plain
    if run.watching is not None:
        program = run.watching.program(artifact, program)
    flags = _filter_flags(run.report)
    domain = _domain(job, run.path)
    if run.supervision is not None:
        domain = run.supervision.domain(domain)
    if domain is None:
        run.notes.append(
            "this kernel has no Landlock: what keeps the target from the supervisor is only that it cannot be traced or read"
            + ("" if job.reach is None else ", and which files it can open is bounded by the policy and by permissions only")
        )
    else:
        run.notes.extend(domain.notes)
    close_at_exec(3)
    mask = run.mask if job.mask is None else tuple(job.mask)
    spawn = Spawn(
        run.path,
        job.argv,
        job.environment,
        program,
        flags,
        _steps(
            job,
            run.plan,
            domain,
            outside=run.trace or run.report,
            shown=run.watching is not None and run.watching.tracer is not None,
        )
        + (run.supervision.steps() if run.supervision is not None else []),
        mask,
    )
    refuse_forbidden_start(job, run.plain, call_of_exec(spawn), report=run.report or job.supervision.get("engine") == "ptrace")
    return spawn, program, domain


def _domain(job: Job, program: bytes) -> landlock.Ruleset | None:
    """What Landlock is to hold the target to: always its own processes; files where some are granted."""
    if job.reach is not None:
        from seclude.sandbox.reach import ruleset

        return ruleset(job.reach)
    if any(job.supervision.get(option) for option in ("read", "write", *(() if job.report else ("hide",)))):
        from seclude.sandbox.files import domain

        return domain(job.supervision, os.path.join(job.cwd or b"", program), alone=not job.report)
    return landlock.scope_ruleset()


def await_filter(run: Run) -> None:
    """Go through the loop's motions until the filter is in force, and take its listener."""
    spawn = run.spawn
    run.poll.register(run.signals, select.POLLIN)
    run.poll.register(spawn.ready, select.POLLIN)
    waiting = True
    spins = 0
    while not spawn.installed:
        # From "about to install" on the child makes no call that could wake us: it is a matter of microseconds,
        # unless it is stopped just there.
        spins += 1
        for descriptor, _ in run.poll.poll(None if waiting else 0 if spins < 5000 else 1):
            if descriptor == spawn.ready:
                spawn.acknowledge()
                run.poll.unregister(spawn.ready)
                waiting = False
            else:
                run.signalled()
        if run.main_status is not None:
            if not spawn.installed:
                _failed_start(spawn, run.report, run.trace)
            break
        os.sched_yield()
    if waiting:
        run.poll.unregister(spawn.ready)
    if run.report and spawn.installed:
        run.listener = spawn.listener
        wake_in_step(run.listener)
        if not run.trace:
            # The child is on its way to exec: its loader may just have opened a file, which the limit then counts.
            run.plan.bind_files(run.main)
        run.responder = Responder(run.kernel, run.listener, run.plain, run.record, start_to_pass(run))
        run.poll.register(run.listener, select.POLLIN)
    if run.supervision is not None and spawn.installed:
        run.supervision.attach()


def start_to_pass(run: Run) -> tuple[int, int, int, tuple[int, ...]] | None:
    """The execve that the responder lets pass: none where the policy permits it, since then it is never notified."""
    here, args = native(), call_of_exec(run.spawn)
    number = here.number("execve")
    if number is None or run.plain.value(number, here.token, 0, args)[0] in (ALLOW, LOG):
        return None
    return run.main, here.token, number, args[:3]


def _failed_start(spawn: Spawn, report: bool, trace: bool) -> None:
    """Raise for a child that ended before its filter was in force: `Retry` where less may do, else `KernelError`.

    Returns where it was ended by a signal from elsewhere: then its status says so.
    """
    if spawn.failure is None:
        return
    what, number = spawn.failure
    if what == "seccomp":
        if number == errno.EBUSY and report:
            raise Retry(False, trace, "denials are not reported: this process is under a filter with a listener of its own (EBUSY)")
        raise seccomp.explain(number, spawn.flags)
    if what.startswith("chdir"):
        raise KernelError(f"{what}: {os.strerror(number)}", "give a directory that the command may enter", number)
    raise KernelError(f"the target could not be confined: {what}: {os.strerror(number)}", "see: seclude doctor", number)
