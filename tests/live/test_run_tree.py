"""The end of a run is the end of its whole tree, however it came and whatever the target did against it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios

import pytest

import support
from run_support import ALLOW, c_program, gone, policy, python, run, who

pytestmark = [pytest.mark.live, pytest.mark.slow]

MODES = [(), ("--no-ptrace",), ("--no-report", "--no-ptrace")]

#: a daemon as daemons are made: two forks and a session of its own; its pid goes to stdout, then it sleeps
DAEMON = """
import os, signal, sys
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.write(1, b'%d\\n' % os.getpid())
        os.write(writing, b'x')
        null = os.open('/dev/null', os.O_RDWR)
        for stream in (0, 1, 2): os.dup2(null, stream)
        signal.pause()
    os._exit(0)
os.wait()
os.read(reading, 1)
"""


@pytest.mark.parametrize("options", MODES)
@pytest.mark.parametrize("nobody", who())
def test_a_daemon_is_ended_with_the_run(options, nobody):
    ran = run(python(), "-c", DAEMON, options=options, nobody=nobody)
    assert ran.done.status == 0
    assert not os.path.exists(f"/proc/{int(ran.done.stdout)}")
    assert ran.report["ended_by"] == "subreaper"


UNTRACED = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(void) {
    int pipes[2];
    pipe(pipes);
    if (syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0) == 0) {
        setsid();
        printf("%d\n", getpid());
        fflush(stdout);
        close(1);
        write(pipes[1], "x", 1);
        for (;;) pause();
    }
    char byte;
    return read(pipes[0], &byte, 1) != 1;
}
"""


def test_a_process_that_dodged_tracing_is_ended_too():
    ran = run(c_program(UNTRACED))
    assert ran.done.status == 0
    assert not os.path.exists(f"/proc/{int(ran.done.stdout)}")


@pytest.mark.parametrize("options", MODES)
def test_the_wall_limit_ends_everything_with_124(options):
    # In C, so that it is up well within the limit on a busy machine.
    ran = run(c_program(UNTRACED.replace("return read", "for (;;) pause(); return read")), options=("--wall", "1s", *options))
    assert ran.done.status == 124
    assert ran.report["limit"] == "wall"
    assert not os.path.exists(f"/proc/{int(ran.done.stdout)}")


@pytest.mark.parametrize("options", MODES)
def test_a_stopped_target_is_ended_by_the_wall_limit(options):
    ran = run("sh", "-c", "kill -STOP $$", options=("--wall", "300ms", *options))
    assert ran.done.status == 124


@pytest.mark.parametrize("options", MODES)
def test_a_stopped_target_goes_on_when_continued(options):
    victim = """
import os, signal
me = os.getpid()
if os.fork() == 0:
    while open(f'/proc/{me}/stat').read().split()[2] not in 'tT': os.sched_yield()
    os.kill(me, signal.SIGCONT)
    os._exit(0)
os.kill(me, signal.SIGSTOP)
os.wait()
print('went on')
"""
    ran = run(python(), "-c", victim, options=options)
    assert ran.done.stdout == "went on\n"


@pytest.mark.parametrize("options", MODES)
def test_a_program_that_closes_every_descriptor(options):
    victim = "import os\nos.closerange(0, 1024)\ntry: os.mkdir('/tmp/never')\nexcept OSError: os._exit(8)"
    ran = run(python(), "-c", victim, rules="errno(EPERM) mkdir\n", options=options)
    assert ran.done.status == 8


def test_a_program_that_blocks_and_ignores_every_signal():
    victim = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nprint('ready', flush=True)\nwhile True: signal.sigwait([signal.SIGTERM])"
    ran = run(python(), "-c", victim, options=("--wall", "500ms"))
    assert ran.done.status == 124


BOMB = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"


def test_a_fork_bomb_under_limits():
    support.need_root()
    ran = run(python(), "-c", BOMB, options=("--processes", "20", "--wall", "1s"))
    assert ran.done.status == 124
    assert ran.report["ended_by"] == "cgroup"


def test_a_fork_bomb_without_a_cgroup():
    ran = run(python(), "-c", BOMB, options=("--processes", "20", "--wall", "1s"), nobody=True)
    assert ran.done.status == 124
    assert ran.report["ended_by"] == "subreaper"


@pytest.mark.parametrize("options", MODES)
@pytest.mark.parametrize("nobody", who())
def test_a_killed_supervisor_leaves_nobody(options, nobody):
    supervisor = support.start(
        [support.nobody_python() if nobody else sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW), *options, "--", python(), "-c", DAEMON + "signal.pause()"],
        nobody=nobody, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert supervisor.stdout is not None
    daemon = os.pidfd_open(int(supervisor.stdout.readline()))
    supervisor.kill()
    supervisor.wait()
    assert gone(daemon)
    os.close(daemon)
    supervisor.stdout.close()


def supervisor_of(command):
    """The process between the command, which guards it, and the target."""
    with open(f"/proc/{command.pid}/task/{command.pid}/children") as children:
        (supervisor,) = children.read().split()
    return int(supervisor)


