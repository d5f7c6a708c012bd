"""A timer that continues the process that it belongs to."""

import pytest

from support import run_python

pytestmark = pytest.mark.live

HEAD = "import os, signal, time\nfrom seclude.kernel.alarm import Alarm\n"


def test_a_process_that_stops_itself_goes_on_at_its_time_and_again():
    done = run_python(
        HEAD
        + """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
alarm = Alarm(signal.SIGCONT)
alarm.set(time.monotonic() + 0.01, 0.2)
for _ in range(3):
    os.kill(os.getpid(), signal.SIGSTOP)
    print("on", flush=True)
    signal.sigwait({signal.SIGCONT})
alarm.close()
alarm.close()
"""
    )
    assert (done.status, done.stdout) == (0, "on\n" * 3)


def test_one_that_is_past_comes_at_once_and_one_that_is_set_to_never_does_not_come():
    done = run_python(
        HEAD
        + """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
alarm = Alarm(signal.SIGCONT)
alarm.set(time.monotonic() + 1000, 1.0)
alarm.set(0.0, 1000.0)
print(signal.sigwait({signal.SIGCONT}).name)
alarm.set(None, 1.0)
child = os.fork()  # has no alarm
if child == 0:
    alarm.close()
    os._exit(0)
os.waitpid(child, 0)
print(signal.sigpending())
"""
    )
    assert (done.status, done.stdout) == (0, "SIGCONT\nset()\n"), str(done)
