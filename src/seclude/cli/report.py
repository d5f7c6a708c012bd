"""``seclude report``: one or two filters as a page to read."""

from __future__ import annotations

import sys

from seclude.cli.options import Command, Option
from seclude.cli.output import refuse_terminal, write_out
from seclude.cli.sources import INPUTS, READ_OPTIONS, read_sources
from seclude.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.analysis.report import Input
    from seclude.cli.options import Arguments
    from seclude.cli.sources import Source

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "report",
    "report X [Y] [-o FILE.html] [options]",
    "Write one self-contained HTML page: what is permitted, call by call, with every clause, what lint finds, and the program as a graph;"
    " for two inputs also where they differ. The page loads nothing: it works from a file, without a network.",
    (
        Option("--output, -o", "FILE", "where to write the page ('-': standard output); default: NAME.html in the current directory"),
        *READ_OPTIONS,
    ),
    epilog=f"""
X, Y: {INPUTS}

The page needs the templating library of the extra 'report': pip install 'seclude[report]'

exit codes: 0 written, 125 an input that cannot be read, a page that cannot be written, or usage
""",
)

#: what a page calls the kinds of inputs
_KINDS = {
    "raw": "raw BPF",
    "asm": "BPF assembly",
    "listing": "listing of BPF",
    "hex": "BPF in hexadecimal",
    "string": "BPF as a C string",
    "c": "BPF in C",
    "ddd": "BPF as tcpdump -ddd prints it",
    "compiled": "compiled policy",
    "oci": "OCI seccomp profile",
    "process": "filters of a process",
}


def main(arguments: Arguments) -> int:
    """Write the page; the exit code."""
    if not arguments.rest:
        raise UsageError("seclude report: name what to report on: a policy, a preset, or a filter", "see: seclude report --help")
    target = arguments.text("output") or _default_name(arguments.rest)
    refuse_terminal(target, "seclude report: a page is not for a terminal", "give -o FILE.html")
    from seclude import abi
    from seclude.analysis.report import report

    named = arguments.text("arch")
    page = report(
        [_input(source) for source in read_sources(arguments, 1, 2)],
        home=abi.arch(named) if named else None,
    ).encode()
    write_out(target, page)
    if target != "-":
        sys.stdout.write(f"{target}\n")
    return 0


def _default_name(names: list[str]) -> str:
    """The page's name: ``container.html``, ``a-vs-b.html``. Only the last part of a path counts, and never a character that means more."""
    import os
    import re

    stems = [re.sub(r"[^A-Za-z0-9._+-]", "_", os.path.splitext(os.path.basename(name))[0]).lstrip(".-") or "report" for name in names]
    return "-vs-".join(stems) + ".html"


def _input(source: Source) -> Input:
    from seclude.analysis.report import Input
    from seclude.policy import PRESETS

    kind = "preset" if source.policy is not None and source.name in PRESETS else _KINDS.get(source.kind, source.kind)
    programs = source.programs or ((source.program,) if source.program is not None else ())
    notes = tuple(". ".join(filter(None, (note.message, note.remedy))) for note in source.notes)
    return Input(source.name, source.decision, kind, source.policy, programs, source.byteorder, notes)
