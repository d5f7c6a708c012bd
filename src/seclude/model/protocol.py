"""The model in the place of the running kernel: what engines and brokers ask of a kernel (`seclude.kernel.protocol.Kernel`), asked of a scenario.

Supervisors are ordinary Python that knows nothing of steps. Here every request first lets others run, by the scenario's choice, and then makes
its system call step by step, others in between: `explore` so puts the target's every move before, between and after every request of the supervisor's.
A request that would sleep for ever fails the run.

>>> from seclude.bpf import Program, codes
>>> from seclude.model import explore, uapi
>>> from seclude.model.protocol import Modelled
>>> from seclude.model.scenario import Scenario
>>> def scenario():
...     s = Scenario()
...     target = s.process("target")
...     listener = s.listen(target, Program([(0x06, 0, 0, codes.SECCOMP_RET_USER_NOTIF)]))
...     kernel = Modelled(s, listener.supervisor)
...     call = s.actor("target", s.calls(target, "getppid"))
...     def supervise():
...         while kernel.readable(listener.fd):
...             notification = kernel.receive(listener.fd)
...             if notification is not None:
...                 kernel.reply(listener.fd, notification.id, error=uapi.EPERM)
...     s.main = supervise
...     s.outcome = lambda: call.last.value
...     return s
>>> sorted(explore(scenario).outcomes)
[-1]
"""

from __future__ import annotations

import os
import struct

