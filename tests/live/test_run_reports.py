"""What a denied call looks like afterwards, on the running kernel, for root and for nobody."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

import support
from run_support import ALLOW, c_program, policy, python, run, who

pytestmark = [pytest.mark.live, pytest.mark.slow]

TIMES = "\N{MULTIPLICATION SIGN}"
SYSCALL = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); call = libc.syscall\n"


@pytest.mark.parametrize("nobody", who())
def test_a_denied_call_is_one_line_with_count_rule_and_remedy(nobody):
    victim = "import socket\nfor _ in range(3):\n try: socket.socket(socket.AF_INET, socket.SOCK_STREAM | 0)\n except PermissionError: print('no')"
    where = policy("default allow\nerrno(EPERM) ptrace, socket(domain == AF_INET)\n")
    done = support.seclude("run", "--policy", where, "--", python(), "-c", victim, nobody=nobody)
    assert done.status == 0, str(done)
    assert done.stdout == "no\n" * 3
    assert done.stderr == (
        f"denied 3{TIMES}  socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0) → EPERM"
        f"   rule: errno(EPERM) ptrace, socket(domain == AF_INET) ({where}:2)   to allow: --allow 'socket(domain == AF_INET)'\n"
    )


def test_the_suggestion_works():
    victim = [python(), "-c", "import socket; socket.socket()"]
    where = policy("default allow\nerrno(EPERM) ptrace, socket(domain == AF_INET)\n")
    done = support.seclude("run", "--policy", where, "--allow", "socket(domain == AF_INET)", "--", *victim)
    assert (done.status, done.stderr) == (0, "")


def test_deny_is_tried_before_the_policy():
    ran = run("mkdir", "/tmp/never", options=("--deny", "mkdir, mkdirat"))
    assert ran.done.status == 1
    denial = ran.denials[0]
    assert (denial["result"], denial["count"]) == ("EPERM", 1)
    assert "--deny" in denial["rule"]


@pytest.mark.parametrize("nobody", who())
def test_paths_and_addresses_are_read_from_the_target(nobody):
    victim = """
import socket, os
for family, address in ((socket.AF_INET, ("192.0.2.1", 80)), (socket.AF_UNIX, "\\0name"), (socket.AF_INET6, ("2001:db8::1", 443))):
    try: socket.socket(family).connect(address)
    except PermissionError: pass
