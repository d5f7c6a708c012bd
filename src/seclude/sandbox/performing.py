"""Calls that a handler in the host of `seclude.run` allowed after a look: done by the supervisor, who can act as the target, on the copies that the host read.

The host sends the call with its copies (`asked_for`); the supervisor does it (`Performing`) and sends back the result, or a descriptor; the host answers the target.
"""

from __future__ import annotations

import os

from seclude.sandbox.remote import verdict_from_plain, verdict_to_plain
from seclude.supervise.call import Call, Gone
from seclude.supervise.pool import Pool
from seclude.supervise.verdict import Deny, Inject, Return, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from seclude.kernel.protocol import Kernel
    from seclude.supervise.router import Performer

__all__ = ["Performing", "asked_for", "result_from"]


def asked_for(number: int, call: Call) -> list[Any]:
    """The message by which the host asks: the call, and what was read of it."""
    paths, addresses = call.copies
    return ["perform", number, call.id, call.tid, call.token, call.nr, call.ip, call.raw, list(paths.items()), list(addresses.items())]


def result_from(plain: list[Any], descriptors: list[int]) -> Verdict:
    """What the host answers the target, of the supervisor's message and what came with it."""
    if plain[0] == "Inject":
        (fd,) = descriptors
        return Inject(fd, cloexec=plain[1])
    return verdict_from_plain(plain)


class Performing:
    """The supervisor's side. ``send(message, descriptors)`` answers, from any thread."""

    __slots__ = ("_kernel", "_listener", "_performers", "_pool", "_send")

    def __init__(
        self, kernel: Kernel, listener: int, performers: dict[str, Performer], send: Callable[[list[Any], list[int]], object]
    ) -> None:
        self._kernel, self._listener, self._performers, self._send = kernel, listener, performers, send
        self._pool = Pool()

    def perform(
        self, number: int, id_: int, tid: int, token: int, nr: int, ip: int, raw: tuple[int, ...],
        paths: list[tuple[int, bytes]], addresses: list[tuple[int, bytes]],
    ) -> None:  # fmt: skip
        """Do what `asked_for` says, in a thread."""
        call = Call(self._kernel, tid, token, nr, ip, raw, lambda: self._kernel.still_waiting(self._listener, id_))
        call.adopt(dict(paths), dict(addresses))
        try:
            self._pool.submit(self._perform, number, call)
        except RuntimeError:
            self._send(["performed", number, verdict_to_plain(Deny("EAGAIN"))], [])

    def _perform(self, number: int, call: Call) -> None:
        verdict: Verdict = Deny("EPERM", "it could not be done")
        try:
            performer = self._performers.get(call.name)
            if performer is not None and call.waits():
                found = performer(call)
                verdict = Return(found) if isinstance(found, int) else found
        except (Gone, OSError):  # nobody waits any more
            verdict = Deny("EPERM")
        except Exception as error:  # noqa: BLE001 - whatever it is denies
            verdict = Deny("EPERM", f"it could not be done: {type(error).__name__}: {error}"[:300])
        if isinstance(verdict, Inject):
            try:
                self._send(["performed", number, ["Inject", verdict.cloexec]], [verdict.fd])
            finally:
                os.close(verdict.fd)
            return
        self._send(["performed", number, verdict_to_plain(verdict)], [])
