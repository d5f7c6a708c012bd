"""Files that hold filters, and files that do not."""

from __future__ import annotations

import contextlib
import os
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bpf_support import anything
from seclude.analysis.source import LARGEST, assemble_source, read_source, source_of
from seclude.analysis.write import FORMS, write
from seclude.bpf import Program, assemble, validate
from seclude.errors import FilterError, UsageError

TEXT = """
    A = arch
    if (A != ARCH_X86_64) goto bad
    A = sys_number
    if (A == read) goto good
    A = args[0]
    if (A & 0xf0) goto good else goto bad
good: return ALLOW
bad: return ERRNO(EPERM)
"""
PROGRAM = assemble(TEXT)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_that_is_written_is_read(form):
    source = source_of(write(PROGRAM, form), "f")
    assert source.program == PROGRAM
    assert source.notes == ()
    assert source.left == 0


@pytest.mark.parametrize("form", [form for form in FORMS if form != "python"])
@given(anything.filter(lambda lines: any(code <= 0xFF for code, *_ in lines)))
def test_any_program_survives_every_text(form, lines):
    program = Program(lines, "little")
    assert source_of(write(program, form), "f", byteorder="little").program == program


C = """
#include <linux/filter.h>
/* { not, an, entry, here } */
int other[] = {1, 2, 3, 4};
static struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offsetof(struct seccomp_data, arch))), // BPF_STMT(9, 9)
    BPF_JUMP(BPF_JMP + BPF_JEQ + BPF_K, AUDIT_ARCH_X86_64, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
    { .code = 0x20, .jt = 0, .jf = 0, .k = offsetof(struct seccomp_data, args[1]) + 4 },
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EPERM & SECCOMP_RET_DATA)),
    {0x6, 0, 0, -1},
    {0x6, 0, 0, (unsigned int)0x7fff0000UL},
};
struct sock_fprog program = {7, filter, 0, 0};
"""


def test_c_with_macros_and_braces():
    assert source_of(C.encode(), "f.c").program.instructions == (
        (0x20, 0, 0, 4),
        (0x15, 1, 0, 0xC000003E),
        (0x06, 0, 0, 0),
        (0x20, 0, 0, 28),
        (0x06, 0, 0, 0x50001),
        (0x06, 0, 0, 0xFFFFFFFF),
        (0x06, 0, 0, 0x7FFF0000),
    )


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2\n32 0 0 4\n6 0 0 2147418112\n", "ddd"),
        ("2000000004000000\n060000000000ff7f\n", "hex"),
        ("20 00 00 00 04 00 00 00 06 00 00 00 00 00 ff 7f", "hex"),
        (
            "{0x20, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00,\n 0x6, 0, 0x00}".replace("0x6, 0, 0x00", "0x6,0x0,0x0,0x0,0x0,0x0,0xff,0x7f"),
            "hex",
        ),
        ("00000000: 2000 0000 0400 0000 0600 0000 0000 ff7f  ...............\n", "hex"),
        ("00000000  20 00 00 00 04 00 00 00  06 00 00 00 00 00 ff 7f  |................|\n00000010\n", "hex"),
        (r'char filter[] = "\x20\x00\x00\x00\x04\x00\x00\x00"' + "\n" + r'   "\x06\x00\x00\x00\x00\x00\xff\x7f";', "string"),
        ("{ 0x20, 0, 0, 0x00000004 },\n{ 0x6, 0, 0, 0x7fff0000 },\n", "c"),
        (
            " line  CODE  JT   JF      K\n====\n 0000: 0x20 0x00 0x00 0x00000004  A = arch\n 0001: 0x06 0x00 0x00 0x7fff0000  return ALLOW\n",
            "listing",
        ),
        ("A = arch\nreturn ALLOW\n", "asm"),
        ("\ufeffA = arch\r\nreturn ALLOW\r\n", "asm"),
    ],
)
def test_forms_are_told_apart(text, form):
    source = source_of(text.encode(), "f")
    assert source.form == form
    assert source.program.instructions == ((0x20, 0, 0, 4), (0x06, 0, 0, 0x7FFF0000))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b" \n\n", "nothing but blanks"),
        (b"\x7fELF\x02\x01\x01" + bytes(60), "an ELF program"),
        (b"#!/bin/sh\necho\n", "a script"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b'{"defaultAction": "SCMP_ACT_ERRNO"}', "JSON"),
        (b'{\n  "defaultAction": 1}', "JSON"),
        (b"# mine\ndefault errno(EPERM)\nallow read\n", "a policy"),
        (b"include container\n", "a policy"),
        (b"\x20\0\0\0", "one instruction has 8"),
        (bytes(range(200, 232)), "no seccomp filter"),
        (b"2\n32 0 0 4\n", "promises 2"),
        (b"1\n32 0 0 4294967296\n", "does not fit in 32 bits"),
        (b" 0001: 0x20 0x00 0x00 0x00000004\n", "without gaps"),
        (b"{1, 2, 3, 4, 5}", "5 values where 4 belong"),
        (b"{256, 256, 0, 4}", "jt = 256 does not fit"),
        (b"BPF_STMT(BPF_LD, NO_SUCH)", "NO_SUCH"),
        (b"BPF_STMT(BPF_LD, offsetof(struct seccomp_data, pid))", "no field"),
        (b"BPF_STMT(6", "1 values where 2 belong"),
        (b"hello, world\n", "no statement begins with 'hello'"),
        ("Γειά\n".encode(), "has no meaning here"),
        (b'include "missing.asm"\n', "No such file"),
    ],
)
def test_what_is_no_filter_is_named(raw, said):
    with pytest.raises(FilterError) as error:
        source_of(raw, "f")
    assert said in str(error.value)