from seclude.bpf.codes import SECCOMP_ADDFD_FLAG_SEND, SECCOMP_ADDFD_FLAG_SETFD, SECCOMP_USER_NOTIF_FLAG_CONTINUE
from seclude.model import ptrace
from seclude.model.notify import AddFd, Response, SeccompNotif
from seclude.model.task import Siginfo, task_pid_vnr
from seclude.model.uapi import (
    EINTR,
    EINVAL,
    ENOENT,
    EPOLLIN,
    ESRCH,
    O_CLOEXEC,
    PTRACE_EVENT_SECCOMP,
    SECCOMP_IOCTL_NOTIF_ADDFD,
    SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR,
    SECCOMP_IOCTL_NOTIF_RECV,
    SECCOMP_IOCTL_NOTIF_SEND,
    SIGKILL,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from seclude.model.calls import SystemCall
    from seclude.model.ptrace import Stop
    from seclude.model.scenario import Scenario
    from seclude.model.task import Task

    Stopped = tuple[int, int, int, tuple[int, ...], int]

__all__ = ["Modelled", "Notification"]


class Notification:
    """As `seclude.kernel.notify.Notification`."""

    __slots__ = ("arch", "args", "id", "ip", "nr", "pid")

    def __init__(self, buffer: SeccompNotif) -> None:
        assert buffer.data is not None
        data = buffer.data
        self.id, self.pid, self.nr, self.arch, self.ip, self.args = buffer.id, buffer.pid, data.nr, data.arch, data.ip, data.args


class Modelled:
    """The kernel as ``supervisor``, a task of the scenario, meets it. Errors are OSError with the model's errno."""

    def __init__(self, scenario: Scenario, supervisor: Task) -> None:
        self.scenario = scenario
        self.kernel = scenario.kernel
        self.supervisor = supervisor

    def _let_others(self) -> None:
        self.scenario.interleave()

    def _finished(self, call: SystemCall) -> int:
        self.scenario.interleave(call)
        assert call.value is not None
        return call.value

    def _ioctl(self, listener: int, command: int, argument: object) -> int:
        self._let_others()
        return self._finished(self.kernel.ioctl(self.supervisor, listener, command, argument))

    def _task(self, tid: int) -> Task | None:
        """The task with this number as the supervisor sees it; None where nobody has it (any more)."""
        return next((task for task in self.kernel.tasks if task_pid_vnr(task, self.supervisor) == tid), None)

    # -- what a supervisor's loop polls

    def readable(self, listener: int) -> bool:
        """Wait until poll(2) says IN of the listener. False where that never comes: nobody can move any more."""
        return self.scenario.until(lambda: self.kernel.poll(self.supervisor, listener) & EPOLLIN != 0)

    def changed(self) -> bool:
        """Wait until `wait` has something to tell. False where that never comes."""
        return self.scenario.until(lambda: (self.kernel.wait(self.supervisor, peek=True) or (0, 0)) != (0, 0))

    # -- notifications

    def receive(self, listener: int) -> Any:  # a `Notification` or None; the protocol names the class of the room that is not imported here
        buffer = SeccompNotif()
        value = self._ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, buffer)
        if value in (-ENOENT, -EINTR):
            return None
        _check(value)
        return Notification(buffer)

    def _send(self, listener: int, response: Response) -> bool:
        value = -EINTR
        while value == -EINTR:
            value = self._ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, response)
        return _there(value)

    def reply(self, listener: int, id_: int, *, error: int = 0, value: int = 0) -> bool:
        return self._send(listener, Response(id_, value, -error))

    def continue_(self, listener: int, id_: int) -> bool:
        return self._send(listener, Response(id_, flags=SECCOMP_USER_NOTIF_FLAG_CONTINUE))

    def still_waiting(self, listener: int, id_: int) -> bool:
        return _there(self._ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR, id_))

    def add_fd(self, listener: int, id_: int, fd: int, *, newfd: int | None = None, cloexec: bool = True, send: bool = True) -> int | None:
        flags = (0 if newfd is None else SECCOMP_ADDFD_FLAG_SETFD) | (SECCOMP_ADDFD_FLAG_SEND if send else 0)
        request = AddFd(id_, fd, flags, newfd or 0, O_CLOEXEC if cloexec else 0)
        value = -EINTR
        while value == -EINTR:
            value = self._ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, request)
        if value in (-ENOENT, -ESRCH):
            return None
        return _check(value)

    # -- a target's memory, and what /proc says of it

    def read(self, tid: int, address: int, size: int) -> bytes | None:
        """As much as there is from ``address`` on; None where there is nothing, or nobody of that number."""
        self._let_others()
        task = self._task(tid)
        for start, content in task.process.memory.items() if task is not None and not task.exited else ():
            if start <= address < start + len(content):
                return content[address - start : address - start + size]
        return None

    def read_string(self, tid: int, address: int, limit: int) -> bytes | None:
        found = self.read(tid, address, limit)
        return None if found is None else found.partition(b"\0")[0]

    def write(self, tid: int, address: int, data: bytes, still: Callable[[], bool] | None = None) -> bool | None:
        self._let_others()
        task = self._task(tid)  # the handle
        if still is not None and not still():
            return None
        self._let_others()
        if task is None or task.exited:
            return False
        for start, content in task.process.memory.items():
            at = address - start
            if at >= 0 and at + len(data) <= len(content):
                task.process.memory[start] = content[:at] + data + content[at + len(data) :]
                return True
        return False

    def status(self, tid: int) -> None:
        """The model has no /proc: None, as for a thread that is gone."""

    def link(self, tid: int, name: str) -> bytes | None:
        """As `status`."""
        return None

    def parent(self, tid: int) -> int:
        task = self._task(tid)
        if task is None:
            return 0
        if not task.is_leader:
            return task_pid_vnr(task.process.leader, self.supervisor)
        return task_pid_vnr(task.process.parent.leader, self.supervisor) if task.process.parent is not None else 0

    def end(self, pid: int, still: Callable[[], bool]) -> bool:
        self._let_others()
        task = self._task(pid)  # the handle: it stays this task's whatever becomes of the number
        if task is None or not still():
            return False
        self._let_others()
        if task.process.zombie:
            return False
        self.kernel.send_signal(task, Siginfo(SIGKILL))
        return True

    # -- ptrace(2)

    def wait(self) -> tuple[int, int] | None:
        self._let_others()
        return self.kernel.wait(self.supervisor)

    def _stopped(self, tid: int) -> tuple[Task, Stop]:
        self._let_others()
        task = self._task(tid)
        if task is None or task.tracer is not self.supervisor or task.stop is None or task.fatal_signal_pending():
            raise _error(ESRCH)
        return task, task.stop

    def resume(self, tid: int, signal: int = 0) -> None:
        task, _ = self._stopped(tid)
        _check(self.kernel.resume(self.supervisor, task, signal))

    def resume_to_call(self, tid: int, signal: int = 0) -> None:
        task, _ = self._stopped(tid)
        _check(self.kernel.resume(self.supervisor, task, signal, syscall=True))

    def listen(self, tid: int) -> None:
        self._stopped(tid)[1].listening = True

    def event_message(self, tid: int) -> int:
        return self._stopped(tid)[1].message

    def signal_info(self, tid: int) -> bytes:
        info = self._stopped(tid)[1].info
        if info is None:
            raise _error(EINVAL)
        head = struct.pack("=iiixxxxQiI", info.signo, info.errno, info.code, info.call_addr, info.syscall, info.arch)
        return head.ljust(128, b"\0")

    def _call(self, task: Task) -> SystemCall | None:
        return self.kernel.newest.get(task)

    def call_at_stop(self, tid: int) -> tuple[int, int, int, tuple[int, ...]]:
        task, _ = self._stopped(tid)
        call = self._call(task)
        return (-1, self.kernel.arch.token, 0, (0,) * 6) if call is None else (_signed(call.nr), call.arch, call.ip, call.args)

    def stopped_call(self, tid: int) -> Stopped:
        task, stop = self._stopped(tid)
        call = self._call(task)
        if stop.event != PTRACE_EVENT_SECCOMP or call is None:
            raise _error(EINVAL)
        return _signed(call.nr), call.arch, call.ip, call.args, stop.message

    def set_call(self, tid: int, token: int, nr: int, args: tuple[int, ...]) -> None:
        task, _ = self._stopped(tid)
        call = self._call(task)
        assert call is not None
        _check(ptrace.set_call(self.supervisor, task, call, nr, args))

    def skip(self, tid: int, token: int, value: int) -> None:
        task, _ = self._stopped(tid)
        call = self._call(task)
        assert call is not None
        _check(ptrace.set_call(self.supervisor, task, call, -1, value=value))


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _check(value: int) -> int:
    if value < 0:
        raise _error(-value)
    return value


def _there(value: int) -> bool:
    """False for ENOENT; raises for every other error."""
    if value == -ENOENT:
        return False
    _check(value)
    return True


def _signed(nr: int) -> int:
    nr &= 0xFFFFFFFF
    return nr - (1 << 32) if nr >> 31 else nr
