"""Whatever is wrong with what was given: one message with the place, what was expected, what was found and what to do;
exit code 125, or 126 and 127 for the command itself; no traceback, nothing started, nothing left behind.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import support

pytestmark = [pytest.mark.live, pytest.mark.slow]

TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.fixture
def place():
    with support.nobody_directory() as directory:
        yield directory


def refused(done: support.Finished, code: int, *told: str) -> None:
    """One message, without a traceback, that holds all of ``told``; nothing on stdout."""
    assert (done.status, done.stdout) == (code, ""), str(done)
    assert done.stderr.startswith("seclude: "), str(done)
    assert sum(line.startswith("seclude: ") for line in done.stderr.splitlines()) == 1, str(done)
    assert "Traceback" not in done.stderr
    assert done.stderr.replace("\n", "").isprintable(), ascii(done.stderr)
    assert len(done.stderr) < 4000
    for words in told:
        assert words in done.stderr, str(done)


def listing(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.parts[len(place.parts)] != "cache")


JUNK = random.Random(7).randbytes(5000)

#: a policy's bytes, and what is said about it: the place, the finding, the remedy
POLICIES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "unknown call": (
        b"default allow\nerrno(EPERM) opnat\n",
        ("./p.seclude:2:14: error: unknown system call 'opnat'; did you mean 'openat'?", "\n                 ^^^^^\n"),
    ),
    "unknown group": (
        b"default allow\nerrno(EPERM) @files-opn\n",
        ("./p.seclude:2:14: error: unknown group @files-opn; did you mean @files-open?", "see: seclude policy list"),
    ),
    "unknown constant": (
        b"default allow\nerrno(EPERM) socket(domain == AF_INTE)\n",
        ("./p.seclude:2:31: error: 'AF_INTE' is neither", "did you mean 'AF_INET'?", "its parameters are domain"),
    ),
    "unknown errno": (b"default errno(EPREM)\n", ("./p.seclude:1:", "unknown errno 'EPREM'; did you mean EPERM?")),
    "unknown architecture": (b"default allow\narch x86_46\n", ("./p.seclude:2:6: error: unknown architecture 'x86_46'; did you mean 'x86_64'?",)),
    "unknown action": (b"default alow\n", ("./p.seclude:1:9", "'alow'")),
    "shadowed rule": (
        b"default allow\nallow ptrace\nkill ptrace\n",
        ("./p.seclude:3:6: error: ptrace is already decided at ./p.seclude:2:7", "rules are tried in order"),
    ),
    "pointer compared": (b"default allow\nerrno(EPERM) openat(pathname == 7)\n", ("./p.seclude:2:", "NULL")),
    "many faults": (
        b"default allow\nerrno(EPERM) opnat\nkill @nosuch\nallow socket(domain == AF_INTE)\n",
        ("./p.seclude:2:14", "./p.seclude:3:6", "./p.seclude:4:24"),
    ),
    "empty": (b"", ("./p.seclude: a policy needs a 'default' line", "default errno(EPERM)")),
    "comments only": (b"\n# nothing\n\n", ("./p.seclude: a policy needs a 'default' line",)),
    "binary junk": (JUNK, ("./p.seclude:1: not a policy: byte 0x", "a policy is a text file")),
    "an ELF file": (Path(sys.executable).read_bytes()[:100_000], ("./p.seclude:1: not a policy",)),
    "NUL bytes": (b"default allow\n\0\0\0\n", ("./p.seclude:2:1",)),
    "terminal escapes": (b"default allow\nallow \x1b[31mread\n", ("./p.seclude:2:",)),
    "UTF-16": ("default allow\n".encode("utf-16"), ("./p.seclude:1: not a policy: byte 0xff",)),
    "a word of 1 MB": (b"default allow\n" + b"x" * 1_000_000, ("./p.seclude:2:1: error: a word of 1000000 characters",)),
    "a line of 1 MB": (b"default allow\nerrno(EPERM) " + b"mkdir, " * 150_000, ("./p.seclude:2:", "one rule a line")),
    "a condition of 1 MB": (b"default allow\nallow mkdir(" + b"(" * 1_000_000, ("./p.seclude:2:",)),
    "deep nesting": (b"default allow\nallow mkdir(" + b"not " * 5000 + b"mode == 1)\n", ("./p.seclude:2:",)),
    "5 MB": (b"# a comment\n" * 450_000, ("./p.seclude: larger than 4 MiB",)),
    "too many instructions": (
        b"default allow\n" + b"".join(b"errno(%d) %s(arg0:u64 == %d)\n" % (i % 4000 + 1, (b"mkdir", b"rmdir")[i % 2], i * 7919 * 2**13) for i in range(2000)),
        ("4096",),
    ),
    "includes itself": (b"include ./p.seclude\n", ("p.seclude:1:9", "includes itself")),
    "includes nothing": (b"default allow\ninclude ./none.seclude\n", ("./p.seclude:2:9", "No such file")),
    "execve killed": (b"default allow\nkill execve\n", ("kill_process execve (./p.seclude:2)", "use errno(EPERM) for execve")),
    "execve killed as a thread": (b"default allow\nkill_thread execve\n", ("kill_thread execve (./p.seclude:2)", "use errno(EPERM) for execve")),
    "execve trapped": (b"default allow\ntrap(1) execve\n", ("trap(1) execve (./p.seclude:2)", "use errno(EPERM) for execve")),
    "everything killed": (b"default kill\n", ("default (./p.seclude:1)", "use errno(EPERM) for execve")),
}  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_cannot_be_meant(name, place):
    raw, told = POLICIES[name]
    (place / "p.seclude").write_bytes(raw)
    before = listing(place)
    done = support.seclude("run", "--policy", "./p.seclude", "--", "touch", "started", cwd=place)
    refused(done, 125, *told)
    assert listing(place) == before


def test_a_policy_with_execve_denied_runs_but_not_blindly(place):
    (place / "p.seclude").write_text("default allow\nerrno(EACCES) execve, ptrace\n")
    first = support.seclude("run", "-p", "./p.seclude", "--", "sh", "-c", "/bin/true", cwd=place, nobody=True)
    assert first.status == 126
    assert f'denied 1{TIMES}  execve("/bin/true", ' in first.stderr
    blind = support.seclude("run", "-p", "./p.seclude", "--no-report", "--", "true", cwd=place, nobody=True)
    refused(blind, 125, "would deny execve", "errno(EACCES) execve, ptrace (./p.seclude:2)", "leave out --no-report")


class Line(NamedTuple):
    """Words after ``seclude run``, the code, and what is told."""

    words: tuple[str, ...]
    code: int
    told: tuple[str, ...]


def line(*words: str, code: int = 125, told: tuple[str, ...]) -> Line:
    return Line(words, code, told)


LINES: dict[str, Line] = {
    # where a policy is looked for
    "missing file": line("-p", "./none.seclude", "true", told=("./none.seclude: No such file or directory",)),
    "missing preset": line("-p", "containr", "true", told=("no preset and no file named 'containr'; did you mean 'container'?", "presets: ")),
    "a directory": line("-p", "./", "true", told=("./: Is a directory", "name a file of rules")),
    "/dev/null": line("-p", "/dev/null", "true", told=("/dev/null: a policy needs a 'default' line",)),
    "an endless file": line("-p", "/dev/zero", "true", told=("/dev/zero",)),
    "an empty name": line("-p", "", "true", told=("--policy names nothing", "seclude policy list")),
    # rules of the command line
    "--allow: unknown call": line("--allow", "opnat", "true", told=("--allow:1:7: error: unknown system call 'opnat'; did you mean 'openat'?",)),
    "--allow: no rule": line("--allow", "", "true", told=("--allow:1:", "expected a system call")),
    "--deny: unfinished": line("--deny", "socket(", "true", told=("--deny:1:", "found the end of the line")),
    "--allow: two lines": line("--allow", "read\nkill write", "true", told=("--allow:",)),
    # limits
    "--cpu: unit": line("--cpu", "1x", "true", told=("cpu: '1x' is not a time", "500ms")),
    "--cpu: negative": line("--cpu", "-1", "true", told=("cpu: '-1' is not a time",)),
    "--cpu: zero": line("--cpu", "0", "true", told=("cpu: '0' is out of range",)),
    "--wall: not a number": line("--wall", "nan", "true", told=("wall: 'nan' is not a time",)),
    "--wall: nothing": line("--wall", "", "true", told=("wall: '' is not a time",)),
    "--memory: unit": line("--memory", "1Q", "true", told=("memory: '1Q' is not a size", "64M")),
    "--memory: huge": line("--memory", "99999999999999999999G", "true", told=("is out of range",)),
    "--memory: nothing": line("--memory", "0", "true", told=("memory: '0' is out of range",)),
    "--files: zero": line("--files", "0", "true", told=("files: '0' is not a count",)),
    "--processes: fraction": line("--processes", "1.5", "true", told=("processes: '1.5' is not a count",)),
    "--output: words": line("--output", "much", "true", told=("output: 'much' is not a size",)),
    # options
    "unknown option": line("--no-rport", "true", told=("unknown option '--no-rport'; did you mean --no-report?", "seclude run --help")),
    "unknown short option": line("-x", "true", told=("unknown option '-x'",)),
    "an option of strace": line("-e", "trace=open", "true", told=("unknown option '-e'; did you mean --trace?",)),
    "a set that strace does not have": line("--trace", "%fiel", "true", told=("unknown set '%fiel'; did you mean '%file'?", "%desc")),
    "a log without a name": line("--log", "", "true", told=("--log '' names no file",)),
    "a log to a stream": line("--log", "-", "true", told=("--log -: a log is a file, which is rotated and its owner's alone, not a stream", "one called - is ./-")),
    "a trace into no file": line("--trace", "all", "--trace-file", "", "true", told=("--trace-file '' names no file",)),
    "a trace into no directory": line("--trace", "all", "--trace-file", "none/t", "true", told=("--trace-file none/t: No such file or directory", "that you can write")),
    "a handler's file that is not there": line("--handler", "./none.py:x", "true", told=("./none.py: there is no such file", "whole path")),
    "a handler's module that is not there": line("--handler", "nowhere:x", "true", told=("No module named 'nowhere'", "python3 -c 'import nowhere'")),
    "a trace without ptrace": line("--trace", "all", "--no-ptrace", "true", told=("--trace needs what --no-ptrace leaves out",)),
    "addresses without a report": line(
        "--connect", "127.0.0.1:9", "--no-report", "true", told=("--connect: addresses are decided by a supervisor", "leave reporting on")
    ),
    "a trace without a report": line("--trace", "all", "--no-report", "true", told=("--trace needs what --no-report leaves out",)),
    "a trace of who may trace": line("--trace", "all", "--allow", "ptrace", "true", told=("the policy allows ptrace", "put --deny ptrace")),
    "no value before the command": line("--trace", "--", "true", told=("--trace needs a value: --trace CALLS",)),
    "an option without its value": line("--allow", told=("--allow needs a value: --allow RULE",)),
    "a value for a switch": line("--no-report=1", "true", told=("--no-report takes no value",)),
    "an unknown form": line("--report", "xml", "true", told=("--report takes one of text, json, none, not 'xml'",)),
    "options that conflict": line("--report", "none", "--report-file", "r", "true", told=("contradict each other",)),
    "--env without a name": line("--env", "=x", "true", told=("--env '=x' names no variable", "give NAME=VALUE")),
    "--chdir to nowhere": line("--chdir", "./none", "true", told=("./none: No such file or directory",)),
    "--chdir to a file": line("--chdir", "/etc/passwd", "true", told=("/etc/passwd: Not a directory",)),
    "--report-file in no directory": line("--report-file", "none/r", "true", told=("--report-file none/r: No such file or directory",)),
    "--report-file is a directory": line("--report-file", ".", "true", told=("--report-file .: Is a directory",)),
    "--report-file on a full disk": line("--report-file", "/dev/full", "--report", "json", "true", told=("the report cannot be written: No space left",)),
    "no command": line(told=("no command given", "usage: seclude run")),
    "no command after --": line("--", told=("no command given",)),
    # the command
    "an empty command": line("", code=127, told=("the command's name is empty",)),
    "not found": line("no-such-command", code=127, told=("no-such-command: command not found",)),
    "no such path": line("./none", code=127, told=("./none: command not found",)),
    "not executable": line("/etc/passwd", code=126, told=("/etc/passwd: found, but it is not an executable file",)),
    "a directory as command": line("/etc", code=126, told=("/etc: found, but it is not an executable file",)),
    "a script without an interpreter": line("./bare", code=126, told=("./bare: Exec format error", "#!/bin/sh")),
    "junk": line("./junk", code=126, told=("./junk: Exec format error", "no program for this machine")),
    "an empty file": line("./nothing", code=126, told=("./nothing: Exec format error",)),
    "a script with a missing interpreter": line("./lost", code=127, told=("./lost: No such file or directory: the interpreter that its first line names, /no/such",)),
    "a script that is its own interpreter": line("./loop", code=126, told=("./loop: ", "its interpreter is ./loop")),
    "escapes in a name": line("./\x1b[31m\udcff\u202e", code=127, told=(r"./\x1b[31m\xff\u202e: command not found",)),
    "escapes in a policy's name": line("-p", "./\x1b]0;x\x07", "true", told=(r"./\x1b]0;x\x07: No such file",)),
    "escapes in an option": line("--\x1b[2J", "true", told=("unknown option '--",)),
    "bytes that are no text": line("--chdir", "/tmp/\udcff", "true", told=(r"/tmp/\xff",)),
}  # fmt: skip

SCRIPTS = {"bare": b"echo hi\n", "junk": JUNK[:100], "nothing": b"", "lost": b"#!/no/such -x\n", "loop": b"#!./loop\n"}


@pytest.mark.parametrize("name", LINES)
def test_a_command_line_that_cannot_be_meant(name, place):
    words, code, told = LINES[name]
    for script, raw in SCRIPTS.items():
        (place / script).write_bytes(raw)
        (place / script).chmod(0o755)
    before = listing(place)
    done = support.seclude("run", *words, cwd=place)
    refused(done, code, *told)
    assert listing(place) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--nope",), "unknown command '--nope'"),
        (("rum",), "unknown command 'rum'; did you mean 'run'?"),
        (("policy", "show", "containr"), "'containr'"),
        (("policy", "check", "/no/such.seclude"), "/no/such.seclude: No such file"),
        (("syscalls", "--arch", "x86_46"), "'x86_46'; did you mean 'x86_64'?"),
    ],
)
def test_other_commands(words, told):
    done = support.seclude(*words)
    refused(done, 125, told)


@pytest.mark.parametrize("command", ["run --policy /dev/stdin -- true", "policy check /dev/stdin"])
def test_a_policy_from_a_pipe(command, place):
    good = shell(f"printf 'default allow\\nerrno(EPERM) ptrace\\n' | $SECLUDE {command}", place)
    assert (good.status, good.stderr) == (0, ""), str(good)
    wrong = shell(f"printf 'default alow\\n' | $SECLUDE {command}", place)
    assert "/dev/stdin:1:9: error: expected an action, found 'alow'; did you mean 'allow'?" in wrong.stderr, str(wrong)


def test_what_a_user_may_not_read_or_write(place):
    support.need_root()
    (place / "secret.seclude").write_text("default allow\n")
    (place / "secret.seclude").chmod(0o600)
    (place / "closed").mkdir(mode=0o700)
    program = place / "program"
    shutil.copy("/bin/true", program)
    program.chmod(0o700)
    for path in (place / "secret.seclude", place / "closed", program):
        shutil.chown(path, 0, 0)
    go = lambda *words: support.seclude("run", *words, cwd=place, nobody=True)  # noqa: E731
    refused(go("-p", "./secret.seclude", "true"), 125, "./secret.seclude: Permission denied")
    refused(go("-p", "closed/p.seclude", "true"), 125, "closed/p.seclude: Permission denied")
    refused(go("--report-file", "closed/report", "true"), 125, "--report-file closed/report: Permission denied")
    refused(go("--chdir", "closed", "true"), 125, "closed: Permission denied")
    refused(go("./program"), 126, "./program: found, but it is not an executable file for this user")
    refused(go("closed/program"), 126, "closed/program: found, but")


# -- surroundings -----------------------------------------------------------------------------------------------------

MKDIR = ("--deny", "mkdir", "--", "mkdir", "never")
DENIED = f'denied 1{TIMES}  mkdir("never", 0777) → EPERM'


def shell(line: str, place: Path, *, nobody: bool = False) -> support.Finished:
    """A shell's command line in which ``$RUN`` is ``seclude run``."""
    interpreter = support.nobody_python() if nobody else sys.executable
    return support.run(["sh", "-c", line.replace("$SECLUDE", f"'{interpreter}' -m seclude")], cwd=place, nobody=nobody)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(closed, place):
    # The target finds them closed as well, and nothing of ours in their place; the report goes to a file, whatever its number.
    look = "ls -n /proc/self/fd >listing; mkdir never; exit 3"
    done = shell(f"$SECLUDE run --deny mkdir --report-file report -- sh -c '{look}' {closed}", place)
    assert done.status == 3, str(done)
    assert "Traceback" not in done.stderr
    assert (place / "report").read_text().startswith(DENIED)
    seen = (place / "listing").read_text()
    assert all(word not in seen for word in ("seccomp", "signalfd", "pipe:", "report", ".seclude")) or "2>&-" not in closed
    plain = shell(f"sh -c '{look}' {closed}", place)
    assert plain.status == 3
    assert open_ones(seen) == open_ones((place / "listing").read_text())


