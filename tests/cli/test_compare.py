"""prove, diff, subset, fuse, optimize, decompile: words, exit codes, what is printed, what is written."""

import io
import json
import os
import stat
import sys

import pytest

from seclude.analysis.write import write
from seclude.bpf import Program, assemble, disassemble, listing
from seclude.cli.main import main
from seclude.compiler import compile as build
from seclude.decision import from_policy, from_program, stack
from seclude.policy import parse

A = """default errno(EPERM)
arch x86_64
allow read, write, exit_group, socket(domain != AF_VSOCK)
kill ptrace
"""
B = """default errno(EPERM)
arch x86_64
allow read, exit_group, socket(domain:u64 != AF_VSOCK), open, close, mmap
errno(EACCES) write
"""
ARGUMENTS = "socket(0x100000028 = AF_VSOCK after the kernel drops the high word, SOCK_STREAM, 0)"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.seclude").write_text(A)
    (tmp_path / "b.seclude").write_text(B)
    (tmp_path / "a.bpf").write_bytes(bytes(build(parse(A))))
    (tmp_path / "b.bpf").write_bytes(bytes(build(parse(B))))
    return tmp_path


def said(capsys, *words, code=0):
    assert main(list(words)) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out if code != 125 else err


# ── diff ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_diff_prints_a_call_for_every_difference(place, capsys):
    assert said(capsys, "diff", "a.seclude", "b.seclude", code=1).splitlines() == [
        "they differ   A: a.seclude (policy)   B: b.seclude (policy)",
        "x86_64:",
        "- write(0, NULL, 0)   A: ALLOW   B: ERRNO(EACCES)",
        "+ open(NULL, O_RDONLY, 0)   A: ERRNO(EPERM)   B: ALLOW",
        "    and 2 more: close, mmap",
        f"+ {ARGUMENTS}   A: ERRNO(EPERM)   B: ALLOW",
        "    where domain == AF_VSOCK and domain:u64 >= 0x100000000",
        "~ ptrace(PTRACE_TRACEME, 0, 0, 0)   A: KILL_PROCESS   B: ERRNO(EPERM)",
        f"B can be bypassed: {ARGUMENTS} on x86_64 gets ALLOW, and socket(AF_VSOCK, SOCK_STREAM, 0), which is the same to the kernel, ERRNO(EPERM)",
    ]


def test_diff_as_json(place, capsys):
    report = json.loads(said(capsys, "diff", "--json", "a.seclude", "b.bpf", code=1))
    assert report["answer"] is False
    assert report["same_to_kernel"] is False
    assert report["bypass"]["A"] is None
    assert report["bypass"]["B"].startswith(ARGUMENTS)
    kinds = {change["witness"]["text"]: change for change in report["differences"]}
    change = kinds[ARGUMENTS]
    assert (change["sign"], change["a"], change["b"]) == ("+", "ERRNO(EPERM)", "ALLOW")
    assert change["condition"] == "domain == AF_VSOCK and domain:u64 >= 0x100000000"
    assert change["witness"]["arguments"][:2] == ["0x100000028", "0x1"]
    assert kinds["open(NULL, O_RDONLY, 0)"]["calls"] == ["open", "close", "mmap"]
    assert json.loads(said(capsys, "diff", "--json", "a.seclude", "a.bpf")) == {
        "answer": True,
        "verdict": "equal",
        "a": "a.seclude",
        "b": "a.bpf",
        "differences": [],
    }


def test_equal_meanings_are_equal_whatever_the_form(place, capsys):
    (place / "a.asm").write_text(disassemble(assemble_file(place / "a.bpf")))
    (place / "a.txt").write_text(listing(assemble_file(place / "a.bpf")))
    for other in ("a.bpf", "a.asm", "a.txt"):
        assert said(capsys, "diff", "a.seclude", other).startswith("equal: ")


def assemble_file(path):
    return Program.from_bytes(path.read_bytes())


def test_only_some_calls_can_be_looked_at(place, capsys):
    out = said(capsys, "diff", "--call", "write", "--call", "101", "a.seclude", "b.seclude", code=1)
    assert [line[0] for line in out.splitlines()[2:-1]] == ["-", "~"]
    assert said(capsys, "diff", "--call", "read", "a.seclude", "b.seclude").startswith("equal")
    assert said(capsys, "diff", "--on", "x86", "a.seclude", "b.seclude").startswith("equal")
    assert "write(" in said(capsys, "diff", "--on", "x86_64", "--call", "0x1", "a.seclude", "b.seclude", code=1)
    assert "did you mean 'write'" in said(capsys, "diff", "--call", "wirte", "a.seclude", "b.seclude", code=125)
    assert "name or a number" in said(capsys, "diff", "--call", "9x", "a.seclude", "b.seclude", code=125)
    assert "32 bits" in said(capsys, "diff", "--call", "0x100000000", "a.seclude", "b.seclude", code=125)


