"""The process that traces a program for `seclude.reporter`: it sees each SIGSYS of a filter before the program does. See there for the design."""

from __future__ import annotations

import os
import struct

from seclude.kernel import proc, ptrace, registers
from seclude.supervise.describe import describe
from seclude.supervise.kernel import Linux
from seclude.supervise.where import Places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Helper", "main"]

_SIGSYS, _SIGKILL, _SYS_SECCOMP = 31, 9, 1
_STOPS = (19, 20, 21, 22)
_CALL_STOP = 0x85
#: distinct calls that are shown; further ones are only counted
_KINDS = 200
_OPTIONS = ptrace.OBSERVE | ptrace.TRACE_CALLS


def main(words: Sequence[str]) -> None:
    """``PID ANSWER TRACEBACK``; descriptor 3 is the program's socket, 4 is written to."""
    if os.fork():
        os._exit(0)
    os.setsid()  # what the terminal sends is for the program
    pid, answer, traceback = int(words[0]), int(words[1]), words[2] == "1"
    os.write(3, f"{os.getpid()}\n".encode())
    if os.read(3, 16)[:2] != b"go":
        os._exit(1)
    helper = Helper(pid, answer, traceback, 4)
    try:
        helper.seize()
    except OSError as error:
        status = proc.status(pid)
        tracer = status.tracer if status is not None else 0
        why = f"process {tracer} traces it already" if tracer else os.strerror(error.errno or 0)
        os.write(3, f"{why}\n".encode())
        os._exit(1)
    os.write(3, b"ok\n")
    os.close(3)
    helper.follow()
    os._exit(0)


class Helper:
    """One program's: ``answer`` is the errno for trapped calls, 0 to end the program; ``traceback`` lets SIGSYS through to the program's handler."""

    __slots__ = ("_alive", "_answer", "_fd", "_kernel", "_leaving", "_names", "_pid", "_places", "_seen", "_silent", "_told", "_traceback")

    def __init__(self, pid: int, answer: int, traceback: bool, fd: int) -> None:
        self._pid = pid
        self._answer = answer
        self._traceback = traceback
        self._fd = fd
        self._kernel = Linux()
        self._places = Places()
        self._alive: set[int] = set()
        self._leaving: set[int] = set()  # threads that are to end once their handler is through
        self._seen: set[tuple[str, str]] = set()
        self._names: dict[str, int] = {}
        self._silent = False
        self._told = 0  # traps that the last summary counted

    def seize(self) -> None:
        """Every thread there is: new ones follow by themselves from the first on. OSError: the process cannot be traced."""
        while True:
            new = [tid for tid in proc.threads(self._pid) if tid not in self._alive]
            if not new:
                return
            for tid in new:
                try:
                    ptrace.seize(tid, _OPTIONS)
                except ProcessLookupError:
                    continue
                except PermissionError:
                    # A thread that began meanwhile is ours already, by its parent.
                    status = proc.status(self._pid, tid)
                    if status is None or status.tracer != os.getpid():
                        raise
                self._alive.add(tid)

    def follow(self) -> None:
        """Until nobody is left."""
        while True:
            try:
                tid, status = os.waitpid(-1, ptrace.WALL)
            except ChildProcessError:
                break
            if status & 0xFF != 0x7F:
                self._alive.discard(tid)
                self._leaving.discard(tid)
                continue
            self._alive.add(tid)
            try:
                self._stop(tid, status >> 8 & 0xFF, status >> 16)
            except ProcessLookupError:
                continue  # killed under us
        self._summary()

    def _summary(self) -> None:
        """All names; said while the program itself is still there, for whoever waits for its end, and again only if its children trapped more."""
        count = sum(self._names.values())
        if count > self._told:
            self._told = count
            names = (f"{name} ({times}x)" if times > 1 else name for name, times in self._names.items())
            self._say("seclude: the filter trapped: " + ", ".join(names))

    def _stop(self, tid: int, signal: int, event: int) -> None:
        if event == ptrace.EVENT_STOP and signal in _STOPS:
            ptrace.listen(tid)
            return
        if event:
            if event == ptrace.EVENT_EXIT and tid == self._pid:
                self._summary()
            ptrace.resume(tid)
            return
        if signal == _CALL_STOP:
            self._leave(tid)
            return
        if signal == _SIGSYS and struct.unpack_from("=i", ptrace.signal_info(tid), 8)[0] == _SYS_SECCOMP:
            self._trap(tid)
            return
        ptrace.resume(tid, signal)

    def _trap(self, tid: int) -> None:
        """The kernel has undone the call, so that it would seem to return its own number: give it a result first."""
        nr, token, ip, args = ptrace.call_at_stop(tid)
        _, name, text, key = describe(self._kernel, tid, token, nr, args)
        where = self._places.find(tid, ip)
        registers.skip(tid, token, -(self._answer or 38))
        self._names[name] = self._names.get(name, 0) + 1
        new = (key, where) not in self._seen and len(self._seen) < _KINDS
        if new:
            self._seen.add((key, where))
            self._say(f"looks like you also need: {text} at {where}")
        handled = self._traceback and self._caught(tid)
        if self._traceback and not handled and not self._silent and self._caught_nowhere(tid):
            self._silent = True
            self._say("seclude: no more Python stacks: the filter traps what showing them needs, or the handler was replaced")
        if self._answer == 0:
            if not (handled and new):
                os.kill(tid, _SIGKILL)
            else:
                self._leaving.add(tid)
                ptrace.resume_to_call(tid, _SIGSYS)
            return
        ptrace.resume(tid, _SIGSYS if handled and new else 0)

    def _leave(self, tid: int) -> None:
        """A thread that is to end is at a call of its handler: the last one is the return from it."""
        if tid not in self._leaving:
            ptrace.resume(tid)
            return
        kind, token, _, words = ptrace.call_stop(tid)
        if kind == "entry" and _name(token, words[0]) in ("rt_sigreturn", "sigreturn"):
            os.kill(tid, _SIGKILL)
            return
        ptrace.resume_to_call(tid)

    def _caught(self, tid: int) -> bool:
        """Whether the process handles SIGSYS. Where it was blocked or ignored the kernel has reset that before it told us."""
        status = proc.status(tid)
        caught = status.number("SigCgt", 16) if status is not None else None
        return bool(caught is not None and caught >> _SIGSYS - 1 & 1)

    def _caught_nowhere(self, tid: int) -> bool:
        """Only the program itself had a handler of ours: a child that executed another program never has."""
        status = proc.status(tid)
        return status is not None and status.tgid == self._pid

    def _say(self, line: str) -> None:
        try:
            os.write(self._fd, line.encode("utf-8", "backslashreplace") + b"\n")
        except OSError:
            return  # nobody reads


def _name(token: int, nr: int) -> str | None:
    from seclude.supervise.describe import architecture

    arch = architecture(token, nr)
    return None if arch is None else arch.call_name(nr)
