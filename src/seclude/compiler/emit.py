"""A program as files and as source text of other languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.bpf import Program

__all__ = ["FORMATS", "emitted"]

#: format → what it is
FORMATS = {
    "raw": "struct sock_filter[] in the target's byte order",
    "asm": "assembly text, which seclude reads back",
    "c": "a C array and struct sock_fprog (linux/filter.h)",
    "go": "a Go slice of unix.SockFilter (golang.org/x/sys/unix)",
    "rust": "a Rust array of libc::sock_filter",
    "json": "an object with the byte order and one [code, jt, jf, k] an instruction",
}


def emitted(program: Program, form: str, name: str = "filter") -> bytes:
    """The program in one of `FORMATS`. ``name`` is the identifier in source text. Raises `UsageError`."""
    if form == "raw":
        return program.to_bytes()
    writers: dict[str, Callable[[Program, str], str]] = {"asm": _asm, "c": _c, "go": _go, "rust": _rust, "json": _json}
    if form not in writers:
        raise UsageError(f"cannot emit {form!r}", f"one of: {', '.join(FORMATS)}")
    if not name.isidentifier() or not name.isascii():
        raise UsageError(f"{name!r} cannot be an identifier")
    return writers[form](program, name).encode()


def _rows(program: Program, row: str) -> str:
    return "\n".join(row.format(code=code, jt=jt, jf=jf, k=k) for code, jt, jf, k in program.instructions)


def _asm(program: Program, _name: str) -> str:
    from seclude.bpf import disassemble

    return disassemble(program)


def _c(program: Program, name: str) -> str:
    rows = _rows(program, "    {{ 0x{code:02x}, {jt}, {jf}, 0x{k:08x} }},")
    return f"""/* {len(program)} instructions, for {program.byteorder}-endian kernels */
#include <linux/filter.h>

static struct sock_filter {name}_code[] = {{
{rows}
}};

static struct sock_fprog {name} = {{
    .len = sizeof {name}_code / sizeof {name}_code[0],
    .filter = {name}_code,
}};
"""


def _go(program: Program, name: str) -> str:
    rows = _rows(program, "\t{{Code: 0x{code:02x}, Jt: {jt}, Jf: {jf}, K: 0x{k:08x}}},")
    return f"""// Package {name.lower()} holds {len(program)} instructions, for {program.byteorder}-endian kernels.
package {name.lower()}

import "golang.org/x/sys/unix"

// Code is what seccomp(2) takes.
var Code = []unix.SockFilter{{
{rows}
}}
"""


def _rust(program: Program, name: str) -> str:
    rows = _rows(program, "    libc::sock_filter {{ code: 0x{code:02x}, jt: {jt}, jf: {jf}, k: 0x{k:08x} }},")
    return f"""// {len(program)} instructions, for {program.byteorder}-endian kernels
pub static {name.upper()}: [libc::sock_filter; {len(program)}] = [
{rows}
];
"""


def _json(program: Program, _name: str) -> str:
    rows = ",\n".join("  [{}, {}, {}, {}]".format(*instruction) for instruction in program.instructions)
    return f'{{"byteorder": "{program.byteorder}", "instructions": [\n{rows}\n]}}\n'
