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

import _thread
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

#: by file system, so that one whose server does not answer keeps nobody else waiting
_meetings: dict[int, _thread.LockType] = {}


def _meeting(handle: int) -> _thread.LockType:
    """What is held so that a writer of ours opens while no reader of ours is leaving: one that was told of it would write to nobody."""
    return _meetings.setdefault(os.fstat(handle).st_dev, _thread.allocate_lock())


def open_fifo(handle: int, access: int) -> tuple[int, bool]:
    """An end of the FIFO, and whether the other one is open now: then it blocks like any. Else it is for `await_fifo`, or -1 for one to write to. Raises OSError."""
    try:
        with _meeting(handle):
            end = os.open(paths.at(handle), access | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return -1, False
        raise
    try:
        if access == os.O_RDONLY and not _has_writer(end):
            return end, False
        os.set_blocking(end, True)
    except BaseException:
        os.close(end)
        raise
    return end, True


def await_fifo(call: Call, handle: int, access: int, end: int) -> int:
    """The end that `open_fifo` gave, which this takes over, once the other one is open. Raises OSError; `seclude.supervise.call.Gone` where the caller was killed meanwhile."""
    if access == os.O_RDONLY:
        return _await_writer(call, end)
    pause = _SHORTEST
    while True:
        end, ready = open_fifo(handle, access)
        if ready:
            return end
        _go_on(call)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST)


def _await_writer(call: Call, end: int) -> int:
    """What is open for reading is not closed before the target has it, whoever found it there: a writer would write to nobody (SIGPIPE)."""
    try:
        meeting = _meeting(end)
        poll = select.poll()
        poll.register(end, select.POLLIN)
        pause = _SHORTEST
        while not (poll.poll(pause * 1000) or _has_writer(end)):
            try:
                _go_on(call)
            except OSError:
                with meeting:
                    if poll.poll(0) or _has_writer(end):  # the kernel, too, prefers who came to the signal (fs/pipe.c, wait_for_partner)
                        break
                    os.close(end)
                    end = -1
                raise
            pause = min(2 * pause, _LONGEST)
        os.set_blocking(end, True)
    except BaseException:
        if end >= 0:
            os.close(end)
        raise
    return end


def await_lease(call: Call, handle: int, how: int) -> int:
    """A descriptor of the file, opened as ``how`` says, once no lease stands in the way. Raises OSError, `seclude.supervise.call.Gone`."""
    pause = _SHORTEST
    while True:
        try:
            opened = os.open(paths.at(handle), how | os.O_NONBLOCK | os.O_CLOEXEC)
        except BlockingIOError:
            _go_on(call)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)
            continue
        os.set_blocking(opened, True)
        return opened


def _go_on(call: Call) -> None:
    """Raise `Gone` where the call does not wait any more; OSError, EINTR or ERESTARTSYS, where the target has a signal to take."""
    from seclude.supervise.call import Gone
    from seclude.supervise.interrupt import RESTART, signalled

    if not call.waits():
        raise Gone
    why = signalled(call)
    if why:
        raise OSError(RESTART if why == "again" else errno.EINTR, "")


def _has_writer(reader: int) -> bool:
    first, second = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return syscall("tee", reader, second, 1, _SPLICE_F_NONBLOCK) != 0
    finally:
        os.close(first)
        os.close(second)
