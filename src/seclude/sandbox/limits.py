"""Limits of a run: read what a person writes, and decide by which mechanism the kernel binds each.

=============  =======================================  =============================================================
limit          bound by a cgroup, where one is usable   else
=============  =======================================  =============================================================
``cpu``        the whole tree's time, read by the       RLIMIT_CPU: each process for itself, whole seconds (rounded
               engine, besides RLIMIT_CPU               up); the engine adds up the tree as far as /proc shows it
``wall``       the engine's clock; beside it, for an     the same
               engine that is held, its guard's
``memory``     memory and swap of the whole tree        RLIMIT_AS: the address space of each process
``files``      RLIMIT_NOFILE: open descriptors of each process
``processes``  pids: tasks of the whole tree, threads   RLIMIT_NPROC: all tasks of this user, so the count at launch
               included, the command itself too         plus this number; not for root
``output``     RLIMIT_FSIZE: each file written; and the engine: bytes relayed from stdout and stderr together
=============  =======================================  =============================================================

A limit that nothing here can bind is refused with `KernelError`; it is never dropped silently. Where the weaker mechanism
binds, ``notes`` says what it does not cover.

RLIMIT_CPU's soft value sends SIGXCPU, which a program may catch; the hard value, one second later, kills (getrlimit(2)).
"""

from __future__ import annotations

import math
import os
import resource
import time

from seclude.errors import KernelError, UsageError, nearest
from seclude.kernel import capabilities, cgroup, proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

__all__ = ["NAMES", "LimitPlan", "Limits", "TimeLimits", "plan", "read_bytes", "read_count", "read_seconds"]

NAMES = ("cpu", "wall", "memory", "files", "processes", "output")

SECONDS = {"": 1.0, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"": 1, "B": 1, **{letter + tail: 1024 ** (power + 1) for power, letter in enumerate("KMGT") for tail in ("", "B", "IB")}}
LARGEST = 2**63 - 1


def _split(text: str) -> tuple[str, str]:
    stripped = text.strip()
    end = len(stripped)
    while end and stripped[end - 1] not in "0123456789.":
        end -= 1
    return stripped[:end], stripped[end:].strip()


def _amount(digits: str) -> float | None:
    """A plain decimal number, no sign, no exponent, no underscore: what a person writes before a unit."""
    whole, point, fraction = digits.partition(".")
    if not digits.isascii() or not (whole + fraction).isdigit() or (point and not fraction):
        return None
    return float(digits)


def read_seconds(value: object, what: str = "time") -> float:
    """``1.5s``, ``500ms``, ``2m``, ``1h`` or a number of seconds. Raises `UsageError`."""
    if isinstance(value, str):
        digits, unit = _split(value)
        amount = _amount(digits)
        if amount is None or unit not in SECONDS:
            raise UsageError(f"{what}: {value!r} is not a time", "write a number and a unit: 500ms, 1.5s, 2m, 1h (without a unit: seconds)")
        seconds = amount * SECONDS[unit]
    elif type(value) in (int, float):
        seconds = float(value)  # type: ignore[arg-type]
    else:
        raise UsageError(f"{what}: a time is a number of seconds or a text such as '1.5s', not {type(value).__name__}")
    if not 0 < seconds < 1e9:
        raise UsageError(f"{what}: {value!r} is out of range", "a time is more than 0 and less than 30 years")
    return seconds


def read_bytes(value: object, what: str = "size") -> int:
    """``64M``, ``1G``, ``1.5GiB``, ``512k`` (powers of 1024) or a number of bytes. Raises `UsageError`."""
    if isinstance(value, str):
        digits, unit = _split(value)
        amount = _amount(digits)
        letter = unit.upper()
        if amount is None or letter not in BYTES:
            raise UsageError(
                f"{what}: {value!r} is not a size", "write a number and a unit: 512K, 64M, 1.5G (powers of 1024; without a unit: bytes)"
            )
        exact = int(digits) * BYTES[letter] if digits.isdigit() else int(amount * BYTES[letter])
    elif type(value) is int:
        exact = value
    else:
        raise UsageError(f"{what}: a size is a whole number of bytes or a text such as '64M', not {type(value).__name__}")
    if not 0 < exact <= LARGEST:
        raise UsageError(f"{what}: {value!r} is out of range", "a size is at least one byte and less than 8 EiB")
    return exact


