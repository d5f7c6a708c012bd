"""What must hold of the model between any two steps. A violation is a fault of the model, never of what it is told to do.

The counts are worked out anew from who points to what, and compared with those that the model keeps by adding and taking away.
"""

from __future__ import annotations

from seclude.bpf.codes import SECCOMP_MODE_FILTER
from seclude.errors import InternalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.filter import SeccompFilter
    from seclude.model.kernel import KernelModel

__all__ = ["check", "violations"]


def check(kernel: KernelModel) -> None:
    """Raise `InternalError` with every invariant that does not hold."""
    found = violations(kernel)
    if found:
        raise InternalError("the model's state is impossible: " + "; ".join(found), "the story:\n" + "\n".join(kernel.story[-30:]))


def violations(kernel: KernelModel) -> list[str]:
    """Every invariant that does not hold, in words."""
    found = []
    refs: dict[SeccompFilter, int] = dict.fromkeys(kernel.filters, 0)
    users: dict[SeccompFilter, int] = dict.fromkeys(kernel.filters, 0)
    for task in kernel.tasks:
        if task.filter is not None:
            refs[task.filter] = refs.get(task.filter, 0) + 1
            users[task.filter] = users.get(task.filter, 0) + 1
            if task.mode == 0:
                found.append(f"task {task.tid} has a filter and no mode")
        elif task.mode == SECCOMP_MODE_FILTER and not task.exiting:
            found.append(f"task {task.tid} is in filter mode without a filter")
        if task.filter is not None and task.filter_count != len(task.chain()):
            found.append(f"task {task.tid} counts {task.filter_count} filters and has {len(task.chain())}")
    used = {one for task in kernel.tasks for one in task.chain()} | {one.prev for one in kernel.filters if one.prev is not None}
    found += [f"filter {filter.number} is used after it was freed" for filter in used if filter not in kernel.filters]
    for filter in kernel.filters:
        if filter.prev is not None:
            refs[filter.prev] = refs.get(filter.prev, 0) + 1
            if filter.users > 0:
                users[filter.prev] = users.get(filter.prev, 0) + 1
        if filter.notif is not None:
            refs[filter] += 1
    for filter in kernel.filters:
        if filter.refs != refs[filter]:
            found.append(f"filter {filter.number} counts {filter.refs} references and has {refs[filter]}")
        if filter.users != users[filter]:
            found.append(f"filter {filter.number} counts {filter.users} users and has {users[filter]}")
        if filter.users > filter.refs:
            found.append(f"filter {filter.number} has more users than references")
        if filter.freed or filter.refs == 0:
            found.append(f"filter {filter.number} is kept without references")
        notif = filter.notif
        if notif is not None and len({one.id for one in notif.notifications}) != len(notif.notifications):
            found.append(f"filter {filter.number} has two notifications of one id")
    return found
