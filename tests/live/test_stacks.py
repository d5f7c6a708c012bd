"""Stacked filters on the running kernel: two loaded one after the other answer every sampled call as the one fused filter does."""

import json
import random
import sys

import pytest

from seclude.abi import native
from seclude.compiler import compile as build
from seclude.compiler import compile_decision
from seclude.decision import SystemCall, from_policy, stack
from seclude.policy import parse
from support import run_python

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux" or native().name != "x86_64", reason="loads filters for x86_64"),
]

CHILD = r"""
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
filters, calls = json.loads(sys.argv[1])
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
calls = [[ctypes.c_ulong(word) for word in call] for call in calls]
loaded = [bytes.fromhex(raw) for raw in filters]
programs = [Fprog(len(raw) // 8, raw) for raw in loaded]
out = []
assert libc.prctl(38, 1, 0, 0, 0) == 0
for program in programs:
    assert libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(program), ctypes.c_ulong(0), ctypes.c_ulong(0)) == 0
for call in calls:
    out.append(ctypes.get_errno() if libc.syscall(*call) == -1 else 0)
sys.stdout.write(json.dumps(out))
sys.stdout.flush()
"""
# What the child itself needs, and the second filter's loading.
NEEDED = "allow read, write, exit_group, exit, munmap, mmap, brk, futex, rt_sigaction, close, prctl, mprotect, fstat, madvise\n"
# Calls that do nothing when they are let through, or that the kernel refuses at once.
HARMLESS = ["getppid", "getuid", "umask", "lseek", "socket", "sched_yield", "getpriority", "fchmod"]


def policy(rnd):
    lines = ["default errno(EXDEV)", "arch x86_64", "unknown errno(ENOTUNIQ)", NEEDED]
    for name in HARMLESS:
        action = rnd.choice(["allow", f"errno({rnd.randrange(1, 130)})", "log", "trace(3)", f"errno({rnd.randrange(1, 130)})"])
        condition = {
            "lseek": "(offset < 0)", "socket": "(domain:u64 != 40)", "fchmod": "(mode & 0o6000 != 0)", "getpriority": "(which in 1..9)",
        }.get(name, "") if rnd.random() < 0.7 else ""  # fmt: skip
        lines.append(f"{action} {name}{condition}")
    return parse("\n".join(lines) + "\n")


def answer(value, call):
    """The errno that a program sees: None where the call itself decides."""
    action, data = value & 0xFFFF0000, value & 0xFFFF
    if action == 0x50000:
        return data
    return 38 if action == 0x7FF00000 else None  # TRACE without a tracer: ENOSYS


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_agrees_with_the_product(seed):
    rnd = random.Random(seed)
    policies = [policy(rnd) for _ in range(rnd.choice((2, 3)))]
    product = stack(*map(from_policy, policies))
    fused = compile_decision(product, "little")
    table = native().calls()
    calls = []
    for _ in range(60):
        name = rnd.choice(HARMLESS)
        args = [rnd.choice((0, 1, 5, 40, 1 << 32 | 40, 0o4755, (1 << 64) - 1, 0xFFFFFFFF)) for _ in range(3)]
        if name == "fchmod":
            args[0] = 0xFFFFFFFF  # no such descriptor
        if name == "socket":
            args[1:] = [77, 0]  # no such type
        calls.append([table[name], *args])
    stacked = [bytes(build(one)).hex() for one in policies]
    seen = []
    for filters in (stacked, [fused.to_bytes().hex()]):
        done = run_python(CHILD, json.dumps([filters, calls]))
        assert done.status == 0, str(done)
        seen.append(json.loads(done.stdout))
    assert seen[0] == seen[1]
    for call, got in zip(calls, seen[0], strict=True):
        wanted = answer(product.value(SystemCall(0xC000003E, call[0], (*call[1:], 0, 0, 0)).words), call)
        if wanted is not None:
            assert got == wanted


@pytest.mark.slow
def test_a_bypass_is_one_on_the_kernel():
    """What `bypass` names, the kernel does: an AF_INET that a filter of 64-bit compares keeps out comes in by the high word."""
    from seclude.decision import bypass

    text = f"default errno(EXDEV)\narch x86_64\n{NEEDED}allow socket(domain:u64 != AF_INET)\n"
    built = build(parse(text))
    call = bypass(built.decision).witness()
    assert call is not None
    assert call.args[0] & 0xFFFFFFFF == 2
    done = run_python(CHILD, json.dumps([[bytes(built).hex()], [[call.number, *call.args], [call.number, *call.clean().args]]]))
    assert done.status == 0, str(done)
    assert json.loads(done.stdout) == [0, 18]  # a socket; EXDEV
