"""Scenarios to look at: each does a few things to a model, and takes a picture after each."""

from __future__ import annotations

from seclude.bpf.codes import (
    SECCOMP_ADDFD_FLAG_SEND,
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_FILTER_FLAG_TSYNC,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_USER_NOTIF,
    SECCOMP_SET_MODE_FILTER,
)
from seclude.bpf.program import Program
from seclude.errors import UsageError
from seclude.model.draw import Picture, take
from seclude.model.kernel import KernelModel
from seclude.model.notify import AddFd, Response, SeccompNotif
from seclude.model.task import CATCH
from seclude.model.uapi import (
    EPERM,
    PR_SET_NO_NEW_PRIVS,
    SECCOMP_IOCTL_NOTIF_ADDFD,
    SECCOMP_IOCTL_NOTIF_RECV,
    SECCOMP_IOCTL_NOTIF_SEND,
    SIGUSR1,
)
from seclude.model.versions import FEATURES, Version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.model.task import Task

__all__ = ["GALLERY", "pictures"]


def _of(kernel: KernelModel, value: int, call: str) -> Program:
    """A filter that says ``value`` to one call and allows all others."""
    number = kernel.arch.number(call)
    assert number is not None
    return Program([(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, value), (0x06, 0, 0, SECCOMP_RET_ALLOW)], kernel.arch.byteorder)


class _Camera:
    """A model and the pictures taken of it."""

    def __init__(self, version: str) -> None:
        self.kernel = KernelModel(version)
        self.pictures: list[Picture] = []

    def __call__(self, caption: str) -> None:
        self.pictures.append(take(self.kernel, caption))

    def load(self, task: Task, value: int, call: str, flags: int = 0) -> int:
        made = self.kernel.seccomp(task, SECCOMP_SET_MODE_FILTER, flags, _of(self.kernel, value, call))
        assert made.value is not None
        return made.value


def tree(camera: _Camera) -> None:
    """Filters form a tree: fork shares them, loading adds a leaf, exit takes leaves away"""
    kernel = camera.kernel
    parent = kernel.process("parent")
    kernel.prctl(parent, PR_SET_NO_NEW_PRIVS, 1)
    camera("A process without filters")
    camera.load(parent, SECCOMP_RET_ERRNO | EPERM, "ptrace")
    camera("It loads a filter: one task refers to it")
    child = kernel.fork(parent, "child")
    camera("It forks: the child has the same filter, now with two references")
    camera.load(child, SECCOMP_RET_ERRNO | EPERM, "socket")
    camera("The child loads another. Its reference to filter 1 is filter 2's now")
    camera.load(parent, SECCOMP_RET_ERRNO | EPERM, "mount")
    camera("So does the parent: two leaves on one stem")
    kernel.exit_group(child)
    camera("The child exits: its own filter is freed, the shared one stays")


def tsync(camera: _Camera) -> None:
    """TSYNC puts every thread under the caller's filters, or none of them"""
    kernel = camera.kernel
    main = kernel.process("main")
    kernel.prctl(main, PR_SET_NO_NEW_PRIVS, 1)
    camera.load(main, SECCOMP_RET_ERRNO | EPERM, "ptrace")
    worker = kernel.clone_thread(main, "worker")
    kernel.clone_thread(main, "helper")
    camera("A process of three threads under one filter")
    camera.load(main, SECCOMP_RET_ERRNO | EPERM, "mount", SECCOMP_FILTER_FLAG_TSYNC)
    camera("main loads another with TSYNC: all three have it")
    camera.load(worker, SECCOMP_RET_ERRNO | EPERM, "socket")
    camera("worker loads one for itself alone")
    conflict = camera.load(main, SECCOMP_RET_ERRNO | EPERM, "reboot", SECCOMP_FILTER_FLAG_TSYNC)
    camera(f"TSYNC again: worker's filter is none of main's, so nothing is loaded and main gets its number, {conflict}")


def _supervised(camera: _Camera) -> tuple[Task, Task, int]:
    kernel = camera.kernel
    target = kernel.process("target")
    supervisor = kernel.process("supervisor")
    kernel.prctl(target, PR_SET_NO_NEW_PRIVS, 1)
    fd = camera.load(target, SECCOMP_RET_USER_NOTIF, "mkdir", SECCOMP_FILTER_FLAG_NEW_LISTENER)
    given = kernel.give(target, fd, supervisor)
    kernel.close(target, fd)
    camera("The target has a filter with a listener, which the supervisor holds: a reference, but no user")
    return target, supervisor, given


