"""The one narrow protocol through which engines reach the kernel, and the running kernel behind it.

The protocol is `seclude.kernel.protocol.Kernel`.
"""

from __future__ import annotations

import os

from seclude.kernel import memory, notify, ptrace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.kernel.proc import Status
    from seclude.kernel.registers import Stopped

__all__ = ["Linux"]


class Linux:
    """The running kernel."""

    __slots__ = ("stopped_call",)
    stopped_call: Callable[[int], Stopped]
    receive = staticmethod(notify.receive)
    reply = staticmethod(notify.reply)
    continue_ = staticmethod(notify.continue_)
    still_waiting = staticmethod(notify.still_waiting)
    add_fd = staticmethod(notify.add_fd)
    read = staticmethod(memory.read)
    read_string = staticmethod(memory.read_string)
    write = staticmethod(memory.write)
    resume = staticmethod(ptrace.resume)
    resume_to_call = staticmethod(ptrace.resume_to_call)
    listen = staticmethod(ptrace.listen)
    event_message = staticmethod(ptrace.event_message)
    signal_info = staticmethod(ptrace.signal_info)
    call_at_stop = staticmethod(ptrace.call_at_stop)

    def __getattr__(self, name: str) -> Callable[[int], Stopped]:
        """`stopped_call` has a buffer of its own, and is made when first asked for: few runs have a call to stop at."""
        if name != "stopped_call":
            raise AttributeError(name)
        from seclude.kernel.registers import stopped_call

        self.stopped_call = stopped_call()
        return self.stopped_call

    @staticmethod
    def set_call(tid: int, token: int, nr: int, args: tuple[int, ...]) -> None:
        """See `Kernel.set_call`."""
        from seclude.kernel.registers import set_call

        set_call(tid, token, nr, args)

    @staticmethod
    def skip(tid: int, token: int, value: int) -> None:
        """See `Kernel.skip`."""
        from seclude.kernel.registers import skip

        skip(tid, token, value)

    @staticmethod
    def status(tid: int) -> Status | None:
        """See `Kernel.status`."""
        from seclude.kernel.proc import status

        return status(tid)

    @staticmethod
    def link(tid: int, name: str) -> bytes | None:
        """See `Kernel.link`."""
        try:
            return os.readlink(b"/proc/%d/%s" % (tid, name.encode()))
        except OSError:
            return None

    @staticmethod
    def end(pid: int, still: Callable[[], bool]) -> bool:
        """See `Kernel.end`."""
        from seclude.kernel import pidfd

        try:
            handle = pidfd.open_process(pid)
        except OSError:
            return False
        try:
            return still() and pidfd.send(handle, 9)
        except PermissionError:  # a set-user-ID program that is somebody else's now
            return False
        finally:
            os.close(handle)

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
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | ptrace.WALL)
        except ChildProcessError:
            return 0, 0
        return (pid, status) if pid else None
