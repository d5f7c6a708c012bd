"""The host's side of running programs from a process with threads.

The problem: between fork and exec, in a process with threads, next to nothing may be done, and certainly no Python; and the
launcher needs a process with one thread, whose descriptor table it can share with the child. So the host starts, once and by
posix_spawn, a helper (`seclude.sandbox.warden`) and sends it jobs. The host is never near the filter.

Every run has its own channel: the host's death, or an exception while it waits (KeyboardInterrupt), ends the channel and with it the run.
The helper is the host's child, and stays until the host ends or calls `stop`; a host that waits for children in general, rather than for
its own, will wait for it as well. A forked child of the host, or a host that changed its ids or confined itself, starts a helper of its own.
"""

from __future__ import annotations

import _socket
import _thread
import errno
import os

from seclude.errors import KernelError
from seclude.sandbox import helper, wire
from seclude.sandbox.warden import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.sandbox.host import Host
    from seclude.sandbox.result import Job, Result

__all__ = ["stop", "submit"]

_lock = _thread.allocate_lock()
_helper: _Helper | None = None
_channels: set[_socket.socket] = set()
_hooked = False


class _Helper:
    """One helper process: its control socket, what that was when it was made, and for whom it was made."""

    __slots__ = ("control", "key", "made", "pid")

    def __init__(self, key: tuple[object, ...]) -> None:
        self.key = key
        self.pid, control = helper.start(
            ["-I", "-S", *helper.code("seclude.sandbox.warden", "serve", "(3)")],
            # An interpreter may need this to find its own library; nothing else of the host's is wanted.
            {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
            "the helper process of seclude.run",
        )
        # A bare descriptor: a socket object that lives until the interpreter's end would warn that it was not closed.
        self.control = control.detach()
        self.made = helper.which(self.control)

    def send(self, descriptors: list[int]) -> None:
        """Hand over one job's descriptors. Raises OSError where the helper is gone, or the host has closed the socket."""
        if helper.which(self.control) != self.made:
            raise OSError(errno.EBADF, "its socket was closed")
        control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, self.control)
        try:
            wire.pass_descriptors(control, descriptors)
        finally:
            control.detach()

    def release(self) -> None:
        """Close the socket, if the number is still its own: a host that makes itself a daemon closes what it does not know."""
        if helper.which(self.control) == self.made:
            os.close(self.control)

    def close(self) -> None:
        """Close the socket, and wait for the helper."""
        self.release()
        if self.key[0] == os.getpid():
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                return  # the host reaps its children by itself


def _forget() -> None:
    """In a forked child: what belongs to the parent. Its descriptors are closed, and no lock of it is held by anybody here."""
    global _lock, _helper, _channels
    _lock = _thread.allocate_lock()
    if _helper is not None:
        _helper.release()
    for channel in _channels:
        channel.close()
    _helper, _channels = None, set()


def _key() -> tuple[object, ...]:
    root = os.stat("/")
    return os.getpid(), identity("thread-self"), root.st_dev, root.st_ino


def _send(descriptors: list[int]) -> None:
    """Hand a channel and three streams to the helper, starting it where there is none (any more)."""
    global _helper
    with _lock:
        key = _key()
        for attempt in (0, 1):
            if _helper is not None and _helper.key != key:
                old, _helper = _helper, None
                old.release()  # not waited for: it may be another process's child, or still have runs of ours
            fresh = _helper is None
            if _helper is None:
                _helper = _Helper(key)
            try:
                _helper.send(descriptors)
                return
            except OSError as error:
                broken, _helper = _helper, None
                if error.errno == errno.EBADF:
                    broken.release()  # it lives, and leaves by itself once its runs are over
                else:
                    broken.close()
                if fresh or attempt:
                    raise KernelError(f"the helper process of seclude.run went away: {error.strerror}", "", error.errno or 0) from None


def stop() -> None:
    """End the helper once its runs are over; the next run starts another. For hosts that confine themselves, and for tests."""
    global _helper
    with _lock:
        old, _helper = _helper, None
    if old is not None:
        old.close()


def submit(job: Job, streams: tuple[int, int, int], loaded: Callable[[str], object] | None = None, host: Host | None = None) -> Result:
    """Run ``job`` with these descriptors as 0, 1 and 2, and wait for its end. ``loaded``: told what was put in force. ``host``: has the run's handlers.

    Raises `SecludeError`.
    """
    global _hooked
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_forget)
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    _channels.add(ours)
    try:
        try:
            _send([theirs.fileno(), *streams])
        finally:
            theirs.close()
        try:
            wire.transmit(ours.fileno(), wire.job_to_plain(job))
            if host is not None:
                wire.pass_descriptors(ours, [host.theirs.fileno()])
            result = wire.read_answer(ours.fileno(), loaded) if host is None else host.serve(ours, loaded)
        except (wire.Closed, BrokenPipeError):
            raise KernelError(
                "the supervisor was killed; every process of the run was ended", "see who sends SIGKILL, or the kernel's log"
            ) from None
        # Of a supervisor that was held nothing is left of what it had collected.
        result.stdout = b"" if 1 in job.capture and result.stdout is None else result.stdout
        result.stderr = b"" if 2 in job.capture and result.stderr is None else result.stderr
        return result
    finally:
        _channels.discard(ours)
        # Not only closed: whoever else has this descriptor by a fork must not keep the run alive.
        ours.shutdown(_socket.SHUT_RDWR)
        ours.close()
