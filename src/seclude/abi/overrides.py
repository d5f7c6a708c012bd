"""Where a parameter's C type lies about what the kernel reads: the reviewed corrections, each with its source.

A filter that compares more bits than the kernel reads lets a *deny* rule be passed by (``socket(0x100000028)`` opens an AF_VSOCK socket, since
``int`` keeps 32 bits); one that compares fewer bits than the kernel reads is a hole in an *allow* rule. So a width is what the kernel
distinguishes: a parameter is 32 bits wide when nothing the kernel does, refusing included, depends on the upper half. Where kernels differ, the
width of the kernel that distinguishes more wins if the other refuses what the first ignores.

``OVERRIDES`` has (call, parameter, type, source); a type is ``u16``, ``s32``, ``u32`` or ``ulong`` (the architecture's register, a
pair never). It is applied by tools/make_prototypes.py, and tests/live/test_widths.py checks what can be observed harmlessly.
``CONTEXTUAL`` lists parameters whose reading depends on another argument: they keep the full width, which is right for allow rules; a deny
rule on them should test bits or compare ``parameter & 0xffffffff``.
``REVIEWED`` lists declared types that look too wide and are right, for the next reader who wonders.
"""

from __future__ import annotations

__all__ = ["CONTEXTUAL", "OVERRIDES", "REVIEWED"]

OVERRIDES: tuple[tuple[str, str, str, str], ...] = (
    ("clone", "flags", "u32", "kernel/fork.c clone: lower_32_bits(clone_flags) is all that kernel_clone_args receives"),
    ("mmap", "fd", "s32", "mm/mmap.c ksys_mmap_pgoff: fget(fd) takes an unsigned int; -1 with MAP_ANONYMOUS is not read"),
    ("mmap2", "fd", "s32", "as mmap"),
    (
        "mmap",
        "prot",
        "u32",
        "mm/mmap.c do_mmap tests named bits, all below bit 32, and refuses none; powerpc refuses unknown ones (arch_validate_prot)",
    ),
    ("mmap2", "prot", "u32", "as mmap"),
    ("readv", "fd", "u32", "fs/read_write.c do_readv: fdget(fd) takes an unsigned int"),
    ("writev", "fd", "u32", "fs/read_write.c do_writev: as readv"),
    ("preadv", "fd", "u32", "fs/read_write.c do_preadv: as readv"),
    ("pwritev", "fd", "u32", "fs/read_write.c do_pwritev: as readv"),
    ("preadv2", "fd", "u32", "fs/read_write.c do_preadv: as readv"),
    ("pwritev2", "fd", "u32", "fs/read_write.c do_pwritev: as readv"),
    ("readv", "iovcnt", "u32", "lib/iov_iter.c import_iovec takes an unsigned nr_segs since 5.10; before, a larger count was refused"),
    ("writev", "iovcnt", "u32", "as readv"),
    ("preadv", "iovcnt", "u32", "as readv"),
    ("pwritev", "iovcnt", "u32", "as readv"),
    ("preadv2", "iovcnt", "u32", "as readv"),
    ("pwritev2", "iovcnt", "u32", "as readv"),
    ("vmsplice", "nr_segs", "u32", "fs/splice.c vmsplice: import_iovec, as readv"),
    ("process_madvise", "vlen", "u32", "mm/madvise.c process_madvise: import_iovec, as readv"),
    (
        "process_vm_readv",
        "liovcnt",
        "u32",
        "mm/process_vm_access.c: import_iovec of the local side only; riovcnt is an unsigned long to iovec_from_user",
    ),
    ("process_vm_writev", "liovcnt", "u32", "as process_vm_readv"),
    ("mbind", "mode", "s32", "mm/mempolicy.c kernel_mbind: int lmode = mode"),
    ("ptrace", "pid", "s32", "kernel/ptrace.c: find_get_task_by_vpid takes a pid_t"),
    ("kcmp", "idx1", "u32", "kernel/kcmp.c: get_file_raw_ptr takes an unsigned int, for KCMP_FILE and KCMP_EPOLL_TFD alike"),
    ("fstat64", "fd", "u32", "fs/stat.c fstat64: vfs_fstat takes an int"),
    ("umask", "mask", "u16", "kernel/sys.c umask: mask & S_IRWXUGO, nine bits"),
)

