"""The command ``seclude judge``: exit codes, text, JSON, directories of cases, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seclude.cli.judge import COMMAND
from seclude.cli.options import given_limits
from seclude.sandbox.judge import Judge
from support import seclude

pytestmark = [pytest.mark.live, pytest.mark.slow]

#: prints the sum of two words, but a wrong one after 13, and fails for 0
ADD = ["/usr/bin/awk", "{ if ($1 == 0) exit 3; print $1 + $2 + ($1 == 13) }"]


@pytest.fixture
def cases(tmp_path):
    for name, given, answer in (("1", "1 2", "3"), ("2", "13 1", "14"), ("3", "0 1", "1"), ("10", "5 5", "10")):
        (tmp_path / f"{name}.in").write_text(given + "\n")
        (tmp_path / f"{name}.out").write_text(answer + "\n")
    return tmp_path


def judge(*words, status=0):
    done = seclude("judge", *words)
    assert done.status == status, str(done)
    return done


def test_the_command_line_and_the_library_have_the_same_limits():
    given: dict[str, Any] = given_limits(COMMAND.parse(["true"]))
    with Judge(**given) as told, Judge() as untold:
        assert told.limits == untold.limits


def test_one_case(cases):
    done = judge("--stdin", cases / "1.in", "--expect", cases / "1.out", "--", *ADD)
    verdict, usage = done.stdout.splitlines()
    assert verdict == "accepted"
    assert usage.startswith("  cpu ")
    assert usage.endswith("output 2 bytes")


def test_wrong_with_and_without_hints(cases):
    words = ["--stdin", cases / "2.in", "--expect", cases / "2.out"]
    assert judge(*words, "--", *ADD, status=1).stdout.startswith('wrong answer: line 1, column 2: expected "4", found "5"\n')
    for form in ((), ("--json",)):
        done = judge(*words, "--no-hints", *form, "--", *ADD, status=1)
        assert "expected" not in done.stdout


def test_json(cases):
    words = ["--json", "--stdin", cases / "2.in", "--expect", cases / "2.out", "--cpu", "1", "--memory", "64M", "--output", "1M"]
    plain = json.loads(judge(*words, "--", *ADD, status=1).stdout)
    assert plain["version"] == 1
    assert plain["policy"] == "judge"
    assert plain["limits"] == {"cpu": 1.0, "wall": 4.0, "memory": 64 << 20, "output": 1 << 20}
    assert plain["verdict"] == "wrong answer"
    assert plain["difference"] == {"line": 1, "column": 2, "found": '"5"', "expected": '"4"'}
    assert plain["status"] == 0
    assert plain["denied"] is None
    assert set(plain["bound_by"]) == {"cpu", "wall", "memory", "output"}


def test_a_denied_call_with_its_rule():
    done = judge("--", "/usr/bin/env", "true", status=1)
    assert done.stdout.startswith("runtime error: exit status 126\n")
    assert "denied 1" in done.stdout
    assert "rule: errno(EPERM) @exec (judge.seclude:" in done.stdout
    assert judge("--allow", "@exec", "--", "/usr/bin/env", "true").stdout.startswith("accepted\n")


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_directory(cases, jobs):
    done = judge("--cases", cases, "--jobs", jobs, "--", *ADD, status=1)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["case", "verdict", "cpu", "wall", "memory", "output"]
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "10"]
    assert [line[6:20].strip() for line in lines[1:5]] == ["accepted", "wrong answer", "runtime error", "accepted"]
    assert lines[5] == '2: wrong answer: line 1, column 2: expected "4", found "5"'
    assert lines[6] == "3: runtime error: exit status 3"
    assert lines[-1] == "2 of 4 accepted"


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_stopping_at_the_first_failure_tells_the_same_however_many_run_at_once(cases, jobs):
    plain = json.loads(judge("--cases", cases, "--jobs", jobs, "--stop", "--json", "--", *ADD, status=1).stdout)
    assert [(one["name"], one["verdict"]) for one in plain["cases"]] == [("1", "accepted"), ("2", "wrong answer")]
    assert (plain["verdict"], plain["accepted"], plain["total"]) == ("wrong answer", 1, 4)
    text = judge("--cases", cases, "--jobs", jobs, "--stop", "--", *ADD, status=1).stdout
    assert text.endswith("1 of 4 accepted, 2 not run\n")


def test_all_accepted(cases):
    for name in ("2", "3"):
        (cases / f"{name}.in").unlink()
        (cases / f"{name}.out").unlink()
    assert judge("--cases", cases, "--", *ADD).stdout.endswith("2 of 2 accepted\n")


def test_ways_to_compare(cases):
    words = ["--stdin", cases / "1.in", "--expect", cases / "1.out"]
    three = ["/usr/bin/printf", "3.0001"]
    judge(*words, "--", *three, status=1)
    judge(*words, "--compare", "float:1e-3", "--", *three)
    judge(*words, "--compare", "tokens", "--", "/usr/bin/printf", "  3")
    judge(*words, "--", "/usr/bin/printf", "3  ")
    judge(*words, "--compare", "exact", "--", "/usr/bin/printf", "3", status=1)


def test_the_environment_is_its_own(cases):
    done = judge("--json", "--expect", cases / "1.in", "--env", "MINE=1", "--", "/usr/bin/env", status=1)
    assert json.loads(done.stdout)["output"] == len("PATH=/usr/local/bin:/usr/bin:/bin\nLANG=C.UTF-8\nHOME=/\nTMPDIR=/tmp\nMINE=1\n")


def test_files_it_may_open(cases):
    (cases / "data").mkdir()
    (cases / "data" / "words").write_text("3\n")
    words = ["--expect", cases / "1.out"]
    code = ["--", "/usr/bin/awk", f'BEGIN {{ getline x < "{cases}/data/words"; print x }}']
    judge(*words, *code, status=1)
    judge(*words, "--read", cases / "data", *code)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no command given"),
        (["--cases", "x", "--stdin", "y", "true"], "contradict"),
        (["--stop", "true"], "--stop and --jobs are for --cases"),
        (["--jobs", "2", "true"], "--stop and --jobs are for --cases"),
        (["--cases", "{cases}", "--jobs", "0", "true"], "--jobs: '0' is not a count"),
        (["--cpu", "x", "true"], "cpu: 'x' is not a time"),
        (["--compare", "near", "true"], "no way to compare"),
        (["--policy", "", "true"], "--policy names nothing"),
        (["--policy", "none", "true"], "none"),
        (["--env", "=1", "true"], "names no variable"),
        (["--stdin", "/none", "true"], "input /none: No such file"),
        (["--expect", "/none", "true"], "expected output /none: No such file"),
        (["--read", "/none", "true"], "/none: No such file"),
        (["no-such-command"], "no-such-command: command not found"),
        (["/etc/passwd"], "not an executable file"),
        (["--expect", "{cases}/1.out", "--read", "{cases}", "true"], "the submission could read the expected output"),
        (["--expect", "{cases}/1.out", "cat", "{cases}/1.out"], "the submission could read the expected output"),
        (["--expect", "/usr/bin/env", "true"], "the submission could read the expected output"),
    ],
)
def test_what_is_refused(cases, words, said):
    done = judge(*(word.format(cases=cases) for word in words), status=125)
    assert said in done.stderr
    assert done.stderr.startswith("seclude: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
