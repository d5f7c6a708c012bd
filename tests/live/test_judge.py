"""`seclude.judge` against submissions that do not play by the rules: every verdict, as root and as nobody, where cgroups bind and where rlimits do.

The victims are in ``hostile.c``, one by name. They are judged by one host process a user, two at a time, with other processes about: a verdict must not depend on
who else runs. ``HYPOTHESIS_PROFILE=soak`` judges each `SOAK` times while both processors are kept busy.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

import support
from run_support import c_program, public, python, who

pytestmark = [pytest.mark.live, pytest.mark.slow]

REPEAT = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 1
ANSWER = "42\n"

#: victim → verdict, the limit or the denied call that goes with it; under the preset ``judge``
JUDGED = {
    "right": ("accepted", ""),
    "wrong": ("wrong answer", ""),
    "bomb": ("disallowed call", "clone"),
    "memory": ("memory limit", "memory"),
    "shared-memory": ("output limit", "output"),
    "one-huge-block": ("runtime error", ""),
    "flood": ("output limit", "output"),
    "flood-stderr": ("output limit", "output"),
    "file": ("runtime error", ""),
    "sleep": ("time limit", "wall"),
    "spin": ("time limit", "cpu"),
    "spin-threads": ("time limit", "cpu"),
    "spin-ignoring-SIGXCPU": ("time limit", "cpu"),
    "answer-then-spin": ("time limit", "cpu"),
    "answer-then-sleep": ("time limit", "wall"),
    "close-everything": ("wrong answer", ""),
    "kill-group": ("disallowed call", "kill"),
    "kill-all": ("disallowed call", "kill"),
    "kill-judge": ("disallowed call", "kill"),
    "tgkill-judge": ("accepted", ""),
    "stop-itself": ("time limit", "wall"),
    "ptrace": ("disallowed call", "ptrace"),
    "read-expected": ("runtime error", ""),
    "descriptors": ("accepted", ""),
    "change-input": ("accepted", ""),
    "map-input": ("accepted", ""),
    "escapes": ("wrong answer", ""),
    "exit-from-thread": ("accepted", ""),
    "main-thread-first": ("accepted", ""),
    "exec-itself": ("runtime error", ""),
    "daemon": ("disallowed call", "clone"),
    "daemon-keeps-pipe": ("disallowed call", "clone"),
    "no-newline": ("accepted", ""),
    "binary": ("wrong answer", ""),
    "segv": ("runtime error", ""),
    "abort": ("runtime error", ""),
    "status": ("runtime error", ""),
    "stack": ("runtime error", ""),
    "fake-SIGSYS": ("runtime error", ""),
    "fake-SIGXCPU": ("runtime error", ""),
    "fake-SIGKILL": ("runtime error", ""),
    "lower-limits": ("accepted", ""),
    "network": ("disallowed call", "socket"),
}

#: under a policy that permits processes, signals and files
PERMITTED = {
    "bomb": ("time limit", "cpu"),
    "file": ("output limit", "output"),
    "kill-group": ("runtime error", ""),
    "kill-all": ("accepted", ""),
    "kill-judge": ("accepted", ""),
    "read-expected": ("runtime error", ""),
    "change-input": ("accepted", ""),
    "exec-itself": ("time limit", "cpu"),
    "daemon": ("accepted", ""),
    "daemon-keeps-pipe": ("accepted", ""),
}

HOST = """
import json, os, sys, seclude
asked = json.load(sys.stdin)
busy, me = [], os.getpid()
for _ in range(asked['busy']):
    pid = os.fork()
    if pid == 0:
        while os.getppid() == me: pass
        os._exit(0)
    busy.append(pid)
out = []
try:
    with seclude.Judge(jobs=asked['jobs'], **asked['options']) as judge:
        with seclude.Case(b'given', asked['expect']) as case:
            for one in judge.each(((command, case) for command in asked['commands'])):
                plain = one.to_plain()
                plain['denied'] = one.denied.call if one.denied else ''
                plain['rule'] = one.denied.rule if one.denied else ''
                out.append(plain)
finally:
    for pid in busy:
        os.kill(pid, 9)
