"""Standard streams of a target: its own to begin with, pipes where they are captured or bounded.

The child shares our descriptor table until exec, so its 0, 1 and 2 must be ours while it starts. Our own are kept aside
and put back at the end, when everybody who held the pipes is gone; until then we hold a writing end ourselves, so the
end of the stream is not taken as a sign of anything.

Output that is bounded but not captured is passed on as it comes. Beyond the limit nothing more is passed on or kept.
"""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select

__all__ = ["Relay"]

_CHUNK = 1 << 16
_ABOVE = 10  # where our own streams are kept: out of the way of a target's small RLIMIT_NOFILE


class Relay:
    """The pipes of one run. ``limit`` bounds stdout and stderr together, in bytes; ``exceeded`` says that it was reached."""

    __slots__ = ("_feed", "_feeding", "_own", "_sources", "captured", "exceeded", "limit", "passed")

    def __init__(self, capture: tuple[int, ...], stdin: bytes | None, limit: int | None) -> None:
        self.limit = limit
        self.passed = 0
        self.exceeded = False
        self.captured: dict[int, bytearray] = {stream: bytearray() for stream in capture}
        self._own: dict[int, int] = {}
        self._sources: dict[int, int] = {}  # our reading end → 1 or 2
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
            poll.register(descriptor, 1)  # POLLIN
        if self._feed >= 0:
            poll.register(self._feed, 4)  # POLLOUT

    def handle(self, descriptor: int, poll: select.poll) -> bool:
        """Act on a ready descriptor; False where it is none of ours."""
        if descriptor == self._feed:
            self._give(poll)
            return True
        if descriptor in self._sources:
            self._take(descriptor)
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
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[os.write(self._own[stream], rest) :]
                except BrokenPipeError:
                    break
                except BlockingIOError:  # our own stream was made non-blocking by whoever shares it
                    os.set_blocking(self._own[stream], True)
        return True

    def own(self, stream: int) -> int:
        """Where our own ``stream`` is meanwhile."""
        return self._own.get(stream, stream)

    def finish(self) -> None:
        """Put our own streams back, and take what is still in the pipes. Harmless if done twice."""
        for stream, kept in self._own.items():
            os.dup2(kept, stream)
        for descriptor in self._sources:
            while self._take(descriptor):
                pass
            os.close(descriptor)
        for kept in self._own.values():
            os.close(kept)
        if self._feed >= 0:
            os.close(self._feed)
        self._own, self._sources, self._feed = {}, {}, -1
