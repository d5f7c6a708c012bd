"""What a traced call points to, decoded: each function takes a `View`, an address and the call's arguments, and gives a text, or None.

None is "cannot be read", for which the caller shows the address. Layouts are those of the architecture that the call was made for: a
32-bit caller's structures on a 64-bit kernel are its own (include/linux/compat.h, include/uapi of each architecture). Where the
layout is not known here the address is shown.
"""

from __future__ import annotations

import struct

from seclude.supervise.tracer_text import SHOWN, hexadecimal, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.abi import Architecture

    Args = tuple[int, ...]
    Decode = Callable[["View", int, Args], str | None]
    Factory = Callable[..., Decode]

__all__ = ["FACTORIES", "View", "signal_name", "signal_set", "wait_status"]

_PAGE = 4096
_PATH = 4096
_ELEMENTS = 32  # of an array that are shown
_UNREADABLE_LENGTH = 1 << 31


class View:
    """One thread at a stop: how to read its memory, and at the end of the call its ``result`` and whether it ``failed``.

    ``saved`` is what was read before the call and is needed behind it, by thread.
    """

    __slots__ = ("copy", "failed", "limit", "result", "saved", "sp", "tid")

    def __init__(self, copy: Callable[[int, int, int], bytes | None], limit: int = SHOWN) -> None:
        self.copy = copy
        self.limit = limit
        self.tid = 0
        self.sp = 0
        self.result = 0
        self.failed = False
        self.saved: dict[tuple[int, int], int] = {}

    def read(self, address: int, size: int) -> bytes | None:
        """Exactly ``size`` bytes, or None."""
        raw = self.copy(self.tid, address, size)
        return raw if raw is not None and len(raw) == size else None

    def string(self, address: int, limit: int) -> tuple[bytes, bool] | None:
        """The bytes up to the first NUL, at most ``limit``, and whether there was more."""
        raw = self.copy(self.tid, address, min(limit + 1, _PAGE - address % _PAGE, 256))
        if raw:
            end = raw.find(b"\0")
            if 0 <= end <= limit:
                return raw[:end], False
        out = b""
        while len(out) <= limit:
            at = address + len(out)
            raw = self.copy(self.tid, at, min(limit + 1 - len(out), _PAGE - at % _PAGE, _PAGE if out else 256))
            if not raw:
                return None if not out else (out, True)
            head, nul, _ = raw.partition(b"\0")
            out += head
            if nul:
                return (out, False) if len(out) <= limit else (out[:limit], True)
        return out[:limit], True


# --- text and bytes


def _path(_: Architecture) -> Decode:
    def show(view: View, address: int, _: Args) -> str | None:
        found = view.string(address, _PATH)
        return None if found is None else quoted(found[0], _PATH, more=found[1])

    return show


def _string(_: Architecture) -> Decode:
    def show(view: View, address: int, _: Args) -> str | None:
        found = view.string(address, view.limit)
        return None if found is None else quoted(found[0], view.limit, more=found[1])

    return show


def _bytes(arch: Architecture, size: str, form: str = "") -> Decode:
    """``size``: an argument's number, or R for the result."""
    of_result = size == "R"
    index = 0 if of_result else int(size)
    mask = _mask(arch)

    def show(view: View, address: int, args: Args) -> str | None:
        length = view.result if of_result else args[index] & mask
        if length == 0:
            return '""'
        raw = view.copy(view.tid, address, min(length, view.limit))
        if raw is None:
            return None
        more = length > len(raw)
        return hexadecimal(raw, more=more) if form else quoted(raw, view.limit, more=more)

    return show


def _mask(arch: Architecture) -> int:
    return 0xFFFFFFFF if arch.bits == 32 and arch.name != "x32" else (1 << 64) - 1


def _order(arch: Architecture) -> str:
    return "<" if arch.byteorder == "little" else ">"


def _pointer_size(arch: Architecture) -> int:
    return 4 if arch.bits == 32 else 8


def pointer(value: int) -> str:
    """An address."""
    return f"{value:#x}" if value else "NULL"


def _argv(arch: Architecture) -> Decode:
    size = _pointer_size(arch)

    def show(view: View, address: int, _: Args) -> str | None:
        found = _pointers(view, address, size, _ELEMENTS + 1, _order(arch))
        if found is None:
            return None
        shown = []
        for one in found[:_ELEMENTS]:
            word = view.string(one, view.limit)
            shown.append(pointer(one) if word is None else quoted(word[0], view.limit, more=word[1]))
        return f"[{', '.join(shown)}{', ...' if len(found) > _ELEMENTS else ''}]"

    return show


