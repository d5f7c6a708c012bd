"""Which files a run can open at all, as a Landlock domain: nothing but what is named, whatever the policy permits and whoever runs it.

Needs no supervisor, so an open costs what it always costs; in exchange there are no globs and no exceptions beneath a directory that is
granted, and what is not an open (stat, chmod, readlink) is not bound: landlock(7). A domain also keeps the target's hands off processes
outside, as `seclude.kernel.landlock.scope_ruleset` does.
"""

from __future__ import annotations

import os
import stat

from seclude.errors import KernelError
from seclude.kernel import landlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["SYSTEM", "beneath", "files_of_command", "ruleset"]

#: what programs need to start and to run: libraries, interpreters, time zones, and what runtimes ask about the machine
SYSTEM = (
    b"/usr", b"/lib", b"/lib32", b"/lib64", b"/libx32", b"/bin", b"/sbin", b"/nix/store", b"/gnu/store",
    b"/etc/ld.so.cache", b"/etc/ld.so.preload", b"/etc/localtime", b"/etc/passwd", b"/etc/group", b"/etc/nsswitch.conf", b"/etc/locale.alias",
    b"/proc", b"/sys/devices/system/cpu", b"/sys/kernel/mm/transparent_hugepage",
)  # fmt: skip
_DEVICES = (b"/dev/null", b"/dev/zero", b"/dev/full", b"/dev/random", b"/dev/urandom")

# include/uapi/linux/landlock.h, LANDLOCK_ACCESS_FS_*
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15


def ruleset(reach: Mapping[str, Sequence[bytes]]) -> landlock.Ruleset | None:
    """The domain of ``reach``: ``{"read": paths, "write": paths}``. None where the kernel has no Landlock. Raises `KernelError`.

    What `SYSTEM` and the devices have is added; of these, what does not exist is left out. Beneath ``write`` everything is permitted.
    """
    version = landlock.abi_version()
    if version < 1:
        return None
    handled = (1 << landlock.FS_BITS[min(version, max(landlock.FS_BITS))]) - 1
    scoped = landlock.SCOPE_ABSTRACT_UNIX_SOCKET | landlock.SCOPE_SIGNAL if version >= 6 else 0
    made = landlock.Ruleset(fs=handled, scoped=scoped)
    try:
        for path in SYSTEM:
            _allow(made, path, _READ, must=False)
        for path in _DEVICES:
            _allow(made, path, _READ_FILE | _WRITE_FILE, must=False)
        for path in reach.get("read", ()):
            _allow(made, path, _READ, must=True)
        for path in reach.get("write", ()):
            _allow(made, path, handled, must=True)
    except BaseException:
        made.close()
        raise
    if not scoped:
        made.notes = (f"Landlock ABI {version}: signals and abstract sockets are not scoped (that needs ABI 6, Linux 6.12)",)
    return made


def _allow(made: landlock.Ruleset, path: bytes, access: int, *, must: bool) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if must:
            raise KernelError(f"{os.fsdecode(path)}: {error.strerror}", "what a run may reach must be there", error.errno or 0) from None
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _OF_FILES
        made.allow_path(descriptor, access & made.fs)
    finally:
        os.close(descriptor)


def beneath(path: bytes, granted: Iterable[bytes]) -> bytes | None:
    """Which of ``granted`` gives ``path``, or None; all of them without symbolic links."""
    return next((one for one in granted if path == one or path.startswith(one.rstrip(b"/") + b"/")), None)


def files_of_command(program: bytes, words: Iterable[bytes], cwd: bytes) -> list[bytes]:
    """What a command needs besides `SYSTEM`: its program, the files that its words name, and the libraries of a Python that is not the system's.

    Directories that words name are not among them: what is in them is for the caller to grant.
    """
    found = [os.path.join(cwd, program)]
    found += [path for word in words if b"\0" not in word and os.path.isfile(path := os.path.join(cwd, word))]
    for place in dict.fromkeys((found[0], os.path.realpath(found[0]))):
        if os.path.basename(place).startswith(b"python"):
            prefix = os.path.dirname(os.path.dirname(place))
            found += [path for name in (b"lib", b"lib64", b"bin", b"pyvenv.cfg") if os.path.exists(path := os.path.join(prefix, name))]
    return list(dict.fromkeys(found))
