"""What commands that ask for the meaning of their inputs read: a policy, a preset, a filter in any form, a compiled policy, an OCI profile, a process; and
how they write filters.

What a file holds is seen from its content, never from its name: a compiled policy by its first bytes, assembly and policies by the words that their lines begin
with, other forms of a filter as `seclude.analysis.source` sees them. ``--from`` says it outright.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from seclude.cli.options import Option
from seclude.cli.output import refuse_terminal, write_out
from seclude.errors import FilterError, InputError, KernelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.bpf import Program
    from seclude.cli.options import Arguments
    from seclude.decision import Decision
    from seclude.errors import Diagnostic
    from seclude.policy import Policy

__all__ = [
    "EMIT_OPTION",
    "INPUTS",
    "OUTPUT_OPTION",
    "READ_OPTIONS",
    "Source",
    "read_sources",
    "require_output",
    "say_notes",
    "usual_order",
    "write_filter",
]

KINDS = ("policy", "raw", "asm", "listing", "hex", "string", "c", "ddd", "compiled", "oci")
READ_OPTIONS = (
    Option(
        "--from",
        "KIND",
        "what the inputs are, instead of what their content says; given several times: for each in turn",
        many=True,
        choices=KINDS,
    ),
    Option("--arch", "ARCH", "the architecture that 'native' means in policies, and whose byte order raw filters have"),
    Option("--byteorder", "ORDER", "the byte order of raw filters", choices=("little", "big")),
    Option("--runtime", "NAME", "whose meaning an OCI profile has", default="runc", choices=("runc", "crun")),
)
#: what help texts say of inputs
INPUTS = (
    "a policy's file, a preset's name, a filter (raw, hexadecimal, C, assembly, a listing), a compiled policy, an OCI seccomp profile or a config.json with one, "
    "pid:NUMBER (the filters of a process), or - (standard input)"
)
OUTPUT_OPTION = Option("--output, -o", "FILE", "where to write the filter ('-': standard output)")
EMIT_OPTION = Option("--emit", "FORM", "what to write", default="raw", choices=("raw", "asm", "c", "go", "rust", "json"))

_POLICY = re.compile(
    r"\s*(?:(?:allow|log|notify|kill|kill_thread|kill_process|default|arch|badarch|x32|unknown|negative|tables|include|on)\s+[^=\s]"
    r"|(?:errno|trap|trace)\s*\(|(?:trap|trace)\s+[^=\s])"
)
_ASSEMBLY = re.compile(
    r"\s*(?:\.(?:arch|byteorder|insn)\b|return\b|ret\b|goto\b|jmp\b|if\s*\(|[AX]\s*[-+*/%&|^<>]*=|mem\[|\w+:\s*(?:$|#)|A\s*[!=<>&])"
)


#: a line of a listing or of C, between which others may look like a policy or assembly
_WRITTEN = re.compile(r"^\s*\d+:?\s+0x[0-9A-Fa-f]+\s+0x|^[^#\n]*\b(?:struct\s+sock_filter|BPF_(?:STMT|JUMP)\s*\()", re.MULTILINE)


class Source(NamedTuple):
    """One input: its name as given, its kind, what it means, and the policy or the program that it is."""

    name: str
    kind: str
    decision: Decision
    policy: Policy | None
    program: Program | None
    byteorder: str
    #: every program, the oldest first: more than one for a process
    programs: tuple[Program, ...] = ()
    #: what is worth knowing about how it was read
    notes: tuple[Diagnostic, ...] = ()

    @property
    def about(self) -> str:
        """Such as ``container.seclude (policy)`` and ``a.bpf (246 instructions)``."""
        return f"{self.name} ({f'{len(self.program)} instructions' if self.program is not None else self.kind})"


def read_sources(arguments: Arguments, least: int, most: int | None = None) -> list[Source]:
    """The command's inputs, of which there are ``least`` to ``most``. Raises `InputError` for what cannot be read."""
    names = arguments.rest
    most = least if most is None else most
    if not least <= len(names) <= most:
        wanted = f"{least}" if least == most else f"at least {least}"
        raise UsageError(
            f"expected {wanted} input{'s' if wanted != '1' else ''}, found {len(names)}", "a policy, a preset's name, or a filter"
        )
    kinds = arguments.all("from")
    if len(kinds) > 1 and len(kinds) != len(names):
        raise UsageError(f"--from is given {len(kinds)} times for {len(names)} inputs", "give it once for all, or once for each")
    if names.count("-") > 1:
        raise UsageError("standard input ('-') can be read only once")
    arch = arguments.text("arch")
    if arch is not None:
        from seclude import abi

        found = abi.arch(arch)
        order = arguments.text("byteorder") or found.byteorder
        if order != found.byteorder:
            raise UsageError(f"{found.name} is {found.byteorder} endian, and --byteorder says {order}")
        native: str | None = found.name
        byteorder: str | None = order
    else:
        native, byteorder = None, arguments.text("byteorder")
    runtime = arguments.text("runtime") or "runc"
    return [_read(name, kinds[min(i, len(kinds) - 1)] if kinds else None, native, byteorder, runtime) for i, name in enumerate(names)]


def say_notes(sources: Iterable[Source]) -> None:
    """Print on stderr what is worth knowing about how inputs were read."""
    from seclude.errors import printable

    for source in sources:
        for note in source.notes:
            sys.stderr.write(f"seclude: note: {printable(f'{source.name}: {note}')}\n")


