"""What a target sends, copied once and sent by the supervisor: sendto(2), sendmsg(2), sendmmsg(2).

The layouts of struct msghdr, iovec and cmsghdr are those of the caller's architecture (64-bit, or the 32-bit ones of compat and x32 callers; net/compat.c); what is
handed to the kernel is built anew in the supervisor's own. Descriptors in SCM_RIGHTS are numbers of the target's table: each is taken from there, and passed on.

Control messages that say where a packet goes (source routes: IP_RETOPTS, IPV6_RTHDR) are refused, and with them all that are not known not to.

Limits: `WHOLE` bytes of a datagram (EMSGSIZE above; IP has 64 KiB), `CONTROL` bytes of control messages (ENOBUFS, as net.core.optmem_max says it); a stream is
copied `WHOLE` bytes at a time, and sent to the end.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from seclude.kernel import sockets
from seclude.kernel.sockets import BYTE_ORDER, Control
from seclude.supervise.acting import Refused
from seclude.supervise.call import Gone, Unreadable
from seclude.supervise.descriptors import Share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.kernel.credentials import Identity
    from seclude.supervise.acting import Actor
    from seclude.supervise.call import Call
    from seclude.supervise.network_unix import Local

__all__ = ["CONTROL", "WHOLE", "Message", "Sender", "messages"]

WHOLE = 1 << 18
CONTROL = 1 << 16
_TOGETHER = 4096  # buffers of the messages of one sendmmsg: what comes after them is left for the next call, as sendmmsg(2) may
_IOV_MAX = 1024  # UIO_MAXIOV, also the most messages of one sendmmsg(2)
_NAME_MAX = 128  # sizeof(struct sockaddr_storage)
_NOSIGNAL, _ZEROCOPY = 0x4000, 0x4000000  # MSG_NOSIGNAL, MSG_ZEROCOPY
_SO_ZEROCOPY = 60
_SIGPIPE = 13
_RIGHTS, _CREDENTIALS = 1, 2  # SCM_RIGHTS, SCM_CREDENTIALS
_SCM_MAX = 253  # SCM_MAX_FD: of one message, in whatever many control messages (net/core/scm.c, scm_fp_copy)
_CREDENTIALS_FORM = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_SETGID, _SETUID, _SYS_ADMIN = 1 << 6, 1 << 7, 1 << 21

#: (level, type) of control messages that say nothing about where a packet goes: ip(7), ipv6(7), udp(7), socket(7)
_HARMLESS = frozenset((
    *((_socket.IPPROTO_IP, kind) for kind in (1, 2, 8)),  # IP_TOS, IP_TTL, IP_PKTINFO
    *((_socket.IPPROTO_IPV6, kind) for kind in (2, 8, 50, 52, 62, 67)),  # 2292PKTINFO, 2292HOPLIMIT, PKTINFO, HOPLIMIT, DONTFRAG, TCLASS
    (_socket.IPPROTO_UDP, 103),  # UDP_SEGMENT
    *((_socket.SOL_SOCKET, kind) for kind in (12, 36, 37, 61, 65, 81)),  # SO_PRIORITY, SO_MARK, SO_TIMESTAMPING, SCM_TXTIME, its 64-bit form, SCM_TS_OPT_ID
))  # fmt: skip


class Message:
    """One message: where to (``name``, b"" to the connected peer), ``vectors`` (address and length in the target), ``control`` and ``flags``.

    ``count_at`` is where the number of bytes sent goes (sendmmsg), 0: nowhere. ``single``: the buffer of sendto, of which a partial read is sent too.
    """

    __slots__ = ("control", "count_at", "flags", "name", "vectors")

    def __init__(self, name: bytes, vectors: list[tuple[int, int]], control: list[Control], flags: int, count_at: int = 0) -> None:
        self.name, self.vectors, self.control, self.flags, self.count_at = name, vectors, control, flags, count_at

    @property
    def size(self) -> int:
        return sum(length for _, length in self.vectors)


# -- reading -----------------------------------------------------------------------------------------------------------------


def messages(call: Call) -> list[Message]:
    """What the call asks to be sent. Raises OSError and `Unreadable` for what the kernel would not take."""
    word = _Words(call)
    raw = call.raw
    if call.name == "sendto":
        name = _name(call, raw[4] & word.mask, _int(raw[5]), cut=False)
        return [Message(name, [(raw[1] & word.mask, raw[2] & word.mask)], [], raw[3] & 0xFFFFFFFF)]
    flags = raw[3 if call.name == "sendmmsg" else 2] & 0xFFFFFFFF
    at = raw[1] & word.mask
    if call.name == "sendmsg":
        return [_message(call, word, at, flags, 0)]
    stride = word.header + (8 if word.size == 8 else 4)  # struct mmsghdr: msg_len, and padding
    count = min(raw[2] & 0xFFFFFFFF, _IOV_MAX)
    out: list[Message] = []
    buffers = control = 0
    for index in range(count):
        one = _message(call, word, at + index * stride, flags, at + index * stride + word.header)
        buffers += len(one.vectors)
        control += sum(len(piece.data) for piece in one.control)
        if out and (buffers > _TOGETHER or control > CONTROL):
            break
        out.append(one)
    return out


class _Words:
    """How wide the caller's pointers are."""

    __slots__ = ("header", "mask", "size")

    def __init__(self, call: Call) -> None:
        arch = call.arch
        narrow = arch is not None and (arch.bits == 32 or bool(arch.x32_bit))
        self.size = 4 if narrow else 8
        self.mask = 0xFFFFFFFF if narrow else 0xFFFFFFFFFFFFFFFF
        self.header = 28 if narrow else 56  # sizeof(struct msghdr)


