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

Comparisons are ``== != > >= < <=`` with a constant or X, and ``&`` (any common bit); ``!( ... )`` inverts. A constant is an expression of
numbers, constants by C name (``AF_INET``, ``O_CREAT | O_EXCL``), ``ARCH_X86_64``, and names of calls: ``read`` of the architecture in force at
that line, ``x86_64.read`` (or any other spelling of the architecture) anywhere.

A conditional jump reaches 255 instructions; a farther target is an error that names the line. Every fault of a text is reported, each with its line
and a caret. Nothing is judged here: a program that the kernel would not load assembles, and ``seclude.bpf.check`` says why it would not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.bpf import codes
from seclude.bpf.expression import Fault, Token, Tokens, evaluate, tokenize, walk
from seclude.bpf.flow import Flow
from seclude.bpf.names import ACTIONS, offsets, tokens
from seclude.bpf.program import Program
from seclude.bpf.statements import Action, Jump, Line, Word, statement
from seclude.errors import Diagnostic, FilterError, Span, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seclude.abi import Architecture
    from seclude.bpf.expression import Expression

__all__ = ["Assembly", "assemble", "read_assembly"]


class Assembly(NamedTuple):
    """A program and, for each of its instructions, the line that made it: a ``Finding`` of ``validate`` gets its place there."""

    program: Program
    spans: tuple[Span, ...]


def assemble(text: str, *, file: str = "<assembly>", arch: Architecture | str | None = None, byteorder: str | None = None) -> Program:
    """The program that a text says.

    ``arch`` is what ``.arch`` would say where the text does not: whose calls bare names are where the program has not compared the
    architecture yet (default: this machine's). ``byteorder`` is the target's (default: that of ``arch`` where given, else little). What the text itself says wins.
    Raises ``FilterError`` with every fault, and ``UsageError`` for an unknown ``arch`` or ``byteorder``.
    """
    return read_assembly(text, file=file, arch=arch, byteorder=byteorder).program


def read_assembly(text: str, *, file: str = "<assembly>", arch: Architecture | str | None = None, byteorder: str | None = None) -> Assembly:
    """As ``assemble``, with the line of each instruction."""
    if byteorder not in (None, "little", "big"):
        raise UsageError(f"byte order {byteorder!r} is neither 'little' nor 'big'")
    return _Reader(file, arch, byteorder).read(text)


_FAULTS_SHOWN = 100


class _Reader:
    def __init__(self, file: str, arch: Architecture | str | None, byteorder: str | None) -> None:
        self.file = file
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
        # Only a line feed ends a line: a form feed or a Unicode separator inside a comment does not.
        for self.number, source in enumerate(text.split("\n"), 1):
            self.source = source.rstrip("\r")
            try:
                self._line(Tokens(tokenize(self.source)))
            except Fault as fault:
                self._fault(fault)
                # A line that could not be read still counts, so that the jumps over it stay right.
                self.lines.append(Line(self._span(fault.token), 0))
        fields = self._resolve(offsets(self.byteorder))
        if self.faults:
            self.faults.sort(key=lambda fault: (fault.span.line, fault.span.column) if fault.span else (0, 0))
            hidden = len(self.faults) - _FAULTS_SHOWN
            rest = [Diagnostic(f"... and {hidden} more faults in {self.file}")] if hidden > 0 else []
            raise FilterError(self.faults[:_FAULTS_SHOWN] + rest)
        return Assembly(Program(fields, self.byteorder), tuple(line.span for line in self.lines))

    def _span(self, token: Token, line: int = 0, source: str | None = None) -> Span:
        return Span(self.file, line or self.number, token.column + 1, token.stop + 1, self.source if source is None else source)

    def _fault(self, fault: Fault, span: Span | None = None) -> None:
        if span is not None:
            span = self._span(fault.token, span.line, span.source)
        self.faults.append(Diagnostic(fault.message, span or self._span(fault.token), fault.remedy))

    # Statements

    def _line(self, line: Tokens) -> None:
        while line.peek().kind in ("name", "number") and line.peek(1).text == ":":
            self._label(line.next())
            line.next()
        first = line.peek()
        if first.kind == "end":
            return
        if first.text in (".arch", ".byteorder"):
            self._directive(line)
        else:
            whole = Token("line", "", first.column, len(self.source.split("#")[0].rstrip()))
            self.lines.append(statement(line)._replace(span=self._span(whole)))
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

    def _resolve(self, words: Mapping[int, str]) -> list[tuple[int, int, int, int]]:
        """Labels to skips and names to numbers, in one pass: what a name means is decided by the instructions before it."""
        places = {text: offset for offset, text in words.items()}
        default = self.arch
        flow = Flow(default)
        fields = []
        for pc, line in enumerate(self.lines):
            jt = self._skip(line.jt, pc, line, 255)
            jf = self._skip(line.jf, pc, line, 255)
            if line.ja is not None:
                k = self._skip(line.ja, pc, line, 0xFFFFFFFF)
            else:
                k = self._k(line, places, flow.at(pc)[1] or default)
            flow.follow(pc, line.code, jt, jf, k)
            fields.append((line.code, jt, jf, k))
        return fields

    def _skip(self, jump: Jump | int, pc: int, line: Line, limit: int) -> int:
        if isinstance(jump, int):
            return jump
        name = jump.token.text
        if jump.relative or (name not in self.labels and name.isdecimal()):
            skip = int(name) if name.isdecimal() and len(name) < 20 else -1
        elif name == "next":
            return 0
        elif name in self.labels:
            skip = self.labels[name][0] - pc - 1
            if skip < 0:
                remedy = f"the label is in line {self.labels[name][1].line}; BPF has no loops"
                self._fault(Fault(f"jumps only go forward, and {name!r} is behind", jump.token, remedy), line.span)
                return 0
        else:
            near = nearest(name, self.labels)
            self._fault(
                Fault(f"no label {name!r}", jump.token, f"did you mean {near!r}?" if near else "define it as a line 'label:'"), line.span
            )
            return 0
        if not 0 <= skip <= limit:
            conditional = limit == 255
            self._fault(
                Fault(
                    f"{name!r} is {skip} instructions ahead, a {'conditional ' if conditional else ''}jump skips at most {limit}"
                    if skip >= 0
                    else f"{name!r} is not a number of instructions",
                    jump.token,
                    "let it go to a 'goto' nearby" if conditional else "",
                ),
                line.span,
            )
            return 0
        return skip

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
        near = nearest(call, architecture.calls())
        raise Fault(f"{architecture.name} has no call {call!r}", token, f"did you mean {near!r}?" if near else "")
    return number


def _unknown(token: Token, architecture: Architecture, token_names: Mapping[str, int]) -> Fault:
    from seclude.abi.constants import constant_names

    name = token.text
    if name in ("X", "A", "mem", "args", "data", "len", "sys_number", "arch", "instruction_pointer"):
        return Fault(f"{name!r} is not a constant", token, "load it into A or X first")
    near = nearest(name, [*architecture.calls(), *token_names, *ACTIONS, *constant_names()])
    remedy = f"did you mean {near!r}?" if near else "a call of another architecture is written arch.call"
    return Fault(f"{name!r} is no call of {architecture.name}, no constant and no architecture", token, remedy)
