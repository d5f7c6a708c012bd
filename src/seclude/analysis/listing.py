"""A program for a reader: every instruction with its fields, its words, the arrows of its jumps and what it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.analysis.gutter import gutter
from seclude.analysis.meaning import remarks
from seclude.bpf.disassembler import statements
from seclude.bpf.flow import CONDITIONAL
from seclude.bpf.validator import validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.abi import Architecture
    from seclude.bpf.program import Program
    from seclude.bpf.validator import Finding

__all__ = ["annotated", "jumps", "rows"]


def jumps(program: Program) -> dict[int, list[int]]:
    """Instruction → the instructions before it that jump there, those just before it left out."""
    found: dict[int, list[int]] = {}
    length = len(program)
    for pc, (code, jt, jf, k) in enumerate(program):
        skips = {jt, jf} if code in CONDITIONAL else {k} if code == 0x05 else ()
        for skip in skips:
            if skip and pc + 1 + skip < length:
                found.setdefault(pc + 1 + skip, []).append(pc)
    return found


def rows(program: Program, arch: Architecture | str | None = None) -> list[dict[str, object]]:
    """The same as data: for each instruction its index, fields, text, meaning, and what the kernel would refuse about it."""
    found = _findings(validate(program))
    return [
        {
            "index": index, "code": instruction.code, "jt": instruction.jt, "jf": instruction.jf, "k": instruction.k,
            "text": text, "meaning": remark, "findings": [{"rule": one.rule, "message": one.message, "remedy": one.remedy} for one in found.get(index, ())],
        }
        for index, (instruction, text, remark) in enumerate(zip(program, _texts(program, arch), remarks(program, _find(arch)), strict=True))
    ]  # fmt: skip


def annotated(
    program: Program, arch: Architecture | str | None = None, *, findings: Sequence[Finding] | None = None, ascii_only: bool = False
) -> str:
    """The listing as text. Calls are named by the architecture that the program itself has compared; ``arch`` is assumed before that.

    What the kernel would refuse (``findings``, where they are known already) stands under its instruction. Linear in the program's length. Raises ``UsageError`` for an unknown architecture.
    """
    arrows = gutter(len(program), jumps(program), ascii_only=ascii_only)
    texts = _texts(program, arch)
    notes = list(remarks(program, _find(arch)))
    found = _findings(validate(program) if findings is None else findings)
    width = min(56, max((len(text) for text, note in zip(texts, notes, strict=True) if note), default=0))
    blank = len(arrows[0]) + 1 if arrows and arrows[0] else 0
    lines = [" line  CODE   JT   JF          K", "=" * (33 + blank)]
    for index, ((code, jt, jf, k), text, note) in enumerate(zip(program, texts, notes, strict=True)):
        arrow = f"{arrows[index]} " if blank else ""
        said = f"{text:{width}}  # {note}" if note else text
        lines.append(f" {index:04d}: 0x{code:02x} 0x{jt:02x} 0x{jf:02x} 0x{k:08x}  {arrow}{said}")
        if index in found:
            lines += [f"       ^ refused: {one.message} ({one.remedy})" for one in found[index]]
    lines += [f"refused: {one.message} ({one.remedy})" for one in found.get(-1, ())]
    return "\n".join(lines) + "\n"


def _texts(program: Program, arch: Architecture | str | None) -> list[str]:
    return [text for text, _ in statements(program, _find(arch), "{:04d}".format)]


def _findings(findings: Sequence[Finding]) -> dict[int, list[Finding]]:
    found: dict[int, list[Finding]] = {}
    for one in findings:
        found.setdefault(-1 if one.instruction is None else one.instruction, []).append(one)
    return found


def _find(arch: Architecture | str | None) -> Architecture | None:
    if arch is None:
        return None
    from seclude.abi import arch as find

    return find(arch)
