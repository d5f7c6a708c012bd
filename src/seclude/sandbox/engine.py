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
import resource
import select
import time

from seclude.abi import native
from seclude.kernel import landlock, prctl, proc, ptrace, signals
from seclude.kernel.notify import wake_in_step
from seclude.kernel.signals import csignal
from seclude.kernel.spawn import Spawn, call_of_exec, close_at_exec
from seclude.sandbox import limits as _limits
from seclude.sandbox.account import result_of
from seclude.sandbox.family import children, cpu_of_children, has_terminal, kill
from seclude.sandbox.guard import LEFT
from seclude.sandbox.install import substitute
from seclude.sandbox.launch import NotStarted, find_program, mechanisms, refuse_forbidden_start, refuse_without_supervisor
from seclude.sandbox.relay import Relay
from seclude.sandbox.result import Result
from seclude.sandbox.start import Retry, failed_start, filter_flags, steps, summary
from seclude.supervise.kernel import Linux
from seclude.supervise.notifications import Responder
from seclude.supervise.observer import Observer
from seclude.supervise.plain import ALLOW, LOG, Plain, without_trace
from seclude.supervise.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.sandbox.result import Job
    from seclude.sandbox.supervision import Supervision
    from seclude.sandbox.watching import Watching
    from seclude.supervise.observer import Calls

__all__ = ["PATIENCE", "SETUP", "Run", "execute"]

PATIENCE = 10.0  # seconds for killed processes to be gone
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
    clock: Callable[[float, float], None] | None = None,
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
        return guard(lambda channel, clock: _attempts(job, path, plain, notes, channel, loaded, os.getppid(), clock))
    return _attempts(job, path, plain, notes, control, loaded, 0, clock)