def test_places_of_faults_are_those_of_the_text():
    with pytest.raises(FilterError) as error:
        source_of(b"static struct sock_filter f[] = {\n  BPF_STMT(6, 0),\n    BPF_STMT(BPF_LD, NOPE),\n};\n", "f.c")
    (fault,) = error.value.diagnostics
    assert str(fault.span) == "f.c:3:5"


def test_byte_order_is_detected_and_said():
    big = Program(PROGRAM, "big")
    source = source_of(big.to_bytes(), "f")
    assert source.program == big
    assert "read as big-endian" in source.notes[0]
    assert source_of(big.to_bytes(), "f", arch="s390x").notes == ()
    wrong = source_of(big.to_bytes(), "f", arch="x86_64")
    assert wrong.program == big
    assert "which x86_64 would be" in wrong.notes[0]
    with pytest.raises(FilterError, match="which was asked for"):
        source_of(big.to_bytes(), "f", byteorder="little")
    with pytest.raises(UsageError):
        source_of(big.to_bytes(), "f", byteorder="middle")


@pytest.mark.parametrize("extra", range(1, 8))
def test_odd_lengths_are_read_and_said(extra):
    source = source_of(PROGRAM.to_bytes() + bytes(extra), "f")
    assert source.program == PROGRAM
    assert source.left == extra
    assert f"left over at offset {8 * len(PROGRAM)}" in source.notes[0]


@pytest.mark.parametrize("code", range(256))
def test_every_opcode(code):
    for order in ("little", "big"):
        raw = struct.pack("<HBBI" if order == "little" else ">HBBI", code, 1, 2, 3)
        program = source_of(raw, "f", byteorder=order).program
        assert program[0].code == code
        validate(program)


def test_oversized_programs_are_read_and_judged():
    source = source_of(struct.pack("<HBBI", 6, 0, 0, 0) * 5000, "f")
    assert len(source.program) == 5000
    assert validate(source.program)[0].rule == "length"


def test_oversized_files_are_refused(tmp_path):
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(FilterError, match="larger than"):
        read_source(str(path))
    with pytest.raises(FilterError, match="No such file"):
        read_source(str(tmp_path / "none"))
    with pytest.raises(FilterError, match="directory"):
        read_source(str(tmp_path))
    with pytest.raises(FilterError, match="null"):
        read_source("a\0b")


