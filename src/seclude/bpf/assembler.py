"""Assembly text → program. One statement a line::

    .arch x86_64                          # what a bare call name means where the program has not compared arch; optional
    .byteorder big                        # default: of .arch, else little

        A = arch                          # also sys_number, instruction_pointer, instruction_pointer >> 32, len,
        if (A != ARCH_X86_64) goto bad    #   args[0], args[0] >> 32 (or args_h[0]), data[16], mem[3], X, -A, a constant
        A = sys_number
        if (A == write) goto checked else goto other
    checked:
        A = args[0]
        A &= 0xff                         # also += -= *= /= %= |= ^= <<= >>=, with a constant or X
        X = A                             # also a constant, mem[3] or len
        mem[3] = X                        # or A
        A > 2 ? bad : next                # another way to write an if; next is the following line
    other:
        return ALLOW                      # also KILL_PROCESS, KILL_THREAD, TRAP(n), ERRNO(EPERM), USER_NOTIF, TRACE(n), LOG
    bad:
        return ERRNO(ENOSYS)              # or A, or a number
        goto bad2                         # also jmp, jump; +3 (or 3, where no label has that name) skips three lines
    bad2:
        .insn 0x06, 0, 0, 0x7fff0000      # the four fields of an instruction, whatever they are

Comparisons are ``== != > >= < <=`` with a constant or X, and ``&`` (any common bit); ``!( ... )`` inverts; ``&&`` and ``||`` join several, an
instruction each. ``include "FILE"`` puts another text's lines in its place. A constant is an expression of
numbers, constants by C name (``AF_INET``, ``O_CREAT | O_EXCL``), ``ARCH_X86_64``, and names of calls: ``read`` of the architecture in force at
that line, ``x86_64.read`` (or any other spelling of the architecture) anywhere.

A conditional jump reaches 255 instructions; where the target is farther, a ``goto`` is put behind it, which reaches any. A number of lines
to skip counts what is written, not what is put in. Every fault of a text is reported, each with its line
and a caret. Nothing is judged here: a program that the kernel would not load assembles, and ``seclude.bpf.check`` says why it would not.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from seclude.bpf import codes
from seclude.bpf.expression import Fault, Token, Tokens, evaluate, tokenize, walk
from seclude.bpf.flow import CONDITIONAL, Flow
from seclude.bpf.layout import lay_out, place_of
from seclude.bpf.names import ACTIONS, offsets, tokens
from seclude.bpf.program import Program
from seclude.bpf.statements import Action, Jump, Line, Word, statement
from seclude.errors import Diagnostic, FilterError, Span, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from seclude.abi import Architecture
    from seclude.bpf.expression import Expression

    #: name in the text and the file it stands in → path and text; raises ``FilterError``
    Include = Callable[[str, str], tuple[str, str]]

__all__ = ["Assembly", "assemble", "constant_value", "read_assembly"]


_GOTO = codes.BPF_JMP | codes.BPF_JA


class Assembly(NamedTuple):
    """A program and, for each of its instructions, the line that made it: a ``Finding`` of ``validate`` gets its place there."""

    program: Program
    spans: tuple[Span, ...]


def assemble(
    text: str,
    *,
    file: str = "<assembly>",
    arch: Architecture | str | None = None,
    byteorder: str | None = None,
    include: Include | None = None,
) -> Program:
    """The program that a text says.

    ``arch`` is what ``.arch`` would say where the text does not: whose calls bare names are where the program has not compared the
    architecture yet (default: this machine's). ``byteorder`` is the target's (default: that of ``arch`` where given, else little). What the text itself says wins.
    ``include(name, including file)`` gives the path and the text that an ``include`` line means; without it there are no includes.
    Raises ``FilterError`` with every fault, and ``UsageError`` for an unknown ``arch`` or ``byteorder``.
    """
    return read_assembly(text, file=file, arch=arch, byteorder=byteorder, include=include).program


def read_assembly(
    text: str,
    *,
    file: str = "<assembly>",
    arch: Architecture | str | None = None,
    byteorder: str | None = None,
    include: Include | None = None,
) -> Assembly:
    """As ``assemble``, with the line of each instruction."""
    if byteorder not in (None, "little", "big"):
        raise UsageError(f"byte order {byteorder!r} is neither 'little' nor 'big'")
    return _Reader(file, arch, byteorder, include).read(text)


def constant_value(token: Token) -> int:
    """What a name in an expression stands for on this machine; raises ``Fault`` for one that stands for nothing."""
    return _constant(token, None, errno=True)


_FAULTS_SHOWN = 100
_INCLUDES_DEEP = 16
_INCLUDES = 1000
_LINES = 1 << 16


class _Reader:
    def __init__(self, file: str, arch: Architecture | str | None, byteorder: str | None, include: Include | None) -> None:
        self.file = file
        self.include = include
        #: the files being read, the innermost last, and how many were included so far
        self.reading = [file]
        self.included = 0
        self.arch = _architecture(arch) if arch is not None else None
        self.byteorder = byteorder or (self.arch.byteorder if self.arch else "little")
        #: whether ``.byteorder`` said so, which no ``.arch`` overrules
        self.byteorder_said = False
        self.faults: list[Diagnostic] = []
        self.lines: list[Line] = []
        self.labels: dict[str, tuple[int, Span]] = {}
        self.number = 0
        self.source = ""

    def read(self, text: str) -> Assembly:
        self._text(text)
        fields, spans = self._resolve(offsets(self.byteorder))
        if self.faults:
            # By line within the text itself; what an included file holds stays where it was found.
            self.faults.sort(
                key=lambda fault: (fault.span.line, fault.span.column) if fault.span and fault.span.file == self.file else (0, 0)
            )
            hidden = len(self.faults) - _FAULTS_SHOWN
            rest = [Diagnostic(f"... and {hidden} more faults in {self.file}")] if hidden > 0 else []
            raise FilterError(self.faults[:_FAULTS_SHOWN] + rest)
        return Assembly(Program(fields, self.byteorder), tuple(spans))

    def _text(self, text: str) -> None:
        # Only a line feed ends a line: a form feed or a Unicode separator inside a comment does not.
        for number, source in enumerate(text.split("\n"), 1):
            self.number = number
            self.source = source.rstrip("\r")
            try:
                self._line(Tokens(tokenize(self.source)))
            except Fault as fault:
                self._fault(fault)
                # A line that could not be read still counts, so that the jumps over it stay right.
                self.lines.append(Line(self._span(fault.token), 0))
            if len(self.lines) > _LINES:
                raise FilterError(f"{self.file}: more than {_LINES} statements", f"a filter has at most {codes.BPF_MAXINSNS} instructions")

    def _span(self, token: Token) -> Span:
        return Span(self.file, self.number, token.column + 1, token.stop + 1, self.source)

    def _fault(self, fault: Fault, span: Span | None = None) -> None:
        if span is not None:
            span = Span(span.file, span.line, fault.token.column + 1, fault.token.stop + 1, span.source)
        remedy = fault.remedy if len(self.faults) < _FAULTS_SHOWN else ""
        self.faults.append(Diagnostic(fault.message, span or self._span(fault.token), remedy))

    # Statements

    def _line(self, line: Tokens) -> None:
        while line.peek().kind in ("name", "number") and line.peek(1).text == ":":
            self._label(line.next())
            line.next()
        first = line.peek()
        if first.kind == "end":
            return
        if first.text in ("include", ".include") and line.peek(1).kind == "string":
            self._include(line)
        elif first.text in (".arch", ".byteorder"):
            self._directive(line)
        else:
            whole = Token("line", "", first.column, len(self.source.split("#")[0].rstrip()))
            span = self._span(whole)
            self.lines += [one._replace(span=span) for one in statement(line)]
        left = line.peek()
        if left.kind != "end":
            # The statement itself was understood: it stays, and only its rest is reported.
            self._fault(Fault(f"unexpected {left.text!r} after the statement", left, "one statement a line"))

    def _label(self, token: Token) -> None:
        name = token.text
        if name == "next":
            raise Fault("'next' always means the following line", token, "give the label another name")
        if name in self.labels:
            self._fault(Fault(f"label {name!r} is defined twice", token, f"first defined in line {self.labels[name][1].line}"))
        else:
            self.labels[name] = (len(self.lines), self._span(token))

    def _include(self, line: Tokens) -> None:
        line.next()
        token = line.next()
        if self.include is None:
            raise Fault("a text without a file of its own includes nothing", token, "put the lines here")
        if len(self.reading) > _INCLUDES_DEEP or self.included >= _INCLUDES:
            raise Fault("includes that never end", token, f"at most {_INCLUDES_DEEP} deep, and {_INCLUDES} in all")
        try:
            file, text = self.include(token.text[1:-1], self.file)
        except FilterError as error:
            raise Fault(error.diagnostics[0].message, token, error.diagnostics[0].remedy) from None
        if file in self.reading:
            raise Fault(f"{file} includes itself", token, " -> ".join([*self.reading[self.reading.index(file) :], file]))
        saved = self.file, self.number, self.source
        self.included += 1
        self.reading.append(file)
        self.file = file
        self._text(text)
        self.reading.pop()
        self.file, self.number, self.source = saved

    def _directive(self, line: Tokens) -> None:
        directive = line.next()
        if self.lines:
            self._fault(Fault(f"{directive.text} stands after the first instruction", directive, "it belongs at the top of the text"))
        value = line.next()
        if directive.text == ".byteorder":
            if value.text not in ("little", "big"):
                self._fault(Fault(f"byte order {value.text!r} is neither 'little' nor 'big'", value))
            else:
                self.byteorder = value.text
                self.byteorder_said = True
            return
        try:
            self.arch = _architecture(value.text)
            if not self.byteorder_said:
                self.byteorder = self.arch.byteorder
        except UsageError as error:
            self._fault(Fault(error.diagnostics[0].message, value, error.diagnostics[0].remedy))

    # Resolution

    def _resolve(self, words: Mapping[int, str]) -> tuple[list[tuple[int, int, int, int]], list[Span]]:
        """Labels to skips and names to numbers, in one pass: what a name means is decided by the instructions before it."""
        places = {text: offset for offset, text in words.items()}
        targets = [self._targets(index, line) for index, line in enumerate(self.lines)]
        starts, far = lay_out(targets)
        flow = Flow(self.arch)
        fields: list[tuple[int, int, int, int]] = []
        spans: list[Span] = []

        def emit(line: Line, code: int, jt: int, jf: int, k: int) -> None:
            flow.follow(len(fields), code, jt, jf, k)
            fields.append((code, jt, jf, k))
            spans.append(line.span)

        for index, line in enumerate(self.lines):
            pc = len(fields)
            target = targets[index]
            if line.ja is not None:
                emit(line, line.code, 0, 0, min(place_of(starts, target[0]) - pc - 1, 0xFFFFFFFF))
                continue
            k = self._k(line, places, flow.at(pc)[1] or self.arch)
            if not target:
                emit(line, line.code, _number(line.jt), _number(line.jf), k)
                continue
            # Behind the jump: a goto for the branch that holds, then one for the other, each only where it is needed.
            skips = []
            gotos: list[int] = []
            for branch, goal in enumerate(target):
                if (index, branch) in far:
                    skips.append(len(gotos))
                    gotos.append(goal)
                else:
                    skips.append(place_of(starts, goal) - pc - 1)
            emit(line, line.code, skips[0], skips[1], k)
            for goal in gotos:
                emit(line, _GOTO, 0, 0, min(place_of(starts, goal) - len(fields) - 1, 0xFFFFFFFF))
        return fields, spans

    def _targets(self, index: int, line: Line) -> tuple[int, ...]:
        """The lines that a jump leads to; none for what is not a jump. A line beyond the end stands for a place there."""
        if line.ja is not None:
            return (self._target(line.ja, index, line),)
        if line.code not in CONDITIONAL:
            return ()
        return tuple(index + 1 + jump if isinstance(jump, int) else self._target(jump, index, line) for jump in (line.jt, line.jf))

    def _target(self, jump: Jump, index: int, line: Line) -> int:
        name = jump.token.text
        if jump.relative or (name not in self.labels and name.isdecimal()):
            if name.isdecimal() and len(name) < 20 and int(name) <= 0xFFFFFFFF:
                return index + 1 + int(name)
            self._fault(Fault(f"{name[:40]!r} is not a number of instructions: at most 4294967295", jump.token), line.span)
        elif name == "next":
            return index + 1
        elif name in self.labels:
            place, span = self.labels[name]
            if place > index:
                return place
            remedy = f"the label is in line {span.line}; BPF has no loops"
            self._fault(Fault(f"jumps only go forward, and {name!r} is behind", jump.token, remedy), line.span)
        else:
            suggest = partial(_nearest, name, self.labels, "define it as a line 'label:'")
            self._fault(Fault(f"no label {name!r}", jump.token, suggest), line.span)
        return index + 1

    def _k(self, line: Line, places: dict[str, int], arch: Architecture | None) -> int:
        operand = line.k
        if isinstance(operand, int):
            return operand
        if isinstance(operand, Word):
            return places[operand.text]
        try:
            if not isinstance(operand, Action):
                return _fits(evaluate(operand, lambda token: _constant(token, arch)), operand)
            if operand.data is None:
                return operand.value
            number = evaluate(operand.data, lambda token: _constant(token, arch, errno=True))
            if not 0 <= number <= codes.SECCOMP_RET_DATA:
                raise Fault(f"an action's data is 0 to 65535, not {number}", next(walk(operand.data)))
            return operand.value | number
        except Fault as fault:
            self._fault(fault, line.span)
            return 0


def _number(jump: Jump | int) -> int:
    assert isinstance(jump, int)
    return jump


def _fits(value: int, tree: Expression) -> int:
    if not -0x80000000 <= value <= 0xFFFFFFFF:
        raise Fault(
            f"{value} does not fit in 32 bits", next(walk(tree)), "a 64-bit value is compared in two halves: args[0] and args[0] >> 32"
        )
    return value & 0xFFFFFFFF


def _architecture(arch: Architecture | str) -> Architecture:
    from seclude.abi import arch as find

    return find(arch)


def _constant(token: Token, arch: Architecture | None, *, errno: bool = False) -> int:
    """What a name stands for where ``arch`` is in force; without one, on this machine."""
    from seclude.abi import native
    from seclude.abi.constants import constant, errno_number

    name = token.text
    token_names = tokens()
    bare = name.removeprefix("AUDIT_")
    if bare in token_names:
        return token_names[bare]
    if "." in name:
        return _qualified(token, *name.split(".", 1))
    if name in ACTIONS:
        return ACTIONS[name]
    if name.startswith(("SECCOMP_", "BPF_")) and isinstance(value := getattr(codes, name, None), int):
        return value
    architecture = arch or native()
    if errno and (number := errno_number(name, architecture)) is not None:
        return number
    if (number := architecture.number(name)) is not None:
        return number
    if name.startswith("x32_"):
        return _qualified(token, "x32", name.removeprefix("x32_"))
    for found in (constant(name, architecture), errno_number(name, architecture)):
        if found is not None:
            return found
    raise _unknown(token, architecture, token_names)


def _qualified(token: Token, arch: str, call: str) -> int:
    try:
        architecture = _architecture(arch)
    except UsageError as error:
        raise Fault(error.diagnostics[0].message, token, error.diagnostics[0].remedy) from None
    number = architecture.number(call)
    if number is None:
        raise Fault(f"{architecture.name} has no call {call!r}", token, partial(_nearest, call, architecture.calls(), ""))
    return number


def _unknown(token: Token, architecture: Architecture, token_names: Mapping[str, int]) -> Fault:
    from seclude.abi.constants import constant_names

    name = token.text
    if name in ("X", "A", "mem", "args", "data", "len", "sys_number", "arch", "instruction_pointer"):
        return Fault(f"{name!r} is not a constant", token, "load it into A or X first")

    def suggest() -> str:  # asked only for the faults that are shown
        known = (*architecture.calls(), *token_names, *ACTIONS, *constant_names())
        return _nearest(name, known, "a call of another architecture is written arch.call")

    return Fault(f"{name!r} is no call of {architecture.name}, no constant and no architecture", token, suggest)


def _nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else otherwise
