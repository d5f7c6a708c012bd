"""What seccomp writes to the audit log, and the setting that says which actions it writes: kernel/seccomp.c, kernel/auditsc.c."""

from __future__ import annotations

from typing import NamedTuple

from seclude.bpf.codes import (
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
    SECCOMP_RET_USER_NOTIF,
)
from seclude.model.uapi import ACTION_NAMES, EINVAL, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.filter import SeccompData
    from seclude.model.kernel import KernelModel
    from seclude.model.task import Task

__all__ = ["LogRecord", "actions_avail", "actions_logged", "seccomp_log", "write_actions_logged"]

_ONLY_IF_REQUESTED = (SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO, SECCOMP_RET_TRACE, SECCOMP_RET_USER_NOTIF)


class LogRecord(NamedTuple):
    """An AUDIT_SECCOMP record: whose process (``pid`` is the thread group), ``sig`` if it is killed, the call, and ``code``, the action without its data."""

    pid: int
    comm: str
    sig: int
    arch: int
    syscall: int
    compat: int
    ip: int
    code: int

    def __str__(self) -> str:
        return (
            f"type=1326 audit: pid={self.pid} comm={self.comm!r} sig={self.sig} arch={self.arch:x} syscall={self.syscall} "
            f"compat={self.compat} ip={self.ip:#x} code={self.code:#x}"
        )


def seccomp_log(kernel: KernelModel, task: Task, data: SeccompData, signr: int, action: int, requested: bool) -> LogRecord | None:
    """Write the record, where ``actions_logged`` has the action. ``requested`` is FILTER_FLAG_LOG of the filter that decided."""
    # An action that nobody knows is logged as what it does.
    name = ACTION_NAMES.get(action, ACTION_NAMES[SECCOMP_RET_KILL_PROCESS])
    if action == SECCOMP_RET_ALLOW or name not in kernel.actions_logged or (action in _ONLY_IF_REQUESTED and not requested):
        return None
    nr = data.nr & 0xFFFFFFFF
    record = LogRecord(
        pid=task.process.leader.tid, comm=task.comm, sig=signr, arch=data.arch, syscall=nr - (1 << 32) if nr >> 31 else nr,
        compat=int(data.arch != kernel.arch.token), ip=data.ip, code=action,
    )  # fmt: skip
    kernel.log.append(record)
    kernel.tell(f"audit log: {record}")
    return record


def actions_avail() -> str:
    """/proc/sys/kernel/seccomp/actions_avail."""
    return " ".join(ACTION_NAMES.values())


def actions_logged(kernel: KernelModel) -> str:
    """/proc/sys/kernel/seccomp/actions_logged: names in the order of ``actions_avail``."""
    return " ".join(name for name in ACTION_NAMES.values() if name in kernel.actions_logged)


def write_actions_logged(kernel: KernelModel, task: Task, text: str) -> int:
    """Set it: 0, -EPERM without CAP_SYS_ADMIN, -EINVAL for an unknown name and for ``allow``, which is never logged."""
    if not task.credentials.init_cap_sys_admin:
        return -EPERM
    names = text.split()
    if any(name not in ACTION_NAMES.values() or name == "allow" for name in names):
        return -EINVAL
    kernel.actions_logged = frozenset(names)
    return 0
