"""What is done about every call that takes a path, while files are brokered. One place to look, and to test against the table of all calls.

    BROKERED   done by the supervisor, as the entry says
    REFUSED    errno → calls that fail with it, since nothing of them can be done for a target, or should be
    COVERED    left to the kernel, and why that is enough

Calls without a path are here too where they reach what a path would: by a descriptor that is open for reading only, its owner could change the file's mode and
attributes; open_by_handle_at needs no path at all; io_uring opens files without any call.
"""

from __future__ import annotations

import os

from seclude.kernel.paths import AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW
from seclude.supervise import files_changes as change
from seclude.supervise import files_look as look
from seclude.supervise import files_open as openings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.supervise.files_act import Act, Outcome

__all__ = ["ALONE", "BROKERED", "COVERED", "REFUSED", "RULES"]

_NOFOLLOW = AT_SYMLINK_NOFOLLOW
_CREATED = os.O_CREAT | os.O_WRONLY | os.O_TRUNC


def _owner(act: Act, index: int, bits: int = 32) -> int:
    """A user or group id; all ones is -1: leave it."""
    value = act.register(index) & (1 << bits) - 1
    return -1 if value == (1 << bits) - 1 else value


def _wide(act: Act, index: int) -> int:
    """A 64-bit size in two registers on 32-bit machines, low half first."""
    value = act.register(index) & 0xFFFFFFFF | (act.register(index + 1) & 0xFFFFFFFF) << 32
    return value - (1 << 64) if value >> 63 else value


