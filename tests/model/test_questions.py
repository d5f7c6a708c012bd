"""``expect(policy)``: what it takes for a policy, what each question means, and what it says when the answer is no."""

from __future__ import annotations

import doctest
import json

import pytest

import seclude
import seclude.model.questions
from model_support import of
from seclude.abi import arch
from seclude.bpf import codes
from seclude.errors import UsageError
from seclude.model import expect
from seclude.model.questions import Wanted, action_word

POLICY = """default allow
arch x86_64, x86
errno(EACCES) mkdir(mode == 0o777)
trap(5) rmdir
kill reboot
notify mount
trace(3) umount2
log getuid
"""


def test_the_module_shows_what_it_does():
    assert doctest.testmod(seclude.model.questions).failed == 0


def sources(tmp_path):
    policy = seclude.parse(POLICY, "p.seclude")
    (tmp_path / "p.seclude").write_text(POLICY)
    yield policy
    yield seclude.compile(policy)
    yield seclude.compile(policy).program
    yield str(tmp_path / "p.seclude")
    yield tmp_path / "p.seclude"


def test_a_policy_in_every_form(tmp_path):
    for source in sources(tmp_path):
        asked = expect(source, arch="x86_64")
        asked.denies("mkdir", mode=0o777)
        asked.denies("mkdir", 0, "0777", errno="EACCES")
        asked.allows("mkdir", mode=0o755)
        asked.kills("reboot")
        asked.notifies("mount")
        asked.answers("trace(3)", "umount2")
        asked.answers("undecided", "umount2")
        asked.answers("trap(5)", "rmdir")
        asked.answers("log", "getuid")
        asked.denies("mkdir", mode=0o777, arch="x86")


def test_an_oci_profile(tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}],
            }
        )
    )
    expect(path, arch="x86_64").denies("mkdir", errno="EACCES")


def test_a_stack_answers_as_the_kernel_would():
    asked = expect(of(codes.SECCOMP_RET_ERRNO | 1, "mkdir"), arch="x86_64").stacked(of(codes.SECCOMP_RET_ERRNO | 2, "mkdir"))
    asked.answers("errno(2)", "mkdir")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (lambda asked: asked.allows("mkdir", mode=0o777), "mkdir(NULL, 0777) on x86_64 is answered errno(EACCES), not allow or log"),
        (lambda asked: asked.denies("getpid"), "is answered allow, not one of kill_process, kill_thread, trap, errno"),
        (lambda asked: asked.denies("mkdir", mode=0o777, errno="EPERM"), "answered errno(EACCES), not errno(EPERM)"),
        (lambda asked: asked.kills("rmdir"), "answered trap(5), not kill_thread or kill_process"),
        (lambda asked: asked.answers("trace(4)", "umount2"), "answered trace(3), not trace(4)"),
        (lambda asked: asked.notifies("getpid"), "answered allow, not notify"),
    ],
)
def test_what_is_not_so_is_said(question, message):
    with pytest.raises(AssertionError) as caught:
        question(expect(seclude.parse(POLICY, "p.seclude"), arch="x86_64"))
    assert message in str(caught.value)


@pytest.mark.parametrize("action", ["", "alow", "errno(", "allow(3)", "errno(ENOPE)", "trap(x)"])
def test_actions_that_nobody_knows(action):
    with pytest.raises(UsageError):
        Wanted.read(action, arch("x86_64"))


def test_what_is_no_policy():
    with pytest.raises(UsageError):
        expect(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (codes.SECCOMP_RET_ALLOW, "allow"), (codes.SECCOMP_RET_ALLOW | 9, "allow"), (codes.SECCOMP_RET_ERRNO | 1, "errno(EPERM)"),
        (codes.SECCOMP_RET_ERRNO, "errno(0)"), (codes.SECCOMP_RET_ERRNO | 0xFFFF, "errno(4095)"), (codes.SECCOMP_RET_TRAP, "trap"),
        (codes.SECCOMP_RET_TRAP | 5, "trap(5)"), (0x12340000, "kill_process"), (codes.SECCOMP_RET_USER_NOTIF | 3, "notify"), (0, "kill_thread"),
    ],
)  # fmt: skip
def test_words(value, word):
    assert action_word(value, arch("x86_64")) == word
