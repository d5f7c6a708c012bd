"""Handlers by their names on the command line: ``module:function``, or ``file.py:function``."""

from __future__ import annotations

import os
import sys

from seclude.errors import UsageError
from seclude.kernel import proc
from seclude.supervise.handlers import Handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["load_handlers"]


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
    except FileNotFoundError as error:
        if error.filename != where:
            raise _unfit(word, where, error) from None  # something that the module itself looked for
        raise UsageError(
            f"--handler {word}: {where}: there is no such file", "name a file from the current directory, or by its whole path"
        ) from None
    except BaseException as error:  # noqa: BLE001 - somebody else's module: whatever it does, the run is refused with one line
        raise _unfit(word, where, error) from None


def _unfit(word: str, where: str, error: BaseException) -> UsageError:
    remedy = f"try: python3 {where}" if where.endswith(".py") else f"try, in this directory: python3 -c 'import {where}'"
    return UsageError(f"--handler {word}: {where} cannot be imported: {type(error).__name__}: {error}", remedy)


def _file(path: str) -> Any:
    """The module that a file is, compiled from what it says now.

    Not by the import system: that would take a compiled file beside it for current which was made in the same second and of as many bytes.
    """
    from types import ModuleType

    name = "seclude_handlers_" + "".join(character if character.isalnum() else "_" for character in os.path.abspath(path))
    if name in sys.modules:
        return sys.modules[name]
    if not path.endswith(".py"):
        raise UsageError(f"--handler: {path} is no Python file", "give a file that ends in .py")
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - it is what whoever calls us named as their own code
    except BaseException:
        del sys.modules[name]
        raise
    return module