@pytest.mark.parametrize("options", MODES)
@pytest.mark.parametrize("victim", ["daemon", "untraced"])
def test_the_supervisor_alone_killed_is_told_and_leaves_nobody(options, victim):
    target = (
        [python(), "-c", DAEMON + "signal.pause()"]
        if victim == "daemon"
        else [c_program(UNTRACED.replace("return read", "for (;;) pause(); return read"))]
    )
    command = support.start(
        [sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW), *options, "--", *target],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert command.stdout is not None
    left = os.pidfd_open(int(command.stdout.readline()))
    os.kill(supervisor_of(command), signal.SIGKILL)
    _, told = command.communicate(timeout=support.PATIENCE)
    assert command.returncode == 125
    assert b"supervisor was killed" in told
    assert gone(left, 0)
    os.close(left)


@pytest.mark.parametrize("options", MODES)
def test_signals_sent_to_the_command_reach_the_target(options):
    victim = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(33))\nprint('ready', flush=True)\nsignal.pause()"
    command = support.start(
        [sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW), *options, "--", python(), "-c", victim], stdout=subprocess.PIPE
    )
    assert command.stdout is not None
    assert command.stdout.readline() == b"ready\n"
    command.terminate()
    assert command.wait(support.PATIENCE) == 33
    command.stdout.close()


class Terminal:
    """What a pseudo-terminal shows, read up to a word; a word that does not come is a failure, not a hang."""

    def __init__(self, master):
        self.master, self.told = master, b""

    def until(self, word):
        while word not in self.told:
            assert select.select([self.master], [], [], 20)[0], f"{word!r} never came: {self.told!r}"
            try:
                self.told += os.read(self.master, 4096)
            except OSError as error:  # EIO: the other side is closed
                raise AssertionError(f"ended before {word!r}: {self.told!r}") from error
        self.told = self.told.partition(word)[2]


@pytest.mark.parametrize("options", MODES)
def test_control_c_in_a_terminal_reaches_the_target_once(options):
    victim = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\nprint('ready', flush=True)\nsignal.sigwait([signal.SIGINT])\nprint('again' if signal.sigtimedwait([signal.SIGINT], 0.1) else 'seen once', flush=True)"
    words = [sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW), *options, "--", python(), "-c", victim]
    pid, master = pty.fork()
    if pid == 0:
        try:
            os.environ["PYTHONPATH"] = str(support.ROOT / "src")
            os.execv(words[0], words)
        finally:
            os._exit(99)
    settings = termios.tcgetattr(master)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(master, termios.TCSANOW, settings)
    shown = Terminal(master)
    shown.until(b"ready")
    os.write(master, b"\x03")
    shown.until(b"seen once")
    status = os.waitpid(pid, 0)[1]
    os.close(master)
    assert os.waitstatus_to_exitcode(status) == 0


def little_shell(words):
    """Run a job in a group of its own in the foreground; when it stops, say so and continue it. Its exit code."""
    os.environ["PYTHONPATH"] = str(support.ROOT / "src")
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(words[0], words)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    _, status = os.waitpid(job, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpid())
    os.write(1, b"stopped\n" if os.WIFSTOPPED(status) else b"ended\n")
    os.tcsetpgrp(0, job)
    os.kill(-job, signal.SIGCONT)
    _, status = os.waitpid(job, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("options", MODES)
def test_control_z_stops_the_whole_job_and_fg_continues_it(options):
    victim = (
        "import signal\nprint('ready', flush=True)\nwhile True:\n line = input()\n print('got', line, flush=True)\n if line == 'end': break"
    )
    words = [sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW), *options, "--", python(), "-c", victim]
    pid, master = pty.fork()
    if pid == 0:
        try:
            os._exit(little_shell(words))
        finally:
            os._exit(99)
    shown = Terminal(master)
    shown.until(b"ready")
    os.write(master, b"\x1a")
    shown.until(b"stopped")
    os.write(master, b"end\n")
    shown.until(b"got end")
    status = os.waitpid(pid, 0)[1]
    os.close(master)
    assert os.waitstatus_to_exitcode(status) == 0


def test_output_beyond_its_limit_ends_the_run():
    ran = run("sh", "-c", "yes", options=("--output", "10K"))
    assert ran.report["limit"] == "output"
    assert len(ran.done.stdout) == 10240


@pytest.mark.parametrize("nobody", who())
def test_the_cpu_limit_counts_the_whole_tree(nobody):
    ran = run("sh", "-c", "(while :; do :; done) & while :; do :; done", options=("--cpu", "300ms"), nobody=nobody)
    assert ran.report["limit"] == "cpu"
    assert ran.done.status == 128 + 9
    assert 0.25 < ran.report["cpu"] < 1.5


@pytest.mark.parametrize("options", MODES)
def test_the_limit_of_files(options):
    ran = run(
        python(), "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)); open('/dev/null')", options=("--files", "6")
    )
    assert ran.done.stdout == "(6, 6)\n", str(ran.done)


@pytest.mark.parametrize("options", MODES)
def test_a_program_that_stops_only_itself_stops_the_job(options):
    # As full-screen programs do in raw mode: the signal is the target's own, and the supervisor is out of its reach.
    victim = "import os, signal\nprint('ready', flush=True)\nos.kill(0, signal.SIGTSTP)\nline = input()\nprint('got', line, flush=True)"
    words = [sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW), *options, "--", python(), "-c", victim]
    pid, master = pty.fork()
    if pid == 0:
        try:
            os._exit(little_shell(words))
        finally:
            os._exit(99)
    shown = Terminal(master)
    shown.until(b"ready")
    shown.until(b"stopped")
    os.write(master, b"end\n")
    shown.until(b"got end")
    status = os.waitpid(pid, 0)[1]
    os.close(master)
    assert os.waitstatus_to_exitcode(status) == 0
