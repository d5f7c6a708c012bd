import struct

import pytest

from seclude.compiler.artifact import Artifact
from seclude.errors import FilterError, KernelError, PolicyError, UsageError
from seclude.kernel import seccomp
from seclude.sandbox.install import Installed, actions_of, install, install_program, read_weaker, substitute

KILL, TRAP, LOG, ALLOW, NOTIFY = 0x80000000, 0x30000, 0x7FFC0000, 0x7FFF0000, 0x7FC00000


def program(*returns):
    return b"".join(struct.pack("=HBBI", 6, 0, 0, value) for value in returns)


def returns(raw):
    return [k for _, _, _, k in struct.iter_unpack("=HBBI", raw)]


def lacking(*values):
    return lambda value: value not in values


def test_actions_of_a_program_strongest_first():
    assert actions_of(program(ALLOW, 0x50001, KILL, 0x50002)) == ("kill_process", "errno", "allow")
    assert actions_of(struct.pack("=HBBI", 0x16, 0, 0, KILL)) == ()  # RET A: its K is not an action
    with pytest.raises(FilterError):
        actions_of(b"123")


def test_nothing_is_substituted_that_the_kernel_has():
    raw = program(KILL, ALLOW)
    assert substitute(raw, {"kill_process": "trap"}, lacking()) == (raw, {})


def test_a_lacking_action_stops_the_load():
    with pytest.raises(KernelError, match=r"kill_process.*Linux 4\.14") as caught:
        substitute(program(KILL), {}, lacking(KILL))
    assert "kill_process=trap" in caught.value.diagnostics[0].remedy


@pytest.mark.parametrize(
    ("action", "weaker", "value"),
    [
        (KILL, {"kill_process": "trap"}, TRAP),
        (KILL, {"kill_process": "kill_thread"}, 0),
        (KILL, {"kill_process": "errno(EPERM)"}, 0x50001),
        (KILL, {"kill_process": "trap(7)"}, TRAP | 7),
        (LOG, {"log": "allow"}, ALLOW),
        (NOTIFY, {"notify": "errno(38)"}, 0x50026),
    ],
)
def test_a_named_substitute_is_taken_and_told(action, weaker, value):
    raw, taken = substitute(program(ALLOW, action, 0x50002), weaker, lacking(action))
    assert returns(raw) == [ALLOW, value, 0x50002]
    assert taken == weaker


def test_a_substitute_that_is_lacking_too():
    with pytest.raises(KernelError, match="unknown to this kernel too"):
        substitute(program(KILL), {"kill_process": "trap"}, lacking(KILL, TRAP))


@pytest.mark.parametrize(
    ("weaker", "said"),
    [
        ({"kill_proces": "trap"}, "did you mean kill_process"),
        ({"kill_process": "trapp"}, "did you mean trap"),
        ({"kill_process": "allow"}, "would permit"),
        ({"errno": "log"}, "would permit"),
        ({"kill_process": "notify"}, "someone to answer"),
        ({"kill_process": "trace(3)"}, "someone to answer"),
        ({"kill_process": "errno"}, "not an action"),
        ({"kill_process": "errno(0)"}, "not a number or errno"),
        ({"kill_process": "errno(4096)"}, "not a number or errno"),
        ({"kill_process": "errno(ENOPE)"}, "not a number or errno"),
        ({"kill_process": "errno(EPERM"}, "not an action"),
        ({"kill_process": "kill_thread(3)"}, "not an action"),
        ({"kill_process": "trap(65536)"}, "not a number or errno"),
        ({"kill_process": "trap(EPERM)"}, "not a number or errno"),
    ],
)
def test_substitutes_that_cannot_be_meant(weaker, said):
    with pytest.raises(UsageError, match=said):
        read_weaker(weaker)


@pytest.mark.parametrize("value", [NOTIFY, 0x7FF00000])
def test_actions_without_a_supervisor_are_refused(value):
    with pytest.raises(PolicyError, match="no supervisor"):
        install_program(program(value))


def test_threads_is_one_of_two():
    with pytest.raises(UsageError, match="all"):
        install_program(program(ALLOW), threads="some")


@pytest.mark.parametrize(("order", "arches"), [("little", "aarch64"), ("big", "x86_64"), ("little", "")])
def test_a_policy_for_another_machine_is_refused(order, arches):
    artifact = Artifact("p", [("p", "")], order, "x86_64", program(ALLOW), program(ALLOW), {"architectures": arches})
    with pytest.raises(UsageError, match="first call"):
        install(artifact)


def test_what_is_said():
    installed = Installed("web", "12", "errno(EPERM)", 30, ("TSYNC", "LOG"), "all")
    installed.substitutes = {"kill_process": "trap"}
    assert str(installed) == (
        "web: 12 calls allowed, default errno(EPERM), 30 instructions, all threads flags TSYNC|LOG weaker: kill_process became trap"
    )
    assert str(Installed("f", "", "", 1, (), "this")) == "f: 1 instructions, this thread"


def test_the_names_are_those_of_the_kernel_room():
    assert set(seccomp.ACTIONS) == {"kill_process", "kill_thread", "trap", "errno", "notify", "trace", "log", "allow"}
