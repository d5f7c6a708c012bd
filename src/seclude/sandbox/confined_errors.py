"""What a confined function's caller gets instead of a value, and the value with what happened on the way.

Texts that came from a worker are a stranger's: they are cut, and escaped wherever they become part of a message.
"""

from __future__ import annotations

from seclude.errors import InputError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from seclude.supervise.record import Denial

__all__ = ["ConfinedEnded", "ConfinedError", "ConfinedRaised", "ConfinedTimeout", "ConfinedViolation", "Outcome"]

SHOWN = 5  # kinds of denied call in a message


class ConfinedError(InputError):
    """The function did not return a plain value. The subclasses say why; this one itself: it returned something else, too much, or garbage.

    ``denials`` is what the policy denied it before, each kind once, with rule and remedy (`seclude.supervise.record.Denial`).
    """

    denials: list[Denial]

    def __init__(self, message: str, remedy: str = "", denials: Iterable[Denial] = ()) -> None:
        self.denials = list(denials)
        shown = "".join(f"\n    {_line(denial)}" for denial in self.denials[:SHOWN])
        more = f"\n    and {len(self.denials) - SHOWN} more kinds of denied call" if len(self.denials) > SHOWN else ""
        super().__init__(message + shown + more, remedy)


class ConfinedRaised(ConfinedError):  # noqa: N818 - the name says what happened
    """The function raised. ``type_name`` is the exception's qualified name, ``text`` its str(), ``trace`` lines of file, line and function.

    All three are what the worker said, cut; in the message they are escaped.
    """

    def __init__(self, type_name: str, text: str, trace: tuple[str, ...], denials: Iterable[Denial] = ()) -> None:
        self.type_name = type_name
        self.text = text
        self.trace = trace
        shown = "".join(f"\n    {_one_line(line)}" for line in trace[-5:])
        said = f": {printable(text[:2000])}" if text else ""
        super().__init__(f"the function raised {_one_line(type_name)}{said}{shown}", "", denials)


class ConfinedViolation(ConfinedError):  # noqa: N818 - the name says what happened
    """The policy ended the worker: a call that kills or traps. ``call`` is its name, or None where it could not be observed."""

    def __init__(self, message: str, remedy: str, denials: Iterable[Denial], call: str | None) -> None:
        self.call = call
        super().__init__(message, remedy, denials)


class ConfinedTimeout(ConfinedError):  # noqa: N818 - the name says what happened
    """A limit of time ended the worker; ``limit`` is ``timeout`` or ``cpu``."""

    def __init__(self, limit: str, denials: Iterable[Denial]) -> None:
        self.limit = limit
        super().__init__(f"the function reached the limit {limit} and was ended", f"give it a larger {limit}=, or less to do", denials)


class ConfinedEnded(ConfinedError):  # noqa: N818 - the name says what happened
    """The worker ended without an answer: ``status`` is its exit status or None, ``signal`` what ended it or None."""

    def __init__(self, message: str, remedy: str, denials: Iterable[Denial], status: int | None, signal: int | None) -> None:
        self.status = status
        self.signal = signal
        super().__init__(message, remedy, denials)


class Outcome:
    """One call that returned: its ``value``, the ``denials`` that it met on the way, ``cpu`` seconds and peak ``memory`` bytes of its worker.

    ``overflow`` counts denied calls beyond the kinds that are kept; ``reporting`` is what was in force ("notify+ptrace" at best),
    ``notes`` what the user should know. Of a reused worker ``denials`` are those since it was last asked, and the numbers are 0: it has not ended.
    """

    __slots__ = ("cpu", "denials", "memory", "notes", "overflow", "reporting", "value")

    def __init__(self, value: Any, report: dict[str, Any], denials: list[Denial]) -> None:
        self.value = value
        self.denials = denials
        self.overflow: int = report.get("overflow", 0)
        self.cpu: float = report.get("cpu", 0.0)
        self.memory: int = report.get("memory", 0)
        self.reporting: str = report.get("reporting", "none")
        self.notes: list[str] = report.get("notes", [])

    def __repr__(self) -> str:
        return f"Outcome({self.value!r}, denials={self.denials!r})"


def _one_line(text: str) -> str:
    return printable(text[:300]).replace("\n", "\\n")


def _line(denial: Denial) -> str:
    parts = [f"denied {denial.count}\N{MULTIPLICATION SIGN}  {denial.text} \N{RIGHTWARDS ARROW} {denial.result}"]
    if denial.rule:
        parts.append(f"rule: {denial.rule}")
    if denial.suggestion:
        parts.append(f'to allow: rules=[("allow", "{_rule(denial.suggestion)}")]')
    return "   ".join(parts)


def _rule(suggestion: str) -> str:
    """The rule out of ``--allow 'RULE'``, which is how the command line has it."""
    return suggestion.removeprefix("--allow").strip().strip("'")
