"""The machine's corners, one by one; the running kernel judges the rest (tests/live)."""

from __future__ import annotations

import pytest

from seclude.bpf import BPF_JUMP, BPF_STMT, Program, codes, constant_allow, evaluate, offset_of, pack_data, run, word_at
from seclude.errors import FilterError, UsageError

A = BPF_STMT(0x16, 0)
WORDS = pack_data(1, 0xC000003E, 0x1122334455667788, [0xAABBCCDD00000001, 2])


def result(*lines, words=WORDS, byteorder="little"):
    return run([*lines, A], words, byteorder)[0]


def test_data_is_packed_as_logical_words():
    assert WORDS[:8] == (1, 0xC000003E, 0x55667788, 0x11223344, 1, 0xAABBCCDD, 2, 0)
    assert len(WORDS) == 16
    assert pack_data(-1, 2)[:2] == (0xFFFFFFFF, 2)
    assert pack_data(0, 0, 0, [-1])[4:6] == (0xFFFFFFFF, 0xFFFFFFFF)
    with pytest.raises(UsageError, match="not 7"):
        pack_data(0, 0, 0, range(7))


def test_words_and_offsets():
    for byteorder in ("little", "big"):
        assert [word_at(offset_of(word, byteorder), byteorder) for word in range(16)] == list(range(16))
    assert [offset_of(word, "big") for word in (0, 1, 2, 3, 4, 5)] == [0, 4, 12, 8, 20, 16]
    for offset in (-4, 2, 64, 0xFFFFFFFC):
        with pytest.raises(FilterError, match="offset"):
            word_at(offset, "little")


@pytest.mark.parametrize(("byteorder", "low", "high"), [("little", 16, 20), ("big", 20, 16)])
def test_the_low_word_is_where_the_target_has_it(byteorder, low, high):
    assert result(BPF_STMT(0x20, low), byteorder=byteorder) == 1
    assert result(BPF_STMT(0x20, high), byteorder=byteorder) == 0xAABBCCDD
    assert result(BPF_STMT(0x20, 4), byteorder=byteorder) == 0xC000003E


def test_registers_and_cells_start_at_zero():
    assert result() == 0
    assert result(BPF_STMT(0x87, 0)) == 0
    assert result(BPF_STMT(0x00, 5), BPF_STMT(0x60, 7)) == 0


@pytest.mark.parametrize(
    ("code", "a", "operand", "expected"),
    [
        (0x04, 0xFFFFFFFF, 2, 1),
        (0x14, 1, 2, 0xFFFFFFFF),
        (0x24, 0x10001, 0x10001, 0x20001),
        (0x34, 0xFFFFFFFF, 2, 0x7FFFFFFF),
        (0x44, 5, 10, 15),
        (0x54, 6, 3, 2),
        (0x64, 0x80000001, 1, 2),
        (0x74, 0x80000001, 31, 1),
        (0xA4, 6, 3, 5),
    ],
)
def test_arithmetic_wraps_at_32_bits(code, a, operand, expected):
    assert result(BPF_STMT(0x00, a), BPF_STMT(code, operand)) == expected
    assert result(BPF_STMT(0x01, operand), BPF_STMT(0x00, a), BPF_STMT(code | 8, 0)) == expected


def test_a_shift_by_x_uses_five_bits():
    assert result(BPF_STMT(0x01, 33), BPF_STMT(0x00, 1), BPF_STMT(0x6C, 0)) == 2
    assert result(BPF_STMT(0x01, 0xFFFFFFE0), BPF_STMT(0x00, 7), BPF_STMT(0x7C, 0)) == 7


def test_division_by_an_x_of_zero_kills():
    assert run([BPF_STMT(0x00, 9), BPF_STMT(0x3C, 0), BPF_STMT(0x06, codes.SECCOMP_RET_ALLOW)], WORDS) == (0, 2)


def test_negation_length_and_transfers():
    assert result(BPF_STMT(0x00, 1), BPF_STMT(0x84, 0)) == 0xFFFFFFFF
    assert result(BPF_STMT(0x80, 0)) == 64
    assert result(BPF_STMT(0x81, 0), BPF_STMT(0x87, 0)) == 64
    assert result(BPF_STMT(0x00, 3), BPF_STMT(0x07, 0), BPF_STMT(0x00, 0), BPF_STMT(0x03, 15), BPF_STMT(0x60, 15)) == 3
    assert result(BPF_STMT(0x00, 3), BPF_STMT(0x02, 1), BPF_STMT(0x61, 1), BPF_STMT(0x00, 0), BPF_STMT(0x87, 0)) == 3


