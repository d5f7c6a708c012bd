"""The parts of a run that need no target: finding the program, relaying, the wire, the report, the family."""

from __future__ import annotations

import os
import sys

import pytest

import support
from seclude.bpf.program import Program
from seclude.compiler.artifact import Artifact
from seclude.errors import KernelError, PolicyError
from seclude.kernel import ptrace, seccomp
from seclude.sandbox import family, wire
from seclude.sandbox.launch import NotStarted, find_program, mechanisms, refuse_forbidden_start, refuse_without_supervisor
from seclude.sandbox.limits import Limits
from seclude.sandbox.report import to_json, to_text
from seclude.sandbox.result import Job, Result
from seclude.supervise.describe import quote
from seclude.supervise.plain import Plain
from seclude.supervise.record import Denial

TIMES = "\N{MULTIPLICATION SIGN}"


def denial(**changes):
    values = {
        "call": "mkdir", "arch": "x86_64", "nr": 83, "token": 0xC000003E, "ip": 0x7F0000001234, "args": (1, 2, 0, 0, 0, 2**64 - 1),
        "text": 'mkdir("/x", 0777)', "action": "errno", "result": "EPERM", "value": 0x50001, "rule": "default (p:1)", "reason": "default",
        "suggestion": "--allow mkdir",
    }  # fmt: skip
    return Denial(**{**values, **changes})


def result(*denials, **changes):
    out = Result()
    out.denials = list(denials)
    out.code = out.status = 1
    for name, value in changes.items():
        setattr(out, name, value)
    return out


def job(**changes):
    artifact = Artifact("p", [("p", "default allow\n")], "little", "x86_64", b"x" * 8, b"y" * 8, {"calls": "1"})
    return Job([b"ls", b"\xff"], [b"A=b"], artifact, Limits(wall=3), **changes)


# -- finding the program


@pytest.fixture
def place(tmp_path):
    for name, mode in (("a/tool", 0o644), ("b/tool", 0o755), ("b/plain", 0o644)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    return tmp_path


def test_the_path_is_searched_past_what_cannot_be_executed(place):
    environment = [b"PATH=" + b":".join(os.fsencode(place / name) for name in ("none", "a", "b"))]
    assert find_program(b"tool", environment, None) == os.fsencode(place / "b/tool")


@pytest.mark.parametrize(("name", "code"), [(b"plain", 126), (b"absent", 127), (b"", 127)])
def test_what_is_not_started(place, name, code):
    with pytest.raises(NotStarted) as caught:
        find_program(name, [b"PATH=" + os.fsencode(place / "b")], None)
    assert caught.value.code == code


def test_relative_names_mean_the_directory_that_the_target_starts_in(place):
    assert find_program(b"b/tool", [], os.fsencode(place)) == b"b/tool"
    assert find_program(b"tool", [b"PATH="], os.fsencode(place / "b")) == b"./tool"


# -- the wire


def test_jobs_and_results_come_back_equal():
    sent = job(cwd=b"/", capture=(1, 2), stdin=b"in", umask=0o22, mask=[10], weaker={"log": "allow"}, report=False)
    back = wire.job_from_plain(wire.job_to_plain(sent))
    for name in Job.__slots__:
        assert getattr(back, name) == getattr(sent, name), name
    told = result(denial(), stdout=b"\0\xff", notes=["n"])
    assert Result.from_plain(told.to_plain()).to_plain() == told.to_plain()


@pytest.mark.parametrize("error", [PolicyError("a", "b"), KernelError("c", "d", 13)])
def test_errors_come_back_as_themselves(error):
    reading, writing = os.pipe()
    wire.answer(writing, error)
    os.close(writing)
    with pytest.raises(type(error)) as caught:
        wire.read_answer(reading)
    os.close(reading)
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "errno", None) == getattr(error, "errno", None)


def test_an_end_in_the_middle_is_told():
    reading, writing = os.pipe()
    os.write(writing, b"\x09\0\0\0\0\0\0\0half")
    os.close(writing)
    with pytest.raises(wire.Closed):
        wire.receive(reading)
    os.close(reading)


