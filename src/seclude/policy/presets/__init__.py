"""The policies that ship with Seclude: readable files beside this module."""

from __future__ import annotations

import os

from seclude.errors import PolicyError

__all__ = ["PRESETS", "preset_text"]

#: name → what it is for, in the order they are listed
PRESETS: dict[str, str] = {
    "container": "honest programs: files, processes, threads and local sockets; no network, no namespaces, no other process's memory",
    "no-network": "as container, and no local sockets by name either: nobody outside is talked to",
    "readonly": "reads files and executes programs, changes nothing in the file system; no sockets",
    "judge": "one program that reads, computes and writes its output, judged by 'seclude judge': threads, but no process, no network, no file changed",
    "compute": "computes on what it has already: no file is opened, no network, no process, no program; for functions and static programs",
}


def preset_text(name: str) -> str:
    """The text of a preset. Raises `PolicyError` for a name that is none."""
    if name not in PRESETS:
        raise PolicyError(f"no preset named {name!r}", f"presets: {', '.join(PRESETS)}")
    with open(os.path.join(os.path.dirname(__file__), name + ".seclude"), encoding="utf-8") as file:
        return file.read()
