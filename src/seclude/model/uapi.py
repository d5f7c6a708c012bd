"""The numbers of the user interface that the model speaks, as plain integers: ioctl, prctl, poll, ptrace, signals, errno. Those of seccomp(2): `seclude.bpf.codes`.

They are the same on every operating system that runs the model, which `errno` and `signal` of Python are not. Values of
asm-generic, which x86, arm, arm64, riscv, s390 and ppc share as far as they occur here.

Sources: include/uapi/linux/{seccomp,prctl,ptrace}.h, include/uapi/asm-generic/{errno-base,errno,siginfo,signal,poll}.h.
"""

from __future__ import annotations

from seclude.bpf.codes import (
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_LOG,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
    SECCOMP_RET_USER_NOTIF,
)

__all__ = [
    "ACTION_NAMES",
    "ERRNO_NAMES",
    "FAULT",
    "SIGNAL_NAMES",
    "Fault",
    "errno_text",
    "signal_text",
]

# --- errno
EPERM, ENOENT, ESRCH, EINTR, E2BIG, EBADF, ENOMEM, EACCES, EFAULT, EBUSY, EINVAL, EMFILE = 1, 2, 3, 4, 7, 9, 12, 13, 14, 16, 22, 24
EIO, ENOSYS, EOPNOTSUPP, EINPROGRESS, EMEDIUMTYPE = 5, 38, 95, 115, 124
#: include/linux/errno.h: never seen by programs; it becomes EINTR or a restart on the way out
ERESTARTSYS = 512
MAX_ERRNO = 4095

ERRNO_NAMES = {
    EPERM: "EPERM", ENOENT: "ENOENT", ESRCH: "ESRCH", EINTR: "EINTR", EIO: "EIO", E2BIG: "E2BIG", EBADF: "EBADF", ENOMEM: "ENOMEM",
    EACCES: "EACCES", EFAULT: "EFAULT", EBUSY: "EBUSY", EINVAL: "EINVAL", EMFILE: "EMFILE", ENOSYS: "ENOSYS",
    EOPNOTSUPP: "EOPNOTSUPP", EINPROGRESS: "EINPROGRESS", EMEDIUMTYPE: "EMEDIUMTYPE", ERESTARTSYS: "ERESTARTSYS",
}  # fmt: skip

# --- seccomp(2)
#: kernel/seccomp.c: the mode of a thread that is being killed; no header has it
SECCOMP_MODE_DEAD = 3

#: action → its name in /proc/sys/kernel/seccomp/actions_avail, in that file's order
ACTION_NAMES = {
    SECCOMP_RET_KILL_PROCESS: "kill_process",
    SECCOMP_RET_KILL_THREAD: "kill_thread",
    SECCOMP_RET_TRAP: "trap",
    SECCOMP_RET_ERRNO: "errno",
    SECCOMP_RET_USER_NOTIF: "user_notif",
    SECCOMP_RET_TRACE: "trace",
    SECCOMP_RET_LOG: "log",
    SECCOMP_RET_ALLOW: "allow",
}

#: sizeof struct seccomp_notif, seccomp_notif_resp, seccomp_data: what GET_NOTIF_SIZES tells
NOTIF_SIZES = (80, 24, 64)
#: sizeof struct seccomp_notif_addfd, first and only version
SECCOMP_NOTIFY_ADDFD_SIZE_VER0 = 24

SECCOMP_IOCTL_NOTIF_RECV = 0xC0502100
SECCOMP_IOCTL_NOTIF_SEND = 0xC0182101
SECCOMP_IOCTL_NOTIF_ID_VALID = 0x40082102
#: what the header said before 5.9, by mistake; still taken
SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR = 0x80082102
SECCOMP_IOCTL_NOTIF_ADDFD = 0x40182103
SECCOMP_IOCTL_NOTIF_SET_FLAGS = 0x40082104
#: direction and size bits of an ioctl number: ADDFD is known without them, as its struct may grow
IOC_INOUT, IOCSIZE_MASK, IOCSIZE_SHIFT = 0xC0000000, 0x3FFF0000, 16
PAGE_SIZE = 4096

EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDNORM, EPOLLWRNORM = 0x001, 0x004, 0x008, 0x010, 0x040, 0x100

# --- prctl(2)
PR_GET_SECCOMP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 21, 22, 38, 39
PR_SET_SYSCALL_USER_DISPATCH = 59

# --- ptrace(2)
PTRACE_O_TRACESYSGOOD, PTRACE_O_TRACEFORK, PTRACE_O_TRACEVFORK, PTRACE_O_TRACECLONE = 1 << 0, 1 << 1, 1 << 2, 1 << 3
PTRACE_O_TRACEVFORKDONE, PTRACE_O_TRACEEXIT, PTRACE_O_TRACESECCOMP = 1 << 5, 1 << 6, 1 << 7
PTRACE_O_EXITKILL, PTRACE_O_SUSPEND_SECCOMP = 1 << 20, 1 << 21
PTRACE_O_MASK = 0xFF | PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP
PTRACE_EVENT_FORK, PTRACE_EVENT_VFORK, PTRACE_EVENT_CLONE, PTRACE_EVENT_VFORK_DONE = 1, 2, 3, 5
PTRACE_EVENT_EXIT, PTRACE_EVENT_SECCOMP, PTRACE_EVENT_STOP = 6, 7, 128

# --- signals
SIGHUP, SIGINT, SIGTRAP, SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, SIGALRM, SIGTERM = 1, 2, 5, 9, 10, 11, 12, 14, 15
SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGSYS = 17, 18, 19, 20, 31
#: si_code of a SIGSYS that seccomp sent, and of one that syscall user dispatch did
SYS_SECCOMP, SYS_USER_DISPATCH = 1, 2

SIGNAL_NAMES = {
    SIGHUP: "SIGHUP", SIGINT: "SIGINT", SIGTRAP: "SIGTRAP", SIGKILL: "SIGKILL", SIGUSR1: "SIGUSR1", SIGSEGV: "SIGSEGV",
    SIGUSR2: "SIGUSR2", SIGALRM: "SIGALRM", SIGTERM: "SIGTERM", SIGCHLD: "SIGCHLD", SIGCONT: "SIGCONT", SIGSTOP: "SIGSTOP",
    SIGTSTP: "SIGTSTP", SIGSYS: "SIGSYS",
}  # fmt: skip

#: descriptor flag
O_CLOEXEC = 0o2000000


class Fault:
    """An address that cannot be read or written: give it in the place of a struct, and the kernel's copy fails."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "FAULT"


#: the one such address
FAULT = Fault()


def errno_text(value: int) -> str:
    """A return value as strace shows it: ``-EINVAL`` for -22, the number where it is no errno."""
    if -MAX_ERRNO <= value < 0:
        return f"-{ERRNO_NAMES.get(-value) or _other_errno(-value)}"
    return str(value)


def _other_errno(number: int) -> str:
    from seclude.abi.constants import errno_name

    return errno_name(number, "x86_64") or str(number)


def signal_text(number: int) -> str:
    """A signal's name, or its number."""
    return SIGNAL_NAMES.get(number, str(number))
