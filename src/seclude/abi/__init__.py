"""What Linux says: architectures, audit tokens, system calls by number and by name, and when each came.

Parameters are in `seclude.abi.prototypes`, constants and errno in `seclude.abi.constants`.
"""

from __future__ import annotations

from seclude.abi.architecture import ALL, ARCHITECTURES, Architecture, arch, by_token, companions, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.abi.versions import KNOWN_TABLES, TABLES, calls_at, known_at, since, tables_version

__all__ = [
    "ALL",
    "ARCHITECTURES",
    "KNOWN_TABLES",
    "TABLES",
    "Architecture",
    "arch",
    "by_token",
    "calls_at",
    "companions",
    "known_at",
    "native",
    "since",
    "tables_version",
]


def __getattr__(name: str) -> object:
    # Versions are asked for by policies and by people, never by a start from the cache.
    if name in __all__:
        from seclude.abi import versions

        value = getattr(versions, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
