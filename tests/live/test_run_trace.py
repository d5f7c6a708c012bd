"""``seclude run --trace``, live: the same lines as strace's, and what only a real kernel does (threads, vfork, execve by a thread, signals, stops)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

import support
from run_support import ALLOW, c_program, policy, public, run, who
from support import need_program

pytestmark = pytest.mark.live

#: what differs from run to run: addresses, process numbers, times
_VARYING = (
    (r"^\[pid +\d+\] |^\d+ +", ""),
    (r"0x[0-9a-f]{5,}", "PTR"),
    (r"tv_sec=\d+, tv_[un]sec=\d+", "TIME"),
    (r" += ", " = "),
    (r"(clone3?\(.*|vfork.*resumed>.*|vfork\(.*|<... clone3? resumed>.*|get(?:p|t)?p?id\(.*|set_tid_address\(.*|wait4\(.*|<... wait4.*) = \d+$", r"\1 = PID"),
    (r"parent_tid=\[\d+\]", "parent_tid=[PID]"),
    (r"/\* \d+ vars \*/", "VARS"),
    (r"si_pid=\d+", "si_pid=PID"),
    (r"(kill|wait4|waitid)\((P_PID, )?\d+", r"\1(\2PID"),
    (r"tgkill\(PID, \d+", "tgkill(PID, PID"),
    (r'getrandom\("[^"]*"', "getrandom(RANDOM"),
    (r"sin_port=htons\(\d{4,5}\)", "sin_port=PORT"),
    (r"si_utime=\d+, si_stime=\d+", "TIMES"),
)  # fmt: skip

PLAIN = {
    "files": """
        #include <fcntl.h>
        #include <sys/stat.h>
        #include <unistd.h>
        #include <dirent.h>
        #include <sys/uio.h>
        int main(void) {
            char b[99]; struct stat st; int p[2];
            int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
            read(fd, b, 20); pread(fd, b, 4, 2); fstat(fd, &st); lseek(fd, 0, SEEK_SET); close(fd);
            stat("/nonexistent", &st); lstat("/proc/self", &st); stat("/dev/null", &st); access("/etc/passwd", R_OK);
            pipe(p); write(p[1], "hi\\n\\33[31m\\0001\\377", 12);
            struct iovec v[2] = {{b, 3}, {b + 9, 40}}; readv(p[0], v, 2); v[1].iov_len = 2; writev(p[1], v, 2);
            mkdir("/proc/no", 0755); rename("/proc/a", "/proc/b"); chmod("/nonexistent", 0604); unlink("/nonexistent");
            symlink("a", "/nonexistent/b"); readlink("/proc/self/exe", b, 4); getcwd(b, 99); chdir("/"); umask(027);
            creat("/nonexistent/x", 0600); truncate("/nonexistent", 5); dup2(p[0], 20); fcntl(20, F_GETFL); fcntl(20, F_SETFD, FD_CLOEXEC);
            openat(AT_FDCWD, ".", O_RDONLY | O_DIRECTORY | O_NONBLOCK); close(99);
        }""",
    "signals": """
        #include <signal.h>
        #include <unistd.h>
        #include <poll.h>
        #include <time.h>
        #include <sys/wait.h>
        #include <sys/resource.h>
        static void handler(int s) { (void)s; }
        int main(void) {
            struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART}; sigaction(SIGUSR1, &sa, 0); sigaction(SIGUSR1, 0, &sa);
            sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); sigprocmask(SIG_BLOCK, &s, 0);
            kill(getpid(), SIGUSR1);
            struct pollfd pf = {1, POLLIN, 0}; poll(&pf, 0, 1);
            struct timespec ts = {0, 1000}; nanosleep(&ts, 0);
            struct rlimit r; getrlimit(RLIMIT_CORE, &r);
            signal(SIGPIPE, SIG_IGN); raise(SIGWINCH);
            kill(getpid(), SIGTERM);
        }""",
    "sockets": """
        #include <sys/socket.h>
        #include <sys/un.h>
        #include <netinet/in.h>
        #include <arpa/inet.h>
        #include <unistd.h>
        #include <sys/epoll.h>
        int main(void) {
            int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, sp[2]; socklen_t l = sizeof one; char b[50];
            struct sockaddr_in a = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
            setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, 4); getsockopt(s, SOL_SOCKET, SO_ERROR, &one, &l);
            bind(s, (void *)&a, sizeof a); listen(s, 5); l = 100; getsockname(s, (void *)&a, &l); accept(99, 0, 0);
            struct sockaddr_un u = {AF_UNIX, "/nonexistent"}; int d = socket(AF_UNIX, SOCK_DGRAM, 0);
            connect(d, (void *)&u, sizeof u); sendto(d, "x", 1, MSG_NOSIGNAL, (void *)&u, sizeof u);
            socketpair(AF_UNIX, SOCK_STREAM, 0, sp); send(sp[0], "data", 4, 0); recv(sp[1], b, 50, 0);
            struct iovec v = {b, 4}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}; sendmsg(sp[0], &m, 0); recvmsg(sp[1], &m, 0);
            int e = epoll_create1(EPOLL_CLOEXEC); struct epoll_event ev = {EPOLLIN, {.u64 = 7}};
            epoll_ctl(e, EPOLL_CTL_ADD, sp[1], &ev); send(sp[0], "z", 1, MSG_DONTWAIT); epoll_wait(e, &ev, 1, 1000); shutdown(s, SHUT_RDWR);
        }""",
}  # fmt: skip


def plain(text):
    out = []
    for line in text.splitlines():
        for pattern, word in _VARYING:
            line = re.sub(pattern, word, line)
        out.append(line)
    return out


def ours(*command, options=("--trace", "all"), rules="", **more):
    """The lines of a trace of ``command`` under the weakest policy that can be traced."""
    where = public() / f"trace{len(list(public().iterdir()))}"
    done = support.seclude(
        "run", "--policy", policy(ALLOW + rules), "--report", "none", "--trace-file", str(where), *options, "--", *command, **more
    )
    return done, where.read_text().splitlines()


@pytest.mark.parametrize("name", PLAIN)
def test_the_lines_are_those_of_strace(name):
    strace, program = need_program("strace"), c_program(PLAIN[name], "-w")
    theirs = subprocess.run(
        [strace, "-f", "-a40", "-o", "/dev/stdout", program], capture_output=True, text=True, check=False, close_fds=True
    )
    _, lines = ours(program)
    assert plain("\n".join(lines)) == plain(theirs.stdout)


BROKERED = """
    #include <fcntl.h>
    #include <sys/stat.h>
    #include <unistd.h>
    #include <errno.h>
    int main(int n, char **a) {
        char b[99]; struct stat st; (void)n;
        chdir(a[1]); int fd = open("file", O_RDONLY | O_CLOEXEC);
        open("file", O_RDWR | O_CREAT | O_EXCL, 0600); open("nothing", O_RDONLY); open("made", O_WRONLY | O_CREAT, 0640);
        stat("file", &st); lstat("link", &st); stat("nothing", &st); readlink("link", b, 99); access("file", R_OK | W_OK);
        mkdir("directory", 0755); rmdir("file"); rename("directory", "other"); symlink("x", "second"); unlink("made");
        dup2(fd, 9);
    }"""


def test_what_a_broker_answers_is_shown_as_the_kernels_own_answer(tmp_path):
    """With results and structures, in the order in which the program made its calls."""
    strace, program = need_program("strace"), c_program(BROKERED, "-w")
    names = "chdir,openat,stat,lstat,newfstatat,readlink,access,mkdir,rmdir,rename,symlink,unlink,dup2"
    places = [tmp_path / name for name in ("theirs", "ours", "failed")]
    for place in places:
        place.mkdir()
        (place / "file").write_text("0123456789")
        (place / "link").symlink_to("file")
    for place in places:
        for name in ("file", "link"):
            os.utime(place / name, (0, 0), follow_symlinks=False)
    theirs = subprocess.run(
        [strace, "-a40", "-e", names, "-o", "/dev/stdout", program, "theirs"], capture_output=True, text=True, check=False, cwd=tmp_path
    ).stdout.replace("theirs", "PLACE")
    files = ("--write", str(tmp_path), "--read", str(public()))
    _, lines = ours(program, "ours", options=("--trace", names, *files), cwd=tmp_path)
    assert plain("\n".join(lines).replace("ours", "PLACE")) == plain(theirs)
    _, lines = ours(program, "failed", options=("--trace", names, "--trace-failed", *files), cwd=tmp_path)
    failed = [line for line in theirs.splitlines() if " = -1 " in line]
    assert len(failed) > 4
    assert plain("\n".join(lines[:-1])) == plain("\n".join(failed))


def test_what_a_thread_of_the_supervisor_answers_stands_before_the_next_call():
    """A peer is waited for beside the loop, and by the time it hears of the answer the program may be at its next call."""
    program = c_program(
        """
        #include <arpa/inet.h>
        #include <netinet/in.h>
        #include <sys/socket.h>
        #include <unistd.h>
        int main(void) {
            struct sockaddr_in to = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
            for (int i = 0; i < 12; i++) {
                int fd = socket(AF_INET, SOCK_STREAM, 0);
                to.sin_port = htons(i % 2 ? 9 : 10); connect(fd, (void *)&to, sizeof to); getppid(); close(fd);
            }
        }"""
    )
    _, lines = ours(program, options=("--trace", "connect,getppid", "--connect", "127.0.0.1:9"))
    told = [(line.partition("(")[0], line.partition(" = ")[2]) for line in lines[:-1]]
    assert [name for name, _ in told] == ["connect", "getppid"] * 12
    outcomes = ["-1 EACCES (Permission denied) (DENIED)", "-1 ECONNREFUSED (Connection refused)"]
    assert [outcome for name, outcome in told if name == "connect"] == outcomes * 6


@pytest.mark.parametrize("ending", ["opened", "killed"])
def test_a_call_that_waits_for_a_broker_is_seen_waiting(tmp_path, ending):
    """And where it never comes back, it is shown as strace shows it."""
    os.mkfifo(tmp_path / "fifo")
    program = c_program(
        '#include <fcntl.h>\n#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("%d\\n", getpid()); fflush(stdout); open("fifo", O_RDONLY); }'
    )
    trace = tmp_path / "trace"
    options = ("--write", str(tmp_path), "--read", program, "--trace", "openat", "--trace-file", str(trace), "--report", "none")
    command = [sys.executable, "-m", "seclude", "run", "--policy", policy(ALLOW), *options, "--", program]
    with support.start(command, cwd=tmp_path, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        waiting = 'openat(AT_FDCWD, "fifo", O_RDONLY'
        while not (trace.exists() and trace.read_text().endswith(waiting)):
            assert child.poll() is None, trace.read_text()
            os.sched_yield()
        if ending == "killed":
            os.kill(pid, signal.SIGKILL)
        else:
            os.close(os.open(tmp_path / "fifo", os.O_WRONLY))
    expected = {"killed": [waiting + ") = ?", "+++ killed by SIGKILL +++"], "opened": [waiting + ") = 3", "+++ exited with 0 +++"]}
    assert [re.sub(" += ", " = ", line) for line in trace.read_text().splitlines()[-2:]] == expected[ending]


def test_a_dash_is_standard_output_for_a_trace_and_for_a_report_and_no_log(tmp_path):
    words = ("run", "--policy", policy(ALLOW), "--trace", "mkdir", "--deny", "mkdir")
    done = support.seclude(*words, "--trace-file", "-", "--report-file", "-", "--", "mkdir", "/never", cwd=tmp_path)
    first, *others = done.stdout.splitlines()
    assert first.startswith('mkdir("/never", '), str(done)
    assert first.endswith("= -1 EPERM (Operation not permitted) (DENIED)")
    assert any(line.startswith("denied ") and "mkdir(" in line for line in others), str(done)
    assert "denied" not in done.stderr
    assert support.seclude(*words, "--log", "-", "--", "true", cwd=tmp_path).status == 125
    assert list(tmp_path.iterdir()) == []
    assert support.seclude(*words, "--log", "./-", "--", "true", cwd=tmp_path).status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["-"]


def test_a_denial_a_handlers_answer_and_a_descriptor_too_many_are_shown_with_their_results(tmp_path):
    (tmp_path / "answering.py").write_text(
        "from seclude.supervise import Allow, Return, handler\n"
        "@handler('getpgid', may={Allow, Return})\n"
        "def decide(call):\n"
        "    return {0: Return(41), 1: Return(-13)}.get(call.raw[0], Allow())\n"
    )
    program = c_program(
        """
        #include <fcntl.h>
        #include <sys/resource.h>
        #include <unistd.h>
        int main(int n, char **a) {
            getpgid(0); getpgid(1); getpgid(getpid()); open(a[1], O_RDONLY);
            struct rlimit none = {3, 3}; setrlimit(RLIMIT_NOFILE, &none); open("/usr", O_RDONLY);
        }""",
        "-w",
    )
    (tmp_path / "policy").write_text(ALLOW + "notify getpgid\n")
    trace = tmp_path / "trace"
    options = (
        "--handler",
        f"{tmp_path}/answering.py:decide",
        "--read",
        str(public()),
        "--trace",
        "getpgid,openat",
        "--trace-file",
        str(trace),
    )
    done = support.seclude("run", "--policy", str(tmp_path / "policy"), "--report", "none", *options, program, str(trace))
    shown = [re.sub(" += ", " = ", line) for line in trace.read_text().splitlines() if "ld.so" not in line and "libc" not in line]
    assert [re.sub(r"getpgid\(\d\d+\)", "getpgid(PID)", line) for line in shown] == [
        "getpgid(0) = 41 (by decide)",
        "getpgid(1) = -1 EACCES (Permission denied) (by decide)",
        "getpgid(PID) = ? (allowed by decide)",
        f'openat(AT_FDCWD, "{trace}", O_RDONLY) = -1 EACCES (Permission denied) (DENIED)',
        'openat(AT_FDCWD, "/usr", O_RDONLY) = -1 EMFILE (Too many open files)',
        f"+++ exited with {done.status} +++",
    ], str(done)


@pytest.mark.parametrize("nobody", who())
def test_chosen_calls_come_with_results(nobody):
    done = support.seclude("run", "--trace", "openat,exit_group", "--", "/bin/cat", "/etc/hostname", nobody=nobody)
    assert done.status == 0, str(done)
    lines = done.stderr.splitlines()
    assert any(re.fullmatch(r'openat\(AT_FDCWD, "/etc/hostname", O_RDONLY\) += 3', line) for line in lines), str(done)
    assert lines[-2:] == ["exit_group(0)                           = ?", "+++ exited with 0 +++"]
    assert all(line.startswith(("openat(", "exit_group(", "+++")) for line in lines)


@pytest.mark.parametrize("nobody", who())
def test_the_first_execve_shows_what_is_executed(nobody):
    done = support.seclude("run", "--trace", "execve", "--", "/bin/echo", "a b", nobody=nobody)
    assert re.match(r'execve\("/bin/echo", \["/bin/echo", "a b"\], 0x[0-9a-f]+ /\* \d+ vars \*/\) = 0\n', done.stderr), str(done)


def test_threads_have_their_numbers_and_unfinished_lines():
    program = c_program(
        """
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <pthread.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/socket.h>
        #include <unistd.h>
        static int p[2];
        static volatile pid_t other;
        static void *reader(void *a) { char c; other = gettid(); recv(p[0], &c, 1, 0); return a; }
        static int waits(void) {  /* the other thread, in its call */
            char name[64], text[512] = ""; snprintf(name, 64, "/proc/self/task/%d/stat", other);
            int f = open(name, O_RDONLY); if (f < 0) return 0;
            read(f, text, 511); close(f); char *end = strrchr(text, ')'); return end && end[2] == 'S';
        }
        int main(void) {
            pthread_t t; socketpair(AF_UNIX, SOCK_STREAM, 0, p); pthread_create(&t, 0, reader, 0);
            while (!waits()) {} send(p[1], "x", 1, 0); pthread_join(t, 0); return 0;
        }
        """,
        "-pthread",
        "-w",
    )
    _, lines = ours(program, options=("--trace", "recvfrom,sendto"))
    assert re.fullmatch(r"\[pid +\d+\] recvfrom\(3,  <unfinished \.\.\.>", lines[0]), lines
    sent, received, ended = sorted(lines[1:4], key=lambda line: ("sendto" not in line, "recvfrom" not in line))
    assert re.fullmatch(r'\[pid +\d+\] (sendto\(4, "x", 1, 0, NULL, 0\)|<\.\.\. sendto resumed>\)) += 1', sent), lines
    assert re.fullmatch(r'\[pid +\d+\] <\.\.\. recvfrom resumed>"x", 1, 0, NULL, NULL\) = 1', received), lines
    assert re.fullmatch(r"\[pid +\d+\] \+\+\+ exited with 0 \+\+\+", ended), lines
    assert lines[-1] == "+++ exited with 0 +++"


def test_a_vfork_parent_waits_in_its_call_for_the_child():
    program = c_program(
        """
        #include <unistd.h>
        #include <sys/wait.h>
        int main(void) { if (vfork() == 0) { execl("/bin/true", "true", (char *)0); _exit(1); } int s; wait(&s); return 0; }
        """
    )
    _, lines = ours(program, options=("--trace", "vfork,execve,wait4"))
    text = "\n".join(plain("\n".join(lines)))
    assert 'execve("/bin/true", ["true"], PTR' in text
    assert re.search(r"<\.\.\. vfork resumed>\) = PID", text), text
    assert re.search(r"\[\{WIFEXITED\(s\) && WEXITSTATUS\(s\) == 0\}\], 0, NULL\) = PID", text), text


def test_execve_by_a_thread_goes_on_under_the_process_number():
    program = c_program(
        """
        #include <pthread.h>
        #include <unistd.h>
        static void *replace(void *a) { execl("/bin/true", "true", (char *)0); return a; }
        int main(void) { pthread_t t; pthread_create(&t, 0, replace, 0); pause(); }
        """,
        "-pthread",
    )
    done, lines = ours(program, options=("--trace", "execve,pause,exit_group"))
    text = "\n".join(lines)
    assert done.status == 0, text
    assert re.search(r"\+\+\+ superseded by execve in pid \d+ \+\+\+", text), text
    assert re.search(r"<\.\.\. execve resumed>\) += 0", text), text
    assert lines[-1] == "+++ exited with 0 +++"


@pytest.mark.parametrize("end", ["SIGKILL", "SIGSEGV", "SIGTERM"])
def test_how_a_program_was_ended(end):
    program = c_program(
        "#include <signal.h>\nint main(int c, char **v) { (void)c; raise(v[1][0] == 'K' ? SIGKILL : v[1][0] == 'S' ? SIGSEGV : SIGTERM); }"
    )
    _, lines = ours(program, end.removeprefix("SIG"), options=("--trace", "tgkill"))
    assert lines[-1].startswith(f"+++ killed by {end}"), lines
    if end != "SIGKILL":
        assert re.fullmatch(rf"--- {end} \{{si_signo={end}, si_code=SI_TKILL, si_pid=\d+, si_uid=\d+\}} ---", lines[-2]), lines


def test_a_thirty_two_bit_program_has_its_own_calls_and_layouts():
    program = c_program(
        """
        #include <unistd.h>
        #include <sys/uio.h>
        #include <sys/stat.h>
        int main(void) { struct iovec v[2] = {{"ab", 2}, {"c", 1}}; writev(1, v, 2); struct stat s; stat("/etc/passwd", &s); return 0; }
        """,
        "-m32", "-static",
    )  # fmt: skip
    _, lines = ours(program)
    text = "\n".join(lines)
    assert re.search(r'^writev\(1, \[\{iov_base="ab", iov_len=2\}, \{iov_base="c", iov_len=1\}\], 2\) = 3$', text, re.MULTILINE), text
    assert re.search(r'^(stat64|statx)\(.*"/etc/passwd", .*S_IFREG\|0644.*\) = 0$', text, re.MULTILINE), text


def test_int_80_from_64_bit_code_is_an_i386_call():
    program = c_program("int main(void) { long r; __asm__ volatile(\"int $0x80\" : \"=a\"(r) : \"a\"(20)); return r < 0; }")  # fmt: skip
    done, lines = ours(program, options=("--trace", "getpid"))
    assert done.status == 0
    assert re.fullmatch(r"getpid\(\) +=  *\d+", lines[0]), lines


def test_denials_stand_in_place():
    program = c_program(
        """
        #include <sys/stat.h>
        #include <unistd.h>
        int main(void) { mkdir("/tmp/\\33[31mx", 0700); chroot("/nonexistent"); sethostname("x", 1); }
        """,
        "-w",
    )
    done, lines = ours(program, options=("--trace", "mkdir,chroot,sethostname"), rules="errno(EACCES) mkdir\nkill_process sethostname\n")
    assert done.signal is None
    assert done.status == 128 + 31
    assert lines == [
        'mkdir("/tmp/\\33[31mx", 0700)            = -1 EACCES (Permission denied) (DENIED)',
        'chroot("/nonexistent")                  = -1 ENOENT (No such file or directory)',
        'sethostname("x", 1)                     = ? (DENIED)',
        "+++ killed by SIGSYS +++",
    ]


def test_log_leaves_keep_the_kernels_record_and_are_not_shown():
    _, lines = ours("/bin/true", options=("--trace", "brk,close"), rules="log brk\n")
    assert not any(line.startswith("brk(") for line in lines), lines
    assert any(line.startswith("close(") for line in lines)


def test_all_but_some():
    _, lines = ours("/bin/true", options=("--trace", "!mmap,openat"))
    names = {line.partition("(")[0] for line in lines}
    assert "close" in names
    assert not names & {"mmap", "openat"}


def test_only_failures_and_a_table():
    _, lines = ours("/bin/cat", "/nonexistent", options=("--trace", "openat", "--trace-failed"))
    assert [line for line in lines if not line.startswith("+++")] == [
        line for line in lines if " = -1 E" in line
    ], lines  # fmt: skip
    _, lines = ours("/bin/true", options=("--trace", "all", "--trace-count"))
    assert lines[0].split()[-1] == "syscall"
    assert lines[-1].endswith(" total")
    _, lines = ours("/bin/cat", "/nonexistent", options=("--trace", "all", "--trace-count", "--trace-failed"))
    counted = [line.split() for line in lines[2:-2]]
    assert "openat" in [row[-1] for row in counted]
    assert all(len(row) == 6 and row[3] == row[4] for row in counted), lines  # as many errors as calls


def test_what_could_not_be_written_is_said():
    done = support.seclude("run", "--trace", "openat", "--trace-file", "/dev/full", "--", "/bin/true")
    assert done.status == 0, str(done)
    assert re.search(r"note: \d+ characters of the trace could not be written", done.stderr), str(done)


def test_a_reader_of_more_bytes_sees_more():
    _, lines = ours("/bin/echo", "x" * 60, options=("--trace", "write", "--trace-size", "100"))
    assert lines[0] == f'write(1, "{"x" * 60}\\n", 61) = 61'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--trace", "opneat"), "did you mean 'openat'?"),
        (("--trace", "@nothing"), "unknown group @nothing"),
        (("--trace", ""), "empty place"),
        (("--trace", "!all"), "chooses no call"),
        (("--trace-count",), "name calls"),
        (("--trace", "all", "--trace-size", "-1"), "expected a number of bytes"),
        (("--trace", "all", "--trace-file", "/nonexistent/x"), "No such file or directory"),
        (("--trace", "all", "--no-ptrace"), "--no-ptrace"),
        (("--trace", "all", "--no-report"), "--no-report"),
        (("--log-size", "1M"), "without --log"),
    ],
)
def test_what_cannot_be_traced_is_refused_before_the_command_runs(options, said):
    done = support.seclude("run", "--policy", policy(ALLOW), *options, "--", "/bin/echo", "ran")
    assert (done.status, done.stdout) == (125, ""), str(done)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_where_names_module_offset_and_function():
    program = c_program("#include <sys/stat.h>\nint main(void) { return mkdir(\"/tmp/x\", 0700) == 0; }")  # fmt: skip
    ran = run(program, rules="errno(EACCES) mkdir, mkdirat\n", options=("--where",))
    assert re.fullmatch(r"libc\.so\.6\+0x[0-9a-f]+ \(_*mkdir(at)?\+0x[0-9a-f]+\)", ran.denials[0]["where"].split(" < ")[0]), ran.denials


def test_where_in_a_static_program_and_in_memory_without_a_file():
    program = c_program(
        """
        #include <string.h>
        #include <sys/mman.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        __attribute__((noinline)) long asks(void) { return syscall(SYS_getpriority, 0, 0); }
        int main(void) {
            asks();
            unsigned char code[] = {0xb8, 140, 0, 0, 0, 0x0f, 0x05, 0xc3};
            void *at = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            memcpy(at, code, sizeof code); ((long (*)(int, int))at)(1, 1);
            return 0;
        }
        """,
        "-static",
    )  # fmt: skip
    ran = run(program, rules="errno(EACCES) getpriority\n", options=("--where",))
    first, second = (denial["where"].split(" < ")[0] for denial in ran.denials)
    assert re.fullmatch(r"c[0-9a-f]+\+0x[0-9a-f]+ \(syscall\+0x[0-9a-f]+\)", first), first
    assert second == "[anonymous memory]+0x7"


def test_group_stops_are_said():
    program = c_program(
        """
        #include <signal.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            pid_t child = fork();
            if (child == 0) { raise(SIGSTOP); _exit(3); }
            int s; waitpid(child, &s, WUNTRACED); kill(child, SIGCONT); waitpid(child, &s, 0); return 0;
        }
        """
    )
    done, lines = ours(program, options=("--trace", "wait4"))
    assert done.status == 0
    text = "\n".join(plain("\n".join(lines)))
    assert "--- stopped by SIGSTOP ---" in text
    assert "[{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}], WSTOPPED, NULL) = PID" in text
    assert "--- SIGCONT {si_signo=SIGCONT, si_code=SI_USER, si_pid=PID, si_uid=0} ---" in text.replace(f"si_uid={os.getuid()}", "si_uid=0")
    assert "+++ exited with 3 +++" in text


def test_from_python_a_run_is_traced_logged_and_placed():
    place = public()
    code = f"""
