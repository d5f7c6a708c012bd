"""The file of ``--ask-save``: a policy that grows by a line for each "always", and is the next run's ``--policy``.

A file that is not there is made: the rules of ``--allow`` and ``--deny``, an include of the policy that was asked about, then the answers. One that is there must
be a policy; answers are added at its end, where they decide what no rule before them did. Each is written at once, so that nothing is lost
with the run.
"""

from __future__ import annotations

import os

from seclude.errors import PolicyError, SecludeError, UsageError
from seclude.policy.language import is_file, load, parse
from seclude.sandbox.prepare import LINES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.compiler.artifact import Artifact

__all__ = ["AnswersFile"]


class AnswersFile:
    """``name`` is the file, ``written`` whether anything was added to it. Raises `UsageError` where it cannot be used, before anything runs."""

    __slots__ = ("_directory", "_head", "_is", "_last", "name", "written")

    def __init__(self, name: str, artifact: Artifact) -> None:
        self.name = name
        self.written = False
        self._head = ""
        self._directory = -1
        #: which file it is, so that a target which may write there cannot put a link in its place
        self._is: tuple[int, int] | None = None
        if not is_file(name):
            raise UsageError(f"--ask-save {name}: a policy's file has a slash or ends in .seclude", f"write --ask-save ./{name}.seclude")
        try:
            if os.path.exists(name):
                load(name)
                if not os.access(name, os.W_OK):
                    raise UsageError(f"--ask-save {name}: the file cannot be written", "name another one")
            else:
                self._head = _head(name, artifact)
                parse(self._head, name)
                parent = os.path.dirname(name) or "."
                if not os.access(parent, os.W_OK | os.X_OK):
                    raise UsageError(f"--ask-save {name}: no file can be made in {parent}", "name another one")
            where, self._last = os.path.split(os.path.realpath(name))
            self._directory = os.open(where, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            if not self._head:
                found = os.stat(self._last, dir_fd=self._directory, follow_symlinks=False)
                self._is = found.st_dev, found.st_ino
        except OSError as error:
            raise UsageError(f"--ask-save {name}: {error.strerror}", "name another one") from None
        except PolicyError as error:
            raise UsageError(
                f"--ask-save {name}: answers are added to a policy, and this is none: {error.diagnostics[0].message}", "name a new file"
            ) from None

    def add(self, lines: str) -> None:
        """Write ``lines`` at the end. Raises `SecludeError`; the answer holds for the run all the same."""
        try:
            # Without blocking: a target could have made a FIFO of it, or taken a lease.
            how = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | (0 if self._is else os.O_CREAT | os.O_EXCL)
            descriptor = os.open(self._last, how, 0o666, dir_fd=self._directory)
            try:
                found = os.fstat(descriptor)
                self._is = self._is or (found.st_dev, found.st_ino)
                if (found.st_dev, found.st_ino) != self._is:
                    raise FileExistsError(17, "it was replaced while the command ran")
                size = found.st_size
                head = self._head if size == 0 else "" if os.pread(descriptor, 1, size - 1) == b"\n" else "\n"
                raw = (head + lines).encode("utf-8", "backslashreplace")
                if os.write(descriptor, raw) != len(raw):
                    raise OSError(28, os.strerror(28))  # ENOSPC is what a short write to a file means
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SecludeError(f"--ask-save {self.name}: {error.strerror}: the answer holds for this run only") from None
        self.written = True

    def close(self) -> None:
        """Let go of the directory."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1


def _head(name: str, artifact: Artifact) -> str:
    asked = artifact.name
    if is_file(asked):
        asked = os.path.relpath(asked, os.path.dirname(name) or ".")
        asked = asked if "/" in asked else f"./{asked}"
    rules = "".join(f"{LINES[kind]} {rule}\n" for kind, rule in artifact.overrides if kind in ("allow", "deny"))
    return f"# Answers to the questions of: seclude run --ask\n{rules}include {asked}\n"
