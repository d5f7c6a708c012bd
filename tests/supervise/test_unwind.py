"""Unwind tables: of a library that is there, of a table made by hand, and of broken ones."""

from __future__ import annotations

import os
import random
import struct
from typing import Any

from seclude.supervise.unwind import Tables, callers, stack_pointer

# CIE: version 1, "zR", code 1, data -8, return address in 16; pcrel sdata4; frame at rsp+8, return address at frame-8
CIE = b"\0\0\0\0\1zR\0\1\x78\x10\1\x1b\x0c\7\x08\x90\1\0\0"
LOADS = [(0, 0x1000, 0x400000)]


def tables(tmp_path, program, *, start=0x400800, size=0x40):
    """A file with one function at ``start`` whose frame is described by ``program``; the header is at 0x100, entries at 0x200."""
    cie = struct.pack("<I", len(CIE)) + CIE
    at = 0x200 + len(cie)
    body = struct.pack("<Iii", len(cie) + 4, start - (0x400000 + at + 8), size) + b"\0" + program
    fde = struct.pack("<I", len(body)) + body
    header = b"\1\x1b\3\x3b" + struct.pack("<iIii", 0, 1, start - 0x400100, 0x400000 + at - 0x400100)
    raw = bytearray(0x1000)
    raw[0x100 : 0x100 + len(header)] = header
    raw[0x200 : 0x200 + len(cie) + len(fde)] = cie + fde
    path = tmp_path / "file"
    path.write_bytes(raw)
    descriptor = os.open(path, os.O_RDONLY)
    return Tables(descriptor, LOADS, (0x100, len(header), 0x400100)), descriptor


def test_a_frame_grows_with_the_stack_pointer(tmp_path):
    # after 4 bytes: frame at rsp+16, rbp saved at frame-16; after 8 more: frame at rsp+112; then back
    found, descriptor = tables(tmp_path, b"\x44\x0e\x10\x86\2\x48\x0a\x0e\x70\x50\x0b\x42\xc6\0")
    try:
        assert found.row(descriptor, 0x400800) == (7, 8, {16: -8})
        assert found.row(descriptor, 0x400804) == (7, 16, {16: -8, 6: -16})
        assert found.row(descriptor, 0x40080C) == (7, 112, {16: -8, 6: -16})
        assert found.row(descriptor, 0x40081C) == (7, 16, {16: -8, 6: -16})
        assert found.row(descriptor, 0x40081E) == (7, 16, {16: -8})
        assert found.row(descriptor, 0x400840) is None
        assert found.row(descriptor, 0x4007FF) is None
    finally:
        os.close(descriptor)


def test_what_is_computed_is_not_followed(tmp_path):
    found, descriptor = tables(tmp_path, b"\x44\x0f\2\x77\x08")  # def_cfa_expression
    try:
        assert found.row(descriptor, 0x400803) == (7, 8, {16: -8})
        assert found.row(descriptor, 0x400804) is None
    finally:
        os.close(descriptor)


def test_callers_by_hand():
    rows: Any = {
        0x10FF: (7, 16, {16: -8}),
        0x20FF: (7, 32, {16: -8, 6: -16}),
        0x30FF: (6, 16, {16: -8, 6: -16}),
        0x40FF: (7, 8, {16: None}),
    }
    stack: Any = {0x8008: 0x2100, 0x8028: 0x3100, 0x8020: 0x9000, 0x9008: 0x4100, 0x9000: 0}
    assert callers(rows.get, stack.get, 0x1100, 0x8000, 9) == [0x2100, 0x3100, 0x4100]
    assert callers(rows.get, stack.get, 0x1100, 0x8000, 1) == [0x2100]
    assert callers(rows.get, stack.get, 0x3100, 0x8000, 9) == []  # rbp is not known
    nothing: Any = {}
    assert callers(rows.get, nothing.get, 0x1100, 0x8000, 9) == []


def test_a_stack_that_leads_in_circles_ends():
    assert callers(lambda _: (7, 0, {16: -8}), lambda _: 0x1000, 0x1000, 0x8000, 9) == []
    assert len(callers(lambda _: (7, 8, {16: -8}), lambda _: 0x1000, 0x1000, 0x8000, 9)) == 9


def test_broken_and_hostile_tables_do_no_harm(tmp_path):
    found, descriptor = tables(tmp_path, b"\x44\x0e\x10\x86\2\x48\x0a\x0e\x70\x50\x0b\x42\xc6\0")
    good = os.pread(descriptor, 0x1000, 0)
    os.close(descriptor)
    chance = random.Random(5)
    path = tmp_path / "broken"
    for _ in range(400):
        raw = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            raw[chance.choice((chance.randrange(0x100, 0x120), chance.randrange(0x200, 0x240)))] = chance.randrange(256)
        path.write_bytes(raw)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            broken = Tables(descriptor, LOADS, (0x100, 20, 0x400100))
            for address in (0x400800, 0x40080C, 0x40083F):
                broken.row(descriptor, address)
        finally:
            os.close(descriptor)
    assert found.row(-1, 0x400800) is None  # a file that is not open any more


def test_numbers_that_never_end(tmp_path):
    found, descriptor = tables(tmp_path, b"\x0e" + b"\xff" * 40)
    try:
        assert found.row(descriptor, 0x400800) is None
    finally:
        os.close(descriptor)


def test_the_stack_pointer_of_nobody():
    assert stack_pointer(0) is None