import json, seclude
result = seclude.run(["/bin/mkdir", "/tmp/x"], policy=seclude.parse("default allow\\nerrno(EPERM) ptrace\\nerrno(EACCES) mkdir"), capture=True,
    trace="mkdir,openat", trace_file={str(place / "library-trace")!r}, log={str(place / "library-log")!r}, where=True)
print(result.denials[0].where)
print(open({str(place / "library-trace")!r}).read().count("openat("))
print([json.loads(line)["event"] for line in open({str(place / "library-log")!r})][-2:])
try: seclude.run(["true"], trace_file="/tmp/x")
except seclude.UsageError as error: print(error)
"""
    done = support.run_python(code)
    where, count, events, wrong = done.stdout.splitlines()[:4]
    assert re.fullmatch(r"libc\.so\.6\+0x[0-9a-f]+ \(mkdir\+0x[0-9a-f]+\)", where.split(" < ")[0]), str(done)
    assert int(count) > 1
    assert events.endswith("'end']"), str(done)
    assert wrong.startswith("run: trace_file=")


CALLERS = """
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
__attribute__((noinline)) int inner(const char *p) { char b[99]; snprintf(b, 99, "%s", p); return mkdir(b, 0700) + 1; }
__attribute__((noinline)) int middle(int n) { volatile char big[1000]; big[n] = 1; return inner("/tmp/x") + big[n]; }
int main(int c, char **v) { return middle(c) == 7; }
"""


@pytest.mark.parametrize("rule", ["errno(EACCES)", "kill_process", "trap(1)"])
def test_callers_are_named_as_far_as_unwind_tables_lead(rule):
    ran = run(c_program(CALLERS, "-O2", "-w"), rules=f"{rule} mkdir, mkdirat\n", options=("--where",))
    names = re.findall(r"\((\w+)\+0x", ran.denials[0]["where"])
    assert names[1:4] == ["inner", "middle", "main"], ran.denials[0]["where"]


def test_callers_end_where_the_frame_is_in_another_register():
    ran = run(c_program(CALLERS, "-O0", "-fno-omit-frame-pointer", "-w"), rules="errno(EACCES) mkdir, mkdirat\n", options=("--where",))
    frames = ran.denials[0]["where"].split(" < ")
    assert [re.search(r"\((\w+)\+", frame).group(1) for frame in frames][1:] == ["inner"]  # type: ignore[union-attr]