def _message(call: Call, word: _Words, at: int, flags: int, count_at: int) -> Message:
    raw = call.copy(at, word.header)
    form = "=Ii4I" if word.size == 4 else "=Qi4x4Q"
    name_at, name_length, vectors_at, count, control_at, control_length = struct.unpack_from(form, raw)
    if count > _IOV_MAX:
        raise OSError(errno.EMSGSIZE, "too many buffers")
    name = _name(call, name_at, name_length, cut=True)
    vectors_raw = call.copy(vectors_at, 2 * word.size * count)
    numbers = struct.unpack("=" + ("I" if word.size == 4 else "Q") * 2 * count, vectors_raw)
    vectors = [(numbers[index], numbers[index + 1]) for index in range(0, len(numbers), 2)]
    if any(length >> 8 * word.size - 1 for _, length in vectors):
        raise OSError(errno.EINVAL, "a buffer of negative length")
    if control_at == 0:
        control_length = 0
    if control_length > CONTROL:
        raise OSError(errno.ENOBUFS, "too many control messages")
    return Message(name, vectors, _control(call.copy(control_at, control_length), word.size), flags, count_at)


def _name(call: Call, at: int, length: int, *, cut: bool) -> bytes:
    """The address of a message; b"" where there is none. What is too long is cut in a msghdr (net/socket.c, __copy_msghdr), and refused in sendto."""
    if at == 0 or length == 0:
        return b""
    if length < 0 or (length > _NAME_MAX and not cut):
        raise OSError(errno.EINVAL, "an address of an impossible length")
    return call.copy(at, min(length, _NAME_MAX))


def _control(raw: bytes, width: int) -> list[Control]:
    """The control messages in ``raw``, whose length field is ``width`` bytes. Raises OSError (EINVAL)."""
    out, at, head = [], 0, width + 8
    while len(raw) - at >= head:
        length = int.from_bytes(raw[at : at + width], BYTE_ORDER)
        level, kind = struct.unpack_from("=ii", raw, at + width)
        if not head <= length <= len(raw) - at:
            raise OSError(errno.EINVAL, "a control message that does not fit")
        out.append(Control(level, kind, raw[at + head : at + length]))
        at += length + -length % width
    return out


# -- sending ---------------------------------------------------------------------------------------------------------------


#: descriptors in messages that are on their way
_share = Share(4)


