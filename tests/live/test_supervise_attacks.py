"""What a hostile program tries against the brokers of ``seclude run``, on the running kernel. Each of these once worked."""

import errno
import fcntl
import os
import resource
import socket
import tempfile
from pathlib import Path

import pytest

import support
from run_support import ALLOW, c_program, policy, who
from seclude.kernel import landlock

pytestmark = pytest.mark.live

HEAD = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/fs.h>
"""


@pytest.fixture(params=who())
def place(request):
    """A directory that the target owns, and whether that is nobody."""
    nobody = request.param
    with support.nobody_directory() if nobody else tempfile.TemporaryDirectory(dir="/tmp", prefix="seclude-attack-") as path:
        found = Path(path)
        found.chmod(0o755)
        yield found, nobody


def victim(source):
    return c_program(HEAD + source, "-pthread")


def attack(place, program, *arguments, options=(), **more):
    """Run a program under its options, in ``place``, with nothing else granted."""
    directory, nobody = place
    return support.seclude(
        "run", "--policy", policy(ALLOW), "--report", "none", "--read", program, *options, "--", program, *arguments,
        nobody=nobody, cwd=directory, **more,
    )  # fmt: skip


REOPEN = r"""
static int readable, writable, number;
static volatile int over, turns;
static void *flip(void *unused) {
    while (!over) { dup2(readable, number); dup2(writable, number); turns = 1; }
    return 0;
}
int main(int argc, char **argv) {
    struct stat want, got;
    pthread_t thread;
    char path[64];
    long i, tries = atol(argv[2]), won = 0, opened = 0;
    readable = open(argv[1], O_RDONLY); writable = open("/dev/null", O_RDWR); number = 50;
    if (readable < 0 || writable < 0) return 2;
    fstat(readable, &want);
    dup2(readable, number);
    sprintf(path, "/proc/self/fd/%d", number);
    pthread_create(&thread, 0, flip, 0);
    while (!turns) sched_yield();
    for (i = 0; i < tries && !won; i++) {
        int fd = open(path, O_WRONLY);
        if (fd < 0) continue;
        opened++;
        fstat(fd, &got);
        if (got.st_ino == want.st_ino && got.st_dev == want.st_dev) won += write(fd, "overwritten", 11) > 0;
        close(fd);
    }
    over = 1;
    pthread_join(thread, 0);
    printf("opened %s, won %ld\n", opened ? "some" : "none", won);
    return 0;
}
"""


def test_a_descriptor_is_not_opened_again_with_the_rights_of_another(place):
    """Threads put a file open for reading, and one open for writing, under the same number in turn."""
    secret = place[0] / "readable"
    secret.write_text("as it was")
    secret.chmod(0o666)
    # --connect: without it Landlock holds the supervisor, and hides the fault
    done = attack(place, victim(REOPEN), secret, "4000", options=("--read", secret, "--connect", "127.0.0.1:1"))
    assert done.stdout == "opened some, won 0\n", str(done)
    assert secret.read_text() == "as it was"


PAIR = r"""
int main(int argc, char **argv) {
    int pair[2], type;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, argv[1]);
    for (type = SOCK_STREAM; type <= SOCK_SEQPACKET; type++) {
        if (socketpair(AF_UNIX, type, 0, pair) < 0) { printf("%d: %s\n", type, strerror(errno)); continue; }
        long sent = sendto(pair[0], "x", 1, MSG_DONTWAIT, (void *)&address, sizeof address);
        printf("%d: %s\n", type, sent < 0 ? "no way" : type == SOCK_SEQPACKET ? "to its peer" : "sent");
    }
    return 0;
}
"""


def test_no_pair_of_sockets_reaches_a_socket_in_the_file_system(place):
    """A raw local socket is a datagram socket, which can be pointed at any other."""
    name = place[0] / "service"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(name))
        name.chmod(0o777)
        done = attack(place, victim(PAIR), name)
        service.setblocking(False)
        with pytest.raises(BlockingIOError):
            service.recv(1)
    assert done.stdout.splitlines()[:4] == [
        "1: no way", "2: Operation not permitted", "3: Operation not permitted", "4: Operation not permitted",
    ], str(done)  # fmt: skip


LEASE = r"""
int main(int argc, char **argv) {
    signal(SIGIO, SIG_IGN);
    int fd = open(argv[1], O_RDWR | O_CREAT, 0600);
    if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0) return 2;
    puts("leased");
    fflush(stdout);
    open(argv[1], O_PATH);
    return 0;
}
"""


def test_a_lease_does_not_hold_the_supervisor_by_a_handle(place):
    """A lease is broken after 45 seconds (fs.lease-break-time), through all of which no clock of the run was looked at."""
    done = attack(place, victim(LEASE), place[0] / "leased", options=("--write", place[0], "--wall", "3s"), timeout=30)
    assert (done.status, done.stdout) == (124, "leased\n"), str(done)


REQUESTS = r"""
int main(int argc, char **argv) {
    int fd = open(argv[1], O_RDONLY), index;
    unsigned long requests[] = {
        FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, 0xc0385869 /* XFS_IOC_OPEN_BY_HANDLE */, FICLONE, 0x50009401 /* BTRFS_IOC_SNAP_CREATE */};
    for (index = 0; index < 7; index++) {
        errno = 0;
        ioctl(fd, requests[index], -1L);
        printf("%d", errno == EPERM);
    }
    puts("");
    return 0;
}
"""


def test_requests_of_file_systems_do_not_pass_by_the_rules(place):
    """To look at flags and to share blocks is let through (the answers are the file system's); to change flags, to open by handle and to copy trees is not."""
    file = place[0] / "readable"
    file.write_text("")
    done = attack(place, victim(REQUESTS), file, options=("--read", file))
    assert done.stdout == "0101101\n", str(done)


FIFOS = r"""
static void *wait_for_ever(void *path) { open(path, O_RDONLY); return 0; }
int main(int argc, char **argv) {
    pthread_t thread;
    int index, refused = 0;
    mkfifo(argv[1], 0600);
    for (index = 0; index < 400; index++) if (pthread_create(&thread, 0, wait_for_ever, argv[1])) return 2;
    for (index = 0; index < 400; index++) {
        int fd = open("/dev/null", O_RDONLY);
        if (fd < 0) refused++; else close(fd);
    }
    printf("refused %d: ", refused);
    errno = 0;
    open(argv[2], O_RDONLY);
    printf("%s\n", strerror(errno));
    fflush(stdout);
    _exit(0);
}
"""


def test_waiting_opens_do_not_take_every_descriptor_of_the_supervisor(place):
    """Without a free descriptor it could open nothing for anybody, tell nothing, and not find who is left."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))  # noqa: E731
    done = attack(
        place, victim(FIFOS), place[0] / "fifo", "/etc/shadow", options=("--write", place[0], "--no-ptrace"), preexec_fn=limit
    )  # fmt: skip
    assert (done.status, done.stdout) == (0, "refused 0: Permission denied\n"), str(done)


UMASKS = r"""
static volatile int over;
static long wrong;
static void *make(void *which) {
    char path[64];
    struct stat status;
    long index, mask = (long)which % 2 ? 0077 : 0;
    unshare(CLONE_FS);
    umask(mask);
    for (index = 0; index < 300; index++) {
        sprintf(path, "%ld-%ld", (long)which, index);
        int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0666);
        if (fd < 0 || fstat(fd, &status) || (status.st_mode & 0777) != (0666 & ~mask)) __atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
        close(fd);
    }
    return 0;
}
int main(int argc, char **argv) {
    pthread_t threads[4];
    long index;
    for (index = 0; index < 4; index++) pthread_create(threads + index, 0, make, (void *)index);
    for (index = 0; index < 4; index++) pthread_join(threads[index], 0);
    printf("wrong %ld\n", wrong);
    return 0;
}
"""

SLOW = """
from seclude.supervise import Allow, handler

