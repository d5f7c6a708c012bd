"""A supervisor that the kernel holds: found by a clock beside its own, and ended with everything of its run.

The problem: a supervisor looks at its clock between one thing and the next, and a target can see to it that one of them never ends. The page that holds
the path of a call is served by the target itself (userfaultfd(2)) or by a file system that does not answer (fuse(4)), and the file that is opened for it lies in
such a file system. Then the kernel waits in the supervisor's place, and only a fatal signal takes it out of there; not even that where the file system
has taken the request already (fs/fuse/dev.c, request_wait_answer).

So the supervisor's parent has a clock of its own: the guard of a command, the warden of a host. The supervisor says when its time is over, and when nothing of
the target is left any more. `GRACE` seconds beyond its time it is looked at twice, `STILL` seconds apart: it is held if it sleeps, and has not had a turn on a
processor in between (voluntary_ctxt_switches in proc(5)). One that is only slow, on a busy machine or with a crowd to end, has turns, and `LAST` seconds.
The same look tells whether a supervisor is held that does not take a signal which is to end the run, or whose host has gone; and where processor time is limited,
whether one is that should add it up: then it is added up here.

Then the target's processes are killed, the supervisor is, and what that leaves becomes our child and is ended. No call is let through: until it is killed a
thread waits before its call, and a listener that is closed answers ENOSYS.

Rejected: a timer that kills (timer_create(2) takes SIGKILL): it cannot tell held from slow, and nobody is left to say what happened. Reading so that nothing
waits: neither process_vm_readv(2) nor /proc/PID/mem has a way to ask for that.

What can still go wrong: a supervisor whose request the file system has taken cannot be killed before that answers or ends, and what it traces stays as it is then, killed but not gone;
so the run ends without them, and says so. A guard that is killed itself while its supervisor is held leaves the run to nobody.
"""

from __future__ import annotations

import os
import select
import struct
import time

from seclude.kernel import cgroup, pidfd, proc, ptrace
from seclude.kernel.signals import csignal
from seclude.sandbox.guard import LEFT, PATIENCE, end_orphans
from seclude.sandbox.result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from seclude.kernel.alarm import Alarm

__all__ = ["GRACE", "LAST", "MESSAGE", "STILL", "Clock", "await_end", "cpu_used", "end"]

#: seconds beyond the limit, or after the signal, before the supervisor is looked at
GRACE = 1.0
#: seconds between two looks
STILL = 1.5
#: seconds beyond the limit after which a supervisor that has turns is ended too
LAST = 45.0
#: what a supervisor tells a warden: its pid, and what `Clock.told` takes
MESSAGE = struct.Struct("=qddd")

_PROCESSORS = os.cpu_count() or 1
_FOR = {
    "process_vm_readv": "reading the target's memory",
    "pread64": "reading the target's memory",
    "process_vm_writev": "writing the target's memory",
    "open": "opening a file",
    "openat": "opening a file",
    "openat2": "opening a file",
    "write": "writing what nobody reads",
}


