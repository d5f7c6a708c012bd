"""Read the kernel's own signatures of system calls from tracefs and print them in the form of abi_signatures.txt.

Source: ``/sys/kernel/tracing/events/syscalls/sys_enter_*/format``, which the kernel fills from its SYSCALL_DEFINE macros
(include/linux/syscalls.h). Needs root and a kernel with CONFIG_FTRACE_SYSCALLS. Names that the metadata gives another
spelling than the tables (newstat, newuname, umount, sendfile64) are printed under the name of the tables.

    python tools/abi_kernel_signatures.py >> tools/abi_signatures.txt      # then sort by hand and review the difference
"""

from __future__ import annotations

import re
from pathlib import Path

EVENTS = Path("/sys/kernel/tracing/events/syscalls")
RENAMED = {"newstat": "stat", "newfstat": "fstat", "newlstat": "lstat", "newuname": "uname", "umount": "umount2", "sendfile64": "sendfile"}
FIELD = re.compile(r"^\tfield:(?P<declaration>[^;]+);\toffset:(?P<offset>\d+);\tsize:(?P<size>\d+);", re.MULTILINE)
FIRST_ARGUMENT = 16  # the common fields and __syscall_nr lie before it


def signatures(events: Path = EVENTS) -> dict[str, list[str]]:
    """Call → its parameters as C declarations, in register order; raises FileNotFoundError without tracefs."""
    found: dict[str, list[str]] = {}
    for directory in sorted(events.iterdir()):
        name = directory.name.removeprefix("sys_enter_")
        if name == directory.name:
            continue
        fields = FIELD.findall((directory / "format").read_text())
        # Kernels from 6.19 on also record the contents of buffers (fields named __NAME_val); they are no arguments.
        declarations = [d for d, offset, size in fields if int(offset) >= FIRST_ARGUMENT and not d.startswith("__data_loc")]
        found[RENAMED.get(name, name)] = [re.sub(r"\s*\*\s*", " *", d).replace("* *", "**") for d in declarations]
    return found


def main() -> None:
    """Print one signature a line."""
    for call, parameters in sorted(signatures().items()):
        print(f"{call}({', '.join(parameters)})")


if __name__ == "__main__":
    main()
