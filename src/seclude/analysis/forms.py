r"""The texts that hold a program: each reader gives bytes or instructions, or None where the text is of another form.

Every reader takes time linear in the text, whatever the text is. Instructions carry their place, and a fault in one is a `FilterError` there.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from seclude.bpf import codes
from seclude.errors import Diagnostic, FilterError, Span, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Row", "c_array", "c_string", "decimal", "hexadecimal", "listed"]

_FIELDS = 4

Row = tuple[tuple[int, int, int, int], Span]


def c_string(text: str) -> bytes | None:
    r"""``"\x20\x00\x00..."`` in any number of quoted pieces, or bare; the name that it is given in C or Python does not matter."""
    if "\\x" not in text:
        return None
    rest, count = re.subn(r"\\x[0-9A-Fa-f]{2}", "", text)
    if len(rest) > 300 + 16 * count or not re.fullmatch(r"[\w\s*\[\]]{0,200}=?[\s()\"'b;+\\{}]*", rest):
        return None
    return bytes.fromhex("".join(re.findall(r"\\x([0-9A-Fa-f]{2})", text)))


def hexadecimal(text: str) -> bytes | None:
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


def _row(fields: Iterable[int], span: Span) -> Row:
    code, jt, jf, k = fields
    for what, value, bits in (("code", code, 16), ("jt", jt, 8), ("jf", jf, 8), ("k", k, 32)):
        if not 0 <= value < 1 << bits:
            raise FilterError(Diagnostic(f"{what} = {value} does not fit in {bits} bits", span, "the fields are code, jt, jf, k"))
    return (code, jt, jf, k), span


def decimal(text: str, name: str) -> list[Row] | None:
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


def listed(text: str, name: str) -> list[Row] | None:
    """``0000: 0x20 0x00 0x00 0x00000004  A = arch``: the fields count, the words behind them are for readers."""
    rows: list[Row] = []
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


def c_array(text: str, name: str) -> list[Row] | None:
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
    rows: list[Row] = []
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
