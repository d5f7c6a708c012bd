"""Handlers of ``seclude.run(..., handlers=[...])``: the host's side, in the thread that called it, with threads beside it for what takes its time.

See `seclude.sandbox.remote` for what travels. What a handler denies is in a record here, and joins the result at the end.
"""

from __future__ import annotations

import _socket
import errno
import select
import struct
from _queue import SimpleQueue
from itertools import count

from seclude.kernel import proc
from seclude.sandbox import wire
from seclude.sandbox.performing import asked_for, result_from
from seclude.sandbox.plain import decode, encode
from seclude.sandbox.remote import MESSAGE, verdict_to_plain
from seclude.sandbox.supervision import architectures, gives, looks_at, refuse_unreachable
from seclude.supervise.call import Call, Gone
from seclude.supervise.kernel import Linux
from seclude.supervise.notify_engine import Attendant, close_listener
from seclude.supervise.pool import EventLoop, Pool
from seclude.supervise.record import Record
from seclude.supervise.router import Router, discard
from seclude.supervise.verdict import Deny

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from seclude.compiler.artifact import Artifact
    from seclude.sandbox.result import Result
    from seclude.supervise.handlers import Handler
    from seclude.supervise.router import Chain, Decided
    from seclude.supervise.verdict import Verdict

__all__ = ["Host"]

_COST = 1 << 20


class _Notified:
    """A `seclude.kernel.notify.Notification` that another process received."""

    __slots__ = ("arch", "args", "id", "ip", "nr", "pid")

    def __init__(self, id_: int, pid: int, arch: int, nr: int, ip: int, args: tuple[int, ...]) -> None:
        self.id, self.pid, self.arch, self.nr, self.ip, self.args = id_, pid, arch, nr, ip, args


