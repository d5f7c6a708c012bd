"""Control groups for one run: bind its memory and tasks, count its CPU time, end all of it at once.

A run may need several directories at once, since hosts differ: version 2 only (one directory), version 1 (one per
controller), or both side by side, where version 2 has no controllers but still kills, counts CPU and tells when it is
empty. `create` takes what it finds and says why not where it finds nothing; it never changes a cgroup that it did not make, with
one exception: enabling controllers for children (``cgroup.subtree_control``) in a version 2 cgroup that is free of processes.

Where. Beneath our own cgroup, so that limits which bind us bind the run too. Version 2 forbids a cgroup with both processes and
controllers for children (cgroups(7), "no internal processes"), so there the run goes *beside* us, in our parent, and only
if our own cgroup sets no limit that the run would escape. Where that is not permitted (an ordinary login session), `create` says so.

Names carry the pid namespace, pid and start time of their maker. A directory whose maker is dead is a leftover of a supervisor that was
killed: the next `create` by the same user ends what still runs in it and removes it.

What can still go wrong: a target that is root can write cgroup files and leave the group. That is for the policy and file permissions
to forbid; a limit by cgroup binds an unprivileged target, or one that cannot open files beneath the mount for writing.
"""

from __future__ import annotations

import errno as _errno
import itertools
import os
import time
from _signal import SIGKILL  # type: ignore[import-not-found]

from seclude.kernel import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Cgroup", "Usage", "available", "create", "made_by", "remove_stale"]

PREFIX = "seclude-"
CONTROLLERS = ("memory", "pids", "cpuacct", "freezer")  # those of version 1 that a run can use
_serial = itertools.count(1)  # one step, so that threads never get the same name


class _Mount:
    """One mounted hierarchy: where our own cgroup is in it, and what it can do."""

    __slots__ = ("controllers", "own", "top", "unified")

    def __init__(self, own: str, top: str, controllers: frozenset[str], *, unified: bool) -> None:
        self.own = own
        self.top = top
        self.controllers = controllers
        self.unified = unified


class Usage:
    """What a run used. ``cpu`` seconds, ``memory_peak`` bytes, ``oom_kills`` and ``fork_denials`` counts; None where not counted."""

    __slots__ = ("cpu", "fork_denials", "memory_peak", "oom_kills")

    def __init__(self, cpu: float | None, memory_peak: int | None, oom_kills: int | None, fork_denials: int | None) -> None:
        self.cpu = cpu
        self.memory_peak = memory_peak
        self.oom_kills = oom_kills
        self.fork_denials = fork_denials


