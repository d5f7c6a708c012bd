"""How many descriptors a target can have its supervisor hold: never all, whatever it does.

The problem: a call that waits (a FIFO without its other end, a host that does not answer, a message full of descriptors) waits with descriptors of the supervisor's,
and a target can make as many such calls as it has threads. A supervisor without a free descriptor can open nothing for anybody, tell nothing, not even look for
the processes that are left; so what waits has a share, and what would go beyond it fails.

Source: getrlimit(2), RLIMIT_NOFILE.
"""

from __future__ import annotations

import _thread
import resource

__all__ = ["Share", "capacity", "raise_limit"]

#: for the supervisor itself: streams, logs, modules, what one call takes while it is decided, threads' directories that are kept open
_OWN = 224
_MOST = 1 << 16


def raise_limit() -> None:
    """Let this process have as many as it may. For one that has made its target already, which keeps what it was given."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def capacity() -> int:
    """How many descriptors what waits may hold, all together."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if soft == resource.RLIM_INFINITY else max(32, min(soft, _MOST) - _OWN)


class Share:
    """One part of `capacity`: ``divisor`` 4 is a quarter. For any thread."""

    __slots__ = ("_divisor", "_lock", "used")

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        self._lock = _thread.allocate_lock()
        self.used = 0

    def take(self, count: int) -> bool:
        """Whether ``count`` more may be held: then `give` them back."""
        with self._lock:
            if self.used + count > capacity() // self._divisor:
                return False
            self.used += count
            return True

    def give(self, count: int) -> None:
        """They are closed."""
        with self._lock:
            self.used -= count
