"""``seclude disasm``."""

from __future__ import annotations

import json

import pytest

from seclude.bpf import Program, assemble
from seclude.cli.main import main
from support import seclude

TEXT = "A = arch\nif (A != ARCH_X86_64) goto bad\nA = sys_number\nif (A == openat) goto bad\nreturn ALLOW\nbad: return ERRNO(EPERM)\n"
PROGRAM = assemble(TEXT)


@pytest.fixture
def filter_file(tmp_path):
    path = tmp_path / "f.bpf"
    path.write_bytes(PROGRAM.to_bytes())
    return str(path)


def test_styles(filter_file, capsys):
    assert main(["disasm", filter_file]) == 0
    annotated = capsys.readouterr().out
    assert "└─▶  return ERRNO(EPERM)" in annotated or "▶  return ERRNO(EPERM)" in annotated
    assert main(["disasm", "--style", "plain", filter_file]) == 0
    plain = capsys.readouterr().out
    assert " 0003: 0x15 0x01 0x00 0x00000101  if (A == openat) goto 0005\n" in plain
    assert main(["disasm", "-s", "asm", filter_file]) == 0
    assert assemble(capsys.readouterr().out) == PROGRAM


def test_json(filter_file, capsys):
    assert main(["disasm", "--json", filter_file]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["schema"], data["form"], data["byteorder"], data["loadable"]) == ("seclude.disasm/1", "raw", "little", True)
    assert data["instructions"][3] == {
        "index": 3, "code": 0x15, "jt": 1, "jf": 0, "k": 257, "text": "if (A == openat) goto 0005", "meaning": "", "findings": [],
    }  # fmt: skip


def test_stdin_and_an_encoding_without_arrows(filter_file):
    done = seclude("disasm", "-", stdin=PROGRAM.to_bytes(), env={"PYTHONIOENCODING": "latin-1"})
    assert done.status == 0
    assert done.stdout.isascii()
    assert "+>  return" in done.stdout
    assert seclude("disasm", "-", stdin=b"").status == 125


def test_what_the_kernel_refuses(tmp_path, capsys):
    path = tmp_path / "f"
    path.write_bytes(PROGRAM.to_bytes()[:-8] + b"xyz")
    assert main(["disasm", str(path)]) == 1
    got = capsys.readouterr()
    assert "refused: jf = 3 leads to 5 of 5" in got.out
    assert "3 bytes left over at offset 40" in got.err
    assert "the kernel would refuse this filter" in got.err
    assert main(["disasm", "-s", "plain", str(path)]) == 1
    assert "jf = 3 leads to 5 of 5" in capsys.readouterr().err
    path.write_bytes(Program(PROGRAM, "big").to_bytes() + b"x")
    assert main(["disasm", "--json", str(path)]) == 1
    assert json.loads(capsys.readouterr().out)["loadable"] is False


def test_byte_order(tmp_path, capsys):
    path = tmp_path / "f"
    path.write_bytes(Program(PROGRAM, "big").to_bytes())
    assert main(["disasm", str(path)]) == 0
    assert "read as big-endian" in capsys.readouterr().err
    assert main(["disasm", "--byteorder", "little", str(path)]) == 125
    assert "as big-endian only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "takes one file"),
        (("a", "b"), "takes one file"),
        (("/nonexistent",), "No such file"),
        (("/usr/bin/env",), "an ELF program"),
        (("--arch", "vax", "FILE"), "unknown architecture"),
        (("--style", "odd", "FILE"), "takes one of"),
    ],
)
def test_usage(words, said, filter_file, capsys):
    assert main(["disasm", *(filter_file if word == "FILE" else word for word in words)]) == 125
    got = capsys.readouterr()
    assert said in got.err
    assert got.out == ""


def test_a_name_of_a_stranger_reaches_no_terminal(tmp_path, capsys):
    path = tmp_path / "x\x1b[31m"
    path.write_bytes(b"\x7fELF")
    assert main(["disasm", str(path)]) == 125
    assert "\x1b" not in capsys.readouterr().err
