import contextlib
import json
import random

import pytest

from formats_support import libseccomp, oci, random_spec
from seclude.abi import arch
from seclude.decision import from_program
from seclude.errors import BudgetError, InputError, UsageError
from seclude.formats import detect, read

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x50001, 0x50026
X86_64, X86 = 0xC000003E, 0x40000003


def profile(*rules, **more):
    base = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": list(rules)}
    return json.dumps(base | more).encode()


def rule(names, action="SCMP_ACT_ALLOW", *args, **more):
    listed = [dict(zip(("index", "op", "value", "valueTwo"), one, strict=False)) for one in args]
    return {"names": names.split(), "action": action, "args": [one | {"op": "SCMP_CMP_" + one["op"]} for one in listed]} | more


def answers(raw, runtime="crun", native="x86_64"):
    """A function from (call, arguments, architecture) to the RET word."""
    decision = read(raw, "p.json", runtime=runtime, native=native).decision

    def ask(call, *args, on=native):
        one = arch(on)
        words = [one.calls()[call] if isinstance(call, str) else call, one.token, 0, 0]
        for value in (*args, *(0,) * (6 - len(args))):
            words += [value & 0xFFFFFFFF, value >> 32]
        return decision.value(words)

    return ask


@pytest.mark.parametrize("start", range(0, 240, 60))
def test_as_libseccomp_makes_it(start):
    specs = [random_spec(random.Random(seed), one_action=seed % 3 != 0) for seed in range(start, start + 60)]
    same = 0
    for spec, program in zip(specs, libseccomp(specs), strict=True):
        mine = None
        with contextlib.suppress(InputError):  # rules that overlap
            mine = read(oci(spec), "x", runtime="crun", native=spec["native"].lower())
        if mine is None:
            continue
        assert program is not None, spec
        assert from_program(program) is mine.decision, spec
        same += 1
    assert same > 40


def test_conditions_of_a_rule_hold_together_and_rules_are_alternatives():
    ask = answers(
        profile(
            rule("fcntl", "SCMP_ACT_ALLOW", (0, "EQ", 1), (1, "EQ", 2)),
            rule("read", "SCMP_ACT_ALLOW", (0, "EQ", 1)),
            rule("read", "SCMP_ACT_ALLOW", (2, "EQ", 9)),
        )
    )
    assert [ask("fcntl", 1, 2), ask("fcntl", 1, 3), ask("fcntl", 0, 2)] == [ALLOW, EPERM, EPERM]
    assert [ask("read", 1), ask("read", 0, 0, 9), ask("read")] == [ALLOW, ALLOW, EPERM]


def test_a_repeated_index_makes_alternatives():
    ask = answers(profile(rule("socket", "SCMP_ACT_ALLOW", (0, "NE", 38), (0, "NE", 40))))
    assert {ask("socket", family) for family in (1, 38, 40)} == {ALLOW}


def test_many_rules_for_one_call_end_soon_or_in_one_error():
    """Every pair of rules used to be compared by their diagrams: a thousand took a minute."""
    many = [rule("socket", "SCMP_ACT_ALLOW", (0, "EQ", i), (1, "EQ", i)) for i in range(2001)]
    ask = answers(profile(*many[:400], architectures=["SCMP_ARCH_X86_64"]))
    assert ask("socket", 399, 399) == ALLOW
    assert ask("socket", 399, 398) == EPERM
    with pytest.raises(BudgetError, match="2001 rules with conditions for socket"):
        read(profile(*many), "p.json", runtime="crun", native="x86_64")


def test_masked_equality_masks_both_sides():
    ask = answers(profile(rule("personality", "SCMP_ACT_ALLOW", (0, "MASKED_EQ", 0xF0, 0x123))))
    assert [ask("personality", 0x2F), ask("personality", 0x3F)] == [ALLOW, EPERM]


