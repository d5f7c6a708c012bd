"""``seclude run --log``, live: every decision, whole lines whatever happens to the supervisor, and nothing of the target's making in them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time

import pytest

import support
from run_support import ALLOW, c_program, policy, public, run, who
from support import need_root

pytestmark = pytest.mark.live

DENIED = """
#include <sys/stat.h>
#include <unistd.h>
int main(int c, char **v) { for (int i = 0; i < 3; i++) mkdir("/tmp/\\33]0;x\\7\\"\\n", 0700); if (c > 1) sethostname(v[1], 1); chroot("/"); return 0; }
"""
RULES = "errno(EACCES) mkdir\nkill_process sethostname\ntrap(3) chroot\n"


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def log(*command, options=(), **more):
    path = public() / f"log{time.monotonic_ns()}"
    ran = run(*command, rules=RULES, options=("--log", str(path), *options), **more)
    return ran, read(path)


def test_each_occurrence_of_each_denial_is_a_line():
    ran, lines = log(c_program(DENIED, "-w"))
    assert [line["event"] for line in lines] == ["start", "denied", "denied", "denied", "denied", "end"]
    start, first, *_, trapped, end = lines
    assert start["command"][0].startswith("/tmp/")
    assert start["policy"].endswith(".seclude")
    assert (first["call"], first["action"], first["result"], first["arch"]) == ("mkdir", "errno", "EACCES", "x86_64")
    assert first["text"] == 'mkdir("/tmp/\\x1b]0;x\\x07\\"\\n", 0700)'
    assert all(re.fullmatch(r"0x[0-9a-f]+", word) for word in first["args"])
    assert (trapped["call"], trapped["action"], trapped["result"]) == ("chroot", "trap", "SIGSYS")
    assert (end["code"], end["signal"], end["denied"]) == (ran.done.status, signal.SIGSYS, 4)
    assert len({line["supervisor"] for line in lines}) == 1


def test_kills_are_in_it_and_traced_calls_where_they_are_traced():
    _, lines = log(c_program(DENIED, "-w"), "x", options=("--trace", "mkdir,close", "--trace-file", "/dev/null"))
    calls = [line for line in lines if line["event"] == "call"]
    assert calls
    assert {line["call"] for line in calls} == {"close"}
    assert calls[0]["text"].startswith("close(")
    assert calls[0]["result"] == "0"
    killed = lines[-2]
    assert (killed["call"], killed["action"]) == ("sethostname", "kill_process")
    assert killed["tid"] == lines[0]["main"]


def test_the_place_is_in_it_where_it_is_asked_for():
    _, lines = log(c_program(DENIED, "-w"), options=("--where",))
    assert "(mkdir+0x" in lines[1]["where"]


@pytest.mark.parametrize("nobody", who())
def test_the_log_is_the_owners(nobody):
    with support.nobody_directory() as place:
        path = place / "log"
        run("/bin/true", options=("--log", str(path)), nobody=nobody)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_uid == (support.NOBODY if nobody and os.geteuid() == 0 else os.geteuid())
        assert [line["event"] for line in read(path)] == ["start", "end"]


def test_somebody_elses_file_is_refused():
    need_root()
    with support.nobody_directory() as place:
        path = place / "log"
        path.touch()
        os.chown(path, support.NOBODY, support.NOBODY)
        done = support.seclude("run", "--policy", policy(ALLOW), "--log", str(path), "--", "/bin/echo", "ran")
        assert (done.status, done.stdout) == (125, "")
        assert f"belongs to user {support.NOBODY}" in done.stderr


def test_lines_are_whole_when_the_supervisor_is_killed():
    path = public() / f"log{time.monotonic_ns()}"
    program = c_program("#include <sys/stat.h>\nint main(void) { for (;;) mkdir(\"/tmp/x\", 0700); }")  # fmt: skip
    where = policy(ALLOW + "errno(EACCES) mkdir\n")
    from support import start

    child = start([*_command(), "run", "--policy", where, "--log", str(path), "--log-size", "64k", "--log-keep", "2", "--", program])
    older = path.with_name(path.name + ".1")
    deadline = time.monotonic() + support.PATIENCE
    supervisor = 0
    while not supervisor:
        assert time.monotonic() < deadline, "the log never grew"
        assert child.poll() is None
        with contextlib.suppress(FileNotFoundError):  # not yet there, or just making room for a newer one
            supervisor = json.loads(older.read_text().splitlines()[-1])["supervisor"]
    os.kill(supervisor, signal.SIGKILL)
    child.wait(support.PATIENCE)
    for one in (path, older):
        if one.exists():
            text = one.read_text()
            assert text == "" or text.endswith("\n")
            assert all(json.loads(line)["event"] in ("start", "denied") for line in text.splitlines())


def _command():
    import sys

    return [sys.executable, "-m", "seclude"]
