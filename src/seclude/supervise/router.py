"""From a call to its verdict: which handlers are asked, and what becomes of what they answer. The same for both engines.

What an engine uses, in this order::

    router = Router(handlers, architectures, gives=GIVES)     UsageError where a handler may answer what the engine cannot do
    chain = router.find(token, nr)                            the handlers of a call, or None: then answer ENOSYS and report "notify"/"trace"
    router.place(chain)                                       "loop", "pool" or "async": where `decide` may run
    decided = router.decide(chain, call)                      never raises but `Gone`; a raising handler is a Deny with its reason
    await router.decide_async(chain, call)                    the same for "async"
    decided = router.perform(decided, call)                   runs an `Emulate`, in a thread; the verdict after it is final
    key, denial = router.denial(call, decided, value)         for the record, where ``decided.told``

Handlers of one call are asked in the order given; the first verdict other than `Allow` stands. An `Allow` after anything was read from the target's memory
would be a promise about memory that can change: it is turned into emulation where ``performers`` has a function for the call, and refused elsewhere.
"""

from __future__ import annotations

import _thread
import os

from seclude.errors import UsageError, printable
from seclude.supervise.call import Gone, Unreadable
from seclude.supervise.record import Denial
from seclude.supervise.verdict import Allow, Deny, Emulate, Inject, Kill, Return, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from typing import Literal, TypeAlias

    from seclude.abi import Architecture
    from seclude.supervise.call import Call
    from seclude.supervise.handlers import Handler

    Chain: TypeAlias = tuple[Handler, ...]
    Performer: TypeAlias = Callable[[Call], int | Verdict]

__all__ = ["Decided", "Router", "discard", "expand"]

_LONGEST_REASON = 300


class Decided:
    """A verdict that stands. ``handler`` is whose it is; ``reason`` why a call was denied; ``told`` whether it belongs into the report."""

    __slots__ = ("handler", "may", "reason", "told", "verdict")

    def __init__(self, verdict: Verdict, handler: str, reason: str = "", *, may: frozenset[type[Verdict]] = frozenset()) -> None:
        self.verdict = verdict
        self.handler = handler
        self.reason = reason
        self.may = may
        self.told = isinstance(verdict, (Deny, Kill))

    def __repr__(self) -> str:
        return f"Decided({self.verdict!r}, {self.handler}, {self.reason!r})"


