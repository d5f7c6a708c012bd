"""Run one program under its policy, from clone to the last of its processes. Runs in a process with one thread.

One loop waits for everything at once: notifications, signals (as data, through signalfd: no handler ever interrupts), the
pipes, the host that asked, and the clocks. Children and traced threads announce themselves by SIGCHLD, after which every
status there is gets read; nothing is polled, but for the CPU limit, whose next check is put as far away as it can be.

The supervisor is the subreaper of its target: what daemons leave behind becomes its child, and is ended with the rest. A
process of ours that existed before (a shell's ``exec seclude run``) is left alone.

What can still go wrong: a process in an uninterruptible wait does not die at once; after `PATIENCE` seconds the run is
ended without it, and says so.
"""

from __future__ import annotations

import os
import select
import time

from seclude.kernel import prctl, ptrace, signals
from seclude.kernel.signals import csignal
from seclude.sandbox import limits as _limits
from seclude.sandbox.account import Account, result_of
from seclude.sandbox.family import children, has_terminal, kill
from seclude.sandbox.guard import LEFT, PATIENCE
from seclude.sandbox.install import substitute
from seclude.sandbox.launch import NotStarted, find_program, mechanisms, refuse_without_supervisor
from seclude.sandbox.relay import Relay
from seclude.sandbox.result import Result
from seclude.sandbox.start import Retry, await_filter, confinement, start_to_pass, summary
from seclude.supervise.kernel import Linux
from seclude.supervise.observer import Observer
from seclude.supervise.plain import Plain
from seclude.supervise.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.sandbox.result import Job
    from seclude.sandbox.supervision import Supervision
    from seclude.sandbox.watching import Watching
    from seclude.supervise.notifications import Responder
    from seclude.supervise.observer import Calls

__all__ = ["Run", "execute"]

SETUP = 30.0  # seconds beyond the limit "wall" that our parent grants for what comes before the target is made: names are resolved, handlers imported
_STATUSES = (
    256  # wait statuses taken in one go: traced processes can make them faster than we take them, and then the clocks must have their turn
)
#: How often another thread is let run before a signal is waited for: one whose call was let go on is often at its next by then. As long as it takes to
#: wake a processor that sleeps (50 to 100 µs): who sleeps sooner pays for that at every stop of a thread that runs elsewhere.
_YIELDS = 60
_FORWARDED = (csignal.SIGTERM, csignal.SIGHUP, csignal.SIGINT, csignal.SIGQUIT, csignal.SIGUSR1, csignal.SIGUSR2)
_TERMINAL_STOPS = (csignal.SIGTSTP, csignal.SIGTTIN, csignal.SIGTTOU)


def execute(
    job: Job,
    *,
    control: int = -1,
    loaded: Callable[[str], None] | None = None,
    guarded: bool = False,
    clock: Callable[[float, float, float], None] | None = None,
) -> Result:
    """Run ``job`` to its end. ``control``: a descriptor whose end of file means that nobody waits for the result any more.

    ``loaded`` is told, once, what was put in force. ``guarded``: our parent ends what we would leave if we were killed, and is told by ``clock`` when our time is
    over; else the run happens in a forked child, which this process guards. Raises `SecludeError` where the run is refused; a command that cannot be
    executed is a `Result` with code 126 or 127.
    """
    notes: list[str] = []
    # The reporting filter needs none: a kernel that can report has every action.
    job.artifact.plain, taken = substitute(job.artifact.plain, job.weaker)
    notes += [f"{old} is unknown to this kernel, and was replaced by {new}, as --allow-weaker says" for old, new in taken.items()]
    plain = Plain(job.artifact.plain)
    try:
        path = find_program(job.argv[0], job.environment, job.cwd)
    except NotStarted as reason:
        result = Result()
        result.code, result.error = reason.code, str(reason)
        return result
    if not guarded:
        from seclude.sandbox.guard import guarded as guard

        if job.mask is None:
            job.mask = sorted(csignal.pthread_sigmask(csignal.SIG_BLOCK, ()))
        return guard(lambda channel, clock: _attempts(job, path, plain, notes, channel, loaded, os.getppid(), clock), job.limits.wall)
    return _attempts(job, path, plain, notes, control, loaded, 0, clock)


