"""``seclude.run``: a program under a policy, from any Python program, threads or not."""

from __future__ import annotations

import os
import sys

from seclude.errors import UsageError
from seclude.kernel.signals import csignal
from seclude.sandbox import options
from seclude.sandbox.limits import Limits
from seclude.sandbox.prepare import prepare
from seclude.sandbox.result import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from seclude.policy import Policy
    from seclude.sandbox.result import Result
    from seclude.supervise.handlers import Handler

__all__ = ["run"]


def run(
    command: Sequence[str | bytes | os.PathLike[str]],
    *,
    policy: str | os.PathLike[str] | Policy = "container",
    rules: Iterable[tuple[str, str]] = (),
    limits: Limits | Mapping[str, str | float | None] | None = None,
    timeout: float | None = None,
    stdin: bytes | int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    capture: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    report: bool = True,
    ptrace: bool = True,
    weaker: Mapping[str, str] | None = None,
    handlers: Iterable[Handler] = (),
    engine: str = "auto",
    connect: Iterable[str] = (),
    bind: Iterable[str] = (),
    programs: Iterable[str | os.PathLike[str]] | None = None,
    read: Iterable[str | os.PathLike[str]] = (),
    write: Iterable[str | os.PathLike[str]] = (),
    hide: Iterable[str | os.PathLike[str]] = (),
    runtime: bool = True,
    trace: str | None = None,
    trace_file: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    where: bool = False,
    on_loaded: Callable[[str], object] | None = None,
) -> Result:
    """Run ``command`` under ``policy`` and wait until it, and every process that it started, has ended.

    ``policy``: a preset's name, a file, or a `Policy`; ``rules``: ``("allow", RULE)`` and ``("deny", RULE)`` tried before it. ``limits``: the
    words of the command line (``{"cpu": "2s", "memory": "256M"}``); ``timeout`` is the limit ``wall``, in seconds.
    ``stdin``: bytes to feed, or a descriptor; ``stdout``, ``stderr``: descriptors (default: this process's own); ``capture`` collects both
    into the result instead. ``env``: the whole environment; ``cwd``: the directory to start in. ``report=False`` loads the plain
    filter, ``ptrace=False`` does not trace; ``weaker`` maps an action that this kernel may lack to its substitute (``{"kill_process": "trap"}``).
    ``handlers`` (`seclude.supervise.handler`) decide the calls that the policy gives the action notify or trace, in this thread while it waits (in another where the
    run's time is limited, so that no handler can hold its end), or in threads of their own; ``engine`` is "notify", "ptrace", or "auto".
    ``connect``, ``bind``: addresses that the program may connect and send to, and bind and listen at, as ``--connect`` and ``--bind`` take them (``"192.0.2.1:80"``,
    ``"unix:/run/x"``); either closes every other address. ``programs``: the files that it may execute besides the command itself; None: any.
    ``read``, ``write``: files, directories and globs that the program may read, or also change; either closes all other files but what programs need to run
    (``runtime=False``: even that). ``hide``: what does not exist for it, whatever is granted.
    ``trace`` names calls (``"openat,@network-io"``, ``"all"``, ``"!futex"``) that are printed as they happen, to ``trace_file`` or stderr; ``log`` is a file that every
    decision is added to; ``where`` has each denial say where in the program it was made.
    ``on_loaded`` is called with one line on what was put in force, once it is; the logger ``seclude`` gets it too if logging is imported.

    Returns a `Result`, whatever the program did; its denials are explained. Raises `PolicyError`, `UsageError`, and
    `KernelError` where the run was refused. Safe to call from several threads; the host is never under the filter.
    """
    if isinstance(command, (str, bytes)) or not command or not _are_words(command):
        raise UsageError(f"run: expected a list of words, got {command!r}", "write seclude.run(['ls', '-l'])")
    if capture and (stdout is not None or stderr is not None):
        raise UsageError("run: capture=True takes both streams, so stdout= and stderr= cannot be given as well")
    if stdin is not None and not isinstance(stdin, (bytes, int)):
        raise UsageError(f"run: stdin={stdin!r}: expected bytes to feed, or a descriptor", "write stdin=b'...'")
    bounds = Limits.read(limits)
    if timeout is not None:
        bounds = bounds.replace(wall=timeout)
    given = _handlers(handlers)
    supervision = options.asked(connect=connect, bind=bind, programs=programs, read=read, write=write, hide=hide, runtime=runtime)
    if given:
        from seclude.sandbox.supervision import choose

        supervision["engine"] = engine = choose(given, engine)
    watch = {"trace": trace, "trace_file": _absolute(trace_file), "log": _absolute(log), "where": where or None}
    if any(value is not None for value in watch.values()):
        supervision["watch"] = {name: value for name, value in watch.items() if value is not None}
    if trace is None and trace_file is not None:
        raise UsageError("run: trace_file= says where to, but not what", 'name calls: trace="openat", or trace="all"')
    extra = options.rules(rules, supervision, report=report)
    artifact = prepare(policy, rules=extra)
    variables = os.environ if env is None else options.variables(env, "run")
    job = Job(
        [os.fsencode(word) for word in command],
        [os.fsencode(f"{name}={value}") for name, value in variables.items()],
        artifact,
        bounds,
        cwd=_directory(cwd),
        capture=(1, 2) if capture else (),
        stdin=stdin if isinstance(stdin, bytes) else None,
        report=report,
        ptrace=ptrace,
        umask=_umask(),
        weaker=dict(weaker or {}),
        supervision=supervision,
        mask=sorted(int(number) for number in csignal.pthread_sigmask(csignal.SIG_BLOCK, ())),
    )
    for word in (*job.argv, *job.environment):
        if b"\0" in word:
            raise UsageError(f"run: a word with a NUL character: {word!r}")
    from seclude.sandbox.zygote import submit

    def loaded(line: str) -> None:
        logging = sys.modules.get("logging")
        if logging is not None:
            logging.getLogger("seclude").info("%s", line)
        if on_loaded is not None:
            on_loaded(line)

    streams = _streams(stdin, stdout, stderr)
    if not given:
        result = submit(job, streams, loaded)
    else:
        from seclude.sandbox.host import Host

        host = Host(given, engine, artifact, clocked=bounds.wall is not None or bounds.cpu is not None)
        try:
            job.supervision |= host.wanted
            result = submit(job, streams, loaded, host)
        finally:
            host.close()
    if result.denials:
        from seclude.sandbox.explain import explain

        explain(result.denials, artifact, None if isinstance(policy, (str, os.PathLike)) or extra else policy)
    return result


