"""``seclude judge``: a submission on an input, or on a directory of cases, and the verdict."""

from __future__ import annotations

import os
import sys

from seclude.cli.options import CHDIR, NO_PTRACE, Command, Option, given_limits, given_policy, given_variables, limit_options, policy_option
from seclude.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.cli.options import Arguments
    from seclude.sandbox.judge import Judge

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "judge",
    "judge [options] [--] COMMAND [ARGUMENT...]",
    "Run COMMAND on an input under a policy and limits, compare what it writes with what is expected, and give the verdict: "
    "accepted, wrong answer, time limit, memory limit, output limit, runtime error, or disallowed call.",
    (
        Option("--stdin, -i", "FILE", "what it reads; nothing unless told"),
        Option("--expect, -e", "FILE", "what it should write; unless told, only how it ends counts"),
        Option("--cases", "DIR", "judge it on every pair NAME.in and NAME.out (or NAME.ans) of a directory"),
        Option("--jobs, -j", "N", "so many cases at once; as many as there are processors unless told"),
        Option("--stop", "", "after the first case that is not accepted, run no others"),
        Option("--compare", "MODE", "exact, lines (blanks at line ends do not count), tokens (words), or float:EPS", default="lines"),
        Option("--no-hints", "", "show nothing of what was expected"),
        *limit_options({"cpu": "2s", "memory": "256M", "output": "16M"}, wall="; three times --cpu and a second unless told"),
        policy_option("judge"),
        Option("--allow", "RULE", "allow this first", many=True),
        Option("--deny", "RULE", "deny this first, with EPERM", many=True),
        Option("--read", "PATH", "it may also open this file, or what is beneath this directory, for reading", many=True),
        Option("--write", "PATH", "and this for writing, as far as the policy permits it", many=True),
        Option("--env", "NAME[=VALUE]", "set a variable, or pass it on; else the environment is PATH, LANG, HOME and TMPDIR", many=True),
        CHDIR,
        NO_PTRACE,
        Option("--json", "", "print one JSON object"),
        Option("--verbose, -v", "", "say what enforced each limit, and every denied call"),
    ),
    epilog="""Exit codes: 0 accepted (every case), 1 any other verdict, 125 Seclude's own failure, or a COMMAND that cannot be executed.""",
    stops=True,
)


def main(arguments: Arguments) -> int:
    """Judge. Raises `SecludeError`."""
    if not arguments.rest:
        raise UsageError("seclude judge: no command given", "usage: seclude judge [options] [--] COMMAND [ARGUMENT...]")
    directory = arguments.text("cases")
    if directory is not None and (arguments.text("stdin") is not None or arguments.text("expect") is not None):
        raise UsageError("seclude judge: --cases and --stdin or --expect contradict each other", "give a directory or two files")
    if directory is None and (arguments.flag("stop") or arguments.text("jobs") is not None):
        raise UsageError("seclude judge: --stop and --jobs are for --cases")
    from seclude.sandbox.judge import Judge

    with Judge(
        policy=given_policy(arguments, "judge"),
        rules=[(name, value) for name, value in arguments.ordered if name in ("allow", "deny")],
        compare=arguments.text("compare") or "lines",
        env=given_variables(arguments, "judge"),
        cwd=arguments.text("chdir"),
        read=arguments.all("read"),
        write=arguments.all("write"),
        jobs=_jobs(arguments),
        ptrace=not arguments.flag("no_ptrace"),
        **given_limits(arguments),
    ) as judge:
        return _single(judge, arguments) if directory is None else _batch(judge, arguments, directory)


def _single(judge: Judge, arguments: Arguments) -> int:
    from seclude.sandbox import judge_report

    hints = not arguments.flag("no_hints")
    judged = judge.judge(arguments.rest, stdin=arguments.text("stdin") or b"", expect=arguments.text("expect"))
    if arguments.flag("json"):
        sys.stdout.write(judge_report.to_json(judge, arguments.rest, judged, hints=hints))
    else:
        sys.stdout.write(judge_report.to_text(judged, hints=hints, colour=_colour(), verbose=arguments.flag("verbose")))
        sys.stderr.write(judge_report.notes_of([judged]))
    return 0 if judged.accepted else 1


def _batch(judge: Judge, arguments: Arguments, directory: str) -> int:
    from seclude.sandbox import judge_report
    from seclude.sandbox.judge_cases import find_cases

    hints = not arguments.flag("no_hints")
    found = find_cases(directory)
    judged = []
    for one in judge.once(arguments.rest, found, stop=arguments.flag("stop")):
        one.stdout = one.stderr = b""  # compared by now, and as large as the limit permits
        judged.append(one)
    if arguments.flag("json"):
        sys.stdout.write(judge_report.cases_to_json(judge, arguments.rest, judged, len(found), hints=hints))
    else:
        text = judge_report.cases_to_text(judged, len(found), hints=hints, colour=_colour(), verbose=arguments.flag("verbose"))
        sys.stdout.write(text)
        sys.stderr.write(judge_report.notes_of(judged))
    return 0 if all(one.accepted for one in judged) else 1


def _colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _jobs(arguments: Arguments) -> int | None:
    text = arguments.text("jobs")
    if text is None:
        return None
    from seclude.sandbox.limits import read_count

    return read_count(text, "seclude judge: --jobs")
