"""Which word of a register set is what, on every machine whose registers are known: nothing here needs that machine."""

from __future__ import annotations

import errno
import struct

import pytest

from seclude.abi import arch
from seclude.kernel.registers import layout, rewritten, skipped

X86_64, I386, ARM64, ARM = arch("x86_64").token, arch("x86").token, arch("aarch64").token, arch("arm").token
NEW = tuple(range(0x1000, 0x1006))

#: machine, architecture of the call, form of the register set, words of number, result, arguments, and of further copies of the first one
SETS = {
    "x86_64": ("x86_64", X86_64, "=27Q", 15, 10, (14, 13, 12, 7, 9, 8), ()),
    "int 0x80 from 64-bit code": ("x86_64", I386, "=27Q", 15, 10, (5, 11, 12, 13, 14, 4), ()),
    "i386 task": ("x86_64", I386, "=17I", 11, 6, (0, 1, 2, 3, 4, 5), ()),
    "i386 kernel": ("i686", I386, "=17I", 11, 6, (0, 1, 2, 3, 4, 5), ()),
    "aarch64": ("aarch64", ARM64, "=34Q", None, 0, (0, 1, 2, 3, 4, 5), ()),
    "arm task": ("aarch64", ARM, "=18I", None, 0, (0, 1, 2, 3, 4, 5), (17,)),
}


@pytest.mark.parametrize("name", SETS)
def test_a_call_is_rewritten_in_its_registers_and_nowhere_else(name):
    machine, token, form, number, _, args, copies = SETS[name]
    before = list(range(100, 100 + struct.calcsize(form) // struct.calcsize("=" + form[-1])))
    raw = struct.pack(form, *before)
    after = list(struct.unpack(form, rewritten(raw, layout(machine, len(raw), token), 77, NEW)))
    if number is not None:
        assert after[number] == 77
    assert tuple(after[index] for index in args) == NEW
    assert all(after[index] == NEW[0] for index in copies)
    touched = {*args, *copies, *([] if number is None else [number])}
    assert [after[i] for i in range(len(before)) if i not in touched] == [before[i] for i in range(len(before)) if i not in touched]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("value", [0, 5, -1, -4095, 1 << 40])
def test_a_skipped_call_has_number_minus_one_and_a_result(name, value):
    machine, token, form, number, result, _, _ = SETS[name]
    before = list(range(100, 100 + struct.calcsize(form) // struct.calcsize("=" + form[-1])))
    raw = struct.pack(form, *before)
    after = list(struct.unpack(form, skipped(raw, layout(machine, len(raw), token), value)))
    mask = (1 << (64 if form[-1] == "Q" else 32)) - 1
    assert after[result] == value & mask
    if number is not None:
        assert after[number] == mask
    touched = {result, *([] if number is None else [number])}
    assert [after[i] for i in range(len(before)) if i not in touched] == [before[i] for i in range(len(before)) if i not in touched]


@pytest.mark.parametrize(
    ("machine", "size"), [("x86_64", 26 * 8), ("x86_64", 0), ("aarch64", 27 * 8), ("i686", 27 * 8), ("riscv64", 32 * 8)]
)
def test_registers_that_are_not_known_are_not_guessed(machine, size):
    with pytest.raises(OSError, match="no layout known") as failure:
        layout(machine, size, X86_64)
    assert failure.value.errno == errno.ENOTSUP
