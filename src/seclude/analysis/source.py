r"""A filter from a file, in whatever form it was written down.

Forms, told apart by their content: raw ``struct sock_filter`` bytes; hexadecimal text of those bytes; a C string of ``\x`` escapes; arrays
of instructions in C, as ``BPF_STMT``/``BPF_JUMP`` or braces; the decimal lines of ``tcpdump -ddd``; a listing with the four fields of each line;
and assembly text. Bytes have no mark of their byte order: without being told, the one is taken in which fewer opcodes are impossible.

A file that is something else (an ELF program, JSON, a policy) is named for what it is. Nothing is judged here beyond that: a program
that the kernel would refuse is read, and ``seclude.bpf.validate`` says why it would not load.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from seclude.analysis.forms import Row, c_array, c_string, decimal, hexadecimal, listed
from seclude.bpf import codes
from seclude.bpf.program import Program
from seclude.bpf.validator import KNOWN_CODES
from seclude.errors import FilterError, Span, UsageError

if TYPE_CHECKING:
    from seclude.abi import Architecture
    from seclude.bpf.assembler import Assembly

__all__ = ["LARGEST", "Source", "assemble_source", "read_bytes", "read_source", "source_of", "written"]

#: bytes of a file that are read: the kernel takes 32 KiB of a program, and no text of one comes near this
LARGEST = 4 << 20


class Source(NamedTuple):
    """A program with where it came from: ``form`` is raw, hex, string, c, ddd, listing or asm; ``notes`` say what was taken for granted or left
    over; ``spans`` hold the place of each instruction in a text, and are empty for bytes. ``left`` are bytes after the last whole instruction.
    """

    program: Program
    name: str
    form: str
    notes: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    left: int = 0


def read_bytes(name: str) -> bytes:
    """The content of a file, or of stdin for ``-``. Raises `FilterError` where it cannot be read, or is larger than `LARGEST`."""
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with open(name, "rb") as file:
                raw = file.read(LARGEST + 1)
    except OSError as error:
        raise FilterError(f"{name}: {error.strerror or error}", "name a file that is there, or - for standard input") from None
    except ValueError as error:
        raise FilterError(f"{name!r}: {error}") from None
    if len(raw) > LARGEST:
        raise FilterError(
            f"{_shown(name)}: larger than {LARGEST >> 20} MiB", f"a filter has at most {codes.BPF_MAXINSNS} instructions of 8 bytes"
        )
    return raw


def read_source(name: str, *, arch: Architecture | str | None = None, byteorder: str | None = None) -> Source:
    """The program in a file. ``arch`` and ``byteorder`` say whose it is where the content does not. Raises `FilterError`."""
    return source_of(read_bytes(name), name, arch=arch, byteorder=byteorder)


def source_of(raw: bytes, name: str, *, arch: Architecture | str | None = None, byteorder: str | None = None) -> Source:
    """As `read_source`, for content that is at hand."""
    _refuse_others(raw, _shown(name))
    found = written(raw, name, arch=arch, byteorder=byteorder)
    if found is not None:
        return found
    assembly = assemble_source(raw.decode("utf-8-sig"), name, arch=arch, byteorder=byteorder)
    return Source(assembly.program, _shown(name), "asm", (), assembly.spans)


def written(
    raw: bytes, name: str, *, form: str | None = None, arch: Architecture | str | None = None, byteorder: str | None = None
) -> Source | None:
    """The program in any form but assembly, or in this ``form``; None for a text of no such form. Raises `FilterError`."""
    if byteorder not in (None, "little", "big"):
        raise UsageError(f"byte order {byteorder!r} is neither 'little' nor 'big'")
    shown = _shown(name)
    text = None if form == "raw" else _as_text(raw)
    if text is None:
        return _of_bytes(raw, shown, "raw", arch, byteorder) if form in (None, "raw") else None
    for one, reader in (("string", c_string), ("hex", hexadecimal)):
        found = reader(text) if form in (None, one) else None
        if found is not None:
            return _of_bytes(found, shown, one, arch, byteorder)
    for one, lines in (("ddd", decimal), ("listing", listed), ("c", c_array)):
        fields = lines(text, shown) if form in (None, one) else None
        if fields is not None:
            return _of_fields(fields, shown, one, arch, byteorder)
    return None


def assemble_source(text: str, name: str, *, arch: Architecture | str | None = None, byteorder: str | None = None) -> Assembly:
    """Assembly text whose ``include "FILE"`` lines are read from beside the file that names them. Raises `FilterError` with every fault."""
    from seclude.bpf.assembler import read_assembly

    return read_assembly(text, file=_shown(name), arch=arch, byteorder=byteorder, include=_include)


def _include(wanted: str, including: str) -> tuple[str, str]:
    path = os.path.normpath(os.path.join(os.path.dirname(including), wanted))
    text = _as_text(read_bytes(path))
    if text is None:
        raise FilterError(f"{path}: not text", "only assembly text can be included")
    return path, text


def _shown(name: str) -> str:
    return "<stdin>" if name == "-" else name


# ── what it is not ──────────────────────────────────────────────────────────────────────────────────────────────────


def _refuse_others(raw: bytes, name: str) -> None:
    if not raw.strip():
        raise FilterError(f"{name}: empty" if not raw else f"{name}: nothing but blanks", "a filter has at least one instruction: a RET")
    if raw.startswith(b"\x7fELF"):
        raise FilterError(f"{name}: an ELF program, not a filter", f"what it installs is shown by: seclude dump -- {name}")
    for magic, what in _MAGIC.items():
        if raw.startswith(magic):
            raise FilterError(f"{name}: {what}, not a filter", "give the filter itself: raw instructions, hexadecimal, C or assembly text")
    text = raw[:200].lstrip()
    if text.startswith(b"{") and b'"' in text.split(b"\n", 2)[0] + text[:80]:
        raise FilterError(f"{name}: JSON, not a filter", "give the filter itself: raw instructions, hexadecimal, C or assembly text")
    if b"\0" not in raw and re.match(rb"(?:#[^\n]*\n|\s)*(?:default|tables)\s+\w|(?:#[^\n]*\n|\s)*include\s+[\w@]", raw):
        raise FilterError(f"{name}: a policy, not a filter", "a policy says what is meant; compile it first")


_MAGIC = {
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ\0": "an xz archive",
    b"(\xb5/\xfd": "a zstd archive",
    b"%PDF": "a PDF document",
    b"\xd4\xc3\xb2\xa1": "a packet capture",
    b"\xa1\xb2\xc3\xd4": "a packet capture",
    b"#!": "a script",
}


def _as_text(raw: bytes) -> str | None:
    """The content as text, or None where it is bytes: every program has a zero byte in each opcode, no text has one."""
    if b"\0" in raw:
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return text


# ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_bytes(raw: bytes, name: str, form: str, arch: Architecture | str | None, byteorder: str | None) -> Source:
    left = len(raw) % 8
    whole = raw[: len(raw) - left]
    if not whole:
        raise FilterError(
            f"{name}: {len(raw)} byte{'s' if len(raw) != 1 else ''}, and one instruction has 8", "check that nothing was cut off"
        )
    order, notes = _byteorder(whole, arch, byteorder)
    if left:
        notes.append(f"{left} byte{'s' if left > 1 else ''} left over at offset {len(whole)}: cut off, or something was appended")
    program = Program.from_bytes(whole, order)
    if all(one.code > 0xFF for one in program):
        if notes and byteorder is not None:
            raise FilterError(f"{name}: {notes[0]}", "leave out --byteorder")
        raise FilterError(
            f"{name}: no seccomp filter: none of its {len(program)} instructions is one, in either byte order",
            "what is read: raw instructions, hexadecimal, C arrays, listings, assembly text",
        )
    return Source(program, name, form, tuple(notes), (), left)


def _byteorder(raw: bytes, arch: Architecture | str | None, asked: str | None) -> tuple[str, list[str]]:
    """The byte order to read with, and what is to be said about it. What was asked for is taken, and doubted aloud."""
    expected = asked or (_find(arch).byteorder if arch is not None else None)
    wrong = {order: _impossible(raw, order) for order in ("little", "big")}
    if expected is not None:
        other = "big" if expected == "little" else "little"
        if wrong[expected] > 0 and wrong[other] == 0:
            said = f"the opcodes make sense as {other}-endian only, and not as {expected}-endian"
            if asked is not None:
                return expected, [f"{said}, which was asked for"]
            return other, [f"{said}, which {_find(arch).name} would be: read as {other}-endian" if arch is not None else said]
        return expected, []
    order = min(wrong, key=lambda one: (wrong[one], one != sys.byteorder))
    if order != sys.byteorder:
        return order, [f"read as {order}-endian: the opcodes make no sense as {sys.byteorder}-endian"]
    return order, []


def _impossible(raw: bytes, order: str) -> int:
    """How many opcodes are none. Counted over different ones, since a program has few."""
    counts: dict[bytes, int] = {}
    for at in range(0, len(raw), 8):
        code = raw[at : at + 2]
        counts[code] = counts.get(code, 0) + 1
    big = order == "big"
    return sum(count for code, count in counts.items() if int.from_bytes(code, "big" if big else "little") not in KNOWN_CODES)


def _find(arch: Architecture | str | None) -> Architecture:
    from seclude.abi import arch as find

    assert arch is not None
    return find(arch)


def _of_fields(rows: list[Row], name: str, form: str, arch: Architecture | str | None, byteorder: str | None) -> Source:
    order = byteorder or (_find(arch).byteorder if arch is not None else "little")
    return Source(Program((fields for fields, _ in rows), order), name, form, (), tuple(span for _, span in rows))
