"""Structures that calls take and give beside memory and files: times, signals, limits, what is waited for (see `tracer_memory`)."""

from __future__ import annotations

import struct

from seclude.supervise.tracer_memory import ELEMENTS, order_of, pointer
from seclude.supervise.tracer_text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.abi import Architecture
    from seclude.supervise.tracer_memory import Args, Decode, Factory, View

__all__ = ["FACTORIES", "bits_of", "clock_comment", "descriptors", "polled", "signal_name", "signal_set", "wait_status"]


# --- time


def _words(arch: Architecture, count: int, wide: str = "") -> struct.Struct:
    """So many words of a time: 32 bits each where the architecture has no other, and the call is not one for 64-bit times (``wide``)."""
    narrow = arch.bits == 32 and arch.name != "x32" and not wide
    return struct.Struct(f"{order_of(arch)}{count}{'i' if narrow else 'q'}")


def _time(arch: Architecture, unit: str, wide: str = "") -> Decode:
    """Timespec (``nsec``) and timeval (``usec``)."""
    form = _words(arch, 2, wide)

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        seconds, rest = form.unpack(raw)
        return f"{{tv_sec={seconds}, tv_{unit}={rest}}}"

    return show


def _left_time(arch: Architecture, unit: str, wide: str = "") -> Decode:
    """What nanosleep leaves of the time: written only when a signal interrupted it."""
    inner = _time(arch, unit, wide)

    def show(view: View, address: int, args: Args) -> str | None:
        return inner(view, address, args) if view.result in (-4, -516) else None

    return show


def _interval(arch: Architecture) -> Decode:
    form = _words(arch, 4)

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        a, b, c, d = form.unpack(raw)
        return f"{{it_interval={{tv_sec={a}, tv_usec={b}}}, it_value={{tv_sec={c}, tv_usec={d}}}}}"

    return show


def clock_comment(seconds: int, rest: int = 0, digits: int = 0) -> str:
    """`` /* 2026-11-22T05:15:57+0000 */``, with ``rest`` as so many ``digits`` of a second; nothing for the beginning of time, or beyond the calendar."""
    if not seconds and not rest:
        return ""
    import time

    try:
        there = time.localtime(seconds)
    except (OverflowError, ValueError, OSError):
        return ""
    fraction = f".{rest:0{digits}d}" if rest else ""
    return f" /* {time.strftime('%Y-%m-%dT%H:%M:%S', there)}{fraction}{time.strftime('%z', there)} */"


def _times(arch: Architecture, unit: str = "nsec", wide: str = "") -> Decode:
    """utimensat: two times, with the names of the two special values."""
    form = _words(arch, 4, wide)

    def one(seconds: int, rest: int) -> str:
        if unit == "nsec" and rest in (0x3FFFFFFF, 0x3FFFFFFE):
            return "UTIME_NOW" if rest == 0x3FFFFFFF else "UTIME_OMIT"
        return f"{{tv_sec={seconds}, tv_{unit}={rest}}}{clock_comment(seconds, rest, 9 if unit == 'nsec' else 6)}"

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        a, b, c, d = form.unpack(raw)
        return f"[{one(a, b)}, {one(c, d)}]"

    return show


# --- signals


_names: dict[tuple[str, int], str] = {}


def signal_name(arch: Architecture, number: int) -> str:
    """``SIGCHLD``, ``SIGRT_2``; the number where there is no such signal."""
    found = _names.get((arch.name, number))
    if found is None:
        from seclude.abi.constants import family

        names = family("SIG", arch)
        first = names.get("SIGRTMIN", 32)
        if first <= number <= 64:
            found = f"SIGRT_{number - first}" if number > first else "SIGRTMIN"
        else:
            found = next((name for name, value in names.items() if value == number), str(number))
        _names[arch.name, number] = found
    return found


def signal_set(arch: Architecture, bits: int, size: int = 64) -> str:
    """``[INT CHLD]``; where most are in it, ``~[KILL STOP]``."""
    bits &= (1 << size) - 1
    inverted = bits.bit_count() >= size * 2 // 3
    if inverted:
        bits = ~bits & (1 << size) - 1
    shown = " ".join(signal_name(arch, number).removeprefix("SIG") for number in range(1, size + 1) if bits >> number - 1 & 1)
    return f"~[{shown}]" if inverted else f"[{shown}]"


