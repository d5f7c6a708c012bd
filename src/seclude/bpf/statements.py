"""The statements of assembly text: one line's tokens → one instruction whose labels and names are still to be worked out.

The grammar is in ``seclude.bpf.assembler``; nothing here looks beyond its line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seclude.bpf import codes
from seclude.bpf.expression import Fault, Token, Tokens, evaluate, expression
from seclude.bpf.names import ACTIONS, ALU, COMPARISONS
from seclude.errors import Span, nearest

if TYPE_CHECKING:
    from seclude.bpf.expression import Expression

__all__ = ["Action", "Jump", "Line", "Operand", "Word", "statement"]


class Jump(NamedTuple):
    """Where a jump goes: a label's name, ``next``, or a relative skip."""

    token: Token
    relative: bool = False


#: ``k`` of an instruction before names are worked out: a number, an expression, a return value or a word of the data.
Operand: TypeAlias = "int | Expression | Action | Word"


class Action(NamedTuple):
    """What RET K returns: an action and its data, if any is written."""

    value: int
    data: Expression | None


class Word(NamedTuple):
    """A word of struct seccomp_data by its written name; its offset depends on the byte order."""

    text: str
    token: Token


class Line(NamedTuple):
    """An instruction as read, its jumps and its constant not worked out yet. A jump that is a number skips so many lines."""

    span: Span
    code: int
    k: Operand = 0
    jt: Jump | int = 0
    jf: Jump | int = 0
    #: of ``goto``: goes to ``k``, with all its 32 bits
    ja: Jump | None = None


#: Replaced by the statement's own span as soon as the whole line is read.
NOWHERE = Span("", 0, 0, 0)


def statement(line: Tokens) -> list[Line]:
    """Read one statement: one instruction, or one for each comparison of a condition. Raises ``Fault``; what stands behind is left."""
    first = line.peek()
    if first.text == "if":
        return _if(line)
    if first.text in ("!", "(") or (first.text == "A" and line.peek(1).text in COMPARISONS):
        return _ternary(line)
    return [_single(line)]


def _single(line: Tokens) -> Line:
    first = line.peek()
    match first.text:
        case ".insn":
            return _insn(line)
        case "goto" | "jmp" | "jump":
            return Line(NOWHERE, codes.BPF_JMP | codes.BPF_JA, ja=_target(line, optional=False))
        case "return" | "ret":
            return _return(line)
        case "A" | "X":
            return _assignment(line)
        case "mem":
            return _store(line)
    statements = ("A", "X", "mem", "if", "goto", "return", ".insn", ".arch", ".byteorder")
    forms = "a statement is A = ..., X = ..., mem[n] = ..., if (...) goto ..., goto ... or return ..."

    def suggest() -> str:
        near = nearest(first.text, statements) if first.kind == "name" else ""
        return f"did you mean {near!r}?" if near else forms

    raise Fault(f"no statement begins with {first.text!r}", first, suggest)


def _insn(line: Tokens) -> Line:
    line.next()
    fields = []
    for name, bits in (("code", 16), ("jt", 8), ("jf", 8), ("k", 32)):
        if name != "code":
            line.expect(",", "write .insn code, jt, jf, k")
        at = line.peek()
        value = evaluate(expression(line), _no_name)
        if not 0 <= value < 1 << bits:
            raise Fault(f"{name} = {value} does not fit in {bits} bits", at)
        fields.append(value)
    return Line(NOWHERE, fields[0], fields[3], fields[1], fields[2])


def _assignment(line: Tokens) -> Line:
    register = line.next()
    operator = line.next()
    if operator.text == "=":
        return _load_a(line) if register.text == "A" else _load_x(line)
    if operator.text[:-1] in ALU and operator.text.endswith("=") and register.text == "A":
        code = codes.BPF_ALU | ALU[operator.text[:-1]]
        if line.take("X"):
            return Line(NOWHERE, code | codes.BPF_X)
        return Line(NOWHERE, code | codes.BPF_K, expression(line))
    remedy = f"{register.text} = value" + (", A += value, A == value ? label : label" if register.text == "A" else "; arithmetic is on A")
    raise Fault(f"expected an assignment to {register.text}, found {operator.text!r}", operator, remedy)


