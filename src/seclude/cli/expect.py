"""``seclude expect``: a policy's unit tests."""

from __future__ import annotations

import sys

from seclude.cli.options import Command, Option
from seclude.errors import InputError, UsageError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.bpf import Program
    from seclude.cli.options import Arguments
    from seclude.model.expectations import ExpectationFile, Outcome

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "expect",
    "expect FILE.toml... [--policy POLICY] [--live]",
    "Check what a policy does with calls against files of expectations, on a model of the kernel, and with --live on the kernel itself.",
    (
        Option("--policy, -p", "POLICY", "what to check, in place of what the files name: a policy, a preset, a filter, an OCI profile"),
        Option("--kernel, -k", "VERSION", "the modelled kernel's version, 5.0 to 6.18 (default: the file's, or 6.18)"),
        Option("--live", "", "also ask the running kernel, in children that never get as far as making the call; it must agree"),
        Option("--quiet, -q", "", "print what is not met only"),
        Option("--json", "", "print a JSON object: {schema: seclude.expect/1, met, failed, expectations: [...]}"),
    ),
    epilog="""
A file:
    policy = "editor.seclude"         # a file beside this one, or a preset's name
    arch = ["x86_64"]                 # default: this machine's

    [[expect]]
    call = "socket"
    args = { domain = "AF_VSOCK" }    # or a list: ["AF_VSOCK", "SOCK_STREAM", 0]
    action = "errno(EPERM)"           # allow, log, errno, errno(E), trap(n), trace(n), notify,
    why = "no way to the host"        # kill_thread, kill_process; or permit, deny, kill, undecided

exit codes: 0 everything as expected, 1 something is not, 125 an input that cannot be read, or usage
""",
)


def main(arguments: Arguments) -> int:
    """Check; the exit code."""
    from seclude.model.expectations import read_expectations

    if not arguments.rest:
        raise UsageError("seclude expect: name a file of expectations", f"usage: seclude {COMMAND.usage}")
    everything: list[tuple[ExpectationFile, Outcome, str]] = []
    for name in arguments.rest:
        file = read_expectations(_text(name), name)
        policy = arguments.text("policy") or file.policy
        if not policy:
            raise UsageError(f"{name}: it names no policy", 'write policy = "FILE" at its top, or give --policy')
        everything += _checked(file, policy, arguments.text("kernel") or file.kernel, live=arguments.flag("live"))
    failed = [one for one in everything if not one[1].met or one[2]]
    if arguments.flag("json"):
        _as_json(everything)
        return 1 if failed else 0
    for _, outcome, disagreement in everything if not arguments.flag("quiet") else failed:
        _say(outcome, disagreement)
    total, bad = len(everything), len(failed)
    where = "the model and the running kernel" if arguments.flag("live") else "the model"
    sys.stdout.write(f"{total - bad} of {total} as expected, asked of {where}\n")
    return 1 if failed else 0


def _text(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.read()
        with open(name, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not text: byte {error.start} is not UTF-8") from None


def _checked(file: ExpectationFile, policy: str, version: str, *, live: bool) -> list[tuple[ExpectationFile, Outcome, str]]:
    """Each expectation with what the model says, and where the running kernel says otherwise, that."""
    from seclude.model.expectations import judge

    out = []
    for machine in dict.fromkeys(_machine(one.call.arch) for one in file.expected):
        programs = _programs(policy, machine)
        from seclude.abi import arch as find_arch
        from seclude.model.questions import Expectations

        mine = file._replace(expected=tuple(one for one in file.expected if _machine(one.call.arch) == machine))
        judged = judge(mine, Expectations(programs, find_arch(machine), version))
        out += [(mine, outcome, _live(programs, outcome) if live else "") for outcome in judged]
    return out


def _machine(arch: object) -> str:
    from seclude.abi import Architecture
    from seclude.model.simulate import machine_of

    assert isinstance(arch, Architecture)
    return machine_of(arch).name


def _programs(policy: str, machine: str) -> list[tuple[str, Program]]:
    from seclude.cli.options import Arguments
    from seclude.cli.simulate import programs_of
    from seclude.cli.sources import read_sources

    asked = Arguments()
    asked.rest = [policy]
    asked.values = {"arch": [machine], "runtime": ["runc"]}
    return [(source.name, program) for source in read_sources(asked, 1) for program in programs_of(source)]


def _live(programs: list[tuple[str, Program]], outcome: Outcome) -> str:
    """What the running kernel does where it is not what the model says; "" where they agree."""
    from seclude.sandbox.probe import observable, probe

    call = outcome.expected.call
    predicted = observable(outcome.value)
    seen = probe([program.to_bytes() for _, program in programs], call.arch, call.nr, call.args)
    return "" if seen == predicted else f"the running kernel: {seen}; the model: {predicted}"


def _say(outcome: Outcome, disagreement: str) -> None:
    expected = outcome.expected
    call = f"{expected.call.text} on {expected.call.arch.name}"
    if outcome.met and not disagreement:
        line = f"ok    {call}: {outcome.action}"
    elif not outcome.met:
        because = f"\n      {expected.why}" if expected.why else ""
        line = f"FAIL  {expected.span}: {call}: {outcome.action}, expected {expected.wanted.text}{because}"
    else:
        line = f"FAIL  {expected.span}: {call}: {disagreement}"
    sys.stdout.write(printable(line) + "\n")


def _as_json(everything: list[tuple[ExpectationFile, Outcome, str]]) -> None:
    import json

    rows = [
        {
            "file": file.name, "line": outcome.expected.span.line, "call": outcome.expected.call.text, "arch": outcome.expected.call.arch.name,
            "expected": outcome.expected.wanted.text, "action": outcome.action, "value": outcome.value, "met": outcome.met,
            "disagreement": disagreement or None, "why": outcome.expected.why or None,
        }
        for file, outcome, disagreement in everything
    ]  # fmt: skip
    met = sum(row["met"] is True and row["disagreement"] is None for row in rows)
    sys.stdout.write(
        json.dumps({"schema": "seclude.expect/1", "met": met, "failed": len(rows) - met, "expectations": rows}, indent=2) + "\n"
    )
