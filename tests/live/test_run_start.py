"""How a target starts: what it is given, what it is refused, and the exit codes that say so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

import support
from run_support import ALLOW, c_program, policy, public, python, run, who

pytestmark = [pytest.mark.live, pytest.mark.slow]

#: 32 and 33 are glibc's own. Whoever was started by its posix_spawn (make does that) ignores them, and so does all that follows.
LIBRARY_SIGNALS = 1 << 31 | 1 << 32


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("options", [(), ("--no-report",), ("--no-ptrace",), ("--no-report", "--no-ptrace")])
def test_the_exit_code_is_the_commands(options, nobody):
    for script, code in (("exit 7", 7), ("kill -TERM $$", 128 + 15)):
        done = support.seclude("run", "--policy", policy(ALLOW), *options, "--", "sh", "-c", script, nobody=nobody)
        assert done.status == code, str(done)


def test_a_variable_that_the_interpreter_sets_for_itself_stays_out_of_the_target():
    # In the C locale Python sets LC_CTYPE in its own environment (PEP 538).
    command = [sys.executable, "-m", "seclude", "run", "--", shutil.which("env") or "env"]
    done = subprocess.run(command, env={"PYTHONPATH": str(support.ROOT / "src")}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"PYTHONPATH={support.ROOT / 'src'}"]


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("/no/such/file", 127), ("/etc/passwd", 126), ("/etc", 126)])
def test_what_cannot_be_executed(command, code):
    ran = run(command)
    assert ran.done.status == code
    assert command in ran.report["error"]


def test_a_file_that_the_kernel_cannot_run_is_126():
    path = public() / "junk"
    path.write_bytes(b"\x00\x01junk")
    path.chmod(0o755)
    ran = run(str(path))
    assert ran.done.status == 126
    assert "Exec format error" in ran.report["error"]


def test_a_script_whose_interpreter_is_missing_is_127():
    path = public() / "script"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    assert run(str(path)).done.status == 127


def test_a_failed_exec_under_a_policy_that_denies_everything():
    # The child may not even exit: it faults, and what is reported is the exec's own errno.
    path = public() / "junk2"
    path.write_bytes(b"\x00\x01junk")
    path.chmod(0o755)
    ran = run(str(path), text="default errno(EPERM)\n")
    assert ran.done.status == 126
    assert "Exec format error" in ran.report["error"]


@pytest.mark.parametrize("action", ["kill", "kill_thread", "trap"])
def test_a_policy_that_kills_execve_is_refused_with_the_rule(action):
    where = policy(f"default allow\nerrno(EPERM) ptrace\n{action} execve, execveat\n")
    done = support.seclude("run", "--policy", where, "--", "true")
    assert done.status == 125
    assert f"{where}:3" in done.stderr
    assert "execve" in done.stderr


def test_a_policy_that_denies_execve_lets_the_first_one_pass_only():
    ran = run("sh", "-c", "/bin/true; echo $?; exec /bin/true", rules="errno(EACCES) execve\n")
    assert ran.done.stdout == "126\n"
    assert ran.done.status == 126
    assert ran.denied("execve")["count"] == 2
    assert '"/bin/true"' in ran.denied("execve")["text"]


def test_without_reporting_a_policy_that_denies_execve_is_refused():
    done = support.seclude("run", "--no-report", "--policy", policy(ALLOW + "errno(EACCES) execve\n"), "--", "true")
    assert done.status == 125
    assert "--no-report" in done.stderr


def test_without_reporting_notify_and_trace_are_refused():
    done = support.seclude("run", "--no-report", "--policy", policy(ALLOW + "notify mkdir\n"), "--", "true")
    assert done.status == 125
    assert "supervisor" in done.stderr


def test_the_environment_is_what_was_asked_for():
    options = ("--clear-env", "--env", "PATH", "--env", "A=1=2", "--env", "B=")
    ran = run("env", options=options, env={"C": "gone"})
    lines = set(ran.done.stdout.splitlines())
    assert {"A=1=2", "B="} <= lines
    assert not any(line.startswith("C=") for line in lines)
    assert {line.partition("=")[0] for line in lines} <= {"PATH", "A", "B"}


def test_the_directory():
    assert run("pwd", options=("--chdir", "/usr/bin")).done.stdout == "/usr/bin\n"
    assert run("./env", options=("--chdir", "/usr/bin", "--clear-env")).done.status == 0
    done = support.seclude("run", "--policy", policy(ALLOW), "--chdir", "/no/such", "--", "true")
    assert done.status == 125
    assert "/no/such" in done.stderr


STATE = """
import os, signal
print(sorted(int(name) for name in os.listdir('/proc/self/fd')))
for line in open('/proc/self/status'):
    if line.startswith(('SigBlk', 'SigIgn', 'NoNewPrivs', 'CapBnd', 'TracerPid')): print(line.split()[0], int(line.split()[1], 16))
