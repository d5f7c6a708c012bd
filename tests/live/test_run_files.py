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


@pytest.mark.soak
@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("mode", ["flip", "links", "swap"])
def test_racing_threads_never_read_what_is_not_granted(place, mode, nobody):
    attack = c_program(ATTACK, "-pthread")
    options = ("--write", f"{place}/work", "--read", f"{place}/plain", "--read", attack, "--report", "none")
    done = support.seclude(
        "run", "--policy", policy(ALLOW), *options, "--chdir", f"{place}/work", "--",
        attack, mode, f"{place}/plain/file", f"{place}/secret/file", OPENS, "0", nobody=nobody,
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


HERE = Path(__file__).parent
#: opens of each race; many where ``HYPOTHESIS_PROFILE=soak``
OPENS = "20000" if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else "1500"
PROBE, HOSTILE, OUTCOMES = ((HERE / name).read_text() for name in ("files_probe.c", "files_hostile.c", "files_hostile.txt"))


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


@pytest.mark.parametrize("nobody", who())
def test_no_way_but_racing_leads_to_what_is_not_granted(place, nobody):
    hostile = c_program(HOSTILE, "-w")
    for name in ("work/hidden/file", "work/deep/er/key.pem", "plain/one"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("SECRET\n")
    os.link(place / "plain/one", place / "plain/other")
    for name in ("secret", "work/hidden", "plain"):
        shutil.copy("/bin/true", place / name / "program")
    for directory, _, files in os.walk(place / "work"):
        os.chmod(directory, 0o777)
        for name in files:
            os.chmod(os.path.join(directory, name), 0o777)
    options = ["--write", f"{place}/work", "--read", f"{place}/plain", "--read", hostile]
    for hidden in ("work/hidden", "work/deep/**/*.pem", "plain/one"):
        options += ["--hide", f"{place}/{hidden}"]
    text = "default allow\narch native, compat\n"
    done = support.seclude("run", "--policy", policy(text), *options, "--report", "none", "--", hostile, str(place), nobody=nobody)
    expected = dict(line.split(": ", 1) for line in OUTCOMES.splitlines())
    if nobody or os.geteuid() != 0:
        expected |= {"unshare mounts": "EPERM", "not dumpable": "EPERM"}
    seen = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert "SECRET" not in done.stdout
    assert seen == expected
    assert done.status == 0


RAW = """
import ctypes, functools, os, sys
print = functools.partial(print, flush=True)
libc = ctypes.CDLL(None, use_errno=True)

def attempt(name, function):
    try:
        print(name, function())
    except OSError as error:
        print(name, os.strerror(error.errno))
"""


def python_run(place, code, *options, **more):
    """Python code in the run, with its interpreter's files granted."""
    interpreter = run_support.python()
    prefix = support.run([interpreter, "-c", "import sys; print(sys.base_prefix, sys.prefix)"]).stdout.split()
    granted = [word for one in dict.fromkeys(prefix) for word in ("--read", one)]
    script = place / "work" / "script.py"
    script.write_text(RAW + code)
    return run(interpreter, "-I", str(script), options=("--write", f"{place}/work", *granted, *options, "--chdir", f"{place}/work"), **more)


def test_files_are_opened_as_whoever_the_target_is_then(place):
    support.need_root()
    for name, owner in (("theirs", 12345), ("mine", 0)):
        (place / "work" / name).write_text(name)
        os.chmod(place / "work" / name, 0o600)
        os.chown(place / "work" / name, owner, owner)
    ran = python_run(
        place,
        """
attempt("root", lambda: open("theirs").read())
os.setgroups([54321])
os.setresgid(12345, 12345, 12345)
os.setresuid(12345, 12345, 0)
attempt("theirs", lambda: open("theirs").read())
attempt("mine", lambda: open("mine").read())
open("made", "w").close()
attempt("made", lambda: (os.stat("made").st_uid, os.stat("made").st_gid))
attempt("chown", lambda: os.chown("made", 0, 0))
attempt("group", lambda: os.chown("made", -1, 54321))
os.setresuid(0, 0, 0)
os.setresuid(0, 12345, 0)
attempt("access", lambda: os.access("mine", os.R_OK))
attempt("effective", lambda: os.access("mine", os.R_OK, effective_ids=True))
""",
    )
    assert ran.done.stdout.splitlines() == [
        "root theirs", "theirs theirs", "mine Permission denied", "made (12345, 12345)", "chown Operation not permitted", "group None", "access True",
        "effective False",
    ]  # fmt: skip


def test_a_target_without_capabilities_gets_none_from_its_supervisor(place):
    support.need_root()
    (place / "work" / "theirs").write_text("theirs")
    os.chmod(place / "work" / "theirs", 0o600)
    os.chown(place / "work" / "theirs", 12345, 12345)
    ran = python_run(
        place,
        """
if os.fork() == 0:
    if libc.unshare(0x10000000) == 0:  # CLONE_NEWUSER: all capabilities, over nothing of ours
        attempt("namespace", lambda: open("theirs").read())
    os._exit(0)
os.wait()
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capset(header, data) == 0
attempt("none", lambda: open("theirs").read())
""",
    )
    assert ran.done.stdout.splitlines() == ["namespace Permission denied", "none Permission denied"]


def test_paths_are_walked_in_the_targets_root(place):
    support.need_root()
    (place / "work" / "inner").mkdir()
    (place / "work" / "file").write_text("outer")
    (place / "work" / "inner" / "file").write_text("inner")
    (place / "work" / "inner" / "absolute").symlink_to("/file")
    (place / "work" / "inner" / "above").symlink_to("../../../file")
    ran = python_run(
        place,
        """
attempt("before", lambda: open("inner/absolute").read())
held = os.open(".", os.O_RDONLY)
os.chroot("inner")
attempt("outside", lambda: open("file").read())
attempt("absolute", lambda: open("/file").read())
attempt("link", lambda: open("/absolute").read())
attempt("above", lambda: open("/above").read())
attempt("dots", lambda: open("/../../file").read())
os.fchdir(held)
attempt("descriptor", lambda: open("file").read())
attempt("created", lambda: open("/new", "w").close() or os.listdir("/"))
attempt("renamed", lambda: os.rename("/new", "/newer") or os.path.exists("/newer"))
""",
    )
    assert ran.done.stdout.splitlines() == [
        "before No such file or directory", "outside outer", "absolute inner", "link inner", "above inner", "dots inner", "descriptor outer",
        "created ['absolute', 'above', 'new', 'file']" if "'new', 'file'" in ran.done.stdout else ran.done.stdout.splitlines()[7], "renamed True",
    ]  # fmt: skip
    assert (place / "work" / "inner" / "newer").exists()


def test_its_own_process_in_a_pid_namespace(place):
    support.need_root()
    ran = python_run(
        place,
        """
assert libc.unshare(0x20000000) == 0  # CLONE_NEWPID
if os.fork() == 0:
    attempt("name", lambda: open("/proc/self/comm").read().strip() == open("/proc/thread-self/comm").read().strip())
    attempt("status", lambda: [line.split() for line in open("/proc/self/status") if line.startswith("NSpid")][0][2])
    read, write = os.pipe()
    os.write(write, b"here")
    attempt("descriptor", lambda: open(f"/dev/fd/{read}", "rb", buffering=0).read(4))
    os._exit(0)
os.wait()
""",
    )
    assert ran.done.stdout.splitlines() == ["name True", "status 1", "descriptor b'here'"]


def test_a_fifo_that_nobody_opens_holds_nobody_else(place):
    code = """
import threading
count = 40
for number in range(count):
    os.mkfifo(f"fifo{number}")
got = []
threads = [threading.Thread(target=lambda n=n: got.append(open(f"fifo{n}").read())) for n in range(count)]
for thread in threads:
    thread.start()
for number in reversed(range(count)):
    with open(f"fifo{number}", "w") as end:
        end.write("x")
for thread in threads:
    thread.join()
print(len(got), set(got))
os.mkfifo("never")
threading.Thread(target=lambda: open("never"), daemon=True).start()
os.stat("never")
os._exit(7)
"""
    ran = python_run(place, code)
    assert ran.done.stdout == "40 {'x'}\n", str(ran.done)
    assert ran.done.status == 7


def test_the_supervisor_keeps_no_descriptors(place):
    probe = c_program(PROBE, "-w")
    script = "n=0; while [ $n != 12 ]; do n=$((n+1)); mkdir $n; cd $n; $0 >out || exit 1; cd ..; done; cat $n/out"
    # 200 are enough for 64 threads that are remembered, and not for a leak in many of 300 calls
    done = support.run(
        ["/bin/sh", "-c", 'ulimit -n 200; exec "$@"', "sh", support.nobody_python() if os.geteuid() else __import__("sys").executable, "-m", "seclude", "run", "--policy",
         policy(ALLOW), "--write", f"{place}/work", "--read", probe, "--report", "none", "--chdir", f"{place}/work", "--", "/bin/sh", "-c", script, probe],
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="seclude-probe-", dir="/tmp") as work:
        assert done.stdout == support.run([probe], cwd=work).stdout
    assert done.status == 0, str(done)


@pytest.mark.parametrize("nobody", who())
def test_without_a_supervisor_landlock_holds_what_it_can_and_the_rest_is_refused(place, nobody):
    script = f"cat {place}/plain/file {place}/secret/file; chmod 600 {place}/work; echo x > {place}/plain/file; echo x > {place}/work/made; cat {place}/work/made"
    done = support.seclude(
        "run", "--no-report", "--policy", policy(ALLOW), "--read", f"{place}/plain", "--write", f"{place}/work", "--", "/bin/sh", "-c", script, nobody=nobody
    )  # fmt: skip
    assert done.stdout == "plain\nx\n", str(done)
    assert f"cat: {place}/secret/file: Permission denied" in done.stderr
    assert "chmod: changing permissions" in done.stderr
    assert "Operation not permitted" in done.stderr
    assert (place / "plain" / "file").read_text() == "plain\n"


@pytest.mark.parametrize("option", [("--hide", "/tmp/x"), ("--read", "/tmp/*"), ("--write", "/tmp/**/x")])
def test_without_a_supervisor_what_only_that_can_do_is_refused(option):
    done = support.seclude("run", "--no-report", *option, "--", "true")
    assert done.status == 125
    assert "--no-report does without" in done.stderr


WHEREABOUTS = """
import errno, os, sys
place = sys.argv[1]
def told(what, *words):
    try: found = what(*words)
    except OSError as error: found = errno.errorcode[error.errno]
    print(what.__name__, *(word.removeprefix(place) for word in words if isinstance(word, str)), "->", found.removeprefix(place) if isinstance(found, str) else found)
told(os.getcwd)
for path in ("/plain", "/", "/link", "/aside", "/aside/hidden", "/aside/hidden/file", "/aside/nothing", "/closed/in"):
    os.chdir(place + "/plain")
    told(os.chdir, place + path)
    told(os.getcwd)
    told(os.readlink, "/proc/self/cwd")
    told(os.listdir, ".")
    told(os.stat, "file")
    told(os.open, "file", os.O_RDONLY)
held = os.open(place + "/plain", os.O_RDONLY)
os.chdir(place + "/aside")
told(os.fchdir, held)
told(os.getcwd)
"""


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("options", ["--read PLACE/plain --hide PLACE/aside/hidden", "--hide PLACE/aside"])
def test_to_change_the_directory_tells_what_is_there_and_may_be_entered_and_nothing_else(nobody, options):
    """Not where a link led that it may not read, not what is in there, and not under which name a hidden directory is."""
    place = Path(tempfile.mkdtemp(prefix="seclude-places-", dir="/tmp"))
    place.chmod(0o755)
    try:
        for name in ("plain", "aside", "aside/hidden", "closed", "closed/in"):
            (place / name).mkdir()
        for name in ("plain/file", "aside/file", "aside/hidden/file"):
            (place / name).write_text("")
        (place / "link").symlink_to("aside/hidden")
        (place / "closed").chmod(0)
        ran = run_support.run(
            run_support.python(), "-I", "-c", WHEREABOUTS, str(place), options=(*options.replace("PLACE", str(place)).split(), "--chdir", f"{place}/plain"), nobody=nobody
        )  # fmt: skip
    finally:
        (place / "closed").chmod(0o700)
        shutil.rmtree(place)
    lines = ran.done.stdout.splitlines()
    assert lines[0] == "getcwd -> /plain", str(ran.done)
    asked = {lines[at].split()[1]: [line.rpartition(" -> ")[2] for line in lines[at : at + 6]] for at in range(1, 49, 6)}
    none = "ENOENT" if "--read" not in options else "EACCES"
    there = ["None", none, none, none, none, none]
    assert asked["/plain"][:4] == ["None", "/plain", "/plain", "['file']"]
    assert asked["/"][:3] == ["None", "", ""]
    assert asked["/aside"] == there
    for path in ("/link", "/aside/hidden"):
        assert asked[path] == ["None", "ENOENT", "ENOENT", "ENOENT", "ENOENT", "ENOENT"]
    assert asked["/aside/hidden/file"][0] == "ENOTDIR"
    assert asked["/aside/nothing"][0] == "ENOENT"
    assert asked["/closed/in"][0] == ("EACCES" if nobody or os.geteuid() else "None")
    assert lines[-2:] == ["fchdir -> None", "getcwd -> /plain"]


@pytest.mark.parametrize("root", ["/", "/plain"])
def test_the_current_directory_is_named_as_the_kernel_does(place, root):
    """Too long for its buffer, removed, in a root of its own, and outside of that."""
    support.need_root()
    program = c_program(
        r"""
        #define _GNU_SOURCE
        #include <errno.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/stat.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        static void tell(size_t size) {
            char text[4096] = "";
            long got = syscall(SYS_getcwd, text, size);
            printf("%ld %s %s\n", got, got < 0 ? strerrorname_np(errno) : "", text);
        }
        int main(int n, char **a) {
            (void)n;
            chdir(a[1]); mkdir("inside", 0700); mkdir("inside/gone", 0700);
            if (strcmp(a[2], "/")) { char where[512]; snprintf(where, 512, "%s%s", a[1], a[2]); mkdir(where, 0700); chroot(where); }
            tell(4096); tell(3); tell(0); printf("%ld\n", syscall(SYS_getcwd, 8, 4096));
            chdir("plain"); tell(4096); chdir(".."); chdir("inside/gone"); tell(strlen(a[1]) + 13); tell(strlen(a[1]) + 12);
            rmdir("../gone"); tell(4096); chdir("/"); tell(4096); chdir("plain"); tell(1);
        }""",
        "-w",
    )
    work = place / "work"
    alone = support.run([program, str(work), root])
    under = support.seclude("run", "--policy", policy(ALLOW), "--report", "none", "--write", "/", "--", program, str(work), root)
    assert under.stdout == alone.stdout, str(under)
    assert ("(unreachable)" in alone.stdout) == (root != "/")


FIFO_PAIRS = """
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char text[8];
    mkfifo("fifo", 0600);
    for (int n = atoi(argv[1]); n; n--) {
        if (fork() == 0) { int out = open("fifo", O_WRONLY); _exit(write(out, "through", 7) != 7); }
        for (volatile int spin = n % 64 * 20000; spin; spin--);
        int status, in = open("fifo", O_RDONLY);
        if (in < 0 || read(in, text, 8) != 7 || close(in) || wait(&status) < 0 || status) return 1;
    }
    return 7;
}
"""


@pytest.mark.parametrize("nobody", who())
def test_who_opens_a_fifo_for_reading_is_there_for_its_writer_from_then_on(place, nobody):
    pairs = c_program(FIFO_PAIRS)
    done = support.seclude(
        "run", "--policy", policy(ALLOW), "--write", f"{place}/work", "--read", pairs, "--chdir", f"{place}/work", "--", pairs, "400", nobody=nobody
    )  # fmt: skip
    assert done.status == 7, str(done)


INTERRUPTED = """
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
static volatile int count;
static const char *mode;
static void other(void) {
    if (fork() == 0) { setitimer(ITIMER_REAL, &(struct itimerval) {}, 0); _exit(open("fifo", strchr(mode, 'w') ? O_RDONLY : O_WRONLY) < 0); }
}
static void handler(int number) { if (++count == 3 && strstr(mode, "again")) other(); }
int main(int argc, char **argv) {
    struct itimerval often = {{0, 10000}, {0, 10000}};
    struct sigaction action = {.sa_handler = handler, .sa_flags = strstr(argv[1], "again") ? SA_RESTART : 0};
    mode = argv[1];
    mkfifo("fifo", 0600);
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &often, 0);
    int got = open("fifo", strchr(mode, 'w') ? O_WRONLY : O_RDONLY);
    printf("%d %s %d\\n", got, got < 0 ? strerror(errno) : "", strstr(mode, "again") ? count >= 3 : count >= 1);
    return 0;
}
"""


@pytest.mark.parametrize("mode", ["r once", "w once", "r again", "w again"])
def test_a_signal_ends_an_open_that_waits_as_it_would_in_the_kernel(place, mode):
    program = c_program(INTERRUPTED)
    run_options = ["--policy", policy(ALLOW), "--write", f"{place}/work", "--read", program, "--chdir", f"{place}/work"]
    plain = support.run([program, mode], cwd=f"{place}/work")
    done = support.seclude("run", *run_options, "--", program, mode)
    assert done.stdout == plain.stdout == ("3  1\n" if "again" in mode else "-1 Interrupted system call 1\n"), str(done)


LOCK = """
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int late = 0, kept = open("lock", O_RDWR | O_CREAT, 0600);
    for (int n = 1000; n; n--) {
        int other = open("lock", O_RDONLY);
        if (kept < 0 || flock(other, LOCK_EX) || close(other)) return 1;
        late += flock(kept, LOCK_EX | LOCK_NB) != 0;
        flock(kept, LOCK_UN);
    }
    return late ? 2 : 7;
}
"""


@pytest.mark.parametrize("nobody", who())
def test_a_descriptor_is_the_targets_alone_when_the_open_returns(place, nobody):
    locks = c_program(LOCK)
    done = support.seclude(
        "run", "--policy", policy(ALLOW), "--write", f"{place}/work", "--read", locks, "--chdir", f"{place}/work", "--", locks, nobody=nobody
    )  # fmt: skip
    assert done.status == 7, str(done)


def test_a_lease_holds_nobody_but_who_opens(place):
    code = """
import fcntl, threading
open("leased", "w").close()
held = open("leased")
fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_RDLCK)
import signal
signal.signal(signal.SIGIO, signal.SIG_IGN)
done = []
def write():
    open("leased", "w").close()
    done.append(True)
thread = threading.Thread(target=write)
thread.start()
while fcntl.fcntl(held, fcntl.F_GETLEASE) == fcntl.F_RDLCK:  # until the open has asked for it
    os.stat("leased")
print("served", bool(done))
try:
    os.open("leased", os.O_WRONLY | os.O_NONBLOCK)
except BlockingIOError as error:
    print("asked", error.errno == 11)
fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
thread.join()
print("opened", done)
"""
    ran = python_run(place, code, nobody=True) if os.geteuid() == 0 else python_run(place, code)
    assert ran.done.stdout.splitlines() == ["served False", "asked True", "opened [True]"], str(ran.done)


def test_what_a_target_names_is_shown_harmless(place):
    ran = python_run(
        place,
        r"""
os.mkdir("in")
name = "/tmp/\x1b]0;title\x07\n" + str(os.getpid())
try:
    os.symlink("/etc/\x1b[31mred", "in/link")
    open(name)
except OSError:
    pass
try:
    os.mkdir("/tmp/\x1b[2Jx")
except OSError:
    pass
""",
    )
    denial = ran.denied("mkdir")
    assert "\x1b" not in denial["reason"] + denial["suggestion"] + denial["text"]
    assert denial["suggestion"] == ""
    assert "outside of what --read and --write grant" in denial["reason"]


def test_only_hiding_closes_nothing_else(place):
    script = f"cat {place}/plain/file {place}/secret/file; cat /etc/hostname >/dev/null && echo read; cd {place}/secret && cat file"
    ran = sh(script, "--hide", f"{place}/secret")
    assert ran.done.stdout == "plain\nread\n"
    assert ran.denials[0]["reason"] == f"{place}/secret/file is hidden by --hide {place}/secret"


def test_a_glob_grants_what_it_matches(place):
    for name in ("a.txt", "b.log", ".c.txt"):
        (place / "plain" / name).write_text(name + "\n")
    ran = sh(f"cd {place}/plain; cat a.txt b.log .c.txt sub/x", "--read", f"{place}/plain/*.txt", "--write", f"{place}/work/**/out")
    assert ran.done.stdout == "a.txt\n.c.txt\n"
    ran = sh(
        f"cd {place}/work; mkdir d; mkdir d/out && echo x > d/out/y && cat d/out/y; echo x > out; cat out",
        "--write",
        f"{place}/work/**/out",
    )
    assert ran.done.stdout == "x\n"
    assert [denial["call"] for denial in ran.denials if denial["call"].startswith("mkdir")] == ["mkdir"]


@pytest.mark.parametrize("nobody", who())
def test_a_file_that_is_granted_before_it_is_there_can_be_made(place, nobody):
    script = "cd work; echo one > new; cat new; rm new; mkdir new; echo two > new/list; cat new/list; echo x > other; cat ../secret/file"
    ran = sh(f"cd {place}; {script}", "--write", f"{place}/work/new", nobody=nobody)
    assert ran.done.stdout == "one\ntwo\n", str(ran.done)
    suggested = {denial["suggestion"] for denial in ran.denials}
    assert {f"--read {place}/secret/file", f"--write {place}/work/other"} <= suggested, str(ran.denials)
    assert not (place / "work" / "other").exists()


def test_what_is_missing_of_the_runtime_set_opens_nothing_above_it(place):
    ran = sh(f"cat {place}/secret/file", "--write", f"{place}/work/new/and/newer")
    assert ran.done.stdout == ""
    done = support.seclude("run", "--no-report", "--write", f"{place}/work", "--", "cat", f"{place}/secret/file")
    assert done.stdout == "", str(done)


def test_without_a_supervisor_what_is_not_there_cannot_be_granted(place):
    done = support.seclude("run", "--no-report", "--write", "new", "--", "true", cwd=str(place))
    assert done.status == 125
    assert "new: there is no such file or directory, and what is to be made needs a supervisor" in done.stderr


def test_from_python(place):
    done = support.run_python(
        """
        import sys
        import seclude
        place = sys.argv[1]
        result = seclude.run(["cat", f"{place}/plain/file", f"{place}/secret/file"], read=[f"{place}/plain", f"{place}/secret"], hide=[f"{place}/secret/*"], capture=True)
        print(result.stdout, [denial.reason for denial in result.denials])
        try:
            seclude.run(["true"], read=[f"{place}/none"])
        except seclude.UsageError as error:
            print(error)
        """,
        str(place),
    )
    first, second, *_ = done.stdout.splitlines()
    assert first == f"b'plain\\n' ['{place}/secret/file is hidden by --hide {place}/secret/*']", str(done)
    assert second == f"--read {place}/none: there is no such file or directory"


def test_options_that_mean_nothing_are_refused(place):
    for options, said in (
        (("--read", f"{place}/none"), "there is no such file or directory"),
        (("--read", ""), "names no file"),
        (("--no-runtime",), "--no-runtime without --read or --write closes nothing"),
    ):
        done = support.seclude("run", *options, "--", "true")
        assert done.status == 125
        assert said in done.stderr


def test_without_the_runtime_set_only_what_is_named_can_be_used(place):
    static = c_program("int main(void) { return 5; }", "-static")
    done = support.seclude("run", "--no-runtime", "--read", static, "--report", "none", "--", static)
    assert done.status == 5
    done = support.seclude("run", "--no-runtime", "--read", f"{place}/plain", "--", "/bin/true")
    assert done.status == 126, str(done)


def test_local_sockets_are_closed_with_the_files(place):
    code = """
import socket
attempt("socket", lambda: socket.socket(socket.AF_UNIX))
attempt("datagrams", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
attempt("pair", lambda: len(socket.socketpair()))
attempt("internet", lambda: socket.socket(socket.AF_INET).family.name)
"""
    ran = python_run(place, code)
    assert ran.done.stdout.splitlines() == [
        "socket Operation not permitted", "datagrams Operation not permitted", "pair 2", "internet AF_INET",
    ]  # fmt: skip
    assert ran.denied("socket")["suggestion"] == "--allow 'socket(domain == AF_UNIX)'"
    ran = python_run(place, code, "--allow", "socket(domain == AF_UNIX)")
    assert ran.done.stdout.startswith("socket <socket.socket ")


@pytest.mark.parametrize("nobody", who())
def test_a_broker_whose_rules_have_gone_wrong_is_held_by_landlock(place, nobody):
    done = support.run_python(
        """
        import sys
        from seclude.supervise.files_rules import WRITE, Rules

        Rules.level = lambda self, path: WRITE
        from seclude.cli.main import main

        sys.exit(main(sys.argv[1:]))
        """,
        "run", "--policy", policy(ALLOW), "--read", f"{place}/plain", "--report", "none", "--", "cat", f"{place}/plain/file", f"{place}/secret/file",
        nobody=nobody,
    )  # fmt: skip
    assert done.stdout == "plain\n", str(done)
    assert "secret/file: Permission denied" in done.stderr
