"""``seclude simulate``: the story of one call, as the kernel would make it, without a kernel."""

from __future__ import annotations

import sys

from seclude.cli.options import Command, Option, given_number
from seclude.cli.sources import INPUTS, read_sources, say_notes
from seclude.errors import UsageError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.abi import Architecture
    from seclude.bpf import Program
    from seclude.cli.options import Arguments
    from seclude.cli.sources import Source
    from seclude.decision.asked import Call
    from seclude.model.simulate import Simulation

__all__ = ["COMMAND", "main", "programs_of"]

COMMAND = Command(
    "simulate",
    "simulate POLICY CALL [ARGUMENT...] [--kernel VERSION] [--stack FILE...]",
    "Tell the story of one call as the kernel would make it: entry, bitmap, each filter, which decides, the effect, the log record.",
    (
        Option("--stack, -s", "FILE...", "other filters, loaded on top of POLICY in this order", many=True, list_after=2),
        Option("--kernel, -k", "VERSION", "the kernel's version, 5.0 to 6.18", default="6.18"),
        Option("--arch, -a", "ARCH", "the call's architecture (default: this machine's)"),
        Option("--ip", "ADDRESS", "where the call is made from", default="0x401000"),
        Option("--tracer", "WHAT", "a tracer that asked for seccomp stops, and what it does: continue, skip=VALUE, call=NAME, kill, gone"),
        Option("--supervisor", "WHAT", "a listener, and its answer: continue, errno=NAME, value=NUMBER, closed, silent"),
        Option(
            "--sigsys",
            "STATE",
            "what the program does with SIGSYS",
            default="default",
            choices=("default", "handler", "ignored", "blocked"),
        ),
        Option("--threads", "N", "how many threads the program has", default="1"),
        Option("--log", "", "the filters are loaded with FILTER_FLAG_LOG"),
        Option(
            "--json", "", "print a JSON object: {schema: seclude.simulate/1, call, kernel, cached, filters, winner, effect, value, log ...}"
        ),
        Option("--from", "KIND", "what the inputs are, instead of what their content says", many=True),
        Option("--byteorder", "ORDER", "the byte order of raw filters", choices=("little", "big")),
        Option("--runtime", "NAME", "whose meaning an OCI profile has", default="runc", choices=("runc", "crun")),
    ),
    epilog=f"""
POLICY, FILE: {INPUTS}.
CALL and its ARGUMENTs are written as for 'seclude emu'.
After them --stack takes every word up to the next option; before them, one.

Nothing is loaded and nothing runs: the kernel is a model, on any operating system. --tracer skip=EPERM makes the call return -EPERM.

exit codes: 0 told, 125 an input that cannot be read, a filter that this kernel would refuse, or usage
""",
    negatives=True,
)


def main(arguments: Arguments) -> int:
    """Simulate and tell; the exit code."""
    from seclude.abi import arch as find
    from seclude.abi import native
    from seclude.decision.asked import read_call
    from seclude.model.simulate import simulate

    if len(arguments.rest) < 2:
        raise UsageError("seclude simulate: a policy and a call are needed", f"usage: seclude {COMMAND.usage}")
    policy, name, *values = arguments.rest
    wanted = arguments.text("arch")
    arch = find(wanted) if wanted is not None else native()
    arguments.rest = [policy, *arguments.all("stack")]
    # An architecture names the call's; policies mean by "native" the machine on which that call is made.
    arguments.values["arch"] = [_machine(arch).name]
    sources = read_sources(arguments, 1, 32768)
    say_notes(sources)
    call = read_call(arch, name, values)
    done = simulate(
        [(source.name, program) for source in sources for program in programs_of(source)],
        call.nr, arch, call.args,
        ip=given_number(arguments, "simulate", "ip", 1 << 64), version=arguments.text("kernel") or "6.18", tracer=arguments.text("tracer") or "",
        supervisor=arguments.text("supervisor") or "", sigsys=arguments.text("sigsys") or "default", threads=given_number(arguments, "simulate", "threads", 1000, least=1),
        log=arguments.flag("log"),
    )  # fmt: skip
    names = [source.name for source in sources for _ in programs_of(source)]
    sys.stdout.write(_as_json(call, done, names) if arguments.flag("json") else printable(text(call, done, names)))
    return 0


