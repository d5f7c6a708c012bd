"""What is done about every call that takes a path, while files are brokered. One place to look, and to test against the table of all calls.

BROKERED   done by the supervisor, as the entry says
REFUSED    errno → calls that fail with it, since nothing of them can be emulated, or should be
COVERED    decided by the kernel: by Landlock where it has it, by what the call itself can reach
"""

from __future__ import annotations

import os

from seclude.supervise import files_calls as calls
from seclude.supervise.files_calls import AT_FDCWD, AT_SYMLINK_NOFOLLOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.supervise.files_calls import Act, Outcome

__all__ = ["BROKERED", "COVERED", "REFUSED", "RULES"]

#: call → how it is done: ``entry(act)``, which reads the registers
BROKERED: dict[str, Callable[[Act], Outcome]] = {
    "open": lambda act: calls.open_(act, AT_FDCWD, act.path(0), act.int32(1), act.register(2)),
    "creat": lambda act: calls.open_(act, AT_FDCWD, act.path(0), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, act.register(1)),
    "openat": lambda act: calls.open_(act, act.int32(0), act.path(1), act.int32(2), act.register(3)),
    "openat2": lambda act: calls.openat2(act, act.int32(0), act.path(1), 2, act.register(3)),
    "stat": lambda act: calls.stat_(act, AT_FDCWD, act.path(0), 1, 0),
    "lstat": lambda act: calls.stat_(act, AT_FDCWD, act.path(0), 1, AT_SYMLINK_NOFOLLOW),
    "stat64": lambda act: calls.stat_(act, AT_FDCWD, act.path(0), 1, 0),
    "lstat64": lambda act: calls.stat_(act, AT_FDCWD, act.path(0), 1, AT_SYMLINK_NOFOLLOW),
    "newfstatat": lambda act: calls.stat_(act, act.int32(0), act.path(1), 2, act.int32(3)),
    "fstatat64": lambda act: calls.stat_(act, act.int32(0), act.path(1), 2, act.int32(3)),
    "statx": lambda act: calls.statx(act, act.int32(0), act.path_or_null(1), act.int32(2), act.register(3) & 0xFFFFFFFF, 4),
    "readlink": lambda act: calls.readlink(act, AT_FDCWD, act.path(0), 1, 2),
    "readlinkat": lambda act: calls.readlink(act, act.int32(0), act.path(1), 2, 3),
    "access": lambda act: calls.access(act, AT_FDCWD, act.path(0), act.int32(1), 0),
    "faccessat": lambda act: calls.access(act, act.int32(0), act.path(1), act.int32(2), 0),
    "faccessat2": lambda act: calls.access(act, act.int32(0), act.path(1), act.int32(2), act.int32(3)),
    "statfs": lambda act: calls.statfs(act, AT_FDCWD, act.path(0), 1),
}

REFUSED: dict[str, tuple[str, ...]] = {}
COVERED: dict[str, str] = {}
RULES: tuple[tuple[str, str], ...] = (("broker", ",".join(BROKERED)),)
