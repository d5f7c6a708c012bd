"""Instructions, programs and constructors: a filter written in C carries over line by line."""

from __future__ import annotations

import copy
import pickle

import pytest

from seclude.bpf import (
    AUDIT_ARCH_X86_64,
    BPF_ABS,
    BPF_JEQ,
    BPF_JMP,
    BPF_JUMP,
    BPF_K,
    BPF_LD,
    BPF_RET,
    BPF_STMT,
    BPF_W,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    Instruction,
    Program,
    check,
    codes,
    evaluate,
    offsetof,
)
from seclude.errors import FilterError, UsageError

EACCES = 13
__NR_mkdir = 83


def example():
    """As a manual page would have it: an architecture check, one call refused, everything else allowed."""
    return Program([
        # Load the architecture; anything but x86-64 ends the process.
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof("arch")),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        # Load the call's number.
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof("nr")),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mkdir, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EACCES & codes.SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    ])  # fmt: skip


def test_a_c_example_means_what_it_says():
    program = example()
    check(program)
    assert evaluate(program, "x86_64", "mkdir") == SECCOMP_RET_ERRNO | EACCES
    assert evaluate(program, "x86_64", "rmdir") == SECCOMP_RET_ALLOW
    assert evaluate(program, "x86", "mkdir") == SECCOMP_RET_KILL_PROCESS
    assert evaluate(program, AUDIT_ARCH_X86_64, __NR_mkdir) == SECCOMP_RET_ERRNO | EACCES


def test_bytes_in_the_byte_order_of_the_target():
    lines = [Instruction(0x0015, 1, 2, 0x01020304)]
    assert Program(lines, "little").to_bytes() == bytes.fromhex("1500 01 02 04030201")
    assert Program(lines, "big").to_bytes() == bytes.fromhex("0015 01 02 01020304")


@pytest.mark.parametrize(("length", "said"), [(1, "1 bytes"), (7, "7 bytes"), (13, "5 bytes are left over at offset 8")])
def test_bytes_that_are_no_whole_instructions(length, said):
    with pytest.raises(FilterError, match=said):
        Program.from_bytes(bytes(length))


def test_fields_that_do_not_fit():
    with pytest.raises(FilterError, match="jt = 256 does not fit in 8 bits"):
        BPF_JUMP(0x15, 0, 256, 0)
    with pytest.raises(FilterError, match="jf = -1"):
        BPF_JUMP(0x15, 0, 0, -1)
    with pytest.raises(FilterError, match="k = 4294967296"):
        BPF_STMT(0x06, 1 << 32)
    with pytest.raises(FilterError, match="instruction 1: code = 65536"):
        Program([(6, 0, 0, 0), (0x10000, 0, 0, 0)])
    assert BPF_STMT(0x06, -1).k == 0xFFFFFFFF


def test_a_program_is_a_value():
    program = example()
    assert program == example()
    assert hash(program) == hash(example())
    assert program != Program(program[1:])
    assert program != list(program)
    assert len({program, example()}) == 1
    assert pickle.loads(pickle.dumps(program)) == program
    assert copy.deepcopy(program) == program
    assert program[0].k == 4
    assert program[-1] == Instruction(0x06, 0, 0, SECCOMP_RET_ALLOW)
    for change in (
        lambda: setattr(program, "byteorder", "big"),
        lambda: delattr(program, "instructions"),
        lambda: setattr(program, "more", 1),
    ):
        with pytest.raises(AttributeError, match="cannot be changed"):
            change()
    assert repr(program) == "<Program: 7 instructions, little-endian>"


def test_offsets():
    assert [offsetof(field) for field in ("nr", "arch", "instruction_pointer", "args[0]", "args[5]")] == [0, 4, 8, 16, 56]
    with pytest.raises(UsageError, match=r"args\[6\]"):
        offsetof("args[6]")


def test_the_order_of_actions():
    names = ["KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "USER_NOTIF", "TRACE", "LOG", "ALLOW"]
    values = [getattr(codes, f"SECCOMP_RET_{name}") for name in names]
    assert [codes.precedence(value) for value in values] == sorted(map(codes.precedence, values))
    # Data has no rank; unknown actions rank by their number.
    assert codes.precedence(codes.SECCOMP_RET_ERRNO | 5) == codes.precedence(codes.SECCOMP_RET_ERRNO)
    assert codes.precedence(codes.SECCOMP_RET_TRAP) < codes.precedence(0x00040000) < codes.precedence(codes.SECCOMP_RET_ERRNO)


def test_what_a_stack_decides():
    errno, allow = codes.SECCOMP_RET_ERRNO, codes.SECCOMP_RET_ALLOW
    assert codes.combine([]) == allow
    assert codes.combine([allow, errno | 1, allow]) == errno | 1
    # Newest first: on a tie the newest filter's data wins.
    assert codes.combine([errno | 1, errno | 2]) == errno | 1
    assert codes.combine([errno | 2, codes.SECCOMP_RET_KILL_PROCESS, 0]) == codes.SECCOMP_RET_KILL_PROCESS
    assert codes.combine([allow | 7]) == allow


def test_unknown_names():
    with pytest.raises(AttributeError, match="AUDIT_ARCH_VAX"):
        codes.AUDIT_ARCH_VAX  # noqa: B018
    import seclude.bpf

    with pytest.raises(AttributeError, match="BPF_NOTHING"):
        seclude.bpf.BPF_NOTHING  # noqa: B018
    with pytest.raises(AttributeError, match="nothing"):
        seclude.bpf.nothing  # noqa: B018
    for name in seclude.bpf.__all__:
        assert getattr(seclude.bpf, name) is not None
    assert set(seclude.bpf.__all__) <= set(dir(seclude.bpf))


def test_the_examples_in_the_docstrings():
    import doctest
    import importlib

    import seclude.bpf

    found = [
        doctest.testmod(module)
        for module in (seclude.bpf, codes, *(importlib.import_module(f"seclude.bpf.{name}") for name in ("machine", "assembler")))
    ]
    assert sum(result.attempted for result in found) >= 5
    assert not any(result.failed for result in found)


def test_the_run_path_imports_nothing_heavy():
    """``codes`` and ``machine`` are part of what ``seclude run`` pays for."""
    from support import run_python

    done = run_python(
        """
        import sys
        before = set(sys.modules)
        from seclude.bpf.codes import AUDIT_ARCH_X86_64
        from seclude.bpf.machine import constant_allow, decode, evaluate, run
        assert evaluate(decode(bytes(8), "little") and [(6, 0, 0, 5)], "x86_64", "read") == 5
        print(*sorted(set(sys.modules) - before))
        """
    )
    assert done.status == 0, done
    heavy = {
        "dataclasses",
        "typing",
        "argparse",
        "logging",
        "subprocess",
        "enum",
        "re",
        "json",
        "inspect",
        "collections",
        "contextlib",
        "functools",
    }
    assert not heavy & set(done.stdout.split()), done.stdout
