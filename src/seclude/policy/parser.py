r"""The policy language: a worked policy, then the whole grammar.

::

    # editor.seclude
    default errno(EPERM)                  # required, here or in an included policy
    arch    native, compat                # omitted: native
    tables  6.18                          # the tables this was written with
    include container                     # a preset, or a file beside this one
    allow   @base, @memory, exit_group
    allow   openat(flags & (O_ACCMODE | O_CREAT | O_TRUNC) == O_RDONLY)
    allow   socket(domain in {AF_UNIX, AF_INET, AF_INET6})
    allow   lseek(offset in 0..0xffff and whence != SEEK_END), read,
            write(fd:u64 <= 2)            # a line goes on after a comma and inside brackets
    on x86: allow set_thread_area
    errno(ENOSYS)  clone3
    kill    ptrace, process_vm_writev

One rule or header line a logical line, ``#`` to the end of a line is a comment, blank lines are nothing::

    policy     := { header | include | rule }
    header     := ("default" | "badarch" | "x32" | "unknown" | "negative") action
                | "arch" ARCH {"," ARCH}              # an architecture's name, native, compat
                | "tables" VERSION                    # 6.18
    include    := "include" NAME                      # a file name if it has a "/" or ends in ".seclude"; else a preset
    rule       := ["on" ARCH {"," ARCH} ":"] action call {"," call}
    action     := "allow" | "log" | "notify" | "kill" | "kill_process" | "kill_thread"
                | "errno" "(" (NAME | NUMBER) ")" | ("trap" | "trace") ["(" NUMBER ")"]
    call       := (NAME | NUMBER) ["(" condition ")"] | "@" GROUP

    condition  := conjunct {"or" conjunct}
    conjunct   := inversion {"and" inversion}
    inversion  := "not" inversion | comparison
    comparison := sum {("==" | "!=" | "<" | "<=" | ">" | ">=") sum} [["not"] "in" (set | range)]
    set        := "{" sum {"," sum} [","] "}"
    range      := sum ".." sum                        # both ends included
    sum        := product {"|" product}               # Python's precedence: | then & then << then ~ -
    product    := shift {"&" shift}                   # and all of them before comparisons
    shift      := unary {"<<" unary}
    unary      := ("~" | "-") unary | NUMBER | name [":" "u64"] | "(" condition ")"
    name       := a parameter (man page or kernel name), "arg0".."arg5", "ip", a C constant, "NULL"
    NUMBER     := 10, 0x1f, 0o755, 0b101, 1_000

A bare expression is a condition that holds where it is not zero, as in Python: ``flags & O_CREAT`` means
``flags & O_CREAT != 0``. A group takes no condition. A header line may stand anywhere, once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from seclude.errors import Diagnostic, PolicyError, nearest
from seclude.policy.lexer import Faults, decode, logical_lines
from seclude.policy.line import ACTIONS, Line, LineError, read_architecture
from seclude.policy.nodes import HEADER_ACTIONS, Action, Call, Header, Include, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.errors import Span
    from seclude.policy.lexer import LogicalLine
    from seclude.policy.nodes import Condition

    #: (name as written, file of the including text) → (file, text)
    Opener = Callable[[str, str], tuple[str, str | bytes]]

__all__ = ["Parsed", "parse_action", "parse_call", "parse_condition", "parse_items"]

HEADER_WORDS = (*HEADER_ACTIONS, "arch", "tables", "include", "on")
DEEPEST_INCLUDE = 16
#: PATH_MAX of linux/limits.h
LONGEST_PATH = 4096


class _File:
    """One text being read: its items and header lines, and every fault in it."""

    def __init__(self, text: str | bytes, file: str, opener: Opener, above: tuple[str, ...]) -> None:
        source = decode(text, file)
        self.source = source
        self.lines = [line.removesuffix("\r") for line in source.split("\n")]
        self.faults = Faults(file, self.lines)
        self.file = file
        self.opener = opener
        self.above = (*above, file)
        self.items: list[Rule | Include] = []
        self.header: dict[str, Action | tuple[str, ...] | str] = {}
        self.spans: dict[str, Span] = {}
        self.sources: list[tuple[str, str]] = [(file, source)]
        self.inner: list[Diagnostic] = []

    def read(self) -> None:
        for line in logical_lines(self.faults):
            if self.faults.full:
                return
            try:
                self.line(Line(line.tokens, self.faults), line)
            except LineError:
                continue

    def line(self, line: Line, logical: LogicalLine) -> None:
        word = line.token
        if word.kind == "name" and word.text in HEADER_ACTIONS:
            line.take()
            action = line.action()
            line.end(f"{word.text!r} and its action")
            self.state(word.text, action, line)
        elif word.kind == "name" and word.text == "arch":
            line.take()
            first = line.at
            names = line.names("an architecture, native or compat")
            line.end("the architectures")
            resolved = tuple(
                n if n in ("native", "compat") else read_architecture(n, line, line.tokens[first + 2 * i]) for i, n in enumerate(names)
            )
            for i, name in enumerate(resolved):
                if name in resolved[:i]:
                    raise line.fail(f"{name} is listed twice", line.tokens[first + 2 * i])
            self.state("arch", resolved, line)
        elif word.kind == "name" and word.text == "tables":
            line.take()
            version = re.match(r"[ \t]*tables[ \t]+([0-9]+(?:\.[0-9]+){1,2})[ \t]*(#.*)?$", logical.text)
            if version is None:
                raise line.fail(f"expected a kernel version such as 6.18 after 'tables', found {line.found()}")
            self.state("tables", version.group(1), line)
        elif word.kind == "name" and word.text == "include":
            line.take()
            self.include(line)
        else:
            if word.kind != "name" or word.text not in (*ACTIONS, "on"):
                guess = nearest(word.text, (*ACTIONS, *HEADER_WORDS)) if word.kind == "name" else ""
                raise line.fail(
                    f"expected an action or a header line, found {word.text!r}" + (f"; did you mean {guess!r}?" if guess else ""),
                    remedy="a rule begins with an action, as in: allow read, write",
                )
            self.items.append(line.rule())

    def state(self, word: str, value: Action | tuple[str, ...] | str, line: Line) -> None:
        if word in self.header:
            raise line.fail(f"{word!r} is stated twice; the first is in line {self.spans[word].line}", line.tokens[0])
        self.header[word] = value
        self.spans[word] = self.faults.span(line.tokens[0], line.tokens[-2])

    def include(self, line: Line) -> None:
        token = line.token
        if token.kind != "file":
            raise line.fail("expected the name of a preset or a file after 'include'")
        if len(token.text) > LONGEST_PATH:
            raise line.fail(f"a name of {len(token.text)} characters; no file's name is longer than {LONGEST_PATH}")
        span = self.faults.span(token)
        try:
            file, text = self.opener(token.text, self.file)
        except PolicyError as error:
            first = error.diagnostics[0]
            raise line.fail(first.message, token, first.remedy) from None
        if file in self.above:
            chain = " → ".join([*self.above[self.above.index(file) :], file])
            raise line.fail(f"{file} includes itself: {chain}", token)
        if len(self.above) > DEEPEST_INCLUDE:
            raise line.fail(f"included deeper than {DEEPEST_INCLUDE} levels", token)
        try:
            inner = _File(text, file, self.opener, self.above)
            inner.read()
        except PolicyError as error:
            self.inner += error.diagnostics
            return
        self.inner += inner.faults.found + inner.inner
        self.sources += [s for s in inner.sources if s not in self.sources]
        self.items.append(Include(token.text, tuple(inner.items), inner.as_header(), tuple(inner.sources), (), span))

    def as_header(self) -> Header:
        return Header(**self.header, spans=dict(self.spans))  # type: ignore[arg-type]


class Parsed(NamedTuple):
    """What a text holds: ``header`` as stated, the texts read (this one first), and the faults of syntax in all of them."""

    items: tuple[Rule | Include, ...]
    header: Header
    sources: tuple[tuple[str, str], ...]
    faults: tuple[Diagnostic, ...]


def parse_items(text: str | bytes, file: str, opener: Opener) -> Parsed:
    """Read a text, faulty lines left out. Raises `PolicyError` where it is no text at all."""
    reader = _File(text, file, opener, ())
    reader.read()
    return Parsed(tuple(reader.items), reader.as_header(), tuple(reader.sources), (*reader.faults.found, *reader.inner))


def _single(text: str, file: str) -> Line:
    faults = Faults(file, [line.removesuffix("\r") for line in text.split("\n")])
    lines = list(logical_lines(faults))
    faults.check()
    if len(lines) != 1:
        raise PolicyError(f"expected one line, found {len(lines)}: {text[:80]!r}")
    return Line(lines[0].tokens, faults)


def parse_call(text: str, file: str = "<python>") -> Call:
    """One call as it stands in a rule: ``read``, ``@base``, ``socket(domain == AF_UNIX)``. Raises `PolicyError`."""
    line = _single(text, file)
    try:
        call = line.call()
        line.end("the call")
    except LineError:
        line.faults.check()
        raise
    return call


def parse_condition(text: str, file: str = "<python>") -> Condition:
    """A condition alone. Raises `PolicyError`."""
    line = _single(text, file)
    try:
        condition = line.condition()
        line.end("the condition")
    except LineError:
        line.faults.check()
        raise
    return condition


def parse_action(text: str, file: str = "<python>") -> Action:
    """An action alone: ``errno(EPERM)``. Raises `PolicyError`."""
    line = _single(text, file)
    try:
        action = line.action()
        line.end("the action")
    except LineError:
        line.faults.check()
        raise
    return action
