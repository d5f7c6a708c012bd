"""The host's side of confined functions: a template process, the workers that are ready, and one call through one of them.

Each worker has two sockets here. The channel leads to the worker, which is believed only until it has run the function: what comes from it is measured
before it is read, has to carry the nonce of the call at hand, and is decoded within limits. The watch leads to the template and is
believed; to close it is to end the worker and all that it left.

A call costs a write, a wait and a read. Nothing here starts a thread, and nothing runs Python between fork and exec, so the host may have threads; a
forked child of the host forgets what it inherited and starts a template of its own.
"""

from __future__ import annotations

import _socket
import _thread
import atexit
import errno
import os
import select
import time
import weakref
from _queue import SimpleQueue

from seclude.errors import KernelError
from seclude.kernel import pidfd
from seclude.sandbox import helper, wire
from seclude.sandbox.confined_worker import ANSWER, CALL, GREETING, HELLO
from seclude.sandbox.plain import OURS, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Answer", "Garbled", "Late", "Lost", "Pool", "Worker", "starting"]

#: seconds for a worker to be there: an import in the template comes first
PATIENCE = 120.0
#: seconds for a killed worker to be gone, and for the template to tell
GRACE = 20.0
_PURPOSE = "the template of a confined function"
_QUIET = _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT
_EXCEPTION = 1 << 22  # what an exception may take, however small the output
_STEP = 0.02


class Lost(Exception):  # noqa: N818 - an outcome, not a fault
    """The worker's end of the channel is closed. ``stale``: the worker was no good before this call already, which has not begun."""

    def __init__(self, *, stale: bool) -> None:
        super().__init__()
        self.stale = stale


class Late(Exception):  # noqa: N818 - an outcome, not a fault
    """A limit of time was reached; the argument is ``timeout`` or ``cpu``."""


class Garbled(Exception):  # noqa: N818 - an outcome, not a fault
    """What came is no answer to this call; the argument says why."""


class Answer:
    """What a worker said: ``kind`` and the bytes of a plain value, to be decoded within ``limit``."""

    __slots__ = ("kind", "payload")

    def __init__(self, kind: bytes, payload: memoryview) -> None:
        self.kind = kind
        self.payload = payload


