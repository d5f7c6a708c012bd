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

from seclude.supervise.describe import describe
from seclude.supervise.plain import ACTIONS, ALLOW, ERRNO, LOG, Plain
from seclude.supervise.record import Denial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.kernel.notify import Notification
    from seclude.kernel.protocol import Kernel
    from seclude.supervise.record import Record

    Start = tuple[int, int, int, tuple[int, ...]]

__all__ = ["Responder"]

_MAX_ERRNO = 4095


class Responder:
    """One listener. ``start`` is ``(pid, token, nr, first three arguments)`` of the execve to let pass, once; None after it."""

    __slots__ = ("answered", "ask", "attend", "kernel", "listener", "plain", "record", "start")

    def __init__(self, kernel: Kernel, listener: int, plain: Plain, record: Record, start: Start | None) -> None:
        self.kernel = kernel
        self.listener = listener
        self.plain = plain
        self.record = record
        self.start = start
        self.answered = 0
        #: takes a call with the action notify or trace, and the policy's value for it; False leaves it unhandled
        self.attend: Callable[[Notification, int], bool] | None = None
        #: the same for calls that the policy denies with an errno: somebody may be asked about them first
        self.ask: Callable[[Notification, int], bool] | None = None

    def serve(self) -> None:
        """Take one notification and answer it. Poll the listener first: this blocks where nothing waits."""
        call = self.kernel.receive(self.listener)
        if call is None:
            return
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

    def _denial(self, call: Notification, value: int, action: str, number: int) -> tuple[Denial, tuple[object, ...]]:
        arch, name, text, key = describe(self.kernel, call.pid, call.arch, call.nr, call.args)
        denial = Denial(
            call=name, arch=arch, nr=call.nr, token=call.arch, ip=call.ip, args=call.args, text=text, action=action,
            result=errno_text(arch, number), value=value,
        )  # fmt: skip
        self.record.look(call.pid, denial)
        return denial, (arch, call.nr, value, key)


def errno_text(arch: str, number: int) -> str:
    """An errno's name on that architecture; ``0`` for errno(0), the number where it has no name."""
    from seclude.abi import ARCHITECTURES
    from seclude.abi.constants import errno_name

    found = errno_name(number, arch) if number and arch in ARCHITECTURES else None
    return found or str(number)
