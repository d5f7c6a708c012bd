"""``seclude optimize``: an existing filter, compiled anew."""

from __future__ import annotations

import sys
from typing import NamedTuple

from seclude.cli.options import Command, Option
from seclude.cli.sources import EMIT_OPTION, INPUTS, OUTPUT_OPTION, READ_OPTIONS, read_sources, require_output, usual_order, write_filter
from seclude.errors import BudgetError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.bpf import Program
    from seclude.cli.options import Arguments
    from seclude.decision import Decision

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "optimize",
    "optimize FILTER -o OUT [options]",
    "Compile a filter anew, smaller and faster, proven to mean the same. What cannot be improved is written as it was.",
    (
        OUTPUT_OPTION,
        EMIT_OPTION,
        Option(
            "--optimize-for",
            "WHAT",
            "which calls are to be fast; without it all are tried",
            choices=("blend", "bitmap", "profile", "uniform"),
        ),
        *READ_OPTIONS,
    ),
    epilog=f"""
FILTER: {INPUTS}

A new filter is taken only if it has no more instructions, lets the kernel cache no fewer calls, and executes no more instructions on
average over the calls of every architecture that the filter tells apart (all arguments zero, calls that the kernel caches left out).

exit codes: 0 written, 125 anything else: then nothing was written
""",
)


class Costs(NamedTuple):
    """``size`` in instructions; ``cached``: calls that the kernel's bitmap skips; ``mean``: executed instructions of all others."""

    size: int
    cached: int
    mean: float

    def __str__(self) -> str:
        return f"{self.size} instructions, {self.mean:.1f} executed by a call on average, {self.cached} calls cached by the kernel"

    def improves(self, other: Costs) -> bool:
        """Whether nothing is worse than in ``other`` and something is better."""
        ours, theirs = (self.size, -self.cached, self.mean), (other.size, -other.cached, other.mean)
        return ours != theirs and all(x <= y for x, y in zip(ours, theirs, strict=True))


def main(arguments: Arguments) -> int:
    """Recompile and write; the exit code."""
    from seclude.compiler import compile_decision

    target = require_output(arguments, "optimize")
    (source,) = read_sources(arguments, 1)
    wanted = arguments.text("optimize_for")
    kept, costs = source.program, costs_of(source.program, source.decision) if source.program is not None else None
    for mode in (wanted,) if wanted else ("uniform", "blend", "bitmap"):
        try:
            fresh = compile_decision(source.decision, source.byteorder, optimize_for=mode, order=usual_order(source.decision))
        except BudgetError:
            if kept is None:
                raise
            continue
        its = costs_of(fresh, source.decision)
        if costs is None or its.improves(costs):
            kept, costs = fresh, its
    assert kept is not None
    write_filter(arguments, kept, target)
    if kept is source.program:
        sys.stderr.write(f"nothing to improve, written as it was: {costs}\n")
    else:
        before = f"before: {costs_of(source.program, source.decision)}\n" if source.program is not None else ""
        sys.stderr.write(f"{before}now: {costs}; proven equal\n")
    return 0


def costs_of(program: Program, decision: Decision) -> Costs:
    """What calls cost, over the calls of every architecture that has answers of its own (of all where the filter does not look)."""
    from seclude import abi
    from seclude.bpf.machine import constant_allow, pack_data, run

    tokens = usual_order(decision)
    cached, total, calls = 0, 0, 0
    for token in tokens or [abi.arch("x86_64").token]:
        for number in (number for one in abi.by_token(token) for number in one.calls().values()):
            if constant_allow(program.instructions, token, number):
                cached += 1
            else:
                calls += 1
                total += run(program.instructions, pack_data(number, token, 0, (0,) * 6), program.byteorder)[1]
    return Costs(len(program), cached, total / calls if calls else 0.0)