def _environment(arch: Architecture) -> Decode:
    size = _pointer_size(arch)

    def show(view: View, address: int, _: Args) -> str | None:
        found = _pointers(view, address, size, 1 << 16, _order(arch))
        return None if found is None else f"{address:#x} /* {len(found)} var{'' if len(found) == 1 else 's'} */"

    return show


def _pointers(view: View, address: int, size: int, limit: int, order: str) -> list[int] | None:
    """The words up to a NULL, at most ``limit``; None where the first cannot be read."""
    out: list[int] = []
    form = order + ("I" if size == 4 else "Q")
    while len(out) < limit:
        at = address + len(out) * size
        raw = view.copy(view.tid, at, min((_PAGE - at % _PAGE) or _PAGE, 512 if not out else _PAGE) // size * size or size)
        if not raw or len(raw) < size:
            return out or None
        for (word,) in struct.iter_unpack(form, raw[: len(raw) // size * size]):
            if word == 0 or len(out) >= limit:
                return out
            out.append(word)
    return out


# --- files


#: mode, device and size in struct stat: offsets and struct codes, and how large it is (asm/stat.h of each)
_STAT = {
    "x86_64": ((24, "I"), (40, "Q"), (48, "q"), 144),
    "x32": ((24, "I"), (40, "Q"), (48, "q"), 144),
    "aarch64": ((16, "I"), (32, "Q"), (48, "q"), 128),
    "riscv64": ((16, "I"), (32, "Q"), (48, "q"), 128),
    "loongarch64": ((16, "I"), (32, "Q"), (48, "q"), 128),
    "x86 64": ((16, "I"), (32, "Q"), (44, "q"), 96),
    "arm 64": ((16, "I"), (32, "Q"), (48, "q"), 104),
    "x86": ((8, "H"), (16, "I"), (20, "I"), 64),
}
_KINDS = {0o140000: "S_IFSOCK", 0o120000: "S_IFLNK", 0o100000: "S_IFREG", 0o060000: "S_IFBLK", 0o040000: "S_IFDIR", 0o020000: "S_IFCHR", 0o010000: "S_IFIFO"}  # fmt: skip


def mode(value: int) -> str:
    """``S_IFREG|0644``"""
    kind = _KINDS.get(value & 0o170000)
    low = value & (0o7777 if kind else 0o177777)
    permissions = f"0{low:o}" if low > 7 else f"00{low:o}"
    return f"{kind}|{permissions}" if kind else permissions


def _device(raw: int) -> str:
    """Linux's encoding of a device number (include/linux/kdev_t.h, new_decode_dev and huge ones)."""
    major = (raw & 0xFFF00) >> 8 | raw >> 32 & 0xFFFFF000
    minor = raw & 0xFF | raw >> 12 & 0xFFFFFF00
    return f"makedev({major:#x}, {minor:#x})"


def _stat(arch: Architecture, wide: str = "") -> Decode:
    found = _STAT.get(arch.name + (" 64" if wide and arch.bits == 32 and arch.name != "x32" else ""))
    if found is None:
        return lambda _view, _address, _args: None
    (mode_at, mode_code), (device_at, device_code), (size_at, size_code), length = found
    order = _order(arch)
    of_mode, of_device, of_size = (struct.Struct(order + code).unpack_from for code in (mode_code, device_code, size_code))

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, length)
        if raw is None:
            return None
        (kind,) = of_mode(raw, mode_at)
        if kind & 0o170000 in (0o020000, 0o060000):
            return f"{{st_mode={mode(kind)}, st_rdev={_device(of_device(raw, device_at)[0])}, ...}}"
        return f"{{st_mode={mode(kind)}, st_size={of_size(raw, size_at)[0]}, ...}}"

    return show


def _statx(arch: Architecture) -> Decode:
    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, 256)
        if raw is None:
            return None
        mask, _block, attributes = struct.unpack_from(_order(arch) + "IIQ", raw)
        (kind,) = struct.unpack_from(_order(arch) + "H", raw, 28)
        (size,) = struct.unpack_from(_order(arch) + "Q", raw, 40)
        return f"{{stx_mask={_statx_mask(mask)}, stx_attributes={attributes and hex(attributes)}, stx_mode={mode(kind)}, stx_size={size}, ...}}"

    return show


_STATX = ("TYPE", "MODE", "NLINK", "UID", "GID", "ATIME", "MTIME", "CTIME", "INO", "SIZE", "BLOCKS", "BTIME", "MNT_ID", "DIOALIGN")


def _statx_mask(value: int) -> str:
    shown = []
    for name, bits in (("STATX_ALL", 0xFFF), ("STATX_BASIC_STATS", 0x7FF)):
        if value & bits == bits:
            shown.append(name)
            value &= ~bits
            break
    for at, word in enumerate(_STATX):
        if value >> at & 1:
            shown.append("STATX_" + word)
            value &= ~(1 << at)
    if value:
        shown.append(hex(value))
    return "|".join(shown) or "0"


def _entries(arch: Architecture, wide: str = "") -> Decode:
    """getdents: only how many there are."""
    at = 16 if wide or arch.bits == 64 else 8  # d_ino, d_off, d_reclen

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, view.result) if view.result else b""
        if raw is None:
            return None
        count = place = 0
        while place + at + 2 <= len(raw):
            (length,) = struct.unpack_from(_order(arch) + "H", raw, place + at)
            if length == 0:
                break
            place, count = place + length, count + 1
        return f"{address:#x} /* {count} entr{'y' if count == 1 else 'ies'} */"

    return show


