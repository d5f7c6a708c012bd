"""Opening what a target has to wait for, without a thread that could never be had back: FIFOs, and files that somebody has a lease of.

open(2) of a FIFO sleeps until somebody opens the other end, which may be never. So it is opened without blocking, and asked whether the other end is there:

- for writing, the open itself says (ENXIO while nobody reads);
- for reading, it succeeds at once; whether anybody writes is what tee(2) tells, which takes nothing away: 0 where there is no writer, EAGAIN or bytes where there
  is. One that came and went meanwhile shows as POLLHUP, as it would have ended the sleep.

While it waits the end that is held counts as open for others, as that of a sleeping opener would for a reader; a sleeping writer would be seen by a reader outside,
one of ours only at its next try.

A lease is waited for by trying again (EWOULDBLOCK): the first try has asked its holder to let go.

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


def open_fifo(handle: int, access: int) -> int:
    """A descriptor of the FIFO, blocking like any, if its other end is open now; else -1. Raises OSError."""
    try:
        end = os.open(paths.at(handle), access | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return -1
        raise
    if access == os.O_RDONLY and not _has_writer(end):
        os.close(end)
        return -1
    os.set_blocking(end, True)
    return end


def await_fifo(call: Call, handle: int, access: int) -> int:
    """The same, once the other end is open. Raises OSError; `seclude.supervise.call.Gone` where the caller was killed meanwhile."""
    from seclude.supervise.call import Gone

    pause = _SHORTEST
    reader = os.open(paths.at(handle), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) if access == os.O_RDONLY else -1
    try:
        poll = select.poll()
        if reader >= 0:
            poll.register(reader, select.POLLIN)
        while call.waits():
            if reader < 0:
                end = open_fifo(handle, access)
                if end >= 0:
                    return end
                time.sleep(pause)
            elif poll.poll(pause * 1000) or _has_writer(reader):
                os.set_blocking(reader, True)
                end, reader = reader, -1
                return end
            pause = min(2 * pause, _LONGEST)
        raise Gone
    finally:
        if reader >= 0:
            os.close(reader)


def await_lease(call: Call, handle: int, how: int) -> int:
    """A descriptor of the file, opened as ``how`` says, once no lease stands in the way. Raises OSError, `seclude.supervise.call.Gone`."""
    from seclude.supervise.call import Gone

    pause = _SHORTEST
    while call.waits():
        try:
            opened = os.open(paths.at(handle), how | os.O_NONBLOCK | os.O_CLOEXEC)
        except BlockingIOError:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)
            continue
        os.set_blocking(opened, True)
        return opened
    raise Gone


def _has_writer(reader: int) -> bool:
    first, second = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return syscall("tee", reader, second, 1, _SPLICE_F_NONBLOCK) != 0
    finally:
        os.close(first)
        os.close(second)
