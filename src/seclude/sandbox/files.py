"""``--read``, ``--write``, ``--hide``: from options to rules of paths, to what a policy asks a broker about, and to a Landlock domain.

Paths are made absolute and free of symbolic links once, before the run, in the caller's directory. What the command itself needs to start is the
**runtime set**, granted unless ``--no-runtime``: see `RUNTIME` and `DEVICES`.
"""

from __future__ import annotations

import os

from seclude.errors import KernelError, UsageError
from seclude.kernel import landlock
from seclude.supervise.files_rules import Rules, is_glob, literal_prefix, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from seclude.supervise.files import FilesBroker
    from seclude.supervise.handlers import Handler

__all__ = ["DEVICES", "OPTIONS", "RUNTIME", "asked", "broker", "domain", "hidden_sockets", "own_domain", "policy_rules", "rules_of"]

OPTIONS = ("read", "write", "hide")

#: read and executed by what is dynamically linked, by shells and by interpreters, wherever it comes from; nothing in it is anybody's own
RUNTIME: tuple[tuple[str, str], ...] = (
    ("/bin", "programs"),
    ("/sbin", "programs"),
    ("/lib", "libraries and the loader"),
    ("/lib32", "libraries and the loader"),
    ("/lib64", "libraries and the loader"),
    ("/libx32", "libraries and the loader"),
    ("/usr", "programs, libraries, locales, time zones, terminals, certificates' source"),
    ("/etc/ld.so.cache", "where the loader finds libraries"),
    ("/etc/ld.so.preload", "libraries for every program"),
    ("/etc/ld.so.conf", "where the loader looks"),
    ("/etc/ld.so.conf.d", "where the loader looks"),
    ("/etc/locale.alias", "names of locales"),
    ("/etc/localtime", "the local time zone"),
    ("/etc/timezone", "the name of the time zone"),
    ("/etc/alternatives", "links that choose among programs"),
    ("/etc/python3*", "what a system's Python reads at its start"),
    ("/proc/self", "what a process may know of itself (not its memory)"),
    ("/proc/thread-self", "the same of its thread"),
    ("/proc/cpuinfo", "processors"),
    ("/proc/filesystems", "known file systems"),
    ("/proc/loadavg", "load"),
    ("/proc/meminfo", "memory"),
    ("/proc/mounts", "mounted file systems"),
    ("/proc/stat", "processors' times"),
    ("/proc/uptime", "time since boot"),
    ("/proc/version", "the kernel's version"),
    ("/proc/sys/kernel/cap_last_cap", "the last capability"),
    ("/proc/sys/kernel/ngroups_max", "limits"),
    ("/proc/sys/kernel/osrelease", "the kernel's version"),
    ("/proc/sys/kernel/pid_max", "limits"),
    ("/proc/sys/vm/overcommit_memory", "how malloc may count on memory"),
    ("/sys/devices/system/cpu", "processors"),
    ("/sys/kernel/mm/transparent_hugepage", "how malloc may align memory"),
    ("/dev/random", "random bytes"),
    ("/dev/urandom", "random bytes"),
    ("/dev/fd", "its own descriptors"),
    ("/dev/stdin", "its own descriptors"),
    ("/dev/stdout", "its own descriptors"),
    ("/dev/stderr", "its own descriptors"),
)
#: read and written
DEVICES: tuple[tuple[str, str], ...] = (
    ("/dev/null", "nothing"),
    ("/dev/zero", "zeros"),
    ("/dev/full", "a full device"),
    ("/proc/self/comm", "its own name"),
    ("/proc/self/oom_score_adj", "to be the first when memory is short"),
)


