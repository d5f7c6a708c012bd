"""Run a pure computation in a process that can do nothing but compute: seccomp's strict mode.

In SECCOMP_MODE_STRICT the kernel lets a thread read, write, exit and return from a signal; anything else kills it. Python makes
other calls all the time, so everything that needs one is done beforehand, in the child:

- memory: the C allocator gets its whole heap in advance and is told never to map, trim or ask for more; Python's arenas are moved
  onto that heap. What existed before keeps its arenas, which must never be given back (munmap): what the function can reach is held;
- descriptors: all closed but the pipe for the result; signal handlers: all reset, so that nothing returns into the host's code;
- the numbers, names and functions needed after the switch are looked up before it;
- the end is a raw exit of the one thread: Python's own shutdown makes calls.

Where the child comes from. If this process has exactly one thread, it is a fork, and the function may be anything callable. In a
threaded process no Python may run between fork and exec (another thread may have held a lock that the copy never releases), so a
fresh interpreter is spawned instead: it imports the function by its module and qualified name, and the arguments travel as plain values.
Strict mode is a property of one thread; a child in which an import started another one is refused.

Watching. The parent seizes the child with ptrace, so a fatal call stops once more before the process is gone, and can be named. Where it cannot
be seized (a tracer is there already, Yama) the report says that it was not observed.

What cannot work, since it needs a call: opening files, importing (also lazily: import what the function needs at the top of its module),
random numbers from the system, threads, sleeping, printing (the descriptors are closed: OSError). The cyclic garbage collector is off. Reading the clock
needs no call but the time stamp counter, which strict mode disables on x86: SIGSEGV. More memory than ``memory`` is a call too: ``brk`` or ``mmap``.

On Python 3.12 the first call of a C function that takes keywords takes a lock, and that reads the clock too; `strict_child` has done it for the common ones, and
calling the function once beforehand does it for any other.

What can still go wrong: memory beyond the given heap is reported by the call it needs, so a function that calls mmap itself is reported as
out of memory. A large buffer from before (a big list that is a global) that is grown or dropped by the function is memory given back, a call;
arguments are therefore rebuilt on the new heap: lists, dicts, sets, tuples and bytearrays, not instances of classes. An arena from
before must never become empty, since the new allocator would be asked to free it: the pools that are free in it get an object each, and what fills
the others is held as far as arguments, closure and globals reach. An arena that was full of other data, all of it dropped by the function, is a crash.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import time

from seclude.errors import InputError, KernelError, UsageError
from seclude.kernel import libc, proc, ptrace
from seclude.sandbox import helper
from seclude.sandbox.limits import read_bytes, read_seconds
from seclude.sandbox.plain import OURS, PlainError, decode, encode
from seclude.sandbox.strict_child import confine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["StrictError", "StrictRaised", "StrictTimeout", "StrictViolation", "strict"]

SIGKILL, SIGSEGV = 9, 11
SI_KERNEL = 0x80  # si_code of a SIGSEGV that is a general protection fault: rdtsc where it is disabled
TRACEEXIT_EXITKILL = 1 << 6 | 1 << 20
HEADER = 9  # one byte of what it is, eight of length
ALLOWED = "read, write, exit and rt_sigreturn"
MORE_MEMORY = ("brk", "mmap", "mmap2")
OLD_MEMORY = ("mremap", "munmap")


class StrictError(InputError):
    """The function did not return a plain value. The subclasses say why; this one itself: it returned something else, or too much."""


class StrictRaised(StrictError):  # noqa: N818 - the name says what happened
    """The function raised. ``type_name`` is the exception's qualified name, ``text`` its str(), ``trace`` lines of file, line and function."""

    def __init__(self, type_name: str, text: str, trace: tuple[str, ...]) -> None:
        self.type_name = type_name
        self.text = text
        self.trace = trace
        shown = "".join(f"\n    {line}" for line in trace[-5:])
        super().__init__(f"the function raised {type_name}: {text[:2000]}{shown}")


class StrictViolation(StrictError):  # noqa: N818 - the name says what happened
    """The kernel ended the function. ``call`` is the name of the forbidden call, or None; ``arguments`` its registers; ``signal`` what ended it."""

    def __init__(self, message: str, remedy: str, signal: int, call: str | None = None, arguments: tuple[int, ...] = ()) -> None:
        self.signal = signal
        self.call = call
        self.arguments = arguments
        super().__init__(message, remedy)


