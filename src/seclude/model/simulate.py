"""One call put to a model of a kernel, with everything around it that decides: the filters, a tracer, a supervisor, the handler of SIGSYS.

What it answers is the story of the call: entry, bitmap, every filter's answer, which one decides, the effect, and the log record.
"""

from __future__ import annotations

from typing import NamedTuple

from seclude.abi import Architecture, companions
from seclude.bpf.codes import (
    SECCOMP_FILTER_FLAG_LOG,
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_USER_NOTIF,
    SECCOMP_USER_NOTIF_FLAG_CONTINUE,
)
from seclude.errors import FilterError, UsageError
from seclude.model.filter import Fprog
from seclude.model.kernel import KernelModel
from seclude.model.notify import Response, SeccompNotif
from seclude.model.ptrace import detach
from seclude.model.seccomp import seccomp_set_mode_filter
from seclude.model.task import CATCH, DEFAULT, IGNORE
from seclude.model.uapi import (
    ERRNO_NAMES,
    PTRACE_O_TRACESECCOMP,
    SECCOMP_IOCTL_NOTIF_RECV,
    SECCOMP_IOCTL_NOTIF_SEND,
    SIGKILL,
    SIGSYS,
    errno_text,
    signal_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.bpf.program import Program
    from seclude.model.calls import SystemCall
    from seclude.model.task import Task

__all__ = ["Simulation", "machine_of", "simulate"]

#: dispositions of SIGSYS, as ``--sigsys`` names them
SIGSYS_STATES = ("default", "handler", "ignored", "blocked")


class Simulation(NamedTuple):
    """``call`` is what became of it; ``kernel`` the model afterwards; ``story`` the lines since the call was made."""

    call: SystemCall
    kernel: KernelModel
    story: tuple[str, ...]

    @property
    def effect(self) -> str:
        """What happens in the end, in one sentence."""
        call = self.call
        task = call.task
        if task.exited:
            whole = task.process.zombie
            code = task.process.status if whole else task.exit_code
            assert code is not None
            who = "the process" if whole else "the thread"
            return f"{who} is killed by {signal_text(code & 0x7F)}" + ("; the other threads go on" if not whole else "")
        if call.state == "sleeping":
            return f"the call sleeps: it waits for {call.why}"
        handled = [info for info in task.handled if info.signo == SIGSYS]
        if handled:
            info = handled[-1]
            return f"the handler of SIGSYS runs (si_code SYS_SECCOMP, si_errno {info.errno}, si_syscall {info.syscall}); it decides what the call returns"
        if call.ran:
            made = self.kernel.call_text(call)
            result = "" if call.value is None else f"; it returns {errno_text(call.value)}"
            changed = call.nr != call.original[0] or call.args != call.original[1]
            return f"the kernel makes the call{f' {made} in its place' if changed else ''}{result}"
        value = call.value
        assert value is not None
        return f"the call is not made: it returns {errno_text(value)}"


def machine_of(arch: Architecture) -> Architecture:
    """The machine whose kernel serves calls of ``arch``: the 64-bit one for a 32-bit companion of it, x86_64 for x32."""
    from seclude.abi import ALL

    for one in ALL:
        if one.bits == 64 and not one.x32_bit and (one is arch or arch in companions(one) or (arch.x32_bit and one.token == arch.token)):
            return one
    return arch


def simulate(
    filters: Sequence[tuple[str, Program]],
    nr: int,
    arch: Architecture,
    args: Sequence[int] = (),
    *,
    ip: int = 0x401000,
    version: str = "6.18",
    tracer: str = "",
    supervisor: str = "",
    sigsys: str = "default",
    threads: int = 1,
    log: bool = False,
) -> Simulation:
    """Load ``filters`` (names and programs, the oldest first) and make one call.

    ``tracer``: "" for none, ``continue``, ``skip=VALUE``, ``call=NUMBER``, ``kill``, ``gone`` (it ends at the stop). ``supervisor``: "" for no listener,
    ``continue``, ``value=N``, ``errno=NAME``, ``closed`` (the listener is closed while the call waits), ``silent``. ``sigsys``: one of SIGSYS_STATES. ``log``:
    the filters have FILTER_FLAG_LOG. Raises `UsageError`, and `FilterError` where the kernel refuses a filter.
    """
    _known("--tracer", tracer, _TRACERS)
    _known("--supervisor", supervisor, _SUPERVISORS)
    kernel = KernelModel(version, machine_of(arch))
    task = kernel.process("program")
    task.no_new_privs = True
    for _ in range(threads - 1):
        kernel.clone_thread(task)
    listener = _load(kernel, task, filters, log=log, supervised=bool(supervisor))
    kernel.sigaction(task, SIGSYS, {"handler": CATCH, "ignored": IGNORE}.get(sigsys, DEFAULT))
    if sigsys == "blocked":
        task.blocked.add(SIGSYS)
    boss = kernel.process("tracer" if tracer else "supervisor")
    if tracer and kernel.seize(boss, task, PTRACE_O_TRACESECCOMP):
        raise UsageError("the tracer cannot attach")
    fd = kernel.give(task, listener, boss) if listener else 0
    if listener:
        kernel.fput(task.process.files.table.pop(listener)[0])
    begin = len(kernel.story)
    call = kernel.syscall(task, nr, *args, arch=arch.token, ip=ip)
    if fd and call.state == "sleeping" and call.why.startswith("the answer"):
        _supervise(kernel, boss, fd, supervisor)
    # A second TRACE after the first is an allow, so there is one stop at most, then those of signals.
    while task.stop is not None and not task.exited:
        _trace(kernel, boss, call, tracer)
    return Simulation(call, kernel, tuple(kernel.story[begin:]))


_TRACERS = ("continue", "skip=VALUE", "call=NAME", "kill", "gone")
_SUPERVISORS = ("continue", "errno=NAME", "value=NUMBER", "closed", "silent")


def _known(option: str, given: str, kinds: tuple[str, ...]) -> None:
    """Whether the call will meet it or not."""
    if given and given.partition("=")[0] not in [kind.partition("=")[0] for kind in kinds]:
        raise UsageError(f"{option} {given!r}: not known", f"{', '.join(kinds[:-1])} or {kinds[-1]}")


def _load(kernel: KernelModel, task: Task, filters: Sequence[tuple[str, Program]], *, log: bool, supervised: bool) -> int:
    """Load each as if no other said anything about seccomp(2); the descriptor of the listener, which the last filter that notifies has."""
    notifying = [number for number, (_, program) in enumerate(filters) if _notifies(program)]
    listener = 0
    for number, (name, program) in enumerate(filters):
        if program.byteorder != kernel.arch.byteorder:
            raise FilterError(f"{name}: a filter for {program.byteorder}-endian machines, and {kernel.arch.name} is none")
        flags = SECCOMP_FILTER_FLAG_LOG if log else 0
        if supervised and notifying and number == notifying[-1]:
            flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER
        steps = seccomp_set_mode_filter(kernel, task, flags, Fprog(program))
        try:
            while True:
                next(steps)
        except StopIteration as end:
            value: int = end.value
        if value < 0:
            raise FilterError(f"{name}: the kernel refuses to load it: {errno_text(value)[1:]}", "see: seclude lint")
        listener = value or listener
    return listener


def _notifies(program: Program) -> bool:
    return any(code == 0x06 and k & SECCOMP_RET_ACTION_FULL == SECCOMP_RET_USER_NOTIF for code, _, _, k in program)


def _number(text: str, what: str) -> int:
    by_name = {name: number for number, name in ERRNO_NAMES.items()}
    if text in by_name:
        return by_name[text]
    from seclude.abi.constants import errno_number

    found = errno_number(text, "x86_64")
    if found is not None:
        return found
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"{what}: {text!r} is neither a number nor the name of an errno", "write 13, or EACCES") from None