@handler("openat", threads=True)
def look(call):
    return Allow()
"""


def test_files_made_by_several_threads_have_the_umask_of_each(place):
    """Behind a handler in threads the broker acts in threads too, and a process has one umask."""
    module = place[0] / "handlers.py"
    module.write_text(SLOW)
    module.chmod(0o644)
    rules = policy(ALLOW + "notify openat\n")
    directory, nobody = place
    program = victim(UMASKS)
    done = support.seclude(
        "run", "--policy", rules, "--report", "none", "--handler", f"{module}:look", "--write", directory, "--read", program, "--", program,
        nobody=nobody, cwd=directory,
    )  # fmt: skip
    assert done.stdout == "wrong 0\n", str(done)


SOCKET = r"""
static int reach(int type, const char *path) {
    int fd = socket(AF_UNIX, type, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int result = fd < 0 ? -2 : connect(fd, (void *)&address, sizeof address);
    printf("%s: %s\n", path, fd < 0 ? "no socket" : result < 0 ? strerrorname_np(errno) : "connected");
    close(fd);
    return 0;
}
static int serve(const char *path) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    if (bind(fd, (void *)&address, sizeof address) || listen(fd, 4096)) { perror(path); exit(3); }
    return fd;
}
"""
REACHING = (
    SOCKET
    + r"""
