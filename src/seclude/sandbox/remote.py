"""Handlers that live in the host of `seclude.run`: the supervisor's side. `seclude.sandbox.host` is the other.

The supervisor's loop takes every notification, since a listener cannot be shared by kind of call, and passes on those that the host handles, as plain values
over a socket of their own. The host holds a copy of the listener and answers by itself, so that it can put descriptors into the target. For the ptrace engine, whose
requests only the tracer can make, the host's verdict comes back as plain values.

Nothing waits for the host: what it does not take at once is kept until it does. If it goes away, the run's own channel ends with it, and so does the run.
"""

from __future__ import annotations

import _socket
import select
from _queue import SimpleQueue
from collections import deque
from itertools import count

from seclude.kernel import proc
from seclude.sandbox import wire
from seclude.sandbox.plain import decode, encode
from seclude.supervise.router import Decided
from seclude.supervise.verdict import VERDICTS, Deny

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from seclude.kernel.notify import Notification
    from seclude.sandbox.performing import Performing
    from seclude.supervise.call import Call
    from seclude.supervise.record import Denial
    from seclude.supervise.router import Chain, Router
    from seclude.supervise.verdict import Verdict

__all__ = ["MESSAGE", "Forwarder", "RemoteRouter", "verdict_from_plain", "verdict_to_plain"]

#: the largest message: a verdict with its reason
MESSAGE = 1 << 16
_COST = 1 << 20


def verdict_to_plain(verdict: Verdict) -> list[Any]:
    """A verdict that the ptrace engine can give, as plain values; not `Emulate`, which the host does itself."""
    return [type(verdict).__name__, [getattr(verdict, name) for name in _fields(verdict)]]


def verdict_from_plain(plain: list[Any]) -> Verdict:
    """The inverse."""
    name, values = plain
    return VERDICTS[name](*values)


def _fields(verdict: Verdict) -> tuple[str, ...]:
    return tuple(slot for kind in reversed(type(verdict).__mro__) for slot in getattr(kind, "__slots__", ()))


class Forwarder:
    """The supervisor's end of the socket. Poll it, and call `flush` when it can be written, `hear` when it can be read."""

    __slots__ = ("_closed", "_numbers", "_poll", "_unsent", "_waiting", "descriptor", "performing", "socket")

    def __init__(self, descriptor: int, poll: select.poll) -> None:
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, descriptor)
        self.descriptor = descriptor
        self.socket.setblocking(False)
        self._poll = poll
        self._unsent: deque[bytes] = deque()
        self._numbers = count()
        self._waiting: dict[int, SimpleQueue[list[Any] | None]] = {}
        self._closed = False
        #: does calls for the host, where it may ask
        self.performing: Performing | None = None
        poll.register(descriptor, select.POLLIN)

    def listener(self, descriptor: int) -> None:
        """Give the host a copy of the listener. The first message of all."""
        self.socket.sendmsg([bytes(encode(["listener"], _COST))], wire.rights([descriptor]))

    def call(self, notification: Notification, value: int) -> None:
        """Pass on a notified call."""
        n = notification
        self._unsent.append(bytes(encode(["call", n.id, n.pid, n.arch, n.nr, n.ip, n.args, value], _COST)))
        self.flush()

    def ask(self, call: Call) -> list[Any] | None:
        """Pass on a call at its ptrace stop, and wait for the verdict, in a thread of its own; None where the host is gone."""
        number = next(self._numbers)
        answer: SimpleQueue[list[Any] | None] = SimpleQueue()
        self._waiting[number] = answer
        message = ["ask", number, call.tid, call.token, call.nr, call.ip, call.raw, call.data, proc.start_time(call.tid)]
        return answer.get() if self.say(message, []) else None

    def say(self, message: list[Any], descriptors: list[int]) -> bool:
        """Send from a thread, which may wait for room. False where the host is gone."""
        raw = bytes(encode(message, _COST))
        room = select.poll()
        room.register(self.descriptor, select.POLLOUT)
        while not self._closed:
            try:
                self.socket.sendmsg([raw], wire.rights(descriptors))
                return True
            except BlockingIOError:
                room.poll(1000)
            except OSError:
                break
        return False

    def flush(self) -> None:
        """Send what the host takes."""
        if self._closed:
            return
        while self._unsent:
            try:
                self.socket.send(self._unsent[0])
            except BlockingIOError:
                self._poll.modify(self.descriptor, select.POLLIN | select.POLLOUT)
                return
            except OSError:  # the host is gone; the run's channel says so too
                self._unsent.clear()
                return
            self._unsent.popleft()
        self._poll.modify(self.descriptor, select.POLLIN)

    def hear(self) -> None:
        """Take what can be read or sent now."""
        self.flush()
        while not self._closed:
            try:
                raw = self.socket.recv(MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                raw = b""
            if not raw:
                self.close()
                return
            kind, number, *rest = decode(raw, _COST)
            if kind == "perform":
                if self.performing is not None:
                    self.performing.perform(number, *rest)
                continue
            (plain,) = rest
            answer = self._waiting.pop(number, None)
            if answer is not None:
                answer.put(plain)

    def close(self) -> None:
        """Nobody will answer any more."""
        if not self._closed:
            self._closed = True
            self._poll.unregister(self.descriptor)
            self.socket.close()
        for answer in tuple(self._waiting.values()):
            answer.put(None)
        self._waiting.clear()


class RemoteRouter:
    """A `seclude.supervise.router.Router` whose handlers are elsewhere, for the ptrace engine."""

    __slots__ = ("_calls", "_forwarder", "_local", "wait")

    def __init__(self, calls: set[tuple[int, int]], forwarder: Forwarder, local: Router) -> None:
        self._calls = calls
        self._forwarder = forwarder
        self._local = local
        self.wait: object = None

    def find(self, token: int, nr: int) -> Chain | None:
        """As the router's: no handler, but that there are some."""
        return () if (token, nr) in self._calls else None

    @staticmethod
    def place(chain: Chain) -> Literal["pool"]:  # noqa: ARG004
        """Waiting for the host takes a thread."""
        return "pool"

    def decide(self, chain: Chain, call: Call) -> Decided:  # noqa: ARG002 - the host knows who decides
        """Ask the host, and wait."""
        plain = self._forwarder.ask(call)
        if plain is None:
            return Decided(Deny("EPERM"), "", "the host that decides it is gone")
        verdict, handler, reason, may, reads = plain
        call.reads = call.reads or reads
        return Decided(verdict_from_plain(verdict), handler, reason, may=frozenset(VERDICTS[name] for name in may))

    @staticmethod
    def perform(decided: Decided, call: Call) -> Decided:  # noqa: ARG004
        """The host has done it."""
        return decided

    def denial(self, call: Call, decided: Decided, value: int) -> tuple[tuple[object, ...], Denial]:
        """As the router's."""
        return self._local.denial(call, decided, value)