def _attempts(
    job: Job, path: bytes, plain: Plain, notes: list[str], control: int, loaded: Callable[[str], None] | None, guard: int,
    clock: Callable[[float, float, float], None] | None,
) -> Result:  # fmt: skip
    """Start with all that can be used, and with less where that fails before anything of the target ran. ``guard`` and ``clock`` as in `Run`."""
    if clock is not None and job.limits.wall is not None:
        now = time.monotonic()
        clock(now, now + job.limits.wall + SETUP, 0.0)
    report, trace = mechanisms(job, plain, notes)
    while True:
        if not report:
            refuse_without_supervisor(
                job, plain, next((note for note in notes if note.startswith("denials are not reported")), "reporting is off")
            )
        try:
            return Run(job, path, plain, report, trace, notes, control, loaded, guard, clock).execute()
        except Retry as retry:
            report, trace = retry.report, retry.trace
            notes.append(str(retry))


class Run:
    """One attempt. The loop's state, and the steps from start to result.

    ``guard`` is the process that a shell knows as the command and waits for; 0 where no shell does. ``clock`` tells our parent when our time is over, since whatever the
    kernel holds us in holds our own clock too (`seclude.sandbox.held`).
    """

    __slots__ = (
        "account", "children_before", "clock", "continued", "control", "ending", "guard", "job", "kernel", "limit", "listener", "loaded",
        "main", "main_status", "mask", "more", "notes", "observer", "path", "plain", "plan", "poll", "record", "relay", "report",
        "responder", "signals", "spawn", "started_at", "supervision", "terminal", "time_limits", "trace", "watching",
    )  # fmt: skip

    def __init__(
        self, job: Job, path: bytes, plain: Plain, report: bool, trace: bool, notes: list[str], control: int,
        loaded: Callable[[str], None] | None, guard: int, clock: Callable[[float, float, float], None] | None,
    ) -> None:  # fmt: skip
        self.guard, self.clock = guard, clock
        self.job, self.path, self.plain, self.report, self.trace = job, path, plain, report, trace
        self.notes, self.control, self.loaded = notes, control, loaded
        self.kernel = Linux()
        self.record = Record()
        self.responder: Responder | None = None
        self.supervision: Supervision | None = None
        self.watching: Watching | None = None
        self.listener = -1
        self.main = 0
        self.continued = False
        self.main_status: int | None = None
        self.limit = ""
        self.ending = False
        self.more = False
        self.account = Account()
        self.poll = select.poll()

    # -- start ------------------------------------------------------------------------------------------------------

    def execute(self) -> Result:
        """Set up, run the loop, take everything down again."""
        # A parent that ignored SIGCHLD left it so: then no status would ever be told.
        csignal.signal(csignal.SIGCHLD, csignal.SIG_DFL)
        # SIGTTOU: a target may have put itself in the terminal's foreground, and forbidden others to write.
        blocked = {*_FORWARDED, csignal.SIGCHLD, csignal.SIGCONT, csignal.SIGTTOU}
        self.mask = tuple(csignal.pthread_sigmask(csignal.SIG_BLOCK, blocked))
        self.signals = signals.signal_descriptor(blocked)
        dumpable = prctl.dumpable() == 1
        try:
            prctl.set_child_subreaper(True)
            self.children_before = frozenset(children())
            self.terminal = has_terminal()
            with _limits.plan(self.job.limits) as self.plan:
                self.relay = Relay(self.job.capture, self.job.stdin, self.plan.output)
                try:
                    self._start()
                    if self.loaded is not None and self.main_status is None:
                        self.loaded(summary(self))
                    self._loop()
                    ended_by = self._end_tree()
                    if self.clock is not None and self.plan.limits:
                        self.clock(0.0, 0.0, 0.0)  # what is left to do may wait for whoever reads our output
                finally:
                    self.relay.finish(patient=self.limit != "wall")
                    if self.main and self.main_status is None:
                        self._end_tree()
                return result_of(self, ended_by)
        finally:
            if self.main:
                self.spawn.close()
            if self.watching is not None:
                self.watching.close()
            if self.listener >= 0 and (self.supervision is None or self.supervision.close()):
                os.close(self.listener)
            signals.pending(self.signals)  # what came for a run that is over
            os.close(self.signals)
            csignal.pthread_sigmask(csignal.SIG_SETMASK, self.mask)
            prctl.set_dumpable(dumpable)

    def _start(self) -> None:
        self.spawn, program, domain = confinement(self)
        if self.supervision is not None:
            self.supervision.confine()
        self.started_at = time.monotonic()
        if self.clock is not None and (self.plan.wall is not None or self.plan.cpu is not None):
            self.clock(self.started_at, 0.0 if self.plan.wall is None else self.started_at + self.plan.wall, self.plan.cpu or 0.0)
        self.main = self.spawn.start()
        self.observer = Observer(
            self.kernel,
            self.main,
            self.plain,
            self.record,
            started=self._executed,
            leaving=self.account.leaves,
            stopped=self._main_stopped,
            calls=self._calls(),
            loaded=Plain(program) if self.job.supervision else None,
        )
        try:
            if self.supervision is not None:
                self.supervision.begin(start_to_pass(self))
            if self.trace:
                try:
                    ptrace.seize(self.main, self.observer.options)
                except OSError as error:
                    raise Retry(
                        self.report,
                        False,
                        f"kills are known by their wait status only: the target cannot be traced ({os.strerror(error.errno or 0)})",
                    ) from None
            # Our files in /proc are root's from here on: else a target of the same user could write oom_score_adj and the like. Not before
            # the child is there and seized, since it has this from us.
            prctl.set_dumpable(False)
            if self.plan.cgroup is not None:
                if self.plan.cgroup.counts_cpu:
                    self.account.joins(self.main)
                self.plan.cgroup.add(self.main)
            self.spawn.go()
            await_filter(self)
        except BaseException:
            kill(self.main)
            self._end_tree()
            raise
        finally:
            if domain is not None:
                # The child holds the same table, but has used it by now, or is gone.
                domain.close()

    def _calls(self) -> Calls | None:
        """Who is told of calls while they happen."""
        found = None if self.supervision is None else self.supervision.calls()
        return found if self.watching is None else self.watching.calls(found)

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        self.relay.register(self.poll)
        if self.control >= 0:
            self.poll.register(self.control, select.POLLIN)
        limits = self.time_limits = _limits.TimeLimits(
            self.plan, self.started_at, lambda: self.account.cpu_now(self.plan, tuple(self.observer.alive))
        )
        while self.main_status is None:
            for descriptor, events in self._ready():
                if descriptor == self.listener and self.responder is not None:
                    if events & select.POLLIN:
                        self.responder.serve(self._waiting())
                    else:
                        # Nobody is left under the filter. Before Linux 6.11 to receive now would be to wait for ever.
                        self._ignore(self.listener)
                elif descriptor == self.signals:
                    self.signalled()
                elif descriptor == self.control:
                    self.notes.append("the caller is gone: the run was ended")
                    return
                elif self.supervision is None or not self.supervision.handle(descriptor):
                    self.relay.handle(descriptor, self.poll)
            if self.more:
                self._reap()
            self.limit = "wall" if limits.wall_reached() else "output" if self.relay.exceeded else "cpu" if limits.cpu_reached() else ""
            if self.limit:
                return

    def _ready(self) -> list[tuple[int, int]]:
        """What is ready, after waiting for it. What watches writes when nothing came for a moment, or it has held back for one."""
        watching, timeout = self.watching, self._timeout()
        if watching is None or not watching.waiting:
            return self.poll.poll(timeout)
        found = self.poll.poll(watching.MOMENT if timeout is None else min(timeout, watching.MOMENT))
        if not (found or self.more) or watching.overdue:
            watching.idle()
        return found

    def _waiting(self) -> Callable[[], list[tuple[int, int]]] | None:
        """How the responder waits for the next call, if it may: no longer than to the next clock."""
        if self.more or self.watching is not None:  # what watches may come to hold text back, which is to be shown soon
            return None
        if not self.time_limits:
            return self.poll.poll
        return lambda: self.poll.poll(timeout) if (timeout := self._timeout()) else []

    def _timeout(self) -> int | None:
        """Milliseconds to wait for the next event at most, or None."""
        return 0 if self.more else self.time_limits.timeout()

    def signalled(self) -> None:
        """Take the signals that came: pass on what was meant for the target, and look at its processes."""
        self.continued = False
        for number, from_kernel in signals.pending(self.signals):
            # What the terminal sends goes to the target as well, which is in the same foreground group.
            if number in _FORWARDED and not from_kernel and self.main_status is None:
                os.kill(self.main, number)
            self.continued = self.continued or number == csignal.SIGCONT
        self._reap()

    def _reap(self) -> bool:
        """Take wait statuses; ``more`` says that there may be others. True where no child and no traced thread is left at all."""
        self.more = False
        if self.main_status is None:
            self.account.look_at(self.main)
        idle, patience = 0, 0 if self.observer.calls is None else _YIELDS
        for _ in range(_STATUSES):
            change = self.kernel.wait()
            if change is None:
                if idle == patience:
                    return False
                idle += 1
                os.sched_yield()
                continue
            idle = 0
            pid, status = change
            if pid == 0:
                return True
            if pid == self.main and not self.trace and status & 0xFF == 0x7F:
                self._main_stopped(pid, status >> 8 & 0xFF)
                continue
            if self.ending and status & 0xFF == 0x7F:
                kill(pid)
            if self.observer.handle(pid, status) and pid == self.main:
                self.main_status = status
        self.more = True
        return False

    def _executed(self, pid: int) -> None:
        """The target's own program begins, and stands still until we go on."""
        self.account.begins(pid)
        if self.plan.cgroup is not None:
            self.plan.cgroup.forget_peak()
        if self.responder is not None:
            self.responder.start = None
        self.plan.bind_files(pid)

    def _main_stopped(self, pid: int, signal: int) -> None:
        """The terminal stopped our job but not us (a full-screen program stops its own group): let the shell notice.

        The guard stops, which is whom the shell waits for. We do not: a target that stops itself and is continued by its child would run on
        without a clock. Not where we have just been continued: then this is the stop that is over, seen late, and nobody would continue the guard again.
        """
        if not self.guard or not self.terminal or signal not in _TERMINAL_STOPS or os.getpgid(pid) != os.getpgid(0):
            return
        if not self.continued and csignal.SIGCONT not in csignal.sigpending() and os.getppid() == self.guard:
            os.kill(self.guard, csignal.SIGSTOP)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _end_tree(self) -> str:
        """End whatever is left; how, or "" where nothing was. The main process may be among it."""
        self.ending = True
        how = ""
        give_up = time.monotonic() + PATIENCE
        cgroup = self.plan.cgroup
        self._ignore(self.listener)  # what waits for an answer waits until it is killed
        self._ignore(self.control)
        while True:
            nobody = self._reap()
            left = (children() - self.children_before) | self.observer.alive
            if nobody or not left:
                return how
            if self.main_status is not None or any(not os.path.exists(f"/proc/{self.main}/task/{one}") for one in left):
                how = how or "subreaper"  # somebody else than the main process's own threads
            if cgroup is not None and cgroup.populated():
                cgroup.kill()
                how = "cgroup" if how else how
            for pid in left:
                kill(pid)
            if time.monotonic() > give_up:
                self.notes.append(f"{LEFT} after {PATIENCE:g} s: {_some(left)}")
                return how
            # Any death wakes us at once; the bound is for orphans that become our children silently.
            for descriptor, _ in self.poll.poll(0 if self.more else 20):
                if descriptor == self.signals:
                    signals.pending(self.signals)
                elif self.supervision is None or not self.supervision.handle(descriptor):
                    self.relay.handle(descriptor, self.poll)

    def _ignore(self, descriptor: int) -> None:
        try:
            self.poll.unregister(descriptor)
        except (KeyError, ValueError):  # never registered, or -1
            return


def _some(pids: set[int]) -> str:
    shown = ", ".join(map(str, sorted(pids)[:5]))
    return shown if len(pids) <= 5 else f"{shown} and {len(pids) - 5} more"
