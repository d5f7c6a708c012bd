"""A decision call by call, as the page shows it: for each architecture every call of its table, and what happens to it, in words.

With two inputs each call has two answers, and it is marked where they are not the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from seclude.abi import ALL, by_token
from seclude.analysis.meaning import action_meaning
from seclude.analysis.report_groups import FAMILIES, OTHERS, TIERS, family_of
from seclude.bpf.names import action_text
from seclude.decision.clauses import answers, conditions, sides
from seclude.decision.compare import CLASSES, DENY, PERMIT, action_class
from seclude.decision.nodes import END, budget, reachable
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.value import NR
from seclude.errors import BudgetError
from seclude.policy.printer import print_condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seclude.abi import Architecture
    from seclude.analysis.report_groups import Family, Tier
    from seclude.decision.nodes import Node
    from seclude.decision.value import Decision

__all__ = [
    "KINDS",
    "NO_TOKEN",
    "Call",
    "FamilyCalls",
    "Kind",
    "Rest",
    "Table",
    "TierCalls",
    "Way",
    "kind_of",
    "kind_of_value",
    "shown_architectures",
    "table",
    "ways",
]

#: a token that no architecture has: what happens to it happens to all that a filter does not list
NO_TOKEN = 0x7FFF_FFFE
#: more characters than this of a condition say less than its witness
_LONGEST = 2000
#: a condition of more nodes than this, for more calls than this, is spelt without the names of parameters
_LARGE, _SHARED = 12, 24
_KILLS = (0x8000_0000, 0x0000_0000)


class Kind(NamedTuple):
    """What happens to a call, at a glance: ``sign`` is drawn in its cell, so that colour is not all that tells."""

    key: str
    sign: str
    title: str
    about: str


KINDS = {
    one.key: one
    for one in (
        Kind("allowed", "✓", "allowed", "with any arguments"),
        Kind("partly", "◐", "allowed with conditions", "some arguments are let through"),
        Kind("asked", "?", "asked", "a listener or a tracer decides"),
        Kind("refused", "−", "refused", "the call fails, or raises SIGSYS"),  # noqa: RUF001 - a minus sign, as wide as the others
        Kind("killed", "✕", "killed", "the thread or the process ends"),
    )
}


class Way(NamedTuple):
    """One way that a call can go: the ``answer`` (``ERRNO(EPERM)``), what that ``means``, its kind, and ``when``: "" is always."""

    answer: str
    means: str
    kind: str
    when: str


class Call(NamedTuple):
    """One call of a table: for each input its kind and the ways it can go. ``differs`` where the inputs do not answer alike."""

    name: str
    number: int
    retired: bool
    kinds: tuple[str, ...]
    ways: tuple[tuple[Way, ...], ...]
    differs: bool

    @property
    def conditional(self) -> bool:
        """Whether some input looks at the arguments."""
        return any(len(ways) > 1 for ways in self.ways)

    @property
    def first(self) -> str:
        """The kind for the first input."""
        return self.kinds[0]


@dataclass(frozen=True, slots=True)
class FamilyCalls:
    """A family's calls on one architecture."""

    family: Family
    calls: tuple[Call, ...]

    def count(self, which: int, *kinds: str) -> int:
        """How many calls of the input have one of the kinds."""
        return sum(call.kinds[which] in kinds for call in self.calls)


@dataclass(frozen=True, slots=True)
class TierCalls:
    """A tier's families that have calls on one architecture."""

    tier: Tier
    families: tuple[FamilyCalls, ...]

    @property
    def calls(self) -> list[Call]:
        return [call for family in self.families for call in family.calls]

    def counts(self, which: int) -> list[tuple[Kind, int]]:
        """For each kind how many calls have it, zeros left out."""
        return _counts(self.calls, which)


class Rest(NamedTuple):
    """Numbers without a name: from first to last, and for each input the ways they can go."""

    numbers: str
    ways: tuple[tuple[Way, ...], ...]
    differs: bool


@dataclass(frozen=True, slots=True)
class Table:
    """One architecture."""

    arch: Architecture
    tiers: tuple[TierCalls, ...]
    rest: tuple[Rest, ...]

    @property
    def calls(self) -> list[Call]:
        """Every call, by name."""
        return sorted((call for tier in self.tiers for call in tier.calls), key=lambda call: call.name)

    def counts(self, which: int) -> list[tuple[Kind, int]]:
        """For each kind how many calls have it, zeros left out."""
        return _counts(self.calls, which)


def _counts(calls: Iterable[Call], which: int) -> list[tuple[Kind, int]]:
    kinds = [call.kinds[which] for call in calls]
    return [(kind, number) for key, kind in KINDS.items() if (number := kinds.count(key))]


def kind_of_value(value: int) -> str:
    """The kind of an answer, a RET word: a key of `KINDS`, never "partly"."""
    match CLASSES[action_class(value)]:
        case "permit":
            return "allowed"
        case "undecided":
            return "asked"
    return "killed" if value & 0xFFFF_0000 in _KILLS or _unknown(value) else "refused"


def kind_of(node: Node) -> str:
    """The kind of what remains of a decision for one call: a key of `KINDS`."""
    values = [node.value] if node.level == END else answers(node)
    classes = {action_class(value) for value in values}
    if classes == {PERMIT}:
        return "allowed"
    if PERMIT in classes:
        return "partly"
    if classes != {DENY}:
        return "asked"
    return "killed" if all(kind_of_value(value) == "killed" for value in values) else "refused"


def _unknown(value: int) -> bool:
    """An action that the kernel does not know acts as KILL_PROCESS."""
    return action_text(value, None).startswith("0x")


