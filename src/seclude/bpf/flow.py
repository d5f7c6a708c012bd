"""Which architecture is in force at each instruction, and whether A holds it or the call's number.

A filter says "this is x86-64 from here on" by comparing ``arch`` with a token. The assembler resolves a bare ``read`` by that, the
disassembler prints it by that, and because both make the same pass over the same instructions, what one prints the other reads.

Classic BPF only jumps forward, so one pass in the order of the instructions is exact enough and linear: where two architectures
meet, none is in force, and calls are numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from seclude.abi import by_token

if TYPE_CHECKING:
    from seclude.abi import Architecture

__all__ = ["CONDITIONAL", "Flow", "Holds"]

#: What A is known to hold.
Holds: TypeAlias = Literal["", "nr", "arch"]

_JEQ_K = 0x15
_JA = 0x05
#: the conditional jumps
CONDITIONAL = frozenset((0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D))
_RETURNS = frozenset((0x06, 0x16))
#: Instructions that leave A as it is: TAX, ST, STX, and all that load X.
_KEEP_A = frozenset((0x07, 0x02, 0x03, 0x01, 0x61, 0x81))


class Flow:
    """The pass: for each ``pc`` in order ask ``at(pc)``, then tell ``follow(pc, instruction)``.

    ``initial`` is the architecture to assume before the program has compared anything, or None.
    """

    def __init__(self, initial: Architecture | None = None) -> None:
        self._start: tuple[Holds, Architecture | None] = ("", initial)
        #: states of instructions ahead; entries are dropped once passed
        self._states: dict[int, tuple[Holds, Architecture | None]] = {0: self._start}

    def at(self, pc: int) -> tuple[Holds, Architecture | None]:
        """What A holds and which architecture is in force; at an unreachable instruction, what held at the start."""
        return self._states.get(pc, self._start)

    def follow(self, pc: int, code: int, jt: int, jf: int, k: int) -> None:
        """Hand the state at ``pc`` on to the instructions that may come next."""
        holds, arch = self._states.pop(pc, self._start)
        if code in _RETURNS:
            return
        if code in CONDITIONAL:
            self._reach(pc + 1 + jf, holds, arch)
            if code == _JEQ_K and holds == "arch" and (arch is None or arch.token != k):
                candidates = by_token(k)
                arch = candidates[0] if candidates else None
            self._reach(pc + 1 + jt, holds, arch)
            return
        if code == 0x20:
            holds = "nr" if k == 0 else "arch" if k == 4 else ""
        elif code != _JA and code not in _KEEP_A:
            holds = ""
        self._reach(pc + 1 + k if code == _JA else pc + 1, holds, arch)

    def _reach(self, pc: int, holds: Holds, arch: Architecture | None) -> None:
        known = self._states.get(pc)
        if known is not None:
            holds = holds if known[0] == holds else ""
            arch = arch if known[1] is arch else None
        self._states[pc] = holds, arch