def open_ones(text: str) -> list[str]:
    return [line.split()[8] for line in text.splitlines()[1:]]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_and_a_wrong_command_line(closed, place):
    assert shell(f"$SECLUDE run --nope {closed}", place).status == 125
    assert shell(f"$SECLUDE run -- no-such-command {closed}", place).status == 127
    assert shell(f"$SECLUDE run --help {closed}", place).status == 0


def test_stdout_that_nobody_reads(place):
    done = shell("{ $SECLUDE run -- seq 1000000; echo $? >&2; } | head -n 1", place)
    assert (done.stdout, done.stderr) == ("1\n", "141\n"), "SIGPIPE ends the command, as without Seclude"
    done = shell("{ $SECLUDE policy show container; echo $? >&2; } | true", place)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_stdout_on_a_full_disk(place):
    done = shell("$SECLUDE policy list >/dev/full", place)
    refused(done, 125, "No space left on device")


@pytest.mark.parametrize("nobody", [False, True])
def test_names_that_are_no_text(nobody, place):
    done = support.seclude("run", "--deny", "mkdir", "--", "mkdir", "\udcff\u202e\n", cwd=place, nobody=nobody)
    assert done.status == 1
    assert rf'denied 1{TIMES}  mkdir("\xff\u202e\n", 0777) → EPERM' in done.stderr
    done = support.seclude("run", "--", "printf", "%s", "\udcff\udcfe", cwd=place, nobody=nobody)
    assert done.stdout == "\N{REPLACEMENT CHARACTER}" * 2


