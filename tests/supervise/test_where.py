"""Places named from files: real ones, broken ones, and hostile ones."""

from __future__ import annotations

import ctypes
import os
import random
import struct
from pathlib import Path

import pytest

from seclude.supervise.where import Places, Symbols, place

LIBC = ctypes.CDLL(None)


def address(name):
    return ctypes.cast(getattr(LIBC, name), ctypes.c_void_p).value


def symbols(path, raw):
    path.write_bytes(raw)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return Symbols(descriptor)
    finally:
        os.close(descriptor)


def test_a_function_of_a_library_is_named():
    assert place(os.getpid(), address("mkdir") + 7).endswith("(mkdir+0x7)")
    assert place(os.getpid(), address("mkdir") + 7).startswith(("libc.so.6+0x", "libc-2", "libc.musl", "ld-musl"))


def test_memory_without_a_file_and_addresses_without_memory():
    buffer = ctypes.create_string_buffer(10)
    assert "+0x" in place(os.getpid(), ctypes.addressof(buffer))
    assert place(os.getpid(), 0x10) == "0x10"
    assert place(0, 0x1000) == "0x1000"


def mapped(end):
    """Where a file is mapped here."""
    lines = Path("/proc/self/maps").read_bytes().split(b"\n")
    return next(int(line.split(b"-")[0], 16) for line in lines if line.endswith(os.fsencode(end)))


def elf(functions, *, wide=True):
    """A little ELF file: one loaded segment (file offset 0x1000 at 0x401000), a table of functions and their names."""
    names, table = b"\0", bytes(24 if wide else 16)
    for name, value, size in functions:
        table += (
            struct.pack("<IBBHQQ", len(names), 2, 0, 1, value, size) if wide else struct.pack("<IIIBBH", len(names), value, size, 2, 0, 1)
        )
        names += name + b"\0"
    head = 64 if wide else 52
    program = (
        struct.pack("<IIQQQQQQ", 1, 5, 0x1000, 0x401000, 0, 0x1000, 0x1000, 0)
        if wide
        else struct.pack("<8I", 1, 0x1000, 0x401000, 0, 0x1000, 0x1000, 5, 0)
    )
    at = head + len(program)
    form = "<IIQQQQIIQQ" if wide else "<10I"
    size = struct.calcsize(form)
    sections = struct.pack(form, *([0] * 10)) + struct.pack(form, 0, 2, 0, 0, at + 3 * size, len(table), 2, 0, 0, 0)
    sections += struct.pack(form, 0, 3, 0, 0, at + 3 * size + len(table), len(names), 0, 0, 0, 0)
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    rest = struct.pack("<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH", 2, 62, 1, 0, head, at, 0, head, len(program), 1, size, 3, 2)
    return (ident + rest + program + sections + table + names).ljust(0x2000, b"\0")


@pytest.mark.parametrize("wide", [True, False])
def test_symbols_by_address(tmp_path, wide):
    found = symbols(tmp_path / "f", elf([(b"first", 0x401000, 16), (b"_second", 0x401010, 16), (b"second", 0x401010, 16)], wide=wide))
    assert found.address(0x1004) == 0x401004
    assert found.address(0x10) is None
    assert found.name(0x401004) == (b"first", 4)
    # The address is behind the call: one that ends a function is still in it.
    assert found.name(0x401010) == (b"first", 16)
    assert found.name(0x401012) == (b"second", 2)
    assert found.name(0x500000) is None
    assert found.name(0x1000) is None


def test_broken_and_hostile_files_have_no_symbols_and_do_no_harm(tmp_path):
    good = elf([(b"first", 0x401000, 16)])
    assert symbols(tmp_path / "f", b"").name(1) is None
    assert symbols(tmp_path / "f", b"#!/bin/sh\n").name(1) is None
    chance = random.Random(7)
    for _ in range(300):
        raw = bytearray(good[: chance.choice((70, 200, 400, len(good)))])
        for _ in range(chance.randrange(1, 12)):
            raw[chance.randrange(min(len(raw), 400))] = chance.randrange(256)
        found = symbols(tmp_path / "f", bytes(raw))
        found.name(0x401004)
        found.address(0x1004)


def test_a_replaced_file_gives_its_offset_only(tmp_path):
    import mmap

    path = tmp_path / "lib.so"
    path.write_bytes(elf([(b"first", 0x401000, 16)]))
    with path.open("rb") as file:
        held = mmap.mmap(file.fileno(), 0x2000, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
    start = mapped("lib.so")
    places = Places()
    assert places.find(os.getpid(), start + 0x1004) == "lib.so+0x401004 (first+0x4)"
    path.rename(tmp_path / "old")
    path.write_bytes(elf([(b"other", 0x401000, 16)]))
    assert places.find(os.getpid(), start + 0x1004) in ("old+0x401004 (first+0x4)", "lib.so+0x1004 in the file")
    held.close()


def test_names_that_a_target_chose_are_escaped(tmp_path):
    import mmap

    path = tmp_path / "\x1b[31m\u202e.so"
    path.write_bytes(elf([(b"\x1b]0;x\x07", 0x401000, 16)]))
    with path.open("rb") as file:
        held = mmap.mmap(file.fileno(), 0x2000, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
    start = mapped(f"{tmp_path.name}/\x1b[31m\u202e.so")
    text = place(os.getpid(), start + 0x1004)
    assert text.isascii()
    assert text.isprintable()
    held.close()
