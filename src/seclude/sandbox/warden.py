"""The process that starts supervisors for a host with threads: one thread, the run path loaded, nothing of the host's.

It reads job channels from its control socket and forks a supervisor for each, which runs the same engine as the command.
It is their guard: it is a subreaper, so what a killed supervisor leaves becomes its child and is ended. When the host is
gone it waits for its supervisors, whose channels have ended too, and leaves.

A host that confined itself after this process was made must not reach beyond its confinement through it: before each job the host's
filters, no_new_privs and ids are compared with what they were.
"""

from __future__ import annotations

import _socket
import os
import select

from seclude.abi import native
from seclude.errors import InternalError, KernelError, SecludeError
from seclude.kernel import libc, prctl, proc, signals
from seclude.kernel.signals import csignal
from seclude.sandbox import engine, wire
from seclude.sandbox.guard import end_orphans

__all__ = ["identity", "serve"]

_WALL = 0x40000000
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
    supervisors: set[int] = set()
    poll = select.poll()
    poll.register(control.fileno(), select.POLLIN)
    poll.register(children, select.POLLIN)
    listening, warm = True, False
    while listening or supervisors:
        for ready, _ in poll.poll():
            if ready == children:
                signals.pending(children)
                _reap(supervisors)
            else:
                passed = wire.take_descriptors(control, 4)
                if passed is None:
                    listening = False
                    poll.unregister(control.fileno())
                    continue
                if len(passed) == 4:
                    _begin(control, children, passed, supervisors, identity(host) == as_made)
                for one in passed:
                    os.close(one)
                if not warm:
                    warm = True
                    _warm()
    os._exit(0)


def _warm() -> None:
    """Load what a run may come to need, once and while the first one is under way: each supervisor would else load it for itself, every time."""
    for name in _LATER:
        try:
            __import__(name)
        except ImportError:  # the package was replaced meanwhile: a run that needs it will say so
            return
    native().number("execve")  # reads this machine's table


def _reap(supervisors: set[int]) -> None:
    orphaned = False
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | _WALL)
        except ChildProcessError:
            break
        if not pid:
            break
        if pid in supervisors:
            supervisors.discard(pid)
            orphaned = orphaned or status != 0
    if orphaned:
        end_orphans(supervisors)


def _begin(control: _socket.socket, children: int, passed: list[int], supervisors: set[int], unchanged: bool) -> None:
    pid = os.fork()
    if pid:
        supervisors.add(pid)
        return
    code = 1
    try:
        prctl.set_dumpable(True)  # the target is made from this process, and must be traceable; the engine takes it back then
        control.close()
        os.close(children)
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
            outcome: object = engine.execute(job, control=channel, loaded=lambda line: wire.announce(channel, line), guarded=True)
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