def _are_words(command: Any) -> bool:
    try:
        return all(isinstance(word, (str, bytes, os.PathLike)) for word in command)
    except TypeError:
        return False


def _handlers(given: Iterable[Handler]) -> tuple[Handler, ...]:
    if given == ():
        return ()
    from seclude.supervise.handlers import Handler

    try:
        found = tuple(given)
    except TypeError:
        found = None
    if found is None or not all(isinstance(one, Handler) for one in found):
        raise UsageError(f"run: handlers={given!r}: expected a list of handlers", 'put @handler("connect") above each function')
    return found


def _directory(cwd: str | os.PathLike[str] | None) -> bytes:
    """The directory to start in, absolute: the helper is elsewhere."""
    wanted = b"" if cwd is None else os.fsencode(cwd)
    if os.path.isabs(wanted):
        return wanted
    try:
        return os.path.join(os.getcwdb(), wanted) if wanted else os.getcwdb()
    except OSError as error:
        raise UsageError(f"run: the current directory cannot be named: {error.strerror}", "give cwd= an absolute path") from None


def _absolute(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.path.abspath(path)


def _umask() -> int:
    # Reading it by umask(2) would change it for a moment, under the feet of other threads.
    from seclude.kernel import proc

    status = proc.status("self")
    found = status.umask if status is not None else None
    return 0o022 if found is None else found


def _streams(stdin: bytes | int | None, stdout: int | None, stderr: int | None) -> tuple[int, int, int]:
    chosen = (stdin if isinstance(stdin, int) else 0, 1 if stdout is None else stdout, 2 if stderr is None else stderr)
    for name, descriptor in zip(("stdin", "stdout", "stderr"), chosen, strict=True):
        try:
            os.fstat(descriptor)
        except OSError:
            raise UsageError(f"run: {name}: descriptor {descriptor} is not open", f"give {name}= an open descriptor") from None
    return chosen
