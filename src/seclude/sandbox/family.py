"""Our own children, read from /proc: one file where the kernel has it (CONFIG_PROC_CHILDREN), else every process's parent.

To signal them by number is safe: only we reap our children and the threads that we trace, so no number can be another's meanwhile.
"""

from __future__ import annotations

import os
import resource

from seclude.kernel import proc

__all__ = ["children", "cpu_of_children", "has_terminal", "kill", "scan"]


def children() -> set[int]:
    """The processes whose parent we are now; only we reap them, so their numbers are theirs until we do.

    The kernel's list of them is kept open from the first time on: a target may leave us without a descriptor to open it by (prlimit(2) asks for
    the same user, no more), and must not seem to be gone then.
    """
    me = os.getpid()
    if _list[0] != me:
        if _list[1] >= 0:
            os.close(_list[1])  # our parent's
        try:
            _list[:] = me, os.open(f"/proc/{me}/task/{me}/children", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            _list[:] = me, -1
    if _list[1] < 0:
        return scan()
    found = set(proc.children(me))  # of all our threads
    os.lseek(_list[1], 0, os.SEEK_SET)
    while piece := os.read(_list[1], 65536):  # whole numbers each time: the kernel hands out no more than it has room to write
        found.update(map(int, piece.split()))
    return found


_list = [0, -1]  # of which process, and its descriptor


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
