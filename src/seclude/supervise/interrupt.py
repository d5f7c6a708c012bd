"""Signals that a target would take if its call waited in the kernel: then what a supervisor does in its place ends as the call would.

The problem: a target that waits in a notified call takes no signal but a fatal one (WAIT_KILLABLE_RECV), and while it is traced not even these. So while its
supervisor waits for it, the signals that wait are looked at.

What can still go wrong: a signal that is taken by another thread meanwhile ends the call here too, as if it had been this one's.

Source: signal(7), "Interruption of system calls"; proc_pid_status(5).
"""

from __future__ import annotations

from seclude.kernel.signals import csignal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from seclude.supervise.call import Call

__all__ = ["RESTART", "signalled"]

#: ERESTARTSYS (include/linux/errno.h), the kernel's own: a program never sees it, since it is given only where a signal is there to be taken
RESTART = 512
#: signals that do nothing unless they are caught: SIGCONT is one, after the fact
_HARMLESS = sum(1 << number - 1 for number in (csignal.SIGCHLD, csignal.SIGURG, csignal.SIGWINCH, csignal.SIGCONT))


def signalled(call: Call, among: int = -1) -> Literal["", "again", "signal"]:
    """Whether the caller has a signal to take, of those in the mask ``among`` (bit N - 1 is signal N): ``again`` where it is surely this thread's, which then begins the call anew or fails, as the handler
    says (SA_RESTART); ``signal`` where another thread may take it, so that the call can only fail; "" where there is none.
    """  # fmt: skip
    status = call.kernel.status(call.tid)
    if status is None:
        return ""
    own, shared, blocked, ignored, caught = (status.number(name, 16) or 0 for name in ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"))
    taken = ~blocked & ~ignored & (caught | ~_HARMLESS)
    taken &= among
    if not (own | shared) & taken:
        return ""
    return "again" if own & taken or status.threads == 1 else "signal"
