"""``seclude subset``: does A permit no more than B?"""

from __future__ import annotations

from seclude.cli.differences import SHOW_OPTIONS, agree, chosen, show
from seclude.cli.options import Command, Option
from seclude.cli.sources import INPUTS, READ_OPTIONS, read_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "subset",
    "subset A B [options]",
    "Say whether A permits no more than B, and show the calls for which it does.",
    (
        Option("--strict", "", "compare single actions in the kernel's order, and their data, instead of classes of actions"),
        *SHOW_OPTIONS,
        *READ_OPTIONS,
    ),
    epilog=f"""
A, B: {INPUTS}

Actions fall into classes: deny (kill, trap, errno) < undecided (notify, trace) < permit (log, allow). A is within B if no call gets a higher
class from A than from B. With --strict A's action must come before B's in the kernel's order (kill_process, kill_thread, trap, errno, notify,
trace, log, allow), or be the same with the same data.

exit codes: 0 it does not, A is within B; 1 it does: calls that show it are printed; 125 an input that cannot be read, or usage
""",
)


def main(arguments: Arguments) -> int:
    """Compare; the exit code."""
    from seclude.decision.compare import excess

    where = chosen(arguments)
    a, b = read_sources(arguments, 2)
    found = excess(a.decision, b.decision, strict=arguments.flag("strict")).within(where)
    if found:
        show(arguments, a, b, found, verdict="A is not within B", typed=False)
        return 1
    agree(arguments, a, b, "A is within B", f"{a.about} permits no more than {b.about}")
    return 0
