"""seccomp(2) and the options of prctl(2) that belong to it: every operation, flag and check, in the kernel's order.

Source: kernel/seccomp.c (``do_seccomp``, ``seccomp_set_mode_filter``, ``prctl_set_seccomp``), kernel/sys.c.
"""

from __future__ import annotations

from seclude.bpf.codes import (
    SECCOMP_FILTER_FLAG_LOG,
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    SECCOMP_FILTER_FLAG_TSYNC,
    SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    SECCOMP_GET_ACTION_AVAIL,
    SECCOMP_GET_NOTIF_SIZES,
    SECCOMP_MODE_DISABLED,
    SECCOMP_MODE_FILTER,
    SECCOMP_MODE_STRICT,
    SECCOMP_SET_MODE_FILTER,
    SECCOMP_SET_MODE_STRICT,
)
from seclude.model.calls import Point
from seclude.model.dispatch import set_syscall_user_dispatch
from seclude.model.filter import Fprog, SeccompFilter, path_insns, release_filter, seccomp_prepare_user_filter
from seclude.model.notify import has_duplicate_listener, init_listener, seccomp_notify_detach
from seclude.model.tsync import seccomp_can_sync_threads, seccomp_sync_threads
from seclude.model.uapi import (
    EBUSY,
    EFAULT,
    EINVAL,
    ENOMEM,
    EOPNOTSUPP,
    ESRCH,
    NOTIF_SIZES,
    PR_GET_NO_NEW_PRIVS,
    PR_GET_SECCOMP,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_SECCOMP,
    PR_SET_SYSCALL_USER_DISPATCH,
    Fault,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.calls import Steps
    from seclude.model.files import File
    from seclude.model.kernel import KernelModel
    from seclude.model.task import Task

__all__ = ["Out", "do_seccomp", "prctl_seccomp", "seccomp_set_mode_filter", "seccomp_set_mode_strict"]

MAX_INSNS_PER_PATH = 32768
_ALWAYS = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_NEW_LISTENER


class Out:
    """Memory that the kernel writes its answer to: ``value`` afterwards."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: object = None


def filter_flags(kernel: KernelModel) -> int:
    """SECCOMP_FILTER_FLAG_MASK of this version."""
    mask = _ALWAYS
    if kernel.version.has("tsync_esrch"):
        mask |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH
    if kernel.version.has("wait_killable"):
        mask |= SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    return mask


def do_seccomp(kernel: KernelModel, task: Task, op: int, flags: int, uargs: object) -> Steps[int]:
    """seccomp(2). ``uargs``: None for NULL, FAULT, an `Fprog`, an action's number, or an `Out` for the sizes."""
    flags &= 0xFFFFFFFF
    if op == SECCOMP_SET_MODE_STRICT:
        if flags or uargs is not None:
            return -EINVAL
        return (yield from seccomp_set_mode_strict(kernel, task))
    if op == SECCOMP_SET_MODE_FILTER:
        assert uargs is None or isinstance(uargs, (Fprog, Fault))
        return (yield from seccomp_set_mode_filter(kernel, task, flags, uargs))
    if op == SECCOMP_GET_ACTION_AVAIL:
        return -EINVAL if flags else seccomp_get_action_avail(uargs)
    if op == SECCOMP_GET_NOTIF_SIZES:
        return -EINVAL if flags else seccomp_get_notif_sizes(uargs)
    return -EINVAL


def seccomp_get_action_avail(uargs: object) -> int:
    """Whether the kernel knows an action, bit for bit."""
    from seclude.model.uapi import ACTION_NAMES

    if not isinstance(uargs, int):
        return -EFAULT
    return 0 if uargs & 0xFFFFFFFF in ACTION_NAMES else -EOPNOTSUPP


def seccomp_get_notif_sizes(uargs: object) -> int:
    """The sizes of the three structures of notification."""
    if not isinstance(uargs, Out):
        return -EFAULT
    uargs.value = NOTIF_SIZES
    return 0


def seccomp_may_assign_mode(task: Task, mode: int) -> bool:
    """A mode is entered from none, or again."""
    return task.mode in (SECCOMP_MODE_DISABLED, mode)


def seccomp_assign_mode(task: Task, mode: int, flags: int) -> None:
    """Enter it; without SPEC_ALLOW speculative store bypass is turned off where the machine leaves that to programs."""
    task.mode = mode
    if not flags & SECCOMP_FILTER_FLAG_SPEC_ALLOW:
        task.spec_mitigated = True


def seccomp_set_mode_strict(kernel: KernelModel, task: Task) -> Steps[int]:
    """Mode 1. The time stamp counter goes with it: rdtsc is SIGSEGV from now on."""
    if len(task.process.threads) > 1:
        yield Point("siglock")
    if not seccomp_may_assign_mode(task, SECCOMP_MODE_STRICT):
        return -EINVAL
    task.tsc_disabled = True
    seccomp_assign_mode(task, SECCOMP_MODE_STRICT, 0)
    kernel.tell(f"{kernel.name(task)} is in strict mode")
    return 0


def seccomp_set_mode_filter(kernel: KernelModel, task: Task, flags: int, user_filter: Fprog | Fault | None) -> Steps[int]:
    """Load a filter: 0, the listener, the number of a thread in the way, or a negated errno."""
    if flags & ~filter_flags(kernel):
        return -EINVAL
    tsync = flags & SECCOMP_FILTER_FLAG_TSYNC
    new_listener = flags & SECCOMP_FILTER_FLAG_NEW_LISTENER
    # One number cannot be both a thread and a descriptor.
    if tsync and new_listener and not flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH:
        return -EINVAL
    if flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV and not new_listener:
        return -EINVAL
    prepared = seccomp_prepare_user_filter(kernel, task, user_filter)
    if isinstance(prepared, int):
        return prepared
    listener, file = 0, None
    if new_listener:
        listener = task.process.files.get_unused_fd()
        if listener < 0:
            prepared.freed = True
            return listener
        if not kernel.version.has("listener_checked_late") and any(one.notif is not None for one in task.chain()):
            prepared.freed = True
            task.process.files.put_unused_fd(listener)
            return -EBUSY
        file = init_listener(kernel, prepared)
    if len(task.process.threads) > 1:
        yield Point("siglock")
    result = _attach(kernel, task, flags, prepared)
    if result:
        if file is not None:
            task.process.files.put_unused_fd(listener)
            _take_back(kernel, prepared, file)
        # Nobody has seen it: its first reference is the caller's, and goes.
        release_filter(kernel, prepared)
        return result
    seccomp_assign_mode(task, SECCOMP_MODE_FILTER, flags)
    kernel.tell(f"{kernel.name(task)} has filter {prepared.number}" + (f", with listener {listener}" if file is not None else ""))
    if file is not None:
        task.process.files.fd_install(listener, file, cloexec=True)
    return listener


def _take_back(kernel: KernelModel, filter: SeccompFilter, file: File) -> None:
    """The listener of a filter that was not loaded after all."""
    file.released = True
    seccomp_notify_detach(kernel, filter)


def _attach(kernel: KernelModel, task: Task, flags: int, filter: SeccompFilter) -> int:
    """The checks under the lock, then ``seccomp_attach_filter``."""
    if not seccomp_may_assign_mode(task, SECCOMP_MODE_FILTER):
        return -EINVAL
    if has_duplicate_listener(task, filter):
        return -EBUSY
    return seccomp_attach_filter(kernel, task, flags, filter)


def seccomp_attach_filter(kernel: KernelModel, task: Task, flags: int, filter: SeccompFilter) -> int:
    """Path length, then threads, then the filter is the task's newest."""
    if path_insns(task, filter) > MAX_INSNS_PER_PATH:
        return -ENOMEM
    if flags & SECCOMP_FILTER_FLAG_TSYNC:
        conflict = seccomp_can_sync_threads(kernel, task)
        if conflict:
            return -ESRCH if flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH else conflict
    filter.log = bool(flags & SECCOMP_FILTER_FLAG_LOG)
    filter.wait_killable_recv = bool(flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
    # The task's counts of its former filter are the new filter's from now on.
    filter.prev = task.filter
    task.filter = filter
    task.filter_count += 1
    kernel.filters.append(filter)
    if flags & SECCOMP_FILTER_FLAG_TSYNC:
        seccomp_sync_threads(kernel, task, flags)
    return 0


# --- prctl(2)


def prctl_seccomp(kernel: KernelModel, task: Task, option: int, args: tuple[object, ...]) -> Steps[int]:
    """PR_SET_SECCOMP, PR_GET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_SYSCALL_USER_DISPATCH; -EINVAL for every other option."""
    padded = (*args, *(0,) * (4 - len(args)))
    if option == PR_GET_SECCOMP:
        return task.mode
    if option == PR_SET_SECCOMP:
        return (yield from prctl_set_seccomp(kernel, task, padded[0], padded[1]))
    if option == PR_SET_NO_NEW_PRIVS:
        if padded[0] != 1 or any(padded[1:]):
            return -EINVAL
        task.no_new_privs = True
        return 0
    if option == PR_GET_NO_NEW_PRIVS:
        return -EINVAL if any(padded) else int(task.no_new_privs)
    if option == PR_SET_SYSCALL_USER_DISPATCH:
        return set_syscall_user_dispatch(kernel, task, *padded[:4])
    return -EINVAL


def prctl_set_seccomp(kernel: KernelModel, task: Task, mode: object, uargs: object) -> Steps[int]:
    """As seccomp(2) without flags. Strict mode ignores the pointer; 0 stands for NULL."""
    if mode == SECCOMP_MODE_STRICT:
        return (yield from do_seccomp(kernel, task, SECCOMP_SET_MODE_STRICT, 0, None))
    if mode == SECCOMP_MODE_FILTER:
        return (yield from do_seccomp(kernel, task, SECCOMP_SET_MODE_FILTER, 0, None if uargs == 0 else uargs))
    return -EINVAL
