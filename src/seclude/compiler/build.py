"""``compile``: decision → blocks → instructions → proof."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from seclude.bpf.program import Program
from seclude.compiler import arguments, even
from seclude.compiler.arguments import Arguments
from seclude.compiler.blocks import Blocks
from seclude.compiler.dispatch import tree
from seclude.compiler.layout import emit
from seclude.compiler.prove import prove
from seclude.compiler.weights import NEXT_ARCHITECTURE, Weights
from seclude.decision.nodes import END, budget
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.policy import from_policy, lowered, shadowed
from seclude.decision.value import ARCH, NR, Decision
from seclude.errors import BudgetError, PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seclude.abi import Architecture
    from seclude.compiler.blocks import Block
    from seclude.compiler.certificate import Certificate
    from seclude.decision.nodes import Node

__all__ = ["Filter", "compile", "compile_decision"]

#: what an instruction less is worth where a filter is too large otherwise: a tenth of a step
_FRUGAL = 0.1


class Filter:
    """A proven filter. ``program`` means exactly ``decision``; ``policy`` is what it was made from, or None. ``bytes(filter)`` is what the kernel takes."""

    __slots__ = ("_certificate", "_profile", "decision", "optimized_for", "order", "policy", "program")

    def __init__(
        self,
        program: Program,
        decision: Decision,
        policy: object = None,
        optimized_for: str = "blend",
        profile: Mapping[str, float] | None = None,
        order: Sequence[int] = (),
    ) -> None:
        self.program = program
        self.decision = decision
        self.policy = policy
        self.optimized_for = optimized_for
        #: AUDIT_ARCH tokens, the one that most calls come with first
        self.order = tuple(order)
        self._profile = profile
        self._certificate: Certificate | None = None

    def __bytes__(self) -> bytes:
        return self.program.to_bytes()

    def __len__(self) -> int:
        return len(self.program)

    def __repr__(self) -> str:
        return f"<Filter of {len(self)} instructions>"

    @property
    def certificate(self) -> Certificate:
        """What is known of this filter: see `seclude.compiler.certificate`. Made when first asked for."""
        if self._certificate is None:
            from seclude.abi import native
            from seclude.compiler.certificate import certify

            archs = next((found for token in self.order if (found := architectures_of(token))), [native()])
            profile = None if self._profile is None else dict(self._profile)
            self._certificate = certify(self.program, self.decision, archs, self.optimized_for, profile)
        return self._certificate


def compile(  # noqa: A001 -- the word for it
    policy: object, *, optimize_for: str = "blend", weights: Mapping[str, float] | None = None
) -> Filter:
    """The filter of a `Policy` (or a `Lowered`), read back and proven equal to it.

    ``optimize_for`` and ``weights`` (call name → how often it is made) say what "fast" means: see `seclude.compiler.weights`.

    Raises `PolicyError` for rules that can never apply, `BudgetError` beyond the kernel's 4096 instructions, `UsageError` for an
    unknown word or bad weights, and `InternalError` if the proof fails: then nothing leaves.
    """
    low = lowered(policy)
    faults = shadowed(low)
    if faults:
        raise PolicyError(faults)
    decision = from_policy(low)
    order = [token.token for token in low.tokens]
    program = compile_decision(decision, low.byteorder, optimize_for=optimize_for, weights=weights, order=order)
    return Filter(program, decision, policy, optimize_for, weights, order)


def compile_decision(
    decision: Decision,
    byteorder: str = sys.byteorder,
    *,
    optimize_for: str = "blend",
    weights: Mapping[str, float] | None = None,
    order: Sequence[int] = (),
) -> Program:
    """A program with this meaning, proven.

    ``byteorder`` is that of the machine it will run on; ``order`` lists AUDIT_ARCH tokens, the one that most calls come with first.
    """
    with budget("this filter"):
        chosen = Weights(optimize_for, weights)
        try:
            code = emit(_Plan(decision, chosen, order).root(), byteorder)
        except BudgetError:
            # Speed gives way to size before anybody is told that it does not fit.
            plan = _Plan(decision, chosen, order, _FRUGAL)
            code = emit(plan.root(), byteorder, lambda: largest(plan))
        program = Program(code, byteorder)
        prove(program, decision)
        return program


class _Plan:
    """A decision laid out as blocks: architecture, then number, then arguments."""

    def __init__(self, decision: Decision, weights: Weights, order: Sequence[int], size: float = 0.0) -> None:
        self.decision = decision
        self.weights = weights
        self.order = order
        self.blocks = Blocks()
        self.size = size or even.SIZE
        self.arguments = Arguments(self.blocks, size or arguments.SIZE)

    def root(self) -> Block:
        node = self.decision.root
        if node.level >= 8:
            return self.numbers(node, ())
        try:
            cut = self.decision.tokens
        except TooManyRunsError:
            return self.arguments.block(node)
        ways: dict[Node, Block] = {}
        for first, last, kid in cut:
            if kid not in ways:
                ways[kid] = self.numbers(kid, [first] if first == last else [])
        points = [(first, kid) for first, last, kid in cut if first == last]
        wide = {kid for first, last, kid in cut if first != last}
        rank = {token: index for index, token in enumerate(self.order)}
        points.sort(key=lambda point: rank.get(point[0], len(rank)))
        if len(wide) == 1 and len(points) <= 4:
            (rest,) = wide
            return self.blocks.load(ARCH, self.blocks.equals([(first, ways[kid]) for first, kid in points if kid is not rest], ways[rest]))
        heavy = {first: NEXT_ARCHITECTURE ** rank.get(first, len(rank)) for first, _ in points}
        weights = [heavy.get(first, 1e-6) if first == last else 1e-9 for first, last, _ in cut]
        return self.blocks.load(ARCH, tree(cut, weights, ways.__getitem__, self.blocks))

    def numbers(self, node: Node, tokens: Sequence[int]) -> Block:
        """The code that finds the call, for the architectures with these tokens."""
        if not node.level < 16:
            return self.arguments.block(node)
        try:
            cut = runs(node, NR)
        except TooManyRunsError:
            return self.arguments.block(node)
        weights, points = self.weights.of_calls(cut, [arch for token in tokens for arch in architectures_of(token)])
        uniform = self.weights.mode == "uniform" or (self.weights.mode == "profile" and not self.weights.profile)
        return self.blocks.load(NR, tree(cut, weights, self.arguments.block, self.blocks, None if uniform else points, self.size))


def architectures_of(token: int) -> list[Architecture]:
    """The architectures that share an AUDIT_ARCH token (x86_64 and x32 do)."""
    from seclude import abi

    return list(abi.by_token(token))


def largest(plan: _Plan) -> str:
    """Which calls need most code, for the message of a filter that is too large."""
    sizes: dict[tuple[str, Node], int] = {}
    total = 0
    try:
        for first, _, kid in plan.decision.tokens:
            names = architectures_of(first)
            cut = runs(kid, NR) if kid.level < 16 else ()
            total += len(cut)
            for number, _, node in cut:
                if node.level != END and names:
                    name = next((found for arch in names if (found := arch.call_name(number))), str(number))
                    sizes[f"{name} on {names[0].name}", node] = len(plan.arguments.block(node).below())
    except TooManyRunsError:
        return "it looks at single bits of call numbers or architectures in many ways"
    worst = sorted(sizes.items(), key=lambda item: -item[1])[:3]
    parts = [f"the arguments of {name}: {size} instructions" for (name, _), size in worst]
    return "; ".join([*parts, f"finding the call: {total} runs of call numbers"])
