"""Who called: from the place of a call up through its callers, by the unwind tables that compilers leave for exceptions (x86-64).

The problem: of a thread that waits for the answer to its call only two registers can be seen from outside, the stack pointer and the instruction pointer
(/proc/TID/syscall). The tables in `.eh_frame` say for each instruction where the caller's frame begins, mostly relative to the stack pointer, so that these two
are enough to go on. Where a frame is relative to a register whose value is not known, or there is no table, the list ends: nothing is guessed.

What can still go wrong: a program can put anything on its stack and in its tables, and show callers that never were. It is shown as what the target showed.
Everything is read with bounds. Sources: the Linux Standard Base, ".eh_frame" and ".eh_frame_hdr"; DWARF 5, section 6.4; the System V ABI for x86-64.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    #: register of the frame's address and offset from it; register → offset of where it was saved, None: its value is lost
    Row = tuple[int, int, dict[int, int | None]]

__all__ = ["Tables", "callers", "stack_pointer"]

_RBP, _RSP, _RETURN = 6, 7, 16
_LONGEST = 1 << 16  # bytes of one entry
_TABLE = 16 << 20  # bytes of a search table


def stack_pointer(tid: int) -> int | None:
    """The stack pointer of a thread that does not run, None where the kernel does not say."""
    try:
        with open(f"/proc/{tid}/syscall", "rb", buffering=0) as file:
            words = file.read(512).split()
        return int(words[-2], 16) if len(words) in (3, 9) else None
    except (OSError, ValueError):
        return None


class _Reader:
    """Bytes, one after the other. Raises IndexError or struct.error beyond the end."""

    __slots__ = ("at", "raw")

    def __init__(self, raw: bytes, at: int = 0) -> None:
        self.raw = raw
        self.at = at

    def byte(self) -> int:
        self.at += 1
        return self.raw[self.at - 1]

    def fixed(self, form: str) -> int:
        (value,) = struct.unpack_from("<" + form, self.raw, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def unsigned(self) -> int:
        return self._leb128()[0]

    def signed(self) -> int:
        value, bits = self._leb128()
        return value - (1 << bits) if value >> bits - 1 else value

    def _leb128(self) -> tuple[int, int]:
        """A number in pieces of seven bits, and how many bits it takes (DWARF 5, 7.6)."""
        value = bits = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << bits
            bits += 7
            if not byte & 0x80:
                return value, bits
            if bits > 70:
                raise ValueError("a number that never ends")


#: size of a pointer by the low bits of its encoding
_SIZES = {0x0: "Q", 0x2: "H", 0x3: "I", 0x4: "Q", 0xA: "h", 0xB: "i", 0xC: "q"}
_RELATIVE = 0x10  # DW_EH_PE_pcrel
_TABLE_FORM = 0x3B  # DW_EH_PE_datarel | DW_EH_PE_sdata4


class Tables:
    """The unwind tables of one ELF file. ``loads``: its segments as ``(file offset, size, virtual address)``; ``header``: file offset, size and address of
    `.eh_frame_hdr`, or None. A file without tables, or with broken ones, knows nothing.
    """

    __slots__ = ("_entries", "_loads", "_starts")

    def __init__(self, descriptor: int, loads: list[tuple[int, int, int]], header: tuple[int, int, int] | None) -> None:
        self._loads = loads
        self._starts: list[int] = []
        self._entries: list[int] = []
        if header is None or header[1] > _TABLE:
            return
        offset, size, address = header
        reader = _Reader(os.pread(descriptor, size, offset))
        try:
            version, frames, count, table = (reader.byte() for _ in range(4))
            if version != 1 or table != _TABLE_FORM or frames & 0xF not in _SIZES or count & 0xF not in _SIZES:
                return
            reader.fixed(_SIZES[frames & 0xF])
            number = reader.fixed(_SIZES[count & 0xF])
            pairs = struct.unpack_from(f"<{2 * min(number, size // 8)}i", reader.raw, reader.at)
        except (IndexError, struct.error):
            return
        self._starts = [address + one for one in pairs[::2]]
        self._entries = [address + one for one in pairs[1::2]]

    def row(self, descriptor: int, address: int) -> Row | None:
        """What the tables say of the instruction at a virtual address."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        try:
            return self._row(descriptor, self._entries[at], address)
        except (OSError, IndexError, ValueError, struct.error):
            return None

    def _entry(self, descriptor: int, address: int) -> bytes:
        for offset, size, start in self._loads:
            if start <= address < start + size:
                (length,) = struct.unpack("<I", os.pread(descriptor, 4, address - start + offset))
                if not 0 < length <= _LONGEST:
                    break
                return os.pread(descriptor, length + 4, address - start + offset)
        raise ValueError("no such entry")

    def _row(self, descriptor: int, entry: int, address: int) -> Row | None:
        reader = _Reader(self._entry(descriptor, entry), 4)
        common = _Common(self._entry(descriptor, entry + 4 - reader.fixed("I")))
        base = entry + reader.at if common.encoding & 0x70 == _RELATIVE else 0
        form = _SIZES[common.encoding & 0xF]
        start = base + reader.fixed(form)
        if not start <= address < start + reader.fixed(form.upper()):
            return None
        if common.augmented:
            length = reader.unsigned()
            reader.at += length
        first = _execute(_Reader(common.program), common, 0, 1 << 64, None)
        if first is None:
            return None
        return _execute(reader, common, start, address, first)


