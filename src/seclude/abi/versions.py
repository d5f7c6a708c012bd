"""Which kernel the tables are of, and which kernel added a call.

A stored policy names the tables it was written with (``tables 7.2``), so that a newer Seclude, whose tables name more
calls, still takes it as it was meant: calls added later stay unknown to it.
"""

from __future__ import annotations

from seclude.abi.added import ADDED, LATER, TABLES
from seclude.abi.architecture import Architecture, arch
from seclude.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KNOWN_TABLES", "TABLES", "calls_at", "known_at", "since", "tables_version"]

#: the versions of every release's tables, oldest first; `TABLES` is the last
KNOWN_TABLES: tuple[str, ...] = ("7.2",)

_SINCE: dict[str, str] = {}
_LATER: dict[tuple[str, str], str] = {}


def _load() -> dict[str, str]:
    for line in LATER.split("\n"):
        words = line.split()
        if words:
            for name in words[2:]:
                _LATER[words[0], name] = words[1]
    for line in ADDED.split("\n"):
        words = line.split()
        for name in words[1:]:
            _SINCE[name] = words[0]
    return _SINCE


def since(call: str, architecture: str | int | Architecture | None = None) -> str | None:
    """The kernel that added ``call``, as ``5.3``, or None where no source says so (and for what every kernel had).

    With an architecture, the kernel that gave it the call, where that is known to have come later. Sources: the table in syscalls(2) of
    the Linux man-pages, and for what that page does not know a reviewed list (tools/syscall_review.py).
    """
    found = (_SINCE or _load()).get(call)
    if architecture is not None:
        return _LATER.get((arch(architecture).name, call), found)
    return found


def tables_version(text: str) -> tuple[int, ...]:
    """``6.18`` as a value that compares: ``(6, 18)``. Raises `UsageError` on anything else, and on tables newer than ours."""
    parts = text.split(".")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise UsageError(f"{text!r} is no version of the tables", f"a version is a kernel's, as {TABLES}")
    version = tuple(int(part) for part in parts)
    if version > _parse(TABLES):
        raise UsageError(
            f"tables {text} are newer than these, {TABLES}",
            "what newer tables name is not known here: use the Seclude that wrote the policy, or a newer one",
        )
    return version


def _parse(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def known_at(call: str, tables: str, architecture: str | int | Architecture | None = None) -> bool:
    """Whether tables of the version ``tables`` name ``call`` (on ``architecture``). Raises `UsageError` as `tables_version` does."""
    version = tables_version(tables)
    added = since(call, architecture)
    return added is None or _parse(added) <= version


def calls_at(architecture: str | int | Architecture, tables: str = TABLES) -> Mapping[str, int]:
    """`Architecture.calls` as tables of the version ``tables`` have them: what came later is left out."""
    one = arch(architecture)
    if tables_version(tables) == _parse(TABLES):
        return one.calls()
    return {name: number for name, number in one.calls().items() if known_at(name, tables, one)}
