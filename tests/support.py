"""What tests of every room share: programs they need, children they run, and the unprivileged user.

A test that needs something an ordinary machine may lack calls `need_program`, `need_header` or `need_root` first:
it is skipped with the package to install, and **fails** where the environment variable ``CI`` is set, so that the
continuous run never passes by leaving things out.

Everything that loads a filter runs in a process of its own: `run_python` starts a fresh interpreter, `seclude` the
command. Both take ``nobody=True`` to run as uid 65534, which on many machines can read neither the checkout nor the
interpreter (a pyenv under /root); they then run from a world-readable copy of the package with the system's python3.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "NOBODY",
    "ROOT",
    "Finished",
    "missing",
    "need_header",
    "need_program",
    "need_root",
    "need_system_module",
    "nobody_directory",
    "nobody_python",
    "once",
    "public_source",
    "run",
    "run_python",
    "seclude",
    "shared",
    "start",
]

#: the checkout
ROOT = Path(__file__).resolve().parent.parent
#: uid and gid of the unprivileged user
NOBODY = 65534
#: seconds after which a child of a test is killed; a hang is a failure, never a pass
PATIENCE = 60.0


class Finished(NamedTuple):
    """How a child ended: exactly one of ``status`` (exit code) and ``signal`` is not None."""

    status: int | None
    signal: int | None
    stdout: str
    stderr: str

    def __str__(self) -> str:
        how = f"exit status {self.status}" if self.signal is None else f"signal {self.signal}"
        return f"{how}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test because ``what`` is not here; fail it where ``CI`` is set."""
    message = f"needs {what}: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message + " (skipping is not allowed where CI is set)")
    pytest.skip(message)


def need_program(name: str, package: str = "") -> str:
    """The absolute path of a program, which Debian has in ``package`` (default: the program's name)."""
    path = shutil.which(name) or next((p for d in ("/usr/sbin", "/sbin") if os.access(p := f"{d}/{name}", os.X_OK)), None)
    if path is None:
        missing(f"the program {name}", f"apt-get install {package or name}")
    return path


def need_header(path: str | os.PathLike[str], package: str) -> Path:
    """The path of a header (or any file) that Debian has in ``package``."""
    header = Path(path)
    if not header.exists():
        missing(f"the file {path}", f"apt-get install {package}")
    return header


def need_root() -> None:
    """Skip unless the test runs as root; where CI is set it always must."""
    if os.geteuid() != 0:
        missing("root", "run the tests as root")


