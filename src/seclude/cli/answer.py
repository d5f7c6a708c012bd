"""``seclude answer``: answer the questions of ``seclude run --ask-via SOCKET``, from another terminal."""

from __future__ import annotations

import errno
import os
import sys

from seclude.cli.options import Command, Option
from seclude.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from seclude.cli.options import Arguments
    from seclude.sandbox.ask_channels import Lines

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "answer",
    "answer [--once] SOCKET",
    "Wait at SOCKET for runs that ask (seclude run --ask-via SOCKET), show each question here, and send what is answered.",
    (Option("--once", "", "leave after the first run"),),
    epilog="""Only runs of the same user, or root's, can connect. Exit codes: 0 after --once or the end of the input; 125 where the socket cannot be made.

The messages are lines of JSON; see: docs/reference/ask.md""",
)


def main(arguments: Arguments) -> int:
    """Run the command. Raises `UsageError`."""
    if len(arguments.rest) != 1:
        raise UsageError("seclude answer: expected one socket", "usage: seclude answer [--once] SOCKET")
    name = arguments.rest[0]
    listener = _listen(name)
    try:
        sys.stderr.write(f"seclude: waiting at {name}; start the program with: seclude run --ask-via {name} -- COMMAND\n")
        sys.stderr.flush()
        while True:
            connection, _ = listener.accept()
            with connection:
                more = _serve(connection)
            if not more or arguments.flag("once"):
                return 0
    except KeyboardInterrupt:
        return 0
    finally:
        listener.close()
        os.unlink(name)


def _listen(name: str) -> socket.socket:
    import socket

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = f"{name}.{os.getpid()}"
    before = os.umask(0o177)  # for its owner alone, from the first moment
    try:
        listener.bind(fresh)
        try:
            listener.listen(16)
            os.link(fresh, name)  # under its name only when somebody listens; never over what is there
        finally:
            os.unlink(fresh)
    except OSError as error:
        listener.close()
        stale = error.errno == errno.EEXIST and _is_socket(name)  # of nothing else is it said that it may be removed
        remedy = "remove it if nobody waits there, or name another" if stale else "name another place"
        raise UsageError(f"seclude answer: {name}: {error.strerror}", remedy) from None
    finally:
        os.umask(before)
    return listener


def _is_socket(name: str) -> bool:
    import stat

    try:
        return stat.S_ISSOCK(os.lstat(name).st_mode)
    except OSError:
        return False


def _serve(connection: socket.socket) -> bool:
    """Ask what one run asks. False at the end of our own input."""
    import json

    from seclude.sandbox.ask import Question
    from seclude.sandbox.ask_channels import Lines, as_line, from_keys, prompt

    questions, answers = Lines(connection.fileno()), Lines(0)
    standing: Question | None = None
    while True:
        line = _next(questions, answers if standing is not None else None)
        if line is None:
            return True
        source, text = line
        if source is answers:
            if not text:
                return False
            answer = from_keys(text.decode("utf-8", "replace"), standing) if standing is not None else None
            if answer is None or standing is None:
                _say("  one of y, n, a, A, d, q as shown, then Enter: ")
                continue
            try:
                connection.sendall(as_line({"id": standing.id, "answer": answer.what, "rule": answer.rule}))
            except OSError:
                return True
            standing = None
            continue
        message: dict[str, Any] = json.loads(text)
        if message["kind"] == "question":
            standing = Question(*(message[key] for key in _ORDER))
            _say(prompt(standing, message["timeout"]))
        elif message["kind"] == "withdrawn" and standing is not None:
            _say("\nseclude: " + ("denied: nobody answered\n" if message["why"] == "timeout" else "it does not wait any more\n"))
            standing = None


_ORDER = ("id", "call", "arch", "words", "text", "program", "pid", "tid", "rules")


def _next(questions: Lines, answers: Lines | None) -> tuple[Lines, bytes] | None:
    """The next line of either, with whose it is; None where the run is over, an empty answer (without even a line's end) where our input is."""
    import select

    poll = select.poll()
    poll.register(questions.descriptor, select.POLLIN)
    if answers is not None:
        poll.register(answers.descriptor, select.POLLIN)
    while True:
        for one in (questions, answers):
            if one is None:
                continue
            try:
                line = one.next(0)
            except EOFError:
                return None if one is questions else (one, b"")
            if line is not None:
                return one, line if one is questions else line + b"\n"
        poll.poll()


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
