"""``seclude run``: a program under a policy, and afterwards why each denied call was denied."""

from __future__ import annotations

import os
import sys

from seclude.cli.options import CHDIR, NO_PTRACE, Command, Option, given_limits, given_policy, given_variables, limit_options, policy_option
from seclude.errors import UsageError
from seclude.kernel.signals import csignal
from seclude.sandbox.engine import execute
from seclude.sandbox.limits import Limits
from seclude.sandbox.prepare import prepare
from seclude.sandbox.result import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from seclude.cli.options import Arguments
    from seclude.sandbox.result import Result

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "run",
    "run [options] [--] COMMAND [ARGUMENT...]",
    "Run COMMAND under a policy. At its end, every call that was denied is named on stderr: its arguments, the rule, and what would allow it.",
    (
        policy_option("container"),
        Option("--allow", "RULE", "allow this first, such as 'socket(domain == AF_INET)'", many=True),
        Option("--deny", "RULE", "deny this first, with EPERM", many=True),
        Option("--notify", "RULE", "leave this to handlers first", many=True),
        *limit_options({}, wall=", with exit code 124"),
        Option("--env", "NAME[=VALUE]", "set a variable, or keep it under --clear-env", many=True),
        Option("--clear-env", "", "start from an empty environment"),
        CHDIR,
        Option("--read", "PATH", "let it read this file, what is in this directory, or what a glob matches, and no other files", many=True),
        Option("--write", "PATH", "let it write there too", many=True),
        Option("--hide", "PATH", "make it as if this did not exist, whatever else is granted", many=True),
        Option("--no-runtime", "", "with --read or --write: not even programs, libraries and /dev/null"),
        Option("--connect", "ADDRESS", "let it connect and send there, and nowhere else: HOST:PORT, NETWORK[:PORT], unix:PATH", many=True),
        Option("--bind", "ADDRESS", "let it bind and listen there, and nowhere else: [HOST:]PORT, unix:PATH", many=True),
        Option("--exec", "FILE", "let it execute this program, and none that is not named so, but for the command itself", many=True),
        Option("--handler", "MODULE:FUNCTION", "let this handler decide calls that the policy notifies or traces", many=True),
        Option("--engine", "NAME", "how handlers are told of calls", choices=("auto", "notify", "ptrace")),
        Option("--trace", "CALLS", "print these calls as they happen: openat,@network-io, %file, all, or '!futex'"),
        Option("--trace-file", "FILE", "print them there instead of on stderr ('-' is stdout)"),
        Option("--trace-failed", "", "print only calls that fail"),
        Option("--trace-count", "", "print a table of calls, times and errors at the end instead"),
        Option("--trace-size", "N", "bytes of a buffer that are shown", default="32"),
        Option("--ask", "", "ask about each call that the policy does not decide, at this terminal"),
        Option("--ask-via", "SOCKET|TTY", "ask there: at another terminal, or whoever runs 'seclude answer SOCKET'"),
        Option("--ask-save", "FILE", "keep what is always allowed or denied in this policy file"),
        Option("--ask-timeout", "TIME", "deny what nobody answers within this time", default="60s"),
        Option("--log", "FILE", "add every decision to this file, one JSON object a line"),
        Option("--log-size", "SIZE", "rotate the log when it grows beyond this, 16M unless told"),
        Option("--log-keep", "N", "rotated logs that are kept, 5 unless told"),
        Option("--where", "", "say of each denied call where in the program it was made"),
        Option("--report", "FORM", "how denials are told", default="text", choices=("text", "json", "none")),
        Option("--report-file", "FILE", "write the report there instead of stderr ('-' is stdout)"),
        Option("--no-report", "", "load the plain filter: errno answers are not seen, kills are"),
        NO_PTRACE,
        Option("--allow-weaker", "ACTION=SUBSTITUTE", "where the kernel lacks ACTION, such as kill_process=trap", many=True),
        Option("--verbose, -v", "", "say what was put in force, and what the run used"),
    ),
    epilog="""Exit codes: the command's own; 128 + N if signal N ended it; 124 ended by --wall; 125 Seclude's own failure (usage,
policy, kernel); 126 the command cannot be executed; 127 it is not found.

Rules given by --allow, --deny and --notify are tried before the policy's, in the order given.""",
    stops=True,
    elsewhere=(
        ("-e", "--trace"),
        ("-f", "--trace"),
        ("-c", "--trace-count"),
        ("-o", "--trace-file"),
        ("-Z", "--trace-failed"),
        ("-s", "--trace-size"),
        ("-k", "--where"),
    ),
)


