"""Targets that fight the supervisor itself: its clock, its terminal, its start, its report. Each was once a way through."""

from __future__ import annotations

import os

import pytest

from run_support import c_program, python, run, who

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
