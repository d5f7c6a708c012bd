"""A signal to this process at a time, and again until it is told to stop (timer_create(2), timer_settime(2)).

What for: a process that is stopped sees no clock of its own any more, but SIGCONT at its time continues it, whoever stopped it (kernel/signal.c, prepare_signal).
"""

from __future__ import annotations

import ctypes
import struct

from seclude.kernel.libc import call, syscall

__all__ = ["Alarm"]

_CLOCK_MONOTONIC, _TIMER_ABSTIME = 1, 1
_SIGEVENT = 64  # sizeof (struct sigevent): a value as wide as a pointer, the signal, SIGEV_SIGNAL (0), and nothing


class Alarm:
    """One timer, not set. Close it. Raises `KernelError`. A forked child does not inherit it."""

    __slots__ = ("_timer",)

    def __init__(self, signal: int) -> None:
        event = struct.pack("@Pii", 0, signal, 0).ljust(_SIGEVENT, b"\0")
        timer = ctypes.c_int(-1)
        call("timer_create", _CLOCK_MONOTONIC, event, ctypes.byref(timer))
        self._timer = timer.value

    def set(self, at: float | None, every: float) -> None:
        """Signal at ``at`` (time.monotonic(); None: never) and each ``every`` seconds from then on, as long as the last one was taken. Block the signal: one that
        is ignored is not sent again (kernel/time/posix-timers.c).
        """  # fmt: skip
        first, again = (0.0 if at is None else max(at, 1e-9)), every if at is not None else 0.0
        times = [int(part) for seconds in (again, first) for part in (seconds, seconds % 1 * 1e9)]
        if self._timer >= 0:
            call("timer_settime", self._timer, _TIMER_ABSTIME, struct.pack("@4l", *times), None)

    def close(self) -> None:
        """Delete the timer. Harmless if done twice."""
        if self._timer >= 0:
            syscall("timer_delete", self._timer)
            self._timer = -1
