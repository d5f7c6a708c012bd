"""``@seclude.confined(policy)``: a Python function that runs in a confined, pre-warmed worker process, and returns its value.

For code that is not trusted with this process: plug-ins, expressions from a form, what a model wrote. The function's arguments and result are copied as
plain values, never pickled; what it raises arrives as text; what the policy denied is named; limits end it.

How it works, and what is where: `seclude.sandbox.confined_pool` is this process's side, `seclude.sandbox.confined_template` the process that imports the
function's module and forks workers from itself, `seclude.sandbox.confined_worker` what a worker does.

What can still go wrong: a worker that is reused (``reuse=True``) has run what came before, which may have changed anything in it: the next
result is then as trustworthy as the least trusted call so far. By default each worker runs one call. What the function's module
does at its top level, and ``warm``, run before the filter, in the template: they are the host's own code.
"""

from __future__ import annotations

import os
import sys
from functools import update_wrapper

from seclude.errors import KernelError, PolicyError, UsageError, printable
from seclude.kernel.signals import csignal
from seclude.sandbox import confined_pool as _pool
from seclude.sandbox.confined_errors import ConfinedEnded, ConfinedError, ConfinedRaised, ConfinedTimeout, ConfinedViolation, Outcome
from seclude.sandbox.limits import read_bytes, read_count, read_seconds
from seclude.sandbox.options import variables
from seclude.sandbox.plain import PlainError, decode, encode
from seclude.supervise.record import Denial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Self

    from seclude.policy import Policy

__all__ = [
    "KEPT",
    "ONE_THREAD",
    "Confined",
    "ConfinedEnded",
    "ConfinedError",
    "ConfinedRaised",
    "ConfinedTimeout",
    "ConfinedViolation",
    "Outcome",
    "confined",
    "inside",
    "place",
]

#: "" in a host; "template" while a template imports; "worker" in a worker
inside = ""
#: calls that find their worker gone before they began: it may have been idle for long, but a template that dies at once does so every time
TRIES = 3
#: what of the host's environment a worker has, unless told otherwise: what makes an interpreter and its locale work, and no secrets
KEPT = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PYTHONHASHSEED", "TZ")
#: numeric libraries start a thread a processor when they are imported, and a process with threads cannot be forked
ONE_THREAD = ("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def confined(
    policy: str | os.PathLike[str] | Policy = "compute",
    *,
    rules: Iterable[tuple[str, str]] = (),
    reuse: bool = False,
    workers: int = 1,
    warm: Callable[[], object] | Iterable[str] = (),
    read: Iterable[str | os.PathLike[str]] | None = None,
    write: Iterable[str | os.PathLike[str]] | None = None,
    timeout: str | float | None = None,
    cpu: str | float | None = None,
    memory: str | int | None = "256M",
    processes: int | None = None,
    descriptors: int | None = 64,
    input: str | int = "16M",
    output: str | int = "16M",
    file_size: str | int | None = "64M",
    env: Mapping[str, str] | None = None,
    report: bool = True,
) -> Callable[[Callable[..., Any]], Confined]:
    """Decorate a function so that each call of it runs in a worker process under ``policy`` (a preset's name, a file, a `Policy`).

    ``rules``: ``("allow", RULE)`` and ``("deny", RULE)``, tried before the policy. ``reuse``: keep a worker for further calls (default: one call
    each). ``workers``: how many may run at once; as many are kept ready. ``warm``: modules to import, or a function of a module to call,
    before workers are made. ``read``, ``write``: directories or files that it may open (see `seclude.sandbox.confined_files`); where either is given, nothing else but
    the interpreter's own files can be opened, whatever the policy says, and opening is allowed by the policy.
    ``timeout``: seconds of wall time a call; ``cpu``: of processor time a call. ``memory``: address space beyond what exists before the call;
    ``processes``: tasks at once, for policies that allow new processes (default there: 32); ``descriptors``; ``file_size``: of each file written. ``input``, ``output``: what arguments and
    result may cost (`seclude.sandbox.plain`). ``env``: the worker's environment in addition to the few variables it keeps. ``report=False``: no supervision.

    The function must be one that a fresh interpreter can import: at the top level of its module, or of the script. Raises `UsageError`
    for one that is not, at once; a faulty policy is told at the first call.
    """
    options: dict[str, Any] = {
        "timeout": None if timeout is None else read_seconds(timeout, "timeout"),
        "cpu": None if cpu is None else read_seconds(cpu, "cpu"),
        "memory": None if memory is None else read_bytes(memory, "memory"),
        "processes": None if processes is None else read_count(processes, "processes"),
        "descriptors": None if descriptors is None else read_count(descriptors, "descriptors"),
        "input": read_bytes(input, "input"),
        "output": read_bytes(output, "output"),
        "file_size": None if file_size is None else read_bytes(file_size, "file_size"),
        "files": None if read is None and write is None else (_paths(read), _paths(write)),
        "env": variables({} if env is None else env, "confined"),
        "report": report,
        "rules": tuple(rules),
        "warm": warm,
    }
    if callable(policy):  # @confined without parentheses
        raise UsageError("confined: it takes the policy first", 'write @seclude.confined("compute")')
    size = read_count(workers, "workers")

    def decorate(function: Callable[..., Any]) -> Confined:
        return Confined(function, policy, reuse, size, options)

    return decorate