def test_a_rule_without_conditions_beats_those_with():
    conditional = rule("ioctl", "SCMP_ACT_ERRNO", (1, "EQ", 38), errnoRet=97)
    for rules in ((conditional, rule("ioctl")), (rule("ioctl"), conditional)):
        assert answers(profile(*rules))("ioctl", 0, 38) == ALLOW
    assert answers(profile(rule("ioctl"), rule("ioctl", "SCMP_ACT_KILL")))("ioctl") == ALLOW
    # Both would be socketcall(SYS_SOCKET): libseccomp refuses that.
    with pytest.raises(InputError, match="on x86"):
        answers(profile(rule("socket", "SCMP_ACT_ERRNO", (0, "EQ", 38), errnoRet=97), rule("socket")))


def test_rules_with_the_default_action_do_not_exist():
    ask = answers(profile(rule("socket", "SCMP_ACT_ERRNO"), rule("socket")))
    assert ask("socket") == ALLOW
    ask = answers(profile(rule("socketcall", "SCMP_ACT_ERRNO", errnoRet=1), rule("socket", "SCMP_ACT_ALLOW", (0, "LT", 38))))
    assert ask("socketcall", 1, on="x86") == ALLOW


def test_multiplexers_carry_what_was_permitted_directly():
    ask = answers(profile(rule("socket", "SCMP_ACT_ALLOW", (0, "LT", 38)), rule("shmat")))
    assert [ask("socketcall", 1, on="x86"), ask("socketcall", 3, on="x86"), ask("ipc", 21, on="x86")] == [ALLOW, EPERM, ALLOW]
    ask = answers(profile(rule("socket", "SCMP_ACT_ALLOW", (0, "LT", 38)), rule("socketcall", "SCMP_ACT_ERRNO", errnoRet=38)))
    assert ask("socketcall", 1, on="x86") == ENOSYS


def test_architectures():
    ask = answers(profile(rule("read")))
    assert ask("read", on="aarch64") == 0
    assert [ask(0x40000000), ask(0xFFFFFFFF), ask(0xFFFFFFFE)] == [0, EPERM, 0]
    assert answers(profile(rule("read"), architectures=[]))("read") == ALLOW


def test_whole_registers_on_64_bits_low_words_on_32():
    ask = answers(profile(rule("socket", "SCMP_ACT_ALLOW", (0, "EQ", 2))))
    assert [ask("socket", 2 | 1 << 32), ask("socket", 2 | 1 << 32, on="x86")] == [EPERM, ALLOW]


def test_the_stub_of_runc():
    raw = profile(rule("read exit_group", "SCMP_ACT_ALLOW"), rule("statx", "SCMP_ACT_ERRNO"))
    runc, crun = answers(raw, "runc"), answers(raw)
    statx = arch("x86_64").calls()["statx"]
    assert [runc("statx"), runc(statx + 1), runc(100)] == [EPERM, ENOSYS, EPERM]
    assert [crun(statx + 1), runc(0x40000000), runc(0x80000000), runc(0xFFFFFFFF)] == [EPERM, 0, ENOSYS, EPERM]
    assert answers(profile(rule("read exit_group"), architectures=[]), "runc")(500) == EPERM
    assert answers(profile(rule("read", "SCMP_ACT_ERRNO"), defaultAction="SCMP_ACT_ALLOW"), "runc")(500) == ALLOW
    assert answers(profile(rule("read exit_group"), defaultAction="SCMP_ACT_KILL"), "runc")(500) == ENOSYS


def test_errno():
    ask = answers(
        profile(rule("read", "SCMP_ACT_ERRNO", errnoRet=0), rule("write", "SCMP_ACT_TRACE"), rule("close", "SCMP_ACT_ERRNO", errnoRet=5))
    )
    assert [ask("read"), ask("write"), ask("close")] == [0x50000, 0x7FF00001, 0x50005]


def test_unknown_names_are_skipped_and_said():
    found = read(profile(rule("read no_such_call")), "p.json", runtime="crun", native="x86_64")
    assert [note.message for note in found.notes] == ["'no_such_call' is no system call: skipped, as crun does"]


