"""/proc: what the kernel says about processes and about seccomp (proc(5)).

Processes end while they are read about. Every reader here answers None, or an empty tuple, for one that is gone, and
never raises for it; a race between two reads is the caller's to judge.
"""

from __future__ import annotations

import os

__all__ = [
    "Status",
    "actions_available",
    "actions_logged",
    "children",
    "cpu_seconds",
    "current_call",
    "heap_start",
    "read_text",
    "run_time",
    "start_time",
    "status",
    "sysctl",
    "task_count",
    "threads",
]


def read_text(path: str, errors: str = "backslashreplace") -> str | None:
    """A small file of the kernel's, whole; ``errors`` as in `bytes.decode`. None where it cannot be read."""
    # Not open(): a text file costs four calls more, and every run reads several of these.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        pieces = []
        while piece := os.read(descriptor, 65536):
            pieces.append(piece)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode("utf-8", errors)


class Status:
    """/proc/PID/status. ``fields`` maps every name there to its text; the properties read those that matter here.

    A property is None where the kernel does not print the field (``Seccomp`` needs CONFIG_SECCOMP and 3.8, ``NoNewPrivs``
    4.10, ``Seccomp_filters`` 5.9).
    """

    __slots__ = ("fields",)

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields

    def number(self, name: str, base: int = 10, index: int = 0) -> int | None:
        """A field's number, the ``index``-th of several; None if it is not there or not a number."""
        words = self.fields.get(name, "").split()
        try:
            return int(words[index], base)
        except (IndexError, ValueError):
            return None

    @property
    def name(self) -> str:
        return self.fields.get("Name", "")

    @property
    def state(self) -> str:
        """One letter: R, S, D, T, t, Z, X (proc(5)); "" if unknown."""
        return self.fields.get("State", "")[:1]

    @property
    def tgid(self) -> int | None:
        return self.number("Tgid")

    @property
    def parent(self) -> int | None:
        return self.number("PPid")

    @property
    def tracer(self) -> int | None:
        """The tracing process; 0 if none, or if it is outside our pid namespace."""
        return self.number("TracerPid")

    @property
    def real_uid(self) -> int | None:
        return self.number("Uid")

    @property
    def umask(self) -> int | None:
        return self.number("Umask", 8)

    @property
    def threads(self) -> int | None:
        return self.number("Threads")

    @property
    def seccomp(self) -> int | None:
        """0 none, 1 strict, 2 filter."""
        return self.number("Seccomp")

    @property
    def filters(self) -> int | None:
        """How many filters are stacked."""
        return self.number("Seccomp_filters")

    @property
    def no_new_privs(self) -> bool | None:
        value = self.number("NoNewPrivs")
        return None if value is None else value == 1

    def capabilities(self, which: str) -> int | None:
        """A capability set as a bit mask; ``which`` is Inh, Prm, Eff, Bnd or Amb."""
        return self.number("Cap" + which, 16)


def status(pid: int | str = "self", thread: int | None = None) -> Status | None:
    """The status of a process (or of one of its threads); None if it is gone or hidden from us."""
    path = f"/proc/{pid}/status" if thread is None else f"/proc/{pid}/task/{thread}/status"
    text = read_text(path)
    if not text:
        return None
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            # The first wins. The kernel escapes newlines in Name, the one field that a process writes itself.
            fields.setdefault(name, value.strip())
    return Status(fields)


def threads(pid: int | str = "self") -> tuple[int, ...]:
    """The thread ids of a process, ascending; empty if it is gone."""
    try:
        names = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return ()
    return tuple(sorted(int(name) for name in names))


def children(pid: int | str = "self") -> tuple[int, ...]:
    """The processes whose parent is ``pid``, through all its threads (needs CONFIG_PROC_CHILDREN); empty if it is gone.

    Exact only while the children are stopped (proc(5)): one that ends meanwhile may hide another.
    """
    found: list[int] = []
    for thread in threads(pid):
        text = read_text(f"/proc/{pid}/task/{thread}/children")
        found.extend(int(word) for word in (text or "").split())
    return tuple(found)


def _stat(pid: int | str) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on: the second, the name, may hold spaces and parentheses."""
    text = read_text(f"/proc/{pid}/stat")
    if not text or ")" not in text:
        return None
    return text.rpartition(")")[2].split()


def cpu_seconds(pid: int | str = "self") -> float | None:
    """User plus system time of a process and of the children it has waited for; None if it is gone."""
    fields = _stat(pid)
    if fields is None:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return float(sum(map(int, fields[11:15])) / ticks)  # utime, stime, cutime, cstime: fields 14..17 of proc(5)


def run_time(tid: int) -> float | None:
    """Seconds that one thread has spent on processors, to the nanosecond where it stands still (/proc/PID/schedstat, CONFIG_SCHED_INFO)."""
    words = (read_text(f"/proc/{tid}/schedstat") or "").split()
    return int(words[0]) / 1e9 if words and words[0].isdigit() else None


def start_time(pid: int | str = "self") -> int | None:
    """When the process started, in clock ticks after boot: with the pid it names a process for good. None if it is gone."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])  # field 22 of proc(5)


def heap_start() -> int | None:
    """Where this process's brk(2) heap begins; None if the kernel does not say."""
    fields = _stat("self")
    return int(fields[44]) or None if fields is not None and len(fields) > 44 else None  # field 47 of proc(5)


def current_call(pid: int) -> tuple[int, tuple[int, ...]] | None:
    """Number and six arguments of the call that a stopped or blocked process is in; None if it runs, is in none, or may not be read.

    From /proc/PID/syscall, on every architecture with CONFIG_HAVE_ARCH_TRACEHOOK; needs the right to trace the process.
    """
    words = (read_text(f"/proc/{pid}/syscall") or "").split()
    if len(words) != 9:
        return None
    return int(words[0]), tuple(int(word, 16) for word in words[1:7])


def task_count(uid: int) -> int:
    """How many tasks (threads of processes) have the real user id ``uid``: what RLIMIT_NPROC counts, as far as /proc shows them."""
    count = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            seen = status(entry)
            if seen is not None and seen.real_uid == uid:
                count += seen.threads or 1
    return count


def sysctl(name: str) -> str | None:
    """/proc/sys by dotted name (``kernel.yama.ptrace_scope``), stripped; None if this kernel has it not."""
    text = read_text("/proc/sys/" + name.replace(".", "/"))
    return None if text is None else text.strip()


def actions_available() -> tuple[str, ...] | None:
    """The actions of /proc/sys/kernel/seccomp/actions_avail, most permissive last; None before Linux 4.14."""
    text = sysctl("kernel.seccomp.actions_avail")
    return None if text is None else tuple(text.split())


def actions_logged() -> tuple[str, ...] | None:
    """The actions that the kernel logs (/proc/sys/kernel/seccomp/actions_logged); None before Linux 4.14."""
    text = sysctl("kernel.seccomp.actions_logged")
    return None if text is None else tuple(text.split())
