"""A decision as clauses that a person can read: which call, under which condition, gets which answer.

The conditions are those of the policy language. A diagram asks about one register after the other; for each it sorts the values into sets,
each with what remains to be asked. Spelled out, that is ``(x in S1 and rest1) or (x in S2 and rest2) ...``. Two things make it short: a set may be
widened to values whose remainder is implied by its own, so that ``x == 1 or y == 2`` does not become ``x == 1 or x != 1 and y == 2``;
and a set is spelled in the shortest way it has (`seclude.decision.spelling`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.decision.nodes import END, FALSE, TRUE, Node, boolean, budget, make, reachable
from seclude.decision.ops import excluding, map_leaves
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.spelling import SETS, TERMS, Speller, cost, join_and, join_or
from seclude.decision.value import NR
from seclude.decision.vocabulary import Vocabulary
from seclude.decision.witness import architecture_of
from seclude.errors import BudgetError
from seclude.policy.printer import print_condition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.abi import Architecture
    from seclude.decision.value import Decision
    from seclude.policy.nodes import Condition

__all__ = ["Clause", "answers", "clauses", "condition_of", "conditions", "first_clause", "sides", "spell"]

#: remainders that one register may lead to
_REMAINDERS = 300


class Clause(NamedTuple):
    """One answer: for the tokens and numbers from first to last, where ``condition`` holds (None: always), the RET word ``value``.

    ``arch`` is the architecture where there is one token and it is known.
    """

    tokens: tuple[int, int]
    numbers: tuple[int, int]
    arch: Architecture | None
    condition: Condition | None
    value: int

    def __str__(self) -> str:
        from seclude.bpf.names import action_text

        where = _hex_range(*self.tokens) if self.arch is None else self.arch.name
        what = (self.arch and self.numbers[0] == self.numbers[1] and self.arch.call_name(self.numbers[0])) or _range(*self.numbers)
        condition = f"({print_condition(self.condition)})" if self.condition is not None else ""
        return f"{where}: {what}{condition} → {action_text(self.value, self.arch)}"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}..{last}"


def _hex_range(first: int, last: int) -> str:
    if (first, last) == (0, 0xFFFF_FFFF):
        return "any architecture"
    return f"architecture {first:#x}" if first == last else f"architectures {first:#x}..{last:#x}"


def clauses(decision: Decision) -> Iterator[Clause]:
    """Every clause of the decision, by architecture and number; exactly one applies to each call. Raises `BudgetError`.

    Numbers with one answer whatever the arguments stand together.
    """
    with budget("the list of this filter's clauses"):
        try:
            listed = list(_clauses(decision))
        except TooManyRunsError:
            raise BudgetError("this filter tells architectures or numbers apart by single bits in too many ways to list them") from None
    yield from listed


def _clauses(decision: Decision) -> Iterator[Clause]:
    for first, last, kid in decision.tokens:
        for low, high, node in (piece for run in runs(kid, NR) for piece in _pieces(first, last, *run)):
            if node.level == END:
                arch = architecture_of(first, low) if first == last else None
                yield Clause((first, last), (low, high), arch, None, node.value)
                continue
            for number, until in _called(first, low, high) if first == last else [(low, high)]:
                arch = architecture_of(first, number) if first == last else None
                name = (arch and arch.call_name(number)) or ""
                for value, condition in conditions(node, arch, name).items():
                    yield Clause((first, last), (number, until), arch, condition, value)


def _pieces(first: int, last: int, low: int, high: int, node: Node) -> Iterator[tuple[int, int, Node]]:
    """The run of numbers cut where x86_64's end and x32's begin and end, under the token that they share."""
    from seclude.abi import by_token

    if first != last or len(by_token(first)) < 2:
        yield low, high, node
        return
    for start, end in sides(low, high):
        yield start, end, node


def sides(low: int, high: int) -> Iterator[tuple[int, int]]:
    """The run of numbers cut at 0x40000000 and 0x80000000: x32's numbers lie between (asm/unistd.h, __X32_SYSCALL_BIT)."""
    for first, last in ((0, 0x3FFF_FFFF), (0x4000_0000, 0x7FFF_FFFF), (0x8000_0000, 0xFFFF_FFFF)):
        if low <= last and high >= first:
            yield max(low, first), min(high, last)


