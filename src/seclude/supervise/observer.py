"""Follow every process of a tree through ptrace, and record the calls that the kernel answered with death or SIGSYS.

The problem: kill_process, kill_thread and trap are decided in the kernel, where no filter of the target's can outrank
or forge them, and no listener is told. A seized thread stops on its way out with its registers as they were in the
fatal call; the policy's own program, run on them, tells whether it was our filter that killed it.

Signals are passed on unchanged, group stops are left in place (PTRACE_LISTEN), new processes and threads are followed.
PTRACE_O_EXITKILL ends all of them if the supervisor dies.

Who wants more (the ptrace engine, the tracer) is a `Calls`, told of the calls that a filter answers with TRACE, and of what else befalls
the threads. Several at once are one `Together`.

What can still go wrong: a process made with CLONE_UNTRACED is not followed: it stays under the filter, and its
denials by errno are reported, but its death is not. Each request can find its thread killed meanwhile (ESRCH).
"""

from __future__ import annotations

import struct

from seclude.kernel import ptrace
from seclude.supervise.describe import describe
from seclude.supervise.plain import ACTIONS, KILL_PROCESS, KILL_THREAD, TRACE, TRAP, Plain
from seclude.supervise.record import Denial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from seclude.kernel.protocol import Kernel
    from seclude.kernel.registers import Stopped
    from seclude.supervise.record import Record

    class Calls(Protocol):
        """What is told of calls while they happen. Any method may raise ProcessLookupError: the thread was killed meanwhile."""

        def entered(self, tid: int, call: Stopped) -> int:
            """A filter answered this thread's call with TRACE, and the thread stands before it. What next: `GO`, `LEAVE`, `HOLD`, or the last two together.

            ``call`` is ``(nr, token, ip, args, data)``, as the target made it. A filter of the target's own may have answered, and chosen ``data``: believe
            the policy, not this number.
            """

        def left(self, tid: int) -> None:
            """The call for which this `Calls` asked `LEAVE` is over; the thread stands behind it. Not told of calls that never end."""

        def signalled(self, tid: int, signal: int) -> None:
            """A signal is about to be delivered."""

        def stopped(self, tid: int, signal: int) -> None:
            """The thread entered a group stop because of this signal, and stays in it."""

        def began(self, tid: int, parent: int) -> None:
            """A new process or thread, before its first instruction (the main process: when it is seized).

            ``parent`` is the thread's process, or the process's parent; 0 where it is not known, as for the main process.
            """

        def executed(self, tid: int, former: int) -> None:
            """Another program begins. All other threads of its process are gone; ``former`` was the thread's id until now."""

        def gone(self, tid: int, status: int) -> None:
            """The thread ended, with this wait status. Its number may be another's soon."""


__all__ = ["GO", "HOLD", "LEAVE", "Observer", "Together"]

#: what to do with a thread that stands before a call: let it go on; and stop it once more behind the call; or leave it standing until `Observer.release`
GO, LEAVE, HOLD = 0, 1, 2
_CALL_STOP = 0x85  # SIGTRAP | 0x80, of PTRACE_O_TRACESYSGOOD

_SIGSTOP, _SIGTSTP, _SIGTTIN, _SIGTTOU = 19, 20, 21, 22
_SIGSYS = 31  # x86, arm64: the architectures whose registers are known here
_SYS_SECCOMP = 1
_ENOSYS = 38
_STOPS = (_SIGSTOP, _SIGTSTP, _SIGTTIN, _SIGTTOU)


