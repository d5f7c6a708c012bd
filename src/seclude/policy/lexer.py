"""Text into logical lines of tokens.

A logical line is one physical line, or several: it goes on while a ``(`` or ``{`` is open, and after a line that ends
with a comma. A line that begins with a word only rules and header lines begin with ends an unclosed bracket, so that
one missing ``)`` does not swallow the rest of a file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from seclude.errors import Diagnostic, PolicyError, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Faults", "LogicalLine", "Token", "decode", "logical_lines", "report"]

#: a report longer than this helps nobody
MOST_FAULTS = 20
#: no call, constant or parameter has a longer name; no 64-bit number more digits
LONGEST_WORD = 64
#: words of one rule; a rule that lists every call of every architecture has a thousand
LONGEST_RULE = 20_000

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\f]+)|(?P<comment>\#.*)|(?P<group>@[A-Za-z0-9_][A-Za-z0-9_-]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)
      |(?P<number>[0-9][0-9A-Za-z_]*)|(?P<op>\.\.|==|!=|<=|>=|<<|[<>&|~(){},:.-])|(?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)
_STARTS = re.compile(
    r"[ \t]*(?:(?:allow|log|notify|kill|kill_thread|kill_process|default|arch|badarch|x32|unknown|negative|tables|include|on)[ \t]"
    r"|(?:errno|trap|trace)[ \t]*\()"
)


class Token(NamedTuple):
    """``kind`` is group, name, number, op or end; ``line`` and ``column`` count from 1."""

    kind: str
    text: str
    line: int
    column: int


class LogicalLine(NamedTuple):
    """The tokens of one rule or header line (an ``end`` token is last), and the first physical line's text."""

    tokens: list[Token]
    line: int
    text: str


class Faults:
    """The faults found so far in one text, and how to place them. Collecting stops at `MOST_FAULTS`."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self.file = file
        self.lines = lines
        self.found: list[Diagnostic] = []

    @property
    def full(self) -> bool:
        return len(self.found) >= MOST_FAULTS

    def span(self, first: Token, last: Token | None = None) -> Span:
        """From ``first`` to the end of ``last``, cut at the end of the first one's line."""
        last = last or first
        source = self.lines[first.line - 1] if first.line <= len(self.lines) else ""
        end = last.column + max(1, len(last.text)) if last.line == first.line else len(source) + 1
        return Span(self.file, first.line, first.column, max(end, first.column + 1), source)

    def add(self, message: str, span: Span | None, remedy: str = "") -> None:
        if not self.full:
            self.found.append(Diagnostic(message, span, remedy))

    def check(self) -> None:
        """Raise `PolicyError` if there is anything to report."""
        if self.found:
            raise PolicyError(self.found)


def report(file: str, faults: Iterable[Diagnostic]) -> PolicyError:
    """The error that shows ``faults`` in the order of the text, the first `MOST_FAULTS` of them."""
    ordered = sorted(faults, key=lambda f: (f.span.file != file, f.span.file, f.span.line, f.span.column) if f.span else (True, "", 0, 0))
    if len(ordered) >= MOST_FAULTS:
        ordered[MOST_FAULTS:] = [Diagnostic(f"{file}: there may be more faults; the first {MOST_FAULTS} are shown")]
    return PolicyError(ordered)


def decode(text: str | bytes, file: str) -> str:
    """UTF-8 bytes, or text, without a byte order mark. Raises `PolicyError` for anything else."""
    if isinstance(text, bytes):
        raw = text
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise PolicyError(
                f"{file}:{line}: not a policy: byte 0x{raw[error.start]:02x} at offset {error.start} is not UTF-8 text",
                "a policy is a text file; compiled filters and binaries cannot be read here",
            ) from None
    return text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")


def _tokens(text: str, number: int, faults: Faults) -> Iterator[Token]:
    count = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "bad"
        if kind in ("blank", "comment"):
            continue
        token = Token(kind, match.group(), number, match.start() + 1)
        if kind == "bad":
            faults.add(f"unexpected character {token.text!r}", faults.span(token), _remedy(token.text))
            if faults.full:
                return
            continue
        if len(token.text) > LONGEST_WORD:
            faults.add(f"a word of {len(token.text)} characters; no name or number is longer than {LONGEST_WORD}", faults.span(token))
            token = Token(kind, token.text[:LONGEST_WORD], number, token.column)
        count += 1
        if count > LONGEST_RULE:
            faults.add(f"more than {LONGEST_RULE} words in one line", faults.span(token), "one rule a line")
            return
        yield token


def _remedy(character: str) -> str:
    match character:
        case "=":
            return "equality is written '=='"
        case "!":
            return "negation is written 'not', inequality '!='"
        case "^" | "+" | "*" | "/" | "%":
            return "the operators are & | ~ << and comparisons"
        case "@":
            return "a group is written @name"
        case "'" | '"':
            return "names are written without quotes"
        case ";":
            return "one rule a line"
    return "" if character.isprintable() else "a policy is plain text"


def logical_lines(faults: Faults) -> Iterator[LogicalLine]:
    """Every non-empty logical line. Unexpected characters are reported and skipped."""
    tokens: list[Token] = []
    depth = 0
    for number, line in enumerate(faults.lines, 1):
        if tokens and depth > 0 and _STARTS.match(line):
            yield _finish(tokens, faults)
            tokens, depth = [], 0
        if faults.full:
            return
        # A raw tail: file names may hold what is no token
        if not tokens and re.match(r"[ \t]*include[ \t]", line):
            yield _include(line, number)
            continue
        before = len(faults.found)
        fresh = list(_tokens(line, number, faults))
        if len(faults.found) > before:
            tokens, depth = [], 0
            continue
        for token in fresh:
            depth += (token.text in "({") - (token.text in ")}") if token.kind == "op" else 0
        tokens += fresh
        if len(tokens) > LONGEST_RULE:
            faults.add(f"more than {LONGEST_RULE} words in one rule", faults.span(tokens[0]), "is a bracket never closed?")
            tokens, depth = [], 0
        if tokens and depth <= 0 and tokens[-1].text != ",":
            yield _finish(tokens, faults)
            tokens, depth = [], 0
    if tokens:
        yield _finish(tokens, faults)


def _finish(tokens: list[Token], faults: Faults) -> LogicalLine:
    last = tokens[-1]
    end = Token("end", "", last.line, last.column + len(last.text))
    return LogicalLine([*tokens, end], tokens[0].line, faults.lines[tokens[0].line - 1])


def _include(line: str, number: int) -> LogicalLine:
    body = re.sub(r"(^|[ \t])#.*", "", line).rstrip()
    start = len(body) - len(body.lstrip())
    word = Token("name", "include", number, start + 1)
    rest = body[start + 7 :]
    name = rest.strip()
    at = start + 7 + (len(rest) - len(rest.lstrip())) + 1
    tokens = [word, *([Token("file", name, number, at)] if name else []), Token("end", "", number, at + len(name))]
    return LogicalLine(tokens, number, line)
