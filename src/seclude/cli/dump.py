"""``seclude dump``: the filters that a program installs while it runs, or those that a live process has."""

from __future__ import annotations

import os
import sys

from seclude.cli.options import Command, Option
from seclude.errors import SecludeError, UsageError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seclude.abi import Architecture
    from seclude.analysis.catch import Capture, Load
    from seclude.analysis.live import Live
    from seclude.bpf.program import Program
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "dump",
    "dump [options] [--] COMMAND [ARGUMENT...]  |  seclude dump [options] --pid PID",
    "Show every filter that COMMAND and whatever it starts install, who installed it and whether the kernel took it; or those of a live process.",
    (
        Option("--pid, -p", "PID", "show the filters of every thread of this process instead (needs CAP_SYS_ADMIN)"),
        Option("--limit, -n", "N", "end the command after N filters"),
        Option("--timeout, -t", "TIME", "end it after this time, such as 10s"),
        Option("--style, -s", "STYLE", "annotated, plain, asm, or none", default="annotated", choices=("annotated", "plain", "asm", "none")),
        Option("--output, -o", "DIR", "also write each filter's raw bytes there, and what is printed here as dump.json"),
        Option("--json", "", "print a JSON object instead; the command's stdout then goes to stderr"),
    ),
    epilog="""
Every call of the command stops twice, so it is slower; its signals, descriptors and exit status are its own. What it prints is not held back,
and whatever it leaves running in the background is waited for.
A call is shown also where the kernel or an earlier filter refuses it. At --limit or --timeout, whatever still runs is killed.

exit codes: 0 at least one filter (or strict mode) was found, 1 none was, 125 nothing could be looked at, or usage
""",
    stops=True,
)  # fmt: skip


def main(arguments: Arguments) -> int:
    """Look, and print; the exit code."""
    pid = arguments.text("pid")
    json = arguments.flag("json")
    directory = arguments.text("output")
    if pid is not None and arguments.rest:
        raise UsageError("seclude dump takes a command or --pid, not both", "see: seclude dump --help")
    if pid is None and not arguments.rest:
        raise UsageError("seclude dump: no command given", "usage: seclude dump [options] [--] COMMAND [ARGUMENT...]")
    if directory is not None:
        _directory(directory)
    style = arguments.text("style") or "annotated"
    if pid is not None:
        for name in ("limit", "timeout"):
            if arguments.text(name) is not None:
                raise UsageError(f"seclude dump: --{name} is for a command, a live process is only read")
        return _of_process(pid, style, json, directory)
    return _of_command(arguments, style, json, directory)


def _directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UsageError(f"seclude dump: --output {path}: {error.strerror}", "name a directory") from None


def _save(directory: str, name: str, content: bytes) -> None:
    from seclude.cli.output import write_file

    write_file(os.path.join(directory, name), content)


def _emit(data: dict[str, object], json: bool, directory: str | None) -> None:
    if not json and directory is None:
        return
    from json import dumps

    text = dumps(data, indent=2) + "\n"
    if directory is not None:
        _save(directory, "dump.json", text.encode())
    if json:
        sys.stdout.write(text)


def _body(program: Program, style: str, arch: str | None) -> str:
    if style == "none":
        return ""
    if style == "annotated":
        from seclude.analysis.listing import annotated
        from seclude.cli.output import draws

        return annotated(program, arch, ascii_only=not draws())
    from seclude.bpf.disassembler import disassemble, listing

    return listing(program, arch) if style == "plain" else disassemble(program, arch)


def _program_json(program: Program) -> dict[str, object]:
    return {"length": len(program), "byteorder": program.byteorder, "bytes": program.to_bytes().hex()}


def _word(name: str) -> str:
    """A name that a stranger chose, on one line."""
    return printable(name).replace("\n", "\\n")


def _flags(flags: int) -> list[str]:
    from seclude.kernel.seccomp import ALL_FLAGS, flag_names

    unknown = flags & ~ALL_FLAGS
    return flag_names(flags) + ([f"{unknown:#x}"] if unknown else [])


def _amount(programs: Sequence[Program], archs: Iterable[Architecture] = ()) -> tuple[str, dict[str, object] | None]:
    """What filters on top of each other amount to, as text and as data; the text says why where that cannot be told."""
    from seclude.analysis.summary import summary

    try:
        found = summary(programs, archs)
    except SecludeError as error:
        return f"not told: {error.diagnostics[0].message}\n", None
    return found.text(), found.as_json()


