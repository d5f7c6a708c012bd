"""Local sockets where ``--hide`` stands alone: what is hidden is not connected to either, and everything else is.

The problem: a socket in the file system is reached by its path, and that lies in the target's memory; and one in a hidden directory may be made long after the run has begun. So
connect(2) is done here, as for ``--connect``: on the target's own socket, with a copy of the address, by a thread that is the target's user. A path is walked to a handle,
the handle is judged by its own path, and it is that handle which is connected to. Addresses of other families are nobody's secret: they are connected to as they are.

What goes with it, put into the filter (`seclude.sandbox.files`): there are no local datagram sockets, which reach an address with every message, past any look at connect.

What can still go wrong: an abstract name is refused, although the run may have bound it itself: the kernel would let only sockets of the run's own Landlock domain be reached, and
here somebody else asks. Who is connected to is told the supervisor's process id, with the target's user and groups (SO_PEERCRED, unix(7)). A socket has its own names only: another link to it,
made before, is another path.
"""

from __future__ import annotations

import _socket
import errno
import os

from seclude.kernel import paths, sockets
from seclude.supervise.handlers import Handler
from seclude.supervise.network import address, answer
from seclude.supervise.network_unix import Denied, Place
from seclude.supervise.verdict import Deny, Return

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.kernel.credentials import Identity
    from seclude.supervise.acting import Actor
    from seclude.supervise.call import Call
    from seclude.supervise.files_rules import Rules
    from seclude.supervise.verdict import Verdict

__all__ = ["HiddenSockets"]

_FAMILY = _socket.AF_UNIX.to_bytes(2, sockets.BYTE_ORDER)
_PATH_AT = 2  # offsetof(struct sockaddr_un, sun_path)
_LONGEST = 110  # sizeof(struct sockaddr_un)
_REMOVED = b" (deleted)"


class HiddenSockets:
    """Connects where ``rules`` and ``hidden`` (st_dev, st_ino) do not hide the socket. ``own`` is the supervisor's identity; ``scoped``: the target's domain keeps
    it from abstract names outside.
    """  # fmt: skip

    __slots__ = ("_hidden", "_own", "_rules", "_scoped")

    def __init__(self, rules: Rules, hidden: frozenset[tuple[int, int]], own: Identity, *, scoped: bool) -> None:
        self._rules, self._hidden, self._own, self._scoped = rules, hidden, own, scoped

    def handler(self) -> Handler:
        """The handler for connect. It waits for peers: it runs in threads."""
        made = Handler(self.decide, ("connect",), (Deny, Return), threads=True)
        made.name = "--hide"
        return made

    def decide(self, call: Call) -> Verdict:
        """Connect, or deny it."""
        return answer(call, self._own, lambda actor, fd: self._connect(call, actor, fd))

    def _connect(self, call: Call, actor: Actor, fd: int) -> int:
        length = call.raw[2] & 0xFFFFFFFF
        raw = address(call, call.raw[1], length - (length >> 31 << 32))
        if sockets.kind(fd)[0] != _socket.AF_UNIX or raw[:2] != _FAMILY or len(raw) == _PATH_AT:
            # There is no path in it, or the kernel does not take it.
            return actor.perform(lambda: sockets.connect(fd, raw), actor.identity())
        if len(raw) > _LONGEST:
            return -errno.EINVAL
        if not raw[_PATH_AT]:
            if self._scoped:
                shown = raw[_PATH_AT + 1 :].decode("utf-8", "backslashreplace")
                raise Denied(f"the abstract name @{shown} may be outside of the run, which cannot be told under --hide", errno="EPERM")
            return actor.perform(lambda: sockets.connect(fd, raw), actor.identity())
        path = raw[_PATH_AT:].partition(b"\0")[0]
        with Place(actor) as place:

            def walk_and_connect() -> int:
                handle = place.walk(path)
                try:
                    self._judge(handle)
                    return sockets.connect(fd, _FAMILY + paths.at(handle) + b"\0")
                finally:
                    os.close(handle)

            return actor.perform(walk_and_connect, actor.identity())

    def _judge(self, handle: int) -> None:
        """Raise `Denied` for what is hidden."""
        found, path = os.stat(handle), paths.handle_path(handle)
        rule = self._rules.hidden_by(path) or self._rules.hidden_by(path.removesuffix(_REMOVED))
        if rule is not None or (found.st_dev, found.st_ino) in self._hidden:
            which = "--hide, by another name" if rule is None else f"--hide {os.fsdecode(rule)}"
            raise Denied(f"{os.fsdecode(path)} is hidden by {which}", errno="ENOENT")