def _long(act: Act, index: int) -> int:
    bits = 32 if act.narrow else 64
    value = act.register(index) & (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def _chown16(act: Act, flags: int) -> Outcome:
    return change.change_owner(act, AT_FDCWD, act.path(0), _owner(act, 1, _ids(act)), _owner(act, 2, _ids(act)), flags)


def _ids(act: Act) -> int:
    """How wide the ids of chown, lchown and fchown are: 16 bits where there is a chown32 beside it."""
    return 16 if act.call.arch is not None and act.call.arch.number("chown32") is not None else 32


def _times(act: Act, index: int, *, wide: bool = True) -> bytes | None:
    """Struct timespec[2]: of two longs, or with 64 bits."""
    return change.read_times(act, index, "4q" if wide or not act.narrow else "4i")


def _timevals(act: Act, index: int) -> bytes | None:
    return change.read_times(act, index, "4i" if act.narrow else "4q", 1000)


def _path_or_fd(act: Act, index: int) -> bytes | None:
    """The path of utimensat(2): NULL means the descriptor itself."""
    return act.path(index) if act.address(index) else None


#: call → how it is done: ``entry(act)``, which reads the registers
BROKERED: dict[str, Callable[[Act], Outcome]] = {
    # opening
    "open": lambda act: openings.open_(act, AT_FDCWD, act.path(0), act.int32(1), act.register(2)),
    "creat": lambda act: openings.open_(act, AT_FDCWD, act.path(0), _CREATED, act.register(1)),
    "openat": lambda act: openings.open_(act, act.int32(0), act.path(1), act.int32(2), act.register(3)),
    "openat2": lambda act: openings.open_how(act, act.int32(0), act.path(1), 2, act.address(3)),
    # looking
    "stat": lambda act: look.look(act, AT_FDCWD, act.path(0), 1, 0),
    "lstat": lambda act: look.look(act, AT_FDCWD, act.path(0), 1, _NOFOLLOW),
    "stat64": lambda act: look.look(act, AT_FDCWD, act.path(0), 1, 0, wide=True),
    "lstat64": lambda act: look.look(act, AT_FDCWD, act.path(0), 1, _NOFOLLOW, wide=True),
    "newfstatat": lambda act: look.look(act, act.int32(0), act.path(1), 2, act.int32(3)),
    "fstatat64": lambda act: look.look(act, act.int32(0), act.path(1), 2, act.int32(3), wide=True),
    "statx": lambda act: look.look_statx(act, act.int32(0), act.path_or_null(1), act.int32(2), act.register(3) & 0xFFFFFFFF, 4),
    "readlink": lambda act: look.read_link(act, AT_FDCWD, act.path(0), 1, 2),
    "readlinkat": lambda act: look.read_link(act, act.int32(0), act.path(1), 2, 3),
    "access": lambda act: look.ask(act, AT_FDCWD, act.path(0), act.int32(1), 0),
    "faccessat": lambda act: look.ask(act, act.int32(0), act.path(1), act.int32(2), 0),
    "faccessat2": lambda act: look.ask(act, act.int32(0), act.path(1), act.int32(2), act.int32(3)),
    "statfs": lambda act: look.look_at_system(act, AT_FDCWD, act.path(0), 1),
    "statfs64": lambda act: look.look_at_system(act, AT_FDCWD, act.path(0), 2, 1),
    "getxattr": lambda act: change.get_xattr(act, act.path(0), 0),
    "lgetxattr": lambda act: change.get_xattr(act, act.path(0), _NOFOLLOW),
    "listxattr": lambda act: change.list_xattr(act, act.path(0), 0),
    "llistxattr": lambda act: change.list_xattr(act, act.path(0), _NOFOLLOW),
    "getcwd": lambda act: look.working_directory(act, 0, 1),
    "inotify_add_watch": lambda act: look.watch(act, act.int32(0), act.path(1), act.register(2) & 0xFFFFFFFF),
    # names
    "mkdir": lambda act: change.make_directory(act, AT_FDCWD, act.path(0), act.register(1)),
    "mkdirat": lambda act: change.make_directory(act, act.int32(0), act.path(1), act.register(2)),
    "mknod": lambda act: change.make_node(act, AT_FDCWD, act.path(0), act.register(1)),
    "mknodat": lambda act: change.make_node(act, act.int32(0), act.path(1), act.register(2)),
    "rmdir": lambda act: change.remove(act, AT_FDCWD, act.path(0), AT_REMOVEDIR),
    "unlink": lambda act: change.remove(act, AT_FDCWD, act.path(0), 0),
    "unlinkat": lambda act: change.remove(act, act.int32(0), act.path(1), act.int32(2)),
    "rename": lambda act: change.move(act, AT_FDCWD, act.path(0), AT_FDCWD, act.path(1), 0),
    "renameat": lambda act: change.move(act, act.int32(0), act.path(1), act.int32(2), act.path(3), 0),
    "renameat2": lambda act: change.move(act, act.int32(0), act.path(1), act.int32(2), act.path(3), act.int32(4)),
    "link": lambda act: change.add_name(act, AT_FDCWD, act.path(0), AT_FDCWD, act.path(1), 0),
    "linkat": lambda act: change.add_name(act, act.int32(0), act.path(1), act.int32(2), act.path(3), act.int32(4)),
    "symlink": lambda act: change.make_link(act, act.path(0), AT_FDCWD, act.path(1)),
    "symlinkat": lambda act: change.make_link(act, act.path(0), act.int32(1), act.path(2)),
    # what a file has
    "chmod": lambda act: change.change_mode(act, AT_FDCWD, act.path(0), act.register(1), 0),
    "fchmodat": lambda act: change.change_mode(act, act.int32(0), act.path(1), act.register(2), 0),
    "fchmodat2": lambda act: change.change_mode(act, act.int32(0), act.path(1), act.register(2), act.int32(3)),
    "fchmod": lambda act: change.change_mode(act, act.int32(0), None, act.register(1), 0),
    "chown": lambda act: _chown16(act, 0),
    "lchown": lambda act: _chown16(act, _NOFOLLOW),
    "chown32": lambda act: change.change_owner(act, AT_FDCWD, act.path(0), _owner(act, 1), _owner(act, 2), 0),
    "lchown32": lambda act: change.change_owner(act, AT_FDCWD, act.path(0), _owner(act, 1), _owner(act, 2), _NOFOLLOW),
    "fchownat": lambda act: change.change_owner(act, act.int32(0), act.path(1), _owner(act, 2), _owner(act, 3), act.int32(4)),
    "fchown": lambda act: change.change_owner(act, act.int32(0), None, _owner(act, 1, _ids(act)), _owner(act, 2, _ids(act)), 0),
    "fchown32": lambda act: change.change_owner(act, act.int32(0), None, _owner(act, 1), _owner(act, 2), 0),
    "utime": lambda act: change.change_times(act, AT_FDCWD, act.path(0), change.read_times(act, 1, "2i" if act.narrow else "2q"), 0),
    "utimes": lambda act: change.change_times(act, AT_FDCWD, act.path(0), _timevals(act, 1), 0),
    "futimesat": lambda act: change.change_times(act, act.int32(0), _path_or_fd(act, 1), _timevals(act, 2), 0),
    "utimensat": lambda act: change.change_times(act, act.int32(0), _path_or_fd(act, 1), _times(act, 2, wide=False), act.int32(3)),
    "utimensat_time64": lambda act: change.change_times(act, act.int32(0), _path_or_fd(act, 1), _times(act, 2), act.int32(3)),
    "truncate": lambda act: change.change_size(act, act.path(0), _long(act, 1)),
    "truncate64": lambda act: change.change_size(act, act.path(0), _wide(act, 1)),
    "setxattr": lambda act: change.set_xattr(act, AT_FDCWD, act.path(0), 0),
    "lsetxattr": lambda act: change.set_xattr(act, AT_FDCWD, act.path(0), _NOFOLLOW),
    "fsetxattr": lambda act: change.set_xattr(act, act.int32(0), None, 0),
    "removexattr": lambda act: change.remove_xattr(act, AT_FDCWD, act.path(0), 0),
    "lremovexattr": lambda act: change.remove_xattr(act, AT_FDCWD, act.path(0), _NOFOLLOW),
    "fremovexattr": lambda act: change.remove_xattr(act, act.int32(0), None, 0),
}

#: errno → calls. ENOSYS and EOPNOTSUPP where programs do without; EPERM where they ask for something else
REFUSED: dict[str, tuple[str, ...]] = {
    # a mount changes what every path means; what was granted by its path would be another file
    "EPERM": (
        "mount", "umount", "umount2", "pivot_root", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig", "fsmount", "fspick",
        "mount_setattr", "setns", "acct", "swapon", "swapoff", "quotactl", "quotactl_fd", "uselib", "fanotify_init", "fanotify_mark",
        "open_by_handle_at", "lookup_dcookie",
    ),
    # what a broker does not see, or cannot do for another
    "ENOSYS": (
        "io_uring_setup", "io_uring_enter", "io_uring_register", "setxattrat", "getxattrat", "listxattrat", "removexattrat",
        "file_getattr", "file_setattr", "oldstat", "oldlstat", "spu_create",
    ),
    # a domain of the target's own would bind the target, but not the broker that opens for it: better none than one that seems to hold
    "EOPNOTSUPP": ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "name_to_handle_at"),
}  # fmt: skip

