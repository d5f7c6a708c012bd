"""``seclude expect``: files of expectations, their faults with lines, and the running kernel as second judge."""

from __future__ import annotations

import json
import os
import sys

import pytest

from seclude.cli.main import main
from seclude.errors import InputError
from seclude.model.expectations import read_expectations


def run(capsys, *words):
    code = main(["expect", *map(str, words)])
    done = capsys.readouterr()
    return code, done.out, done.err


POLICY = """default allow
arch x86_64, x86
errno(EPERM) socket(domain == AF_VSOCK)
trap(5) mkdir
trace(7) rmdir
kill reboot
notify mount
log getuid
"""

FILE = """policy = "p.seclude"
arch = ["x86_64", "x86"]

[[expect]]
call = "socket"
args = { domain = "AF_VSOCK" }
action = "errno(EPERM)"

[[expect]]
call = "socket"
args = ["AF_INET", "SOCK_STREAM", 0]
action = "permit"

[[expect]]
call = "mkdir"
action = "trap(5)"

[[expect]]
call = "rmdir"
action = "trace(7)"

[[expect]]
call = "reboot"
args = [0xfee1dead, 672274793, 0x1234567, 0]
action = "kill"

[[expect]]
call = "mount"
action = "notify"

[[expect]]
call = "getuid"
action = "log"
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "p.seclude").write_text(POLICY)

    def write(text=FILE):
        path = tmp_path / "expect.toml"
        path.write_text(text)
        return path

    return write


def test_all_as_expected(capsys, file):
    code, out, err = run(capsys, file())
    assert code == 0, out + err
    assert out.splitlines()[-1] == "14 of 14 as expected, asked of the model"


@pytest.mark.live
@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="asks the running kernel about x86-64 calls")
def test_the_running_kernel_agrees(capsys, file):
    code, out, err = run(capsys, "--live", file())
    assert code == 0, out + err
    assert out.splitlines()[-1] == "14 of 14 as expected, asked of the model and the running kernel"


def test_what_is_not_met_is_said_with_its_place_and_reason(capsys, file):
    path = file('policy = "p.seclude"\narch = "x86_64"\n[[expect]]\ncall = "mkdir"\naction = "allow"\nwhy = "it makes directories"\n')
    code, out, _ = run(capsys, path, "--quiet")
    assert code == 1
    assert (
        out
        == f"FAIL  {path}:3:1: mkdir(NULL, 0) on x86_64: trap(5), expected allow\n      it makes directories\n0 of 1 as expected, asked of the model\n"
    )


def test_json(capsys, file):
    code, out, _ = run(capsys, file(), "--json")
    data = json.loads(out)
    assert (code, data["schema"], data["met"], data["failed"]) == (0, "seclude.expect/1", 14, 0)
    assert data["expectations"][0]["line"] == 4


def test_another_policy(capsys, file):
    code, out, _ = run(capsys, file(), "--policy", "container")
    assert code == 1
    assert "expected notify" in out


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[[expect]]\ncall = \n", 2, "not TOML"),
        ("polcy = 'x'\n[[expect]]\ncall = 'read'\naction = 'allow'\n", 1, "did you mean 'policy'"),
        ("[[expect]]\ncall = 'read'\naction = 'allow'\nargz = []\n", 4, "did you mean 'args'"),
        ("[[expect]]\ncall = 'read'\naction = 'alow'\n", 3, "did you mean 'allow'"),
        ("[[expect]]\ncall = 'read'\naction = 'allow(1)'\n", 3, "allow has no data"),
        ("[[expect]]\ncall = 'read'\naction = 'errno(EFOO)'\n", 3, "no errno"),
        ("[[expect]]\ncall = 'raed'\naction = 'allow'\n", 2, "did you mean 'read'"),
        ("[[expect]]\ncall = 'read'\nargs = { fdd = 1 }\naction = 'allow'\n", 3, "did you mean 'fd'"),
        ("[[expect]]\ncall = 'read'\nargs = [1.5]\naction = 'allow'\n", 3, "a number or text"),
        ("[[expect]]\ncall = 'read'\n", 1, "no 'action'"),
        ("[[expect]]\naction = 'allow'\n", 1, "no 'call'"),
        ("[[expect]]\ncall = 'read'\narch = 'x87'\naction = 'allow'\n", 3, "x87"),
        ("policy = 3\n[[expect]]\ncall = 'read'\naction = 'allow'\n", 1, "policy is text"),
        ("policy = 'x'\n", 1, "no expectation"),
        ("[[expect]]\ncall = 'read'\naction = 'allow'\n[[expect]]\ncall = 'raed'\naction = 'allow'\n", 5, "'raed'"),
    ],
)
def test_faults_have_a_line(text, line, message):
    with pytest.raises(InputError) as caught:
        read_expectations(text, "e.toml")
    assert message in str(caught.value)
    assert [one.span.line for one in caught.value.diagnostics if one.span is not None] == [line]


def test_all_faults_of_a_file_are_told_together():
    with pytest.raises(InputError) as caught:
        read_expectations("[[expect]]\ncall = 'raed'\naction = 'allow'\n[[expect]]\ncall = 'read'\naction = 'alow'\n", "e.toml")
    assert len(caught.value.diagnostics) == 2


@pytest.mark.parametrize(
    ("words", "message"), [((), "name a file"), (("/nonexistent.toml",), "No such file"), (("{}",), "names no policy")]
)
def test_usage(capsys, file, words, message):
    path = file("[[expect]]\ncall = 'read'\naction = 'allow'\n")
    code, _, err = run(capsys, *[word.format(path) if word != "{}" else str(path) for word in words])
    assert code == 125
    assert message in err
