"""``seclude.reporter()``: while a program learns to live under a filter of its own, say what each trapped call was, and where it was made.

The problem: a filter under development answers unlisted calls with trap, and the program dies of SIGSYS without a word. The well-known remedy, a signal handler
that prints the call's number, does not work from Python: the interpreter runs handlers written in Python only after the trapped call has returned, and
until then the call's result is whatever its register held (its own number), which the caller takes for success. A handler in C cannot set the
result without knowing the machine's registers, cannot name a file, and cannot even write where the filter does not permit write.

So a helper process traces this one (PTRACE_SEIZE; nothing stops but for signals), sees every SIGSYS before it is delivered, and does what has to be done
from outside, where no filter is: it names the call and its place, sets the result (ENOSYS unless told), and only then lets the signal through, to
`faulthandler`, whose dump of the Python stack is made for signal handlers, in the thread that made the call. Where there is no such handler any more, or the stack
was shown before, the signal is swallowed. It works in every thread, in children, and under filters that permit nothing.

Rejected: `signal.signal` (too late, as said); a ctypes callback as handler (runs Python in the midst of malloc, or without the interpreter's lock: deadlock);
signalfd and wakeup descriptors (a SIGSYS of a filter is forced on the thread, and pending for nobody); machine code in a page of our own.

What can still go wrong: the program cannot be traced by anybody else meanwhile, nor trace itself. The helper ends only with the program; if it is
killed, the program is too (PTRACE_O_EXITKILL), since calls would seem to succeed that never ran. faulthandler needs write(2) on the descriptor, and rt_sigreturn to come back:
under a filter that traps write the stack is not shown, and one that traps rt_sigreturn ends the program when it is shown (``traceback=False`` leaves it out).
A handler of the program's own for SIGSYS is replaced, unless ``traceback=False``: then it is not called for traps either.
"""

from __future__ import annotations

import _socket
import os
import sys

from seclude.errors import KernelError, UsageError
from seclude.sandbox import helper

__all__ = ["Reporter", "reporter"]

_SIGSYS = 31
_current: Reporter | None = None


class Reporter:
    """A helper that reports this process's traps. ``pid`` is the helper's; it ends when this process and its children have ended."""

    __slots__ = ("_file", "pid")

    def __init__(self, pid: int, file: int) -> None:
        self.pid = pid
        self._file = file

    def watches(self) -> bool:
        """Whether this process, which may be a child of the one that started it, is watched by the helper."""
        from seclude.kernel import proc

        status = proc.status("self")
        return status is not None and status.tracer == self.pid

    def __repr__(self) -> str:
        return f"Reporter(pid={self.pid})"


def reporter(*, answer: str = "ENOSYS", traceback: bool = True, file: int = 2) -> Reporter:
    """Report each call of this process that a filter traps, from now on: ``looks like you also need: mkdir("/x", 0777) at libc.so.6+0xf7f37 (mkdir+0x7)``.

    Call it before the filter is installed (it starts a process). ``answer`` is what a trapped call returns: an errno's name, or ``exit`` to end the process
    (with SIGKILL) once the call was reported. ``traceback`` adds the Python stack of the calling thread. ``file``: the descriptor that is written to. Each distinct call
    is shown once, with its stack; at the end follows a line with all names. A second call returns the reporter that is there.

    Raises `UsageError` for an answer that is no errno, and `KernelError` where this process cannot be traced: it has a tracer already (``seclude run``
    and debuggers are ones; under ``seclude run`` its report says the same), or Yama forbids it.
    """
    global _current
    if _current is not None and _current.watches():
        return _current
    number = _number(answer)
    helper.interpreter()
    try:
        own = os.dup(file)
    except OSError as error:
        raise UsageError(f"reporter: file={file}: {os.strerror(error.errno or 0)}", "give an open descriptor") from None
    try:
        pid = _start(number, own, traceback)
    except BaseException:
        os.close(own)
        raise
    _current = Reporter(pid, own)
    return _current


def _number(answer: str) -> int:
    """The errno to answer with; 0 to end the process."""
    if answer == "exit":
        return 0
    from seclude.abi import native
    from seclude.abi.constants import errno_number

    found = errno_number(answer, native())
    if found is None:
        raise UsageError(f"reporter: unknown answer {answer!r}", 'give an errno\'s name, such as "EPERM", or "exit"')
    return found


def _start(answer: int, file: int, traceback: bool) -> int:
    from seclude.kernel import prctl

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        words = [
            sys.executable,
            "-I",
            "-S",
            *helper.code("seclude.sandbox.reporter_helper", "main", "(sys.argv[2:])"),
            str(os.getpid()),
            str(answer),
            "1" if traceback else "0",
        ]
        # The helper: 3 is our socket, 4 where it writes. Neither number may be overwritten before it was copied.
        high = [os.dup2(number, spare, inheritable=False) for number, spare in ((theirs.fileno(), _spare(64)), (file, _spare(80)))]
        try:
            child = os.posix_spawn(
                sys.executable,
                words,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, high[0], 3),
                    (os.POSIX_SPAWN_DUP2, high[1], 4),
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                ],
                setsigmask=[],
            )
        except OSError as error:
            raise KernelError(f"the reporter's helper cannot be started: {os.strerror(error.errno or 0)}", "", error.errno or 0) from None
        finally:
            for number in high:
                os.close(number)
        theirs.close()
        told = _line(ours)
        os.waitpid(child, 0)  # what was started has made the helper proper, and ended
        if not told.isdigit():
            raise KernelError("the reporter's helper did not start", "try: seclude doctor")
        prctl.set_ptracer(int(told))
        if traceback:
            import faulthandler

            faulthandler.register(_SIGSYS, file=file, all_threads=False, chain=False)
        ours.sendall(b"go\n")
        outcome = _line(ours)
        if outcome != b"ok":
            raise KernelError(
                f"this process cannot be traced: {outcome.decode('utf-8', 'replace') or 'the helper ended'}", "see: seclude doctor"
            )
        return int(told)
    finally:
        ours.close()
        theirs.close()


def _spare(at: int) -> int:
    """A descriptor number that is free, from ``at`` on."""
    while True:
        try:
            os.fstat(at)
        except OSError:
            return at
        at += 1


def _line(channel: _socket.socket) -> bytes:
    out = b""
    while not out.endswith(b"\n"):
        piece = channel.recv(1024)
        if not piece:
            break
        out += piece
    return out.strip()
