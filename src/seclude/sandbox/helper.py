"""Interpreters of our own beside a host that may have threads: where to find one, and how those are started that a host talks to through a socket.

They are started by posix_spawn, which runs nothing of ours between fork and exec, and inherit nothing of the host's: no stream, no handler, no ignored signal.
What a terminal sends to its whole foreground stays blocked: a helper ends when its host is gone, or says so.
"""

from __future__ import annotations

import _socket
import os
import sys

from seclude.errors import KernelError
from seclude.kernel.signals import csignal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PACKAGE", "code", "interpreter", "start", "unusable", "which"]

#: what a helper has to put into its path to import us
PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def code(module: str, name: str, call: str = "()") -> list[str]:
    """The words after ``python`` that call a function of ours."""
    return ["-c", f"import sys; sys.path.insert(0, sys.argv[1]); from {module} import {name}; {name}{call}", PACKAGE]


def interpreter() -> str:
    """The interpreter to start. Raises `KernelError` where a host that embeds Python has none."""
    if not sys.executable:
        raise KernelError("there is no interpreter to start (sys.executable is empty)", "set sys.executable to a python3")
    return sys.executable


def start(words: list[str], environment: Mapping[str, str], purpose: str) -> tuple[int, _socket.socket]:
    """Start ``python WORDS`` with a stream socket as its descriptor 3: its pid, and our end. Raises `KernelError`, which names the ``purpose``."""
    python = interpreter()
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    null = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in (0, 1, 2)]
    try:
        pid = os.posix_spawn(
            python,
            [python, *words],
            environment,
            # 3 first: the null device could otherwise be opened over the socket itself, where it has number 0, 1 or 2.
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3), *null],
            setsigmask=[csignal.SIGINT, csignal.SIGQUIT, csignal.SIGHUP, csignal.SIGTERM],
            setsigdef=[number for number in csignal.valid_signals() if number not in (csignal.SIGKILL, csignal.SIGSTOP)],
        )
    except OSError as error:
        ours.close()
        raise unusable(error, purpose) from None
    finally:
        theirs.close()
    return pid, ours


def unusable(error: OSError, purpose: str) -> KernelError:
    """The error for an interpreter that cannot be started, or does not listen."""
    return KernelError(f"{sys.executable}: {error.strerror}", f"{purpose} needs this interpreter", error.errno or 0)


def which(descriptor: int) -> tuple[int, int] | None:
    """What file a descriptor is; None where it is closed. By now another may have its number: a host that makes itself a daemon closes what it does not know."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
