"""Our own children, read from /proc: one file where the kernel has it (CONFIG_PROC_CHILDREN), else every process's parent.

To signal them by number is safe: only we reap our children and the threads that we trace, so no number can be another's meanwhile.
"""

from __future__ import annotations

import os
import resource

from seclude.kernel import proc

__all__ = ["children", "cpu_of_children", "has_terminal", "kill", "scan"]


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


def kill(pid: int) -> None:
    """SIGKILL for a child or a traced thread that is not reaped yet; nothing where it is gone."""
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def cpu_of_children() -> float:
    """Seconds of user and system time of every child reaped so far, and of those that they have reaped."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True
