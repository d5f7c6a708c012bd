"""pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2): a process by a handle that is never reused, as its number may be.

For our own unreaped children the number is as safe, since only we reap them; everything else goes through a handle.
"""

from __future__ import annotations

import errno
import os

from seclude.kernel.libc import syscall
from seclude.kernel.signals import csignal

__all__ = ["open_process", "open_thread", "send", "send_thread", "take_descriptor"]

_THREAD = os.O_EXCL  # PIDFD_THREAD and PIDFD_SIGNAL_THREAD (1): Linux 6.9
_KCMP_FILES = 2


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


def open_thread(tid: int, process: int) -> int:
    """A close-on-exec descriptor of the thread ``tid`` of ``process``, readable once it has ended. Raises OSError.

    Before Linux 6.9 only processes have one: then it is the process's, if the thread shares its table of descriptors (kcmp(2)); else EINVAL.
    """
    try:
        return os.pidfd_open(tid, _THREAD)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    if tid != process and syscall("kcmp", tid, process, _KCMP_FILES, 0, 0) != 0:
        raise OSError(errno.EINVAL, "this kernel has no descriptors of threads (Linux 6.9), and the thread has a table of its own")
    return os.pidfd_open(process, 0)


def take_descriptor(handle: int, number: int) -> int:
    """A close-on-exec copy of the descriptor ``number`` of the process or thread behind ``handle`` (pidfd_getfd(2), Linux 5.6).

    Raises OSError: EBADF (it has none), EPERM (not ours to trace), ESRCH (gone), EMFILE.
    """
    result = syscall("pidfd_getfd", handle, number, 0)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def send_thread(handle: int, signal: int) -> bool:
    """Signal the thread behind ``handle`` of `open_thread`, or its process where the handle is that; False where it is gone or may not be signalled."""
    for flags in (1, 0):  # PIDFD_SIGNAL_THREAD: Linux 6.9
        result = syscall("pidfd_send_signal", handle, signal, None, flags)
        if result != -errno.EINVAL:
            break
    return result == 0
