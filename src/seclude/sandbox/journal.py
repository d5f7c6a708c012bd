"""``--log FILE.jsonl``: every decision of a run as one line of JSON, for whoever reads it later. Schema: docs/reference/log.md.

The problem: a log is read after things went wrong. So each line is one write to a file opened O_APPEND: when the supervisor is killed, what is there
is whole lines. A line that cannot be written (the disk is full) is counted, and the count is the first thing that is written once there is
room again; what a cut write left is closed by a line end. The file is its owner's alone, since it shows what the target was about; an existing one of
somebody else's, or that is no plain file, is refused.

Rotation: a file that would grow beyond ``size`` bytes becomes ``FILE.1``, what was ``FILE.1`` becomes ``FILE.2``, and so on; ``keep`` of them stay. Two runs may
share a log: lines do not mix. The one that finds the file renamed by the other goes on in the new one.

What can still go wrong: a target that runs as the same user may be allowed by its policy to write the file. The order of lines of two runs is that of the
writes.
"""

from __future__ import annotations

import os
import stat
import time
from _thread import allocate_lock

from seclude.errors import UsageError
from seclude.sandbox.limits import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["KEEP", "SCHEMA", "SIZE", "Journal", "size_of"]

#: raised when a field changes its meaning or goes away; fields may be added without
SCHEMA = 1
#: bytes of a file before it is rotated, and how many rotated ones are kept
SIZE, KEEP = 16 << 20, 5
_LONGEST = 16384  # characters of a text in a line
_LOOK = 0.25  # seconds between two looks whether the file is still the one at its name
# O_NONBLOCK: a FIFO must not hold the run up before it is refused
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def size_of(text: str) -> int:
    """``16M`` in bytes. Raises `UsageError` for what is none, and below 4096."""
    size = read_bytes(text, "--log-size")
    if size < 4096:
        raise UsageError(f"--log-size {text!r}: expected a size of at least 4096 bytes", "write --log-size 16M")
    return size


class Journal:
    """One log file. Methods may be called from several threads. ``lost`` counts lines that are not in it and never will be."""

    __slots__ = ("_fd", "_identity", "_keep", "_lock", "_looked", "_missing", "_path", "_size", "_torn", "_written", "lost")

    def __init__(self, path: str, *, size: int = SIZE, keep: int = KEEP) -> None:
        """Open or make ``path``. Raises `UsageError`."""
        self._path = os.path.abspath(path)
        self._size = size
        self._keep = keep
        self._lock = allocate_lock()
        self._torn = False
        self._missing = 0
        self._looked = 0.0
        self.lost = 0
        self._open()

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, _FLAGS, 0o600)
        except OSError as error:
            if os.path.islink(self._path):
                raise UsageError(f"--log {self._path}: it is a symbolic link, which could lead anywhere", "name the file itself") from None
            raise UsageError(f"--log {self._path}: {error.strerror}", "name a file in a directory that you can write") from None
        found = os.fstat(self._fd)
        wrong = ""
        if not stat.S_ISREG(found.st_mode):
            wrong = "it is no plain file"
        elif found.st_uid != os.geteuid():
            wrong = f"it belongs to user {found.st_uid}"
        elif found.st_nlink != 1:
            wrong = "it has other names"
        if wrong:
            os.close(self._fd)
            raise UsageError(f"--log {self._path}: {wrong}, and a log is its owner's alone", "name another file")
        os.fchmod(self._fd, 0o600)
        self._identity = (found.st_dev, found.st_ino)
        self._written = found.st_size

    def write(self, event: str, **fields: Any) -> None:
        """Add one line. Never raises: what cannot be written is counted."""
        import json

        plain = {"v": SCHEMA, "time": round(time.time(), 6), "event": event}
        for name, value in fields.items():
            if value is not None and value != "":
                plain[name] = value[:_LONGEST] + "..." if isinstance(value, str) and len(value) > _LONGEST else value
        # ASCII: nothing in it can be meant for a terminal, and bytes that are no text are escapes already
        line = json.dumps(plain, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._line(line)

    def _line(self, line: bytes) -> None:
        self._room(len(line))
        if self._missing and self._put(self._loss()):
            self._missing = 0
        if not self._put(line):
            self._missing += 1
            self.lost += 1

    def _loss(self) -> bytes:
        return f'{{"v":{SCHEMA},"time":{time.time():.6f},"event":"lost","count":{self._missing}}}\n'.encode()

    def _put(self, line: bytes) -> bool:
        try:
            done = os.write(self._fd, b"\n" + line if self._torn else line)
        except OSError:
            return False
        whole = done == len(line) + self._torn
        self._written += done
        self._torn = not whole
        return whole

    def _room(self, more: int) -> None:
        """Rotate where the line would be too much; go on in the new file where another run has rotated."""
        now = time.monotonic()
        if self._written + more <= self._size and now - self._looked < _LOOK:
            return
        self._looked = now
        try:
            there = os.stat(self._path, follow_symlinks=False)
            if (there.st_dev, there.st_ino) == self._identity:
                self._written = there.st_size
                if self._written + more <= self._size or not self._written:
                    return
                self._rotate()
        except FileNotFoundError:
            pass  # somebody took it away
        except OSError:
            return  # it cannot be rotated: rather too long than lost
        before = self._fd
        try:
            self._open()
        except UsageError:
            self._fd = before
            return
        os.close(before)
        self._torn = False

    def _rotate(self) -> None:
        for number in range(self._keep, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            if os.path.lexists(older):
                os.rename(older, f"{self._path}.{number}")
        if not self._keep:
            os.unlink(self._path)

    def close(self) -> None:
        """Write what is still to be said of losses, and close."""
        with self._lock:
            if self._fd < 0:
                return
            if self._missing:
                self._put(self._loss())
            os.close(self._fd)
            self._fd = -1
