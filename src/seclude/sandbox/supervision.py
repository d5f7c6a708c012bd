"""What of a run is decided while it happens: handlers, and what is built of them, for one run's loop.

``Job.supervision`` holds plain values, since a job travels: ``{"handlers": ["module:function"], "engine": "notify"}`` and what brokers and tracers need. Handlers are
imported in the supervisor's own process, before anything of the target runs, so that whatever is wrong with them refuses the run.

The loop's side of it: `Supervision.attach` when the listener is there, `handle` for every descriptor that it registered, `finish` for the result, `close` at the end.
"""

from __future__ import annotations

import _thread
import os
import select

from seclude import abi
from seclude.errors import KernelError, PolicyError, UsageError
from seclude.sandbox.handler_names import load_handlers
from seclude.supervise.descriptors import raise_limit
from seclude.supervise.notify_engine import GIVES, Attendant
from seclude.supervise.plain import with_trace, without_trace
from seclude.supervise.router import Router, expand
from seclude.supervise.verdict import Allow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from seclude.compiler.artifact import Artifact
    from seclude.kernel.landlock import Ruleset
    from seclude.kernel.notify import Notification
    from seclude.sandbox.ask import Asking
    from seclude.sandbox.brokers import Brokers
    from seclude.sandbox.engine import Run
    from seclude.sandbox.remote import Forwarder
    from seclude.sandbox.result import Job, Result
    from seclude.sandbox.start import Step
    from seclude.supervise.call import Call
    from seclude.supervise.files import FilesBroker
    from seclude.supervise.handlers import Handler
    from seclude.supervise.notifications import Start
    from seclude.supervise.observer import Calls
    from seclude.supervise.ptrace_engine import PtraceEngine
    from seclude.supervise.router import Performer
    from seclude.supervise.verdict import Verdict

__all__ = ["Supervision", "architectures", "build", "choose", "choose_engine", "gives", "looks_at", "refuse_unreachable"]


