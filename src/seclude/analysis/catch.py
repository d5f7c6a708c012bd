"""Run a program and catch every filter that it, or anything it starts, tries to install.

The problem: a filter is an argument in the target's memory. It must be read at the call, before it is in force (a filter may kill its own
process at the next call), and without changing what the target does: no filter of ours, no descriptor, no signal more or less.

The design: the whole tree is seized and every call stops at its entry and its end (PTRACE_SYSCALL). A ptrace stop comes before seccomp looks at
the call, so one that an earlier filter refuses is seen too. prctl(2) and seccomp(2) are recognised by architecture and number, which PTRACE_GET_SYSCALL_INFO
gives, so ``int 0x80`` and x32 are what they are. At the end the result says whether the filter is in force; with the rights for it, the kernel is then asked
for the filter itself, since another thread could have changed the memory in between.

Rejected: a filter with RET_TRACE in the target (faster, but it shows in /proc, needs no_new_privs, and adds to what is being looked at); a preloaded
library (misses static programs and direct calls).

What can still go wrong: a target that is not to be dumped (PR_SET_DUMPABLE) hides its memory; the descriptor opened at its exec mostly outlives that.
A process made with CLONE_UNTRACED is not followed. A new process stops before its parent's event tells whose it is: it is held until then.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import TYPE_CHECKING

from seclude.analysis.launch import Target
from seclude.analysis.load import NEW_LISTENER, TSYNC, Capture, Load
from seclude.bpf.program import Program
from seclude.kernel import memory, proc, ptrace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seclude.abi import Architecture

__all__ = ["Capture", "Load", "catch"]

_PR_SET_SECCOMP = 22
_REMEMBERED = 4096
#: how often to look for the next event before going to sleep for it, where the target has a processor of its own
_LOOKS = 60
#: events after which the clock and our own signals are looked at, and seconds to wait for either at most
_AT_ONCE = 500
_LONGEST = 3600.0
_SYSGOOD = signal.SIGTRAP | 0x80
_GROUP_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def catch(
    command: Sequence[str],
    *,
    limit: int | None = None,
    timeout: float | None = None,
    stdout: int | None = None,
    found: Callable[[Load], None] | None = None,
) -> Capture:
    """Run ``command`` to its end and that of all it started; ``found`` is called with each load once its outcome is known.

    After ``limit`` loads, or ``timeout`` seconds, whatever still runs is killed. ``stdout`` is the descriptor to be its stdout. Raises
    `UsageError` where there is no such command and `KernelError` where it cannot be traced. Only for a process with one thread and no other children.
    """
    return _Catcher(limit, timeout, found).run(command, stdout)


class _Catcher:
    def __init__(self, limit: int | None, timeout: float | None, found: Callable[[Load], None] | None) -> None:
        self.limit = limit
        self.timeout = timeout
        self.found = found
        self.loads: list[Load] = []
        self.done = 0
        self.started = time.monotonic()
        self.looks = _LOOKS if (os.cpu_count() or 1) > 1 else 1
        #: threads alive; those that wait for their parent's event; those whose parent's event came first
        self.alive: set[int] = set()
        self.held: set[int] = set()
        self.groups: dict[int, int] = {}
        #: thread → loads in force, and the load it is in the middle of
        self.stacks: dict[int, tuple[Load, ...]] = {}
        self.pending: dict[int, Load] = {}
        #: threads in the middle of any other call, which has no end that matters
        self.inside: set[int] = set()
        #: every stack under which a thread ended
        self.seen: dict[tuple[int, ...], tuple[Load, ...]] = {}
        self.memories: dict[int, int] = {}
        self.main = 0
        self.status: int | None = None
        self.ended = ""
        self.busy = False
        self.interrupts = 0
        self.calls: dict[tuple[int, int], tuple[str, Architecture]] = {}
        before = proc.status()
        self.inherited = (before.filters or 0) if before is not None else 0

    # The run

    def run(self, command: Sequence[str], stdout: int | None) -> Capture:
        watched = {signal.SIGCHLD, signal.SIGINT, *_ENDING}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        disposition = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            self._start(command, stdout, mask)
            self._follow(watched)
        finally:
            if self.alive or self.held:
                self._kill()
                self._drain(until_gone=True)
            for descriptor in self.memories.values():
                os.close(descriptor)
            signal.signal(signal.SIGCHLD, disposition)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return Capture(tuple(self.loads), self.status, self.ended, self.inherited, tuple(self.seen.values()))

    def _start(self, command: Sequence[str], stdout: int | None, mask: set[signal.Signals] | set[int]) -> None:
        self.target = Target(command, stdout, mask)
        self.main = self.target.pid
        self.alive.add(self.main)
        self.stacks[self.main] = ()

    def _follow(self, watched: set[signal.Signals]) -> None:
        end = float("inf") if self.timeout is None else self.started + self.timeout
        while self._drain() and not self.ended:
            # Busy targets leave no pause in which to wait: then only look what has come.
            left = 0.0 if self.busy else min(max(0.0, end - time.monotonic()), _LONGEST)
            got = signal.sigtimedwait(watched, left)
            if time.monotonic() >= end:
                self.ended = "timeout"
            elif got is None:
                continue
            elif got.si_signo in _ENDING:
                self.ended = "signal"
            elif got.si_signo == signal.SIGINT:
                # A terminal's reaches the target as well, and is its to act on; a second one, or another process's, is for us.
                self.interrupts += 1
                if self.interrupts > 1 or got.si_code <= 0:
                    self.ended = "signal"
        self.target.check()

    def _drain(self, *, until_gone: bool = False) -> bool:
        """Take the events that are there, `_AT_ONCE` at most (``busy`` then); False where nothing is left to wait for."""
        looks = events = 0
        self.busy = False
        while True:
            if self.ended and not until_gone:
                return True
            if events >= _AT_ONCE and not until_gone:
                self.busy = True
                return True
            try:
                tid, status = os.waitpid(-1, ptrace.WALL | (0 if until_gone else os.WNOHANG))
            except ChildProcessError:
                return False
            if tid == 0:
                # The next call is mostly a few microseconds away, and going to sleep for it takes longer.
                looks += 1
                if looks < self.looks:
                    continue
                return True
            looks = 0
            events += 1
            if until_gone:
                self._after_end(tid, status)
            else:
                self._handle(tid, status)

    def _after_end(self, tid: int, status: int) -> None:
        """What is killed may still stop on its way, and must not stay there."""
        if status & 0xFF == 0x7F:
            self._kill_one(tid)
        else:
            self._gone(tid, None)

    def _kill(self) -> None:
        for tid in list(self.alive | self.held):
            self._kill_one(tid)

    def _kill_one(self, tid: int) -> None:
        try:
            os.kill(self.groups.get(tid, tid), signal.SIGKILL)
        except OSError:
            return  # gone already

    # Events

    def _handle(self, tid: int, status: int) -> None:
        if status & 0xFF != 0x7F:
            self._gone(tid, status)
            return
        stop, event = status >> 8 & 0xFF, status >> 16
        try:
            if tid not in self.alive:
                self.held.add(tid)  # new: whose it is, its parent's event will tell
                self._release_orphans()
                return
            self._stopped(tid, stop, event)
        except ProcessLookupError:
            return  # killed under us; its exit status follows

    def _stopped(self, tid: int, stop: int, event: int) -> None:
        deliver = 0
        if event == 0 and stop == _SYSGOOD:
            self._call(tid)
            if self.ended:
                return
        elif event == 0:
            deliver = stop
        elif event == ptrace.EVENT_STOP:
            if stop in _GROUP_STOPS:
                ptrace.listen(tid)
                return
        elif event in (ptrace.EVENT_FORK, ptrace.EVENT_VFORK, ptrace.EVENT_CLONE):
            self._born(ptrace.event_message(tid), self.stacks.get(tid, ()))
        elif event == ptrace.EVENT_EXEC:
            self._executed(tid, ptrace.event_message(tid))
        ptrace.resume_to_call(tid, deliver)

    def _born(self, child: int, stack: tuple[Load, ...]) -> None:
        """A thread or process is there, with the filters of the thread that made it."""
        # Where it was let go before its maker was known, what it loaded itself since then comes on top.
        own = tuple(load for load in self.stacks.get(child, ()) if load.tid == child)
        self.alive.add(child)
        self.stacks[child] = stack + own
        seen = proc.status(child)
        group = seen.tgid or child if seen is not None else child
        self.groups[child] = group
        if group == child:
            self._remember(child)
        if child in self.held:
            self.held.discard(child)
            ptrace.resume_to_call(child)

    def _release_orphans(self, dead: int = 0) -> None:
        """Let go of the held whose parent died before it could tell: what it had, they have."""
        for child in list(self.held):
            seen = proc.status(child)
            if seen is None:
                continue
            maker = seen.tgid if seen.tgid != child else seen.parent
            if any(self.groups.get(tid, tid) == maker for tid in self.alive):
                continue
            self._born(child, self.stacks.get(dead, ()))

    def _executed(self, tid: int, former: int) -> None:
        """exec: the other threads are gone, and the one that did it has the leader's id now, with its own filters."""
        if former != tid:
            interrupted = self.pending.pop(tid, None)
            if interrupted is not None:
                self._known(interrupted)
            self.alive.discard(former)
            self.inside.discard(former)
            self.stacks[tid] = self.stacks.pop(former, ())
        self.alive.add(tid)
        self._remember(tid)

    def _remember(self, pid: int) -> None:
        """Open the process's memory while that is permitted."""
        descriptor = memory.open_memory(pid)
        former = self.memories.pop(pid, -1)
        if former >= 0:
            os.close(former)
        if descriptor is not None:
            self.memories[pid] = descriptor

    def _gone(self, tid: int, status: int | None) -> None:
        self.alive.discard(tid)
        self.held.discard(tid)
        self.inside.discard(tid)
        if tid == self.main and status is not None:
            self.status = status
        load = self.pending.pop(tid, None)
        if load is not None:
            self._known(load)
        self._release_orphans(tid)
        self.groups.pop(tid, None)
        self._note(self.stacks.pop(tid, ()))
        descriptor = self.memories.pop(tid, -1)
        if descriptor >= 0:
            os.close(descriptor)

    def _note(self, stack: tuple[Load, ...]) -> None:
        """A thread ended under this stack."""
        if stack:
            self.seen[tuple(load.number for load in stack)] = stack

    # Calls

    def _call(self, tid: int) -> None:
        if tid in self.inside:
            # The end of a call that was none of ours: not worth a question. Each beginning has one, or the thread is gone.
            self.inside.discard(tid)
            return
        kind, token, ip, values = ptrace.call_stop(tid)
        if kind == "entry":
            self._entry(tid, token, ip, values)
        elif kind == "exit" and tid in self.pending:
            load = self.pending.pop(tid)
            load.result = None if _rolled_back(load, values[0]) else values[0]
            if load.loaded:
                self._in_force(tid, load)
            self._known(load)

    def _entry(self, tid: int, token: int, ip: int, values: tuple[int, ...]) -> None:
        nr = values[0] & 0xFFFFFFFF
        key = token, nr
        known = self.calls.get(key)
        if known is None:
            known = _recognise(token, nr)
            if len(self.calls) < _REMEMBERED:  # a target can make up as many numbers as it likes
                self.calls[key] = known
        name, arch = known
        if not name:
            self.inside.add(tid)
            return
        low = [value & 0xFFFFFFFF for value in values[1:4]]
        if name == "prctl":
            if low[0] != _PR_SET_SECCOMP or values[2] not in (1, 2):
                return
            mode, flags, pointer = ("strict", "filter")[values[2] - 1], 0, values[3]
        else:
            if low[0] > 1:
                return
            mode, flags, pointer = ("strict", "filter")[low[0]], low[1], values[3]
        load = Load(len(self.loads) + 1, tid, arch, nr, name, mode, flags, ip, time.monotonic() - self.started)
        load.below = self.stacks.get(tid, ())
        if mode == "filter" and pointer == 0:
            load.mode = "probe"  # how libraries ask whether a flag is known: EFAULT says yes, EINVAL no
        elif mode == "filter":
            self._read(load, pointer)
        self.loads.append(load)
        self.pending[tid] = load

    def _read(self, load: Load, pointer: int) -> None:
        """The program behind a struct sock_fprog: ``len``, and a pointer that is 32 bits wide for 32-bit callers (and x32)."""
        order = "<" if load.arch.byteorder == "little" else ">"
        layout = order + ("HxxI" if load.arch.bits == 32 else "H6xQ")
        head = self._memory(load, pointer, struct.calcsize(layout))
        if head is None or len(head) < struct.calcsize(layout):
            load.problem = f"struct sock_fprog at {pointer:#x} cannot be read"
            return
        length, address = struct.unpack(layout, head)
        if length == 0:
            load.problem = "a program of 0 instructions"
            return
        raw = self._memory(load, address, 8 * length)
        if raw is None or len(raw) < 8 * length:
            load.problem = f"the {length} instructions at {address:#x} cannot be read"
            return
        load.program = Program.from_bytes(raw, load.arch.byteorder)

    def _memory(self, load: Load, address: int, size: int) -> bytes | None:
        raw = memory.read(load.tid, address, size)
        if (raw is None or len(raw) < size) and load.pid in self.memories:
            raw = memory.read_at(self.memories[load.pid], address, size) or raw
        return raw

    def _in_force(self, tid: int, load: Load) -> None:
        stack = (*self.stacks.get(tid, ()), load)
        self.stacks[tid] = stack
        if load.flags & TSYNC:
            for other in self.alive:
                # A thread with other filters would have been in the way: it is on its way out, and keeps them.
                if self.groups.get(other, other) == self.groups.get(tid, tid) and _begins(stack, self.stacks.get(other, ())):
                    self.stacks[other] = stack
        if load.mode == "filter":
            self._confirm(tid, load)

    def _confirm(self, tid: int, load: Load) -> None:
        """Ask the kernel for what it took, where we may: the newest filter is the last."""
        seen = proc.status(load.pid, tid)
        if load.program is None or seen is None or not seen.filters:
            return
        try:
            raw = ptrace.seccomp_filter(tid, seen.filters - 1)
        except OSError:
            return
        if raw is None:
            return
        load.confirmed = raw == load.program.to_bytes()
        if not load.confirmed:
            load.problem = "the memory was changed between the call and the kernel's copy: this is what the kernel took"
            load.program = Program.from_bytes(raw, load.program.byteorder)

    def _known(self, load: Load) -> None:
        if self.found is not None:
            self.found(load)
        self.done += load.mode != "probe"
        if self.limit is not None and not self.ended and self.done >= self.limit:
            self.ended = "limit"


def _begins(stack: tuple[Load, ...], part: tuple[Load, ...]) -> bool:
    return stack[: len(part)] == part


def _rolled_back(load: Load, result: int) -> bool:
    """Whether an earlier filter killed or trapped the call: its number then stands where the result would (syscall_rollback).

    A listener or a thread may have that very number.
    """
    if result != load.nr:
        return False
    if load.flags & NEW_LISTENER:
        try:
            return "seccomp" not in os.readlink(f"/proc/{load.tid}/fd/{result}")
        except OSError:
            return True
    return not (load.flags & TSYNC and result in proc.threads(load.pid))


def _recognise(token: int, nr: int) -> tuple[str, Architecture]:
    """``prctl`` or ``seccomp`` where that is the call, else "", and the architecture that it belongs to."""
    from seclude.abi import native
    from seclude.supervise.describe import architecture

    arch = architecture(token, nr)
    if arch is None:
        return "", native()
    name = arch.call_name(nr)
    return (name if name in ("prctl", "seccomp") else ""), arch
