"""Answer what a reporting filter notifies, exactly as the plain filter would have, and keep a record.

The problem: the record must not change what happens. The reporting filter notifies where the policy says errno (and
notify, and trace); here the policy's own program is run on the notified words, and its errno is the answer. Nothing is
ever let through from here, but for one call: the execve by which the target itself starts. It is known by its thread, architecture,
number and pointers together, and only looked for where the policy denies it: else the first denied call that resembled it would pass.

A call counts when its answer was delivered: one that is interrupted and restarted is notified again under another id,
and would count twice if counted on arrival. What is shown of the target's memory is read while the call waits; if the
notification is stale afterwards, what was read may be another process's, and is thrown away.

What can still go wrong: a signal that arrives in the moment before a call is received interrupts it, so that a target whose
handlers do not restart calls sees EINTR from one that never gives it otherwise; it is not counted, since it was not denied. A filter that the target stacks itself and that answers first is not seen here.
"""

from __future__ import annotations

import errno as _errno

from seclude.kernel.notify import Known, pump
from seclude.supervise.describe import describe
from seclude.supervise.plain import ACTIONS, ALLOW, ERRNO, LOG, Plain
from seclude.supervise.record import Denial, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.kernel.notify import Notification
    from seclude.kernel.protocol import Kernel

    Start = tuple[int, int, int, tuple[int, ...]]

__all__ = ["Responder", "errno_text", "shows_nothing"]

_MAX_ERRNO = 4095
_POLLIN = 1
_IN_A_ROW = 64  # calls, between two looks of the loop at its clocks
_MOST_KNOWN = 1024  # the target chooses the words
_PLAIN_KINDS = frozenset(("int", "uint", "size", "flags", "mode", "signal", "cmd", "offset", "uid", "gid", "device", "pid"))


class Responder:
    """One listener. ``start`` is ``(pid, token, nr, first three arguments)`` of the execve to let pass, once; None after it."""

    __slots__ = ("_only", "answered", "ask", "attend", "denials", "kernel", "known", "listener", "plain", "record", "start")

    def __init__(self, kernel: Kernel, listener: int, plain: Plain, record: Record, start: Start | None) -> None:
        self.kernel = kernel
        self.listener = listener
        self._only = [(listener, _POLLIN)]
        self.plain = plain
        self.record = record
        self.start = start
        self.answered = 0
        #: calls that show nothing of the target's memory, and so look the same each time: their words → the answer, and the denial to count
        self.known: dict[bytes, Known] = {}
        self.denials: list[tuple[Known, Denial]] = []
        #: takes a call with the action notify or trace, and the policy's value for it; False leaves it unhandled
        self.attend: Callable[[Notification, int], bool] | None = None
        #: the same for calls that the policy denies with an errno: somebody may be asked about them first
        self.ask: Callable[[Notification, int], bool] | None = None

    def serve(self, wait: Callable[[], list[tuple[int, int]]] | None = None) -> None:
        """Take one notification and answer it. Poll the listener first: this blocks where nothing waits.

        With ``wait``, which polls, one call after the other is taken, until anything else happens, or `_IN_A_ROW` that were not answered before.
        """
        for _ in range(1 if wait is None else _IN_A_ROW):
            call = self.kernel.receive(self.listener) if wait is None else pump(self.listener, self.known, wait)
            if call is None:
                return
            self._answer(call)
            if wait is not None and wait() != self._only:
                return

    def _answer(self, call: Notification) -> None:
        if self.start is not None and self.start == (call.pid, call.arch, call.nr, call.args[:3]):
            self.start = None
            self.kernel.continue_(self.listener, call.id)
            return
        action, data = self.plain.value(call.nr, call.arch, call.ip, call.args)
        if action == ERRNO:
            if self.ask is not None and self.ask(call, action | data):
                return
            number, name = min(data, _MAX_ERRNO), "errno"
        elif action in (ALLOW, LOG):
            # The reporting filter notifies one permitted call: a filter with a listener. There can be only one, and it is ours.
            from seclude.supervise.listener import answer

            number, name = answer(self.kernel, call), "busy"
            if number != _errno.EBUSY:  # no request that could have been granted: not our doing
                if self.kernel.still_waiting(self.listener, call.id):
                    self.kernel.reply(self.listener, call.id, error=number)
                return
        elif self.attend is not None and self.attend(call, action | data):
            return
        else:
            number, name = _errno.ENOSYS, ACTIONS[action]
        denial, key = self._denial(call, action | data, name, number)
        if not self.kernel.still_waiting(self.listener, call.id):
            return
        if self.kernel.reply(self.listener, call.id, error=number):
            self.answered += 1
            self.record.add(key, denial)
            if (
                action == ERRNO
                and self.ask is None
                and type(self.record) is Record
                and len(self.known) < _MOST_KNOWN
                and shows_nothing(call)
            ):
                self._remember(call, number, key)

    def _remember(self, call: Notification, number: int, key: tuple[object, ...]) -> None:
        denial = self.record.find(key)
        if denial is not None:
            known = Known(call, error=number)
            self.known[known.key] = known
            self.denials.append((known, denial))

    def settle(self) -> None:
        """Bring the record's counts up to date."""
        for known, denial in self.denials:
            denial.count += known.count
            self.answered += known.count
            known.count = 0

    def _denial(self, call: Notification, value: int, action: str, number: int) -> tuple[Denial, tuple[object, ...]]:
        arch, name, text, key = describe(self.kernel, call.pid, call.arch, call.nr, call.args)
        denial = Denial(
            call=name, arch=arch, nr=call.nr, token=call.arch, ip=call.ip, args=call.args, text=text, action=action,
            result=errno_text(arch, number), value=value,
        )  # fmt: skip
        self.record.look(call.pid, denial)
        return denial, (arch, call.nr, value, key)


def shows_nothing(call: Notification) -> bool:
    """Whether the call's text depends on its registers alone: no parameter is a pointer or a descriptor."""
    from seclude.abi.prototypes import prototype
    from seclude.supervise.describe import architecture

    arch = architecture(call.arch, call.nr)
    name = arch.call_name(call.nr) if arch is not None else None
    if arch is None or name is None:
        return False
    shape = prototype(arch, name)
    return shape is not None and all(parameter.kind in _PLAIN_KINDS for parameter in shape.parameters)


def errno_text(arch: str, number: int) -> str:
    """An errno's name on that architecture; ``0`` for errno(0), the number where it has no name."""
    known = _texts.get((arch, number))
    if known is None:
        from seclude.abi import ARCHITECTURES
        from seclude.abi.constants import errno_name

        found = errno_name(number, arch) if number and arch in ARCHITECTURES else None
        known = _texts[arch, number] = found or str(number)
    return known


_texts: dict[tuple[str, int], str] = {}  # at most 4095 numbers of each architecture
