"""The one narrow protocol through which engines and brokers reach the kernel. It has no code: the running kernel behind it is
`seclude.supervise.kernel.Linux`, and a model of the kernel can take its place, which then shows every step that a supervisor takes.

Imported by type checkers only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.kernel.notify import Notification
    from seclude.kernel.proc import Status
    from seclude.kernel.registers import Stopped

__all__ = ["Kernel"]


class Kernel(Protocol):
    """What engines may ask of a kernel. Thread ids are of the supervisor's pid namespace; errors are OSError."""

    # -- notifications: seccomp_unotify(2)

    def receive(self, listener: int) -> Notification | None: ...
    def reply(self, listener: int, id_: int, *, error: int = 0, value: int = 0) -> bool: ...
    def continue_(self, listener: int, id_: int) -> bool: ...
    def still_waiting(self, listener: int, id_: int) -> bool: ...
    def add_fd(
        self, listener: int, id_: int, fd: int, *, newfd: int | None = None, cloexec: bool = True, send: bool = True
    ) -> int | None: ...

    # -- a target's memory, and what /proc says of it

    def read(self, tid: int, address: int, size: int) -> bytes | None: ...
    def read_string(self, tid: int, address: int, limit: int) -> bytes | None: ...
    def write(self, tid: int, address: int, data: bytes, still: Callable[[], bool] | None = None) -> bool | None:
        """All of ``data`` into the thread's memory; False where some of it cannot be written (what can, may have been), None where ``still()`` is not true any more.

        ``still`` may be left out for a thread that a tracer holds.
        """

    def status(self, tid: int) -> Status | None: ...
    def link(self, tid: int, name: str) -> bytes | None:
        """What the symbolic link ``name`` of the thread's directory in /proc says (exe, cwd, root, fd/3); None where it may not be read."""

    def parent(self, tid: int) -> int:
        """A thread's process, a process's parent; 0 where it is not known."""

    def end(self, pid: int, still: Callable[[], bool]) -> bool:
        """SIGKILL to the process ``pid``, taken by a handle first, so that it is the one for which ``still()`` holds. False: it was not sent."""

    # -- ptrace(2)

    def wait(self) -> tuple[int, int] | None:
        """The next change of a child or traced thread, ``(id, wait status)``; None if there is none now, (0, 0) if nobody is left."""

    def resume(self, tid: int, signal: int = 0) -> None: ...
    def resume_to_call(self, tid: int, signal: int = 0) -> None: ...
    def listen(self, tid: int) -> None: ...
    def event_message(self, tid: int) -> int: ...
    def signal_info(self, tid: int) -> bytes: ...
    def call_at_stop(self, tid: int) -> tuple[int, int, int, tuple[int, ...]]: ...
    def stopped_call(self, tid: int) -> Stopped:
        """The call before which a thread stands at a filter's TRACE: ``(nr, token, ip, args, data)``."""

    def set_call(self, tid: int, token: int, nr: int, args: tuple[int, ...]) -> None:
        """Have a thread that stands before a call make this one instead; the filters judge it again, and their second TRACE is an allow."""

    def skip(self, tid: int, token: int, value: int) -> None:
        """Have a thread that stands before a call go on behind it, with ``value`` as its result."""