"""


@pytest.mark.parametrize("options", [(), ("--no-report", "--no-ptrace")])
def test_descriptors_signals_and_privileges(options):
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        ran = run(python(), "-c", STATE, options=options, pass_fds=(writing,))
    finally:
        os.close(reading)
        os.close(writing)
    first, *rest = ran.done.stdout.splitlines()
    assert first == "[0, 1, 2, 3]", "the last one is the listing itself"
    state = dict(line.split() for line in rest)
    assert state["SigBlk:"] == "0"
    # python sets SIGPIPE and SIGXFSZ to be ignored itself
    assert int(state["SigIgn:"]) & ~(1 << 12 | 1 << 24 | LIBRARY_SIGNALS) == 0
    assert state["NoNewPrivs:"] == "1"
    # Who has no CAP_SETPCAP can take nothing out of the bounding set, and needs not: with no_new_privs it gives nothing.
    assert os.geteuid() != 0 or int(state["CapBnd:"]) >> 19 & 1 == 0, "CAP_SYS_PTRACE"


def test_sigpipe_is_not_ignored():
    assert run("sh", "-c", "yes | head -n 1").done.stdout == "y\n"
    ran = run("sh", "-c", "grep SigIgn /proc/self/status")
    assert int(ran.done.stdout.split()[1], 16) & ~LIBRARY_SIGNALS == 0


def test_a_static_program():
    assert run(c_program("int main(void) { return 9; }", "-static")).done.status == 9


def test_a_program_that_execs_itself():
    victim = "import os, sys\nn = int(sys.argv[1])\nif n: os.execv(sys.executable, [sys.executable, '-c', os.environ['ME'], str(n - 1)])\nprint('end')"
    assert run(python(), "-c", victim, "5", env={"ME": victim}).done.stdout == "end\n"


EXEC_FROM_THREAD = r"""
#include <pthread.h>
#include <unistd.h>
static void *go(void *unused) { execl("/bin/sh", "sh", "-c", "exit 6", (char *)0); return unused; }
int main(void) { pthread_t thread; pthread_create(&thread, 0, go, 0); for (;;) pause(); }
"""


def test_exec_by_a_thread_that_is_not_the_leader():
    assert run(c_program(EXEC_FROM_THREAD, "-pthread")).done.status == 6


def test_posix_spawn_and_vfork():
    victim = "import os, subprocess\npid = os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 3'], {})\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), subprocess.call(['sh', '-c', 'exit 4']))"
    assert run(python(), "-c", victim).done.stdout == "3 4\n"


def test_a_setuid_program_gains_nothing():
    support.need_root()
    path = public() / "setuid"
    shutil.copy("/usr/bin/id", path)
    path.chmod(0o4755)
    ran = run(str(path), "-u", nobody=True)
    assert ran.done.stdout == f"{support.NOBODY}\n"


def test_threads():
    victim = "import threading\ndone = []\nts = [threading.Thread(target=done.append, args=(i,)) for i in range(50)]\n[t.start() for t in ts]; [t.join() for t in ts]\nprint(len(done))"
    assert run(python(), "-c", victim).done.stdout == "50\n"


def test_seclude_in_seclude_says_what_is_missing():
    source = str(support.ROOT / "src")
    inner = [
        "env",
        f"PYTHONPATH={source}",
        sys.executable,
        "-m",
        "seclude",
        "run",
        "--policy",
        policy(ALLOW + "errno(EROFS) mkdir\n"),
    ]
    ran = run(*inner, "--", "mkdir", "/tmp/never", options=("--no-ptrace",))
    assert ran.done.status == 1
    assert "EBUSY" in ran.done.stderr
    assert "Read-only file system" in ran.done.stderr, "the inner policy holds all the same"


def test_an_empty_command_is_a_usage_error():
    assert support.seclude("run").status == 125
    assert support.seclude("run", "--policy", "container", "--", "").status == 127


def test_a_signal_mask_of_ours_is_inherited_as_it_was():
    victim = f"import os, signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])\nos.execv(sys.executable, [sys.executable, '-m', 'seclude', 'run', '--policy', {policy(ALLOW)!r}, '--', 'grep', 'SigBlk', '/proc/self/status'])"
    done = support.run_python(victim)
    assert int(done.stdout.split()[1], 16) == 1 << 11, str(done)


def test_under_another_tracer_kills_are_known_by_status_only():
    strace = support.need_program("strace")
    inner = [sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW + "errno(EROFS) mkdir\n"), "--", "mkdir", "/tmp/never"]
    done = support.run([strace, "-f", "-o", os.devnull, *inner])
    assert done.status == 1, str(done)
    assert "cannot be traced" in done.stderr
    assert "mkdir(" in done.stderr