class Supervision:
    """One run's handlers and the engine under them. ``run`` is the engine's `Run`: its kernel, poll, record, responder and notes are used."""

    __slots__ = (
        "_asking",
        "_attendant",
        "_forwarder",
        "_inquirer",
        "_ptrace",
        "_remote",
        "_run",
        "brokers",
        "engine",
        "handlers",
        "router",
    )

    def __init__(self, run: Run, handlers: Iterable[Handler], engine: str) -> None:
        self._run = run
        self.handlers = tuple(handlers)
        self.engine = engine
        self.brokers: Brokers | None = None
        self._attendant: Attendant | None = None
        self._asking: Asking | None = None
        self._inquirer: Attendant | None = None
        self._ptrace: PtraceEngine | None = None
        self._forwarder: Forwarder | None = None
        self._remote = {(token, nr) for token, nr in run.job.supervision.get("remote", ())}
        self.router = Router(
            self.handlers,
            architectures(run.job.artifact),
            gives=gives(engine),
            engine=engine,
            performers=_performers(self.handlers, engine),
        )
        if self._remote:
            self._forwarder = _forwarder(run, self._remote.intersection(self.router.calls))
        if engine == "ptrace":
            from seclude.supervise.ptrace_engine import PtraceEngine

            router: Any = self.router
            if self._forwarder is not None:
                from seclude.sandbox.remote import RemoteRouter

                router = RemoteRouter(self._remote, self._forwarder, self.router)
            self._ptrace = PtraceEngine(run.kernel, router, run.plain, run.record)

    def program(self, artifact: Artifact, *, report: bool) -> bytes:
        """The filter to load."""
        if self._ptrace is None:
            return without_trace(artifact.reported)
        return artifact.reported if report else with_trace(artifact.plain)

    def calls(self) -> Calls | None:
        """What the observer is to tell of calls."""
        return self._ptrace

    def begin(self, start: Start | None) -> None:
        """The child is there, and the observer, but nothing was let go yet. ``start``: the execve that passes, see `Responder`."""
        if self._ptrace is not None:
            self._ptrace.start = start
            self._ptrace.release = self._run.observer.release

    def attach(self) -> None:
        """The filter is in force, and its listener, if it has one, is ours."""
        run = self._run
        raise_limit()
        if self._ptrace is not None:
            run.poll.register(self._ptrace.wake, select.POLLIN)
        elif self._forwarder is not None:
            self._forwarder.listener(run.listener)
            names = run.job.supervision.get("performed", ())
            if names:
                from seclude.sandbox.performing import Performing
                from seclude.supervise.perform import performers

                self._forwarder.performing = Performing(run.kernel, run.listener, performers(names), self._forwarder.say)
            assert run.responder is not None  # without a listener it is the other engine's, or the run was refused
            run.responder.attend = self._attend
        if self.handlers and self._ptrace is None:
            pool = None if self.brokers is None else self.brokers.pool()
            if pool is None and _names_files(run.job.supervision):
                from seclude.supervise.files import threads

                pool = threads()
            self._attendant = Attendant(run.kernel, run.listener, self.router, run.record, pool=pool)
            assert run.responder is not None  # without a listener it is the other engine's, or the run was refused
            run.responder.attend = self._attend
            run.poll.register(self._attendant.wake, select.POLLIN)

        if self._asking is not None and run.responder is not None:
            # With threads of its own: calls that wait for a person must not keep handlers waiting.
            self._inquirer = Attendant(run.kernel, run.listener, self.router, run.record)
            run.responder.ask = self._ask
            run.poll.register(self._inquirer.wake, select.POLLIN)

    def _attend(self, notification: Notification, value: int) -> bool:
        """Whether handlers take the call; else it is answered as one that nobody handles."""
        if self._forwarder is not None and (notification.arch, notification.nr) in self._remote:
            self._forwarder.call(notification, value)
            return True
        chain = self.router.find(notification.arch, notification.nr)
        if chain is None or self._attendant is None:
            return False
        self._attendant.attend(notification, chain, value)
        return True

    def ask(self, asking: Asking) -> None:
        """Have undecided calls asked about."""
        self._asking = asking
        asking.use(self.router)

    def _ask(self, notification: Notification, value: int) -> bool:
        """Whether somebody is asked about a call that the policy denies."""
        if self._asking is None or self._inquirer is None or not self._asking.undecided(notification):
            return False
        self._inquirer.attend(notification, (self._asking.handler,), value)
        return True

    def handle(self, descriptor: int) -> bool:
        """Deal with a descriptor that is ready, if it is ours."""
        if self._forwarder is not None and descriptor == self._forwarder.descriptor:
            self._forwarder.hear()
            return True
        for one in (self._attendant, self._ptrace, self._inquirer):
            if one is not None and descriptor == one.wake:
                one.drain()
                return True
        return False

    def settle(self, tid: int = 0) -> None:
        """Have told what threads have answered up to now; ``tid``: that thread's calls only."""
        for one in (self._attendant, self._inquirer):
            if one is not None:
                one.settle(tid)

    def finish(self, result: Result) -> None:
        """What threads denied at the very end is told too, and what is not in the record."""
        self.settle()
        result.denials, result.overflow = self._run.record.denials, self._run.record.overflow
        if self._asking is not None:
            self._run.notes.extend(self._asking.notes())

    def confine(self) -> None:
        """Hold this process to the files that its broker may open, before the target is made; where it does nothing but that. Raises `KernelError`."""
        wanted = self._run.job.supervision
        if not (wanted.get("read") or wanted.get("write")) or wanted.keys() - {"read", "write", "hide", "runtime"}:
            return
        from seclude.kernel import prctl
        from seclude.sandbox.files import own_domain

        group = self._run.plan.cgroup
        made = own_domain(
            wanted, os.path.join(self._run.job.cwd or b"", self._run.path), () if group is None else map(os.path.dirname, group.directories)
        )
        if made is not None:
            with made:
                prctl.set_no_new_privs()
                made.restrict()

    def domain(self, scope: Ruleset | None) -> Ruleset | None:
        """The run's Landlock domain, given the one that it would have."""
        return scope if self.brokers is None else self.brokers.domain(scope)

    def steps(self) -> list[Step]:
        """What the child does besides, before it is filtered."""
        return [] if self.brokers is None else self.brokers.steps()

    def close(self) -> bool:
        """The run is over. False where a thread still holds the listener's number, which must not be another's then."""
        if self._forwarder is not None:
            self._forwarder.close()
        if self._ptrace is not None:
            self._ptrace.close()
        if self._asking is not None:
            self._asking.close()
        attendants = [one for one in (self._attendant, self._inquirer) if one is not None]
        for one in attendants:
            one.close()
        if self.brokers is not None and not any(one.abandoned for one in attendants):
            self.brokers.close()
        return not any(one.abandoned for one in attendants)


