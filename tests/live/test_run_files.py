"""``seclude run --read --write --hide`` on the running kernel: what is granted works, what is not is denied and explained, and races win nothing."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

import run_support
import support
from run_support import ALLOW, c_program, policy, who

pytestmark = pytest.mark.live

ATTACK = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *good, *bad;
static char path[4096];
static volatile int over;
static volatile unsigned long turns;

static void *flip(void *unused) {
    while (!over) { memcpy(path, bad, strlen(bad) + 1); memcpy(path, good, strlen(good) + 1); turns++; }
    return 0;
}
static void *links(void *unused) {
    while (!over) {
        unlink("next"); if (symlink(bad, "next") == 0) rename("next", "link");
        unlink("next"); if (symlink(good, "next") == 0) rename("next", "link");
        turns++;
    }
    return 0;
}
static void *swap(void *unused) {
    while (!over) { syscall(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "two", 2); turns++; }
    return 0;
}

/* attack MODE GOOD BAD OPENS UNTIL: opens that many times, or until it has read UNTIL secrets */
int main(int argc, char **argv) {
    const char *mode = argv[1];
    good = argv[2], bad = argv[3];
    long opens = atol(argv[4]), until = atol(argv[5]), leaks = 0, opened = 0, i;
    pthread_t thread;
    strcpy(path, good);
    if (!strcmp(mode, "flip")) pthread_create(&thread, 0, flip, 0);
    else if (!strcmp(mode, "links")) { symlink(good, "link"); strcpy(path, "link"); pthread_create(&thread, 0, links, 0); }
    else {
        char whole[4096], *slash;
        mkdir("one", 0700);
        int fd = open("one/file", O_CREAT | O_WRONLY, 0600);
        write(fd, "plain", 5); close(fd);
        strcpy(whole, bad); slash = strrchr(whole, '/'); *slash = 0;
        symlink(whole, "two"); strcpy(path, "one/file"); pthread_create(&thread, 0, swap, 0);
    }
    while (turns == 0) usleep(100);
    for (i = 0; i < opens && (until == 0 || leaks < until); i++) {
        char text[64] = "";
        int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
        if (fd < 0) continue;
        opened++;
        if (read(fd, text, sizeof text - 1) > 0 && strstr(text, "SECRET")) leaks++;
        close(fd);
    }
    over = 1;
    pthread_join(thread, 0);
    printf("opened %ld, leaked %ld, turns %lu\n", opened, leaks, turns);
    return leaks ? 3 : 0;
}
"""
#: looks at the path, and then lets the kernel look again: what a broker must not do
CONTROL = """
import os
from seclude.kernel import memory
from seclude.supervise import Allow, Deny, handler

@handler("openat")
def trusting(call):
    path = os.fsdecode(memory.read_string(call.tid, call.raw[1]) or b"")
    seen = os.path.realpath(os.path.join(f"/proc/{call.tid}/cwd", path))
    return Deny("EACCES") if "secret" in seen else Allow()
"""


@pytest.fixture
def place():
    """A directory for everybody: ``work`` for the target, ``secret/file`` that is not granted, ``plain/file`` that is."""
    top = Path(tempfile.mkdtemp(prefix="seclude-files-", dir="/tmp"))
    top.chmod(0o755)
    for name, text in (("secret", "SECRET"), ("plain", "plain")):
        (top / name).mkdir()
        (top / name / "file").write_text(text + "\n")
        (top / name / "file").chmod(0o644)
    (top / "work").mkdir()
    (top / "work").chmod(0o777)
    yield top
    shutil.rmtree(top)


def run(*command, options=(), **more):
    return run_support.run(*command, options=options, **more)


def sh(script, *options, nobody=False, **more):
    return run("/bin/sh", "-c", script, options=options, nobody=nobody, **more)


@pytest.mark.parametrize("nobody", who())
def test_what_is_granted_is_read_and_the_rest_is_denied_and_explained(place, nobody):
    ran = run("cat", f"{place}/plain/file", "/etc/passwd", options=("--read", f"{place}/plain"), nobody=nobody)
    assert ran.done.stdout == "plain\n"
    denial = ran.denied("openat")
    assert denial["result"] == "EACCES"
    assert denial["reason"] == "/etc/passwd is outside of what --read and --write grant"
    assert denial["suggestion"] == "--read /etc/passwd"
    assert denial["rule"] == ""


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("mode", ["flip", "links", "swap"])
def test_racing_threads_never_read_what_is_not_granted(place, mode, nobody):
    attack = c_program(ATTACK, "-pthread")
    options = ("--write", f"{place}/work", "--read", f"{place}/plain", "--read", attack, "--report", "none")
    done = support.seclude(
        "run", "--policy", policy(ALLOW), *options, "--chdir", f"{place}/work", "--",
        attack, mode, f"{place}/plain/file", f"{place}/secret/file", "1500", "0", nobody=nobody,
    )  # fmt: skip
    found = re.match(r"opened (\d+), leaked (\d+), turns (\d+)", done.stdout)
    assert found, str(done)
    opened, leaked, turns = map(int, found.groups())
    assert (leaked, done.status) == (0, 0), str(done)
    assert opened, "nothing was ever opened: the race was not run"
    assert turns


def test_the_same_races_win_against_a_supervisor_that_continues(place):
    attack = c_program(ATTACK, "-pthread")
    module = place / "control.py"
    module.write_text(CONTROL)
    done = support.seclude(
        "run", "--policy", policy("default allow\narch native, compat\nerrno(EPERM) ptrace\nnotify openat\n"), "--handler", f"{module}:trusting",
        "--report", "none", "--", attack, "flip", f"{place}/plain/file", f"{place}/secret/file", "200000", "1",
    )  # fmt: skip
    assert done.status == 3, str(done)
    assert "leaked 1" in done.stdout


PROBE = (Path(__file__).parent / "files_probe.c").read_text()


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("bits", [(), ("-m32",)], ids=["native", "32 bits"])
def test_what_programs_do_with_files_is_as_without_a_broker(bits, nobody):
    probe = c_program(PROBE, "-w", *bits)
    seen = []
    for brokered in (False, True):
        with tempfile.TemporaryDirectory(prefix="seclude-probe-", dir="/tmp") as work:
            os.chmod(work, 0o777)
            if brokered:
                done = support.seclude(
                    "run", "--policy", policy(ALLOW), "--write", work, "--read", probe, "--report", "none", "--chdir", work, "--", probe, nobody=nobody
                )  # fmt: skip
            else:
                done = support.run([probe], nobody=nobody, cwd=work)
            assert done.status == 0, str(done)
            seen.append(done.stdout.splitlines())
    assert len(seen[0]) > 300
    assert seen[1] == seen[0]
