"""The process that workers of a confined function are forked from, and their supervisor.

The problem: a worker has to begin as a fork of a process with one thread that has imported the function already, and the host may have any number of
threads. So the host starts, by posix_spawn, one such process for each confined function: the template. It imports, warms up, freezes what it has (so that the
collector of a worker does not touch, and by that copy, every page), and forks a worker whenever the host asks.

It is also what watches its workers. It takes the listener of each one's filter, and answers denied calls as the policy says, keeping a record; it seizes
them, so that a call that kills is named and nothing outlives it. The host talks to the worker directly, and to the template only to make a worker,
to hear what became of one, and to be rid of it: each worker has a socket for that, the watch. The watch's end is the worker's end.

What belongs to one worker is ended with it: what it forked is traced or becomes its child (it is a subreaper), then ours; our children that are not
workers are killed. When the host is gone (the control socket ends) everything is killed and the template leaves.

What can still go wrong: importing may start threads, and forking would then copy locks that nobody holds: refused. A worker in an
uninterruptible wait does not die at once. Where workers cannot be traced (somebody else traces, Yama), the template's own death by SIGKILL ends
the workers, by their parent-death signal, but not what they started under a policy that allows it.
"""

from __future__ import annotations

import _socket
import errno
import os
import resource
import select
import time

from seclude.errors import KernelError, SecludeError, UsageError
from seclude.kernel import libc, prctl, proc, ptrace, signals
from seclude.kernel.signals import csignal
from seclude.sandbox import confined_worker as worker
from seclude.sandbox import limits as _limits
from seclude.sandbox import wire
from seclude.sandbox.confined_import import prepare_workers
from seclude.sandbox.family import children, kill
from seclude.sandbox.plain import PlainError, decode
from seclude.sandbox.warden import identity
from seclude.supervise.kernel import Linux
from seclude.supervise.notifications import Responder
from seclude.supervise.observer import Observer
from seclude.supervise.plain import Plain
from seclude.supervise.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["serve"]

KINDS = 30  # kinds of denial that are kept of one worker: a report has to fit into a socket's buffer
LOOK = 50  # milliseconds after which the template looks for a listener of which it has not heard


class _Worker:
    """One worker: its process, the host's watch, the start's socket, its listener, and what is known of it."""

    __slots__ = (
        "failure", "listener", "look", "notes", "observer", "pid", "pidfd", "plan", "record", "responder", "sync", "traced", "usage", "watch",
    )  # fmt: skip

    def __init__(self, watch: int) -> None:
        self.watch = watch
        self.pid = 0
        self.pidfd = self.sync = self.listener = -1
        self.look = time.monotonic() + LOOK / 1000
        self.traced = False
        self.record = Record(KINDS)
        self.responder: Responder | None = None
        self.observer: Observer | None = None
        self.plan: _limits.LimitPlan | None = None
        self.notes: list[str] = []
        self.failure: tuple[str, str, int] | None = None
        self.usage = (0.0, 0)

    def forget(self) -> None:
        """What was denied has been told: the next call begins with a clean record."""
        self.record = Record(KINDS)
        for keeper in (self.responder, self.observer):
            if keeper is not None:
                keeper.record = self.record


def serve(descriptor: int) -> None:
    """Serve until the control socket ends. The first message is the recipe (see `seclude.sandbox.confined_pool`)."""
    if libc.syscall("close_range", descriptor + 1, 0xFFFFFFFF, 0) < 0:
        os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
    os.set_inheritable(descriptor, False)
    host = os.getppid()
    as_made = identity(host)
    prctl.set_child_subreaper(True)
    try:
        recipe = wire.receive(descriptor)
    except wire.Closed:
        os._exit(0)
    csignal.pthread_sigmask(csignal.SIG_BLOCK, {csignal.SIGCHLD, csignal.SIGINT, csignal.SIGQUIT, csignal.SIGHUP, csignal.SIGTERM})
    refused: tuple[str, str, str] | None = None
    plan = None
    try:
        plan = prepare_workers(recipe)
    except SecludeError as error:
        refused = ("usage" if isinstance(error, UsageError) else "kernel", error.diagnostics[0].message, error.diagnostics[0].remedy)
    except BaseException as error:  # noqa: BLE001 - whatever the import raises is the caller's to read
        refused = ("usage", f"cannot import the function's module: {type(error).__name__}: {error}"[:2000], "")
    prctl.set_dumpable(False)
    _Template(descriptor, host, as_made, recipe, plan, refused).loop()
    os._exit(0)


