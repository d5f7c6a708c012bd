"""The policies that ship with Seclude: readable files beside this module."""

from __future__ import annotations

import os

from seclude.errors import PolicyError

__all__ = ["PRESETS", "preset_text"]

#: name → what it is for, in the order they are listed
PRESETS: dict[str, str] = {
    "container": "honest programs: files, processes, threads and local sockets; no network, no kernel, no other process's memory",
    "no-network": "everything that container permits and other kinds of work on this machine, but no socket other than AF_UNIX",
    "readonly": "reads files, changes none; no network",
    "compute": "computes on what it has already: no file is opened, no network, no further program",
}


def preset_text(name: str) -> str:
    """The text of a preset. Raises `PolicyError` for a name that is none."""
    if name not in PRESETS:
        raise PolicyError(f"no preset named {name!r}", f"presets: {', '.join(PRESETS)}")
    with open(os.path.join(os.path.dirname(__file__), name + ".seclude"), encoding="utf-8") as file:
        return file.read()
