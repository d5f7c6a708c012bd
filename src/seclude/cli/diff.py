"""``seclude diff``: every call that two filters answer differently."""

from __future__ import annotations

from seclude.cli.differences import SHOW_OPTIONS, agree, chosen, show
from seclude.cli.options import Command
from seclude.cli.sources import INPUTS, READ_OPTIONS, read_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "diff",
    "diff A B [options]",
    "Compare what two policies or filters mean, for every call there is, and show a concrete call for each difference.",
    (*SHOW_OPTIONS, *READ_OPTIONS),
    epilog=f"""
A, B: {INPUTS}

+  B permits more than A
-  B permits less
~  both let it through, or both stop it, with another answer

exit codes: 0 the two mean the same, 1 they differ, 125 an input that cannot be read, or usage
""",
)


def main(arguments: Arguments) -> int:
    """Compare; the exit code."""
    from seclude.decision import difference

    where = chosen(arguments)
    a, b = read_sources(arguments, 2)
    found = difference(a.decision, b.decision).within(where)
    if found:
        show(arguments, a, b, found, verdict="they differ", typed=True)
        return 1
    agree(arguments, a, b, "equal", f"{a.about} and {b.about} mean the same")
    return 0
