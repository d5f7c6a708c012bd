"""``seclude lint``: what a filter lets through that it should not, each with a call that shows it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from seclude.analysis.lint import lint, severity_number, unloadable
from seclude.analysis.lint_formats import FORMATS, as_github, as_json, as_sarif, as_text, dumped
from seclude.analysis.lint_rules import PROFILES, RULES, SEVERITIES
from seclude.cli.options import Command, Option
from seclude.cli.sources import INPUTS, READ_OPTIONS, read_sources, say_notes
from seclude.errors import FilterError, UsageError

if TYPE_CHECKING:
    from seclude.analysis.lint import Report
    from seclude.bpf import Program
    from seclude.cli.options import Arguments
    from seclude.cli.sources import Source

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "lint",
    "lint X... [options]",
    "Judge policies and filters: what gets through that should not, what breaks programs, what the kernel makes of it; each with one call that shows it.",
    (
        *READ_OPTIONS,
        Option("--profile-of", "USE", "what the filter is for, which makes some findings weigh more or less", choices=tuple(PROFILES)),
        Option("--format", "FORM", "how findings are written", default="text", choices=FORMATS),
        Option("--json", "", "the same as --format json"),
        Option("--fail-on", "SEVERITY", "exit with 1 for findings from this severity on", default="low", choices=SEVERITIES),
        Option("--rule", "ID", "ask this rule only", many=True),
        Option("--stack", "", "the inputs are one stack of filters, the oldest first: judge what they amount to"),
        Option("--fix", "", "apply the safe fixes to policy files, and show what changed"),
        Option("--quiet, -q", "", "text: findings and witnesses only, no reasons"),
        Option("--rules", "", "list the rules and exit"),
    ),
    epilog=f"""
X is {INPUTS}; what a file is, is seen from its content.

A finding that is meant is suppressed in the policy's text, with the reason:
  # lint: ignore L29, L30(mknodat): this container builds software
On a line of its own it holds for the whole file, behind a rule for that line.

exit codes: 0 nothing at or above --fail-on, 1 findings there, 125 an input that cannot be read, or usage
""",
)


def main(arguments: Arguments) -> int:
    """Judge the inputs and print what was found; the exit code."""
    if arguments.flag("rules"):
        width = max(len(one.name) for one in RULES.values())
        sys.stdout.write("".join(f"{one.id}  {SEVERITIES[one.severity]:8}  {one.name:{width}}  {one.question}\n" for one in RULES.values()))
        return 0
    form = "json" if arguments.flag("json") else arguments.text("format") or "text"
    fail_on = arguments.text("fail_on") or "low"
    least = severity_number(fail_on)
    if not arguments.rest:
        raise UsageError("seclude lint: name what to judge: a policy, a preset, or a filter", "see: seclude lint --help")
    refused = _refused(arguments)
    sources = read_sources(arguments, 0, len(arguments.rest))
    say_notes(sources)
    if arguments.flag("fix"):
        return _fix(arguments, sources, form)
    judged = refused + (_judged(arguments, sources) if sources else [])
    failed = any(report.worst() >= least for _, report in judged)
    match form:
        case "json":
            found = [
                as_json(name, report, profile=arguments.text("profile_of") or "", fail_on=fail_on, failed=report.worst() >= least)
                for name, report in judged
            ]
            sys.stdout.write(dumped(found[0] if len(found) == 1 else found))
        case "sarif":
            sys.stdout.write(dumped(as_sarif(judged)))
        case "github":
            sys.stdout.write("".join(as_github(name, report) for name, report in judged))
        case _:
            sys.stdout.write("\n".join(as_text(name, report, quiet=arguments.flag("quiet")) for name, report in judged))
    return int(failed)


def _refused(arguments: Arguments) -> list[tuple[str, Report]]:
    """The inputs that are filters which the kernel would refuse, each with that as its findings; they are taken from the arguments."""
    from seclude.analysis.source import read_source

    if arguments.all("from") or arguments.flag("stack") or arguments.flag("fix"):
        return []
    out = []
    for name in [name for name in arguments.rest if name != "-" and not name.startswith("pid:")]:
        try:
            read_sources(_only(arguments, name), 1)
        except FilterError:
            try:
                program = read_source(name, arch=arguments.text("arch"), byteorder=arguments.text("byteorder")).program
            except FilterError:
                continue  # no filter at all: its own reader says so
            report = unloadable([program])
            if report.findings:
                out.append((name, report))
                arguments.rest.remove(name)
    return out


def _only(arguments: Arguments, name: str) -> Arguments:
    one = type(arguments)()
    one.values, one.ordered, one.rest = arguments.values, arguments.ordered, [name]
    return one


def _judged(arguments: Arguments, sources: list[Source]) -> list[tuple[str, Report]]:
    from seclude import abi

    named = arguments.text("arch")
    home = abi.arch(named) if named else None
    profile = arguments.text("profile_of") or ""
    rules = tuple(arguments.all("rule"))
    if arguments.flag("stack"):
        from seclude.decision import stack

        together = stack(*(source.decision for source in sources))
        programs = [program for source in sources for program in _programs(source)]
        return [(" + ".join(source.name for source in sources), lint(together, programs, home=home, profile=profile, rules=rules))]
    return [
        (
            source.name,
            lint(
                source.decision,
                _programs(source),
                policy=source.policy,
                home=home,
                profile=profile,
                rules=rules,
            ),
        )
        for source in sources
    ]


def _programs(source: Source) -> list[Program]:
    return list(source.programs) or ([source.program] if source.program is not None else [])


def _fix(arguments: Arguments, sources: list[Source], form: str) -> int:
    from seclude.analysis.lint_fix import fixed
    from seclude.errors import printable

    if form != "text":
        raise UsageError("seclude lint: --fix shows a diff: it takes no --format")
    for source in sources:
        if source.policy is None or not source.policy.sources or source.name != source.policy.file:
            raise UsageError(f"seclude lint: {source.name} is no policy file, and only policy files can be mended")
    left = 0
    least = severity_number(arguments.text("fail_on") or "low")
    for source in sources:
        assert source.policy is not None
        outcome = fixed(source.policy, profile=arguments.text("profile_of") or "")
        if outcome.text != source.policy.sources[0][1]:
            from seclude.cli.output import write_file

            write_file(source.name, outcome.text.encode())
            sys.stdout.write(printable(outcome.diff(source.name)))
        sys.stdout.write(as_text(source.name, outcome.report, quiet=arguments.flag("quiet")))
        left |= outcome.report.worst() >= least
    return int(left)
