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
from seclude.policy.nodes import (
    HEADER_ACTIONS,
    Action,
    And,
    Binary,
    Call,
    Comparison,
    Header,
    Include,
    Literal,
    Name,
    Not,
    Or,
    Range,
    Rule,
    Set,
    Unary,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.errors import Span
    from seclude.policy.lexer import LogicalLine, Token
    from seclude.policy.nodes import Condition, Expression

    #: (name as written, file of the including text) → (file, text)
    Opener = Callable[[str, str], tuple[str, str | bytes]]

__all__ = ["Parsed", "parse_action", "parse_call", "parse_condition", "parse_items"]

ACTIONS = ("allow", "log", "notify", "kill", "kill_process", "kill_thread", "errno", "trap", "trace")
HEADER_WORDS = (*HEADER_ACTIONS, "arch", "tables", "include", "on")
KEYWORDS = ("and", "or", "not", "in")
_COMPARE = ("==", "!=", "<", "<=", ">", ">=")
#: deeper than any policy for people; keeps hostile text from exhausting the stack
DEEPEST = 40
DEEPEST_INCLUDE = 16
#: PATH_MAX of linux/limits.h
LONGEST_PATH = 4096


class _LineError(Exception):
    """This logical line is reported and skipped."""


class _Line:
    """A cursor over one logical line's tokens."""

    def __init__(self, tokens: list[Token], faults: Faults) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.faults = faults

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def fail(self, message: str, token: Token | None = None, remedy: str = "") -> _LineError:
        self.faults.add(message, self.faults.span(token or self.token), remedy)
        return _LineError()

    def found(self) -> str:
        return repr(self.token.text) if self.token.kind != "end" else "the end of the line"

    def take(self) -> Token:
        token = self.tokens[self.at]
        if token.kind != "end":
            self.at += 1
        return token

    def accept(self, text: str) -> bool:
        if self.token.text == text and self.token.kind in ("op", "name"):
            self.at += 1
            return True
        return False

    def expect(self, text: str, where: str) -> Token:
        if self.token.text != text or self.token.kind not in ("op", "name"):
            raise self.fail(f"expected {text!r} {where}, found {self.found()}")
        return self.take()

    def span_from(self, first: int) -> Span:
        """The span of the tokens from index ``first`` to the one just taken."""
        return self.faults.span(self.tokens[first], self.tokens[max(first, self.at - 1)])

    def end(self, after: str) -> None:
        if self.token.kind != "end":
            raise self.fail(f"expected the end of the line after {after}, found {self.found()}", remedy="one rule a line")

    # ── numbers and conditions ──────────────────────────────────────────────────────────────────────────────────

    def number(self, what: str) -> Literal:
        token = self.token
        if token.kind != "number":
            raise self.fail(f"expected {what}, found {self.found()}")
        self.take()
        try:
            value = int(token.text, 0)
        except ValueError:
            octal = re.fullmatch("0[0-7]+", token.text)
            remedy = f"octal is written 0o{token.text.lstrip('0')}" if octal else "numbers are written 10, 0x1f, 0o755 or 0b101"
            raise self.fail(f"{token.text!r} is not a number", token, remedy) from None
        if value >= 1 << 64:
            raise self.fail(f"{token.text} does not fit 64 bits, and no argument is wider", token)
        return Literal(value, token.text, self.faults.span(token))

    def nest(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.fail(f"nested deeper than {DEEPEST} levels")

    def condition(self) -> Condition:
        self.nest()
        parts = [self.conjunct()]
        while self.accept("or"):
            parts.append(self.conjunct())
        self.depth -= 1
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def conjunct(self) -> Condition:
        parts = [self.inversion()]
        while self.accept("and"):
            parts.append(self.inversion())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def inversion(self) -> Condition:
        if not self.accept("not"):
            return self.comparison()
        self.nest()
        part = self.inversion()
        self.depth -= 1
        return Not(part)

    def comparison(self) -> Condition:
        start = self.at
        first = self.sum()
        rest: list[tuple[str, Expression | Set | Range]] = []
        while self.token.kind in ("op", "name"):
            word = self.token.text
            if word in _COMPARE:
                self.take()
                self.numeric(first, start)
                at = self.at
                right = self.sum()
                rest.append((word, self.numeric(right, at)))
            elif word in ("in", "not"):
                self.take()
                if word == "not":
                    self.expect("in", "after 'not'")
                self.numeric(first, start)
                rest.append(("in" if word == "in" else "not in", self.collection()))
                break
            else:
                break
        return Comparison(self.numeric(first, start), tuple(rest), self.span_from(start)) if rest else first

    def collection(self) -> Set | Range:
        start = self.at
        if self.accept("{"):
            items = []
            while not self.accept("}"):
                at = self.at
                items.append(self.numeric(self.sum(), at))
                if not self.accept(","):
                    self.expect("}", "to close the set")
                    break
            if not items:
                raise self.fail("an empty set: nothing is in it", self.tokens[start])
            return Set(tuple(items), self.span_from(start))
        low = self.numeric(self.sum(), start)
        self.expect("..", "in a range (or a set: in {a, b})")
        at = self.at
        high = self.numeric(self.sum(), at)
        return Range(low, high, self.span_from(start))

    def numeric(self, node: Condition, start: int) -> Expression:
        """``node`` if it is a number, not a truth value."""
        if isinstance(node, (And, Or, Not, Comparison)):
            raise self.fail("a condition is not a number", self.tokens[start], "comparisons are joined with 'and' and 'or'")
        return node

    def sum(self) -> Condition:
        return self.binary("|", self.product)

    def product(self) -> Condition:
        return self.binary("&", self.shift)

    def shift(self) -> Condition:
        return self.binary("<<", self.unary)

    def binary(self, op: str, part: Callable[[], Condition]) -> Condition:
        start = self.at
        left = part()
        chain = 0
        while self.token.kind == "op" and self.token.text == op:
            self.take()
            chain += 1
            if chain > DEEPEST * 4:
                raise self.fail(f"more than {DEEPEST * 4} {op!r} in one expression")
            at = self.at
            right = part()
            left = Binary(op, self.numeric(left, start), self.numeric(right, at), self.span_from(start))
        return left

    def unary(self) -> Condition:
        start = self.at
        token = self.token
        if token.kind == "op" and token.text in ("~", "-"):
            self.take()
            self.nest()
            at = self.at
            part = self.numeric(self.unary(), at)
            self.depth -= 1
            span = self.span_from(start)
            if token.text == "-" and isinstance(part, Literal) and not (part.text.startswith("-") or part.value < 0):
                return Literal(-part.value, f"-{part.text}", span)
            return Unary(token.text, part, span)
        if token.kind == "number":
            return self.number("a number")
        if token.kind == "name" and token.text not in KEYWORDS:
            self.take()
            raw = False
            if self.accept(":"):
                kind = self.take()
                if kind.text != "u64":
                    raise self.fail(f"expected 'u64' after ':', found {kind.text!r}", kind, "name:u64 is the whole register, unsigned")
                raw = True
            return Name(token.text, raw, self.span_from(start))
        if self.accept("("):
            inner = self.condition()
            self.expect(")", "to close '('")
            return inner
        remedy = "a set stands after 'in'" if token.text == "{" else ""
        raise self.fail(f"expected a parameter, a constant or a number, found {self.found()}", remedy=remedy)

    # ── actions, calls, rules ───────────────────────────────────────────────────────────────────────────────────

    def action(self) -> Action:
        token = self.take()
        word = token.text
        if token.kind != "name" or word not in ACTIONS:
            guess = nearest(word, ACTIONS) if token.kind == "name" else ""
            shown = repr(word) if word else "the end of the line"
            raise self.fail(
                f"expected an action, found {shown}" + (f"; did you mean {guess!r}?" if guess else ""),
                token,
                f"actions are {', '.join(ACTIONS)}",
            )
        if word == "errno":
            self.expect("(", "after 'errno': errno(EPERM)")
            data: int | str = self.take().text if self.token.kind == "name" else self.number("an errno name or number").value
            at = self.tokens[self.at - 1]
            if isinstance(data, int) and data > 4095:
                raise self.fail(f"errno({data}) is out of range", at, "the kernel returns at most 4095")
            self.expect(")", "after the errno")
            return Action("errno", data)
        if word in ("trap", "trace"):
            number = 0
            if self.accept("("):
                at = self.token
                number = self.number(f"the data of {word}").value
                if number > 0xFFFF:
                    raise self.fail(f"{word}({number}) is out of range", at, "the kernel passes on 16 bits: 0..65535")
                self.expect(")", f"after the data of {word}")
            return Action(word, number)
        return Action("kill_process" if word == "kill" else word)

    def call(self) -> Call:
        start = self.at
        token = self.token
        if token.kind == "number":
            name, number = "", self.number("a call").value
            if number >= 1 << 32:
                raise self.fail(f"{token.text} is no system call number: they have 32 bits", token)
        elif token.kind in ("name", "group"):
            name, number = self.take().text, None
        else:
            raise self.fail(f"expected a system call, a @group or a number, found {self.found()}")
        condition = None
        if self.token.text == "(" and self.token.kind == "op":
            opening = self.take()
            if name.startswith("@"):
                raise self.fail("a group takes no condition: its calls have different parameters", opening, "name the calls")
            if self.accept(")"):
                raise self.fail("empty condition", opening, f"for every call of {name or number} leave the brackets out")
            condition = self.condition()
            self.expect(")", f"to close the condition of {name or number}")
        return Call(name, number, condition, self.span_from(start))

    def names(self, what: str) -> tuple[str, ...]:
        names = []
        while True:
            token = self.take()
            if token.kind != "name":
                raise self.fail(
                    f"expected {what}, found {token.text!r}" if token.text else f"expected {what} at the end of the line", token
                )
            names.append(token.text)
            if not self.accept(","):
                return tuple(names)

    def rule(self) -> Rule:
        start = self.at
        archs: tuple[str, ...] = ()
        if self.accept("on"):
            first = self.at
            archs = tuple(_arch(n, self, self.tokens[first + 2 * i]) for i, n in enumerate(self.names("an architecture")))
            self.expect(":", "after the architectures: on x86: RULE")
        action = self.action()
        calls = [self.call()]
        while self.accept(","):
            calls.append(self.call())
        self.end("the rule")
        return Rule(action, tuple(calls), archs, self.span_from(start), self.faults.file)


def _arch(name: str, line: _Line, token: Token) -> str:
    from seclude import abi
    from seclude.errors import UsageError

    try:
        return abi.arch(name).name
    except UsageError as error:
        remedy = "'on' takes architectures by name" if name in ("native", "compat") else error.diagnostics[0].remedy
        raise line.fail(error.diagnostics[0].message, token, remedy) from None


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
                self.line(_Line(line.tokens, self.faults), line)
            except _LineError:
                continue

    def line(self, line: _Line, logical: LogicalLine) -> None:
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
            resolved = tuple(n if n in ("native", "compat") else _arch(n, line, line.tokens[first + 2 * i]) for i, n in enumerate(names))
            for i, name in enumerate(resolved):
                if name in resolved[:i]:
                    raise line.fail(f"{name} is listed twice", line.tokens[first + 2 * i])
            self.state("arch", resolved, line)
        elif word.kind == "name" and word.text == "tables":
            line.take()
            version = re.match(r"[ \t]*tables[ \t]+([0-9]+\.[0-9]+)[ \t]*(#.*)?$", logical.text)
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

    def state(self, word: str, value: Action | tuple[str, ...] | str, line: _Line) -> None:
        if word in self.header:
            raise line.fail(f"{word!r} is stated twice; the first is in line {self.spans[word].line}", line.tokens[0])
        self.header[word] = value
        self.spans[word] = self.faults.span(line.tokens[0], line.tokens[-2])

    def include(self, line: _Line) -> None:
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


def _single(text: str, file: str) -> _Line:
    faults = Faults(file, [line.removesuffix("\r") for line in text.split("\n")])
    lines = list(logical_lines(faults))
    faults.check()
    if len(lines) != 1:
        raise PolicyError(f"expected one line, found {len(lines)}: {text[:80]!r}")
    return _Line(lines[0].tokens, faults)


def parse_call(text: str, file: str = "<python>") -> Call:
    """One call as it stands in a rule: ``read``, ``@base``, ``socket(domain == AF_UNIX)``. Raises `PolicyError`."""
    line = _single(text, file)
    try:
        call = line.call()
        line.end("the call")
    except _LineError:
        line.faults.check()
        raise
    return call


def parse_condition(text: str, file: str = "<python>") -> Condition:
    """A condition alone. Raises `PolicyError`."""
    line = _single(text, file)
    try:
        condition = line.condition()
        line.end("the condition")
    except _LineError:
        line.faults.check()
        raise
    return condition


def parse_action(text: str, file: str = "<python>") -> Action:
    """An action alone: ``errno(EPERM)``. Raises `PolicyError`."""
    line = _single(text, file)
    try:
        action = line.action()
        line.end("the action")
    except _LineError:
        line.faults.check()
        raise
    return action