# ── a live process ──────────────────────────────────────────────────────────────────────────────────────────────────


def _of_process(word: str, style: str, json: bool, directory: str | None) -> int:
    from seclude.analysis.live import live

    if not (word.isascii() and word.isdigit() and 0 < int(word) < 1 << 31):
        raise UsageError(f"seclude dump: --pid {word!r} is no process id", "a positive number")
    found = live(int(word))
    data = _live_json(found)
    _emit(data, json, directory)
    if directory is not None:
        for member, tids in found.groups():
            for index, program in enumerate(member.filters):
                _save(directory, f"{found.pid}-{tids[0]}-{index}.bpf", program.to_bytes())
    if not json:
        sys.stdout.write(_live_text(found, style))
    return int(not any(one.mode for one in found.threads))


_MODES = {0: "no filter", 1: "strict mode", 3: "killed by its filter"}


def _live_text(found: Live, style: str) -> str:
    lines = [f"process {found.pid} ({_word(found.comm)}), {_word(found.exe) or 'program unknown'}\n"]
    for member, tids in found.groups():
        who = f"thread{'s' if len(tids) > 1 else ''} {', '.join(map(str, tids))}"
        count = len(member.filters)
        what = _MODES.get(member.mode, f"{count} filter{'s' if count != 1 else ''}")
        lines.append(f"{who}: {what}" + (", no_new_privs" if member.no_new_privs else "") + "\n")
        if member.problem:
            lines.append(f"  {member.problem}\n")
        for index, (program, flags) in enumerate(zip(member.filters, member.flags, strict=True)):
            age = "" if count == 1 else " (oldest)" if index == 0 else " (newest)" if index == count - 1 else ""
            named = f", flags {'|'.join(_flags(flags))}" if flags else ""
            lines.append(f"\nfilter {index + 1} of {count}{age}: {_instructions(program)}{named}\n")
            lines.append(_body(program, style, found.arch.name if found.arch else None))
        if member.filters:
            lines.append(
                f"\n{'together, ' if count > 1 else ''}what that amounts to:\n{_amount(member.filters, [found.arch] if found.arch else [])[0]}"
            )
    return "".join(lines)


def _live_json(found: Live) -> dict[str, object]:
    return {
        "schema": "seclude.dump/1",
        "process": {"pid": found.pid, "exe": found.exe, "comm": found.comm, "arch": found.arch.name if found.arch else None},
        "threads": [
            {
                "tids": list(tids), "comm": member.comm, "mode": member.mode, "no_new_privs": member.no_new_privs, "problem": member.problem,
                "filters": [
                    {**_program_json(program), "flags": None if flags is None else _flags(flags)}
                    for program, flags in zip(member.filters, member.flags, strict=True)
                ],
                "amounts_to": _amount(member.filters, [found.arch] if found.arch else [])[1] if member.filters else None,
            }
            for member, tids in found.groups()
        ],
    }  # fmt: skip


# ── a command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_command(arguments: Arguments, style: str, json: bool, directory: str | None) -> int:
    from seclude.analysis.catch import catch

    def show(load: Load) -> None:
        if directory is not None and load.program is not None:
            _save(directory, f"{load.number}.bpf", load.program.to_bytes())
        if not json:
            sys.stdout.write(_load_text(load, style))
            sys.stdout.flush()

    capture = catch(
        arguments.rest,
        limit=_count(arguments.text("limit")),
        timeout=_time(arguments.text("timeout")),
        stdout=2 if json else None,
        found=show,
    )
    _emit(_capture_json(capture), json, directory)
    if not json:
        sys.stdout.write(_capture_text(capture))
    return int(not _real(capture))


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
        raise UsageError(f"seclude dump: --limit {text!r} is no count", "a number from 1 on")
    return int(text)


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    from seclude.sandbox.limits import read_seconds

    return read_seconds(text, "--timeout")


def _instructions(program: Program) -> str:
    return f"{len(program)} instruction{'s' if len(program) != 1 else ''}"


def _outcome(load: Load) -> str:
    from seclude.abi.constants import errno_name

    if load.result is None:
        return "the call never returned: killed in it, or an earlier filter killed or trapped it"
    if load.loaded:
        return "in force" + (f", listener {load.result}" if load.flags & 8 else "")
    if load.result > 0:
        return f"refused: thread {load.result} has other filters"
    return f"refused with {errno_name(-load.result, load.arch) or -load.result}"


