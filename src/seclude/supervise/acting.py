"""Act for a target: in a thread of its own, which takes the target's credentials first, and which is interrupted when the target is gone.

The problem: what a broker does may wait (a host that does not answer, a peer that does not read), and while it waits the target may be killed;
nobody would take the result, and the thread would hold a copy of the target's socket for minutes. And what it does must be checked against who
the target is, not against who the supervisor is. A thread that lives for one call solves both: it becomes the target for good, and a signal ends its wait.

While its thread here waits, a target's signals are looked at, ever less often (`seclude.supervise.interrupt`): one that it would take ends the wait, and the call is begun
anew after the signal was handled, or fails with EINTR, as its handler says.

The signal is SIGURG: ignored unless somebody asks for it, and nobody does in a supervisor. Its handler does nothing; that it is there makes the kernel return EINTR.
"""

from __future__ import annotations

import _thread
import errno
import os
import select

from seclude.kernel import credentials, pidfd, prctl
from seclude.kernel.libc import syscall
from seclude.kernel.signals import csignal
from seclude.supervise.call import Gone
from seclude.supervise.interrupt import RESTART, signalled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from seclude.kernel.credentials import Identity
    from seclude.supervise.call import Call

__all__ = ["Actor", "Refused", "catch_interruptions"]

_AGAIN = 10  # ms between two signals to a thread that has not noticed
_FIRST_LOOK, _LAST_LOOK = 20, 320  # ms between two looks at the target's signals, doubled each time


class Refused(Exception):  # noqa: N818 - an outcome, not a fault
    """Nothing was done, and the call is denied: ``str()`` says why."""


def catch_interruptions() -> None:
    """Have SIGURG interrupt what waits. In the main thread, once, before the first `Actor`."""
    csignal.signal(csignal.SIGURG, _ignore)


def _ignore(_number: int, _frame: object) -> None:
    return


class Actor:
    """Acts for the thread that makes ``call``. Use as a context manager; ``handle`` is a pidfd of the thread. Raises `Gone` and `Refused`."""

    __slots__ = ("call", "handle", "own")

    def __init__(self, call: Call, own: Identity) -> None:
        self.call, self.own = call, own
        if call.tid <= 0:
            raise Refused("the caller is outside the supervisor's pid namespace")
        try:
            self.handle = pidfd.open_thread(call.tid, call.pid)
        except OSError as error:
            raise Refused(f"no handle of the calling thread: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.handle)

    def take(self, number: int) -> int:
        """A copy of the target's descriptor. Raises OSError (EBADF), `Refused` where the target is not ours to look into, `Gone`."""
        try:
            taken = pidfd.take_descriptor(self.handle, number)
        except OSError as error:
            if not self.call.waits():
                raise Gone from None
            if error.errno in (errno.EPERM, errno.EACCES):
                raise Refused("the target's descriptors cannot be taken: it is not dumpable, or another user's") from None
            raise
        if not self.call.waits():  # the number of a thread that ended may be another's by now
            os.close(taken)
            raise Gone
        return taken

    def identity(self) -> Identity:
        """Who the calling thread is. Raises `Refused`."""
        found = credentials.identity_of(self.call.status, self.call.tid)
        if found is None:
            raise Refused("the target's credentials cannot be read")
        return found

    def perform(self, function: Callable[[], int], identity: Identity) -> int:
        """Call ``function`` in a thread that is ``identity``, and wait for it. Raises what it raises, `Refused`, and `Gone` once the target is.

        ``function`` is interrupted (its calls return EINTR) when the target is gone, or has a signal to take.
        """
        done = os.eventfd(0, os.EFD_CLOEXEC)
        outcome: list[int | BaseException] = []
        native: list[int] = []

        def work() -> None:
            try:
                native.append(_thread.get_native_id())
                csignal.pthread_sigmask(csignal.SIG_UNBLOCK, {csignal.SIGURG})
                if identity != self.own:
                    credentials.assume(identity)
                    # With another user the kernel sets this anew, to fs.suid_dumpable: whoever is that user must not trace this thread.
                    prctl.set_dumpable(False)
                outcome.append(function())
            except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
                outcome.append(error)
            finally:
                os.eventfd_write(done, 1)

        try:
            try:
                _thread.start_new_thread(work, ())
            except RuntimeError:
                raise Refused("no thread can be made to act for the target") from None
            why = self._wait(done, native)
        finally:
            os.close(done)
        result = outcome[0]
        if isinstance(result, BaseException):
            from seclude.errors import KernelError

            if isinstance(result, KernelError):
                raise Refused(f"the target's credentials cannot be taken: {result}") from None
            raise result
        if why == "gone":
            raise Gone
        return -RESTART if why == "again" and result == -errno.EINTR else result

    def _wait(self, done: int, native: list[int]) -> str:
        """Until the thread is done. ``gone`` where the target was before; ``again`` and ``signal`` where a signal ended the wait (see `signalled`); else ""."""
        poll = select.poll()
        poll.register(done, select.POLLIN)
        poll.register(self.handle, select.POLLIN)
        why, pause = "", _FIRST_LOOK
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(_AGAIN if why else pause)}
            if done in ready:
                return why
            if self.handle in ready:
                why = "gone"
                poll.unregister(self.handle)
            elif not why:
                why, pause = signalled(self.call), min(2 * pause, _LAST_LOOK)
            if why and native:
                # Again and again: the first may come just before the thread begins to wait.
                syscall("tgkill", os.getpid(), native[0], int(csignal.SIGURG))

    def signal(self, number: int) -> None:
        """Send the calling thread a signal, as the kernel would have (SIGPIPE)."""
        pidfd.send_thread(self.handle, number)