int main(int argc, char **argv) {
    int index;
    serve("hidden/later"); serve("open/later"); serve("open/later.key");
    for (index = 1; index < argc; index++) reach(SOCK_STREAM, argv[index]);
    symlink("../hidden/later", "open/link"); reach(SOCK_STREAM, "open/link");
    rename("open/later", "open/moved"); reach(SOCK_STREAM, "open/moved");
    chdir("hidden"); reach(SOCK_STREAM, "later"); reach(SOCK_STREAM, "../open/moved");
    reach(SOCK_SEQPACKET, "later"); reach(SOCK_DGRAM, "later"); reach(SOCK_RAW, "later");
    return 0;
}
"""
)


def test_a_hidden_socket_is_not_there_whenever_it_was_made(place):
    """Where --hide stands alone local sockets are open, and each connection is made by a broker."""
    directory, nobody = place
    for name in ("hidden", "open"):
        (directory / name).mkdir()
        (directory / name).chmod(0o777)
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(directory / "hidden/before"))
        service.listen()
        (directory / "hidden/before").chmod(0o777)
        program = victim(REACHING)
        done = support.seclude(
            "run", "--policy", policy(ALLOW), "--hide", directory / "hidden", "--hide", f"{directory}/**/*.key", "--", program,
            "hidden/before", "hidden/later", "open/later", "open/later.key", "open/nothing", nobody=nobody, cwd=directory,
        )  # fmt: skip
    assert done.stdout.splitlines() == [
        "hidden/before: ENOENT", "hidden/later: ENOENT", "open/later: connected", "open/later.key: ENOENT", "open/nothing: ENOENT", "open/link: ENOENT",
        "open/moved: connected", "later: ENOENT", "../open/moved: connected", "later: ENOENT", "later: no socket", "later: no socket",
    ], str(done)  # fmt: skip
    assert f"{directory}/hidden/later is hidden by --hide {directory}/hidden" in done.stderr


RACING = (
    SOCKET
    + r"""
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static int fd, other;
static volatile int over;
static void *paths(void *unused) { while (!over) { memcpy(address.sun_path, "open/s", 7); memcpy(address.sun_path, "hidd/s", 7); } return 0; }
static void *names(void *unused) { while (!over) { rename("link", "spare"); rename("way", "link"); rename("link", "way"); rename("spare", "link"); } return 0; }
static void *sockets(void *unused) { while (!over) { dup2(other, fd); close(other); other = socket(AF_UNIX, SOCK_STREAM, 0); } return 0; }
int main(int argc, char **argv) {
    int hidden = serve("hidd/s"), open = serve("open/s"), index, made = 0, got, types = argc;
    pthread_t threads[3];
    symlink("hidd/s", "link"); symlink("open/s", "way");
    fd = socket(AF_UNIX, SOCK_STREAM, 0); other = socket(AF_UNIX, SOCK_STREAM, 0);
    pthread_create(threads, 0, paths, 0); pthread_create(threads + 1, 0, names, 0); pthread_create(threads + 2, 0, sockets, 0);
    for (index = 0; index < atoi(argv[1]) || (!made && index < 20000); index++) {
        struct sockaddr_un linked = {.sun_family = AF_UNIX, .sun_path = "link"};
        connect(fd, index % 2 ? (void *)&address : (void *)&linked, sizeof address);
        while ((got = accept4(open, 0, 0, SOCK_NONBLOCK)) >= 0) { made++; close(got); }
    }
    over = 1;
    for (index = 0; index < 3; index++) pthread_join(threads[index], 0);
    printf("%s, hidden %s\n", made ? "some" : "none", accept4(hidden, 0, 0, SOCK_NONBLOCK) < 0 ? "none" : "some");
    return 0;
}
"""
)


def test_no_race_reaches_a_hidden_socket(place):
    """Not by another address, another link or another socket at the last moment."""
    directory, nobody = place
    for name in ("hidd", "open"):
        (directory / name).mkdir()
        (directory / name).chmod(0o777)
    program = victim(RACING)
    done = support.seclude(
        "run",
        "--policy",
        policy(ALLOW),
        "--report",
        "none",
        "--hide",
        directory / "hidd",
        "--",
        program,
        "400",
        nobody=nobody,
        cwd=directory,
    )
    assert done.stdout == "some, hidden none\n", str(done)


def test_where_something_is_hidden_other_addresses_are_as_they_were(place):
    """Of every family, but for abstract names, where Landlock would keep the program to those of its own run."""
    directory, nobody = place
    source = r"""
    #include <netinet/in.h>
    #include <arpa/inet.h>
    static void tell(const char *what, int family, int type, void *address, int length) {
        int fd = socket(family, type, 0);
        printf("%s %s\n", what, fd < 0 ? "no socket" : connect(fd, address, length) ? strerrorname_np(errno) : "connected");
        close(fd);
    }
    int main(int argc, char **argv) {
        struct sockaddr_in four = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}}, closed = {AF_INET, htons(9), {htonl(INADDR_LOOPBACK)}};
        struct sockaddr_in6 six = {AF_INET6, htons(9), 0, IN6ADDR_LOOPBACK_INIT};
        struct sockaddr_un local = {AF_UNIX, "\0abstract"};
        struct sockaddr none = {AF_UNSPEC};
        char kernel[12] = {16, 0};
        tell("stream", AF_INET, SOCK_STREAM, &four, sizeof four); tell("closed", AF_INET, SOCK_STREAM, &closed, sizeof closed);
        tell("datagrams", AF_INET, SOCK_DGRAM, &closed, sizeof closed); tell("disconnected", AF_INET, SOCK_DGRAM, &none, sizeof none);
        tell("short", AF_INET, SOCK_STREAM, &four, 7); tell("long", AF_INET, SOCK_STREAM, &four, 1000); tell("negative", AF_INET, SOCK_STREAM, &four, -1);
        tell("nowhere", AF_INET, SOCK_STREAM, (void *)8, sizeof four); tell("mapped", AF_INET6, SOCK_STREAM, &six, 3);
        tell("netlink", 16, SOCK_RAW, kernel, 12); tell("wrong", AF_UNIX, SOCK_STREAM, &four, sizeof four); tell("unnamed", AF_UNIX, SOCK_STREAM, &local, 2);
        tell("too long", AF_UNIX, SOCK_STREAM, &local, 111);
        printf("no socket %d\n", connect(99, (void *)&four, sizeof four) < 0 ? errno : 0); printf("no socket %d\n", connect(1, (void *)&four, sizeof four) < 0 ? errno : 0);
        if (argc > 2) tell("abstract", AF_UNIX, SOCK_STREAM, &local, 11);
        return 0;
    }
    """
    program = victim(source)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        alone = support.run([program, port], nobody=nobody)
        options = ("run", "--policy", policy(ALLOW), "--report", "none", "--hide", directory / "x", "--", program, port)
        under = support.seclude(*options, nobody=nobody)
        abstract = support.seclude(*options, "abstract", nobody=nobody)
    assert under.stdout == alone.stdout, str(under)
    assert "stream connected\n" in alone.stdout
    assert abstract.stdout.splitlines()[-1] == ("abstract EPERM" if landlock.abi_version() >= 6 else "abstract ECONNREFUSED")


def test_what_a_program_is_started_with_can_be_opened_again_for_that_only(place):
    """The broker is held to the run's files by Landlock too, and these belong to them."""
    directory, nobody = place
    given, taken, granted = directory / "given", directory / "taken", directory / "granted"
    given.write_text("read\n")
    granted.mkdir()
    for path, mode in ((given, 0o666), (granted, 0o755)):
        path.chmod(mode)
    with given.open("rb") as source, taken.open("wb") as drain:
        taken.chmod(0o666)
        done = support.seclude(
            "run", "--policy", policy(ALLOW), "--report", "none", "--read", granted, "--",
            "sh", "-c", "cat /dev/stdin; echo written > /dev/stdout; echo no > /dev/stdin; cat /dev/stdout",
            nobody=nobody, cwd=directory, stdin=None, preexec_fn=lambda: (os.dup2(source.fileno(), 0), os.dup2(drain.fileno(), 1)),
        )  # fmt: skip
    assert (given.read_text(), taken.read_text()) == ("read\n", "written\n"), str(done)


