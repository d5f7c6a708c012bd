"""A program written down for others: raw bytes, hexadecimal, C, Python, a C string, or text that reads back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.errors import UsageError

if TYPE_CHECKING:
    from seclude.bpf.program import Program

__all__ = ["FORMS", "write"]

#: form → what it is
FORMS = {
    "raw": "the bytes that seccomp(2) takes",
    "hex": "the same as digits, an instruction a line",
    "string": "the same as a C string of escapes",
    "c": "an array of struct sock_filter and a struct sock_fprog",
    "python": "a bytes literal",
    "asm": "assembly text that reads back",
    "listing": "the fields of each instruction with their meaning",
}


def write(program: Program, form: str) -> bytes:
    """The program in one of `FORMS`. Raises `UsageError` for another."""
    match form:
        case "raw":
            return program.to_bytes()
        case "hex":
            raw = program.to_bytes()
            return "".join(raw[at : at + 8].hex() + "\n" for at in range(0, len(raw), 8)).encode()
        case "string":
            raw = program.to_bytes()
            lines = ("".join(f"\\x{byte:02x}" for byte in raw[at : at + 8]) for at in range(0, len(raw), 8))
            return "".join(f'"{line}"\n' for line in lines).encode()
        case "c":
            return _c(program).encode()
        case "python":
            raw = program.to_bytes()
            lines = ("".join(f"\\x{byte:02x}" for byte in raw[at : at + 8]) for at in range(0, len(raw), 8))
            return ("filter = (\n" + "".join(f'    b"{line}"\n' for line in lines) + ")\n").encode()
        case "asm":
            from seclude.bpf.disassembler import disassemble

            return disassemble(program).encode()
        case "listing":
            from seclude.bpf.disassembler import listing

            return listing(program).encode()
    raise UsageError(f"unknown form {form!r}", f"the forms are {', '.join(FORMS)}")


def _c(program: Program) -> str:
    """Fields, not macros: their meaning stands behind them, and the compiler checks nothing that is not already known."""
    from seclude.bpf.disassembler import statements

    lines = ["#include <linux/filter.h>", "", "static struct sock_filter filter[] = {"]
    for (code, jt, jf, k), (text, _) in zip(program, statements(program, None, "{:04d}".format), strict=True):
        lines.append(f"    {{0x{code:02x}, 0x{jt:02x}, 0x{jf:02x}, 0x{k:08x}}}, /* {text.replace('*/', '* /')} */")
    lines += ["};", "", f"static struct sock_fprog program = {{.len = {len(program)}, .filter = filter}};"]
    return "\n".join(lines) + "\n"
