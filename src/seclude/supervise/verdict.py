"""What a handler answers. A verdict is a plain value: it says what should become of a call, and an engine does it.

Not every engine can give every verdict: a notification cannot change a call's arguments, for one. So a handler declares
what it may answer (`seclude.supervise.handlers.handler`), and an engine that could not give it refuses before anything runs.
"""

from __future__ import annotations

from seclude.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from seclude.supervise.call import Call

__all__ = ["VERDICTS", "Allow", "Deny", "Emulate", "Inject", "Kill", "Return", "Rewrite", "Skip", "Verdict"]

_MAX_ERRNO = 4095  # include/linux/err.h


class Verdict:
    """The base of all verdicts. Values are not changed after they are made."""

    __slots__: tuple[str, ...] = ()

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash(type(self))


class Allow(Verdict):
    """Let the kernel run the call.

    Not after the handler looked at the target's memory: what it saw can be another the next instant, when the kernel looks. Then the supervisor does the call
    itself, on the copy that was decided on, where it can (`seclude.supervise.perform`), and else the call is denied with EPERM, and reported.
    """

    __slots__ = ()


class Deny(Verdict):
    """The call fails with ``errno``: a name (``"EACCES"``, resolved for the call's own architecture) or a number 1..4095.

    ``reason`` is shown in the report, and so is ``suggestion``, what to add so that it is allowed. Raises `UsageError` for a name or number that is no errno.
    """

    __slots__ = ("errno", "reason", "suggestion")

    def __init__(self, errno: str | int = "EPERM", reason: str = "", suggestion: str = "") -> None:
        if isinstance(errno, str):
            if errno != "EPERM":
                _known(errno)
        elif not 0 < errno <= _MAX_ERRNO:
            raise UsageError(f"Deny({errno}): an errno is 1..{_MAX_ERRNO}", "Return(0) makes a call succeed without running it")
        self.errno = errno
        self.reason = reason
        self.suggestion = suggestion

    def number(self, arch: str) -> int:
        """The errno as a number on the architecture of that name."""
        if not isinstance(self.errno, str):
            return self.errno
        if self.errno == "EPERM":
            return 1  # on every architecture (asm-generic/errno-base.h)
        from seclude.abi import ARCHITECTURES, native
        from seclude.abi.constants import errno_number

        found = errno_number(self.errno, arch if arch in ARCHITECTURES else native().name)
        return 1 if found is None else found


class Return(Verdict):
    """The call is not run, and returns ``value`` (a signed 64-bit number). -4095..-1 is what a C library takes for an error."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        if not -(1 << 63) <= value < 1 << 63:
            raise UsageError(f"{type(self).__name__}({value}): a result is a signed 64-bit number")
        self.value = value


class Skip(Return):
    """As `Return`, for the ptrace engine: the call is skipped at its stop, and ``value`` is put into the result register."""

    __slots__ = ()


class Kill(Verdict):
    """The thread's whole process is ended by SIGKILL, and the call is never run. ``reason`` is shown in the report."""

    __slots__ = ("reason",)

    def __init__(self, reason: str = "") -> None:
        self.reason = reason


class Inject(Verdict):
    """The call returns a descriptor: a copy of the supervisor's ``fd``, put into the target's table.

    ``newfd`` is the number that it gets there (replacing what is open under it, as dup2 does); None takes the lowest free one. ``cloexec`` sets
    close-on-exec. A descriptor opened with O_PATH cannot be injected (EBADF).

    With ``close`` the supervisor's own is closed, delivered or not, and before the target runs on: what it does next may ask whether anybody else has the file open (flock(2),
    a lease, the other end of a pipe). That takes two steps, the descriptor and then the answer, and between them the target's other threads can use the number already. Without
    ``close`` descriptor and answer come in one step, and the supervisor's own stays open, for the handler to close or to give again.
    """

    __slots__ = ("cloexec", "close", "fd", "newfd")

    def __init__(self, fd: int, *, cloexec: bool = True, close: bool = True, newfd: int | None = None) -> None:
        if fd < 0 or (newfd is not None and newfd < 0):
            raise UsageError(f"Inject({fd}, newfd={newfd}): a descriptor is not negative")
        self.fd = fd
        self.cloexec = cloexec
        self.close = close
        self.newfd = newfd


class Emulate(Verdict):
    """The call is done by the supervisor: ``function(call)`` runs outside the engine's loop, so that it may take its time.

    It returns what the call returns, an int (-4095..-1: a negated errno), or another verdict (not `Emulate`; `Allow` only as `Allow` itself may be
    given). An ``OSError`` that it raises becomes that errno; any other exception denies and is reported. ``undo(call, result)`` is called where the answer could
    not be delivered, since the target was killed meanwhile.
    """

    __slots__ = ("function", "undo")

    def __init__(self, function: Callable[[Call], int | Verdict], undo: Callable[[Call, int], Any] | None = None) -> None:
        if not callable(function):
            raise UsageError(f"Emulate({function!r}): expected something to call", "write Emulate(lambda call: 0)")
        self.function = function
        self.undo = undo


class Rewrite(Verdict):
    """For the ptrace engine: run the call with other arguments. ``args`` maps a parameter's name or a register's index (0..5) to its new value,
    or is a sequence of values for the first registers.
    """  # fmt: skip

    __slots__ = ("args",)

    def __init__(self, args: Mapping[str | int, int] | Sequence[int]) -> None:
        self.args: dict[str | int, int] = dict(args) if hasattr(args, "keys") else dict(enumerate(args))  # type: ignore[arg-type]
        if not self.args:
            raise UsageError("Rewrite({}): nothing to rewrite", "Allow() runs the call as it is")


#: name → class, for what travels between processes
VERDICTS: dict[str, type[Verdict]] = {kind.__name__: kind for kind in (Allow, Deny, Return, Kill, Inject, Emulate, Rewrite, Skip)}


def _known(name: str) -> None:
    from seclude.abi import native
    from seclude.abi.constants import errors

    here = errors(native())
    if name not in here:
        from seclude.errors import nearest

        guess = nearest(name, here)
        raise UsageError(f"Deny({name!r}): no such errno" + (f"; did you mean {guess}?" if guess else ""), "see errno(3)")