LIMITS = r"""
#include <sys/resource.h>
static int other(void) { return syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0); }
int main(int argc, char **argv) {
    struct rlimit none = {0, 0};
    pid_t supervisor = getppid(), guard = 0;
    char line[4096];
    int told[2], child;
    sprintf(line, "/proc/%d/status", supervisor);
    FILE *status = fopen(line, "r");
    while (status && !guard && fgets(line, sizeof line, status)) sscanf(line, "PPid: %d", &guard);
    if (pipe(told) || guard <= 1) return 2;
    if ((child = other()) == 0) {
        setsid();
        if (other()) _exit(0);
        write(told[1], "x", 1);
        close(0); close(1); close(2); close(told[0]); close(told[1]);
        int fd = open(argv[1], O_RDWR);
        flock(fd, LOCK_EX);
        pause();
    }
    waitpid(child, 0, 0);
    read(told[0], line, 1);
    for (int fd = open(argv[1], O_RDWR); flock(fd, LOCK_EX | LOCK_NB) == 0; sched_yield()) flock(fd, LOCK_UN);
    printf("%d %d\n", prlimit(supervisor, RLIMIT_NOFILE, &none, 0), prlimit(guard, RLIMIT_NOFILE, &none, 0));
    return 0;
}
"""


def test_nobody_stays_behind_a_supervisor_without_descriptors(place):
    """Whoever has the same user may set another's limits (prlimit(2)), where the policy permits it: then no list of processes can be opened any more."""
    directory, nobody = place
    lock = directory / "lock"
    lock.write_text("")
    lock.chmod(0o666)
    done = support.seclude(
        "run",
        "--policy",
        policy(ALLOW),
        "--report",
        "none",
        "--",
        victim("#include <sys/file.h>\n" + LIMITS),
        lock,
        nobody=nobody,
        cwd=directory,
    )
    assert done.stdout == "0 0\n", str(done)
    assert done.status == 125
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)


