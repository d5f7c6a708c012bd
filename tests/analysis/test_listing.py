"""Listings for readers: what is said about each instruction, the arrows, and the time it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf_support import anything, byteorders
from seclude.abi import ARCHITECTURES
from seclude.analysis.gutter import gutter
from seclude.analysis.listing import annotated, jumps, rows
from seclude.analysis.meaning import action_meaning, remarks
from seclude.bpf import Program, assemble, codes

GOLDEN = Path(__file__).parent / "golden"


def test_golden():
    """Two architectures, one after the other: names, arguments, constants, halves, actions and arrows."""
    assert annotated(assemble((GOLDEN / "two.asm").read_text())) == (GOLDEN / "two.listing").read_text()


def test_architectures_of_one_filter_do_not_mix():
    text = "A = arch\nif (A == ARCH_I386) goto a\nif (A == ARCH_X86_64) goto b\nreturn KILL\na: A = sys_number\nif (A == x86.socketcall) goto c\nb: A = sys_number\nif (A == x86_64.socket) goto c\nc: A = args[0]\nreturn ALLOW\n"
    program = assemble(text)
    shown = list(remarks(program))
    lines = annotated(program)
    assert "socketcall" in lines
    assert shown[8] == "", "two architectures meet here: nothing is claimed"


def test_unreachable_code_is_said():
    program = assemble("return ALLOW\nA = 1\nreturn KILL")
    assert list(remarks(program)) == ["the call runs", "unreachable", "unreachable"]


def test_arrows():
    assert gutter(5, {3: [0, 1], 4: [2]}) == ["┌── ", "├── ", "│┌─ ", "└┼▶ ", " └▶ "]
    assert gutter(3, {2: [0]}, ascii_only=True) == ["+- ", "|  ", "+> "]
    assert gutter(3, {}) == ["", "", ""]


@given(st.integers(2, 40), st.data())
def test_arrows_are_rectangular_and_touch_their_ends(length, data):
    targets: dict[int, list[int]] = {}
    for target in data.draw(st.sets(st.integers(1, length - 1), max_size=12)):
        targets[target] = sorted(data.draw(st.sets(st.integers(0, target - 1), min_size=1, max_size=4)))
    columns = gutter(length, targets)
    assert len({len(column) for column in columns}) == 1
    # The shortest arrows always find a lane.
    if len(targets) <= 6:
        for target, sources in targets.items():
            assert columns[target].rstrip().endswith("▶")
            assert all(columns[source].strip() for source in sources)


@given(anything, byteorders, st.sampled_from([None, *ARCHITECTURES]))
def test_any_program_is_listed(lines, order, arch):
    program = Program(lines, order)
    shown = annotated(program, arch)
    assert shown.count("\n 00") == len(program)
    assert len(rows(program, arch)) == len(program)
    assert [row["k"] for row in rows(program, arch)] == [k for *_, k in lines]
    annotated(program, arch, ascii_only=True)


def test_findings_stand_at_their_instruction():
    shown = annotated(assemble(".insn 0x15, 9, 0, 0\n.insn 0xff, 0, 0, 0\nA = 1\n")).splitlines()
    assert "refused: jt = 9" in shown[3]
    assert "refused: 0x00ff is no opcode" in shown[5]
    assert "refused: the last instruction is not a RET" in shown[7]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (codes.SECCOMP_RET_ERRNO, "does nothing and returns 0"),
        (codes.SECCOMP_RET_ERRNO | 2, "fails with ENOENT"),
        (codes.SECCOMP_RET_ERRNO | 5000, "4095 at most"),
        (codes.SECCOMP_RET_TRAP, "SIGSYS"),
        (codes.SECCOMP_RET_TRAP | 3, "data 3"),
        (codes.SECCOMP_RET_TRACE | 3, "ENOSYS without one"),
        (codes.SECCOMP_RET_USER_NOTIF, "a listener decides"),
        (0x7FFE0000, "unknown action"),
    ],
)
def test_actions_in_words(value, said):
    assert said in action_meaning(value)


def test_diamonds_do_not_multiply():
    diamonds = [line for number in range(1365) for line in ((0x20, 0, 0, 16), (0x15, 0, 1, number), (0x04, 0, 0, 1))]
    program = Program([*diamonds, (0x06, 0, 0, 0x7FFF0000)], "little")
    # 2**1365 paths: whoever walked them would not come back. How long it takes: benchmarks/reading.py.
    assert len(annotated(program).splitlines()) >= len(program)


def test_jumps():
    program = assemble("if (A == 1) goto a else goto b\nA = 1\na: A = 2\nb: return A")
    assert jumps(program) == {2: [0], 3: [0]}
