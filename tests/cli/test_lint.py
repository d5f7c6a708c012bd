import json

import pytest

from lint_support import CLEAN
from seclude.cli.main import main


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def put(text, name="p.seclude"):
        (tmp_path / name).write_text(text)
        return name

    return put


QUIET = CLEAN


def test_exit_codes(write, capsys):
    assert main(["lint", write(QUIET)]) == 0
    assert capsys.readouterr().out == "p.seclude: nothing found\n"
    assert main(["lint", write(CLEAN + "allow ptrace\n")]) == 1
    assert main(["lint", "--fail-on", "critical", "p.seclude"]) == 0
    assert main(["lint", "--fail-on", "high", "p.seclude"]) == 1
    assert main(["lint", "nothing.seclude"]) == 125
    assert main(["lint"]) == 125


def test_json_and_several_inputs(write, capsys):
    assert main(["lint", "--json", write(CLEAN + "allow ptrace\n"), write(QUIET, "q.seclude")]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["failed"], second["failed"]) == (True, False)
    assert main(["lint", "--format", "sarif", "p.seclude", "q.seclude"]) == 1
    assert json.loads(capsys.readouterr().out)["version"] == "2.1.0"
    assert main(["lint", "--format", "github", "p.seclude"]) == 1
    assert capsys.readouterr().out.startswith("::error file=p.seclude")


def test_a_stack(write, capsys):
    write(CLEAN + "allow ptrace\n")
    write(QUIET, "q.seclude")
    assert main(["lint", "--stack", "p.seclude", "q.seclude"]) == 0
    assert "p.seclude + q.seclude: nothing found" in capsys.readouterr().out


def test_fix(write, capsys):
    name = write(CLEAN + "kill_thread ptrace\n")
    assert main(["lint", "--fix", "--fail-on", "medium", name]) == 0
    out = capsys.readouterr().out
    assert "-kill_thread ptrace\n+kill_process ptrace\n" in out
    with open(name) as file:
        assert file.read().endswith("kill_process ptrace\n")
    assert main(["lint", "--fix", "container"]) == 125
    assert "only policy files can be mended" in capsys.readouterr().err


def test_rules_are_listed(capsys):
    assert main(["lint", "--rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 40
    assert lines[11].startswith("L12  critical  ignored-bits")


def test_an_oci_profile(write, capsys):
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["read", "ptrace"], "action": "SCMP_ACT_ALLOW"}],
    }
    name = write(json.dumps(profile), "profile.json")
    assert main(["lint", "--rule", "L20", "--arch", "x86_64", name]) == 1
    assert "L20 high: other processes can be traced: ptrace (x86, x86_64)" in capsys.readouterr().out
    assert main(["lint", "--rule", "L08", "--arch", "x86_64", "--runtime", "crun", name]) == 1
    assert main(["lint", "--rule", "L08", "--arch", "x86_64", name]) == 0


def test_explain(write, capsys):
    name = write(CLEAN + "allow socket(domain == AF_UNIX)\n")
    assert main(["explain", name, "socket"]) == 0
    assert "socket(domain == AF_UNIX) → ALLOW" in capsys.readouterr().out
    assert main(["explain", "--json", name]) == 0
    assert json.loads(capsys.readouterr().out)["architectures"] == ["x86_64", "x86"]
    assert main(["explain", name, "sokcet"]) == 125
    assert "did you mean 'socket'" in capsys.readouterr().err
    assert main(["explain"]) == 125


def test_a_filter_that_the_kernel_refuses(tmp_path, capsys):
    path = tmp_path / "bad.bpf"
    path.write_bytes(bytes([0x20, 0, 0, 0, 3, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]))
    assert main(["lint", "--json", str(path)]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["rule"], finding["severity"], finding["witness"]) == ("L39", "critical", None)
    assert finding["instruction"] == {"program": 0, "index": 0}


def test_skipped_names_are_said(write, capsys):
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"}]}
    assert main(["explain", write(json.dumps(profile), "profile.json"), "read"]) == 0
    assert "'no_such_call' is no system call" in capsys.readouterr().err


@pytest.mark.live
def test_a_live_process(capsys):
    import subprocess

    from support import need_program, need_root

    need_root()
    victim = subprocess.Popen([need_program("python3"), "-c", _STRICTER], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "ready\n"
    try:
        assert main(["explain", f"pid:{victim.pid}", "getppid"]) == 0
        assert "getppid → ERRNO(EPERM)" in capsys.readouterr().out
        assert main(["lint", "--rule", "L01", f"pid:{victim.pid}"]) == 1
    finally:
        victim.kill()
        victim.communicate()


#: loads "getppid fails" and waits
_STRICTER = """
import ctypes, struct, sys
code = struct.pack("<" + "HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 110, 0x06, 0, 0, 0x50001, 0x06, 0, 0, 0x7fff0000)
buffer = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxQ", 4, ctypes.addressof(buffer))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0
print("ready", flush=True)
sys.stdin.read()
"""
