"""What `catch` gives: attempts to load filters, and the run they were made in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from seclude.kernel import proc

if TYPE_CHECKING:
    from seclude.abi import Architecture
    from seclude.bpf.program import Program

__all__ = ["NEW_LISTENER", "TSYNC", "Capture", "Load"]

#: include/uapi/linux/seccomp.h
TSYNC, NEW_LISTENER = 1, 8


class Load:
    """One attempt to install a filter, or to enter strict mode.

    ``mode`` is filter, strict, or probe (a filter without a program, by which libraries ask for flags), ``via`` prctl or seccomp, ``nr`` and ``arch`` the call's number and architecture. ``program`` is None for strict mode and where
    ``problem`` says why it could not be read. ``result`` is what the call returned: 0, a listener's descriptor or a thread id, -errno, or None where it
    never returned: the target was killed in it, or an earlier filter killed or trapped it. ``confirmed`` says whether the kernel was asked and gave the same filter, and is None where it was not asked.
    ``below`` are the loads that were in force in the thread before, oldest first; ``seconds`` count from the start.
    """

    __slots__ = (
        "arch",
        "below",
        "comm",
        "confirmed",
        "exe",
        "flags",
        "ip",
        "mode",
        "nr",
        "number",
        "pid",
        "problem",
        "program",
        "result",
        "seconds",
        "tid",
        "via",
    )

    def __init__(
        self, number: int, tid: int, arch: Architecture, nr: int, via: str, mode: str, flags: int, ip: int, seconds: float
    ) -> None:
        self.number = number
        self.tid = tid
        self.arch = arch
        self.nr = nr
        self.via = via
        self.mode = mode
        self.flags = flags
        self.ip = ip
        self.seconds = seconds
        seen = proc.status(tid)
        self.pid = seen.tgid or tid if seen is not None else tid
        self.comm = seen.name if seen is not None else ""
        try:
            self.exe = os.readlink(f"/proc/{tid}/exe")
        except OSError:
            self.exe = ""
        self.program: Program | None = None
        self.problem = ""
        self.result: int | None = None
        self.confirmed: bool | None = None
        self.below: tuple[Load, ...] = ()

    @property
    def loaded(self) -> bool:
        """Whether it is in force: the call succeeded. A positive result is a listener, or with TSYNC the thread in whose way it was."""
        if self.result is None or self.result < 0:
            return False
        return self.result == 0 or not self.flags & TSYNC or bool(self.flags & NEW_LISTENER)


class Capture(NamedTuple):
    """What a run showed: every load in order, how the target ended (a wait status, None if it was ended by us), and ``ended`` why:
    ``""`` by itself, or limit, timeout, signal. ``inherited`` filters were in force from the start.
    """

    loads: tuple[Load, ...]
    status: int | None
    ended: str
    inherited: int
    stacks: tuple[tuple[Load, ...], ...]