# -- the report


def test_one_line_a_denial():
    assert to_text(result(denial())) == f'denied 1{TIMES}  mkdir("/x", 0777) → EPERM   rule: default (p:1)   to allow: --allow mkdir\n'


def test_a_narrow_terminal_breaks_the_line():
    lines = to_text(result(denial()), width=40).splitlines()
    assert [line.strip().partition(":")[0] for line in lines[1:]] == ["rule", "to allow"]


def test_colour_changes_nothing_but_colour():
    import re

    coloured = to_text(result(denial()), colour=True)
    assert re.sub("\x1b\\[[0-9]*m", "", coloured) == to_text(result(denial()))


def test_kills_say_how():
    assert f"killed 2{TIMES}" in to_text(result(denial(action="kill_process", result="SIGSYS", count=2)))
    assert "kill_process (SIGSYS)" in to_text(result(denial(action="kill_process", result="SIGSYS")))


def test_variants_are_folded_and_the_most_frequent_come_first():
    many = [denial(text=f"mkdir({n})", count=n) for n in range(1, 21)]
    lines = to_text(result(*many)).splitlines()
    assert len(lines) == 6
    assert "mkdir(20)" in lines[0]
    assert lines[-1] == f"  and 15 more forms of mkdir, {sum(range(1, 16))}{TIMES} in all"


def test_overflow_limits_signals_and_notes_are_told():
    text = to_text(result(denial(), overflow=7, limit="wall", notes=["something"]))
    assert "7 further" in text
    assert "limit wall" in text
    assert "note: something" in text


def test_json_keeps_words_whole():
    import json

    read = json.loads(to_json(result(denial()), job()))
    assert read["version"] == 1
    assert read["command"] == ["ls", "\\xff"]
    assert read["denials"][0]["args"][5] == "0xffffffffffffffff"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", '"plain"'),
        (b'a"b\\', r'"a\"b\\"'),
        (b"\x1b[31m\n\t\x00", r'"\x1b[31m\n\t\x00"'),
        ("é".encode(), '"é"'),
        ("\u202e".encode(), r'"\u202e"'),
        (b"\xff\xfe", r'"\xff\xfe"'),
        ("\U000e0001".encode(), r'"\U000e0001"'),
    ],
)
def test_what_the_target_showed_is_escaped(raw, shown):
    assert quote(raw) == shown


def test_what_the_target_showed_is_cut():
    assert quote(b"x" * 300) == '"' + "x" * 256 + '"...'


# -- the family


def test_both_ways_to_see_our_children_agree():
    code = """
import os, sys
sys.path.insert(0, sys.argv[1])
from seclude.sandbox import family
reading, writing = os.pipe()
pids = set()
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    pids.add(pid)
assert family.children() == family.scan() == pids
"""
    done = support.run([sys.executable, "-c", code, str(support.ROOT / "src")])
    assert done.status == 0, str(done)
    assert isinstance(family.children(), set)


# -- relaying, in a process of its own: it replaces descriptors 0, 1 and 2

RELAY = """
import os, select, sys
sys.path.insert(0, sys.argv[1])
from seclude.sandbox.relay import Relay
relay = Relay(eval(sys.argv[2]), eval(sys.argv[3]), eval(sys.argv[4]))
poll = select.poll()
relay.register(poll)
pid = os.fork()
if pid == 0:
    os.execv('/bin/sh', ['sh', '-c', sys.argv[5]])
while os.waitpid(pid, os.WNOHANG)[0] == 0:
    for descriptor, _ in poll.poll(50):
        relay.handle(descriptor, poll)
relay.finish()
relay.finish()
print({k: bytes(v) for k, v in relay.captured.items()}, relay.exceeded, flush=True)
"""


def relayed(capture, stdin, limit, script):
    done = support.run([sys.executable, "-c", RELAY, str(support.ROOT / "src"), repr(capture), stdin, repr(limit), script])
    assert done.status == 0, str(done)
    return done.stdout, done.stderr


