"""What of a run is shown while it happens: the trace, the log of decisions, and where in the program a denied call stands.

All three look and never decide. They are told by the observer (traced calls, signals, ends) and by the record (denials: `Watched.look` before the
answer, while the target's memory is still what it was; `Watched.add` once it was delivered).
"""

from __future__ import annotations

import os
import time

from seclude.errors import UsageError
from seclude.supervise.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from seclude.compiler.artifact import Artifact
    from seclude.sandbox.engine import Run
    from seclude.sandbox.journal import Journal
    from seclude.sandbox.result import Job, Result
    from seclude.supervise.observer import Calls
    from seclude.supervise.record import Denial, Seen
    from seclude.supervise.tracer import Tracer
    from seclude.supervise.tracer_format import Format
    from seclude.supervise.tracer_output import Output
    from seclude.supervise.where import Places

__all__ = ["Watching"]

_CALLERS = 8  # that are named of a denied call


def _untraced(job: Job, run: Run) -> UsageError:
    """Why a run cannot be traced."""
    if not job.report or not job.ptrace:
        left = "--no-ptrace" if job.report else "--no-report"
        return UsageError(f"--trace needs what {left} leaves out", "leave out one of them")
    if any(note.startswith("the policy allows ptrace") for note in run.notes):
        return UsageError(
            "--trace: the policy allows ptrace, and a thread has one tracer at most",
            "put --deny ptrace before other rules, unless the program traces others",
        )
    return UsageError("--trace needs what this machine leaves out: " + "; ".join(run.notes), "see: seclude doctor")


class Watched(Record):
    """A record that tells what it is given."""

    __slots__ = ("_shown", "watching")

    def __init__(self, watching: Watching) -> None:
        super().__init__()
        self.watching = watching
        self._shown: dict[int, str | None] = {}

    def look(self, tid: int, denial: Denial) -> None:
        """See `Record.look`."""
        super().look(tid, denial)
        if self.watching.places is not None:
            denial.where = self.watching.places.find(tid, denial.ip)
        tracer = self.watching.tracer
        if tracer is not None:
            self._shown[id(denial)] = tracer.denied(tid, denial.token, denial.nr, denial.args)

    def waits(self, tid: int, token: int, nr: int, args: tuple[int, ...]) -> None:
        """See `Record.waits`."""
        if self.watching.tracer is not None:
            self.watching.tracer.waits(tid, token, nr, args)

    def seen(self, tid: int, token: int, nr: int, args: tuple[int, ...], result: int | None = None) -> Seen:
        """See `Record.seen`."""
        return self.watching.seen(tid, token, nr, args, result)

    def decided(
        self, tid: int, token: int, nr: int, args: tuple[int, ...], seen: Seen, verdict: str, handler: str, result: int | None = None
    ) -> None:
        """See `Record.decided`."""
        self.watching.decided(tid, token, nr, args, seen, verdict, handler, result)

    def add(self, key: tuple[object, ...], denial: Denial) -> None:
        """See `Record.add`."""
        text = self._shown.pop(id(denial), None)
        if text is not None:
            self.watching.denied(denial, text)
        if self.watching.journal is not None:
            self.watching.log_denial(denial)
        super().add(key, denial)


