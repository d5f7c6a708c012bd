"""Real programs under ``seclude run``, each with the preset that it runs under written beside it: the tables are the documentation.

A program that keeps to its preset prints and exits as it does without Seclude, and **nothing** is reported. Each row runs
as the caller (root, usually) and as uid 65534, in a directory of its own; afterwards no process is left there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import support
from run_support import c_program, public, who

pytestmark = [pytest.mark.live, pytest.mark.slow]

TIMES = "\N{MULTIPLICATION SIGN}"
INTEL = pytest.mark.skipif(os.uname().machine != "x86_64", reason="32-bit x86")


class Row(NamedTuple):
    """``command`` is for sh, with ``{python}`` and the names in `VICTIMS` filled in. ``needs``: programs; ``maybe``: run only where present."""

    preset: str
    command: str
    output: str
    code: int = 0
    options: str = ""
    before: str = ""  # run by the same user without Seclude first
    needs: str = ""
    maybe: str = ""


HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 3; }\n'

THREADS = r"""
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
static atomic_int sum;
static void *add(void *number) { sum += *(int *)number; return 0; }
int main(void) {
    pthread_t threads[8];
    int numbers[8];
    for (int i = 0; i < 8; i++) { numbers[i] = i; if (pthread_create(&threads[i], 0, add, &numbers[i])) return 1; }
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    printf("%d\n", sum);
    return 0;
}
"""

PRIMES = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
int main(void) {
    enum { N = 2000000 };
    char *composite = calloc(N, 1);
    int count = 0;
    for (int i = 2; i < N; i++) {
        if (composite[i]) continue;
        count++;
        for (long j = (long)i * i; j < N; j += i) composite[j] = 1;
    }
    printf("%d %d\n", count, time(0) > 0);
    return 0;
}
"""

BOMB = "#include <unistd.h>\nint main(void) { for (;;) fork(); }\n"

#: two forks and a session of its own; says its number once it is settled, then waits for nothing
DAEMON = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void) {
    int pipes[2];
    char byte;
    if (pipe(pipes)) return 1;
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            signal(SIGHUP, SIG_IGN);
            close(0); close(1); close(2);
            if (write(pipes[1], "x", 1) != 1) _exit(1);
            for (;;) pause();
        }
        _exit(0);
    }
    if (read(pipes[0], &byte, 1) != 1) return 1;
    puts("settled");
    return 0;
}
"""

STOPPED = r"""
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int status;
    pid_t child = fork();
    if (child == 0) { raise(SIGSTOP); _exit(9); }
    waitpid(child, &status, WUNTRACED);
    printf("%s\n", WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP ? "stopped" : "?");
    if (argc > 1) {
        kill(child, SIGCONT);
        waitpid(child, &status, 0);
        printf("continued, %d\n", WEXITSTATUS(status));
    }
    return 0;
}
"""

CLOSES = r"""
#include <stdlib.h>
#include <unistd.h>
int main(void) {
    long last = sysconf(_SC_OPEN_MAX);
    for (int i = 0; i < (last < 65536 ? last : 65536); i++) close(i);
    int pipes[2];
    return pipe(pipes) == 0 && pipes[0] == 0 && pipes[1] == 1 ? 6 : 1;
}
"""

BLOCKS = r"""
#include <signal.h>
#include <stdio.h>
int main(void) {
    sigset_t all, waiting;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, 0);
    raise(SIGTERM);
    raise(SIGINT);
    sigpending(&waiting);
    printf("%d %d\n", sigismember(&waiting, SIGTERM), sigismember(&waiting, SIGINT));
    return 0;
}
"""

AGAIN = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int left = argc > 1 ? atoi(argv[1]) : 20;
    char text[12];
    if (left == 0) { printf("%d\n", getpid() == atoi(getenv("FIRST"))); return 0; }
    snprintf(text, sizeof text, "%d", getpid());
    setenv("FIRST", text, 0);
    snprintf(text, sizeof text, "%d", left - 1);
    execl("/proc/self/exe", argv[0], text, (char *)0);
    return 1;
}
"""

WHO = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("%d %d\\n", getuid(), geteuid()); return 0; }\n'

FILTERS = r"""
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
int main(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 1;
    errno = 0;
    int answer = getpriority(PRIO_PROCESS, 0);
    printf("%d %d\n", answer, errno == EXDEV);
    return 0;
}
"""

