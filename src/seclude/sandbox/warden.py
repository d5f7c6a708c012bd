"""The process that starts supervisors for a host with threads: one thread, the run path loaded, nothing of the host's.

It reads job channels from its control socket and forks a supervisor for each, which runs the same engine as the command.
It is their guard: it is a subreaper, so what a killed supervisor leaves becomes its child and is ended. When the host is
gone it waits for its supervisors, whose channels have ended too, and leaves. It has a clock for each of them besides the supervisor's own, since the kernel may
hold that one (`seclude.sandbox.held`), and a copy of its channel to say so by.

A host that confined itself after this process was made must not reach beyond its confinement through it: before each job the host's
filters, no_new_privs and ids are compared with what they were.
"""

from __future__ import annotations

import _socket
import os
import select

from seclude.abi import native
from seclude.errors import InternalError, KernelError, SecludeError
from seclude.kernel import libc, prctl, proc, ptrace, signals
from seclude.kernel.signals import csignal
from seclude.sandbox import engine, family, held, wire
from seclude.sandbox.guard import end_orphans

__all__ = ["identity", "serve"]

#: what the engine imports where it is needed only: tables to tell of a denied call, a domain of files
_LATER = (
    "seclude.abi._constants",
    "seclude.abi._errno",
    "seclude.abi._prototypes",
    "seclude.abi.constants",
    "seclude.abi.prototypes",
    "seclude.sandbox.reach",
)


def identity(pid: int | str) -> tuple[str, ...]:
    """What of a process decides what it may do: ids, groups, capabilities, confinement. Compared, never interpreted."""
    status = proc.status(pid)
    names = ("Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters")
    return tuple(status.fields.get(name, "") for name in names) if status is not None else ()


def serve(descriptor: int) -> None:
    """Serve until the control socket ends and no supervisor is left."""
    if libc.syscall("close_range", descriptor + 1, 0xFFFFFFFF, 0) < 0:  # Linux 5.9; it reaches what was opened before the limit was lowered
        os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
    prctl.set_dumpable(False)  # our files in /proc are root's, and not a target's to write
    os.chdir("/")
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
    os.set_inheritable(descriptor, False)
    prctl.set_child_subreaper(True)
    host = os.getppid()
    as_made = identity(host)
    csignal.pthread_sigmask(csignal.SIG_BLOCK, {csignal.SIGCHLD, csignal.SIGINT, csignal.SIGQUIT, csignal.SIGHUP, csignal.SIGTERM})
    children = signals.signal_descriptor({csignal.SIGCHLD})
    supervisors: dict[int, _Supervisor] = {}
    poll = select.poll()
    clocks = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for one in (control.fileno(), children, clocks[0]):
        poll.register(one, select.POLLIN)
    listening, warm = True, False
    while listening or supervisors:
        times = [left for left in (one.clock.timeout() for one in supervisors.values()) if left is not None]
        for ready, _ in poll.poll(min(times) if times else None):
            if ready == clocks[0]:
                _hear(clocks[0], supervisors)
            elif ready == children:
                signals.pending(children)
                _hear(clocks[0], supervisors)  # first: what one that has ended said is not another's of its number
                _reap(supervisors, poll)
            elif ready != control.fileno():
                # Nobody waits for this one's result any more. It knows, if it can.
                for found in supervisors.values():
                    if found.channel == ready and found.polled:
                        poll.unregister(ready)
                        found.polled = False
                        found.clock.asked()
            else:
                passed = wire.take_descriptors(control, 4)
                if passed is None:
                    listening = False
                    poll.unregister(control.fileno())
                    continue
                if len(passed) == 4:
                    _begin(control, (children, *clocks), passed, supervisors, identity(host) == as_made)
                    poll.register(passed[0], 0)  # its end only
                    passed = passed[1:]
                for one in passed:
                    os.close(one)
                if not warm:
                    warm = True
                    _warm()
        for pid, found in tuple(supervisors.items()):
            if found.clock.held():
                _end(pid, supervisors, poll)
    os._exit(0)


#: supervisors that could not even be killed
_lost: set[int] = set()