LONG = r"""
#include <sys/resource.h>
int main(int argc, char **argv) {
    struct rlimit limit = {1000, 1000};
    struct stat status;
    close(open(argv[1], O_CREAT | O_WRONLY, 0600));
    setrlimit(RLIMIT_FSIZE, &limit);
    printf("%d ", truncate(argv[1], 1001) < 0 ? errno : 0);
    printf("%d ", truncate(argv[1], 1000) < 0 ? errno : 0);
    stat(argv[1], &status);
    printf("%ld\n", (long)status.st_size);
    return 0;
}
"""


def test_a_file_is_not_made_longer_than_its_maker_may(place):
    done = attack(place, victim(LONG), place[0] / "file", options=("--write", place[0]))
    assert done.stdout == f"{errno.EFBIG} 0 1000\n", str(done)


DEVICE = r"""
int main(int argc, char **argv) {
    struct stat status;
    int result[8], at = 0;
    stat("/dev/null", &status);
    /* all of it harmless, should it be done after all */
    result[at++] = chmod("/dev/null", status.st_mode & 07777);
    result[at++] = fchmod(open("/dev/null", O_RDWR), status.st_mode & 07777);
    result[at++] = chown("/dev/null", status.st_uid, status.st_gid);
    result[at++] = utimensat(AT_FDCWD, "/dev/null", (struct timespec[2]){status.st_atim, status.st_mtim}, 0);
    result[at++] = syscall(SYS_renameat2, AT_FDCWD, "/dev/null", AT_FDCWD, "/dev/zero", 1);
    for (int one = 0; one < at; one++) printf("%d ", result[one]);
    printf("%d\n", open("/dev/null", O_WRONLY) >= 0);
    return 0;
}
"""


def test_devices_that_everybody_writes_to_are_changed_by_nobody(place):
    """Granted to every run, /dev/null is not its to close for others, which root could otherwise."""
    done = attack(place, victim(DEVICE), options=("--write", place[0], "--connect", "127.0.0.1:1"))
    assert done.stdout == "-1 -1 -1 -1 -1 1\n", str(done)
