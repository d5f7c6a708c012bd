"""What a person checked: facts on system call numbers that neither source of `make_syscall_numbers` gives, each with its source."""

from __future__ import annotations

__all__ = ["ADDED", "DROPPED", "RETIRED", "SYNONYMS", "ADDED_IN", "LATER"]

_ALL = None

#: name → the tables where no current kernel has it (None: all that name it)
RETIRED: dict[str, tuple[str, ...] | None] = {
    "break": _ALL, "stty": _ALL, "gtty": _ALL, "ftime": _ALL, "prof": _ALL, "lock": _ALL, "mpx": _ALL, "ulimit": _ALL, "profil": _ALL, "idle": _ALL, "uselib": _ALL,
    "create_module": _ALL, "get_kernel_syms": _ALL, "query_module": _ALL, "bdflush": _ALL, "afs_syscall": _ALL, "_sysctl": _ALL, "nfsservctl": _ALL,
    "getpmsg": _ALL, "putpmsg": _ALL, "tuxcall": _ALL, "security": _ALL, "vserver": _ALL, "lookup_dcookie": _ALL, "epoll_ctl_old": _ALL, "epoll_wait_old": _ALL,
}  # fmt: skip
#: table → name → number
ADDED: dict[str, dict[str, int]] = {}
#: table → second name → the name that stands in the table
SYNONYMS: dict[str, dict[str, str]] = {"arm": {"arm_sync_file_range": "sync_file_range2"}}
#: (table, name) that a source has and this table leaves out
DROPPED: dict[tuple[str, str], str] = {("parisc64", "_llseek"): ""}
#: call → the kernel that added it, where syscalls(2) does not say or errs
ADDED_IN: dict[str, str] = {}
#: (call, architecture) → the kernel that gave it to this architecture, where later than elsewhere
LATER: dict[tuple[str, str], str] = {}
