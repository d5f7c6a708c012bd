"""Plain values as bytes, to be read back from a process that is not trusted.

Rejected: pickle (runs code), marshal (crashes on hostile bytes), json (no bytes, no tuples, no big ints in other readers; and
three milliseconds to import). This format is a tree of tagged values::

    value  = "N" | "T" | "F"                          None, True, False
           | "I" size bytes                           int, two's complement, little-endian
           | "D" 8 bytes | "C" 16 bytes               float, complex
           | "S" size bytes | "B" size bytes | "Y" size bytes      str (UTF-8, surrogates kept), bytes, bytearray
           | "L" size value* | "U" size value*        list, tuple
           | "E" size value* | "Z" size value*        set, frozenset
           | "M" size (value value)*                  dict
    size   = base 128, little-endian, at most 9 bytes

Only these exact types are written: a subclass would come back as something else. Equal objects come back as copies: what is shared
is not shared any more, and what contains itself is refused.

Both directions count what a value costs in the reader's memory (`COST`), not bytes, since two bytes can be a whole list; so what the
writer accepts, the reader can afford. Neither recurses: depth is bounded by `DEPTH`, not by the interpreter's stack.

What hostile bytes could still do, and what is done: many keys with one hash make a dict quadratic. The reader counts distinct
hashes of a large dict or set before it builds it.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["DEPTH", "OURS", "PlainError", "decode", "encode"]

OURS = 1 << 40  # the limit where both ends are ours: what was captured may be large
DEPTH = 200  # containers within containers; hash() and repr() of the result recurse in C about as deep
LEAF, CONTAINER, ENTRY, PAIR = 40, 64, 8, 40
COST = "40 bytes a value and its own size, 64 a container, 8 an item, 40 more a pair of a dict"
LARGE = 1024  # from this many keys on, hashes are counted

_CONTAINERS: dict[type, bytes] = {list: b"L", tuple: b"U", dict: b"M", set: b"E", frozenset: b"Z"}
_FLOAT = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")


class PlainError(ValueError):
    """A value that this format cannot carry, or bytes that are not this format. The message says which, where, and why."""


class _Level:
    """A container being written: what is left of it, and how far we are."""

    __slots__ = ("count", "identity", "items", "kind", "last")

    def __init__(self, items: Iterator[Any], identity: int, kind: type) -> None:
        self.items = items
        self.identity = identity
        self.kind = kind
        self.count = 0
        self.last: Any = None


def encode(value: Any, limit: int) -> bytearray:
    """``value`` as bytes. Raises `PlainError`: a type that is not plain, a cycle, too deep, or beyond ``limit`` bytes of cost."""
    out = bytearray()
    left = limit
    stack = [_Level(iter((value,)), 0, type(None))]
    held: set[int] = set()
    while stack:
        level = stack[-1]
        keyed = level.kind is dict
        # Leaves are written in this inner loop, which goes on where it was left when a container within this one is done.
        for item in level.items:
            level.count += 1
            if not keyed or level.count % 2:
                level.last = item
            kind = type(item)
            left -= LEAF
            if kind is int:
                size = item.bit_length() // 8 + 1
                left -= size
                if left < 0:
                    _room(left, limit)
                out += b"I"
                if size < 128:
                    out.append(size)
                else:
                    _put_size(out, size)
                out += item.to_bytes(size, "little", signed=True)
            elif item is None:
                out += b"N"
            elif kind is bool:
                out += b"T" if item else b"F"
            elif kind is float:
                out += b"D" + _FLOAT.pack(item)
            elif kind is complex:
                out += b"C" + _COMPLEX.pack(item.real, item.imag)
            elif kind is str or kind is bytes or kind is bytearray:
                # Checked before the text is encoded: a copy of what is too large might not fit.
                _room(left - len(item), limit)
                raw = item.encode("utf-8", "surrogatepass") if kind is str else item
                left -= len(raw)
                out += b"S" if kind is str else b"B" if kind is bytes else b"Y"
                _put_size(out, len(raw))
                out += raw
            elif kind in _CONTAINERS:
                left -= CONTAINER + len(item) * (ENTRY + (PAIR if kind is dict else 0))
                if id(item) in held:
                    raise PlainError(f"{_path(stack)} contains itself: only trees can be returned")
                if len(stack) > DEPTH:
                    raise PlainError(f"the value is nested deeper than {DEPTH} containers")
                out += _CONTAINERS[kind]
                _put_size(out, len(item))
                held.add(id(item))
                items = (part for pair in item.items() for part in pair) if kind is dict else iter(item)
                stack.append(_Level(items, id(item), kind))
                _room(left, limit)
                break
            else:
                raise PlainError(
                    f"{_path(stack)} is a {kind.__module__}.{kind.__qualname__}: only None, bool, int, float, complex, str, bytes, bytearray, "
                    "list, tuple, dict, set and frozenset can be returned, and no subclass of them"
                )
            if left < 0:
                _room(left, limit)
        else:
            held.discard(level.identity)
            stack.pop()
    return out


def _room(left: int, limit: int) -> None:
    if left < 0:
        raise PlainError(f"the value takes more than {limit} bytes ({COST}): return less, or raise output=")


def _put_size(out: bytearray, size: int) -> None:
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)


def _path(stack: list[_Level]) -> str:
    words = ["the value"]
    for level in stack[1:]:
        if level.kind is dict:
            # A key may be huge or nested, and repr() of what is hostile is not for here: leaves only, cut.
            key = repr(level.last)[:40] if type(level.last) in (str, int, bytes) and _short(level.last) else "..."
            words.append(f"[{key}]" if level.count % 2 == 0 else " key")
        elif level.kind in (set, frozenset):
            words.append("{...}")
        else:
            words.append(f"[{level.count - 1}]")
    return "".join(words)


def _short(key: Any) -> bool:
    return key.bit_length() < 200 if type(key) is int else len(key) < 200


class _Open:
    """A container being read: its tag, how many values are still to come, and those that came."""

    __slots__ = ("left", "tag", "values")

    def __init__(self, tag: int, left: int) -> None:
        self.tag = tag
        self.left = left
        self.values: list[Any] = []


def decode(raw: bytes | bytearray | memoryview, limit: int) -> Any:
    """The value in ``raw``, which may be hostile. Raises `PlainError` for anything that `encode` would not have written within ``limit``."""
    view = memoryview(raw)
    end = len(view)
    at = 0
    left = limit
    stack: list[_Open] = []
    while True:
        if at >= end:
            raise PlainError(f"the bytes end after {end} where a value should be")
        tag = view[at]
        at += 1
        left -= LEAF
        value: Any
        if tag == 0x49 and at < end and 0 < view[at] < 128 and view[at] < end - at:
            size = view[at]  # most integers: their size is one byte
            left -= size
            value = int.from_bytes(view[at + 1 : at + 1 + size], "little", signed=True)
            at += 1 + size
        elif tag == 0x4E:
            value = None
        elif tag == 0x54 or tag == 0x46:
            value = tag == 0x54
        elif tag in b"ISBY":
            size, at = _get_size(view, at, end)
            if size > end - at:
                raise PlainError(f"a value of {size} bytes at {at}, where {end - at} are left")
            left -= size
            piece = view[at : at + size]
            at += size
            value = _leaf(tag, piece, at)
        elif tag == 0x44 or tag == 0x43:
            form = _FLOAT if tag == 0x44 else _COMPLEX
            if form.size > end - at:
                raise PlainError(f"a number of {form.size} bytes at {at}, where {end - at} are left")
            numbers = form.unpack_from(view, at)
            at += form.size
            value = numbers[0] if tag == 0x44 else complex(*numbers)
        elif tag in b"LUEZM":
            size, at = _get_size(view, at, end)
            parts = size * 2 if tag == 0x4D else size
            if parts > end - at:
                raise PlainError(f"a container of {parts} values at {at}, where {end - at} bytes are left")
            if len(stack) >= DEPTH:
                raise PlainError(f"containers nested deeper than {DEPTH}")
            left -= CONTAINER + size * (ENTRY + (PAIR if tag == 0x4D else 0))
            stack.append(_Open(tag, parts))
            value = _NOTHING
        else:
            raise PlainError(f"unknown tag {tag:#04x} at {at - 1}")
        if left < 0:
            raise PlainError(f"the value takes more than {limit} bytes ({COST})")
        # Close every container that this value completes.
        while True:
            if value is not _NOTHING:
                if not stack:
                    if at != end:
                        raise PlainError(f"{end - at} bytes are left over after the value")
                    return value
                stack[-1].values.append(value)
                stack[-1].left -= 1
            if stack[-1].left:
                break
            value = _build(stack.pop())


_NOTHING = object()


def _leaf(tag: int, piece: memoryview, at: int) -> Any:
    if tag == 0x49:
        if not piece:
            raise PlainError(f"an integer of no bytes at {at}")
        return int.from_bytes(piece, "little", signed=True)
    if tag == 0x53:
        try:
            return str(piece, "utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise PlainError(f"a text that is not UTF-8 before {at}") from None
    return bytes(piece) if tag == 0x42 else bytearray(piece)


def _get_size(view: memoryview, at: int, end: int) -> tuple[int, int]:
    size = shift = 0
    while True:
        if at >= end or shift > 56:
            raise PlainError(f"a size that does not end at {at}")
        byte = view[at]
        at += 1
        size |= (byte & 127) << shift
        if byte < 128:
            return size, at
        shift += 7


def _build(container: _Open) -> Any:
    values, tag = container.values, container.tag
    if tag == 0x4C:
        return values
    if tag == 0x55:
        return tuple(values)
    keys = values[::2] if tag == 0x4D else values
    try:
        if len(keys) >= LARGE and len(set(map(hash, keys))) < len(keys) // 2:
            raise PlainError("a dict or set whose keys collide on purpose")
        built: Any = dict(zip(keys, values[1::2], strict=True)) if tag == 0x4D else set(keys) if tag == 0x45 else frozenset(keys)
    except TypeError:
        raise PlainError("a dict or set with a key that cannot be one") from None
    if len(built) != len(keys):
        raise PlainError("a dict or set with the same key twice")
    return built
