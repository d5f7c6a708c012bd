"""Decide calls by handlers while their threads stand before them: the ptrace engine, one of an `Observer`'s `Calls`.

The filter answers TRACE where the policy says notify or trace, and the observer's tracer, which follows the whole tree anyway, hears of it.
Against a notification this can change a call's arguments and needs no listener (there is one for a whole stack of filters, while a tracer
is one for each thread); it cannot put descriptors into the target, and each call costs two switches more.

What holds it together:
- Whoever sent the stop, the policy says whether it is ours: a filter that the target stacks can answer TRACE too, with data of its choice.
- A held thread is known by the object made for its call, not by its number: exec by another thread gives the number to somebody else, in another call.
- All requests come from one thread, the tracer. Slow handlers run beside it and leave their answer to it; other threads go on meanwhile.
- After a stop the kernel runs the filters again, and takes a second TRACE for an allow. So a rewritten call is first judged here, by the policy's own program:
  what that denies is not made. (On arm64 before Linux 6.16 the kernel's second look does not see a new first argument at all.)
- Skipping comes before killing, and every exception skips: there is no way through by an error of ours.
- If this process dies, EXITKILL ends every traced thread where it stands, before its call.

What can still go wrong: other threads, and processes that share memory, run while one stands still, so what a path or an address
said at the stop can be another when the kernel reads it: `Allow` and `Rewrite` after a look at memory are refused, as in the notify engine. A target that traces by itself
cannot be traced by us: such a policy has no ptrace engine. A process made with CLONE_UNTRACED is not followed: the kernel answers its calls with ENOSYS.

Sources: ptrace(2); kernel/seccomp.c (__seccomp_filter: SECCOMP_RET_TRACE).
"""

from __future__ import annotations

import os

from seclude.supervise.call import Call, Gone, Unreadable
from seclude.supervise.describe import describe
from seclude.supervise.observer import GO, HOLD
from seclude.supervise.plain import ACTIONS, ALLOW, ERRNO, LOG, TRACE, USER_NOTIF
from seclude.supervise.pool import EventLoop, Pool
from seclude.supervise.record import Denial
from seclude.supervise.router import Decided, discard
from seclude.supervise.verdict import Allow, Deny, Emulate, Kill, Return, Rewrite, Skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.kernel.protocol import Kernel
    from seclude.kernel.registers import Stopped
    from seclude.supervise.plain import Plain
    from seclude.supervise.record import Record
    from seclude.supervise.router import Chain, Router
    from seclude.supervise.verdict import Verdict

    Start = tuple[int, int, int, tuple[int, ...]]

__all__ = ["GIVES", "PtraceEngine", "new_registers"]

#: the verdicts that this engine can give
GIVES: frozenset[type[Verdict]] = frozenset((Allow, Deny, Return, Skip, Kill, Rewrite, Emulate))
_EPERM, _EAGAIN, _EFAULT, _ENOSYS = 1, 11, 14, 38  # x86 and arm, the machines whose registers are known
_MAX_ERRNO = 4095


class _Held:
    """A thread that stands before a call. ``value`` is what the policy says of it; ``waits`` is False once the thread is gone."""

    __slots__ = ("call", "tid", "undo", "value", "waits")

    def __init__(self, kernel: Kernel, tid: int, stopped: Stopped, value: int) -> None:
        nr, token, ip, args, _ = stopped
        self.tid = tid
        self.call = Call(kernel, tid, token, nr, ip, args, lambda: self.waits, value & 0xFFFF)
        self.value = value
        self.undo: Callable[[Call, int], object] | None = None
        self.waits = True


