"""Which files a run can open at all, as a Landlock domain: nothing but what is named, whatever the policy permits and whoever runs it.

Needs no supervisor, so an open costs what it always costs; in exchange there are no globs and no exceptions beneath a directory that is
granted, and what is not an open (stat, chmod, readlink) is not bound: landlock(7). A domain also keeps the target's hands off processes
outside, as `seclude.kernel.landlock.scope_ruleset` does.
"""

from __future__ import annotations

import os

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

_READ = landlock.EXECUTE | landlock.READ


def ruleset(reach: Mapping[str, Sequence[bytes]]) -> landlock.Ruleset | None:
    """The domain of ``reach``: ``{"read": paths, "write": paths}``. None where the kernel has no Landlock. Raises `KernelError`.

    What `SYSTEM` and the devices have is added; of these, what does not exist is left out. Beneath ``write`` everything is permitted.
    """
    made = landlock.file_ruleset()
    if made is None:
        return None
    try:
        for path in SYSTEM:
            _allow(made, path, _READ, must=False)
        for path in _DEVICES:
            _allow(made, path, landlock.READ | landlock.WRITE_FILE, must=False)
        for path in reach.get("read", ()):
            _allow(made, path, _READ, must=True)
        for path in reach.get("write", ()):
            _allow(made, path, made.fs, must=True)
    except BaseException:
        made.close()
        raise
    return made


def _allow(made: landlock.Ruleset, path: bytes, access: int, *, must: bool) -> None:
    try:
        made.allow_file(path, access)
    except OSError as error:
        if must:
            raise KernelError(f"{os.fsdecode(path)}: {error.strerror}", "what a run may reach must be there", error.errno or 0) from None


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
