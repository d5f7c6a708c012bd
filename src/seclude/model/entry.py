"""A system call's way in: user dispatch, the tracer's stop, seccomp, the call itself, and back out through signals.

Source: kernel/entry/common.c, kernel/seccomp.c (``__secure_computing``, ``__seccomp_filter``).
"""

from __future__ import annotations

from seclude.bpf.codes import (
    SECCOMP_MODE_DISABLED,
    SECCOMP_MODE_STRICT,
    SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_DATA,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_LOG,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
    SECCOMP_RET_USER_NOTIF,
)
from seclude.model.calls import Point
from seclude.model.dispatch import ALLOW, BLOCK, syscall_user_dispatch
from seclude.model.filter import Evaluation, SeccompData, seccomp_run_filters
from seclude.model.log import seccomp_log
from seclude.model.machine import numbers
from seclude.model.notify import seccomp_do_user_notification
from seclude.model.ptrace import ptrace_event, ptrace_event_enabled, ptrace_report_syscall
from seclude.model.signals import disposition, exit_to_user_mode, force_sig_info
from seclude.model.task import CATCH, Siginfo, do_exit
from seclude.model.uapi import (
    EINTR,
    ENOSYS,
    ERESTARTSYS,
    MAX_ERRNO,
    PTRACE_EVENT_SECCOMP,
    PTRACE_O_SUSPEND_SECCOMP,
    SECCOMP_MODE_DEAD,
    SIGKILL,
    SIGSYS,
    SYS_SECCOMP,
    SYS_USER_DISPATCH,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.calls import Steps, SystemCall
    from seclude.model.filter import SeccompFilter
    from seclude.model.kernel import KernelModel
    from seclude.model.task import Task

__all__ = ["do_syscall", "mode1_syscalls", "secure_computing"]

#: what strict mode permits, by name, beside one way back from signal handlers (kernel/seccomp.c, mode1_syscalls; asm-generic/seccomp.h)
_STRICT = ("read", "write", "exit")
#: architectures for which that is the older sigreturn (arch/*/include/asm/seccomp.h)
_OLD_SIGRETURN = ("x86", "ppc", "s390", "s390x")


def do_syscall(kernel: KernelModel, call: SystemCall) -> Steps[None]:
    """The whole call, restarts included."""
    task = call.task
    while True:
        call.entered += 1
        allowed = yield from syscall_trace_enter(kernel, call)
        if allowed:
            yield from _execute(kernel, call)
        if task.ptrace_syscall and task.tracer is not None and not call.dispatched:
            yield from ptrace_report_syscall(kernel, task)
        restart = call.known and call.result == -ERESTARTSYS
        caught = yield from exit_to_user_mode(kernel, task)
        if not restart:
            return
        if caught is not None and disposition(task, caught.signo) == CATCH:
            call.result = -EINTR
            return
        call.restarts += 1
        call.nr, call.args = call.original
        call.result = -ENOSYS
        kernel.tell(f"{kernel.name(task)} restarts the call")


def _execute(kernel: KernelModel, call: SystemCall) -> Steps[None]:
    """The call itself, with the number that it has by now."""
    nr = call.nr & 0xFFFFFFFF
    if nr == 0xFFFFFFFF:
        # Skipped: the register keeps what it held, -ENOSYS unless a tracer wrote another value.
        return
    if not known_call(kernel, call.arch, nr):
        call.result = -ENOSYS
        return
    call.ran = True
    body = call.body if call.nr == call.original[0] else kernel.implementation(call.arch, nr)
    if body is None:
        body = kernel.implementation(call.arch, nr)
    if body is None:
        call.known = False
        kernel.tell(f"the kernel runs {kernel.call_text(call)}")
        return
    call.result = yield from body(kernel, call.task)


def known_call(kernel: KernelModel, token: int, nr: int) -> bool:
    """Whether the kernel has a call of this number. Of x32's, which not every kernel of x86-64 serves, it is not said: taken as there."""
    from seclude.abi import by_token

    if nr >> 31 == 0 and nr & kernel.x32_bit and token == kernel.arch.token:
        return True
    return any(nr in numbers(one.name, kernel.version) for one in by_token(token))


def syscall_trace_enter(kernel: KernelModel, call: SystemCall) -> Steps[bool]:
    """Whether the call is to be executed: user dispatch first, then the tracer, then seccomp."""
    task = call.task
    said = ALLOW if task.dispatch is None else syscall_user_dispatch(task.dispatch, call.ip)
    if said != ALLOW:
        call.dispatched = True
        syscall_rollback(kernel, call)
        _sigsys(kernel, call, code=SYS_USER_DISPATCH, reason=0, exit=said != BLOCK)
        return False
    if task.ptrace_syscall and task.tracer is not None:
        yield from ptrace_report_syscall(kernel, task)
        if task.fatal_signal_pending():
            return False
    if task.mode != SECCOMP_MODE_DISABLED:
        return (yield from secure_computing(kernel, call))
    return True


def secure_computing(kernel: KernelModel, call: SystemCall) -> Steps[bool]:
    """``__secure_computing``: whether the call may go on, by the task's mode."""
    task = call.task
    if task.ptrace_options & PTRACE_O_SUSPEND_SECCOMP:
        return True
    if task.mode == SECCOMP_MODE_STRICT:
        yield from secure_computing_strict(kernel, call)
        return True
    if task.mode == SECCOMP_MODE_DEAD:
        # Surviving a kill must not be possible.
        yield from do_exit(kernel, task, SIGKILL)
    return (yield from seccomp_filter(kernel, call, recheck=False))


def mode1_syscalls(kernel: KernelModel, token: int) -> frozenset[int]:
    """The numbers that strict mode permits on one architecture of the kernel."""
    from seclude.abi import by_token

    found = by_token(token)
    if not found:
        return frozenset()
    ours = found[0]
    last = "sigreturn" if ours.name in _OLD_SIGRETURN else "rt_sigreturn"
    numbers = {ours.number(name) for name in (*_STRICT, last)}
    if ours.name == "x86_64":
        numbers |= {nr for name, nr in (("uretprobe", 335), ("uprobe", 336)) if kernel.version.has(name)}
    return frozenset(number for number in numbers if number is not None)


def secure_computing_strict(kernel: KernelModel, call: SystemCall) -> Steps[None]:
    """Everything but the list is SIGKILL for the thread."""
    task = call.task
    if call.nr & 0xFFFFFFFF in mode1_syscalls(kernel, call.arch):
        return
    _die(kernel, task)
    _log(kernel, call, SIGKILL, SECCOMP_RET_KILL_THREAD, requested=True)
    yield from do_exit(kernel, task, SIGKILL)


def _die(kernel: KernelModel, task: Task) -> None:
    if kernel.version.has("dead_mode"):
        task.mode = SECCOMP_MODE_DEAD


def _log(kernel: KernelModel, call: SystemCall, signr: int, action: int, *, requested: bool) -> None:
    data = SeccompData(call.nr, call.arch, call.ip, call.args)
    record = seccomp_log(kernel, call.task, data, signr, action, requested)
    if record is not None:
        call.log.append(record)


def syscall_rollback(kernel: KernelModel, call: SystemCall) -> None:
    """The return register as it was before the call: on x86 it held the number, elsewhere (arm64, riscv, ...) the first argument."""
    nr = call.nr & 0xFFFFFFFF
    call.result = (nr - (1 << 32) if nr >> 31 else nr) if kernel.arch.name in ("x86_64", "x86") else call.args[0]


def _sigsys(kernel: KernelModel, call: SystemCall, *, code: int, reason: int, exit: bool = False) -> None:
    nr = call.nr & 0xFFFFFFFF
    info = Siginfo(SIGSYS, code, reason, call.ip, nr - (1 << 32) if nr >> 31 else nr, call.arch)
    call.signals.append(info)
    force_sig_info(kernel, call.task, info, exit=exit)


def seccomp_filter(kernel: KernelModel, call: SystemCall, *, recheck: bool) -> Steps[bool]:
    """``__seccomp_filter``: run the filters and do what they say. Whether the call is to be executed."""
    task = call.task
    if len(task.process.threads) > 1:
        yield Point("another thread may change the filters")
    data = SeccompData(call.nr, call.arch, call.ip, call.args)
    done = seccomp_run_filters(kernel, task, data, recheck=recheck)
    call.evaluations.append(done)
    _tell(kernel, call, done)
    value, match = done.value, done.match
    action = value & SECCOMP_RET_ACTION_FULL
    reason = value & SECCOMP_RET_DATA
    if action == SECCOMP_RET_ALLOW:
        return True
    if action == SECCOMP_RET_LOG:
        _log(kernel, call, 0, action, requested=True)
        return True
    if action == SECCOMP_RET_ERRNO:
        call.result = -min(reason, MAX_ERRNO)
    elif action == SECCOMP_RET_TRAP:
        syscall_rollback(kernel, call)
        _sigsys(kernel, call, code=SYS_SECCOMP, reason=reason)
    elif action == SECCOMP_RET_TRACE:
        if recheck:
            return True
        if (yield from _trace(kernel, call, reason)):
            # The tracer may have changed the call: the filters judge what it is now.
            return (yield from seccomp_filter(kernel, call, recheck=True))
    elif action == SECCOMP_RET_USER_NOTIF:
        assert match is not None
        if (yield from seccomp_do_user_notification(kernel, call, match, data)):
            return True
    else:
        return (yield from _kill(kernel, call, action, reason))
    _log(kernel, call, 0, action, requested=match is not None and match.log)
    return False


def _trace(kernel: KernelModel, call: SystemCall, message: int) -> Steps[bool]:
    """TRACE: whether the filters are to run again. Without a tracer that asked for it the call is skipped."""
    task = call.task
    if not ptrace_event_enabled(task, PTRACE_EVENT_SECCOMP):
        call.result = -ENOSYS
        return False
    yield from ptrace_event(kernel, task, PTRACE_EVENT_SECCOMP, message)
    # A tracer that is killed, or the task: no call must run that nobody judged.
    if task.fatal_signal_pending():
        return False
    return not (call.nr & 0xFFFFFFFF) >> 31


def _kill(kernel: KernelModel, call: SystemCall, action: int, reason: int) -> Steps[bool]:
    """KILL_PROCESS, KILL_THREAD and every action that nobody knows."""
    task = call.task
    _die(kernel, task)
    _log(kernel, call, SIGSYS, action, requested=True)
    if action == SECCOMP_RET_KILL_THREAD and task.process.live > 1:
        yield from do_exit(kernel, task, SIGSYS)
    syscall_rollback(kernel, call)
    _sigsys(kernel, call, code=SYS_SECCOMP, reason=reason, exit=True)
    return False


def _tell(kernel: KernelModel, call: SystemCall, done: Evaluation) -> None:
    from seclude.bpf.names import action_text

    again = "again: " if done.recheck else ""
    if done.cached:
        kernel.tell(f"{again}the bitmap of filter {_number(call.task.filter)} has the call: no filter runs")
        return
    for filter, value in done.results:
        kernel.tell(f"{again}filter {filter.number} says {action_text(value, kernel.arch)}")
    if len(done.results) > 1:
        kernel.tell(f"{again}filter {_number(done.match)} decides" if done.match is not None else f"{again}all of them allow")


def _number(filter: SeccompFilter | None) -> int:
    return filter.number if filter is not None else 0
