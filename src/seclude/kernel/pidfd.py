"""pidfd_open(2), pidfd_send_signal(2): a process by a handle that is never reused, as its number may be.

For our own unreaped children the number is as safe, since only we reap them; everything else goes through a handle.
"""

from __future__ import annotations

import os

from seclude.kernel.signals import csignal

__all__ = ["open_process", "send"]


def open_process(pid: int) -> int:
    """A close-on-exec descriptor of the process, readable once it has ended. Raises ProcessLookupError (ESRCH)."""
    return os.pidfd_open(pid, 0)


def send(pidfd: int, signal: int) -> bool:
    """Signal the process; False where it is gone."""
    try:
        csignal.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        return False
    return True