def main(arguments: Arguments) -> int:
    """Run the command. Raises `SecludeError`."""
    if not arguments.rest:
        raise UsageError("seclude run: no command given", "usage: seclude run [options] [--] COMMAND [ARGUMENT...]")
    verbose = arguments.flag("verbose")
    form = arguments.text("report") or "text"
    if form == "none" and arguments.text("report_file") is not None:
        raise UsageError("seclude run: --report none and --report-file contradict each other", "leave out one of them")
    rules = [(name, value) for name, value in arguments.ordered if name in ("allow", "deny", "notify")]
    supervision = _supervision(arguments)
    if supervision:
        from seclude.sandbox import options

        rules = options.rules(rules, supervision, report=not arguments.flag("no_report"))
    artifact = prepare(given_policy(arguments, "run"), rules=rules)
    chdir = arguments.text("chdir")
    job = Job(
        [os.fsencode(word) for word in arguments.rest],
        _environment(arguments),
        artifact,
        Limits.read(given_limits(arguments)),
        cwd=None if chdir is None else os.fsencode(chdir),
        report=not arguments.flag("no_report"),
        ptrace=not arguments.flag("no_ptrace"),
        weaker=_weaker(arguments),
        supervision=supervision,
    )
    file = arguments.text("report_file")
    destination = _destination(file)
    result = execute(job, loaded=_tell if verbose else None)
    if result.denials and form != "none":
        from seclude.sandbox.explain import explain

        explain(result.denials, artifact)
    text = _report(result, job, form, verbose, destination)
    if file is not None and destination > 2:
        destination, text = _own(destination, file, text)
    _write(destination, text)
    return result.code


def _tell(line: str) -> None:
    sys.stderr.write(f"seclude: {line}\n")
    sys.stderr.flush()


def _added_by_python(name: bytes) -> bool:
    """Whether the interpreter set the variable itself: in the C locale it sets LC_CTYPE (PEP 538), which is none of the target's."""
    try:
        with open("/proc/self/environ", "rb", buffering=0) as file:
            given = file.read(1 << 22)
    except OSError:
        return False
    return not any(entry.startswith(name + b"=") for entry in given.split(b"\0"))


def _environment(arguments: Arguments) -> list[bytes]:
    environment = {} if arguments.flag("clear_env") else dict(os.environb)
    if _added_by_python(b"LC_CTYPE"):
        environment.pop(b"LC_CTYPE", None)
    environment |= {os.fsencode(name): os.fsencode(value) for name, value in given_variables(arguments, "run").items()}
    return [name + b"=" + value for name, value in environment.items()]


def _weaker(arguments: Arguments) -> dict[str, str]:
    out = {}
    for word in arguments.all("allow_weaker"):
        name, equals, substitute = word.partition("=")
        if not equals:
            raise UsageError(f"seclude run: --allow-weaker {word!r} names no substitute", "write --allow-weaker kill_process=trap")
        out[name] = substitute
    return out


def _supervision(arguments: Arguments) -> dict[str, Any]:
    """What is decided while the run happens; empty for most runs, which import nothing for it."""
    out: dict[str, Any] = {}
    granted = {name: arguments.all(name) for name in ("connect", "bind", "exec", "read", "write", "hide") if arguments.all(name)}
    if granted:
        from seclude.sandbox import options

        programs = granted.pop("exec", None)
        out = options.asked(**granted, programs=programs, runtime=not arguments.flag("no_runtime"))
    if arguments.flag("no_runtime") and "runtime" not in out:
        raise UsageError("seclude run: --no-runtime without --read or --write closes nothing", "name what it may read")
    if arguments.all("handler"):
        out["handlers"] = arguments.all("handler")
        from seclude.sandbox.supervision import choose_engine

        # Known before the policy is compiled, since the filter differs.
        out["engine"] = choose_engine(out["handlers"], arguments.text("engine") or "auto")
    elif arguments.text("engine") is not None:
        raise UsageError("seclude run: --engine without --handler has nothing to run", "name a handler, or leave it out")
    if arguments.flag("ask") or arguments.text("ask_via") is not None:
        from seclude.sandbox.ask import timeout_of

        out["ask"] = {
            "via": arguments.text("ask_via") or "", "save": arguments.text("ask_save"), "timeout": timeout_of(arguments.text("ask_timeout")),
        }  # fmt: skip
    elif arguments.text("ask_save") is not None:
        raise UsageError("seclude run: --ask-save says where answers are kept, but nobody is asked", "add --ask, or --ask-via SOCKET")
    elif any(name == "ask_timeout" for name, _ in arguments.ordered):
        raise UsageError(
            "seclude run: --ask-timeout says how long an answer may take, but nobody is asked", "add --ask, or --ask-via SOCKET"
        )
    watch = _watch(arguments)
    if watch:
        out["watch"] = watch
    return out


