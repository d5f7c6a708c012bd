"""Handlers: functions that decide calls. ``@handler("connect", may={Allow, Deny})`` makes one of a function.

A handler is asked only for calls that the policy gives the action notify or trace; it decides nothing else, and one that could never be
asked is an error. What it does not declare it cannot answer: the call is denied then, and reported.
"""

from __future__ import annotations

from seclude.errors import UsageError
from seclude.supervise.verdict import Allow, Deny, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import TypeAlias

    from seclude.supervise.call import Call

    Function: TypeAlias = Callable[[Call], "Verdict | Awaitable[Verdict]"]

__all__ = ["Handler", "handler"]

_COROUTINE = 0x80  # CO_COROUTINE (inspect.iscoroutinefunction, without importing inspect)


class Handler:
    """One function that decides calls.

    ``calls``: names of calls, or of groups (``@network``). ``may``: the verdicts that it may give. ``threads``: it may take its time, and
    runs in a thread of a pool, where more than one call can be in it at once; so does an ``async`` function, in the thread of one event loop
    (``is_async``). Any other runs in the engine's own loop: while it runs, every other call waits. Calling a handler calls its function.
    """

    __slots__ = ("calls", "function", "is_async", "may", "name", "threads")

    def __init__(
        self, function: Function, calls: Iterable[str], may: Iterable[type[Verdict]] = (Allow, Deny), *, threads: bool = False
    ) -> None:
        self.function = function
        self.name = getattr(function, "__qualname__", None) or repr(function)
        self.calls = tuple(dict.fromkeys(calls))
        self.may = frozenset(may)
        self.threads = threads
        code = getattr(function, "__code__", None) or getattr(getattr(function, "__call__", None), "__code__", None)  # noqa: B004
        self.is_async = bool(code is not None and code.co_flags & _COROUTINE)
        if not self.calls:
            raise UsageError(f"handler {self.name}: it names no call", 'write @handler("connect")')
        for kind in self.may:
            if not isinstance(kind, type) or not issubclass(kind, Verdict) or kind is Verdict:  # type: ignore[redundant-expr]
                raise UsageError(f"handler {self.name}: may={kind!r} is no verdict", "write may={Allow, Deny}")
        if self.threads and self.is_async:
            raise UsageError(f"handler {self.name}: an async function does not run in threads", "leave out threads=True")

    def __call__(self, call: Call) -> Verdict | Awaitable[Verdict]:
        return self.function(call)

    def __repr__(self) -> str:
        return f"<Handler {self.name} for {', '.join(self.calls)}>"


def handler(*calls: str, may: Iterable[type[Verdict]] = (Allow, Deny), threads: bool = False) -> Callable[[Function], Handler]:
    """Make a `Handler` of the function below. ``calls``, ``may`` and ``threads`` as there. Raises `UsageError`."""
    if len(calls) == 1 and callable(calls[0]):
        raise UsageError("@handler without calls", 'write @handler("connect")')
    return lambda function: Handler(function, calls, may, threads=threads)