def read_count(value: object, what: str = "count") -> int:
    """A whole number above 0. Raises `UsageError`."""
    if isinstance(value, str):
        number = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else -1
    elif type(value) is int:
        number = value
    else:
        number = -1
    if not 0 < number < 2**31:
        raise UsageError(f"{what}: {value!r} is not a count", "write a whole number of at least 1")
    return number


_READERS = {
    "cpu": read_seconds,
    "wall": read_seconds,
    "memory": read_bytes,
    "files": read_count,
    "processes": read_count,
    "output": read_bytes,
}


class Limits:
    """What a run may use; None is no limit. ``cpu`` and ``wall`` in seconds, ``memory`` and ``output`` in bytes, the others counts.

    Values are numbers or texts as on the command line (``Limits(cpu="1.5s", memory="64M")``). Raises `UsageError`.
    Immutable; equal if all limits are.
    """

    __slots__ = NAMES

    cpu: float | None
    wall: float | None
    memory: int | None
    files: int | None
    processes: int | None
    output: int | None

    def __init__(
        self,
        *,
        cpu: str | float | None = None,
        wall: str | float | None = None,
        memory: str | int | None = None,
        files: str | int | None = None,
        processes: str | int | None = None,
        output: str | int | None = None,
    ) -> None:
        given = (cpu, wall, memory, files, processes, output)
        for name, value in zip(NAMES, given, strict=True):
            reader = _READERS[name]
            object.__setattr__(self, name, None if value is None else reader(value, name))

    @classmethod
    def read(cls, values: Limits | Mapping[str, str | float | None] | None) -> Limits:
        """From a mapping such as ``{"cpu": "2s"}``, from nothing, or from a `Limits`, which is returned. Raises `UsageError`."""
        if isinstance(values, Limits):
            return values
        given = dict(values or {})
        for name in given:
            if name not in NAMES:
                guess = nearest(str(name), NAMES)
                raise UsageError(
                    f"unknown limit {name!r}" + (f"; did you mean {guess!r}?" if guess else ""), f"the limits are {', '.join(NAMES)}"
                )
        return cls(**given)  # type: ignore[arg-type]

    def replace(self, **values: str | float | None) -> Limits:
        """A copy with other values for some limits."""
        return Limits.read({**{name: getattr(self, name) for name in NAMES}, **values})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Limits are immutable: use replace()")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limits) and all(getattr(self, name) == getattr(other, name) for name in NAMES)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in NAMES))

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return any(getattr(self, name) is not None for name in NAMES)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in NAMES if getattr(self, name) is not None)
        return f"Limits({shown})"


