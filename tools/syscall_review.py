"""What a person checked: facts on system calls that the sources of `make_syscall_numbers` do not give, each with its source.

Checked against a kernel's own tables with ``python -m tools.kernel_source DIRECTORY`` (Debian's linux-source-6.1).
"""

from __future__ import annotations

__all__ = ["ADDED", "ADDED_IN", "GONE", "LATER", "RETIRED", "SYNONYMS"]

_LEGACY = "break stty gtty ftime prof lock mpx ulimit profil idle create_module get_kernel_syms bdflush afs_syscall _sysctl query_module nfsservctl getpmsg putpmsg"
_MIPS64 = "_sysctl create_module get_kernel_syms query_module nfsservctl getpmsg putpmsg afs_syscall vserver timerfd"

#: table → the names that it has and Linux 6.1 did not answer any more, or never did: its syscall.tbl has no entry point
#: for them or sys_ni_syscall, or the architecture's headers still define them alone. One that only a 32-bit process on a
#: 64-bit kernel misses (x86's vm86) is not among them. What those tables mention in comments only ("# 102 was socketcall",
#: parisc) is left a hole: no header of the last decade lets a program name it.
RETIRED: dict[str, str] = {
    "x86": f"{_LEGACY} vserver",
    "x86_64": "uselib _sysctl create_module get_kernel_syms query_module nfsservctl getpmsg putpmsg afs_syscall tuxcall security set_thread_area get_thread_area epoll_ctl_old epoll_wait_old vserver",
    "x32": "getpmsg putpmsg afs_syscall tuxcall security",
    "arm": "bdflush _sysctl nfsservctl vserver",
    "aarch64": "nfsservctl",  # include/uapi/asm-generic/unistd.h: __SYSCALL(__NR_nfsservctl, sys_ni_syscall)
    "loongarch64": "nfsservctl",
    "riscv64": "nfsservctl",
    "m68k": "create_module get_kernel_syms bdflush _sysctl query_module nfsservctl getpmsg putpmsg",
    "mips": f"{_LEGACY} signal ioperm iopl vm86 modify_ldt vserver timerfd",
    "mips64": _MIPS64,
    "mips64n32": _MIPS64,
    "parisc": "uselib bdflush _sysctl",
    # _llseek was a common call of both until 6.1.4 and is the 32-bit table's alone in 6.1.192; Debian's headers are of the former.
    "parisc64": "uselib bdflush _sysctl _llseek",
    "ppc": f"{_LEGACY} ioperm iopl vm86 modify_ldt multiplexer tuxcall switch_endian",
    "ppc64": f"{_LEGACY} ioperm iopl vm86 modify_ldt multiplexer tuxcall sys_debug_setcontext oldstat umount oldfstat oldolduname sigaction sigsuspend sigpending"
    " getrlimit select oldlstat readdir olduname sigreturn sigprocmask",
    "s390": "ioperm idle create_module get_kernel_syms bdflush afs_syscall _sysctl query_module nfsservctl getpmsg putpmsg timerfd",
    "s390x": "readdir idle create_module get_kernel_syms bdflush afs_syscall _sysctl query_module nfsservctl getpmsg putpmsg timerfd",
    "sh": "bdflush _sysctl nfsservctl",
}

#: what later kernels took away from every architecture: name → the first kernel without it
GONE: dict[str, str] = {
    "lookup_dcookie": "6.7",  # commit ccab211af3a3
    "uselib": "6.16",  # commit 79beea2db043
}

#: table → name → number, where no source names a call. (None at present: the check would show it.)
ADDED: dict[str, dict[str, int]] = {}

#: table → second name → the name that stands in the table. arch/arm/include/uapi/asm/unistd.h defines both macros.
SYNONYMS: dict[str, dict[str, str]] = {"arm": {"arm_sync_file_range": "sync_file_range2"}}

_TIME64 = (
    "clock_adjtime64 clock_getres_time64 clock_gettime64 clock_nanosleep_time64 clock_settime64 futex_time64 io_pgetevents_time64 mq_timedreceive_time64"
    " mq_timedsend_time64 ppoll_time64 pselect6_time64 recvmmsg_time64 rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64 timer_gettime64"
    " timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64"
)

