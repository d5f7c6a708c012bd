"""Targets that fight the supervisor itself: its clock, its terminal, its start, its report. Each was once a way through."""

from __future__ import annotations

import os

import pytest

import support
from run_support import c_program, run, who

pytestmark = [pytest.mark.live, pytest.mark.slow]

X86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64 and x86")

INT80 = r"""
#include <stdio.h>
int main(void) {
    for (int i = 0; i < 2; i++) {
        int got;
        __asm__ volatile("int $0x80" : "=a"(got) : "a"(59), "b"(0) : "memory");
        printf("%d\n", got);
    }
    return 0;
}
"""


@X86_64
def test_another_architectures_call_with_the_number_of_execve_is_not_let_pass():
    ran = run(c_program(INT80), rules="on x86: errno(EPERM) oldolduname\n")
    assert ran.done.stdout == "-1\n-1\n", "-14 (EFAULT) is the kernel's own answer"
    assert ran.denied("oldolduname")["count"] == 2


AGAIN = r"""
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc < 1 || argv[0][0] == 0) {
        puts("executed");
        return 1;
    }
    syscall(SYS_execve, argv[0], 0, 0);
    puts(strerror(errno));
    return 0;
}
"""


def test_a_later_execve_that_is_denied_is_not_taken_for_the_first_one():
    ran = run(c_program(AGAIN), rules="errno(EPERM) execve(argv == NULL)\n")
    assert ran.done.stdout == "Operation not permitted\n"
    assert ran.denied("execve")["count"] == 1


STORM = r"""
#include <signal.h>
#include <unistd.h>
int main(void) {
    for (int i = 0; i < 24; i++)
        if (fork() == 0)
            for (;;) kill(getpid(), SIGURG);
    for (;;) pause();
}
"""


@pytest.mark.parametrize("nobody", who())
def test_a_storm_of_signals_does_not_hold_up_the_clock(nobody):
    ran = run(c_program(STORM), options=("--wall", "500ms"), nobody=nobody)
    assert ran.done.status == 124
    assert ran.report["wall"] < 4, "every signal is a stop that the supervisor handles, and they come faster than it does"


LIMITS = r"""
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/resource.h>
#include <unistd.h>
int main(void) {
    unsigned long none[2] = {0, 0}, wide[2] = {1 << 20, 1 << 20};
    printf("%ld\n", syscall(SYS_prlimit64, getppid(), RLIMIT_CPU, none, 0));
    printf("%ld\n", syscall(SYS_prlimit64, getppid(), RLIMIT_CPU, 0, wide));
    printf("%ld\n", syscall(SYS_prlimit64, 0, RLIMIT_CORE, none, 0));
    return 0;
}
"""


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("preset", ["container", "readonly", "no-network"])
def test_presets_let_nobody_limit_the_supervisor(preset, nobody):
    done = support.seclude("run", "--policy", preset, "--", c_program(LIMITS), nobody=nobody)
    assert (done.status, done.stdout) == (0, "-1\n0\n0\n"), str(done)
    assert "prlimit64(" in done.stderr


UNTRACED = r"""
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    printf("%ld\n", syscall(SYS_clone, 0x00800000 | SIGCHLD, 0, 0, 0, 0));
    return 0;
}
"""


def test_presets_let_nobody_dodge_the_tracer():
    done = support.seclude("run", "--", c_program(UNTRACED))
    assert done.stdout == "-1\n"
    assert "clone(" in done.stderr
