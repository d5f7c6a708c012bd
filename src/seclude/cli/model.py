"""``seclude model``: pictures of what the kernel keeps, step by step."""

from __future__ import annotations

import sys

from seclude.cli.options import Command, Option
from seclude.errors import UsageError, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "model",
    "model [--draw SCENARIO] [--format svg|text] [-o FILE]",
    "Draw what the kernel keeps of filters, tasks and notifications, step by step; without options, list what can be drawn.",
    (
        Option("--draw, -d", "SCENARIO", "one of the scenarios that are listed without options"),
        Option("--format, -f", "FORM", "what to write; svg into a FILE that ends so, else text", choices=("text", "svg")),
        Option("--kernel, -k", "VERSION", "the modelled kernel's version, 5.0 to 6.18", default="6.18"),
        Option("--functions", "", "list the kernel's functions and the functions of the model that stand for them"),
        Option("--output, -o", "FILE", "where to write", default="-"),
    ),
    epilog="""
exit codes: 0 drawn, 125 usage, or a file that cannot be written
""",
)


def main(arguments: Arguments) -> int:
    """Draw; the exit code."""
    from seclude.model.gallery import GALLERY, pictures

    if arguments.rest:
        raise UsageError(f"seclude model: unexpected {arguments.rest[0]!r}", f"usage: seclude {COMMAND.usage}")
    target = arguments.text("output") or "-"
    if arguments.flag("functions"):
        from seclude.model.functions import FUNCTIONS

        width = max(map(len, FUNCTIONS))
        written = "".join(f"{kernel:{width}}  seclude.model.{ours}\n" for kernel, ours in FUNCTIONS.items())
    elif (name := arguments.text("draw")) is None:
        width = max(map(len, GALLERY))
        written = "".join(f"{name:{width}}  {(scenario.__doc__ or '').strip()}\n" for name, scenario in GALLERY.items())
    elif name not in GALLERY:
        near = nearest(name, GALLERY)
        raise UsageError(f"no scenario {name!r}" + (f"; did you mean {near!r}?" if near else ""), f"one of {', '.join(GALLERY)}")
    else:
        from seclude.model.draw import svg, text

        taken = pictures(name, arguments.text("kernel") or "6.18")
        form = arguments.text("format") or ("svg" if target.endswith(".svg") else "text")
        written = svg(taken) if form == "svg" else text(taken)
    if target == "-":
        sys.stdout.write(written)
    else:
        from seclude.cli.output import write_file

        write_file(target, written.encode())
    return 0
