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
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from seclude.bpf import codes
from seclude.bpf.program import Program
from seclude.bpf.validator import KNOWN_CODES
from seclude.errors import Diagnostic, FilterError, Span, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.abi import Architecture
    from seclude.bpf.assembler import Assembly

__all__ = ["LARGEST", "Source", "assemble_source", "read_bytes", "read_source", "source_of"]

#: bytes of a file that are read: the kernel takes 32 KiB of a program, and no text of one comes near this
LARGEST = 4 << 20
_FIELDS = 4


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
        raise FilterError(f"{name}: {error.strerror or error}", "name a file that holds a filter, or - for stdin") from None
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
    if byteorder not in (None, "little", "big"):
        raise UsageError(f"byte order {byteorder!r} is neither 'little' nor 'big'")
    shown = _shown(name)
    _refuse_others(raw, shown)
    text = _as_text(raw)
    if text is None:
        return _of_bytes(raw, shown, "raw", arch, byteorder)
    for form, reader in (("string", _escapes), ("hex", _hexadecimal)):
        found = reader(text)
        if found is not None:
            return _of_bytes(found, shown, form, arch, byteorder)
    for form, lines in (("ddd", _decimal), ("listing", _listing), ("c", _c_array)):
        fields = lines(text, shown)
        if fields is not None:
            return _of_fields(fields, shown, form, arch, byteorder)
    assembly = assemble_source(text, name, arch=arch, byteorder=byteorder)
    return Source(assembly.program, shown, "asm", (), assembly.spans)


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


def _escapes(text: str) -> bytes | None:
    r"""``"\x20\x00\x00..."`` in any number of quoted pieces, or bare; the name that it is given in C or Python does not matter."""
    if "\\x" not in text:
        return None
    rest, count = re.subn(r"\\x[0-9A-Fa-f]{2}", "", text)
    if len(rest) > 300 + 16 * count or not re.fullmatch(r"[\w\s*\[\]]{0,200}=?[\s()\"'b;+\\{}]*", rest):
        return None
    return bytes.fromhex("".join(re.findall(r"\\x([0-9A-Fa-f]{2})", text)))


def _hexadecimal(text: str) -> bytes | None:
    """Pairs of digits, blanks anywhere between pairs; ``0x20, 0x00, ...`` bytes; the columns of ``xxd`` and ``hexdump -C``."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    if (
        lines
        and all(re.match(_DUMP, line) or re.fullmatch(_DUMP_END, line) for line in lines)
        and any(re.match(_DUMP, line) for line in lines)
    ):
        return _even("".join(m["bytes"] for line in lines if (m := re.match(_DUMP, line))))
    tokens = [token for token in re.split(r"[\s,;{}\[\]]+", " ".join(lines)) if token]
    if len(tokens) >= 8 and all(re.fullmatch(r"0[xX][0-9A-Fa-f]{1,2}", token) for token in tokens):
        return bytes(int(token, 16) for token in tokens)
    if all(re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", token) for token in tokens) and sum(map(len, tokens)) >= 16:
        return bytes.fromhex("".join(tokens))
    return None


# compiled when first used: bytes are read without them
_DUMP = r"^[0-9A-Fa-f]{6,8}(?::|\s)\s*(?P<bytes>(?:[0-9A-Fa-f]{2,4}\s{1,2}){1,16}?)(?:\s*\|.*|\s.*|)$"
_DUMP_END = r"[0-9A-Fa-f]{6,8}|\*"


def _even(columns: str) -> bytes | None:
    digits = re.sub(r"\s", "", columns)
    return bytes.fromhex(digits) if len(digits) % 2 == 0 else None


# ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_Row = tuple[tuple[int, int, int, int], Span]


def _of_fields(rows: list[_Row], name: str, form: str, arch: Architecture | str | None, byteorder: str | None) -> Source:
    order = byteorder or (_find(arch).byteorder if arch is not None else "little")
    return Source(Program((fields for fields, _ in rows), order), name, form, (), tuple(span for _, span in rows))


def _row(fields: Iterable[int], span: Span) -> _Row:
    code, jt, jf, k = fields
    for what, value, bits in (("code", code, 16), ("jt", jt, 8), ("jf", jf, 8), ("k", k, 32)):
        if not 0 <= value < 1 << bits:
            raise FilterError(Diagnostic(f"{what} = {value} does not fit in {bits} bits", span, "the fields are code, jt, jf, k"))
    return (code, jt, jf, k), span


def _decimal(text: str, name: str) -> list[_Row] | None:
    """``tcpdump -ddd``: a line with the count, then ``code jt jf k`` in decimal."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if (
        len(lines) < 2
        or not re.fullmatch(r"\s*\d{1,9}\s*", lines[0][1])
        or not all(re.fullmatch(r"\s*\d{1,10}(?:\s+\d{1,10}){3}\s*", line) for _, line in lines[1:])
    ):
        return None
    rows = [_row(map(int, line.split()), _whole(name, number, line)) for number, line in lines[1:]]
    count = lines[0][1].strip()
    if int(count) != len(rows):
        raise FilterError(
            Diagnostic(
                f"the first line promises {count} instructions, {len(rows)} follow",
                _whole(name, *lines[0]),
                "check that nothing was cut off",
            )
        )
    return rows