class Cgroup:
    """The directories of one run. ``bound`` says which limits the kernel took: a subset of {"memory", "processes"}.

    ``places`` maps "unified" and version 1 controllers to directories; several may be the same.
    """

    __slots__ = ("bound", "places")

    def __init__(self, places: dict[str, str], bound: frozenset[str]) -> None:
        self.places = places
        self.bound = bound

    @property
    def directories(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.places.values()))

    @property
    def kills_at_once(self) -> bool:
        """Whether `kill` is one atomic step (``cgroup.kill``, Linux 5.14)."""
        return "unified" in self.places and os.path.exists(self.places["unified"] + "/cgroup.kill")

    @property
    def counts_cpu(self) -> bool:
        """Whether `usage` tells the CPU time of the whole tree."""
        return "unified" in self.places or "cpuacct" in self.places

    def add(self, pid: int) -> None:
        """Move a process, with all its threads, into the group. 0 is the caller. Raises OSError (ESRCH: it is gone)."""
        for directory in self.directories:
            _write(directory + "/cgroup.procs", str(pid))

    def members(self) -> tuple[int, ...]:
        """The processes in the group and in groups made beneath it; 0 for one outside our pid namespace."""
        seen: dict[int, None] = {}
        for directory in self.directories:
            for below in _tree(directory):
                text = _read(below + "/cgroup.procs")
                seen.update(dict.fromkeys(int(word) for word in (text or "").split()))
        return tuple(seen)

    def populated(self) -> bool:
        """Whether any process is left in it (zombies do not count)."""
        if "unified" in self.places:
            events = _table(self.places["unified"] + "/cgroup.events")
            if "populated" in events:
                return events["populated"] == 1
        return bool(self.members())

    def kill(self) -> None:
        """End every process of the group with SIGKILL, whatever they do meanwhile. Returns when the signals are sent.

        ``cgroup.kill`` where there is one. Else no new task is let in (``pids.max`` 0), the group is frozen, everything
        seen is killed, and the group is thawed; again until nobody is seen.
        """
        unified = self.places.get("unified")
        if unified is not None and _try_write(unified + "/cgroup.kill", "1"):
            return
        if "pids" in self.places:
            _try_write(self.places["pids"] + "/pids.max", "0")
        for _ in range(64):
            self._freeze(True)
            found = self.members()
            for pid in found:
                if pid > 0:
                    try:
                        os.kill(pid, SIGKILL)
                    except OSError:
                        continue
            self._freeze(False)
            if not found:
                return
            # What was killed needs the processor to die; yielding is enough, and a loop bound keeps this finite.
            time.sleep(0.001)

    def _freeze(self, on: bool) -> None:
        if "freezer" in self.places:
            _try_write(self.places["freezer"] + "/freezer.state", "FROZEN" if on else "THAWED")
        elif "unified" in self.places:
            _try_write(self.places["unified"] + "/cgroup.freeze", "1" if on else "0")

    def cpu(self) -> float | None:
        """Seconds of CPU time used so far by all that is or was in the group; None where nothing counts it."""
        unified = self.places.get("unified")
        if unified is not None:
            used = _table(unified + "/cpu.stat").get("usage_usec")
            if used is not None:
                return used / 1e6
        if "cpuacct" in self.places:
            nanoseconds = _number(self.places["cpuacct"] + "/cpuacct.usage")
            return None if nanoseconds is None else nanoseconds / 1e9
        return None

    def usage(self) -> Usage:
        """What the run used so far, from every hierarchy that counts it."""
        cpu = self.cpu()
        peak = oom = forks = None
        unified = self.places.get("unified")
        memory = self.places.get("memory")
        if memory is not None:
            if memory == unified:
                peak = _number(memory + "/memory.peak")
                oom = _table(memory + "/memory.events").get("oom_kill")
            else:
                peak = _number(memory + "/memory.max_usage_in_bytes")
                oom = _table(memory + "/memory.oom_control").get("oom_kill")
        pids = self.places.get("pids")
        if pids is not None:
            forks = _table(pids + "/pids.events").get("max")
        return Usage(cpu, peak, oom, forks)

    def forget_peak(self) -> None:
        """Count the peak of memory from now on (version 1; in version 2 it is forgotten for one reader only, and from Linux 6.12 on: nothing is done)."""
        memory = self.places.get("memory")
        if memory is not None and memory != self.places.get("unified"):
            _try_write(memory + "/memory.max_usage_in_bytes", "0")

    def remove(self, timeout: float = 2.0) -> bool:
        """Remove the group; False if something still ran in it after ``timeout`` seconds (`kill` first)."""
        deadline = time.monotonic() + timeout
        left = list(self.directories)
        while True:
            left = [directory for directory in left if not _remove(directory)]
            if not left:
                return True
            if time.monotonic() >= deadline:
                return False
            # A killed task leaves its cgroup a moment after the signal; no event tells for version 1.
            time.sleep(0.002)


def create(*, memory: int | None = None, processes: int | None = None) -> tuple[Cgroup | None, tuple[str, ...]]:
    """Make a group for one run, with limits: ``memory`` in bytes (swap included), ``processes`` in tasks, threads included.

    Returns the group, or None, and the reasons for what it could not do: a limit not in ``bound`` is not bound.
    Raises nothing: whether an unbound limit matters is the caller's to say.
    """
    mounts = _mounts()
    if not mounts:
        return None, ("no cgroup file system is mounted, or this process's cgroup is not visible in it",)
    remove_stale(mounts)
    name = f"{_maker_prefix()}{os.getpid()}-{proc.start_time() or 0}-{next(_serial)}"
    places: dict[str, str] = {}
    reasons: list[str] = []
    wanted = {name for name, value in (("memory", memory), ("pids", processes)) if value is not None}
    counters: frozenset[str] | None = None
    for mount in mounts:
        served = mount.controllers & wanted
        if not mount.unified:
            # Version 2, seen first, counts CPU time and freezes by itself: no version 1 directory is made for what it does.
            if counters is None:
                counters = _counters(places.get("unified"))
            served |= mount.controllers & counters
            if not served:
                continue
        made, enabled = _make(mount, name, served, reasons)
        if made is None:
            continue
        if mount.unified:
            places["unified"] = made
        for controller in enabled:
            places.setdefault(controller, made)
    bound = set()
    if memory is not None and "memory" in places and _limit_memory(places["memory"], memory, places.get("unified"), reasons):
        bound.add("memory")
    if processes is not None and "pids" in places and _limit(places["pids"] + "/pids.max", processes, reasons):
        bound.add("processes")
    if not places:
        return None, tuple(reasons) or ("no hierarchy has a usable controller",)
    return Cgroup(places, frozenset(bound)), tuple(reasons)


