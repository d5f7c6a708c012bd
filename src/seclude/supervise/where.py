"""Where in a program a call was made: ``libc.so.6+0xf7f37 (mkdir+0x7)``, from the instruction pointer of the call.

The problem: an address means nothing without the file that is mapped there at that moment. So /proc/PID/maps is read anew for each call, while it
waits; a place remembered from an earlier call may be another library by now. The offset is the address within the file as its symbols and
``addr2line`` count (an ELF virtual address), not a file offset. Symbols come from the file itself, `.symtab` where it has one and `.dynsym` else.

Callers are named as far as the unwind tables lead (`seclude.supervise.unwind`); an address is that of the instruction behind the call.

What can still go wrong: a file that was replaced since it was mapped is another file (its inode is compared, and then only the offset is shown); the target
chooses which files it maps and what is in them, so everything is read with bounds and never mapped here. Sources: elf(5), proc(5).
"""

from __future__ import annotations

import os
import stat
import struct
from bisect import bisect_right

from seclude.supervise.tracer_text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from seclude.supervise.unwind import Tables

__all__ = ["Places", "Symbols", "place"]

_machine = os.uname().machine

_MAPS_LIMIT = 8 << 20
_TABLE_LIMIT = 64 << 20  # bytes of a symbol table, or of its names
_SECTIONS = 4096
_FILES = 64  # symbol tables that are kept
_PT_LOAD, _PT_GNU_EH_FRAME = 1, 0x6474E550
_SYMTAB, _DYNSYM = 2, 11
_FUNCTION, _INDIRECT = 2, 10  # STT_FUNC, STT_GNU_IFUNC


class Mapping:
    """One line of /proc/PID/maps."""

    __slots__ = ("end", "inode", "name", "offset", "start")

    def __init__(self, start: int, end: int, offset: int, inode: int, name: str) -> None:
        self.start = start
        self.end = end
        self.offset = offset
        self.inode = inode
        self.name = name


class Maps:
    """What a process (or thread) has mapped now: read once, looked up often. Empty where it may not be read."""

    __slots__ = ("_lines", "_starts")

    def __init__(self, pid: int) -> None:
        self._lines: list[bytes] = []
        self._starts: list[int] = []
        try:
            with open(f"/proc/{pid}/maps", "rb", buffering=0) as file:
                raw = b""
                while len(raw) < _MAPS_LIMIT and (piece := file.read(1 << 16)):
                    raw += piece
            self._lines = raw.splitlines()
            self._starts = [int(line[: line.index(b"-")], 16) for line in self._lines]
        except (OSError, ValueError):
            self._lines, self._starts = [], []

    def at(self, address: int) -> Mapping | None:
        """The mapping that holds an address."""
        place = bisect_right(self._starts, address) - 1
        if place < 0:
            return None
        bounds, _, rest = self._lines[place].partition(b" ")
        try:
            start, end = (int(word, 16) for word in bounds.split(b"-"))
            _permissions, offset, _device, inode, *name = rest.split(None, 4)
            return Mapping(start, end, int(offset, 16), int(inode), os.fsdecode(name[0]) if name else "") if address < end else None
        except ValueError:
            return None


class Symbols:
    """Functions of one ELF file by address. ``descriptor`` is read with bounds; what is no ELF file, or a broken one, has no symbols."""

    __slots__ = ("_found", "_starts", "loads", "unwinding", "wide")

    def __init__(self, descriptor: int) -> None:
        #: segments: file offset, size in the file, virtual address
        self.loads: list[tuple[int, int, int]] = []
        #: where the table of unwind tables is, in the same form
        self.unwinding: tuple[int, int, int] | None = None
        #: whether it is a file of 64 bits
        self.wide = False
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
        self.wide = head[4] == 2
        wide, order = self.wide, "<" if head[5] == 1 else ">"
        programs, sections = struct.unpack_from(order + ("QQ" if wide else "II"), head, 32 if wide else 28)
        each, count, section_size, section_count = struct.unpack_from(order + "HHHH", head, 54 if wide else 42)
        form = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
        for index in range(min(count, _SECTIONS)):
            words = form.unpack(os.pread(descriptor, form.size, programs + index * each))
            segment = (words[2], words[5], words[3]) if wide else (words[1], words[4], words[2])
            if words[0] == _PT_LOAD:
                self.loads.append(segment)
            elif words[0] == _PT_GNU_EH_FRAME:
                self.unwinding = segment
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
        for start, size, address in self.loads:
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


