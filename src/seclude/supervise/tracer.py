"""Show calls while they happen, as strace(1) shows them: a `Calls` of the observer that writes a line a call.

A line is begun before its call runs and ended behind it. Where another thread has something to say meanwhile, the line is left
``<unfinished ...>`` and taken up again as ``<... read resumed>``, so that what stands in the output is the order in which things happened. What is begun
is only kept in memory: `Output` writes it when the loop has nothing else to do, so that a call that waits is seen waiting.

Denied calls are shown in place too, by `denied`: whoever answers them tells the record, and the record tells us.

What can still go wrong: arguments are read before the call runs, and the target's other threads may change them before the kernel reads them. A thread that is
killed inside a call never comes back from it: its line ends with ``= ?``. A call restarted after a signal is shown twice, as it happens twice.
"""

from __future__ import annotations

from seclude.abi import native
from seclude.kernel import calls
from seclude.supervise.observer import GO, LEAVE
from seclude.supervise.tracer_format import find
from seclude.supervise.tracer_memory import View
from seclude.supervise.tracer_signals import signal_text
from seclude.supervise.tracer_structs import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from seclude.kernel.protocol import Kernel
    from seclude.kernel.registers import Stopped
    from seclude.supervise.tracer_counts import Counts
    from seclude.supervise.tracer_format import Format
    from seclude.supervise.tracer_output import Output

    class Reader(Protocol):
        """`seclude.kernel.calls`, or a model of it."""

        def call_result(self, tid: int) -> int: ...
        def copy(self, tid: int, address: int, size: int) -> bytes | None: ...


__all__ = ["Tracer", "Wanted"]

_COLUMN = 40  # where results stand
_PAD = [" " * (_COLUMN - length) if length < _COLUMN else " " for length in range(_COLUMN + 1)]


class Wanted:
    """The calls that are shown: ``names``, or all ``others``."""

    __slots__ = ("names", "others")

    def __init__(self, text: str) -> None:
        """``text`` is `seclude.policy.chosen.chosen`'s answer: ``!`` for all others, then names, comma between."""
        self.others = text.startswith("!")
        self.names = frozenset(filter(None, text.removeprefix("!").split(",")))

    def __contains__(self, name: str) -> bool:
        return (name in self.names) is not self.others


class _Open:
    """A call that a thread is in: how it is shown, its arguments, what of its line was written, and in which state the line is."""

    __slots__ = ("args", "broken", "denied", "form", "text", "waits")

    def __init__(self, form: Format, args: tuple[int, ...], text: str) -> None:
        self.form = form
        self.args = args
        self.text = text
        self.broken = False
        self.denied = False
        self.waits = False  # for a thread of ours, and not in the kernel: nobody tells of its end but who answers it