def _iovecs(arch: Architecture, count: str, size: str = "") -> Decode:
    """``count``: the argument with the number of elements. ``size``: R where the kernel filled them with ``result`` bytes."""
    index = int(count)

    def show(view: View, address: int, args: Args) -> str | None:
        return vectors(view, arch, address, args[index] & 0xFFFFFFFF, view.result if size == "R" else -1)

    return show


def vectors(view: View, arch: Architecture, address: int, count: int, filled: int) -> str | None:
    """An array of struct iovec, each with what it points to; ``filled`` >= 0 is how many bytes in all are there."""
    width = _pointer_size(arch)
    some = min(count, _ELEMENTS)
    raw = view.read(address, some * 2 * width) if some else b""
    if raw is None:
        return None
    shown = []
    for base, length in struct.iter_unpack(_order(arch) + ("II" if width == 4 else "QQ"), raw):
        there = length
        if filled >= 0:
            there = min(length, filled)
            filled -= there
        data = view.copy(view.tid, base, min(there, view.limit)) if there and base else b"" if base else None
        text = pointer(base) if data is None else quoted(data, view.limit, more=there > len(data))
        shown.append(f"{{iov_base={text}, iov_len={length}}}")
    return f"[{', '.join(shown)}{', ...' if count > some else ''}]"


# --- numbers


def _ints(arch: Architecture, count: str, form: str = "i") -> Decode:
    """``[3, 4]``: ``count`` numbers, or as many as the result says (R)."""
    code = _order(arch) + form

    def show(view: View, address: int, _: Args) -> str | None:
        number = min(view.result, _ELEMENTS) if count == "R" else int(count)
        raw = view.read(address, number * struct.calcsize(code))
        if raw is None:
            return None
        return "[" + ", ".join(str(value) for (value,) in struct.iter_unpack(code, raw)) + "]"

    return show


def _long(arch: Architecture) -> Decode:
    form = "i" if arch.bits == 32 else "q"
    return _ints(arch, "1", form)


def _integer(arch: Architecture, size: str = "4") -> Decode:
    """``[1]`` where the argument that says the size says four bytes, else bytes."""
    index = int(size)

    def show(view: View, address: int, args: Args) -> str | None:
        length = args[index] & 0xFFFFFFFF
        if length == 4:
            raw = view.read(address, 4)
            return None if raw is None else f"[{struct.unpack(_order(arch) + 'i', raw)[0]}]"
        some = view.copy(view.tid, address, min(length, view.limit))
        return None if some is None else quoted(some, view.limit, more=length > len(some))

    return show


def _option(arch: Architecture, size: str) -> Decode:
    """Getsockopt's value, whose length is behind a pointer."""
    index = int(size)

    def show(view: View, address: int, args: Args) -> str | None:
        raw = view.read(args[index] & _mask(arch), 4)
        if raw is None:
            return None
        (length,) = struct.unpack(_order(arch) + "I", raw)
        data = view.copy(view.tid, address, min(length, view.limit))
        if data is None:
            return None
        return (
            f"[{struct.unpack(_order(arch) + 'i', data)[0]}]"
            if length == 4 == len(data)
            else quoted(data, view.limit, more=length > len(data))
        )

    return show


def _length(arch: Architecture) -> Decode:
    """A socklen_t that the kernel may change: ``[16]``, or ``[128 => 16]``. What it was before is kept by `remember`."""

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, 4)
        if raw is None:
            return None
        (now,) = struct.unpack(_order(arch) + "i", raw)
        before = view.saved.pop((view.tid, address), now)
        return f"[{now}]" if before == now else f"[{before} => {now}]"

    return show


# --- time


