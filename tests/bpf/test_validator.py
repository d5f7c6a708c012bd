"""What the validator says, and to whom; that it agrees with the kernel is shown in tests/live."""

from __future__ import annotations

import pytest

from seclude.bpf import BPF_JUMP, BPF_STMT, Program, check, codes, converted_length, path_length, validate
from seclude.errors import FilterError

ALLOW = BPF_STMT(0x06, codes.SECCOMP_RET_ALLOW)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([ALLOW], []),
        ([], [(None, "length")]),
        ([ALLOW] * 4097, [(None, "length")]),
        ([BPF_STMT(0xFFFF, 0), ALLOW], [(0, "opcode")]),
        ([BPF_STMT(0x28, 0), ALLOW], [(0, "seccomp")]),
        ([BPF_STMT(0xB1, 0), ALLOW], [(0, "seccomp")]),
        ([BPF_STMT(0x94, 0), ALLOW], [(0, "seccomp"), (0, "division")]),
        ([BPF_STMT(0x34, 0), ALLOW], [(0, "division")]),
        ([BPF_STMT(0x74, 32), ALLOW], [(0, "shift")]),
        ([BPF_STMT(0x02, 16), ALLOW], [(0, "scratch")]),
        ([BPF_STMT(0x05, 1), ALLOW], [(0, "jump")]),
        ([BPF_JUMP(0x15, 0, 1, 2), ALLOW], [(0, "jump"), (0, "jump")]),
        ([BPF_STMT(0x20, 64), ALLOW], [(0, "offset")]),
        ([ALLOW, BPF_STMT(0x00, 1)], [(1, "last")]),
        ([BPF_STMT(0x60, 2), ALLOW], [(0, "unwritten")]),
        ([BPF_STMT(0x34, 0), BPF_STMT(0x60, 2), BPF_STMT(0x64, 99)], [(0, "division"), (1, "unwritten"), (2, "shift"), (2, "last")]),
    ],
)
def test_findings(lines, found):
    assert [(finding.instruction, finding.rule) for finding in validate(lines)] == found
    for finding in validate(lines):
        assert finding.message
        assert finding.remedy
        assert f"[{finding.rule}]" in str(finding)


def test_a_jump_is_shown_with_its_target():
    (finding,) = validate([BPF_JUMP(0x15, 0, 5, 0), ALLOW])
    assert str(finding).splitlines()[0] == "instruction 0: jt = 5 leads to 6 of 2 [jump]"


def test_code_after_a_ret_is_held_to_the_lines_above_it():
    """As the kernel has it: instruction 4 is reached from 2 only, where the cell is written, but the pass comes through the RET."""
    lines = [BPF_JUMP(0x15, 0, 2, 0), BPF_STMT(0x02, 0), BPF_STMT(0x05, 1), ALLOW, BPF_STMT(0x60, 0), ALLOW]
    assert [(finding.instruction, finding.rule) for finding in validate(lines)] == [(4, "unwritten")]
    # A jump makes what follows it count as written: unreachable code is no matter there.
    assert validate([BPF_STMT(0x05, 1), BPF_STMT(0x60, 0), ALLOW]) == []
    assert [finding.rule for finding in validate([ALLOW, BPF_STMT(0x60, 0), ALLOW])] == ["unwritten"]


def test_check_raises_everything_at_once():
    check(Program([ALLOW]))
    with pytest.raises(FilterError) as caught:
        check(Program([BPF_STMT(0x34, 0), BPF_STMT(0x64, 99), ALLOW]))
    assert [fault.message for fault in caught.value.diagnostics] == [
        "instruction 0: division by the constant 0",
        "instruction 1: shift by 99",
    ]


@pytest.mark.parametrize(
    ("line", "length"),
    [
        (BPF_STMT(0x06, 0), 2),
        (BPF_STMT(0x16, 0), 1),
        (BPF_STMT(0x20, 0), 1),
        (BPF_STMT(0x3C, 0), 5),
        (BPF_STMT(0x34, 3), 1),
        (BPF_STMT(0x05, 0), 1),
        (BPF_JUMP(0x15, 1, 1, 0), 1),
        (BPF_JUMP(0x15, 1, 0, 1), 1),
        (BPF_JUMP(0x45, 1, 0, 1), 2),
        (BPF_JUMP(0x35, 1, 1, 1), 2),
        (BPF_JUMP(0x15, 0x80000000, 1, 0), 2),
        (BPF_JUMP(0x15, 0x80000000, 1, 1), 3),
        (BPF_JUMP(0x1D, 0, 1, 1), 2),
    ],
)
def test_converted_length(line, length):
    assert converted_length([line]) == 3 + length


def test_path_length():
    one = Program([ALLOW])
    assert path_length([]) == 0
    assert path_length([one]) == 5
    # A filter of one instruction fits 3641 times.
    assert path_length([one] * 3641) <= codes.MAX_INSNS_PER_PATH < path_length([one] * 3642)
    assert path_length([Program([ALLOW] * 4096)] * 3) <= codes.MAX_INSNS_PER_PATH < path_length([Program([ALLOW] * 4096)] * 4)