def asked(options: Mapping[str, Iterable[str | bytes | os.PathLike[str]]]) -> dict[str, list[bytes]]:
    """The options' paths as plain values: absolute, of the current directory. Raises `UsageError`."""
    found: dict[str, list[bytes]] = {}
    for option in OPTIONS:
        for given in options.get(option, ()):
            path = os.fsencode(given)
            if not path or b"\0" in path:
                raise UsageError(f"--{option} {os.fsdecode(path)!r} names no file", "give a path, or a glob in quotes")
            whole = os.path.join(os.getcwdb(), path)
            if not is_glob(path) and option == "read" and not os.path.lexists(whole):
                raise UsageError(f"--{option} {os.fsdecode(path)}: there is no such file or directory", "name one that is there")
            found.setdefault(option, []).append(whole)
    return found


#: A socket in the file system is a file too, and what listens there may do anything for whoever asks. Pairs of datagram sockets can be pointed at any, and
#: to ask for a raw one is to ask for a datagram socket (net/unix/af_unix.c, unix_create).
_NO_SOCKETS = (
    ("deny", "socket(domain == AF_UNIX)"),
    ("deny", "socketpair(domain == AF_UNIX and type & 0xf not in {SOCK_STREAM, SOCK_SEQPACKET})"),
    ("refuse", "ENOSYS socketcall"),
)
#: Where only some are hidden, connect is done by a broker. What is sent to an address of a message's own would go past it, and so would calls whose arguments nobody sees.
_GUARDED_SOCKETS = (
    ("broker", "connect"),
    ("deny", "socket(domain == AF_UNIX and type & 0xf not in {SOCK_STREAM, SOCK_SEQPACKET})"),
    *_NO_SOCKETS[1:],
)
#: A file's flags, its project and its version can be changed, and the file be sealed for good, through a descriptor that is open for reading only: FS_IOC_SETFLAGS,
#: FS_IOC_FSSETXATTR, FS_IOC_SETVERSION, FS_IOC_ENABLE_VERITY, FS_IOC_SET_ENCRYPTION_POLICY (linux/fs.h, fsverity.h, fscrypt.h; those of a long twice, as 32-bit
#: programs ask). XFS opens files by handle, without a path: of its own requests only the one that looks at flags is left. Btrfs copies and removes whole trees: of its
#: own those are left that share blocks between open files.
_NO_FLAGS = (
    ("deny", "ioctl(request in {0x40086602, 0x40046602, 0x401c5820, 0x40087602, 0x40047602, 0x40806685, 0x800c6613})"),
    ("deny", "ioctl(request & 0xff00 == 0x5800 and request != 0x801c581f)"),
    ("deny", "ioctl(request & 0xff00 == 0x9400 and request not in {0x40049409, 0x4020940d, 0xc0189436})"),
)


def policy_rules(supervision: Mapping[str, Any], *, report: bool = True) -> list[tuple[str, str]]:
    """The ``rules`` for `prepare`, after those of --allow, --deny, --connect and --bind: which calls are asked about, and which are refused.

    Without a ``report`` nobody can be asked.
    """
    from seclude.supervise.files_table import ALONE, RULES

    closed = bool(supervision.get("read") or supervision.get("write"))
    besides = (*_NO_SOCKETS, *_NO_FLAGS) if closed else _GUARDED_SOCKETS if report and _guards_sockets(supervision) else ()
    return [*besides, *(RULES if report else ALONE)]


def hidden_sockets(supervision: Mapping[str, Any]) -> list[Handler]:
    """What connects where --hide stands alone; nothing where local sockets are closed, or --connect and --bind say which there are."""
    if not _guards_sockets(supervision):
        return []
    from seclude.kernel.credentials import own_identity
    from seclude.supervise.acting import catch_interruptions
    from seclude.supervise.network_hidden import HiddenSockets

    catch_interruptions()
    rules = rules_of(supervision)
    hidden = _identities(pattern.text for pattern in rules.hide)
    return [HiddenSockets(rules, hidden, own_identity(), scoped=landlock.abi_version() >= 6).handler()]


def _guards_sockets(supervision: Mapping[str, Any]) -> bool:
    return bool(supervision.get("hide")) and not any(supervision.get(option) for option in ("read", "write", "connect", "bind"))