def _time(arch: Architecture, unit: str, wide: str = "") -> Decode:
    """Timespec (``nsec``) and timeval (``usec``)."""
    narrow = arch.bits == 32 and arch.name != "x32" and not wide
    form = struct.Struct(_order(arch) + ("ii" if narrow else "qq"))

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
    narrow = arch.bits == 32 and arch.name != "x32"
    form = struct.Struct(_order(arch) + ("4i" if narrow else "4q"))

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        a, b, c, d = form.unpack(raw)
        return f"{{it_interval={{tv_sec={a}, tv_usec={b}}}, it_value={{tv_sec={c}, tv_usec={d}}}}}"

    return show


def _times(arch: Architecture, unit: str = "nsec", wide: str = "") -> Decode:
    """utimensat: two times, with the names of the two special values."""
    narrow = arch.bits == 32 and arch.name != "x32" and not wide
    form = struct.Struct(_order(arch) + ("4i" if narrow else "4q"))

    def one(seconds: int, rest: int) -> str:
        if unit == "nsec" and rest in (0x3FFFFFFF, 0x3FFFFFFE):
            return "UTIME_NOW" if rest == 0x3FFFFFFF else "UTIME_OMIT"
        return f"{{tv_sec={seconds}, tv_{unit}={rest}}}"

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
    form = struct.Struct(_order(arch) + ("IIIQ" if narrow else "QQQQ"))

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
        return None if raw is None else f"[{wait_status(arch, struct.unpack(_order(arch) + 'I', raw)[0])}]"

    return show


def _usage(arch: Architecture) -> Decode:
    narrow = arch.bits == 32 and arch.name != "x32"
    form = struct.Struct(_order(arch) + ("4i" if narrow else "4q"))

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
    form = struct.Struct(_order(arch) + ("QQ" if bits == 64 else "II"))
    infinity = "RLIM64_INFINITY" if wide else "RLIM_INFINITY"

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
    for descriptor, events, got in struct.iter_unpack(_order(arch) + "iHH", raw):
        if not results:
            shown.append(f"{{fd={descriptor}, events={bits_of(events, _POLL)}}}" if descriptor >= 0 else f"{{fd={descriptor}}}")
        elif got:
            shown.append(f"{{fd={descriptor}, revents={bits_of(got, _POLL)}}}")
    more = ", ..." if len(shown) > _ELEMENTS else ""
    return "[" + ", ".join(shown[:_ELEMENTS]) + more + "]"


def _pollfds(arch: Architecture, count: str) -> Decode:
    def show(view: View, address: int, args: Args) -> str | None:
        return polled(view, arch, address, args[int(count)] & 0xFFFFFFFF, results=False)

    return show


def _events(arch: Architecture, count: str) -> Decode:
    """Struct epoll_event, packed on x86 alone. ``count``: a number, or R."""
    packed = arch.name in ("x86_64", "x32", "x86")
    form = struct.Struct(_order(arch) + ("IQ" if packed else "IxxxxQ"))

    def show(view: View, address: int, _: Args) -> str | None:
        number = min(view.result, _ELEMENTS) if count == "R" else 1
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


def _window(arch: Architecture) -> Decode:
    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, 8)
        if raw is None:
            return None
        names = ("ws_row", "ws_col", "ws_xpixel", "ws_ypixel")
        return "{" + ", ".join(f"{name}={value}" for name, value in zip(names, struct.unpack(_order(arch) + "4H", raw), strict=True)) + "}"

    return show


def _lock(arch: Architecture, wide: str = "") -> Decode:
    narrow = arch.bits == 32 and arch.name != "x32"
    # struct flock, compat_flock and compat_flock64 (packed on x86 alone; fcntl.h)
    form = struct.Struct(_order(arch) + ("hhqqi" if wide and arch.name == "x86" else "hhxxxxqqi" if wide or not narrow else "hhiii"))

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        kind, whence, start, length, _pid = form.unpack(raw)
        kinds = {0: "F_RDLCK", 1: "F_WRLCK", 2: "F_UNLCK"}
        wheres = {0: "SEEK_SET", 1: "SEEK_CUR", 2: "SEEK_END"}
        return f"{{l_type={kinds.get(kind, kind)}, l_whence={wheres.get(whence, whence)}, l_start={start}, l_len={length}}}"

    return show


FACTORIES: dict[str, Factory] = {
    "path": _path, "string": _string, "bytes": _bytes, "argv": _argv, "environment": _environment, "stat": _stat, "statx": _statx,
    "entries": _entries, "iovecs": _iovecs, "ints": _ints, "long": _long, "integer": _integer, "option": _option, "length": _length,
    "time": _time, "left": _left_time, "interval": _interval, "times": _times, "signals": _mask_of_signals, "action": _action, "status": _status,
    "usage": _usage, "limits": _limits, "pollfds": _pollfds, "events": _events, "fd_set": _fd_set, "uname": _uname, "window": _window, "lock": _lock,
}  # fmt: skip