json.dump(out, sys.stdout)
"""


@functools.cache
def hostile() -> str:
    return c_program((Path(__file__).parent / "hostile.c").read_text(), "-pthread")


@functools.cache
def answer() -> str:
    """The expected output, in a file that everybody may read."""
    path = public() / "answers"
    path.write_text(ANSWER)
    path.chmod(0o644)
    return str(path)


def judged(commands, *, nobody=False, busy=0, jobs=2, timeout=support.PATIENCE, **options):
    asked = {"commands": commands, "options": {"cpu": 0.2, "wall": 30, **options}, "expect": answer(), "busy": busy, "jobs": jobs}
    done = support.run_python(HOST, stdin=json.dumps(asked), nobody=nobody, timeout=timeout)
    assert done.status == 0, str(done)
    found = json.loads(done.stdout)
    assert len(found) == len(commands)
    return found


def judge_all(table, nobody, **options):
    """One outcome of each victim, after all of them (`REPEAT` of each) were found to be as the table says.

    Under load the time on the clock says little, so only those that wait for it are to reach it: many at once, since they do nothing else.
    """
    found: dict[str, dict[str, Any]] = {}
    load = {"busy": 2, "timeout": 4000.0} if REPEAT > 1 else {}
    sleepers = [name for name in table if table[name][1] == "wall"]
    for names, more in (
        ([name for name in table if name not in sleepers], load),
        (sleepers, {**load, "wall": 0.6, "jobs": min(16, REPEAT + 1)}),
    ):
        if not names:
            continue
        repeated = [name for name in names for _ in range(REPEAT)]
        outcomes = judged([[hostile(), name, ":" + answer()] for name in repeated], nobody=nobody, **{**options, **more})
        got = [(name, one["verdict"], one["limit"] or one["denied"]) for name, one in zip(repeated, outcomes, strict=True)]
        assert got == [(name, *table[name]) for name in repeated]
        found |= dict(zip(repeated, outcomes, strict=True))
    return found


@pytest.mark.soak
@pytest.mark.parametrize("nobody", who())
def test_hostile_submissions(nobody):
    found = judge_all(JUDGED, nobody, memory="64M", output="1M")
    for one in found.values():
        assert one["ended_by"] in ("", "cgroup", "subreaper")
        assert "\x1b" not in json.dumps(one)
        if one["denied"]:
            assert "judge.seclude:" in one["rule"] or "readonly" in one["rule"] or "container" in one["rule"], one
    assert found["escapes"]["difference"]["found"] == '"\\x1b[2J\\x1b]0;owned\\x07"'
    assert found["binary"]["difference"]["found"] == '"\\x00\\xff\\x80"'
    assert [denial["call"] for denial in found["file"]["denials"]] == ["openat"], "refused with an errno: told, and decides nothing"
    assert [denial["call"] for denial in found["exec-itself"]["denials"]] == ["execve"]
    assert found["segv"]["reason"] == "ended by SIGSEGV"
    assert found["status"]["reason"] == "exit status 200"
    assert found["right"]["bound_by"]["wall"] == "engine"


@pytest.mark.soak
@pytest.mark.parametrize("nobody", who())
def test_hostile_submissions_that_the_policy_does_not_stop(nobody):
    with support.nobody_directory() as place:
        # Without a cgroup the limit counts all tasks of the user, other tests' too: only the one that needs it gets it.
        options: dict[str, Any] = {"memory": "64M", "output": "1M", "policy": "container", "cwd": str(place), "write": [str(place)]}
        # The kernel charges what a fork takes to the memory of the group, and gives it back only some time after the process, or the
        # refused fork, is gone (RCU): 30 to 60 MiB here, more on a busy machine. The limit of memory, which ends a bomb as rightly, is out of its way.
        judge_all({"bomb": PERMITTED["bomb"]}, nobody, processes=30, **{**options, "memory": "4G"})
        found = judge_all({name: verdict for name, verdict in PERMITTED.items() if name != "bomb"}, nobody, **options)
        assert os.listdir(place) == ["big"]
    assert found["daemon"]["ended_by"], "what a submission leaves is ended, and it is told how"


@pytest.mark.parametrize("nobody", who())
def test_python_submissions(nobody):
    table = {
        "print(6 * 7)": ("accepted", ""),
        "import threading as t; t.Thread(target=print, args=(42,)).start()": ("accepted", ""),
        "def f(n): return f(n + 1)\nf(0)": ("runtime error", ""),
        "raise MemoryError": ("runtime error", ""),
        "x = []\nwhile True: x.append('a' * 1000000)": ("memory limit", "memory"),
        "import os; os.fork()": ("disallowed call", "clone"),
        "import subprocess; subprocess.run(['true'])": ("disallowed call", "vfork"),  # or clone, as its C library has it
        "import socket; socket.create_connection(('127.0.0.1', 1))": ("disallowed call", "socket"),
        "open('/tmp/never', 'w')": ("runtime error", ""),
        f"print(open({answer()!r}).read())": ("runtime error", ""),
        "import os; [os.close(n) for n in range(3)]": ("wrong answer", ""),
        "import sys; sys.exit('no')": ("runtime error", ""),
        "while True: print('x' * 1000, end='')": ("output limit", "output"),
        "while True: pass": ("time limit", "cpu"),
    }
    found = judged(
        [[python(), "-c", code] for code in table],
        nobody=nobody,
        cpu=1,
        wall=60,  # never the first to be reached, however busy the machine
        memory="128M",
        output="1M",
        env={"OPENBLAS_NUM_THREADS": "1"},
    )
    got = {code: (one["verdict"], one["limit"] or one["denied"]) for code, one in zip(table, found, strict=True)}
    started = next(code for code in table if "subprocess" in code)
    assert got[started][1] in ("clone", "vfork")
    assert got == {**table, started: got[started]}
