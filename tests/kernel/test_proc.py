import os
import subprocess
import sys

import pytest

from seclude.kernel import proc

GONE = 2**22 + 1  # above the largest pid_max


def test_own_status():
    status = proc.status()
    assert status is not None
    assert status.tgid == os.getpid()
    assert status.parent == os.getppid()
    assert status.real_uid == os.getuid()
    assert status.threads == len(proc.threads())
    assert status.state in "RS"
    assert status.seccomp in (0, 2)
    assert status.capabilities("Bnd") is not None
    assert proc.status("self", os.getpid()) is not None


def test_missing_fields_are_none_and_not_zero():
    status = proc.Status({"Name": "x", "Threads": "many"})
    assert (status.seccomp, status.filters, status.no_new_privs, status.threads, status.tracer) == (None,) * 5
    assert status.state == ""
    assert status.capabilities("Eff") is None


@pytest.mark.parametrize("read", [proc.status, proc.cpu_seconds, proc.start_time, proc.current_call])
def test_a_vanished_process_is_none(read):
    assert read(GONE) is None


def test_a_vanished_process_has_neither_threads_nor_children():
    assert proc.threads(GONE) == ()
    assert proc.children(GONE) == ()


def test_a_name_cannot_forge_fields():
    code = r"""
import ctypes, os
ctypes.CDLL(None).prctl(15, b"x) R 1\nSeccomp:\t9", 0, 0, 0)
from seclude.kernel import proc
s = proc.status()
print(s.seccomp in (0, 2), proc.start_time() == int(open("/proc/self/stat").read().rpartition(")")[2].split()[19]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_children_and_a_blocked_call():
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(b"x")
        child.stdin.flush()
        child.stdout.read(1)
        assert child.pid in proc.children()
        assert proc.cpu_seconds(child.pid) is not None
    finally:
        child.communicate()


def test_tasks_of_a_user_include_our_own():
    assert proc.task_count(os.getuid()) >= len(proc.threads())


def test_actions_are_those_of_the_kernel():
    available = proc.actions_available()
    assert available is not None
    assert "allow" in available
    assert proc.actions_logged() is not None
    assert proc.sysctl("kernel.no_such_thing") is None
