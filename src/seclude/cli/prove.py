"""``seclude prove``: does this filter mean exactly what that policy says?"""

from __future__ import annotations

from seclude.cli.differences import SHOW_OPTIONS, agree, chosen, show
from seclude.cli.options import Command
from seclude.cli.sources import INPUTS, READ_OPTIONS, read_sources
from seclude.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "prove",
    "prove POLICY FILTER [options]",
    "Prove that a filter means exactly what a policy says, or show the calls for which it does not.",
    (*SHOW_OPTIONS, *READ_OPTIONS),
    epilog=f"""
POLICY, FILTER: {INPUTS}

The filter is executed symbolically: the proof holds for every architecture, number, argument and instruction pointer.

exit codes: 0 proven, 1 not so: calls that show it are printed, 125 an input that cannot be read, or usage
""",
)


def main(arguments: Arguments) -> int:
    """Prove or refute; the exit code."""
    from seclude.decision import difference

    where = chosen(arguments)
    a, b = read_sources(arguments, 2)
    if a.byteorder != b.byteorder:
        raise UsageError(
            f"{a.name} is for {a.byteorder}-endian machines, {b.name} for {b.byteorder}-endian ones: it cannot be loaded there"
        )
    found = difference(a.decision, b.decision).within(where)
    if found:
        show(arguments, a, b, found, verdict="not proven", typed=False)
        return 1
    agree(arguments, a, b, "proven", f"{b.about} means exactly what {a.about} says")
    return 0
