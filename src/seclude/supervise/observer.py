"""Follow every process of a tree through ptrace, and record the calls that the kernel answered with death or SIGSYS.

The problem: kill_process, kill_thread and trap are decided in the kernel, where no filter of the target's can outrank
or forge them, and no listener is told. A seized thread stops on its way out with its registers as they were in the
fatal call; the policy's own program, run on them, tells whether it was our filter that killed it.

Signals are passed on unchanged, group stops are left in place (PTRACE_LISTEN), new processes and threads are followed.
PTRACE_O_EXITKILL ends all of them if the supervisor dies.

What can still go wrong: a process made with CLONE_UNTRACED is not followed: it stays under the filter, and its
denials by errno are reported, but its death is not. Each request can find its thread killed meanwhile (ESRCH).
"""

from __future__ import annotations

import struct

from seclude.kernel import ptrace
from seclude.supervise.describe import describe
from seclude.supervise.plain import ACTIONS, KILL_PROCESS, KILL_THREAD, TRAP, Plain
from seclude.supervise.record import Denial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.supervise.kernel import Kernel
    from seclude.supervise.record import Record

__all__ = ["Observer"]

_SIGTRAP, _SIGSTOP, _SIGTSTP, _SIGTTIN, _SIGTTOU = 5, 19, 20, 21, 22
_SIGSYS = 31  # x86, arm64: the architectures whose registers are known here
_SYS_SECCOMP = 1
_STOPS = (_SIGSTOP, _SIGTSTP, _SIGTTIN, _SIGTTOU)


class Observer:
    """One tree, from its main process on. ``alive`` holds every thread id seen and not yet gone.

    A new thread is seen by its own first stop, not by its parent's event: that can be told after the child has already gone, and would
    leave a number in ``alive`` that is nobody's, or another's.

    ``started(pid)`` is called at the first exec of the main process, ``leaving(tid)`` when a thread is about to end and can still be
    looked at in /proc, ``stopped(pid, signal)`` when the main process entered a group stop.
    """

    __slots__ = ("alive", "executed", "kernel", "leaving", "main", "plain", "record", "started", "stopped")

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

    def handle(self, tid: int, status: int) -> bool:
        """Act on one wait status. True where the thread, or the process whose last thread it was, is gone."""
        if status & 0xFF != 0x7F:
            self.alive.discard(tid)
            return True
        self.alive.add(tid)
        signal, event = status >> 8 & 0xFF, status >> 16
        try:
            self._stop(tid, signal, event)
        except ProcessLookupError:
            return False  # killed under us; its exit status follows
        return False

    def _stop(self, tid: int, signal: int, event: int) -> None:
        if event == 0:
            if signal == _SIGSYS:
                self._trap(tid)
            self.kernel.resume(tid, signal)
            return
        if event == ptrace.EVENT_STOP:
            if signal in _STOPS:
                self.kernel.listen(tid)
                if tid == self.main:
                    self.stopped(tid, signal)
                return
        elif event == ptrace.EVENT_EXEC:
            former = self.kernel.event_message(tid)
            if former != tid:
                self.alive.discard(former)
            if tid == self.main and not self.executed:
                self.executed = True
                self.started(tid)
        elif event == ptrace.EVENT_EXIT:
            if self.kernel.event_message(tid) & 0x7F == _SIGSYS:
                # Other threads of the process leave with this status too, and so does one that did not handle a trap:
                # only where the policy says kill for the call the thread is in was it this call.
                self._note(tid, (KILL_PROCESS, KILL_THREAD))
            self.leaving(tid)
        self.kernel.resume(tid)

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
        self.record.add((arch, nr, action | data, key), denial)