class Worker:
    """One worker, from here."""

    __slots__ = ("channel", "deaf", "made", "pid", "poll", "template", "used", "watch")

    def __init__(self, channel: _socket.socket, watch: _socket.socket) -> None:
        self.channel = channel
        self.watch = watch
        self.made = helper.which(channel.fileno()), helper.which(watch.fileno())
        self.poll = select.poll()
        self.poll.register(channel.fileno(), select.POLLIN)
        self.pid = 0  # not known before it has greeted
        self.used = False
        #: its template does not answer: the kernel may hold it, in this worker's memory or another's
        self.deaf = False
        self.template = 0  # its pid

    def close(self) -> None:
        """End it: its template sees the end of the watch, and kills. Not only closed, since a fork of this process may have a copy."""
        if self.intact():
            _shut(self.watch)
        self.forget()

    def intact(self) -> bool:
        """Whether the descriptors are still ours: a host that makes itself a daemon closes what it does not know, and uses the numbers again."""
        return (helper.which(self.channel.fileno()), helper.which(self.watch.fileno())) == self.made

    def interrupt(self) -> None:
        """From another thread than the one that waits for it: end it, and with it the wait."""
        _shut(self.watch)
        _shut(self.channel)

    def forget(self) -> None:
        """Close what a forked child has of it, which ends nothing."""
        if not self.intact():
            self.watch.detach()
            self.channel.detach()
        self.watch.close()
        self.channel.close()

    def call(self, body: bytes | bytearray, output: int, wall: float | None, cpu: float | None) -> Answer:
        """One call. Raises `Lost`, `Late`, `Garbled`; after any exception the worker is good for nothing."""
        channel = self.channel
        nonce = os.urandom(8)
        message = CALL.pack(nonce, len(body)) + body
        fresh = self.pid == 0
        try:
            if helper.which(channel.fileno()) != self.made[0]:
                raise Lost(stale=True)
            if self.used:
                self._expect_silence()
            self.used = True
            sent = channel.send(message, _QUIET)
        except BlockingIOError:
            sent = 0
        except OSError:
            raise Lost(stale=True) from None
        rest = memoryview(message)[sent:]
        patience = PATIENCE if fresh else wall
        deadline = None if patience is None else time.monotonic() + patience
        used = self._cpu() if cpu is not None and not fresh else 0.0
        received = bytearray()
        expected = ANSWER.size
        while len(received) < expected:
            if rest:
                rest = self._send_more(rest)
            if not self._wait(deadline, None if cpu is None or fresh else used + cpu, writing=bool(rest)):
                if fresh:
                    raise KernelError(
                        f"no worker was ready after {PATIENCE:g} s", "see whether importing the function's module comes to an end"
                    )
                raise Late("timeout" if deadline is not None and time.monotonic() >= deadline else "cpu")
            try:
                piece = channel.recv(1 << 16 if expected < 1 << 18 else 1 << 20, _QUIET)
            except BlockingIOError:
                continue
            except OSError:
                piece = b""
            if not piece:
                raise Lost(stale=False)
            received += piece
            if fresh:
                if len(received) < HELLO.size:
                    continue
                word, self.pid = HELLO.unpack_from(received)
                if word != GREETING:
                    raise Garbled("no greeting")
                del received[: HELLO.size]
                fresh = False
                deadline = None if wall is None else time.monotonic() + wall
                used = 0.0
            if expected == ANSWER.size and len(received) >= expected:
                echoed, kind, size = ANSWER.unpack_from(received)
                if echoed != nonce:
                    raise Garbled("an answer to another call")
                # The limit counts what values cost; their bytes are always fewer.
                most = output if kind == b"R" else _EXCEPTION
                if size > most:
                    raise Garbled(f"an answer that announces {size} bytes, beyond {most}")
                expected += size
        if len(received) > expected:
            raise Garbled("more than one answer")
        return Answer(kind, memoryview(received)[ANSWER.size :])

    def _expect_silence(self) -> None:
        """Before a used worker is used again: one that has ended, or that says what nobody asked for, is not asked any more."""
        try:
            self.channel.recv(1, _QUIET | _socket.MSG_PEEK)
        except BlockingIOError:
            return
        raise Lost(stale=True)

    def _send_more(self, rest: memoryview) -> memoryview:
        try:
            return rest[self.channel.send(rest, _QUIET) :]
        except BlockingIOError:
            return rest
        except OSError:
            return rest[len(rest) :]  # it is gone, and reading says so

    def _wait(self, deadline: float | None, cpu_end: float | None, *, writing: bool) -> bool:
        """Until something can be read (or written). False: a limit was reached first."""
        poll = self.poll
        if writing:
            poll = select.poll()
            poll.register(self.channel.fileno(), select.POLLIN | select.POLLOUT)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return bool(poll.poll(0))
            if cpu_end is not None:
                step = cpu_end - self._cpu()
                if step <= 0:
                    return bool(poll.poll(0))
                step = max(_STEP, step / (os.cpu_count() or 1))
                left = step if left is None else min(left, step)
            if poll.poll(None if left is None else left * 1000 + 1):
                return True

    def _cpu(self) -> float:
        """Seconds of the worker's process so far, all threads: its CPU-time clock (clock_getcpuclockid(3))."""
        try:
            return time.clock_gettime(~self.pid << 3 | 2)
        except OSError:
            return 0.0  # gone: its channel has ended

    def report(self, *, kill: bool) -> dict[str, Any]:
        """What the template knows of it; with ``kill`` it is ended first. ``{}`` where the template is gone, or does not answer."""
        if not self.intact():
            return {}
        poll = select.poll()
        poll.register(self.watch.fileno(), select.POLLIN)
        try:  # noqa: SIM105 - contextlib costs more than what it saves
            self.watch.send(b"k" if kill else b"?", _socket.MSG_NOSIGNAL)
        except OSError:
            pass  # it has ended, and its last report is there
        found: dict[str, Any] = {}
        try:
            # A process that is in the middle of an uninterruptible call ends late, and the template tells its end.
            while poll.poll(GRACE * 1000):
                found = wire.receive(self.watch.fileno())
                if found["ended"] or not kill:
                    return found
            self.deaf = True
        except (wire.Closed, OSError):
            pass  # what came before is what there is
        return found


