"""One call put to a filter: what the filter answers, every instruction on the way, and whether the kernel would run it at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.analysis.meaning import action_meaning
from seclude.bpf.disassembler import statements
from seclude.bpf.machine import constant_allow
from seclude.bpf.names import WORDS, action_text
from seclude.bpf.trace import trace

if TYPE_CHECKING:
    from seclude.bpf.program import Program
    from seclude.bpf.trace import Step
    from seclude.decision.asked import Call

__all__ = ["Emulation", "emulate", "trace_text"]


class Emulation(NamedTuple):
    """``value`` is the filter's 32-bit result, ``steps`` every executed instruction; ``cached`` says whether the kernel's bitmap holds the
    call, so that no instruction runs, and ``why`` why or why not.
    """

    call: Call
    value: int
    steps: tuple[Step, ...]
    cached: bool
    why: str

    @property
    def action(self) -> str:
        """``ALLOW``, ``ERRNO(EPERM)`` ..."""
        return action_text(self.value, self.call.arch)

    @property
    def meaning(self) -> str:
        return action_meaning(self.value, self.call.arch)


def emulate(program: Program, call: Call, *, ip: int = 0) -> Emulation:
    """Run a program for one call. Raises ``FilterError`` with every reason where the kernel would not load the program."""
    steps = tuple(trace(program, call.words(ip)))
    value = steps[-1].result
    assert value is not None
    cached, why = _bitmap(program, call, steps)
    return Emulation(call, value, steps, cached, why)


def _bitmap(program: Program, call: Call, steps: tuple[Step, ...]) -> tuple[bool, str]:
    """Whether kernels since 5.11 answer from their bitmap (kernel/seccomp.c, seccomp_is_const_allow), and why."""
    if call.arch.x32_bit and call.nr & call.arch.x32_bit:
        return False, "numbers of x32 are not in it"
    if call.nr >= 0x40000000:
        return False, "there is no call with this number"
    if call.arch.call_name(call.nr) is None:
        return False, "the tables name no call with this number, and the bitmap ends with the kernel's own table"
    if constant_allow(program, call.arch.token, call.nr):
        return True, "the call's number and architecture decide alone"
    for step in steps:
        code, _, _, k = program[step.pc]
        if code == 0x20 and k not in (0, 4):
            return False, f"instruction {step.pc:04d} looks at {_word(program, k)}"
        if code == 0x06:
            return False, "only a plain ALLOW is kept in it" if k != 0x7FFF0000 else "the kernel's check gave up"
        if code not in (0x20, 0x15, 0x35, 0x25, 0x45, 0x05, 0x54):
            return False, f"instruction {step.pc:04d} is of a kind that the kernel's check does not follow"
    return False, "the kernel's check gave up"


def _word(program: Program, offset: int) -> str:
    from seclude.bpf.machine import word_at

    return WORDS[word_at(offset, program.byteorder)]


def trace_text(program: Program, emulation: Emulation) -> str:
    """One line an executed instruction: where, its text, and the registers after it where it changed them."""
    # On one way more is known than on all: the call's architecture is the one that was asked for.
    texts = [text for text, _ in statements(program, emulation.call.arch, "{:04d}".format)]
    lines = []
    a = x = 0
    width = min(60, max(len(texts[step.pc]) for step in emulation.steps))
    for step in emulation.steps:
        code = program[step.pc].code
        notes = []
        if code & 0x07 in (0x00, 0x04) or step.a != a:
            notes.append(f"A = {step.a:#x}")
        if code & 0x07 == 0x01 or step.x != x:
            notes.append(f"X = {step.x:#x}")
        if step.cell is not None:
            notes.append(f"mem[{step.cell}] = {step.stored:#x}")
        if code & 0x07 == 0x05 and step.next is not None:
            notes.append(f"A is {step.a:#x}: on to {step.next:04d}" if code & 0xF0 else f"on to {step.next:04d}")
        a, x = step.a, step.x
        lines.append(f" {step.pc:04d}: {texts[step.pc]:{width}}  {', '.join(notes)}".rstrip())
    return "".join(line + "\n" for line in lines)