def _supervise(kernel: KernelModel, boss: Task, fd: int, answer: str) -> None:
    kind, _, value = answer.partition("=")
    if kind == "silent":
        return
    if kind == "closed":
        kernel.close(boss, fd)
        return
    buffer = SeccompNotif()
    kernel.ioctl(boss, fd, SECCOMP_IOCTL_NOTIF_RECV, buffer)
    if kind == "continue":
        response = Response(buffer.id, flags=SECCOMP_USER_NOTIF_FLAG_CONTINUE)
    elif kind == "errno":
        response = Response(buffer.id, error=-_number(value, "--supervisor errno"))
    else:
        response = Response(buffer.id, val=_number(value, "--supervisor value"))
    sent = kernel.ioctl(boss, fd, SECCOMP_IOCTL_NOTIF_SEND, response)
    if sent.value:
        raise UsageError(f"Linux {kernel.version} refuses this answer: {errno_text(sent.value)[1:]}", "CONTINUE came with 5.5")


def _trace(kernel: KernelModel, boss: Task, call: SystemCall, what: str) -> None:
    kind, _, value = what.partition("=")
    stop = call.task.stop
    assert stop is not None
    if not stop.event:  # a signal is about to be delivered: as it is
        kernel.resume(boss, call.task, stop.info.signo if stop.info is not None else 0)
        return
    if kind == "gone":
        detach(kernel, boss, call.task)
        kernel.rest()
    elif kind == "kill":
        kernel.kill(call.task, SIGKILL)
    elif kind == "skip":
        number = _number(value or "0", "--tracer skip")
        kernel.set_call(boss, call, nr=-1, value=-number if value[:1] == "E" else number)
        kernel.resume(boss, call.task)
    elif kind == "call":
        number = _call_number(kernel, call, value)
        kernel.set_call(boss, call, nr=number)
        kernel.resume(boss, call.task)
    else:
        kernel.resume(boss, call.task)


def _call_number(kernel: KernelModel, call: SystemCall, text: str) -> int:
    from seclude.abi import by_token

    for one in by_token(call.arch):
        number = one.number(text)
        if number is not None:
            return number
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"--tracer call: {text!r} is neither a number nor the name of a call", "see: seclude syscalls") from None