@functools.cache
def _has_module(interpreter: str, module: str) -> bool:
    return subprocess.run([interpreter, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def need_system_module(module: str, package: str) -> str:
    """The system's python3, which can import ``module`` from Debian's ``package`` (python3-seccomp is not on PyPI)."""
    if not (os.path.exists("/usr/bin/python3") and _has_module("/usr/bin/python3", module)):
        missing(f"the module {module} of /usr/bin/python3", f"apt-get install {package}")
    return "/usr/bin/python3"


def _remove(place: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not in a child that a test forked
        shutil.rmtree(place, ignore_errors=True)


@functools.cache
def shared() -> Path:
    """A directory that every user can read, the same for all processes of one run of the tests; whoever made it removes it at exit."""
    given = os.environ.get("SECLUDE_TESTS", "")
    if os.path.isdir(given):
        return Path(given)
    place = Path(tempfile.mkdtemp(prefix="seclude-tests-", dir="/tmp"))
    atexit.register(_remove, place, os.getpid())
    place.chmod(0o755)
    os.environ["SECLUDE_TESTS"] = str(place)
    return place


def once(name: str, make: Callable[[Path], None]) -> Path:
    """``name`` in `shared`, which ``make(path)`` makes where no process of this run has done it yet. Others wait for it, and never see half of it."""
    place = shared() / name
    if not place.exists():
        with open(f"{place}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                part = place.with_name(f"{name}.part")
                make(part)
                part.rename(place)
    return place


def _copy_source(place: Path) -> None:
    import seclude as package

    place.mkdir()
    shutil.copytree(Path(package.__file__).parent, place / "seclude", ignore=shutil.ignore_patterns("__pycache__"))
    # Nobody can write byte code here, and compiling would cost each start.
    subprocess.run([nobody_python(), "-m", "compileall", "-q", place], check=True, stdout=subprocess.DEVNULL)
    for directory, _, files in os.walk(place):
        os.chmod(directory, 0o755)
        for name in files:
            os.chmod(os.path.join(directory, name), 0o644)


@functools.cache
def public_source() -> Path:
    """A directory that every user can read and that holds a copy of the package ``seclude``, compiled."""
    return once("source", _copy_source)


def _own_directory(place: Path, *, nobody: bool) -> None:
    place.mkdir(0o700)
    if nobody and os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)


@functools.cache
def _cache(*, nobody: bool) -> str:
    """Where that user keeps compiled policies, for all of this run: they would be compiled again at each start."""
    return str(once("cache-of-nobody" if nobody else "cache", functools.partial(_own_directory, nobody=nobody)))


@functools.cache
def nobody_python() -> str:
    """An interpreter that uid 65534 can run: this one, or else the system's."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        # From /, since the working directory may be closed to nobody as well. The venv of this
        # interpreter may be closed too, which shows as a failing start, not only as a failing exec.
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
                cwd="/", env={}, capture_output=True, check=False, **_identity(nobody=True),
            )  # fmt: skip
            if done.returncode == 0:
                return candidate
    missing("a python3 of 3.11 or newer that every user may run", "apt-get install python3")


def _identity(*, nobody: bool) -> dict[str, Any]:
    """Arguments of `subprocess` that make the child uid 65534. A caller who is not root stays who it is."""
    if nobody and os.geteuid() == 0:
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    return {}


@contextlib.contextmanager
def nobody_directory() -> Iterator[Path]:
    """A new directory under /tmp that belongs to uid 65534 (pytest's own are closed to other users)."""
    place = Path(tempfile.mkdtemp(prefix="seclude-nobody-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _environment(home: Path, extra: Mapping[str, str] | None, *, nobody: bool) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_", "PYTEST_"))}
    # Where one of these is unset, bash asks the name service who runs it: a socket call that depends on who calls the tests.
    env = {"SHELL": "/bin/sh", "HOME": "/root" if os.geteuid() == 0 else "/"} | env
    if nobody:
        env |= {"PYTHONPATH": str(public_source()), "HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": _cache(nobody=True)}
    else:
        import seclude as package

        env |= {"PYTHONPATH": str(Path(package.__file__).parent.parent), "XDG_CACHE_HOME": _cache(nobody=False)}
    return env | dict(extra or {})


def start(
    command: Sequence[str | os.PathLike[str]],
    *,
    nobody: bool = False,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    home: Path | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a child and return at once; ``options`` go to `subprocess.Popen`. ``env`` adds to the environment."""
    where = home or Path("/tmp")
    keywords: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "cwd": cwd or (where if nobody else None),
        **_identity(nobody=nobody),
        **options,
    }
    return subprocess.Popen([os.fspath(word) for word in command], env=_environment(where, env, nobody=nobody), **keywords)


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    nobody: bool = False,
    stdin: bytes | str | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = PATIENCE,
    **options: Any,
) -> Finished:
    """Run a child to its end. With ``nobody`` it is uid 65534 in a directory of its own, which is also its HOME."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    with nobody_directory() if nobody else contextlib.nullcontext() as home:
        child = start(
            command, nobody=nobody, cwd=cwd, env=env, home=home, **{
                "stdin": subprocess.DEVNULL if given is None else subprocess.PIPE,
                "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options,
            },
        )  # fmt: skip
        try:
            out, err = child.communicate(given, timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            pytest.fail(
                f"still running after {timeout:g} s: {command}\n--- stdout\n{out.decode(errors='replace')}\n--- stderr\n{err.decode(errors='replace')}"
            )
    code = child.returncode
    return Finished(
        code if code >= 0 else None,
        -code if code < 0 else None,
        (out or b"").decode(errors="replace"),
        (err or b"").decode(errors="replace"),
    )


def run_python(code: str, *args: str, nobody: bool = False, **options: Any) -> Finished:
    """Run ``code`` in a fresh interpreter that can import ``seclude``; ``args`` are its ``sys.argv[1:]``."""
    from textwrap import dedent

    interpreter = nobody_python() if nobody else sys.executable
    return run([interpreter, "-c", dedent(code), *args], nobody=nobody, **options)


def seclude(*words: str | os.PathLike[str], nobody: bool = False, **options: Any) -> Finished:
    """Run the command ``seclude WORDS`` in a process of its own."""
    interpreter = nobody_python() if nobody else sys.executable
    return run([interpreter, "-m", "seclude", *words], nobody=nobody, **options)
