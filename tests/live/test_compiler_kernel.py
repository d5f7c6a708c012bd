"""Compiled filters on the running kernel: every call of the table gets the answer that the policy gives it."""

import errno
import json
import sys

import pytest

from seclude.abi import native
from seclude.bpf import pack_data, run
from seclude.compiler import compile as build
from seclude.policy import parse
from support import need_program, run_python
from support import run as start

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux" or native().name != "x86_64", reason="loads filters for x86_64"),
]

# Every number gets an errno of its own choosing or is let through with arguments that the kernel refuses harmlessly.
POLICY = """
default errno(EXDEV)
arch x86_64, x86
unknown errno(ENOTUNIQ)
allow read, write, exit_group, exit, munmap, mmap, brk, futex, rt_sigaction, close
errno(EBADSLT) getppid
errno(EBADE) socket(domain == AF_INET), kill(sig in {SIGKILL, SIGSTOP})
errno(EBADR) socket(type & 0xf == SOCK_RAW), lseek(offset < 0)
errno(EL2HLT) personality, fchmod(mode & 0o6000 != 0)
"""

CHILD = r"""
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
raw, calls = bytes.fromhex(sys.argv[1]), json.loads(sys.argv[2])
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
calls = [[ctypes.c_ulong(word) for word in call] for call in calls]
program = Fprog(len(raw) // 8, raw)
out = []
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(program), ctypes.c_ulong(0), ctypes.c_ulong(0)) == 0
for call in calls:
    out.append(ctypes.get_errno() if libc.syscall(*call) == -1 else 0)
sys.stdout.write(json.dumps(out))
sys.stdout.flush()
"""

I386 = r"""
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <linux/filter.h>
/* int 0x80 from 64-bit code enters the kernel as i386: argument registers are cut to 32 bits. */
static long call32(long nr, long a, long b, long c) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}
int main(int argc, char **argv) {
    size_t count = strlen(argv[1]) / 16;
    struct sock_filter *code = malloc(count * sizeof *code);
    for (size_t i = 0; i < count * 8; i++) { unsigned byte; sscanf(argv[1] + 2 * i, "%2x", &byte); ((unsigned char *)code)[i] = byte; }
    struct sock_fprog program = {count, code};
    long results[64];
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program, 0, 0)) return 99;
    int calls = (argc - 2) / 4;
    for (int i = 0; i < calls; i++)
        results[i] = call32(strtoul(argv[2 + 4 * i], 0, 0), strtoul(argv[3 + 4 * i], 0, 0), strtoul(argv[4 + 4 * i], 0, 0), strtoul(argv[5 + 4 * i], 0, 0));
    char text[2048]; int at = 0;
    for (int i = 0; i < calls; i++) at += snprintf(text + at, sizeof text - at, "%ld ", results[i] < 0 ? -results[i] : 0);
    return fwrite(text, 1, at, stdout) != (size_t)at || fflush(stdout);
}
"""


def wanted(built, arch, calls):
    """The errno that the filter answers with, or None where the kernel itself answers."""
    out = []
    for nr, *args in calls:
        value, _ = run(built.program.instructions, pack_data(nr, arch.token, 0, args))
        out.append(value & 0xFFFF if value >> 16 == 5 else None)
    return out


def calls_of(arch):
    socket, kill, fchmod, lseek = (arch.number(name) for name in ("socket", "kill", "fchmod", "lseek"))
    return [
        (socket, 2, 1, 0),
        (socket, 2 | 1 << 32, 1, 0),
        (socket, 99, 3, 0),
        (socket, 99, 3 | 0x80000, 0),
        (socket, 99, 1, 0),
        (kill, 0, 9, 0),
        (kill, 0, 9 | 5 << 32, 0),
        (kill, 0, 0, 0),
        (fchmod, 999, 0o4755, 0),
        (fchmod, 999, 0x10000 | 0o2000, 0),
        (fchmod, 999, 0o755, 0),
        (lseek, 999, (1 << 64) - 1, 0),
        (lseek, 999, 1, 0),
        (arch.number("getppid"), 0, 0, 0),
        (arch.number("personality"), 0, 0, 0),
        (arch.number("close"), 999, 0, 0),
        (arch.number("getpid"), 0, 0, 0),
    ]


@pytest.mark.parametrize("nobody", [False, True])
def test_every_number_of_the_table(nobody):
    arch = native()
    built = build(parse(POLICY))
    unwise = {
        arch.number(name)
        for name in ("exit", "exit_group", "read", "write", "rt_sigreturn", "restart_syscall", "munmap", "mmap", "brk", "futex", "close")
    }
    calls = [*calls_of(arch), *((nr, 0, 0, 0) for nr in range(600) if nr not in unwise and nr not in (335, 336))]
    expected = wanted(built, arch, calls)
    calls = [call for call, want in zip(calls, expected, strict=True) if want is not None or call[0] == arch.number("close")]
    done = run_python(CHILD, bytes(built).hex(), json.dumps(calls), nobody=nobody)
    assert done.status == 0, done
    got = json.loads(done.stdout)
    for call, want, have in zip(calls, wanted(built, arch, calls), got, strict=True):
        assert have == (errno.EBADF if want is None else want), call
    assert set(got) >= {errno.EXDEV, errno.ENOTUNIQ, errno.EBADSLT, errno.EBADE, errno.EBADR, errno.EL2HLT, errno.EBADF}


def test_32_bit_calls_from_64_bit_code(tmp_path):
    from seclude.abi import arch

    need_program("gcc")
    (tmp_path / "call.c").write_text(I386)
    gcc = start(["gcc", "-O1", "-o", tmp_path / "call", tmp_path / "call.c"])
    assert gcc.status == 0, gcc
    x86 = arch("x86")
    built = build(parse(POLICY))
    calls = [(nr, *(arg & 0xFFFFFFFF for arg in args)) for nr, *args in calls_of(x86)]
    expected = wanted(built, x86, calls)
    chosen = [(call, want) for call, want in zip(calls, expected, strict=True) if want is not None]
    done = start([tmp_path / "call", bytes(built).hex(), *(str(word) for call, _ in chosen for word in call)])
    assert done.status == 0, done
    assert [int(word) for word in done.stdout.split()] == [want for _, want in chosen]
    assert {want for _, want in chosen} >= {errno.EBADSLT, errno.EBADE, errno.EBADR, errno.EL2HLT, errno.EXDEV}