class Router:
    """Handlers by call. ``architectures``: those whose calls are handled; ``gives``: the verdicts that the engine can give (None: any).

    ``performers``: call name → what does the call on the supervisor's side, from the copies in the `Call`. Raises `UsageError` for a call that
    no architecture has, and for a declared verdict that the engine cannot give.
    """

    __slots__ = ("_chains", "_one_by_one", "beside", "handlers", "interrupted", "performers", "wait")

    def __init__(
        self,
        handlers: Iterable[Handler],
        architectures: Sequence[Architecture],
        *,
        gives: frozenset[type[Verdict]] | None = None,
        engine: str = "",
        performers: Mapping[str, Performer] | None = None,
    ) -> None:
        self.handlers = tuple(handlers)
        self.performers = dict(performers or {})
        #: plain handlers that must not hold the engine's loop all the same, since it has clocks to keep: they run in a thread, still one at a time
        self.beside: frozenset[Handler] = frozenset()
        self._one_by_one = _thread.allocate_lock()
        #: the KeyboardInterrupt that a handler was left by: the call is denied, and whose loop it is may end it
        self.interrupted: KeyboardInterrupt | None = None
        #: runs a coroutine to its end from a pool's thread; set by the engine that has an event loop
        self.wait: Callable[[Awaitable[Verdict]], Verdict] | None = None
        chains: dict[tuple[int, int], list[Handler]] = {}
        for one in self.handlers:
            lacking = one.may - gives if gives is not None else frozenset()
            if lacking:
                names = ", ".join(sorted(kind.__name__ for kind in lacking))
                raise UsageError(f"handler {one.name} may answer {names}, which the engine {engine} cannot do", _remedy(engine))
            found = False
            for name in expand(one):
                for arch in architectures:
                    number = arch.number(name)
                    if number is not None:
                        found = True
                        chain = chains.setdefault((arch.token, number), [])
                        if one not in chain:
                            chain.append(one)
            if not found:
                raise UsageError(
                    f"handler {one.name}: {', '.join(architecture.name for architecture in architectures)} has none of its calls",
                    "see: seclude syscalls",
                )
        self._chains = {key: tuple(chain) for key, chain in chains.items()}

    @property
    def calls(self) -> Iterable[tuple[int, int]]:
        """AUDIT_ARCH token and number of every call that has a handler."""
        return self._chains.keys()

    def find(self, token: int, nr: int) -> Chain | None:
        """The handlers of a call, in the order in which they are asked; None where nobody handles it."""
        return self._chains.get((token, nr))

    def place(self, chain: Chain) -> Literal["loop", "pool", "async"]:
        """Where the handlers of ``chain`` may run: in the engine's loop, in a thread of its pool, or in its event loop."""
        place: Literal["loop", "async"] = "loop"
        for one in chain:
            if one.threads or (one in self.beside and not one.is_async):
                return "pool"
            if one.is_async:
                place = "async"
        return place

    def decide(self, chain: Chain, call: Call) -> Decided:
        """Ask the handlers. Raises `Gone` where the call does not wait any more, and nothing else."""
        answer: object
        for one in chain:
            try:
                if one in self.beside:
                    with self._one_by_one:
                        answer = one.function(call)
                else:
                    answer = one.function(call)
                if one.is_async:
                    if self.wait is None:
                        raise UsageError("an async handler needs an engine with an event loop")
                    answer = self.wait(answer)  # type: ignore[arg-type]
            except Gone:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever a handler raises denies
                if isinstance(error, KeyboardInterrupt):
                    self.interrupted = error
                return _raised(one, error)
            decided = _checked(one, answer)
            if type(decided.verdict) is not Allow:
                return decided
        return self._allowed(decided, call)

    async def decide_async(self, chain: Chain, call: Call) -> Decided:
        """As `decide`, in an event loop."""
        answer: object
        for one in chain:
            try:
                answer = one.function(call)
                if one.is_async:
                    answer = await answer  # type: ignore[misc]
            except Gone:
                raise
            except BaseException as error:  # noqa: BLE001 - as in `decide`
                return _raised(one, error)
            decided = _checked(one, answer)
            if type(decided.verdict) is not Allow:
                return decided
        return self._allowed(decided, call)

    def _allowed(self, decided: Decided, call: Call) -> Decided:
        if not call.reads:
            return decided
        performer = None if call.reads_more else self.performers.get(call.name)
        if performer is not None:
            return Decided(Emulate(performer), decided.handler, may=decided.may)
        return Decided(
            Deny("EPERM"),
            decided.handler,
            f"handler {decided.handler} allowed it after looking at the target's memory, which may be another by the time the kernel looks: "
            "answer Emulate or Inject, or decide without looking",
        )

    def perform(self, decided: Decided, call: Call) -> Decided:
        """Run the function of an `Emulate`, and check what it answers. Raises `Gone`, and nothing else."""
        verdict = decided.verdict
        if not isinstance(verdict, Emulate):
            return decided
        name = decided.handler
        try:
            answer = verdict.function(call)
        except Gone:
            raise
        except OSError as error:
            return Decided(Return(-error.errno) if error.errno else Deny("EPERM"), name, "" if error.errno else _text(error))
        except BaseException as error:  # noqa: BLE001 - as in `decide`
            return Decided(Deny("EPERM"), name, f"emulated by handler {name}, which raised {_text(error)}")
        if isinstance(answer, bool) or not isinstance(answer, (int, Verdict)):
            return Decided(Deny("EPERM"), name, f"emulated by handler {name}, which answered {_shown(answer)}: no int and no verdict")
        if isinstance(answer, int):
            try:
                return Decided(Return(answer), name)
            except UsageError as error:  # what a target put into a register, as an unsigned number, say
                return Decided(Deny("EPERM"), name, f"emulated by handler {name}, which answered {_text(error)}")
        if type(answer) is Emulate or (type(answer) is Allow and (call.reads or Allow not in decided.may)):
            discard(answer)
            return Decided(Deny("EPERM"), name, f"emulated by handler {name}, which answered {type(answer).__name__} there")
        return Decided(answer, name, _why(answer, name))

    def denial(self, call: Call, decided: Decided, value: int) -> tuple[tuple[object, ...], Denial]:
        """What the record keeps of a verdict that denies; ``value`` is the policy's own (notify, or trace with its data). Raises `Gone`."""
        from seclude.supervise.describe import describe
        from seclude.supervise.notifications import errno_text

        arch, name, text, key = describe(call.kernel, call.tid, call.token, call.nr, call.raw)
        result = "SIGKILL"
        if isinstance(decided.verdict, Deny):
            result = errno_text(arch, decided.verdict.number(arch))
        denial = Denial(
            call=name, arch=arch, nr=call.nr, token=call.token, ip=call.ip, args=call.raw, text=text, action="handler", result=result,
            value=value, reason=decided.reason, suggestion=getattr(decided.verdict, "suggestion", ""),
        )  # fmt: skip
        return (arch, call.nr, value, key, result, decided.reason), denial