class Sender:
    """Sends messages of one call on one socket, ``(domain, type, protocol)``."""

    __slots__ = ("_actor", "_domain", "_fd", "_identity", "_kind")

    def __init__(self, actor: Actor, fd: int, socket: tuple[int, int, int]) -> None:
        self._actor, self._fd = actor, fd
        self._domain, self._kind, _ = socket
        self._identity: Identity | None = None

    def send_all(self, found: list[Message], local: Local) -> int:
        """All messages in order; for sendmmsg how many were sent, else the bytes. The first error ends it, and is the result if nothing was sent."""
        for index, message in enumerate(found):
            result = self._send(message, local)
            if not message.count_at:
                return result
            if result >= 0 and not self._count(message.count_at, result):
                result = -errno.EFAULT
            if result < 0:
                return index or result
        return len(found)

    def _count(self, at: int, value: int) -> bool:
        call = self._actor.call
        written = call.kernel.write(call.tid, at, value.to_bytes(4, BYTE_ORDER), call.waits)
        if written is None:
            raise Gone
        return written

    def _send(self, message: Message, local: Local) -> int:
        flags = message.flags
        if flags & _ZEROCOPY:
            if sockets.option(self._fd, _socket.SOL_SOCKET, _SO_ZEROCOPY):
                return -errno.ENOBUFS  # the pages would be ours: as if none could be pinned
            flags &= ~_ZEROCOPY
        stream = self._kind == _socket.SOCK_STREAM
        if message.size > WHOLE and not stream:
            return -errno.EMSGSIZE
        taken: list[int] = []
        wanted = min(_SCM_MAX, sum(len(one.data) // 4 for one in message.control if one.type == _RIGHTS))
        if wanted and not _share.take(wanted):
            return -errno.ETOOMANYREFS  # what the kernel says where too many are on their way (unix(7))
        try:
            control = self._translated(message.control, taken)
            sent = 0
            for last, pieces in _windows(self._actor.call, message.vectors):
                size = sum(map(len, pieces))
                if size == 0 and not last and sent:
                    break
                result = self._once(pieces, flags, message.name, control, local)
                if result == -errno.EPIPE and stream and not flags & _NOSIGNAL and not sent:
                    self._actor.signal(_SIGPIPE)
                if result < 0:
                    return sent or result
                sent += result
                if result < size:
                    break
                control = []  # they went with the first byte
            return sent
        finally:
            for fd in taken:
                os.close(fd)
            if wanted:
                _share.give(wanted)

    def _once(self, pieces: list[bytes], flags: int, name: bytes, control: list[Control], local: Local) -> int:
        fd = self._fd
        if self._identity is None:
            self._identity = self._actor.identity()
        if self._domain != _socket.AF_UNIX:
            return self._actor.perform(lambda: sockets.send(fd, pieces, flags | _NOSIGNAL, name, control), self._identity)
        identity, control = self._as_target(self._identity, control)
        if name and self._kind == _socket.SOCK_DGRAM:
            return local.send(self._actor, identity, name, lambda at: sockets.send(fd, pieces, flags | _NOSIGNAL, at, control))
        # A connected kind of local socket has no use for an address: it is an error (a stream), or ignored (unix(7)).
        return self._actor.perform(lambda: sockets.send(fd, pieces, flags | _NOSIGNAL, name, control), identity)

    def _as_target(self, identity: Identity, control: list[Control]) -> tuple[Identity, list[Control]]:
        """Who the receiver is told the sender is: the target, where the supervisor may say so; else what the kernel says, the supervisor's process id.

        A target may say of itself what unix(7) allows it; the rule is applied here, since the kernel would apply it to the supervisor.
        """
        may = self._actor.own.capabilities & (_SYS_ADMIN | _SETUID | _SETGID) == _SYS_ADMIN | _SETUID | _SETGID
        process = self._actor.call.pid
        given = next((one for one in control if (one.level, one.type) == (_socket.SOL_SOCKET, _CREDENTIALS)), None)
        if given is None:
            if not may:
                return identity, control
            data = _CREDENTIALS_FORM.pack(process, identity.uids[0], identity.gids[0])
        else:
            if len(given.data) != _CREDENTIALS_FORM.size:
                raise OSError(errno.EINVAL, "not a struct ucred")
            pid, uid, gid = _CREDENTIALS_FORM.unpack(given.data)
            own = identity.capabilities
            if not (
                (pid == process or own & _SYS_ADMIN)
                and (uid in identity.uids[:3] or own & _SETUID)
                and (gid in identity.gids[:3] or own & _SETGID)
            ):
                raise OSError(errno.EPERM, "credentials that are not the caller's")
            if not may:
                raise Refused("the target's credentials cannot be passed on: that needs CAP_SYS_ADMIN")
            data = given.data
        rest = [one for one in control if one is not given]
        added = Control(_socket.SOL_SOCKET, _CREDENTIALS, data)
        return identity.with_capabilities(_SYS_ADMIN | _SETUID | _SETGID), [*rest, added]

    def _translated(self, control: list[Control], taken: list[int]) -> list[Control]:
        """Control messages with the target's descriptors replaced by copies, which go into ``taken``. Raises `Refused` and OSError."""
        out = []
        for one in control:
            if one.level == _socket.SOL_SOCKET and one.type in (_RIGHTS, _CREDENTIALS):
                if self._domain != _socket.AF_UNIX:
                    continue  # other families ignore them (net/core/sock.c, __sock_cmsg_send)
                if one.type == _RIGHTS:
                    numbers = struct.unpack(f"={len(one.data) // 4}i", one.data[: len(one.data) // 4 * 4])
                    first = len(taken)
                    if first + len(numbers) > _SCM_MAX:
                        raise OSError(errno.EINVAL, "too many descriptors")
                    for number in numbers:
                        taken.append(self._actor.take(number))  # noqa: PERF401 - what was taken before one that fails is closed too
                    one = Control(one.level, one.type, struct.pack(f"={len(numbers)}i", *taken[first:]))
            elif self._domain == _socket.AF_UNIX:
                if one.level == _socket.SOL_SOCKET:
                    raise OSError(errno.EINVAL, "a control message that local sockets do not know")
                continue  # net/core/scm.c ignores other levels
            elif (one.level, one.type) not in _HARMLESS:
                raise Refused(f"a control message of level {one.level} and type {one.type}, which may say where a packet goes")
            out.append(one)
        return out


def _windows(call: Call, vectors: list[tuple[int, int]]) -> Iterator[tuple[bool, list[bytes]]]:
    """The buffers' contents, at most `WHOLE` bytes at a time, each read once; at least one window, and True with the last one.

    What cannot be read ends it: the kernel sends what came before (raises `Unreadable` where nothing did).
    """
    window: list[bytes] = []
    room, any_read = WHOLE, False
    for at, length in vectors:
        while length:
            size = min(length, room)
            try:
                window.append(call.copy(at, size))
            except Unreadable:
                if not any_read:
                    raise
                yield True, window
                return
            any_read = True
            at, length, room = at + size, length - size, room - size
            if not room:
                yield False, window
                window, room = [], WHOLE
    yield True, window


def _int(register: int) -> int:
    """A C int in a register."""
    low = register & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low
