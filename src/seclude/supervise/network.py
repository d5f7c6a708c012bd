"""The network broker: connect, bind, listen, sendto, sendmsg and sendmmsg, done by the supervisor on the target's own socket.

The problem: an address lies in the target's memory, where another of its threads can change it after it was judged; so the kernel must never read it from
there. The broker takes a copy of the target's descriptor (pidfd_getfd(2): the same socket, with its options, its blocking mode and what it is bound to), reads
the address once, judges that copy, and makes the call with that copy. What the target does meanwhile to its memory or its descriptors is of no matter.

How the kernel reads an address depends on the socket, and so does the judging:
  - the unspecified family disconnects in connect; in sendto on an IPv4 socket, and in bind to 0.0.0.0, it means IPv4 (net/ipv4/udp.c, af_inet.c);
  - an IPv6 socket takes IPv4 addresses where it sends datagrams, and ``::ffff:192.0.2.1`` everywhere;
  - a stream ignores the address of sendto, unless MSG_FASTOPEN makes it connect.
The copy handed to the kernel always says the family that it was judged as.

Rejected: letting the call continue after a look at the address (that is the race); a socket of our own in the target's place (options, bound address, epoll
registrations would be lost); raw, SCTP and MPTCP sockets, which can say where they send in other ways than in an address.

What can still go wrong: a signal that comes while the broker waits for a peer is noticed late (`seclude.supervise.acting`). A target that cannot be traced
by the supervisor (not dumpable, another user's) is denied everything.
"""

from __future__ import annotations

import _socket
import errno
import os

from seclude.kernel import sockets
from seclude.supervise.acting import Actor, Refused
from seclude.supervise.call import Unreadable
from seclude.supervise.handlers import Handler
from seclude.supervise.network_rules import endpoint, suggestion
from seclude.supervise.network_send import Message, Sender, messages
from seclude.supervise.network_unix import Denied, Local
from seclude.supervise.verdict import Deny, Return

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seclude.kernel.credentials import Identity
    from seclude.supervise.call import Call
    from seclude.supervise.network_rules import Endpoint, Grant
    from seclude.supervise.verdict import Verdict

__all__ = ["CALLS", "Network", "address", "answer"]

CALLS = ("connect", "bind", "listen", "sendto", "sendmsg", "sendmmsg")

_UNSPEC, _UNIX, _INET, _INET6, _NETLINK = 0, _socket.AF_UNIX, _socket.AF_INET, _socket.AF_INET6, _socket.AF_NETLINK
_STREAM, _DGRAM = _socket.SOCK_STREAM, _socket.SOCK_DGRAM
_PROTOCOLS = (_socket.IPPROTO_TCP, _socket.IPPROTO_UDP, _socket.IPPROTO_UDPLITE)
_SOCKADDR = 128  # sizeof(struct sockaddr_storage): net/socket.c, move_addr_to_kernel
_FASTOPEN = 0x20000000  # MSG_FASTOPEN