def _read(name: str, kind: str | None, native: str | None, byteorder: str | None, runtime: str) -> Source:
    from seclude.policy import PRESETS, load

    if kind in (None, "policy") and name in PRESETS:
        return _of_policy(name, load(name, native=native))
    if kind is None and name.startswith("pid:") and not os.path.exists(name):
        return _of_process(name)
    raw = _bytes(name)
    if kind == "oci" or kind is None:
        from seclude import formats

        found = kind or formats.detect(raw)
        if found is not None:
            profile = formats.read(raw, name, format=found, runtime=runtime, native=native)
            return Source(name, found, profile.decision, None, None, profile.byteorder, (), profile.notes)
    kind = kind or _kind(name, raw)
    match kind:
        case "policy":
            from seclude.policy import parse

            return _of_policy(name, parse(raw, name, native=native))
        case "compiled":
            from seclude.bpf import Program
            from seclude.compiler.artifact import Artifact

            artifact = Artifact.from_bytes(raw)
            return _of_program(name, kind, Program.from_bytes(artifact.plain, artifact.byteorder))
        case "asm":
            from seclude.analysis.source import assemble_source

            try:
                text = raw.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise FilterError(f"{name}: not a text: byte {error.start} is not UTF-8") from None
            return _of_program(name, kind, assemble_source(text, name, arch=native, byteorder=byteorder).program)
    from seclude.analysis.source import written

    source = written(raw, name, form=kind or None, arch=native, byteorder=byteorder)
    if source is None and kind:
        raise FilterError(f"{name}: no line of it is an instruction", f"leave out --from {kind}, and it is seen what it is")
    if source is None:
        raise InputError(f"{name}: neither a policy nor a filter", f"say what it is: --from {' | '.join(KINDS)}")
    if source.left:
        raise FilterError(f"{name}: not a whole number of instructions: {source.notes[-1]}")
    return _of_program(name, source.form, source.program)


def _of_process(name: str) -> Source:
    """The filters of the process ``pid:NUMBER``, all of one thread's taken together. Raises where its threads do not agree."""
    from seclude.analysis.live import live
    from seclude.decision import from_program, stack

    number = name.removeprefix("pid:")
    if not number.isdecimal():
        raise UsageError(f"{name}: a process is named by its number, as in pid:1234")
    found = live(int(number))
    for thread in found.threads:
        if thread.problem:
            raise KernelError(f"{name}: thread {thread.tid}: {thread.problem}")
    stacks = {thread.filters for thread in found.threads}
    if len(stacks) != 1:
        raise InputError(
            f"{name}: its threads have {len(stacks)} different stacks of filters", f"see them with: seclude dump --pid {number}"
        )
    programs = stacks.pop()
    if not programs:
        raise InputError(f"{name}: no filter is installed in this process")
    together = stack(*map(from_program, programs))
    one = programs[0] if len(programs) == 1 else None
    return Source(name, "process", together, None, one, programs[0].byteorder, programs)


def _of_policy(name: str, policy: Policy) -> Source:
    from seclude.decision import from_policy

    return Source(name, "policy", from_policy(policy), policy, None, policy.architectures[0].byteorder)


def _of_program(name: str, kind: str, program: Program) -> Source:
    from seclude.bpf import check
    from seclude.decision import from_program

    try:
        check(program)
    except FilterError as error:
        raise FilterError(f"{name}: {error}") from None
    return Source(name, kind, from_program(program), None, program, program.byteorder)


def _bytes(name: str) -> bytes:
    from seclude.analysis.source import read_bytes

    try:
        if name != "-":
            os.stat(name)
    except FileNotFoundError:
        from seclude.errors import nearest
        from seclude.policy import PRESETS

        guess = nearest(name, PRESETS)
        hint = f"; did you mean the preset {guess!r}?" if guess else ""
        raise InputError(f"{name}: no such file, and no preset of that name{hint}", f"presets: {', '.join(PRESETS)}") from None
    except (OSError, ValueError):
        pass  # to read it says why
    return read_bytes(name)


def _kind(name: str, raw: bytes) -> str:
    """What a content is: compiled, policy or asm; "" for what its form tells."""
    from seclude.compiler.artifact import MAGIC

    if raw.startswith(MAGIC):
        return "compiled"
    if not raw:
        raise InputError(f"{name}: the file is empty")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""
    if "\0" in text or _WRITTEN.search(text):
        return ""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        if _ASSEMBLY.match(line):
            return "asm"
        if _POLICY.match(line):
            return "policy"
    return ""


def usual_order(decision: Decision) -> list[int]:
    """The AUDIT_ARCH tokens that a filter tells apart, those of 64 bits first: most calls come with these."""
    from seclude import abi

    elsewhere = decision.of_token(0)  # no architecture has this token
    tokens = {arch.token: arch.bits for arch in reversed(abi.ALL) if decision.of_token(arch.token) is not elsewhere}
    return sorted(tokens, key=lambda token: -tokens[token])


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def require_output(arguments: Arguments, command: str) -> str:
    """The FILE of ``-o``. Raises `UsageError` where it is missing, or a terminal would get bytes."""
    target = arguments.text("output")
    if target is None:
        raise UsageError(f"seclude {command}: say where the filter goes: -o FILE", "'-' is standard output")
    if arguments.text("emit") == "raw":
        refuse_terminal(target, f"seclude {command}: a filter is binary, and standard output is a terminal", "give -o FILE, or --emit asm")
    return target


def write_filter(arguments: Arguments, program: Program, target: str) -> None:
    """Write the program in the form that ``--emit`` names: to standard output for ``-``, else to a file, whole or not at all."""
    from seclude.compiler.emit import emitted

    write_out(target, emitted(program, arguments.text("emit") or "raw", "filter"))
