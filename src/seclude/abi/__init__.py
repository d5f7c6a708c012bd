"""What Linux says: architectures, audit tokens, system calls by number and by name, and when each came.

Parameters and constants are in `seclude.abi.prototypes` and `seclude.abi.constants`.
"""

from __future__ import annotations

from seclude.abi.architecture import ALL, ARCHITECTURES, Architecture, arch, by_token, companions, native
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
