"""The file of ``--ask-save``: a policy that grows by a line for each "always", and is the next run's ``--policy``.

A file that is not there is made: the rules of ``--allow`` and ``--deny``, an include of the policy that was asked about, then the answers. One that is there must
be a policy; answers are added at its end, where they decide what no rule before them did. Each is written at once, so that nothing is lost
with the run.
"""

from __future__ import annotations

import os

from seclude.errors import PolicyError, SecludeError, UsageError
from seclude.policy.language import is_file, load, parse
from seclude.sandbox.prepare import DENY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.compiler.artifact import Artifact

__all__ = ["AnswersFile"]


class AnswersFile:
    """``name`` is the file, ``written`` whether anything was added to it. Raises `UsageError` where it cannot be used, before anything runs."""

    __slots__ = ("_head", "name", "written")

    def __init__(self, name: str, artifact: Artifact) -> None:
        self.name = name
        self.written = False
        self._head = ""
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
        except PolicyError as error:
            raise UsageError(
                f"--ask-save {name}: answers are added to a policy, and this is none: {error.diagnostics[0].message}", "name a new file"
            ) from None

    def add(self, lines: str) -> None:
        """Write ``lines`` at the end. Raises `SecludeError`; the answer holds for the run all the same."""
        try:
            descriptor = os.open(self.name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                size = os.fstat(descriptor).st_size
                head = self._head if size == 0 else "" if os.pread(descriptor, 1, size - 1) == b"\n" else "\n"
                raw = (head + lines).encode("utf-8", "backslashreplace")
                if os.write(descriptor, raw) != len(raw):
                    raise OSError(28, os.strerror(28))  # ENOSPC is what a short write to a file means
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SecludeError(f"--ask-save {self.name}: {error.strerror}: the answer holds for this run only") from None
        self.written = True


def _head(name: str, artifact: Artifact) -> str:
    asked = artifact.name
    if is_file(asked):
        asked = os.path.relpath(asked, os.path.dirname(name) or ".")
        asked = asked if "/" in asked else f"./{asked}"
    rules = "".join(f"{'allow' if kind == 'allow' else DENY} {rule}\n" for kind, rule in artifact.overrides if kind in ("allow", "deny"))
    return f"# Answers to the questions of: seclude run --ask\n{rules}include {asked}\n"
