"""Which files a run may execute: ``--exec FILE``, by file and not by name.

The problem: the path of execve(2) lies in the target's memory, so whoever looks at it there and lets the call go on has looked at something else than the kernel
will. The kernel itself decides here: a Landlock domain permits executing exactly the files that were opened when the run started, whatever they are called later, and
nothing else. Executing a program takes more files than one, and these are permitted with it: the loader that a dynamic program names (PT_INTERP of its ELF
header, elf(5)), and the interpreter on a script's first line, with the program that ``env`` is given there (execve(2), "Interpreter scripts").

The notified call is only looked at to tell: what is not listed is denied with its name, and everything else goes on to be decided by the kernel.

What it is not: a bound on what runs in a process's memory. The loader, as a program, runs any file that it may read; an interpreter that is permitted runs
any script, with any arguments. Arguments are not promised at all.

What can still go wrong: files made by memfd_create(2) are beyond Landlock, so they are made unfit for execution (MFD_NOEXEC_SEAL, Linux 6.3) by the supervisor; one that
somebody else made and passed on is not. A permitted file that the target may write is whatever the target writes.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from seclude.errors import UsageError, printable
from seclude.kernel import landlock, paths
from seclude.kernel.libc import syscall
from seclude.supervise.handlers import Handler
from seclude.supervise.network_rules import suggestion
from seclude.supervise.verdict import Allow, Deny, Inject, Return

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seclude.supervise.call import Call
    from seclude.supervise.verdict import Verdict

__all__ = ["CALLS", "Programs", "interpreter", "permitted"]

CALLS = ("execve", "execveat", "memfd_create")

_EXECUTE, _REFER = 1 << 0, 1 << 13  # LANDLOCK_ACCESS_FS_EXECUTE, LANDLOCK_ACCESS_FS_REFER
_HEAD = 4096
_LINE = 256  # BINPRM_BUF_SIZE: what the kernel reads of a script's first line
_DEPTH = 6  # bprm recursion: exec_binprm() gives up after five interpreters
_LOADERS = 64  # program headers that are looked at
_CLOEXEC, _NOEXEC_SEAL, _EXEC = 0x1, 0x8, 0x10  # linux/memfd.h
_NAME = 249  # NAME_MAX less "memfd:", and the NUL: memfd_create(2)


class Programs:
    """The files that a run may execute: what a Landlock domain needs to say so to the kernel, and the handler that tells.

    ``access`` is what the domain has to handle; `allow` adds the rules.
    """

    __slots__ = ("_handles", "_identities", "access", "notes")

    def __init__(self, files: Mapping[bytes, str]) -> None:
        """``files`` as `permitted` finds them. Raises `UsageError` for one that cannot be had, `KernelError` without Landlock."""
        self.notes = tuple(f"--exec permits {printable(os.fsdecode(path))}{f': {why}' if why else ''}" for path, why in files.items())
        version = landlock.abi_version()
        if version < 1:
            from seclude.errors import KernelError

            raise KernelError(
                "--exec is held by Landlock, which this kernel does not have", "boot with landlock in the lsm= list (Linux 5.13)"
            )
        # A domain that handles files forbids renames between directories, unless it handles just that, and permits it (ABI 2).
        self.access = _EXECUTE | (_REFER if version >= 2 else 0)
        if version < 2:
            self.notes += ("Landlock ABI 1: files cannot be moved between directories",)
        self._handles: list[int] = []
        self._identities: set[tuple[int, int]] = set()
        try:
            for path in files:
                handle = _open(path, os.O_PATH)
                self._handles.append(handle)
                found = os.fstat(handle)
                self._identities.add((found.st_dev, found.st_ino))
        except BaseException:
            self.close()
            raise

    def allow(self, ruleset: landlock.Ruleset) -> None:
        """Add the rules to a ruleset that handles ``access``. Raises `KernelError`."""
        if self.access & _REFER:
            ruleset.allow_path("/", _REFER)
        for handle in self._handles:
            ruleset.allow_path(handle, _EXECUTE)

    def handler(self) -> Handler:
        """The handler for `CALLS`."""
        made = Handler(self.decide, CALLS, (Allow, Deny, Inject, Return))
        made.name = "--exec"
        return made

    def close(self) -> None:
        """Let go of the files."""
        while self._handles:
            os.close(self._handles.pop())

    def decide(self, call: Call) -> Verdict:
        """Deny what is not permitted; the rest is the kernel's to decide."""
        if call.name == "memfd_create":
            return _memory_file(call)
        denied = self._look(call)
        # What was read decided nothing that is let go on: that is up to the domain, which looks at the file.
        call.reads = False
        return denied or Allow()

    def _look(self, call: Call) -> Deny | None:
        from seclude.supervise.call import Unreadable

        try:
            handle = _walk(call)
        except (OSError, Unreadable):
            return None  # the kernel has an answer of its own
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o111 or (found.st_dev, found.st_ino) in self._identities:
                return None
            path = os.fsdecode(paths.handle_path(handle))
        except OSError:
            return None
        finally:
            os.close(handle)
        shown = printable(path)
        return Deny("EACCES", f"{shown} is not permitted by --exec", suggestion("--exec", path) if shown == path else "")


