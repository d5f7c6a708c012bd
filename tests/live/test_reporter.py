"""``seclude.reporter()``, live: traps of a filter of one's own are named, placed and answered, whoever makes the call and whatever else the filter denies."""

from __future__ import annotations

import re

import pytest

from run_support import public, who
from support import run_python

pytestmark = pytest.mark.live

HEAD = """
import os, sys, threading, seclude
policy = seclude.parse('''{policy}''')
seclude.reporter({options})
policy.install()
"""


def report(code, *, policy="default allow\ntrap(1) mkdir, mkdirat, chroot", options="", **more):
    return run_python(HEAD.format(policy=policy, options=options) + code, **more)


def lines(done):
    return done.stderr.splitlines()


@pytest.mark.parametrize("nobody", who())
def test_a_trapped_call_is_named_placed_and_answered(nobody):
    done = report(
        """
def asks():
    try:
        os.mkdir("/tmp/x")
    except OSError as error:
        print(error.errno)
asks()
asks()
""",
        nobody=nobody,
    )
    assert (done.status, done.stdout) == (0, "38\n38\n"), str(done)
    first, stack, *frames, last = lines(done)
    assert re.fullmatch(r'looks like you also need: mkdir\("/tmp/x", 0777\) at libc\.so\.6\+0x[0-9a-f]+ \(mkdir\+0x[0-9a-f]+\)', first), (
        str(done)
    )
    assert "most recent call first" in stack
    assert [frame.rpartition(" in ")[2] for frame in frames] == ["asks", "<module>"]
    assert last == "seclude: the filter trapped: mkdir (2x)"


def test_threads_show_their_own_stacks():
    done = report(
        """
def in_thread():
    try:
        os.chroot("/")
    except OSError as error:
        print(error.errno)
one = threading.Thread(target=in_thread)
one.start()
one.join()
""",
        options='answer="EPERM"',
    )
    assert (done.status, done.stdout) == (0, "1\n"), str(done)
    assert any(re.search(r"in in_thread$", line) for line in lines(done)), str(done)
    assert not any(re.search(r"in <module>$", line) for line in lines(done)), str(done)


def test_threads_that_were_there_before_are_watched_too():
    done = run_python(
        """
import os, threading, seclude
go, ready = threading.Event(), threading.Event()
def before():
    ready.set()
    go.wait()
    print(os.getppid())
one = threading.Thread(target=before)
one.start()
ready.wait()
seclude.reporter(traceback=False)
seclude.parse("default allow\\ntrap(1) getppid").install()
go.set()
one.join()
"""
    )
    assert (done.status, done.stdout) == (0, "-38\n"), str(done)
    assert lines(done)[0].startswith("looks like you also need: getppid() at libc.so.6+0x")


def test_children_and_other_programs_are_watched_and_have_no_stack():
    done = report(
        """
if os.fork() == 0:
    os.execv("/bin/mkdir", ["mkdir", "/tmp/never"])
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    )
    assert (done.status, done.stdout) == (0, "1\n"), str(done)
    assert lines(done)[0].startswith('looks like you also need: mkdir("/tmp/never", 0777) at ')
    assert "Function not implemented" in done.stderr
    assert "File " not in done.stderr


def test_a_filter_that_traps_write_shows_no_stack_and_ends_nothing():
    done = report(
        """
try:
    os.mkdir("/tmp/x")
except OSError:
    pass
try:
    os.chroot("/")
except OSError:
    pass
os._exit(7)
""",
        policy="default allow\ntrap(1) mkdir, chroot, write",
    )
    assert done.status == 7, str(done)
    said = "\n".join(lines(done))
    assert "need: mkdir(" in said
    assert "need: write(" in said
    assert "need: chroot(" in said
    assert said.count("no more Python stacks") == 1


def test_a_process_can_be_ended_once_the_call_is_shown():
    done = report('os.mkdir("/tmp/x")\nprint("went on")', options='answer="exit"')
    assert (done.signal, done.stdout) == (9, ""), str(done)
    assert lines(done)[0].startswith("looks like you also need: mkdir(")
    assert any("in <module>" in line for line in lines(done))


def test_blocked_and_ignored_signals_do_not_make_a_trap_fatal():
    done = report(
        """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSYS])
print(os.getppid(), os.getppid())
""",
        policy="default allow\ntrap(1) getppid",
    )
    assert (done.status, done.stdout) == (0, "-38 -38\n"), str(done)


def test_a_signal_that_is_no_trap_is_delivered():
    done = report("import signal\nsignal.signal(signal.SIGSYS, signal.SIG_DFL)\nos.kill(os.getpid(), signal.SIGSYS)")
    assert done.signal == 31, str(done)


def test_what_a_target_shows_is_escaped():
    done = report('try: os.mkdir("/tmp/\\x1b[31m")\nexcept OSError: pass')
    assert r'mkdir("/tmp/\x1b[31m", 0777)' in done.stderr


def test_a_second_reporter_is_the_first():
    done = run_python("import seclude\na = seclude.reporter(); b = seclude.reporter()\nprint(a is b, a.pid > 0)")
    assert done.stdout == "True True\n", str(done)


def test_who_is_traced_already_is_told_so():
    where = public() / "reporter.py"
    where.write_text("import seclude\ntry: seclude.reporter()\nexcept seclude.KernelError as error: print(error)")
    done = run_python(
        f"import seclude, sys; r = seclude.run([sys.executable, {str(where)!r}], policy=seclude.parse('default allow\\nerrno(EPERM) ptrace'), capture=True); print(r.stdout.decode())"
    )
    assert "traces it already" in done.stdout, str(done)


@pytest.mark.parametrize(("options", "said"), [('answer="EWHAT"', "unknown answer"), ("file=999", "Bad file descriptor")])
def test_wrong_arguments(options, said):
    done = run_python(f"import seclude\ntry: seclude.reporter({options})\nexcept seclude.UsageError as error: print(error)")
    assert said in done.stdout, str(done)


def test_a_child_has_its_parents_reporter():
    done = run_python(
        "import os, seclude\na = seclude.reporter()\nif os.fork() == 0:\n    print(seclude.reporter() is a)\n    os._exit(0) if not __import__('sys').stdout.flush() else 0\nos.wait()"
    )
    assert done.stdout == "True\n", str(done)


def test_whose_helper_is_killed_does_not_go_on():
    done = report(
        """
import signal
os.kill(seclude.reporter().pid, signal.SIGKILL)
while True:
    os.getppid()
""",
        policy="default allow\ntrap(1) getppid",
    )
    assert done.signal == 9, str(done)
