"""User notification: a call that waits for a supervisor. What the supervisor can do through the listener is in `seclude.model.listener`.

A notification is INIT until it is received, SENT until it is answered, REPLIED until the call has taken the answer. The wait can be
interrupted; under WAIT_KILLABLE_RECV only by what kills, once it was received.

Source: kernel/seccomp.c (``seccomp_do_user_notification``, ``seccomp_notify_detach``, ``seccomp_notify_poll``).
"""

from __future__ import annotations

from typing import NamedTuple

from seclude.bpf.codes import SECCOMP_ADDFD_FLAG_SEND, SECCOMP_ADDFD_FLAG_SETFD, SECCOMP_USER_NOTIF_FLAG_CONTINUE
from seclude.model.calls import Point, Sleep
from seclude.model.files import File
from seclude.model.filter import get_filter_file, put_seccomp_filter
from seclude.model.uapi import (
    ENOSYS,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDNORM,
    EPOLLWRNORM,
    ESRCH,
    O_CLOEXEC,
    SECCOMP_NOTIFY_ADDFD_SIZE_VER0,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.calls import Steps, SystemCall
    from seclude.model.filter import SeccompData, SeccompFilter
    from seclude.model.kernel import KernelModel
    from seclude.model.task import Task

__all__ = [
    "INIT",
    "REPLIED",
    "SENT",
    "AddFd",
    "Knotif",
    "Notification",
    "Response",
    "SeccompNotif",
    "seccomp_notify_poll",
    "seccomp_notify_release",
]

INIT, SENT, REPLIED = "INIT", "SENT", "REPLIED"
_ORDER = (INIT, SENT, REPLIED)


class Notification:
    """struct notification: what a filter with a listener has. ``requests`` counts what RECV may take, and can be too high."""

    __slots__ = ("flags", "next_id", "notifications", "requests")

    def __init__(self, first: int) -> None:
        self.requests = 0
        self.flags = 0
        #: the kernel starts at a random number
        self.next_id = first
        self.notifications: list[Knotif] = []


class Knotif:
    """struct seccomp_knotif: one waiting call. ``ready`` counts completions, as of its waiter."""

    __slots__ = ("addfd", "data", "error", "flags", "id", "ready", "state", "task", "val")

    def __init__(self, id: int, task: Task, data: SeccompData) -> None:
        self.id = id
        self.task = task
        self.data = data
        self.state = INIT
        self.error = 0
        self.val = 0
        self.flags = 0
        self.ready = 0
        self.addfd: list[Kaddfd] = []


class Kaddfd:
    """struct seccomp_kaddfd: a descriptor on its way into the target."""

    __slots__ = ("completion", "fd", "file", "flags", "ioctl_flags", "ret", "setfd")

    def __init__(self, file: File, fd: int, flags: int, ioctl_flags: int) -> None:
        self.file = file
        self.fd = fd
        self.flags = flags
        self.ioctl_flags = ioctl_flags
        self.setfd = bool(ioctl_flags & SECCOMP_ADDFD_FLAG_SETFD)
        self.ret = 0
        self.completion = 0


class SeccompNotif:
    """struct seccomp_notif: RECV's buffer. ``zeroed`` and ``writable`` are what the supervisor made of it; the rest is filled in."""

    __slots__ = ("data", "id", "pid", "writable", "zeroed")

    def __init__(self, *, zeroed: bool = True, writable: bool = True) -> None:
        self.zeroed = zeroed
        self.writable = writable
        self.id = 0
        self.pid = 0
        self.data: SeccompData | None = None


class Response(NamedTuple):
    """struct seccomp_notif_resp. ``error`` is a negated errno."""

    id: int
    val: int = 0
    error: int = 0
    flags: int = 0


class AddFd(NamedTuple):
    """struct seccomp_notif_addfd; ``size`` and ``tail`` (whether what is beyond the known fields is zero) as the ioctl number says."""

    id: int
    srcfd: int
    flags: int = 0
    newfd: int = 0
    newfd_flags: int = 0
    size: int = SECCOMP_NOTIFY_ADDFD_SIZE_VER0
    tail: int = 0


# --- the listener's life


def init_listener(kernel: KernelModel, filter: SeccompFilter) -> File:
    """The filter's notification, and the file that is to be its listener."""
    filter.notif = Notification(kernel.first_id)
    get_filter_file(filter)
    return File("seccomp notify", filter)


def has_duplicate_listener(task: Task, filter: SeccompFilter) -> bool:
    """Whether a filter of the task has a live listener, where ``filter`` is to have one: two would not know who answers."""
    return filter.notif is not None and any(one.notif is not None for one in task.chain())


def seccomp_notify_detach(kernel: KernelModel, filter: SeccompFilter) -> None:
    """The listener is gone: every call that waits for it gets ENOSYS, and so does every later one."""
    notif = filter.notif
    if notif is None:
        return
    for knotif in notif.notifications:
        if knotif.state == REPLIED:
            continue
        knotif.state = REPLIED
        knotif.error = -ENOSYS
        knotif.val = 0
        knotif.ready += 1
        kernel.tell(f"notification {knotif.id} is answered ENOSYS: its listener is gone")
    filter.notif = None
    put_seccomp_filter(kernel, filter)


def seccomp_notify_release(kernel: KernelModel, file: File) -> None:
    """The last descriptor of a listener is closed."""
    assert file.filter is not None
    kernel.tell(f"the listener of filter {file.filter.number} is closed")
    seccomp_notify_detach(kernel, file.filter)


def seccomp_notify_poll(kernel: KernelModel, filter: SeccompFilter) -> int:
    """The bits of poll(2): something to receive, something to answer, nobody left."""
    bits = 0
    for knotif in filter.notif.notifications if filter.notif is not None else ():
        if knotif.state == INIT:
            bits |= EPOLLIN | EPOLLRDNORM
        elif knotif.state == SENT:
            bits |= EPOLLOUT | EPOLLWRNORM
    if filter.users == 0 and kernel.version.has("users"):
        bits |= EPOLLHUP
    return bits


# --- the call that waits


def should_sleep_killable(kernel: KernelModel, match: SeccompFilter, n: Knotif) -> bool:
    """Whether only what kills may interrupt the wait: once it was received. Before 6.17 an answer made it interruptible again."""
    if not match.wait_killable_recv:
        return False
    return n.state != INIT if kernel.version.has("killable_reply") else n.state == SENT


def seccomp_do_user_notification(kernel: KernelModel, call: SystemCall, match: SeccompFilter, data: SeccompData) -> Steps[bool]:
    """Ask the supervisor. True where the call is to run after all (CONTINUE); else its result is set."""
    task = call.task
    yield Point("notify_lock")
    if match.notif is None:
        kernel.tell(f"filter {match.number} has no listener")
        call.result = -ENOSYS
        return False
    n = Knotif(match.notif.next_id, task, data)
    match.notif.next_id = match.notif.next_id + 1 & 0xFFFFFFFFFFFFFFFF
    match.notif.notifications.append(n)
    match.notif.requests += 1
    kernel.tell(f"{kernel.name(task)} waits as notification {n.id} (INIT)")
    err = 0
    while True:
        wait_killable = should_sleep_killable(kernel, match, n)
        err = yield Sleep(f"the answer to notification {n.id}", lambda: n.ready > 0, wait_killable)
        if err == 0:
            n.ready -= 1
        # What is done here to the notification before the lock is taken again is still done.
        yield Point("notify_lock")
        if err != 0:
            if not wait_killable and should_sleep_killable(kernel, match, n):
                continue
            kernel.tell(f"notification {n.id} is interrupted ({n.state})")
            break
        if n.addfd:
            seccomp_handle_addfd(kernel, n)
        if n.state == REPLIED:
            break
    error, value, flags = (n.error, n.val, n.flags) if err == 0 else (err, 0, 0)
    for addfd in n.addfd:
        addfd.ret = -ESRCH
        addfd.completion += 1
    n.addfd.clear()
    if match.notif is not None:
        match.notif.notifications.remove(n)
    if flags & SECCOMP_USER_NOTIF_FLAG_CONTINUE:
        kernel.tell(f"notification {n.id} is answered: continue")
        return True
    call.result = error or value
    return False


def seccomp_handle_addfd(kernel: KernelModel, n: Knotif) -> None:
    """The target takes the newest descriptor that waits for it."""
    addfd = n.addfd.pop(0)
    files = n.task.process.files
    cloexec = bool(addfd.flags & O_CLOEXEC)
    if addfd.setfd:
        fd, before = files.replace_fd(addfd.fd, addfd.file, cloexec=cloexec)
        if before is not None:
            kernel.fput(before)
    else:
        fd = files.get_unused_fd()
        if fd >= 0:
            files.fd_install(fd, addfd.file, cloexec=cloexec)
    addfd.ret = fd
    kernel.tell(f"{kernel.name(n.task)} receives a descriptor: {fd}")
    if addfd.ioctl_flags & SECCOMP_ADDFD_FLAG_SEND:
        if fd < 0:
            n.state = SENT
        else:
            n.flags, n.error, n.val = 0, 0, fd
    addfd.completion += 1
