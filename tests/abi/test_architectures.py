"""Architectures: tokens, names people write, the process's own, and what asking for one costs."""

from __future__ import annotations

import os
import sys

import pytest

from abi_support import kernel_headers
from seclude import abi
from seclude.abi import architecture
from seclude.errors import UsageError
from support import need_header, need_program, run_python

EVERY = pytest.mark.parametrize("one", abi.ALL, ids=str)


def test_the_23_in_their_order():
    assert abi.ARCHITECTURES == (
        "x86", "x86_64", "x32", "arm", "aarch64", "loongarch64", "m68k", "mips", "mips64", "mips64n32", "mipsel", "mipsel64", "mipsel64n32", "parisc", "parisc64",
        "ppc", "ppc64", "ppc64le", "riscv64", "s390", "s390x", "sh", "sheb",
    )  # fmt: skip
    assert tuple(one.name for one in abi.ALL) == abi.ARCHITECTURES


@EVERY
def test_tokens_are_those_of_linux_audit(one):
    need_program("cc", "gcc")
    need_header("/usr/include/linux/audit.h", "linux-libc-dev")
    # Any architecture's asm/ will do: linux/audit.h and linux/elf-em.h are the same for all.
    directory = next(found for entry in kernel_headers.HEADERS.values() if (found := kernel_headers.include_directory(entry[0])))
    assert kernel_headers.read_macro(directory, "linux/audit.h", one.token_name) == one.token


@EVERY
def test_bits_and_byte_order_follow_the_token(one):
    assert one.byteorder == ("little" if one.token & 0x40000000 else "big")
    if one.name in ("x32", "mips64n32", "mipsel64n32"):
        assert one.bits == 32, "32-bit pointers under a 64-bit token"
    else:
        assert one.bits == (64 if one.token & 0x80000000 else 32)
    assert one.x32_bit == (0x40000000 if one.name == "x32" else 0)


def test_only_x32_shares_a_token():
    assert [one.name for one in abi.by_token(0xC000003E)] == ["x86_64", "x32"]
    assert abi.by_token(0xDEAD) == ()
    tokens = [one.token for one in abi.ALL if one.name != "x32"]
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("amd64 x86-64 X86_64 linux/amd64 SCMP_ARCH_X86_64 AUDIT_ARCH_X86_64 0xc000003e 0xC000003E", "x86_64"),
        ("i386 i486 i586 i686 386 ia32 linux/386 SCMP_ARCH_X86 AUDIT_ARCH_I386 0x40000003", "x86"),
        ("x32 SCMP_ARCH_X32", "x32"),
        ("arm64 aarch64 linux/arm64 linux/arm64/v8 SCMP_ARCH_AARCH64", "aarch64"),
        ("armhf armel armv7l armv6l armv8l linux/arm/v7 SCMP_ARCH_ARM", "arm"),
        ("loong64 loongarch64", "loongarch64"),
        ("ppc64el ppc64-le powerpc64le SCMP_ARCH_PPC64LE", "ppc64le"),
        ("mips64el mips64le mipsel64 SCMP_ARCH_MIPSEL64", "mipsel64"),
        ("mipsn32 mips64-n32 SCMP_ARCH_MIPS64N32 AUDIT_ARCH_MIPS64N32", "mips64n32"),
        ("mipsle mips-le", "mipsel"),
        ("hppa parisc", "parisc"),
        ("powerpc ppc SCMP_ARCH_PPC", "ppc"),
        # The kernel's and libseccomp's names mean different byte orders.
        ("sh sh4 shel SCMP_ARCH_SH AUDIT_ARCH_SHEL", "sh"),
        ("sheb sh4eb SCMP_ARCH_SHEB AUDIT_ARCH_SH", "sheb"),
    ],
)
def test_names_people_write(words, name):
    for word in words.split():
        assert abi.arch(word).name == name, word


@EVERY
def test_an_architecture_is_found_by_all_its_names(one):
    for word in (one.name, one.name.upper(), f"SCMP_ARCH_{one.name.upper()}", f"scmp_arch_{one.name}", f" {one.name} ", *one.aliases):
        assert abi.arch(word) is one
    assert abi.arch(one) is one
    assert abi.arch(one.token).token == one.token
    assert abi.arch(one.token_name).token == one.token
    assert str(one) == one.name


def test_no_name_means_two_architectures():
    names = [name.replace("-", "_") for one in abi.ALL for name in (one.name, *one.aliases)]
    assert sorted(names) == sorted(set(names))


def test_the_shared_token_means_x86_64():
    assert abi.arch(0xC000003E).name == abi.arch("AUDIT_ARCH_X86_64").name == "x86_64"


def test_unknown_architectures_name_the_nearest():
    with pytest.raises(UsageError, match=r"unknown architecture 'x86_46'; did you mean 'x86_64'\?") as caught:
        abi.arch("x86_46")
    assert "sheb" in str(caught.value)
    with pytest.raises(UsageError, match="unknown architecture ''"):
        abi.arch("")
    with pytest.raises(UsageError, match="audit token 0x1234"):
        abi.arch(0x1234)
    with pytest.raises(UsageError, match="audit token 0x1234"):
        abi.arch("0x1234")
    with pytest.raises(UsageError, match="unknown architecture '0xzz'"):
        abi.arch("0xzz")
    # Big-endian ARM reports the little-endian tokens; no filter could tell, and its words lie in another order.
    for word in ("aarch64_be", "armeb", "armv7b"):
        with pytest.raises(UsageError):
            abi.arch(word)