def available() -> dict[str, str]:
    """For each of "memory", "pids", "cpu" and "kill": "" if `create` can use it now, else why not. Makes a group and removes it."""
    group, reasons = create(memory=1 << 40, processes=1 << 20)
    why = "; ".join(reasons) or "no hierarchy has this controller"
    if group is None:
        return dict.fromkeys(("memory", "pids", "cpu", "kill"), why)
    try:
        return {
            "memory": "" if "memory" in group.bound else why,
            "pids": "" if "processes" in group.bound else why,
            "cpu": "" if group.counts_cpu else why,
            "kill": "" if group.kills_at_once else "no cgroup.kill (version 2, Linux 5.14): the tree is ended by freezing and killing",
        }
    finally:
        group.remove()


def remove_stale(mounts: Iterable[_Mount] | None = None) -> int:
    """End and remove what runs of this user left behind whose supervisors are dead; how many directories were removed."""
    removed = 0
    prefix = _maker_prefix()
    for mount in _mounts() if mounts is None else mounts:
        if not mount.unified and not mount.controllers:
            continue  # a hierarchy that no run ever uses
        for parent in (mount.own,) if mount.own == mount.top else (mount.own, os.path.dirname(mount.own)):
            removed += sum(
                _remove_if_stale(parent, entry, prefix, unified=mount.unified) for entry in _listing(parent) if entry.startswith(prefix)
            )
    return removed


def made_by(pid: int) -> tuple[Cgroup, ...]:
    """The groups that a live process of this user made with `create`, to end and remove them in its place. Their ``bound`` is not known."""
    started = proc.start_time(pid)
    name = f"{_maker_prefix()}{pid}-{started}-"
    found: dict[str, dict[str, str]] = {}
    for mount in _mounts():
        if not mount.unified and not mount.controllers:
            continue
        for parent in (mount.own,) if mount.own == mount.top else (mount.own, os.path.dirname(mount.own)):
            for entry in _listing(parent):
                path = f"{parent}/{entry}"
                if started is None or not entry.startswith(name) or not _is_ours(path):
                    continue
                places = found.setdefault(entry, {})
                if mount.unified:
                    places["unified"] = path
                    for controller in ("memory", "pids"):
                        if os.path.exists(f"{path}/{controller}.max"):
                            places[controller] = path
                else:
                    places |= dict.fromkeys(mount.controllers, path)
    return tuple(Cgroup(places, frozenset()) for places in found.values())


def _is_ours(path: str) -> bool:
    try:
        return os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False


def _remove_if_stale(parent: str, entry: str, prefix: str, *, unified: bool) -> bool:
    words = entry[len(prefix) :].split("-")
    if len(words) != 3 or not all(word.isdigit() for word in words):
        return False
    pid, started = int(words[0]), int(words[1])
    path = f"{parent}/{entry}"
    try:
        if proc.start_time(pid) == started or os.stat(path).st_uid != os.geteuid():
            return False
    except OSError:
        return False  # another process has removed it already
    if _remove(path):
        return True
    Cgroup({"unified" if unified else "stale": path}, frozenset()).kill()
    return _remove(path)


def _maker_prefix() -> str:
    """Names of one pid namespace: pids of another mean nothing here."""
    try:
        return f"{PREFIX}{os.stat('/proc/self/ns/pid').st_ino}-"
    except OSError:
        return f"{PREFIX}0-"


def _make(mount: _Mount, name: str, wanted: Iterable[str], reasons: list[str]) -> tuple[str | None, frozenset[str]]:
    """The new directory in ``mount`` and the controllers it has; (None, nothing) and a reason if none could be made."""
    wanted = frozenset(wanted)
    if not mount.unified:
        path = f"{mount.own}/{name}"
        return (path, wanted) if _mkdir(path, reasons) else (None, frozenset())
    if not wanted:
        path = f"{mount.own}/{name}"
        return (path if _mkdir(path, reasons) else None), frozenset()
    for parent in _parents(mount, wanted):
        missing = wanted - _words(parent + "/cgroup.subtree_control")
        if missing and not _try_write(parent + "/cgroup.subtree_control", " ".join(f"+{c}" for c in sorted(missing))):
            continue
        path = f"{parent}/{name}"
        if _mkdir(path, reasons):
            return path, wanted
    reasons.append(
        f"cgroup {mount.own} holds processes, so version 2 lets it have no controllers for children, and no group beside it can be made: "
        "run in a delegated cgroup (systemd-run --user --scope -p Delegate=yes, or as a service with Delegate=yes)"
    )
    path = f"{mount.own}/{name}"
    return (path if _mkdir(path, reasons) else None), frozenset()


