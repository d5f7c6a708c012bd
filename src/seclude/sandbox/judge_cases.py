"""Inputs and expected outputs: given as bytes or as files, or found in a directory as pairs.

An input is copied once into a sealed memory file (memfd_create(2), F_SEAL_WRITE): a submission can map it, seek in it and read it at full
speed, as it would a file, and can change it neither for the next run nor for its own judge, whatever its policy permits. Each run opens it
anew, so that positions are not shared.

An expected output is read when it is first needed. No descriptor of it is open while a submission runs.
"""

from __future__ import annotations

import fcntl
import os

from seclude.errors import KernelError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    Content = bytes | str | os.PathLike[str]

__all__ = ["ANSWERS", "Case", "find_cases"]

INPUT, ANSWERS = ".in", (".out", ".ans")
_NOEXEC_SEAL = 0x8  # MFD_NOEXEC_SEAL, Linux 6.3
_PIECE = 1 << 20
_DIGITS = "0123456789"


class Case:
    """One test: what is fed to a submission, and what it should answer.

    ``stdin`` and ``expect``: bytes, or a file's name; ``expect`` None: the output is not looked at. ``place``: the file of the expected output, or None.
    Use it for as many runs as you like; `close` it, or use it as a context manager.
    """

    __slots__ = ("_answer", "_expect", "_sealed", "_stdin", "name")

    def __init__(self, stdin: Content = b"", expect: Content | None = None, *, name: str = "") -> None:
        self.name = name
        self._stdin = stdin
        self._expect = expect
        self._sealed = -1
        self._answer: bytes | None = None

    @property
    def place(self) -> str | None:
        """The file that the expected output is in, which no submission may read; None where it is no file."""
        return None if self._expect is None or isinstance(self._expect, bytes) else os.path.realpath(self._expect)

    @property
    def answer(self) -> bytes | None:
        """The expected output. Raises `UsageError`."""
        if self._answer is None and self._expect is not None:
            self._answer = _read(self._expect, "expected output")
        return self._answer

    def prepare(self) -> None:
        """Read both files, if not done yet. Raises `UsageError`, `KernelError`."""
        _ = self.answer
        if self._sealed < 0:
            self._sealed = _seal(self._stdin)

    def open(self) -> int:
        """A new descriptor at the start of the input, for reading only."""
        self.prepare()
        return os.open(f"/proc/self/fd/{self._sealed}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the memory back. Harmless if done twice."""
        if self._sealed >= 0:
            os.close(self._sealed)
            self._sealed = -1
        self._answer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Case({self.name!r})"


def _read(content: Content, what: str) -> bytes:
    if isinstance(content, bytes):
        return content
    try:
        with open(content, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"{what} {os.fspath(content)}: {error.strerror}", "name a file that you can read") from None


def _seal(content: Content) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        try:
            sealed = os.memfd_create("stdin", flags | _NOEXEC_SEAL)
        except OSError:
            sealed = os.memfd_create("stdin", flags)
    except OSError as error:
        raise KernelError(f"memfd_create: {error.strerror}", "an input is kept in memory while it is used", error.errno or 0) from None
    try:
        if isinstance(content, bytes):
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(sealed, rest) :]
        else:
            _copy(content, sealed)
        fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(sealed)
        raise
    return sealed


def _copy(path: str | os.PathLike[str], sealed: int) -> None:
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(sealed, rest) :]
    except OSError as error:
        raise UsageError(f"input {os.fspath(path)}: {error.strerror}", "name a file that you can read") from None


def find_cases(directory: str | os.PathLike[str]) -> list[Case]:
    """The cases of a directory, ``NAME.in`` with ``NAME.out`` or ``NAME.ans``, by name with numbers in order. Raises `UsageError`.

    Other files are left alone; an input without an answer, an answer without an input, or with two answers, is an error: a case
    that is silently left out would be one that everybody passes.
    """
    where = os.fspath(directory)
    try:
        entries = set(os.listdir(where))
    except OSError as error:
        raise UsageError(f"cases {where}: {error.strerror}", "give a directory of NAME.in and NAME.out (or NAME.ans)") from None
    found: list[Case] = []
    faults: list[str] = []
    answered = {name[: -len(tail)] for tail in ANSWERS for name in entries if name.endswith(tail)}
    asked = {name[: -len(INPUT)] for name in entries if name.endswith(INPUT)}
    for name in sorted(asked | answered, key=_in_order):
        answers = [name + tail for tail in ANSWERS if name + tail in entries]
        if name not in asked:
            faults.append(f"{answers[0]} has no {name}{INPUT}")
        elif len(answers) != 1:
            faults.append(f"{name}{INPUT} has " + ("both " + " and ".join(answers) if answers else f"no {name}.out or {name}.ans"))
        else:
            found.append(Case(os.path.join(where, name + INPUT), os.path.join(where, answers[0]), name=name))
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise UsageError(f"cases {where}: {shown}", "each case is a pair of files: NAME.in with NAME.out or NAME.ans")
    if not found:
        raise UsageError(f"cases {where}: no cases", "give a directory of NAME.in and NAME.out (or NAME.ans)")
    return found


def _in_order(name: str) -> list[tuple[int, int, str]]:
    """A key by which 2 comes before 10: runs of digits count as numbers."""
    words: list[str] = []
    for character in name:
        if words and (words[-1][-1] in _DIGITS) == (character in _DIGITS):
            words[-1] += character
        else:
            words.append(character)
    return [(0, int(word), word) if word[0] in _DIGITS else (1, 0, word) for word in words]