class Network:
    """What is granted, and the handler that holds to it. ``own`` is the supervisor's identity."""

    __slots__ = ("_binds", "_connects", "_local", "_own")

    def __init__(self, connect: Iterable[Grant], bind: Iterable[Grant], own: Identity) -> None:
        connects, binds = tuple(connect), tuple(bind)
        self._connects = tuple(grant for grant in connects if grant.kind == "ip")
        self._binds = tuple(grant for grant in binds if grant.kind == "ip")
        self._local = Local(connects, binds)
        self._own = own

    def handler(self) -> Handler:
        """The handler for `CALLS`. It waits for peers: it runs in threads, one for each call that waits."""
        made = Handler(self.decide, CALLS, (Deny, Return), threads=True)
        made.name = "--connect"
        return made

    def close(self) -> None:
        """Let go of the directories and sockets that grants are pinned to."""
        self._local.close()

    def decide(self, call: Call) -> Verdict:
        """Do what the call asks for, if it is granted. What the kernel answers is the answer."""
        return answer(call, self._own, lambda actor, fd: self._act(call, actor, fd))

    def _act(self, call: Call, actor: Actor, fd: int) -> int:
        socket = sockets.kind(fd)
        name = call.name
        if name == "listen":
            return self._listen(actor, fd, socket, _int(call.raw[1]))
        if name in ("connect", "bind"):
            raw = address(call, call.raw[1], _int(call.raw[2]))
            if len(raw) < 2:
                return -errno.EINVAL
            return self._connect(actor, fd, socket, raw) if name == "connect" else self._bind(actor, fd, socket, raw)
        sender = Sender(actor, fd, socket)
        result = 0
        for index, message in enumerate(found := messages(call)):
            self._judge_message(socket, message)
            if index + 1 == len(found):
                result = sender.send_all(found, self._local)
        return result

    # -- what is asked, and whether it is granted

    def _connect(self, actor: Actor, fd: int, socket: tuple[int, int, int], raw: bytes) -> int:
        domain, kind, _ = socket
        family = _family(raw)
        if domain == _UNIX and not (family == _UNSPEC and kind == _DGRAM):
            return self._local.connect(actor, fd, raw)
        if family == _UNSPEC and domain in (_UNIX, _INET, _INET6, _NETLINK):
            copy = bytes(16)  # disconnect: there is no address to judge
        else:
            copy = self._judged(socket, raw, "--connect")
        return actor.perform(lambda: sockets.connect(fd, copy), actor.identity())

    def _bind(self, actor: Actor, fd: int, socket: tuple[int, int, int], raw: bytes) -> int:
        if socket[0] == _UNIX:
            return self._local.bind(actor, fd, raw)
        if socket[0] == _INET and _family(raw) == _UNSPEC and any(raw[4:8]):
            return -errno.EAFNOSUPPORT
        copy = self._judged(socket, raw, "--bind")
        return actor.perform(lambda: sockets.bind(fd, copy), actor.identity())

    def _listen(self, actor: Actor, fd: int, socket: tuple[int, int, int], backlog: int) -> int:
        """An IP socket may wait at an address that was granted; one that is not bound would be given a port, so that is judged as port 0."""
        if socket[0] in (_INET, _INET6):
            self._judged(socket, sockets.local_address(fd), "--bind")
        elif socket[0] != _UNIX:
            raise Denied(f"sockets of family {socket[0]} are not brokered")
        # A local socket listens only once it is bound (unix(7)), and that was judged.
        return actor.perform(lambda: sockets.listen(fd, backlog), actor.identity())

    def _judge_message(self, socket: tuple[int, int, int], message: Message) -> None:
        """Put into ``message.name`` what the kernel shall be given: b"" where it would not look."""
        domain, kind, _ = socket
        if not message.name:
            return
        if domain == _UNIX:
            return  # decided where it is sent, on the file that the path means
        if len(message.name) < 2:
            raise OSError(errno.EINVAL, "an address without a family")
        if domain in (_INET, _INET6) and kind == _STREAM and not message.flags & _FASTOPEN:
            message.name = b""
        elif domain == _INET6 and kind == _DGRAM and _family(message.name) == _UNSPEC:
            message.name = b""  # to the connected peer, net/ipv6/udp.c
        else:
            message.name = self._judged(socket, message.name, "--connect")

    def _judged(self, socket: tuple[int, int, int], raw: bytes, option: str) -> bytes:
        """The address to hand to the kernel. Raises `Denied`, and OSError for what the kernel would not take either."""
        domain, kind, protocol = socket
        family = _family(raw)
        if domain == _NETLINK:
            return _netlink(raw, option)
        if domain not in (_INET, _INET6):
            raise Denied(f"sockets of family {domain} are not brokered")
        if kind not in (_STREAM, _DGRAM) or protocol not in _PROTOCOLS:
            raise Denied(f"IP sockets of type {kind} and protocol {protocol} are not brokered: only TCP and UDP are")
        if family == _UNSPEC and domain == _INET:
            family = _INET
        if (
            family not in (_INET, _INET6)
            or (family == _INET6 and domain == _INET)
            or (family == _INET and domain == _INET6 and option == "--bind")
        ):
            raise OSError(errno.EAFNOSUPPORT, "a family that this socket does not take")
        asked = endpoint(raw, family)
        if asked is None:
            raise OSError(errno.EINVAL, "an address that is too short")
        granted = self._connects if option == "--connect" else self._binds
        if not any(grant.covers(asked) for grant in granted):
            raise Denied(_why(asked, option, granted), suggestion(option, str(asked)))
        return family.to_bytes(2, sockets.BYTE_ORDER) + raw[2:]


def answer(call: Call, own: Identity, act: Callable[[Actor, int], int]) -> Verdict:
    """What a call gets that ``act(actor, copy of its socket)`` does: its result, or why not. ``own`` is the supervisor's identity."""
    try:
        with Actor(call, own) as actor:
            fd = actor.take(_int(call.raw[0]))
            try:
                return Return(act(actor, fd))
            finally:
                os.close(fd)
    except Denied as denied:
        return Deny(denied.errno, str(denied), denied.suggestion)
    except Refused as refused:
        return Deny("EPERM", str(refused))
    except Unreadable as unreadable:
        if unreadable.errno == errno.EPERM:
            raise  # the target hides its memory: a denial
        return Return(-unreadable.errno)
    except OSError as error:
        return Return(-(error.errno or errno.EIO))


def _why(asked: Endpoint, option: str, granted: tuple[Grant, ...]) -> str:
    return f"{asked} is not granted by {option}" if granted else f"nothing is granted by {option}"


def _netlink(raw: bytes, option: str) -> bytes:
    """Netlink speaks with the kernel; whether there are such sockets at all is the policy's to say. Other processes are not addressed (netlink(7))."""
    if _family(raw) != _NETLINK or len(raw) < 12:
        raise OSError(errno.EINVAL, "not a struct sockaddr_nl")
    if option == "--connect" and any(raw[4:12]):
        raise Denied("a netlink message to anyone but the kernel")
    return raw[:12]


def address(call: Call, at: int, length: int) -> bytes:
    """A copy of the address that a call points to. Raises OSError (EINVAL) and `Unreadable`."""
    if not 0 <= length <= _SOCKADDR:
        raise OSError(errno.EINVAL, "an address of an impossible length")
    return call.copy(at, length)


def _family(raw: bytes) -> int:
    return int.from_bytes(raw[:2], sockets.BYTE_ORDER)


def _int(register: int) -> int:
    """A C int in a register."""
    low = register & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low
