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

__all__ = ["ELEMENTS", "FACTORIES", "View", "device", "mode", "order_of", "pointer", "pointer_size", "quoted_to", "vectors"]

_PAGE = 4096
_PATH = 4096
ELEMENTS = 32  # of an array that are shown


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
        return quoted_to(view, address, length, form)

    return show


def quoted_to(view: View, address: int, length: int, form: str = "") -> str | None:
    """``length`` bytes, cut as the view says, never as text where there is a ``form``; None where they cannot be read."""
    raw = view.copy(view.tid, address, min(length, view.limit)) if length else b""
    if raw is None:
        return None
    more = length > len(raw)
    return hexadecimal(raw, more=more) if form and length else quoted(raw, view.limit, more=more)


def _mask(arch: Architecture) -> int:
    return 0xFFFFFFFF if arch.bits == 32 and arch.name != "x32" else (1 << 64) - 1


def order_of(arch: Architecture) -> str:
    """The byte order, as `struct` spells it."""
    return "<" if arch.byteorder == "little" else ">"


def pointer_size(arch: Architecture) -> int:
    """In bytes, for a caller of ``arch``."""
    return 4 if arch.bits == 32 else 8


def pointer(value: int) -> str:
    """An address."""
    return f"{value:#x}" if value else "NULL"


def _argv(arch: Architecture) -> Decode:
    size = pointer_size(arch)

    def show(view: View, address: int, _: Args) -> str | None:
        found = _pointers(view, address, size, ELEMENTS + 1, order_of(arch))
        if found is None:
            return None
        shown = []
        for one in found[:ELEMENTS]:
            word = view.string(one, view.limit)
            shown.append(pointer(one) if word is None else quoted(word[0], view.limit, more=word[1]))
        return f"[{', '.join(shown)}{', ...' if len(found) > ELEMENTS else ''}]"

    return show


def _environment(arch: Architecture) -> Decode:
    size = pointer_size(arch)

    def show(view: View, address: int, _: Args) -> str | None:
        found = _pointers(view, address, size, 1 << 16, order_of(arch))
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


def device(raw: int) -> str:
    """Linux's encoding of a device number (include/linux/kdev_t.h, new_decode_dev and huge ones)."""
    major = (raw & 0xFFF00) >> 8 | raw >> 32 & 0xFFFFF000
    minor = raw & 0xFF | raw >> 12 & 0xFFFFFF00
    return f"makedev({major:#x}, {minor:#x})"


def _stat(arch: Architecture, wide: str = "") -> Decode:
    found = _STAT.get(arch.name + (" 64" if wide and arch.bits == 32 and arch.name != "x32" else ""))
    if found is None:
        return lambda _view, _address, _args: None
    (mode_at, mode_code), (device_at, device_code), (size_at, size_code), length = found
    order = order_of(arch)
    of_mode, of_device, of_size = (struct.Struct(order + code).unpack_from for code in (mode_code, device_code, size_code))

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, length)
        if raw is None:
            return None
        (kind,) = of_mode(raw, mode_at)
        if kind & 0o170000 in (0o020000, 0o060000):
            return f"{{st_mode={mode(kind)}, st_rdev={device(of_device(raw, device_at)[0])}, ...}}"
        return f"{{st_mode={mode(kind)}, st_size={of_size(raw, size_at)[0]}, ...}}"

    return show


def _statx(arch: Architecture) -> Decode:
    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, 256)
        if raw is None:
            return None
        mask, _block, attributes = struct.unpack_from(order_of(arch) + "IIQ", raw)
        (kind,) = struct.unpack_from(order_of(arch) + "H", raw, 28)
        (size,) = struct.unpack_from(order_of(arch) + "Q", raw, 40)
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
            (length,) = struct.unpack_from(order_of(arch) + "H", raw, place + at)
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


def _addresses(arch: Architecture, count: str) -> Decode:
    """Another process's iovecs: what they point to is not here."""
    width = pointer_size(arch)

    def show(view: View, address: int, args: Args) -> str | None:
        there = args[int(count)] & 0xFFFFFFFF
        some = min(there, ELEMENTS)
        raw = view.read(address, some * 2 * width) if some else b""
        if raw is None:
            return None
        shown = [
            f"{{iov_base={pointer(base)}, iov_len={length}}}"
            for base, length in struct.iter_unpack(order_of(arch) + ("II" if width == 4 else "QQ"), raw)
        ]
        return f"[{', '.join(shown)}{', ...' if there > some else ''}]"

    return show


def vectors(view: View, arch: Architecture, address: int, count: int, filled: int) -> str | None:
    """An array of struct iovec, each with what it points to; ``filled`` >= 0 is how many bytes in all are there."""
    width = pointer_size(arch)
    some = min(count, ELEMENTS)
    raw = view.read(address, some * 2 * width) if some else b""
    if raw is None:
        return None
    shown = []
    for base, length in struct.iter_unpack(order_of(arch) + ("II" if width == 4 else "QQ"), raw):
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
    code = order_of(arch) + form

    def show(view: View, address: int, _: Args) -> str | None:
        number = min(view.result, ELEMENTS) if count == "R" else int(count)
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
            return None if raw is None else f"[{struct.unpack(order_of(arch) + 'i', raw)[0]}]"
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
        (length,) = struct.unpack(order_of(arch) + "I", raw)
        data = view.copy(view.tid, address, min(length, view.limit))
        if data is None:
            return None
        return (
            f"[{struct.unpack(order_of(arch) + 'i', data)[0]}]"
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
        (now,) = struct.unpack(order_of(arch) + "i", raw)
        before = view.saved.pop((view.tid, address), now)
        return f"[{now}]" if before == now else f"[{before} => {now}]"

    return show


FACTORIES: dict[str, Factory] = {
    "path": _path,
    "string": _string,
    "bytes": _bytes,
    "argv": _argv,
    "environment": _environment,
    "stat": _stat,
    "statx": _statx,
    "entries": _entries,
    "iovecs": _iovecs,
    "addresses": _addresses,
    "ints": _ints,
    "long": _long,
    "integer": _integer,
    "option": _option,
    "length": _length,
}
