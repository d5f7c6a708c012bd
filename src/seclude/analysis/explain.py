"""``seclude explain``: a decision as a table a person can read, by answer and call, with the conditions in the words of the policy language.

Every call of every architecture that the filter accepts is listed, with each answer that it can get and when; then the numbers without a name, and
the architectures that are not accepted. Nothing is left out: the rows of one call exclude each other and have no gap. Each has a witness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from seclude.bpf.names import action_text
from seclude.decision.clauses import answers, condition_of
from seclude.decision.compare import rank
from seclude.decision.nodes import END, FALSE, TRUE, Node, boolean, budget
from seclude.decision.ops import both, excluding, map_leaves
from seclude.decision.value import ARCH, NR
from seclude.decision.witness import witness
from seclude.decision.words import FULL, equals, word_in
from seclude.errors import BudgetError, UsageError, nearest
from seclude.policy.printer import print_condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seclude.abi import Architecture
    from seclude.analysis.lint_view import Subject, View
    from seclude.decision.value import Decision
    from seclude.decision.witness import SystemCall
    from seclude.policy import Policy

__all__ = ["SCHEMA", "Explanation", "Way", "as_json", "as_text", "explain"]

SCHEMA = "seclude.explain/1"
_X32, _NEGATIVE = 0x4000_0000, 0x8000_0000
_RETIRED_NOTE = "numbers without a name"


class Way(NamedTuple):
    """One answer of one call: ``action`` as text for the RET word ``value``, under ``condition`` (None: always), on ``archs``.

    ``call`` is a name, a number as text, or a description of numbers or architectures where ``numbers`` is true. ``witness`` is one such call; ``place``
    is where a policy's text says so, or "".
    """

    value: int
    action: str
    call: str
    condition: str | None
    archs: tuple[str, ...]
    witness: SystemCall
    place: str = ""
    numbers: bool = False

    @property
    def spelt(self) -> str:
        """``socket(domain == AF_UNIX)``, or the call alone."""
        return self.call if self.condition is None else f"{self.call}({self.condition})"


class Explanation(NamedTuple):
    """What a decision does: ``ways`` in the kernel's order of actions from the most permissive, on the architectures that it accepts."""

    architectures: tuple[str, ...]
    ways: tuple[Way, ...]
    whole: bool


def explain(
    decision: Decision, calls: Sequence[str] = (), *, policy: Policy | None = None, home: Architecture | None = None
) -> Explanation:
    """Every way that calls can go, or those of ``calls``: names or numbers, each perhaps with an architecture in front (``x86:socket``).

    ``policy`` is what the decision was made from, if it was: ways then have a place. ``home`` is whose numbers are meant where a filter does not
    look at the architecture. Raises `UsageError` for a call that no accepted architecture has, `BudgetError` for a filter whose conditions cannot be said.
    """
    from seclude import abi
    from seclude.analysis.lint_view import Subject

    archs = policy.architectures if policy is not None else ()
    with budget("the explanation of this filter", 2_000_000):
        subject = Subject(decision, home=home or (archs[0] if archs else abi.native()), archs=archs)
        wanted = _wanted(calls, subject) if calls else None
        found: dict[tuple[str, str, str | None], list[tuple[View, int, Node]]] = {}
        for view in subject.views:
            for call, number in _numbers(view, wanted):
                for value, condition, region in _ways(view, call, number):
                    found.setdefault((call, action_text(value, view.arch), condition), []).append((view, number, region))
        ways = [_way(decision, policy, key, places) for key, places in found.items()]
        if wanted is None:
            ways += _nameless(subject)
    ways.sort(key=lambda way: -rank(way.value))
    return Explanation(tuple(view.arch.name for view in subject.views), tuple(ways), wanted is None)


def _wanted(calls: Iterable[str], subject: Subject) -> set[tuple[str, str]]:
    """(architecture or "", call) of what was asked for."""
    from seclude import abi

    out = set()
    for text in calls:
        where, _, call = text.rpartition(":")
        arch = abi.arch(where).name if where else ""
        views = [view for view in subject.views if not arch or view.arch.name == arch]
        if not views:
            accepted = ", ".join(view.arch.name for view in subject.views)
            raise UsageError(f"{text}: the filter does not tell {arch} from architectures that it does not know", f"it accepts {accepted}")
        if not call.isdecimal() and not any(view.has(call) for view in views):
            guess = nearest(call, {name for view in views for name in view.calls})
            archs = ", ".join(view.arch.name for view in views)
            raise UsageError(f"no system call {call!r} on {archs}" + (f"; did you mean {guess!r}?" if guess else ""))
        out.add((arch, call))
    return out


def _numbers(view: View, wanted: set[tuple[str, str]] | None) -> Iterator[tuple[str, int]]:
    if wanted is None:
        yield from view.calls.items()
        return
    for arch, call in sorted(wanted):
        if arch in ("", view.arch.name):
            number = int(call) if call.isdecimal() else view.arch.number(call)
            if number is not None and number <= FULL:
                yield (view.arch.call_name(number) or call), number


def _ways(view: View, call: str, number: int) -> Iterator[tuple[int, str | None, Node]]:
    node = view.answer_at(number)
    if node.level == END:
        yield node.value, None, TRUE
        return
    name = call if view.has(call) else ""
    for value in answers(node):
        region = map_leaves(node, lambda one, value=value: boolean(one.value == value))  # type: ignore[misc]
        try:
            condition = print_condition(condition_of(node, value, view.arch, name))
        except BudgetError:
            condition = "... (too long to be said; see its witness)"
        yield value, condition, region