class StrictTimeout(StrictError):  # noqa: N818 - the name says what happened
    """The function had not returned after ``timeout`` seconds, and was killed."""


def strict(
    function: Callable[..., Any],
    *args: Any,
    timeout: str | float | None = None,
    memory: str | int = "256M",
    output: str | int = "256M",
    **keywords: Any,
) -> Any:
    """Call ``function(*args, **keywords)`` in a child in strict mode, and return a copy of what it returns.

    The result is None, bool, int, float, complex, str, bytes, bytearray, or a list, tuple, dict, set or frozenset of these.
    ``timeout`` is wall time (``"1.5s"``, seconds); ``memory`` the heap that the function gets beyond what exists; ``output`` bounds the
    result, as it takes memory here. Only the heap that is used takes real memory. A function whose own parameter has one of these three names
    needs a lambda around it.

    Raises `StrictRaised`, `StrictViolation`, `StrictTimeout`; `StrictError` for a result that is not plain or too large; `UsageError` for a
    function that a spawned interpreter cannot import, when this process has threads; `KernelError` where strict mode is not to be had.
    """
    if not callable(function):
        raise UsageError(f"strict: {function!r} is not callable")
    heap = read_bytes(memory, "memory")
    limit = read_bytes(output, "output")
    deadline = None if timeout is None else time.monotonic() + read_seconds(timeout, "timeout")
    status = proc.status()
    # Found before the fork: a failure here is an exception, there it is a death.
    libc.number("exit")
    if status is not None and status.threads == 1:
        child = _fork(function, args, keywords, heap, limit)
    else:
        child = _spawn(function, args, keywords, heap, limit)
    try:
        return _outcome(child, deadline, limit, heap)
    finally:
        child.end()