class PtraceEngine:
    """Handlers of one traced tree. Poll ``wake`` and call `drain` then; ``release`` (the observer's) lets a held thread go on.

    ``start`` is ``(pid, token, nr, first three arguments)`` of the execve by which the target begins, let pass once; None after it.
    """

    __slots__ = (
        "_closed", "_done", "_held", "_loop", "_pool", "kernel", "plain", "record", "release", "router", "start", "undone", "wake",
    )  # fmt: skip

    def __init__(
        self, kernel: Kernel, router: Router, plain: Plain, record: Record, *, pool: Pool | None = None, loop: EventLoop | None = None
    ) -> None:
        self.kernel = kernel
        self.router = router
        self.plain = plain
        self.record = record
        self.release: Callable[[int], None] = kernel.resume
        self.start: Start | None = None
        #: effects that were undone, since their thread was gone
        self.undone = 0
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._pool = pool or Pool()
        self._loop = loop or EventLoop()
        self._held: dict[int, _Held] = {}
        self._done: list[tuple[_Held, Decided | None]] = []  # taken from the front; collections would be 2 ms of the start
        self._closed = False
        router.wait = self._loop.wait

    @property
    def held(self) -> int:
        """How many threads stand before a call and wait for a handler."""
        return len(self._held)

    # -- what the observer tells

    def entered(self, tid: int, call: Stopped) -> int:
        """See `observer.Calls`."""
        nr, token, ip, args, _ = call
        action, value = self.plain.value(nr, token, ip, args)
        if action in (ALLOW, LOG):
            return GO  # stopped to be shown, by a traced form of the policy
        if self.start is not None and self.start == (tid, token, nr, args[:3]):
            self.start = None
            return GO
        value |= action
        chain = self.router.find(token, nr) if action in (TRACE, USER_NOTIF) else None
        if chain is None:
            return self._unhandled(tid, call, value)
        held = _Held(self.kernel, tid, call, value)
        place = self.router.place(chain)
        if place == "async":
            self._held[tid] = held
            self._loop.submit(self._decide_async(held, chain))
            return HOLD
        if place == "pool":
            return self._in_pool(held, self._decide, chain)
        decided = self.router.decide(chain, held.call)
        if type(decided.verdict) is Emulate:
            return self._in_pool(held, self._perform, decided)
        return self._give(held, decided)

    def left(self, tid: int) -> None:
        """See `observer.Calls`; never asked for."""

    def signalled(self, tid: int, signal: int) -> None:
        """See `observer.Calls`: signals are delivered as they are."""

    def stopped(self, tid: int, signal: int) -> None:
        """See `observer.Calls`."""

    def began(self, tid: int, parent: int) -> None:
        """See `observer.Calls`."""

    def executed(self, tid: int, former: int) -> None:
        """See `observer.Calls`: the thread whose number this was is gone, and what it waited for."""
        self.start = None
        self._forget(tid)
        self._forget(former)

    def gone(self, tid: int, status: int) -> None:  # noqa: ARG002 - how it ended is nothing to us
        """See `observer.Calls`."""
        self._forget(tid)

    def _forget(self, tid: int) -> None:
        held = self._held.pop(tid, None)
        if held is not None:
            held.waits = False

    # -- deciding beside the tracer

    def _in_pool(self, held: _Held, function: Callable[..., object], argument: object) -> int:
        self._held[held.tid] = held
        try:
            self._pool.submit(function, held, argument)
        except RuntimeError:  # no thread can be made: then the call is denied, as it would be in a process that can make none
            self._forget(held.tid)
            self.kernel.skip(held.tid, held.call.token, -_EAGAIN)
            return GO
        return HOLD

    def _decide(self, held: _Held, chain: Chain) -> None:
        decided: Decided | None = None
        try:
            if held.call.waits():  # it may have waited long for a thread
                decided = self._emulated(held, self.router.decide(chain, held.call))
        except Gone:
            decided = None
        finally:
            self._finish(held, decided)

    async def _decide_async(self, held: _Held, chain: Chain) -> None:
        try:
            decided = await self.router.decide_async(chain, held.call)
        except Gone:
            self._finish(held, None)
            return
        if type(decided.verdict) is not Emulate:
            self._finish(held, decided)
            return
        try:
            self._pool.submit(self._perform, held, decided)
        except RuntimeError:
            self._finish(held, Decided(Deny(_EAGAIN), decided.handler))

    def _perform(self, held: _Held, decided: Decided) -> None:
        final: Decided | None = None
        try:
            if held.call.waits():
                final = self._emulated(held, decided)
        except Gone:
            final = None
        finally:
            self._finish(held, final)

    def _emulated(self, held: _Held, decided: Decided) -> Decided:
        if isinstance(decided.verdict, Emulate):
            held.undo = decided.verdict.undo
        return self.router.perform(decided, held.call)

    def _finish(self, held: _Held, decided: Decided | None) -> None:
        self._done.append((held, decided))
        if self._closed:
            return
        try:
            os.eventfd_write(self.wake, 1)
        except BlockingIOError:  # full: it will be looked at anyway
            return

    def drain(self) -> None:
        """Give what other threads have decided since."""
        try:  # noqa: SIM105 - contextlib is an import more
            os.eventfd_read(self.wake)
        except BlockingIOError:
            pass
        while self._done:
            held, decided = self._done.pop(0)
            if self._held.get(held.tid) is not held or not self._stands(held.tid):
                self._late(held, decided)
                continue
            try:
                # Without a verdict the handler found its thread gone, which it is not: then the call is denied.
                answer = self._give(held, decided or Decided(Deny("EPERM"), "", "its handler took the call for gone"))
                self._forget(held.tid)
                if answer == GO:
                    self.release(held.tid)
            except ProcessLookupError:
                self._forget(held.tid)
                self._late(held, decided)

    def _stands(self, tid: int) -> bool:
        """Whether the thread is where it was left. One that is killed stops once more on its way out, of which the observer may not have heard yet."""
        try:
            self.kernel.stopped_call(tid)
        except OSError:
            self._forget(tid)
            return False
        return True

    def _late(self, held: _Held, decided: Decided | None) -> None:
        if decided is None:
            return
        discard(decided.verdict)
        if isinstance(decided.verdict, Return):
            self._undo(held, decided.verdict.value)

    def _undo(self, held: _Held, value: int) -> None:
        if held.undo is None:
            return
        self.undone += 1
        try:
            held.undo(held.call, value)
        except Exception:  # noqa: BLE001 - nobody is left who could be told
            return

    # -- giving a verdict: in the tracer's own thread. ProcessLookupError: the thread was killed meanwhile

    def _give(self, held: _Held, decided: Decided) -> int:
        verdict, call, tid = decided.verdict, held.call, held.tid
        if isinstance(verdict, Rewrite):
            decided = self._rewrite(held, decided)
            verdict = decided.verdict
        kind = type(verdict)
        # Before the call is answered: what is shown of its memory is read while the thread stands.
        told = self.router.denial(call, decided, held.value) if decided.told else None
        if told is not None:
            self.record.look(tid, told[1])
        else:
            seen = self.record.seen(tid, call.token, call.nr, call.raw)
            result = verdict.value if isinstance(verdict, Return) else None
            self.record.decided(tid, call.token, call.nr, call.raw, seen, kind.__name__, decided.handler, result)
        answer = GO
        if kind is Allow:
            pass
        elif isinstance(verdict, Deny):
            self.kernel.skip(tid, call.token, -verdict.number(call.arch.name if call.arch is not None else ""))
        elif isinstance(verdict, Return):
            if call.written and verdict.value >= 0 and not call.deliver(held=True):
                self.kernel.skip(tid, call.token, -_EFAULT)
                self._undo(held, verdict.value)
            else:
                self.kernel.skip(tid, call.token, verdict.value)
        elif kind is Kill:
            self.kernel.skip(tid, call.token, -_EPERM)  # whatever comes, it does not run
            answer = HOLD if self._end(held) else GO
        else:
            discard(verdict)
            refused = Decided(Deny("EPERM"), decided.handler, f"handler {decided.handler} answered {kind.__name__}, which ptrace cannot do")
            return self._give(held, refused)
        if told is not None:
            self.record.add(*told)
        return answer

    def _end(self, held: _Held) -> bool:
        try:
            pid = held.call.pid
        except Unreadable:
            pid = held.tid
        return self.kernel.end(pid, held.call.waits)

    def _rewrite(self, held: _Held, decided: Decided) -> Decided:
        """Put the new arguments in place, and what follows from that: an Allow, or why not."""
        call, name = held.call, decided.handler
        assert isinstance(decided.verdict, Rewrite)
        if call.reads:
            return Decided(
                Deny("EPERM"), name,
                f"handler {name} rewrote it after looking at the target's memory, which may be another by the time the kernel looks: answer Emulate, or decide without looking",
            )  # fmt: skip
        try:
            args = new_registers(call, decided.verdict)
        except LookupError as error:
            return Decided(Deny("EPERM"), name, f"handler {name} answered Rewrite: {error.args[0] if error.args else error}")
        action, data = self.plain.value(call.nr, call.token, call.ip, args)
        if action in (ALLOW, LOG, TRACE, USER_NOTIF):
            self.kernel.set_call(held.tid, call.token, call.nr, args)
            return Decided(Allow(), name)
        reason = f"handler {name} rewrote it into a call for which the policy says {ACTIONS[action]}"
        if action == ERRNO:
            number = min(data, _MAX_ERRNO)
            return Decided(Deny(number) if number else Return(0), name, reason)
        return Decided(Kill(), name, reason)

    def _unhandled(self, tid: int, call: Stopped, value: int) -> int:
        """No handler takes the call: ENOSYS, as the kernel itself answers without listener or tracer."""
        nr, token, ip, args, _ = call
        arch, name, text, key = describe(self.kernel, tid, token, nr, args)
        denial = Denial(
            call=name, arch=arch, nr=nr, token=token, ip=ip, args=args, text=text, action=ACTIONS[value & 0xFFFF0000], result="ENOSYS",
            value=value,
        )  # fmt: skip
        self.record.look(tid, denial)
        self.kernel.skip(tid, token, -_ENOSYS)
        self.record.add((arch, nr, value, key), denial)
        return GO

    def close(self) -> None:
        """Stop taking part. Threads finish what they are at, and nobody waits for them."""
        self._closed = True
        for tid in tuple(self._held):
            self._forget(tid)
        self._pool.stop()
        self._loop.stop()


def new_registers(call: Call, verdict: Rewrite) -> tuple[int, ...]:
    """The six argument registers after a `Rewrite`. Raises KeyError or IndexError for an argument that the call has not.

    A named parameter that is split over two registers gets both halves. Values are cut to the registers' width; a negative one is extended to it.
    """
    narrow = call.arch is not None and call.arch.bits == 32
    mask = 0xFFFFFFFF if narrow else 0xFFFFFFFFFFFFFFFF
    out = list(call.raw)
    for key, value in verdict.args.items():
        if isinstance(key, int):
            if not 0 <= key < len(out):
                raise IndexError(f"there is no register {key}: they are 0..5")
            out[key] = value & mask
            continue
        parameter = call.args.parameter(key)
        for position, register in enumerate(parameter.registers):
            out[register] = value >> 32 * position & mask
    return tuple(out)