#: call → why the kernel's own answer will do
COVERED: dict[str, str] = {
    "execve": "Landlock: what may be read may be executed, and nothing else",
    "execveat": "Landlock: what may be read may be executed, and nothing else",
    "chdir": "it opens nothing: what a path means from there is judged where it ends, and so is the name of the directory (getcwd); it tells whether one is there and may be entered",
    "chroot": "it opens nothing: every path is judged by where it ends outside of it; it tells what chdir tells",
    "connect": "an address: --connect, without which there are no local sockets where files are closed",
    "bind": "an address: --bind, as for connect",
    "mq_open": "a queue's name, not a path",
    "mq_unlink": "a queue's name, not a path",
    "memfd_create": "a name for people, not a path",
}

#: the ``rules`` of `seclude.sandbox.prepare.prepare`
RULES: tuple[tuple[str, str], ...] = (
    ("broker", ",".join(BROKERED)),
    *(("refuse", f"{error} {','.join(calls)}") for error, calls in REFUSED.items()),
)

#: the same for a run without a supervisor: Landlock alone holds opens and names, and asks nobody about what a file has; so that cannot be changed
_UNHELD = [
    call for call in BROKERED if any(word in call for word in ("chmod", "chown", "utime", "setxattr", "removexattr", "futimes"))
]  # fmt: skip
ALONE: tuple[tuple[str, str], ...] = (
    ("refuse", f"EPERM {','.join([*REFUSED['EPERM'], *_UNHELD])}"),
    ("refuse", "ENOSYS io_uring_setup,io_uring_enter,io_uring_register"),
)
