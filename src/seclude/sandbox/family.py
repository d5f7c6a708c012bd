"""Our own children, read from /proc: one file where the kernel has it (CONFIG_PROC_CHILDREN), else every process's parent."""

from __future__ import annotations

import os

from seclude.kernel import proc

__all__ = ["children", "scan"]


def children() -> set[int]:
    """The processes whose parent we are now; only we reap them, so their numbers are theirs until we do."""
    me = os.getpid()
    if os.path.exists(f"/proc/{me}/task/{me}/children"):
        return set(proc.children(me))
    return scan()


def scan() -> set[int]:
    """The same by looking at every process: slower, and for kernels that cannot tell otherwise."""
    me = os.getpid()
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            status = proc.status(entry)
            if status is not None and status.parent == me:
                found.add(int(entry))
    return found