class LimitPlan:
    """How the limits of one run are bound. Close it when the run has ended (`close`, or as a context manager).

    ``rlimits``  (resource, soft, hard) to set on the child. RLIMIT_NOFILE comes last and also bounds the number that a listener
                 may get: that one is to be set (`bind_files`) after the filter is installed, before execve
    ``cgroup``   the group to `Cgroup.add` the child to before it runs, or None
    ``cpu``      CPU seconds of the whole tree at which the engine ends it, or None
    ``wall``     seconds, or None
    ``output``   bytes of stdout and stderr together that the engine relays, or None
    ``bound_by`` limit → by what: ``cgroup``, ``rlimit``, ``engine``, joined by ``+``
    ``notes``    what a weaker mechanism does not cover, each a sentence for the user
    """

    __slots__ = ("bound_by", "cgroup", "cpu", "limits", "notes", "output", "rlimits", "wall")

    def __init__(
        self,
        limits: Limits,
        rlimits: tuple[tuple[int, int, int], ...],
        group: cgroup.Cgroup | None,
        bound_by: dict[str, str],
        notes: list[str],
    ) -> None:
        self.limits = limits
        self.rlimits = rlimits
        self.cgroup = group
        self.cpu = limits.cpu
        self.wall = limits.wall
        self.output = limits.output
        self.bound_by = bound_by
        self.notes = notes

    def cpu_used(self, processes: Iterable[int] = (), reaped: float = 0.0) -> float:
        """CPU seconds of the tree so far: the cgroup's count, else ``reaped`` plus what /proc shows of ``processes``.

        Without a cgroup, give the live processes that the engine knows and the sum of the rusage of those it has reaped. A
        process's own count covers the children that it has waited for; what died unreaped elsewhere is missing.
        """
        if self.cgroup is not None and self.cgroup.counts_cpu:
            used = self.cgroup.cpu()
            if used is not None:
                return used
        return reaped + sum(proc.cpu_seconds(pid) or 0.0 for pid in processes)

    def cpu_check_after(self, used: float) -> float | None:
        """Seconds of wall time during which the CPU limit cannot be reached, however many processors work; None: no limit.

        So the engine needs no regular poll: it sleeps this long, asks `cpu_used` again, and the steps shrink (20 ms at the
        least) as the limit comes near. 0.0 means that it is reached.
        """
        if self.cpu is None:
            return None
        left = self.cpu - used
        return 0.0 if left <= 0 else max(0.02, left / (os.cpu_count() or 1))

    def bind_files(self, pid: int) -> None:
        """Set RLIMIT_NOFILE from outside: any sooner it would bind the number of the listener too."""
        for kind, soft, hard in self.rlimits:
            if kind == resource.RLIMIT_NOFILE:
                try:
                    resource.prlimit(pid, kind, (soft, hard))
                except ProcessLookupError:
                    return

    def close(self) -> None:
        """Remove the cgroup, ending what is left in it. Harmless if done twice."""
        if self.cgroup is not None:
            if not self.cgroup.remove(timeout=0.0):
                self.cgroup.kill()
                self.cgroup.remove()
            self.cgroup = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class TimeLimits:
    """The limits of time of a run that began at ``started`` (time.monotonic()), for a loop that waits. ``used`` tells the CPU seconds of its tree so far."""

    __slots__ = ("_cpu_check", "_deadline", "_plan", "_used")

    def __init__(self, plan: LimitPlan, started: float, used: Callable[[], float]) -> None:
        self._plan, self._used = plan, used
        self._deadline = None if plan.wall is None else started + plan.wall
        after = plan.cpu_check_after(0.0)
        self._cpu_check = None if after is None else started + after

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self._deadline is not None or self._cpu_check is not None

    def timeout(self) -> int | None:
        """Milliseconds until one of them needs a look, rounded up, or None."""
        times = [at for at in (self._deadline, self._cpu_check) if at is not None]
        return max(0, int((min(times) - time.monotonic()) * 1000) + 1) if times else None

    def wall_reached(self) -> bool:
        """Whether the limit "wall" is reached."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def cpu_reached(self) -> bool:
        """Whether the limit "cpu" is reached. Looks only when it is time to."""
        if self._cpu_check is None or time.monotonic() < self._cpu_check:
            return False
        left = self._plan.cpu_check_after(self._used()) or 0.0
        self._cpu_check = time.monotonic() + left
        return not left


def plan(limits: Limits, *, use_cgroup: bool = True, uid: int | None = None) -> LimitPlan:
    """Decide how ``limits`` are bound, and make the cgroup where it helps. ``uid`` is whom the target runs as (default: our real uid).

    Raises `KernelError` for a limit that nothing here can bind, before anything was made.
    """
    group: cgroup.Cgroup | None = None
    reasons: tuple[str, ...] = ("a cgroup was not to be used",)
    if use_cgroup and not (limits.cpu is None and limits.memory is None and limits.processes is None):
        group, reasons = cgroup.create(memory=limits.memory, processes=limits.processes)
    try:
        return _bind(limits, group, reasons, os.getuid() if uid is None else uid)
    except BaseException:
        if group is not None:
            group.remove()
        raise


def _bind(limits: Limits, group: cgroup.Cgroup | None, reasons: tuple[str, ...], uid: int) -> LimitPlan:
    rlimits: list[tuple[int, int, int]] = []
    bound_by: dict[str, str] = {}
    notes: list[str] = []
    bound = group.bound if group is not None else frozenset()
    why = "; ".join(reasons)

    if limits.cpu is not None:
        whole = math.ceil(limits.cpu)
        rlimits.append(_rlimit("cpu", resource.RLIMIT_CPU, whole, whole + 1))
        counted = group is not None and group.counts_cpu
        bound_by["cpu"] = "cgroup+rlimit" if counted else "rlimit+engine"
        if not counted:
            notes.append(f"cpu: counted per process, and for the tree only as far as /proc shows it ({why})")
    if limits.wall is not None:
        bound_by["wall"] = "engine"
    if limits.memory is not None:
        if "memory" in bound:
            bound_by["memory"] = "cgroup"
        else:
            rlimits.append(_rlimit("memory", resource.RLIMIT_AS, limits.memory, limits.memory))
            bound_by["memory"] = "rlimit"
            notes.append(f"memory: bounds the address space of each process, not the memory of all together ({why})")
    if limits.processes is not None:
        if "processes" in bound:
            bound_by["processes"] = "cgroup"
        else:
            rlimits.append(_nproc(limits.processes, uid, why))
            bound_by["processes"] = "rlimit"
            notes.append(f"processes: counts all tasks of user {uid}, those outside the run too ({why})")
    if limits.output is not None:
        rlimits.append(_rlimit("output", resource.RLIMIT_FSIZE, limits.output, limits.output))
        bound_by["output"] = "rlimit+engine"
    if limits.files is not None:
        rlimits.append(_rlimit("files", resource.RLIMIT_NOFILE, limits.files, limits.files))
        bound_by["files"] = "rlimit"
    return LimitPlan(limits, tuple(rlimits), group, bound_by, notes)


def _nproc(processes: int, uid: int, why: str) -> tuple[int, int, int]:
    # kernel/fork.c copy_process: the limit is not applied to the initial user namespace's root, CAP_SYS_RESOURCE, CAP_SYS_ADMIN.
    exempt = "root" if uid == 0 else ""
    if uid == os.getuid():
        for number, name in ((capabilities.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE"), (capabilities.CAP_SYS_ADMIN, "CAP_SYS_ADMIN")):
            exempt = exempt or (f"a process with {name}" if capabilities.has(number) else "")
    if exempt:
        raise KernelError(
            f"limit processes={processes}: the kernel does not apply RLIMIT_NPROC to {exempt}, and no cgroup can be used: {why}",
            "run as another user, make a pids cgroup usable (see: seclude doctor), or leave the limit out",
        )
    total = proc.task_count(uid) + processes
    return _rlimit("processes", resource.RLIMIT_NPROC, total, total)


def _rlimit(name: str, kind: int, soft: int, hard: int) -> tuple[int, int, int]:
    """Within the hard limit that already binds us: a lower one is kept, since it binds as well, and cannot be raised."""
    ceiling = resource.getrlimit(kind)[1]
    # The C type is unsigned, but Python's resource takes a signed value; what is larger than any file or memory binds nothing.
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    if soft > LARGEST or hard > LARGEST:
        raise UsageError(f"limit {name}: {soft} is beyond what a resource limit can hold")
    return kind, soft, hard
