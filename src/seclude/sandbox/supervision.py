"""What of a run is decided while it happens: handlers, and what is built of them, for one run's loop.

``Job.supervision`` holds plain values, since a job travels: ``{"handlers": ["module:function"], "engine": "notify"}`` and what brokers and tracers need. Handlers are
imported in the supervisor's own process, before anything of the target runs, so that whatever is wrong with them refuses the run.

The loop's side of it: `Supervision.attach` when the listener is there, `handle` for every descriptor that it registered, `finish` for the result, `close` at the end.
"""

from __future__ import annotations

import os
import select
import sys

from seclude import abi
from seclude.errors import PolicyError, UsageError
from seclude.kernel import proc
from seclude.supervise.handlers import Handler
from seclude.supervise.notify_engine import GIVES, Attendant
from seclude.supervise.router import Router

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from seclude.compiler.artifact import Artifact
    from seclude.kernel.notify import Notification
    from seclude.sandbox.result import Job, Result

__all__ = ["Supervision", "architectures", "build", "load_handlers"]


class Supervision:
    """One run's handlers and the engine under them. ``run`` is the engine's `_Run`: its kernel, poll, record, responder and notes are used."""

    __slots__ = ("_attendant", "_run", "handlers", "router")

    def __init__(self, run: Any, handlers: Iterable[Handler], architectures: list[abi.Architecture]) -> None:
        self._run = run
        self.handlers = tuple(handlers)
        self.router = Router(self.handlers, architectures, gives=GIVES, engine="notify")
        self._attendant: Attendant | None = None

    def attach(self) -> None:
        """The filter is in force and its listener is ours."""
        run = self._run
        self._attendant = Attendant(run.kernel, run.listener, self.router, run.record)
        run.responder.attend = self._attend
        run.poll.register(self._attendant.wake, select.POLLIN)

    def _attend(self, notification: Notification, value: int) -> bool:
        """Whether handlers take the call; else it is answered as one that nobody handles."""
        chain = self.router.find(notification.arch, notification.nr)
        if chain is None or self._attendant is None:
            return False
        self._attendant.attend(notification, chain, value)
        return True

    def handle(self, descriptor: int) -> bool:
        """Deal with a descriptor that is ready, if it is ours."""
        if self._attendant is None or descriptor != self._attendant.wake:
            return False
        self._attendant.drain()
        return True

    def finish(self, result: Result) -> None:
        """Add to the result what is not in the record."""

    def close(self) -> bool:
        """The run is over. False where a thread still holds the listener's number, which must not be another's then."""
        if self._attendant is None:
            return True
        self._attendant.close()
        return not self._attendant.abandoned


def build(job: Job, run: Any) -> Supervision:
    """What ``job.supervision`` asks for. Raises `UsageError` and `PolicyError` before anything runs."""
    wanted = job.supervision
    handlers = load_handlers(wanted.get("handlers", ()))
    here = architectures(job.artifact)
    if not run.report:
        raise PolicyError(
            "handlers decide notified calls, and reporting is off", "leave out --no-report; see the notes, and: seclude doctor"
        )
    return Supervision(run, handlers, here)


def architectures(artifact: Artifact) -> list[abi.Architecture]:
    """The architectures of a compiled policy."""
    names = [word.strip() for word in artifact.summary.get("architectures", "").split(",")]
    return [abi.arch(name) for name in names if name] or [abi.native()]


def load_handlers(words: Iterable[str]) -> list[Handler]:
    """``module:function`` or ``file.py:function`` → the `Handler` of that name. The current directory is looked at first, as by ``python -m``.

    Raises `UsageError`: no such module or name, not a handler, or a module that started threads, which a supervisor must not have before its target.
    """
    found = []
    before = len(proc.threads())
    for word in words:
        where, colon, name = word.rpartition(":")
        if not colon or not where or not name:
            raise UsageError(f"--handler {word!r}: expected MODULE:FUNCTION", "write --handler mine:decide, or --handler ./mine.py:decide")
        value = _import(where, word)
        for part in name.split("."):
            if not hasattr(value, part):
                raise UsageError(f"--handler {word}: {where} has no {part!r}", "it is the name under which @handler(...) stands")
            value = getattr(value, part)
        if not isinstance(value, Handler):
            raise UsageError(
                f"--handler {word}: {name} is a {type(value).__name__}, no handler", 'put @handler("connect") above the function'
            )
        found.append(value)
    if len(proc.threads()) > before:
        raise UsageError(
            "the modules of the handlers started threads when they were imported, and a supervisor must have one thread when it starts its target",
            "start them at the first call",
        )
    return found


def _import(where: str, word: str) -> Any:
    try:
        if where.endswith(".py") or "/" in where:
            return _file(where)
        here = os.getcwd()
        if here not in sys.path:
            sys.path.insert(0, here)
        import importlib

        return importlib.import_module(where)
    except UsageError:
        raise
    except BaseException as error:  # noqa: BLE001 - somebody else's module: whatever it does, the run is refused with one line
        said = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"--handler {word}: {where} cannot be imported: {said}", "try: python3 -c 'import ...' in this directory"
        ) from None


def _file(path: str) -> Any:
    import importlib.util

    name = "seclude_handlers_" + "".join(character if character.isalnum() else "_" for character in os.path.abspath(path))
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--handler: {path} is no Python file", "give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
