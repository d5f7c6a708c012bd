"""What is known of a compiled filter: that it is proven, what it costs, and how far that is from what no filter can beat.

Costs are executed instructions, counted by running the program on one call of each kind: a permitted call with filtered arguments is
run once for every way in which its arguments are accepted. Frequencies come from the profile, or are even.

The bound holds for any program that finds the architecture, then the number, then looks at arguments:

* loading both, one test of the architecture and the RET: 4;
* finding the call: at least the cost of a Huffman code of the places that numbers lead to, each as heavy as all of its numbers;
* each argument word whose change alone would turn the answer must be loaded and tested: 2.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from seclude.bpf import constant_allow, converted_length
from seclude.bpf.machine import run
from seclude.compiler.order import ways
from seclude.compiler.weights import Weights, is_permitted
from seclude.decision.nodes import END, LEVEL_SHIFT, LEVEL_WORD
from seclude.decision.value import ARCH, NR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from seclude.abi import Architecture
    from seclude.bpf import Program
    from seclude.decision.nodes import Node
    from seclude.decision.value import Decision

__all__ = ["Certificate", "Cost", "certify"]

_ALLOW = 0x7FFF_0000
_PRELUDE = 4
_WORD = 2
#: accepted ways that are run for one call
_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """Executed instructions of one kind of call: how many numbers there are, the mean by weight, the most."""

    calls: int
    mean: float
    worst: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """The facts about one filter; ``architecture`` is the one that the costs are of, the first of the filter.

    ``plain`` calls are allowed whatever their arguments, ``filtered`` ones for some arguments, ``denied`` ones never. ``overall`` and ``bound`` are the
    mean over all permitted calls and the least that it could be; ``uncached`` and ``uncached_bound`` the same over the calls that the
    kernel's bitmap cannot skip. ``bitmap`` of ``bitmap_possible`` plainly allowed numbers can be kept in that bitmap. ``path_length`` is
    what the kernel adds up to at most 32768 over a task's filters.
    """

    proven: bool
    instructions: int
    path_length: int
    optimized_for: str
    architecture: str
    plain: Cost
    filtered: Cost
    denied: Cost
    overall: float
    bound: float
    uncached: float
    uncached_bound: float
    bitmap: int
    bitmap_possible: int

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [("executed instructions", "calls", "mean", "worst")]
        for name, cost in (("plain", self.plain), ("filtered", self.filtered), ("denied", self.denied)):
            rows.append((f"  {name}", str(cost.calls), f"{cost.mean:.2f}", str(cost.worst)))
        table = "\n".join(f"{a:24}{b:>8}{c:>10}{d:>8}" for a, b, c, d in rows)
        return (
            f"{'proof':24}read back and equal to the policy\n"
            f"{'size':24}{self.instructions} instructions, {self.path_length} in the kernel's count\n"
            f"{'bitmap':24}{self.bitmap} of {self.bitmap_possible} plainly allowed calls\n"
            f"{table}\n"
            f"{'  permitted, ' + self.architecture:24}{'':8}{self.overall:10.2f}        no filter below {self.bound:.2f}\n"
            f"{'  not in the bitmap':24}{'':8}{self.uncached:10.2f}        no filter below {self.uncached_bound:.2f}"
        )


def certify(
    program: Program, decision: Decision, archs: Sequence[Architecture], optimized_for: str, profile: dict[str, float] | None = None
) -> Certificate:
    """The certificate of a program that was proven to mean ``decision``. ``archs``: the architectures of one token, the first is reported."""
    first = archs[0]
    measure = _Measure(program, decision, first, Weights("profile", profile))
    costs = {kind: measure.cost(kind) for kind in ("plain", "filtered", "denied")}
    cached, possible = _bitmap(program, decision)
    return Certificate(
        True,
        len(program),
        converted_length(program),
        optimized_for,
        first.name,
        costs["plain"],
        costs["filtered"],
        costs["denied"],
        *measure.mean(("plain", "filtered")),
        *measure.mean(("filtered",)),
        cached,
        possible,
    )


def _bitmap(program: Program, decision: Decision) -> tuple[int, int]:
    """How many plainly allowed numbers of the tables can be cached, and how many there are."""
    from seclude import abi

    cached = possible = 0
    for name in abi.ARCHITECTURES:
        arch = abi.arch(name)
        if arch.x32_bit or decision.of_token(arch.token) is decision.of_token(0):
            continue
        for number in set(arch.calls().values()):
            node = decision.of_call(arch.token, number)
            if node.level == END and node.value == _ALLOW:
                possible += 1
                cached += constant_allow(program, arch.token, number)
    return cached, possible


class _Measure:
    """The calls of one architecture, each with its weight and with the steps that its samples take."""

    def __init__(self, program: Program, decision: Decision, arch: Architecture, weights: Weights) -> None:
        self.kinds: dict[str, list[tuple[float, list[int], float]]] = {"plain": [], "filtered": [], "denied": []}
        self.places: dict[str, dict[Node, float]] = {"plain": {}, "filtered": {}, "denied": {}}
        table = sorted(set(arch.calls().values()))
        share = weights.shares(arch)
        for number in table:
            node = decision.of_call(arch.token, number)
            kind = "denied" if not is_permitted(node) else "plain" if node.level == END else "filtered"
            weight = share.get(number, 0.0)
            steps, least = [], 0.0
            for words in _samples(node, accepted=kind != "denied"):
                words[ARCH], words[NR] = arch.token, number
                steps.append(run(program, words)[1])
                least += _WORD * _needed(node, words)
            self.kinds[kind].append((weight, steps, least / len(steps)))
            places = self.places[kind]
            places[node] = places.get(node, 0.0) + weight

    def cost(self, kind: str) -> Cost:
        calls = self.kinds[kind]
        total = sum(weight for weight, _, _ in calls)
        mean = sum(weight * sum(steps) / len(steps) for weight, steps, _ in calls) / total if total else 0.0
        return Cost(len(calls), mean, max((max(steps) for _, steps, _ in calls), default=0))

    def mean(self, kinds: Sequence[str]) -> tuple[float, float]:
        """The mean over these kinds, and its lower bound."""
        calls = [call for kind in kinds for call in self.kinds[kind]]
        total = sum(weight for weight, _, _ in calls)
        if not total:
            return 0.0, 0.0
        mean = sum(weight * sum(steps) / len(steps) for weight, steps, _ in calls) / total
        arguments = sum(weight * least for weight, _, least in calls) / total
        places: dict[Node, float] = {}
        for kind in kinds:
            for node, weight in self.places[kind].items():
                places[node] = places.get(node, 0.0) + weight
        return mean, _PRELUDE + _huffman(list(places.values())) / total + arguments


def _huffman(weights: list[float]) -> float:
    """The least weighted depth of a binary tree with these leaves (Huffman 1952)."""
    heapify(weights)
    cost = 0.0
    while len(weights) > 1:
        joined = heappop(weights) + heappop(weights)
        cost += joined
        heappush(weights, joined)
    return cost


def _samples(node: Node, accepted: bool) -> Iterator[list[int]]:
    """One call for each way through the words' runs that ends in a permitting answer (or in any, for ``accepted=False``)."""
    made = 0

    def walk(node: Node, words: list[int]) -> Iterator[list[int]]:
        nonlocal made
        if made >= _SAMPLES or (accepted and not is_permitted(node)):
            return
        if node.level == END:
            made += 1
            yield list(words)
            return
        word = LEVEL_WORD[node.level]
        for value, _, kid in ways(node, word, _SAMPLES):
            yield from walk(kid, [*words[:word], value, *words[word + 1 :]])

    yield from walk(node, [0] * 16)


def _needed(node: Node, words: Sequence[int]) -> int:
    """How many words there are whose change alone would change the answer to this call: every program must look at them."""
    return sum(not _fixed(node, words, word) for word in range(2, 16))


def _fixed(node: Node, words: Sequence[int], free: int) -> bool:
    """Whether the answer is the same for all values of one word, the others being as they are."""
    ends: set[Node] = set()
    todo, seen = [node], {node}
    while todo:
        one = todo.pop()
        if one.level == END:
            ends.add(one)
            if len(ends) > 1:
                return False
            continue
        word = LEVEL_WORD[one.level]
        for kid in one.kids if word == free else (one.kids[words[word] >> LEVEL_SHIFT[one.level] & 15],):
            if kid not in seen:
                seen.add(kid)
                todo.append(kid)
    return True
