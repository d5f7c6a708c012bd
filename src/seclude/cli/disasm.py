"""``seclude disasm``: a filter from a file as text that says what each instruction is about."""

from __future__ import annotations

import sys

from seclude.cli.options import Command, Option
from seclude.errors import UsageError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.analysis.source import Source
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "disasm",
    "disasm FILE [options]",
    "Print a filter as text: calls, architectures, arguments and actions by name, with the jumps drawn. FILE - is stdin.",
    (
        Option("--style, -s", "STYLE", "annotated, plain (fields and text), or asm (reads back)", default="annotated", choices=("annotated", "plain", "asm")),
        Option("--arch, -a", "ARCH", "whose calls are meant before the filter itself has compared the architecture"),
        Option("--byteorder", "ORDER", "of raw bytes, where the opcodes do not tell", choices=("little", "big")),
        Option("--json", "", "print a JSON object: {schema: seclude.disasm/1, file, form, byteorder, loadable, findings, instructions ...}"),
    ),
    epilog="""
What a FILE may hold, told apart by content: raw instructions, hexadecimal text, a C string, arrays of instructions in C, the decimal lines
of 'tcpdump -ddd', a listing with fields, or assembly text.

exit codes: 0 the kernel would load the filter, 1 it would refuse it (each reason stands at its instruction), 125 a file that cannot
be read or holds no filter, or usage
""",
)  # fmt: skip


def main(arguments: Arguments) -> int:
    """Print the listing; the exit code."""
    from seclude.analysis.source import read_source
    from seclude.bpf.validator import validate

    if len(arguments.rest) != 1:
        raise UsageError("seclude disasm takes one file", "stdin is -; see: seclude disasm --help")
    arch = arguments.text("arch")
    source = read_source(arguments.rest[0], arch=arch, byteorder=arguments.text("byteorder"))
    findings = validate(source.program)
    broken = bool(findings or source.left)
    if arguments.flag("json"):
        sys.stdout.write(_as_json(source, arch, broken))
        return int(broken)
    style = arguments.text("style")
    if style == "annotated":
        from seclude.analysis.listing import annotated
        from seclude.cli.output import draws

        text = annotated(source.program, arch, findings=findings, ascii_only=not draws())
    elif style == "plain":
        from seclude.bpf.disassembler import listing

        text = listing(source.program, arch)
    else:
        from seclude.bpf.disassembler import disassemble

        text = disassemble(source.program, arch)
    sys.stdout.write(text)
    for note in source.notes:
        sys.stderr.write(f"seclude: {printable(source.name)}: {note}\n")
    if findings:
        count = len(findings)
        sys.stderr.write(
            f"seclude: {printable(source.name)}: the kernel would refuse this filter, for {count} reason{'s' if count > 1 else ''}\n"
        )
        if style != "annotated":
            sys.stderr.write("".join(f"{finding}\n" for finding in findings[:20]))
    return int(broken)


def _as_json(source: Source, arch: str | None, broken: bool) -> str:
    import json

    from seclude.analysis.listing import rows
    from seclude.bpf.validator import validate

    found = [
        {"instruction": one.instruction, "rule": one.rule, "message": one.message, "remedy": one.remedy} for one in validate(source.program)
    ]
    program = source.program
    return (
        json.dumps(
            {
                "schema": "seclude.disasm/1", "file": source.name, "form": source.form, "byteorder": program.byteorder, "loadable": not broken,
                "notes": list(source.notes), "findings": found, "instructions": rows(program, arch),
            },
            indent=2,
        )
        + "\n"
    )  # fmt: skip