def shown_architectures(decisions: Sequence[Decision], listed: Iterable[Architecture], home: Architecture) -> list[Architecture]:
    """The architectures worth a table: those listed, and those that a decision treats unlike an unknown one. ``home`` comes first, and alone where
    there are none.
    """
    wanted = set(listed) | {arch for arch in ALL if any(_told_apart(decision, arch) for decision in decisions)}
    return sorted(wanted or {home}, key=lambda arch: (arch is not home, ALL.index(arch)))


def _told_apart(decision: Decision, arch: Architecture) -> bool:
    if decision.of_token(arch.token) is decision.of_token(NO_TOKEN):
        return False
    # x32 shares the token of x86_64: it has a table where some call of it is let through.
    return not arch.x32_bit or any(
        kind_of(decision.of_call(arch.token, number)) not in ("refused", "killed") for number in arch.calls().values()
    )


def table(decisions: Sequence[Decision], arch: Architecture) -> Table:
    """Every call of one architecture under each of the decisions."""
    families: dict[str, list[Call]] = {}
    memo: dict[tuple[Node, str], tuple[Way, ...]] = {}
    common = _common([decision.of_call(arch.token, number) for decision in decisions for number in arch.calls().values()])
    for name, number in sorted(arch.calls().items()):
        nodes = [decision.of_call(arch.token, number) for decision in decisions]
        call = Call(
            name,
            number,
            name in arch.retired,
            tuple(kind_of(node) for node in nodes),
            tuple(_known_ways(memo, node, arch, "" if node in common else name) for node in nodes),
            any(node is not nodes[0] for node in nodes),
        )
        families.setdefault(family_of(name).key, []).append(call)
    tiers = []
    for index, tier in enumerate(TIERS):
        own = [
            FamilyCalls(family, tuple(families[family.key]))
            for family in (*FAMILIES, OTHERS)
            if family.tier == index and family.key in families
        ]
        tiers.append(TierCalls(tier, tuple(own)))
    return Table(arch, tuple(tiers), tuple(_rest(decisions, arch)))


def _common(nodes: list[Node]) -> set[Node]:
    """Large conditions that many calls share, as in filters that look at arguments before the call: spelt once, with registers for parameters."""
    uses = Counter(nodes)
    return {node for node, number in uses.items() if number > _SHARED and node.level != END and len(reachable([node])) > _LARGE}


def _known_ways(memo: dict[tuple[Node, str], tuple[Way, ...]], node: Node, arch: Architecture, name: str) -> tuple[Way, ...]:
    # What does not look at arguments reads the same for every call.
    key = (node, "" if node.level == END else name)
    if key not in memo:
        memo[key] = ways(node, arch, name)
    return memo[key]


def ways(node: Node, arch: Architecture | None, call: str) -> tuple[Way, ...]:
    """Every way that a call can go, what is let through first. Never raises: a condition that is too long to be read is said to be so."""
    if node.level == END:
        return (_way(node.value, arch, ""),)
    try:
        with budget("the conditions of a call"):
            found = {value: print_condition(condition) for value, condition in conditions(node, arch, call).items()}
    except BudgetError:
        found = dict.fromkeys(answers(node), "a condition that is too long to be written down")
    order = sorted(found, key=lambda value: (-action_class(value), value))
    return tuple(_way(value, arch, found[value] if len(found[value]) <= _LONGEST else found[value][:_LONGEST] + " …") for value in order)


def _way(value: int, arch: Architecture | None, when: str) -> Way:
    return Way(action_text(value, arch), action_meaning(value, arch), kind_of_value(value), when)


def _rest(decisions: Sequence[Decision], arch: Architecture) -> Iterator[Rest]:
    """What happens to the numbers that the table does not name, neighbours with the same answers together, across names."""
    taken = sorted(arch.calls().values())
    try:
        cuts = [list(runs(decision.of_token(arch.token), NR)) for decision in decisions]
    except TooManyRunsError:
        told = Way("", "told apart by single bits, in too many ways to be listed", "refused", "")
        yield Rest("all of them", ((told,),) * len(decisions), False)
        return
    starts = sorted({start for cut in cuts for first, last, _ in cut for start, _ in sides(first, last)} | {number + 1 for number in taken})
    pieces: list[tuple[int, int, list[Node]]] = []
    named = set(taken)
    for index, first in enumerate(starts):
        last = starts[index + 1] - 1 if index + 1 < len(starts) else 0xFFFF_FFFF
        while last in named and last >= first:
            last -= 1
        if last < first or not _own(arch, first):
            continue
        nodes = [decision.of_call(arch.token, first) for decision in decisions]
        if pieces and all(a is b for a, b in zip(pieces[-1][2], nodes, strict=True)) and (pieces[-1][1] ^ first) >> 30 == 0:
            pieces[-1] = (pieces[-1][0], last, nodes)
        else:
            pieces.append((first, last, nodes))
    for first, last, nodes in pieces:
        yield Rest(_numbers(arch, first, last), tuple(ways(node, arch, "") for node in nodes), any(node is not nodes[0] for node in nodes))


def _own(arch: Architecture, number: int) -> bool:
    """Whether the number is this architecture's: x86_64 and x32 share a token. x86_64 shows x32's numbers as one line where x32 has no table."""
    return not arch.x32_bit or number >> 30 == 1 or len(by_token(arch.token)) < 2


def _numbers(arch: Architecture, first: int, last: int) -> str:
    if (first, last) == (0x4000_0000, 0x7FFF_FFFF) and arch.name == "x86_64":
        return "numbers of x32 (bit 30)"
    if (first, last) == (0x8000_0000, 0xFFFF_FFFF):
        return "negative numbers"
    shown = [f"{number:#x}" if number > 0xFFFF else str(number) for number in (first, last)]
    return shown[0] if first == last else f"{shown[0]} to {shown[1]}"
