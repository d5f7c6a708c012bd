"""Being somebody else to the file system, and oneself again."""

import os

import pytest

from seclude.kernel.impersonation import Impersonation, caller
from support import need_root, run_python

STATUS = (
    b"Name:\tUmask:\\n0777\nUmask:\t0027\nState:\tS (sleeping)\nTgid:\t100\nNgid:\t0\nPid:\t101\nPPid:\t1\nTracerPid:\t0\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nFDSize:\t64\n"
    b"Groups:\t20 30 \nNStgid:\t100\t2\nNSpid:\t101\t3\nNSpgid:\t100\t1\nNSsid:\t1\t0\nVmPeak:\t 1 kB\nThreads:\t2\nCapInh:\t0000000000000000\nCapPrm:\t00000000000000ff\n"
    b"CapEff:\t000000000000000f\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n"
)


def test_a_status_says_who_somebody_is_to_the_file_system():
    who = caller(STATUS)
    assert who is not None
    assert (who.uid, who.gid, who.real_uid, who.real_gid) == (4, 8, 1, 5)
    assert (who.groups, who.umask, who.process) == ((20, 30), 0o27, 100)
    assert (who.tgids, who.pids) == ((100, 2), (101, 3))
    assert (who.capabilities, who.permitted) == (0xF, 0xFF)
    assert caller(STATUS) is who


@pytest.mark.parametrize(
    "line", [b"Umask:\t0027\n", b"VmPeak:\t 1 kB\n", b"CapEff:\t000000000000000f\n", b"NSpid:\t101\t3\n", b"Groups:\t20 30 \n"]
)
def test_a_status_that_lacks_something_is_nobody(line):
    assert caller(STATUS.replace(line, b"")) is None


def test_of_oneself():
    with open("/proc/thread-self/status", "rb") as file:
        who = caller(file.read())
    here = Impersonation()
    assert who is not None
    assert who.process == os.getpid()
    assert here.is_own(who.uid, who.gid, who.groups, who.capabilities)
    assert not here.is_own(who.uid + 1, who.gid, who.groups, who.capabilities)


def test_entered_and_left():
    need_root()
    done = run_python(
        """
        import os, signal
        from seclude.kernel import capabilities, prctl
        from seclude.kernel.impersonation import Impersonation

        def can():
            try:
                os.close(os.open("/etc/shadow", os.O_RDONLY))
                return True
            except PermissionError:
                return False

        prctl.set_parent_death_signal(signal.SIGUSR1)
        before = os.getgroups(), capabilities.sets()["effective"]
        here = Impersonation()
        here.enter(12345, 12345, (54321,), 0)
        print(can(), os.getgroups(), capabilities.sets()["effective"])
        os.close(os.open("/tmp", os.O_TMPFILE | os.O_RDWR))
        here.leave()
        print(can(), (os.getgroups(), capabilities.sets()["effective"]) == before, prctl.parent_death_signal() == signal.SIGUSR1)
        here.enter(0, 0, here.groups, 0)  # the same user without what makes it root
        os.chmod("/etc/hostname", os.stat("/etc/hostname").st_mode & 0o7777)
        try:
            os.chown("/etc/hostname", 1, 1)
        except PermissionError:
            print("not root")
        here.leave()
        """
    )
    assert done.stdout.splitlines() == ["False [54321] 0", "True True True", "not root"], str(done)


def test_an_unprivileged_thread_can_become_nobody_else():
    done = run_python(
        """
        import os
        from seclude.kernel.impersonation import Impersonation

        here = Impersonation()
        for who in ((0, here.gid, here.groups, 0), (here.uid, 0, here.groups, 0), (here.uid, here.gid, (12345,), 0)):
            try:
                here.enter(*who)
                print("entered", who)
            except PermissionError:
                assert here.uid == os.geteuid()
        print(Impersonation().is_own(here.uid, here.gid, here.groups, here.capabilities))
        """,
        nobody=True,
    )
    assert done.stdout == "True\n", str(done)
