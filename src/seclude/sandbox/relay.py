"""Standard streams of a target: its own to begin with, pipes where they are captured or bounded.

The child shares our descriptor table until exec, so its 0, 1 and 2 must be ours while it starts. Our own are kept aside
and put back at the end, when everybody who held the pipes is gone; until then we hold a writing end ourselves, so the
end of the stream is not taken as a sign of anything.

Output that is bounded but not captured is passed on as it comes. Beyond the limit nothing more is passed on or kept.

Passing on never waits: whoever reads our output may be slow on purpose (a target can stop its terminal), and the clocks must not. Our own
streams are shared with others, so they are not made non-blocking: poll says when a pipe takes a page, and no more than that is
written. While one piece waits, the next is not read, so that the target waits too. Where nobody reads any more, the pipe is closed
and the target gets the SIGPIPE that it would have had.

What can still go wrong: a terminal takes less than a page at times, and makes us wait until it has shown it.
"""

from __future__ import annotations

import fcntl
import os
import select

__all__ = ["Relay"]

_CHUNK = 1 << 16
_PAGE = 4096  # PIPE_BUF: what a pipe takes without waiting when poll says that it can be written (pipe(7))
_ABOVE = 10  # where our own streams are kept: out of the way of a target's small RLIMIT_NOFILE


class Relay:
    """The pipes of one run. ``limit`` bounds stdout and stderr together, in bytes; ``exceeded`` says that it was reached."""

    __slots__ = ("_feed", "_feeding", "_own", "_sources", "_waiting", "captured", "exceeded", "limit", "passed")

    def __init__(self, capture: tuple[int, ...], stdin: bytes | None, limit: int | None) -> None:
        self.limit = limit
        self.passed = 0
        self.exceeded = False
        self.captured: dict[int, bytearray] = {stream: bytearray() for stream in capture}
        self._own: dict[int, int] = {}
        self._sources: dict[int, int] = {}  # our reading end → 1 or 2
        self._waiting: dict[int, tuple[int, memoryview]] = {}  # our own stream → where it came from, what is still to be passed on
        self._feed = -1
        self._feeding = memoryview(b"")
        for stream in (1, 2) if limit is not None else capture:
            reading, writing = os.pipe2(os.O_CLOEXEC)
            self._replace(stream, writing)
            os.set_blocking(reading, False)
            self._sources[reading] = stream
        if stdin is not None:
            reading, self._feed = os.pipe2(os.O_CLOEXEC)
            self._replace(0, reading)
            os.set_blocking(self._feed, False)
            self._feeding = memoryview(stdin)

    def _replace(self, stream: int, descriptor: int) -> None:
        self._own[stream] = fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
        os.dup2(descriptor, stream)
        os.close(descriptor)

    def register(self, poll: select.poll) -> None:
        """Have ``poll`` watch every pipe."""
        for descriptor in self._sources:
            poll.register(descriptor, select.POLLIN)
        if self._feed >= 0:
            poll.register(self._feed, select.POLLOUT)

    def handle(self, descriptor: int, poll: select.poll) -> bool:
        """Act on a ready descriptor; False where it is none of ours."""
        if descriptor == self._feed:
            self._give(poll)
            return True
        if descriptor in self._sources:
            if self._take(descriptor):
                self._pass_on(self._own[self._sources[descriptor]], poll)
            return True
        if descriptor in self._waiting:
            self._pass_on(descriptor, poll)
            return True
        return False

    def _give(self, poll: select.poll | None) -> None:
        try:
            self._feeding = self._feeding[os.write(self._feed, self._feeding[:_CHUNK]) :] if self._feeding else self._feeding
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._feeding = memoryview(b"")
        if not self._feeding:
            if poll is not None:
                poll.unregister(self._feed)
            os.close(self._feed)
            self._feed = -1

    def _take(self, descriptor: int) -> bool:
        """Read once; False at the end or where there is nothing now."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            return False
        if self.limit is not None and self.passed + len(data) > self.limit:
            self.exceeded = True
            data = data[: self.limit - self.passed]
        self.passed += len(data)
        stream = self._sources[descriptor]
        if stream in self.captured:
            self.captured[stream] += data
        else:
            self._waiting[self._own[stream]] = descriptor, memoryview(data)
        return True

    def _pass_on(self, own: int, poll: select.poll | None, patience: int | None = 0) -> None:
        """Write what waits for our stream ``own``, a page whenever it takes one within ``patience`` milliseconds (None: however long)."""
        if own not in self._waiting:
            return
        source, rest = self._waiting.pop(own)
        while rest and _writable(own, patience):
            try:
                rest = rest[os.write(own, rest[:_PAGE]) :]
            except BlockingIOError:  # made non-blocking by whoever shares it, and less than a page is free
                if patience is not None:
                    break
                os.set_blocking(own, True)
            except OSError:  # EPIPE, EIO: nobody is there any more
                rest = rest[:0]
                del self._sources[source]
                if poll is not None:
                    _unregister(poll, source)
                os.close(source)
                source = -1
        if rest:
            self._waiting[own] = source, rest
        if poll is not None:
            _unregister(poll, own)
            if rest:
                _unregister(poll, source)
                poll.register(own, select.POLLOUT)
            elif source >= 0:
                poll.register(source, select.POLLIN)

    def own(self, stream: int) -> int:
        """Where our own ``stream`` is meanwhile."""
        return self._own.get(stream, stream)

    def finish(self, *, patient: bool = True) -> None:
        """Put our own streams back, and take what is still in the pipes. Harmless if done twice.

        ``patient``: what is left is passed on however long that takes; else only as far as it is taken now.
        """
        for stream, kept in self._own.items():
            os.dup2(kept, stream)
        for descriptor, stream in tuple(self._sources.items()):
            own = self._own[stream]
            while True:
                self._pass_on(own, None, None if patient else 0)
                if own in self._waiting or descriptor not in self._sources or not self._take(descriptor):
                    break
            if descriptor in self._sources:
                os.close(descriptor)
        for kept in self._own.values():
            os.close(kept)
        if self._feed >= 0:
            os.close(self._feed)
        self._own, self._sources, self._waiting, self._feed = {}, {}, {}, -1


def _writable(descriptor: int, patience: int | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(patience))


def _unregister(poll: select.poll, descriptor: int) -> None:
    try:
        poll.unregister(descriptor)
    except KeyError:
        return
