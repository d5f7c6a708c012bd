"""The supervisor is killed (SIGKILL), whatever state it is in: the call that waited does not run, nobody is left, nothing hangs."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import support
from engine_support import POLICY, VICTIM, handlers
from run_support import c_program, policy, who

pytestmark = [pytest.mark.live, pytest.mark.slow]


def children(pid):
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


def until(condition, command, told):
    """Look again and again; a machine that is busy may take long, a command that ended never will."""
    while not (found := condition()):
        assert command.poll() is None, f"ended before it came to this: {told.read_text()}"
        os.sched_yield()
    return found


@pytest.fixture
def place():
    """A directory that everybody can write, and a file for what handlers say."""
    with support.nobody_directory() as where:
        where.chmod(0o777)
        log = where / "log"
        log.write_text("")
        log.chmod(0o666)
        yield where


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("engine", ["notify", "ptrace"])
@pytest.mark.parametrize("where", ["deciding", "in a thread", "idle", "stopped"])
def test_a_killed_supervisor_lets_nothing_through_and_leaves_nobody(place, engine, where, nobody):
    made, log = place / "made", place / "log"
    name = "pooled" if where == "in a thread" else "quick"
    interpreter = support.nobody_python() if nobody else sys.executable
    victim = {
        "idle": ("sh", "-c", "read line; exec mkdir " + str(made)),
        "stopped": ("sh", "-c", "kill -STOP $$; exec mkdir " + str(made)),
    }.get(where, (c_program(VICTIM, "-pthread"), "mark", "0700", str(made)))
    told = place / "told"
    errors = told.open("wb")
    command = support.start(
        [interpreter, "-m", "seclude", "run", "--policy", policy(POLICY + "notify mkdir\n"), *handlers(log, name), "--engine", engine, "--", *victim],
        nobody=nobody, home=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
    )  # fmt: skip
    errors.close()
    assert command.stdin is not None
    assert command.stdout is not None
    try:
        (supervisor,) = until(lambda: children(command.pid), command, told)
        if where in ("deciding", "in a thread"):
            said = until(log.read_text, command, told)
            assert said == f"deciding {supervisor}\n"
        else:
            target = until(lambda: [pid for pid in children(supervisor) if Path(f"/proc/{pid}/comm").read_text() == "sh\n"], command, told)[
                0
            ]
            wanted = "S" if where == "idle" else "t"  # a traced process stands so
            until(lambda: state(target) == wanted, command, told)
        os.kill(supervisor, signal.SIGKILL)
        poll = select.poll()
        poll.register(command.stdout, select.POLLIN)
        out = b""
        while True:
            assert poll.poll(support.PATIENCE * 1000), "somebody is left, who still has the pipe"
            piece = os.read(command.stdout.fileno(), 4096)
            if not piece:
                break
            out += piece
        assert command.wait(support.PATIENCE) != 0
    finally:
        command.kill()
        command.stdin.close()
        command.stdout.close()
        command.wait()
    assert not made.exists()
    # The notified call of a supervisor that is gone is ENOSYS, and its process may come to say so.
    assert out in ((b"ready 0 0\n", b"ready 0 0\n" + str(made).encode() + b" -1 38\n") if where in ("deciding", "in a thread") else (b"",))
