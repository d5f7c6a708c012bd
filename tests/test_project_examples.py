"""Every example is run, and what it prints is looked at."""

from __future__ import annotations

import sys

import pytest

from support import ROOT, need_program, run

EXAMPLES = ROOT / "examples"
pytestmark = [pytest.mark.live, pytest.mark.slow]


def example(name, *words, status=0, **options):
    done = run([sys.executable, str(EXAMPLES / name), *words], **options)
    assert done.status == status, str(done)
    return done.stdout


def test_every_example_is_run_here():
    tested = {"demo.py", "demo.seclude", "show.py", "library.py", "install_in_process.py", "judge.py", "strict_function.py"}
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == tested


def test_demo_shows_work_done_and_each_attempt_denied_and_explained():
    first, _, second = example("show.py").partition("--policy examples/demo.seclude")
    for output, attempts in ((first, ("network", "ptrace")), (second, ("network", "ptrace", "shell"))):
        assert "work done: 2262 primes below 20000, sha256 4f7557ba7bcacb2c" in output
        for attempt in attempts:
            assert f"\n{attempt}: PermissionError: Operation not permitted\n" in output
        assert "socket(AF_INET, SOCK_STREAM" in output
        assert "ptrace(PTRACE_SEIZE, " in output
        assert "to allow: --allow" in output
    assert "execve(" not in first
    assert 'execve("/bin/sh"' in second
    assert "demo.seclude:3" in second


def test_demo_script_needs_no_filter():
    assert "work done" in example("demo.py")


def test_library():
    output = example("library.py")
    assert "sum of squares: 332833500" in output
    assert "no network: Operation not permitted" in output
    assert "exit status 0, 1 kind of call denied" in output
    assert "socket(AF_INET" in output


def test_install_in_process():
    assert example("install_in_process.py").splitlines() == [
        "written after the filter was installed",
        "read_passwd: Operation not permitted",
        "start_true: Operation not permitted",
    ]


def test_judge_of_a_folder():
    need_program("gcc")
    head, *rows = example("judge.py").splitlines()
    assert head.split() == ["submission", "verdict", "passed", "cpu", "memory"]
    assert {row.split()[0]: " ".join(row[22:38].split()) for row in rows} == {
        "adds.c": "accepted",
        "adds.py": "accepted",
        "asks_a_friend.py": "disallowed call",
        "bombs.py": "disallowed call",
        "broken.c": "does not compile",
        "keeps_everything.py": "memory limit",
        "looks_it_up.py": "runtime error",
        "overflows.c": "wrong answer",
        "thinks.py": "time limit",
    }
    assert any("bombs.py" in row and "(judge.seclude:" in row for row in rows)


def test_strict_function():
    first, *rest = example("strict_function.py").splitlines()
    assert first == "{'a': 1, 'b': 2}"
    assert rest
