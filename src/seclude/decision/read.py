"""Programs read into decisions: exact symbolic execution of everything that the kernel's checks accept.

Classic BPF jumps forward only, so the program counter orders the work. Three passes:

1. liveness, backwards: which of A, X and the scratch words an instruction's successors still read;
2. states, forwards: at each instruction, the distinct symbolic contents of what is live. Paths that meet with equal
   contents are one state, so a chain of diamonds costs its length and not its number of paths;
3. meanings, backwards: each state's diagram, made once from those of its successors.

While tests look at whole architectures and numbers, as compilers' output does, the third pass cuts those two axes into
runs (`Axis`) and keeps diagrams for what lies below; a program that looks at low bits of a number is read again with
diagrams throughout. The result is the same canonical diagram.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.decision.follow import STATE_BUDGET, follow
from seclude.decision.meanings import AsDiagrams, AsRuns, Axis, Meaning
from seclude.decision.nodes import budget
from seclude.decision.parts import TooManyRunsError
from seclude.decision.value import Decision, decision_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["STATE_BUDGET", "Axis", "Meaning", "Reading", "from_instructions", "from_program", "read"]


def from_program(program: object) -> Decision:
    """The decision of a `seclude.bpf.Program`. Raises `FilterError` (not a seccomp filter) and `BudgetError`."""
    from seclude.bpf import check

    check(program)  # type: ignore[arg-type]
    return from_instructions(program.instructions, program.byteorder)  # type: ignore[attr-defined]


def from_instructions(instructions: Sequence[tuple[int, int, int, int]], byteorder: str) -> Decision:
    """The decision of instructions that the kernel would accept; words lie in memory as ``byteorder`` says."""
    return read(instructions, byteorder).decision


class Reading:
    """A program read. ``meanings[pc]`` holds what the program means from there on, once for each register content that occurs."""

    __slots__ = ("decision", "meanings")

    def __init__(self, decision: Decision, meanings: Sequence[Iterable[Meaning]]) -> None:
        self.decision = decision
        self.meanings = meanings


def read(instructions: Sequence[tuple[int, int, int, int]], byteorder: str) -> Reading:
    """As `from_instructions`, with the meaning of each instruction."""
    with budget("this filter"):
        steps = follow(instructions, byteorder)
        third: AsRuns | AsDiagrams = AsRuns(steps)
        try:
            root = third.meaning()
        except TooManyRunsError:
            third = AsDiagrams(steps)
            root = third.meaning()
        return Reading(decision_of(root), [here.values() for here in third.meanings])