try: os.mkdir("/tmp/\\x1b[31mred\\u202eder")
except PermissionError: pass
"""
    ran = run(python(), "-c", victim, rules="errno(EPERM) connect, mkdir, mkdirat\n", nobody=nobody)
    texts = [denial["text"] for denial in ran.denials]
    assert any("{AF_INET, 192.0.2.1:80}" in text for text in texts)
    assert any('{AF_UNIX, @"name"}' in text for text in texts)
    assert any("{AF_INET6, [2001:db8::1]:443}" in text for text in texts)
    assert any(r'"/tmp/\x1b[31mred\u202eder"' in text for text in texts)
    assert "\x1b" not in ran.done.stderr


def test_what_cannot_be_read_is_said():
    ran = run(python(), "-c", SYSCALL + "call(83, ctypes.c_long(1), 0)", rules="errno(EPERM) mkdir\n")
    assert ran.denied("mkdir")["text"] == "mkdir(<unreadable>, 000)" or "<unreadable>" in ran.denied("mkdir")["text"]


def test_entries_are_capped_and_the_overflow_is_counted():
    victim = "import os\nfor i in range(1200):\n try: os.mkdir(f'/tmp/{i}')\n except PermissionError: pass"
    ran = run(python(), "-c", victim, rules="errno(EPERM) mkdir\n")
    assert len(ran.denials) == 1000
    assert ran.report["overflow"] == 200


STORM = r"""
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
static volatile int ticks;
static void tick(int signal) { (void)signal; ticks++; }
int main(void) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = RESTART};
    sigaction(SIGALRM, &action, 0);
    struct itimerval timer = {{0, 200}, {0, 200}};
    setitimer(ITIMER_REAL, &timer, 0);
    int calls = 0, denied = 0;
    while (ticks < 100) { calls++; denied += socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == EPERM; }
    printf("%d %d\n", calls, denied);
}
"""


@pytest.mark.parametrize("restart", ["SA_RESTART", "0"])
def test_a_call_restarted_by_signals_counts_once(restart):
    ran = run(c_program(STORM.replace("RESTART", restart)), rules="errno(EPERM) socket\n")
    calls, denied = map(int, ran.done.stdout.split())
    assert ran.denied("socket")["count"] == denied, "what was interrupted before it was received, and not restarted, was not denied"
    if restart != "0":
        assert calls == denied


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("action", ["kill_process", "kill_thread", "trap(7)"])
def test_kills_and_traps_show_call_and_arguments(action, nobody):
    ran = run(python(), "-c", SYSCALL + "os.getpriority(1, 4711)", rules=f"{action} getpriority\n", nobody=nobody)
    assert ran.done.status == 128 + 31
    denial = ran.denied("getpriority")
    assert denial["action"] == action.partition("(")[0]
    assert "4711" in denial["text"]
    assert (denial["result"], denial["count"]) == ("SIGSYS", 1)


THREAD = r"""
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <dirent.h>
#include <sched.h>
static void *ask(void *unused) { getpriority(PRIO_PROCESS, 0); return unused; }
static int threads(void) { DIR *d = opendir("/proc/self/task"); int n = -2; while (readdir(d)) n++; closedir(d); return n; }
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, ask, 0);
    while (threads() > 1) sched_yield();
    puts("left");
    return 5;
}
"""


def test_a_killed_thread_leaves_the_others():
    ran = run(c_program(THREAD, "-pthread"), rules="kill_thread getpriority\n")
    assert (ran.done.status, ran.done.stdout) == (5, "left\n")
    assert ran.denied("getpriority")["action"] == "kill_thread"


def test_a_child_killed_by_the_policy_is_reported_too():
    ran = run("sh", "-c", f"{python()} -c 'import os; os.getpriority(0, 0)'; echo $?", rules="kill getpriority\n")
    assert ran.done.stdout == "159\n"
    assert ran.denied("getpriority")["action"] == "kill_process"


INT80 = 'int main(void) { int r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(20), "b"(11), "c"(22) : "memory"); return 0; }'


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="an x86_64 instruction")
def test_int80_from_64_bit_code_is_an_i386_call():
    ran = run(c_program(INT80), text="default allow\nerrno(EPERM) ptrace\n")
    assert ran.done.status == 128 + 31
    denial = ran.denials[0]
    assert (denial["arch"], denial["call"], denial["args"][:2]) == ("x86", "getpid", ["0xb", "0x16"])
    assert "badarch" in denial["rule"]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="32-bit x86")
@pytest.mark.parametrize("action", ["errno(EACCES)", "kill"])
def test_a_32_bit_program(action):
    source = '#include <sys/stat.h>\n#include <stdio.h>\nint main(void) { if (mkdir("/tmp/narrow", 0700)) perror("mkdir"); return 0; }'
    ran = run(c_program(source, "-m32"), rules=f"{action} mkdir, mkdirat\n")
    denial = ran.denials[0]
    assert (denial["arch"], denial["text"]) == ("x86", 'mkdir("/tmp/narrow", 0700)')


def test_notify_and_trace_without_a_handler_answer_enosys():
    victim = (
        SYSCALL
        + "import errno\nfor f in (lambda: os.getpriority(0, 0), lambda: os.setpriority(0, 0, 0)):\n try: f()\n except OSError as e: print(errno.errorcode[e.errno])"
    )
    ran = run(python(), "-c", victim, rules="notify getpriority\ntrace(3) setpriority\n")
    assert ran.done.stdout == "ENOSYS\nENOSYS\n"
    assert ran.denied("getpriority")["action"] == "notify"
    assert ran.denied("setpriority")["action"] == "trace"
    assert ran.denied("setpriority")["reason"] == "nothing handles it"


OWN = r"""
#include <stddef.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
int main(int argc, char **argv) {
    struct sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
    struct sock_fprog program = {1, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long got = syscall(SYS_seccomp, 1, argc > 1 ? 8 : 0, &program);
    printf("%s\n", got >= 0 ? "loaded" : errno == EBUSY ? "EBUSY" : "failed");
    return 0;
}
"""


def test_a_filter_that_the_target_stacks_is_noted():
    ran = run(c_program(OWN))
    assert ran.done.stdout == "loaded\n"
    assert any("a filter of its own" in note for note in ran.report["notes"])


def test_a_listener_of_the_targets_own_is_busy_and_no_report_leaves_it():
    ran = run(c_program(OWN), "listener", options=("--no-ptrace",))
    assert ran.done.stdout == "EBUSY\n"
    denial = ran.denied("seccomp")
    assert (denial["action"], denial["suggestion"]) == ("busy", "--no-report")
    assert run(c_program(OWN), "listener", options=("--no-report",)).done.stdout == "loaded\n"


def test_without_ptrace_a_kill_is_known_by_its_status():
    ran = run(python(), "-c", "import os; os.getpriority(0, 0)", rules="kill getpriority\n", options=("--no-ptrace",))
    assert (ran.done.status, ran.report["reporting"], ran.denials) == (159, "notify", [])
    assert any("cannot be named without ptrace" in note for note in ran.report["notes"])


def test_a_signal_that_looks_like_a_kill_is_not_taken_for_one():
    ran = run("sh", "-c", "kill -SYS $$", rules="kill getpriority\n")
    assert (ran.done.status, ran.denials) == (159, [])
    assert any("not by this policy" in note for note in ran.report["notes"])


@pytest.mark.parametrize("no_colour", [False, True])
def test_colour_only_on_a_terminal_that_wants_it(no_colour):
    where = policy("default allow\nerrno(EPERM) ptrace, mkdir\n")
    master, slave = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "seclude", "run", "--policy", where, "--", "mkdir", "/tmp/never"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave, check=False,
        env={**os.environ, "PYTHONPATH": str(support.ROOT / "src"), **({"NO_COLOR": "1"} if no_colour else {})},
    )  # fmt: skip
    os.close(slave)
    told = os.read(master, 65536).decode()
    os.close(master)
    assert done.returncode == 1
    assert "mkdir(" in told
    assert ("\x1b[" in told) is not no_colour


def test_the_report_goes_to_a_file(tmp_path):
    where = policy("default allow\nerrno(EPERM) ptrace, mkdir\n")
    done = support.seclude("run", "--policy", where, "--report-file", str(tmp_path / "report"), "--", "mkdir", "/tmp/never")
    assert f"denied 1{TIMES}" in (tmp_path / "report").read_text()
    assert "denied" not in done.stderr
    refused = support.seclude("run", "--report-file", str(tmp_path), "--", "true")
    assert refused.status == 125


def test_json_is_versioned_and_whole():
    ran = run("mkdir", "/tmp/never", rules="errno(EPERM) mkdir\n")
    assert ran.report["version"] == 1
    assert ran.report["command"] == ["mkdir", "/tmp/never"]
    assert {"code", "status", "signal", "cpu", "wall", "memory", "limit", "ended_by", "reporting", "notes", "overflow", "error"} < set(
        ran.report
    )
    assert ran.report["reporting"] == "notify+ptrace"
    assert ran.report["cpu"] > 0 < ran.report["wall"]
    assert ran.report["memory"] > 100_000


def test_nothing_denied_says_nothing():
    done = support.seclude("run", "--policy", policy(ALLOW), "--", "true")
    assert (done.status, done.stdout, done.stderr) == (0, "", "")
