"""Every written form is read back: by the assembler, the compilers, a JSON reader."""

import json

import pytest

from seclude.bpf import Program, assemble
from seclude.compiler import compile as build
from seclude.compiler.emit import FORMATS, emitted
from seclude.errors import UsageError
from seclude.policy import parse
from support import need_program, run

POLICY = "default errno(EPERM)\narch x86_64\nallow read, exit_group\nallow socket(domain == AF_UNIX)\n"


@pytest.fixture(scope="module")
def program():
    return build(parse(POLICY)).program


def test_raw(program):
    assert Program.from_bytes(emitted(program, "raw"), "little") == program


def test_asm(program):
    assert assemble(emitted(program, "asm").decode()) == program


def test_json(program):
    found = json.loads(emitted(program, "json"))
    assert Program([tuple(one) for one in found["instructions"]], found["byteorder"]) == program


@pytest.mark.slow
def test_c(program, tmp_path):
    need_program("gcc")
    (tmp_path / "f.h").write_bytes(emitted(program, "c", "jail"))
    (tmp_path / "f.c").write_text(
        '#include "f.h"\n#include <stdio.h>\nint main(void) { return fwrite(jail.filter, 8, jail.len, stdout) != jail.len; }\n'
    )
    assert run(["gcc", "-Wall", "-Werror", "-o", tmp_path / "f", tmp_path / "f.c"]).status == 0
    import subprocess

    assert subprocess.run([tmp_path / "f"], capture_output=True, check=True).stdout == program.to_bytes()


@pytest.mark.parametrize(
    ("form", "row"),
    [("go", "\t{Code: 0x06, Jt: 0, Jf: 0, K: 0x7fff0000},"), ("rust", "libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff0000 },")],
)
def test_source_text(program, form, row):
    text = emitted(program, form, "jail").decode()
    assert row in text
    assert "jail" in text.lower()
    assert text.count("0x06") == sum(code == 6 for code, *_ in program.instructions)


def test_unknown_forms_and_names_are_refused(program):
    with pytest.raises(UsageError):
        emitted(program, "cobol")
    for form in FORMATS.keys() - {"raw"}:
        with pytest.raises(UsageError):
            emitted(program, form, "not a name")