def rules_of(supervision: Mapping[str, Any], program: bytes | None = None, cwd: bytes | None = None) -> Rules:
    """The rules of a run. ``program``: the command itself, and ``cwd`` where it starts (to be looked at, no more), belong to the runtime set."""
    grants: dict[str, list[bytes]] = {option: [] for option in OPTIONS}
    links: set[bytes] = set()
    for option in OPTIONS:
        for path in supervision.get(option, ()):
            grants[option].append(_resolved(path, links))
    closed = bool(grants["read"] or grants["write"])
    if closed and supervision.get("runtime", True):
        for names, option in ((RUNTIME, "read"), (DEVICES, "write")):
            for path in (one for name, _ in names for one in _there(name.encode())):
                if path.startswith((b"/proc/", b"/dev/")):
                    # What /proc/self and /dev/stdin lead to is the asker's; judged by where they lead, but here by their names.
                    (links.add if path.startswith((b"/dev/fd", b"/dev/std")) else grants[option].append)(path)
                else:
                    grants[option].append(_resolved(path, links))
        if program is not None:
            grants["read"].append(_resolved(os.path.abspath(program), links))
        if cwd is not None:
            links.add(os.path.realpath(cwd))
    return Rules(read=grants["read"], write=grants["write"], hide=grants["hide"], links=links, open=not closed)


def _there(path: bytes) -> list[bytes]:
    """A path of the runtime set; for one with a glob as its last name, what it matches now."""
    directory, _, name = path.rpartition(b"/")
    if not is_glob(name):
        return [path]
    try:
        return [directory + b"/" + one for one in os.listdir(directory) if matches(name, one)]
    except OSError:
        return []


def _resolved(path: bytes, links: set[bytes]) -> bytes:
    """``path`` without symbolic links in what is no glob of it; the names of the links that led there go to ``links``."""
    prefix, rest = literal_prefix(path)
    plain = os.path.normpath(prefix) if not rest else prefix
    if plain.startswith(b"//"):
        plain = plain[1:]
    real = os.path.realpath(plain)
    if real != plain:
        links.add(plain)
        at = plain
        while at != b"/":  # the links on the way
            if os.path.islink(at):
                links.add(at)
            at = os.path.dirname(at)
    return os.path.join(real, rest) if rest else real


def broker(supervision: Mapping[str, Any], program: bytes, cwd: bytes | None = None) -> FilesBroker:
    """The broker of a run that executes ``program`` in the directory ``cwd``."""
    from seclude.supervise.files import FilesBroker

    rules = rules_of(supervision, os.path.join(cwd or b"", program), cwd or os.getcwdb())
    return FilesBroker(rules, _identities(pattern.text for pattern in rules.hide))


def own_domain(supervision: Mapping[str, Any], program: bytes, groups: Iterable[str] = ()) -> landlock.Ruleset | None:
    """What Landlock holds the broker itself to: its target's files, and what a supervisor needs: /proc, Python, and the control ``groups`` in
    which it made its own. None as for `domain`.

    Entered before the target is made, whose own domain then lies within: a process in a domain beside it could not look at it any more.
    """
    import sys

    made = domain(supervision, program, scoped=False)
    if made is None:
        return None
    try:
        _allow(made, b"/proc", landlock.READ | landlock.WRITE_FILE)
        for group in groups:
            _allow(made, os.fsencode(group), made.fs)
        _allow(made, os.fsencode(os.devnull), landlock.READ | landlock.WRITE_FILE)
        for stream in range(3):
            _allow_stream(made, stream)
        for path in dict.fromkeys((*sys.path, sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))):
            if path:
                _allow(made, os.fsencode(path), landlock.READ)
    except BaseException:
        made.close()
        raise
    return made


