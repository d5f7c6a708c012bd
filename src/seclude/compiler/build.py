"""``compile``: decision → blocks → instructions → proof."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from seclude.bpf.program import Program
from seclude.compiler.arguments import Arguments
from seclude.compiler.blocks import Blocks
from seclude.compiler.dispatch import tree
from seclude.compiler.layout import emit
from seclude.compiler.prove import prove
from seclude.decision.nodes import END, budget
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.policy import from_policy, lowered, shadowed
from seclude.decision.value import ARCH, NR, Decision
from seclude.errors import BudgetError, PolicyError

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


def compile(policy: object) -> Filter:  # noqa: A001 -- the word for it
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
        program = Program(emit(_root(decision, Blocks()), byteorder, lambda: largest(decision)), byteorder)
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


def largest(decision: Decision) -> str:
    """Which calls need most code, for the message of a filter that is too large."""
    from seclude import abi

    sizes: dict[tuple[str, Node], int] = {}
    total = 0
    try:
        for first, _, kid in decision.tokens:
            names = [abi.arch(name) for name in abi.ARCHITECTURES if abi.arch(name).token == first]
            cut = runs(kid, NR) if kid.level < 16 else ()
            total += len(cut)
            for number, _, node in cut:
                if node.level != END and names:
                    blocks = Blocks()
                    Arguments(blocks).block(node)
                    name = next((found for arch in names if (found := arch.call_name(number))), str(number))
                    sizes[f"{name} on {names[0].name}", node] = len(blocks.known)
    except (TooManyRunsError, BudgetError):
        return "it looks at single bits of call numbers or architectures in many ways"
    worst = sorted(sizes.items(), key=lambda item: -item[1])[:3]
    parts = [f"the arguments of {name}: {size} instructions" for (name, _), size in worst]
    return "; ".join([*parts, f"finding the call: {total} runs of call numbers"])
