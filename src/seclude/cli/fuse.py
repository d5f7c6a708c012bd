"""``seclude fuse``: one filter in place of several that are stacked."""

from __future__ import annotations

import sys

from seclude.cli.options import Command, Option
from seclude.cli.sources import EMIT_OPTION, INPUTS, OUTPUT_OPTION, READ_OPTIONS, read_sources, require_output, usual_order, write_filter
from seclude.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "fuse",
    "fuse A B [...] -o OUT [options]",
    "Write one filter that answers every call as the kernel would with all of these loaded, the first one first.",
    (
        OUTPUT_OPTION,
        EMIT_OPTION,
        Option("--optimize-for", "WHAT", "which calls are to be fast", default="blend", choices=("blend", "bitmap", "profile", "uniform")),
        *READ_OPTIONS,
    ),
    epilog=f"""
A, B, ...: {INPUTS}

The order is that of loading: among filters that agree on an action, the data (an errno) of the last one counts, as in the kernel. Each stacked
filter that runs costs a call as much as some forty instructions. The fused filter is proven equal to the stack.

exit codes: 0 written, 125 anything else: then nothing was written
""",
)


def main(arguments: Arguments) -> int:
    """Fuse, compile and write; the exit code."""
    from seclude.compiler import compile_decision
    from seclude.decision import stack

    target = require_output(arguments, "fuse")
    sources = read_sources(arguments, 1, 32768)
    orders = {source.byteorder: source.name for source in sources}
    if len(orders) > 1:
        raise UsageError(f"{orders['little']} is for little-endian machines, {orders['big']} for big-endian ones: no kernel loads both")
    decision = stack(*[source.decision for source in sources])
    mode = arguments.text("optimize_for") or "blend"
    program = compile_decision(decision, sources[0].byteorder, optimize_for=mode, order=usual_order(decision))
    write_filter(arguments, program, target)
    lengths = [len(source.program) for source in sources if source.program is not None]
    before = f"{sum(lengths)} instructions in {len(lengths)} filters" if len(lengths) == len(sources) else f"{len(sources)} inputs"
    sys.stderr.write(f"{before}, now {len(program)} instructions in one; proven equal\n")
    return 0
