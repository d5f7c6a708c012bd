"""In a template: import the confined function, warm up, and make what every worker gets.

All of this is the host's own code and runs as such, before any filter.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
from types import ModuleType

from seclude.errors import UsageError
from seclude.kernel import libc, proc, seccomp
from seclude.sandbox.confined_worker import Plan
from seclude.supervise.plain import without_trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["MAIN", "prepare_workers"]

#: what a script's main module is called here, so that its guard does not run; multiprocessing's name for the same thing
MAIN = "__mp_main__"


def prepare_workers(recipe: dict[str, Any]) -> Plan:
    """Import, warm up, and make what the workers share. Raises what the import raises, `UsageError`, `KernelError`."""
    os.environ.clear()
    os.environ.update(recipe["environment"])
    sys.path[:] = recipe["path"]
    sys.argv = [recipe["file"] or ""]
    from seclude.sandbox import confined

    confined.inside = "template"
    function = _function(recipe)
    for name in recipe["warm"]:
        _warm(name, recipe)
    status = proc.status()
    if status is None or status.threads != 1:
        raise UsageError(
            "importing the function's module started threads, and its workers are forked from the process that imported it",
            "start threads in a function instead; for numeric libraries env={'OMP_NUM_THREADS': '1'} or the like",
        )
    domain = None
    if recipe["files"] is not None:
        from seclude.sandbox.confined_files import ruleset

        domain = ruleset(*recipe["files"])
    else:
        from seclude.kernel.landlock import scope_ruleset

        domain = scope_ruleset()
    rlimits: list[tuple[int, int, int]] = [(resource.RLIMIT_CORE, 0, 0)]
    for kind, value in ((resource.RLIMIT_NOFILE, recipe["descriptors"]), (resource.RLIMIT_FSIZE, recipe["file_size"])):
        if value is not None:
            ceiling = resource.getrlimit(kind)[1]
            value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
            rlimits.append((kind, value, value))
    libc.number("seccomp")
    notes = list(domain.notes) if domain is not None else ["this kernel has no Landlock: a worker is kept from others only by its policy"]
    reported = recipe["reported"]
    if reported and (reason := _no_listeners()):
        reported = None
        notes.append(f"denials are not reported: a worker's listener could not be taken ({reason})")
    plan = Plan(
        function,
        seccomp.prepare(recipe["plain"]),
        seccomp.prepare(without_trace(reported)) if reported else None,
        domain,
        rlimits,
        recipe["memory"] or 0,
        (recipe["input"], recipe["output"]),
        notes,
    )
    confined.inside = "worker"
    gc.collect()
    gc.freeze()
    return plan


def _no_listeners() -> str:
    """Why this process cannot take a descriptor of its child, or "": pidfd_getfd(2) is Linux 5.6, and a filter around us may deny it."""
    try:
        pidfd = os.pidfd_open(os.getpid())
    except OSError as error:
        return f"pidfd_open: {error.strerror}"
    taken = libc.syscall("pidfd_getfd", pidfd, pidfd, 0)
    os.close(pidfd)
    if taken < 0:
        return f"pidfd_getfd: {os.strerror(-taken)}"
    os.close(taken)
    return ""


def _function(recipe: dict[str, Any]) -> Callable[..., Any]:
    found: Any = _module(recipe["module"], recipe["file"], main=recipe["main"])
    for part in recipe["name"].split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(
                f"the worker's copy of module {recipe['module']} has no {recipe['name']}",
                "define the function at the top level of its module, outside of any condition",
            ) from None
    found = getattr(found, "__wrapped__", found)
    if not callable(found):
        raise UsageError(f"{recipe['module']}.{recipe['name']} is not callable in the worker", "define it with def")
    return found  # type: ignore[no-any-return]


def _module(name: str, file: str | None, *, main: bool) -> ModuleType:
    """The module, by its name; the main one, and one that cannot be found by its name, from its file."""
    if not main:
        try:
            __import__(name)
            return sys.modules[name]
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")) or file is None:
                raise
    if file is None:
        raise UsageError(f"module {name} has no file", "put the function into a file")
    module = ModuleType(MAIN if main else name)
    module.__file__ = file
    sys.modules[module.__name__] = module
    if main:
        sys.modules["__main__"] = module
    with open(file, "rb") as source:
        code = compile(source.read(), file, "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102 - the host's own module, as it imported it
    return module


def _warm(name: str, recipe: dict[str, Any]) -> None:
    """``module`` is imported; ``module:function`` is called."""
    module, colon, attribute = name.partition(":")
    if not colon:
        __import__(module)
        return
    found: Any = _module(module, recipe["file"], main=False) if module != recipe["module"] else _loaded(recipe)
    for part in attribute.split("."):
        found = getattr(found, part)
    found()


def _loaded(recipe: dict[str, Any]) -> ModuleType:
    return sys.modules[MAIN if recipe["main"] else recipe["module"]]
