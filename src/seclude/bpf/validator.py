"""Would the kernel load this program? Exactly its rules, with its quirks.

Three checks of Linux 6.18 in one, each finding naming its instruction and what to do:

- ``bpf_check_basics_ok`` and ``bpf_check_classic`` (net/core/filter.c): 1 to 4096 instructions, the table of opcodes, no division by a
  constant 0, no shift by a constant over 31, scratch cells 0..15, every jump inside the program, a RET last.
- ``check_load_and_stores`` (same file): a scratch cell must have been written before it is read. The kernel makes one linear pass in
  which a jump hands what is written to its target and then forgets that the next line may be unreachable (everything counts as
  written), while a **RET does not**: code after a RET, although reached by jumps only, is held to what was written in the lines above it,
  and can be refused though no path reads an unwritten cell.
- ``seccomp_check_filter`` (kernel/seccomp.c): no MOD, no indirect, halfword, byte or MSH load; ``LD|W|ABS`` only at multiples of 4 below 64.

The fields that an instruction does not use are not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.bpf.codes import BPF_MAXINSNS, BPF_MEMWORDS, SECCOMP_DATA_SIZE
from seclude.errors import Diagnostic, FilterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.bpf.machine import Code
    from seclude.errors import Span

__all__ = ["KNOWN_CODES", "Finding", "check", "validate"]


class Finding(NamedTuple):
    """One reason why seccomp(2) answers EINVAL: ``instruction`` is its index, or None for the program as a whole.

    ``rule`` is a stable word: length, opcode, seccomp, division, shift, scratch, jump, offset, last or unwritten.
    """

    instruction: int | None
    rule: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = "" if self.instruction is None else f"instruction {self.instruction}: "
        return f"{place}{self.message} [{self.rule}]\n  {self.remedy}"

    def diagnostic(self, span: Span | None = None) -> Diagnostic:
        """The finding as a diagnostic, placed in a text where ``span`` says which line made the instruction."""
        place = "" if self.instruction is None else f"instruction {self.instruction}: "
        return Diagnostic(place + self.message, span, self.remedy)


#: Valid classic BPF that seccomp takes away: code → what it is.
_REFUSED_BY_SECCOMP = {
    0x94: "the remainder (MOD)",
    0x9C: "the remainder (MOD)",
    0x28: "a halfword load",
    0x30: "a byte load",
    0x40: "an indirect load",
    0x48: "an indirect halfword load",
    0x50: "an indirect byte load",
    0xB1: "the header-length load (MSH)",
}
_LOAD_ABS = 0x20
_JA = 0x05
_CONDITIONAL = frozenset((0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D))
_STORES = frozenset((0x02, 0x03))
_SCRATCH_LOADS = frozenset((0x60, 0x61))
_RETURNS = frozenset((0x06, 0x16))
_CONSTANT_DIVISION = frozenset((0x34, 0x94))
_CONSTANT_SHIFT = frozenset((0x64, 0x74))
#: The table of opcodes of bpf_check_classic.
_KNOWN = (
    frozenset((0x00, 0x01, 0x07, 0x80, 0x81, 0x87, _LOAD_ABS, _JA, *range(0x04, 0xB4, 0x10), *range(0x0C, 0x8C, 0x10), 0x9C, 0xAC))
    | _CONDITIONAL
    | _STORES
    | _SCRATCH_LOADS
    | _RETURNS
    | _REFUSED_BY_SECCOMP.keys()
)
#: every opcode of classic BPF, those that seccomp refuses included
KNOWN_CODES = _KNOWN
_ALL_WRITTEN = 0xFFFF


def validate(program: Code) -> list[Finding]:
    """Every reason why the kernel would refuse this program with EINVAL, in the order of its instructions; empty if it would load it.

    Linear in the program's length. Whether a filter may be loaded at all (no_new_privs) and how much fits on top of others
    (``path_length``) are other questions.
    """
    instructions: Sequence[tuple[int, int, int, int]] = tuple(program)
    length = len(instructions)
    if not length:
        return [Finding(None, "length", "the program is empty", "a filter has at least one instruction: a RET")]
    found = []
    if length > BPF_MAXINSNS:
        message = f"the program has {length} instructions, the kernel takes at most {BPF_MAXINSNS}"
        found.append(Finding(None, "length", message, "split it into stacked filters, or let the compiler lay it out"))
    for index, (code, jt, jf, k) in enumerate(instructions):
        found += _instruction(index, length, code, jt, jf, k)
    if instructions[-1][0] not in _RETURNS:
        message = f"the last instruction is not a RET (code 0x{instructions[-1][0]:02x})"
        found.append(Finding(length - 1, "last", message, "end the program with RET K or RET A, even if that line is never reached"))
    found += _unwritten(instructions)
    return sorted(found, key=lambda finding: -1 if finding.instruction is None else finding.instruction)


def check(program: Code) -> None:
    """Raise ``FilterError`` with every finding if the kernel would refuse the program."""
    found = validate(program)
    if found:
        raise FilterError(finding.diagnostic() for finding in found)


def _instruction(index: int, length: int, code: int, jt: int, jf: int, k: int) -> list[Finding]:
    if code not in _KNOWN:
        return [
            Finding(
                index,
                "opcode",
                f"0x{code:04x} is no opcode of classic BPF",
                "see linux/bpf_common.h for the codes; are the bytes in the right order?",
            )
        ]
    if code in _REFUSED_BY_SECCOMP:
        refused = [
            Finding(
                index,
                "seccomp",
                f"{_REFUSED_BY_SECCOMP[code]} (code 0x{code:02x}) is not for seccomp",
                "use word loads at fixed offsets, and DIV, MUL and SUB for a remainder",
            )
        ]
        if code == 0x94 and k == 0:
            refused.append(Finding(index, "division", "remainder of a division by the constant 0", "divide by something else"))
        return refused
    if code in _CONSTANT_DIVISION and k == 0:
        return [Finding(index, "division", "division by the constant 0", "divide by something else")]
    if code in _CONSTANT_SHIFT and k > 31:
        return [Finding(index, "shift", f"shift by {k}", "a shift by a constant is 0 to 31; A = 0 is what a longer one would mean")]
    if (code in _STORES or code in _SCRATCH_LOADS) and k >= BPF_MEMWORDS:
        return [Finding(index, "scratch", f"there is no scratch cell {k}", f"the cells are 0 to {BPF_MEMWORDS - 1}")]
    if code == _JA and k >= length - index - 1:
        return [
            Finding(
                index,
                "jump",
                f"the jump skips {k} instructions, to {index + 1 + k} of {length}",
                "jumps go forward and stay inside the program",
            )
        ]
    if code in _CONDITIONAL:
        return [
            Finding(
                index, "jump", f"{name} = {skip} leads to {index + 1 + skip} of {length}", "jumps go forward and stay inside the program"
            )
            for name, skip in (("jt", jt), ("jf", jf))
            if index + 1 + skip >= length
        ]
    if code == _LOAD_ABS and (k >= SECCOMP_DATA_SIZE or k & 3):
        return [
            Finding(
                index,
                "offset",
                f"there is no word at byte offset {k}",
                f"struct seccomp_data has words at multiples of 4 below {SECCOMP_DATA_SIZE}",
            )
        ]
    return []


def _unwritten(instructions: Sequence[tuple[int, int, int, int]]) -> list[Finding]:
    """The kernel's linear pass over scratch cells; jumps and cells out of range are the business of other findings."""
    length = len(instructions)
    masks = [_ALL_WRITTEN] * length
    written = 0
    found = []
    for index, (code, jt, jf, k) in enumerate(instructions):
        written &= masks[index]
        if code in _STORES:
            if k < BPF_MEMWORDS:
                written |= 1 << k
        elif code in _SCRATCH_LOADS:
            if k < BPF_MEMWORDS and not written >> k & 1:
                message = f"scratch cell {k} may be read before it is written, as the kernel sees it"
                remedy = f"store to mem[{k}] on every way here; after a RET only what was stored in the lines above it counts"
                found.append(Finding(index, "unwritten", message, remedy))
        elif code == _JA or code in _CONDITIONAL:
            for skip in (k,) if code == _JA else (jt, jf):
                if index + 1 + skip < length:
                    masks[index + 1 + skip] &= written
            written = _ALL_WRITTEN
    return found
