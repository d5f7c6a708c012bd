"""``seclude simulate``: the story of one call, as text and as JSON, for each action and each thing around it that decides."""

from __future__ import annotations

import json

import pytest

from seclude.cli.main import main


def run(capsys, *words):
    code = main(["simulate", *map(str, words)])
    done = capsys.readouterr()
    return code, done.out, done.err


def story(capsys, *words):
    code, out, err = run(capsys, *words, "--json", "--arch", "x86_64")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def policy(tmp_path):
    def write(text, name="p.seclude"):
        path = tmp_path / name
        path.write_text("default allow\narch x86_64, x86\n" + text + "\n")
        return path

    return write


def test_text(capsys, policy):
    top = policy("errno(EACCES) mkdir", "top.seclude")
    code, out, _ = run(capsys, policy("errno(EPERM) mkdir"), "mkdir", "0x1000", "0755", "--stack", top, "--arch", "x86_64", "--log")
    assert code == 0
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert lines[0][:4] == ["mkdir(0x1000,", "0755)", "on", "x86_64,"]
    # On a tie the newest filter's data counts.
    assert ["decides", "filter", "2:", "ERRNO(EACCES)"] in lines
    assert "it returns -EACCES" in out
    assert "code=0x50000" in out


def test_a_stack_is_a_list_behind_the_call_and_one_file_a_time_before_it(capsys, policy):
    first, second, third = policy("errno(EPERM) mkdir"), policy("errno(EACCES) mkdir", "2.seclude"), policy("log mkdir", "3.seclude")
    told = [
        story(capsys, *words)
        for words in (
            (first, "mkdir", "--stack", second, third),
            (first, "mkdir", "--kernel", "6.18", "--stack", second, "--stack", third),
            ("--stack", second, "--stack", third, first, "mkdir"),
            ("--stack", second, first, "mkdir", "--stack=" + str(third)),
            (first, "mkdir", "0x1000", "-s", second, third),
        )
    ]
    names = [[(one["filter"], one["name"]) for one in each["evaluations"][0]["filters"]] for each in told]
    assert names[0] == [(3, str(third)), (2, str(second)), (1, str(first))]
    assert names == [names[0]] * len(told)
    assert told[-1]["call"]["args"][0] == 0x1000


def test_a_cached_call_runs_no_filter_from_511_on(capsys, policy):
    path = policy("errno(EPERM) mkdir")
    new, old = story(capsys, path, "getpid"), story(capsys, path, "getpid", "--kernel", "5.10")
    assert (new["cached"], new["evaluations"][0]["filters"]) == (True, [])
    assert old["cached"] is False
    assert [one["action"] for one in old["evaluations"][0]["filters"]] == ["ALLOW"]
    assert new["value"] == old["value"] is not None


@pytest.mark.parametrize(
    ("rule", "words", "effect"),
    [
        ("kill mkdir", (), "the process is killed by SIGSYS"),
        ("kill_thread mkdir", (), "the process is killed by SIGSYS"),
        ("kill_thread mkdir", ("--threads", "2"), "the thread is killed by SIGSYS; the other threads go on"),
        ("trap(5) mkdir", (), "the process is killed by SIGSYS"),
        ("trap(5) mkdir", ("--sigsys", "ignored"), "the process is killed by SIGSYS"),
        ("trap(5) mkdir", ("--sigsys", "blocked"), "the process is killed by SIGSYS"),
        ("trap(5) mkdir", ("--sigsys", "handler"), "the handler of SIGSYS runs (si_code SYS_SECCOMP, si_errno 5"),
        ("kill mkdir", ("--sigsys", "handler"), "the process is killed by SIGSYS"),
        ("notify mkdir", (), "it returns -ENOSYS"),
        ("notify mkdir", ("--supervisor", "errno=EROFS"), "it returns -EROFS"),
        ("notify mkdir", ("--supervisor", "value=7"), "it returns 7"),
        ("notify mkdir", ("--supervisor", "continue"), "the kernel makes the call"),
        ("notify mkdir", ("--supervisor", "closed"), "it returns -ENOSYS"),
        ("notify mkdir", ("--supervisor", "silent"), "the call sleeps: it waits for the answer"),
        ("trace(3) mkdir", (), "it returns -ENOSYS"),
        ("trace(3) mkdir", ("--tracer", "continue"), "the kernel makes the call"),
        ("trace(3) mkdir", ("--tracer", "skip=EPERM"), "it returns -EPERM"),
        ("trace(3) mkdir", ("--tracer", "call=getpid"), "the kernel makes the call getpid in its place; it returns 100"),
        ("trace(3) mkdir\nkill getppid", ("--tracer", "call=getppid"), "the process is killed by SIGSYS"),
        ("trace(3) mkdir", ("--tracer", "kill"), "the process is killed by SIGKILL"),
        ("trace(3) mkdir", ("--tracer", "gone"), "the kernel makes the call"),
        ("log mkdir", (), "the kernel makes the call"),
    ],
)
def test_effects(capsys, policy, rule, words, effect):
    assert effect in story(capsys, policy(rule), "mkdir", *words)["effect"]


