"""What lint calls a defect is one: the witness, put to the running kernel under the filter, really gets through. Each in a process of its own."""

import platform
import signal
import subprocess

import pytest

import support
from lint_support import Case, judge
from run_support import c_program
from seclude.compiler import compile as compiled
from seclude.policy import parse

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls are x86-64's and i386's"),
]

#: reads instructions on stdin, loads them, makes the call in argv, prints what came of it
_VICTIM = r"""
#include <errno.h>
#include <linux/filter.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static long number, args[6];
static void *other(void *_) { syscall(number); return 0; }
static long compat(long nr, long a, void *b) {
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b) : "memory", "r8", "r9", "r10", "r11");
    return r;
}
int main(int argc, char **argv) {
    static struct sock_filter code[4096];
    struct sock_fprog program = {fread(code, 8, 4096, stdin), code};
    mmap((void *)0x20000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    number = strtol(argv[2], 0, 0);
    for (int i = 3; i < argc; i++) args[i - 3] = strtoul(argv[i], 0, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program)) { perror("load"); return 2; }
    long got;
    if (!strcmp(argv[1], "thread")) {
        pthread_t thread;
        pthread_create(&thread, 0, other, 0);
        pthread_join(thread, 0);
        printf("alive\n");
        return 0;
    }
    if (!strcmp(argv[1], "compat")) {
        /* socketcall's arguments must lie where 32 bits reach */
        unsigned *low = (unsigned *)0x20000;
        memcpy(low, (unsigned[]){args[1], args[2], args[3]}, 12);
        got = compat(number, args[0], low);
        if (got < 0) { errno = -got; got = -1; }
    } else
        got = syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
    if (got < 0) printf("errno %d\n", errno);
    else printf("result %s\n", got ? "positive" : "0");
    return 0;
}
"""


def _victim():
    return c_program(_VICTIM, "-pthread")


def _loaded(case):
    """The filter of a case as bytes."""
    if isinstance(case.text, str):
        return bytes(compiled(parse(case.text, "case.seclude", native="x86_64")))
    return b"".join(code.to_bytes(2, "little") + bytes((jt, jf)) + k.to_bytes(4, "little") for code, jt, jf, k in case.text)


def _put(case, how, number, *args):
    words = [_victim(), how, hex(number), *(hex(arg) for arg in args)]
    done = subprocess.run(words, input=_loaded(case), capture_output=True, timeout=support.PATIENCE, check=False)
    return done.returncode if done.returncode < 0 else done.stdout.decode().strip() + done.stderr.decode().strip()


def _witness(case, rule, call=""):
    """The witness of a finding, perhaps that which names a call."""
    _, report = judge(case)
    found = [one for one in report.findings if one.id == rule and (not call or call in one.calls)]
    assert found, [str(one) for one in report.findings]
    return found[0].witness


OPEN = "default allow\narch x86_64, x86\n"


def test_the_high_word_passes_a_denial():
    case = Case(OPEN + "errno(EPERM) socket(domain:u64 == AF_NETLINK)\n")
    shown = _witness(case, "L12", "socket")
    assert shown.args[0] & 0xFFFFFFFF == 16
    assert shown.args[0] >> 32
    assert _put(case, "plain", shown.number, 16, 3, 0) == "errno 1"
    assert _put(case, "plain", shown.number, shown.args[0], 3, 0) == "result positive"
    mended = Case(OPEN + "errno(EPERM) socket(domain == AF_NETLINK)\n")
    assert _put(mended, "plain", shown.number, shown.args[0], 3, 0) == "errno 1"


def test_x32_passes_the_filter():
    code = (
        (0x20, 0, 0, 4),
        (0x15, 1, 0, 0xC000003E),
        (0x06, 0, 0, 0x80000000),
        (0x20, 0, 0, 0),
        (0x15, 0, 1, 110),
        (0x06, 0, 0, 0x50001),
        (0x06, 0, 0, 0x7FFF0000),
    )
    case = Case(code)
    shown = _witness(case, "L04", "getppid")
    assert shown.number == 0x40000000 | 110
    assert _put(case, "plain", 110) == "errno 1"
    # With x32 in the kernel the call is made; without, it reaches the table and is not there. Neither is the filter's answer.
    assert _put(case, "plain", shown.number) in ("result positive", "errno 38")


def test_socketcall_carries_a_family_that_socket_denies():
    case = Case(OPEN + "errno(EPERM) socket(domain != AF_UNIX)\nallow socketcall\n")
    shown = _witness(case, "L06", "socket")
    assert (shown.arch.name, shown.name) == ("x86", "socketcall")
    assert _put(case, "plain", 41, 2, 1, 0) == "errno 1"
    got = _put(case, "compat", shown.number, shown.args[0], 2, 1, 0)
    if got in (-signal.SIGSEGV, "errno 38"):
        support.missing("32-bit calls (int 0x80)", "a kernel with CONFIG_IA32_EMULATION")
    assert got == "result positive"


def test_errno_zero_is_a_success_that_did_not_happen():
    case = Case(OPEN + "errno(0) setuid\n")
    shown = _witness(case, "L35", "setuid")
    assert _put(case, "plain", shown.number, 12345) == "result 0"


def test_an_unknown_action_kills():
    code = ((0x20, 0, 0, 0), (0x15, 0, 1, 110), (0x06, 0, 0, 0x12340000), (0x06, 0, 0, 0x7FFF0000))
    case = Case(code)
    shown = _witness(case, "L37")
    assert shown.number == 110
    assert _put(case, "plain", shown.number) == -signal.SIGSYS


def test_kill_thread_leaves_the_others():
    case = Case(OPEN + "kill_thread getppid\n")
    shown = _witness(case, "L37")
    assert _put(case, "thread", shown.number) == "alive"
    assert _put(Case(OPEN + "kill getppid\n"), "thread", shown.number) == -signal.SIGSYS


def test_trace_without_a_tracer_is_a_missing_call():
    case = Case(OPEN + "trace(1) getppid\n")
    shown = _witness(case, "L33", "getppid")
    assert _put(case, "plain", shown.number) == "errno 38"


def test_an_errno_above_the_highest_is_cut():
    code = ((0x20, 0, 0, 0), (0x15, 0, 1, 110), (0x06, 0, 0, 0x50000 | 5000), (0x06, 0, 0, 0x7FFF0000))
    shown = _witness(Case(code), "L36")
    assert _put(Case(code), "plain", shown.number) == "errno 4095"
