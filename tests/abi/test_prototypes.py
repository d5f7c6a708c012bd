"""Parameters of calls: complete for every table, with the shapes that architectures are known to differ in."""

from __future__ import annotations

import subprocess
import sys

import pytest

from seclude import abi
from seclude.abi.constants import families
from seclude.abi.overrides import CONTEXTUAL, OVERRIDES, REVIEWED
from seclude.abi.prototypes import WITHOUT_PROTOTYPE, calls_with_prototype, prototype
from seclude.errors import UsageError
from support import ROOT

KINDS = {
    "int", "uint", "size", "pointer", "path", "string", "sockaddr", "fd", "flags", "mode", "pid", "signal", "cmd", "offset", "uid", "gid",
    "device",
}  # fmt: skip


def of(arch, call):
    found = prototype(arch, call)
    assert found is not None
    return found


def one(arch, call, name):
    found = of(arch, call).parameter(name)
    assert found is not None
    return found


def shape(arch, call):
    found = of(arch, call)
    return [(p.name, p.width, p.registers) for p in found.parameters]


@pytest.mark.parametrize("arch", abi.ARCHITECTURES)
def test_every_call_of_a_table_has_a_prototype(arch):
    architecture = abi.arch(arch)
    lacking = {call for call in architecture.calls() if prototype(architecture, call) is None}
    assert lacking <= WITHOUT_PROTOTYPE
    assert lacking <= architecture.retired


@pytest.mark.parametrize("arch", abi.ARCHITECTURES)
def test_registers_are_six_and_each_belongs_to_one_parameter(arch):
    architecture = abi.arch(arch)
    wide = architecture.bits == 64 or architecture.name in {"x32", "mips64n32", "mipsel64n32"}
    for call in architecture.calls():
        found = prototype(architecture, call)
        if found is None:
            continue
        registers = [r for p in found.parameters for r in p.registers]
        assert len(set(registers)) == len(registers), call
        assert set(registers) <= set(range(6)), call
        assert [p.index for p in found.parameters] == sorted(p.index for p in found.parameters), call
        names = [n for p in found.parameters for n in (p.name, *p.aliases)]
        assert len({p.name for p in found.parameters}) == len(found.parameters), call
        for p in found.parameters:
            assert p.name.isidentifier(), (call, p.name)
            assert names.count(p.name) == 1 or p.name in {q.name for q in found.parameters}, call
            assert p.kind in KINDS, (call, p.name, p.kind)
            assert p.constants in families() or not p.constants, (call, p.name, p.constants)
            assert p.width in {16, 32, 64}, (call, p.name)
            if p.width == 64 and not wide:
                assert len(p.registers) == 2, (call, p.name)


def test_the_unlisted_are_listed_for_a_reason():
    every = {call for arch in abi.ARCHITECTURES for call in abi.arch(arch).calls()}
    assert every >= WITHOUT_PROTOTYPE
    assert not WITHOUT_PROTOTYPE & calls_with_prototype()


def test_man_page_and_kernel_names_both_find_a_parameter():
    openat = prototype("x86_64", "openat")
    assert openat is not None
    assert str(openat) == "openat(int dirfd, const char *pathname, int flags, umode_t mode)"
    assert openat.parameter("dirfd") is openat.parameter("dfd") is openat.parameters[0]
    assert openat.parameter("nothing") is None


def test_a_name_of_one_parameter_wins_over_the_kernels_name_of_another():
    """sched_setattr's kernel name of ``attr`` is uattr; recvfrom's kernel name of ``src_addr`` is addr."""
    recvfrom = prototype("x86_64", "recvfrom")
    assert recvfrom is not None
    found = recvfrom.parameter("len")
    assert found is not None
    assert found.index == 2


@pytest.mark.parametrize(
    ("arch", "order"),
    [
        ("x86_64", "flags stack parent_tid child_tid tls"),
        ("x32", "flags stack parent_tid child_tid tls"),
        ("m68k", "flags stack parent_tid child_tid tls"),
        ("sh", "flags stack parent_tid child_tid tls"),
        ("loongarch64", "flags stack parent_tid child_tid tls"),
        ("x86", "flags stack parent_tid tls child_tid"),
        ("arm", "flags stack parent_tid tls child_tid"),
        ("aarch64", "flags stack parent_tid tls child_tid"),
        ("mips64n32", "flags stack parent_tid tls child_tid"),
        ("parisc", "flags stack parent_tid tls child_tid"),
        ("ppc64le", "flags stack parent_tid tls child_tid"),
        ("riscv64", "flags stack parent_tid tls child_tid"),
        ("s390", "stack flags parent_tid child_tid tls"),
        ("s390x", "stack flags parent_tid child_tid tls"),
    ],
)
def test_clones_order(arch, order):
    """clone(2), NOTES, "C library/kernel differences"."""
    assert [name for name, _, _ in shape(arch, "clone")] == order.split()
    flags = one(arch, "clone", "flags")
    assert (flags.width, flags.signed) == (32, False)


