"""What follows a result: ``1 ([{fd=3, revents=POLLIN}])``, ``0 (SCHED_OTHER)``, ``17 (SIGCHLD)``."""

from __future__ import annotations

from seclude.abi.constants import family
from seclude.supervise.tracer_records import scheduler
from seclude.supervise.tracer_structs import FACTORIES as STRUCTS
from seclude.supervise.tracer_structs import clock_comment, descriptors, polled, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.abi import Architecture
    from seclude.supervise.tracer_memory import Args, View

    Ending = Callable[[View, Args], str]

__all__ = ["ENDINGS", "priority"]


def _mask(arch: Architecture) -> int:
    return 0xFFFFFFFF if arch.bits == 32 else (1 << 64) - 1


def _poll(wide: str | None = None) -> Callable[[Architecture], Ending]:
    """``wide``: where a third argument is a time that the kernel counts down, whether it is one of 64 bits everywhere."""

    def make(arch: Architecture) -> Ending:
        mask = _mask(arch)
        time = None if wide is None else STRUCTS["time"](arch, "nsec", wide)

        def ending(view: View, args: Args) -> str:
            if view.result == 0:
                return " (Timeout)"
            words = [polled(view, arch, args[0] & mask, args[1] & 0xFFFFFFFF, results=True)]
            left = time(view, args[2] & mask, args) if time is not None and args[2] & mask else None
            words.append(None if left is None else f"left {left}")
            shown = ", ".join(word for word in words if word is not None)
            return f" ({shown})" if shown else ""

        return ending

    return make


def _select(unit: str, wide: str = "") -> Callable[[Architecture], Ending]:
    def make(arch: Architecture) -> Ending:
        mask = _mask(arch)
        time = STRUCTS["time"](arch, unit, wide)

        def ending(view: View, args: Args) -> str:
            if view.result == 0:
                return " (Timeout)"
            words = []
            for register, label in ((1, "in"), (2, "out"), (3, "except")):
                found = descriptors(view, args[register] & mask, args[0] & 0xFFFFFFFF) if args[register] & mask else None
                if found:
                    words.append(f"{label} [{' '.join(map(str, found))}]")
            left = time(view, args[4] & mask, args) if args[4] & mask else None
            if left is not None:
                words.append(f"left {left}")
            return f" ({', '.join(words)})" if words else ""

        return ending

    return make


_CLASSES = ("IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")


def priority(value: int) -> str:
    """``IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4)`` (linux/ioprio.h)."""
    kind = value >> 13
    return f"IOPRIO_PRIO_VALUE({_CLASSES[kind] if kind < len(_CLASSES) else hex(kind)}, {value & 0x1FFF})"


def _said(what: Callable[[int], str]) -> Callable[[Architecture], Ending]:
    """What a result says, from its number alone."""
    return lambda _: lambda view, _args: f" ({what(view.result)})"


def _personality(arch: Architecture) -> Ending:
    names = {value: word for word, value in reversed(list(family("PER", arch).items())) if word.startswith("PER_")}
    return lambda view, _: f" ({names[view.result]})" if view.result in names else ""


def _date(_: Architecture) -> Ending:
    return lambda view, _args: comment.replace("/* ", "(").replace(" */", ")") if (comment := clock_comment(view.result)) else ""


ENDINGS: dict[str, Callable[[Architecture], Ending]] = {
    "poll": _poll(),
    "ppoll": _poll(""),
    "ppoll_time64": _poll("64"),
    "select": _select("usec"),
    "_newselect": _select("usec"),
    "pselect6": _select("nsec"),
    "pselect6_time64": _select("nsec", "64"),
    "sched_getscheduler": _said(scheduler),
    "ioprio_get": _said(priority),
    "personality": _personality,
    "time": _date,
    "rt_sigtimedwait": lambda arch: lambda view, _: f" ({signal_name(arch, view.result)})",
}