@pytest.mark.parametrize(
    ("rule", "words", "logged"),
    [
        ("errno(1) mkdir", (), 0),
        ("errno(1) mkdir", ("--log",), 1),
        ("log mkdir", (), 1),
        ("kill mkdir", (), 1),
        ("trap mkdir", (), 0),
        ("trap mkdir", ("--log",), 1),
    ],
)
def test_log(capsys, policy, rule, words, logged):
    assert len(story(capsys, policy(rule), "mkdir", *words)["log"]) == logged


def test_calls_of_the_companion_and_negative_arguments(capsys, policy):
    code, out, _ = run(capsys, policy("errno(EPERM) mkdir"), "mkdir", "--arch", "x86")
    assert code == 0
    assert "number 39" in out
    code, out, _ = run(capsys, policy(""), "mkdir", "--arch", "x32")
    assert code == 0
    assert "number 0x40000053" in out
    assert run(capsys, policy(""), "mmap", 0, 4096, 3, 0x22, -1, 0, "--arch", "x86_64")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("container",), "a policy and a call are needed"),
        (("container", "getpid", "--kernel", "4.4"), "not modelled"),
        (("container", "getpid", "--kernel", "6"), "no version"),
        (("container", "getpid", "--arch", "mips"), "not modelled"),
        (("container", "getpidd", "--arch", "x86_64"), "did you mean 'getpid'"),
        (("container", "getpid", "--ip", "x"), "no number"),
        (("/nonexistent/x", "getpid"), "no such file"),
        (("container", "getpid", "--threads", "-1"), "--threads -1 is not within 1..999"),
        (("container", "getpid", "--threads", "0"), "--threads 0 is not within 1..999"),
    ],
)
def test_faults_are_one_message(capsys, words, message):
    code, _, err = run(capsys, *words)
    assert code == 125
    assert message in err
    assert "Traceback" not in err


def test_an_unknown_tracer_or_supervisor_is_refused(capsys, policy):
    for rule, option in (
        ("trace(1) mkdir", "--tracer"),
        ("notify mkdir", "--supervisor"),
        ("allow mkdir", "--tracer"),
        ("kill mkdir", "--supervisor"),
    ):
        code, _, err = run(capsys, policy(rule), "mkdir", option, "dance", "--arch", "x86_64")
        assert code == 125
        assert "'dance': not known" in err


def test_a_tracer_names_a_call_that_is_there(capsys, policy):
    code, _, err = run(capsys, policy("trace(1) mkdir"), "mkdir", "--tracer", "call=mkdirr", "--arch", "x86_64")
    assert code == 125
    assert "--tracer call: 'mkdirr' is neither a number nor the name of a call" in err
    assert "seclude syscalls" in err


def test_an_old_kernel_refuses_what_it_does_not_know(capsys, policy):
    code, _, err = run(capsys, policy("notify mkdir"), "mkdir", "--supervisor", "continue", "--kernel", "5.4", "--arch", "x86_64")
    assert code == 125
    assert "5.4 refuses this answer: EINVAL" in err
