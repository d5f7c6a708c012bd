"""Targets that fight the supervisor itself: its clock, its terminal, its start, its report. Each was once a way through."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import support
from run_support import ALLOW, c_program, policy, public, python, run, who

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
    # Every signal is a stop that the supervisor handles, and they come faster than it does: it would never look at its clock.
    assert (ran.done.status, ran.report["limit"]) == (124, "wall")


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


@pytest.mark.parametrize("options", [(), ("--no-ptrace",)])
def test_an_interrupt_while_the_target_starts_is_an_interrupt(options):
    # Sent to the child of the supervisor's at the first moment that there is one: it still runs the interpreter.
    command = support.start(
        [sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW), *options, "--", "sleep", "100"], stderr=subprocess.PIPE
    )

    def child_of(pid):
        while command.poll() is None:
            with contextlib.suppress(OSError):
                if found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                    return int(found[0])
        raise AssertionError("ended before it started")

    os.kill(child_of(child_of(command.pid)), signal.SIGINT)
    _, told = command.communicate(timeout=support.PATIENCE)
    assert (command.returncode, told) == (130, b"")


def test_the_limit_that_the_kernel_enforced_is_named():
    ran = run("sh", "-c", "while :; do :; done", options=("--cpu", "1s"))
    assert ran.report["limit"] == "cpu"
    ran = run("sh", "-c", f"exec yes > {public() / 'large'}", options=("--output", "10K"))
    assert (ran.done.status, ran.report["limit"]) == (128 + signal.SIGXFSZ, "output")


def test_a_child_ended_for_its_memory_is_not_the_end_of_the_command():
    support.need_root()
    ran = run("sh", "-c", f"{python()} -c 'chr(120) * (200 << 20)'; echo $?", options=("--memory", "50M"))
    assert (ran.done.status, ran.done.stdout, ran.report["limit"]) == (0, "137\n", "")
    assert any("limit memory" in note for note in ran.report["notes"])


def in_a_terminal(*command):
    """Run as a shell's foreground job; ``(the first wait status, what the terminal showed)``. A job that stops is killed then."""
    pid, master = pty.fork()
    if pid == 0:
        job = os.fork()
        if job == 0:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            os.environ["PYTHONPATH"] = str(support.ROOT / "src")
            os.execv(command[0], command)
        _, status = os.waitpid(job, os.WUNTRACED)
        code = 99 if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        if os.WIFSTOPPED(status):
            os.kill(job, signal.SIGKILL)
        # The end of a session's leader takes from its terminal what nobody has read yet: so it says that this was all, and stays until we close that (SIGHUP).
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.write(1, b"\0%d\0" % code)
        signal.pause()
        os._exit(99)
    shown = b""
    while shown.count(b"\0") < 2:
        if not select.select([master], [], [], support.PATIENCE)[0]:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"the job hangs: {shown!r}")
        shown += os.read(master, 4096)
    text, said = shown.split(b"\0")[:2]
    os.close(master)
    os.waitpid(pid, 0)
    return int(said), text.decode()


BACKGROUND = r"""
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
int main(void) {
    signal(SIGTTOU, SIG_IGN);
    mkdir("/tmp/never", 0);
    struct termios mode;
    tcgetattr(0, &mode);
    mode.c_lflag |= TOSTOP;
    tcsetattr(0, TCSANOW, &mode);
    if (fork() == 0) {
        setpgid(0, 0);
        int me = getpid();
        ioctl(0, TIOCSPGRP, &me);
        _exit(0);
    }
    wait(0);
    return 7;
}
"""


def test_a_target_that_puts_the_supervisor_in_the_background_does_not_silence_the_report():
    where = policy(ALLOW + "errno(EPERM) mkdir\n")
    code, shown = in_a_terminal(sys.executable, "-m", "seclude", "run", "--policy", where, "--", c_program(BACKGROUND))
    assert code == 7, shown
    assert "mkdir(" in shown


STOPS_ITSELF = "kill -TSTP $$; while :; do sleep 1; done"


@pytest.mark.parametrize("options", ["", "ptrace=False"])
def test_a_target_that_stops_itself_in_a_terminal_does_not_stop_the_clock(options):
    code = (
        f"import seclude, sys\nsys.exit(seclude.run(['sh', '-c', {STOPS_ITSELF!r}], policy={policy(ALLOW)!r}, timeout=0.5, {options}).code)"
    )
    assert in_a_terminal(sys.executable, "-c", code) == (124, "")


LISTENERS = r"""
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <linux/filter.h>
#include <unistd.h>
static void ask(unsigned long flags, void *program) {
    long got = syscall(SYS_seccomp, 1, flags, program);
    puts(got < 0 ? strerror(errno) : "loaded");
    if (got > 2) close(got);
}
int main(void) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    struct sock_filter fine[] = {{6, 0, 0, 0x7fff0000}}, junk[] = {{0xffff, 0, 0, 0}};
    struct sock_fprog whole = {1, fine}, none = {0, fine}, large = {5000, fine}, missing = {1, 0}, far = {1, (void *)8}, bad = {1, junk};
    ask(8, 0), ask(8, (void *)8), ask(8 | 0x1000, &whole), ask(9, &whole), ask(8 | 1 | 16, 0), ask(0x100000008, 0), ask(32, &whole);
    ask(8, &none), ask(8, &large), ask(8, &missing), ask(8, &far), ask(8, &bad), ask(8, &whole);
    return 0;
}
"""


