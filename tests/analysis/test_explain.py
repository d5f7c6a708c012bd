import json

import pytest

from lint_support import CLEAN
from seclude.analysis.explain import as_json, as_text, explain
from seclude.decision import from_policy
from seclude.errors import UsageError
from seclude.policy import evaluate, load, parse


def of(text, *calls):
    one = parse(text, "p.seclude", native="x86_64")
    return explain(from_policy(one), calls, policy=one)


def test_one_call_every_way_it_can_go():
    found = of(CLEAN + "allow socket(domain == AF_UNIX)\nkill socket(domain == AF_ALG)\n", "socket")
    assert as_text("p", found) == (
        "p: x86_64, x86\n"
        "  socket(domain == AF_UNIX) → ALLOW   [x86_64, x86]   p.seclude:4:7\n"
        "      such as socket(AF_UNIX, SOCK_STREAM, 0)\n"
        "  socket(domain not in {AF_UNIX, AF_ALG}) → ERRNO(EPERM)   [x86_64, x86]   p.seclude:1:1\n"
        "      such as socket(AF_UNSPEC, SOCK_STREAM, 0)\n"
        "  socket(domain == AF_ALG) → KILL_PROCESS   [x86_64, x86]   p.seclude:5:6\n"
        "      such as socket(AF_ALG, SOCK_STREAM, 0)\n"
    )


def test_an_architecture_in_front_and_numbers():
    assert [(way.call, way.archs) for way in of(CLEAN, "x86:socketcall").ways] == [("socketcall", ("x86",))]
    assert [(way.call, way.action) for way in of(CLEAN, "x86_64:202").ways] == [("futex", "ALLOW")]
    assert [(way.call, way.action) for way in of(CLEAN, "9999").ways] == [("9999", "ERRNO(ENOSYS)")]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("sokcet", "did you mean 'socket'"),
        ("arm:read", "it accepts x86_64, x86"),
        ("x64:socketcall", "no system call 'socketcall' on x86_64"),
    ],
)
def test_what_is_not_there(call, message):
    with pytest.raises(UsageError) as caught:
        of(CLEAN, call)
    assert message in str(caught.value)


def test_the_whole_table():
    text = as_text("p", of(CLEAN + "allow socket(domain == AF_UNIX)\non x86: allow ipc\n"))
    assert (
        "\nALLOW\n  5 calls: exit_group, futex, futex_waitv, restart_syscall, rt_sigreturn\n  on x86: 1 call: ipc\n  when: socket(domain == AF_UNIX)\n"
        in text
    )
    assert text.endswith("KILL_PROCESS\n  on x86_64: also: numbers of x32\n  also: negative numbers\n  also: every other architecture\n")


@pytest.mark.parametrize("preset", ["compute", "container"])
def test_every_way_is_what_the_policy_says(preset):
    one = load(preset, native="x86_64")
    found = explain(from_policy(one), policy=one)
    for way in found.ways:
        call = way.witness
        assert evaluate(one, call.token, call.number, call.args, call.ip).value == way.value, way


def test_json():
    found = as_json("p", of(CLEAN, "futex"))
    assert json.loads(json.dumps(found)) == found
    assert found["schema"] == "seclude.explain/1"
    assert found["ways"][0]["call"] == "futex"
    assert found["ways"][0]["condition"] is None