def _load_a(line: Tokens) -> Line:
    token = line.peek()
    match token.text:
        case "X":
            line.next()
            return Line(NOWHERE, codes.BPF_MISC | codes.BPF_TXA)
        case "len":
            line.next()
            return Line(NOWHERE, codes.BPF_LD | codes.BPF_LEN)
        case "mem":
            return Line(NOWHERE, codes.BPF_LD | codes.BPF_MEM, _index(line))
        case "-" if line.peek(1).text == "A":
            line.next()
            line.next()
            return Line(NOWHERE, codes.BPF_ALU | codes.BPF_NEG)
        case "A":
            raise Fault("A = A does nothing", token, "for arithmetic write A += value and the like")
        case "data":
            return Line(NOWHERE, codes.BPF_LD | codes.BPF_ABS, _index(line))
        case "args" | "args_h":
            return Line(NOWHERE, codes.BPF_LD | codes.BPF_ABS, _argument(line))
        case "sys_number" | "arch" | "instruction_pointer":
            line.next()
            high = _high(line) if token.text == "instruction_pointer" else ""
            return Line(NOWHERE, codes.BPF_LD | codes.BPF_ABS, Word(token.text + high, token))
    return Line(NOWHERE, codes.BPF_LD | codes.BPF_IMM, expression(line))


def _load_x(line: Tokens) -> Line:
    token = line.peek()
    match token.text:
        case "A":
            line.next()
            return Line(NOWHERE, codes.BPF_MISC | codes.BPF_TAX)
        case "len":
            line.next()
            return Line(NOWHERE, codes.BPF_LDX | codes.BPF_LEN)
        case "mem":
            return Line(NOWHERE, codes.BPF_LDX | codes.BPF_MEM, _index(line))
        case "args" | "args_h" | "data" | "sys_number" | "arch" | "instruction_pointer" | "X":
            raise Fault(f"X cannot be loaded from {token.text}", token, f"write A = {token.text}... and then X = A")
    return Line(NOWHERE, codes.BPF_LDX | codes.BPF_IMM, expression(line))


def _index(line: Tokens) -> Expression:
    line.next()
    line.expect("[")
    index = expression(line)
    line.expect("]")
    return index


def _argument(line: Tokens) -> Word:
    token = line.peek()
    inner = line.peek(2)
    number = evaluate(_index(line), _no_name)
    if not 0 <= number <= 5:
        raise Fault(f"there is no argument {number}", inner, "arguments are args[0] to args[5]")
    high = " >> 32" if token.text == "args_h" else _high(line)
    return Word(f"args[{number}]{high}", token)


def _high(line: Tokens) -> str:
    if not line.take(">>"):
        return ""
    at = line.peek()
    if evaluate(expression(line), _no_name) != 32:
        raise Fault("a load takes the low word, or with >> 32 the high one", at, "load first, then shift: A >>= n")
    return " >> 32"


def _store(line: Tokens) -> Line:
    index = _index(line)
    line.expect("=")
    register = line.take("A", "X")
    if register is None:
        raise Fault(f"mem takes A or X, found {line.peek().text!r}", line.peek(), "load A first, then store it")
    return Line(NOWHERE, codes.BPF_ST if register.text == "A" else codes.BPF_STX, index)


def _return(line: Tokens) -> Line:
    line.next()
    if line.take("A"):
        return Line(NOWHERE, codes.BPF_RET | codes.BPF_A)
    token = line.peek()
    action = ACTIONS.get(token.text.removeprefix("SECCOMP_RET_"))
    if action is None or (line.peek(1).text != "(" and line.peek(1).kind == "op"):
        if token.text == "X":
            raise Fault("return X is not an instruction", token, "A = X, then return A")
        return Line(NOWHERE, codes.BPF_RET | codes.BPF_K, expression(line))
    line.next()
    data = None
    if line.take("("):
        data = expression(line)
        line.expect(")")
    return Line(NOWHERE, codes.BPF_RET | codes.BPF_K, Action(action, data))


# Conditions and jumps


def _if(line: Tokens) -> list[Line]:
    line.next()
    at = line.peek()
    if at.text not in ("(", "!"):
        raise Fault(f"expected '(', found {_shown(at)}", at, "write if (A == value) goto label")
    condition = _negated(line, 0)
    taken = _target(line, optional=False)
    other: Jump | int = 0
    if line.take("else"):
        other = _target(line, optional=True)
    return _branches(condition, taken, other)


def _ternary(line: Tokens) -> list[Line]:
    condition = _either(line, 0)
    line.expect("?", "write A == value ? label : label")
    taken = _place(line)
    line.expect(":", "write A == value ? label : label")
    return _branches(condition, taken, _place(line))


class _Test(NamedTuple):
    """One comparison: the jump's code, its operand, and whether its branches are exchanged."""

    code: int
    operand: Operand
    exchanged: bool


class _Both(NamedTuple):
    """Two conditions: ``every`` with ``&&``, else ``||``."""

    every: bool
    left: _Condition
    right: _Condition
    tests: int


