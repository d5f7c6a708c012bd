"""What appeared when: every difference between kernels 5.0 and 6.18 that the model knows, as data.

A feature is asked for by name: ``kernel.has("addfd")``. What is older than 5.0 (filters, TSYNC, LOG, KILL_PROCESS, SPEC_ALLOW) every model has.
Distributions carry changes back to older kernels; the model is of the releases as they came out.
"""

from __future__ import annotations

from typing import NamedTuple

from seclude.errors import UsageError

__all__ = ["FEATURES", "NEWEST", "OLDEST", "Feature", "Version"]

OLDEST, NEWEST = (5, 0), (6, 18)


class Feature(NamedTuple):
    """``since`` is the first release with it; ``about`` says what a program sees of it."""

    since: tuple[int, int]
    about: str


FEATURES = {
    "user_notif": Feature((5, 0), "SECCOMP_RET_USER_NOTIF, NEW_LISTENER, the listener's RECV, SEND and ID_VALID, GET_NOTIF_SIZES"),
    "continue": Feature((5, 5), "SECCOMP_USER_NOTIF_FLAG_CONTINUE; before, any flag of an answer is EINVAL"),
    "zeroed_recv": Feature((5, 5), "RECV refuses a buffer that is not zero (EINVAL); before, it is overwritten"),
    "tsync_esrch": Feature((5, 7), "SECCOMP_FILTER_FLAG_TSYNC_ESRCH, and with it TSYNC beside NEW_LISTENER"),
    "addfd": Feature((5, 9), "SECCOMP_IOCTL_NOTIF_ADDFD with SETFD"),
    "users": Feature((5, 9), "users of a filter are counted: POLLHUP at a listener whose last task is gone"),
    "id_valid_direction": Feature((5, 9), "ID_VALID as the header says it now; before, only the command with the wrong direction"),
    "status_filters": Feature((5, 9), "the line Seccomp_filters in /proc/PID/status"),
    "listener_checked_late": Feature((5, 10), "EBUSY of a second listener comes after the check of the mode, under the lock"),
    "cache": Feature((5, 11), "the constant-allow bitmap: no filter runs for the calls in it"),
    "user_dispatch": Feature((5, 11), "PR_SET_SYSCALL_USER_DISPATCH: calls from outside a range of addresses are SIGSYS"),
    "addfd_send": Feature((5, 14), "SECCOMP_ADDFD_FLAG_SEND"),
    "dead_mode": Feature((5, 17), "a killed task is in mode 3 until it is gone"),
    "wait_killable": Feature((5, 19), "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
    # "signal: Guarantee that SIGNAL_GROUP_EXIT is set on process exit" (d80f7d7b2c75, July 2022, in what was to be 5.20 and came out as 6.0); seen on 6.18.
    "last_status": Feature((6, 0), "a process whose threads end one by one has the status of the last of them; before, of its leader"),
    "notif_flags": Feature((6, 6), "SECCOMP_IOCTL_NOTIF_SET_FLAGS with SYNC_WAKE_UP"),
    "release_at_exit": Feature((6, 11), "an exiting task lets go of its filters at once, not when it is reaped; TSYNC passes over it"),
    "recv_orphan": Feature((6, 11), "RECV is ENOENT where nobody is left; before, it sleeps"),
    "uretprobe": Feature((6, 14), "call 335 of x86-64 cannot be blocked"),
    "killable_reply": Feature((6, 17), "under WAIT_KILLABLE_RECV a signal no longer beats an answer that was given at once"),
    "uprobe": Feature((6, 18), "call 336 of x86-64 cannot be blocked"),
}


class Version(NamedTuple):
    """A kernel release."""

    major: int
    minor: int

    @classmethod
    def read(cls, text: str) -> Version:
        """``6.18``, or a running kernel's ``6.18.44-generic``. Raises `UsageError` for anything else and for what is not modelled."""
        parts = text.split("-", maxsplit=1)[0].split(".")
        if len(parts) < 2 or not all(part.isascii() and part.isdigit() and len(part) < 5 for part in parts):
            raise UsageError(f"{text!r} is no version of the kernel", "write it as 6.18")
        version = cls(int(parts[0]), int(parts[1]))
        if not OLDEST <= version <= NEWEST:
            raise UsageError(
                f"Linux {text} is not modelled: the model knows {cls(*OLDEST)} to {cls(*NEWEST)}",
                f"the nearest is {cls(*OLDEST) if version < OLDEST else cls(*NEWEST)}",
            )
        return version

    def has(self, feature: str) -> bool:
        """Whether this release has the feature, a key of `FEATURES`."""
        return self >= FEATURES[feature].since

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"
