"""A call is read, changed and skipped where its thread stands, by whichever request this kernel has."""

from __future__ import annotations

import pytest

import support
from run_support import who

pytestmark = pytest.mark.live

#: the child makes calls under a filter that answers getpgid and getsid with TRACE; the parent says what becomes of each
CODE = """
import ctypes, os, sys
import seclude
from seclude.abi import native
from seclude.kernel import ptrace, registers

if sys.argv[1] == "register sets":  # as on a kernel before 6.16
    registers._SET_SYSCALL_INFO = 0x4FFF
elif tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 16):
    change = registers._change
    def only_skips(tid, arch, nr, how):
        assert nr == -1, "the newer request changes calls"
        change(tid, arch, nr, how)
    registers._change = only_skips
here = native()
policy = seclude.parse("default allow\\ntrace(77) getpgid\\nerrno(EXDEV) getsid(pid == 5)\\ntrace(78) getsid\\n")
program = bytes(seclude.compile(policy))
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.read(reader, 1)
    from seclude.kernel import prctl, seccomp
    prctl.set_no_new_privs()
    seccomp.install_filter(program)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    def call(name, *args):
        result = libc.syscall(here.number(name), *map(ctypes.c_long, args))
        return result if result != -1 else -ctypes.get_errno()
    out = [call("getpgid", 1, 2, 3, 4, 5, 6), call("getpgid", 1 << 62), call("getsid", 1), call("getsid", 1), call("getpgid", 1)]
    out[4] = out[4] == os.getppid()
    print(*out, flush=True)
    os._exit(0)
ptrace.seize(child, ptrace.OBSERVE_CALLS)
os.write(writer, b"g")
read = registers.stopped_call()
seen = []
while True:
    tid, status = os.waitpid(child, 0x40000000)
    if not os.WIFSTOPPED(status):
        break
    if status >> 8 == 5 | ptrace.EVENT_SECCOMP << 8:
        nr, token, ip, args, data = read(tid)
        assert token == here.token and ip > 0
        seen.append((here.call_name(nr), args[0], data))
        if len(seen) == 1:
            assert args == (1, 2, 3, 4, 5, 6)
            registers.skip(tid, token, 4321)
        elif len(seen) == 2:
            registers.skip(tid, token, -28)
        elif len(seen) == 3:
            registers.set_call(tid, token, nr, (5, *args[1:]))  # the filter denies this one itself
        elif len(seen) == 4:
            registers.set_call(tid, token, nr, (5000000, *args[1:]))  # TRACE again, which is an allow now
        else:
            registers.set_call(tid, token, here.number("getppid"), args)
            assert read(tid)[0] == here.number("getppid")
        ptrace.resume(tid)
    else:
        try:
            read(tid)
        except OSError as error:
            assert error.errno == 22
        ptrace.resume(tid, 0 if status >> 16 else status >> 8 & 0xFF)
print(seen, status)
try:
    read(child)
except ProcessLookupError:
    print("gone")
"""


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("way", ["this kernel's", "register sets"])
def test_a_call_is_read_changed_and_skipped(way, nobody):
    done = support.run_python(CODE, way, nobody=nobody)
    calls = "[('getpgid', 1, 77), ('getpgid', 4611686018427387904, 77), ('getsid', 1, 78), ('getsid', 1, 78), ('getpgid', 1, 77)] 0"
    assert done.stdout.splitlines() == ["4321 -28 -18 -3 True", calls, "gone"], str(done)