_Condition: TypeAlias = _Test | _Both


def _size(condition: _Condition) -> int:
    return condition.tests if isinstance(condition, _Both) else 1


def _inverted(condition: _Condition) -> _Condition:
    if isinstance(condition, _Test):
        return condition._replace(exchanged=not condition.exchanged)
    return _Both(not condition.every, _inverted(condition.left), _inverted(condition.right), condition.tests)


def _branches(condition: _Condition, taken: Jump, other: Jump | int) -> list[Line]:
    """The instructions of a condition, left to right: each test that settles it leaves at once."""
    total = _size(condition)
    if total > 1:
        for jump in (taken, other):
            if isinstance(jump, Jump) and (jump.relative or jump.token.kind == "number"):
                raise Fault("a condition of several comparisons cannot skip by number", jump.token, "give the target a label")
    lines: list[Line] = []
    # A test's way out: where the whole condition holds or fails, or the number of the test to go on with.
    work: list[tuple[_Condition, int | bool, int | bool]] = [(condition, True, False)]
    while work:
        part, holds, fails = work.pop()
        if isinstance(part, _Both):
            second = len(lines) + _size(part.left)
            work.append((part.right, holds, fails))
            work.append((part.left, second, fails) if part.every else (part.left, holds, second))
            continue
        here = len(lines)

        def way(out: int | bool, here: int = here) -> Jump | int:
            if out is True:
                return taken if total == 1 or taken.token.text != "next" else total - here - 1
            if out is False:
                last = isinstance(other, int) or other.token.text == "next"
                return total - here - 1 if last and total > 1 else other
            return out - here - 1

        jt, jf = way(holds), way(fails)
        lines.append(Line(NOWHERE, part.code, part.operand, jf, jt) if part.exchanged else Line(NOWHERE, part.code, part.operand, jt, jf))
    return lines


_DEPTH = 64


def _either(line: Tokens, depth: int) -> _Condition:
    return _joined(line, depth, "||")


def _joined(line: Tokens, depth: int, operator: str) -> _Condition:
    """Conditions joined by ``||``, or by ``&&``, which binds tighter."""
    left = _joined(line, depth, "&&") if operator == "||" else _negated(line, depth)
    length = 0
    while token := line.take(operator):
        length += 1
        if length > _DEPTH:
            raise Fault(f"more than {_DEPTH} comparisons in one condition", token, "write several ifs")
        right = _joined(line, depth, "&&") if operator == "||" else _negated(line, depth)
        left = _Both(operator == "&&", left, right, _size(left) + _size(right))
    return left


def _negated(line: Tokens, depth: int) -> _Condition:
    at = line.peek()
    if depth > _DEPTH:
        raise Fault(f"a condition is nested more than {_DEPTH} deep", at)
    if line.take("!"):
        if line.peek().text not in ("(", "!"):
            raise Fault(f"expected '(' after '!', found {_shown(line.peek())}", line.peek(), "write !(A & value)")
        return _inverted(_negated(line, depth + 1))
    if line.take("("):
        inner = _either(line, depth + 1)
        line.expect(")")
        return inner
    return _test(line, at)


def _test(line: Tokens, at: Token) -> _Test:
    if not line.take("A"):
        raise Fault(f"expected A, found {_shown(at)}", at, "only A can be compared, with a constant or X")
    comparison = line.next()
    if comparison.text not in COMPARISONS:
        raise Fault(f"{_shown(comparison)} compares nothing", comparison, f"the comparisons are {' '.join(COMPARISONS)}")
    operation, exchanged = COMPARISONS[comparison.text]
    if line.take("X"):
        return _Test(codes.BPF_JMP | operation | codes.BPF_X, 0, exchanged)
    return _Test(codes.BPF_JMP | operation | codes.BPF_K, expression(line), exchanged)


def _shown(token: Token) -> str:
    return token.text if token.kind == "end" else repr(token.text)


def _target(line: Tokens, *, optional: bool) -> Jump:
    word = line.take("goto", "jmp", "jump")
    if word is None and not optional:
        raise Fault(f"expected 'goto', found {line.peek().text!r}", line.peek(), "write goto label")
    return _place(line)


def _place(line: Tokens) -> Jump:
    relative = line.take("+") is not None
    token = line.next()
    if token.kind not in (("number",) if relative else ("name", "number")):
        raise Fault(f"expected a label, found {token.text!r}", token, "a label, next, or +n to skip n instructions")
    return Jump(token, relative)


def _no_name(token: Token) -> int:
    raise Fault(f"{token.text!r} stands where only a number can", token, "an index and the fields of .insn are numbers")
