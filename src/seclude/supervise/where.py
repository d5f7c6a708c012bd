"""Where in a program a call was made: ``libc.so.6+0xf7f37 (mkdir+0x7)``, from the instruction pointer of the call.

The problem: an address means nothing without the file that is mapped there at that moment. So /proc/PID/maps is read anew for each call, while it
waits; a place remembered from an earlier call may be another library by now. The offset is the address within the file as its symbols and
``addr2line`` count (an ELF virtual address), not a file offset. Symbols come from the file itself, `.symtab` where it has one and `.dynsym` else.

Callers further up are not looked for: what a stack holds without the compiler's unwind tables is a guess, and a guess is no place to change a
program. The address is that of the instruction behind the call.

What can still go wrong: a file that was replaced since it was mapped is another file (its inode is compared, and then only the offset is shown); the target
chooses which files it maps and what is in them, so everything is read with bounds and never mapped here. Sources: elf(5), proc(5).
"""

from __future__ import annotations

import os
import stat
import struct
from bisect import bisect_right

from seclude.supervise.tracer_text import quoted

__all__ = ["Places", "Symbols", "place"]

_MAPS_LIMIT = 8 << 20
_TABLE_LIMIT = 64 << 20  # bytes of a symbol table, or of its names
_SECTIONS = 4096
_FILES = 64  # symbol tables that are kept
_SYMTAB, _DYNSYM = 2, 11
_FUNCTION, _INDIRECT = 2, 10  # STT_FUNC, STT_GNU_IFUNC


class Mapping:
    """The line of /proc/PID/maps that holds an address."""

    __slots__ = ("device", "inode", "name", "offset", "start")

    def __init__(self, start: int, offset: int, device: tuple[int, int], inode: int, name: str) -> None:
        self.start = start
        self.offset = offset
        self.device = device
        self.inode = inode
        self.name = name


def mapping(pid: int, address: int) -> Mapping | None:
    """What is mapped at ``address`` of the process (or thread) now; None where nothing is, or it may not be read."""
    try:
        with open(f"/proc/{pid}/maps", "rb", buffering=0) as file:
            raw = b""
            while len(raw) < _MAPS_LIMIT and (piece := file.read(1 << 16)):
                raw += piece
    except OSError:
        return None
    for line in raw.splitlines():
        bounds, _, rest = line.partition(b" ")
        low, _, high = bounds.partition(b"-")
        try:
            if not int(low, 16) <= address < int(high, 16):
                continue
            _permissions, offset, device, inode, *name = rest.split(None, 4)
            major, _, minor = device.partition(b":")
            return Mapping(
                int(low, 16), int(offset, 16), (int(major, 16), int(minor, 16)), int(inode), os.fsdecode(name[0]) if name else ""
            )
        except ValueError:
            return None
    return None


