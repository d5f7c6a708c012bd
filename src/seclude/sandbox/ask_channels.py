"""Where questions are asked: a terminal, or a socket behind which somebody answers.

A terminal is set to plain line input while a question stands, and back afterwards; what was typed before the question is thrown away, since it was meant for
the program. A socket speaks lines of JSON, described in docs/reference/ask.md; ``seclude answer SOCKET`` is the other end.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import json
import os
import select
import stat
import struct
import termios
import time

from seclude.errors import UsageError, printable
from seclude.kernel.signals import csignal
from seclude.sandbox.ask import ANSWERS, Answer, Question, Unanswered
from seclude.supervise.call import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["KEYS", "Lines", "Terminal", "Via", "as_line", "from_keys", "open_channel", "prompt"]

#: Seconds after which it is looked whether the call still waits: its end sends nothing that a terminal's reader could poll.
_LOOK = 0.5
_LONGEST_LINE = 1 << 16
#: key → answer, and which of the question's rules
KEYS = {
    "y": ("allow", -1),
    "a": ("allow-always", 0),
    "A": ("allow-always", 1),
    "n": ("deny", -1),
    "d": ("deny-always", 0),
    "q": ("deny-rest", -1),
}


def open_channel(via: str) -> Terminal | Via:
    """The terminal that this runs at (``""``), a terminal's device, or a UNIX socket. Raises `UsageError`."""
    if not via:
        return Terminal("/dev/tty")
    try:
        mode = os.stat(via).st_mode
    except OSError as error:
        raise UsageError(
            f"--ask-via {via}: {error.strerror}", f"in another terminal: seclude answer {via}; or give that terminal's device (tty)"
        ) from None
    if stat.S_ISSOCK(mode):
        return Via(via)
    if stat.S_ISCHR(mode):
        return Terminal(via)
    raise UsageError(f"--ask-via {via}: neither a socket nor a terminal", f"in another terminal: seclude answer {via}.sock")


def prompt(question: Question, timeout: float) -> str:
    """The question as a person reads it, with the keys that answer it."""
    program = f"{os.path.basename(question.program)} ({question.pid})" if question.program else f"process {question.pid}"
    lines = [
        f"seclude: {printable(program)} wants to {question.words}",
        f"    {question.text}",
        "  [y] allow once   [n] deny once   [q] deny this and the rest",
    ]
    rules = question.rules[:2]
    if rules:
        # Two lines, so that a terminal of 80 columns breaks no word of most.
        lines.append(f"  [a] always allow {rules[0]}" + (f"   [A] always allow {rules[1]}" if len(rules) > 1 else ""))
        lines.append(f"  [d] always deny {rules[0]}")
    return "\n".join(lines) + f"\n  answer, or it is denied in {timeout:.0f} s: "


def from_keys(text: str, question: Question) -> Answer | None:
    """The answer of what was typed; None where it is none."""
    found = KEYS.get(text.strip())
    if found is None or found[1] >= len(question.rules) or (found[0].endswith("-always") and not question.rules):
        return None
    return Answer(found[0], question.rules[found[1]] if found[1] >= 0 else "")


class Lines:
    """Lines out of a descriptor that is not trusted to send any."""

    __slots__ = ("_rest", "descriptor")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._rest = b""

    def next(self, timeout: float) -> bytes | None:
        """One line without its end; None where none came within ``timeout`` seconds. Raises EOFError at the end, and for a line beyond 64 KiB."""
        if b"\n" not in self._rest:
            poll = select.poll()
            poll.register(self.descriptor, select.POLLIN)
            if not poll.poll(max(0, int(timeout * 1000))):
                return None
            try:
                piece = os.read(self.descriptor, 4096)
            except OSError:  # EIO: the terminal belongs to another job, or is gone
                piece = b""
            if not piece:
                raise EOFError
            self._rest += piece
        line, newline, rest = self._rest.partition(b"\n")
        if not newline:
            if len(line) > _LONGEST_LINE:
                raise EOFError
            return None
        self._rest = rest
        return line

    def forget(self) -> None:
        """Drop what came and was not taken."""
        self._rest = b""