def notify(camera: _Camera) -> None:
    """A notified call: INIT until it is received, SENT until it is answered"""
    kernel = camera.kernel
    target, supervisor, listener = _supervised(camera)
    kernel.syscall(target, "mkdir", 0x7000, 0o755)
    camera("mkdir waits, as notification 1: INIT. The listener polls readable")
    buffer = SeccompNotif()
    kernel.ioctl(supervisor, listener, SECCOMP_IOCTL_NOTIF_RECV, buffer)
    camera("The supervisor received it: SENT. Its answer is waited for")
    kernel.ioctl(supervisor, listener, SECCOMP_IOCTL_NOTIF_SEND, Response(buffer.id, error=-EPERM))
    camera("It answers EPERM: the call returns, and the notification is gone")
    kernel.exit_group(target)
    camera("The target exits: no user is left and the listener hangs up, but its file still keeps the filter")
    kernel.close(supervisor, listener)
    camera("The listener is closed: the filter is freed")


def interrupted(camera: _Camera) -> None:
    """A signal takes a call back, and a restarted call is another notification"""
    kernel = camera.kernel
    target, supervisor, listener = _supervised(camera)
    kernel.sigaction(target, SIGUSR1, "restart")
    kernel.syscall(target, "mkdir", 0x7000, 0o755)
    buffer = SeccompNotif()
    kernel.ioctl(supervisor, listener, SECCOMP_IOCTL_NOTIF_RECV, buffer)
    camera("mkdir was received as notification 1")
    kernel.kill(target, SIGUSR1)
    camera("A signal with SA_RESTART: notification 1 is gone, the call waits anew as 2")
    late = kernel.ioctl(supervisor, listener, SECCOMP_IOCTL_NOTIF_SEND, Response(buffer.id))
    camera(f"The answer to 1 finds nobody ({'ENOENT' if late.value == -2 else late.value}): its effects are to be undone")
    kernel.ioctl(supervisor, listener, SECCOMP_IOCTL_NOTIF_RECV, again := SeccompNotif())
    kernel.ioctl(supervisor, listener, SECCOMP_IOCTL_NOTIF_SEND, Response(again.id))
    camera("2 is received and answered")


def descriptor(camera: _Camera) -> None:
    """ADDFD with SEND: the target's new descriptor is its call's result"""
    kernel = camera.kernel
    target, supervisor, listener = _supervised(camera)
    source = kernel.open(supervisor, "a file")
    kernel.sigaction(target, SIGUSR1, CATCH)
    call = kernel.syscall(target, "mkdir", 0x7000, 0o755)
    buffer = SeccompNotif()
    kernel.ioctl(supervisor, listener, SECCOMP_IOCTL_NOTIF_RECV, buffer)
    camera("A call was received")
    kernel.ioctl(supervisor, listener, SECCOMP_IOCTL_NOTIF_ADDFD, AddFd(buffer.id, source, SECCOMP_ADDFD_FLAG_SEND))
    camera(f"The supervisor gives a descriptor and the answer in one step: the call returns {call.value}")


#: name → what it shows, and how
GALLERY: dict[str, Callable[[_Camera], None]] = {
    "tree": tree, "tsync": tsync, "notify": notify, "interrupted": interrupted, "descriptor": descriptor,
}  # fmt: skip

#: what a scenario is about, where not every modelled kernel has it
_NEEDS = {"descriptor": "addfd_send"}


def pictures(name: str, version: str = "6.18") -> list[Picture]:
    """The pictures of a scenario of the gallery, in order. Raises `UsageError` for a kernel that lacks what is shown."""
    camera = _Camera(version)
    if name in _NEEDS and not camera.kernel.version.has(_NEEDS[name]):
        feature = FEATURES[_NEEDS[name]]
        raise UsageError(f"Linux {version} has nothing to draw for {name!r}: {feature.about}", f"since Linux {Version(*feature.since)}")
    GALLERY[name](camera)
    return camera.pictures
