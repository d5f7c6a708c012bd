"""``seclude emu``."""

from __future__ import annotations

import json

import pytest

from seclude.bpf import assemble
from seclude.cli.main import main
from support import ROOT

PROGRAM = assemble(
    "A = arch\nif (A != ARCH_X86_64) goto bad\nA = sys_number\nif (A == read) goto ok\nif (A != socket) goto no\nA = args[0]\nif (A == AF_UNIX) goto ok\n"
    "no: return ERRNO(EPERM)\nok: return ALLOW\nbad: return KILL_PROCESS\n"
)


@pytest.fixture
def filter_file(tmp_path):
    path = tmp_path / "f.bpf"
    path.write_bytes(PROGRAM.to_bytes())
    return str(path)


def test_an_answer_with_its_way(filter_file, capsys):
    assert main(["emu", filter_file, "--arch", "x86_64", "socket", "domain=AF_UNIX"]) == 0
    shown = capsys.readouterr().out
    assert "socket(AF_UNIX, 0x0, 0) on x86_64, number 41" in shown
    assert "0006: if (A == 0x1) goto 0008" in shown
    assert "A is 0x1: on to 0008" in shown
    assert "ALLOW: the call runs\n8 instructions executed\nkernel's bitmap: no, instruction 0005 looks at args[0]\n" in shown
    assert main(["emu", "-q", filter_file, "-a", "x86_64", "socket", "AF_INET"]) == 0
    assert capsys.readouterr().out == "ERRNO(EPERM): the call fails with EPERM\n"
    assert main(["emu", "-q", filter_file, "-a", "aarch64", "read"]) == 0
    assert capsys.readouterr().out == "KILL_PROCESS: the process is killed\n"
    assert main(["emu", filter_file, "-a", "x86_64", "read"]) == 0
    assert "kernel's bitmap: yes" in capsys.readouterr().out


def test_negative_numbers_are_arguments(filter_file, capsys):
    assert main(["emu", filter_file, "-a", "x86_64", "mmap", "0", "4096", "3", "2", "-1", "0", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["call"]["args"] == [0, 4096, 3, 2, 0xFFFFFFFF, 0]
    assert main(["emu", filter_file, "-a", "x86_64", "-1", "-q"]) == 0


def test_json(filter_file, capsys):
    assert main(["emu", "--json", filter_file, "-a", "x86_64", "socket", "1"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "seclude.emu/1"
    assert (data["action"], data["value"], data["executed"]) == ("ALLOW", 0x7FFF0000, 8)
    assert data["bitmap"] == {"answers": False, "why": "instruction 0005 looks at args[0]"}
    assert data["steps"][5] == {"index": 5, "text": "A = args[0]", "a": 1, "x": 0, "stored": None, "next": 6}
    assert data["steps"][-1]["next"] is None


@pytest.mark.parametrize(("command", "words"), [("disasm", ()), ("emu", ("read",))])
def test_the_documented_fields_are_the_fields(command, words, filter_file, capsys):
    page = (ROOT / "docs" / "reference" / "filter-json.md").read_text().partition(f"## seclude.{command}/1")[2].partition("\n## ")[0]
    assert main([command, "--json", filter_file, *words]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == f"seclude.{command}/1"
    names = {
        name for value in data.values() for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict) for name in one
    }
    assert {name for name in {*data, *names} - {"schema"} if f"`{name}`" not in page} == set()


def test_the_instruction_pointer(tmp_path, capsys):
    path = tmp_path / "f.asm"
    path.write_text("A = instruction_pointer >> 32\nif (A == 0x7fff) goto ok\nreturn KILL\nok: return ALLOW\n")
    for address, action in (("0x7fff00001000", "ALLOW"), ("4096", "KILL_THREAD")):
        assert main(["emu", "-q", "--ip", address, str(path), "read"]) == 0
        assert capsys.readouterr().out.startswith(action)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("FILE",), "a file and a call are needed"),
        (("FILE", "opennat"), "did you mean 'openat'"),
        (("FILE", "openat", "0", "/etc/passwd"), "never what is there"),
        (("FILE", "read", "--arch", "vax"), "unknown architecture"),
        (("FILE", "read", "--ip", "x"), "no number"),
        (("FILE", "read", "--ip", "-1"), "not within 0..0xffffffffffffffff"),
        (("/nonexistent", "read"), "No such file"),
        (("FILE", "read", "--odd"), "unknown option"),
    ],
)
def test_usage(words, said, filter_file, capsys):
    assert main(["emu", *(filter_file if word == "FILE" else word for word in words)]) == 125
    got = capsys.readouterr()
    assert said in got.err
    assert got.out == ""


def test_a_filter_that_would_not_load(tmp_path, capsys):
    path = tmp_path / "f.asm"
    path.write_text("A = mem[1]\nA = 1\n")
    assert main(["emu", str(path), "read"]) == 125
    assert "scratch cell 1" in capsys.readouterr().err