class _Common:
    """What entries share (a CIE)."""

    __slots__ = ("augmented", "code", "data", "encoding", "program")

    def __init__(self, raw: bytes) -> None:
        reader = _Reader(raw, 8)
        version = reader.byte()
        end = raw.index(b"\0", reader.at)
        words = raw[reader.at : end]
        reader.at = end + 1
        self.code, self.data = reader.unsigned(), reader.signed()
        if (reader.byte() if version == 1 else reader.unsigned()) != _RETURN:
            raise ValueError("another architecture's entry")
        self.encoding = 0
        self.augmented = words.startswith(b"z")
        if self.augmented:
            length = reader.unsigned()
            rest = reader.at + length
            for letter in words[1:]:
                if letter == ord("R"):
                    self.encoding = reader.byte()
                elif letter == ord("P"):
                    reader.fixed(_SIZES[reader.byte() & 0xF])
                elif letter == ord("L"):
                    reader.byte()
                elif letter != ord("S"):
                    raise ValueError("an augmentation that is not known")
            reader.at = rest
        elif words:
            raise ValueError("an augmentation that is not known")
        if self.encoding & 0xF not in _SIZES or self.encoding & 0x70 not in (0, _RELATIVE):
            raise ValueError("an encoding that is not known")
        self.program = raw[reader.at :]


def _execute(reader: _Reader, common: _Common, start: int, address: int, first: Row | None) -> Row | None:
    """Run a table's instructions up to ``address`` (DWARF 5, 6.4.2); None where they compute what is not followed here."""
    register, offset, rules = (first[0], first[1], dict(first[2])) if first is not None else (_RSP, 8, {})
    held: list[Row] = []
    at = start
    while reader.at < len(reader.raw):
        code = reader.byte()
        low = code & 0x3F
        if code >> 6 == 1:  # advance_loc
            at += low * common.code
        elif code >> 6 == 2:  # offset
            rules[low] = reader.unsigned() * common.data
        elif code >> 6 == 3:  # restore
            _restore(rules, low, first)
        elif code in (2, 3, 4):  # advance_loc1, 2, 4
            at += reader.fixed("BHI"[code - 2]) * common.code
        elif code == 5:  # offset_extended
            one = reader.unsigned()
            rules[one] = reader.unsigned() * common.data
        elif code == 6:  # restore_extended
            _restore(rules, reader.unsigned(), first)
        elif code == 7:  # undefined
            rules[reader.unsigned()] = None
        elif code == 8:  # same_value
            rules.pop(reader.unsigned(), None)
        elif code == 10:  # remember_state
            held.append((register, offset, dict(rules)))
        elif code == 11:  # restore_state
            register, offset, rules = held.pop()
        elif code == 12:  # def_cfa
            register, offset = reader.unsigned(), reader.unsigned()
        elif code == 13:  # def_cfa_register
            register = reader.unsigned()
        elif code == 14:  # def_cfa_offset
            offset = reader.unsigned()
        elif code == 0x11:  # offset_extended_sf
            one = reader.unsigned()
            rules[one] = reader.signed() * common.data
        elif code == 0x2E:  # GNU_args_size
            reader.unsigned()
        elif code:  # expressions, other registers: not followed
            return None
        if at > address:
            break  # what follows is for later instructions
    return register, offset, rules


def _restore(rules: dict[int, int | None], register: int, first: Row | None) -> None:
    if first is not None and register in first[2]:
        rules[register] = first[2][register]
    else:
        rules.pop(register, None)


def callers(row_of: Callable[[int], Row | None], read: Callable[[int], int | None], ip: int, sp: int, most: int) -> list[int]:
    """Return addresses from the innermost on, at most ``most``. ``row_of``: what the tables say of an address in memory; ``read``: a word of the stack."""
    out: list[int] = []
    rbp: int | None = None
    while len(out) < most:
        row = row_of(ip - 1)  # behind the call: the instruction before is the one that was executed
        if row is None:
            break
        register, offset, rules = row
        base = sp if register == _RSP else rbp if register == _RBP else None
        if base is None:
            break
        frame = base + offset
        where = rules.get(_RETURN)
        if frame <= sp or where is None:
            break  # the outermost one has no return address
        found = read(frame + where)
        if not found:
            break
        if _RBP in rules:
            saved = rules[_RBP]
            rbp = None if saved is None else read(frame + saved)
        out.append(found)
        ip, sp = found, frame
    return out