def test_differences_in_ignored_bits_are_said_to_be(place, capsys):
    (place / "wide").write_text("default errno(EPERM)\narch x86_64\nallow socket(domain:u64 == AF_UNIX)\n")
    (place / "typed").write_text("default errno(EPERM)\narch x86_64\nallow socket(domain == AF_UNIX)\n")
    out = said(capsys, "diff", "wide", "typed", code=1)
    assert out.splitlines()[-1].startswith("These differences lie only in bits that the kernel ignores")
    assert "bypassed" not in out


def test_many_differences_are_cut_and_all_shows_them(place, capsys):
    (place / "many").write_text("default allow\narch x86_64\n" + "".join(f"errno({i + 40}) {i}\n" for i in range(60)))
    (place / "none").write_text("default allow\narch x86_64\n")
    out = said(capsys, "diff", "many", "none", code=1)
    assert "... and 20 more (--all shows them)" in out
    assert said(capsys, "diff", "--all", "many", "none", code=1).count("\n+ ") == 60


def test_filters_that_never_look_at_the_architecture(place, capsys):
    (place / "x.asm").write_text("A = sys_number\nif (A == 57) goto a\nreturn KILL_PROCESS\na: return ALLOW\n")
    (place / "y.asm").write_text("return KILL_PROCESS\n")
    out = said(capsys, "diff", "x.asm", "y.asm", code=1)
    assert "any architecture:\n- fork() on x86_64   A: ALLOW   B: KILL_PROCESS\n" in out
    (place / "z.asm").write_text("A = sys_number\nA &= 1\nif (A == 1) goto a\nreturn KILL_PROCESS\na: return ALLOW\n")
    assert "A: KILL_PROCESS   B: ALLOW" in said(capsys, "diff", "y.asm", "z.asm", code=1)


# ── prove, subset ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_prove(place, capsys):
    out = said(capsys, "prove", "a.seclude", "a.bpf")
    assert out.startswith("proven: a.bpf (")
    assert out.endswith("means exactly what a.seclude (policy) says\n")
    out = said(capsys, "prove", "a.seclude", "b.bpf", code=1)
    assert out.startswith("not proven   A: a.seclude")
    assert f"+ {ARGUMENTS}" in out
    assert said(capsys, "prove", "container", "container").startswith("proven")
    assert json.loads(said(capsys, "prove", "--json", "a.seclude", "a.bpf"))["answer"] is True


def test_subset(place, capsys):
    (place / "less").write_text("default kill\narch x86_64\nunknown kill\nallow read\n")
    assert said(capsys, "subset", "less", "a.seclude").startswith("A is within B")
    out = said(capsys, "subset", "a.seclude", "less", code=1)
    assert "- write(0, NULL, 0)   A: ALLOW   B: KILL_PROCESS" in out
    assert "ptrace" not in out
    # By the kernel's order a kill is no more than a kill, an errno more than it.
    assert "~ " in said(capsys, "subset", "--strict", "a.seclude", "less", code=1)
    assert said(capsys, "subset", "--strict", "less", "a.seclude").startswith("A is within B")
    assert json.loads(said(capsys, "subset", "--json", "less", "a.seclude"))["answer"] is True