@given(st.binary(max_size=200))
@example(b"0x20 \t\n" * 20)
@example(b"\\x")
@example(b"BPF_STMT(" * 9)
@example(b"{,,,}")
@example(b'include "/dev/null"')
def test_any_bytes_are_a_program_or_an_error(raw):
    with contextlib.suppress(FilterError):
        validate(source_of(raw, "f").program)


PIECES = ["BPF_STMT(", "BPF_JUMP(", "{", "}", ",", ")", "0x20", "6", "\\x20", "\"", "/*", "*/", "//", "};", "goto", "include", "return", "&&", "||", "!", "(", "L:", "next", "+1", ".insn"]  # fmt: skip
pieces = st.sampled_from(
    [*PIECES, "\n", " 0000: 0x06 0x00 0x00 0x00000000", "A = arch", "sock_filter f[] = {", "offsetof(struct seccomp_data, nr)", "return ALLOW", "if (A == 1)"]
)  # fmt: skip


@given(st.lists(pieces, max_size=40).map(" ".join))
def test_any_words_are_a_program_or_an_error(text):
    with contextlib.suppress(FilterError):
        validate(source_of(text.encode(), "f").program)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    ["0x20,   ", "/*", "{", "{,,,,", "BPF_STMT(", "\\x20 b", "20 ", "#\n", "a:\n", "((((", "!", "00000000: 2000 ", "A = 1\n", "{1,2,3,4}", "if (A == 1 || A == 2) goto end\n"],
)  # fmt: skip
def test_large_texts_end(piece):
    # A quadratic reader would take minutes.
    text = (piece * (1 + 200_000 // len(piece))).encode() + b"$"
    with contextlib.suppress(FilterError):
        source_of(text, "f")


class TestIncludes:
    def test_lines_stand_in_their_place(self, tmp_path):
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts" / "head.asm").write_text('A = arch\nif (A != ARCH_X86_64) goto bad\ninclude "nr.asm"\n')
        (tmp_path / "parts" / "nr.asm").write_text("A = sys_number\n")
        main = tmp_path / "main.asm"
        main.write_text('include "parts/head.asm"\nif (A == read) goto bad\nreturn ALLOW\nbad: return KILL_PROCESS\n')
        source = read_source(str(main))
        assert source.program == assemble(
            "A = arch\nif (A != ARCH_X86_64) goto bad\nA = sys_number\nif (A == read) goto bad\nreturn ALLOW\nbad: return KILL_PROCESS"
        )
        assert [os.path.basename(span.file) for span in source.spans] == [
            "head.asm",
            "head.asm",
            "nr.asm",
            "main.asm",
            "main.asm",
            "main.asm",
        ]

    def test_faults_name_the_file_they_are_in(self, tmp_path):
        (tmp_path / "part.asm").write_text("A = 1\n  A = nope\n")
        main = tmp_path / "main.asm"
        main.write_text('include "part.asm"\ngoto nowhere\n')
        with pytest.raises(FilterError) as error:
            read_source(str(main))
        assert {str(fault.span) for fault in error.value.diagnostics} == {f"{tmp_path}/part.asm:2:7", f"{main}:2:6"}

    def test_cycles_and_depth(self, tmp_path):
        (tmp_path / "a.asm").write_text('include "b.asm"\n')
        (tmp_path / "b.asm").write_text('include "a.asm"\n')
        with pytest.raises(FilterError, match="includes itself"):
            read_source(str(tmp_path / "a.asm"))
        (tmp_path / "self.asm").write_text('include "./self.asm"\n')
        with pytest.raises(FilterError, match=r"never end|includes itself"):
            read_source(str(tmp_path / "self.asm"))

    def test_a_text_alone_includes_nothing(self):
        with pytest.raises(FilterError, match="includes nothing"):
            assemble('include "x"')
        with pytest.raises(FilterError, match="only assembly text"):
            assemble_source(f'include "{os.path.realpath("/bin/true")}"', "f")
