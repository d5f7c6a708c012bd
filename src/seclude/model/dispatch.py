"""Syscall user dispatch: a program has its own calls, but those from one range of addresses, turned into SIGSYS.

It comes before a tracer's stop and before every filter. Source: kernel/entry/syscall_user_dispatch.c,
Documentation/admin-guide/syscall-user-dispatch.rst.
"""

from __future__ import annotations

from seclude.model.task import UserDispatch
from seclude.model.uapi import EFAULT, EINVAL, FAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.kernel import KernelModel
    from seclude.model.task import Task

__all__ = ["ALLOW", "BLOCK", "set_syscall_user_dispatch", "syscall_user_dispatch"]

#: what the selector's byte says: SYSCALL_DISPATCH_FILTER_ALLOW and _BLOCK; every other value is the end of the program
ALLOW, BLOCK = 0, 1
_OFF, _ON = 0, 1


def set_syscall_user_dispatch(kernel: KernelModel, task: Task, mode: object, offset: object, length: object, selector: object) -> int:
    """PR_SET_SYSCALL_USER_DISPATCH, for this thread alone. ``selector``: 0, FAULT, or the program's byte, a bytearray of one."""
    assert isinstance(offset, int)
    assert isinstance(length, int)
    if not kernel.version.has("user_dispatch"):
        return -EINVAL
    if mode == _OFF:
        if offset or length or selector:
            return -EINVAL
        task.dispatch = None
        return 0
    if mode != _ON or (offset and (offset + length) & 0xFFFFFFFFFFFFFFFF <= offset):
        return -EINVAL
    if selector is FAULT:
        return -EFAULT
    task.dispatch = UserDispatch(offset, length, selector if isinstance(selector, bytearray) else None)
    return 0


def syscall_user_dispatch(dispatch: UserDispatch, ip: int) -> int:
    """What is to become of a call from ``ip``: ALLOW, BLOCK, or the selector's value that ends the program."""
    if (ip - dispatch.offset) & 0xFFFFFFFFFFFFFFFF < dispatch.length:
        return ALLOW
    return BLOCK if dispatch.selector is None else dispatch.selector[0]
