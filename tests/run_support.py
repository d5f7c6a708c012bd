"""What the tests of ``seclude run`` share: policies written where every user can read them, C victims, and reports as data."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import select
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import support
from support import need_program

__all__ = ["ALLOW", "Ran", "c_program", "directory", "gone", "policy", "public", "python", "run", "who"]

#: the weakest policy that still lets Seclude trace: one that allows ptrace does not
ALLOW = "default allow\narch native, compat\nerrno(EPERM) ptrace\n"


@functools.cache
def public() -> Path:
    """A directory of this process's own that every user can read and run programs from; it goes with `support.shared`."""
    place = Path(tempfile.mkdtemp(prefix="run-", dir=support.shared()))
    place.chmod(0o755)
    return place


def directory() -> Path:
    """A new directory that every user can write in; it goes with `public`."""
    made = Path(tempfile.mkdtemp(dir=public()))
    made.chmod(0o777)
    return made


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def _readable(text: str, path: Path) -> None:
    path.write_text(text)
    path.chmod(0o644)


@functools.cache
def policy(text: str) -> str:
    """A policy file with this text."""
    return str(support.once(f"p{_digest(text)}.seclude", functools.partial(_readable, text)))


@functools.cache
def c_program(source: str, *options: str) -> str:
    """A C program, compiled, in a directory where every user can run it."""

    def build(path: Path) -> None:
        done = support.run([need_program("gcc"), "-O1", "-x", "c", "-", "-o", str(path), *options], stdin=source)
        if done.status != 0 and "-m32" in options:
            support.missing("a compiler for 32-bit programs", "apt-get install gcc-multilib")
        assert done.status == 0, str(done)

    return str(support.once(f"c{_digest(source, *options)}", build))


class Ran(NamedTuple):
    """A finished ``seclude run``: the process, and its JSON report."""

    done: support.Finished
    report: dict[str, Any]

    @property
    def denials(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.report["denials"]
        return found

    def denied(self, call: str) -> dict[str, Any]:
        """The only denial of ``call``."""
        (one,) = [denial for denial in self.denials if denial["call"] == call]
        return one


def run(*command: str, rules: str = "", options: tuple[str, ...] = (), nobody: bool = False, text: str | None = None, **more: Any) -> Ran:
    """``seclude run --report json`` under ``default allow`` plus ``rules``, or under the whole policy ``text``."""
    where = policy(ALLOW + rules if text is None else text)
    done = support.seclude("run", "--report", "json", "--policy", where, *options, "--", *command, nobody=nobody, **more)
    lines = done.stderr.splitlines()
    assert lines, str(done)
    assert lines[-1].startswith("{"), str(done)
    return Ran(done, json.loads(lines[-1]))


def python() -> str:
    """An interpreter for victims, which every user can run."""
    return support.nobody_python()


def who() -> list[Any]:
    """Parameters for tests that hold for root and for anybody else."""
    import pytest

    return [pytest.param(False, id="caller"), *([pytest.param(True, id="nobody")] if os.geteuid() == 0 else [])]


def gone(pidfd: int, patience: float = 20.0) -> bool:
    """Whether the process of ``pidfd`` ends within ``patience`` seconds."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(patience * 1000))