class _Template:
    """The loop, and the workers it watches."""

    def __init__(
        self,
        control: int,
        host: int,
        as_made: tuple[str, ...],
        recipe: dict[str, Any],
        plan: worker.Plan | None,
        refused: tuple[str, str, str] | None,
    ) -> None:
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, control)
        self.control, self.host, self.as_made = control, host, as_made
        self.recipe, self.plan, self.refused = recipe, plan, refused
        self.kernel = Linux()
        self.plain = Plain(recipe["plain"])
        self.signals = signals.signal_descriptor({csignal.SIGCHLD})
        self.poll = select.poll()
        self.by_pid: dict[int, _Worker] = {}
        self.by_descriptor: dict[int, _Worker] = {}
        self.starting: set[_Worker] = set()
        own = proc.status()
        self.filters = (own.filters or 0) if own is not None else 0

    def loop(self) -> None:
        self.poll.register(self.control, select.POLLIN)
        self.poll.register(self.signals, select.POLLIN)
        while True:
            for ready, events in self.poll.poll(self._timeout()):
                if ready == self.signals:
                    signals.pending(self.signals)
                    self._reap()
                elif ready == self.control:
                    if not self._order():
                        self._leave()
                        return
                else:
                    one = self.by_descriptor.get(ready)
                    if one is None:
                        continue  # gone by what came before it in this round
                    if ready == one.listener:
                        self._notified(one, events)
                    elif ready == one.watch:
                        self._watched(one)
                    else:
                        self._started(one)
            for one in list(self.starting):
                if time.monotonic() >= one.look:
                    self._look(one)

    def _timeout(self) -> int | None:
        return LOOK if self.starting else None

    # -- making one ---------------------------------------------------------------------------------------------------

    def _order(self) -> bool:
        """One order: a byte with the worker's channel and its watch. False where the host is gone."""
        try:
            passed = wire.take_descriptors(self.socket, 2)
        except ConnectionResetError:
            passed = None
        if passed is None:
            return False
        if len(passed) != 2:
            for descriptor in passed:
                os.close(descriptor)
            return True
        channel, watch = passed
        os.set_blocking(watch, False)  # a host that does not listen must not keep us from the others
        one = _Worker(watch)
        try:
            self._make(one, channel)
        except SecludeError as error:
            first = error.diagnostics[0]
            one.failure = first.message, first.remedy, getattr(error, "errno", 0)
            self._report(one, kind="kernel", ended=True)
            os.close(watch)
        finally:
            os.close(channel)
        return True

    def _make(self, one: _Worker, channel: int) -> None:
        if self.plan is None:
            kind, text, remedy = self.refused or ("kernel", "the template is not ready", "")
            one.failure = text, remedy, 0
            self._report(one, kind=kind, ended=True)
            os.close(one.watch)
            return
        if identity(self.host) != self.as_made:
            raise KernelError(
                "the host has confined itself, or changed its user, since the confined function was first called",
                "close() it after such a change: the next call starts anew",
            )
        one.notes += self.plan.notes
        rlimits: list[tuple[int, int, int]] = []
        if self.recipe["tree"]:
            one.plan = _limits.plan(_limits.Limits(memory=self.recipe["memory"], processes=self.recipe["processes"]))
            one.notes += one.plan.notes
            # Memory is bound by the worker itself, beyond what it has; an address space of this many bytes in all would have no room for it.
            rlimits = [limit for limit in one.plan.rlimits if limit[0] != resource.RLIMIT_AS]
        mine, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        me = os.getpid()
        # The worker has this from us, and must be one whom we may trace and whose listener we may take. Ours are root's again afterwards.
        prctl.set_dumpable(True)
        try:
            pid = os.fork()
        except OSError as error:
            prctl.set_dumpable(False)
            raise libc.failed("fork", error.errno or 0, "a worker", "raise the limit on processes, or free memory") from None
        if pid == 0:
            try:
                worker.become(self.plan, channel, theirs.fileno(), me, rlimits)
            finally:
                os._exit(70)
        prctl.set_dumpable(False)
        theirs.close()
        one.pid, one.sync = pid, mine.detach()
        os.set_blocking(one.sync, False)
        one.pidfd = os.pidfd_open(pid)
        one.observer = Observer(
            self.kernel, pid, self.plain, one.record, started=_nothing, leaving=_nothing, stopped=lambda _pid, _signal: None
        )
        self.by_pid[pid] = one
        why = "" if ptrace.supported() else "the registers of this machine are not known here"
        try:
            if not why:
                ptrace.seize(pid)
                one.traced = True
        except OSError as error:
            why = os.strerror(error.errno or 0)
        if why:
            one.notes.append(f"kills are known by their wait status only: the worker cannot be traced ({why})")
        if one.plan is not None and one.plan.cgroup is not None:
            one.plan.cgroup.add(pid)
        if self.plan.reported is not None:
            self.starting.add(one)
        for descriptor in (one.sync, one.watch):
            self.by_descriptor[descriptor] = one
            self.poll.register(descriptor, select.POLLIN)

    def _started(self, one: _Worker) -> None:
        """A word from a worker that starts: i(nstalled, with a listener), p(lain filter is in force), f(ailed); or its end."""
        try:
            said = os.read(one.sync, 1 << 16)
        except (BlockingIOError, ConnectionResetError):
            said = b""
        if said[:1] == b"f":
            try:
                what, text, number = decode(said[1:], 1 << 20)
                one.failure = f"the worker could not be confined: {what}: {text}", "see: seclude doctor", number
            except (PlainError, ValueError):
                one.failure = "the worker could not be confined", "", 0
            said = b""
        if said == b"i":
            if one.listener < 0:
                self._take_listener(one)
            self._close(one, "sync")
        elif said == b"p":
            if self.plan is not None and self.plan.reported is not None:
                one.notes.append("denials are not reported: the host is under a filter with a listener of its own (EBUSY)")
            self.starting.discard(one)
            self._let_go(one)
            self._close(one, "sync")
        else:
            self.starting.discard(one)
            self._close(one, "sync")

    def _look(self, one: _Worker) -> None:
        """Take the listener of a worker that has not said a word, but is under its filter: the word itself may be waiting for an answer.

        Not before it is: until it has closed what it was forked with, a listener in that place is another worker's.
        """
        one.look = time.monotonic() + LOOK / 1000
        status = proc.status(one.pid)
        if status is not None and (status.filters or 0) > self.filters:
            self._take_listener(one)

    def _take_listener(self, one: _Worker) -> None:
        """Take the listener out of the worker, where it has the number of the first descriptor that was free."""
        listener = libc.syscall("pidfd_getfd", one.pidfd, worker.LISTENER, 0)
        if listener < 0:
            if listener != -errno.EBADF:
                self.starting.discard(one)
                if listener != -errno.ESRCH:
                    one.failure = f"the listener cannot be taken: {os.strerror(-listener)}", "see: seclude doctor", -listener
                kill(one.pid)
            return
        self.starting.discard(one)
        one.listener = listener
        os.set_inheritable(listener, False)
        one.responder = Responder(self.kernel, listener, self.plain, one.record, None)
        self.by_descriptor[listener] = one
        self.poll.register(listener, select.POLLIN)
        self._let_go(one)

    def _let_go(self, one: _Worker) -> None:
        """The socket stays until the worker has said its word: it may still have to."""
        try:  # noqa: SIM105 - contextlib costs more than what it saves
            os.write(one.sync, b"c")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it is gone: its end is told by its status

    # -- watching -------------------------------------------------------------------------------------------------------

    def _notified(self, one: _Worker, events: int) -> None:
        if events & select.POLLIN and one.responder is not None:
            one.responder.serve()
        else:
            self._close(one, "listener")  # nobody is left under the filter

    def _watched(self, one: _Worker) -> None:
        """``?`` asks for a report; the end of the watch is the end of the worker, and so is ``k``, which is reported."""
        try:
            said = os.read(one.watch, 64)
        except ConnectionResetError:
            said = b""
        if said and b"k" not in said:
            self._report(one, ended=False)
            one.forget()
            return
        if not said:
            self._close(one, "watch")
        self._kill(one)

    def _kill(self, one: _Worker) -> None:
        if one.plan is not None and one.plan.cgroup is not None:
            one.plan.cgroup.kill()
        if one.pid in self.by_pid:
            kill(one.pid)

    def _reap(self) -> None:
        while True:
            try:
                tid, status, usage = os.wait4(-1, os.WNOHANG | ptrace.WALL)
            except ChildProcessError:
                return
            if not tid:
                return
            one = self.by_pid.get(tid) or self._owner(tid)
            if one is None or one.observer is None:
                if os.WIFSTOPPED(status):
                    kill(tid)  # traced, and nobody's any more
                    self._resume(tid)
                else:
                    self._sweep()  # what it left is ours now
                continue
            gone = one.observer.handle(tid, status)
            if gone and tid == one.pid:
                self._ended(one, status, usage)

    def _sweep(self) -> None:
        """Kill every child that is no worker: what a worker that has ended left. Each one's end brings the next sweep."""
        for pid in children() - self.by_pid.keys():
            kill(pid)

    def _resume(self, tid: int) -> None:
        try:
            ptrace.resume(tid)
        except OSError:
            return

    def _owner(self, tid: int) -> _Worker | None:
        """Whose thread or process a traced one is: one that is known, or, at its first stop, that of its process or parent."""
        seen = tid
        for _ in range(64):
            for one in self.by_pid.values():
                if one.observer is not None and seen in one.observer.alive:
                    return one
            status = proc.status(seen)
            if status is None:
                return None
            above = status.parent if status.tgid == seen else status.tgid
            if not above or above == os.getpid():
                return None
            seen = above
        return None

    def _ended(self, one: _Worker, status: int, usage: resource.struct_rusage) -> None:
        """A worker's process is gone: what it left is ended, and the host is told."""
        del self.by_pid[one.pid]
        self.starting.discard(one)
        if one.observer is not None:
            for tid in one.observer.alive:
                kill(tid)
        self._sweep()
        while one.responder is not None and self.kernel_waits(one.listener):
            one.responder.serve()
        one.usage = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        out_of_memory = False
        if one.plan is not None:
            if one.plan.cgroup is not None:
                counted = one.plan.cgroup.usage()
                out_of_memory = bool(counted.oom_kills)
                one.plan.cgroup.kill()
            one.plan.close()
        if one.watch >= 0:
            self._report(one, ended=True, status=status, out_of_memory=out_of_memory)
        for name in ("watch", "sync", "listener", "pidfd"):
            self._close(one, name)

    def kernel_waits(self, listener: int) -> bool:
        return listener >= 0 and any(events & select.POLLIN for _, events in _poll_now(listener))

    def _report(self, one: _Worker, *, ended: bool, kind: str = "", status: int = 0, out_of_memory: bool = False) -> None:
        """Tell the host. It may not be listening: then it does without."""
        report = {
            "ended": ended, "kind": kind, "failure": one.failure, "status": status, "out_of_memory": out_of_memory,
            "denials": [denial.to_plain() for denial in one.record.denials], "overflow": one.record.overflow,
            "cpu": one.usage[0], "memory": one.usage[1], "notes": one.notes, "pid": one.pid,
            "reporting": "+".join(word for word, on in (("notify", one.responder is not None), ("ptrace", one.traced)) if on) or "none",
        }  # fmt: skip
        try:
            wire.transmit(one.watch, report)
        except (BrokenPipeError, ConnectionResetError, BlockingIOError):
            return

    def _close(self, one: _Worker, name: str) -> None:
        descriptor = getattr(one, name)
        if descriptor < 0:
            return
        setattr(one, name, -1)
        if self.by_descriptor.pop(descriptor, None) is not None:
            self.poll.unregister(descriptor)
        os.close(descriptor)

    def _leave(self) -> None:
        """The host is gone: end everything. What is traced ends with us at the latest (EXITKILL), the rest by its parent-death signal."""
        for one in list(self.by_pid.values()):
            self._kill(one)
        poll = select.poll()
        poll.register(self.signals, select.POLLIN)
        for _ in range(1000):
            signals.pending(self.signals)
            self._reap()
            if not self.by_pid:
                break
            poll.poll(10)
        for pid in children():
            kill(pid)


def _poll_now(descriptor: int) -> list[tuple[int, int]]:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll(0)


def _nothing(_tid: int) -> None:
    return
