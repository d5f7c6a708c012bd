"""System calls by name, through ctypes, with errors that say which call, what was expected and what to do.

One ``PyDLL`` serves the whole room. ``PyDLL`` keeps the interpreter lock during the call, on purpose: the code that
runs between ``clone`` and ``exec`` must not touch the lock at all, since another thread may have held it when the
address space was copied. `blocking` is the same library with the lock released, for the few calls that may sleep.

Numbers come from the tables of the *process's* own architecture (a 32-bit Python on a 64-bit kernel enters by the
32-bit table); nothing here knows a number by heart. Results follow the kernel's own convention: a value in
-4095..-1 is a negated errno (syscall(2) folds it into -1 and errno; `syscall` unfolds it again).
"""

from __future__ import annotations

import ctypes
import errno as _errno
import os

from seclude.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["blocking", "call", "errno_name", "failed", "libc", "number", "syscall"]

libc = ctypes.PyDLL(None, use_errno=True)
blocking = ctypes.CDLL(None, use_errno=True)

for _library in (libc, blocking):
    _library.syscall.restype = ctypes.c_long

_numbers: dict[str, int] = {}

MAX_ERRNO = 4095  # include/linux/err.h


def number(name: str) -> int:
    """The number of the call ``name`` for this process. Raises `KernelError` where the architecture has no such call."""
    found = _numbers.get(name)
    if found is None:
        from seclude import abi

        native = abi.native()
        found = native.number(name)
        if found is None:
            raise KernelError(
                f"{name}: the architecture {native.name} has no such system call", "run on an architecture that has it", _errno.ENOSYS
            )
        _numbers[name] = found
    return found


def _argument(value: Any) -> Any:
    # syscall(2) is variadic: ctypes would pass a plain int as a C int and leave the upper half of the register undefined.
    return ctypes.c_long(value) if isinstance(value, int) else value


def syscall(name: str | int, *arguments: Any, wait: bool = False) -> int:
    """Enter the kernel; the result, or a negated errno. Never raises for what the kernel answers.

    ``name`` is a call's name (or a number already looked up by `number`); arguments are ints, ``bytes``, ``None``
    or ctypes objects. ``wait=True`` releases the interpreter lock meanwhile: for calls that sleep.
    """
    nr = name if isinstance(name, int) else number(name)
    function = blocking.syscall if wait else libc.syscall
    ctypes.set_errno(0)
    result: int = function(ctypes.c_long(nr), *map(_argument, arguments))
    if result == -1:
        return -ctypes.get_errno() or -1
    return result


def call(name: str, *arguments: Any, expected: str = "", remedy: str = "", wait: bool = False) -> int:
    """As `syscall`, but a failure is a `KernelError`: the call, the errno, what was ``expected``, what to do."""
    result = syscall(name, *arguments, wait=wait)
    if -MAX_ERRNO <= result < 0:
        raise failed(name, -result, expected, remedy)
    return result


def failed(what: str, errno: int, expected: str = "", remedy: str = "") -> KernelError:
    """The `KernelError` for ``what`` having failed with ``errno``."""
    purpose = f" ({expected})" if expected else ""
    return KernelError(f"{what}: {errno_name(errno)}: {os.strerror(errno)}{purpose}", remedy, errno)


def errno_name(errno: int) -> str:
    """``EPERM`` for 1; the number in words where the name is unknown."""
    return _errno.errorcode.get(errno, f"errno {errno}")
