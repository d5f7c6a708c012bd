"""Every example is run, and what it prints is looked at."""

from __future__ import annotations

import json
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
    tested = {
        "confined_service.py",
        "demo.py",
        "demo.seclude",
        "install_in_process.py",
        "judge.py",
        "library.py",
        "plugin_host.py",
        "run_model_code.py",
        "show.py",
        "strict_function.py",
        "teaching.ipynb",
    }
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


def test_plugin_host():
    lines = example("plugin_host.py").splitlines()
    half = len(lines) // 2
    first, second = (dict(line.split(": ", 1) for line in part) for part in (lines[:half], lines[half:]))
    assert first.keys() == second.keys()
    # What a plug-in keeps is its own, and what it breaks too.
    assert first.pop("counts.py") == "hello (call 1)"
    assert second.pop("counts.py") == "hello (call 2)"
    assert first.pop("shouts.py") == second.pop("shouts.py") == "HELLO"
    failures = {
        "breaks_python.py": "failed: ", "eats.py": "failed: the function raised MemoryError", "hangs.py": "failed: the function reached the limit timeout",
        "is_broken.py": "failed: the function raised SyntaxError", "leaves.py": "failed: the function ended its process (exit status 0)",
        "phones_home.py": "failed: the function raised PermissionError", "returns_itself.py": "failed: the result cannot be returned",
        "spies.py": "failed: the function raised PermissionError",
    }  # fmt: skip
    assert first.keys() == failures.keys()
    for name, expected in failures.items():
        assert first[name].startswith(expected), first[name]
        assert second[name].startswith(expected), second[name]
    assert 'denied: openat(AT_FDCWD, "/etc/passwd"' in first["spies.py"]
    assert "denied: socket(AF_INET, SOCK_STREAM" in first["phones_home.py"]


def test_plugins_of_a_folder(tmp_path):
    (tmp_path / "backwards.py").write_text("def transform(text):\n    return text[::-1]\n")
    assert example("plugin_host.py", tmp_path, "abc") == "backwards.py: cba\n" * 2


def test_model_written_code():
    answers = {name: json.loads(text) for name, text in (line.split(": ", 1) for line in example("run_model_code.py").splitlines())}
    assert answers["a sum"] == {"ok": True, "result": 5.5, "printed": "summed\n", "denied": [], "files": {}}
    assert answers["a file"]["files"] == {"answer.txt": 3}
    errors = {
        "the network": "urllib.error.URLError", "other files": "PermissionError", "a shell": "PermissionError", "no end": "limit timeout", "too much": "MemoryError",
        "a large file": "File too large", "a mistake": "ZeroDivisionError", "no value": "cannot be returned",
    }  # fmt: skip
    assert answers.keys() == {"a sum", "a file", *errors}
    for name, expected in errors.items():
        assert not answers[name]["ok"]
        assert expected in answers[name]["error"], answers[name]
    assert answers["the network"]["denied"][0].startswith("socket(AF_INET, SOCK_STREAM")
    assert answers["a large file"]["files"] == {"large": 8 << 20}
    assert answers["other files"]["files"] == {}


def test_model_written_code_of_a_file(tmp_path):
    (tmp_path / "code.py").write_text("result = open('in.txt').read().split()\n")
    (tmp_path / "words").write_text("a b\n")
    assert json.loads(example("run_model_code.py", tmp_path / "code.py", f"in.txt={tmp_path / 'words'}"))["result"] == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run_model_code.py", "nothere.py"), "No such file or directory: 'nothere.py'"),
        (("run_model_code.py", "{code}", "in.txt"), "'in.txt': expected NAME=FILE"),
        (("run_model_code.py", "{code}", "../out={code}"), "'../out': expected NAME=FILE, and a name of one part"),
        (("judge.py", "nothere", "nothere"), "usage: judge.py"),
        (("judge.py", "one"), "usage: judge.py"),
    ],
)
def test_what_an_example_cannot_read_is_said_in_a_line(tmp_path, words, said):
    (tmp_path / "code.py").write_text("result = 1\n")
    name, *rest = (word.format(code=tmp_path / "code.py") for word in words)
    done = run([sys.executable, str(EXAMPLES / name), *rest], cwd=tmp_path)
    assert done.status == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, str(done)


def test_confined_service():
    first, *rest = example("confined_service.py").splitlines()
    assert first.startswith("confined: ")
    assert rest == [
        "upper hello: ok HELLO",
        "sum 1 2 3: ok 6",
        "file /etc/passwd: error [Errno 1] Operation not permitted: '/etc/passwd'",
        "file /etc/hostname: error [Errno 1] Operation not permitted: '/etc/hostname'",
        "sum 4 5: ok 9",
    ]


def test_teaching_notebook_prints_what_it_stores(tmp_path):
    tool = ROOT / "tools" / "run_notebook.py"
    done = run([sys.executable, str(tool), str(EXAMPLES / "teaching.ipynb")])
    assert done.status == 0, str(done)
    assert done.stdout == "teaching.ipynb: 8 cells, 0 differ\n"
    # And it does look: one stored output changed is one that differs.
    text = (EXAMPLES / "teaching.ipynb").read_text()
    assert "domain == AF_INET\\n" in text
    (tmp_path / "changed.ipynb").write_text(text.replace("socket where domain == AF_INET\\n", "socket where domain == AF_INET6\\n"))
    done = run([sys.executable, str(tool), str(tmp_path / "changed.ipynb")])
    assert done.status == 1
    assert done.stdout.endswith("changed.ipynb: 8 cells, 1 differ\n")