def test_an_odd_environment(place):
    odd = [b"odd name=1", b"=x", b"no-equals", b"\xff=\xfe", b"LINES=\n", b"TWICE=1", b"TWICE=2"]
    environment = b"\0".join([*odd, b"PYTHONPATH=" + os.fsencode(support.public_source())])
    helper = "import ctypes, os, sys\nraw = os.fsencode(sys.stdin.read()).split(b'\\0')\nenvp = (ctypes.c_char_p * (len(raw) + 1))(*raw)\nargv = [os.fsencode(a) for a in sys.argv[1:]]\nargp = (ctypes.c_char_p * (len(argv) + 1))(*argv)\nctypes.CDLL(None).execve(argv[0], argp, envp)"
    done = subprocess.run(
        [sys.executable, "-c", helper, sys.executable, "-m", "seclude", "run", "--", "/usr/bin/env", "-0"],
        input=environment, capture_output=True, cwd=place, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert {b"odd name=1", b"\xff=\xfe", b"LINES=\n"} <= set(done.stdout.split(b"\0"))


def test_many_and_long_arguments(place):
    done = support.seclude("run", "--", "sh", "-c", "echo $# ${#1}", "sh", "x" * 131_000, *map(str, range(20_000)), cwd=place)
    assert (done.stdout, done.stderr) == ("20001 131000\n", "")


def test_arguments_that_fit_seclude_but_not_the_kernel(place):
    # Seclude's own environment is small; --env adds what no exec takes: one string of more than 128 KiB.
    done = support.seclude("run", "--env", "LONG=" + "x" * 131_060, "--env", "MORE=1", "--", "true", cwd=place)
    assert done.status in (0, 126), str(done)
    assert "Traceback" not in done.stderr


def test_a_directory_that_is_gone(place):
    lost = "mkdir gone && cd gone && rmdir ../gone && "
    assert shell(lost + "$SECLUDE run -- echo here", place).stdout == "here\n"
    refused(shell(lost + "$SECLUDE run -p ./p.seclude -- true", place), 125, "./p.seclude: No such file or directory")
    refused(shell(lost + "$SECLUDE run -- ./program", place), 127, "./program: command not found")
    assert "ENOENT" not in shell(lost + "$SECLUDE run --chdir / -- pwd", place).stderr


def test_no_more_processes_for_this_user(place):
    support.need_root()
    done = support.run(
        ["prlimit", "--nproc=1:1", support.nobody_python(), "-m", "seclude", "run", "--", "true"], cwd=place, nobody=True
    )  # fmt: skip
    refused(done, 125, "the target could not be started: fork: Resource temporarily unavailable", "ulimit -u")


def test_no_more_descriptors(place):
    done = shell("ulimit -n 5; exec $SECLUDE run -- true", place)
    assert done.status == 125, str(done)
    assert "Traceback" not in done.stderr
    assert "Too many open files" in done.stderr


# -- kernels that lack something ---------------------------------------------------------------------------------------

UNDER = """
import os, sys
from seclude.policy import parse
parse("default allow\\narch native, compat\\n" + sys.argv[1], "kernel").install()
os.execv(sys.executable, [sys.executable, "-m", "seclude", "run", *sys.argv[2:]])
"""

OLD = "seccomp(operation == SECCOMP_SET_MODE_FILTER and flags & "
NO_REPORT = "seclude: note: denials are not reported: this kernel has no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"

#: what the kernel answers; what is said beside the denial, or instead of it; whether the denial is still explained
KERNELS: dict[str, tuple[str, str, bool]] = {
    "no killable wait": (f"errno(EINVAL) {OLD} 0x20 != 0)", NO_REPORT, False),
    "no listeners": (f"errno(EINVAL) {OLD} 0x8 != 0)", NO_REPORT, False),
    "a listener around us": (
        f"errno(EBUSY) {OLD} 0x8 != 0)",
        "seclude: note: denials are not reported: this process is under a filter with a listener of its own (EBUSY)",
        False,
    ),
    "no Landlock": ("errno(ENOSYS) @landlock", "seclude: note: this kernel has no Landlock", True),
    "Landlock off": ("errno(EOPNOTSUPP) @landlock", "seclude: note: this kernel has no Landlock", True),
    "no pidfds": ("errno(ENOSYS) pidfd_open, pidfd_send_signal, pidfd_getfd", "", True),
    "no ptrace": ("errno(EPERM) ptrace", "seclude: note: kills are known by their wait status only: the target cannot be traced (Operation not", True),
    "no reading of memory": ("errno(ENOSYS) process_vm_readv", "", True),
    "no close_range": ("errno(ENOSYS) close_range", "", True),
    "no clone3": ("errno(ENOSYS) clone3", "", True),
    "no prlimit": ("errno(ENOSYS) prlimit64", "", True),
}  # fmt: skip


@pytest.mark.parametrize("nobody", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_lacks_something_confines_all_the_same(name, nobody, place):
    rule, told, explained = KERNELS[name]
    rule = rule.replace("@landlock", "landlock_create_ruleset, landlock_add_rule, landlock_restrict_self")
    done = support.run_python(UNDER, rule, *MKDIR, cwd=place, nobody=nobody)
    assert done.status == 1, str(done)
    assert "Operation not permitted" in done.stderr
    assert not (place / "never").exists()
    assert told in done.stderr, str(done)
    assert (DENIED in done.stderr) is explained, str(done)
    assert done.stderr.count("seclude: ") == (1 if told else 0), str(done)
    assert "Traceback" not in done.stderr


REFUSING: dict[str, tuple[str, str]] = {
    "Linux 4.13": (
        "errno(EINVAL) seccomp(operation == SECCOMP_GET_ACTION_AVAIL)",
        "kill_process, which this kernel does not know (Linux 4.14)\n  use a newer kernel, or accept less by naming a substitute: --allow-weaker kill_process=trap",
    ),
    "no new processes": ("errno(EPERM) clone", "could not be started: fork: Operation not permitted"),
    "no no_new_privs": ("errno(EINVAL) prctl(option == PR_SET_NO_NEW_PRIVS)", "no_new_privs: Invalid argument"),
    "no subreaper": ("errno(EINVAL) prctl(option == PR_SET_CHILD_SUBREAPER)", "PR_SET_CHILD_SUBREAPER"),
    "no signalfd": ("errno(ENOSYS) signalfd, signalfd4", "signalfd4: ENOSYS"),
    "no pipes": ("errno(EMFILE) pipe, pipe2", "Too many open files"),
    "Landlock half": ("errno(EPERM) landlock_restrict_self", "could not be confined: Landlock: Operation not permitted"),
    "no capset": ("errno(EPERM) capset", "could not be confined"),
}


@pytest.mark.parametrize("name", REFUSING)
def test_a_kernel_on_which_a_run_would_not_be_safe(name, place):
    rule, told = REFUSING[name]
    done = support.run_python(UNDER, rule, "--", "mkdir", "never", cwd=place)
    refused(done, 125, told)
    assert not (place / "never").exists()


def test_an_old_kernel_with_what_it_takes_named(place):
    # Neither actions nor flags are known: the plain filter, with trap for kill_process, and both said.
    rule = "errno(EINVAL) seccomp(operation == SECCOMP_GET_ACTION_AVAIL)\n" + KERNELS["no listeners"][0]
    done = support.run_python(UNDER, rule, "--allow-weaker", "kill_process=trap", *MKDIR, cwd=place)
    assert done.status == 1, str(done)
    assert "Operation not permitted" in done.stderr
    assert NO_REPORT in done.stderr


def test_a_kernel_without_seccomp(place):
    done = support.run_python(UNDER, "errno(ENOSYS) seccomp", "--allow-weaker", "kill_process=trap", "--", "mkdir", "never", cwd=place)
    refused(done, 125, "this kernel has no seccomp filters")


def test_seclude_in_seclude(place):
    inner = [sys.executable, "-m", "seclude", "run", *MKDIR]
    done = support.seclude("run", "--", *inner, cwd=place)
    assert done.status == 1
    assert "denials are not reported: this process is under a filter with a listener of its own (EBUSY)" in done.stderr
    assert "one listener a process: --no-report leaves it to the target" in done.stderr
    assert not (place / "never").exists()
    # Where the outer one keeps no listener and does not trace, the inner one reports.
    done = support.seclude("run", "--no-report", "--no-ptrace", "--", *inner, cwd=place)
    assert DENIED in done.stderr, str(done)