class _Supervisor:
    """One of our children: a copy of its ``channel``, whether that is ``polled`` for its end, and the clock beside its own."""

    __slots__ = ("channel", "clock", "polled")

    def __init__(self, pid: int, channel: int) -> None:
        self.channel = channel
        self.polled = True
        self.clock = held.Clock(pid)

    def close(self, poll: select.poll) -> None:
        """Let go of the channel: where its supervisor is gone without an answer, the host sees its end now."""
        if self.polled:
            poll.unregister(self.channel)
        os.close(self.channel)


def _hear(clocks: int, supervisors: dict[int, _Supervisor]) -> None:
    """What supervisors say of their time."""
    size = held.MESSAGE.size
    while True:
        try:
            said = os.read(clocks, 64 * size)  # each is written whole (pipe(7))
        except BlockingIOError:
            return
        for at in range(0, len(said), size):
            pid, *times = held.MESSAGE.unpack_from(said, at)
            if pid in supervisors:
                supervisors[pid].clock.told(*times)


def _end(pid: int, supervisors: dict[int, _Supervisor], poll: select.poll) -> None:
    """End a supervisor that the kernel holds, and tell its host."""
    one = supervisors.pop(pid)
    result = held.end(one.clock, {*supervisors, *_lost})
    if pid in family.children():
        _lost.add(pid)
    if one.polled:  # somebody waits for it
        os.set_blocking(one.channel, False)
        try:  # noqa: SIM105 - contextlib is an import more
            wire.answer(one.channel, result)
        except OSError:  # gone by now, or it does not read
            pass
    one.close(poll)


def _warm() -> None:
    """Load what a run may come to need, once and while the first one is under way: each supervisor would else load it for itself, every time."""
    for name in _LATER:
        try:
            __import__(name)
        except ImportError:  # the package was replaced meanwhile: a run that needs it will say so
            return
    native().number("execve")  # reads this machine's table


def _reap(supervisors: dict[int, _Supervisor], poll: select.poll) -> None:
    orphaned = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | ptrace.WALL)
        except ChildProcessError:
            break
        if not pid:
            break
        one = supervisors.pop(pid, None)
        if one is not None and status == 0:
            one.close(poll)
        elif one is not None:
            orphaned.append(one)
    if orphaned:
        _lost.intersection_update(family.children())
        end_orphans({*supervisors, *_lost})
        for one in orphaned:
            one.close(poll)


def _begin(
    control: _socket.socket, ours: tuple[int, int, int], passed: list[int], supervisors: dict[int, _Supervisor], unchanged: bool
) -> None:
    """Fork a supervisor. ``ours``: the descriptor of signals, and the pipe of clocks."""
    pid = os.fork()
    if pid:
        supervisors[pid] = _Supervisor(pid, passed[0])
        return
    code = 1
    try:
        prctl.set_dumpable(True)  # the target is made from this process, and must be traceable; the engine takes it back then
        control.close()
        children, reading, clocks = ours
        for descriptor in (children, reading, *(one.channel for one in supervisors.values())):
            os.close(descriptor)
        channel = passed[0]
        for stream in (0, 1, 2):
            os.dup2(passed[stream + 1], stream)
            os.close(passed[stream + 1])
        try:
            if not unchanged:
                raise KernelError(
                    "the host has confined itself, or changed its user, since its helper process was made", "call seclude.run again"
                )
            job = wire.job_from_plain(wire.receive(channel))
            outcome: object = engine.execute(
                job,
                control=channel,
                loaded=lambda line: wire.announce(channel, line),
                guarded=True,
                clock=lambda *times: _tell(clocks, *times),
            )
            wire.answer(channel, outcome)  # type: ignore[arg-type]
        except SecludeError as error:
            wire.answer(channel, error)
        code = 0
    except (wire.Closed, BrokenPipeError):
        code = 0
    except BaseException as error:  # noqa: BLE001 - told to the host; nothing of ours may unwind in the child
        wire.answer(channel, InternalError(f"{type(error).__name__}: {error}"))
    finally:
        os._exit(code)


def _tell(clocks: int, *times: float) -> None:
    try:
        os.write(clocks, held.MESSAGE.pack(os.getpid(), *times))
    except OSError:  # the warden is gone, or does not listen: then our own clock has to do
        return
