"""clone(2), confine, execve(2): start a program under a filter that may forbid everything the start itself would need.

The problem: between installing the filter and exec no call may be made that the filter could refuse, and yet the
parent must come by the listener of that very filter, and must be tracing the child before its first refused call.

The design: a child made with CLONE_FILES shares our descriptor table, so the listener it creates is at once our own;
its number comes through a shared page. exec unshares the table, and close-on-exec drops the child's copy. The child
waits on a pipe until it is being traced and stands in its cgroup. Everything it will use is built before the clone.

Rejected: CLONE_VM and CLONE_VFORK (the parent sleeps until exec, which the filter may hand to that sleeping parent);
os.fork with SCM_RIGHTS (the sendmsg may be filtered); os.fork with pidfd_getfd (twice the time). Only for a process
with one thread: a lock that another thread held at the clone would be held in the child for ever.

A failed exec cannot be told by exiting, since the filter may refuse that too: the child leaves errno in the shared
page and faults, with SIGSEGV reset and cores off.

What can still go wrong: the interpreter asks for memory between install and exec and is refused. The collector is off
and every object on the way has been made once before, so that it needs none; if it did, it ends as a failed start.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import mmap
import os
import sys

from seclude.errors import KernelError
from seclude.kernel import libc as _libc
from seclude.kernel.seccomp import SET_MODE_FILTER, FilterArgument, prepare
from seclude.kernel.signals import csignal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Step = tuple[str, Callable[..., object], tuple[object, ...]]

__all__ = ["Spawn", "call_of_exec", "close_at_exec", "no_process"]

CLONE_FILES = 0x400
_STEP, _ERRNO, _LISTENER, _INSTALLED = range(4)


def no_process(call: str, number: int) -> KernelError:
    """The error where ``call`` (clone, fork) made no process: ``number`` is its errno."""
    remedy = "too many processes for this user or machine: see ulimit -u" if number == errno.EAGAIN else "see: seclude doctor"
    return KernelError(f"the target could not be started: {call}: {os.strerror(number)}", remedy, number)


class Spawn:
    """One program about to be started, then the channel to its start.

    ``path`` is what execve gets (look PATH up before), ``steps`` are ``(name, function, arguments)`` run in order in
    the child before the filter (``program`` with ``flags``, or None); they must not touch descriptors. The child is
    started with every signal blocked; ``mask`` is what it gets back just before the filter.
    """

    __slots__ = (
        "_argv",
        "_envp",
        "_execve",
        "_filter",
        "_go",
        "_held",
        "_install",
        "_page",
        "_ready",
        "flags",
        "mask",
        "path",
        "pid",
        "steps",
    )

    def __init__(
        self,
        path: bytes,
        argv: Sequence[bytes],
        environment: Sequence[bytes],
        program: bytes | None,
        flags: int,
        steps: Sequence[Step],
        mask: Sequence[int],
    ) -> None:
        self.path = ctypes.create_string_buffer(path)
        self._argv, held_argv = _vector(argv)
        self._envp, held_environment = _vector(environment)
        self.steps = tuple(steps)
        self.mask = tuple(mask)
        self.flags = flags
        self._filter: FilterArgument | None = None if program is None else prepare(program)
        self._held = (held_argv, held_environment)
        self._page = (ctypes.c_int * 4).from_buffer(mmap.mmap(-1, mmap.PAGESIZE))
        self._go: tuple[int, int] = (-1, -1)
        self._ready: tuple[int, int] = (-1, -1)
        self.pid = 0
        self._execve = _libc.libc.execve
        self._execve.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        self._install = ctypes.PyDLL(None, use_errno=True).syscall
        self._install.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_void_p)
        self._install.restype = ctypes.c_long

    @property
    def arguments(self) -> tuple[int, int, int]:
        """The registers that execve will be called with: the addresses of path, argv and envp."""
        return ctypes.addressof(self.path), ctypes.addressof(self._argv), ctypes.addressof(self._envp)

    def start(self) -> int:
        """Make the child, which waits for `go`; its process id. The caller has one thread and every signal blocked. Raises KernelError."""
        self._go, self._ready = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        ctypes.get_errno()  # made per thread at first use
        seccomp = _libc.number("seccomp") if self._filter is not None else 0
        parent = os.getpid()
        collecting = gc.isenabled()
        gc.disable()
        flags = [CLONE_FILES | csignal.SIGCHLD, 0]
        if os.uname().machine.startswith("s390"):
            flags.reverse()  # CONFIG_CLONE_BACKWARDS2
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # a host may have closed it
                stream.flush()
        pid = _libc.syscall("clone", *flags, 0, 0, 0)
        if pid == 0:
            self._child(parent, seccomp)
        if collecting:
            gc.enable()
        if pid < 0:
            raise no_process("clone", -pid)
        self.pid = pid
        return pid

    def _child(self, parent: int, seccomp: int) -> None:
        page = self._page
        try:
            os.read(self._go[0], 1)
            for index, (_, function, arguments) in enumerate(self.steps):
                page[_STEP] = index
                function(*arguments)
            page[_STEP] = len(self.steps)
            if os.getppid() != parent:  # it ended before its death could be arranged to end us
                os._exit(125)
            csignal.signal(csignal.SIGSEGV, csignal.SIG_DFL)
            install, execve, get_errno = self._install, self._execve, ctypes.get_errno
            path, argv, envp = (ctypes.c_void_p(address) for address in self.arguments)
            operation, flags = ctypes.c_long(SET_MODE_FILTER), ctypes.c_long(self.flags)
            number, program = ctypes.c_long(seccomp), ctypes.byref(self._filter) if self._filter is not None else None
            # Once through the same paths, so that the objects they need come from free lists: an impossible operation
            # answers EINVAL, an empty path ENOENT.
            if program is not None:
                install(number, ctypes.c_long(-1), flags, None)
            execve(ctypes.c_void_p(ctypes.addressof(_EMPTY)), argv, envp)
            get_errno()
            os.write(self._ready[1], b"i")
            csignal.pthread_sigmask(csignal.SIG_SETMASK, self.mask)
            if program is not None:
                listener = install(number, operation, flags, program)
                if listener < 0:
                    page[_ERRNO] = get_errno()
                    os._exit(125)
                page[_LISTENER] = listener
                page[_INSTALLED] = 1
            page[_STEP] = len(self.steps) + 1
            execve(path, argv, envp)
            page[_ERRNO] = get_errno()
        except OSError as error:
            page[_ERRNO] = error.errno or errno.EIO
        except BaseException as error:  # noqa: BLE001 - nothing may leave the child but through the page
            page[_ERRNO] = getattr(error, "errno", 0) or errno.ENOMEM
        if page[_STEP] <= len(self.steps):
            os._exit(125)  # not confined yet: there is no need to crash
        while True:
            ctypes.memset(0, 0, 1)

    def go(self) -> None:
        """Let the child go on: it is where it should be, and watched."""
        os.write(self._go[1], b"g")

    @property
    def ready(self) -> int:
        """A descriptor that becomes readable when the child is about to install its filter; `acknowledge` then."""
        return self._ready[0]

    def acknowledge(self) -> None:
        """Read off `ready`."""
        os.read(self._ready[0], 1)

    @property
    def installed(self) -> bool:
        """Whether the filter is in force (never true where there is none)."""
        return bool(self._page[_INSTALLED])

    @property
    def listener(self) -> int:
        """The listener's descriptor in our own table; meaningful once `installed`, with NEW_LISTENER."""
        return int(self._page[_LISTENER])

    @property
    def failure(self) -> tuple[str, int] | None:
        """``(what, errno)`` where the start failed: a step's name, ``seccomp`` or ``execve``. None while nothing did."""
        number = int(self._page[_ERRNO])
        if not number:
            return None
        step = int(self._page[_STEP])
        if step < len(self.steps):
            return self.steps[step][0], number
        return ("seccomp" if step == len(self.steps) else "execve"), number

    def close(self) -> None:
        """Close the pipes. Only after exec or the child's end: until then the table is shared."""
        for descriptor in (*self._go, *self._ready):
            if descriptor >= 0:
                os.close(descriptor)
        self._go = self._ready = (-1, -1)


_EMPTY = ctypes.create_string_buffer(1)


def _vector(words: Sequence[bytes]) -> tuple[ctypes.Array[ctypes.c_char_p], list[bytes]]:
    """A NULL-terminated array of C strings, and what must stay alive with it."""
    held = list(words)
    return (ctypes.c_char_p * (len(held) + 1))(*held, None), held


def call_of_exec(spawn: Spawn) -> tuple[int, ...]:
    """The six argument registers of the execve to come, as a filter will see them."""
    return (*spawn.arguments, 0, 0, 0)


def close_at_exec(first: int) -> None:
    """Mark every descriptor from ``first`` on close-on-exec: close_range(2) (5.11), or one by one."""
    if _libc.syscall("close_range", first, 0xFFFFFFFF, 4) >= 0:  # CLOSE_RANGE_CLOEXEC
        return
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= first:
            try:
                os.set_inheritable(int(name), False)
            except OSError:  # the directory's own descriptor, closed by now
                continue