class Terminal:
    """A terminal. ``shared``: the target may be able to get at it."""

    __slots__ = ("_lines", "_name", "shared")

    def __init__(self, name: str) -> None:
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            why = "there is no terminal to ask at" if error.errno == errno.ENXIO else f"{name}: {error.strerror}"
            raise UsageError(f"--ask: {why}", "in another terminal: seclude answer SOCKET; here: --ask-via SOCKET") from None
        if not os.isatty(descriptor):
            os.close(descriptor)
            raise UsageError(f"--ask-via {name}: not a terminal", "give the device that tty(1) names")
        self._name = name
        self._lines = Lines(descriptor)
        self.shared = True

    def ask(self, question: Question, timeout: float, waits: Callable[[], bool]) -> Answer:
        """See `Channel`."""
        terminal = self._lines.descriptor
        # In the background to read or write would stop the supervisor, and everything with it: so it fails instead.
        csignal.pthread_sigmask(csignal.SIG_BLOCK, {csignal.SIGTTIN, csignal.SIGTTOU})
        until = time.monotonic() + timeout
        try:
            before = termios.tcgetattr(terminal)
        except termios.error:
            raise Unanswered("the terminal is gone") from None
        lines = list(before)
        lines[0] |= termios.ICRNL
        lines[1] |= termios.OPOST | termios.ONLCR
        lines[3] |= termios.ICANON | termios.ECHO | termios.ISIG
        try:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, lines)  # what was typed before was not meant for this
            self._lines.forget()
            self._say(prompt(question, timeout))
            while True:
                left = until - time.monotonic()
                if left <= 0:
                    self._say("\nseclude: nobody answered: denied\n")
                    raise Unanswered(f"nobody answered within {timeout:.0f} s")
                line = self._lines.next(min(left, _LOOK))
                if line is not None:
                    answer = from_keys(line.decode("utf-8", "replace"), question)
                    if answer is not None:
                        return answer
                    self._say(f"  one of {', '.join(self._keys(question))}, then Enter: ")
                elif not waits():
                    self._say("\nseclude: it does not wait any more\n")
                    raise Gone
        except EOFError:
            with contextlib.suppress(EOFError):
                self._say("\nseclude: denied\n")
            raise Unanswered("the terminal was closed") from None
        except termios.error:
            raise Unanswered("the terminal is gone") from None
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(terminal, termios.TCSANOW, before)

    @staticmethod
    def _keys(question: Question) -> list[str]:
        return [key for key in KEYS if from_keys(key, question) is not None]

    def _say(self, text: str) -> None:
        try:
            os.write(self._lines.descriptor, text.encode("utf-8", "backslashreplace"))
        except OSError:
            raise EOFError from None

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._lines.descriptor)


def as_line(value: dict[str, Any]) -> bytes:
    """One message of the socket's protocol."""
    return json.dumps(value, ensure_ascii=True).encode() + b"\n"


class Via:
    """A socket: questions go out as lines of JSON, answers come in. Only to a process of the same user, or root's."""

    __slots__ = ("_lines", "_name", "_socket", "shared")

    def __init__(self, name: str) -> None:
        self.shared = False
        self._name = name
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            self._socket.connect(name)
            user = struct.unpack("=iII", self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))[1]
        except OSError as error:
            self._socket.close()
            raise UsageError(f"--ask-via {name}: {error.strerror}", f"in another terminal: seclude answer {name}") from None
        if user not in (0, os.geteuid()):
            self._socket.close()
            raise UsageError(f"--ask-via {name}: user {user} answers there, who is neither you nor root", "use a socket of your own")
        self._lines = Lines(self._socket.fileno())

    def ask(self, question: Question, timeout: float, waits: Callable[[], bool]) -> Answer:
        """See `Channel`."""
        until = time.monotonic() + timeout
        message = {name: getattr(question, name) for name in Question.__slots__}
        try:
            self._send({"kind": "question", "version": 1, "timeout": timeout, **message})
            while True:
                left = until - time.monotonic()
                if left <= 0:
                    self._send({"kind": "withdrawn", "id": question.id, "why": "timeout"})
                    raise Unanswered(f"nobody answered within {timeout:.0f} s")
                line = self._lines.next(min(left, _LOOK))
                if line is not None:
                    answer = self._read(line, question)
                    if isinstance(answer, Answer):
                        return answer
                    if answer:
                        self._send({"kind": "error", "id": question.id, "message": answer})
                elif not waits():
                    self._send({"kind": "withdrawn", "id": question.id, "why": "gone"})
                    raise Gone
        except (EOFError, OSError):
            raise Unanswered("whoever answers is gone") from None

    @staticmethod
    def _read(line: bytes, question: Question) -> Answer | str:
        """An answer, what is wrong with it, or "" where it belongs to a question that is over."""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return "expected one JSON object a line"
        if not isinstance(value, dict):
            return f"expected a JSON object, found {type(value).__name__}"
        if value.get("id") != question.id:
            return "" if isinstance(value.get("id"), int) else "expected the question's id"
        what, rule = value.get("answer"), value.get("rule", "")
        if what not in ANSWERS:
            return f"answer: expected one of {', '.join(ANSWERS)}"
        if what.endswith("-always") and (rule not in question.rules if rule else not question.rules):
            return f"rule: expected one of {', '.join(question.rules) or 'none: this call can be answered only once'}"
        return Answer(what, rule)

    def _send(self, value: dict[str, Any]) -> None:
        self._socket.settimeout(_LOOK * 10)
        self._socket.sendall(as_line(value))
        self._socket.settimeout(None)

    def close(self) -> None:
        """Close the connection: the other end reads the end of it."""
        self._socket.close()