@pytest.mark.parametrize(
    ("arch", "call", "parameter", "registers"),
    [
        # i386 and m68k: pairs as they come, in byte order
        ("x86", "pread64", "offset", (3, 4)),
        ("x86", "truncate64", "length", (1, 2)),
        ("x86", "fadvise64", "advice", (4,)),
        ("x86", "fadvise64_64", "advice", (5,)),
        ("x86", "fanotify_mark", "mask", (2, 3)),
        ("m68k", "pread64", "offset", (4, 3)),
        ("s390", "fallocate", "len", (5, 4)),
        # arm, mips o32, ppc: from an even register on; syscall(2)
        ("arm", "pread64", "offset", (4, 5)),
        ("arm", "truncate64", "length", (2, 3)),
        ("arm", "readahead", "count", (4,)),
        ("arm", "sync_file_range2", "nbytes", (4, 5)),
        ("arm", "arm_fadvise64_64", "advice", (1,)),
        ("mips", "pread64", "offset", (5, 4)),
        ("mipsel", "pread64", "offset", (4, 5)),
        ("mipsel", "sync_file_range", "nbytes", (4, 5)),
        ("ppc", "pread64", "offset", (5, 4)),
        ("ppc", "fadvise64_64", "advice", (1,)),
        ("ppc", "fadvise64", "advice", (5,)),
        ("ppc", "truncate64", "length", (3, 2)),
        # parisc: the wrappers take high and low without padding
        ("parisc", "pread64", "offset", (4, 3)),
        ("parisc", "truncate64", "length", (2, 1)),
        # sh: a dummy before the place in pread64 only
        ("sh", "pread64", "offset", (4, 5)),
        ("sh", "truncate64", "length", (1, 2)),
        ("sheb", "pread64", "offset", (5, 4)),
        # preadv: low half first whatever the byte order, and the flags after both
        ("x86", "preadv2", "offset", (3, 4)),
        ("mips", "preadv2", "offset", (3, 4)),
        ("ppc", "preadv2", "flags", (5,)),
        ("x86_64", "preadv2", "offset", (3,)),
        ("x86_64", "preadv2", "flags", (5,)),
        ("x32", "preadv2", "flags", (4,)),
        ("mips64n32", "preadv2", "offset", (3, 4)),
        # 64-bit registers: one each
        ("x32", "pread64", "offset", (3,)),
        ("mips64n32", "pread64", "offset", (3,)),
        ("riscv64", "fallocate", "len", (3,)),
    ],
)
def test_split_values(arch, call, parameter, registers):
    found = one(arch, call, parameter)
    assert found.registers == registers
    assert found.index == min(registers)


def test_what_lies_on_the_stack_is_left_out():
    """mips o32 passes sync_file_range's flags and fadvise64's advice as a seventh argument, which seccomp_data does not have."""
    assert of("mips", "sync_file_range").parameter("flags") is None
    assert of("mipsel", "fadvise64").parameter("advice") is None
    assert of("mips64", "fadvise64").parameter("advice") is not None


def test_calls_whose_arguments_are_in_memory():
    for arch, call in [
        ("x86", "mmap"),
        ("s390x", "mmap"),
        ("m68k", "mmap"),
        ("s390", "mmap2"),
        ("x86", "select"),
        ("s390", "fadvise64_64"),
    ]:
        assert [p.kind for p in of(arch, call).parameters] == ["pointer"], (arch, call)
    assert len(of("x86_64", "mmap").parameters) == len(of("x86", "mmap2").parameters) == 6


@pytest.mark.parametrize(
    ("arch", "call", "parameter", "width"),
    [
        ("x86_64", "fchmod", "mode", 16),
        ("x86_64", "openat", "mode", 16),
        ("aarch64", "mkdirat", "mode", 16),
        ("x86_64", "clone", "flags", 32),
        ("x86_64", "unshare", "flags", 64),
        ("x86_64", "mmap", "fd", 32),
        ("x86_64", "mmap", "flags", 64),
        ("x86_64", "mprotect", "prot", 64),
        ("x86_64", "ioctl", "request", 32),
        ("x86_64", "ioctl", "arg", 64),
        ("x86", "ioctl", "arg", 32),
        ("x32", "ioctl", "arg", 32),
        ("x32", "prctl", "arg2", 64),
        ("mips64n32", "fcntl", "arg", 32),
        ("mips64n32", "prctl", "arg2", 64),
        ("x86", "setuid", "uid", 16),
        ("x86", "setuid32", "uid", 32),
        ("arm", "chown", "owner", 16),
        ("s390", "setresgid", "sgid", 16),
        ("mips", "setuid", "uid", 32),
        ("ppc", "setuid", "uid", 32),
        ("x86_64", "setuid", "uid", 32),
        ("x86", "openat", "pathname", 32),
        ("x86_64", "openat", "pathname", 64),
        ("x86_64", "mknod", "dev", 32),
    ],
)
def test_widths_that_matter(arch, call, parameter, width):
    assert one(arch, call, parameter).width == width


@pytest.mark.parametrize(("call", "parameter", "type_", "source"), OVERRIDES)
def test_overrides_are_in_force_and_have_a_source(call, parameter, type_, source):
    arch = next(name for name in ("x86_64", "x86") if call in abi.arch(name).calls())
    found = one(arch, call, parameter)
    assert ("s" if found.signed else "u") + str(found.width) == type_
    assert len(source) > 6


@pytest.mark.parametrize(("call", "parameter", "reason"), REVIEWED + CONTEXTUAL)
def test_reviewed_parameters_exist(call, parameter, reason):
    assert one("x86" if call == "ipc" else "x86_64", call, parameter)
    assert reason


def test_an_unknown_architecture_is_an_error_and_an_unknown_call_none():
    assert prototype("x86_64", "frobnicate") is None
    with pytest.raises(UsageError):
        prototype("pdp11", "read")


@pytest.mark.slow
def test_the_generated_module_is_up_to_date():
    done = subprocess.run([sys.executable, ROOT / "tools" / "make_prototypes.py", "--check"], check=False)
    assert done.returncode == 0, "run tools/make_prototypes.py"