def _real(capture: Capture) -> list[Load]:
    """The loads that could have put something in force."""
    return [load for load in capture.loads if load.mode != "probe"]


def _load_text(load: Load, style: str) -> str:
    if load.mode == "probe":
        known = "known" if load.result == -_EFAULT else _outcome(load)
        return f"\nprobe {load.number} by process {load.pid} ({_word(load.comm)}): flags {'|'.join(_flags(load.flags)) or '0'}: {known}\n"
    flags = f" with {'|'.join(_flags(load.flags))}" if load.flags else ""
    call = f"prctl(PR_SET_SECCOMP, {load.mode})" if load.via == "prctl" else f"seccomp(SECCOMP_SET_MODE_{load.mode.upper()}){flags}"
    what = "strict mode" if load.mode == "strict" else f"filter {load.number}"
    size = f", {_instructions(load.program)}" if load.program is not None else ""
    thread = "" if load.tid == load.pid else f", thread {load.tid}"
    lines = [
        f"\n{what}{size}: {_outcome(load)}\n",
        f"  by process {load.pid}{thread} ({_word(load.comm)}), {_word(load.exe) or 'program unknown'}\n",
        f"  {call} on {load.arch.name}, after {load.seconds:.3f} s\n",
    ]
    if load.below:
        lines.append(f"  on top of {', '.join(str(one.number) for one in load.below)}\n")
    if load.problem:
        lines.append(f"  {load.problem}\n")
    if load.program is not None:
        lines.append(_body(load.program, style, load.arch.name))
    return "".join(lines)


_EFAULT = 14
_ENDED = {"limit": "ended by --limit", "timeout": "ended by --timeout", "signal": "ended by a signal to seclude"}


def _ending(capture: Capture) -> str:
    if capture.ended:
        return _ENDED[capture.ended]
    status = capture.status
    if status is None:
        return "its end was not seen"
    return f"ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"


def _stacks(capture: Capture) -> list[tuple[list[list[int]], str, dict[str, object] | None]]:
    """Stacks of the same programs together: the numbers of the loads in each, and what they amount to as text and as data."""
    alike: dict[tuple[Program, ...], list[list[int]]] = {}
    archs: dict[tuple[Program, ...], list[Architecture]] = {}
    for stack in capture.stacks:
        programs = tuple(one.program for one in stack if one.program is not None)
        if programs:
            alike.setdefault(programs, []).append([one.number for one in stack])
            archs.setdefault(programs, []).extend(one.arch for one in stack)
    return [(sorted(numbers), *_amount(programs, archs[programs])) for programs, numbers in alike.items()]


def _capture_text(capture: Capture) -> str:
    count = len(_real(capture))
    seen = f"{count} seen" if count else "no filter was installed"
    lines = [
        f"\nthe command: {_ending(capture)}; {seen}\n" if capture.loads else f"no filter was installed; the command: {_ending(capture)}\n"
    ]
    if capture.inherited:
        lines.append(f"{capture.inherited} more were in force before it started, and are not shown\n")
    for numbers, amount, _ in _stacks(capture):
        together = " and alike ".join(", ".join(map(str, stack)) for stack in numbers[:8])
        several = len(numbers[0]) > 1 or len(numbers) > 1
        more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
        lines.append(
            f"\nfilter{'s' if several else ''} {together}{more}{' together' if len(numbers[0]) > 1 else ''}, what that amounts to:\n"
        )
        lines.append(amount)
    return "".join(lines)


def _capture_json(capture: Capture) -> dict[str, object]:
    status = capture.status
    return {
        "schema": "seclude.dump/1",
        "loads": [
            {
                "number": one.number, "mode": one.mode, "via": one.via, "arch": one.arch.name, "flags": _flags(one.flags),
                "pid": one.pid, "tid": one.tid, "comm": one.comm, "exe": one.exe, "ip": one.ip, "seconds": round(one.seconds, 6),
                "result": one.result, "in_force": one.loaded, "confirmed": one.confirmed, "problem": one.problem,
                "below": [below.number for below in one.below],
                "program": None if one.program is None else _program_json(one.program),
            }
            for one in capture.loads
        ],
        "inherited": capture.inherited,
        "ended": capture.ended or "itself",
        "exit_status": os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None,
"stacks": [{"loads": stack, "amounts_to": data} for numbers, _, data in _stacks(capture) for stack in numbers],
    }  # fmt: skip
