"""Threads for what may take its time: a bounded pool, and one event loop. Both leave with the process, whatever they wait for.

The problem: what a handler or a broker waits for may never come (a FIFO that nobody opens, a host that does not answer), and the target may
have been killed meanwhile. So nothing waits for these threads at the end, but for a moment; a thread whose call is gone just finds that out.

Rejected: concurrent.futures (joins its threads at exit, and takes ten milliseconds to import).
"""

from __future__ import annotations

import _thread
import sys
from _queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from seclude.supervise.verdict import Verdict

__all__ = ["EventLoop", "Pool"]


class Pool:
    """At most ``size`` threads, made when there is work and none of them is idle. ``prepare`` runs first in each of them."""

    __slots__ = ("_free", "_lock", "_prepare", "_queue", "_threads", "size")

    def __init__(self, size: int = 16, prepare: Callable[[], object] | None = None) -> None:
        self.size = size
        self._prepare = prepare
        self._queue: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = SimpleQueue()
        self._lock = _thread.allocate_lock()
        self._threads = 0
        self._free = 0  # threads for which nothing was submitted since they finished; less than none: work that waits for a thread

    @property
    def threads(self) -> int:
        """How many threads there are now."""
        return self._threads

    @property
    def waiting(self) -> int:
        """How much work nobody has begun."""
        return self._queue.qsize()

    def submit(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have ``function(*arguments)`` called by a thread; it deals with its own exceptions. Raises RuntimeError where no thread can be made and none is there."""
        with self._lock:
            # Counted here, not where a thread takes it: one that is about to take the last work is not there for this one, which may be what that waits for.
            fresh = self._free <= 0 and self._threads < self.size
            self._threads += fresh
            self._free += fresh - 1
        self._queue.put((function, arguments))
        if fresh:
            try:
                _thread.start_new_thread(self._work, ())
            except RuntimeError:
                with self._lock:
                    self._threads -= 1
                    self._free -= 1
                    alone = self._threads == 0
                    self._free += alone
                if alone:
                    self._queue.get()
                    raise

    def _work(self) -> None:
        if self._prepare is not None:
            self._prepare()
        while True:
            work = self._queue.get()
            if work is None:
                break
            function, arguments = work
            try:
                function(*arguments)
            except BaseException:  # noqa: BLE001 - it is told, and the thread stays: who submits counts on it
                sys.excepthook(*sys.exc_info())
            del work, function, arguments  # what a call held is let go of before the next one comes
            with self._lock:
                self._free += 1
        with self._lock:
            self._threads -= 1

    def stop(self) -> None:
        """Let the threads leave when what was submitted is done. Does not wait for them."""
        for _ in range(self._threads):
            self._queue.put(None)


class EventLoop:
    """asyncio's, in a thread of its own, started with the first coroutine."""

    __slots__ = ("_loop",)

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            import asyncio

            self._loop = asyncio.new_event_loop()
            _thread.start_new_thread(_run, (self._loop,))
        return self._loop

    def submit(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run ``coroutine``, which deals with its own exceptions, in the loop."""
        import asyncio

        asyncio.run_coroutine_threadsafe(coroutine, self._running())

    def wait(self, awaitable: Awaitable[Verdict]) -> Verdict:
        """Run ``awaitable`` in the loop, and wait for its result in this thread, which is not the loop's."""
        import asyncio

        async def whole() -> Verdict:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(whole(), self._running()).result()

    def stop(self) -> None:
        """Stop the loop where it stands. What still waits in it is abandoned."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()
