"""``seclude report``: what one or two filters mean, on one page that needs nothing but itself.

    html = report([Input("container", decision, policy=policy)])

The page is a single text: styles and script are inside, nothing is loaded from anywhere, and a content security policy forbids it, whatever a
name in a policy may try. All that came from inputs is escaped by the templating library, whose escaping is on for the whole page, and
every character that is not printable is spelled out. The same inputs give the same page, byte for byte.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from seclude import abi
from seclude._version import __version__
from seclude.analysis.lint import Report, lint
from seclude.analysis.lint_formats import shown_call
from seclude.analysis.lint_rules import SEVERITIES
from seclude.analysis.listing import annotated
from seclude.analysis.report_calls import KINDS, NO_TOKEN, kind_of_value, shown_architectures, table, ways
from seclude.analysis.report_changes import ChangeRow, change_rows
from seclude.analysis.report_flow import flow_graph
from seclude.bpf.names import action_text
from seclude.compiler.build import compile_decision
from seclude.compiler.certificate import certify
from seclude.decision import difference, same_to_kernel
from seclude.errors import BudgetError, UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.abi import Architecture
    from seclude.analysis.report_calls import Way
    from seclude.analysis.report_flow import Graph
    from seclude.bpf.program import Program
    from seclude.compiler.certificate import Certificate
    from seclude.decision.value import Decision
    from seclude.policy import Policy

__all__ = ["Input", "report"]

#: instructions of which a listing is part of the page
_LISTED = 1500


class Input(NamedTuple):
    """What is shown: a ``decision``, and the policy or the programs that it came from, where there are any.

    ``kind`` says in a word what was read; ``programs`` are a stack of filters, the oldest first; ``notes`` are worth knowing about how it was read.
    """

    name: str
    decision: Decision
    kind: str = ""
    policy: Policy | None = None
    programs: tuple[Program, ...] = ()
    byteorder: str = sys.byteorder
    notes: tuple[str, ...] = ()


class _Drawn(NamedTuple):
    """One program of an input: its drawing, where it can be drawn, and its listing, "" where that is too long."""

    title: str
    program: Program
    graph: Graph | None
    listing: str


@dataclass(frozen=True, slots=True)
class _Side:
    """One input, worked out for the page. ``letter`` is "A" or "B" where there are two."""

    letter: str
    name: str
    kind: str
    archs: tuple[str, ...]
    foreign: tuple[Way, ...]
    default: tuple[str, str]
    programs: tuple[_Drawn, ...]
    compiled: bool
    fault: str
    certificate: Certificate | None
    findings: Report
    unjudged: str
    source: str
    notes: tuple[str, ...]

    @property
    def instructions(self) -> int:
        """Of all programs together."""
        return sum(len(one.program) for one in self.programs)


def report(inputs: Sequence[Input], *, home: Architecture | None = None) -> str:
    """The page, for one input or for two that are compared. ``home`` is whose numbers are meant where a filter does not look at the architecture.

    Raises `UsageError` where the templating library (the extra ``seclude[report]``) is not installed, and `BudgetError`.
    """
    if not 1 <= len(inputs) <= 2:
        raise UsageError(f"a report is of one or two filters, not of {len(inputs)}")
    page = _template()
    home = home or _home(inputs)
    decisions = [one.decision for one in inputs]
    listed = dict.fromkeys(arch for one in inputs if one.policy is not None for arch in one.policy.architectures)
    archs = shown_architectures(decisions, listed, home)
    tables = [table(decisions, arch) for arch in archs]
    sides = [_side(one, letter, archs, home) for one, letter in zip(inputs, "AB", strict=False)]
    rows, unlisted = _changes(decisions, archs) if len(inputs) == 2 else ([], "")
    style, script = _asset("report.css"), _asset("report.js")
    text: str = page.render(
        sides=sides,
        tables=tables,
        kinds=KINDS,
        changes=rows,
        unlisted=unlisted,
        changed=_grouped(rows),
        two=len(inputs) == 2,
        same=len(inputs) == 2 and decisions[0] is decisions[1],
        same_to_kernel=len(inputs) == 2 and decisions[0] is not decisions[1] and _same_to_kernel(decisions),
        severities=SEVERITIES,
        action_text=action_text,
        kind_of_value=kind_of_value,
        shown_call=shown_call,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=__version__,
        tables_version=abi.TABLES,
    )
    return text


def _home(inputs: Sequence[Input]) -> Architecture:
    for one in inputs:
        if one.policy is not None and one.policy.architectures:
            return one.policy.architectures[0]
    return abi.native()


def _changes(decisions: Sequence[Decision], archs: Sequence[Architecture]) -> tuple[list[ChangeRow], str]:
    """The differences, and why they cannot be listed where they cannot."""
    try:
        return change_rows(difference(*decisions), archs), ""
    except BudgetError as error:
        return [], str(error)


def _judged(one: Input, home: Architecture) -> tuple[Report, str]:
    """What lint finds, and why it cannot judge where it cannot. A program that we made has no faults of its own to be found."""
    try:
        return lint(one.decision, one.programs, policy=one.policy, home=home), ""
    except BudgetError as error:
        return Report(()), str(error)


def _side(one: Input, letter: str, archs: list[Architecture], home: Architecture) -> _Side:
    programs, fault = one.programs, ""
    if not programs:
        try:
            programs = (compile_decision(one.decision, one.byteorder, order=[arch.token for arch in archs]),)
        except BudgetError as error:
            fault = str(error)
    known = shown_architectures([one.decision], one.policy.architectures if one.policy is not None else (), home)
    own = [arch for arch in known if one.decision.of_token(arch.token) is not one.decision.of_token(NO_TOKEN)]
    drawn = [
        _Drawn(
            f"Filter {number} of {len(programs)}" if len(programs) > 1 else "",
            program,
            flow_graph(program, one.decision, own or [home]),
            annotated(program, None if own else home) if len(program) <= _LISTED else "",
        )
        for number, program in enumerate(programs, 1)
    ]
    return _Side(
        letter,
        one.name,
        one.kind,
        tuple(arch.name for arch in own),
        _foreign(one.decision),
        _default(one, (own or [home])[0]),
        tuple(drawn),
        not one.programs,
        fault,
        certify(programs[0], one.decision, [(own or [home])[0]], "blend") if len(programs) == 1 else None,
        *_judged(one, home),
        "\n".join(text for _, text in one.policy.sources[:1]) if one.policy is not None else "",
        one.notes,
    )


def _foreign(decision: Decision) -> tuple[Way, ...]:
    """What happens to calls of architectures that are not listed; () where it depends on the call."""
    node = decision.of_token(NO_TOKEN)
    return ways(node, None, "") if not 8 <= node.level < 16 else ()


def _default(one: Input, arch: Architecture) -> tuple[str, str]:
    """A policy's ``default`` line; of what has none, the answer to a number that no table names."""
    if one.policy is not None:
        return "Default", str(one.policy.effective.default)
    free = next(number for number in range(arch.x32_bit + 4000, arch.x32_bit, -1) if number not in set(arch.calls().values()))
    node = one.decision.of_call(arch.token, free)
    return "Unknown calls", "depends on arguments" if node.kids else action_text(node.value, arch)


def _grouped(rows: list[ChangeRow]) -> list[tuple[str, str, str, list[ChangeRow]]]:
    """The differences by which side permits more: (anchor, title, how a sentence says it, rows)."""
    return [
        (key, title, phrase, found)
        for key, title, phrase, sign in (
            ("only-a", "Only A lets through", "A lets more through", "-"),
            ("only-b", "Only B lets through", "B lets more through", "+"),
            ("other", "The same is let through, but the answer is another", "only the answer is another", "~"),
        )
        if (found := [row for row in rows if row.sign == sign])
    ]


def _same_to_kernel(decisions: Sequence[Decision]) -> bool:
    try:
        return same_to_kernel(*decisions)
    except BudgetError:
        return False


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _template() -> Any:
    try:
        import jinja2
    except ImportError:
        raise UsageError("reports need the templating library Jinja2, which is not installed: pip install 'seclude[report]'") from None

    def shown(value: Any) -> Any:
        # Markup is what macros made, of values that came by here, and the package's own style and script.
        return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        finalize=shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _asset(name: str) -> str:
    from importlib.resources import files

    return files("seclude.analysis").joinpath("report_templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The source expression of the content security policy that admits exactly this inline text."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
