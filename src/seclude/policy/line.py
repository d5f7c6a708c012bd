"""One logical line, read from left to right: conditions, actions, calls and rules, as `parser` writes them down."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seclude.errors import nearest
from seclude.policy.nodes import Action, And, Binary, Call, Comparison, Literal, Name, Not, Or, Range, Rule, Set, Unary

if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.errors import Span
    from seclude.policy.lexer import Faults, Token
    from seclude.policy.nodes import Condition, Expression

__all__ = ["ACTIONS", "Line", "LineError", "read_architecture"]

ACTIONS = ("allow", "log", "notify", "kill", "kill_process", "kill_thread", "errno", "trap", "trace")
KEYWORDS = ("and", "or", "not", "in")
_COMPARE = ("==", "!=", "<", "<=", ">", ">=")
#: deeper than any policy for people; keeps hostile text from exhausting the stack
DEEPEST = 40


class LineError(Exception):
    """This logical line is reported and skipped."""


class Line:
    """A cursor over one logical line's tokens."""

    def __init__(self, tokens: list[Token], faults: Faults) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.faults = faults

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def fail(self, message: str, token: Token | None = None, remedy: str = "") -> LineError:
        self.faults.add(message, self.faults.span(token or self.token), remedy)
        return LineError()

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
            continued = self.token.line > self.tokens[0].line
            remedy = "the line before ends with a comma or an open bracket, so this one belongs to it" if continued else "one rule a line"
            raise self.fail(f"expected the end of the line after {after}, found {self.found()}", remedy=remedy)

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
            archs = tuple(read_architecture(n, self, self.tokens[first + 2 * i]) for i, n in enumerate(self.names("an architecture")))
            self.expect(":", "after the architectures: on x86: RULE")
        action = self.action()
        calls = [self.call()]
        while self.accept(","):
            calls.append(self.call())
        self.end("the rule")
        return Rule(action, tuple(calls), archs, self.span_from(start), self.faults.file)


def read_architecture(name: str, line: Line, token: Token) -> str:
    """The canonical name of an architecture that stands at ``token``; raises `LineError`."""
    from seclude import abi
    from seclude.errors import UsageError

    try:
        return abi.arch(name).name
    except UsageError as error:
        remedy = "'on' takes architectures by name" if name in ("native", "compat") else error.diagnostics[0].remedy
        raise line.fail(error.diagnostics[0].message, token, remedy) from None
