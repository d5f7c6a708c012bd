"""The same operations on the model and on real processes of the running kernel, every result compared.

`Twin` holds both. Each method is one operation: it is done to the model, then to the real thing, the two results are compared, and the model's is
returned. Results are plain numbers: a return value or negated errno, what a handler saw, poll bits, a wait status. Numbers that differ by nature are translated:
thread ids by actor, notification ids by their distance from the first.

An actor is a thread of a C program (model_victim.c) that makes no call of its own but read(2) and write(2). The supervisor is this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import select
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from run_support import c_program
from seclude.bpf import codes
from seclude.bpf.program import Program
from seclude.kernel import pidfd, ptrace, registers
from seclude.model import KernelModel, uapi
from seclude.model.filter import Fprog
from seclude.model.notify import AddFd, Response, SeccompNotif
from seclude.model.ptrace import seccomp_get_filter, seccomp_get_metadata, set_options
from seclude.model.seccomp import Out
from seclude.model.uapi import FAULT, Fault

__all__ = ["Twin"]

_COMMAND, _REPLY = struct.Struct("=IIq6QII"), struct.Struct("=qiiiiII256s")
_CALL, _INT80, _ACTION, _MASK, _THREAD, _FORK, _DISPATCH = range(7)
_IP = 0x401000  # where the model's calls come from
_HOW = {"default": 0, "ignore": 1, "catch": 2, "restart": 3}
_ACTORS = 10
_PATIENCE = 20.0
_UNMAPPED = 0x10
_ANY_THREAD = 0x40000000  # __WALL
_libc = ctypes.CDLL(None, use_errno=True)
_libc_mmap = _libc.mmap
_libc_mmap.restype = ctypes.c_void_p
_libc_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)


class Disagreement(AssertionError):
    """The model and the running kernel say different things."""


class Actor:
    """One task of the model and the real thread that is its twin."""

    def __init__(self, twin, task, index):
        self.twin, self.task, self.index = twin, task, index
        self.tid = 0
        self.pending = None
        self.selector = bytearray(1)

    def send(self, op, nr=0, args=(), pointers=0, data=b"", selector=0):
        packed = _COMMAND.pack(op, selector, nr, *(value & (1 << 64) - 1 for value in args), *[0] * (6 - len(args)), pointers, len(data))
        os.write(self.twin.to[self.index], packed + data)

    def receive(self, patience=_PATIENCE):
        """The reply as ``(value, seen, arena)``; None where the actor is gone."""
        poll = select.poll()
        poll.register(self.twin.back[self.index], select.POLLIN)
        end = time.monotonic() + patience
        over = False
        while time.monotonic() < end:
            if poll.poll(0 if over else 20):
                raw = os.read(self.twin.back[self.index], _REPLY.size)
                if not raw:  # the last that could write has ended
                    return None
                value, *seen, arena = _REPLY.unpack(raw)
                return value, tuple(seen), arena
            if over:
                return None
            over = (
                self.tid != 0 and self.gone()
            )  # a last look, then: what it wrote may have come just before; one not told of yet is on its way
        raise Disagreement(f"actor {self.index} does not answer, and the model says it does")

    def gone(self):
        """Whether the real thread has ended; nothing that it wrote before is left."""
        try:
            state = Path(f"/proc/{self.twin.main.pid}/task/{self.tid}/stat" if self.is_thread else f"/proc/{self.tid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        return state.rpartition(")")[2].split()[0] in "ZX"

    @property
    def is_thread(self):
        return self.task.process is self.twin.actors[0].task.process


class Twin:
    """Use as a context manager. ``actors[0]`` is the first task; root and every capability unless ``user`` is given."""

    def __init__(self, *, privileged=True):
        self.kernel = KernelModel(os.uname().release)
        # So that no number of a task is that of a call.
        self.kernel.namespace.last = 1_000_000
        self.privileged = privileged
        self.actors = []
        self.log = []

    def __enter__(self):
        pairs = [(os.pipe(), os.pipe()) for _ in range(_ACTORS)]
        self.to = [down[1] for down, _ in pairs]
        self.back = [up[0] for _, up in pairs]
        high = []
        for number, (down, up) in enumerate(pairs):
            for place, fd in ((100 + 2 * number, down[0]), (101 + 2 * number, up[1])):
                high.append((place, fd))
        moved = [(place, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 300)) for place, fd in high]

        def places():
            for place, fd in moved:
                os.dup2(fd, place, inheritable=True)

        program = c_program((Path(__file__).parent / "model_victim.c").read_text(), "-pthread")
        options: dict[str, Any] = {} if self.privileged else {"user": 65534, "group": 65534, "extra_groups": []}
        self.main = subprocess.Popen([program], preexec_fn=places, close_fds=False, stdin=subprocess.DEVNULL, **options)
        for _, fd in [*high, *moved]:
            os.close(fd)
        task = self.kernel.process("victim", privileged=self.privileged and os.geteuid() == 0)
        self.supervisor = self.kernel.process("supervisor", privileged=True)
        self.tracer = self.kernel.process("tracer", privileged=True)
        self._new(task)
        self.children = []
        self.traced_children = []
        self.listeners = {}
        return self

    def __exit__(self, *exception):
        for _, _, real in self.listeners.values():
            with contextlib.suppress(OSError):
                os.close(real)
        for fd in (*self.to, *self.back):
            os.close(fd)
        processes = [child.tid for child in self.traced_children if not child.is_thread]
        for child in (*self.children, *processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
        self.main.kill()
        for child in self.traced_children:  # theirs is a tracer to be told, threads' too: their process is not over before
            with contextlib.suppress(ChildProcessError):
                while os.WIFSTOPPED(os.waitpid(child.tid, _ANY_THREAD)[1]):
                    pass
        self.main.wait()

    def _new(self, task):
        actor = Actor(self, task, len(self.actors))
        self.actors.append(actor)
        found = actor.receive() if self.actors[:-1] else self._first()
        actor.tid = found[0]
        return actor

    def _first(self):
        raw = os.read(self.back[0], _REPLY.size)
        return (_REPLY.unpack(raw)[0],)

    # --- comparing

    def same(self, what, model, real):
        """Both are the same, or `Disagreement` with everything that was done."""
        self.log.append(f"{what}: {model}")
        if model != real:
            raise Disagreement("\n".join([*self.log[:-1], f"{what}: the model says {model}, the kernel {real}"]))
        return model

    def who(self, tid, real):
        """A thread id as an actor's index."""
        for actor in self.actors:
            if tid == (actor.tid if real else actor.task.tid):
                return ("actor", actor.index)
        return tid

    # --- actors

    def thread(self, actor):
        inside = self._inside(actor)
        known = set(os.listdir(f"/proc/{actor.tid}/task")) if inside else set()
        task = self.kernel.clone_thread(actor.task)
        actor.send(_THREAD, args=(len(self.actors),))
        value, _, _ = actor.receive()
        assert value == 0
        made = self._new(task)
        if inside:  # what it says of itself is its number there
            (number,) = set(os.listdir(f"/proc/{actor.tid}/task")) - known
            made.tid = int(number)
        return made

    def fork(self, actor, *, namespace=False):
        """A child; ``namespace``: the first of a pid namespace of its own."""
        known = set(_children_of(actor.tid)) if namespace or self._inside(actor) else set()
        task = self.kernel.fork(actor.task, new_pid_namespace=namespace)
        actor.send(_FORK, args=(len(self.actors), 2 * namespace))
        value, _, _ = actor.receive()
        if namespace and value == -uapi.EPERM:
            pytest.skip("no pid namespace may be made here")
        assert value > 0, value
        # What a maker in a namespace is told is its own number for the child, and what the child says of itself is the child's.
        number = value
        if namespace or self._inside(actor):
            (number,) = set(_children_of(actor.tid)) - known
        self.children.append(number)
        made = self._new(task)
        made.tid = number
        return made

    def _inside(self, actor):
        return actor.task.process.namespace is not self.kernel.namespace

    def receive_inside(self, actor, fd):
        """RECV by an actor, of a listener that it has: the notification's process as the actor's own namespace numbers it."""
        notif = SeccompNotif()
        value = self._both(
            f"actor {actor.index} receives",
            actor,
            lambda: self.kernel.ioctl(actor.task, fd, uapi.SECCOMP_IOCTL_NOTIF_RECV, notif),
            _CALL, 16, (fd, uapi.SECCOMP_IOCTL_NOTIF_RECV, 0), 4, bytes(80),
        )  # fmt: skip
        assert value == 0
        _, pid = struct.unpack_from("=QI", self.arena)
        return self.same("the notification's pid", notif.pid, pid)

    def born(self, actor, thread=False, vfork=False):
        """A child or a thread of an actor whose tracer is told of it: nobody has said anything yet, and the new one's number is in its maker's stop."""
        assert not (thread and vfork)
        task = self.kernel.clone_thread(actor.task) if thread else self.kernel.fork(actor.task, vfork=vfork)
        actor.send(_THREAD if thread else _FORK, args=(len(self.actors), int(vfork)))
        child = Actor(self, task, len(self.actors))
        self.actors.append(child)
        return child

    def told_of(self, maker, child):
        """The maker's stop for its child: its message is the child's number."""
        assert maker.task.stop is not None
        child.tid = ptrace.event_message(maker.tid)
        self.traced_children.append(child)
        return self.same("its message", self.who(maker.task.stop.message, False), self.who(child.tid, True))

    def greeted(self, maker, child, status=None):
        """The maker's call returns, with the child's number, and the child says its own."""
        value = maker.receive()[0]
        assert status is not None or value == (0 if child.task.process is maker.task.process else child.tid)
        assert child.receive()[0] == child.tid

    def sigaction(self, actor, signal, how):
        self.kernel.sigaction(actor.task, signal, how)
        actor.send(_ACTION, args=(signal, _HOW[how]))
        assert actor.receive()[0] == 0

    def block(self, actor, signal, yes=True):
        (actor.task.blocked.add if yes else actor.task.blocked.discard)(signal)
        actor.send(_MASK, args=(signal, int(yes)))
        assert actor.receive()[0] == 0

    # --- system calls

    def _both(self, what, actor, model, op, nr, args, pointers=0, data=b"", translate=False, selector=0):
        before = len(actor.task.handled)
        actor.selector[0] = selector
        model = model()
        actor.selector[0] = 0
        actor.send(op, nr, args, pointers, data, selector)
        if model.state == "sleeping":
            actor.pending = (what, model, before, translate)
            if model.why != "its tracer":  # whoever waits for a stop waits for it
                self._asleep(actor)
            self.log.append(f"{what}: sleeps")
            return "sleeping"
        return self._compare(what, actor, model, before, translate)

    def _asleep(self, actor):
        """Wait until the real thread sleeps as the model says: in the notification's wait, which its call number shows."""
        end = time.monotonic() + _PATIENCE
        where = f"/proc/{self.main.pid}/task/{actor.tid}" if actor.is_thread else f"/proc/{actor.tid}"
        while time.monotonic() < end:
            try:
                state = Path(f"{where}/stat").read_text().rpartition(")")[2].split()[0]
                # In its own read(2) it waits for us.
                if state == "S" and Path(f"{where}/syscall").read_text().split()[0] not in ("running", "0"):
                    return
            except OSError as error:
                raise Disagreement("the model says the actor sleeps, and it is gone") from error
        raise Disagreement(f"the model says actor {actor.index} sleeps, and it does not\n" + "\n".join(self.log))

    def _compare(self, what, actor, model, before, translate):
        found = actor.receive()
        if found is None or actor.task.exited:
            real = "gone" if found is None else found[0]
            return self.same(what, "gone" if actor.task.exited else model.value, real)
        value, seen, arena = found
        handled = actor.task.handled[before:]
        last = handled[-1] if handled else None
        shown: tuple[int, ...] = (
            (0, 0, 0, 0, 0, 0) if last is None else (last.signo, last.code, last.errno, last.syscall, last.arch, len(handled))
        )
        if last is not None and last.signo != uapi.SIGSYS:
            shown, seen = (shown[0], shown[5]), (seen[0], seen[5])
        expected = model.value
        if translate:
            expected, value = self.who(expected, False), self.who(value, True)
        if not model.known:
            expected = value
        self.same(what, (expected, shown), (value, seen))
        self.arena = arena
        return expected

    def woken(self, actor):
        """The call that slept is over, in the model: the real one as well."""
        what, model, before, translate = actor.pending
        assert model.state != "sleeping", "the model says it still sleeps"
        actor.pending = None
        return self._compare(f"{what}, woken", actor, model, before, translate)

    def dispatch(self, actor, mode, inside=0, length=0, selector=0):
        """PR_SET_SYSCALL_USER_DISPATCH. ``inside``: 1 for where the calls come from, else an address; ``selector``: 0 none, 1 the actor's own byte, 2 none that can be read."""
        given = {0: 0, 1: actor.selector, 2: FAULT}[selector]
        return self._both(
            f"actor {actor.index}: user dispatch {mode} {inside:#x} {length:#x} {selector}",
            actor,
            lambda: self.kernel.prctl(actor.task, uapi.PR_SET_SYSCALL_USER_DISPATCH, mode, _IP if inside == 1 else inside, length, given),
            _DISPATCH, 0, (mode, inside, length, selector),
        )  # fmt: skip

    def call(self, actor, nr, *args, arch=None, selector=0):
        """Any harmless call, by number. ``arch="x86"`` makes it through int 0x80. ``selector``: what user dispatch is to make of it."""
        return self._both(
            f"actor {actor.index} calls {arch or ''} {nr}{args}",
            actor,
            lambda: self.kernel.syscall(actor.task, nr, *args, arch=arch),
            _INT80 if arch == "x86" else _CALL,
            nr,
            args,
            translate=True,
            selector=selector,
        )

    def seccomp(self, actor, op, flags=0, uargs=None, length=None, *, keep=False):
        """seccomp(2); ``uargs``: None, FAULT, a Program (or None inside an Fprog), an action's number, or "sizes". ``keep``: a listener stays the actor's."""
        out = Out() if uargs == "sizes" else None
        given = out or (Fprog(uargs, length) if isinstance(uargs, Program) else uargs)
        pointer, pointers, data = _in_arena(uargs, length)
        what = f"actor {actor.index}: seccomp({op}, {flags:#x}, {_short(uargs)})"
        value = self._both(
            what,
            actor,
            lambda: self.kernel.seccomp(actor.task, op, flags, given),
            _CALL,
            317,
            (op, flags, pointer),
            pointers,
            data,
            translate=bool(flags & 1),
        )
        if out is not None and value == 0:
            self.same("sizes", out.value, struct.unpack_from("=HHH", self.arena))
        if flags & codes.SECCOMP_FILTER_FLAG_NEW_LISTENER and isinstance(value, int) and value >= 0 and not keep:
            self._take(actor, value)
        return value

    def prctl(self, actor, option, *args):
        registers, pointers, data = [], 0, b""
        for position, value in enumerate(args, 1):
            if isinstance(value, int):
                registers.append(value)
            else:
                pointer, bits, data = _in_arena(value, None)
                registers.append(pointer)
                pointers |= bits & 256 | (1 << position if bits & 4 else 0)
        what = f"actor {actor.index}: prctl({option}, {', '.join(map(_short, args))})"
        return self._both(
            what, actor, lambda: self.kernel.prctl(actor.task, option, *args), _CALL, 157, (option, *registers), pointers, data
        )

    def close_fd(self, actor, fd):
        """close(2) by an actor."""
        return self._both(f"actor {actor.index} closes {fd}", actor, lambda: self.kernel.close(actor.task, fd), _CALL, 3, (fd,))

    def exit(self, actor, status=0, group=False):
        (self.kernel.exit_group if group else self.kernel.exit)(actor.task, status)
        actor.send(_CALL, 231 if group else 60, (status,))
        end = time.monotonic() + _PATIENCE
        while not actor.gone():
            assert time.monotonic() < end

    def kill(self, actor, signal):
        """tgkill(2) from outside."""
        self.kernel.kill(actor.task, signal)
        _libc.syscall(234, self.main.pid if actor.is_thread else actor.tid, actor.tid, signal)

    # --- what can be seen

    def status(self, actor):
        """The seccomp lines of /proc/TID/status."""
        where = f"/proc/{self.main.pid}/task/{actor.tid}" if actor.is_thread else f"/proc/{actor.tid}"
        lines = dict(line.split(":", 1) for line in Path(f"{where}/status").read_text().splitlines())
        real = {name: int(lines[name]) for name in ("NoNewPrivs", "Seccomp", "Seccomp_filters")}
        return self.same(f"status of actor {actor.index}", actor.task.status(), real)

    def ended(self):
        """The wait status of the first process."""
        code = self.main.wait(_PATIENCE)
        model = self.actors[0].task.process.status
        assert model is not None, "the model says it lives"
        return self.same("wait status", model, -code if code < 0 else code << 8)

    # --- this process as the tracer

    def seize(self, actor, options=0):
        """PTRACE_SEIZE."""
        model = self.kernel.seize(self.tracer, actor.task, options)
        return self.same(f"actor {actor.index} is seized with {options:#x}", model, _errno_of(lambda: ptrace.seize(actor.tid, options)))

    def stop(self, actor):
        """The next stop, as a wait status, or the end."""
        told = self.kernel.wait(self.tracer)
        assert told is not None, "the model has nothing to tell"
        _, status = os.waitpid(actor.tid, _ANY_THREAD)
        return self.same(f"actor {actor.index} stops", told[1], status)

    def message(self, actor):
        """PTRACE_GETEVENTMSG."""
        assert actor.task.stop is not None
        return self.same("its message", actor.task.stop.message, ptrace.event_message(actor.tid))

    def change(self, actor, nr, args=(0,) * 6):
        """Have a thread that stands before a call make another."""
        call = self.kernel.newest[actor.task]
        self.kernel.set_call(self.tracer, call, nr, args)
        registers.set_call(actor.tid, call.arch, nr, args)
        self.log.append(f"its call is {nr} now")

    def skip(self, actor, value):
        """Have it make none, and get ``value``."""
        call = self.kernel.newest[actor.task]
        self.kernel.set_call(self.tracer, call, -1, value=value)
        registers.skip(actor.tid, call.arch, value)
        self.log.append(f"its call is skipped with {value}")

    def resume(self, actor, signal=0, *, syscall=False):
        """PTRACE_CONT, or PTRACE_SYSCALL."""
        (ptrace.resume_to_call if syscall else ptrace.resume)(actor.tid, signal)
        assert self.kernel.resume(self.tracer, actor.task, signal, syscall=syscall) == 0
        self.log.append(f"it is resumed with {signal}")

    def options(self, actor, options):
        """PTRACE_SETOPTIONS."""
        model = set_options(self.tracer, actor.task, options)
        value = _libc.ptrace(0x4200, actor.tid, None, ctypes.c_void_p(options))
        return self.same(f"options {options:#x}", model, value if value >= 0 else -ctypes.get_errno())

    def filters(self, actor):
        """Every filter that PTRACE_SECCOMP_GET_FILTER and _GET_METADATA tell of, the oldest first."""
        found: list[tuple[int, int]] = []
        for index in range(20):
            model = seccomp_get_filter(self.tracer, actor.task, index)
            raw = ptrace.seccomp_filter(actor.tid, index)
            self.same(f"filter {index}", None if isinstance(model, int) else model.to_bytes(), raw)
            if raw is None:
                return found
            metadata = seccomp_get_metadata(self.tracer, actor.task, index)
            assert isinstance(metadata, tuple)
            found.append((len(raw) // 8, self.same(f"flags of filter {index}", metadata[1], ptrace.seccomp_flags(actor.tid, index))))
        return found

    # --- the listener, held here

    def _take(self, actor, fd):
        given = self.kernel.give(actor.task, fd, self.supervisor)
        handle = pidfd.open_process(self.main.pid if actor.is_thread else actor.tid)
        real = pidfd.take_descriptor(handle, fd)
        os.close(handle)
        self.listeners[fd, actor.index] = (given, len(self.listeners), real)
        self.newest = (fd, actor.index)
        self.first_id = None
        self.close_fd(actor, fd)

    def _ioctl(self, what, command, model_argument, real):
        given, _, fd = self.listeners[self.newest]
        made = self.kernel.ioctl(self.supervisor, given, command, model_argument)
        value = _ioctl(fd, command, real)
        return self.same(what, made.value, value)

    def poll(self):
        given, _, fd = self.listeners[self.newest]
        model = self.kernel.poll(self.supervisor, given)
        poll = select.poll()
        poll.register(fd, uapi.EPOLLIN | uapi.EPOLLOUT | uapi.EPOLLRDNORM | uapi.EPOLLWRNORM)
        end = time.monotonic() + _PATIENCE
        real = dict(poll.poll(0)).get(fd, 0)
        # Others may still be on their way to where the model has them.
        while real != model and time.monotonic() < end:
            real = dict(poll.poll(0)).get(fd, 0)
        return self.same("poll", model, real)

    def receive(self, *, zeroed=True, writable=True):
        notif = SeccompNotif(zeroed=zeroed, writable=writable)
        buffer = (ctypes.c_ubyte * 80)(0 if zeroed else 1)
        if not writable:
            # Zeros that can be read and not written. ctypes takes no address of such a mapping from Python, so libc makes it.
            buffer = _libc_mmap(None, 4096, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        value = self._ioctl("RECV", uapi.SECCOMP_IOCTL_NOTIF_RECV, notif, buffer)
        if value == 0:
            id_, pid, _, nr, arch, _, *args = struct.unpack("=QIIiIQ6Q", bytes(buffer))
            if self.first_id is None:
                self.first_id = id_ - notif.id
            assert notif.data is not None
            model = (notif.id, self.who(notif.pid, False), notif.data.nr, notif.data.arch, notif.data.args)
            self.same("notification", model, ((id_ - self.first_id) % (1 << 64), self.who(pid, True), nr, arch, tuple(args)))
            return notif.id
        return value

    def _id(self, number):
        return (number + (self.first_id or 0)) % (1 << 64)

    def reply(self, number, val=0, error=0, flags=0):
        real = ctypes.create_string_buffer(struct.pack("=QqiI", self._id(number), val, error, flags), 24)
        return self._ioctl(
            f"SEND {number} val={val} error={error} flags={flags}", uapi.SECCOMP_IOCTL_NOTIF_SEND, Response(number, val, error, flags), real
        )

    def id_valid(self, number, command=uapi.SECCOMP_IOCTL_NOTIF_ID_VALID):
        return self._ioctl(f"ID_VALID {number}", command, number, ctypes.c_uint64(self._id(number)))

    def set_flags(self, flags):
        return self._ioctl(f"SET_FLAGS {flags}", uapi.SECCOMP_IOCTL_NOTIF_SET_FLAGS, flags, flags)

    def add_fd(self, number, *, flags=0, newfd=0, newfd_flags=0, path_only=False, srcfd=None, size=24, tail=0):
        source = self.kernel.open(self.supervisor, "a file", path_only=path_only) if srcfd is None else srcfd
        real_source = os.open("/dev/null", os.O_RDONLY | (os.O_PATH if path_only else 0)) if srcfd is None else srcfd
        raw = struct.pack("=QIIII", self._id(number), flags, real_source, newfd, newfd_flags) + bytes([tail]) * max(0, size - 24)
        real = ctypes.create_string_buffer(raw, max(len(raw), 1))
        command = uapi.SECCOMP_IOCTL_NOTIF_ADDFD & ~uapi.IOCSIZE_MASK | size << uapi.IOCSIZE_SHIFT
        request = AddFd(number, source, flags, newfd, newfd_flags, size, tail)
        try:
            return self._ioctl(f"ADDFD {number} flags={flags} newfd={newfd} size={size}", command, request, real)
        finally:
            if srcfd is None:
                os.close(real_source)

    def close(self):
        given, _, fd = self.listeners.pop(self.newest)
        self.kernel.close(self.supervisor, given)
        os.close(fd)


def _children_of(pid):
    """Its children, as this process numbers them."""
    where = Path(f"/proc/{pid}/task/{pid}/children")
    if not where.exists():
        pytest.skip("this kernel does not list children (CONFIG_PROC_CHILDREN)")
    return [int(word) for word in where.read_text().split()]


def _errno_of(request):
    try:
        request()
    except OSError as error:
        return -(error.errno or 0)
    return 0


def _ioctl(fd, command, argument):
    pointer = ctypes.c_void_p(argument) if isinstance(argument, int) else ctypes.byref(argument)
    value = _libc.ioctl(fd, ctypes.c_ulong(command), pointer)
    return value if value >= 0 else -ctypes.get_errno()


def _in_arena(uargs, length):
    """Pointer argument, which arguments are relative to the arena (bit 8: the fprog's own pointer too), and what is to be in it."""
    if uargs is None:
        return 0, 0, b""
    if uargs is FAULT:
        return _UNMAPPED, 0, b""
    if uargs == "sizes":
        return 0, 4, bytes(16)
    if isinstance(uargs, int):
        return 0, 4, struct.pack("=I", uargs)
    program = uargs.filter if isinstance(uargs, Fprog) else uargs
    count = uargs.length if isinstance(uargs, Fprog) else length if length is not None else len(uargs)
    if program is None:
        return 0, 4, struct.pack("=HxxxxxxQ", count, 0)
    if isinstance(program, Fault):
        return 0, 4, struct.pack("=HxxxxxxQ", count, _UNMAPPED)
    return 0, 4 | 256, struct.pack("=HxxxxxxQ", count, 16) + program.to_bytes()


def _short(value):
    return (
        f"{len(value)} instructions"
        if isinstance(value, Program)
        else repr(value)
        if not isinstance(value, Fprog)
        else f"Fprog({value.length})"
    )