def _parents(mount: _Mount, wanted: frozenset[str]) -> list[str]:
    """Where a group with controllers may go: beneath us, or beside us if that escapes no limit of ours."""
    found = [mount.own]
    files = {"memory": "/memory.max", "pids": "/pids.max"}
    unlimited = all((_read(mount.own + files[c]) or "max").strip() == "max" for c in wanted)
    if mount.own != mount.top and unlimited:
        found.append(os.path.dirname(mount.own))
    return found


def _counters(unified: str | None) -> frozenset[str]:
    """The version 1 controllers wanted besides the limits, given the version 2 directory, if there is one."""
    if unified is None:
        return frozenset({"cpuacct", "freezer"})
    wanted = {"cpuacct": "/cpu.stat", "freezer": "/cgroup.kill"}
    return frozenset(controller for controller, file in wanted.items() if not os.path.exists(unified + file))


def _limit_memory(directory: str, limit: int, unified: str | None, reasons: list[str]) -> bool:
    if directory == unified:
        # Without swap accounting there is no memory.swap.max, and nothing to bind.
        if os.path.exists(directory + "/memory.swap.max") and not _limit(directory + "/memory.swap.max", 0, reasons):
            return False
        return _limit(directory + "/memory.max", limit, reasons)
    if not _limit(directory + "/memory.limit_in_bytes", limit, reasons):
        return False
    swap = directory + "/memory.memsw.limit_in_bytes"  # memory plus swap; only with swapaccount
    return not os.path.exists(swap) or _limit(swap, limit, reasons)


def _limit(path: str, value: int, reasons: list[str]) -> bool:
    try:
        _write(path, str(value))
    except OSError as error:
        reasons.append(f"{path}: {os.strerror(error.errno or 0)}")
        return False
    return True


def _mounts() -> list[_Mount]:
    """The hierarchies in which our own cgroup can be seen, version 2 first. A controller is in one of them only."""
    own: dict[frozenset[str], str] = {}
    for line in (_read("/proc/self/cgroup") or "").splitlines():
        _, names, path = line.split(":", 2)
        own[frozenset(names.split(",")) if names else frozenset()] = path
    found: list[_Mount] = []
    for line in (_read("/proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, top = (_unescape(word) for word in before.split()[3:5])
        super_options = frozenset(options.split(" ")[-1].split(","))
        held: frozenset[str] | None = frozenset()
        if kind == "cgroup":
            held = next((key for key in own if key and key <= super_options), None)
        if held is None or held not in own:
            continue
        inside = _relative(own[held], root)
        if inside is None:
            continue
        directory = (top + inside).rstrip("/")
        if not os.path.isdir(directory):
            continue
        controllers = _words(directory + "/cgroup.controllers") if kind == "cgroup2" else held & frozenset(CONTROLLERS)
        found.append(_Mount(directory, top, frozenset(controllers), unified=kind == "cgroup2"))
    found.sort(key=lambda mount: not mount.unified)
    return found


def _relative(path: str, root: str) -> str | None:
    """``path`` as seen from a mount of ``root``: "" or "/..."; None if it lies outside."""
    if root == "/":
        return "" if path == "/" else path
    if path == root:
        return ""
    return path[len(root) :] if path.startswith(root + "/") else None


def _unescape(word: str) -> str:
    """Mountinfo writes blanks and backslashes as three octal digits."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, character)
    return word


def _mkdir(path: str, reasons: list[str]) -> bool:
    try:
        os.mkdir(path, 0o755)
    except OSError as error:
        # Not the name itself: it is another each time, and what is said of many runs is said once.
        reasons.append(f"cannot make a group in {os.path.dirname(path)}: {os.strerror(error.errno or 0)}")
        return False
    return True


def _remove(directory: str) -> bool:
    """Remove a cgroup and those made beneath it; False while something runs in one."""
    for path in reversed(_tree(directory)):
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno != _errno.ENOENT:
                return False
    return True


def _tree(directory: str) -> list[str]:
    """``directory`` and every cgroup beneath it, parents first."""
    found = [directory]
    for path in found:
        found.extend(f"{path}/{name}" for name in _listing(path))
    return found


def _listing(directory: str) -> list[str]:
    """The sub-directories, and no link among them."""
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _read(path: str) -> str | None:
    return proc.read_text(path, "surrogateescape")  # what is read may be a path, which is used again


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _try_write(path: str, text: str) -> bool:
    try:
        _write(path, text)
    except OSError:
        return False
    return True


def _words(path: str) -> frozenset[str]:
    return frozenset((_read(path) or "").split())


def _table(path: str) -> dict[str, int]:
    """A flat keyed file: ``name number`` a line."""
    pairs = (line.split() for line in (_read(path) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(path: str) -> int | None:
    text = (_read(path) or "").strip()
    return int(text) if text.isdigit() else None
