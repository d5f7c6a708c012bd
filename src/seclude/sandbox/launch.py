"""Before a run starts: find the program, decide which mechanisms can be used, refuse what could only fail.

A policy may forbid the very execve that would start the target. Under reporting that one call is let pass by the
supervisor, but a kill or a trap is the kernel's own and cannot be: then the run is refused here, with the rule, and
nothing is started. Deciding it means running the policy's program on the registers that execve will have.
"""

from __future__ import annotations

import errno
import os

from seclude.abi import native
from seclude.errors import KernelError, PolicyError
from seclude.kernel import ptrace, seccomp
from seclude.supervise.plain import ALLOW, ERRNO, KILL_PROCESS, KILL_THREAD, LOG, TRACE, TRAP, USER_NOTIF, Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from seclude.sandbox.result import Job

__all__ = ["NotStarted", "find_program", "mechanisms", "not_executed", "refuse_forbidden_start", "refuse_without_supervisor"]

_DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"


class NotStarted(Exception):  # noqa: N818 - an outcome, not a fault
    """The command could not be executed: ``code`` is 126 or 127, as shells have it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def find_program(name: bytes, environment: Sequence[bytes], cwd: bytes | None) -> bytes:
    """The path that execve gets for ``name``: itself where it holds a slash, else the first executable on the target's PATH.

    Raises `NotStarted` 127 (no such file) or 126 (there, but not to be executed).
    """
    shown = os.fsdecode(name)
    if not name:
        raise NotStarted(127, "the command's name is empty")
    if b"/" in name:
        candidates = [name]
    else:
        path = next((entry[5:] for entry in environment if entry.startswith(b"PATH=")), _DEFAULT_PATH)
        candidates = [(directory or b".") + b"/" + name for directory in path.split(b":")]
    found = False
    for candidate in candidates:
        where = os.path.join(cwd, candidate) if cwd is not None else candidate
        try:
            directory = os.path.isdir(where)
            os.stat(where)
        except OSError as error:
            found = found or error.errno == errno.EACCES
            continue
        found = True
        if not directory and os.access(where, os.X_OK, effective_ids=True):
            return candidate
    if found:
        raise NotStarted(126, f"{shown}: found, but it is not an executable file for this user")
    raise NotStarted(127, f"{shown}: command not found")


def not_executed(path: bytes, cwd: bytes | None, number: int) -> tuple[int, str]:
    """The exit code, and what to tell, where the kernel refused to execute a file that is there: ``number`` is its errno."""
    shown = os.fsdecode(path)
    first = b""
    try:
        with open(os.path.join(cwd or b"", path), "rb") as file:
            first = file.read(256).partition(b"\n")[0]
    except OSError:
        pass
    script = os.fsdecode(first[2:].strip()) if first.startswith(b"#!") else ""
    interpreter = script.partition(" ")[0]
    why = os.strerror(number)
    if number == errno.ENOENT:
        why = f"{why}: the interpreter that its first line names, {interpreter}" if script else f"{why}: it, or the loader that it names"
    elif number == errno.ENOEXEC:
        why += ": no program for this machine, and no script, whose first line would name its interpreter (#!/bin/sh)"
    elif script:
        why += f" (its interpreter is {interpreter})"
    return (127 if number == errno.ENOENT else 126), f"{shown}: {why}"


def mechanisms(job: Job, plain: Plain, notes: list[str]) -> tuple[bool, bool]:
    """``(report, trace)``: whether this kernel and policy permit a reporting filter and an observer. What is missing is said in ``notes``."""
    report = job.report
    if report and not seccomp.flag_available(seccomp.WAIT_KILLABLE_RECV):
        report = False
        notes.append(
            "denials are not reported: this kernel has no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19), or a filter hides it"
        )
    trace = job.ptrace
    if trace and not ptrace.supported():
        trace = False
        notes.append("calls that are killed are known by their wait status only: the registers of this machine are not known here")
    if trace and _allows_ptrace(plain):
        trace = False
        notes.append("the policy allows ptrace, so Seclude does not trace (as with --no-ptrace): kills are known by their wait status only")
    return report, trace


def _allows_ptrace(plain: Plain) -> bool:
    """Whether the policy permits to trace: two tracers cannot share a thread. TRACEME, ATTACH, SEIZE."""
    here = native()
    number = here.number("ptrace")
    if number is None:
        return False
    return any(plain.value(number, here.token, 0, (request, 1, 0, 0, 0, 0))[0] in (ALLOW, LOG) for request in (0, 16, 0x4206))


def refuse_without_supervisor(job: Job, plain: Plain, why: str) -> None:
    """Raise `PolicyError` where the policy has notify or trace actions, which nobody would answer."""
    wanted = job.supervision
    if wanted.get("engine") != "ptrace" and plain.returns(USER_NOTIF, TRACE):
        handled = wanted.keys() & {"handlers", "remote"}
        besides = wanted.keys() & {"read", "write", "hide", "exec", "ask"}
        if job.report and wanted.get("engine", "auto") == "auto" and not besides and (handled or wanted.keys() & {"connect", "bind"}):
            return  # `supervision.build` takes the other engine, which needs no listener
        granted = [f"--{option}" for option in ("connect", "bind", "exec", "read", "write", "hide") if wanted.get(option)]
        if granted:
            what = "addresses" if granted[0] in ("--connect", "--bind") else "programs" if granted[0] == "--exec" else "files"
            remedy = "run it where there is no such filter" if job.report else "leave reporting on"
            if job.report and not wanted.keys() - {"read", "write", "runtime", "watch"}:
                remedy += ", or add --no-report: then Landlock alone holds the files"
            raise PolicyError(f"{' and '.join(granted)}: {what} are decided by a supervisor, but {why}", remedy)
        raise PolicyError(
            f"the policy has notify or trace actions, which need a supervisor, but {why}",
            "try --engine ptrace, which needs no listener"
            if handled and _traceable(wanted)
            else f"{'run it where there is no such filter' if job.report else 'leave reporting on'}, or use errno instead",
        )


def _traceable(wanted: dict[str, Any]) -> bool:
    """Whether the handlers could do with the ptrace engine; those of another process are taken to."""
    if "handlers" not in wanted:
        return True
    from seclude.sandbox.supervision import choose_engine

    return choose_engine(wanted["handlers"]) != "notify"


def refuse_forbidden_start(job: Job, plain: Plain, args: tuple[int, ...], *, report: bool) -> None:
    """Raise `PolicyError` where the target's first execve would be killed or trapped, or denied with nobody to let it pass."""
    here = native()
    number = here.number("execve")
    if number is None:
        raise KernelError(f"{here.name} has no execve")
    action, _ = plain.value(number, here.token, 0, args)
    if action in (ALLOW, LOG) or (report and action in (ERRNO, USER_NOTIF, TRACE)):
        return
    from seclude.sandbox.explain import place_of

    outcome = {KILL_PROCESS: "kill_process", KILL_THREAD: "kill_thread", TRAP: "trap"}.get(action, "deny")
    where = place_of(job.artifact, here.name, number, args)
    start = f"the policy would {outcome} execve, by which the command itself starts" + (f": {where}" if where else "")
    if action in (ERRNO, USER_NOTIF, TRACE):
        raise PolicyError(start, "with reporting on, Seclude lets exactly that first execve pass: leave out --no-report, or allow execve")
    raise PolicyError(start, "use errno(EPERM) for execve, which Seclude can let pass for the first one, or allow it")