def _listing(text: str, name: str) -> list[_Row] | None:
    """``0000: 0x20 0x00 0x00 0x00000004  A = arch``: the fields count, the words behind them are for readers."""
    rows: list[_Row] = []
    others = 0
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(_LISTED, line)
        if match is None:
            others += bool(line.strip())
            continue
        if len(rows) != int(match["line"]):
            raise FilterError(
                Diagnostic(
                    f"line {int(match['line']):04d} of the listing follows {len(rows)} others",
                    _whole(name, number, line),
                    "lines are numbered from 0000, without gaps",
                )
            )
        rows.append(_row((int(match[field], 16) for field in ("code", "jt", "jf", "k")), _whole(name, number, line)))
    return rows if rows and others <= len(rows) + 16 else None


_LISTED = r"^\s*(?P<line>\d{1,5}):?\s+0x(?P<code>[0-9A-Fa-f]{1,4})\s+0x(?P<jt>[0-9A-Fa-f]{1,2})\s+0x(?P<jf>[0-9A-Fa-f]{1,2})\s+0x(?P<k>[0-9A-Fa-f]{1,8})(?:\s|$)"


def _whole(name: str, number: int, line: str) -> Span:
    start = len(line) - len(line.lstrip())
    return Span(name, number, start + 1, max(start + 1, len(line.rstrip())) + 1, line)


_ENTRY = r"BPF_(?P<macro>STMT|JUMP)\s*\(|\{(?P<body>[^{}]*)\}"


