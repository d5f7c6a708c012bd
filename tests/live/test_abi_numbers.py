"""The tables have their own judge: this kernel answers the numbers they name, and ENOSYS to those they call retired or do not name."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from seclude import abi
from support import missing, need_program, run

pytestmark = pytest.mark.live

# Without a C library, so that -m32 needs no 32-bit one: calls each number with six zeros and writes the results.
PROGRAM = """
static const unsigned numbers[] = { %s };
static long results[sizeof numbers / sizeof *numbers];

static long call(long nr, long a, long b, long c) {
    long out;
#ifdef __x86_64__
    register long r10 __asm__("r10") = 0, r8 __asm__("r8") = 0, r9 __asm__("r9") = 0;
    __asm__ volatile("syscall" : "=a"(out) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
#else
    __asm__ volatile("push %%%%ebp; xor %%%%ebp, %%%%ebp; int $0x80; pop %%%%ebp" : "=a"(out) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(0), "D"(0) : "memory");
#endif
    return out;
}

void _start(void) {
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        results[i] = call(numbers[i], 0, 0, 0);
    call(%d, 1, (long)results, sizeof results);
    call(%d, 0, 0, 0);
}
"""


def answers(one, numbers, tmp_path):
    """Number → what this kernel returns for it to a process of the architecture ``one``."""
    if abi.native().name != "x86_64":
        pytest.skip("the program is written for x86")
    need_program("gcc")
    source = tmp_path / "calls.c"
    source.write_text(PROGRAM % (", ".join(f"{number}u" for number in numbers), one.number("write"), one.number("exit")))
    flags = ["-m32"] if one.name == "x86" else []
    built = subprocess.run(
        ["gcc", *flags, "-O1", "-fno-pic", "-no-pie", "-fno-stack-protector", "-nostdlib", "-static", "-o", tmp_path / "calls", source],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if built.returncode:
        missing(f"gcc {' '.join(flags)}: {built.stderr.strip().splitlines()[-1]}", "apt-get install gcc-multilib")
    with open(tmp_path / "out", "wb") as out:
        done = run([tmp_path / "calls"], stdout=out)
    assert done.status == 0, str(done)
    raw = (tmp_path / "out").read_bytes()
    size = one.bits // 8
    return {number: int.from_bytes(raw[i * size : (i + 1) * size], "little", signed=True) for i, number in enumerate(numbers)}


@pytest.fixture(params=["x86_64", "x86"])
def one(request):
    return abi.arch(request.param)


def test_named_numbers_do_what_their_names_say(one, tmp_path):
    names = ["getppid", "getuid" if one.name == "x86_64" else "getuid32", "getpgrp", "sched_yield", "gettid", "getpid"]
    got = answers(one, [one.number(name) for name in names], tmp_path)
    by_name = dict(zip(names, got.values(), strict=True))
    assert by_name["getppid"] == os.getpid()
    assert by_name[names[1]] == os.getuid()
    assert by_name["getpgrp"] == os.getpgrp()
    assert by_name["sched_yield"] == 0
    assert by_name["gettid"] == by_name["getpid"] > 0


def test_retired_numbers_are_answered_by_enosys(one, tmp_path):
    kernel = tuple(int(part) for part in os.uname().release.split(".")[:2])
    # What left in a later kernel than this one may still answer.
    gone = {name for name in one.retired if name not in ("uselib", "lookup_dcookie") or kernel >= (6, 16)}
    got = answers(one, [one.number(name) for name in sorted(gone)], tmp_path)
    assert {one.call_name(number) for number, value in got.items() if value != -errno.ENOSYS} == set()


def test_unnamed_numbers_are_answered_by_enosys(one, tmp_path):
    holes = [number for number in range(one.highest + 1) if one.call_name(number) is None]
    if one.name == "x86_64":
        # 512 to 547 are x32's alone since Linux 5.4 (arch/x86/entry/syscalls/syscall_64.tbl)
        holes += range(512, 548)
    got = answers(one, holes, tmp_path)
    assert {number for number, value in got.items() if value != -errno.ENOSYS} == set()


def test_newer_calls_than_the_kernel_are_answered_by_enosys(one, tmp_path):
    kernel = ".".join(os.uname().release.split(".")[:2])
    if tuple(map(int, kernel.split("."))) >= abi.tables_version(abi.TABLES):
        pytest.skip("this kernel has everything the tables name")
    newer = [number for name, number in one.calls().items() if not abi.known_at(name, kernel, one)]
    assert newer
    got = answers(one, newer, tmp_path)
    assert set(got.values()) == {-errno.ENOSYS}