REVIEWED: tuple[tuple[str, str, str], ...] = (
    ("mmap", "flags", "unsigned long: MAP_SHARED_VALIDATE refuses every unknown bit with EOPNOTSUPP (do_mmap)"),
    ("mprotect", "prot", "unsigned long: arch_validate_prot refuses every unknown bit with EINVAL"),
    ("pkey_mprotect", "prot", "as mprotect"),
    ("remap_file_pages", "prot", "unsigned long: anything but 0 is refused with EINVAL"),
    ("mremap", "flags", "unsigned long: unknown bits are refused with EINVAL"),
    ("unshare", "flags", "unsigned long: check_unshare_flags refuses unknown bits with EINVAL"),
    ("mount", "mountflags", "unsigned long: MS_NOUSER is (1<<31), an int, so the test covers every bit from 31 up (path_mount)"),
    ("prctl", "arg2", "unsigned long: each option reads it in its own way, many refuse what they do not know"),
    ("ptrace", "request", "long: switch (request) compares all of it"),
    ("kcmp", "idx2", "unsigned long: a descriptor for KCMP_FILE, but a pointer for KCMP_EPOLL_TFD"),
    ("perf_event_open", "flags", "unsigned long: unknown bits are refused with EINVAL"),
    ("pkey_alloc", "flags", "unsigned long: anything but 0 is refused with EINVAL"),
    ("pkey_alloc", "access_rights", "unsigned long: unknown bits are refused with EINVAL"),
    ("process_vm_readv", "flags", "unsigned long: anything but 0 is refused with EINVAL"),
    ("get_mempolicy", "flags", "unsigned long: unknown bits are refused with EINVAL"),
    ("kexec_load", "flags", "unsigned long: unknown bits are refused with EINVAL"),
    ("mseal", "flags", "unsigned long: anything but 0 is refused with EINVAL"),
    ("exit", "status", "int: only the low eight bits reach the parent, and no width says that; compare status & 0xff"),
    ("ipc", "call", "unsigned int: the low half is the operation and the upper half a version; compare call & 0xffff"),
    ("access", "mode", "int: unknown bits are refused with EINVAL, unlike the 16-bit umode_t of chmod"),
)

CONTEXTUAL: tuple[tuple[str, str, str], ...] = (
    ("fcntl", "arg", "fs/fcntl.c do_fcntl: (int)arg for F_SETFD, F_SETFL, F_DUPFD, F_SETSIG, ...; a pointer for F_SETLK, F_SETOWN_EX, ..."),
    ("ioctl", "arg", "each driver's own: often a pointer, sometimes an int (FIONBIO reads memory, TIOCSCTTY and TCSBRK an int)"),
    ("prctl", "arg2", "kernel/sys.c prctl: most options read all of it; PR_SET_TIMERSLACK and the PR_MCE family narrower types"),
    ("keyctl", "arg2", "security/keys/keyctl.c: (key_serial_t) for most operations, so 32 bits; a pointer for KEYCTL_JOIN_SESSION_KEYRING"),
    ("keyctl", "arg3", "security/keys/keyctl.c: (int), (key_serial_t), (uid_t), (size_t) or a pointer, by operation"),
    ("semctl", "arg", "ipc/sem.c: an int for SETVAL (its half by byte order), a pointer for the others that read it"),
    ("futex", "timeout", "kernel/futex/syscalls.c: a pointer, but for the REQUEUE family the number val2, read as 32 bits"),
    ("ptrace", "data", "kernel/ptrace.c: a signal number for PTRACE_CONT (32 bits read), a value or a pointer for others"),
    ("sysfs", "fs_index", "fs/filesystems.c: a pointer for option 1, an unsigned int for option 2"),
)
