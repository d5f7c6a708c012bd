"""``seclude decompile``: any filter as a policy."""

from __future__ import annotations

from seclude.cli.options import Command, Option
from seclude.cli.output import write_out
from seclude.cli.sources import INPUTS, READ_OPTIONS, read_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "decompile",
    "decompile FILTER [options]",
    "Write down in the policy language what a filter means, exactly: what is printed compiles to the same meaning.",
    (
        Option("--output, -o", "FILE", "where to write the policy, instead of standard output"),
        Option("--on", "ARCH", "only what it means on this architecture; every other one is killed", many=True),
        *READ_OPTIONS,
    ),
    epilog=f"""
FILTER: {INPUTS}

Some filters mean what the policy language has no words for: they compare two arguments, return actions that no kernel knows, or answer
unlisted architectures in several ways. The first such clause is printed then, and nothing is written. A filter that never looks at the
architecture is one of them; --on says which one to write down.

exit codes: 0 written, 125 the filter has no such policy, or cannot be read
""",
)


def main(arguments: Arguments) -> int:
    """Decompile and write; the exit code."""
    from seclude.decision import calls_of, restrict
    from seclude.decision.calls import NO_CALLS
    from seclude.decision.decompile import decompile

    (source,) = read_sources(arguments, 1)
    decision = source.decision
    where = NO_CALLS
    for name in arguments.all("on"):
        where |= calls_of(name)
    if where:
        decision = restrict(decision, where)
    native = arguments.text("arch")
    write_out(arguments.text("output"), str(decompile(decision, native=native)).encode())
    return 0