# ── what writes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fuse_is_the_stack(place, capsys):
    assert main(["fuse", "a.bpf", "b.bpf", "-o", "out.bpf"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "proven equal" in err
    fused = from_program(assemble_file(place / "out.bpf"))
    assert fused is stack(from_policy(parse(A)), from_policy(parse(B)))
    assert main(["fuse", "a.seclude", "container", "--emit", "asm", "-o", "-"]) == 0
    assert assemble(capsys.readouterr().out)


def test_fuse_keeps_the_order_of_loading(place, capsys):
    (place / "old").write_text("default allow\narch x86_64\nerrno(EACCES) read\n")
    (place / "new").write_text("default allow\narch x86_64\nerrno(ENOSYS) read\n")
    for first, last in (("old", "new"), ("new", "old")):
        assert main(["fuse", first, last, "-o", "out.bpf"]) == 0
        capsys.readouterr()
        assert said(capsys, "diff", "out.bpf", last).startswith("equal")


def test_optimize_improves_or_keeps(place, capsys):
    lines = ["A = arch", "if (A != ARCH_X86_64) goto bad", "A = sys_number"]
    lines += [f"if (A == {number}) goto good" for number in range(60)]
    text = "\n".join([*lines, "bad: return KILL_PROCESS", "good: return ALLOW"])
    (place / "slow.bpf").write_bytes(assemble(text).to_bytes())
    assert main(["optimize", "slow.bpf", "-o", "fast.bpf"]) == 0
    assert "before: 65 instructions" in capsys.readouterr().err
    fast = assemble_file(place / "fast.bpf")
    assert from_program(fast) is from_program(assemble(text))
    assert len(fast) < 12
    # A second time there is nothing left to do, and what is written is what was read.
    assert main(["optimize", "fast.bpf", "-o", "again.bpf"]) == 0
    assert "nothing to improve" in capsys.readouterr().err
    assert (place / "again.bpf").read_bytes() == (place / "fast.bpf").read_bytes()


def test_optimize_takes_policies(place, capsys):
    assert main(["optimize", "a.seclude", "-o", "out.bpf"]) == 0
    assert "proven equal" in capsys.readouterr().err
    assert said(capsys, "prove", "a.seclude", "out.bpf").startswith("proven")


@pytest.mark.parametrize("text", ["return ALLOW", "A = args[0]\nif (A & 1) goto a\nreturn ALLOW\na: return KILL_PROCESS"])
def test_optimize_never_makes_worse(place, capsys, text):
    (place / "small.bpf").write_bytes(assemble(text).to_bytes())
    assert main(["optimize", "small.bpf", "-o", "out.bpf"]) == 0
    assert len(assemble_file(place / "out.bpf")) <= len(assemble(text))
    assert capsys.readouterr().err


def test_decompile_closes_the_circle(place, capsys):
    assert main(["decompile", "b.bpf", "-o", "back.seclude"]) == 0
    assert capsys.readouterr().out == ""
    assert said(capsys, "prove", "back.seclude", "b.bpf").startswith("proven")
    out = said(capsys, "decompile", "b.bpf")
    assert out == (place / "back.seclude").read_text()
    assert "allow socket(domain:u64 != AF_VSOCK)\n" in out


def test_decompile_stops_at_what_it_cannot_say(place, capsys):
    (place / "odd.asm").write_text("A = sys_number\nif (A == 0) goto a\nreturn KILL_PROCESS\na: return ALLOW\n")
    err = said(capsys, "decompile", "odd.asm", "-o", "out.seclude", code=125)
    assert "the policy language cannot say any architecture" in err
    assert "--on x86_64" in err
    assert not (place / "out.seclude").exists()
    assert "allow read\n" in said(capsys, "decompile", "--on", "x86_64", "odd.asm")


def test_outputs_are_whole_or_not_there(place, capsys):
    target = place / "kept.bpf"
    target.write_bytes(b"precious")
    target.chmod(0o600)
    assert main(["fuse", "a.seclude", "nonexistent", "-o", str(target)]) == 125
    assert target.read_bytes() == b"precious"
    assert main(["fuse", "a.seclude", "-o", str(target)]) == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(os.listdir(place)) == ["a.bpf", "a.seclude", "b.bpf", "b.seclude", "kept.bpf"]
    link = place / "link.bpf"
    link.symlink_to("kept.bpf")
    assert main(["optimize", "b.bpf", "-o", str(link)]) == 0
    assert link.is_symlink()
    assert from_program(assemble_file(target)) is from_policy(parse(B))
    assert "cannot be written" in said(capsys, "fuse", "a.bpf", "-o", "no/such/directory.bpf", code=125)
    assert main(["fuse", "a.bpf", "-o", "/dev/null"]) == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_bytes_never_reach_a_terminal(place, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for command in ("fuse", "optimize"):
        assert "is a terminal" in said(capsys, command, "a.bpf", "-o", "-", code=125)
        assert "-o FILE" in said(capsys, command, "a.bpf", code=125)


# ── what is read ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_standard_input(place, capsys, monkeypatch):
    class Stdin:
        buffer = io.BytesIO((place / "a.bpf").read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert said(capsys, "prove", "a.seclude", "-").startswith("proven: - (")
    assert "only once" in said(capsys, "diff", "-", "-", code=125)


def test_other_byte_orders_are_seen(place, capsys):
    big = build(parse("default errno(EPERM)\narch s390x\nallow read, write(count < 10)\n"))
    (place / "big.bpf").write_bytes(bytes(big))
    (place / "big").write_text("default errno(EPERM)\narch s390x\nallow read, write(count < 10)\n")
    assert said(capsys, "prove", "big", "big.bpf").startswith("proven")
    assert said(capsys, "prove", "--arch", "s390x", "big", "big.bpf").startswith("proven")
    assert said(capsys, "prove", "--byteorder", "big", "big", "big.bpf").startswith("proven")
    assert "big.bpf" in said(capsys, "prove", "--byteorder", "little", "big", "big.bpf", code=125)
    assert "cannot be loaded there" in said(capsys, "prove", "big", "a.bpf", code=125)
    assert "little-endian" in said(capsys, "fuse", "a.bpf", "big.bpf", "-o", "x", code=125)
    assert "big endian" in said(capsys, "diff", "--arch", "s390x", "--byteorder", "little", "big", "big.bpf", code=125)


def test_native_can_be_another_machine(place, capsys):
    (place / "native").write_text("default errno(EPERM)\nallow read\n")
    (place / "arm").write_text("default errno(EPERM)\narch aarch64\nallow read\n")
    assert said(capsys, "diff", "--arch", "aarch64", "native", "arm").startswith("equal")


def test_from_forces_a_reading(place, capsys):
    assert said(capsys, "prove", "--from", "policy", "--from", "raw", "a.seclude", "a.bpf").startswith("proven")
    assert "not UTF-8" in said(capsys, "prove", "--from", "policy", "a.seclude", "a.bpf", code=125)
    assert "no seccomp filter" in said(capsys, "prove", "--from", "raw", "a.seclude", "a.bpf", code=125)
    assert "2 times for 3" in said(capsys, "fuse", "--from", "raw", "--from", "raw", "a", "b", "c", "-o", "x", code=125)
    assert "one of policy, raw" in said(capsys, "diff", "--from", "elf", "a.seclude", "a.bpf", code=125)
    assert "no line of it is an instruction" in said(capsys, "diff", "--from", "listing", "a.seclude", "a.seclude", code=125)


@pytest.mark.parametrize("form", ["raw", "hex", "string", "c", "python", "asm", "listing", "ddd"])
def test_every_form_of_a_filter_is_read(place, capsys, form):
    program = assemble_file(place / "a.bpf")
    if form == "ddd":
        written = f"{len(program)}\n" + "".join(f"{code} {jt} {jf} {k}\n" for code, jt, jf, k in program)
        (place / "other").write_text(written)
    else:
        (place / "other").write_bytes(write(program, form))
    assert said(capsys, "prove", "a.seclude", "other").startswith("proven")
    forced = "string" if form == "python" else form
    assert said(capsys, "prove", "--from", "policy", "--from", forced, "a.seclude", "other").startswith("proven")


def test_c_that_looks_like_a_policy_or_assembly_is_read_as_c(place, capsys):
    array = write(assemble_file(place / "a.bpf"), "c").decode()
    (place / "a.c").write_text("int allow(void)\n{\n    return 0;\n}\n/*\nallow everything\n*/\n" + array)
    assert said(capsys, "prove", "a.seclude", "a.c").startswith("proven")


def test_assembly_includes_from_beside_itself(place, capsys):
    (place / "parts").mkdir()
    (place / "parts/all.asm").write_text('include "rest.asm"\n')
    (place / "parts/rest.asm").write_text("return ALLOW\n")
    (place / "all").write_text("default allow\nbadarch allow\nx32 allow\nunknown allow\nnegative allow\n")
    assert said(capsys, "diff", "--from", "asm", "parts/all.asm", "parts/rest.asm").startswith("equal")


def test_compiled_policies_are_read(place, capsys):
    from seclude.compiler.artifact import Artifact

    raw = bytes(build(parse(A)))
    (place / "a.compiled").write_bytes(Artifact("a", [("a", A)], "little", "x86_64", raw, raw, {}).to_bytes())
    assert said(capsys, "prove", "a.seclude", "a.compiled").startswith("proven")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello world\n", "neither a policy nor a filter"),
        (b"\x00" * 12, "whole number"),
        (b"\xff" * 16, "file"),
        (b"default kill\nallow raed\n", "did you mean 'read'"),
        (b"A = arch\nreturn NONSENSE\n", "NONSENSE"),
        (b"\x20\x00\x00\x00\x04\x00\x00\x00", "file"),
    ],
)
def test_what_cannot_be_read_is_said(place, capsys, content, message):
    (place / "file").write_bytes(content)
    for command in (["diff", "file", "a.seclude"], ["decompile", "file"], ["optimize", "file", "-o", "x"], ["subset", "a.bpf", "file"]):
        assert message in said(capsys, *command, code=125)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diff"], "expected 2 inputs, found 0"),
        (["diff", "container"], "expected 2 inputs, found 1"),
        (["prove", "a", "b", "c"], "expected 2 inputs, found 3"),
        (["fuse", "-o", "x"], "at least 1"),
        (["decompile"], "expected 1 input,"),
        (["diff", "contianer", "container"], "did you mean the preset 'container'"),
        (["diff", "/", "container"], "Is a directory"),
        (["subset", "container", "container", "--onn", "x86"], "did you mean --on"),
        (["diff", "--on", "vax", "container", "container"], "unknown architecture"),
        (["diff", "x\0y", "container"], "null"),
    ],
)
def test_usage(words, message, capsys):
    assert message in said(capsys, *words, code=125)