class Symbols:
    """Functions of one ELF file by address. ``descriptor`` is read with bounds; what is no ELF file, or a broken one, has no symbols."""

    __slots__ = ("_found", "_loads", "_starts")

    def __init__(self, descriptor: int) -> None:
        self._loads: list[tuple[int, int, int]] = []  # file offset, size in the file, virtual address
        self._found: list[tuple[int, int, bytes]] = []
        try:
            self._read(descriptor)
        except (OSError, struct.error, ValueError, OverflowError):
            self._found = []
        self._found.sort()
        self._starts = [entry[0] for entry in self._found]

    def _read(self, descriptor: int) -> None:
        head = os.pread(descriptor, 64, 0)
        if head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
            return
        wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
        programs, sections = struct.unpack_from(order + ("QQ" if wide else "II"), head, 32 if wide else 28)
        each, count, section_size, section_count = struct.unpack_from(order + "HHHH", head, 54 if wide else 42)
        form = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
        for index in range(min(count, _SECTIONS)):
            words = form.unpack(os.pread(descriptor, form.size, programs + index * each))
            if words[0] == 1:  # PT_LOAD
                offset, address, size = (words[2], words[3], words[5]) if wide else (words[1], words[2], words[4])
                self._loads.append((offset, size, address))
        form = struct.Struct(order + ("IIQQQQIIQQ" if wide else "10I"))
        table = os.pread(descriptor, section_size * min(section_count, _SECTIONS), sections) if section_size >= form.size else b""
        headers = [form.unpack_from(table, at) for at in range(0, len(table) - form.size + 1, section_size or 1)]
        for kind in (_SYMTAB, _DYNSYM):
            for header in headers:
                if header[1] == kind and header[6] < len(headers):
                    self._symbols(descriptor, wide, order, header, headers[header[6]])
            if self._found:
                return

    def _symbols(self, descriptor: int, wide: bool, order: str, header: tuple[int, ...], names: tuple[int, ...]) -> None:
        if header[5] > _TABLE_LIMIT or names[5] > _TABLE_LIMIT:
            return
        form = struct.Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
        raw, text = os.pread(descriptor, header[5], header[4]), os.pread(descriptor, names[5], names[4])
        for words in form.iter_unpack(raw[: len(raw) // form.size * form.size]):
            name, info, _, section, value, size = words if wide else (words[0], words[3], words[4], words[5], words[1], words[2])
            if info & 0xF in (_FUNCTION, _INDIRECT) and section and name < len(text):
                self._found.append((value, size, text[name : text.find(b"\0", name) & 0xFFFFFFFF][:256]))

    def address(self, offset: int) -> int | None:
        """The virtual address of a place in the file."""
        for start, size, address in self._loads:
            if start <= offset < start + size:
                return offset - start + address
        return None

    def name(self, address: int) -> tuple[bytes, int] | None:
        """The function that holds a virtual address, and how far into it; the shortest name where it has several."""
        at = bisect_right(self._starts, address)
        best: tuple[bytes, int] | None = None
        while at > 0:
            at -= 1
            start, size, name = self._found[at]
            if best is not None and address - start > best[1]:
                break
            if name and start <= address - (1 if size else 0) < start + max(size, 1) and (best is None or _better(name, best[0])):
                best = name, address - start
            if address - start > 1 << 20:
                break
        return best


def _better(name: bytes, other: bytes) -> bool:
    """Of several names of one place the one without underscores in front, then the shorter one."""
    return (name.startswith(b"_"), len(name), name) < (other.startswith(b"_"), len(other), other)


class Places:
    """Names places, and keeps the symbols of the files it met."""

    __slots__ = ("_files",)

    def __init__(self) -> None:
        self._files: dict[tuple[int, ...], Symbols] = {}

    def find(self, pid: int, address: int) -> str:
        """``libc.so.6+0xf7f37 (mkdir+0x7)``; less where less is known, the bare address where nothing is."""
        found = mapping(pid, address)
        if found is None:
            return f"{address:#x}"
        if not found.name or found.name.startswith("["):
            return f"{found.name or '[anonymous memory]'}+{address - found.start:#x}"
        offset = address - found.start + found.offset
        # What the target called its file: printable, whatever it is.
        name = quoted(os.fsencode(os.path.basename(found.name)), 128)[1:-1]
        symbols = self._symbols(pid, found)
        if symbols is None:
            return f"{name}+{offset:#x} in the file"
        inside = symbols.address(offset)
        if inside is None:
            return f"{name}+{offset:#x} in the file"
        symbol = symbols.name(inside)
        if symbol is None:
            return f"{name}+{inside:#x}"
        return f"{name}+{inside:#x} ({quoted(symbol[0], 256)[1:-1]}+{symbol[1]:#x})"

    def _symbols(self, pid: int, found: Mapping) -> Symbols | None:
        path = found.name.removesuffix(" (deleted)")
        try:
            descriptor = os.open(f"/proc/{pid}/root{path}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_ino != found.inode:
                return None
            key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            symbols = self._files.get(key)
            if symbols is None:
                if len(self._files) >= _FILES:
                    self._files.clear()
                symbols = self._files[key] = Symbols(descriptor)
            return symbols
        except OSError:
            return None
        finally:
            os.close(descriptor)


def place(pid: int, address: int) -> str:
    """One place, without keeping anything."""
    return Places().find(pid, address)