class Host:
    """One run's handlers in this process, under ``artifact``'s policy. Raises `UsageError` where they cannot be meant, before anything is started.

    ``wanted`` is what the job says of them. ``clocked``: the run's time is limited, so that no handler may hold the thread that waits for its end.
    """

    __slots__ = (
        "_attendant",
        "_closed",
        "_kernel",
        "_loop",
        "_numbers",
        "_pool",
        "_socket",
        "_waiting",
        "record",
        "router",
        "theirs",
        "wanted",
    )

    def __init__(self, handlers: Iterable[Handler], engine: str, artifact: Artifact, *, clocked: bool = False) -> None:
        given = tuple(handlers)
        refuse_unreachable(given, artifact)
        self.router = Router(given, architectures(artifact), gives=gives(engine), engine=engine)
        if clocked:
            self.router.beside = frozenset(one for one in given if not one.threads and not one.is_async)
        self._waiting: dict[int, SimpleQueue[Verdict]] = {}
        self._numbers = count()
        self.wanted: dict[str, Any] = {"remote": [list(key) for key in self.router.calls], "engine": engine}
        performed = looks_at(given) if engine != "ptrace" else set()
        if performed:
            self.wanted["performed"] = sorted(performed)
            self.router.performers = dict.fromkeys(performed, self._elsewhere)
        self.record = Record()
        self._kernel = Linux()
        self._attendant: Attendant | None = None
        self._closed = False
        self._pool = Pool()
        self._loop = EventLoop()
        self.router.wait = self._loop.wait
        self._socket, self.theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)

    def serve(self, channel: _socket.socket, loaded: Callable[[str], object] | None) -> Result:
        """Decide calls until the result comes through ``channel``. Raises as `wire.read_answer`; KeyboardInterrupt ends the run."""
        self.theirs.close()
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        poll.register(self._socket.fileno(), select.POLLIN)
        deciding = True
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._socket.fileno():
                    raw, ancillary = self._receive()
                    if not raw:
                        poll.unregister(descriptor)
                        deciding = False
                    else:
                        self._message(decode(raw, _COST), ancillary, poll)
                elif self._attendant is not None and descriptor == self._attendant.wake:
                    self._attendant.drain()
                else:
                    if deciding:
                        # Announcements and the result come here, whole messages each; calls that came before are decided first.
                        message = wire.receive(channel.fileno())
                        if message[0] == "loaded":
                            if loaded is not None:
                                loaded(message[1])
                            continue
                        return self._ended(wire.outcome(message))
                    return self._ended(wire.read_answer(channel.fileno(), loaded))
                if self.router.interrupted is not None:
                    raise self.router.interrupted

    def _receive(self) -> tuple[bytes, list[Any]]:
        try:
            raw, ancillary, _, _ = self._socket.recvmsg(MESSAGE, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return b"", []
        return raw, ancillary

    def _message(self, message: list[Any], ancillary: list[Any], poll: select.poll) -> None:
        kind, *rest = message
        if kind == "listener":
            (_, _, raw), *_ = ancillary
            (listener,) = struct.unpack("=i", raw[:4])
            self._attendant = Attendant(self._kernel, listener, self.router, self.record, pool=self._pool, loop=self._loop)
            poll.register(self._attendant.wake, select.POLLIN)
        elif kind == "call" and self._attendant is not None:
            *notification, value = rest
            notified = _Notified(*notification)
            chain = self.router.find(notified.arch, notified.nr)
            if chain is not None:
                self._attendant.attend(notified, chain, value)  # type: ignore[arg-type]
            else:  # not one of ours: nobody else would answer it
                self._kernel.reply(self._attendant.listener, notified.id, error=errno.ENOSYS)
        elif kind == "performed":
            number, plain = rest
            found = [descriptor for _, _, raw in ancillary for (descriptor,) in struct.iter_unpack("=i", raw)]
            answer = self._waiting.pop(number, None)
            verdict = result_from(plain, found)
            if answer is None:
                discard(verdict)
            else:
                answer.put(verdict)
        elif kind == "ask":
            self._asked(*rest)

    def _elsewhere(self, call: Call) -> Verdict:
        """Have the supervisor do a call that was allowed after a look; in a thread."""
        number = next(self._numbers)
        answer: SimpleQueue[Verdict] = SimpleQueue()
        self._waiting[number] = answer
        try:
            self._socket.send(bytes(encode(asked_for(number, call), _COST)))
        except OSError:
            raise Gone from None
        return answer.get()

    # -- the ptrace engine: the verdict goes back

    def _asked(self, number: int, tid: int, token: int, nr: int, ip: int, raw: tuple[int, ...], data: int, started: int | None) -> None:
        self.router.performers = {}  # nobody does calls for a thread that a tracer holds
        call = Call(self._kernel, tid, token, nr, ip, raw, lambda: proc.start_time(tid) == started, data)
        chain = self.router.find(token, nr) or ()
        place = self.router.place(chain)
        if place == "async":
            self._loop.submit(self._decide_async(number, chain, call))
        elif place == "pool":
            self._pool.submit(self._decide, number, chain, call)
        else:
            self._decide(number, chain, call)

    def _decide(self, number: int, chain: Chain, call: Call) -> None:
        try:
            decided: Decided | None = self.router.perform(self.router.decide(chain, call), call)
        except Gone:
            decided = None
        self._answer(number, decided, call)

    async def _decide_async(self, number: int, chain: Chain, call: Call) -> None:
        try:
            decided = await self.router.decide_async(chain, call)
        except Gone:
            self._answer(number, None, call)
            return
        self._pool.submit(self._perform, number, decided, call)

    def _perform(self, number: int, decided: Decided, call: Call) -> None:
        try:
            final: Decided | None = self.router.perform(decided, call)
        except Gone:
            final = None
        self._answer(number, final, call)

    def _answer(self, number: int, decided: Decided | None, call: Call) -> None:
        verdict = Deny("EPERM") if decided is None else decided.verdict
        handler, reason = ("", "its handler took the call for gone") if decided is None else (decided.handler, decided.reason)
        may = [] if decided is None else sorted(kind.__name__ for kind in decided.may)
        message = ["verdict", number, [verdict_to_plain(verdict), handler, reason, may, call.reads]]
        try:
            self._socket.send(bytes(encode(message, _COST)))
        except OSError:  # the run is over
            return

    # -- the end

    def _ended(self, result: Result) -> Result:
        if self._attendant is not None:
            self._attendant.drain()
        result.denials += self.record.denials
        result.overflow += self.record.overflow
        return result

    def close(self) -> None:
        """The run is over, one way or another."""
        if self._closed:
            return
        self._closed = True
        if self._attendant is not None:
            self._attendant.close()
            close_listener(self._attendant)
        else:
            self._pool.stop()
            self._loop.stop()
        self._socket.close()
        self.theirs.close()
        for answer in tuple(self._waiting.values()):
            answer.put(Deny("EPERM"))