def _mask_of_signals(arch: Architecture, size: str = "") -> Decode:
    """``size``: the argument that says how many bytes."""
    order = "little" if arch.byteorder == "little" else "big"

    def show(view: View, address: int, args: Args) -> str | None:
        length = args[int(size)] & 0xFFFFFFFF if size else 8
        raw = view.read(address, length) if 0 < length <= 16 else None
        return None if raw is None else signal_set(arch, int.from_bytes(raw, order), length * 8)  # type: ignore[arg-type]

    return show


_ACTION_FLAGS = (
    (0x04000000, "SA_RESTORER"),
    (0x08000000, "SA_ONSTACK"),
    (0x10000000, "SA_RESTART"),
    (0x20000000, "SA_INTERRUPT"),
    (0x40000000, "SA_NODEFER"),
    (0x80000000, "SA_RESETHAND"),
    (0x4, "SA_SIGINFO"),
    (0x1, "SA_NOCLDSTOP"),
    (0x2, "SA_NOCLDWAIT"),
    (0x400, "SA_UNSUPPORTED"),
    (0x800, "SA_EXPOSE_TAGBITS"),
)


def _action(arch: Architecture) -> Decode:
    """Struct sigaction as rt_sigaction takes it (linux/signal.h; architectures of x86 and arm)."""
    if arch.name not in ("x86_64", "x86", "x32", "aarch64", "arm"):
        return lambda _view, _address, _args: None
    narrow = arch.bits == 32
    form = struct.Struct(order_of(arch) + ("IIIQ" if narrow else "QQQQ"))

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        handler, flags, restorer, mask = form.unpack(raw)
        known, words = flags & 0xFFFFFFFF, []
        for bit, name in _ACTION_FLAGS:
            if known & bit:
                words.append(name)
                known &= ~bit
        if known:
            words.append(hex(known))
        name = {0: "SIG_DFL", 1: "SIG_IGN"}.get(handler) or hex(handler)
        end = f", sa_restorer={pointer(restorer)}" if flags & 0x04000000 else ""
        return f"{{sa_handler={name}, sa_mask={signal_set(arch, mask)}, sa_flags={'|'.join(words) or 0}{end}}}"

    return show


def wait_status(arch: Architecture, value: int) -> str:
    """``{WIFEXITED(s) && WEXITSTATUS(s) == 3}``"""
    low = value & 0x7F
    if value == 0xFFFF:
        return "{WIFCONTINUED(s)}"
    if value & 0xFF == 0x7F:
        event = f" | {value >> 16:#x}" if value >> 16 else ""
        return f"{{WIFSTOPPED(s) && WSTOPSIG(s) == {signal_name(arch, value >> 8 & 0xFF)}{event}}}"
    if low:
        core = " && WCOREDUMP(s)" if value & 0x80 else ""
        return f"{{WIFSIGNALED(s) && WTERMSIG(s) == {signal_name(arch, low)}{core}}}"
    return f"{{WIFEXITED(s) && WEXITSTATUS(s) == {value >> 8 & 0xFF}}}"


def _status(arch: Architecture) -> Decode:
    def show(view: View, address: int, _: Args) -> str | None:
        if view.result == 0:
            return None  # WNOHANG, and nobody
        raw = view.read(address, 4)
        return None if raw is None else f"[{wait_status(arch, struct.unpack(order_of(arch) + 'I', raw)[0])}]"

    return show


def _usage(arch: Architecture) -> Decode:
    narrow = arch.bits == 32 and arch.name != "x32"
    form = struct.Struct(order_of(arch) + ("4i" if narrow else "4q"))

    def show(view: View, address: int, _: Args) -> str | None:
        if view.result == 0 and view.saved.get((view.tid, -1)):
            return None
        raw = view.read(address, form.size)
        if raw is None:
            return None
        a, b, c, d = form.unpack(raw)
        return f"{{ru_utime={{tv_sec={a}, tv_usec={b}}}, ru_stime={{tv_sec={c}, tv_usec={d}}}, ...}}"

    return show