class Clock:
    """The clock beside that of one supervisor, our child ``pid``, of which only we take the wait status. Times are those of time.monotonic()."""

    __slots__ = ("_alarm", "_asked", "_cpu", "_cpu_at", "_due", "_look", "_over", "_seen", "_sent", "cpu", "pid", "signal", "started")

    def __init__(self, pid: int, alarm: Alarm | None = None) -> None:
        """``alarm`` continues us for a look: the terminal can stop a command's guard, and so can what stops the command itself."""
        self.pid = pid
        self._alarm = alarm
        self.started = time.monotonic()
        self._sent = 0  # the signals that were to end the run, as a set of bits
        #: the one that it did not take, or 0
        self.signal = 0
        self._due: float | None = None  # the limit "wall" is reached
        self._asked: float | None = None  # it was to end
        self._cpu = self._cpu_at = 0.0  # the limit "cpu", and when it can be reached
        #: the limit "cpu" was
        self.cpu = False
        self._look: float | None = None
        self._seen: object = None
        self._over = False

    def told(self, started: float, due: float, cpu: float) -> None:
        """What the supervisor says: since when the run lasts (0.0: nothing of the target is left), when its limit ``wall`` is reached (0.0: it has none), and how many
        seconds the limit ``cpu`` is (0.0: none).
        """  # fmt: skip
        self._over = not started
        if self._over:
            self._due = self._asked = None
            self._cpu = 0.0
        else:
            self.started, self._due, self._cpu = started, due or None, cpu
            self._cpu_at = started + cpu / _PROCESSORS
        self._plan()

    def asked(self, signal: int = 0) -> None:
        """It is to end: a signal, which it keeps blocked and reads, was passed on to it, or nobody waits for its result any more.

        Where nothing of the target is left, it may take the time that it needs; but for one whose loop is over, and of which a thread stays.
        """
        if self._over and signal:
            return
        self._sent |= 1 << signal - 1 if signal else 0
        if self._asked is None:
            self._asked = time.monotonic()
            self._plan()

    def _plan(self) -> None:
        times = [at for at in (self._due, self._asked, self._cpu_at if self._cpu else None) if at is not None]
        self._look, self._seen = (min(times) + GRACE, None) if times else (None, None)
        if self._alarm is not None:
            self._alarm.set(self._look, STILL)

    def timeout(self) -> int | None:
        """Milliseconds until the next look, rounded up, or None."""
        return None if self._look is None else max(0, int((self._look - time.monotonic()) * 1000) + 1)

    @property
    def late(self) -> bool:
        """Whether the limit was reached; else it was asked to end."""
        return self._due is not None and time.monotonic() >= self._due

    def held(self) -> bool:
        """Whether the supervisor is held, or has had all the time that it gets. Looks only when it is time to."""
        now = time.monotonic()
        if self._look is None or now < self._look:
            return False
        status = proc.status(self.pid)
        if self._sent:
            # Where nothing is shown (hidepid), nothing is said.
            self._sent &= 0 if status is None else status.number("ShdPnd", 16) or 0
            self.signal = self._sent.bit_length()
            if not self._sent:
                self._asked = None  # it has taken them
        if self._asked is None and not self.late and not (self._cpu and now >= self._cpu_at):
            self._plan()
            return False
        seen = _turns(self.pid)
        if self._over and status is not None and status.state != "Z":
            self._look = now + STILL  # it passes on output, however slowly that is read
            return False
        if self._asked is None and not self.late:
            return self._spent(seen, now)
        if seen is not None and seen == self._seen:
            return True
        since = min(at for at in (self._due, self._asked) if at is not None and at <= now)
        if now >= since + LAST:
            return True
        self._seen, self._look = seen, now + STILL
        return False

    def _spent(self, seen: object, now: float) -> bool:
        """Whether the supervisor is held and its run has used up its processor time. One that is not held sees to that itself."""
        same = seen is not None and seen == self._seen
        self._seen, self._look = seen, now + STILL
        if not same:
            self.cpu = False
            return False
        left = self._cpu - cpu_used(self.pid)
        if left > 0:
            self.cpu = False
            self._cpu_at = now + left / _PROCESSORS
            self._plan()
            return False
        # It may have been about to look. If it was not, it is where it was, once more.
        before, self.cpu = self.cpu, True
        return before


def cpu_used(pid: int) -> float:
    """Seconds of everything beneath a supervisor, and of what that has waited for; as the run's cgroup counts, where it has one."""
    counted = [used for used in (group.cpu() for group in cgroup.made_by(pid)) if used is not None]
    return counted[0] if counted else sum(proc.cpu_seconds(one) or 0.0 for one in _beneath(pid))


