"""``seclude syscalls``: what is printed, and what is refused."""

from __future__ import annotations

import json

import pytest

from seclude import abi
from seclude.cli import main as command_line
from support import seclude


@pytest.fixture
def ask(capsys):
    """Run the command in this process: (exit code, stdout, stderr)."""

    def asked(*words):
        code = command_line.main(["syscalls", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return asked


def test_a_name_shows_every_architecture(ask):
    code, out, err = ask("openat")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "openat"
    assert "  since      Linux 2.6.16" in lines
    words = out.split()
    for one in abi.ALL:
        shown = f"{one.number('openat'):#x}" if one.name == "x32" else str(one.number("openat"))
        assert words[words.index(one.name) + 1] == shown


def test_a_name_shows_prototype_and_groups(ask):
    _, out, _ = ask("openat", "--arch", "x86_64")
    assert "openat(int dirfd, const char *pathname, int flags, umode_t mode)" in out
    groups = next(line for line in out.splitlines() if line.startswith("  groups"))
    assert "@" in groups


def test_prototypes_that_differ_are_each_shown_with_their_architectures(ask):
    _, out, _ = ask("clone")
    lines = [line for line in out.splitlines() if line.startswith("  prototype")]
    assert len(lines) > 1
    assert lines[-1].endswith("elsewhere")
    assert any("s390x" in line for line in lines[:-1])


def test_one_architecture_by_any_of_its_names(ask):
    for word in ("x86_64", "amd64", "SCMP_ARCH_X86_64", "3221225534", "0xc000003e"):
        _, out, _ = ask("execve", "--arch", word)
        assert out.splitlines()[-1].split() == ["x86_64", "59"]


def test_several_architectures_in_the_houses_order(ask):
    _, out, _ = ask("execve", "--arch", "arm64", "--arch", "386")
    assert out.split()[-4:] == ["x86", "11", "aarch64", "221"]


def test_a_number_is_never_resolved_without_its_architecture(ask):
    code, out, _ = ask("59")
    assert code == 0
    meanings = dict(line.split(None, 1) for line in out.splitlines())
    assert meanings["x86_64"] == "execve"
    assert meanings["x86"] == "oldolduname"
    assert meanings["ppc64"] == "oldolduname  (retired)"
    assert "x32" not in meanings


def test_a_number_on_one_architecture_shows_the_call(ask):
    _, out, _ = ask("101", "--arch", "amd64")
    assert out.splitlines()[0] == "ptrace"


@pytest.mark.parametrize("words", [("0x40000209", "--arch", "x32"), ("1073742345", "--arch", "x32")])
def test_x32_numbers_carry_their_bit(ask, words):
    _, out, _ = ask(*words)
    assert out.splitlines()[0] == "ptrace"
    assert out.splitlines()[-1].split() == ["x32", "0x40000209"]


def test_an_x32_number_without_its_bit_is_explained(ask):
    code, out, err = ask("521", "--arch", "x32")
    assert (code, out) == (125, "")
    assert "no call has the number 521 on x32" in err
    assert "0x40000209" in err


def test_private_arm_numbers(ask):
    assert ask("0xf0005")[1] == "arm  set_tls\n"


def test_a_pattern_lists_the_native_architecture_and_its_companions(ask):
    if abi.native().name != "x86_64":
        pytest.skip("written for x86_64")
    code, out, _ = ask("clone*")
    assert code == 0
    assert out.splitlines() == ["x86  x86_64  call    since", "120      56  clone   1.0", "435     435  clone3  5.3"]


def test_a_pattern_on_one_architecture_is_in_the_order_of_numbers(ask):
    _, out, _ = ask("*nice*", "--arch", "x86")
    assert out.splitlines() == ["x86  call  since", " 34  nice  1.0"]
    _, out, _ = ask("*module*", "-a", "x86_64")
    assert [line.split()[1] for line in out.splitlines()[1:]] == [
        "create_module",
        "init_module",
        "delete_module",
        "query_module",
        "finit_module",
        "lsm_list_modules",
    ]


def test_a_pattern_that_only_others_know_is_found_there(ask):
    _, out, _ = ask("riscv_*")
    assert out.splitlines()[0].split() == ["riscv64", "call", "since"]
    assert "riscv_hwprobe" in out


def test_without_a_name_the_native_table_is_listed(ask):
    _, out, _ = ask()
    lines = out.splitlines()
    assert len(lines) == 1 + len(abi.native().calls())
    assert lines[0].split() == [abi.native().name, "call", "since"]
    numbers = [int(line.split()[0], 0) for line in lines[1:]]
    assert numbers == sorted(numbers)


def test_the_whole_of_every_table_can_be_listed(ask):
    code, out, _ = ask("--arch", "all")
    assert code == 0
    assert out.splitlines()[0].split() == [*abi.ARCHITECTURES, "call", "since"]


def test_retired_calls_are_marked(ask):
    _, out, _ = ask("create_module")
    assert "retired    no current kernel answers it\n" in out
    _, out, _ = ask("readdir")
    assert "no current kernel answers it on ppc64, ppc64le, s390x" in out
    _, out, _ = ask("create_mod*", "--arch", "x86_64")
    assert out.splitlines()[1].split() == ["174", "create_module", "1.0", "retired"]


def test_a_synonym_leads_to_the_calls_name(ask):
    assert ask("arm_sync_file_range")[1].splitlines()[0] == "sync_file_range2"


def test_the_version_is_the_architectures_own(ask):
    assert "Linux 2.6.16" in ask("newfstatat", "--arch", "x86_64")[1]
    assert "Linux 6.11" in ask("newfstatat", "--arch", "loongarch64")[1]


def test_json(ask):
    _, out, _ = ask("mseal", "--json")
    (call,) = json.loads(out)
    assert call["name"] == "mseal"
    assert call["since"] == "6.10"
    assert call["retired"] == []
    assert call["numbers"] == {one.name: one.number("mseal") for one in abi.ALL}
    assert call["prototypes"]["x86_64"].startswith("mseal(")
    _, out, _ = ask("59", "--json")
    assert {"x86_64"} <= {name for call in json.loads(out) if call["name"] == "execve" for name in call["numbers"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["opnat"], "unknown call 'opnat'; did you mean 'openat'?"),
        (["qqqq"], "unknown call 'qqqq'\n"),
        (["riscv_hwprobe", "--arch", "x86"], "x86 has no call 'riscv_hwprobe'\n  it exists on riscv64"),
        (["read", "--arch", "x86_46"], "unknown architecture 'x86_46'; did you mean 'x86_64'?"),
        (["read", "--arch", "0x1234"], "no architecture has the audit token 0x1234"),
        (["999999"], "no call has the number 999999 on any architecture"),
        (["337", "--arch", "x86_64"], "no call has the number 337 on x86_64"),
        (["0x100000000"], "no call can have the number 0x100000000"),
        (["--", "-1"], "no call can have the number -1"),
        (["-1"], "unknown option '-1'"),
        (["zz*"], "no call of any architecture matches 'zz*'"),
        (["read", "write"], "takes one name, number or pattern, not 2"),
        (["--arhc", "x86"], "unknown option '--arhc'; did you mean --arch?"),
        (["read", "--arch"], "--arch needs a value"),
    ],
)
def test_what_cannot_be_meant_is_refused(ask, words, message):
    code, out, err = ask(*words)
    assert (code, out) == (125, "")
    assert message in err
    assert "Traceback" not in err


def test_the_command_itself():
    done = seclude("syscalls", "read", "--arch", "x86")
    assert done.status == 0, str(done)
    assert done.stdout.splitlines()[-1].split() == ["x86", "3"]
    assert seclude("syscalls", "--help").stdout.startswith("usage: seclude syscalls")