class Pool:
    """The template of one confined function, and ``size`` workers, made when they are first needed.

    A token is in the queue for each worker that may run: a worker, or None for one that has yet to be made. Taking one is how threads wait
    for each other.
    """

    def __init__(self, recipe: dict[str, Any], size: int) -> None:
        self.recipe = recipe
        self.size = size
        self._lock = _thread.allocate_lock()
        self._control: _socket.socket | None = None
        self._made: tuple[int, int] | None = None
        self._pid = 0
        self._tokens: SimpleQueue[Worker | None] = SimpleQueue()
        self._alive: set[Worker] = set()
        self._fill()
        _pools.add(self)
        _hook()

    def _fill(self) -> None:
        for _ in range(self.size):
            self._tokens.put(None)

    def take(self) -> Worker:
        """A worker that is ready or becomes so. Give it back with `put`, or a new one with `renew`, in any case."""
        token = self._tokens.get()
        if token is not None:
            return token
        try:
            return self.make()
        except BaseException:
            self._tokens.put(None)
            raise

    def put(self, worker: Worker) -> None:
        """Keep a worker for the next call."""
        self._tokens.put(worker)

    def drop(self, worker: Worker, *, renew: bool = False) -> None:
        """End a worker; ``renew`` has the next one made at once, else it is made when it is needed."""
        self._alive.discard(worker)
        worker.close()
        if worker.deaf:
            with self._lock:
                if worker.template == self._pid:
                    self._stop(patience=0.0)  # with the workers that it traces, or whose parent it is
        fresh = None
        if renew:
            try:
                fresh = self.make()
            except (KernelError, OSError):
                fresh = None  # the next call says why
        self._tokens.put(fresh)

    def make(self) -> Worker:
        """Order a worker. It is there at once as far as writing to it goes."""
        channel, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        watch, their_watch = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            self._order([theirs.fileno(), their_watch.fileno()])
        except BaseException:
            channel.close()
            watch.close()
            raise
        finally:
            theirs.close()
            their_watch.close()
        worker = Worker(channel, watch)
        worker.template = self._pid
        self._alive.add(worker)
        return worker

    def _order(self, descriptors: list[int]) -> None:
        with self._lock:
            for attempt in (0, 1):
                if self._control is None:
                    self._start()
                assert self._control is not None
                try:
                    if helper.which(self._control.fileno()) != self._made:
                        raise OSError(errno.EBADF, "its socket was closed")
                    wire.pass_descriptors(self._control, descriptors)
                    return
                except OSError as error:
                    self._stop()
                    if attempt:
                        raise KernelError(f"the confined function's template went away: {error.strerror}", "", error.errno or 0) from None

    def _start(self) -> None:
        self._pid, control = helper.start(
            ["-I", *helper.code("seclude.sandbox.confined_template", "serve", "(3)")], self.recipe["environment"], _PURPOSE
        )
        try:
            recipe = encode(self.recipe, OURS)
            control.sendall(len(recipe).to_bytes(8, "little") + recipe, _socket.MSG_NOSIGNAL)
        except OSError as error:
            control.close()
            raise helper.unusable(error, _PURPOSE) from None
        self._control, self._made = control, helper.which(control.fileno())

    def _stop(self, patience: float = GRACE) -> None:
        """Have the template leave; ``patience`` seconds later it is killed, since it may be held where it reads a worker's memory (`seclude.sandbox.held`)."""
        control, self._control = self._control, None
        if control is not None:
            if helper.which(control.fileno()) != self._made:
                control.detach()  # the number is somebody else's; the template leaves by itself, having no host
                return
            _shut(control)
            control.close()
            _await(self._pid, patience)

    def close(self) -> None:
        """End the template and every worker, also those that are at work; the next call starts anew."""
        with self._lock:
            for worker in list(self._alive):
                if worker.intact():
                    _shut(worker.watch)
            idle = 0
            while True:
                try:
                    token = self._tokens.get_nowait()
                except Exception:  # noqa: BLE001 - _queue.Empty, which has no home that costs nothing
                    break
                idle += 1
                if token is not None:
                    self._alive.discard(token)
                    token.close()
            for _ in range(idle):
                self._tokens.put(None)
            self._stop()

    def __del__(self) -> None:
        if self._control is not None:
            self.close()

    def forget(self) -> None:
        """In a forked child: what is the parent's is closed here, not ended there; no lock is held by anybody."""
        self._lock = _thread.allocate_lock()
        if self._control is not None:
            if helper.which(self._control.fileno()) != self._made:
                self._control.detach()
            self._control.close()
        for worker in self._alive:
            worker.forget()
        self._control = None
        self._alive = set()
        self._tokens = SimpleQueue()
        self._fill()


def _await(pid: int, patience: float) -> None:
    """Take the status of a template that leaves, or, ``patience`` seconds later, is killed."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # the host reaps its children by itself
    try:
        os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # that it is a child of ours
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(patience * 1000):
            pidfd.send(handle, 9)
            poll.poll(GRACE * 1000)
        os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return
    finally:
        os.close(handle)


def _shut(socket: _socket.socket) -> None:
    try:
        socket.shutdown(_socket.SHUT_RDWR)
    except OSError:
        return  # the other end was first


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_hooked = False
#: held while a confined function gets its pool
starting = _thread.allocate_lock()


def _hook() -> None:
    global _hooked
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_forget_all)
        atexit.register(_close_all)


def _forget_all() -> None:
    global starting
    starting = _thread.allocate_lock()
    for pool in list(_pools):
        pool.forget()


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()