def test_inside_a_config():
    raw = json.dumps({"ociVersion": "1.0.2", "linux": {"namespaces": [], "seccomp": json.loads(profile(rule("read")))}}).encode()
    assert detect(raw) == "oci"
    assert read(raw, "config.json", native="x86_64").decision is read(profile(rule("read")), "p.json", native="x86_64").decision


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"defaultAction": "SCMP_ACT_ALLOW", "defaultAction": "SCMP_ACT_KILL"}', "p.json:1: the key 'defaultAction' is given twice"),
        (profile(rule("read"), sycalls=[]), "unknown key 'sycalls'; did you mean 'syscalls'?"),
        (profile({"names": ["read"], "action": "SCMP_ACT_ALLOW", "nmaes": []}), "syscalls[0]: unknown key 'nmaes'; did you mean 'names'?"),
        (profile(rule("read", "SCMP_ACT_ALOW")), "syscalls[0].action: no action 'SCMP_ACT_ALOW'"),
        (profile(rule("read", "SCMP_ACT_ALLOW", (6, "EQ", 1))), "syscalls[0].args[0].index: expected a number from 0 to 5, found 6"),
        (profile(rule("read", "SCMP_ACT_ALLOW", (0, "IS", 1))), "syscalls[0].args[0].op: no operator 'SCMP_CMP_IS'"),
        (profile(rule("read", "SCMP_ACT_ALLOW", (0, "EQ", -1))), "expected a number from 0 to 18446744073709551615, found -1"),
        (profile(rule("read", "SCMP_ACT_ERRNO", errnoRet=5000)), "the runtime does not start with errno 5000"),
        (profile(rule("read"), architectures=["SCMP_ARCH_Z80"]), "architectures[0]: no architecture 'SCMP_ARCH_Z80'"),
        (profile(rule("read"), architectures=["SCMP_ARCH_S390X"]), "architectures[0]: s390x is big endian"),
        (profile(rule("read"), flags=["SECCOMP_FILTER_FLAG_FAST"]), "flags[0]: no flag that runc knows"),
        (profile(rule("write", "SCMP_ACT_NOTIFY"), listenerPath="/a"), "runc refuses SCMP_ACT_NOTIFY on write"),
        (profile(rule("connect", "SCMP_ACT_NOTIFY")), "SCMP_ACT_NOTIFY without 'listenerPath'"),
        (
            profile(rule("socket", "SCMP_ACT_ALLOW", (0, "LT", 9)), rule("socket", "SCMP_ACT_KILL", (0, "EQ", 3))),
            "overlap, with different actions",
        ),
        (profile(rule("read"), archMap=[]), "source form"),
        (profile({"action": "SCMP_ACT_ALLOW"}), "the key 'names' is missing"),
        (profile(rule("read"), defaultAction=None), "the key 'defaultAction' is missing"),
        (profile(syscalls={}), "expected a list, found an object"),
        (profile(rule("read") | {"action": None}), "the key 'action' is missing"),
        (b'{"defaultAction": "SCMP_ACT_ALLOW",}', "p.json:1:"),
        (b'{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": NaN}', "NaN is no number of JSON"),
        (b'{"defaultAction": ' + b"[" * 100_000, "p.json"),
    ],
)
def test_faults(raw, message):
    with pytest.raises(InputError) as caught:
        read(raw, "p.json", format="oci", native="x86_64")
    assert message in str(caught.value)


def test_every_fault_at_once():
    with pytest.raises(InputError) as caught:
        read(profile(rule("read", "SCMP_ACT_A"), rule("write", "SCMP_ACT_B"), architectures=["X"]), "p.json", native="x86_64")
    assert len(caught.value.diagnostics) == 3


def test_crun_where_it_differs():
    read(profile(rule("write", "SCMP_ACT_NOTIFY")), "p.json", runtime="crun", native="x86_64")
    with pytest.raises(InputError, match="crun refuses an errno with SCMP_ACT_LOG"):
        read(profile(rule("read", "SCMP_ACT_LOG", errnoRet=3)), "p.json", runtime="crun", native="x86_64")
    with pytest.raises(UsageError, match="no runtime 'youki'"):
        read(profile(rule("read")), "p.json", runtime="youki")


def test_what_is_no_profile():
    for raw in (b"", b"[]", b'{"a": 1}', b"default allow\n", b"\x06\0\0\0\0\0\xff\x7f"):
        assert detect(raw) is None
    with pytest.raises(UsageError, match="none of the formats"):
        read(b"[]", "x")
