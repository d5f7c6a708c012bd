"""Which files a confined function may open: a Landlock ruleset, made once and entered by every worker.

``read`` are directories or files that may be read, ``write`` ones in which everything may be done that Landlock knows of: read, write, make, rename, remove.
The interpreter's own files (its library, installed packages, the C library's) may be read too, so that imports work, but not the rest of sys.path: a
project's directory holds more than modules. What the function imports late from there belongs into ``read`` or ``warm``. Devices that are nobody's
(null, zero, full, random, urandom) are open.

Landlock decides about opening, making and removing, and nothing else: what a path is (stat) can be asked of any path, and changing modes, owners, times and
extended attributes is not its business (landlock(7)); the rules that are put before the policy therefore allow opening, making and removing only, and
programs cannot be executed. An access that this kernel's Landlock does not know stays denied by leaving its call out of the rules (truncate(2) before
ABI 3), and rename between directories before ABI 2 is denied by Landlock itself. Where there is no Landlock this raises: a list of directories that binds
nothing would be worse than none.
"""

from __future__ import annotations

import os
import sys

from seclude.abi import native
from seclude.errors import KernelError, UsageError
from seclude.kernel import landlock
from seclude.kernel.landlock import ACCESS_FS, READ, WRITE_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["rules", "ruleset"]

#: what Landlock calls making, changing and removing, but for devices, sockets and pipes
_CHANGING = ("write_file", "remove_dir", "remove_file", "make_dir", "make_reg", "make_sym", "refer", "truncate")
WRITE = READ | sum(1 << ACCESS_FS.index(name) for name in _CHANGING)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime")

_READING = "openat(flags & (O_ACCMODE | O_CREAT | O_TRUNC) == O_RDONLY)", "open(flags & (O_ACCMODE | O_CREAT | O_TRUNC) == O_RDONLY)"
#: opening for reading with O_TRUNC empties a file, and Landlock before ABI 3 takes it for reading
_WRITING = (
    "openat(flags & O_TRUNC == 0 or flags & O_ACCMODE != O_RDONLY)",
    "open(flags & O_TRUNC == 0 or flags & O_ACCMODE != O_RDONLY)",
    "creat",
    "mkdirat",
    "mkdir",
    "unlinkat",
    "unlink",
    "rmdir",
    "renameat2",
    "renameat",
    "rename",
    "symlinkat",
    "symlink",
    "ftruncate",
)
_LISTING = "getdents64", "getdents", "getcwd", "chdir", "fchdir", "readlinkat", "readlink"


def rules(*, write: bool) -> list[str]:
    """The rules to put before a policy, as far as this architecture has the calls: opening, listing and, with ``write``, making and removing."""
    here = native()
    wanted = (*_LISTING, *(_WRITING if write else _READING))
    if write and landlock.abi_version() >= 3:
        wanted = (*wanted, "truncate")
    return [rule for rule in wanted if here.number(rule.partition("(")[0]) is not None]


def ruleset(read: Iterable[str], write: Iterable[str]) -> landlock.Ruleset:
    """The domain for these paths. Raises `KernelError` where the kernel has no Landlock, `UsageError` for a path that is not there."""
    made = landlock.file_ruleset()
    if made is None:
        raise KernelError(
            "read= and write= need Landlock, which this kernel lacks or has not enabled",
            "use a kernel with landlock in its lsm= list (5.13), or leave them out and let the policy deny opening files",
        )
    try:
        for path in write:
            _allow(made, path, WRITE)
        for path in read:
            _allow(made, path, READ)
        for path in _own():
            _allow(made, path, READ, must=False)
        for path in DEVICES:
            _allow(made, path, READ | WRITE_FILE, must=False)
    except BaseException:
        made.close()
        raise
    return made


def _own() -> list[str]:
    """What an interpreter reads: its library, and of sys.path what is installed with it. A script's own directory is not: it may hold anything."""
    homes = [os.path.join(prefix, "lib") for prefix in dict.fromkeys((sys.base_prefix, sys.prefix))]
    installed = [entry for entry in sys.path if os.path.basename(entry) in ("site-packages", "dist-packages")]
    return list(dict.fromkeys([*homes, *installed, *LIBRARIES]))


def _allow(made: landlock.Ruleset, path: str, access: int, *, must: bool = True) -> None:
    try:
        made.allow_file(path, access)
    except OSError as error:
        if must:
            raise UsageError(
                f"confined: {path}: {error.strerror}", "read= and write= name what exists when the function is first called"
            ) from None