def _attempts(
    job: Job, path: bytes, plain: Plain, notes: list[str], control: int, loaded: Callable[[str], None] | None, guard: int,
    clock: Callable[[float, float], None] | None,
) -> Result:  # fmt: skip
    """Start with all that can be used, and with less where that fails before anything of the target ran. ``guard`` and ``clock`` as in `Run`."""
    if clock is not None and job.limits.wall is not None:
        now = time.monotonic()
        clock(now, now + job.limits.wall + SETUP)
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
        "address_space", "children_before", "clock", "continued", "control", "cpu_before", "cpu_outside", "cpu_to_start", "deadline", "ending", "filters_before", "guard", "job", "kernel", "limit", "listener", "loaded", "main",
        "main_status", "mask", "more", "notes", "observer", "own_filter", "path", "plain", "plan", "poll", "record", "relay", "report",
        "resident", "responder", "signals", "spawn", "started_at", "supervision", "terminal", "trace", "watching",
    )  # fmt: skip

    def __init__(
        self, job: Job, path: bytes, plain: Plain, report: bool, trace: bool, notes: list[str], control: int,
        loaded: Callable[[str], None] | None, guard: int, clock: Callable[[float, float], None] | None,
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
        self.resident = 0
        self.address_space = 0
        self.own_filter = False
        self.ending = False
        self.more = False
        self.cpu_before = cpu_of_children()
        self.cpu_outside = self.cpu_to_start = 0.0
        self.deadline: float | None = None
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
            status = proc.status("self")
            self.filters_before = (status.filters or 0) if status is not None else 0
            self.terminal = has_terminal()
            with _limits.plan(self.job.limits) as self.plan:
                self.relay = Relay(self.job.capture, self.job.stdin, self.plan.output)
                try:
                    self._start()
                    if self.loaded is not None and self.main_status is None:
                        self.loaded("; ".join([summary(self.job, self.report, self.trace), *self._brokered()]))
                    self._loop()
                    ended_by = self._end_tree()
                    if self.clock is not None and (self.plan.wall is not None or self.plan.output is not None):
                        self.clock(0.0, 0.0)  # what is left to do may wait for whoever reads our output
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

    def _brokered(self) -> list[str]:
        """What brokers made of their options."""
        return self.supervision.brokers.notes if self.supervision is not None and self.supervision.brokers is not None else []

    def _start(self) -> None:
        if "watch" in self.job.supervision:
            from seclude.sandbox.watching import Watching

            self.watching = Watching(self.job, self)
        # Without a listener files are held by Landlock alone, which needs no supervision.
        if self.job.supervision.keys() - {"watch", *(() if self.job.report else ("read", "write", "hide", "runtime"))}:
            from seclude.sandbox.supervision import build

            self.supervision = build(self.job, self)
        artifact = self.job.artifact
        if self.supervision is not None:
            program = self.supervision.program(artifact, report=self.report)
        else:
            program = without_trace(artifact.reported) if self.report else artifact.plain
        if self.watching is not None:
            program = self.watching.program(artifact, program)
        flags = filter_flags(self.report)
        domain = _domain(self.job, self.path)
        if self.supervision is not None:
            domain = self.supervision.domain(domain)
        if domain is None:
            self.notes.append(
                "this kernel has no Landlock: what keeps the target from the supervisor is only that it cannot be traced or read"
                + ("" if self.job.reach is None else ", and which files it can open is bounded by the policy and by permissions only")
            )
        else:
            self.notes.extend(domain.notes)
        close_at_exec(3)
        mask = self.mask if self.job.mask is None else tuple(self.job.mask)
        spawn = self.spawn = Spawn(
            self.path,
            self.job.argv,
            self.job.environment,
            program,
            flags,
            steps(
                self.job,
                self.plan,
                domain,
                outside=self.trace or self.report,
                shown=self.watching is not None and self.watching.tracer is not None,
            )
            + (self.supervision.steps() if self.supervision is not None else []),
            mask,
        )
        refuse_forbidden_start(
            self.job, self.plain, call_of_exec(spawn), report=self.report or self.job.supervision.get("engine") == "ptrace"
        )
        if self.supervision is not None:
            self.supervision.confine()
        self.started_at = time.monotonic()
        if self.clock is not None and self.plan.wall is not None:
            self.clock(self.started_at, self.started_at + self.plan.wall)
        self.main = spawn.start()
        self.observer = Observer(
            self.kernel,
            self.main,
            self.plain,
            self.record,
            started=self._executed,
            leaving=self._leaving,
            stopped=self._main_stopped,
            calls=self._calls(),
            loaded=Plain(program) if self.job.supervision else None,
        )
        try:
            if self.supervision is not None:
                self.supervision.begin(self._start_to_pass())
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
                    self.cpu_outside = proc.run_time(self.main) or 0.0
                self.plan.cgroup.add(self.main)
            spawn.go()
            self._await_filter()
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

    def _await_filter(self) -> None:
        """Go through the loop's motions until the filter is in force, and take its listener."""
        spawn = self.spawn
        self.poll.register(self.signals, select.POLLIN)
        self.poll.register(spawn.ready, select.POLLIN)
        waiting = True
        spins = 0
        while not spawn.installed:
            # From "about to install" on the child makes no call that could wake us: it is a matter of microseconds,
            # unless it is stopped just there.
            spins += 1
            for descriptor, _ in self.poll.poll(None if waiting else 0 if spins < 5000 else 1):
                if descriptor == spawn.ready:
                    spawn.acknowledge()
                    self.poll.unregister(spawn.ready)
                    waiting = False
                else:
                    self._signalled()
            if self.main_status is not None:
                if not spawn.installed:
                    failed_start(spawn, self.report, self.trace)
                break
            os.sched_yield()
        if waiting:
            self.poll.unregister(spawn.ready)
        if self.report and spawn.installed:
            self.listener = spawn.listener
            wake_in_step(self.listener)
            if not self.trace:
                # The child is on its way to exec: its loader may just have opened a file, which the limit then counts.
                self._bind_files(self.main)
            self.responder = Responder(self.kernel, self.listener, self.plain, self.record, self._start_to_pass())
            self.poll.register(self.listener, select.POLLIN)
        if self.supervision is not None and spawn.installed:
            self.supervision.attach()

    def _start_to_pass(self) -> tuple[int, int, int, tuple[int, ...]] | None:
        """The execve that the responder lets pass: none where the policy permits it, since then it is never notified."""
        here, args = native(), call_of_exec(self.spawn)
        number = here.number("execve")
        if number is None or self.plain.value(number, here.token, 0, args)[0] in (ALLOW, LOG):
            return None
        return self.main, here.token, number, args[:3]

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        self.relay.register(self.poll)
        if self.control >= 0:
            self.poll.register(self.control, select.POLLIN)
        if self.plan.wall is not None:
            self.deadline = self.started_at + self.plan.wall
        unused = self.plan.cpu_check_after(0.0)
        cpu_check = None if unused is None else self.started_at + unused
        while self.main_status is None:
            for descriptor, events in self._ready(cpu_check):
                if descriptor == self.listener and self.responder is not None:
                    if events & select.POLLIN:
                        self.responder.serve(self._waiting(cpu_check))
                    else:
                        # Nobody is left under the filter. Before Linux 6.11 to receive now would be to wait for ever.
                        self._ignore(self.listener)
                elif descriptor == self.signals:
                    self._signalled()
                elif descriptor == self.control:
                    self.notes.append("the caller is gone: the run was ended")
                    return
                elif self.supervision is None or not self.supervision.handle(descriptor):
                    self.relay.handle(descriptor, self.poll)
            if self.more:
                self._reap()
            now = time.monotonic()
            if self.deadline is not None and now >= self.deadline:
                self.limit = "wall"
            elif self.relay.exceeded:
                self.limit = "output"
            elif cpu_check is not None and now >= cpu_check:
                cpu_check = self._next_cpu_check()
                if cpu_check is not None and cpu_check <= now:
                    self.limit = "cpu"
            if self.limit:
                return

    def _ready(self, cpu_check: float | None) -> list[tuple[int, int]]:
        """What is ready, after waiting for it. What watches writes when nothing came for a moment, or it has held back for one."""
        watching, timeout = self.watching, self._timeout(cpu_check)
        if watching is None or not watching.waiting:
            return self.poll.poll(timeout)
        found = self.poll.poll(watching.MOMENT if timeout is None else min(timeout, watching.MOMENT))
        if not (found or self.more) or watching.overdue:
            watching.idle()
        return found

    def _waiting(self, cpu_check: float | None) -> Callable[[], list[tuple[int, int]]] | None:
        """How the responder waits for the next call, if it may: no longer than to the next clock."""
        if self.more or (self.watching is not None and self.watching.waiting):
            return None
        if self.deadline is None and cpu_check is None:
            return self.poll.poll
        return lambda: self.poll.poll(timeout) if (timeout := self._timeout(cpu_check)) else []

    def _timeout(self, cpu_check: float | None) -> int | None:
        """Milliseconds until the next clock needs a look, rounded up, or None."""
        if self.more:
            return 0
        times = [at for at in (self.deadline, cpu_check) if at is not None]
        if not times:
            return None
        return max(0, int((min(times) - time.monotonic()) * 1000) + 1)

    def _next_cpu_check(self) -> float | None:
        if self.plan.cpu is None:
            return None
        used = self.plan.cpu_used(tuple(self.observer.alive), cpu_of_children() - self.cpu_before)
        left = self.plan.cpu_check_after(max(0.0, used - self.cpu_to_start))
        if left is None:
            return None
        return time.monotonic() + left if left > 0 else 0.0  # 0.0: reached, whatever the time

    def _signalled(self) -> None:
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
            self._look_at_main()
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
        """The target's own program begins, and stands still until we go on. What its process used until here was for confining it."""
        self.cpu_to_start = max(0.0, (proc.run_time(pid) or 0.0) - self.cpu_outside)
        if self.plan.cgroup is not None:
            self.plan.cgroup.forget_peak()
        if self.responder is not None:
            self.responder.start = None
        self._bind_files(pid)

    def _bind_files(self, pid: int) -> None:
        for kind, soft, hard in self.plan.rlimits:
            if kind == resource.RLIMIT_NOFILE:
                try:
                    resource.prlimit(pid, kind, (soft, hard))
                except ProcessLookupError:
                    return

    def _leaving(self, tid: int) -> None:
        status = proc.status(tid)
        if status is None:
            return
        # A filter may be one thread's alone.
        self.own_filter = self.own_filter or (status.filters or 0) > self.filters_before + 1
        # Of every thread: it may be the last, when the first, in whose name the process is, has been gone for long.
        self.resident = max(self.resident, (status.number("VmHWM") or 0) * 1024)
        self.address_space = max(self.address_space, (status.number("VmPeak") or 0) * 1024)

    def _look_at_main(self) -> None:
        """Whether the main process stacked a filter, while its status is there: one that is killed does not stop on its way out, nor one untraced."""
        try:
            ended = os.waitid(os.P_PID, self.main, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is not None and ended.si_code != os.CLD_TRAPPED:  # a tracer is told of stops too
            self._leaving(self.main)

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


def _domain(job: Job, program: bytes) -> landlock.Ruleset | None:
    """What Landlock is to hold the target to: always its own processes; files where some are granted."""
    if job.reach is not None:
        from seclude.sandbox.reach import ruleset

        return ruleset(job.reach)
    if any(job.supervision.get(option) for option in ("read", "write", *(() if job.report else ("hide",)))):
        from seclude.sandbox.files import domain

        return domain(job.supervision, os.path.join(job.cwd or b"", program), alone=not job.report)
    return landlock.scope_ruleset()


def _some(pids: set[int]) -> str:
    shown = ", ".join(map(str, sorted(pids)[:5]))
    return shown if len(pids) <= 5 else f"{shown} and {len(pids) - 5} more"
