"""``--trace %file`` chooses what strace's ``-e trace=%file`` does: each call is made once, under a filter that lets none run, and strace says which it shows."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

import support
from run_support import c_program
from seclude.abi import arch
from seclude.policy.strace_sets import SETS
from support import need_program

pytestmark = pytest.mark.live

#: makes every call of x86_64 ("64"), or of x86 by int 0x80 ("32"); uprobe and uretprobe end a process that is not probed, whatever its filter
EVERY_CALL = """
    #include <linux/filter.h>
    #include <linux/seccomp.h>
    #include <stddef.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static void compat(long n) {
        __asm__ volatile("push %%rbx; mov $-1, %%rbx; int $0x80; pop %%rbx" : "+a"(n) : "c"(-1L), "d"(-1L), "S"(-1L), "D"(-1L) : "memory", "r8", "r9", "r10", "r11");
    }
    int main(int count, char **words) {
        struct sock_filter f[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 3),
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 77, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 38)};
        struct sock_fprog p = {6, f};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &p)) return 1;
        for (int n = 0; n < 470; n++)
            if (words[1][0] == '3') compat(n);
            else if (n != 335 && n != 336) syscall(n, -1L, -1L, -1L, -1L, -1L, -1L);
        syscall(SYS_exit_group, 77);
    }"""  # fmt: skip
#: subcalls of it that strace names one by one; the kernel decides it whole
WHOLE = {"socketcall"}


def shown(strace, program, which, name):
    done = subprocess.run(
        [strace, "-o", "/dev/stdout", "-e", f"trace=%{name}", program, which], capture_output=True, text=True, check=False
    )
    assert done.returncode == 77, done
    names = {match[1] for line in done.stdout.splitlines() if (match := re.match(r"(\w+)\(", line))}
    return {call for call in names if not call.startswith("syscall_")}


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_what_strace_shows(name):
    strace, program = need_program("strace"), c_program(EVERY_CALL, "-w")
    version = subprocess.run([strace, "-V"], capture_output=True, text=True, check=True).stdout.split()[3]
    if os.uname().machine != "x86_64" or version != "6.1":
        pytest.skip("the sets are those of strace 6.1 on x86-64")
    everything = shown(strace, program, "64", "file,all") | shown(strace, program, "32", "file,all")
    theirs = shown(strace, program, "64", name) | shown(strace, program, "32", name)
    both = set(arch("x86_64").calls()) | set(arch("x86").calls())
    assert {call for call in SETS[name] if call in everything & both} - WHOLE == (theirs & both) - WHOLE


def test_a_run_shows_the_calls_of_a_set():
    done = support.seclude("run", "--trace", "%file", "--", "/bin/cat", "/etc/hostname")
    assert done.status == 0, str(done)
    lines = done.stderr.splitlines()
    assert any(line.startswith('openat(AT_FDCWD, "/etc/hostname"') for line in lines), str(done)
    assert all(line.startswith(("+++", *(f"{call}(" for call in SETS["file"]))) for line in lines), str(done)
