"""The parts of judging that need no kernel: comparing, cases of a directory, and what makes a verdict."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seclude
from seclude.errors import UsageError
from seclude.sandbox.judge import Judge
from seclude.sandbox.judge_cases import Case, find_cases
from seclude.sandbox.judge_compare import MODES, compare, read_mode, shown
from seclude.sandbox.judge_report import cases_to_text, notes_of, to_text
from seclude.sandbox.judge_verdict import VERDICTS, decide, size
from seclude.sandbox.limits import Limits
from seclude.sandbox.reach import SYSTEM, beneath, files_of_command
from seclude.sandbox.result import Result
from seclude.supervise.record import Denial

SAME = {
    "exact": [(b"", b""), (b"a\n", b"a\n"), (b"\0\xff", b"\0\xff")],
    "lines": [
        (b"a", b"a\n"), (b"a\n\n \n", b"a"), (b"a \t\nb\n", b"a\nb\n"), (b"a\r\nb\r\n", b"a\nb\n"), (b"", b"\n\n"), (b" ", b""),
        (b"\n\na\n", b"\n \na"), (b"  a", b"  a "),
    ],
    "tokens": [(b"1 2\n3", b"1\n2 3\n"), (b"\t1", b"1"), (b"", b" \n"), (b"a\0b", b"a\0b")],
    "float:0.01": [(b"1.005 x", b"1 x"), (b"1e3", b"1000"), (b"100.9", b"100"), (b"-0", b"0"), (b".5", b"0.5"), (b"nan", b"nan"), (b"1_0", b"1_0")],
}  # fmt: skip

DIFFERENT = {
    "exact": [(b"a", b"a\n", 1, 2), (b"a\r\n", b"a\n", 1, 2), (b"", b"a", 1, 1), (b"a\nb", b"a\nc", 2, 1)],
    "lines": [
        (b"a\nb\n", b"a\nc\n", 2, 1), (b"a\n\nb", b"a\nb", 2, 1), (b" a", b"a", 1, 1), (b"a b", b"a  b", 1, 3), (b"1\n2", b"1\n2\n3", 2, 2),
        (b"1\n2\n3", b"1\n2", 3, 1), (b"", b"x", 1, 1), (b"x", b"", 1, 1), (b"abc", b"abd", 1, 3),
    ],
    "tokens": [(b"1 2", b"1 3", 1, 3), (b"1 2 3", b"1 2", 1, 5), (b"1\n", b"1 2", 1, 2), (b"12", b"1 2", 1, 1), (b"1 \n  2", b"1 3", 2, 3)],
    "float:0.01": [
        (b"1.02", b"1", 1, 1), (b"nan", b"1", 1, 1), (b"inf", b"1e999", 1, 1), (b"1_0", b"10", 1, 1), (b"1x", b"1", 1, 1), (b"", b"1", 1, 1),
        (b"1 1", b"1", 1, 3), (b"0x1", b"1", 1, 1),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("mode", "output", "expected"), [(mode, *pair) for mode, pairs in SAME.items() for pair in pairs])
def test_equal(mode, output, expected):
    assert compare(output, expected, mode) is None


@pytest.mark.parametrize(
    ("mode", "output", "expected", "line", "column"), [(mode, *case) for mode, cases in DIFFERENT.items() for case in cases]
)
def test_different(mode, output, expected, line, column):
    found = compare(output, expected, mode)
    assert found is not None
    assert (found.line, found.column) == (line, column)


TEXTS = st.lists(st.sampled_from([b"a", b"bc", b" ", b"\n", b"\r\n", b"\t", b"0", b"1.5", b"\0", b"x" * 70]), max_size=30).map(b"".join)


@given(TEXTS, TEXTS)
def test_lines_and_tokens_mean_what_splitting_means(one, other):
    def lines(text):
        return [line.rstrip() for line in text.rstrip().split(b"\n")] if text.strip() else []

    def tail(text):  # empty lines before the first that has anything do count
        return lines(text) if text.strip() else []

    assert (compare(one, other, "exact") is None) == (one == other)
    assert (compare(one, other, "lines") is None) == (tail(one) == tail(other))
    assert (compare(one, other, "tokens") is None) == (one.split() == other.split())
    for mode in ("exact", "lines", "tokens", "float:1e-9"):
        forth, back = compare(one, other, mode), compare(other, one, mode)
        assert (forth is None) == (back is None)
        if forth is not None:
            assert 1 <= forth.line <= one.count(b"\n") + 1
            assert forth.describe()


@pytest.mark.parametrize("filler", [b"7 ", b"7\n", b"seven  \n"])
@pytest.mark.parametrize("at", [16383, 16384, 16385, 40000, 70000])
def test_words_are_found_where_pieces_meet(filler, at):
    text = filler * (at // len(filler))
    assert compare(text + b"end", text.replace(b" ", b"   ") + b"end", "tokens") is None
    different = compare(text + b"end", text + b"eNd", "tokens")
    assert different is not None
    assert different.line == text.count(b"\n") + 1
    assert compare(b"x" * at + b" y", b"x" * at + b"\ny", "tokens") is None
    assert compare(b"x" * at, b"x" * (at + 1), "tokens") is not None


def test_white_space_of_a_stranger_costs_little():
    flood = b"1" + b" \n" * 4_000_000
    assert compare(flood, b"1", "lines") is None
    assert compare(flood, b"1", "tokens") is None
    assert compare(flood + b"2", b"1", "tokens") is not None


@pytest.mark.parametrize("word", ["", "line", "float", "float:", "float:x", "float:-1", "float:inf", "float:1_0", "float:0x1"])
def test_unknown_ways_to_compare(word):
    with pytest.raises(UsageError, match="choose one of exact, lines, tokens, float:EPS"):
        read_mode(word)
    assert read_mode("float:1e-6") == "float:1e-6"
    assert "float:EPS" in MODES


def test_what_is_shown_steers_no_terminal():
    assert shown(b'\x1b[2J"\\\r\n\t\0\xff\xe2\x80\xae\xc3\xa4') == '"\\x1b[2J\\"\\\\\\r\\n\\t\\x00\\xff\\u202eä"'
    assert shown(b"x" * 1000) == '"' + "x" * 40 + '"...'
    different = compare(b"found\x1b", b"secret", "lines")
    assert different is not None
    assert different.describe() == 'line 1, column 1: expected "secret", found "found\\x1b"'
    assert different.describe(hints=False) == 'line 1, column 1: found "found\\x1b"'


def write(place, **files):
    for name, text in files.items():
        (place / name.replace("_", ".")).write_text(text)


def test_cases_of_a_directory_in_order(tmp_path):
    for name in ("10", "2", "1", "a2", "a10", "b"):
        write(tmp_path, **{f"{name}_in": name, f"{name}_{'ans' if name == 'b' else 'out'}": name * 2})
    write(tmp_path, README_txt="not a case")
    found = find_cases(tmp_path)
    assert [case.name for case in found] == ["1", "2", "10", "a2", "a10", "b"]
    assert found[-1].answer == b"bb"
    assert found[-1].place == os.path.realpath(tmp_path / "b.ans")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no cases"),
        ({"1_in": ""}, "1.in has no 1.out or 1.ans"),
        ({"1_out": ""}, "1.out has no 1.in"),
        ({"1_in": "", "1_out": "", "1_ans": ""}, "1.in has both 1.out and 1.ans"),
        ({f"{n}_in": "" for n in range(8)}, "and 3 more"),
    ],
)
def test_cases_that_are_not_whole(tmp_path, files, said):
    write(tmp_path, **files)
    with pytest.raises(UsageError, match=said):
        find_cases(tmp_path)
    with pytest.raises(UsageError, match="No such file"):
        find_cases(tmp_path / "none")


def test_an_input_is_sealed_and_each_run_opens_it_anew(tmp_path):
    write(tmp_path, x_in="given")
    for content in (b"given", tmp_path / "x.in"):
        with Case(content) as case:
            first, second = case.open(), case.open()
            try:
                assert os.read(first, 3) == b"giv"
                assert os.read(second, 9) == b"given"
                with pytest.raises(OSError):
                    os.write(first, b"x")
                with pytest.raises(PermissionError):
                    os.truncate(f"/proc/self/fd/{first}", 0)
                writing = os.open(f"/proc/self/fd/{first}", os.O_RDWR)
                try:
                    with pytest.raises(PermissionError):
                        os.write(writing, b"x")
                finally:
                    os.close(writing)
            finally:
                os.close(first)
                os.close(second)
    with pytest.raises(UsageError, match=r"input .*none: No such file"):
        Case(tmp_path / "none").open()
    with pytest.raises(UsageError, match=r"expected output .*none: No such file"):
        Case(b"", tmp_path / "none").prepare()


LIMITS = Limits(cpu=1, wall=3, memory="64M", output="1M")


def ended(**values):
    result = Result()
    result.status, result.reporting = 0, "notify+ptrace"
    for name, value in values.items():
        setattr(result, name, value)
    return result


def denial(action):
    return Denial(call="kill", arch="x86_64", nr=62, token=0, ip=0, args=(0,) * 6, text="kill(0, 9)", action=action, result="", value=0)


RLIMIT = {"memory": "rlimit"}


@pytest.mark.parametrize(
    ("values", "verdict", "limit"),
    [
        ({}, "accepted", ""),
        ({"status": 1}, "runtime error", ""),
        ({"status": None, "signal": 11}, "runtime error", ""),
        ({"limit": "wall", "status": None, "signal": 9}, "time limit", "wall"),
        ({"limit": "cpu", "status": None, "signal": 9}, "time limit", "cpu"),
        ({"cpu": 1.01}, "time limit", "cpu"),
        ({"cpu": 1.0}, "accepted", ""),
        ({"limit": "output"}, "output limit", "output"),
        ({"limit": "output", "cpu": 2.0}, "output limit", "output"),
        ({"oom_kills": 1, "status": None, "signal": 9, "limit": "memory"}, "memory limit", "memory"),
        ({"oom_kills": 1, "limit": "wall"}, "memory limit", "memory"),
        ({"oom_kills": 1}, "memory limit", "memory"),
        ({"denials": [denial("kill_process")], "oom_kills": 1, "limit": "wall"}, "disallowed call", ""),
        ({"denials": [denial("trap")]}, "disallowed call", ""),
        ({"denials": [denial("errno")]}, "accepted", ""),
        ({"denials": [denial("errno")], "status": 1}, "runtime error", ""),
        ({"denials": [denial("notify"), denial("trace"), denial("busy")]}, "accepted", ""),
        ({"status": None, "signal": 31}, "runtime error", ""),
        ({"status": None, "signal": 31, "reporting": "notify"}, "disallowed call", ""),
        ({"status": 1, "bound_by": RLIMIT, "address_space": 63 << 20}, "memory limit", "memory"),
        ({"status": None, "signal": 6, "bound_by": RLIMIT, "address_space": 64 << 20}, "memory limit", "memory"),
        ({"status": 1, "bound_by": RLIMIT, "address_space": 50 << 20}, "runtime error", ""),
        ({"status": 0, "bound_by": RLIMIT, "address_space": 64 << 20}, "accepted", ""),
        ({"status": 1, "bound_by": {"memory": "cgroup"}, "address_space": 64 << 20}, "runtime error", ""),
        ({"status": None, "signal": 9, "limit": "cpu", "bound_by": RLIMIT, "address_space": 64 << 20}, "time limit", "cpu"),
    ],
)
def test_what_makes_a_verdict(values, verdict, limit):
    judged = decide(ended(**values), LIMITS)
    assert (judged.verdict, judged.limit) == (verdict, limit)
    assert judged.verdict in VERDICTS
    assert judged.accepted == (verdict == "accepted")
    assert bool(judged.reason) != judged.accepted
    assert repr(judged).startswith("Judgement(")


def test_reports(tmp_path):
    good, bad = decide(ended(stdout=b"1"), LIMITS), decide(ended(denials=[denial("kill_process")], notes=["a note"]), LIMITS)
    good.name, bad.name = "one", "two\x1b"
    assert to_text(good) == "accepted\n  cpu 0.000 s, wall 0.000 s, memory 0 bytes, output 1 bytes\n"
    assert "\x1b[1;32maccepted" in to_text(good, colour=True)
    text = cases_to_text([good, bad], 3)
    assert text.splitlines()[0].split() == ["case", "verdict", "cpu", "wall", "memory", "output"]
    assert "two\\x1b: disallowed call: kill(0, 9)\n  killed 1\N{MULTIPLICATION SIGN}  kill(0, 9) → " in text
    assert text.endswith("→ \n1 of 3 accepted, 1 not run\n")
    assert notes_of([bad, good, bad]) == "seclude: note: a note\n"


def test_sizes():
    assert [size(n) for n in (0, 1023, 1024, 64 << 20, 1 << 30, 1536)] == ["0 bytes", "1023 bytes", "1 KiB", "64 MiB", "1 GiB", "1.5 KiB"]


def test_what_a_command_may_open(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / "bin" / "python3").write_text("")
    (tmp_path / "main.py").write_text("")
    where = os.fsencode(tmp_path)
    found = files_of_command(b"bin/python3", [b"main.py", b"none", b"lib", b"a\0b"], where)
    assert found == [where + b"/bin/python3", where + b"/main.py", where + b"/lib", where + b"/bin"]
    assert beneath(where + b"/lib/x", found) == where + b"/lib"
    assert beneath(where + b"/main.pyc", found) is None
    assert beneath(b"/usr/share/x", SYSTEM) == b"/usr"
    assert beneath(b"/x", [b"/"]) == b"/"


@pytest.mark.parametrize(
    ("options", "said"),
    [({"jobs": 0}, "jobs=0"), ({"compare": "x"}, "no way to compare"), ({"cpu": "x"}, "is not a time"), ({"memory": 0}, "out of range")],
)
def test_judges_that_cannot_be_meant(options, said):
    with pytest.raises(UsageError, match=said):
        Judge(**options)


def test_wall_follows_cpu():
    assert Judge(cpu=2).limits == Limits(cpu=2, wall=7, memory="256M", output="16M")
    assert Judge(cpu=None).limits.wall is None
    assert Judge(cpu=2, wall=1).limits.wall == 1


@pytest.mark.parametrize("command", [[], "ls", b"ls"])
def test_commands_that_cannot_be_meant(command):
    with pytest.raises(UsageError, match="a list of words"):
        seclude.judge(command)