# --- limits, waiting, names


def _limit_value(value: int, bits: int) -> str:
    if value == (1 << bits) - 1:
        return "RLIM64_INFINITY" if bits == 64 else "RLIM_INFINITY"
    return f"{value // 1024}*1024" if value > 1024 and value % 1024 == 0 else str(value)


def _limits(arch: Architecture, wide: str = "") -> Decode:
    bits = 64 if wide or arch.bits == 64 else 32
    form = struct.Struct(order_of(arch) + ("QQ" if bits == 64 else "II"))
    infinity = "RLIM64_INFINITY" if bits == 64 else "RLIM_INFINITY"

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        soft, hard = (infinity if one == (1 << bits) - 1 else _limit_value(one, bits) for one in form.unpack(raw))
        return f"{{rlim_cur={soft}, rlim_max={hard}}}"

    return show


_POLL = ((1, "POLLIN"), (2, "POLLPRI"), (4, "POLLOUT"), (0x40, "POLLRDNORM"), (0x80, "POLLRDBAND"), (0x100, "POLLWRNORM"), (0x200, "POLLWRBAND"), (0x400, "POLLMSG"), (0x2000, "POLLRDHUP"), (8, "POLLERR"), (0x10, "POLLHUP"), (0x20, "POLLNVAL"))  # fmt: skip
_EPOLL = ((1, "EPOLLIN"), (2, "EPOLLPRI"), (4, "EPOLLOUT"), (0x40, "EPOLLRDNORM"), (0x80, "EPOLLRDBAND"), (0x100, "EPOLLWRNORM"), (0x200, "EPOLLWRBAND"), (0x400, "EPOLLMSG"), (8, "EPOLLERR"), (0x10, "EPOLLHUP"), (0x2000, "EPOLLRDHUP"), (0x10000000, "EPOLLEXCLUSIVE"), (0x20000000, "EPOLLWAKEUP"), (0x40000000, "EPOLLONESHOT"), (0x80000000, "EPOLLET"))  # fmt: skip


def bits_of(value: int, names: tuple[tuple[int, str], ...]) -> str:
    """``POLLIN|POLLOUT``"""
    words = []
    for bit, name in names:
        if value & bit:
            words.append(name)
            value &= ~bit
    if value:
        words.append(hex(value))
    return "|".join(words) or "0"


def polled(view: View, arch: Architecture, address: int, count: int, results: bool) -> str | None:
    """An array of struct pollfd, as asked, or only those with results."""
    raw = view.read(address, min(count, 1024) * 8) if count else b""
    if raw is None:
        return None
    shown = []
    for descriptor, events, got in struct.iter_unpack(order_of(arch) + "iHH", raw):
        if not results:
            shown.append(f"{{fd={descriptor}, events={bits_of(events, _POLL)}}}" if descriptor >= 0 else f"{{fd={descriptor}}}")
        elif got:
            shown.append(f"{{fd={descriptor}, revents={bits_of(got, _POLL)}}}")
    more = ", ..." if len(shown) > ELEMENTS else ""
    return "[" + ", ".join(shown[:ELEMENTS]) + more + "]"


def _pollfds(arch: Architecture, count: str) -> Decode:
    def show(view: View, address: int, args: Args) -> str | None:
        return polled(view, arch, address, args[int(count)] & 0xFFFFFFFF, results=False)

    return show


def _events(arch: Architecture, count: str) -> Decode:
    """Struct epoll_event, packed on x86 alone. ``count``: a number, or R."""
    packed = arch.name in ("x86_64", "x32", "x86")
    form = struct.Struct(order_of(arch) + ("IQ" if packed else "IxxxxQ"))

    def show(view: View, address: int, _: Args) -> str | None:
        number = min(view.result, ELEMENTS) if count == "R" else 1
        raw = view.read(address, number * form.size) if number else b""
        if raw is None:
            return None
        shown = [
            f"{{events={bits_of(events, _EPOLL)}, data={{u32={data & 0xFFFFFFFF}, u64={data}}}}}" for events, data in form.iter_unpack(raw)
        ]
        return f"[{', '.join(shown)}]" if count == "R" else shown[0]

    return show


