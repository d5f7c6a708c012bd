"""A program as text: the assembler's own language, or a listing with the raw fields beside it.

``assemble(disassemble(program)) == program`` for every program, loadable or not: what the language has no sentence for
(an unknown opcode, a value in a field that the instruction does not use) is printed as ``.insn code, jt, jf, k``. One pass, no path
enumeration, so the time is linear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.bpf import codes
from seclude.bpf.flow import Flow
from seclude.bpf.names import ALU, COMPARISONS, INVERSE, action_text, call_text, offsets, token_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from seclude.abi import Architecture
    from seclude.bpf.flow import Holds
    from seclude.bpf.program import Instruction, Program

__all__ = ["disassemble", "listing", "statements"]

_CONDITIONS = {operation: text for text, (operation, exchanged) in COMPARISONS.items() if not exchanged}
_OPERATORS = {operation: text for text, operation in ALU.items()}
_SHIFTS = (codes.BPF_LSH, codes.BPF_RSH)
#: Instructions without an operand: code → text. All their fields must be 0.
_BARE = {
    codes.BPF_LD | codes.BPF_LEN: "A = len",
    codes.BPF_LDX | codes.BPF_LEN: "X = len",
    codes.BPF_ALU | codes.BPF_NEG: "A = -A",
    codes.BPF_MISC | codes.BPF_TAX: "X = A",
    codes.BPF_MISC | codes.BPF_TXA: "A = X",
    codes.BPF_RET | codes.BPF_A: "return A",
}
#: What has no sentence because seccomp never takes it, for the remark behind ``.insn``.
_FOREIGN = {
    0x28: "halfword load",
    0x30: "byte load",
    0x40: "indirect load",
    0x48: "indirect halfword load",
    0x50: "indirect byte load",
    0xB1: "MSH load",
}


def disassemble(program: Program, arch: Architecture | str | None = None) -> str:
    """The program in the assembler's language, with labels, names of calls, architectures and actions.

    Calls have names where the program itself has compared ``arch`` with one token; ``arch`` says which architecture to assume before
    that (it is printed as ``.arch``, so that the text still reads back). Raises ``UsageError`` for an unknown architecture.
    """
    initial = _architecture(arch)
    lines = []
    if initial is not None:
        lines.append(f".arch {initial.name}")
    if program.byteorder != (initial.byteorder if initial is not None else "little"):
        lines.append(f".byteorder {program.byteorder}")
    texts = list(statements(program, initial, lambda target: f"L{target}"))
    targets = {target for _, used in texts for target in used}
    for index, (text, _) in enumerate(texts):
        if index in targets:
            lines.append(f"L{index}:")
        lines.append(f"    {text}")
    return "".join(line + "\n" for line in lines)


def listing(program: Program, arch: Architecture | str | None = None) -> str:
    """One line an instruction: number, the four fields in hexadecimal, and the same words as ``disassemble``, jumps by line number."""
    lines = [" line  CODE   JT   JF          K", "=" * 33]
    for index, (instruction, (text, _)) in enumerate(zip(program, statements(program, _architecture(arch), "{:04d}".format), strict=True)):
        code, jt, jf, k = instruction
        lines.append(f" {index:04d}: 0x{code:02x} 0x{jt:02x} 0x{jf:02x} 0x{k:08x}  {text}")
    return "".join(line + "\n" for line in lines)


def _architecture(arch: Architecture | str | None) -> Architecture | None:
    if arch is None:
        return None
    from seclude.abi import arch as find

    return find(arch)


def statements(program: Program, initial: Architecture | None, label: Callable[[int], str]) -> Iterator[tuple[str, list[int]]]:
    """Each instruction's text, and the instructions that it names as targets."""
    words = offsets(program.byteorder)
    flow = Flow(initial)
    length = len(program)
    for pc, instruction in enumerate(program):
        used: list[int] = []

        def goto(skip: int, pc: int = pc, used: list[int] = used) -> str:
            if skip == 0:
                return "goto next"
            target = pc + 1 + skip
            if target >= length:
                return f"goto +{skip}"
            used.append(target)
            return f"goto {label(target)}"

        holds, architecture = flow.at(pc)
        text = _statement(instruction, words, holds, architecture, goto)
        flow.follow(pc, *instruction)
        yield text if text is not None else _raw(instruction), used


def _statement(
    instruction: Instruction, words: Mapping[int, str], holds: Holds, architecture: Architecture | None, goto: Callable[[int], str]
) -> str | None:
    """The sentence for one instruction, or None where the language has none that reads back to the same fields."""
    code, jt, jf, k = instruction
    kind = code & 0x07
    if code in _CONDITIONAL:
        if code & codes.BPF_X and k:
            return None
        operation = code & 0xF0
        value = "X" if code & codes.BPF_X else _value(k, operation, holds, architecture)
        if jt == 0 and jf:
            inverse = INVERSE.get(operation)
            condition = f"!(A & {value})" if inverse is None else f"A {inverse} {value}"
            return f"if ({condition}) {goto(jf)}"
        taken = f"if (A {_CONDITIONS[operation]} {value}) {goto(jt)}"
        return f"{taken} else {goto(jf)}" if jf else taken
    if jt or jf:
        return None
    if code == codes.BPF_JMP | codes.BPF_JA:
        return goto(k)
    if code in _BARE:
        return None if k else _BARE[code]
    if code == codes.BPF_RET | codes.BPF_K:
        return f"return {action_text(k, architecture)}"
    if code == codes.BPF_LD | codes.BPF_ABS:
        return f"A = {words.get(k, f'data[{k}]')}"
    if code in (codes.BPF_LD | codes.BPF_IMM, codes.BPF_LDX | codes.BPF_IMM):
        return f"{'AX'[kind]} = 0x{k:x}"
    if code in (codes.BPF_LD | codes.BPF_MEM, codes.BPF_LDX | codes.BPF_MEM):
        return f"{'AX'[kind]} = mem[{k}]"
    if code in (codes.BPF_ST, codes.BPF_STX):
        return f"mem[{k}] = {'AX'[kind - codes.BPF_ST]}"
    if kind == codes.BPF_ALU and code < 0x100 and code & 0xF0 in _OPERATORS:
        operation = code & 0xF0
        if code & codes.BPF_X:
            return None if k else f"A {_OPERATORS[operation]}= X"
        return f"A {_OPERATORS[operation]}= {k if operation in _SHIFTS else f'0x{k:x}'}"
    return None


_CONDITIONAL = frozenset(codes.BPF_JMP | operation | source for operation in _CONDITIONS for source in (codes.BPF_K, codes.BPF_X))


def _value(k: int, operation: int, holds: Holds, architecture: Architecture | None) -> str:
    """A constant that A is compared with, by what A holds. Only equality gets a call's name: an order of names says nothing."""
    if holds == "arch" and operation == codes.BPF_JEQ:
        return token_text(k) or f"0x{k:x}"
    if holds == "nr" and operation != codes.BPF_JSET:
        named = call_text(k, architecture) if operation == codes.BPF_JEQ else None
        return named or (str(k) if k < 0x40000000 else f"0x{k:x}")
    return f"0x{k:x}"


def _raw(instruction: Instruction) -> str:
    code, jt, jf, k = instruction
    text = f".insn 0x{code:02x}, {jt}, {jf}, 0x{k:x}"
    return f"{text}  # {_FOREIGN[code]}" if code in _FOREIGN else text
