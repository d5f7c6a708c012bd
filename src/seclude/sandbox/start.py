"""What a child does before it is confined, and why a start failed.

The order of the steps matters: the parent-death signal first, so that from then on nothing survives us; no_new_privs before a capability is
dropped, since only then is a bounding set that cannot be lowered harmless; the limits last, since memory may be short afterwards.
"""

from __future__ import annotations

import errno
import os
import resource

from seclude.errors import KernelError
from seclude.kernel import capabilities, prctl, seccomp
from seclude.kernel.signals import csignal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.kernel.landlock import Ruleset
    from seclude.kernel.spawn import Spawn
    from seclude.sandbox.limits import LimitPlan
    from seclude.sandbox.result import Job

    Step = tuple[str, Callable[..., object], tuple[object, ...]]

__all__ = ["Retry", "failed_start", "filter_flags", "steps", "summary"]

_IGNORED_BY_PYTHON = (csignal.SIGPIPE, csignal.SIGXFSZ)


class Retry(Exception):  # noqa: N818 - an outcome, not a fault
    """The start failed before anything of the target ran; without reporting, or without tracing, it may not."""

    def __init__(self, report: bool, trace: bool, note: str) -> None:
        super().__init__(note)
        self.report, self.trace = report, trace


def filter_flags(report: bool) -> int:
    """The flags of seccomp(2) that the filter is installed with."""
    return seccomp.NEW_LISTENER | seccomp.WAIT_KILLABLE_RECV if report else 0


def summary(job: Job, report: bool, trace: bool) -> str:
    """One line on what was put in force, for ``--verbose`` and for ``on_loaded``."""
    words = job.artifact.summary
    how = {(True, True): "errno answers and kills are reported", (True, False): "errno answers are reported"}
    told = how.get((report, trace), "kills are reported" if trace else "nothing is reported")
    count = len(job.artifact.reported if report else job.artifact.plain) // 8
    flags = "|".join(seccomp.flag_names(filter_flags(report))) or "none"
    listed = f"{words.get('calls', '?')} calls listed, default {words.get('default', '?')}"
    return f"policy {job.artifact.name}: {listed}; {count} instructions; flags {flags}; {told}"


def steps(job: Job, plan: LimitPlan, domain: Ruleset | None, *, outside: bool, shown: bool = False) -> list[Step]:
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


def failed_start(spawn: Spawn, report: bool, trace: bool) -> None:
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
