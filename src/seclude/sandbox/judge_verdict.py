"""One judged run: its verdict, and what the verdict rests on.

Several things can be true of one run, so they have an order, and the first that holds is the verdict:

==================  =========================================================================================================
disallowed call     the policy ended a thread or a process of the run for a call, or trapped one (kill_process, kill_thread,
                    trap), whoever of the tree made it. A call refused with an errno decides nothing: the program may go
                    on without it, and is judged by what becomes of it; it is listed.
memory limit        the kernel ended a process of the run for its memory (the cgroup counts them). Where only each process's
                    address space is bound: the command failed, and its address space had come within 1/16 of the limit.
output limit        it wrote more than the limit, to its streams together or to one file (SIGXFSZ)
time limit          the CPU time of all its processes, or the time on the clock, reached its limit; CPU time also where
                    it ended by itself before anybody looked
runtime error       it ended with another status than 0, or by a signal
wrong answer        its output is not the expected one
accepted            none of these
==================  =========================================================================================================

A failure to allocate (MemoryError, bad_alloc) is a runtime error where nothing but the program itself says that memory was short.
"""

from __future__ import annotations

from seclude.kernel.signals import csignal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from seclude.sandbox.judge_compare import Difference
    from seclude.sandbox.limits import Limits
    from seclude.sandbox.result import Result
    from seclude.supervise.record import Denial

__all__ = ["VERDICTS", "Judgement", "decide", "size"]

VERDICTS = ("accepted", "wrong answer", "time limit", "memory limit", "output limit", "runtime error", "disallowed call")
_DECIDING = ("kill_process", "kill_thread", "trap")


class Judgement:
    """What came of one judged run.

    ``name``      the case's name, or ""
    ``verdict``   one of `VERDICTS`; ``accepted`` says whether it is the first
    ``reason``    what the verdict rests on, in words; "" for accepted
    ``limit``     which limit: "cpu", "wall", "memory", "output", or ""
    ``cpu``, ``wall``  seconds; ``cpu`` of all processes
    ``memory``    peak bytes, as the limit counts them
    ``resident``  peak bytes of the largest process's resident set: what wait4 says, and counts mapped files too
    ``output``    bytes written to stdout and stderr
    ``status``, ``signal``  how the command ended: one of them is None
    ``denied``    the call that the verdict is about, with its rule, or None
    ``denials``   every kind of denied call
    ``difference``  where the output first differs, or None
    ``stdout``, ``stderr``  what was written, as far as the limit let it
    ``bound_by``  limit → what enforced it: "cgroup", "rlimit", "engine", joined by "+"; "guard" where that ended it, since the supervisor was held
    ``ended_by``  how what was left at the end was ended: "" (nothing was left), "cgroup", "subreaper"
    ``notes``     what the user should know, each a sentence
    """

    __slots__ = (
        "bound_by", "cpu", "denials", "denied", "difference", "ended_by", "limit", "memory", "name", "notes", "output", "reason", "resident", "signal",
        "status", "stderr", "stdout", "verdict", "wall",
    )  # fmt: skip

    def __init__(self, result: Result, verdict: str, reason: str, limit: str = "", denied: Denial | None = None) -> None:
        self.name = ""
        self.verdict = verdict
        self.reason = reason
        self.limit = limit
        self.denied = denied
        self.difference: Difference | None = None
        self.stdout = result.stdout or b""
        self.stderr = result.stderr or b""
        self.output = len(self.stdout) + len(self.stderr)
        self.cpu, self.wall, self.memory = result.cpu, result.wall, result.memory
        self.resident = result.resident
        self.status, self.signal = result.status, result.signal
        self.denials = result.denials
        self.bound_by = result.bound_by
        self.ended_by = result.ended_by
        self.notes = result.notes

    @property
    def accepted(self) -> bool:
        return self.verdict == "accepted"

    def __repr__(self) -> str:
        return f"Judgement({self.verdict!r}, {self.reason!r})"

    def to_plain(self, *, hints: bool = True) -> dict[str, Any]:
        """Fields as plain values for JSON; without ``hints`` nothing of what was expected. Outputs stay out."""
        out: dict[str, Any] = {
            name: getattr(self, name) for name in ("name", "verdict", "reason", "limit", "cpu", "wall", "memory", "resident", "output")
        }
        out |= {name: getattr(self, name) for name in ("status", "signal", "bound_by", "ended_by", "notes")}
        out["denied"] = _call(self.denied) if self.denied is not None else None
        out["denials"] = [_call(denial) for denial in self.denials]
        out["difference"] = None
        if self.difference is not None:
            from seclude.sandbox.judge_compare import shown

            found, expected = self.difference.found, self.difference.expected
            out["difference"] = {
                "line": self.difference.line,
                "column": self.difference.column,
                "found": found if found is None else shown(found),
            }
            if hints:
                out["difference"]["expected"] = expected if expected is None else shown(expected)
            else:
                out["reason"] = self.difference.describe(hints=False)
        return out


def _call(denial: Denial) -> dict[str, Any]:
    return {name: getattr(denial, name) for name in ("call", "arch", "text", "action", "result", "count", "rule", "suggestion")}


def decide(result: Result, limits: Limits) -> Judgement:
    """The verdict on a run that has ended, without its output: "accepted" still depends on that."""
    denied = next((denial for denial in result.denials if denial.action in _DECIDING), None)
    if denied is not None:
        return Judgement(result, "disallowed call", denied.text, denied=denied)
    if result.signal == csignal.SIGSYS and "ptrace" not in result.reporting:
        return Judgement(result, "disallowed call", "ended by SIGSYS; the call cannot be named without tracing")
    memory = limits.memory
    if memory is not None and (result.oom_kills or result.limit == "memory"):
        return Judgement(result, "memory limit", f"more than {size(memory)}", "memory")
    failed = result.status != 0
    if (
        memory is not None
        and failed
        and not result.limit
        and result.bound_by.get("memory") == "rlimit"
        and result.address_space > memory - memory // 16
    ):
        return Judgement(result, "memory limit", f"its address space reached {size(result.address_space)} of {size(memory)}", "memory")
    if result.limit == "output":
        return Judgement(result, "output limit", f"more than {size(limits.output or 0)}", "output")
    if result.limit == "wall":
        return Judgement(result, "time limit", f"still running after {limits.wall:g} s", "wall")
    if result.limit == "cpu" or (limits.cpu is not None and result.cpu > limits.cpu):
        return Judgement(result, "time limit", f"{result.cpu:.3f} s of CPU time, {limits.cpu:g} s allowed", "cpu")
    if result.signal is not None:
        from seclude.sandbox.report import signal_name

        return Judgement(result, "runtime error", f"ended by {signal_name(result.signal)}")
    if failed:
        return Judgement(result, "runtime error", f"exit status {result.status}")
    return Judgement(result, "accepted", "")


def size(number: int) -> str:
    """Bytes as a person writes them: ``64 MiB``, ``1.5 KiB``, ``12 bytes``."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if number >= 1 << shift:
            return f"{number / (1 << shift):.4g} {unit}"
    return f"{number} bytes"