def first_clause(node: Node, tokens: tuple[int, int], value: int | None = None, *, numbers: tuple[int, int] = (0, 0xFFFF_FFFF)) -> Clause:
    """A clause of what remains for these tokens and numbers: the first that answers ``value``, or any. For messages: cannot fail."""
    token = tokens[0] if tokens[0] == tokens[1] else -1
    try:
        cut = list(runs(node, NR)) if node.level < 16 else [(*numbers, node)]
    except TooManyRunsError:
        cut = [(*numbers, node)]
    for low, high, rest in cut:
        values = answers(rest)
        if value is None or value in values:
            wanted = values[0] if value is None else value
            arch = architecture_of(token, low) if token >= 0 else None
            condition = None
            if 16 <= rest.level < END:
                name = (arch and arch.call_name(low)) or ""
                try:
                    condition = condition_of(rest, wanted, arch, name)
                except BudgetError:
                    condition = None
            return Clause(tokens, (low, high), arch, condition, wanted)
    raise AssertionError("a diagram has leaves")


def _called(token: int, low: int, high: int) -> Iterator[tuple[int, int]]:
    """The run of numbers cut so that every call with a name stands alone."""
    from seclude.abi import by_token

    at = low
    names = sorted(number for one in by_token(token) for number in one.calls().values() if low <= number <= high)
    for number in names:
        if number > at:
            yield at, number - 1
        yield number, number
        at = number + 1
    if at <= high:
        yield at, high


def conditions(node: Node, arch: Architecture | None, call: str) -> dict[int, Condition]:
    """For each RET word that a call can get (at least two): when. The conditions exclude each other and leave no gap."""
    return {value: condition_of(node, value, arch, call) for value in answers(node)}


def answers(node: Node) -> list[int]:
    """The RET words that can still be reached."""
    return sorted({one.value for one in reachable([node]) if one.level == END})


def condition_of(node: Node, value: int, arch: Architecture | None, call: str) -> Condition:
    """When a call gets this RET word, which is neither always nor never. Raises `BudgetError`."""
    return spell(map_leaves(node, lambda one: boolean(one.value == value)), arch, call)


def spell(test: Node, arch: Architecture | None, call: str, sets: int = SETS) -> Condition:
    """The condition that holds where ``test`` does, a diagram over arguments and instruction pointer that is not constant.

    ``sets`` limits how many sets of values are spelled on the way. Raises `BudgetError` where it would be too long, as a comparison of two
    arguments is.
    """
    return _Formula(arch, call, sets).of(test)


class _Formula:
    def __init__(self, arch: Architecture | None, call: str, sets: int) -> None:
        self.call = call
        self.sets = Speller(Vocabulary(arch, call), sets)
        self.known: dict[Node, tuple[Condition, int]] = {}

    def of(self, test: Node) -> Condition:
        return self.sized(test)[0]

    def sized(self, test: Node) -> tuple[Condition, int]:
        """The condition and how many terms it has."""
        found = self.known.get(test)
        if found is None:
            found = self.known[test] = self.build(test)
            if found[1] > TERMS:
                raise BudgetError(
                    f"a condition on {self.call or 'a call'} has more than {TERMS} terms",
                    "typical cause: the bits of two arguments are compared with each other",
                )
        return found

    def build(self, test: Node) -> tuple[Condition, int]:
        end = test.level // 16 * 16 + 16
        remainders = _remainders(test, end)
        if len(remainders) > _REMAINDERS:
            raise BudgetError(
                f"a condition on {self.call or 'a call'} tells more than {_REMAINDERS} groups of values apart",
                "typical cause: two arguments are compared with each other",
            )
        terms: list[Condition] = []
        size = 0
        for rest in remainders:
            if rest is FALSE:
                continue
            own = _leading(test, end, rest, exact=True)
            wide = _leading(test, end, rest, exact=False)
            inside = [] if wide is TRUE else [min((self.sets.condition(one) for one in dict.fromkeys((own, wide))), key=cost)]
            if rest is not TRUE:
                remaining, more = self.sized(rest)
                size += more
                inside.append(remaining)
            terms.append(join_and(inside))
            size += 1
        return join_or(sorted(terms, key=cost)), size


def _remainders(test: Node, end: int) -> list[Node]:
    """The diagrams that are left after the first register."""
    found: dict[Node, None] = {}
    seen = {test}
    todo = [test]
    while todo:
        for kid in todo.pop().kids:
            if kid.level >= end:
                found[kid] = None
                if len(found) > _REMAINDERS:
                    return list(found)
            elif kid not in seen:
                seen.add(kid)
                todo.append(kid)
    return list(found)


def _leading(test: Node, end: int, rest: Node, *, exact: bool) -> Node:
    """Where the first register leads to ``rest``; not ``exact``: or to what ``rest`` implies."""
    memo: dict[Node, Node] = {}

    def walk(node: Node) -> Node:
        found = memo.get(node)
        if found is None:
            if node.level >= end:
                found = boolean(node is rest or (not exact and excluding(rest, node) is FALSE))
            else:
                found = make(node.level, tuple([walk(kid) for kid in node.kids]))
            memo[node] = found
        return found

    return walk(test)
