"""Opening what a target has to wait for, without a thread that could never be had back: FIFOs, and files that somebody has a lease of.

open(2) of a FIFO sleeps until somebody opens the other end, which may be never. So it is opened without blocking, and asked whether the other end is there:

- for writing, the open itself says (ENXIO while nobody reads);
- for reading, it succeeds at once; whether anybody writes is what tee(2) tells, which takes nothing away: 0 where there is no writer, EAGAIN or bytes where there
  is. One that came and went meanwhile shows as POLLHUP, as it would have ended the sleep.

From its first look on, an end for reading is held, and counts as open for others, as that of a sleeping opener does; a sleeping writer would be seen by a reader
outside, one of ours only at its next try.

A lease is waited for by trying again (EWOULDBLOCK): the first try has asked its holder to let go.

A signal that the target would take ends the wait as it would end the call (`seclude.supervise.interrupt`).

Source: fifo(7), tee(2), fcntl(2) "Leases"; fs/pipe.c (fifo_open, pipe_poll, link_pipe).
"""

from __future__ import annotations

import errno
import os
import select
import time

from seclude.kernel import paths
from seclude.kernel.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.supervise.call import Call

__all__ = ["await_fifo", "await_lease", "open_fifo"]

_SHORTEST, _LONGEST = 0.001, 0.05  # seconds between looks
_SPLICE_F_NONBLOCK = 2


def open_fifo(handle: int, access: int) -> tuple[int, bool]:
    """An end of the FIFO, and whether the other one is open now: then it blocks like any. Else it is for `await_fifo`, or -1 for one to write to. Raises OSError."""
    try:
        end = os.open(paths.at(handle), access | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return -1, False
        raise
    if access == os.O_RDONLY and not _has_writer(end):
        return end, False
    os.set_blocking(end, True)
    return end, True


def await_fifo(call: Call, handle: int, access: int, end: int) -> int:
    """The end that `open_fifo` gave, which this takes over, once the other one is open. Raises OSError; `seclude.supervise.call.Gone` where the caller was killed meanwhile.

    What is open for reading is not closed before the target has it: a writer that found it there would write to nobody (SIGPIPE).
    """
    from seclude.supervise.call import Gone

    pause = _SHORTEST
    ready = False
    try:
        poll = select.poll()
        if end >= 0:
            poll.register(end, select.POLLIN)
        while _goes_on(call):
            if access != os.O_RDONLY:
                end, ready = open_fifo(handle, access)
                if ready:
                    return end
                time.sleep(pause)
            elif poll.poll(pause * 1000) or _has_writer(end):
                os.set_blocking(end, True)
                ready = True
                return end
            pause = min(2 * pause, _LONGEST)
        raise Gone
    finally:
        if end >= 0 and not ready:
            os.close(end)


def await_lease(call: Call, handle: int, how: int) -> int:
    """A descriptor of the file, opened as ``how`` says, once no lease stands in the way. Raises OSError, `seclude.supervise.call.Gone`."""
    from seclude.supervise.call import Gone

    pause = _SHORTEST
    while _goes_on(call):
        try:
            opened = os.open(paths.at(handle), how | os.O_NONBLOCK | os.O_CLOEXEC)
        except BlockingIOError:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)
            continue
        os.set_blocking(opened, True)
        return opened
    raise Gone


def _goes_on(call: Call) -> bool:
    """Whether the call waits still. Raises OSError, EINTR or ERESTARTSYS, where the target has a signal to take."""
    from seclude.supervise.interrupt import RESTART, signalled

    if not call.waits():
        return False
    why = signalled(call)
    if why:
        raise OSError(RESTART if why == "again" else errno.EINTR, "")
    return True


def _has_writer(reader: int) -> bool:
    first, second = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return syscall("tee", reader, second, 1, _SPLICE_F_NONBLOCK) != 0
    finally:
        os.close(first)
        os.close(second)
