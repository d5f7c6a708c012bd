"""Decide notified calls by handlers: many listeners and their targets in one loop, slow handlers in threads beside it.

The problem: everything about a notified call can be over before its answer is there. The target is killed; its thread's number is another's; the listener
is closed. The kernel names each call by an id that never returns, so every step that acts is tied to it: memory counts only if the id
was still valid after the read, a process is killed through a handle taken before the id was asked, a descriptor arrives together with the answer (ADDFD with
SEND), or while the call waits for it, or not at all. An answer that nobody waits for any more is undone (`Emulate.undo`, the descriptor of an `Inject` closed).

What a restarted call means: under WAIT_KILLABLE_RECV (which Seclude's own filters have) a call that was received is only ever taken back by the death of its
thread, so no effect of a handler happens twice. A signal before that makes a new notification with a new id, and nothing had been done for the old one. With a listener
whose filter lacks the flag a received call may be interrupted, and comes again: its effects are undone as above, and done again; but a descriptor that the target has
already (an `Inject` whose own is closed first) it keeps, and gets another.

What can still go wrong: a target that dies between ID_VALID and the effect of an `Emulate` has the effect done without having asked any more; ``undo`` is told. A handler
in the loop that never returns stops every call: give it ``threads=True``. If this process dies, the kernel answers every call with ENOSYS.

Source: seccomp_unotify(2); kernel/seccomp.c.
"""

from __future__ import annotations

import os
import select

from seclude.errors import UsageError
from seclude.supervise.attendant import GIVES, Attendant, close_listener
from seclude.supervise.pool import EventLoop, Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.kernel.protocol import Kernel
    from seclude.supervise.record import Record
    from seclude.supervise.router import Router

__all__ = ["GIVES", "Attendant", "NotifyEngine", "close_listener"]

_UNKNOWN = 38  # ENOSYS


class NotifyEngine:
    """A loop over any number of listeners. For programs that supervise by themselves; `seclude run` has the same inside its own loop.

    ``engine.add(listener, router)``, then ``engine.run()`` in a thread of your choice, until the last listener has nobody left behind it, or `stop`.
    """

    __slots__ = ("_attendants", "_closing", "_loop", "_poll", "_pool", "_stop", "kernel", "unhandled")

    def __init__(self, kernel: Kernel | None = None, *, threads: int = 16) -> None:
        if kernel is None:
            from seclude.supervise.kernel import Linux

            kernel = Linux()
        self.kernel = kernel
        self._pool = Pool(threads)
        self._loop = EventLoop()
        self._attendants: dict[int, Attendant] = {}
        self._poll = select.poll()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._stop, select.POLLIN)
        self._closing = False
        #: calls that no handler took, answered ENOSYS
        self.unhandled = 0

    def add(self, listener: int, router: Router, record: Record | None = None) -> Attendant:
        """Serve ``listener`` (a descriptor, which the engine closes when nobody is left behind it). Denials go to ``record``."""
        if listener in self._attendants:
            raise UsageError(f"NotifyEngine.add({listener}): this listener is served already")
        from seclude.supervise.record import Record as New

        one = Attendant(
            self.kernel, listener, router, New() if record is None else record, pool=self._pool, loop=self._loop, wake=self._stop
        )
        self._attendants[listener] = one
        self._poll.register(listener, select.POLLIN)
        return one

    @property
    def listeners(self) -> int:
        """How many listeners are served."""
        return len(self._attendants)

    def step(self, timeout: float | None = None) -> None:
        """Wait at most ``timeout`` seconds (None: for ever) for something to happen, and deal with it."""
        for descriptor, events in self._poll.poll(None if timeout is None else int(timeout * 1000)):
            if descriptor == self._stop:
                for one in self._attendants.values():
                    one.drain()
                continue
            attendant = self._attendants.get(descriptor)
            if attendant is None:
                continue
            if events & select.POLLIN:
                self._serve(attendant)
            elif events & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                self._drop(attendant)

    def _serve(self, attendant: Attendant) -> None:
        notification = self.kernel.receive(attendant.listener)
        if notification is None:
            return
        chain = attendant.router.find(notification.arch, notification.nr)
        if chain is None:
            self.unhandled += 1
            self.kernel.reply(attendant.listener, notification.id, error=_UNKNOWN)
        else:
            attendant.attend(notification, chain)

    def _drop(self, attendant: Attendant) -> None:
        self._poll.unregister(attendant.listener)
        del self._attendants[attendant.listener]
        attendant.settle()
        close_listener(attendant)

    def run(self) -> None:
        """Serve until no listener is left, or `stop` was called."""
        while self._attendants and not self._closing:
            self.step()

    def stop(self) -> None:
        """End `run` after what it is at, from any thread or signal handler. Calls that wait are answered ENOSYS by `close`."""
        self._closing = True
        os.eventfd_write(self._stop, 1)

    def close(self) -> None:
        """Close every listener: calls that still wait, and later ones, get ENOSYS from the kernel."""
        for one in list(self._attendants.values()):
            self._drop(one)
        self._pool.stop()
        self._loop.stop()
        os.close(self._stop)