def _machine(arch: Architecture) -> Architecture:
    from seclude.model.simulate import machine_of

    return machine_of(arch)


def programs_of(source: Source) -> tuple[Program, ...]:
    """The programs that are loaded for an input: its own, or the one that its policy compiles to."""
    if source.programs:
        return source.programs
    if source.program is not None:
        return (source.program,)
    from seclude.compiler import compile as build
    from seclude.compiler import compile_decision

    if source.policy is not None:
        return (build(source.policy).program,)
    return (compile_decision(source.decision, source.byteorder),)


def text(call: Call, done: Simulation, names: list[str]) -> str:
    """The story, one line a step."""
    from seclude.bpf.names import action_text

    made = done.call
    out = [f"{call.text} on {call.arch.name}, number {call.nr if call.nr < 0x40000000 else hex(call.nr)}, Linux {done.kernel.version}", ""]

    def say(what: str, line: str) -> None:
        out.append(f"  {what:<10}{line}")

    for step, evaluation in enumerate(made.evaluations):
        if step and not evaluation.recheck:
            say("again", "the call is restarted")
        elif evaluation.recheck:
            say("again", f"the tracer let it go on as {done.kernel.call_text(made)}: the filters judge it anew")
        if evaluation.cached:
            say("bitmap", "every filter always allows this call: none is run")
            continue
        say(
            "bitmap",
            "not in it: the filters run, the newest first" if done.kernel.version.has("cache") else f"Linux {done.kernel.version} has none",
        )
        for judge, value in evaluation.results:
            say(f"filter {judge.number}", f"{action_text(value, call.arch)}  ({names[judge.number - 1]})")
        if len(evaluation.results) > 1:
            winner = f"filter {evaluation.match.number}" if evaluation.match is not None else "all of them"
            say("decides", f"{winner}: {action_text(evaluation.value, call.arch)}")
    for line in done.story:
        if any(word in line for word in ("notification", "tracer", "stops", "is sent", "listener")):
            say("", line)
    say("effect", done.effect)
    say("log", str(made.log[-1]) if made.log else "nothing is written")
    return "\n".join(out) + "\n"


def _as_json(call: Call, done: Simulation, names: list[str]) -> str:
    import json

    from seclude.bpf.names import action_text

    made = done.call
    last = made.evaluations[-1] if made.evaluations else None
    task = made.task
    return (
        json.dumps(
            {
                "schema": "seclude.simulate/1",
                "call": {"arch": call.arch.name, "name": call.name, "nr": call.nr, "args": list(call.args), "text": call.text},
                "kernel": str(done.kernel.version),
                "cached": made.cached,
                "evaluations": [
                    {
                        "recheck": one.recheck, "cached": one.cached, "value": one.value, "action": action_text(one.value, call.arch),
                        "winner": None if one.match is None else one.match.number,
                        "filters": [
                            {"filter": judge.number, "name": names[judge.number - 1], "value": value, "action": action_text(value, call.arch)}
                            for judge, value in one.results
                        ],
                    }
                    for one in made.evaluations
                ],
                "action": None if last is None else action_text(last.value, call.arch),
                "effect": done.effect,
                "state": made.state,
                "made": made.ran,
                "value": made.value,
                "signals": [info._asdict() for info in made.signals],
                "thread_ended": task.exited,
                "process_ended": task.process.zombie,
                "log": [record._asdict() for record in made.log],
                "story": list(done.story),
            },
            indent=2,
        )
        + "\n"
    )  # fmt: skip
