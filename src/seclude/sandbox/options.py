"""What the options of a run leave in its job, and what they put around its policy: one place for ``seclude run`` and `seclude.run`.

The same options give the same pairs in the same order, whichever way they came: the order is part of a policy's key in the cache.
"""

from __future__ import annotations

from seclude.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["asked", "rules", "variables"]

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
    if connect or bind or programs is not None:
        from seclude.sandbox import brokers

        out |= brokers.asked(connect, bind, programs)
    if read or write or hide:
        from seclude.sandbox import files

        found = files.asked({"read": read, "write": write, "hide": hide})
        if found:
            out |= found | {"runtime": runtime}
    return out


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