def _turns(pid: int, thread: int | None = None) -> tuple[str, ...] | None:
    """The state of a process's first thread, or of another, and how often it gave up the processor or lost it; None while it runs, or could, or where nothing is shown."""
    status = proc.status(pid, thread)
    if status is None or status.state == "R":
        return None
    return status.state, *(status.fields.get(name, "") for name in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"))


def end(clock: Clock, keep: Collection[int]) -> Result:
    """End a held supervisor and everything of its run; ``keep``: children of ours that are none of it. What the run's result is instead of the supervisor's own."""
    pid = clock.pid
    late = clock.late
    result = Result()
    where = _where(pid)
    groups = cgroup.made_by(pid)
    beneath = _beneath(pid)
    result.cpu = cpu_used(pid)
    for group in groups:
        group.kill()
    _kill(pid, beneath)
    os.kill(pid, csignal.SIGKILL)
    gone = await_end(pid)
    left = "" if (end_orphans(set(keep)) if gone else _end_beneath(pid)) else "some could not be killed"
    for group in groups:
        usage = group.usage()
        result.cpu = max(result.cpu, usage.cpu or 0.0)
        result.memory = usage.memory_peak or result.memory
        if not group.remove():
            group.kill()
            group.remove()
    result.wall = time.monotonic() - clock.started
    result.signal = int(csignal.SIGKILL)
    result.ended_by = "cgroup" if groups else "subreaper"
    if late:
        result.limit, result.code, result.bound_by = "wall", 124, {"wall": "guard"}
        why = "the time was over"
    elif clock.cpu:
        result.limit, result.code, result.bound_by = "cpu", 128 + csignal.SIGKILL, {"cpu": "guard"}
        why = "the processor time was used up"
    else:
        result.code = 128 + (clock.signal or csignal.SIGKILL)
        why = f"signal {clock.signal} was to end it" if clock.signal else "nobody waited for it any more"
    result.notes.append(f"the supervisor was held {where}, and {why}: its guard ended the run; what had been denied and captured is lost")
    if not gone:
        left = left or "killed, but not gone"
        result.notes.append(
            f"{LEFT}: the supervisor (process {pid}) and what it traces are {left}; they wait in the kernel for a file system, and end when that answers or ends"
        )
    elif left:
        result.notes.append(f"{LEFT}: {left}")
    return result


def _where(pid: int) -> str:
    """What the supervisor's loop waits in, in words, as far as we may know."""
    status = proc.status(pid)
    if status is not None and status.state == "R":
        return "up"  # it had turns, and did not come to an end
    if status is not None and status.state in ("T", "t"):
        return "by a stop"
    call = proc.current_call(pid)
    if call is None:
        return "by the kernel"
    from seclude.abi import native

    name = native().call_name(call[0]) or f"call {call[0]}"
    return f"by the kernel in {name}" + (f" ({_FOR[name]})" if name in _FOR else "")


def await_end(pid: int) -> bool:
    """Wait for a child that was killed, or leaves, and take its status. False where a thread of it sleeps on, deaf to SIGKILL."""
    give_up = time.monotonic() + PATIENCE
    try:
        handle = pidfd.open_process(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        seen: object = None
        while not poll.poll(1000):
            now = {thread: _turns(pid, thread) for thread in proc.threads(pid)}
            if (now == seen and None not in now.values()) or time.monotonic() >= give_up:
                return False
            seen = now
    finally:
        os.close(handle)
    try:
        os.waitpid(pid, ptrace.WALL)
    except ChildProcessError:
        return True  # taken already
    return True


def _beneath(pid: int) -> dict[int, int]:
    """Every process beneath ``pid``, and its parent. A zombie may have threads that live."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            status = proc.status(entry)
            if status is not None and status.parent:
                parents[int(entry)] = status.parent
    found: dict[int, int] = {}
    fresh = {pid}
    while fresh:
        below = {child: parent for child, parent in parents.items() if parent in fresh and child not in found}
        found |= below
        fresh = set(below)
    return found


def _kill(pid: int, beneath: dict[int, int]) -> None:
    """Kill these, each by a handle: they are their parents' to reap, so a number may be another's by now."""
    family = {pid, *beneath}
    for one in beneath:
        try:
            handle = pidfd.open_process(one)
        except OSError:
            continue
        try:
            status = proc.status(one)
            if status is not None and status.parent in family:
                pidfd.send(handle, csignal.SIGKILL)
        except OSError:  # EPERM: a set-user-ID program that is somebody else's now
            continue
        finally:
            os.close(handle)


def _end_beneath(pid: int) -> bool:
    """Kill whatever is beneath a supervisor that cannot be killed, until nothing of it runs. False: some would not die."""
    give_up = time.monotonic() + PATIENCE
    while True:
        # One that stands on its way out (PTRACE_EVENT_EXIT) waits for its tracer, and never runs again.
        running = {one: parent for one, parent in _beneath(pid).items() if not _stands(one)}
        if not running:
            return True
        if time.monotonic() >= give_up:
            return False
        _kill(pid, running)
        select.select([], [], [], 0.005)


def _stands(pid: int) -> bool:
    """Whether every thread of a process that was killed stands still for its tracer, or is dead."""
    return all(status is None or status.state in ("t", "Z", "X") for status in (proc.status(pid, thread) for thread in proc.threads(pid)))