#: name → source and compiler options
VICTIMS: dict[str, tuple[str, ...]] = {
    "static": (HELLO, "-static"),
    "narrow": (HELLO, "-m32"),
    "narrow_static": (HELLO, "-m32", "-static"),
    "threads": (THREADS, "-pthread"),
    "threads_static": (THREADS, "-pthread", "-static"),
    "threads_narrow": (THREADS, "-pthread", "-m32"),
    "primes": (PRIMES, "-static"),
    "bomb": (BOMB,),
    "daemon": (DAEMON,),
    "stopped": (STOPPED,),
    "closes": (CLOSES,),
    "blocks": (BLOCKS,),
    "again": (AGAIN,),
    "filters": (FILTERS,),
}

PYTHON = """
import json, sqlite3, subprocess, threading
found = []
threads = [threading.Thread(target=found.append, args=(n,)) for n in range(4)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
word = subprocess.run(["tr", "a-z", "A-Z"], input=b"sub", capture_output=True).stdout.decode()
with sqlite3.connect("base.db") as base:
    base.execute("create table t (a)"); base.execute("insert into t values (7)")
    rows = base.execute("select a from t").fetchall()
print(json.dumps([sorted(found), word, rows]))
"""

GIT = "git init -q . && git config user.name a && git config user.email a@b && git add words && git commit -qm first && echo new >> words"

#: programs that keep to their preset. Names of users are looked up over a local socket, which only ``container`` permits
HONEST: dict[str, Row] = {
    # files and text
    "ls": Row("container", "ls -l words | cut -c1-10", "-rw-r--r--\n"),
    "ls, numbers": Row("readonly", "ls -n words | cut -c1-10", "-rw-r--r--\n"),
    "cat": Row("readonly", "cat words", "beta\nalpha\n"),
    "grep": Row("readonly", "grep -rn alpha .", "./words:2:alpha\n"),
    "grep, nothing found": Row("readonly", "grep gamma words", "", 1),
    "sed": Row("readonly", "sed s/alpha/omega/ words", "beta\nomega\n"),
    "sed -i": Row("no-network", "sed -i s/alpha/omega/ words && cat words", "beta\nomega\n"),
    "tar": Row("container", "tar -czf all.tgz words && mkdir x && tar -xzf all.tgz -C x && cat x/words", "beta\nalpha\n"),
    "gzip": Row("no-network", "gzip -k words && gzip -dc words.gz && gzip -t words.gz", "beta\nalpha\n"),
    "pipes": Row("readonly", "find . -type f | sort | awk '{n++} END {print n, $0}'", "1 ./words\n"),
    "cp, mv, ln, rm": Row("no-network", "cp -a words a && mv a b && ln -s b c && chmod 600 b && rm b && find . -type l", "./c\n"),
    "dd": Row("no-network", "dd if=/dev/zero of=z bs=1k count=3 status=none && wc -c < z", "3072\n"),
    "a script": Row("container", "./script.sh one two", "2\n", before="printf '#!/bin/sh\\necho $#\\n' > script.sh; chmod +x script.sh"),
    "ps": Row("container", "ps -o comm= -p $$", "sh\n", maybe="ps"),
    # tools
    "git status": Row("container", "git status --short", " M words\n", before=GIT, needs="git"),
    "git status, offline": Row("no-network", "git status --short && git log --oneline | wc -l", " M words\n1\n", before=GIT, needs="git"),
    "gcc": Row(
        "container", "gcc -O2 hello.c -o hello && ./hello", "hello\n", 3, before=f"cat > hello.c <<'END'\n{HELLO}END\n", needs="gcc"
    ),
    "make": Row("no-network", "make -s -j2 one two", "made\nmade\n", before="printf 'one two:\\n\\t@echo made\\n' > Makefile", needs="make"),
    "python3": Row("container", '"{python}" -I py.py', '[[0, 1, 2, 3], "SUB", [[7]]]\n', before=f"cat > py.py <<'END'\n{PYTHON}END\n"),
    "python3, no file written": Row("readonly", "\"{python}\" -I -c 'print(sum(range(10)))'", "45\n"),
    "perl": Row("readonly", "perl -e 'print `echo hi`; exit 4'", "hi\n", 4, maybe="perl"),
    "bash": Row("no-network", "bash -c 'diff <(sort words) <(cat words) | wc -l; [[ -f words ]]'", "4\n", maybe="bash"),
    "sqlite3": Row("container", "sqlite3 b.db 'create table t (a); insert into t values (5); select * from t'", "5\n", maybe="sqlite3"),
    "node": Row("container", "node -e 'console.log(require(\"child_process\").execSync(\"echo hi\").toString().trim())'", "hi\n", maybe="node"),
    # kinds of binaries
    "static": Row("container", "{static}", "hello\n", 3),
    "32 bits": Row("container", "{narrow}", "hello\n", 3),
    "32 bits, static": Row("readonly", "{narrow_static}", "hello\n", 3),
    "threads": Row("container", "{threads}", "28\n"),
    "threads, static": Row("no-network", "{threads_static}", "28\n"),
    "threads, 32 bits": Row("container", "{threads_narrow}", "28\n"),
    # `compute` opens nothing, not even libraries: static programs, executed directly
    "computes": Row("compute", "={primes}", "148933 1\n"),
    "computes in threads": Row("compute", "={threads_static}", "28\n"),
    "computes in 32 bits": Row("compute", "={narrow_static}", "hello\n", 3),
    # odd, but within their rights
    "daemon": Row("container", "{daemon}", "settled\n"),
    "stopped child, left": Row("container", "{stopped}", "stopped\n"),
    "stopped child, continued": Row("container", "{stopped} continue", "stopped\ncontinued, 9\n"),
    "closes all descriptors": Row("container", "={closes}", "", 6),
    "blocks all signals": Row("container", "={blocks}", "1 1\n"),
    "execs itself": Row("container", "={again}", "1\n"),
}  # fmt: skip


