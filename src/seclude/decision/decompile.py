"""A decision as a policy: the policy language's own words for what any filter means.

``from_policy(decompile(d)) is d``, or `NoSpellingError` with the first clause that the language cannot say: an action that the kernel does
not know, unlisted architectures that are not all answered alike, numbers without a name of which more than a few differ from the rest, a
comparison of two arguments.

Header lines take what holds for all: ``badarch``, ``x32``, ``negative``, ``unknown``, and as ``default`` the commonest refusal (where the calls without a
name are permitted: that permission), so that an allow-list reads as an allow-list.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from seclude.decision.clauses import Clause, answers, condition_of, first_clause
from seclude.decision.compare import PERMIT, action_class
from seclude.decision.nodes import END, Node, budget, reachable
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.policy import from_policy
from seclude.decision.spelling import cost
from seclude.decision.value import NR
from seclude.errors import BudgetError, InputError, InternalError, PolicyError
from seclude.policy.language import parse
from seclude.policy.lower import ACTION_NAMES
from seclude.policy.nodes import Action, Call, Rule
from seclude.policy.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seclude.abi import Architecture
    from seclude.decision.value import Decision
    from seclude.policy.nodes import Condition

__all__ = ["NoSpellingError", "decompile"]

_X32 = (0x4000_0000, 0x7FFF_FFFF)
_NEGATIVE = 0x8000_0000
#: calls without a name that are listed by number
_NUMBERS = 1024
#: columns of a rule that lists several calls
_COLUMNS = 100


class NoSpellingError(InputError):
    """What a filter means has no words in the policy language. ``clause`` is the first such part."""

    def __init__(self, clause: Clause | None, why: str, remedy: str = "") -> None:
        super().__init__(f"the policy language cannot say {clause}: {why}" if clause is not None else why, remedy)
        self.clause = clause


def decompile(decision: Decision, *, native: str | None = None) -> Policy:
    """The policy that means exactly ``decision``. Raises `NoSpellingError`, and `BudgetError` where a condition grows beyond reading.

    ``native`` names the architecture to write down for a filter that answers every call alike, this machine's if None.
    """
    with budget("the policy for this filter"):
        policy = _Decompiler(decision, native).policy()
        if from_policy(policy) is not decision:
            raise InternalError("a decompiled policy does not mean what the filter means")
        try:
            again = parse(str(policy))
        except PolicyError as error:
            raise NoSpellingError(
                None, f"a condition is too deeply nested or too long for a policy: {error.diagnostics[0].message}"
            ) from None
        if again != policy:
            raise InternalError("a decompiled policy is not read back as it was printed")
        return policy


#: what a call gets: rules in order, each an action and its condition; the rest falls to the default
Answers = tuple[tuple[Action, "Condition | None"], ...]


class _Decompiler:
    def __init__(self, decision: Decision, native: str | None) -> None:
        self.decision = decision
        self.native = native
        self.archs: list[Architecture] = []
        self.plain: dict[str, Node] = {}

    def policy(self) -> Policy:
        badarch = self.find_architectures()
        calls = {arch: _table(arch) for arch in self.archs}
        for arch in self.archs:
            self.check_actions(arch)
        negative = self.common("negative", _NEGATIVE, 0xFFFF_FFFF, "the numbers with bit 31 set")
        x32 = None
        if any(arch.name == "x86_64" for arch in self.archs) and not any(arch.x32_bit for arch in self.archs):
            arch = next(arch for arch in self.archs if arch.name == "x86_64")
            x32 = self.action(self.whole(arch, *_X32).value, arch)
        unknown = self.unknown(calls)
        default = self.default(calls, unknown)
        rules = self.rules(calls, default, unknown)
        try:
            return Policy(
                default,
                tuple(arch.name for arch in self.archs),
                rules,
                badarch=badarch,
                x32=x32,
                unknown=unknown,
                negative=negative,
            )
        except PolicyError as error:
            raise InternalError(f"a decompiled policy is not well formed: {error}") from error

    # ── architectures ───────────────────────────────────────────────────────────────────────────────────────────

    def find_architectures(self) -> Action:
        """Fill `archs` with those that get answers of their own; the answer for every other token."""
        from seclude import abi

        try:
            cut = list(self.decision.tokens)
        except TooManyRunsError:
            raise NoSpellingError(None, "this filter tells architectures apart by single bits of their token") from None
        known = {one.token for one in abi.ALL}
        others = [(first, last, kid) for first, last, kid in cut if not (first == last and first in known)]
        first, last, bad = max(others, key=lambda run: run[1] - run[0])
        for low, high, kid in others:
            if kid is not bad or kid.level != END:
                raise NoSpellingError(
                    first_clause(kid, (low, high)),
                    "architectures that a policy does not list get one answer, 'badarch'",
                    "to see what it means on one architecture: --on x86_64",
                )
        for token in dict.fromkeys(one.token for one in abi.ALL):
            kid = self.decision.of_token(token)
            if kid is not bad:
                self.archs += self.sides(token, kid, bad)
        self.archs.sort(key=lambda arch: -arch.bits)
        if not self.archs:
            self.archs = [abi.arch(self.native) if self.native else abi.native()]
        orders = {arch.byteorder: arch for arch in self.archs}
        if len(orders) > 1:
            raise NoSpellingError(
                None, f"a policy is for one byte order, and this filter is for {orders['little'].name} and {orders['big'].name}"
            )
        if action_unknown(bad.value):
            raise NoSpellingError(Clause((first, last), (0, 0xFFFF_FFFF), None, None, bad.value), "no kernel has this action")
        return self.action(bad.value, self.archs[0])

    def sides(self, token: int, kid: Node, bad: Node) -> list[Architecture]:
        """The architectures of a token that need rules: of x86_64 and x32 perhaps one, perhaps both."""
        from seclude import abi

        found = list(abi.by_token(token))
        if len(found) == 1:
            return found
        x86_64, x32 = sorted(found, key=lambda arch: arch.x32_bit)
        if self.part(kid, *_X32).level == END:
            return [x86_64]
        low = self.part(kid, 0, _X32[0] - 1)
        return [x32] if low is bad else [x86_64, x32]

    def part(self, kid: Node, first: int, last: int) -> Node:
        """What remains for the numbers from first to last, if one leaf; else any node that is none."""
        nodes = {node for low, high, node in self.numbers(kid) if low <= last and high >= first}
        return nodes.pop() if len(nodes) == 1 else kid

    def numbers(self, kid: Node) -> Iterable[tuple[int, int, Node]]:
        try:
            return runs(kid, NR)
        except TooManyRunsError:
            raise NoSpellingError(None, "this filter tells call numbers apart by single bits") from None

    # ── actions ─────────────────────────────────────────────────────────────────────────────────────────────────

    def check_actions(self, arch: Architecture) -> None:
        kid = self.decision.of_token(arch.token)
        for node in reachable([kid]):
            if node.level == END and action_unknown(node.value):
                found = first_clause(kid, (arch.token, arch.token), node.value)
                raise NoSpellingError(found, "no kernel has this action (it acts as kill_process)")

    def action(self, value: int, arch: Architecture) -> Action:
        """The action for a RET word; an errno by name where that name means an errno on every architecture listed."""
        from seclude.abi.constants import errno_name, errno_number

        kind, data = ACTION_NAMES[value & 0xFFFF_0000], value & 0xFFFF
        if kind in ("trap", "trace"):
            return Action(kind, data)
        if kind != "errno":
            return Action(kind)
        name = errno_name(data, arch)
        if name is not None and all(errno_number(name, one) is not None for one in self.archs) and errno_number(name, arch) == data:
            return Action("errno", name)
        return Action("errno", data)

    # ── header lines ────────────────────────────────────────────────────────────────────────────────────────────

    def whole(self, arch: Architecture, first: int, last: int) -> Node:
        kid = self.decision.of_token(arch.token)
        found = [(max(low, first), min(high, last), node) for low, high, node in self.numbers(kid) if low <= last and high >= first]
        if len(found) == 1 and found[0][2].level == END:
            return found[0][2]
        low, high, node = found[-1]
        raise NoSpellingError(
            first_clause(node, (arch.token, arch.token), numbers=(low, high)), "numbers that no table names get one answer in a policy"
        )

    def common(self, word: str, first: int, last: int, what: str) -> Action:
        """The one action that all architectures have for these numbers."""
        found: Action | None = None
        for arch in self.archs:
            node = self.whole(arch, first, last)
            action = self.action(node.value, arch)
            if found is not None and action != found:
                clause = Clause((arch.token, arch.token), (first, last), arch, None, node.value)
                raise NoSpellingError(
                    clause, f"{what} get one answer on all architectures, '{word}', and on {self.archs[0].name} it is {found}"
                )
            found = action
        assert found is not None
        return found

    def unnamed(self, arch: Architecture, table: dict[int, str]) -> list[tuple[int, int, Node]]:
        """The runs of numbers without a name."""
        first, last = _X32 if arch.x32_bit else (0, _X32[0] - 1 if arch.name == "x86_64" else _X32[1])
        out = []
        names = sorted(table)
        for low, high, node in self.numbers(self.decision.of_token(arch.token)):
            at, end = max(low, first), min(high, last)
            for number in names:
                if at <= number <= end:
                    if number > at:
                        out.append((at, number - 1, node))
                    at = number + 1
            if at <= end:
                out.append((at, end, node))
        return out

    def unknown(self, calls: dict[Architecture, dict[int, str]]) -> Action:
        """The commonest answer for numbers without a name."""
        sizes: Counter[Action] = Counter()
        for arch, table in calls.items():
            for low, high, node in self.unnamed(arch, table):
                if node.level == END:
                    sizes[self.action(node.value, arch)] += high - low + 1
        if not sizes:
            arch, table = next(iter(calls.items()))
            low, high, node = max(self.unnamed(arch, table), key=lambda run: run[1] - run[0])
            raise NoSpellingError(
                first_clause(node, (arch.token, arch.token), numbers=(low, high)), "numbers that no table names get one answer in a policy"
            )
        return sizes.most_common(1)[0][0]

    def default(self, calls: dict[Architecture, dict[int, str]], unknown: Action) -> Action:
        """The commonest refusal of named calls; where calls without a name are permitted, that permission."""
        found: Counter[Action] = Counter()
        for arch, table in calls.items():
            for number in table:
                node = self.decision.of_call(arch.token, number)
                if node.level == END and action_class(node.value) != PERMIT:
                    found[self.action(node.value, arch)] += 1
        if unknown.kind in ("allow", "log") or not found:
            return unknown
        most = max(found.values())
        return unknown if found[unknown] == most else found.most_common(1)[0][0]

    # ── rules ───────────────────────────────────────────────────────────────────────────────────────────────────

    def rules(self, calls: dict[Architecture, dict[int, str]], default: Action, unknown: Action) -> list[Rule]:
        # name or (architecture, number) → the architectures that have it, each with its answers
        named: dict[str, dict[Architecture, Answers]] = {}
        numbered: list[tuple[Architecture, int, Answers]] = []
        for arch, table in calls.items():
            for number, name in sorted(table.items()):
                fallback = Action("errno", "ENOSYS") if name in arch.multiplexers else default
                named.setdefault(name, {})[arch] = self.answers(arch, number, name, default, fallback)
            listed = 0
            for low, high, node in self.unnamed(arch, table):
                if node.level == END and self.action(node.value, arch) == unknown:
                    continue
                listed += high - low + 1
                if listed > _NUMBERS:
                    found = first_clause(node, (arch.token, arch.token), numbers=(low, high))
                    raise NoSpellingError(found, f"calls without a name get one answer, 'unknown', which is {unknown} elsewhere")
                numbered += [(arch, number, self.answers(arch, number, "", default, unknown)) for number in range(low, high + 1)]
        return [*self.named_rules(named), *self.numbered_rules(numbered)]

    def answers(self, arch: Architecture, number: int, name: str, default: Action, fallback: Action) -> Answers:
        """What is to be said about one call. ``fallback`` is what it gets if no rule lists it, ``default`` where none of its rules holds."""
        node = self.decision.of_call(arch.token, number)
        if node.level == END:
            action = self.action(node.value, arch)
            return () if action == fallback else ((action, None),)
        # Where the default takes some, or else one answer, what is left needs no condition: the longest one is spared.
        spared = any(self.action(value, arch) == default for value in answers(node))
        found: list[tuple[Action, Condition]] = []
        last: Action | None = None
        for value in answers(node):
            action = self.action(value, arch)
            if action == default:
                continue
            try:
                found.append((action, condition_of(node, value, arch, name)))
            except BudgetError as error:
                if spared or last is not None:
                    clause = first_clause(node, (arch.token, arch.token), value, numbers=(number, number))
                    first = error.diagnostics[0]
                    raise NoSpellingError(clause, f"{first.message} ({first.remedy})" if first.remedy else first.message) from None
                last = action
        found.sort(key=lambda item: cost(item[1]))
        if not spared:
            last = last or found.pop()[0]
            return (*found, (last, None))
        return tuple(found)

    def named_rules(self, named: dict[str, dict[Architecture, Answers]]) -> Iterable[Rule]:
        # (architectures, action) → plain calls; conditional ones stand alone, in the order of their numbers
        plain: dict[tuple[tuple[str, ...], Action], list[Call]] = {}
        special: list[Rule] = []
        for name, each in named.items():
            for archs, own in self.alike(each):
                if len(own) == 1 and own[0][1] is None:
                    plain.setdefault((archs, own[0][0]), []).append(Call(name))
                else:
                    special += [Rule(action, (Call(name, condition=condition),), archs) for action, condition in own]
        for (archs, action), listed in plain.items():
            yield from _lines(action, listed, archs)
        yield from special

    def alike(self, each: dict[Architecture, Answers]) -> list[tuple[tuple[str, ...], Answers]]:
        """Architectures with the same answers together; () where that is all that have the call."""
        groups: dict[Answers, list[str]] = {}
        for arch, own in each.items():
            groups.setdefault(own, []).append(arch.name)
        if len(groups) == 1:
            return [((), own) for own in groups if own]
        return [(tuple(names), own) for own, names in groups.items() if own]

    def numbered_rules(self, numbered: Sequence[tuple[Architecture, int, Answers]]) -> Iterable[Rule]:
        plain: dict[tuple[tuple[str, ...], Action], list[Call]] = {}
        for arch, number, own in numbered:
            archs: tuple[str, ...] = (arch.name,) if len(self.archs) > 1 else ()
            if len(own) == 1 and own[0][1] is None:
                plain.setdefault((archs, own[0][0]), []).append(Call(number=number))
            else:
                yield from (Rule(action, (Call(number=number, condition=condition),), archs) for action, condition in own)
        for (archs, action), listed in plain.items():
            yield from _lines(action, listed, archs)


def action_unknown(value: int) -> bool:
    """Whether no kernel has the action of this RET word."""
    return value & 0xFFFF_0000 not in ACTION_NAMES


def _table(arch: Architecture) -> dict[int, str]:
    from seclude.abi import TABLES, calls_at

    return {number: name for name, number in calls_at(arch, TABLES).items()}


def _lines(action: Action, calls: list[Call], archs: tuple[str, ...]) -> Iterable[Rule]:
    """Rules that list calls, each about a line long."""
    line: list[Call] = []
    width = 0
    for call in calls:
        width += len(str(call)) + 2
        if line and width > _COLUMNS:
            yield Rule(action, tuple(line), archs)
            line, width = [], len(str(call)) + 2
        line.append(call)
    if line:
        yield Rule(action, tuple(line), archs)
