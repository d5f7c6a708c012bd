"""Where a trace goes: text collected while calls come fast, written when there is time, coloured on a terminal.

What a target showed arrives here escaped already; nothing else of it may reach a terminal.
"""

from __future__ import annotations

import os

__all__ = ["Output"]

_FULL = 1 << 15  # bytes that are written at once, whatever else there is to do
_COLOURS = {"dim": "\x1b[2m", "signal": "\x1b[33m", "exit": "\x1b[35m", "failed": "\x1b[31m", "denied": "\x1b[1;31m", "name": "\x1b[36m"}
_END = "\x1b[0m"


class Output:
    """Text for the descriptor ``fd``; ``colour`` says whether it is a terminal that takes colours."""

    __slots__ = ("_pieces", "_size", "colour", "fd", "lost")

    def __init__(self, fd: int, *, colour: bool = False) -> None:
        self.fd = fd
        self.colour = colour
        self._pieces: list[str] = []
        self._size = 0
        #: characters that could not be written
        self.lost = 0

    def write(self, prefix: str, text: str) -> None:
        """The beginning of a line."""
        if self.colour:
            name, parenthesis, rest = text.partition("(")
            text = f"{_COLOURS['name']}{name}{_END}{parenthesis}{rest}"
            prefix = f"{_COLOURS['dim']}{prefix}{_END}" if prefix else ""
        self.text(prefix + text)

    def text(self, text: str, kind: str = "") -> None:
        """More of it."""
        if kind and self.colour:
            end = "\n" if text.endswith("\n") else ""
            text = f"{_COLOURS[kind]}{text.removesuffix(end)}{_END}{end}"
        self._pieces.append(text)
        self._size += len(text)
        if self._size > _FULL:
            self.flush()

    def outcome(self, padding: str, outcome: str, denied: bool) -> None:
        """The end of a line."""
        if self.colour and (denied or outcome.startswith("-1 ")):
            outcome = f"{_COLOURS['denied' if denied else 'failed']}{outcome}{_END}"
        self.text(f"{padding}= {outcome}{' (DENIED)' if denied else ''}\n")

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._pieces)

    def flush(self) -> None:
        """Write what there is. What cannot be written is counted in `lost`: the target must not wait for a reader who left."""
        if not self._pieces:
            return
        raw = "".join(self._pieces).encode("ascii", "backslashreplace")
        self._pieces.clear()
        self._size = 0
        rest = memoryview(raw)
        while rest:
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                os.set_blocking(self.fd, True)
            except OSError:
                self.lost += len(rest)
                return
