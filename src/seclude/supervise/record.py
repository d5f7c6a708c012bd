"""What was denied: each distinct call once, with its count, and never more than a fixed number of them.

A target chooses what it asks for, so a record that grew with its questions would be its weapon. After ``limit``
distinct entries further ones are only counted (`Record.overflow`); entries already there go on counting.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    #: a call's text, and how its result is shown, where that is known
    Seen: TypeAlias = tuple[str, str]

__all__ = ["ENTRIES", "Denial", "Record"]

ENTRIES = 1000


class Denial:
    """One kind of denied call.

    ``call`` is its name (``#N`` where the tables have none), ``arch`` the architecture's name, ``text`` the call as a
    person reads it, with what the target showed in its memory; ``nr``, ``token``, ``ip`` and ``args`` are the raw
    words of the first such call. ``action`` says what became of it: ``errno``, ``kill_process``, ``kill_thread``,
    ``trap``, ``notify`` or ``trace`` (both unhandled), ``busy`` (a listener of its own, refused while reporting),
    or ``handler`` (a handler's or broker's denial, whose ``reason`` is its own). ``result`` is
    what the target saw: an errno's name, or the signal. ``count`` is how often. ``rule``, ``reason`` and
    ``suggestion`` are filled in at the end, where the policy's text is at hand. ``tid`` is the thread of the first such call, ``where`` the place in
    the program from which it was made, if that was asked for.
    """

    __slots__ = (
        "action",
        "arch",
        "args",
        "call",
        "count",
        "ip",
        "nr",
        "reason",
        "result",
        "rule",
        "suggestion",
        "text",
        "tid",
        "token",
        "value",
        "where",
    )

    def __init__(
        self, *, call: str, arch: str, nr: int, token: int, ip: int, args: tuple[int, ...], text: str, action: str, result: str, value: int,
        count: int = 1, rule: str = "", reason: str = "", suggestion: str = "", tid: int = 0, where: str = "",
    ) -> None:  # fmt: skip
        self.call = call
        self.arch = arch
        self.nr = nr
        self.token = token
        self.ip = ip
        self.args = args
        self.text = text
        self.action = action
        self.result = result
        self.value = value
        self.count = count
        self.rule = rule
        self.reason = reason
        self.suggestion = suggestion
        self.tid = tid
        self.where = where

    def __repr__(self) -> str:
        return f"Denial({self.count}x {self.text} -> {self.result})"

    def to_plain(self) -> dict[str, Any]:
        """All fields as plain values, for the wire between processes and for JSON."""
        out: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        out["args"] = list(self.args)
        return out

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Denial:
        """The inverse of `to_plain`."""
        return cls(**{**plain, "args": tuple(plain["args"])})


class Record:
    """Denials in the order they first happened. ``overflow`` counts calls beyond ``limit`` distinct kinds."""

    __slots__ = ("_entries", "limit", "overflow")

    def __init__(self, limit: int = ENTRIES) -> None:
        self._entries: dict[tuple[object, ...], Denial] = {}
        self.limit = limit
        self.overflow = 0

    def look(self, tid: int, denial: Denial) -> None:
        """``denial`` is about to be answered, and the target's memory is still what it was: who wants to see more of it looks here."""
        denial.tid = tid

    def find(self, key: tuple[object, ...]) -> Denial | None:
        """The entry of that key."""
        return self._entries.get(key)

    def waits(self, tid: int, token: int, nr: int, args: tuple[int, ...]) -> None:
        """A thread is about to decide or to do a call, and may take its time. The loop tells."""

    def seen(self, tid: int, token: int, nr: int, args: tuple[int, ...], result: int | None = None) -> Seen:  # noqa: ARG002 - for who watches
        """A handler's verdict is about to be given: what the call looks like, where anybody wants to know. Any thread may ask.

        ``result`` is what the call will return (-4095..-1: a negated errno), and then what it gives back is in the target's memory already; None: it is not known yet.
        """
        return "", ""

    def decided(
        self, tid: int, token: int, nr: int, args: tuple[int, ...], seen: Seen, verdict: str, handler: str, result: int | None = None
    ) -> None:
        """A handler gave a verdict that denies nothing; ``seen`` is what `seen` said, ``result`` what the call returned. None: the kernel went on with it, or nobody was
        left who could take the answer. The loop tells.
        """

    def add(self, key: tuple[object, ...], denial: Denial) -> None:
        """Count ``denial`` under ``key``: what makes two calls the same for a reader."""
        known = self._entries.get(key)
        if known is not None:
            known.count += denial.count
        elif len(self._entries) < self.limit:
            self._entries[key] = denial
        else:
            self.overflow += denial.count

    @property
    def denials(self) -> list[Denial]:
        return list(self._entries.values())
