"""What the options of a run leave in its job, and what they put around its policy: one place for ``seclude run`` and `seclude.run`.

The same options give the same pairs in the same order, whichever way they came: the order is part of a policy's key in the cache.
"""

from __future__ import annotations

import os

from seclude.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["PATHS", "asked", "rules", "texts", "variables"]

#: what a path is
PATHS = (str, bytes, os.PathLike)
_BROKERED = ("connect", "bind", "exec")
_FILES = ("read", "write", "hide")


def asked(
    *,
    connect: Iterable[str] = (),
    bind: Iterable[str] = (),
    programs: Iterable[str | os.PathLike[str]] | None = None,
    read: Iterable[str | bytes | os.PathLike[str]] = (),
    write: Iterable[str | bytes | os.PathLike[str]] = (),
    hide: Iterable[str | bytes | os.PathLike[str]] = (),
    runtime: bool = True,
) -> dict[str, Any]:
    """What `Job.supervision` holds of what is granted; nothing where nothing is. ``programs`` None: any. Raises `UsageError`."""
    out: dict[str, Any] = {}
    connect, bind = texts("run", "connect", connect), texts("run", "bind", bind)
    programs = None if programs is None else texts("run", "programs", programs)
    paths = {name: texts("run", name, given, PATHS) for name, given in (("read", read), ("write", write), ("hide", hide))}
    if connect or bind or programs is not None:
        from seclude.sandbox import brokers

        out |= brokers.asked(connect, bind, programs)
    if any(paths.values()):
        from seclude.sandbox import files

        found = files.asked(paths)
        if found:
            out |= found | {"runtime": runtime}
    return out


def texts(what: str, name: str, given: Any, kinds: tuple[type, ...] = (str, os.PathLike)) -> tuple[Any, ...]:
    """What the argument ``name`` of the function ``what`` holds. Raises `UsageError` for what is no list of texts: a text alone would be taken for its letters."""
    try:
        found = None if isinstance(given, (str, bytes)) else tuple(given)
    except TypeError:
        found = None
    if found is None or not all(isinstance(one, kinds) for one in found):
        example = given if isinstance(given, str) else "192.0.2.1:80" if name in ("connect", "bind") else "/usr/bin/true"
        raise UsageError(f"{what}: {name}={given!r}: expected a list of texts", f"write {name}=[{example!r}]")
    return found


def variables(given: Mapping[str, str], what: str) -> dict[str, str]:
    """The variables of ``env=``. Raises `UsageError`, which begins with ``what``, for what is no name or no value of one."""
    try:
        made: dict[Any, Any] = dict(given)
    except (TypeError, ValueError):
        made = {"": ""}
    for name, value in made.items():
        if not (isinstance(name, str) and isinstance(value, str) and name) or "=" in name or "\0" in name + value:
            raise UsageError(f"{what}: env={given!r}: expected names and values, both text", "write env={'LANG': 'C.UTF-8'}")
    return made


def rules(given: Iterable[tuple[str, str]], supervision: Mapping[str, Any], *, report: bool) -> list[tuple[str, str]]:
    """The ``rules`` of `prepare` for a job with this ``supervision``: what was ``given`` by hand comes first, since the first rule that matches decides."""
    out = list(given)
    if any(name in supervision for name in _BROKERED):
        from seclude.sandbox import brokers

        out += brokers.rules(supervision)
    if any(name in supervision for name in _FILES):
        from seclude.sandbox import files

        out += files.policy_rules(supervision, report=report)
    trace = supervision.get("watch", {}).get("trace")
    if trace is not None:
        out.append(("trace", trace))
    if supervision.get("engine") == "ptrace":
        out.append(("engine", "ptrace"))
    return out