_VERSIONS = {
    # The page's notes: added as pread and pwrite.
    "2.2": "pread64 pwrite64",
    # The page says 3.17; membarrier(2) and the kernel (commit 5b25b13ab08f) say 4.3.
    "4.3": "membarrier",
    # The page says 4.8; pkey_alloc(2) and pkey_mprotect(2) say 4.9.
    "4.9": "pkey_alloc pkey_free pkey_mprotect",
    # Numbers 403 to 423 of every 32-bit table came together (commit 48166e6ea47d, "y2038: add 64-bit time_t syscalls to all
    # 32-bit architectures").
    "5.1": _TIME64,
    # Below: the kernel whose syscall tables first have them; the section VERSIONS or HISTORY of their pages where there is one.
    "5.12": "mount_setattr",
    "5.15": "process_mrelease",
    "5.16": "futex_waitv",
    "5.17": "set_mempolicy_home_node",
    "6.4": "riscv_hwprobe",
    "6.5": "cachestat",
    "6.6": "fchmodat2 map_shadow_stack",
    "6.7": "futex_wake futex_wait futex_requeue",
    "6.8": "statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules",
    "6.10": "mseal",
    "6.11": "uretprobe",
    "6.13": "setxattrat getxattrat listxattrat removexattrat",
    "6.15": "open_tree_attr",
    "6.17": "file_getattr file_setattr",
    "6.18": "uprobe",
    "6.19": "listns",
    "7.0": "rseq_slice_yield",
}
#: call → the kernel that added it, where syscalls(2) does not say or errs
ADDED_IN: dict[str, str] = {name: version for version, names in _VERSIONS.items() for name in names.split()}

_MAP_SHADOW_STACK = "x86 x32 arm aarch64 loongarch64 m68k mips mips64 mips64n32 mipsel mipsel64 mipsel64n32 parisc parisc64 ppc ppc64 ppc64le riscv64 s390 s390x sh sheb"
_SOCKETS = (
    "socket socketpair bind connect listen accept4 getsockopt setsockopt getsockname getpeername sendto sendmsg recvfrom recvmsg shutdown"
)
_IPC = "semget semctl shmget shmctl shmat shmdt msgget msgsnd msgrcv msgctl"

#: (call, architecture) → the kernel that gave it to this architecture, where later than elsewhere. Complete for what the
#: tables have and Linux 6.1's had not; before that, the calls that were once inside a multiplexer alone.
LATER: dict[tuple[str, str], str] = {
    ("memfd_secret", "s390"): "6.4",
    ("memfd_secret", "s390x"): "6.4",
    ("cacheflush", "parisc"): "6.5",
    ("cacheflush", "parisc64"): "6.5",
    ("sync_file_range2", "sh"): "6.10",
    ("sync_file_range2", "sheb"): "6.10",
    ("fstat", "loongarch64"): "6.11",
    ("newfstatat", "loongarch64"): "6.11",
    ("memfd_secret", "loongarch64"): "7.0",
    # x86_64 had it in 6.6; the number was set aside for all others one kernel later.
    **{("map_shadow_stack", name): "6.7" for name in _MAP_SHADOW_STACK.split()},
    # Commits 9dea5dc921b5 (x86), 977108f89c98 (s390) and "m68k: Wire up direct socket calls", all in 4.3.
    **{(call, name): "4.3" for call in _SOCKETS.split() for name in ("x86", "s390", "s390x", "m68k")},
    # Commit 0d6040d46817, "arch: add split IPC system calls where needed".
    **{
        (call, name): "5.1"
        for call in _IPC.split()
        for name in ("x86", "m68k", "mips", "mipsel", "ppc", "ppc64", "ppc64le", "s390", "s390x", "sh", "sheb")
    },
    **{("semtimedop", name): "5.1" for name in ("ppc64", "ppc64le", "s390x")},
}
