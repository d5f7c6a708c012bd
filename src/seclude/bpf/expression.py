"""Tokens of assembly text, and constant expressions over them.

Expressions have C's operators and precedence for ``| ^ & << >> + - * / % ~`` and parentheses. They are read first and worked out
later (``evaluate``), because what a call's name means depends on the architecture in force where it stands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Binary", "Expression", "Fault", "Name", "Number", "Token", "Tokens", "Unary", "evaluate", "expression", "tokenize", "walk"]


class Fault(Exception):  # noqa: N818 -- it never leaves the assembler, which makes a Diagnostic of it
    """One fault in a line: what is wrong, which tokens, what to do; the last as a function where it takes a search that only a shown fault is worth."""

    def __init__(self, message: str, token: Token, remedy: str | Callable[[], str] = "") -> None:
        super().__init__(message)
        self.message = message
        self.token = token
        self._remedy = remedy

    @property
    def remedy(self) -> str:
        return self._remedy if isinstance(self._remedy, str) else self._remedy()


class Token(NamedTuple):
    """A piece of a line. ``kind`` is number, name, string, op or end; ``column`` and ``stop`` count characters from 0."""

    kind: str
    text: str
    column: int
    stop: int


_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\f\v]+|\#.*)
  | (?P<number>[0-9][0-9A-Za-z_]*)
  | (?P<name>[A-Za-z_.][\w.]*)
  | (?P<string>"[^"]*")
  | (?P<op><<=|>>=|&&|\|\||==|!=|<=|>=|<<|>>|\+=|-=|\*=|/=|%=|\|=|&=|\^=|[-+*/%|&^~!?:=<>()\[\],])
    """,
    re.VERBOSE,
)


_LONGEST = 200


def tokenize(line: str) -> list[Token]:
    """The tokens of one line, closed by an ``end``; raises ``Fault`` at the first character that starts none."""
    found = []
    place = 0
    while place < len(line):
        match = _TOKEN.match(line, place)
        if match is None:
            wrong = Token("bad", line[place], place, place + 1)
            raise Fault(f"{line[place]!a} has no meaning here", wrong, "comments begin with '#'")
        if match.lastgroup == "name" and match.end() - place > _LONGEST:
            raise Fault(
                f"a name of {match.end() - place} characters", Token("name", "", place, match.end()), f"names have at most {_LONGEST}"
            )
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup or "", match.group(), match.start(), match.end()))
        place = match.end()
    found.append(Token("end", "the end of the line", place, place + 1))
    return found


class Tokens:
    """A line's tokens with a place in them."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._place = 0

    def peek(self, ahead: int = 0) -> Token:
        return self._tokens[min(self._place + ahead, len(self._tokens) - 1)]

    def next(self) -> Token:
        token = self.peek()
        self._place += 1
        return token

    def take(self, *texts: str) -> Token | None:
        """The next token if it is one of ``texts``."""
        return self.next() if self.peek().text in texts and self.peek().kind != "end" else None

    def expect(self, text: str, why: str = "") -> Token:
        token = self.take(text)
        if token is None:
            raise Fault(f"expected {text!r}, found {_shown(self.peek())}", self.peek(), why)
        return token


def _shown(token: Token) -> str:
    return token.text if token.kind == "end" else repr(token.text)


class Number(NamedTuple):
    """A literal."""

    value: int
    token: Token


class Name(NamedTuple):
    """Something that stands for a number: a call, an architecture, a constant."""

    token: Token


class Unary(NamedTuple):
    """``~`` or ``-`` before an expression."""

    operator: str
    operand: Expression


class Binary(NamedTuple):
    """Two expressions; ``token`` is the operator."""

    token: Token
    left: Expression
    right: Expression


Expression: TypeAlias = Number | Name | Unary | Binary

#: Binary operators, loosest first.
_LEVELS = (("|",), ("^",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "%"))
_DEPTH = 64


def expression(tokens: Tokens, level: int = 0, depth: int = 0) -> Expression:
    """Read one expression; raises ``Fault`` where none begins."""
    if level == len(_LEVELS):
        return _operand(tokens, depth)
    left = expression(tokens, level + 1, depth)
    length = 0
    while operator := tokens.take(*_LEVELS[level]):
        length += 1
        if length > _DEPTH:
            raise Fault(f"more than {_DEPTH} operators in one expression", operator, "write the number")
        left = Binary(operator, left, expression(tokens, level + 1, depth))
    return left


def _operand(tokens: Tokens, depth: int) -> Expression:
    token = tokens.next()
    if depth > _DEPTH:
        raise Fault(f"an expression is nested more than {_DEPTH} deep", token, "write the number")
    if token.text in ("~", "-"):
        return Unary(token.text, _operand(tokens, depth + 1))
    if token.text == "(":
        inner = expression(tokens, 0, depth + 1)
        tokens.expect(")")
        return inner
    if token.kind == "number":
        return Number(_number(token), token)
    if token.kind == "name":
        return Name(token)
    raise Fault(f"expected a number or a name, found {_shown(token)}", token)


def _number(token: Token) -> int:
    text = token.text.lower().replace("_", "")
    try:
        # A leading zero is octal, as in C and as file modes are written.
        if len(text) > 1 and text[0] == "0" and text[1].isdigit():
            return int(text, 8)
        # Python refuses to read numbers of thousands of digits, and none of them fits anyway.
        return int(text, 0)
    except ValueError:
        raise Fault(f"{token.text[:40]!r} is not a number", token, "write 12, 0xc, 0o14 or 0b1100") from None


def evaluate(tree: Expression, name: Callable[[Token], int]) -> int:
    """What an expression comes to, over plain integers; ``name`` says what a name stands for."""
    match tree:
        case Number(value, _):
            return value
        case Name(token):
            return name(token)
        case Unary(operator, operand):
            inner = evaluate(operand, name)
            return ~inner if operator == "~" else -inner
        case Binary(token, left, right):
            return _apply(token, evaluate(left, name), evaluate(right, name))


def _apply(operator: Token, left: int, right: int) -> int:
    match operator.text:
        case "|":
            return left | right
        case "^":
            return left ^ right
        case "&":
            return left & right
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            # 64 bits at most a factor: without a bound a line of products could take for ever.
            return (left & 0xFFFFFFFFFFFFFFFF) * (right & 0xFFFFFFFFFFFFFFFF) if left >= 0 and right >= 0 else left * right
        case "<<" | ">>":
            if not 0 <= right < 64:
                raise Fault(f"a shift by {right}", operator, "shift by 0 to 63")
            return (left << right) & 0xFFFFFFFFFFFFFFFF if operator.text == "<<" else left >> right
        case _:
            if right == 0:
                raise Fault("division by zero", operator)
            return left // right if operator.text == "/" else left % right


def walk(tree: Expression) -> Iterator[Token]:
    """The tokens of an expression, to place an error."""
    match tree:
        case Number(_, token) | Name(token):
            yield token
        case Unary(_, operand):
            yield from walk(operand)
        case Binary(_, left, right):
            yield from walk(left)
            yield from walk(right)