def domain(supervision: Mapping[str, Any], program: bytes, *, alone: bool = False, scoped: bool = True) -> landlock.Ruleset | None:
    """What Landlock holds the target to, beside the broker: what it executes, since execve is not the broker's; and, should a call ever get past it,
    the files. None where the kernel has no Landlock. Raises `KernelError`.

    A glob cannot be said there: what it starts from may be read, as far as Landlock is asked, and nothing of it executed. The same goes for the directory of a
    file that is to be made. Neither can an exception: of a
    directory in which something is hidden by its name, everything else that is there now may be executed, by name.

    ``scoped``: signals and abstract sockets are kept inside as well. ``alone``: there is no broker, so what only that can do is refused (`UsageError`), and /proc is open for reading as a whole.
    """
    if alone and supervision.get("hide"):
        raise UsageError("--hide needs a supervisor, and --no-report does without", "leave out one of them")
    for path in (*supervision.get("read", ()), *supervision.get("write", ())):
        if alone and is_glob(path):
            raise UsageError(f"the glob {os.fsdecode(path)} needs a supervisor, and --no-report does without", "leave out one of them")
    rules = rules_of(supervision, program)
    made = landlock.file_ruleset(scoped=scoped)
    if made is None:
        if alone:
            raise KernelError("this kernel has no Landlock, and without it files are held by a supervisor only", "leave out --no-report")
        return None
    hidden = [pattern.text for pattern in rules.hide if not is_glob(pattern.text)]
    to_make = {_resolved(path, set()) for path in supervision.get("write", ()) if not is_glob(path)}  # of the runtime set nothing is
    try:
        if alone and supervision.get("runtime", True):
            _allow(made, b"/proc", landlock.READ)
        for paths, access in ((rules.read, landlock.READ), (rules.write, made.fs & ~landlock.EXECUTE)):
            for path in paths:
                if path.startswith(b"/proc/"):
                    continue  # its own files there are opened by the broker alone
                _allow(made, _there_yet(path, alone=alone) if path in to_make else literal_prefix(path)[0], access)
                if not is_glob(path):
                    for beneath in _without(path, hidden):
                        _allow(made, beneath, landlock.EXECUTE)
    except BaseException:
        made.close()
        raise
    return made


def _there_yet(path: bytes, *, alone: bool) -> bytes:
    """The path that is there and leads to ``path``, so that Landlock can be told of it: where that is to be made, the directory it will be in."""
    there = path
    while not os.path.lexists(there):
        if alone:
            raise UsageError(
                f"--write {os.fsdecode(path)}: there is no such file or directory, and what is to be made needs a supervisor",
                "make it first, name its directory, or leave out --no-report",
            )
        there = os.path.dirname(there)
    return there


def _without(path: bytes, hidden: list[bytes]) -> Iterator[bytes]:
    """``path``, or what is in it but for what is ``hidden``, so that nothing hidden is beneath anything given."""
    within = [one for one in hidden if one.startswith(path.rstrip(b"/") + b"/")]
    if any(path == one or path.startswith(one.rstrip(b"/") + b"/") for one in hidden):
        return
    if not within:
        yield path
        return
    try:
        names = os.listdir(path)
    except OSError:
        return
    for name in names:
        one = os.path.join(path, name)
        if not os.path.islink(one):
            yield from _without(one, within)


def _allow(made: landlock.Ruleset, path: bytes, access: int) -> None:
    try:
        made.allow_file(path, access)
    except OSError:
        return  # not there yet, or not for us: what is not allowed is denied


def _allow_stream(made: landlock.Ruleset, stream: int) -> None:
    """What the target is started with can be opened once more by it, for what it is open for (/dev/stdin)."""
    import fcntl

    try:
        status, how = os.fstat(stream), fcntl.fcntl(stream, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        return  # closed
    if status.st_mode & 0o170000 in (0o100000, 0o020000):
        access = {os.O_RDONLY: landlock.READ, os.O_WRONLY: made.fs & ~landlock.READ}.get(how, made.fs)
        try:
            _allow(made, b"/proc/self/fd/%d" % stream, access)
        except KernelError:
            return  # it has no place in any directory (memfd_create(2)): Landlock does not hold it


def _identities(paths: Iterable[bytes]) -> frozenset[tuple[int, int]]:
    """Single hidden files by what they are: another link to one is the same file."""
    found = set()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        if status.st_mode & 0o170000 != 0o040000:
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)
