"""Which word of a register set is what, on every machine whose registers are known: nothing here needs that machine."""

from __future__ import annotations

import ctypes
import errno
import struct

import pytest

from seclude.abi import arch
from seclude.kernel import registers
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


class Machine:
    """ptrace(2) of a kernel for another machine: one stopped thread, its register sets, and every request."""

    def __init__(self, monkeypatch, machine, sets):
        self.sets, self.log = sets, []
        monkeypatch.setattr(registers, "_machine", machine)
        monkeypatch.setattr(registers, "_ptrace", self.ptrace)

    def ptrace(self, request, tid, which, data):
        if request == 0x4212:
            ctypes.set_errno(errno.EIO)
            return -1
        base, length = struct.unpack("=QQ", ctypes.string_at(data, 16))
        self.log.append((request, tid, which))
        if request == 0x4204:
            raw = self.sets[which][:length]
            ctypes.memmove(base, raw, len(raw))
            ctypes.memmove(data + 8, struct.pack("=Q", len(raw)), 8)
        else:
            assert length == len(self.sets[which]), "a register set is written whole"
            self.sets[which] = ctypes.string_at(base, length)
        return 0


@pytest.mark.parametrize(("machine", "token", "form", "copies"), [("aarch64", ARM64, "=34Q", ()), ("aarch64", ARM, "=18I", (17,))])
def test_on_arm64_the_number_is_a_register_set_of_its_own(monkeypatch, machine, token, form, copies):
    count = int(form[1:-1])
    stands = Machine(monkeypatch, machine, {1: struct.pack(form, *range(100, 100 + count)), 0x404: struct.pack("=i", 56)})
    registers.set_call(7, token, 63, NEW)
    assert stands.log == [(0x4204, 7, 1), (0x4205, 7, 0x404), (0x4205, 7, 1)]
    words = struct.unpack(form, stands.sets[1])
    assert words[:6] == NEW
    assert all(words[index] == NEW[0] for index in copies)
    assert struct.unpack("=i", stands.sets[0x404]) == (63,)
    registers.skip(7, token, -13)
    assert struct.unpack("=i", stands.sets[0x404]) == (-1,)
    words = struct.unpack(form, stands.sets[1])
    assert words[0] == -13 & (1 << 8 * struct.calcsize("=" + form[-1])) - 1
    assert words[1:6] == NEW[1:]


@pytest.mark.parametrize("number", [errno.ESRCH, errno.EINVAL, errno.ERANGE])
def test_only_an_unknown_request_is_done_another_way(monkeypatch, number):
    def ptrace(request, tid, which, data):
        assert request == 0x4212
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(registers, "_ptrace", ptrace)
    with pytest.raises(OSError, match=r"^\[Errno") as failure:
        registers.set_call(7, X86_64, 1, NEW)
    assert failure.value.errno == number