def test_companions_are_the_32_bit_programs_of_a_64_bit_kernel():
    got = {one.name: [c.name for c in abi.companions(one)] for one in abi.ALL if abi.companions(one)}
    assert got == {
        "x86_64": ["x86"], "x32": ["x86"], "aarch64": ["arm"], "mips64": ["mips", "mips64n32"], "mipsel64": ["mipsel", "mipsel64n32"], "parisc64": ["parisc"],
        "ppc64": ["ppc"], "s390x": ["s390"],
    }  # fmt: skip
    for one in abi.ALL:
        for other in abi.companions(one):
            assert other.byteorder == one.byteorder
            assert other.bits == 32
            assert other.name != "x32"


def header(machine, bits, order, flags=0):
    """The first 52 bytes of an ELF file (elf(5))."""
    raw = bytearray(64)
    raw[:6] = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1 if order == "little" else 2])
    raw[18:20] = machine.to_bytes(2, order)
    at = 48 if bits == 64 else 36
    raw[at : at + 4] = flags.to_bytes(4, order)
    return bytes(raw)


@EVERY
def test_every_architecture_is_known_by_its_programs(one):
    n32 = one.name.endswith("n32")
    raw = header(one.token & 0xFFFF, one.bits, one.byteorder, 0x20 if n32 else 0)
    assert architecture.elf_architecture(raw) is one


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x7fELF",
        b"#!/bin/sh\n" + b" " * 60,
        header(183, 64, "big"),
        header(183, 32, "little"),
        header(20, 32, "little"),
        header(2, 32, "big"),
        header(0, 64, "little"),
        b"\x7fELF\x03\x01" + bytes(60),
        b"\x7fELF\x02\x00" + bytes(60),
    ],
)
def test_other_files_are_no_architecture(raw):
    assert architecture.elf_architecture(raw) is None


@pytest.mark.parametrize(
    ("machine", "bits", "order", "name"),
    [
        ("x86_64", 64, "little", "x86_64"), ("x86_64", 32, "little", "x86"), ("i686", 32, "little", "x86"), ("aarch64", 64, "little", "aarch64"),
        ("aarch64", 32, "little", "arm"), ("armv8l", 32, "little", "arm"), ("arm64", 64, "little", "aarch64"), ("mips", 32, "little", "mipsel"),
        ("mips64", 64, "little", "mipsel64"), ("mips64", 64, "big", "mips64"), ("mips64", 32, "big", "mips"), ("mips64", 32, "little", "mipsel"),
        ("ppc64", 32, "big", "ppc"), ("ppc64le", 64, "little", "ppc64le"), ("s390x", 64, "big", "s390x"), ("s390x", 32, "big", "s390"), ("sh4", 32, "big", "sheb"),
        ("sh4a", 32, "little", "sh"), ("parisc64", 32, "big", "parisc"), ("riscv64", 64, "little", "riscv64"), ("loongarch64", 64, "little", "loongarch64"),
    ],
)  # fmt: skip
def test_a_machine_without_proc_is_told_by_its_name(machine, bits, order, name):
    assert architecture.machine_architecture(machine, bits, order).name == name


@pytest.mark.parametrize(
    ("machine", "bits", "order"),
    [
        ("aarch64_be", 64, "big"),
        ("riscv32", 32, "little"),
        ("ppc64le", 32, "little"),
        ("sparc64", 64, "big"),
        ("", 64, "little"),
        ("alpha", 64, "little"),
    ],
)
def test_a_machine_that_is_none_of_them_is_an_error(machine, bits, order):
    with pytest.raises(UsageError, match="no architecture that seccomp filters know here"):
        architecture.machine_architecture(machine, bits, order)


@pytest.mark.live
def test_native_is_this_interpreters():
    own = abi.native()
    with open(sys.executable, "rb") as file:
        assert architecture.elf_architecture(file.read(64)) is own
    assert own.byteorder == sys.byteorder
    assert own.bits == (64 if sys.maxsize > 1 << 32 else 32)
    assert abi.arch("native") is own
    if own.bits == 64:
        assert architecture.machine_architecture(os.uname().machine, 64, sys.byteorder) is own


def test_asking_for_one_architecture_reads_one_table_and_nothing_heavy():
    done = run_python("""
        import sys
        before = set(sys.modules)
        from seclude import abi
        assert abi.arch("amd64").number("read") == 0
        abi.native(), abi.companions("x86_64"), abi.arch("x86_64").call_name(59), abi.arch("x86_64").multiplexers
        print(*sorted(set(sys.modules) - before))
    """)
    assert done.status == 0, str(done)
    # unicodedata is the byte-compiler's, where a module is compiled for the first time.
    assert set(done.stdout.split()) - {"__future__", "unicodedata"} == {
        "seclude", "seclude._version", "seclude.errors", "seclude.abi", "seclude.abi.architecture", "seclude.abi.numbers", "seclude.abi.numbers.x86_64",
    }  # fmt: skip


def test_versions_are_read_when_asked():
    done = run_python("""
        import sys
        before = set(sys.modules)
        from seclude import abi
        assert abi.since("clone3") == "5.3" and abi.TABLES and abi.known_at("read", abi.TABLES)
        print(*sorted(name for name in set(sys.modules) - before if not name.startswith("seclude")))
    """)
    assert done.status == 0, str(done)
    assert set(done.stdout.split()) <= {"__future__", "unicodedata"}


def test_values_copy_and_pickle_as_themselves():
    import copy
    import pickle

    one = abi.arch("x86_64")
    assert copy.deepcopy(one) is one
    assert pickle.loads(pickle.dumps(one)) is one
    assert repr(one) == "<Architecture x86_64>"
