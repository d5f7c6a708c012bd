"""The one narrow protocol through which engines reach the kernel, and the running kernel behind it.

Everything that `notifications.Responder` and `observer.Observer` do to a target is a method here, so that a model of
the kernel can stand in for it, and so that neither engine can reach for more.
"""

from __future__ import annotations

import os

from seclude.kernel import memory, notify, ptrace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from seclude.kernel.notify import Notification

    class Kernel(Protocol):
        """What engines may ask of a kernel. Thread ids are of the supervisor's pid namespace; errors are OSError."""

        def receive(self, listener: int) -> Notification | None: ...
        def reply(self, listener: int, id_: int, *, error: int = 0, value: int = 0) -> bool: ...
        def continue_(self, listener: int, id_: int) -> bool: ...
        def still_waiting(self, listener: int, id_: int) -> bool: ...
        def read(self, tid: int, address: int, size: int) -> bytes | None: ...
        def read_string(self, tid: int, address: int, limit: int) -> bytes | None: ...
        def wait(self) -> tuple[int, int] | None:
            """The next change of a child or traced thread, ``(id, wait status)``; None if there is none now, (0, 0) if nobody is left."""

        def resume(self, tid: int, signal: int = 0) -> None: ...
        def resume_to_call(self, tid: int, signal: int = 0) -> None: ...
        def listen(self, tid: int) -> None: ...
        def event_message(self, tid: int) -> int: ...
        def signal_info(self, tid: int) -> bytes: ...
        def call_at_stop(self, tid: int) -> tuple[int, int, int, tuple[int, ...]]: ...
        def parent(self, tid: int) -> int:
            """A thread's process, a process's parent; 0 where it is not known."""


__all__ = ["Kernel", "Linux"]

_ANY_THREAD = 0x40000000  # __WALL: children made without SIGCHLD, and other processes' threads that we trace


class Linux:
    """The running kernel."""

    __slots__ = ()
    receive = staticmethod(notify.receive)
    reply = staticmethod(notify.reply)
    continue_ = staticmethod(notify.continue_)
    still_waiting = staticmethod(notify.still_waiting)
    read = staticmethod(memory.read)
    read_string = staticmethod(memory.read_string)
    resume = staticmethod(ptrace.resume)
    resume_to_call = staticmethod(ptrace.resume_to_call)
    listen = staticmethod(ptrace.listen)
    event_message = staticmethod(ptrace.event_message)
    signal_info = staticmethod(ptrace.signal_info)
    call_at_stop = staticmethod(ptrace.call_at_stop)

    @staticmethod
    def parent(tid: int) -> int:
        """See `Kernel.parent`."""
        from seclude.kernel.proc import status

        seen = status(tid)
        if seen is None:
            return 0
        return (seen.parent if seen.tgid == tid else seen.tgid) or 0

    @staticmethod
    def wait() -> tuple[int, int] | None:
        """See `Kernel.wait`."""
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | _ANY_THREAD)
        except ChildProcessError:
            return 0, 0
        return (pid, status) if pid else None
