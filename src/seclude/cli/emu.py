"""``seclude emu``: one call put to a filter, with every instruction on the way."""

from __future__ import annotations

import sys

from seclude.cli.options import Command, Option, given_number
from seclude.errors import UsageError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.analysis.emulate import Emulation
    from seclude.analysis.source import Source
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "emu",
    "emu FILE [--arch ARCH] CALL [ARGUMENT...]",
    "Put one call to a filter: what it answers, the instructions it runs, and whether the kernel would run it at all.",
    (
        Option("--arch, -a", "ARCH", "the call's architecture (default: this machine's)"),
        Option("--ip", "ADDRESS", "where the call is made from", default="0"),
        Option("--byteorder", "ORDER", "of raw bytes, where neither the opcodes nor the architecture tell", choices=("little", "big")),
        Option("--quiet, -q", "", "print the answer only"),
        Option("--json", "", "print a JSON object: {schema: seclude.emu/1, call, action, value, bitmap, steps ...}"),
    ),
    epilog="""
CALL is a name or a number. An ARGUMENT is a value in the order of the call's parameters, or NAME=VALUE for the parameter of that name,
or arg0=VALUE ... arg5=VALUE for a whole register. A VALUE is a number, or constants by name: O_RDONLY|O_CLOEXEC. Missing ones are 0.
A filter sees a pointer's address and never what it points to, so text is not taken.

exit codes: 0 the filter answered, 125 the filter cannot be read or the kernel would refuse it, or usage
""",
    negatives=True,
)


def main(arguments: Arguments) -> int:
    """Run the filter for the call; the exit code."""
    from seclude.abi import arch as find
    from seclude.abi import native
    from seclude.analysis.emulate import emulate, trace_text
    from seclude.analysis.source import read_source
    from seclude.decision.asked import read_call

    if len(arguments.rest) < 2:
        raise UsageError("seclude emu: a file and a call are needed", "usage: seclude emu FILE [--arch ARCH] CALL [ARGUMENT...]")
    name, call, *values = arguments.rest
    wanted = arguments.text("arch")
    arch = find(wanted) if wanted is not None else native()
    source = read_source(name, arch=arch, byteorder=arguments.text("byteorder"))
    asked = read_call(arch, call, values)
    emulation = emulate(source.program, asked, ip=given_number(arguments, "emu", "ip", 1 << 64))
    if arguments.flag("json"):
        sys.stdout.write(_as_json(source, emulation))
        return 0
    if not arguments.flag("quiet"):
        for note in source.notes:
            sys.stderr.write(f"seclude: {printable(source.name)}: {note}\n")
        sys.stdout.write(f"{asked.text} on {arch.name}, number {asked.nr if asked.nr < 0x40000000 else hex(asked.nr)}\n\n")
        sys.stdout.write(trace_text(source.program, emulation) + "\n")
    sys.stdout.write(f"{emulation.action}: {emulation.meaning}\n")
    if not arguments.flag("quiet"):
        count = len(emulation.steps)
        sys.stdout.write(f"{count} instruction{'s' if count > 1 else ''} executed\n")
        if emulation.cached:
            sys.stdout.write(f"kernel's bitmap: yes, from Linux 5.11 on no instruction is run: {emulation.why}\n")
        else:
            sys.stdout.write(f"kernel's bitmap: no, {emulation.why}\n")
    return 0


def _as_json(source: Source, emulation: Emulation) -> str:
    import json

    from seclude.bpf.disassembler import statements

    call = emulation.call
    texts = [text for text, _ in statements(source.program, call.arch, "{:04d}".format)]
    return (
        json.dumps(
            {
                "schema": "seclude.emu/1", "file": source.name, "notes": list(source.notes),
                "call": {"arch": call.arch.name, "name": call.name, "nr": call.nr, "args": list(call.args), "text": call.text},
                "action": emulation.action, "value": emulation.value, "meaning": emulation.meaning,
                "bitmap": {"answers": emulation.cached, "why": emulation.why},
                "executed": len(emulation.steps),
                "steps": [
                    {
                        "index": step.pc, "text": texts[step.pc], "a": step.a, "x": step.x,
                        "stored": None if step.cell is None else {"cell": step.cell, "value": step.stored},
                        "next": step.next,
                    }
                    for step in emulation.steps
                ],
            },
            indent=2,
        )
        + "\n"
    )  # fmt: skip
