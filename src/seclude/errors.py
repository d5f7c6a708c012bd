"""One exception tree, split by whose fault it is.

``SecludeError``
├── ``InputError``      what was given: a policy, a filter, a file. Mend the input.
│   ├── ``PolicyError``     a policy's text or values
│   ├── ``FilterError``     BPF bytes, assembly text or instructions
│   └── ``UsageError``      an argument of a command or of a function
├── ``KernelError``     what this kernel, or this user's rights, cannot do. Move, upgrade or ask for less.
├── ``BudgetError``      the input is valid but beyond a stated budget (4096 instructions, diagram nodes).
└── ``InternalError``   ours. Report it.

Every error says where, what was expected, what was found and what to do; a command prints it without a
traceback and ends with ``exit_code`` (125, as of ``env(1)`` and ``timeout(1)``: the tool's own failure).

Nothing is imported here: the run path pays for this module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "OWN_FAILURE",
    "BudgetError",
    "Diagnostic",
    "FilterError",
    "InputError",
    "InternalError",
    "KernelError",
    "PolicyError",
    "SecludeError",
    "Span",
    "UsageError",
    "nearest",
    "printable",
]

OWN_FAILURE = 125


class Span:
    """A place in a text: ``line`` and ``column`` count from 1, ``end`` is the column after the last character.

    ``source`` is the whole line, kept so that an error can show it after the file is gone.
    """

    __slots__ = ("column", "end", "file", "line", "source")

    def __init__(self, file: str, line: int, column: int, end: int, source: str = "") -> None:
        self.file = file
        self.line = line
        self.column = column
        self.end = end
        self.source = source

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def __repr__(self) -> str:
        return f"Span({self.file!r}, {self.line}, {self.column}, {self.end})"


class Diagnostic:
    """One fault or remark: a message, the place it belongs to, and what to do about it."""

    __slots__ = ("message", "remedy", "severity", "span")

    def __init__(self, message: str, span: Span | None = None, remedy: str = "", severity: str = "error") -> None:
        self.message = message
        self.span = span
        self.remedy = remedy
        self.severity = severity

    def __str__(self) -> str:
        if self.span is None:
            return self.message + (f"\n  {self.remedy}" if self.remedy else "")
        lines = [f"{self.span}: {self.severity}: {self.message}"]
        if self.span.source:
            shown, caret = _excerpt(self.span)
            lines += [f"    {shown}", f"    {caret}"]
        if self.remedy:
            lines.append(f"  {self.remedy}")
        return "\n".join(lines)


def _excerpt(span: Span, width: int = 100) -> tuple[str, str]:
    """The source line and a caret line under it, cut to ``width`` around the span; control characters made visible."""
    start = max(0, span.column - 1)
    stop = max(start + 1, span.end - 1)
    left = max(0, start - width // 2)
    piece = span.source[left : left + width]
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in piece)
    prefix = "\N{HORIZONTAL ELLIPSIS}" if left else ""
    suffix = "\N{HORIZONTAL ELLIPSIS}" if left + width < len(span.source) else ""
    length = max(1, min(stop, left + width) - start)
    return prefix + shown + suffix, " " * (len(prefix) + start - left) + "^" * length


class SecludeError(Exception):
    """The root. ``diagnostics`` holds every fault found; ``str()`` shows them all."""

    exit_code = OWN_FAILURE

    def __init__(self, message: str | Diagnostic | Iterable[Diagnostic], remedy: str = "") -> None:
        if isinstance(message, str):
            self.diagnostics: tuple[Diagnostic, ...] = (Diagnostic(message, None, remedy),)
        elif isinstance(message, Diagnostic):
            self.diagnostics = (message,)
        else:
            self.diagnostics = tuple(message)
        super().__init__("\n".join(str(d) for d in self.diagnostics))


class InputError(SecludeError):
    """What was given is wrong. The message says where, and what was expected instead."""


class PolicyError(InputError):
    """A policy's text or values are wrong; all faults of a file are reported together."""


class FilterError(InputError):
    """BPF bytes, instructions or assembly text that cannot be a seccomp filter."""


class UsageError(InputError):
    """An argument of a command or of a function that cannot be meant."""


class KernelError(SecludeError):
    """The kernel, or this user's rights in it, cannot do what was asked. ``errno`` is the kernel's answer, or 0."""

    def __init__(self, message: str | Diagnostic | Iterable[Diagnostic], remedy: str = "", errno: int = 0) -> None:
        super().__init__(message, remedy)
        self.errno = errno


class BudgetError(SecludeError):
    """Valid, but beyond a stated budget. The message names the budget and what is large."""


class InternalError(SecludeError):
    """A fault of Seclude itself: a proof that failed, a broken invariant. Nothing was loaded. Please report it."""


def printable(text: str) -> str:
    r"""``text`` with everything but line ends and printable characters escaped; bytes that were not UTF-8 as ``\xff``."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    out = []
    for character in text:
        code = ord(character)
        if character == "\n" or character.isprintable():
            out.append(character)
        elif 0xDC80 <= code <= 0xDCFF:  # surrogateescape
            out.append(f"\\x{code - 0xDC00:02x}")
        else:
            out.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(out)


def nearest(word: str, candidates: Iterable[str]) -> str:
    """The candidate most like ``word``, or ``""``: for "did you mean". Imported lazily, used only on the way out."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return found[0] if found else ""
