"""The requests of a listener: RECV, SEND, ID_VALID, SET_FLAGS and ADDFD, as ioctl(2) takes them.

Source: kernel/seccomp.c (``seccomp_notify_ioctl``, ``seccomp_notify_recv`` and the others of that name).
"""

from __future__ import annotations

from seclude.bpf.codes import (
    SECCOMP_ADDFD_FLAG_SEND,
    SECCOMP_ADDFD_FLAG_SETFD,
    SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP,
    SECCOMP_USER_NOTIF_FLAG_CONTINUE,
)
from seclude.model.calls import Point, Sleep
from seclude.model.notify import INIT, REPLIED, SENT, AddFd, Kaddfd, Knotif, Response, SeccompNotif, should_sleep_killable
from seclude.model.task import task_pid_vnr
from seclude.model.uapi import (
    E2BIG,
    EBADF,
    EBUSY,
    EFAULT,
    EINPROGRESS,
    EINVAL,
    ENOENT,
    ERESTARTSYS,
    IOC_INOUT,
    IOCSIZE_MASK,
    IOCSIZE_SHIFT,
    O_CLOEXEC,
    PAGE_SIZE,
    SECCOMP_IOCTL_NOTIF_ADDFD,
    SECCOMP_IOCTL_NOTIF_ID_VALID,
    SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR,
    SECCOMP_IOCTL_NOTIF_RECV,
    SECCOMP_IOCTL_NOTIF_SEND,
    SECCOMP_IOCTL_NOTIF_SET_FLAGS,
    SECCOMP_NOTIFY_ADDFD_SIZE_VER0,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.calls import Steps
    from seclude.model.files import File
    from seclude.model.filter import SeccompFilter
    from seclude.model.kernel import KernelModel
    from seclude.model.task import Task

__all__ = ["find_notification", "seccomp_notify_ioctl"]


def find_notification(filter: SeccompFilter, id: int) -> Knotif | None:
    """The notification of that id that is still there, in whatever state."""
    assert filter.notif is not None
    return next((one for one in filter.notif.notifications if one.id == id), None)


def seccomp_notify_ioctl(kernel: KernelModel, task: Task, file: File, cmd: int, arg: object) -> Steps[int]:
    """ioctl(2) on a listener. ``arg`` is the struct, FAULT, or for ID_VALID the id and for SET_FLAGS the flags."""
    assert file.filter is not None
    filter = file.filter
    has = kernel.version.has
    if cmd == SECCOMP_IOCTL_NOTIF_RECV:
        return (yield from seccomp_notify_recv(kernel, task, filter, arg))
    if cmd == SECCOMP_IOCTL_NOTIF_SEND:
        return (yield from seccomp_notify_send(kernel, task, filter, arg))
    if cmd == SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR or (cmd == SECCOMP_IOCTL_NOTIF_ID_VALID and has("id_valid_direction")):
        return (yield from seccomp_notify_id_valid(filter, arg))
    if cmd == SECCOMP_IOCTL_NOTIF_SET_FLAGS and has("notif_flags"):
        return (yield from seccomp_notify_set_flags(filter, arg))
    # The struct may grow: neither direction nor size is part of the command.
    bare = ~(IOC_INOUT | IOCSIZE_MASK)
    if cmd & bare == SECCOMP_IOCTL_NOTIF_ADDFD & bare and has("addfd"):
        return (yield from seccomp_notify_addfd(kernel, task, filter, arg, (cmd & IOCSIZE_MASK) >> IOCSIZE_SHIFT))
    return -EINVAL


def recv_wait_event(kernel: KernelModel, filter: SeccompFilter) -> Steps[int]:
    """Wait until the count of requests is positive, and take one from it; nobody being left ends it too."""
    assert filter.notif is not None
    notif = filter.notif

    def nobody() -> bool:
        return filter.users == 0 and kernel.version.has("recv_orphan")

    if nobody():
        return 0
    if notif.requests == 0:
        err = yield Sleep("a notification", lambda: notif.requests > 0 or nobody())
        if err:
            return err
    if notif.requests > 0:
        notif.requests -= 1
    return 0


def seccomp_notify_recv(kernel: KernelModel, task: Task, filter: SeccompFilter, buf: object) -> Steps[int]:
    """SECCOMP_IOCTL_NOTIF_RECV: the oldest INIT, which becomes SENT."""
    if not isinstance(buf, SeccompNotif):
        return -EFAULT
    if not buf.zeroed and kernel.version.has("zeroed_recv"):
        return -EINVAL
    err = yield from recv_wait_event(kernel, filter)
    if err:
        return err
    yield Point("notify_lock")
    assert filter.notif is not None
    knotif = next((one for one in filter.notif.notifications if one.state == INIT), None)
    if knotif is None:
        kernel.tell("RECV finds nothing any more: ENOENT")
        return -ENOENT
    knotif.state = SENT
    kernel.tell(f"notification {knotif.id} is received (SENT)")
    id, pid, data = knotif.id, task_pid_vnr(knotif.task, task), knotif.data
    if not buf.writable:
        yield Point("notify_lock")
        again = find_notification(filter, id)
        if again is not None:
            if should_sleep_killable(kernel, filter, again):
                again.ready += 1
            again.state = INIT
            filter.notif.requests += 1
            kernel.tell(f"notification {id} could not be copied (INIT again)")
        return -EFAULT
    buf.id, buf.pid, buf.data = id, pid, data
    return 0


def seccomp_notify_send(kernel: KernelModel, task: Task, filter: SeccompFilter, resp: object) -> Steps[int]:
    """SECCOMP_IOCTL_NOTIF_SEND: the answer, which is not looked into."""
    if not isinstance(resp, Response):
        return -EFAULT
    if resp.flags & ~(SECCOMP_USER_NOTIF_FLAG_CONTINUE if kernel.version.has("continue") else 0):
        return -EINVAL
    if resp.flags & SECCOMP_USER_NOTIF_FLAG_CONTINUE and (resp.error or resp.val):
        return -EINVAL
    yield Point("notify_lock")
    knotif = find_notification(filter, resp.id)
    if knotif is None:
        return -ENOENT
    if knotif.state != SENT:
        return -EINPROGRESS
    knotif.state = REPLIED
    knotif.error, knotif.val, knotif.flags = resp.error, resp.val, resp.flags
    knotif.ready += 1
    kernel.tell(f"notification {knotif.id} is answered (REPLIED)")
    return 0


def seccomp_notify_id_valid(filter: SeccompFilter, id: object) -> Steps[int]:
    """SECCOMP_IOCTL_NOTIF_ID_VALID: 0 where it waits for the answer, -ENOENT in every other state."""
    if not isinstance(id, int):
        return -EFAULT
    yield Point("notify_lock")
    knotif = find_notification(filter, id)
    return 0 if knotif is not None and knotif.state == SENT else -ENOENT


def seccomp_notify_set_flags(filter: SeccompFilter, flags: object) -> Steps[int]:
    """SECCOMP_IOCTL_NOTIF_SET_FLAGS: by value."""
    assert isinstance(flags, int)
    if flags & ~SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP:
        return -EINVAL
    yield Point("notify_lock")
    assert filter.notif is not None
    filter.notif.flags = flags
    return 0


def seccomp_notify_addfd(kernel: KernelModel, task: Task, filter: SeccompFilter, addfd: object, size: int) -> Steps[int]:
    """SECCOMP_IOCTL_NOTIF_ADDFD: the target's new descriptor. Waits until the target has taken it."""
    if size < SECCOMP_NOTIFY_ADDFD_SIZE_VER0 or size >= PAGE_SIZE:
        return -EINVAL
    if not isinstance(addfd, AddFd):
        return -EFAULT
    if size > SECCOMP_NOTIFY_ADDFD_SIZE_VER0 and addfd.tail:
        return -E2BIG
    known = SECCOMP_ADDFD_FLAG_SETFD | (SECCOMP_ADDFD_FLAG_SEND if kernel.version.has("addfd_send") else 0)
    if addfd.newfd_flags & ~O_CLOEXEC or addfd.flags & ~known or (addfd.newfd and not addfd.flags & SECCOMP_ADDFD_FLAG_SETFD):
        return -EINVAL
    file = task.process.files.fget(addfd.srcfd)
    if file is None:
        return -EBADF
    kaddfd = Kaddfd(file, addfd.newfd, addfd.newfd_flags, addfd.flags)
    yield Point("notify_lock")
    knotif = find_notification(filter, addfd.id)
    if knotif is None:
        return -ENOENT
    if knotif.state != SENT:
        return -EINPROGRESS
    if addfd.flags & SECCOMP_ADDFD_FLAG_SEND:
        # The answer would overtake the descriptors that wait.
        if knotif.addfd:
            return -EBUSY
        knotif.state = REPLIED
    # In front: the last that came is the first to be taken.
    knotif.addfd.insert(0, kaddfd)
    knotif.ready += 1
    file.count += 1
    err = yield Sleep("the target to take the descriptor", lambda: kaddfd.completion > 0)
    if err:
        yield Point("notify_lock")
        if kaddfd in knotif.addfd:
            knotif.addfd.remove(kaddfd)
            kernel.fput(file)
            return -ERESTARTSYS
    kernel.fput(file)
    return kaddfd.ret
