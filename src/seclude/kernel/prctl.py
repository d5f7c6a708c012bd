"""prctl(2): the switches of a process that confinement needs. Numbers from include/uapi/linux/prctl.h."""

from __future__ import annotations

import ctypes

from seclude.kernel.libc import failed, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "PR_CAPBSET_DROP",
    "PR_CAPBSET_READ",
    "PR_CAP_AMBIENT",
    "PR_CAP_AMBIENT_CLEAR_ALL",
    "PR_CAP_AMBIENT_IS_SET",
    "PR_CAP_AMBIENT_LOWER",
    "PR_SET_SECCOMP",
    "child_subreaper",
    "dumpable",
    "no_new_privs",
    "parent_death_signal",
    "raw",
    "seccomp_mode",
    "set_child_subreaper",
    "set_dumpable",
    "set_no_new_privs",
    "set_parent_death_signal",
    "set_ptracer",
]

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2
PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
PR_GET_SECCOMP, PR_SET_SECCOMP = 21, 22
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_IS_SET, PR_CAP_AMBIENT_LOWER, PR_CAP_AMBIENT_CLEAR_ALL = 1, 3, 4
PR_SET_PTRACER = 0x59616D61


def raw(option: int, second: Any = 0, third: Any = 0, fourth: Any = 0, fifth: Any = 0) -> int:
    """prctl(2) as the kernel answers: a value or a negated errno. All five arguments are passed: several options insist on zeros."""
    return syscall("prctl", option, second, third, fourth, fifth)


def _set(name: str, option: int, value: int, remedy: str) -> None:
    result = raw(option, value)
    if result < 0:
        raise failed(f"prctl({name}, {value})", -result, "", remedy)


def set_no_new_privs() -> None:
    """From now on execve grants nothing: no setuid, no file capabilities. Irreversible, inherited. Raises `KernelError`."""
    _set("PR_SET_NO_NEW_PRIVS", PR_SET_NO_NEW_PRIVS, 1, "needs Linux 3.5")


def no_new_privs() -> bool:
    """Whether the calling thread has no_new_privs."""
    return raw(PR_GET_NO_NEW_PRIVS) == 1


def set_child_subreaper(on: bool) -> None:
    """Make this process the parent of its descendants' orphans, instead of init. Raises `KernelError`."""
    _set("PR_SET_CHILD_SUBREAPER", PR_SET_CHILD_SUBREAPER, int(on), "needs Linux 3.4")


def child_subreaper() -> bool:
    """Whether this process is a subreaper."""
    value = ctypes.c_int(0)
    return raw(PR_GET_CHILD_SUBREAPER, ctypes.byref(value)) == 0 and value.value == 1


def set_parent_death_signal(signal: int) -> None:
    """Have ``signal`` sent to this process when the *thread* that made it ends; 0 clears. Raises `KernelError`.

    Cleared by execve of a set-user-ID program. The parent may have ended already: compare getppid() afterwards.
    """
    _set("PR_SET_PDEATHSIG", PR_SET_PDEATHSIG, signal, "give a signal number from 0 to 64")


def parent_death_signal() -> int:
    """The signal that the calling thread gets when its parent ends; 0: none."""
    value = ctypes.c_int(0)
    return value.value if raw(PR_GET_PDEATHSIG, ctypes.byref(value)) == 0 else 0


def set_dumpable(on: bool) -> None:
    """Off: no core dump, and no process without CAP_SYS_PTRACE may trace this one or open its /proc/PID/mem. Raises `KernelError`."""
    _set("PR_SET_DUMPABLE", PR_SET_DUMPABLE, int(on), "")


def dumpable() -> int:
    """0 no, 1 yes, 2 as root only (fs.suid_dumpable)."""
    return raw(PR_GET_DUMPABLE)


def set_ptracer(pid: int) -> bool:
    """Under Yama's scope 1, let ``pid`` (-1: anyone) trace this process. False where there is no Yama (nothing to do)."""
    return raw(PR_SET_PTRACER, pid) == 0


def seccomp_mode() -> int:
    """0 none, 2 filter, or a negated errno. A thread in strict mode that asks is killed: 1 is never seen by the asker."""
    return raw(PR_GET_SECCOMP)