def _forwarder(run: Run, twice: set[tuple[int, int]]) -> Forwarder:
    """The way to handlers in the host, whose end of it came after the job."""
    if twice:
        raise PolicyError("a call cannot be decided by handlers of seclude.run and by a broker too", "leave out one of them")
    from seclude.sandbox import wire
    from seclude.sandbox.remote import Forwarder

    if "channel" not in run.job.supervision:
        import _socket

        control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, run.control)
        try:
            passed = wire.take_descriptors(control, 1)
        finally:
            control.detach()
        if not passed:
            raise KernelError("the host of this run's handlers is gone")
        (run.job.supervision["channel"],) = passed  # kept, should the run be started a second time
    return Forwarder(os.dup(run.job.supervision["channel"]), run.poll)


def looks_at(handlers: Iterable[Handler]) -> set[str]:
    """The calls that these handlers may allow after a look at what they name, a path or an address, and that can be done for them."""
    from seclude.abi.prototypes import prototype

    words = {name for one in handlers if Allow in one.may for name in expand(one)}
    shapes = [prototype(abi.native(), name) for name in words]
    if not any(one.kind in ("path", "sockaddr") for shape in shapes if shape is not None for one in shape.parameters):
        return set()
    from seclude.supervise.perform import CALLS

    return words & CALLS


def _performers(handlers: Iterable[Handler], engine: str) -> dict[str, Performer]:
    """What does calls that are allowed after a look at what they name. The ptrace engine has no way to give a descriptor."""
    names = looks_at(handlers) if engine == "notify" else set()
    if not names:
        return {}
    from seclude.supervise.perform import performers

    return performers(names)


def gives(engine: str) -> frozenset[type[Verdict]]:
    """The verdicts that an engine can give."""
    if engine == "ptrace":
        from seclude.supervise.ptrace_engine import GIVES as BY_PTRACE

        return BY_PTRACE
    return GIVES


def choose_engine(words: Sequence[str], wanted: str = "auto") -> str:
    """The engine for these handlers: as ``wanted``; for ``auto`` the one that can give every verdict they declare, or still ``auto`` where both can: then it is notify, but
    where no listener can be had (`build`).

    Raises `UsageError` where none can, and as `load_handlers` does.
    """  # fmt: skip
    return wanted if wanted != "auto" else choose(load_handlers(words))


def choose(handlers: Iterable[Handler], wanted: str = "auto") -> str:
    """As `choose_engine`, for handlers that are loaded."""
    if wanted != "auto":
        if wanted not in ("notify", "ptrace"):
            raise UsageError(f"engine={wanted!r}: it is 'notify', 'ptrace' or 'auto'")
        return wanted
    declared = {kind for one in handlers for kind in one.may}
    able = [engine for engine in ("notify", "ptrace") if declared <= gives(engine)]
    if able:
        return able[0] if len(able) == 1 else "auto"
    lacking = {engine: ", ".join(sorted(kind.__name__ for kind in declared - gives(engine))) for engine in ("notify", "ptrace")}
    raise UsageError(
        f"no engine can give every verdict that the handlers declare: notify lacks {lacking['notify']}, ptrace lacks {lacking['ptrace']}",
        "declare less: may=",
    )


def build(job: Job, run: Run) -> Supervision:
    """What ``job.supervision`` asks for. Raises `UsageError` and `PolicyError` before anything runs."""
    wanted = job.supervision
    words = wanted.get("handlers", ())
    handlers = load_handlers(words)
    given = tuple(handlers)
    refuse_unreachable(handlers, job.artifact)
    brokers = None
    if "connect" in wanted or "bind" in wanted or "exec" in wanted:
        from seclude.sandbox.brokers import Brokers

        brokers = Brokers(wanted, job, run.path)
        handlers += brokers.handlers
    if _names_files(wanted):
        from seclude.sandbox.files import broker, hidden_sockets

        handlers.append(_for_each_thread(broker(wanted, run.path, job.cwd), architectures(job.artifact)))
        handlers += hidden_sockets(wanted)
    engine = choose_engine(words, wanted.get("engine", "auto"))
    if engine == "auto":
        engine = _either(run, handlers)
    if engine == "ptrace" and not run.trace:
        raise PolicyError(
            "the ptrace engine decides calls, and this run does not trace" + _why(run), "try --engine notify; see: seclude doctor"
        )
    if "ask" in wanted and not run.report:
        raise PolicyError("--ask needs denials to be notified, and reporting is off" + _why(run), "leave out --no-report")
    if engine == "notify" and not run.report:
        raise PolicyError(
            "the notify engine decides calls, and this run has no listener" + _why(run), "leave out --no-report, or try --engine ptrace"
        )
    if engine == "ptrace":
        _refuse_on_ptrace(wanted, handlers[len(given) :], given)
    made = Supervision(run, handlers, engine)
    made.brokers = brokers
    if run.plan.wall is not None or run.plan.cpu is not None:
        # A handler that does not come back must not hold the clocks of the run.
        made.router.beside = frozenset(one for one in given if not one.threads and not one.is_async)
    if "ask" in wanted:
        from seclude.sandbox import ask

        made.ask(ask.build(wanted["ask"], job.artifact))
    return made


