"""What executing a file takes besides the file: read from its first line, or from its ELF header."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seclude.errors import UsageError
from seclude.supervise.programs import interpreter, permitted


def found(tmp_path, raw):
    path = tmp_path / "program"
    path.write_bytes(raw)
    handle = os.open(path, os.O_RDONLY)
    try:
        return [name for name, _ in interpreter(handle)]
    finally:
        os.close(handle)


def elf(loader, *, wide=True, order="<"):
    """A file with one program header, PT_INTERP, behind a PT_LOAD."""
    word = "Q" if wide else "I"
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    head, size = (64, 56) if wide else (52, 32)
    at = head + 2 * size
    rest = struct.pack(f"{order}HHI{word}{word}{word}IHHHHHH", 3, 62, 1, 0, head, 0, 0, head, size, 2, 0, 0, 0)
    load = struct.pack(order + "I", 1) + bytes(size - 4)
    text = loader + b"\0"
    if wide:
        interp = struct.pack(order + "IIQQQQQQ", 3, 4, at, 0, 0, len(text), len(text), 1)
    else:
        interp = struct.pack(order + "IIIIIIII", 3, at, 0, 0, len(text), len(text), 4, 1)
    return ident + rest + load + interp + text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"#!/bin/sh\nx", [b"/bin/sh"]),
        (b"#! /bin/sh -e\n", [b"/bin/sh"]),
        (b"#!/usr/bin/env python3\n", [b"/usr/bin/env", b"python3"]),
        (b"#!/usr/bin/env -S A=1 perl -w\n", [b"/usr/bin/env", b"perl"]),
        (b"#!/usr/bin/env\n", [b"/usr/bin/env"]),
        (b"#!\n", []),
        (b"echo hi\n", []),
        (b"", []),
    ],
)
def test_scripts(tmp_path, line, expected):
    assert found(tmp_path, line) == expected


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_programs(tmp_path, wide, order):
    assert found(tmp_path, elf(b"/lib/ld.so", wide=wide, order=order)) == [b"/lib/ld.so"]


@given(st.binary(max_size=200), st.integers(0, 63))
def test_damaged_programs_have_no_loader_or_another_one(tmp_path_factory, noise, at):
    raw = bytearray(elf(b"/lib/ld.so"))
    raw[at : at + len(noise)] = noise
    raw[:4] = b"\x7fELF"
    assert len(found(tmp_path_factory.getbasetemp(), bytes(raw))) <= 1


def test_everything_that_is_needed_and_why(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    files = permitted([str(script)], b"/bin/sh", os.environ["PATH"])
    shell = os.path.realpath(b"/bin/sh")
    assert files[os.fsencode(script)] == ""
    assert files[shell] == "the command itself"
    assert sum("the loader" in why for why in files.values()) <= 1
    # A word is looked for where a shell would.
    assert os.fsencode(script) in permitted(["script"], b"/bin/sh", f"/nonexistent:{tmp_path}")
    for word in ("script", "./script-that-is-not"):
        with pytest.raises(UsageError, match="--exec"):
            permitted([word], b"/bin/sh", "/nonexistent")


def test_scripts_that_name_each_other_come_to_an_end(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(f"#!{two}\n")
    two.write_text(f"#!{one}\n")
    assert {os.fsencode(one), os.fsencode(two)} <= set(permitted([str(one)], b"/bin/sh", ""))
