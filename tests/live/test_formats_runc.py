"""What a real runc loads, read out of the process, beside what the reader of OCI profiles says it loads."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from seclude.analysis.live import live
from seclude.decision import difference, from_program, stack
from seclude.formats import read
from support import need_program, need_root

pytestmark = pytest.mark.live

BASE = (
    "execve brk arch_prctl access mmap munmap mprotect read write close openat newfstatat fstat exit exit_group rt_sigaction rt_sigprocmask nanosleep"
    " clock_nanosleep set_tid_address set_robust_list rseq prlimit64 getrandom getuid getgid setuid setgid prctl futex capset capget fcntl getpid chdir setgroups"
    " stat lstat epoll_ctl epoll_pwait getppid getdents64 readlinkat statfs fstatfs tgkill sched_yield faccessat2 faccessat getcwd close_range clone pipe2 fchown uname"
    " rt_sigreturn sigaltstack restart_syscall madvise gettid"  # the runtime of Go interrupts its own threads
)
#: name → rules, other keys
SAMPLES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "plain": ([{"names": BASE.split(), "action": "SCMP_ACT_ALLOW"}], {}),
    "conditions": (
        [
            {"names": BASE.split(), "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_LT"}]},
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 8, "valueTwo": 8, "op": "SCMP_CMP_MASKED_EQ"}],
            },
            {"names": ["fcntl64", "ptrace", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            {"names": ["kcmp", "io_uring_setup"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
        {"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
    ),
    "x32 beside": ([{"names": BASE.split(), "action": "SCMP_ACT_ALLOW"}], {"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}),
    "no architecture": ([{"names": BASE.split(), "action": "SCMP_ACT_ALLOW"}], {"architectures": []}),
    "traced": ([{"names": BASE.split(), "action": "SCMP_ACT_ALLOW"}], {"defaultAction": "SCMP_ACT_TRACE"}),
    "enosys": ([{"names": BASE.split(), "action": "SCMP_ACT_ALLOW"}], {"defaultErrnoRet": 38}),
    "permissive": ([{"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"}], {"defaultAction": "SCMP_ACT_ALLOW"}),
}


def _bundle(place, seccomp):
    root = Path(place) / "rootfs"
    (root / "bin").mkdir(parents=True)
    for name in ("proc", "tmp"):
        (root / name).mkdir()
    shutil.copy(need_program("busybox", "busybox-static"), root / "bin" / "busybox")
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/busybox", "sleep", "1000"],
            "env": [],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": one} for one in ("pid", "ipc", "uts", "mount")], "seccomp": seccomp},
    }
    (Path(place) / "config.json").write_text(json.dumps(config))
    return json.dumps(config).encode()


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES)
def test_the_reader_says_what_runc_loads(sample):
    need_root()
    runc = need_program("runc")
    rules, more = SAMPLES[sample]
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules} | more
    with tempfile.TemporaryDirectory(prefix="seclude-runc-") as place:
        raw = _bundle(place, seccomp)
        name = f"seclude-{os.getpid()}-{sample}".replace(" ", "-")
        command = [runc, "--root", f"{place}/state"]
        process = subprocess.Popen([*command, "run", "-b", place, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            pid = _sleeping(command, name, process)
            loaded = live(pid).threads[0].filters
        finally:
            subprocess.run([*command, "delete", "--force", name], capture_output=True, check=False)
            process.communicate(timeout=60)
    assert loaded
    actual = stack(*map(from_program, loaded))
    expected = read(raw, "config.json", runtime="runc").decision
    found = difference(actual, expected).calls.witness()
    assert found is None, f"{found}: runc {actual.value(found.words):#x}, read {expected.value(found.words):#x}"
    assert actual is expected


def _sleeping(command, name, process):
    """The container's process, once it has become the program: its filter is loaded then."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(process.communicate()[0])
        done = subprocess.run([*command, "state", name], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            pid = json.loads(done.stdout)["pid"]
            try:
                if pid and b"busybox" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
            except OSError:
                pass
        os.sched_yield()
    pytest.fail("the container did not start within a minute")
