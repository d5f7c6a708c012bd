"""Signals, as far as they meet seccomp: queued, forced, delivered on the way back to the program. Source: kernel/signal.c."""

from __future__ import annotations

from seclude.model.calls import Sleep
from seclude.model.ptrace import ptrace_signal
from seclude.model.task import CATCH, DEFAULT, IGNORE, RESTART, Siginfo, do_group_exit
from seclude.model.uapi import (
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGSEGV,
    SIGSTOP,
    SIGSYS,
    SIGTRAP,
    SIGTSTP,
    signal_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.calls import Steps
    from seclude.model.kernel import KernelModel
    from seclude.model.task import Task

__all__ = ["exit_to_user_mode", "force_sig_info", "get_signal", "ignored", "send_signal"]

_IGNORED = frozenset((SIGCHLD, SIGCONT, 23, 28))  # SIGURG, SIGWINCH
_STOPS = frozenset((SIGSTOP, SIGTSTP, 21, 22))  # SIGTTIN, SIGTTOU
#: SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS: they dump core, so each thread dies of them itself
_CORE = frozenset((3, 4, SIGTRAP, 6, 7, 8, SIGSEGV, 24, 25, SIGSYS))


def disposition(task: Task, signal: int) -> str:
    """What the process does with a signal."""
    return DEFAULT if signal in (SIGKILL, SIGSTOP) else task.process.handlers.get(signal, DEFAULT)


def ignored(task: Task, signal: int) -> bool:
    """Whether the process would not notice it (sig_handler_ignored)."""
    how = disposition(task, signal)
    return how == IGNORE or (how == DEFAULT and signal in _IGNORED)


def send_signal(kernel: KernelModel, task: Task, info: Siginfo, *, group: bool = False) -> None:
    """tgkill(2), or kill(2) with ``group``: queue it, unless nobody would ever see it; wake the task."""
    signal = info.signo
    if group:
        takers = [one for one in task.process.threads if not one.exiting]
        if not takers:
            return
        task = next((one for one in takers if signal not in one.blocked), takers[0])
    if task.exiting:
        return
    for one in task.process.threads:
        # prepare_signal: a stop and a continuation take each other back while they wait.
        if signal == SIGCONT:
            one.pending = [waiting for waiting in one.pending if waiting.signo not in _STOPS]
        elif signal in _STOPS:
            one.pending = [waiting for waiting in one.pending if waiting.signo != SIGCONT]
        if signal in (SIGKILL, SIGCONT):
            one.stopped = False
    if signal == SIGKILL:
        task.process.group_exit_code = task.process.group_exit_code if task.process.group_exit_code is not None else SIGKILL
        for one in list(task.process.threads):
            if not one.exiting:
                kernel.wake_with(one, info)
        return
    how = disposition(task, signal)
    blocked = signal in task.blocked
    if not blocked and task.tracer is None and ignored(task, signal):
        return
    fatal = how == DEFAULT and signal not in _IGNORED | _STOPS | _CORE
    if fatal and not blocked and task.tracer is None and task.process.group_exit_code is None:
        # complete_signal: what will end the process anyway ends every sleep of it, killable ones too.
        task.process.group_exit_code = signal
        for one in list(task.process.threads):
            if not one.exiting:
                kernel.wake_with(one, Siginfo(SIGKILL))
        return
    if any(waiting.signo == signal for waiting in task.pending):
        return
    kernel.wake_with(task, info)


def force_sig_info(kernel: KernelModel, task: Task, info: Siginfo, *, exit: bool = False) -> None:
    """A signal that the running task cannot put off: blocked or ignored, it takes the default effect. With ``exit`` it always does."""
    signal = info.signo
    if exit:
        task.process.immutable.add(signal)
    if exit or signal in task.blocked or disposition(task, signal) == IGNORE:
        task.process.handlers[signal] = DEFAULT
        task.blocked.discard(signal)
    # Synchronous signals are taken out before all others.
    task.pending.insert(0, info)
    kernel.tell(f"{kernel.name(task)} is sent {signal_text(signal)}" + (" that nothing can catch" if exit else ""))


def get_signal(kernel: KernelModel, task: Task) -> Steps[Siginfo | None]:
    """The next signal with a handler, after all others have had their effect; None where none is left. May not return."""
    while True:
        if task.fatal_signal_pending() or task.process.group_exit_code is not None:
            code = task.process.group_exit_code
            yield from do_group_exit(kernel, task, SIGKILL if code is None else code)
        at = next((n for n, info in enumerate(task.pending) if info.signo not in task.blocked), None)
        if at is None:
            return None
        info = task.pending.pop(at)
        if task.tracer is not None and info.signo not in task.process.immutable:
            info = yield from ptrace_signal(kernel, task, info)
            if info.signo == 0:
                continue
        signal = info.signo
        how = disposition(task, signal)
        if how == IGNORE:
            continue
        if how in (CATCH, RESTART):
            task.handled.append(info)
            kernel.tell(f"{kernel.name(task)} runs its handler of {signal_text(signal)}")
            return info
        if signal in _IGNORED:
            continue
        if signal in _STOPS:
            for one in task.process.threads:
                one.stopped = True
            kernel.tell(f"{kernel.name(task)} stops")
            yield Sleep("SIGCONT", lambda: not task.stopped, killable=True)
            continue
        yield from do_group_exit(kernel, task, signal)


def exit_to_user_mode(kernel: KernelModel, task: Task) -> Steps[Siginfo | None]:
    """On the way back: every waiting signal. The first with a handler, which is what decides whether a call restarts."""
    first = None
    while True:
        info = yield from get_signal(kernel, task)
        if info is None:
            return first
        first = first or info
