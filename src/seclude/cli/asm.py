"""``seclude asm``: assembly text to a filter."""

from __future__ import annotations

import sys

from seclude.cli.options import Command, Option
from seclude.errors import FilterError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

_FORMS = ("raw", "hex", "string", "c", "python", "asm", "listing")

COMMAND = Command(
    "asm",
    "asm FILE [-o OUT] [options]",
    "Assemble a filter from text, and check that the kernel would load it. FILE - is stdin.",
    (
        Option("--output, -o", "OUT", "write there instead of stdout; an existing file is replaced whole or not at all"),
        Option("--format, -f", "FORM", "what to write", default="raw", choices=_FORMS),
        Option("--arch, -a", "ARCH", "whose calls bare names are before the text has compared the architecture (default: this machine's)"),
        Option("--byteorder", "ORDER", "of the target (default: that of the architecture)", choices=("little", "big")),
        Option("--unchecked", "", "write also what the kernel would refuse"),
    ),
    epilog="""
A statement a line:  A = arch | sys_number | args[0] | args[0] >> 32 | mem[2] | 0x10;  X = A;  A += 4;  A &= O_ACCMODE;  mem[2] = A
  if (A == read || A == x86.read) goto label else goto other;  A > 5 ? label : next;  goto label;  label:
  return ALLOW | KILL_PROCESS | ERRNO(EPERM) | TRAP(1) | A;  include "FILE";  .arch aarch64;  # comment
Names of calls, architectures, errors and constants stand for numbers, and expressions of them too. A jump that is too far for a condition gets
a goto of its own.

exit codes: 0 written, 1 the kernel would refuse the filter (nothing is written), 125 faults in the text, or usage
""",
)


def main(arguments: Arguments) -> int:
    """Assemble, check, write; the exit code."""
    from seclude.analysis.source import assemble_source, read_bytes
    from seclude.analysis.write import write
    from seclude.bpf.validator import validate
    from seclude.cli.output import refuse_terminal, write_out

    if len(arguments.rest) != 1:
        raise UsageError("seclude asm takes one file", "stdin is -; see: seclude asm --help")
    name = arguments.rest[0]
    form = arguments.text("format") or "raw"
    output = arguments.text("output")
    if output == "":
        raise UsageError("seclude asm: --output names nothing", "give a file's name")
    if form == "raw":
        refuse_terminal(output, "seclude asm: raw bytes are not for a terminal", "write them to a file with -o OUT, or choose --format hex")
    raw = read_bytes(name)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FilterError(f"{name}: not text: byte {error.start} is no UTF-8", "raw filters are read by: seclude disasm") from None
    if "\0" in text:
        raise FilterError(f"{name}: not text: it has zero bytes", "raw filters are read by: seclude disasm")
    assembly = assemble_source(text, name, arch=arguments.text("arch"), byteorder=arguments.text("byteorder"))
    findings = validate(assembly.program)
    for finding in findings[:100]:
        span = assembly.spans[finding.instruction] if finding.instruction is not None else None
        sys.stderr.write(f"{finding.diagnostic(span)}\n")
    if findings and not arguments.flag("unchecked"):
        sys.stderr.write("seclude: the kernel would refuse this filter: nothing was written; --unchecked writes it all the same\n")
        return 1
    write_out(output, write(assembly.program, form))
    return 0