class Observer:
    """One tree, from its main process on. ``alive`` holds every thread id seen and not yet gone.

    A new thread is seen by its own first stop, not by its parent's event: that can be told after the child has already gone, and would
    leave a number in ``alive`` that is nobody's, or another's.

    ``started(pid)`` is called at the first exec of the main process, ``leaving(tid)`` when a thread is about to end and can still be
    looked at in /proc, ``stopped(pid, signal)`` when the main process entered a group stop. ``calls`` is told of calls; `options` is what to
    seize the main process with. ``loaded`` is the program in force, where it has TRACE answers of its own: any other TRACE is one of
    the target's own filters, and gets ENOSYS, as it would without us.
    """

    __slots__ = ("_inside", "alive", "calls", "executed", "kernel", "leaving", "loaded", "main", "plain", "record", "started", "stopped")

    def __init__(
        self,
        kernel: Kernel,
        main: int,
        plain: Plain,
        record: Record,
        *,
        started: Callable[[int], None],
        leaving: Callable[[int], None],
        stopped: Callable[[int, int], None],
        calls: Calls | None = None,
        loaded: Plain | None = None,
    ) -> None:
        self.kernel = kernel
        self.main = main
        self.plain = plain
        self.record = record
        self.started = started
        self.leaving = leaving
        self.stopped = stopped
        self.alive = {main}
        self.executed = False
        self.calls = calls
        self.loaded = loaded
        self._inside: set[int] = set()  # threads that stop once more at the end of the call they are in
        if calls is not None:
            calls.began(main, 0)

    @property
    def options(self) -> int:
        """What `ptrace.seize` needs for all this."""
        return ptrace.OBSERVE if self.calls is None else ptrace.OBSERVE_CALLS

    def handle(self, tid: int, status: int) -> bool:
        """Act on one wait status. True where the thread, or the process whose last thread it was, is gone."""
        if status & 0xFF != 0x7F:
            self.alive.discard(tid)
            self._inside.discard(tid)
            if self.calls is not None:
                self.calls.gone(tid, status)
            return True
        signal, event = status >> 8 & 0xFF, status >> 16
        try:
            if tid not in self.alive:
                self.alive.add(tid)
                if self.calls is not None:
                    self.calls.began(tid, self.kernel.parent(tid))
            self._stop(tid, signal, event)
        except ProcessLookupError:
            return False  # killed under us; its exit status follows
        return False

    def _stop(self, tid: int, signal: int, event: int) -> None:
        if event == ptrace.EVENT_SECCOMP:
            self._entered(tid)
            return
        if event == 0:
            if signal == _CALL_STOP:
                self._left(tid)
                return
            if signal == _SIGSYS:
                self._trap(tid)
            if self.calls is not None:
                self.calls.signalled(tid, signal)
            self._resume(tid, signal)
            return
        if event == ptrace.EVENT_STOP:
            if signal in _STOPS:
                self.kernel.listen(tid)
                if self.calls is not None:
                    self.calls.stopped(tid, signal)
                if tid == self.main:
                    self.stopped(tid, signal)
                return
        elif event == ptrace.EVENT_EXEC:
            former = self.kernel.event_message(tid)
            if former != tid:
                self.alive.discard(former)
                # The call that goes on under this number is the other thread's, and what this number's own thread was in is no more.
                self._inside.discard(tid)
                if former in self._inside:
                    self._inside.remove(former)
                    self._inside.add(tid)
            if self.calls is not None:
                self.calls.executed(tid, former)
            if tid == self.main and not self.executed:
                self.executed = True
                self.started(tid)
        elif event == ptrace.EVENT_EXIT:
            if self.kernel.event_message(tid) & 0x7F == _SIGSYS:
                # Other threads of the process leave with this status too, and so does one that did not handle a trap:
                # only where the policy says kill for the call the thread is in was it this call.
                self._note(tid, (KILL_PROCESS, KILL_THREAD))
            self.leaving(tid)
        self._resume(tid)

    # -- calls --------------------------------------------------------------------------------------------------------

    def release(self, tid: int) -> None:
        """Let a thread that was left standing before its call (`HOLD`) go on. ProcessLookupError: it is gone."""
        self._resume(tid)

    def _entered(self, tid: int) -> None:
        if self.calls is None:  # we did not ask for these stops
            self._resume(tid)
            return
        call = self.kernel.stopped_call(tid)
        if self.loaded is not None and self.loaded.value(*call[:4])[0] != TRACE:
            self.kernel.skip(tid, call[1], -_ENOSYS)
            self._resume(tid)
            return
        answer = self.calls.entered(tid, call)
        if answer & LEAVE:
            self._inside.add(tid)
        if not answer & HOLD:
            self._resume(tid)

    def _left(self, tid: int) -> None:
        self._inside.discard(tid)
        if self.calls is not None:
            self.calls.left(tid)
        self.kernel.resume(tid)

    def _resume(self, tid: int, signal: int = 0) -> None:
        """Stops inside a call (a child was made, a program begins) must not lose its end."""
        if tid in self._inside:
            self.kernel.resume_to_call(tid, signal)
        else:
            self.kernel.resume(tid, signal)

    def _trap(self, tid: int) -> None:
        """A SIGSYS is about to be delivered: if our filter raised it, note the call."""
        code = struct.unpack_from("=i", self.kernel.signal_info(tid), 8)[0]
        if code == _SYS_SECCOMP:
            self._note(tid, (TRAP,))

    def _note(self, tid: int, actions: tuple[int, ...]) -> None:
        try:
            nr, token, ip, args = self.kernel.call_at_stop(tid)
        except ProcessLookupError:
            raise
        except OSError:
            return  # a kernel before 5.3 does not tell which architecture's call it was (EIO)
        action, data = self.plain.value(nr, token, ip, args)
        if action not in actions:
            return
        arch, name, text, key = describe(self.kernel, tid, token, nr, args)
        denial = Denial(
            call=name, arch=arch, nr=nr, token=token, ip=ip, args=args, text=text, action=ACTIONS[action], result="SIGSYS",
            value=action | data,
        )  # fmt: skip
        self.record.look(tid, denial)
        self.record.add((arch, nr, action | data, key), denial)


class Together:
    """Several `Calls` as one, told in this order: first who looks at a call, last who changes it.

    ``left`` is told to those that asked for it.
    """

    __slots__ = ("_inside", "members")

    def __init__(self, *members: Calls) -> None:
        self.members = members
        self._inside: dict[int, list[Calls]] = {}

    def entered(self, tid: int, call: Stopped) -> int:
        """See `Calls`."""
        together = GO
        inside = []
        for one in self.members:
            answer = one.entered(tid, call)
            if answer & LEAVE:
                inside.append(one)
            together |= answer
        if inside:
            self._inside[tid] = inside
        return together

    def left(self, tid: int) -> None:
        """See `Calls`."""
        for one in self._inside.pop(tid, ()):
            one.left(tid)

    def signalled(self, tid: int, signal: int) -> None:
        """See `Calls`."""
        for one in self.members:
            one.signalled(tid, signal)

    def stopped(self, tid: int, signal: int) -> None:
        """See `Calls`."""
        for one in self.members:
            one.stopped(tid, signal)

    def began(self, tid: int, parent: int) -> None:
        """See `Calls`."""
        for one in self.members:
            one.began(tid, parent)

    def executed(self, tid: int, former: int) -> None:
        """See `Calls`."""
        inside = self._inside.pop(former, None)
        self._inside.pop(tid, None)
        if inside is not None:
            self._inside[tid] = inside
        for one in self.members:
            one.executed(tid, former)

    def gone(self, tid: int, status: int) -> None:
        """See `Calls`."""
        self._inside.pop(tid, None)
        for one in self.members:
            one.gone(tid, status)