class _File:
    """What is kept of one file: its functions, and its unwind tables where they were asked for."""

    __slots__ = ("symbols", "tables")

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.tables: Tables | None = None


class Places:
    """Names places, and keeps what it learnt of the files it met. ``callers``: how many callers are named as well."""

    __slots__ = ("_callers", "_files")

    def __init__(self, callers: int = 0) -> None:
        self._callers = callers
        self._files: dict[tuple[int, ...], _File] = {}

    def find(self, pid: int, address: int) -> str:
        """``libc.so.6+0xf7f37 (mkdir+0x7)``; less where less is known, the bare address where nothing is. Callers follow, each after `` < ``."""
        maps = Maps(pid)
        out = [self._named(pid, maps, address)]
        if self._callers:
            out += [self._named(pid, maps, one) for one in self._above(pid, maps, address)]
        return " < ".join(out)

    def _named(self, pid: int, maps: Maps, address: int) -> str:
        found = maps.at(address)
        if found is None:
            return f"{address:#x}"
        if not found.name or found.name.startswith("["):
            return f"{found.name or '[anonymous memory]'}+{address - found.start:#x}"
        offset = address - found.start + found.offset
        # What the target called its file: printable, whatever it is.
        name = quoted(os.fsencode(os.path.basename(found.name)), 128)[1:-1]
        with self._open(pid, found) as opened:
            inside = opened.file.symbols.address(offset) if opened.file is not None else None
            symbol = opened.file.symbols.name(inside) if opened.file is not None and inside is not None else None
        if inside is None:
            return f"{name}+{offset:#x} in the file"
        if symbol is None:
            return f"{name}+{inside:#x}"
        return f"{name}+{inside:#x} ({quoted(symbol[0], 256)[1:-1]}+{symbol[1]:#x})"

    def _above(self, pid: int, maps: Maps, address: int) -> list[int]:
        """Return addresses of the callers, as far as unwind tables lead."""
        if _machine != "x86_64":
            return []
        from seclude.kernel import memory
        from seclude.supervise import unwind

        stack = unwind.stack_pointer(pid)
        if stack is None:
            return []

        def row(at: int) -> unwind.Row | None:
            found = maps.at(at)
            if found is None or not found.name or found.name.startswith("["):
                return None
            with self._open(pid, found) as opened:
                file = opened.file
                inside = file.symbols.address(at - found.start + found.offset) if file is not None else None
                if file is None or inside is None or not file.symbols.wide:
                    return None
                if file.tables is None:
                    file.tables = unwind.Tables(opened.descriptor, file.symbols.loads, file.symbols.unwinding)
                return file.tables.row(opened.descriptor, inside)

        def word(at: int) -> int | None:
            raw = memory.read(pid, at, 8)
            return int.from_bytes(raw, "little") if raw is not None and len(raw) == 8 else None

        return unwind.callers(row, word, address, stack, self._callers)

    def _open(self, pid: int, found: Mapping) -> _Opened:
        path = found.name.removesuffix(" (deleted)")
        try:
            descriptor = os.open(f"/proc/{pid}/root{path}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return _Opened(-1, None)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_ino != found.inode:
            return _Opened(descriptor, None)
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        file = self._files.get(key)
        if file is None:
            if len(self._files) >= _FILES:
                self._files.clear()
            file = self._files[key] = _File(Symbols(descriptor))
        return _Opened(descriptor, file)


class _Opened:
    """A file while it is looked at; ``file`` is None where it is not the one that is mapped."""

    __slots__ = ("descriptor", "file")

    def __init__(self, descriptor: int, file: _File | None) -> None:
        self.descriptor = descriptor
        self.file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def place(pid: int, address: int) -> str:
    """One place, without keeping anything."""
    return Places().find(pid, address)