@pytest.mark.parametrize(
    ("code", "k", "taken"),
    [
        (0x15, 5, True),
        (0x15, 4, False),
        (0x25, 4, True),
        (0x25, 5, False),
        (0x35, 5, True),
        (0x35, 6, False),
        (0x45, 4, True),
        (0x45, 8, False),
    ],
)
def test_jumps(code, k, taken):
    for source in (0, 8):
        lines = [
            BPF_STMT(0x01, k),
            BPF_STMT(0x00, 5),
            BPF_JUMP(code | source, 0 if source else k, 1, 0),
            BPF_STMT(0x06, 0),
            BPF_STMT(0x06, 1),
        ]
        assert run(lines, WORDS) == (1 if taken else 0, 4)
    assert run([BPF_STMT(0x05, 1), BPF_STMT(0x06, 0), BPF_STMT(0x06, 7)], WORDS) == (7, 2)


@pytest.mark.parametrize(
    "line",
    [
        (0x20, 64),
        (0x20, 2),
        (0x60, 16),
        (0x61, 16),
        (0x02, 16),
        (0x03, 99),
        (0x34, 0),
        (0x64, 32),
        (0x94, 1),
        (0x30, 0),
        (0x0E, 0),
        (0x8C, 0),
        (0xFF, 0),
        (0x1020, 0),
    ],
)
def test_what_the_kernel_refuses_is_refused(line):
    with pytest.raises(FilterError, match=f"instruction 0 .code 0x{line[0]:02x}.*refuses"):
        run([BPF_STMT(*line), A], WORDS)
    with pytest.raises(FilterError, match="instruction 0"):
        run([BPF_STMT(*line)], WORDS)


@pytest.mark.parametrize("lines", [[], [BPF_STMT(0x00, 1)], [BPF_STMT(0x05, 9)], [BPF_JUMP(0x15, 0, 3, 3)]])
def test_running_off_the_end(lines):
    with pytest.raises(FilterError, match="off its end"):
        run(lines, WORDS)


def test_evaluate_takes_names():
    program = Program([BPF_STMT(0x20, 16), BPF_STMT(0x16, 0)], "little")
    assert evaluate(program, "amd64", "socket", 10) == 10
    assert evaluate(program, 0xC000003E, 41, 11) == 11
    assert evaluate(Program([BPF_STMT(0x20, 20), BPF_STMT(0x16, 0)], "big"), "s390x", "socket", 12) == 12
    assert evaluate(Program([BPF_STMT(0x20, 8), BPF_STMT(0x16, 0)], "little"), "x86", 1, ip=77) == 77
    with pytest.raises(UsageError, match="did you mean 'socket'"):
        evaluate(program, "x86_64", "sockte")


# The bitmap: what the kernel's emulator accepts, and each thing that defeats it


ALLOW = BPF_STMT(0x06, codes.SECCOMP_RET_ALLOW)
TOKEN = 0xC000003E


@pytest.mark.parametrize(
    "path",
    [
        [],
        [BPF_STMT(0x20, 0), BPF_STMT(0x20, 4)],
        [BPF_STMT(0x20, 4), BPF_JUMP(0x15, TOKEN, 1, 0), BPF_STMT(0x20, 16), BPF_STMT(0x20, 0), BPF_JUMP(0x35, 30, 0, 1)],
        [BPF_STMT(0x05, 1), BPF_STMT(0x00, 0)],
        [BPF_STMT(0x20, 0), BPF_STMT(0x54, 0xF), BPF_JUMP(0x25, 3, 0, 0), BPF_JUMP(0x45, 3, 0, 0)],
    ],
)
def test_what_the_bitmap_keeps(path):
    assert constant_allow([*path, ALLOW, BPF_STMT(0x06, 0)], TOKEN, 35)


@pytest.mark.parametrize(
    "path",
    [
        *[[BPF_STMT(0x20, offset)] for offset in range(8, 64, 4)],
        *[[BPF_STMT(code, 1)] for code in (0x00, 0x01, 0x80, 0x81, 0x02, 0x03, 0x60, 0x61, 0x07, 0x87)],
        *[[BPF_STMT(code, 1)] for code in (0x04, 0x14, 0x24, 0x34, 0x44, 0x64, 0x74, 0x84, 0xA4, 0x5C)],
        *[[BPF_JUMP(code, 0, 0, 0)] for code in (0x1D, 0x2D, 0x3D, 0x4D)],
        [BPF_STMT(0x16, 0)],
        [BPF_STMT(0x06, codes.SECCOMP_RET_ALLOW | 1)],
        [BPF_STMT(0x06, codes.SECCOMP_RET_LOG)],
        [BPF_STMT(0x05, 5)],
    ],
)
def test_what_defeats_the_bitmap(path):
    assert not constant_allow([*path, ALLOW], TOKEN, 35)


def test_x32_and_negative_numbers_are_never_kept():
    assert constant_allow([ALLOW], TOKEN, 0x3FFFFFFF)
    assert not constant_allow([ALLOW], TOKEN, 0x40000000)
    assert not constant_allow([ALLOW], TOKEN, -1)
    assert not constant_allow([], TOKEN, 1)
