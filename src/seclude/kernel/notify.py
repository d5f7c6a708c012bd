"""User notification, seccomp_unotify(2): take a notified call from a listener, answer it, ask whether it still waits.

The problem: everything read through a listener can be stale by the time it is used. A target that is interrupted or
killed takes its notification back, so RECV, SEND and ID_VALID all answer ENOENT for calls that were there a moment
ago; RECV can even answer ENOENT right after poll said there was something, and *block* when poll was wrong, whatever
O_NONBLOCK says. So callers poll first, and here ENOENT is an ordinary answer (``None`` or ``False``), not an exception.

Rejected: ctypes for the ioctls (three times slower than `fcntl.ioctl` on a bytearray, in place).

What can still go wrong: without SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19) a target with a fast timer
restarts its call for ever; the loader must set it. The process id is 0 for a target outside our pid namespace.

Source: kernel/seccomp.c, include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CONTINUE", "Known", "Notification", "add_fd", "continue_", "pump", "receive", "reply", "still_waiting", "wake_in_step"]

CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5
_SETFD, _SEND_TOO = 1, 2  # SECCOMP_ADDFD_FLAG_SETFD (5.9), SECCOMP_ADDFD_FLAG_SEND (5.14)
_MOST_FD = 0x7FFFFFFF
_SYNC_WAKE_UP = 1  # SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (6.6)


def _request(direction: str, number: int, size: int) -> int:
    """An ioctl number of type '!'; include/uapi/asm-generic/ioctl.h and its variants in arch/*/include/uapi/asm."""
    machine = os.uname().machine
    if machine.startswith(("ppc", "mips", "sparc", "alpha")):
        read, write, shift = 2, 4, 29
    elif machine.startswith("parisc"):
        read, write, shift = 1, 2, 30
    else:
        read, write, shift = 2, 1, 30
    bits = (read if "r" in direction else 0) | (write if "w" in direction else 0)
    return bits << shift | size << 16 | ord("!") << 8 | number


_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif: id, pid, flags, then struct seccomp_data
_RESPONSE = struct.Struct("=QqiI")  # struct seccomp_notif_resp: id, val, error, flags
_ID = struct.Struct("=Q")
_ADDFD_FORM = struct.Struct("=QIIII")  # struct seccomp_notif_addfd: id, flags, srcfd, newfd, newfd_flags
_RECV = _request("rw", 0, _NOTIFICATION.size)
_SEND = _request("rw", 1, _RESPONSE.size)
_ID_VALID = _request("w", 2, _ID.size)
_ADDFD = _request("w", 3, _ADDFD_FORM.size)
_SET_FLAGS = _request("w", 4, 8)


class Notification:
    """One call that waits for an answer: ``id`` names it, ``pid`` is the thread (0: outside our pid namespace)."""

    __slots__ = ("arch", "args", "id", "ip", "nr", "pid")

    def __init__(self, raw: bytes | bytearray) -> None:
        self.id, self.pid, _, self.nr, self.arch, self.ip, *args = _NOTIFICATION.unpack(raw)
        self.args: tuple[int, ...] = tuple(args)


def receive(listener: int) -> Notification | None:
    """The oldest waiting call, or None where it went away meanwhile. Blocks if nothing waits: poll first."""
    buffer = bytearray(_NOTIFICATION.size)  # the kernel refuses a buffer that is not all zero
    try:
        fcntl.ioctl(listener, _RECV, buffer, True)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    return Notification(buffer)


class Known:
    """An answer that a call with the same number, architecture, instruction pointer and registers gets every time; ``count`` is how often it was given.

    ``key`` is where it belongs in the table of `pump`: those words as the kernel has them.
    """

    __slots__ = ("answer", "count", "key")

    def __init__(self, call: Notification, *, error: int = 0, value: int = 0) -> None:
        self.key = _NOTIFICATION.pack(0, 0, 0, call.nr, call.arch, call.ip, *call.args)[16:]
        self.answer = _RESPONSE.pack(0, value, -error, 0)[8:]
        self.count = 0


_key = struct.Struct("16x64s").unpack  # struct seccomp_notif: its data
_NO_CALL = bytes(65)  # longer than any
_NOTHING = bytes(_NOTIFICATION.size)
_POLLIN = 1
_buffer = bytearray(_NOTIFICATION.size)


def pump(
    listener: int,
    known: Mapping[bytes, Known],
    wait: Callable[[], list[tuple[int, int]]] | None,
    most: int = 256,
) -> Notification | None:
    """Take calls and answer those that are ``known``, in place and as fast as an interpreter can; the first other one is returned.

    Poll first: this blocks where nothing waits. Between two calls ``wait`` polls, for as long as the caller likes; None is returned as soon as anything else than the
    listener is ready, after ``most`` calls, and where a call went away. For one thread: the buffer is the module's own.
    """
    buffer, ioctl = _buffer, fcntl.ioctl
    expected = [(listener, _POLLIN)]
    key, answer, found = _NO_CALL, b"", None  # the call before: most often the next one is the same
    given = 0
    try:
        while True:
            buffer[:] = _NOTHING
            ioctl(listener, _RECV, buffer, True)
            if not buffer.startswith(key, 16):
                (key,) = _key(buffer)
                if found is not None:
                    found.count += given
                    given = 0
                found = known.get(key)
                if found is None:
                    return Notification(buffer)
                answer = found.answer
            buffer[8:24] = answer  # a response begins with the id as well, so it is made where the call lies
            most -= 1
            ioctl(listener, _SEND, buffer, True)
            given += 1
            if wait is None or most <= 0 or wait() != expected:
                return None
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINTR):
            raise
        if error.errno == errno.EINTR and buffer[8:24] == answer and _send(listener, buffer[:24]):
            given += 1
        return None
    finally:
        if found is not None:
            found.count += given


def _send(listener: int, response: bytes | bytearray) -> bool:
    buffer = bytearray(response)
    while True:
        try:
            fcntl.ioctl(listener, _SEND, buffer, True)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            if error.errno == errno.EINTR:
                continue
            raise
        return True


def reply(listener: int, id_: int, *, error: int = 0, value: int = 0) -> bool:
    """Answer a call: ``error`` is a positive errno, or 0 and ``value`` returned. False: the call went away before."""
    return _send(listener, _RESPONSE.pack(id_, value, -error, 0))


def continue_(listener: int, id_: int) -> bool:
    """Let the kernel run the call as if it had been allowed. Never a security decision about memory: it can change."""
    return _send(listener, _RESPONSE.pack(id_, 0, 0, CONTINUE))


def still_waiting(listener: int, id_: int) -> bool:
    """Whether the call still waits for our answer, so that what was read from its thread before was really its own."""
    try:
        fcntl.ioctl(listener, _ID_VALID, bytearray(_ID.pack(id_)), True)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def add_fd(listener: int, id_: int, fd: int, *, newfd: int | None = None, cloexec: bool = True, send: bool = True) -> int | None:
    """Put a copy of ``fd`` into the target's table; its number there, or None where the call went away before.

    ``newfd`` is the number that it shall get, replacing what is there. ``send`` makes that number the call's result in the same step (Linux 5.14), so that
    no target ever has the descriptor without the answer. Raises OSError: EBADF (no descriptor, or one opened with O_PATH), EMFILE and EBADF of the
    target's own limit, EBUSY. After an error the call still waits for an answer.
    """
    flags = (0 if newfd is None else _SETFD) | (_SEND_TOO if send else 0)
    if fd > _MOST_FD or (newfd or 0) > _MOST_FD:  # a number of the target's own, say
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    buffer = bytearray(_ADDFD_FORM.pack(id_, flags, fd, newfd or 0, os.O_CLOEXEC if cloexec else 0))
    while True:
        try:
            return int(fcntl.ioctl(listener, _ADDFD, buffer, True))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESRCH):
                return None
            if error.errno != errno.EINTR:
                raise


def wake_in_step(listener: int) -> bool:
    """Ask the kernel to run the waked side on the waker's CPU (SYNC_WAKE_UP): right where both share one. False before Linux 6.6."""
    try:
        fcntl.ioctl(listener, _SET_FLAGS, _SYNC_WAKE_UP)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY):
            return False
        raise
    return True
