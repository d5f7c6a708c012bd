"""Calls that a handler allowed after it had read their path or address: done here, on the copy that was read, since to let them run would be to let
the kernel read another.

Only what the handler can have read as a whole is done so: paths of the calls that the broker of files does (`files_table`), and the address of connect and
bind on IP sockets. A path is a name: where its symbolic links lead is decided when it is walked, as for any program; who must know the file itself uses ``--read`` and ``--write``.

Files are done by one thread, whose identity is the target's meanwhile; what waits (a FIFO, a host) waits in the thread that asked.
"""

from __future__ import annotations

from _queue import SimpleQueue

from seclude.supervise.call import Gone
from seclude.supervise.files import FilesBroker
from seclude.supervise.files_rules import Rules
from seclude.supervise.files_table import BROKERED
from seclude.supervise.pool import Pool
from seclude.supervise.verdict import Deny, Emulate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.supervise.call import Call
    from seclude.supervise.network import Network
    from seclude.supervise.router import Performer
    from seclude.supervise.verdict import Verdict

__all__ = ["CALLS", "performers"]

_ADDRESSED = ("connect", "bind")
_IP = (2, 10)  # AF_INET, AF_INET6
_AMBIGUOUS = "a 32-bit call with more than 32 bits in its registers is not done for a handler that has read what they point to"
#: calls that can be done
CALLS = frozenset((*BROKERED, *_ADDRESSED))


def performers(calls: Iterable[str]) -> dict[str, Performer]:
    """What does each of ``calls`` that can be done. In the main thread, before there are others."""
    wanted = CALLS.intersection(calls)
    out: dict[str, Performer] = {}
    if wanted.intersection(BROKERED):
        files = _Files()
        out |= dict.fromkeys(wanted.intersection(BROKERED), files.perform)
    if wanted.intersection(_ADDRESSED):
        out |= dict.fromkeys(wanted.intersection(_ADDRESSED), _network())
    return out


class _Files:
    """The broker of files with nothing closed, in a thread of its own."""

    __slots__ = ("_broker", "_pool")

    def __init__(self) -> None:
        self._pool = Pool(1)
        self._broker = FilesBroker(Rules(open=True))

    def perform(self, call: Call) -> Verdict:
        """Do the call. Raises `Gone`."""
        if _ambiguous(call):
            return Deny("EPERM", _AMBIGUOUS)
        answer: SimpleQueue[Verdict | BaseException] = SimpleQueue()
        self._pool.submit(self._perform, call, answer)
        found = answer.get()
        if isinstance(found, BaseException):
            raise found
        while isinstance(found, Emulate):
            result = found.function(call)
            if isinstance(result, int):
                from seclude.supervise.verdict import Return

                return Return(result)
            found = result
        return found

    def _perform(self, call: Call, answer: SimpleQueue[Verdict | BaseException]) -> None:
        try:
            answer.put(self._broker.decide(call))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            answer.put(error)


def _ambiguous(call: Call) -> bool:
    """Whether a pointer of the call might be two: registers of which only a part counts, where every reader must cut alike."""
    return call.arch is None or bool(call.arch.x32_bit) or (call.arch.bits == 32 and any(register >> 32 for register in call.raw))


def _network() -> Performer:
    from seclude.kernel.credentials import own_identity
    from seclude.supervise.acting import catch_interruptions
    from seclude.supervise.network import Network
    from seclude.supervise.network_rules import grants

    every = ["0.0.0.0/0:*", "[::]/0:*"]
    network: Network = Network(grants(every, "--connect"), grants(every, "--bind"), own_identity())
    catch_interruptions()

    def perform(call: Call) -> Verdict:
        if _ambiguous(call):
            return Deny("EPERM", _AMBIGUOUS)
        address = call.sockaddr(1)
        if address is None or address.family not in _IP:
            return Deny("EPERM", "only IP addresses are connected or bound for a handler that has read them; answer Emulate for others")
        if not call.waits():
            raise Gone
        return network.decide(call)

    return perform
