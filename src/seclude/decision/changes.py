"""A difference as a person reads it: which calls are answered differently, when, and one concrete call each that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.abi import ALL, arch, by_token
from seclude.decision.calls import ALL_CALLS, NO_CALLS, Calls, calls_with
from seclude.decision.clauses import sides, spell
from seclude.decision.compare import action_class, pair
from seclude.decision.nodes import END, FALSE, TRUE, Node, boolean, budget, reachable
from seclude.decision.ops import map_leaves
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.value import ARCH, NR
from seclude.decision.witness import SystemCall, architecture_of, witness, witness_of
from seclude.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.abi import Architecture
    from seclude.decision.compare import Difference

__all__ = ["Change", "changes"]

_FULL = 0xFFFF_FFFF
#: a condition that takes more sets of values than this to say, nobody reads
_SETS = 80


class Change(NamedTuple):
    """Calls that A answers with ``a`` and B with ``b`` (RET words), all under the same circumstances.

    ``tokens``: runs of AUDIT_ARCH tokens, both ends included; ``arch``: the architecture where there is one and it is known. ``numbers``: runs of
    call numbers, both ends included. ``region`` is where in the arguments, whatever call it is. ``witness`` is one of the calls.
    """

    tokens: tuple[tuple[int, int], ...]
    arch: Architecture | None
    numbers: tuple[tuple[int, int], ...]
    region: Calls
    a: int
    b: int
    witness: SystemCall

    @property
    def sign(self) -> str:
        """``+`` where B permits more, ``-`` where it permits less, ``~`` where only the answer is another."""
        before, after = action_class(self.a), action_class(self.b)
        return "+" if after > before else "-" if after < before else "~"

    @property
    def where(self) -> str:
        """The architecture in words: ``x86_64``, "any architecture", "every other architecture", ``architecture 0x7``."""
        if self.arch is not None:
            return self.arch.name
        if self.tokens == ((0, _FULL),):
            return "any architecture"
        if any(first != last for first, last in self.tokens):
            return "every other architecture"
        return "architecture " + ", ".join(f"{first:#x}" for first, _ in self.tokens)

    @property
    def condition(self) -> str:
        """When, in the policy language; "" where it does not depend on the arguments, or takes too long to say."""
        from seclude.policy.printer import print_condition

        if self.region is ALL_CALLS or self.region is NO_CALLS:
            return ""
        call = (self.arch and self.arch.call_name(self.witness.number)) or ""
        try:
            with budget("the condition of a difference"):
                return print_condition(spell(self.region.root, self.arch, call, _SETS))
        except BudgetError:
            return ""

    def names(self) -> list[str]:
        """The calls by name, and numbers without a name as ``first..last``."""
        if self.numbers == ((0, _FULL),):
            return ["every call"]
        out: list[str] = []
        for first, last in self.numbers:
            at = first
            for number in sorted(n for n in (self.arch.calls().values() if self.arch else ()) if first <= n <= last):
                if number > at:
                    out.append(_run(at, number - 1))
                out.append((self.arch and self.arch.call_name(number)) or str(number))
                at = number + 1
            if at <= last:
                out.append(_run(at, last))
        return out


def _run(first: int, last: int) -> str:
    shown = [str(number) if number < 0x10000 else f"{number:#x}" for number in (first, last)]
    return shown[0] if first == last else "..".join(shown)


def changes(difference: Difference) -> list[Change]:
    """The whole difference, by architecture and number; calls that change alike stand together. Raises `BudgetError`."""
    with budget("the list of differences"):
        try:
            return list(_changes(difference.root))
        except TooManyRunsError:
            return list(_by_answers(difference.root))


def _changes(root: Node) -> Iterator[Change]:
    for tokens, kid in _by_token(root):
        token = _token(tokens)
        # (answers, region, side of x86_64's token) → runs of numbers
        groups: dict[tuple[int, Node, bool], list[tuple[int, int]]] = {}
        memo: dict[Node, list[tuple[int, Node]]] = {}
        shared = tokens == ((token, token),) and len(by_token(token)) > 1
        for low, high, node in runs(kid, NR):
            if node is FALSE:
                continue
            if node not in memo:
                memo[node] = _regions(node)
            for answers, region in memo[node]:
                for start, end in sides(low, high) if shared else ((low, high),):
                    groups.setdefault((answers, region, shared and start >> 30 == 1), []).append((start, end))
        for (answers, region, _), numbers in groups.items():
            call = _witness(token, numbers, region)
            own = call.arch if tokens == ((token, token),) else None
            yield Change(tokens, own, tuple(numbers), calls_with(region), answers >> 32 & _FULL, answers & _FULL, call)


def _by_token(root: Node) -> Iterator[tuple[tuple[tuple[int, int], ...], Node]]:
    """The axis of tokens: each known one that stands alone, then runs of others that have the same difference."""
    others: dict[Node, list[tuple[int, int]]] = {}
    for first, last, kid in runs(root, ARCH):
        if kid is FALSE:
            continue
        if first == last and by_token(first):
            yield ((first, last),), kid
        else:
            others.setdefault(kid, []).append((first, last))
    for kid, tokens in others.items():
        yield tuple(tokens), kid


def _token(tokens: tuple[tuple[int, int], ...]) -> int:
    """The most familiar token of some runs."""
    known = (arch("x86_64"), *ALL)
    return next((one.token for one in known if any(first <= one.token <= last for first, last in tokens)), tokens[0][0])


def _regions(node: Node) -> list[tuple[int, Node]]:
    if node.level == END:
        return [(node.value, TRUE)]
    leaves = [one for one in reachable([node]) if one.level == END and one is not FALSE]
    return [(leaf.value, _only(node, leaf)) for leaf in sorted(leaves, key=lambda one: one.value)]


def _only(node: Node, leaf: Node) -> Node:
    return map_leaves(node, lambda one: boolean(one is leaf))


def _witness(token: int, numbers: list[tuple[int, int]], region: Node) -> SystemCall:
    for low, high in numbers:
        one = architecture_of(token, low)
        named = min((n for n in (one.calls().values() if one else ()) if low <= n <= high), default=None)
        if named is not None:
            return witness_of(region, token, named)
    return witness_of(region, token, numbers[0][0])


def _by_answers(root: Node) -> Iterator[Change]:
    """For filters that look at single bits of numbers: one change for each pair of answers, with no more than its witness."""
    for leaf in sorted((one for one in reachable([root]) if one.level == END and one is not FALSE), key=lambda one: one.value):
        call = witness(_only(root, leaf))
        assert call is not None
        yield Change(((0, _FULL),), None, ((0, _FULL),), NO_CALLS, *pair(leaf), call)  # where: too much to say
