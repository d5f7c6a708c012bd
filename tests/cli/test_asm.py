"""``seclude asm``."""

from __future__ import annotations

import os
import pty

import pytest

from seclude.bpf import Program, assemble
from seclude.cli.main import main
from support import seclude, start

TEXT = "A = sys_number\nif (A == read) goto ok\nreturn KILL\nok: return ALLOW\n"


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "f.asm"
    path.write_text(TEXT)
    return str(path)


def test_files(text_file, tmp_path):
    out = tmp_path / "f.bpf"
    assert main(["asm", text_file, "--arch", "x86_64", "-o", str(out)]) == 0
    assert out.read_bytes() == assemble(TEXT, arch="x86_64").to_bytes()
    assert main(["asm", text_file, "--arch", "s390x", "-o", str(out)]) == 0
    assert Program.from_bytes(out.read_bytes(), "big") == assemble(TEXT, arch="s390x")
    assert main(["asm", text_file, "--byteorder", "big", "--arch", "x86_64", "-o", str(out)]) == 0
    assert Program.from_bytes(out.read_bytes(), "big").instructions == assemble(TEXT, arch="x86_64", byteorder="big").instructions
    assert sorted(os.listdir(tmp_path)) == ["f.asm", "f.bpf"]


@pytest.mark.parametrize("form", ["hex", "string", "c", "python", "asm", "listing"])
def test_forms_go_to_stdout_and_back(form, text_file):
    done = seclude("asm", "-f", form, text_file)
    assert done.status == 0
    back = seclude("disasm", "--style", "asm", "-", stdin=done.stdout)
    assert assemble(back.stdout) == assemble(TEXT)


def test_stdin_to_stdout(tmp_path):
    done = seclude("asm", "-", "--format", "hex", stdin="return ALLOW\n")
    assert done.stdout == "060000000000ff7f\n"
    assert seclude("asm", "-", "-o", "-", "-f", "hex", stdin="return ALLOW").stdout == "060000000000ff7f\n"


def test_bytes_are_not_for_a_terminal(text_file):
    primary, secondary = pty.openpty()
    import subprocess
    import sys

    child = start([sys.executable, "-m", "seclude", "asm", text_file], stdout=secondary, stderr=subprocess.PIPE)
    _, err = child.communicate(timeout=60)
    os.close(primary)
    os.close(secondary)
    assert child.returncode == 125
    assert b"not for a terminal" in err


def test_faults_name_line_and_column_and_leave_the_file(tmp_path, capsys):
    path, out = tmp_path / "f.asm", tmp_path / "out"
    out.write_bytes(b"old")
    path.write_text("A = arch\n  if (A == ARCH_X68_64) goto bad\nreturn ERRNO(EPREM)\n")
    assert main(["asm", str(path), "-o", str(out)]) == 125
    shown = capsys.readouterr().err
    assert f"{path}:2:12: error" in shown
    assert "            ^^^^^^^^^^^" in shown
    assert "did you mean 'ARCH_X86_64'" in shown
    assert f"{path}:3:14: error" in shown
    assert f"{path}:2:30: error: no label 'bad'" in shown
    assert out.read_bytes() == b"old"


def test_what_the_kernel_would_refuse_is_not_written(tmp_path, capsys):
    path, out = tmp_path / "f.asm", tmp_path / "out"
    path.write_text("A = mem[3]\nA /= 0\nA = 1\n")
    assert main(["asm", str(path), "-o", str(out)]) == 1
    shown = capsys.readouterr().err
    assert f"{path}:1:1: error: instruction 0: scratch cell 3" in shown
    assert f"{path}:2:1: error: instruction 1: division by the constant 0" in shown
    assert f"{path}:3:1: error: instruction 2: the last instruction is not a RET" in shown
    assert not out.exists()
    assert main(["asm", str(path), "-o", str(out), "--unchecked"]) == 0
    assert len(out.read_bytes()) == 24


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "takes one file"),
        (("/usr/bin/env",), "not text"),
        (("/nonexistent",), "No such file"),
        (("FILE", "-o", "/nonexistent/f"), "cannot be written"),
        (("FILE", "-o", ""), "names nothing"),
        (("FILE", "-f", "exe"), "takes one of"),
        (("FILE", "--arch", "vax"), "unknown architecture"),
    ],
)
def test_usage(words, said, text_file, capsys):
    assert main(["asm", *(text_file if word == "FILE" else word for word in words)]) == 125
    assert said in capsys.readouterr().err
