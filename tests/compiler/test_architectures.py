"""Compiled policies against the policy room's own evaluation, which shares no code with lowering, on every architecture."""

import random

import pytest

from seclude import abi
from seclude.bpf import check, constant_allow, pack_data, run
from seclude.compiler import compile as build
from seclude.decision import from_program
from seclude.decision.value import canonical_value
from seclude.policy import PRESETS, evaluate, load, parse

ALLOW = 0x7FFF0000
VALUES = (
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    63,
    64,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x10FFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 32,
    (1 << 32) + 2,
    1 << 63,
    (1 << 64) - 1,
)
POLICY = """
default errno(EPERM)
arch {archs}
allow read(fd in 3..9 or count < 0x10000), write, close, getpid
allow fchmod(mode & 0o6000 == 0), lseek(offset > -5)
kill kill(sig in {{SIGKILL, SIGSTOP}} and pid < 0)
allow kill(not (sig == SIGKILL))
log openat(flags & (O_ACCMODE | O_CREAT) == O_RDONLY)
errno(ENOSYS) openat(flags & O_CREAT != 0)
trap(7) ioctl(arg1:u64 == 0x5412), madvise(arg1 >= 0x1000 and arg2 != 4)
notify connect, ftruncate(length >= 0x10000)
trace(9) dup(oldfd <= 2)
errno(EAGAIN) dup(ip > 0x400000)
allow @memory
"""


def judged(policy, built, rnd, calls=6):
    program = built.program
    instructions = program.instructions
    check(program)
    tokens = {arch.token for arch in policy.architectures}
    numbers: dict[int, set[int]] = {}
    for arch in policy.architectures:
        found = set(arch.calls().values())
        numbers[arch.token] = numbers.get(arch.token, set()) | found
    for token, named in numbers.items():
        edges = {n + d for n in (*named, 0, 0x40000000, 0x80000000, 0xFFFFFFFF) for d in (-1, 0, 1)}
        for nr in sorted(n for n in edges if 0 <= n <= 0xFFFFFFFF):
            plain = True
            for turn in range(calls if nr in named else 1):
                args = [rnd.choice(VALUES) if turn else 0 for _ in range(6)]
                ip = rnd.choice((0, 0x400000, 0x400001, 1 << 40))
                value, _ = run(instructions, pack_data(nr, token, ip, args), program.byteorder)
                want = evaluate(policy, token, nr, args, ip).value
                assert value == canonical_value(want), (hex(token), nr, args, ip)
                plain = plain and value == ALLOW
            if plain and nr < 0x40000000 and built.decision.of_call(token, nr).value == ALLOW:  # x32 is never cached
                assert constant_allow(instructions, token, nr)
    for token in (0, 1, min(tokens) - 1, max(tokens) + 1, 0xFFFFFFFF):
        if token not in tokens:
            value, _ = run(instructions, pack_data(0, token), program.byteorder)
            assert value == canonical_value(evaluate(policy, token, 0, ()).value)


@pytest.mark.parametrize("name", abi.ARCHITECTURES)
def test_a_policy_on_every_architecture(name):
    policy = parse(POLICY.format(archs=name))
    built = build(policy)
    assert built.program.byteorder == abi.arch(name).byteorder
    judged(policy, built, random.Random(name))
    assert from_program(built.program) is built.decision


@pytest.mark.parametrize(
    "archs",
    [
        "x86_64, x86, x32",
        "aarch64, arm",
        "mipsel, mipsel64, mipsel64n32",
        "mips, mips64, mips64n32",
        "ppc, ppc64",
        "s390, s390x",
        "parisc, parisc64",
    ],
)
@pytest.mark.slow
def test_several_architectures_in_one_filter(archs):
    policy = parse(POLICY.format(archs=archs))
    judged(policy, build(policy), random.Random(archs), calls=3)


@pytest.mark.slow
def test_every_little_endian_architecture_in_one_filter():
    archs = ", ".join(name for name in abi.ARCHITECTURES if abi.arch(name).byteorder == "little")
    policy = parse(
        f"default errno(EPERM)\narch {archs}\nallow read, write, close, exit_group, openat(flags & O_CREAT == 0)\nlog dup(oldfd == 1)\n"
    )
    judged(policy, build(policy), random.Random(1), calls=2)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("native", ["x86_64", "aarch64", "s390x", "ppc64le", "mips64"])
@pytest.mark.slow
def test_presets(name, native):
    policy = load(name, native=native)
    judged(policy, build(policy), random.Random(2), calls=2)