def _either(run: Run, handlers: Iterable[Handler]) -> str:
    """The engine where the run's own handlers leave the choice: notify, but ptrace where a listener was wanted and cannot be had."""
    job = run.job
    if run.report or not job.report or "ask" in job.supervision or any(one.may - gives("ptrace") for one in handlers):
        return "notify"
    if not run.trace:
        why = [*run.notes, *([] if job.ptrace else ["tracing is off (--no-ptrace)"])]
        raise PolicyError(
            "calls are decided through a listener or by a tracer, and neither can be had: " + "; ".join(why), "see: seclude doctor"
        )
    job.supervision["engine"] = "ptrace"  # also for a start that is tried once more
    run.notes.append("calls are decided by ptrace instead (as with --engine ptrace)")
    return "ptrace"


def _refuse_on_ptrace(wanted: dict[str, Any], brokers: Iterable[Handler], given: Iterable[Handler]) -> None:
    """Raise `UsageError` for options whose brokers do what only the notify engine can."""
    needing = {name for one in brokers if one.may - gives("ptrace") for name in one.name.replace("--", "").split(", ") if name in wanted}
    if not needing:
        return
    options = " and ".join(f"--{name}" for name in ("read", "write", "hide", "exec") if name in needing)
    only = next((f"handler {one.name} may answer {kind.__name__}" for one in given for kind in one.may if kind not in GIVES), "")
    raise UsageError(
        f"{options} {'needs' if len(needing) == 1 else 'need'} the engine notify: what is opened for the target is put into it, which the engine ptrace cannot do",
        f"leave out {options}: {only}, which only the engine ptrace can do" if only else f"try --engine notify, or leave out {options}",
    )


def _names_files(wanted: dict[str, Any]) -> bool:
    return any(wanted.get(option) for option in ("read", "write", "hide"))


def _for_each_thread(first: FilesBroker, known: list[abi.Architecture]) -> Handler:
    """The broker of files as a handler that may also stand behind handlers in threads: each thread has a broker of its own, since each acts as another."""
    made = first.handler(known)
    loop = _thread.get_ident()

    def decide(call: Call) -> Verdict:
        if _thread.get_ident() == loop:
            return first.decide(call)
        one = first.another()
        try:
            return one.decide(call)
        finally:
            one.close()  # there can be many threads, and each would keep many descriptors

    made.function = decide
    return made


def _why(run: Run) -> str:
    return f": {run.notes[-1]}" if run.notes else ""


def refuse_unreachable(handlers: Iterable[Handler], artifact: Artifact) -> None:
    """Raise `UsageError` for a handler that names a call which the policy never leaves to handlers, or a group without any such call."""
    attended: set[str] = set()
    for word in artifact.summary.get("attended", "").split(" "):
        attended.update(word.partition(":")[2].split(","))
    for one in handlers:
        calls = expand(one)
        never = [name for name, named in calls.items() if named and name not in attended]
        if not never and attended.intersection(calls):
            continue
        named = f"{', '.join(never)} never {'reaches' if len(never) == 1 else 'reach'} it" if never else "none of its calls reaches it"
        raise UsageError(
            f"handler {one.name}: under the policy {artifact.name} {named}: handlers decide calls with the action notify or trace, and nothing else",
            f"give --notify {','.join(never) or one.calls[0]}, or write into the policy: notify {', '.join(never) or one.calls[0]}",
        )


def architectures(artifact: Artifact) -> list[abi.Architecture]:
    """The architectures of a compiled policy."""
    names = [word.strip() for word in artifact.summary.get("architectures", "").split(",")]
    return [abi.arch(name) for name in names if name] or [abi.native()]
