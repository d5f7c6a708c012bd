"""A command started so that it is traced before its first instruction: forked, waiting at a pipe, seized, then let go to exec."""

from __future__ import annotations

import errno
import os
import signal
import struct
import sys
from typing import TYPE_CHECKING

from seclude.errors import KernelError, UsageError
from seclude.kernel import proc, ptrace

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Target"]


class Target:
    """The command in its process ``pid``, seized with `ptrace.TRACE_CALLS` and about to stop for the first time.

    ``mask`` is the signal mask it gets, ``stdout`` the descriptor that becomes its stdout. Raises `UsageError` where there is no such command, and
    `KernelError` where it cannot be traced.
    """

    def __init__(self, command: Sequence[str], stdout: int | None, mask: set[signal.Signals] | set[int]) -> None:
        self.path = _found(command[0])
        arguments = [os.fsencode(word) for word in command]
        go, failed = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _child(self.path, arguments, go, failed, stdout, mask)
        os.close(go[0])
        os.close(failed[1])
        self._failed = failed[0]
        try:
            ptrace.seize(self.pid, ptrace.TRACE_CALLS)
        except OSError as error:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(go[1])
            os.close(self._failed)
            raise KernelError(f"the command cannot be traced: {error.strerror}", _why_not_traced(), error.errno or 0) from None
        # It waits at the pipe: from the stop that this causes on, every call is seen.
        ptrace.interrupt(self.pid)
        os.write(go[1], b"g")
        os.close(go[1])

    def check(self) -> None:
        """Raise `UsageError` where the command could not be executed. To be called once, after its end or ours."""
        os.set_blocking(self._failed, False)
        try:
            raw = os.read(self._failed, 4)
        except BlockingIOError:
            raw = b""
        os.close(self._failed)
        if len(raw) == 4:
            number = struct.unpack("=i", raw)[0]
            raise UsageError(f"{self.path}: cannot be executed: {os.strerror(number)}", "name a program")


def _found(name: str) -> str:
    """The command's path, as a shell would find it."""
    if "/" in name:
        if not os.path.exists(name):
            raise UsageError(f"{name}: no such file", "name a program")
        return name
    import shutil

    path = shutil.which(name)
    if path is None:
        raise UsageError(f"{name}: command not found", "give its path")
    return path


def _child(
    path: str,
    arguments: list[bytes],
    go: tuple[int, int],
    failed: tuple[int, int],
    stdout: int | None,
    mask: set[signal.Signals] | set[int],
) -> None:
    """The target's first life: wait until it is traced, then be the command. Never returns."""
    try:
        os.close(go[1])  # else the end of the tracer would not end the read
        if os.read(go[0], 1) != b"g":
            os._exit(125)
        # As any program finds them: Python ignores these for itself.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if stdout is not None:
            os.dup2(stdout, 1)
        os.execv(path, arguments)  # noqa: S606 - running the command is what this is for
    except OSError as error:
        os.write(failed[1], struct.pack("=i", error.errno or errno.EIO))
    finally:
        os._exit(125)


def _why_not_traced() -> str:
    scope = proc.sysctl("kernel.yama.ptrace_scope")
    if scope == "3":
        return "kernel.yama.ptrace_scope is 3: nothing is traced until the next boot"
    if scope == "2":
        return "kernel.yama.ptrace_scope is 2: tracing needs CAP_SYS_PTRACE"
    return "a filter or security module around this process may refuse ptrace(2)"