def _way(decision: Decision, policy: Policy | None, key: tuple[str, str, str | None], places: list[tuple[View, int, Node]]) -> Way:
    call, action, condition = key
    view, number, region = places[0]
    shown = witness(view.at(number, region))
    assert shown is not None
    place = ""
    if policy is not None:
        from seclude.analysis.lint_places import place_of

        span = place_of(policy, shown)
        place = str(span) if span is not None else ""
    return Way(decision.value(shown.words), action, call, condition, tuple(view.arch.name for view, _, _ in places), shown, place)


def _nameless(subject: Subject) -> Iterator[Way]:
    """What numbers without a name get, those of the neighbouring ABI and negative ones, and architectures that are not accepted."""
    tokens = word_in(ARCH, FULL, tuple((token, token) for token in sorted({view.arch.token for view in subject.views})))
    for view in subject.views:
        named = word_in(NR, FULL, tuple((number, number) for number in sorted(view.calls.values())))
        x32 = bool(view.arch.x32_bit)
        own = ((_X32, _NEGATIVE - 1),) if x32 else ((0, _X32 - 1),) if view.arch.name == "x86_64" else ((0, _NEGATIVE - 1),)
        yield from _region(subject, view, _RETIRED_NOTE, excluding(word_in(NR, FULL, own), named))
        if view.arch.name == "x86_64" and subject.view("x32") is None:
            yield from _region(subject, view, "numbers of x32", word_in(NR, FULL, ((_X32, _NEGATIVE - 1),)))
        if not x32:
            yield from _region(subject, view, "negative numbers", word_in(NR, FULL, ((_NEGATIVE, FULL),)))
    yield from _region(subject, None, "every other architecture", excluding(TRUE, tokens))


def _region(subject: Subject, view: View | None, what: str, inside: Node) -> Iterator[Way]:
    decision = subject.decision
    if view is not None:
        inside = both(equals(ARCH, view.arch.token), inside)
    for value in sorted(decision.leaves()):
        here = both(inside, map_leaves(decision.root, lambda one, value=value: boolean(one.value == value)))  # type: ignore[misc]
        if here is not FALSE:
            shown = witness(here)
            assert shown is not None
            arch = view.arch if view is not None else None
            condition = None if here is inside else "some"
            yield Way(value, action_text(value, arch), what, condition, (arch.name,) if arch else (), shown, "", True)


# ── written down ────────────────────────────────────────────────────────────────────────────────────────────────────


def as_text(name: str, found: Explanation) -> str:
    """The table: answer, then calls that always get it, then those that sometimes do."""
    from seclude.errors import printable

    lines = [f"{name}: {', '.join(found.architectures)}"]
    if not found.whole:
        for way in sorted(found.ways, key=lambda way: (way.call, -rank(way.value))):
            lines.append(f"  {way.spelt} → {way.action}   [{', '.join(way.archs)}]" + (f"   {way.place}" if way.place else ""))
            if way.condition is not None:
                lines.append(f"      such as {way.witness}")
        return printable("\n".join(lines)) + "\n"
    for action in dict.fromkeys(way.action for way in found.ways):
        own = [way for way in found.ways if way.action == action]
        lines += ["", action]
        always: dict[tuple[str, ...], list[str]] = {}
        for way in own:
            if way.condition is None and not way.numbers:
                always.setdefault(_label(way, found), []).append(way.call)
        for archs, names in always.items():
            lines += _wrapped(f"{_on(archs)}{len(names)} call{'s' if len(names) > 1 else ''}", ", ".join(sorted(names)))
        for way in sorted((way for way in own if way.condition is not None and not way.numbers), key=lambda way: way.call):
            lines += _wrapped(f"{_on(_label(way, found))}when", way.spelt)
        numbers: dict[tuple[str, str | None], list[str]] = {}
        for way in own:
            if way.numbers:
                numbers.setdefault((way.call, way.condition), []).extend(way.archs)
        for (call, condition), on in numbers.items():
            lines += _wrapped(
                _on(() if tuple(on) == found.architectures else tuple(on)) + "also", f"{condition} {call}" if condition else call
            )
    return printable("\n".join(lines)) + "\n"


def _label(way: Way, found: Explanation) -> tuple[str, ...]:
    """The architectures to name: none where every accepted one that has the call agrees."""
    from seclude import abi

    having = tuple(name for name in found.architectures if abi.arch(name).number(way.call) is not None)
    return () if way.archs == having and len(having) == len(found.architectures) else way.archs


def _on(archs: tuple[str, ...]) -> str:
    return f"on {', '.join(archs)}: " if archs else ""


def _wrapped(head: str, text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(
        f"{head}: {text}", 118, initial_indent="  ", subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
    )


def as_json(name: str, found: Explanation) -> dict[str, Any]:
    """The same as data; schema ``seclude.explain/1``."""
    return {
        "schema": SCHEMA,
        "input": name,
        "architectures": list(found.architectures),
        "ways": [
            {
                "call": None if way.numbers else way.call,
                "about": way.call if way.numbers else None,
                "architectures": list(way.archs),
                "condition": way.condition,
                "action": way.action,
                "value": way.value,
                "place": way.place or None,
                "witness": {
                    "text": str(way.witness),
                    "token": way.witness.token,
                    "number": way.witness.number,
                    "args": list(way.witness.args),
                    "ip": way.witness.ip,
                },
            }
            for way in found.ways
        ],
    }
