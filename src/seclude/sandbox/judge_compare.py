"""Whether an output is the expected one, and where they part first.

==============  ============================================================================================================
``exact``       every byte
``lines``       line by line; blanks at the end of a line and empty lines at the end of the text do not count (the default)
``tokens``      word by word; how much white space stands between them, and of what kind, does not count
``float:EPS``   as ``tokens``, and two words that are both decimal numbers are equal if they differ by no more than EPS,
                absolutely or relative to the expected one
==============  ============================================================================================================

White space is ASCII's: blank, tab, line feed, carriage return, vertical tab, form feed; so ``lines`` takes CR LF for LF.

The output is a stranger's, as large as its limit permits: work and memory follow the expected text, which is ours. Nothing is split
as a whole, and the comparison ends at the first difference.
"""

from __future__ import annotations

from seclude.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Words = Iterator[tuple[int, bytes]]

__all__ = ["MODES", "Difference", "compare", "read_mode", "shown"]

MODES = ("exact", "lines", "tokens", "float:EPS")
_PIECE = 1 << 14
_SHOWN = 40  # bytes of either side that a difference shows
_NUMBER = frozenset(b"0123456789+-.eE")
_DIGITS = frozenset(b"0123456789")


class Difference:
    """Where an output first differs: ``line`` and ``column`` in the output, from 1 and in bytes; what was found there, and expected.

    ``found`` and ``expected`` are cut to what a person looks at; None where that side has ended.
    """

    __slots__ = ("column", "expected", "found", "line")

    def __init__(self, line: int, column: int, expected: bytes | None, found: bytes | None) -> None:
        self.line = line
        self.column = column
        self.expected = expected
        self.found = found

    def __repr__(self) -> str:
        return f"Difference({self.describe()})"

    def describe(self, *, hints: bool = True) -> str:
        """In words; without ``hints`` nothing of what was expected is told."""
        found = "found the end of the output" if self.found is None else f"found {shown(self.found)}"
        if not hints:
            return f"line {self.line}, column {self.column}: {found}"
        expected = "expected the end of the output" if self.expected is None else f"expected {shown(self.expected)}"
        return f"line {self.line}, column {self.column}: {expected}, {found}"


