"""The difference of two inputs, a row for each: which calls, when, what each side answers, and one call that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.analysis.report_calls import kind_of_value
from seclude.bpf.names import action_text
from seclude.decision.changes import changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.abi import Architecture
    from seclude.decision.changes import Change
    from seclude.decision.compare import Difference

__all__ = ["ChangeRow", "change_rows"]

#: a condition longer than this says less than its witness
_LONGEST = 400


class ChangeRow(NamedTuple):
    """``sign`` is "+" where B permits more, "-" less, "~" where the class is the same. ``a`` and ``b`` are (answer, kind)."""

    sign: str
    where: str
    calls: tuple[str, ...]
    condition: str
    a: tuple[str, str]
    b: tuple[str, str]
    witness: str


def change_rows(difference: Difference, archs: Sequence[Architecture]) -> list[ChangeRow]:
    """Every difference, those of ``archs`` first and in their order. Raises `BudgetError`."""
    order = {arch: index for index, arch in enumerate(archs)}
    found = sorted(changes(difference), key=lambda change: order.get(change.arch, len(order)) if change.arch else len(order))
    return [_row(change) for change in found]


def _row(change: Change) -> ChangeRow:
    condition = change.condition
    return ChangeRow(
        change.sign,
        change.where,
        tuple(change.names()),
        condition if len(condition) <= _LONGEST else "",
        (action_text(change.a, change.arch), kind_of_value(change.a)),
        (action_text(change.b, change.arch), kind_of_value(change.b)),
        f"{change.witness.arch.name if change.witness.arch else f'architecture {change.witness.token:#x}'}: {change.witness}",
    )