class Tracer:
    """One run's trace. ``failed`` shows only calls that fail; ``output`` takes text; ``wanted`` says which denied calls are shown; ``reader`` is how a
    stopped thread is looked at.
    """

    __slots__ = (
        "_calls",
        "_failed",
        "_head",
        "_kernel",
        "_line",
        "_output",
        "_reader",
        "_text",
        "_threads",
        "_view",
        "_written",
        "counts",
        "log",
        "settle",
        "verdicts",
        "wanted",
    )

    def __init__(
        self,
        kernel: Kernel,
        output: Output,
        wanted: Wanted,
        *,
        failed: bool = False,
        counts: Counts | None = None,
        limit: int = 32,
        reader: Reader = calls,
    ) -> None:
        self._kernel = kernel
        self._output = output
        self._failed = failed
        self.wanted = wanted
        self._reader = reader
        self._view = View(reader.copy, limit)
        self._calls: dict[int, _Open] = {}
        self._head = self._text = ""  # of the line that is begun
        self._written = False  # whether the output has it
        self._line = 0  # the thread whose line is begun and not ended, 0: none
        self._threads: set[int] = set()
        self.counts = counts
        #: calls that handlers decided and did not deny: thread, text, what came of it, by whom. Shown before the next line.
        self.verdicts: list[tuple[int, str, str, str]] = []
        #: has told what other threads have answered a thread: its next call is not to be shown before that one
        self.settle: Callable[[int], None] | None = None
        #: told of every call that is over: thread, form, arguments, text before, text behind, outcome
        self.log: Callable[[int, Format, tuple[int, ...], str, str], None] | None = None

    # -- what the observer tells -----------------------------------------------------------------------------------------

    def entered(self, tid: int, call: Stopped) -> int:
        """See `seclude.supervise.observer.Calls`."""
        nr, token, _, args, _ = call
        form = find(token, nr)
        if form.name not in self.wanted:  # it stops for handlers
            return GO
        self._settled(tid)
        if self.counts is not None:
            self.counts.begin(tid)
            if self.log is None:
                self._calls[tid] = _Open(form, args, "")
                return LEAVE
        view = self._view
        view.tid, view.failed = tid, False
        text = form.entry(view, args)
        if tid in self._calls:
            self._abandon(tid)
        self._calls[tid] = _Open(form, args, text)
        if not self._failed and self.counts is None:
            self._begin(tid, text)
        return LEAVE

    def left(self, tid: int) -> None:
        """See `seclude.supervise.observer.Calls`."""
        open_ = self._calls.pop(tid, None)
        if open_ is None:
            return
        view, form, args = self._view, open_.form, open_.args
        view.tid = tid
        result = view.result = self._reader.call_result(tid)
        view.failed = -4096 < result < 0
        if self.counts is not None:
            self.counts.end(tid, form.name, view.failed)
            if self.log is None:
                return
        rest = form.rest(view, args) + ")"
        outcome = form.outcome(view, args)
        if self.log is not None:
            self.log(tid, form, args, open_.text + rest, outcome)
        if self.counts is not None:
            return
        if not self._failed:
            self._end(tid, open_, rest, outcome)
        elif view.failed:
            self._end(tid, open_, rest, outcome, whole=True)

    def signalled(self, tid: int, signal: int) -> None:
        """See `seclude.supervise.observer.Calls`."""
        self._event(tid, f"--- {signal_text(signal, self._kernel.signal_info(tid))} ---", "signal")

    def stopped(self, tid: int, signal: int) -> None:
        """See `seclude.supervise.observer.Calls`."""
        self._event(tid, f"--- stopped by {signal_name(native(), signal)} ---", "signal")

    def began(self, tid: int, parent: int) -> None:  # noqa: ARG002 - the protocol's
        """See `seclude.supervise.observer.Calls`."""
        self._threads.add(tid)

    def executed(self, tid: int, former: int) -> None:
        """See `seclude.supervise.observer.Calls`."""
        if former == tid:
            return
        # The thread that called execve goes on under its process's number; what the others were in is over.
        self._threads.discard(former)
        moved = self._calls.pop(former, None)
        if tid in self._calls:
            self._abandon(tid)
        if moved is not None:
            if self._line == former:
                self._break()
            moved.broken = not self._failed
            self._calls[tid] = moved
            self._event(tid, f"+++ superseded by execve in pid {former} +++", "exit")

    def gone(self, tid: int, status: int) -> None:
        """See `seclude.supervise.observer.Calls`."""
        self._settled(tid)
        if tid in self._calls:
            self._abandon(tid)
        if tid not in self._threads:
            return
        if status & 0x7F:
            core = " (core dumped)" if status & 0x80 else ""
            text = f"+++ killed by {signal_name(native(), status & 0x7F)}{core} +++"
        else:
            text = f"+++ exited with {status >> 8 & 0xFF} +++"
        self._event(tid, text, "exit")
        self._threads.discard(tid)

    # -- denials -----------------------------------------------------------------------------------------------------------

    def denied(self, tid: int, token: int, nr: int, args: tuple[int, ...]) -> str | None:
        """The text of a call that is about to be denied, its memory still as it was; None where it is not shown."""
        form = find(token, nr)
        if form.name not in self.wanted:
            return None
        view = View(self._kernel.read, self._view.limit)  # of its own: handlers' threads tell of denials too
        view.tid = tid
        return form.whole(view, args)

    def waits(self, tid: int, token: int, nr: int, args: tuple[int, ...]) -> None:
        """The call is done by a thread of ours, which may take its time: its line is begun."""
        form = find(token, nr)
        if form.name not in self.wanted:
            return
        self._settled(tid)
        if self.counts is not None:
            self.counts.begin(tid)
            return
        view = View(self._kernel.read, self._view.limit)
        view.tid = tid
        open_ = self._calls[tid] = _Open(form, args, form.entry(view, args))
        open_.waits = True
        if not self._failed:
            self._begin(tid, open_.text)

    def _answered(self, tid: int, text: str, outcome: str, *, denied: bool = False) -> bool:
        """End the line of a call that waited for a thread of ours. False where there is none."""
        open_ = self._calls.get(tid)
        if open_ is None or not open_.waits:
            return False
        del self._calls[tid]
        open_.denied = denied
        rest = text[len(open_.text) :] if text.startswith(open_.text) else "...)"  # it changed meanwhile
        self._end(tid, open_, rest, outcome, whole=self._failed)
        return True

    def answered(self, tid: int, text: str, outcome: str) -> None:
        """The denied call has its answer: ``-1 EPERM (...)``, or ``?``."""
        if self.counts is None and self._answered(tid, text, outcome, denied=True):
            return
        open_ = self._calls.get(tid)
        if open_ is not None:  # a call that a tracer decides: its line is begun, and its end will be seen
            open_.denied = True
            return
        if self.counts is not None:
            self.counts.end(tid, text.partition("(")[0], failed=True)
            return
        self._begin(tid, text)
        self._finish(outcome, denied=True)

    def catch_up(self) -> None:
        """Show the verdicts of handlers that were told meanwhile."""
        told, self.verdicts = self.verdicts, []  # none of them is to show another before itself
        for tid, text, outcome, by in told:
            failed = outcome.startswith("-1 ")
            if self.counts is not None:
                self.counts.end(tid, text.partition("(")[0], failed=failed)
            elif not failed and self._failed:
                self._calls.pop(tid, None)
            elif not self._answered(tid, text, outcome + by):
                self._begin(tid, text)
                self._finish(outcome + by)

    def _settled(self, tid: int) -> None:
        """Show what this thread was answered: it is somewhere else by now."""
        if self.settle is not None:
            self.settle(tid)
        if self.verdicts:
            self.catch_up()

    # -- lines -------------------------------------------------------------------------------------------------------------

    def _prefix(self, tid: int) -> str:
        return f"[pid {tid:5}] " if len(self._threads) > 1 else ""

    def _begin(self, tid: int, text: str) -> None:
        if self.verdicts:
            self.catch_up()
        if self._line:
            self._break()
        self._line, self._text, self._written = tid, text, False
        self._head = f"[pid {tid:5}] " if len(self._threads) > 1 else ""

    @property
    def waiting(self) -> bool:
        """Whether there is anything that `show` would write."""
        return bool(self.verdicts) or (self._line != 0 and not self._written)

    def show(self) -> None:
        """Give the line that is begun to the output, since nothing else happens."""
        if self.verdicts:
            self.catch_up()
        if self._line and not self._written:
            self._output.write(self._head, self._text)
            self._written = True

    def _break(self) -> None:
        """Leave the begun line; its call goes on."""
        open_ = self._calls.get(self._line)
        if open_ is not None:
            open_.broken = True
        if not self._written:
            self._output.write(self._head, self._text)
        self._output.text(" <unfinished ...>\n", "dim")
        self._line = 0

    def _end(self, tid: int, open_: _Open, rest: str, outcome: str, whole: bool = False) -> None:
        if whole:
            self._begin(tid, open_.text)
        elif self._line != tid or open_.broken:
            self._begin(tid, f"<... {open_.form.name} resumed>")
        self._finish(outcome, rest, denied=open_.denied)

    def _finish(self, outcome: str, rest: str = "", denied: bool = False) -> None:
        output = self._output
        column = len(self._head) + len(self._text) + len(rest)
        padding = _PAD[column] if column < _COLUMN else " "
        if self._written or output.colour:
            if not self._written:
                output.write(self._head, self._text)
            output.text(rest)
            output.outcome(padding, outcome, denied)
        elif denied:
            output.text(f"{self._head}{self._text}{rest}{padding}= {outcome} (DENIED)\n")
        else:
            output.text(f"{self._head}{self._text}{rest}{padding}= {outcome}\n")
        self._line = 0

    def _event(self, tid: int, text: str, kind: str) -> None:
        if self.counts is not None:
            return
        self._settled(tid)
        if self._line:
            self._break()
        self._output.text(self._prefix(tid) + text + "\n", kind)

    def _abandon(self, tid: int) -> None:
        """The thread will not come back from its call."""
        open_ = self._calls.pop(tid)
        if self._failed or self.counts is not None:
            return
        rest = ")" if not open_.form.behind else " <unfinished ...>)"
        self._end(tid, open_, rest, "?")
