"""System call numbers out of the kernel headers installed on this machine, as the preprocessor sees them.

Debian installs the native architecture's (linux-libc-dev) under /usr/include and every other's (linux-libc-dev-ARCH-cross)
under /usr/TRIPLET/include. All of them are plain macros, so the host's own ``cc -E`` reads each of them when given the
few macros that tell ABIs of one architecture apart.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess

__all__ = ["HEADERS", "NOT_CALLS", "debian_packages", "include_directory", "read_macro", "read_numbers", "read_table"]

#: table → (triplet of the cross package, header, macros that choose the ABI, Debian package)
HEADERS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "x86": ("i686-linux-gnu", "asm/unistd_32.h", (), "linux-libc-dev-i386-cross"),
    "x86_64": ("x86_64-linux-gnu", "asm/unistd_64.h", (), "linux-libc-dev"),
    "x32": ("x86_64-linux-gnux32", "asm/unistd_x32.h", ("__X32_SYSCALL_BIT=0",), "linux-libc-dev-x32-cross"),
    "arm": ("arm-linux-gnueabihf", "asm/unistd.h", ("__ARM_EABI__",), "linux-libc-dev-armhf-cross"),
    "aarch64": ("aarch64-linux-gnu", "asm/unistd.h", ("__LP64__",), "linux-libc-dev-arm64-cross"),
    "m68k": ("m68k-linux-gnu", "asm/unistd.h", (), "linux-libc-dev-m68k-cross"),
    "mips": ("mips-linux-gnu", "asm/unistd.h", ("_MIPS_SIM=1", "_ABIO32=1"), "linux-libc-dev-mips-cross"),
    "mips64": ("mips64-linux-gnuabi64", "asm/unistd.h", ("_MIPS_SIM=3", "_ABI64=3", "_MIPS_SIM_ABI64=3"), "linux-libc-dev-mips64-cross"),
    "mips64n32": ("mips64-linux-gnuabin32", "asm/unistd.h", ("_MIPS_SIM=2", "_ABIN32=2", "_MIPS_SIM_NABI32=2"), "linux-libc-dev-mipsn32-cross"),
    "mipsel": ("mipsel-linux-gnu", "asm/unistd.h", ("_MIPS_SIM=1", "_ABIO32=1"), "linux-libc-dev-mipsel-cross"),
    "mipsel64": ("mips64el-linux-gnuabi64", "asm/unistd.h", ("_MIPS_SIM=3", "_ABI64=3", "_MIPS_SIM_ABI64=3"), "linux-libc-dev-mips64el-cross"),
    "mipsel64n32": ("mips64el-linux-gnuabin32", "asm/unistd.h", ("_MIPS_SIM=2", "_ABIN32=2", "_MIPS_SIM_NABI32=2"), "linux-libc-dev-mipsn32el-cross"),
    "parisc": ("hppa-linux-gnu", "asm/unistd_32.h", (), "linux-libc-dev-hppa-cross"),
    "parisc64": ("hppa-linux-gnu", "asm/unistd_64.h", (), "linux-libc-dev-hppa-cross"),
    "ppc": ("powerpc-linux-gnu", "asm/unistd_32.h", (), "linux-libc-dev-powerpc-cross"),
    "ppc64": ("powerpc64-linux-gnu", "asm/unistd_64.h", (), "linux-libc-dev-ppc64-cross"),
    "ppc64le": ("powerpc64le-linux-gnu", "asm/unistd_64.h", (), "linux-libc-dev-ppc64el-cross"),
    "riscv64": ("riscv64-linux-gnu", "asm/unistd.h", ("__SIZEOF_POINTER__=8", "__LP64__"), "linux-libc-dev-riscv64-cross"),
    "s390": ("s390x-linux-gnu", "asm/unistd_32.h", (), "linux-libc-dev-s390x-cross"),
    "s390x": ("s390x-linux-gnu", "asm/unistd_64.h", (), "linux-libc-dev-s390x-cross"),
    "sh": ("sh4-linux-gnu", "asm/unistd.h", (), "linux-libc-dev-sh4-cross"),
}  # fmt: skip
# Debian has no loongarch64 headers; its table is asm-generic/unistd.h with the three macros of the kernel's
# arch/loongarch/include/uapi/asm/unistd.h, and asm-generic/unistd.h is the same in every package.
LOONGARCH = (
    "riscv64-linux-gnu",
    "asm-generic/unistd.h",
    ("__SIZEOF_POINTER__=8", "__ARCH_WANT_SYS_CLONE", "__ARCH_WANT_SYS_CLONE3"),
    "linux-libc-dev-riscv64-cross",
)

#: __NR_ macros that name no call: bases, ends of ranges, and numbers that never had a name
NOT_CALLS = re.compile(
    r"Linux|SYSCALL_BASE|SYSCALL_MASK|OABI_SYSCALL_BASE|BASE|SYSCALLS|arch_specific_syscall|syscalls|(unused|reserved)\d+|.*_Linux|Linux_.*"
)

_NUMBER = re.compile(r"__(?:NR|ARM_NR)_(\w+)")
_NAME = re.compile(r"\b[A-Za-z_]\w*\b")


def include_directory(triplet: str) -> str | None:
    """Where the headers of ``triplet`` are installed, or None."""
    cross = f"/usr/{triplet}/include"
    if os.path.isdir(cross + "/asm"):
        return cross
    native = f"/usr/include/{triplet}"
    return native if os.path.isdir(native + "/asm") else None


def debian_packages() -> list[str]:
    """What to apt-get install to have every header that this module reads."""
    return sorted({entry[3] for entry in HEADERS.values()})


def read_numbers(directory: str, header: str, macros: tuple[str, ...] = ()) -> dict[str, int]:
    """Every ``__NR_name`` and ``__ARM_NR_name`` of ``header`` with its value, names that are no calls left out."""
    every = _macros(directory, header, macros)
    found = {}
    for macro, expression in every.items():
        match = _NUMBER.fullmatch(macro)
        if match and not NOT_CALLS.fullmatch(match[1]):
            found[match[1]] = _value(expression, every)
    return found


def read_macro(directory: str, header: str, name: str) -> int:
    """The value of the macro ``name`` after including ``header``; KeyError where there is none."""
    every = _macros(directory, header, ())
    return _value(every[name], every)


def _macros(directory: str, header: str, macros: tuple[str, ...]) -> dict[str, str]:
    """Every macro without parameters that ``header`` leaves defined, with its unexpanded text."""
    include = ("-undef", "-nostdinc", "-isystem", directory, "-isystem", "/usr/include")
    command = ["cc", "-E", "-dM", *include, *("-D" + macro for macro in macros), "-include", header, "-x", "c", os.devnull]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    words = (line.split(None, 2) for line in text.splitlines())
    return {one[1]: one[2] for one in words if len(one) == 3 and "(" not in one[1]}


def _value(expression: str, macros: dict[str, str]) -> int:
    """The number a macro stands for: names replaced until only sums, differences and unions of literals are left."""
    while _NAME.search(re.sub(r"\b0x[0-9a-fA-F]+\b", "", expression)):
        expression = re.sub(r"\b(?!0x)[A-Za-z_]\w*\b", lambda m: f"({macros[m[0]]})", expression)
    return _fold(ast.parse(expression, mode="eval").body)


def _fold(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.BinOp(left, ast.Add(), right):
            return _fold(left) + _fold(right)
        case ast.BinOp(left, ast.BitOr(), right):
            return _fold(left) | _fold(right)
        case ast.BinOp(left, ast.Sub(), right):
            return _fold(left) - _fold(right)
    raise ValueError(f"not a sum of numbers: {ast.dump(node)}")


def read_table(table: str) -> dict[str, int] | None:
    """The calls of ``table`` (a key of `HEADERS`, or loongarch64) by the installed headers, or None where they are not installed.

    x86_64's and x32's come without the x32 bit. Of asm-generic/unistd.h only
    the names that a program sees count (``__NR_``), not the ones it derives them from (``__NR3264_``).
    """
    triplet, header, macros, _ = LOONGARCH if table == "loongarch64" else HEADERS[table]
    directory = include_directory(triplet)
    if directory is None and table in ("x86", "x86_64", "x32"):
        directory = include_directory("x86_64-linux-gnu")
    return None if directory is None else read_numbers(directory, header, macros)