def expand(one: Handler) -> dict[str, bool]:
    """The calls of a handler, groups in their members' place; True for those that it names itself. Raises `UsageError` for an unknown name."""
    out = {name: True for name in one.calls if not name.startswith("@")}
    if len(out) < len(one.calls):
        from seclude.policy.groups import group

        for name in one.calls:
            if name.startswith("@"):
                for member in group(name).calls:
                    out.setdefault(member, False)
    from seclude.abi.prototypes import calls_with_prototype

    for name, named in out.items():
        if named and name not in calls_with_prototype():
            raise _unknown(one, name)
    return out


def discard(verdict: object) -> None:
    """Take back what an answer that will not be given holds: the descriptor of an `Inject`."""
    if isinstance(verdict, Inject) and verdict.close:
        try:
            os.close(verdict.fd)
        except (OSError, OverflowError):  # OverflowError: it is no descriptor at all
            return


def _checked(one: Handler, answer: object) -> Decided:
    if not isinstance(answer, Verdict):
        close = getattr(answer, "close", None)  # a coroutine that nobody awaits would warn
        if close is not None and hasattr(answer, "cr_code"):
            close()
        return Decided(Deny("EPERM"), one.name, f"handler {one.name} answered {_shown(answer)}, which is no verdict")
    if type(answer) not in one.may:
        discard(answer)
        kind, declared = type(answer).__name__, ", ".join(sorted(kind.__name__ for kind in one.may))
        return Decided(
            Deny("EPERM"), one.name, f"handler {one.name} answered {kind}, which it does not declare: write may={{{declared}, {kind}}}"
        )
    return Decided(answer, one.name, _why(answer, one.name), may=one.may)


def _why(verdict: Verdict, name: str) -> str:
    if not isinstance(verdict, (Deny, Kill)):
        return ""
    if name.startswith("--") and verdict.reason:  # a broker, which is known by the option that it stands for
        return _cut(verdict.reason)
    return f"handler {name}" + (f": {_cut(verdict.reason)}" if verdict.reason else "")


def _raised(one: Handler, error: BaseException) -> Decided:
    if isinstance(error, Unreadable):
        return Decided(Deny(error.errno), one.name, f"handler {one.name}: {_cut(str(error))}")
    return Decided(Deny("EPERM"), one.name, f"handler {one.name} raised {_text(error)}")


def _text(error: BaseException) -> str:
    """``ValueError: text (file.py:12)``: the line is the last one of the traceback, where it was raised."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    traceback = error.__traceback__.tb_next if error.__traceback__ is not None else None  # the first is the router's own
    place = ""
    while traceback is not None:
        place = f" ({os.path.basename(traceback.tb_frame.f_code.co_filename)}:{traceback.tb_lineno})"
        traceback = traceback.tb_next
    return _cut(said) + place


def _shown(answer: object) -> str:
    return _cut(repr(answer)) if answer is None or isinstance(answer, (str, int, float, bytes, bool)) else f"a {type(answer).__name__}"


def _cut(text: str) -> str:
    line = printable(text.replace("\n", " "))
    return line if len(line) <= _LONGEST_REASON else line[:_LONGEST_REASON] + "..."


def _remedy(engine: str) -> str:
    other = "ptrace" if engine == "notify" else "notify"
    return f"try --engine {other}, or declare less: may="


def _unknown(one: Handler, name: str) -> UsageError:
    from seclude.abi.prototypes import calls_with_prototype
    from seclude.errors import nearest

    guess = nearest(name, calls_with_prototype())
    return UsageError(f"handler {one.name}: no call {name!r}" + (f"; did you mean {guess}?" if guess else ""), "see: seclude syscalls")
