"""What filters that are stacked amount to, asked of their fused decision: for each architecture the calls by what happens to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.abi import ALL
from seclude.bpf.names import action_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seclude.abi import Architecture
    from seclude.bpf.program import Program
    from seclude.decision import Decision

__all__ = ["Summary", "Verdicts", "summary"]

DEPENDS = "depends on arguments"
#: a token that no architecture has: what happens to all of these
_NO_TOKEN = 0x7FFFFFFE


class Verdicts(NamedTuple):
    """One architecture: what happens → the names of the calls, and what happens to numbers without a name."""

    arch: str
    calls: dict[str, tuple[str, ...]]
    others: str


class Summary(NamedTuple):
    """What a stack of ``filters`` filters means. ``foreign`` is what happens on every architecture that is not listed."""

    filters: int
    architectures: tuple[Verdicts, ...]
    foreign: str
    decision: Decision

    def text(self, names: int = 8) -> str:
        """A few lines for a reader, at most ``names`` calls of each group by name."""
        lines = []
        for one in self.architectures:
            lines.append(f"{one.arch}:")
            # The largest group last, as "every other call": its members are what nobody listed.
            groups = sorted(one.calls.items(), key=lambda pair: (len(pair[1]), pair[0]))
            for action, calls in groups[:-1]:
                shown = ", ".join(calls[:names]) + (f" and {len(calls) - names} more" if len(calls) > names else "")
                lines.append(f"  {action:22}  {len(calls):4}  {shown}")
            for action, calls in groups[-1:]:
                lines.append(f"  {action:22}  {len(calls):4}  every other call")
            lines.append(f"  {one.others:22}        numbers without a name")
        lines.append(f"{'other architectures' if self.architectures else 'every call'}: {self.foreign}")
        return "".join(line + "\n" for line in lines)

    def as_json(self) -> dict[str, object]:
        """The same as data."""
        return {
            "filters": self.filters,
            "architectures": {one.arch: {"calls": {action: list(calls) for action, calls in one.calls.items()}, "unnamed": one.others} for one in self.architectures},
            "other_architectures": self.foreign,
        }  # fmt: skip


def summary(programs: Sequence[Program], archs: Iterable[Architecture] = ()) -> Summary:
    """Of filters loaded one after the other, the oldest first. ``archs`` are shown in any case. Raises ``FilterError`` and ``BudgetError``.

    Otherwise those are shown that the filters treat unlike an unknown architecture: a filter may not look at the architecture at all.
    """
    from seclude.decision import from_program, stack

    decision = stack(*map(from_program, programs))
    foreign = _answer(decision, _NO_TOKEN, 0)
    everywhere = decision.of_token(_NO_TOKEN)
    wanted = tuple(archs)
    architectures = tuple(_verdicts(decision, one) for one in ALL if one in wanted or decision.of_token(one.token) is not everywhere)
    return Summary(len(programs), architectures, foreign if not everywhere.kids else DEPENDS.replace("arguments", "the call"), decision)


def _verdicts(decision: Decision, arch: Architecture) -> Verdicts:
    groups: dict[str, list[str]] = {}
    for name, number in sorted(arch.calls().items()):
        groups.setdefault(_answer(decision, arch.token, number, arch), []).append(name)
    taken = set(arch.calls().values())
    base = arch.x32_bit
    free = next(number for number in range(base + 4000, base, -1) if number not in taken)
    return Verdicts(arch.name, {action: tuple(calls) for action, calls in groups.items()}, _answer(decision, arch.token, free, arch))


def _answer(decision: Decision, token: int, number: int, arch: Architecture | None = None) -> str:
    node = decision.of_call(token, number)
    return DEPENDS if node.kids else action_text(node.value, arch)
