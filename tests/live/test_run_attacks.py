"""A target that turns on its supervisor gets nowhere: not its memory, not its descriptors, not its life. As root and as nobody.

The policy here permits everything but ptrace itself where Seclude must trace, so what holds is the Landlock domain, the dropped
CAP_SYS_PTRACE, and no_new_privs: not a filter that happens to forbid the attack.
"""

from __future__ import annotations

import pytest

import support
from run_support import policy, python, run, who

pytestmark = [pytest.mark.live, pytest.mark.slow]

PRELUDE = """
import ctypes, errno, os, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
above = os.getppid()
def tried(what, failed):
    print(what, errno.errorcode[ctypes.get_errno()] if failed else 'worked', flush=True)
"""

ATTACKS = {
    "memory": """
try:
    with open(f'/proc/{above}/mem', 'r+b', buffering=0) as memory: print('memory worked')
except OSError as error: print('memory', errno.errorcode[error.errno])
""",
    "process_vm_writev": """
buffer = ctypes.create_string_buffer(8)
class V(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
local, remote = V(ctypes.addressof(buffer), 8), V(ctypes.addressof(buffer), 8)
tried('process_vm_writev', libc.process_vm_writev(above, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) < 0)
""",
    "pidfd_getfd": """
pidfd = os.pidfd_open(above)
failed = [libc.syscall(438, pidfd, number, 0) < 0 for number in range(3, 30)]
ctypes.set_errno(0 if not all(failed) else errno.EPERM if libc.syscall(438, pidfd, 0, 0) < 0 and ctypes.get_errno() == errno.EPERM else errno.EBADF)
tried('pidfd_getfd', all(failed))
""",
    "kill": """
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
    try:
        os.kill(above, number); print('kill worked')
    except PermissionError: print('kill EPERM')
""",
    "pidfd_send_signal": """
try:
    signal.pidfd_send_signal(os.pidfd_open(above), signal.SIGKILL); print('pidfd_send_signal worked')
except PermissionError: print('pidfd_send_signal EPERM')
""",
    "descriptors": """
for number in range(12):  # the numbers can be listed, but nothing behind them can be reached
    for way in (os.readlink, lambda path: os.open(path, os.O_RDONLY)):
        try: way(f'/proc/{above}/fd/{number}'); print('descriptors worked', number)
        except PermissionError: print('descriptors EACCES')
        except FileNotFoundError: pass
""",
}


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("options", [(), ("--no-ptrace",)])
def test_the_supervisor_is_out_of_reach(attack, nobody, options):
    ran = run(python(), "-c", PRELUDE + ATTACKS[attack], options=options, nobody=nobody)
    assert ran.done.status == 0, str(ran.done)
    assert "worked" not in ran.done.stdout
    assert all(line.split()[1] in ("EPERM", "EACCES") for line in ran.done.stdout.splitlines()), ran.done.stdout
    assert ran.done.stdout


@pytest.mark.parametrize("nobody", who())
def test_tracing_the_supervisor(nobody):
    victim = PRELUDE + "tried('seize', libc.ptrace(0x4206, above, 0, 0) < 0)\ntried('attach', libc.ptrace(16, above, 0, 0) < 0)"
    ran = run(python(), "-c", victim, text="default allow\n", nobody=nobody)
    assert ran.report["reporting"] == "notify", "a policy that allows ptrace is not traced"
    assert any("allows ptrace" in note for note in ran.report["notes"])
    assert ran.done.stdout == "seize EPERM\nattach EPERM\n"


def test_what_proc_lets_an_owner_write_is_not_the_targets_to_write():
    # Root is another matter: what belongs to root is root's.
    support.need_root()
    victim = """
for up in (above, int(open(f'/proc/{above}/stat').read().rpartition(')')[2].split()[1])):
    for name in ('oom_score_adj', 'coredump_filter'):
        try: open(f'/proc/{up}/{name}', 'w').write('1000'); print(name, 'worked')
        except PermissionError: print(name, 'EACCES')
"""
    ran = run(python(), "-c", PRELUDE + victim, nobody=True)
    assert ran.done.stdout.splitlines() == [f"{name} EACCES" for name in ("oom_score_adj", "coredump_filter")] * 2


def test_the_supervisors_environment_is_not_the_targets_to_read():
    # Root may read every process's (CAP_SYS_ADMIN, CAP_PERFMON): that is said in the documentation.
    support.need_root()
    victim = """
for up in (above, int(open(f'/proc/{above}/stat').read().rpartition(')')[2].split()[1])):
    for name in ('environ', 'maps', 'auxv', 'io'):
        try: open(f'/proc/{up}/{name}').read(); print(name, 'worked')
        except PermissionError: print(name, 'EACCES')
"""
    ran = run(python(), "-c", PRELUDE + victim, nobody=True, options=("--clear-env", "--env", "PATH"))
    assert ran.done.stdout.splitlines() == [f"{name} EACCES" for name in ("environ", "maps", "auxv", "io")] * 2


@pytest.mark.parametrize("nobody", who())
def test_an_abstract_socket_outside(nobody):
    import socket

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("")  # a name that the kernel makes up: other tests may be at it too
        listening.listen()
        name = listening.getsockname()
        victim = (
            f"import socket\ntry: socket.socket(socket.AF_UNIX).connect({name!r}); print('worked')\nexcept PermissionError: print('EPERM')"
        )
        ran = run(python(), "-c", victim, nobody=nobody)
    assert ran.done.stdout == "EPERM\n"


@pytest.mark.parametrize("nobody", who())
def test_the_listener_is_not_the_targets(nobody):
    victim = "import os\nprint([os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if int(fd) > 3])"
    assert run(python(), "-c", victim, nobody=nobody).done.stdout == "[]\n"


@pytest.mark.parametrize("nobody", who())
def test_what_the_target_prints_is_not_what_the_report_prints(nobody):
    # The target cannot forge a line of the report through the names that it chooses.
    victim = "import os\ntry: os.mkdir('/tmp/x\\nseclude: all is well\\r\\x1b]0;title\\x07')\nexcept PermissionError: pass"
    where = policy("default allow\nerrno(EPERM) ptrace, mkdir\n")
    done = support.seclude("run", "--policy", where, "--", python(), "-c", victim, nobody=nobody)
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    assert "\x07" not in done.stderr
