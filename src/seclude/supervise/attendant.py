"""One listener whose calls are decided by handlers: the part of the notify engine that answers. See `seclude.supervise.notify_engine` for what it guards against."""

from __future__ import annotations

import errno
import os
import select
import time

from seclude.supervise.call import Call, Gone, Unreadable
from seclude.supervise.pool import EventLoop, Pool
from seclude.supervise.router import Decided, Router, discard
from seclude.supervise.verdict import Allow, Deny, Emulate, Inject, Kill, Return

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from seclude.kernel.notify import Notification
    from seclude.kernel.protocol import Kernel
    from seclude.supervise.record import Record
    from seclude.supervise.router import Chain
    from seclude.supervise.verdict import Verdict

    #: what the record is to be told, by the loop
    Told: TypeAlias = tuple[Callable[..., None], tuple[Any, ...]]

__all__ = ["GIVES", "PATIENCE", "Attendant", "close_listener"]

#: the verdicts that this engine can give
GIVES: frozenset[type[Verdict]] = frozenset((Allow, Deny, Return, Kill, Inject, Emulate))
#: seconds
PATIENCE = 2.0
_USER_NOTIF = 0x7FC00000


class Attendant:
    """Answers the calls of one listener by handlers. What runs it polls ``wake`` and calls `drain` then: denials of other threads arrive there.

    ``attend`` may be called from one thread only; answers are given from whichever thread has them.
    """

    __slots__ = (
        "_done", "_giving", "_loop", "_owns", "_pool", "abandoned", "kernel", "listener", "pending", "record", "router", "undone", "wake",
    )  # fmt: skip

    def __init__(
        self, kernel: Kernel, listener: int, router: Router, record: Record, *, pool: Pool | None = None, loop: EventLoop | None = None,
        wake: int = -1,
    ) -> None:  # fmt: skip
        self.kernel = kernel
        self.listener = listener
        self.router = router
        self.record = record
        self._pool = pool or Pool()
        self._loop = loop or EventLoop()
        self._owns = wake < 0
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) if wake < 0 else wake
        self._done: list[Told | None] = []  # taken from the front; collections would be 2 ms of the start
        self._giving: list[int] = []  # whom threads between an answer and its record answer
        #: calls that were received and have no answer yet
        self.pending = 0
        #: answers that came too late, and effects that were undone for it
        self.undone = 0
        self.abandoned = False
        router.wait = self._loop.wait

    def attend(self, notification: Notification, chain: Chain, value: int = _USER_NOTIF) -> None:
        """Have the handlers of ``chain`` decide one received call, and answer it, now or later."""
        call = self._call(notification, value)
        place = self.router.place(chain)
        if place == "loop":
            self._decide(notification.id, chain, call, value)
            return
        self.pending += 1
        self.record.waits(call.tid, call.token, call.nr, call.raw)
        if place == "async":
            self._loop.submit(self._decide_async(notification.id, chain, call, value))
            return
        self._in_pool(notification.id, self._decide_in_pool, chain, call, value)

    def _call(self, notification: Notification, value: int) -> Call:
        kernel, listener, id_ = self.kernel, self.listener, notification.id

        def waits() -> bool:
            try:
                return kernel.still_waiting(listener, id_)
            except OSError:  # the listener was closed, and with it every call was answered
                return False

        call = Call(
            kernel, notification.pid, notification.arch, notification.nr, notification.ip, notification.args,
            waits, value & 0xFFFF,
        )  # fmt: skip
        call.id = id_
        return call

    def _in_pool(self, id_: int, function: Callable[..., object], *arguments: object) -> None:
        try:
            self._pool.submit(function, id_, *arguments)
        except RuntimeError:  # no thread can be made: then the call is denied, as it would be in a process that can make none
            self.pending -= 1
            self.kernel.reply(self.listener, id_, error=errno.EAGAIN)

    # -- deciding: in the loop, in the event loop, in the pool

    def _decide(self, id_: int, chain: Chain, call: Call, value: int) -> None:
        try:
            decided = self.router.decide(chain, call)
        except Gone:
            self._gone(id_)
            return
        if type(decided.verdict) is Emulate:
            self.pending += 1
            self.record.waits(call.tid, call.token, call.nr, call.raw)
            self._in_pool(id_, self._perform, decided, call, value)
            return
        told = self._give(id_, decided, call, value)
        if told is not None:
            told[0](*told[1])

    async def _decide_async(self, id_: int, chain: Chain, call: Call, value: int) -> None:
        try:
            decided = await self.router.decide_async(chain, call)
        except Gone:
            self._gone(id_)
            self._finish(None)
            return
        if type(decided.verdict) is Emulate:
            self._in_pool(id_, self._perform, decided, call, value)
        else:
            self._finish_with(id_, decided, call, value)

    def _decide_in_pool(self, id_: int, chain: Chain, call: Call, value: int) -> None:
        try:
            decided = self.router.decide(chain, call) if call.waits() else None  # it may have waited long for a thread
        except (Gone, OSError):  # OSError: the listener was closed
            decided = None
        if decided is None:
            self._gone(id_)
            self._finish(None)
        else:
            self._perform(id_, decided, call, value)

    def _perform(self, id_: int, decided: Decided, call: Call, value: int) -> None:
        undo = decided.verdict.undo if isinstance(decided.verdict, Emulate) else None
        try:
            final = self.router.perform(decided, call) if call.waits() else None
        except (Gone, OSError):
            final = None
        if final is None:
            discard(decided.verdict)
            self._gone(id_)
            self._finish(None)
        else:
            self._finish_with(id_, final, call, value, undo)

    def _finish_with(self, id_: int, decided: Decided, call: Call, value: int, undo: Callable[[Call, int], object] | None = None) -> None:
        """Answer, in a thread that is not the loop's; the record is the loop's to write."""
        self._giving.append(call.tid)
        told = None
        try:
            told = self._give(id_, decided, call, value, undo)
        except OSError:  # the listener was closed
            told = None
        except BaseException:  # a fault of ours, which the pool tells: the call is denied
            self._gone(id_)
            raise
        finally:
            self._done.append(told)
            self._giving.remove(call.tid)
            self._awake()  # last: who waits for this looks at the two above

    def _gone(self, id_: int) -> None:
        """A handler took the call for gone. If it was wrong, the call must not wait for ever."""
        try:
            self.kernel.reply(self.listener, id_, error=errno.EPERM)
        except OSError:  # the listener was closed
            return

    def settle(self, tid: int = 0) -> None:
        """Take over what was denied up to now, also by threads that have answered but not said so yet: after the target's end nothing is left out. ``tid``: only those that
        answer that thread are waited for.

        But for a thread that the kernel holds where it reads what the record is to show: it is not waited for beyond `PATIENCE` seconds.
        """
        if tid and not self._done and tid not in self._giving:
            return
        give_up = time.monotonic() + PATIENCE
        woken = select.poll()
        woken.register(self.wake, select.POLLIN)
        while self._giving if not tid else tid in self._giving:
            left = give_up - time.monotonic()
            if left <= 0:
                break
            woken.poll(int(left * 1000) + 1)  # not by yielding: on a busy machine everybody else would have a turn first
            self.drain()
        self.drain()

    def _finish(self, told: Told | None) -> None:
        self._done.append(told)
        self._awake()

    def _awake(self) -> None:
        try:
            os.eventfd_write(self.wake, 1)
        except OSError:  # full: it will be looked at anyway; closed: nobody asks any more
            return

    def drain(self) -> None:
        """Take over what other threads have finished since."""
        try:  # noqa: SIM105 - contextlib is an import more
            os.eventfd_read(self.wake)
        except BlockingIOError:
            pass
        while self._done:
            told = self._done.pop(0)
            self.pending -= 1
            if told is not None:
                told[0](*told[1])

    # -- answering

    def _give(self, id_: int, decided: Decided, call: Call, value: int, undo: Callable[[Call, int], object] | None = None) -> Told | None:
        """Do what the verdict says, in sight of whoever watches; what the record is to be told of it, or None."""
        verdict = decided.verdict
        if isinstance(verdict, (Allow, Return, Inject)):
            watched = call.tid, call.token, call.nr, call.raw
            seen = "", ""
            result: int | None = None
            if isinstance(verdict, Allow):
                seen = self.record.seen(*watched)
                self.kernel.continue_(self.listener, id_)
            elif isinstance(verdict, Return):
                result = -errno.EFAULT if call.written and verdict.value >= 0 and not self._delivered(call) else verdict.value
                seen = self.record.seen(*watched, result)
                try:
                    given = self.kernel.reply(self.listener, id_, value=result)
                except OSError:  # the listener was closed meanwhile: nobody got the answer
                    given = False
                if undo is not None and (not given or result != verdict.value):
                    self._undo(undo, call, verdict.value)
                result = result if given else None
            else:
                seen = self.record.seen(*watched)
                result = self._inject(id_, verdict)
                if result is not None and result < 0 and result != -errno.EMFILE:  # EMFILE: the target's own limit
                    return self._give(id_, _not_injected(decided, verdict, -result), call, value)
            return self.record.decided, (*watched, seen, type(verdict).__name__, decided.handler, result)
        if not isinstance(verdict, (Deny, Kill)):
            decided = Decided(
                Deny("EPERM"), decided.handler, f"handler {decided.handler} answered {type(verdict).__name__}, which notify cannot do"
            )
            verdict = decided.verdict
        try:
            told = self.router.denial(call, decided, value)
        except Gone:
            return None
        self.record.look(call.tid, told[1])
        if isinstance(verdict, Deny):
            arch = call.arch.name if call.arch is not None else ""
            given = self.kernel.reply(self.listener, id_, error=verdict.number(arch))
        else:
            given = self._kill(id_, call)
        return (self.record.add, told) if given else None

    @staticmethod
    def _delivered(call: Call) -> bool:
        try:
            return call.deliver(held=False)
        except Gone:
            return False  # and so is whom the answer is for

    def _undo(self, undo: Callable[[Call, int], object], call: Call, value: int) -> None:
        self.undone += 1
        try:
            undo(call, value)
        except Exception:  # noqa: BLE001 - nobody is left who could be told but the record
            return

    def _inject(self, id_: int, verdict: Inject) -> int | None:
        """Give the descriptor; its number there, None where the call went away, or a negated errno: then it waits for another answer, but for EMFILE."""
        refused = 0
        number = None
        # What is ours to close is closed before the target runs on: what it does next may ask whether anybody has the file open still (flock(2), execve(2),
        # fifo(7)). What is not to be closed is given together with the answer.
        first = verdict.close
        try:
            number = self.kernel.add_fd(self.listener, id_, verdict.fd, newfd=verdict.newfd, cloexec=verdict.cloexec, send=not first)
        except OSError as error:
            refused = error.errno or errno.EPERM
        finally:
            discard(verdict)
        # Always answered: a call whose descriptor could not be given would wait for ever.
        if refused:
            if refused == errno.EMFILE:
                self.kernel.reply(self.listener, id_, error=refused)
            return -refused
        if first and number is not None and not self.kernel.reply(self.listener, id_, value=number):
            return None
        return number

    def _kill(self, id_: int, call: Call) -> bool:
        try:
            pid = call.pid
        except Unreadable:
            pid = call.tid
        except Gone:
            return False
        ended = pid > 0 and self.kernel.end(pid, call.waits)
        # If it could not be killed it is denied, at the least.
        return self.kernel.reply(self.listener, id_, error=errno.EPERM) or ended

    def close(self) -> None:
        """Stop taking part: threads finish what they are at, and nobody waits for them. The listener is the caller's to close, after this."""
        self.settle()
        self.abandoned = self.pending > 0
        self._pool.stop()
        self._loop.stop()
        if self._owns and not self.abandoned:
            os.close(self.wake)
            self.wake = -1


def _not_injected(decided: Decided, verdict: Inject, refused: int) -> Decided:
    reason = f"handler {decided.handler} injected descriptor {verdict.fd}: {os.strerror(refused)}"
    if refused == errno.EBADF:
        reason += ": it is not open, was opened with O_PATH, or newfd is beyond the target's limit"
    return Decided(Deny(refused), decided.handler, reason)


def close_listener(attendant: Attendant) -> None:
    """Close an attendant's listener. Where a thread may still answer through its number, the number stays ours, as the null device, for good."""
    if attendant.pending:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, attendant.listener, inheritable=False)
        os.close(null)
    else:
        os.close(attendant.listener)