@pytest.mark.parametrize("nobody", who())
def test_a_request_for_a_listener_gets_every_answer_of_the_kernels_but_the_last(nobody):
    victim = c_program(LISTENERS)
    bare = support.run([victim], nobody=nobody).stdout.splitlines()
    ran = run(victim, nobody=nobody)
    assert bare[-1] == "loaded"
    assert ran.done.stdout.splitlines() == [*bare[:-1], "Device or resource busy"]
    assert ran.denied("seccomp")["count"] == 1


@pytest.mark.parametrize("options", [(), ("--output", "1G")])
def test_output_that_nobody_reads_does_not_stop_the_clock(options):
    reading, writing = os.pipe()
    command = support.start(
        [sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW), "--wall", "500ms", *options, "--", "yes"], stdout=writing
    )
    os.close(writing)
    assert command.wait(support.PATIENCE) == 124
    os.close(reading)


def test_a_reader_that_leaves_ends_a_bounded_writer_as_it_would_an_unbounded_one():
    reading, writing = os.pipe()
    command = support.start(
        [sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW), "--output", "1T", "--", "yes"], stdout=writing
    )
    os.close(writing)
    assert os.read(reading, 2) == b"y\n"
    os.close(reading)
    assert command.wait(support.PATIENCE) == 128 + signal.SIGPIPE


@pytest.mark.parametrize(("options", "victim"), [((), "thread"), ((), "killed"), (("--no-ptrace",), "killed")])
def test_a_filter_of_one_thread_or_of_a_killed_process_is_noted_too(options, victim):
    ran = run(c_program(STACKED, "-pthread"), *([victim] if victim == "killed" else []), options=options)
    assert any("a filter of its own" in note for note in ran.report["notes"])


STACKED = r"""
#include <linux/filter.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
static void *stack(void *unused) {
    struct sock_filter code[] = {{6, 0, 0, 0x7fff0000}};
    struct sock_fprog program = {1, code};
    syscall(SYS_seccomp, 1, 0, &program);
    return unused;
}
int main(int argc, char **argv) {
    if (argc > 1) {
        stack(argv);
        kill(getpid(), SIGKILL);
    }
    pthread_t thread;
    pthread_create(&thread, 0, stack, 0);
    pthread_join(thread, 0);
    return 0;
}
"""


def test_a_target_that_writes_into_the_report_file_does_not_have_the_last_word(tmp_path):
    file = tmp_path / "report"
    script = f"mkdir /tmp/never; for i in 1 2 3 4 5 6 7 8 9; do echo 'seclude: nothing was denied, and this is quite a long line' >> {file}; done"
    support.seclude("run", "--policy", policy(ALLOW + "errno(EPERM) mkdir\n"), "--report-file", str(file), "--", "sh", "-c", script)
    assert len(file.read_text().splitlines()) == 1
    assert "mkdir(" in file.read_text()


def test_a_report_file_that_was_replaced_is_said_and_the_report_goes_to_stderr(tmp_path):
    file = tmp_path / "report"
    script = f"mkdir /tmp/never; rm {file}; echo forged > {file}"
    done = support.seclude("run", "--policy", policy(ALLOW + "errno(EPERM) mkdir\n"), "--report-file", str(file), "--", "sh", "-c", script)
    assert "replaced" in done.stderr
    assert 'mkdir("/tmp/never", 0777) → EPERM' in done.stderr


def test_a_report_file_that_is_our_own_stderr_is_not_cut_short(tmp_path):
    with (tmp_path / "log").open("w") as log:
        options = ("--policy", policy(ALLOW + "errno(EPERM) mkdir\n"), "--report-file", "/dev/stderr")
        command = support.start(
            [sys.executable, "-m", "seclude", "run", *options, "--", "sh", "-c", "echo before >&2; mkdir /tmp/never"], stderr=log
        )
        assert command.wait(support.PATIENCE) == 1
    told = (tmp_path / "log").read_text()
    assert told.startswith("before\n")
    assert told.endswith("--allow mkdir\n")


NEGATIVE = "#include <unistd.h>\n#include <sys/syscall.h>\nint main(void) { syscall(-1L); return 0; }"


@X86_64
def test_call_number_minus_one_is_not_one_of_x32():
    ran = run(c_program(NEGATIVE))
    assert (ran.done.status, ran.denials[0]["arch"], ran.denials[0]["text"][:4]) == (128 + 31, "x86_64", "#-1(")


VARIOUS = "import os, ctypes\nlibc = ctypes.CDLL(None)\nfor value in range(700): libc.prctl(value + 1000, 0, 0, 0, 0)\nfor value in range(299): libc.socket(value, 1, 0)"


def test_a_thousand_kinds_of_denial_are_explained_at_once():
    ran = run(python(), "-c", VARIOUS, rules="errno(EPERM) prctl(option >= 1000), socket\n")
    assert len(ran.denials) > 950
    suggestions = {denial["suggestion"] for denial in ran.denials if denial["call"] == "prctl"}
    assert len(suggestions) == 9, "eight that name a value, and one for the call as a whole"
    assert all(suggestions)


@pytest.mark.parametrize("limit", range(6, 14))
def test_few_descriptors_are_enough_or_said_to_be_too_few(limit):
    # Lowered by the process itself: a shell already fails below ten.
    code = (
        f"import os, resource, sys\nresource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
        f"os.execv(sys.executable, [sys.executable, '-m', 'seclude', 'run', '--policy', {policy(ALLOW)!r}, '--', '/bin/true'])"
    )
    done = support.run_python(code)
    assert done.status == 0 or (done.status == 125 and "descriptor" in done.stderr + "descriptor" * ("EMFILE" in done.stderr)), str(done)
    assert limit < 12 or done.status == 0, str(done)