def _watch(arguments: Arguments) -> dict[str, Any]:
    """What is shown while the run happens."""
    options: dict[str, Any] = {name: arguments.text(name) for name in ("trace_file", "log", "log_size", "log_keep")}
    options |= {name: True for name in ("trace_failed", "trace_count", "where") if arguments.flag(name)}
    out = {name: value for name, value in options.items() if value is not None}
    for name in ("trace_file", "log"):
        if out.get(name) == "":
            raise UsageError(f"seclude run: --{name.replace('_', '-')} '' names no file")
    if out.get("log") == "-":
        raise UsageError(
            "seclude run: --log -: a log is a file, which is rotated and its owner's alone, not a stream",
            "name a file; one called - is ./-",
        )
    trace = arguments.text("trace")
    if trace is not None:
        out["trace"], out["trace_size"] = trace, arguments.text("trace_size")
    if "log" not in out and ("log_size" in out or "log_keep" in out):
        raise UsageError("seclude run: --log-size and --log-keep without --log", "name the file: --log decisions.jsonl")
    if trace is None and any(name.startswith("trace_") for name in out):
        raise UsageError(
            "seclude run: --trace-file, --trace-failed and --trace-count say how, but not what",
            "name calls: --trace openat, or --trace all",
        )
    return out


def _destination(name: str | None) -> int:
    if name is None:
        return 2
    if name == "-":
        return 1
    for stream in (2, 1):
        if _same(name, stream):
            return stream  # /dev/stderr, or the log that a shell opened: not to be cut short
    try:
        # Before the run: a report that cannot be written is better known now.
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"seclude run: --report-file {name}: {error.strerror}", "name a file that you can write") from None


def _same(name: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(name), os.fstat(descriptor))
    except OSError:
        return False


def _own(descriptor: int, name: str, text: str) -> tuple[int, str]:
    """Where the report goes, and what: a target that could write the file must not have the last word in it, nor put another in its place."""
    if not _same(name, descriptor):
        return 2, f"seclude: {name} was replaced while the command ran, so the report is here\n{text}"
    if os.fstat(descriptor).st_mode & 0o170000 == 0o100000:
        os.ftruncate(descriptor, 0)
    return descriptor, text


def _report(result: Result, job: Job, form: str, verbose: bool, destination: int) -> str:
    if form == "json":
        from seclude.sandbox.report import to_json

        return to_json(result, job)
    quiet = form == "none"
    if quiet and not result.error:
        return ""
    if not (result.denials or result.overflow or result.notes or result.error or result.limit or verbose):
        return ""
    from seclude.sandbox.report import to_text

    colour = width = 0
    if os.isatty(destination):
        colour = not os.environ.get("NO_COLOR")
        try:
            width = os.get_terminal_size(destination).columns
        except OSError:
            width = 0
    return to_text(result, verbose=verbose, colour=bool(colour), width=width)


def _write(descriptor: int, text: str) -> None:
    # A target may have left the terminal to another group, and forbidden the others to write (TOSTOP): we would be stopped, not heard.
    csignal.pthread_sigmask(csignal.SIG_BLOCK, {csignal.SIGTTOU})
    rest = memoryview(text.encode("utf-8", "backslashreplace"))
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            os.set_blocking(descriptor, True)
        except OSError as error:
            if descriptor == 2:
                return  # nowhere left to say so
            raise UsageError(f"seclude run: the report cannot be written: {error.strerror}") from None