class Watching:
    """One run's. ``run`` is the engine's: its record is replaced, its notes are added to.

    ``job.supervision["watch"]``: ``trace`` (as `seclude.policy.chosen` reads it), ``trace_file``, ``trace_failed``, ``trace_count``, ``trace_size``,
    ``log``, ``log_size``, ``log_keep``, ``where``.
    """

    #: milliseconds that text may be held back: so that many calls in a row are one write, and one that waits is seen waiting
    MOMENT = 20

    __slots__ = ("_begun", "_file", "_job", "_limit", "_run", "_wrote", "journal", "output", "places", "tracer")

    def __init__(self, job: Job, run: Run) -> None:
        wanted = job.supervision["watch"]
        self._run = run
        self._job = job
        self._begun = False
        self._wrote = 0.0
        self.journal: Journal | None = None
        self.places: Places | None = None
        self.tracer: Tracer | None = None
        self.output: Output | None = None
        self._file = -1
        self._limit = 32  # bytes of a buffer that are shown
        tracer = self._trace(job, wanted, run) if wanted.get("trace") else None
        if wanted.get("where"):
            from seclude.supervise.where import Places

            self.places = Places(callers=_CALLERS)
        if wanted.get("log"):
            from seclude.sandbox.journal import KEEP, SIZE, Journal, size_of

            keep = str(wanted.get("log_keep") or KEEP)
            if not keep.isdigit() or int(keep) > 1000:
                raise UsageError(f"--log-keep {keep}: expected a number of files, up to 1000", "write --log-keep 5")
            size = wanted.get("log_size")
            self.journal = Journal(wanted["log"], size=SIZE if size is None else size_of(size), keep=int(keep))
        if tracer is not None and self.journal is not None:
            tracer.log = self.log_call
        self.tracer = tracer
        run.record = Watched(self)

    def _trace(self, job: Job, wanted: dict[str, Any], run: Run) -> Tracer:
        from seclude.supervise.tracer import Tracer, Wanted
        from seclude.supervise.tracer_output import Output

        if not run.trace or not run.report:
            raise _untraced(job, run)
        name = wanted.get("trace_file")
        fd = 1 if name == "-" else 2
        if name is not None and name != "-":
            try:
                fd = self._file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise UsageError(f"--trace-file {name}: {error.strerror}", "name a file that you can write") from None
        colour = os.isatty(fd) and not os.environ.get("NO_COLOR")
        self.output = Output(fd, colour=colour)
        shown = Wanted(job.artifact.summary.get("traced", "!"))
        size = str(wanted.get("trace_size") or "32")
        if not size.isdigit() or int(size) > 65536:
            raise UsageError(f"--trace-size {size}: expected a number of bytes, up to 65536", "strace shows 32")
        self._limit = int(size)
        counts = None
        if wanted.get("trace_count"):
            from seclude.supervise.tracer_counts import Counts

            counts = Counts(failed=bool(wanted.get("trace_failed")))
        made = Tracer(run.kernel, self.output, shown, failed=bool(wanted.get("trace_failed")), counts=counts, limit=self._limit)
        made.settle = self._settle
        return made

    def program(self, artifact: Artifact, program: bytes) -> bytes:
        """The filter to load: with a trace, the one whose TRACE answers are for us."""
        return program if self.tracer is None else artifact.reported

    def calls(self, others: Calls | None) -> Calls | None:
        """Who is to be told of calls: the tracer, and the engine that decides them."""
        if self.tracer is None or others is None:
            return self.tracer or others
        from seclude.supervise.observer import Together

        return Together(self.tracer, others)

    @property
    def waiting(self) -> bool:
        """Whether `idle` has something to do."""
        return self.output is not None and (self.output.waiting or (self.tracer is not None and self.tracer.waiting))

    @property
    def overdue(self) -> bool:
        """Whether text has been held back for long enough."""
        return time.monotonic() - self._wrote > self.MOMENT / 1000

    def denied(self, denial: Denial, text: str) -> None:
        """A denial was delivered."""
        from seclude.abi import ARCHITECTURES, arch
        from seclude.abi.constants import errno_number
        from seclude.supervise.tracer_text import failure

        if self.tracer is None:
            return
        outcome = "?"
        if denial.result != "SIGSYS":
            here = arch(denial.arch) if denial.arch in ARCHITECTURES else None
            number = errno_number(denial.result, here) if here is not None else None
            outcome = failure(here, number) if here is not None and number is not None else f"-1 {denial.result}"
        self.tracer.answered(denial.tid, text, outcome)

    # -- handlers

    def _settle(self, tid: int) -> None:
        if self._run.supervision is not None:
            self._run.supervision.settle(tid)

    def seen(self, tid: int, token: int, nr: int, args: tuple[int, ...], result: int | None = None) -> Seen:
        """What a call looks like that handlers decided, before its answer is given. Any thread may ask."""
        if self.tracer is None and self.journal is None:
            return "", ""
        from seclude.supervise.tracer_format import find
        from seclude.supervise.tracer_memory import View

        view = View(self._run.kernel.read, self._limit)
        view.tid = tid
        form = find(token, nr)
        return (form.whole(view, args), "") if result is None else form.finished(view, args, result)

    def decided(
        self, tid: int, token: int, nr: int, args: tuple[int, ...], seen: Seen, verdict: str, handler: str, result: int | None = None
    ) -> None:
        """A verdict that denies nothing."""
        from seclude.supervise.tracer_format import find
        from seclude.supervise.tracer_text import failure

        form = find(token, nr)
        text, outcome = seen
        if result is None:
            outcome = "?"
        elif not outcome:
            outcome = failure(form.arch, -result) if result < 0 else str(result)
        if self.journal is not None:
            words = [hex(word) for word in args]
            self._log(
                "verdict", tid=tid, arch=form.arch.name, call=form.name, nr=nr, args=words, text=text, result=verdict, handler=handler,
                returned=result,
            )  # fmt: skip
        # What the ptrace engine decides the tracer sees itself, with its result.
        if self.tracer is not None and self._job.supervision.get("engine") != "ptrace" and form.name in self.tracer.wanted:
            # A broker's answer is the kernel's, as the target would have had it; of a handler nobody knows what it was made of.
            by = "" if handler.startswith("--") or not handler else f" ({'allowed ' if verdict == 'Allow' else ''}by {handler})"
            self.tracer.verdicts.append((tid, text, outcome, by))

    # -- the log

    def _log(self, event: str, **fields: Any) -> None:
        """One line; before the first, what this run is."""
        if self.journal is None:
            return
        if not self._begun:
            self._begun = True
            self.journal.write(
                "start",
                supervisor=os.getpid(),
                command=[word.decode("utf-8", "backslashreplace") for word in self._job.argv],
                policy=self._job.artifact.name,
                main=self._run.main,
            )
        self.journal.write(event, supervisor=os.getpid(), **fields)

    def log_denial(self, denial: Denial) -> None:
        """A denial was delivered."""
        self._log(
            "denied",
            tid=denial.tid,
            arch=denial.arch,
            call=denial.call,
            nr=denial.nr,
            # 64-bit words do not survive every JSON reader
            args=[hex(word) for word in denial.args],
            ip=hex(denial.ip),
            text=denial.text,
            action=denial.action,
            result=denial.result,
            reason=denial.reason,
            where=denial.where,
        )

    def log_call(self, tid: int, form: Format, args: tuple[int, ...], text: str, outcome: str) -> None:
        """A traced call is over."""
        self._log("call", tid=tid, arch=form.arch.name, call=form.name, args=[hex(word) for word in args], text=text, result=outcome)

    def idle(self) -> None:
        """Nothing else to do."""
        if self.tracer is not None:
            self.tracer.show()
        self._wrote = time.monotonic()
        if self.output is not None:
            self.output.flush()

    def finish(self, result: Result) -> None:
        """The run is over: say what was counted, and what was lost."""
        if self.tracer is not None and self.tracer.counts is not None and self.output is not None:
            self.output.text(self.tracer.counts.table())
        self.idle()
        if self.output is not None and self.output.lost:
            result.notes.append(f"{self.output.lost} characters of the trace could not be written")

        if self.journal is not None:
            self._log("end", code=result.code, signal=result.signal, limit=result.limit, denied=sum(one.count for one in result.denials))
            self.journal.close()
            if self.journal.lost:
                result.notes.append(f"{self.journal.lost} lines of the log could not be written")

    def close(self) -> None:
        """Close what was opened."""
        if self.journal is not None:
            self.journal.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