def _walk(call: Call) -> int:
    """A handle of the file that the call names, as far as it can be told without the links of /proc. Raises OSError."""
    at = call.name == "execveat"
    directory = _int(call.raw[0]) if at else paths.AT_FDCWD
    text = call.path(1 if at else 0)
    path = os.fsencode(text or "")
    base = "root" if path.startswith(b"/") else "cwd" if directory == paths.AT_FDCWD else f"fd/{directory}"
    start = os.open(f"/proc/{call.tid}/{base}", os.O_PATH | os.O_CLOEXEC)
    if not path:
        return start
    try:
        found = paths.pin(start, path, resolve=paths.NO_MAGICLINKS | (0x10 if base == "root" else 0))  # RESOLVE_IN_ROOT
    finally:
        os.close(start)
    if found < 0:
        raise OSError(-found, os.strerror(-found))
    return found


def _memory_file(call: Call) -> Verdict:
    """A file in memory, as the target asked for it, but sealed against execution."""
    from seclude.supervise.call import Unreadable

    flags = call.raw[1] & 0xFFFFFFFF
    try:
        text = call.path("name")
    except Unreadable as unreadable:
        return Return(-(errno.EINVAL if unreadable.errno == errno.ENAMETOOLONG else unreadable.errno))
    name = os.fsencode(text or "")
    if text is None or len(name) > _NAME:
        return Return(-(errno.EFAULT if text is None else errno.EINVAL))
    if flags & _EXEC and flags & _NOEXEC_SEAL:
        return Return(-errno.EINVAL)
    made = syscall("memfd_create", name, flags & ~_EXEC | _NOEXEC_SEAL | _CLOEXEC)
    if made == -errno.EINVAL and not _can_seal():
        return Deny("EACCES", "files in memory can be executed, and this kernel cannot forbid it (Linux 6.3)")
    if made < 0:
        return Return(made)
    return Inject(made, cloexec=bool(flags & _CLOEXEC))


def _can_seal() -> bool:
    probe = syscall("memfd_create", b"", _NOEXEC_SEAL | _CLOEXEC)
    if probe < 0:
        return False
    os.close(probe)
    return True


def _int(register: int) -> int:
    low = register & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


# -- what executing a file takes ---------------------------------------------------------------------------------------------


def permitted(words: Iterable[str], command: bytes, search: str) -> dict[bytes, str]:
    """Every file that must be executable for ``words`` and for the run's own ``command`` (its path): path → why, "" for those asked for.

    A word without a slash is looked for in ``search``, as a shell does. Raises `UsageError`.
    """
    out: dict[bytes, str] = {}
    _add(out, command, "the command itself", search, 0)
    for word in words:
        path = os.fsencode(word) if "/" in word else _found(word, search)
        if path is None:
            raise UsageError(f"--exec {printable(word)}: no such program in PATH", "give its path")
        out.pop(os.path.realpath(path), None)
        _add(out, path, "", search, 0)
    return out


def _found(word: str, search: str) -> bytes | None:
    for directory in search.split(":"):
        path = os.path.join(directory or ".", word)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.fsencode(path)
    return None


def _add(out: dict[bytes, str], path: bytes, why: str, search: str, depth: int) -> None:
    real = os.path.realpath(path)
    if real in out:
        return
    handle = _open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UsageError(f"--exec {_shown(path)}: expected a program, found no regular file", "name each file that may be executed")
        out[real] = why
        if depth >= _DEPTH:
            return
        for needed, how in interpreter(handle):
            named = needed if b"/" in needed else _found(os.fsdecode(needed), search)
            if named is not None and os.path.exists(named):
                _add(out, named, f"{how} of {_shown(path)}", search, depth + 1)
    finally:
        os.close(handle)


def _open(path: bytes, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        remedy = "it must be readable, so that its interpreter is known" if error.errno == errno.EACCES else "name a file that is there"
        raise UsageError(f"--exec {_shown(path)}: {error.strerror}", remedy) from None


def _shown(path: bytes) -> str:
    return printable(os.fsdecode(path))


def interpreter(handle: int) -> list[tuple[bytes, str]]:
    """What executing the open file takes besides: ``(path or name, what it is)``; empty for a static program, and for what is no program."""
    head = os.pread(handle, _HEAD, 0)
    if head.startswith(b"#!"):
        words = head[2:_LINE].split(b"\n", 1)[0].split(None, 1)
        if not words:
            return []
        out = [(words[0], "the interpreter")]
        if os.path.basename(words[0]) == b"env" and len(words) == 2:
            # env(1) executes what it is told, found in PATH: options and assignments come first.
            names = [word for word in words[1].split() if not word.startswith(b"-") and b"=" not in word]
            out += [(name, "the interpreter, by env,") for name in names[:1]]
        return out
    try:
        loader = _loader(handle, head) if head.startswith(b"\x7fELF") else None
    except (OSError, OverflowError):  # offsets beyond any file: no program either
        loader = None
    return [(loader, "the loader")] if loader else []


def _loader(handle: int, head: bytes) -> bytes | None:
    """The path in PT_INTERP. Layouts: elf(5)."""
    if len(head) < 64 or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    order, wide = "<" if head[5] == 1 else ">", head[4] == 2
    at = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)[0]
    size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
    for index in range(min(count, _LOADERS)):
        raw = os.pread(handle, size, at + index * size)
        if len(raw) < (56 if wide else 32):
            return None
        kind = struct.unpack_from(order + "I", raw)[0]
        if kind == 3:  # PT_INTERP
            offset = struct.unpack_from(order + ("Q" if wide else "I"), raw, 8 if wide else 4)[0]
            length = struct.unpack_from(order + ("Q" if wide else "I"), raw, 32 if wide else 16)[0]
            return os.pread(handle, min(length, _HEAD), offset).partition(b"\0")[0] or None
    return None