def shown(raw: bytes) -> str:
    """Bytes as a quoted text in which nothing can steer a terminal, cut."""
    cut = raw[:_SHOWN]
    text = cut.decode("utf-8", "surrogateescape")
    out = []
    for character in text:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif character in '"\\':
            out.append("\\" + character)
        elif character.isprintable():
            out.append(character)
        else:
            named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
            out.append(named or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"))
    return '"' + "".join(out) + '"' + ("..." if len(raw) > _SHOWN else "")


def read_mode(text: str) -> str:
    """``text`` if it names a way to compare. Raises `UsageError`."""
    if text in MODES[:3]:
        return text
    name, colon, rest = text.partition(":")
    if name == "float" and colon:
        epsilon = _number(rest.encode("utf-8", "surrogatepass"))
        if epsilon is not None and epsilon >= 0:
            return text
    raise UsageError(f"{text!r} is no way to compare", f"choose one of {', '.join(MODES)}; EPS is a number such as 1e-6")


def compare(output: bytes, expected: bytes, mode: str = "lines") -> Difference | None:
    """None where ``output`` is as ``expected``, else the first difference. Raises `UsageError` for an unknown ``mode``."""
    mode = read_mode(mode)
    if output == expected:
        return None
    if mode == "exact":
        return _place(output, _prefix(output, expected), expected, _prefix(output, expected))
    if mode == "lines":
        return _lines(output, expected)
    return _words(output, expected, None if mode == "tokens" else float(mode.partition(":")[2]))


def _prefix(one: bytes, other: bytes) -> int:
    """How many bytes at the start are the same: pieces are compared at once, the one that differs by halves."""
    end = min(len(one), len(other))
    at = 0
    step = 1 << 16
    while step:
        while at + step <= end and one[at : at + step] == other[at : at + step]:
            at += step
        step >>= 1
    return at


def _place(output: bytes, at: int, expected: bytes, there: int) -> Difference:
    """The difference at offset ``at`` of the output and ``there`` of the expected text."""
    start = output.rfind(b"\n", 0, at) + 1
    return Difference(output.count(b"\n", 0, at) + 1, at - start + 1, _rest(expected, there), _rest(output, at))


def _rest(text: bytes, at: int) -> bytes | None:
    """What stands at ``at``, to the end of its line (which counts where it is all there is)."""
    if at >= len(text):
        return None
    end = text.find(b"\n", at, at + _SHOWN + 1)
    return text[at : at + _SHOWN + 1] if end < 0 else text[at : max(end, at + 1)]


def _lines(output: bytes, expected: bytes) -> Difference | None:
    same = _prefix(output, expected)
    # What comes before the last line that both begin alike is the same; blanks that end a line before it, too.
    at = there = output.rfind(b"\n", 0, same) + 1
    last_out, last_expected = len(output.rstrip()), len(expected.rstrip())
    while True:
        mine, next_mine = _line(output, at, last_out)
        theirs, next_theirs = _line(expected, there, last_expected)
        if mine != theirs:
            within = _prefix(mine or b"", theirs or b"")
            return _difference(output, at, mine, theirs, within)
        if mine is None:
            return None
        at, there = next_mine, next_theirs


def _line(text: bytes, at: int, last: int) -> tuple[bytes | None, int]:
    """The line at ``at`` without the blanks at its end, and where the next begins; None behind the last that has anything on it."""
    if at >= last:
        return None, at
    end = text.find(b"\n", at)
    end = len(text) if end < 0 else end
    return text[at:end].rstrip(), end + 1


def _difference(output: bytes, at: int, mine: bytes | None, theirs: bytes | None, within: int) -> Difference:
    """What parts ``within`` bytes into the line or word ``mine`` at ``at`` of the output, and ``theirs``; None for one that is not there."""
    at = min(at, len(output))
    start = output.rfind(b"\n", 0, at) + 1
    found = mine[within:][: _SHOWN + 1] if mine is not None else None
    wanted = theirs[within:][: _SHOWN + 1] if theirs is not None else None
    return Difference(output.count(b"\n", 0, at) + 1, at - start + within + 1, wanted, found)


def _words(output: bytes, expected: bytes, epsilon: float | None) -> Difference | None:
    equal: Callable[[bytes, bytes], bool] = (lambda one, other: one == other) if epsilon is None else _near(epsilon)
    mine, theirs = _each_word(output), _each_word(expected)
    for _, wanted in theirs:
        at, found = next(mine, (len(output.rstrip()), b""))
        if found != wanted and not (found and equal(found, wanted)):
            return _difference(output, at, found or None, wanted, 0)
    at, found = next(mine, (0, b""))
    return _difference(output, at, found, None, 0) if found else None


def _each_word(text: bytes) -> Words:
    """(offset, word), splitting a piece at a time: a text of single letters would else be forty times its size."""
    at = 0
    end = len(text)
    while at < end:
        stop = min(at + _PIECE, end)
        piece = text[at:stop]
        if stop < end and not piece[-1:].isspace():
            # The last word may go on: leave it to the next piece, or take all of it where it is longer than a piece.
            head = piece.rsplit(None, 1)
            cut = len(piece) - len(head[-1]) if head else len(piece)
            if cut == 0:
                stop = _end_of_word(text, stop)
            else:
                stop = at + cut
            piece = text[at:stop]
        offset = 0
        for word in piece.split():
            offset = piece.find(word, offset)
            yield at + offset, word
            offset += len(word)
        at = stop


def _end_of_word(text: bytes, at: int) -> int:
    while at < len(text):
        piece = text[at : at + _PIECE]
        first = piece.split(None, 1)
        if piece[:1].isspace():
            return at
        if first and len(first[0]) < len(piece):
            return at + len(first[0])
        at += len(piece)
    return len(text)


def _near(epsilon: float) -> Callable[[bytes, bytes], bool]:
    def near(found: bytes, wanted: bytes) -> bool:
        one, other = _number(found), _number(wanted)
        if one is None or other is None:
            return found == wanted
        return abs(one - other) <= max(epsilon, epsilon * abs(other))

    return near


def _number(word: bytes) -> float | None:
    """A finite decimal number, as C's printf writes it; None for any other word, of which Python would take some (``1_0``, ``nan``)."""
    if len(word) > 400 or not _NUMBER.issuperset(word) or _DIGITS.isdisjoint(word):
        return None
    try:
        value = float(word)
    except ValueError:
        return None
    return value if abs(value) != float("inf") else None
