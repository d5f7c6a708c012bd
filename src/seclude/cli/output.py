"""Where commands put what they made: standard output, or a file that is replaced whole."""

from __future__ import annotations

import os
import stat
import sys
import tempfile

from seclude.errors import UsageError

__all__ = ["draws", "refuse_terminal", "write_file", "write_out"]


def draws() -> bool:
    """Whether the output's encoding has the characters of the arrows in listings."""
    try:
        "┌├└│─┼▶┬┴".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def refuse_terminal(target: str | None, what: str, remedy: str) -> None:
    """Raise `UsageError` where what goes to ``target`` would reach a terminal."""
    if target in (None, "-") and sys.stdout.isatty():
        raise UsageError(what, remedy)


def write_out(target: str | None, content: bytes) -> None:
    """Write to standard output, where ``target`` is None or ``-``, or as `write_file`."""
    if target is not None and target != "-":
        write_file(target, content)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def write_file(path: str, content: bytes) -> None:
    """Write a file whole or not at all, so that nobody ever reads half of it: beside it first, then renamed over it. What is no regular file (/dev/stdout) is written to.

    Raises `UsageError` where it cannot be written; then the old file is as it was.
    """
    try:
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            mode = 0
        if mode and not stat.S_ISREG(mode):
            if stat.S_ISDIR(mode):
                raise UsageError(f"{path}: is a directory", "name a file")
            with open(path, "wb", buffering=0) as file:
                _all(file.fileno(), content)
            return
        target = os.path.realpath(path)
        descriptor, beside = tempfile.mkstemp(prefix=".seclude-", dir=os.path.dirname(target) or ".")
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                _all(file.fileno(), content)
                umask = os.umask(0)
                os.umask(umask)
                os.fchmod(file.fileno(), stat.S_IMODE(mode) if mode else 0o666 & ~umask)
            os.replace(beside, target)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}", "nothing was changed") from None
    except ValueError as error:
        raise UsageError(f"{path!r}: {error}") from None


def _all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
