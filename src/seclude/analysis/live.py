"""The filters of a process that runs: asked of the kernel, thread by thread, while all of them stand still.

PTRACE_SECCOMP_GET_FILTER (kernel/seccomp.c, since 4.4) gives each filter of a stopped thread, 0 the oldest. The threads are seized and interrupted, which
they cannot see, until no new one appears; then all are read and let go. So nothing changes while it is read, and a thread that was about to load
another filter does so afterwards.

What can still go wrong: a thread in an uninterruptible sleep does not stop in time, and is named; a process may end at any moment.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from seclude.abi.architecture import elf_architecture, native
from seclude.bpf.program import Program
from seclude.errors import KernelError, UsageError
from seclude.kernel import capabilities, proc, ptrace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.abi import Architecture

__all__ = ["Live", "Thread", "live"]

_PATIENCE = 2.0


class Thread(NamedTuple):
    """One thread: ``mode`` 0 none, 1 strict, 2 filter (3: killed by one); ``filters`` from the oldest to the newest, with ``flags`` of each
    (None: the kernel does not say). ``problem`` says why it could not be read.
    """

    tid: int
    comm: str
    mode: int
    no_new_privs: bool
    filters: tuple[Program, ...]
    flags: tuple[int | None, ...]
    problem: str = ""


class Live(NamedTuple):
    """A process and its threads, ascending."""

    pid: int
    exe: str
    comm: str
    arch: Architecture | None
    threads: tuple[Thread, ...]

    def groups(self) -> list[tuple[Thread, tuple[int, ...]]]:
        """Threads with the same filters taken together: one of them, and the ids of all."""
        found: dict[tuple[object, ...], list[Thread]] = {}
        for one in self.threads:
            found.setdefault((one.mode, one.filters, one.flags, one.problem), []).append(one)
        return [(members[0], tuple(member.tid for member in members)) for members in found.values()]


def live(pid: int, *, patience: float = _PATIENCE) -> Live:
    """What is installed in process ``pid``. ``patience`` is how many seconds a thread may take to stop.

    Raises `UsageError` where there is no such process (any more), `KernelError` where it may not be read, with the capability that is missing.
    """
    seen = proc.status(pid)
    if seen is None:
        raise UsageError(f"no process has the id {pid}", "it may have ended; see: ps")
    if pid == os.getpid():
        raise UsageError("a process cannot stop itself to be read", "name another")
    if seen.tgid not in (None, pid):
        raise UsageError(f"{pid} is a thread of process {seen.tgid}", f"name the process: {seen.tgid}")
    exe, arch = _program(pid)
    comm = seen.name
    # Without any filter there is nothing that needs a right to be read.
    if all((one := proc.status(pid, tid)) is not None and one.seccomp in (0, 1) for tid in proc.threads(pid)):
        threads = tuple(_idle(pid, tid) for tid in proc.threads(pid))
        if threads:
            return Live(pid, exe, comm, arch, threads)
    _require(pid, seen)
    stopped: dict[int, int] = {}
    late: set[int] = set()
    try:
        _stop_all(pid, stopped, late, patience)
        threads = tuple(_read(pid, tid, arch) for tid in sorted(stopped))
    finally:
        _let_go(stopped)
    slow = tuple(_idle(pid, tid)._replace(problem="it does not stop: an uninterruptible sleep") for tid in sorted(late))
    everything = tuple(sorted((*threads, *slow)))
    if not everything:
        raise UsageError(f"process {pid} ended while it was read", "")
    return Live(pid, exe, comm, arch, everything)


def _program(pid: int) -> tuple[str, Architecture | None]:
    try:
        exe = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        exe = ""
    try:
        with open(f"/proc/{pid}/exe", "rb", buffering=0) as file:
            return exe, elf_architecture(file.read(64))
    except OSError:
        return exe, None


def _idle(pid: int, tid: int) -> Thread:
    seen = proc.status(pid, tid)
    if seen is None:
        return Thread(tid, "", 0, False, (), (), "it ended")
    return Thread(tid, seen.name, seen.seccomp or 0, bool(seen.no_new_privs), (), ())


def _require(pid: int, seen: proc.Status) -> None:
    """Refuse at once what the kernel would refuse, and say which right is missing."""
    own = proc.status()
    if seen.tracer:
        tracer = proc.status(seen.tracer)
        name = f" ({tracer.name})" if tracer is not None else ""
        raise KernelError(f"process {pid} is traced by process {seen.tracer}{name}, and a process has one tracer", "end that tracer first")
    if not capabilities.has(capabilities.CAP_SYS_ADMIN):
        raise KernelError(
            f"reading the filters of process {pid} needs CAP_SYS_ADMIN in the first user namespace",
            "run as root, or see them as they are installed: seclude dump -- COMMAND",
            errno.EACCES,
        )
    if own is not None and own.seccomp:
        raise KernelError(
            f"this process is under seccomp itself, and the kernel then shows no filters of others (process {pid})",
            "run outside the container or service that confines it",
            errno.EACCES,
        )


def _stop_all(pid: int, stopped: dict[int, int], late: set[int], patience: float) -> None:
    """Seize and stop every thread until there is none that was not. ``stopped`` maps each to a signal it has yet to be given."""
    while True:
        new = [tid for tid in proc.threads(pid) if tid not in stopped and tid not in late]
        if not new:
            return
        seized = []
        for tid in new:
            try:
                ptrace.seize(tid, 0)
                ptrace.interrupt(tid)
                seized.append(tid)
            except ProcessLookupError:
                late.discard(tid)
                if not proc.threads(pid):
                    return
                if proc.status(pid, tid) is not None:  # a zombie: it will not run again
                    late.add(tid)
            except OSError as error:
                raise KernelError(f"process {pid} may not be traced: {error.strerror}", _why(error.errno), error.errno or 0) from None
        _wait(seized, stopped, late, patience)


def _why(number: int | None) -> str:
    if number == errno.EPERM and not capabilities.has(capabilities.CAP_SYS_PTRACE):
        return "CAP_SYS_PTRACE is missing"
    scope = proc.sysctl("kernel.yama.ptrace_scope")
    if scope == "3":
        return "kernel.yama.ptrace_scope is 3: nothing is traced until the next boot"
    return "it may have got another tracer meanwhile, or a security module refuses"


def _wait(seized: Iterable[int], stopped: dict[int, int], late: set[int], patience: float) -> None:
    end = time.monotonic() + patience
    left = set(seized)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        while left:
            for tid in list(left):
                try:
                    got, status = os.waitpid(tid, os.WNOHANG | ptrace.WALL)
                except ChildProcessError:
                    left.discard(tid)
                    continue
                if not got:
                    continue
                left.discard(tid)
                if status & 0xFF == 0x7F:
                    # A signal that was just arriving is given back on the way out; an event's is none.
                    stopped[tid] = 0 if status >> 16 else status >> 8 & 0xFF
            remaining = end - time.monotonic()
            if left and remaining <= 0:
                late |= left
                return
            if left:
                signal.sigtimedwait({signal.SIGCHLD}, min(remaining, 0.1))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _let_go(stopped: dict[int, int]) -> None:
    for tid, deliver in stopped.items():
        try:
            ptrace.detach(tid, deliver)
        except OSError:
            continue  # killed meanwhile: nothing is left to let go


def _read(pid: int, tid: int, arch: Architecture | None) -> Thread:
    seen = proc.status(pid, tid)
    if seen is None:
        return Thread(tid, "", 0, False, (), (), "it ended")
    order = (arch or native()).byteorder
    filters: list[Program] = []
    flags: list[int | None] = []
    problem = ""
    if seen.seccomp == 2:
        try:
            while (raw := ptrace.seccomp_filter(tid, len(filters))) is not None:
                flags.append(ptrace.seccomp_flags(tid, len(filters)))
                filters.append(Program.from_bytes(raw, order))
        except ProcessLookupError:
            problem = "it ended while it was read"
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise KernelError(
                    "this kernel does not show filters: it is built without CONFIG_CHECKPOINT_RESTORE",
                    "see them as they are installed: seclude dump -- COMMAND",
                    errno.EINVAL,
                ) from None
            if error.errno == errno.EACCES:
                raise KernelError(
                    f"the kernel does not show the filters of process {pid}: CAP_SYS_ADMIN is needed in the first user namespace",
                    "run as root outside of containers",
                    errno.EACCES,
                ) from None
            problem = f"a filter cannot be read: {error.strerror}"
    return Thread(tid, seen.name, seen.seccomp or 0, bool(seen.no_new_privs), tuple(filters), tuple(flags), problem)