class _Child:
    """The other process: its pid, the pipe its result comes through, and the one that tells it to begin."""

    __slots__ = ("go", "pid", "result", "seized", "status")

    def __init__(self, pid: int, result: int, go: int) -> None:
        self.pid = pid
        self.result = result
        self.go = go
        self.status: int | None = None
        try:
            ptrace.seize(pid, TRACEEXIT_EXITKILL)
            self.seized = True
        except OSError:
            self.seized = False

    def start(self) -> None:
        try:  # noqa: SIM105 - contextlib is kept off the run path
            os.write(self.go, b"!")
        except BrokenPipeError:
            pass  # it is gone already; reading its result will say how
        os.close(self.go)
        self.go = -1

    def look(self, *, block: bool) -> int | None:
        """The wait status of a stop or of the end; None if there is nothing new. The end is kept in ``status``."""
        if self.status is not None:
            return self.status
        try:
            pid, status = os.waitpid(self.pid, ptrace.WALL | (0 if block else os.WNOHANG))
        except ChildProcessError:
            # The host ignores SIGCHLD, or another thread of it waits for everybody: how it ended is lost.
            self.status = 0
            return self.status
        if not pid:
            return None
        if not os.WIFSTOPPED(status):
            self.status = status
        return status

    def resume(self, signal: int = 0) -> None:
        try:  # noqa: SIM105
            ptrace.resume(self.pid, signal)
        except OSError:
            pass  # killed meanwhile: the next look tells

    def end(self) -> None:
        """Kill what is left and reap it. Called on every way out."""
        for descriptor in (self.result, self.go):
            if descriptor >= 0:
                os.close(descriptor)
        self.result = self.go = -1
        if self.status is None:
            try:  # noqa: SIM105
                os.kill(self.pid, SIGKILL)
            except ProcessLookupError:
                pass
        while self.status is None:
            if os.WIFSTOPPED(self.look(block=True) or 0):
                self.resume()


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not among the three standard descriptors, which a child closes or replaces."""
    ends = os.pipe2(os.O_CLOEXEC)
    moved = tuple(end if end > 2 else fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in ends)
    for end, new in zip(ends, moved, strict=True):
        if end != new:
            os.close(end)
    return moved[0], moved[1]


def _fork(function: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any], heap: int, limit: int) -> _Child:
    go_read, go_write = _pipe()
    result_read, result_write = _pipe()
    try:
        pid = os.fork()
    except OSError as error:
        for descriptor in (go_read, go_write, result_read, result_write):
            os.close(descriptor)
        raise libc.failed("fork", error.errno or 0, "a child for the function", "raise the limit on processes, or free memory") from None
    if pid == 0:
        # Nothing may leave this frame: above it is the host's code, with its finally blocks and buffers.
        try:
            os.close(go_write)
            os.close(result_read)
            confine(function, args, keywords, heap, limit, go_read, result_write)
        finally:
            os._exit(70)
    os.close(go_read)
    os.close(result_write)
    return _Child(pid, result_read, go_write)


def _spawn(function: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any], heap: int, limit: int) -> _Child:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__" or "<" in name:
        raise UsageError(
            f"strict: this process has threads, so the function is imported by a fresh interpreter, which cannot find {function!r}",
            "define it at the top level of a module that can be imported, or call strict before threads are started",
        )
    if not sys.executable:
        raise UsageError("strict: this process has threads, and sys.executable names no interpreter to spawn", "set sys.executable")
    path = [entry if os.path.isabs(entry) else os.path.abspath(entry) for entry in sys.path]
    try:
        job = encode((path, module, name, args, keywords, heap, limit), OURS)
    except PlainError:
        raise UsageError(
            f"strict: this process has threads, so arguments are copied as plain values: {_first_fault(args, keywords)}"
        ) from None
    go_read, go_write = _pipe()
    result_read, result_write = _pipe()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", *helper.code("seclude.sandbox.strict_child", "serve")],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, go_read, 0), (os.POSIX_SPAWN_DUP2, result_write, 1)],
        )
    except OSError as error:
        os.close(go_write)
        os.close(result_read)
        raise UsageError(
            f"strict: cannot start {sys.executable}: {os.strerror(error.errno or 0)}", "make it readable and executable"
        ) from None
    finally:
        os.close(go_read)
        os.close(result_write)
    child = _Child(pid, result_read, go_write)
    try:
        view = memoryview(len(job).to_bytes(8, "little") + job)
        while view:
            view = view[os.write(go_write, view) :]
    except BrokenPipeError:
        pass  # it ended early; its status says how
    return child


def _first_fault(args: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    for name, value in [*enumerate(args), *keywords.items()]:
        try:
            encode(value, OURS)
        except PlainError as error:
            return f"argument {name}: {error}"
    return "one cannot be"


def _outcome(child: _Child, deadline: float | None, limit: int, heap: int) -> Any:
    child.start()
    received = bytearray()
    expected: int | None = None
    finished = False
    poll = select.poll()
    poll.register(child.result, select.POLLIN)
    pause = 1.0
    while expected is None or len(received) < expected:
        left = None if deadline is None else (deadline - time.monotonic()) * 1000
        if left is not None and left <= 0:
            raise StrictTimeout("the function did not return in time and was killed", "give it more time, or less to do")
        # A process that stopped on its way out keeps its pipe open, and so does a copy that another thread's fork made of it: neither wakes
        # anybody, so the child is looked at too, less often as time goes by.
        ready = poll.poll(pause if left is None else min(pause, left))
        if ready:
            piece = os.read(child.result, 1 << 20)
            if not piece:
                break
            received += piece
            if expected is None and len(received) >= HEADER:
                expected = HEADER + int.from_bytes(received[1:HEADER], "little")
                # The limit counts what values cost; their bytes are always fewer. The header is not to be trusted either.
                if expected > HEADER + max(limit, 1 << 16):
                    raise StrictError(f"the result announces {expected} bytes, beyond output={limit}", "return less, or raise output=")
        else:
            if finished:
                break
            finished = _watch(child, heap)
            pause = min(pause * 1.5, 10.0)
    if expected is None or len(received) < expected:
        while not _watch(child, heap, block=True):
            pass
        raise _ended(child, heap)
    return _result(received[0], memoryview(received)[HEADER:expected], limit)


def _watch(child: _Child, heap: int, *, block: bool = False) -> bool:
    """Handle a stop of the child; True once it has ended. Raises `StrictViolation` where the stop tells why it ends."""
    status = child.look(block=block)
    if status is None:
        return False
    if child.status is not None:
        return True
    if status >> 16 == ptrace.EVENT_EXIT:
        verdict = _fatal_call(child, heap)
        child.resume()
        if verdict is not None:
            raise verdict
        return False
    signal = os.WSTOPSIG(status)
    if status >> 16:
        child.resume()  # a group stop or the seizing itself: no signal to deliver
        return False
    if signal == SIGSEGV:
        raise _segmentation(child)
    child.resume(signal)
    return False


def _segmentation(child: _Child) -> StrictViolation:
    try:
        code = int.from_bytes(ptrace.signal_info(child.pid)[8:12], sys.byteorder, signed=True)
    except OSError:
        code = 0
    if code == SI_KERNEL:
        return StrictViolation(
            "the function read the clock: strict mode disables the time stamp counter (SIGSEGV)", "pass the time in as an argument", SIGSEGV
        )
    return StrictViolation(
        "the function crashed (SIGSEGV): a fault in an extension module, or recursion beyond the C stack", "run it without strict", SIGSEGV
    )


def _fatal_call(child: _Child, heap: int) -> StrictViolation | None:
    """At the stop before the end: the call that killed it, if one did."""
    try:
        status = ptrace.event_message(child.pid)
    except OSError:
        return None
    call = proc.current_call(child.pid)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != SIGKILL or call is None or call[0] < 0:
        return None
    state = proc.status(child.pid)
    if state is None or state.seccomp == 0:
        return None  # killed before it was in strict mode, on its way out of a call that it made freely
    from seclude import abi

    native = abi.native()
    name = native.call_name(call[0]) or str(call[0])
    if name in ("read", "write", "exit", "rt_sigreturn"):
        return None  # somebody else killed it, during a call that is allowed
    if name in MORE_MEMORY:
        return StrictViolation(
            f"the function needed more than memory={heap} bytes (it called {name}, to get more)", "raise memory=", SIGKILL, name, call[1]
        )
    if name in OLD_MEMORY:
        return StrictViolation(
            f"the function changed a large object from before in place, which gives memory back (it called {name})",
            "pass the object as an argument, or copy it in the function before changing it",
            SIGKILL,
            name,
            call[1],
        )
    return StrictViolation(
        f"the function called {_shown(name, call[1])}: strict mode allows {ALLOWED} only",
        "do it before, and pass the result in as an argument; import what is needed at the top of the function's module",
        SIGKILL,
        name,
        call[1],
    )


def _shown(name: str, arguments: tuple[int, ...]) -> str:
    """The call with as many registers as it has parameters."""
    from seclude import abi

    try:
        from seclude.abi.prototypes import prototype

        known = prototype(abi.native(), name)
    except ImportError:
        known = None
    count = len(known.parameters) if known is not None else len(arguments)
    return f"{name}({', '.join(hex(value) for value in arguments[:count])})"


def _ended(child: _Child, heap: int) -> StrictViolation:
    """The child is gone without a result, and nothing was seen of why."""
    status = child.status or 0
    signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if signal == SIGKILL and child.seized:
        return StrictViolation(
            "the function was killed from outside: by the system, when memory ran short, or by somebody",
            "try again with less memory=",
            signal,
        )
    if signal == SIGKILL:
        return StrictViolation(
            f"the function was killed (SIGKILL, not observed): it made a call other than {ALLOWED}, or needed more than memory={heap} bytes",
            "raise memory=, or do the call before and pass the result in",
            signal,
        )
    if signal == SIGSEGV:
        return StrictViolation(
            "the function read the clock, which strict mode disables, or crashed (SIGSEGV, not observed)",
            "pass the time in as an argument",
            signal,
        )
    if signal:
        return StrictViolation(f"the function was ended by signal {signal}", "", signal)
    return StrictViolation(f"the function ended its process (exit status {os.waitstatus_to_exitcode(status)})", "return instead", 0)


def _result(kind: int, payload: memoryview, limit: int) -> Any:
    """What the frame says. Its bytes come from a process that may have been taken over: everything is checked."""
    try:
        value = decode(payload, limit if kind == ord("R") else 1 << 22)
    except PlainError as error:
        raise StrictError(f"the result is not in the plain format: {error}", "the function wrote to the descriptor of its result") from None
    if kind == ord("R"):
        return value
    match chr(kind), value:
        case "E", (str(name), str(text), [*trace]) if all(isinstance(line, str) for line in trace):
            raise StrictRaised(name, text, tuple(trace))
        case "U", str(text):
            raise StrictError(f"the result cannot be returned: {text}")
        case "K", (str(text), str(remedy), int(number)):
            raise KernelError(f"strict: {text}", remedy, number)
        case "I", str(text):
            raise UsageError(f"strict: {text}")
    raise StrictError("the result is not in the plain format", "the function wrote to the descriptor of its result")
