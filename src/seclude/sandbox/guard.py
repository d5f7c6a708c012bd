"""A second process beside the supervisor, so that either one's death ends the target's whole tree.

The problem: traced processes die with their tracer (PTRACE_O_EXITKILL), but a target can make processes that are not traced
(CLONE_UNTRACED), and need not be traced at all; a supervisor that is killed would leave them running. The kernel hands the orphans of a dead process to the nearest ancestor that is a subreaper, so the
guard is the supervisor's parent: it outlives it, finds the orphans among its own children, and ends them. The other
way round, the supervisor sees the guard's death as the end of its control channel. A supervisor that the kernel holds sees nothing, not even its clock: for that
the guard has one too (`seclude.sandbox.held`, loaded where a limit of time is reached, or a signal is to end the run).

Rejected: a guard as the supervisor's child (it is not given the orphans); the parent-death signal alone (reaches the main
process only, and not its children); a pid namespace (needs privileges, or a user namespace, which is often forbidden).
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import time

from seclude.errors import InternalError, KernelError, SecludeError
from seclude.kernel import prctl, ptrace, signals
from seclude.kernel.signals import csignal
from seclude.kernel.spawn import no_process
from seclude.sandbox import wire
from seclude.sandbox.family import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.kernel.alarm import Alarm
    from seclude.sandbox.held import Clock
    from seclude.sandbox.result import Result

__all__ = ["LEFT", "PATIENCE", "end_orphans", "guarded"]

#: how the note begins that says so
LEFT = "processes that could not be ended were left"

_WHY = "they make others faster than they can be killed (a cgroup would end them at once), or wait in the kernel for what does not come"
#: seconds for killed processes to be gone
PATIENCE = 10.0
_FORWARDED = (csignal.SIGTERM, csignal.SIGHUP, csignal.SIGINT, csignal.SIGQUIT, csignal.SIGUSR1, csignal.SIGUSR2)
#: of these, those that are to end a run: a supervisor that does not take one is held
_ENDING = (csignal.SIGTERM, csignal.SIGHUP, csignal.SIGINT, csignal.SIGQUIT)


def end_orphans(keep: frozenset[int] | set[int]) -> bool:
    """Kill and reap every child that is not in ``keep``, and what becomes our child by that. False: some would not go."""
    deadline = time.monotonic() + PATIENCE
    while True:
        left = children() - keep
        if not left:
            return True
        for pid in left:
            try:
                os.kill(pid, csignal.SIGKILL)
            except ProcessLookupError:
                continue
        for pid in left:
            # Each dies by our SIGKILL; its own children are ours from then on, and in the next round.
            while time.monotonic() < deadline:
                if os.waitpid(pid, os.WNOHANG | ptrace.WALL)[0]:
                    break
                select.select([], [], [], 0.001)
        if time.monotonic() >= deadline:
            return False


def guarded(supervise: Callable[[int, Callable[[float, float, float], None]], Result], wall: float | None = None) -> Result:
    """Fork; ``supervise(control, clock)`` runs in the child, and its result or error is ours. For a process with one thread.

    ``clock(started, due, cpu)`` is how the child says when its time is over, and when nothing of the target is left (`seclude.sandbox.held.Clock.told`).
    ``wall``: its limit.

    The child keeps blocked what is forwarded to it: what arrives when the run is over must not end it before it has answered.
    """
    prctl.set_child_subreaper(True)
    before = frozenset(children())
    mine, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    blocked = {*_FORWARDED, csignal.SIGCHLD, csignal.SIGCONT}
    mask = csignal.pthread_sigmask(csignal.SIG_BLOCK, blocked)
    # Before there is anybody who could have us stopped, since then we would not hear when it is due.
    alarm = None if wall is None else _alarm(wall)
    try:
        pid = os.fork()
    except OSError as error:
        csignal.pthread_sigmask(csignal.SIG_SETMASK, mask)
        if alarm is not None:
            alarm.close()
        raise no_process("fork", error.errno or 0) from None
    if pid == 0:
        mine.close()
        code = 0
        try:
            try:
                wire.answer(theirs.fileno(), supervise(theirs.fileno(), lambda *times: _tell(theirs.fileno(), times)))
            except SecludeError as error:
                wire.answer(theirs.fileno(), error)
        except BaseException as error:  # noqa: BLE001 - the parent tells it; nothing of ours may unwind in the child
            wire.answer(theirs.fileno(), _not_ours(error))
            code = 1
        finally:
            os._exit(code)
    theirs.close()
    prctl.set_dumpable(False)  # our files in /proc are root's, and not the target's to write
    csignal.signal(csignal.SIGCHLD, csignal.SIG_DFL)
    descriptor = signals.signal_descriptor(blocked)
    try:
        return _watch(pid, mine, descriptor, before, alarm)
    except SecludeError:
        raise
    except BaseException:
        # Whatever it was (a limit that a target set for us): nobody is left who would end the run.
        end_orphans(before)
        raise
    finally:
        mine.close()
        # What came for a run that is over: timeout(1) signals its child and then the whole group. The report is still to be written.
        signals.pending(descriptor)
        os.close(descriptor)
        csignal.pthread_sigmask(csignal.SIG_SETMASK, mask)


def _tell(channel: int, times: tuple[float, ...]) -> None:
    try:
        wire.transmit(channel, ["clock", *times])
    except OSError:  # the guard is gone: the channel's end says so too
        return


def _alarm(wall: float) -> Alarm | None:
    """What continues us every now and then from when the limit can be reached, if we are stopped."""
    from seclude.kernel.alarm import Alarm

    try:
        made = Alarm(csignal.SIGCONT)
        made.set(time.monotonic() + wall, 1.0)
    except KernelError:  # no timers are to be had: then a guard that is stopped is late
        return None
    return made


def _timeout(times: tuple[float, ...] | None) -> int | None:
    """Milliseconds until a limit of time can be reached, rounded up, or None. Before that nothing needs to be known of clocks."""
    if times is None or not times[0]:
        return None
    started, due, _ = times
    return max(0, int(((due or started) - time.monotonic()) * 1000) + 1)


def _clock(pid: int, began: float, alarm: Alarm | None, times: tuple[float, ...] | None) -> Clock:
    from seclude.sandbox.held import Clock

    made = Clock(pid, alarm)
    made.started = began
    if times is not None:
        made.told(*times)
    return made


def _watch(pid: int, channel: _socket.socket, descriptor: int, before: frozenset[int], alarm: Alarm | None) -> Result:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(channel.fileno(), select.POLLIN)
    clock: Clock | None = None
    times: tuple[float, ...] | None = None  # what the supervisor said last, kept until a clock has to be made
    began = time.monotonic()
    try:
        while True:
            for ready, _ in poll.poll(_timeout(times) if clock is None else clock.timeout()):
                if ready == descriptor:
                    told = signals.pending(descriptor)
                    for number, from_kernel in told:
                        if number in _FORWARDED and not from_kernel:
                            os.kill(pid, number)
                        if number in _ENDING:
                            clock = clock or _clock(pid, began, alarm, times)
                            clock.asked(number)
                    continued = csignal.SIGCONT in {number for number, _ in told} | csignal.sigpending()
                    changed, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
                    if changed and os.WIFSTOPPED(status):
                        if not continued:  # else it is a stop that is over, and nobody would continue us again
                            os.kill(os.getpid(), csignal.SIGSTOP)
                    elif changed:
                        poll.unregister(descriptor)
                else:
                    try:
                        message = wire.receive(channel.fileno())
                        if message[0] == "clock":
                            times = tuple(message[1:])
                            if clock is not None:
                                clock.told(*times)
                            elif alarm is not None and not times[0]:
                                alarm.set(None, 1.0)
                            continue
                        result = wire.outcome(message)
                    except wire.Closed:
                        raise _killed(end_orphans(before)) from None
                    except SecludeError:
                        end_orphans(before)
                        raise
                    left = [note for note in result.notes if note.startswith(LEFT)]
                    keep = before
                    if not _leaves(pid):
                        keep = before | {pid}
                        result.notes.append(f"the supervisor (process {pid}) is left: a thread of it waits in the kernel for a file system")
                    if end_orphans(keep):
                        for note in left:
                            result.notes.remove(note)
                    elif not left:
                        result.notes.append(f"{LEFT}: {_WHY}")
                    return result
            if clock is None and _timeout(times) == 0:
                clock = _clock(pid, began, alarm, times)
            if clock is not None and clock.held():
                from seclude.sandbox.held import end

                return end(clock, before)
    finally:
        if alarm is not None:
            alarm.close()


def _leaves(pid: int) -> bool:
    """Wait for a supervisor that has answered. False where it cannot even be killed: a thread that did something for the target may be held."""
    deadline = time.monotonic() + 1
    try:
        while not os.waitpid(pid, os.WNOHANG | ptrace.WALL)[0]:
            if time.monotonic() >= deadline:
                from seclude.sandbox.held import await_end

                os.kill(pid, csignal.SIGKILL)
                return await_end(pid)
            select.select([], [], [], 0.001)
    except ChildProcessError:  # its end was told before its answer was read
        return True
    return True


def _killed(ended: bool) -> KernelError:
    told = "every process of the run was ended" if ended else "not every process of the run could be ended"
    return KernelError(f"the supervisor was killed; {told}", "see who sends SIGKILL, or the kernel's log (out of memory)")


def _not_ours(error: BaseException) -> SecludeError:
    """What an exception in the supervisor means to the user: a shortage of the machine's, or a fault of ours."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return KernelError(f"no descriptor is free: {error.strerror}", "raise the limit (ulimit -n): Seclude needs a dozen", error.errno)
    return InternalError(f"{type(error).__name__}: {error}")