def _c_array(text: str, name: str) -> list[_Row] | None:
    """``BPF_STMT(code, k)``, ``BPF_JUMP(code, k, jt, jf)`` and ``{ code, jt, jf, k }``, with expressions of numbers and header names."""
    code = re.sub(r"/\*.*?(?:\*/|\Z)|//[^\n]*", lambda m: _blank(m.group()), text, flags=re.DOTALL)
    entry = re.compile(_ENTRY)
    if not any(match["macro"] or match["body"].count(",") >= _FIELDS - 1 for match in entry.finditer(code)):
        return None
    array = re.search(r"sock_filter\s+\w+\s*\[[^\]]*\]\s*=\s*\{", code)
    if array is not None:  # what stands before and behind is other C
        end = code.find("};", array.end())
        end = len(code) if end < 0 else end
        code = _blank(code[: array.end()]) + code[array.end() : end] + _blank(code[end:])
    entry = re.compile(_ENTRY)
    if not any(match["macro"] or match["body"].count(",") >= _FIELDS - 1 for match in entry.finditer(code)):
        return None
    if "sock_filter" in code:  # what stands before the array is other C
        code = re.sub(r"\A.*?sock_filter", lambda m: re.sub(r"[^\n]", " ", m.group()), code, count=1, flags=re.DOTALL)
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    lines = text.splitlines()
    rows: list[_Row] = []
    place = 0

    while match := entry.search(code, place):
        body = match["body"]
        if body is not None and ("BPF_STMT" in body or "BPF_JUMP" in body):
            place = match.start() + 1  # the array's own braces
            continue
        start, end = (match.end(), _closing(code, match.end())) if body is None else (match.start() + 1, match.end() - 1)
        number = bisect_right(starts, match.start()) - 1
        line = lines[number] if number < len(lines) else ""
        column = match.start() - starts[number] + 1
        span = Span(name, number + 1, column, min(end - starts[number] + 2, len(line) + 1), line)
        fields = [_c_value(part, span) for part in _parts(code[start:end])]
        wanted = {"STMT": 2, "JUMP": 4}.get(match["macro"] or "", _FIELDS)
        if len(fields) != wanted:
            raise FilterError(
                Diagnostic(
                    f"{len(fields)} values where {wanted} belong", span, "BPF_STMT(code, k), BPF_JUMP(code, k, jt, jf) or {code, jt, jf, k}"
                )
            )
        if match["macro"]:
            fields = [fields[0], *(fields[2:] or [0, 0]), fields[1]]
        fields[3] &= 0xFFFFFFFF if -0x80000000 <= fields[3] < 0 else -1
        rows.append(_row(fields, span))
        place = end + 1
    return rows


def _blank(text: str) -> str:
    """Blanks in its place, so that lines and columns stay what they are."""
    return re.sub(r"[^\n]", " ", text)


def _closing(code: str, start: int) -> int:
    """The parenthesis that closes a macro; far away none is looked for."""
    depth = 0
    for place in range(start, min(len(code), start + 4096)):
        character = code[place]
        if depth == 0 and character == ")":
            return place
        depth += (character in "({") - (character in ")}")
    return min(len(code), start + 4096)


def _parts(text: str) -> list[str]:
    """Split at commas outside brackets; designators (``.code =``) are dropped, as the fields keep their order."""
    parts, depth, current = [], 0, ""
    for character in text:
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
            continue
        depth += (character in "({[") - (character in ")}]")
        current += character
    if current.strip():
        parts.append(current)
    return [re.sub(r"^\s*\.\w+\s*=", "", part).strip() for part in parts]


def _c_value(text: str, span: Span) -> int:
    from seclude.bpf.assembler import constant_value
    from seclude.bpf.expression import Fault, Tokens, evaluate, expression, tokenize

    spelt = re.sub(r"\(\s*(?:__u32|uint32_t|unsigned(?: int)?|int|long)\s*\)", "", text)
    spelt = re.sub(r"\boffsetof\s*\(\s*struct\s+seccomp_data\s*,\s*([\w.\[\]]+)\s*\)", lambda m: str(_offset(m.group(1), span)), spelt)
    spelt = re.sub(r"\b((?:0[xX][0-9A-Fa-f]+|\d+))[uUlL]+\b", r"\1", spelt)
    spelt = re.sub(r"\b(?:__NR_|SYS_)(\w+)", r"\1", spelt)
    try:
        tokens = Tokens(tokenize(spelt))
        value = evaluate(expression(tokens), constant_value)
        if tokens.peek().kind != "end":
            raise Fault(f"unexpected {tokens.peek().text!r}", tokens.peek())
    except Fault as fault:
        raise FilterError(Diagnostic(f"{text[:60]!r}: {fault.message}", span, fault.remedy)) from None
    return value


def _offset(field: str, span: Span) -> int:
    try:
        return codes.offsetof(field)
    except (FilterError, UsageError) as error:
        raise FilterError(Diagnostic(error.diagnostics[0].message, span, error.diagnostics[0].remedy)) from None
