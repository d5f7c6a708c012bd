"""Where other architectures look for a 64-bit value: programs of a few instructions, run by QEMU's user emulation.

QEMU translates each architecture's system calls on its own account, so it is a second witness beside the kernel's sources: a program puts the
halves of an offset where seclude.abi.prototypes says, and the host's file shows what was understood.
"""

from __future__ import annotations

import os
import struct
import subprocess

import pytest

from seclude import abi
from seclude.abi.prototypes import prototype
from support import need_program

pytestmark = pytest.mark.live

BASE = 0x400000
CODE = BASE + 0x54  # after the ELF header and one program header
DATA = 0x200  # offset of the bytes to write
VECTOR = 0x240  # offset of a struct iovec of them
STACK = 0x800


def arm(number, values):
    """``movw`` and ``movt`` for r0..r5 and r7, ``svc 0``; EABI."""
    words: list[int] = []
    for register, value in [*enumerate(values), (7, number)]:
        for base, half in ((0xE3000000, value & 0xFFFF), (0xE3400000, value >> 16)):
            words.append(base | half >> 12 << 16 | register << 12 | half & 0xFFF)
    return struct.pack(f"<{len(words) + 1}I", *words, 0xEF000000)


def mips(order):
    """``lui`` and ``ori`` for a0..a3 and v0, the fifth and sixth argument on the stack, ``syscall``; o32."""

    def code(number, values):
        words: list[int] = []

        def load(register, value):
            words.extend((0x3C000000 | register << 16 | value >> 16, 0x34000000 | register << 21 | register << 16 | value & 0xFFFF))

        load(29, BASE + STACK)
        for position, value in enumerate(values[4:]):
            load(8, value)
            words.append(0xAC000000 | 29 << 21 | 8 << 16 | 16 + 4 * position)
        for register, value in [*enumerate(values[:4], 4), (2, number)]:
            load(register, value)
        return struct.pack(f"{order}{len(words) + 1}I", *words, 0xC)

    return code


def ppc(number, values):
    """``lis`` and ``ori`` for r3..r8 and r0, ``sc``."""
    words = []
    for register, value in [*enumerate(values, 3), (0, number)]:
        words += [0x3C000000 | register << 21 | value >> 16, 0x60000000 | register << 21 | register << 16 | value & 0xFFFF]
    return struct.pack(f">{len(words) + 1}I", *words, 0x44000002)


def m68k(number, values):
    """``move.l #value`` to d1..d5, a0 and d0, ``trap #0``."""
    opcodes = [0x203C | register << 9 for register in (1, 2, 3, 4, 5)] + [0x207C, 0x203C]
    return b"".join(struct.pack(">HI", opcode, value) for opcode, value in zip(opcodes, [*values, number], strict=True)) + b"\x4e\x40"


def sh(order):
    """``mov.l @(disp,PC)`` to r4..r7, r0, r1 and r3, ``trapa #0x16``, over a pool of the values; starts at a multiple of four."""

    def code(number, values):
        registers, pool = (4, 5, 6, 7, 0, 1, 3), 20
        halves = []
        for position, register in enumerate(registers):
            here = (2 * position & ~3) + 4
            halves.append(0xD000 | register << 8 | (pool + 4 * position - here) // 4)
        branch = (pool + 28 - (2 * 8 + 4)) // 2  # over the pool, after one empty slot
        return struct.pack(f"{order}10H", *halves, 0xC316, 0xA000 | branch, 9) + struct.pack(f"{order}7I", *values, number)

    return code


# architecture → (e_machine, e_flags, how to make a call, emulator)
MACHINES = {
    "arm": (40, 0x05000000, arm, "arm"),
    "mips": (8, 0x70001000, mips(">"), "mips"),
    "mipsel": (8, 0x70001000, mips("<"), "mipsel"),
    "ppc": (20, 0, ppc, "ppc"),
    "m68k": (4, 0, m68k, "m68k"),
    "sh": (42, 0, sh("<"), "sh4"),
    "sheb": (42, 0, sh(">"), "sh4eb"),
}


def program(arch, call, values):
    """A static executable that makes one call, with the registers of the prototype, and exits with 0."""
    machine, flags, make, _ = MACHINES[arch]
    architecture = abi.arch(arch)
    found = prototype(architecture, call)
    assert found is not None
    registers = [0xEEEEEEEE] * 6  # what an unused register holds must not matter
    for name, value in values.items():
        parameter = found.parameter(name)
        assert parameter is not None
        for half, register in enumerate(parameter.registers):
            registers[register] = value >> (32 * half) & 0xFFFFFFFF
    leave = architecture.number("exit")
    number = architecture.number(call)
    assert leave is not None
    assert number is not None
    code = make(number, registers) + make(leave, [0] * 6)
    order = "<" if architecture.byteorder == "little" else ">"
    ident = b"\x7fELF\x01" + (b"\x01" if order == "<" else b"\x02") + b"\x01" + bytes(9)
    header = ident + struct.pack(f"{order}HHIIIIIHHHHHH", 2, machine, 1, CODE, 0x34, 0, flags, 0x34, 0x20, 1, 0, 0, 0)
    segment = struct.pack(f"{order}8I", 1, 0, BASE, BASE, 0x1000, 0x1000, 7, 0x1000)
    image = (header + segment + code).ljust(DATA, b"\0") + b"abc"
    image = image.ljust(VECTOR, b"\0") + struct.pack(f"{order}II", BASE + DATA, 3)
    return image.ljust(0x1000, b"\0")


@pytest.mark.parametrize("arch", MACHINES)
@pytest.mark.parametrize(
    ("call", "values", "size"),
    [
        ("ftruncate64", {"fd": 0, "length": 0x100000203}, 0x100000203),
        ("pwrite64", {"fd": 0, "buf": BASE + DATA, "count": 3, "offset": 0x20000000B}, 0x20000000E),
        ("pwritev", {"fd": 0, "iov": BASE + VECTOR, "iovcnt": 1, "offset": 0x300000007}, 0x30000000A),
        ("fallocate", {"fd": 0, "mode": 0, "offset": 0x100000005, "len": 0x7001}, 0x100007006),
    ],
)
def test_the_halves_are_where_the_prototype_says(arch, call, values, size, tmp_path):
    emulator = need_program(f"qemu-{MACHINES[arch][3]}-static", "qemu-user-static")
    binary, file = tmp_path / "program", tmp_path / "file"
    binary.write_bytes(program(arch, call, values))
    binary.chmod(0o755)
    file.touch()
    with file.open("r+b") as opened:
        done = subprocess.run([emulator, binary], stdin=opened, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert os.stat(file).st_size == size