class Confined:
    """A function whose calls run in confined workers. Call it as the function; `run` says more; `close` ends its processes."""

    def __init__(self, function: Callable[..., Any], policy: Any, reuse: bool, workers: int, options: dict[str, Any]) -> None:
        self._where = None if inside else place(function)
        self.__wrapped__ = function
        update_wrapper(self, function)
        self.policy = policy
        self.reuse = reuse
        self.workers = workers
        self.options = options
        self._pool: _pool.Pool | None = None
        self._artifact: Any = None
        self._policy: Policy | None = None
        self._explained: dict[tuple[object, ...], tuple[str, str, str]] = {}

    def __repr__(self) -> str:
        return f"<confined {self.__wrapped__.__module__}.{self.__wrapped__.__qualname__} under {self.policy}>"

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Run it in a worker; its result. Raises a `ConfinedError`, `UsageError` for arguments that are not plain, `KernelError`."""
        if inside:
            return self._within(args, keywords)
        return self._run(args, keywords, None)

    def run(self, *args: Any, **keywords: Any) -> Outcome:
        """As a call, with what was denied on the way and what was used; the worker is ended before this returns, unless it is reused."""
        if inside:
            return Outcome(self._within(args, keywords), {}, [])
        reports: list[dict[str, Any]] = []
        value = self._run(args, keywords, reports)
        report = reports[0]
        return Outcome(value, report, self._denials(report))

    async def aio(self, *args: Any, **keywords: Any) -> Any:
        """As a call, for asyncio: another thread waits. If this is cancelled, so is the call: its worker is ended."""
        import asyncio

        began: list[_pool.Worker] = []
        waiting = asyncio.ensure_future(asyncio.to_thread(self._run, args, keywords, None, began))
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, also where nobody waits any more
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            began.append(_CANCELLED)
            for worker in began[:-1]:
                worker.interrupt()
            raise

    def ready(self) -> None:
        """Start the template and order the workers now, so that the first call finds them."""
        pool = self._started()
        taken = [pool.take() for _ in range(self.workers)]
        for worker in taken:
            pool.put(worker)

    def close(self) -> None:
        """End its template and workers, those at work too. A later call starts anew."""
        if self._pool is not None:
            self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- one call -------------------------------------------------------------------------------------------------------

    def _within(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if inside == "template":
            raise UsageError(
                f"{self.__wrapped__.__qualname__} is called while its module is imported for its workers",
                'put the call under if __name__ == "__main__":',
            )
        return self.__wrapped__(*args, **keywords)  # recursion: here is where it is confined already

    def _run(
        self, args: tuple[Any, ...], keywords: dict[str, Any], reports: list[dict[str, Any]] | None, began: list[_pool.Worker] | None = None
    ) -> Any:
        options = self.options
        try:
            # One flat list: how many arguments there are, they, then the keywords' names and values.
            body = encode([len(args), *args, *(part for pair in keywords.items() for part in pair)], options["input"])
        except PlainError:
            raise _arguments(args, keywords, options["input"]) from None
        pool = self._pool or self._started()
        stale = 0
        while True:
            worker = pool.take()
            keep = False
            try:
                if began is not None:
                    began.append(worker)
                    if began[0] is _CANCELLED:
                        raise KernelError("the call was cancelled")
                answer = worker.call(body, options["output"], options["timeout"], options["cpu"])
                value = self._value(answer, worker)
                if reports is not None:
                    reports.append(worker.report(kill=not self.reuse))
                keep = self.reuse
                return value
            except _pool.Lost as lost:
                report = worker.report(kill=True)
                stale += lost.stale
                if lost.stale and stale < TRIES and not report.get("failure"):
                    continue  # it went away while nothing was asked of it, so this call has not begun
                raise self._ended(report) from None
            except _pool.Late as late:
                raise ConfinedTimeout(late.args[0], self._denials(worker.report(kill=True))) from None
            except _pool.Garbled as garbled:
                raise ConfinedError(f"the worker sent {garbled.args[0]}", "", self._denials(worker.report(kill=True))) from None
            except ConfinedRaised:
                keep = self.reuse
                raise
            finally:
                if keep:
                    pool.put(worker)
                else:
                    pool.drop(worker, renew=True)

    def _value(self, answer: _pool.Answer, worker: _pool.Worker) -> Any:
        """What the answer says. Its bytes come from a process that may have been taken over: everything is checked."""
        try:
            value = decode(answer.payload, self.options["output"] if answer.kind == b"R" else 1 << 22)
        except PlainError as error:
            raise ConfinedError(
                f"the answer is not in the plain format: {error}",
                "the function wrote to its channel",
                self._denials(worker.report(kill=True)),
            ) from None
        if answer.kind == b"R":
            return value
        match answer.kind, value:
            case b"E", (str(name), str(text), [*trace]) if all(isinstance(line, str) for line in trace):
                # A script's classes are the template's copy of them.
                name = name.replace("__mp_main__.", "__main__.", 1) if name.startswith("__mp_main__.") else name
                raise ConfinedRaised(
                    name[:300], text[:20_000], tuple(line[:300] for line in trace[:64]), self._denials(worker.report(kill=False))
                )
            case b"U", str(text):
                raise ConfinedError(f"the result cannot be returned: {printable(text[:2000])}", "", self._denials(worker.report(kill=True)))
        raise ConfinedError(
            "the answer is not in the plain format", "the function wrote to its channel", self._denials(worker.report(kill=True))
        )

    def _ended(self, report: dict[str, Any]) -> Exception:
        """Why a worker is gone, or never was there."""
        if not report:
            return KernelError(
                "the confined function was closed meanwhile, or its template was killed, and its workers with it",
                "see who sends SIGKILL, or the kernel's log",
            )
        if report["failure"] is not None:
            text, remedy, number = report["failure"]
            return UsageError(f"confined: {printable(text)}", remedy) if report["kind"] == "usage" else KernelError(text, remedy, number)
        denials = self._denials(report)
        status = report["status"]
        signal = status & 0x7F
        if report["out_of_memory"]:
            return ConfinedEnded("the worker reached the limit memory and was ended", "give it more memory=", denials, None, signal or None)
        fatal = next((denial for denial in denials if denial.action in ("kill_process", "kill_thread", "trap")), None)
        if signal == csignal.SIGSYS:
            if fatal is not None:
                return ConfinedViolation(
                    f"the policy ended the function at {fatal.text}",
                    fatal.suggestion and f"to allow it: {fatal.suggestion}",
                    denials,
                    fatal.call,
                )
            return ConfinedViolation(
                "the policy ended the function at a call that could not be observed",
                "see the notes of seclude doctor on ptrace",
                denials,
                None,
            )
        if signal == csignal.SIGXCPU:
            return ConfinedTimeout("cpu", denials)
        if signal:
            return ConfinedEnded(f"the worker was ended by signal {signal}", "", denials, None, signal)
        return ConfinedEnded(
            f"the function ended its process (exit status {status >> 8 & 0xFF})", "return instead", denials, status >> 8 & 0xFF, None
        )

    def _denials(self, report: dict[str, Any]) -> list[Denial]:
        """The denials of a report, explained; what was explained before is remembered, since it means reading the policy."""
        found = [Denial.from_plain(one) for one in report.get("denials", ())]
        fresh = []
        for denial in found:
            known = self._explained.get((denial.token, denial.nr, denial.value, denial.args))
            if known is None:
                fresh.append(denial)
            else:
                denial.rule, denial.reason, denial.suggestion = known
        if fresh:
            from seclude.sandbox.explain import explain

            explain(fresh, self._artifact, self._text())
            if len(self._explained) > 1000:
                self._explained.clear()
            for denial in fresh:
                self._explained[(denial.token, denial.nr, denial.value, denial.args)] = denial.rule, denial.reason, denial.suggestion
        return found

    def _text(self) -> Policy | None:
        """The policy as it was compiled, read once: a hostile function can make as many kinds of denied call as it likes."""
        if self._policy is None:
            from seclude.sandbox.explain import policy_of

            try:
                self._policy = policy_of(self._artifact)
            except PolicyError:
                return None if isinstance(self.policy, (str, os.PathLike)) or self._artifact.overrides else self.policy
        return self._policy

    # -- starting -------------------------------------------------------------------------------------------------------

    def _started(self) -> _pool.Pool:
        with _pool.starting:
            if self._pool is None:
                from seclude.sandbox.confined_recipe import recipe

                assert self._where is not None
                self._artifact, made = recipe(self._where, self.policy, self.options)
                self._pool = _pool.Pool(made, self.workers)
            return self._pool


def place(function: Any) -> tuple[str, str, str | None, bool]:
    """``(module, qualified name, file, whether it is the main script)``: how another interpreter finds the function. Raises `UsageError`."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not callable(function) or not isinstance(module, str) or not isinstance(name, str):
        raise UsageError(f"confined: {function!r} is not a function", "decorate a function that is defined with def")
    if "<" in name:
        kind = "a lambda" if "<lambda>" in name else "defined within another function"
        raise UsageError(
            f"confined: {name} is {kind}, and its worker, which imports it by module and name, could not find it",
            "define it at the top level of its module, and pass what it needs as arguments",
        )
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    file = os.path.abspath(file) if isinstance(file, str) and file.endswith(".py") else None
    if module != "__main__":
        return module, name, file, False
    spec = getattr(loaded, "__spec__", None)
    if spec is not None and spec.name:
        return (spec.name, name, file, False)
    if file is None:
        raise UsageError(
            f"confined: {name} is defined at the prompt, in -c or on stdin, where no other interpreter can find it", "put it into a file"
        )
    return module, name, file, True


def _paths(given: Iterable[str | os.PathLike[str]] | None) -> list[str]:
    if isinstance(given, (str, bytes)):
        raise UsageError(f"confined: expected a list of paths, got {given!r}", f"write [{given!r}]")
    return [] if given is None else [os.path.abspath(os.fspath(path)) for path in given]


def _arguments(args: tuple[Any, ...], keywords: dict[str, Any], limit: int) -> UsageError:
    for name, value in [*enumerate(args), *keywords.items()]:
        try:
            encode(value, limit)
        except PlainError as error:
            return UsageError(f"confined: arguments are copied as plain values: argument {name}: {error}".replace("output=", "input="))
    return UsageError(f"confined: the arguments together take more than {limit} bytes", "pass less, or raise input=")


class _Cancelled:
    """Stands in the list of `Confined.aio` where the call was cancelled before it had a worker."""

    __slots__ = ()


_CANCELLED: Any = _Cancelled()
