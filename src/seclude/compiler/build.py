"""``compile``: decision → blocks → instructions → proof."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from seclude.bpf.program import Program
from seclude.compiler.arguments import Arguments
from seclude.compiler.blocks import Blocks
from seclude.compiler.dispatch import tree
from seclude.compiler.layout import emit
from seclude.decision.nodes import budget
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.policy import from_policy, lowered, shadowed
from seclude.decision.read import from_instructions
from seclude.decision.value import ARCH, NR, Decision
from seclude.errors import InternalError, PolicyError

if TYPE_CHECKING:
    from seclude.compiler.blocks import Block
    from seclude.decision.nodes import Node

__all__ = ["Filter", "compile", "compile_decision"]



class Filter:
    """A proven filter. ``program`` means exactly ``decision``; ``policy`` is what it was made from, or None. ``bytes(filter)`` is what the kernel takes."""

    __slots__ = ("decision", "policy", "program")

    def __init__(self, program: Program, decision: Decision, policy: object = None) -> None:
        self.program = program
        self.decision = decision
        self.policy = policy

    def __bytes__(self) -> bytes:
        return self.program.to_bytes()

    def __len__(self) -> int:
        return len(self.program)


def compile(policy: object) -> Filter:
    """The filter of a `Policy` (or a `Lowered`), read back and proven equal to it.

    Raises `PolicyError` for rules that can never apply, `BudgetError` beyond the kernel's 4096 instructions, and
    `InternalError` if the proof fails: then nothing leaves.
    """
    low = lowered(policy)
    faults = shadowed(low)
    if faults:
        raise PolicyError(faults)
    decision = from_policy(low)
    return Filter(compile_decision(decision, low.byteorder), decision, policy)


def compile_decision(decision: Decision, byteorder: str = sys.byteorder) -> Program:
    """A program with this meaning, proven. ``byteorder`` is that of the machine it will run on."""
    with budget("this filter"):
        blocks = Blocks()
        program = Program(emit(_root(decision, blocks), blocks, byteorder), byteorder)
        prove(program, decision)
        return program


def _root(decision: Decision, blocks: Blocks) -> Block:
    arguments = Arguments(blocks)

    def numbers(node: Node) -> Block:
        if not node.level < 16:
            return arguments.block(node)
        try:
            cut = runs(node, NR)
        except TooManyRunsError:
            return arguments.block(node)
        return blocks.load(NR, tree(cut, [1.0] * len(cut), arguments.block, blocks))

    if decision.root.level >= 8:
        return numbers(decision.root)
    try:
        cut = decision.tokens
    except TooManyRunsError:
        return arguments.block(decision.root)
    points = [(first, kid) for first, last, kid in cut if first == last]
    wide = {kid for first, last, kid in cut if first != last}
    if len(wide) == 1 and len(points) <= 4:
        (rest,) = wide
        return blocks.load(ARCH, blocks.equals([(first, numbers(kid)) for first, kid in points if kid is not rest], numbers(rest)))
    return blocks.load(ARCH, tree(cut, [1.0] * len(cut), numbers, blocks))


def prove(program: Program, decision: Decision) -> None:
    """Read the program back; raise `InternalError` unless it is the same decision and keeps every plain allow cacheable."""
    if from_instructions(program.instructions, program.byteorder) is not decision:
        raise InternalError("a compiled filter does not mean what its policy means")