@pytest.fixture
def place():
    with support.nobody_directory() as directory:
        words = directory / "words"
        words.write_text("beta\nalpha\n")
        words.chmod(0o644)
        yield directory


def fitting(place: Path, *, nobody: bool) -> None:
    """The directory belongs to who works in it: git looks."""
    if os.geteuid() == 0:
        for path in (place, *place.iterdir()):
            shutil.chown(path, *((support.NOBODY, support.NOBODY) if nobody else (0, 0)))


def victim(name: str) -> str:
    return c_program(*VICTIMS[name])


def command(text: str, *, nobody: bool) -> list[str]:
    """What follows ``--``: a shell's command line, or with ``=`` in front the program itself."""
    for name in VICTIMS:
        if "{" + name + "}" in text:
            text = text.replace("{" + name + "}", victim(name))
    text = text.replace("{python}", support.nobody_python() if nobody else sys.executable)
    return [text[1:]] if text.startswith("=") else ["sh", "-c", text]


def left(place: Path) -> list[str]:
    """Processes that still work in ``place``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd").startswith(str(place)):
                    found.append((entry / "comm").read_text())
            except OSError:
                continue
    return found


def go(row: Row, place: Path, *options: str, nobody: bool) -> support.Finished:
    for name in row.needs.split():
        support.need_program(name)
    for name in row.maybe.split():
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not here")
    fitting(place, nobody=nobody)
    if row.before:
        assert support.run(["sh", "-c", row.before], cwd=place, nobody=nobody).status == 0
    words = command(row.command, nobody=nobody)
    done = support.seclude("run", "--policy", row.preset, *row.options.split(), *options, "--", *words, cwd=place, nobody=nobody)
    assert left(place) == []
    return done


def rows(table: dict[str, Row]) -> list[object]:
    return [pytest.param(row, id=f"{name} ({row.preset})", marks=[INTEL] if "narrow" in row.command else []) for name, row in table.items()]


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("row", rows(HONEST))
def test_honest_programs_run_as_ever_and_nothing_is_reported(row, nobody, place):
    done = go(row, place, nobody=nobody)
    assert (done.status, done.stdout, done.stderr) == (row.code, row.output, ""), str(done)


@pytest.mark.parametrize("options", [("--no-ptrace",), ("--no-report",), ("--no-report", "--no-ptrace")], ids=" ".join)
@pytest.mark.parametrize("name", ["python3", "threads", "32 bits", "daemon", "stopped child, continued", "execs itself"])
def test_the_same_without_reporting_or_tracing(name, options, place):
    row = HONEST[name]
    done = go(row, place, *options, nobody=True)
    assert (done.status, done.stdout, done.stderr) == (row.code, row.output, ""), str(done)


def test_what_a_rule_hides_is_told_where_it_was_missed_or_asked_for(place):
    # The C library asks for clone3 and, told that it does not exist, uses clone: no news, unless something failed.
    quiet = go(HONEST["threads"], place, nobody=True)
    told = go(HONEST["threads"], place, "--verbose", nobody=True)
    failed = go(HONEST["threads"]._replace(command="{threads}; exit 1"), place, nobody=True)
    data = go(HONEST["threads"], place, "--report", "json", nobody=True)
    assert quiet.stderr == ""
    assert f"denied 8{TIMES}  clone3(" in told.stderr
    assert f"denied 8{TIMES}  clone3(" in failed.stderr
    assert '"call": "clone3"' in data.stderr


@pytest.mark.parametrize("nobody", who())
def test_a_fork_bomb_is_ended_with_all_its_processes(nobody, place):
    row = Row("container", "={bomb}", "", options="--processes 30 --wall 300ms")
    done = go(row, place, nobody=nobody)
    assert (done.status, done.stdout) == (124, ""), str(done)
    assert "ended by the limit wall" in done.stderr


BUSY = r"""
#include <stdio.h>
#include <sys/socket.h>
int main(void) {
    socket(AF_INET, SOCK_STREAM, 0);
    puts("ready");
    fflush(stdout);
    for (;;) socket(AF_INET, SOCK_STREAM, 0);
}
"""


@pytest.mark.parametrize("options", [(), ("--no-ptrace",)], ids=["traced", "not traced"])
def test_the_report_outlives_a_signal_to_the_whole_group(options, place):
    # As timeout(1) and a service manager send it, more than once, while denied calls come as fast as they can.
    words = [sys.executable, "-m", "seclude", "run", *options, "--", c_program(BUSY)]
    child = support.start(words, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    for _ in range(3):
        os.killpg(child.pid, signal.SIGTERM)
    _, told = child.communicate(timeout=30)
    assert child.returncode == 128 + signal.SIGTERM, told.decode()
    assert "denied " in told.decode()
    assert "seclude: the command was ended by SIGTERM" in told.decode()
    assert left(place) == []


def test_a_setuid_program_gains_nothing(place):
    support.need_root()
    program = public() / "who"
    shutil.copy(c_program(WHO), program)
    program.chmod(0o4755)
    assert support.run([program], nobody=True).stdout == f"{support.NOBODY} 0\n", "it would gain, where set-user-ID works at all"
    done = go(Row("container", f"={program}", ""), place, nobody=True)
    assert (done.status, done.stdout, done.stderr) == (0, f"{support.NOBODY} {support.NOBODY}\n", "")


@pytest.mark.parametrize("nobody", who())
def test_a_program_that_installs_its_own_filter(nobody, place):
    done = go(Row("container", "={filters}", ""), place, nobody=nobody)
    assert (done.status, done.stdout) == (0, "-1 1\n"), str(done)
    assert done.stderr == "seclude: note: the target stacked a filter of its own: what that one denies first is not reported here\n"


#: programs that want more than their preset gives: what is said, and what they print when the advice is followed
REFUSED: dict[str, tuple[Row, str, str]] = {
    "curl": (
        Row("container", "curl -s http://127.0.0.1:9/; echo $?", "7\n", maybe="curl"),
        "socket(AF_INET, SOCK_STREAM",
        "socket(domain == AF_INET)",
    ),
    "unshare": (Row("container", "unshare -r true; echo $?", "1\n", maybe="unshare"), "unshare(CLONE_NEWUSER) → EPERM", "unshare"),
    "touch": (Row("readonly", "touch words; echo $?", "1\n"), 'openat(AT_FDCWD, "words", O_WRONLY|O_CREAT', "openat"),
    "python3": (
        Row("no-network", "\"{python}\" -c 'import socket; socket.socket(socket.AF_UNIX)' 2>&1 | tail -n 1", "PermissionError: [Errno 13] Permission denied\n"),
        "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) → EACCES",
        "socket(domain == AF_UNIX)",
    ),
    "computes nothing": (Row("compute", "=/bin/true", "", 127), "openat(AT_FDCWD, ", "openat"),
}  # fmt: skip


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_said_with_the_rule_and_the_remedy(name, nobody, place):
    row, told, allow = REFUSED[name]
    done = go(row, place, nobody=nobody)
    assert (done.status, done.stdout) == (row.code, row.output), str(done)
    lines = [line for line in done.stderr.splitlines() if line.startswith("denied") and told in line]
    assert lines, str(done)
    assert "   rule: " in lines[0]
    assert ".seclude:" in lines[0]
    quoted = f"'{allow}'" if "(" in allow else allow
    assert lines[0].endswith(f"   to allow: --allow {quoted}")
    again = go(row, place, "--allow", allow, nobody=nobody)
    assert told not in again.stderr, str(again)


def test_a_terminal_escape_of_the_target_stays_in_quotes_in_the_report(place):
    evil = "\x1b]0;owned\x07\x1b[2J\r\u202e\udcff"
    done = support.seclude("run", "--policy", "readonly", "--", "mkdir", evil, cwd=place)
    report = [line for line in done.stderr.split("\n") if line.startswith("denied")]
    assert report == [
        rf'denied 1{TIMES}  mkdir("\x1b]0;owned\x07\x1b[2J\r\u202e\xff", 0777) → EROFS' + report[0][report[0].index("   rule: ") :]
    ]
    assert report[0].isprintable()
