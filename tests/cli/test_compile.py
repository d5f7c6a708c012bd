"""``seclude compile`` as a user sees it."""

import json

import pytest

from seclude.bpf import Program, assemble
from seclude.compiler import compile as build
from seclude.policy import load
from support import seclude


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "p.seclude"
    path.write_text("default errno(EPERM)\narch x86_64, x86\nallow read, write, exit_group\nallow socket(domain == AF_UNIX)\n")
    return path


def test_a_file_and_its_certificate(policy, tmp_path):
    done = seclude("compile", policy, "-o", tmp_path / "out.bpf", "--certificate", tmp_path / "c.json")
    assert (done.status, done.stdout, done.stderr) == (0, "", ""), done
    built = build(load(str(policy)))
    assert (tmp_path / "out.bpf").read_bytes() == bytes(built)
    assert json.loads((tmp_path / "c.json").read_text()) == built.certificate.as_json()


def test_text_on_standard_output_and_a_table(policy):
    done = seclude("compile", policy, "--emit=asm", "--certificate", "-")
    assert done.status == 0, done
    assert assemble(done.stdout) == build(load(str(policy))).program
    assert "read back and equal to the policy" in done.stderr


def test_weights_and_extra_rules(policy, tmp_path):
    (tmp_path / "w.json").write_text('{"write": 900, "read": 1}')
    done = seclude(
        "compile",
        policy,
        "--emit",
        "json",
        "--weights",
        tmp_path / "w.json",
        "--optimize-for",
        "profile",
        "--allow",
        "getpid",
        "--deny",
        "read(fd == 7)",
    )
    assert done.status == 0, done
    assert Program([tuple(one) for one in json.loads(done.stdout)["instructions"]], "little")


def test_another_native_and_the_reported_form():
    done = seclude("compile", "container", "--arch", "s390x", "--emit", "json", "--reported")
    assert done.status == 0, done
    found = json.loads(done.stdout)
    assert found["byteorder"] == "big"
    assert not any(code == 6 and k >> 16 == 5 for code, _, _, k in found["instructions"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name one policy"),
        (["container", "compute"], "name one policy"),
        (["no-such-policy"], "no preset and no file"),
        (["container", "--emit", "cobol"], "--emit takes one of"),
        (["container", "--optimize-for", "luck"], "--optimize-for takes one of"),
        (["container", "--arch", "z80"], "z80"),
        (["container", "--weights", "/no/such/file"], "/no/such/file"),
        (["container", "-o", "/no/such/directory/f"], "cannot be written"),
        (["container", "--allow", "no_such_call"], "no_such_call"),
        (["container", "--emit", "c", "--name", "1x"], "identifier"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(words, said):
    done = seclude("compile", *words)
    assert done.status == 125, done
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"read": -1}', '{"read": "often"}', '{"read": NaN}', '{"read": true}', "\udcff", "[" * 100_000]
)
def test_profiles_that_are_none(policy, tmp_path, text):
    (tmp_path / "w.json").write_bytes(text.encode(errors="surrogateescape"))
    done = seclude("compile", policy, "--weights", tmp_path / "w.json", "--emit", "asm")
    assert done.status == 125, done
    assert "Traceback" not in done.stderr


def test_a_rule_that_never_applies_is_shown_with_its_place(tmp_path):
    (tmp_path / "bad.seclude").write_text("default kill\narch x86_64\nallow ptrace\nkill ptrace\n")
    done = seclude("compile", tmp_path / "bad.seclude", "--emit", "asm")
    assert done.status == 125
    assert "bad.seclude:4:6" in done.stderr
    assert "^^^^^^" in done.stderr