def descriptors(view: View, address: int, count: int) -> list[int] | None:
    """The members of an fd_set; little endian architectures, whatever the size of a word."""
    count = min(count, 1 << 16)  # the target's number
    size = (count + 7) // 8
    raw = view.copy(view.tid, address, size)
    if raw is None:
        return None
    bits = int.from_bytes(raw, "little")
    return [number for number in range(count) if bits >> number & 1]


def _fd_set(arch: Architecture) -> Decode:
    def show(view: View, address: int, args: Args) -> str | None:
        if arch.byteorder != "little":
            return None
        found = descriptors(view, address, args[0] & 0xFFFFFFFF)
        return None if found is None else "[" + " ".join(map(str, found)) + "]"

    return show


def _uname(_: Architecture) -> Decode:
    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, 390)
        if raw is None:
            return None
        system, node = (quoted(raw[at : at + 65].partition(b"\0")[0], 65) for at in (0, 65))
        return f"{{sysname={system}, nodename={node}, ...}}"

    return show


def _sysinfo(arch: Architecture) -> Decode:
    """What linux/sysinfo.h calls struct sysinfo: words as wide as a kernel's long."""
    wide = arch.bits == 64 or arch.name == "x32"
    form = struct.Struct(order_of(arch) + ("10QHxxxxxxQQI" if wide else "10IHxxIII"))

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        uptime, *words = form.unpack(raw)
        loads, rest = ", ".join(map(str, words[:3])), zip(_SYSINFO, words[3:], strict=True)
        return f"{{uptime={uptime}, loads=[{loads}], " + ", ".join(f"{name}={word}" for name, word in rest) + "}"

    return show


_SYSINFO = ("totalram", "freeram", "sharedram", "bufferram", "totalswap", "freeswap", "procs", "totalhigh", "freehigh", "mem_unit")


def _window(arch: Architecture) -> Decode:
    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, 8)
        if raw is None:
            return None
        names = ("ws_row", "ws_col", "ws_xpixel", "ws_ypixel")
        return (
            "{" + ", ".join(f"{name}={value}" for name, value in zip(names, struct.unpack(order_of(arch) + "4H", raw), strict=True)) + "}"
        )

    return show


def _signal(arch: Architecture) -> Decode:
    """A signal's number that the kernel wrote."""

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, 4)
        return None if raw is None else f"[{signal_name(arch, number) if (number := struct.unpack(order_of(arch) + 'i', raw)[0]) else 0}]"

    return show


def _lock(arch: Architecture, wide: str = "", answered: str = "") -> Decode:
    """Struct flock; ``answered``: whose lock it is was asked for."""
    narrow = arch.bits == 32 and arch.name != "x32"
    # struct flock, compat_flock and compat_flock64 (packed on x86 alone; fcntl.h)
    form = struct.Struct(order_of(arch) + ("hhqqi" if wide and arch.name == "x86" else "hhxxxxqqi" if wide or not narrow else "hhiii"))

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        kind, whence, start, length, pid = form.unpack(raw)
        kinds = {0: "F_RDLCK", 1: "F_WRLCK", 2: "F_UNLCK"}
        wheres = {0: "SEEK_SET", 1: "SEEK_CUR", 2: "SEEK_END"}
        whose = f", l_pid={pid}" if answered else ""
        return f"{{l_type={kinds.get(kind, kind)}, l_whence={wheres.get(whence, whence)}, l_start={start}, l_len={length}{whose}}}"

    return show


FACTORIES: dict[str, Factory] = {
    "time": _time,
    "left": _left_time,
    "interval": _interval,
    "times": _times,
    "signals": _mask_of_signals,
    "action": _action,
    "status": _status,
    "usage": _usage,
    "limits": _limits,
    "pollfds": _pollfds,
    "events": _events,
    "fd_set": _fd_set,
    "uname": _uname,
    "sysinfo": _sysinfo,
    "window": _window,
    "signal": _signal,
    "lock": _lock,
}
