"""landlock(7): a domain that a target cannot reach out of. Layouts from include/uapi/linux/landlock.h.

What a target must not do to its supervisor, it could do as the same user: trace it, write its memory through
/proc/PID/mem, take its descriptors, signal it. Any Landlock domain forbids the first three towards processes outside the
domain (ABI 1); ABI 6 can also scope signals and abstract UNIX sockets. `scope_ruleset` makes the weakest domain that
forbids as much as this kernel can, and restricts neither files nor network.

Before ABI 6 a ruleset must handle some file access, and any handled file access forbids mount(2) and pivot_root(2) to the
domain: `Ruleset.notes` says so where it applies. The domain is per thread and inherited; nothing removes it.
"""

from __future__ import annotations

import ctypes
import errno as _errno
import os
import stat

from seclude.errors import KernelError
from seclude.kernel.libc import call, errno_name, failed, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "ACCESS_FS", "EXECUTE", "ON_FILES", "READ", "SCOPE_ABSTRACT_UNIX_SOCKET", "SCOPE_SIGNAL", "WRITE_FILE", "Ruleset", "abi_version", "access_fs", "file_ruleset",
    "restrict_self", "scope_ruleset",
]  # fmt: skip

CREATE_RULESET_VERSION = 1 << 0
RULE_PATH_BENEATH = 1
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1 << 0, 1 << 1
_SCOPES = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL
ACCESS_FS_MAKE_BLOCK = 1 << 11

#: accesses to files, bit by bit as include/uapi/linux/landlock.h has them
ACCESS_FS = (
    "execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char", "make_dir", "make_reg", "make_sock", "make_fifo",
    "make_block", "make_sym", "refer", "truncate", "ioctl_dev",
)  # fmt: skip
EXECUTE, WRITE_FILE, READ = 1 << 0, 1 << 1, 1 << 2 | 1 << 3
#: those that make sense for what is no directory
ON_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
#: ABI → what it brought, as landlock(7) lists them
FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi_version() -> int:
    """The Landlock ABI of this kernel; 0 where it is not built in, not enabled (lsm=), or forbidden by a filter."""
    return max(0, syscall("landlock_create_ruleset", None, 0, CREATE_RULESET_VERSION))


def access_fs(version: int | None = None) -> int:
    """Every access to files that an ABI knows (by default this kernel's), as a mask; 0 without Landlock."""
    known = abi_version() if version is None else version
    return (1 << FS_BITS[max(abi for abi in FS_BITS if abi <= known)]) - 1 if known >= 1 else 0


class Ruleset:
    """A ruleset being made: ``fd`` (close-on-exec), the accesses it handles, and remarks on what the kernel could not do.

    Use as a context manager, or `close` it; a domain entered from it stays.
    """

    __slots__ = ("fd", "fs", "net", "notes", "scoped")

    def __init__(self, *, fs: int = 0, net: int = 0, scoped: int = 0) -> None:
        """Raises `KernelError` where the kernel has no Landlock or not these accesses (E2BIG, EINVAL)."""
        attribute = _RulesetAttr(fs, net, scoped)
        # A kernel that knows less takes a longer structure only if the rest is zero: give it just what is used.
        size = 24 if scoped else 16 if net else 8
        self.fd = call(
            "landlock_create_ruleset",
            ctypes.byref(attribute),
            size,
            0,
            expected=f"Landlock with fs={fs:#x} net={net:#x} scoped={scoped:#x}; this kernel has ABI {abi_version()}",
            remedy="ask for less, or use a newer kernel with landlock in its lsm= list",
        )
        self.fs, self.net, self.scoped = fs, net, scoped
        self.notes: tuple[str, ...] = ()

    def allow_path(self, path: str | bytes | int, access: int) -> None:
        """Allow ``access`` (of those handled) at ``path`` and everything beneath; a descriptor is taken as it is. Raises `KernelError`."""
        descriptor = path if isinstance(path, int) else _open_path(path)
        try:
            rule = _PathBeneath(access, descriptor)
            call("landlock_add_rule", self.fd, RULE_PATH_BENEATH, ctypes.byref(rule), 0, expected=f"a rule for {path!r}")
        finally:
            if descriptor is not path:
                os.close(descriptor)

    def allow_file(self, path: str | bytes, access: int) -> None:
        """Allow of ``access`` what is handled and makes sense for what is at ``path``: a directory, with everything beneath, or not.

        Raises `OSError` where ``path`` cannot be opened, and `KernelError`.
        """
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            fitting = access if stat.S_ISDIR(os.fstat(descriptor).st_mode) else access & ON_FILES
            self.allow_path(descriptor, fitting & self.fs)
        finally:
            os.close(descriptor)

    def restrict(self) -> None:
        """Enter the domain, for good. Needs no_new_privs or CAP_SYS_ADMIN. Raises `KernelError`."""
        result = restrict_self(self.fd)
        if result < 0:
            remedy = {
                _errno.EPERM: "call seclude.kernel.prctl.set_no_new_privs() first",
                _errno.E2BIG: "the kernel nests 16 domains: start from a process with fewer",
            }.get(-result, "")
            raise failed("landlock_restrict_self", -result, "a Landlock domain", remedy)

    def close(self) -> None:
        """Close the descriptor. Harmless if done twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def restrict_self(fd: int) -> int:
    """landlock_restrict_self(2) as the kernel answers it: 0 or a negated errno. For a child between clone and exec."""
    return syscall("landlock_restrict_self", fd, 0)


def file_ruleset(*, scoped: bool = True) -> Ruleset | None:
    """A ruleset that handles every access to files, and as far as the kernel can scopes signals and abstract sockets if ``scoped``.

    None where the kernel has no Landlock.
    """
    version = abi_version()
    if version < 1:
        return None
    if not scoped:
        return Ruleset(fs=access_fs(version))
    ruleset = Ruleset(fs=access_fs(version), scoped=_SCOPES if version >= 6 else 0)
    if not ruleset.scoped:
        ruleset.notes = (_not_scoped(version),)
    return ruleset


def scope_ruleset() -> Ruleset | None:
    """The weakest domain that keeps a target's hands off processes outside it; None where the kernel has no Landlock."""
    version = abi_version()
    if version < 1:
        return None
    if version >= 6:
        return Ruleset(scoped=_SCOPES)
    ruleset = Ruleset(fs=ACCESS_FS_MAKE_BLOCK)
    try:
        ruleset.allow_path("/", ACCESS_FS_MAKE_BLOCK)
    except KernelError:
        ruleset.close()
        raise
    ruleset.notes = (
        _not_scoped(version),
        f"Landlock ABI {version}: mount and pivot_root are denied to the target",
    )
    return ruleset


def _not_scoped(version: int) -> str:
    return f"Landlock ABI {version}: signals and abstract sockets are not scoped (that needs ABI 6, Linux 6.12)"


def _open_path(path: str | bytes) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        number = error.errno or 0
        raise KernelError(f"open({path!r}, O_PATH): {errno_name(number)}: {os.strerror(number)}", "", number) from None