def test_capture():
    assert relayed((1, 2), "b'in'", None, "cat; echo err >&2") == ("{1: b'in', 2: b'err\\n'} False\n", "")


def test_what_is_bounded_but_not_captured_is_passed_on():
    out, err = relayed((), "None", 6, "echo abc; echo defgh >&2")
    assert out.splitlines()[-1] == "{} True"
    assert len(out) - len("{} True\n") + len(err) == 6


def test_input_that_is_not_read_is_no_error():
    assert relayed((1,), "bytes(1_000_000)", None, "head -c 3")[0] == "{1: b'\\x00\\x00\\x00'} False\n"


def test_what_is_bounded_is_passed_on_whole_and_in_order_to_a_slow_reader():
    code = RELAY.replace("{k: bytes(v) for k, v in relay.captured.items()}", "''")
    script = "seq 1 60000"
    reader, writer = os.pipe()
    child = support.start([sys.executable, "-c", code, str(support.ROOT / "src"), "()", "None", "1 << 20", script], stdout=writer)
    os.close(writer)
    out = b""
    while piece := os.read(reader, 1000):
        out += piece
    os.close(reader)
    assert child.wait(support.PATIENCE) == 0
    assert out == b"".join(b"%d\n" % n for n in range(1, 60001)) + b" False\n"


# -- which mechanisms are used: what this kernel has is pretended, since it has all of them

FILTERS = {"allow": 0x7FFF0000, "kill": 0x80000000, "notify": 0x7FC00000, "errno": 0x50001}


def always(action):
    return Plain(Program([(6, 0, 0, FILTERS[action])]).to_bytes())


def test_everything_is_used_where_it_is_there():
    notes: list[str] = []
    assert mechanisms(job(), always("kill"), notes) == (True, True)
    assert notes == []


def test_a_kernel_without_wait_killable_recv_reports_no_errno(monkeypatch):
    monkeypatch.setattr(seccomp, "flag_available", lambda flag: flag != seccomp.WAIT_KILLABLE_RECV)
    notes: list[str] = []
    assert mechanisms(job(), always("kill"), notes) == (False, True)
    assert "5.19" in notes[0]


def test_a_machine_with_unknown_registers_is_not_traced(monkeypatch):
    monkeypatch.setattr(ptrace, "supported", lambda: False)
    notes: list[str] = []
    assert mechanisms(job(), always("kill"), notes) == (True, False)
    assert "wait status" in notes[0]


def test_a_policy_that_allows_ptrace_is_not_traced():
    notes: list[str] = []
    assert mechanisms(job(), always("allow"), notes) == (True, False)
    assert "allows ptrace" in notes[0]


def test_what_was_not_asked_for_is_not_noted():
    notes: list[str] = []
    assert mechanisms(job(report=False, ptrace=False), always("allow"), notes) == (False, False)
    assert notes == []


def test_notify_without_a_supervisor_is_refused():
    with pytest.raises(PolicyError, match="supervisor"):
        refuse_without_supervisor(job(), always("notify"), "reporting is off")
    refuse_without_supervisor(job(), always("errno"), "reporting is off")
    handled = {"remote": [[0xC000003E, 0]], "engine": "notify"}
    with pytest.raises(PolicyError, match="--engine ptrace"):
        refuse_without_supervisor(job(supervision=handled), always("notify"), "reporting is off")
    refuse_without_supervisor(job(supervision={**handled, "engine": "ptrace"}), always("notify"), "reporting is off")


@pytest.mark.parametrize(
    ("action", "report", "refused"),
    [("allow", False, False), ("errno", True, False), ("errno", False, True), ("notify", True, False), ("kill", True, True)],
)
def test_a_start_that_could_only_fail_is_refused(action, report, refused):
    if refused:
        with pytest.raises(PolicyError, match="execve"):
            refuse_forbidden_start(job(), always(action), (1, 2, 3, 0, 0, 0), report=report)
    else:
        refuse_forbidden_start(job(), always(action), (1, 2, 3, 0, 0, 0), report=report)
