"""``--connect`` and ``--bind`` on the running kernel: what is granted works as ever, what is not is denied and told, and nobody is mistaken for the supervisor."""

import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import support
from run_support import c_program, directory, gone, python, run, who
from seclude.kernel import proc

pytestmark = pytest.mark.live

VICTIM = (Path(__file__).parent / "network_victim.py").read_text()
HOST = "127.0.0.1"

EXPECTED = """
tcp hello
tcp-other EACCES
mapped hello
mapped-other EACCES
loopback6 EACCES
anywhere EACCES
not-blocking ('EINPROGRESS', 0)
disconnect ENOTCONN
udp 5
udp-other EACCES
udp-mapped 5
udp-of-no-family EACCES
message 3
message-other EACCES
message-nowhere EDESTADDRREQ
message-stream EPIPE
message-ttl 3
message-route EPERM
fast-open 2
fast-open-other EACCES
passed through
passed-closed EBADF
local hello
local-relative hello
local-other EACCES
local-missing ENOENT
local-file ECONNREFUSED
local-by-proc EACCES
local-long EINVAL
abstract EACCES
bind ('127.0.0.1', PORT1)
bind-other EACCES
bind-anywhere EACCES
bind-udp ('127.0.0.1', PORT1)
listen-unbound EACCES
bind-local new
bind-local-again EADDRINUSE
bind-local-relative new
bind-local-other EACCES
bind-automatic EACCES
closed EBADF
no-socket ENOTSOCK
short EINVAL
shorter EINVAL
long EINVAL
negative EINVAL
nowhere EFAULT
wrong-family EAFNOSUPPORT
raw EPERM
route-option EPERM
large (True, True)
broken ('EPIPE', ['SIGPIPE'])
broken-silent ('EPIPE', [])
full EAGAIN
timed EAGAIN
refused ECONNREFUSED
"""


@contextlib.contextmanager
def serving(*listeners, say=lambda connection: b"hello"):
    """Greets everybody who connects, until the end of the block."""
    stop = threading.Event()

    def serve(listener):
        listener.settimeout(0.02)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection = listener.accept()[0]
                with connection, contextlib.suppress(OSError):
                    connection.sendall(say(connection))

    threads = [threading.Thread(target=serve, args=(one,)) for one in listeners]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def free(count, family=socket.AF_INET, host=HOST):
    """The first of ``count`` successive ports that nobody has. They are none of those that the kernel gives to whoever asks for any, which other tests
    have at any moment, and none of those that another process of this run may come to.
    """
    low = 10_000 + 2_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 10)
    for _ in range(100):
        port = random.SystemRandom().randrange(low, low + 2_000 - count)
        with contextlib.ExitStack() as trial, contextlib.suppress(OSError):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                for offset in range(count):
                    trial.enter_context(socket.socket(family, kind)).bind((host, port + offset))
            return port
    raise AssertionError("no free ports")


def reserved(count):
    """The first of ``count`` successive ports, of which nobody listens at the others."""
    port = free(count)
    first, datagrams = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    first.bind((HOST, port))
    datagrams.bind((HOST, port))
    first.listen(64)
    return first, datagrams


def everybodys(port):
    """Whether a low port needs no right here, as in many containers."""
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= port


def local(path):
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(path))
    os.chmod(path, 0o777)
    one.listen(16)
    return one


@pytest.mark.parametrize("nobody", who())
def test_every_use_of_a_socket(nobody):
    where = directory()
    first, datagrams = reserved(4)
    port = first.getsockname()[1]
    script = where / "victim.py"
    script.write_text(VICTIM)
    with first, datagrams, local(where / "granted") as granted, local(where / "secret"), serving(first, granted):
        ran = run(
            python(), str(script), str(port), str(where), nobody=nobody, options=(
                "--connect", f"{HOST}:{port}", "--connect", f"{HOST}:{port + 3}", "--connect", f"unix:{where}/granted",
                "--bind", f"{HOST}:{port + 1}", "--bind", f"unix:{where}/new",
            ),
        )  # fmt: skip
    assert ran.done.status == 0, str(ran.done)
    got = dict(line.split(" ", 1) for line in ran.done.stdout.splitlines())
    expected = dict(line.replace("PORT1", str(port + 1)).split(" ", 1) for line in EXPECTED.strip().splitlines())
    assert got == expected
    suggested = {denial["suggestion"] for denial in ran.denials}
    assert {
        f"--connect {HOST}:{port + 1}",
        f"--connect unix:{where}/secret",
        f"--bind {HOST}:{port + 2}",
        f"--bind unix:{where}/other",
    } <= suggested
    assert "--connect '[::1]:" + str(port) + "'" in suggested
    # What the kernel itself answered is no denial.
    assert not any("ENOENT" in denial["result"] or denial["result"] == "EBADF" for denial in ran.denials)


def test_a_peer_sees_the_target_and_not_the_supervisor():
    if os.geteuid() != 0:
        pytest.skip("needs a target that can change who it is")
    where = directory()
    program = (
        "import os, socket\nos.setgroups([7, 9])\nos.setresgid(65533, 65533, 65533)\nos.setresuid(65534, 65534, 65534)\n"
        f"one = socket.socket(socket.AF_UNIX)\none.connect({str(where / 'peer')!r})\nprint(one.recv(99).decode())\n"
        f"os.chdir('/')\ntry:\n    socket.socket(socket.AF_UNIX).connect({str(where / 'closed')!r})\nexcept OSError as error:\n    print(error.errno)\n"
        "try:\n    socket.socket().bind(('127.0.0.1', 99))\nexcept OSError as error:\n    print(error.errno)\n"
    )

    def credentials(connection):
        _, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        groups = connection.getsockopt(socket.SOL_SOCKET, 59, 64)  # SO_PEERGROUPS
        return repr((uid, gid, struct.unpack(f"{len(groups) // 4}I", groups))).encode()

    with local(where / "peer") as peer, local(where / "closed"), serving(peer, say=credentials):
        os.chmod(where / "closed", 0o700)
        ran = run(
            python(), "-c", program, options=("--connect", f"unix:{where}/peer", "--connect", f"unix:{where}/closed", "--bind", f"{HOST}:99")
        )  # fmt: skip
    # The kernel asks the target's rights, not the supervisor's: write permission on the socket, and CAP_NET_BIND_SERVICE.
    assert ran.done.stdout.split("\n")[:3] == ["(65534, 65533, (7, 9))", "13", "" if everybodys(99) else "13"], str(ran.done)


@pytest.mark.parametrize("nobody", who())
def test_credentials_in_a_message(nobody):
    where = directory()
    program = (
        "import os, socket, struct, sys\none = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "def tell(pid, uid, *more):\n"
        "    try:\n"
        f"        one.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack('iII', pid, uid, os.getgid()))] if pid else [], 0, {str(where / 'peer')!r})\n"
        "        print('sent')\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
        "print(os.getpid())\ntell(0, 0)\ntell(os.getpid(), os.getuid())\ntell(1, os.getuid())\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.bind(str(where / "peer"))
        os.chmod(where / "peer", 0o777)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        peer.setblocking(False)
        ran = run(python(), "-c", program, nobody=nobody, options=("--connect", f"unix:{where}/peer"))
        pid, *results = ran.done.stdout.split()
        told = []
        for _ in range(results.count("sent")):
            _, control, _, _ = peer.recvmsg(9, 64)
            told += [struct.unpack("iII", data)[:2] for level, kind, data in control if kind == socket.SCM_CREDENTIALS]
    privileged = os.geteuid() == 0 and not nobody
    if privileged:
        # It may say what it likes, as root may; what it does not say is filled in with who it is.
        assert results == ["sent", "sent", "sent"]
        assert told == [(int(pid), 0), (int(pid), 0), (1, 0)]
    else:
        uid = 65534 if nobody else os.getuid()
        assert results[0] == "sent"
        assert results[2] == "1"  # EPERM: another's process id
        assert all(known == uid for _, known in told)
        assert (1, uid) not in told


SENDMMSG = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct sockaddr_in to[3] = {0};
	struct iovec vectors[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
	struct mmsghdr messages[3] = {0};
	int fd = syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++) {
			to[i].sin_family = AF_INET;
			to[i].sin_port = htons(atoi(argv[i == 1 && round ? 2 : 1]));
			to[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
			messages[i].msg_hdr = (struct msghdr){ .msg_name = &to[i], .msg_namelen = sizeof to[i], .msg_iov = &vectors[i], .msg_iovlen = 1 };
			messages[i].msg_len = 99;
		}
		int sent = syscall(SYS_sendmmsg, fd, messages, 3, 0);
		printf("%d %d %u %u %u\n", sent, sent < 0 ? errno : 0, messages[0].msg_len, messages[1].msg_len, messages[2].msg_len);
	}
	int stream = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
	printf("%ld\n", syscall(SYS_connect, stream, &to[0], sizeof to[0]));
	printf("%ld\n", syscall(SYS_connect, syscall(SYS_socket, AF_INET, SOCK_STREAM, 0), &to[1], sizeof to[1]));
	return 0;
}
"""


@pytest.mark.parametrize("options", [(), ("-m32",)], ids=["native", "i386"])
def test_several_messages_at_once(options):
    """One that is not granted among several: none is sent. The layouts are those of the caller's architecture."""
    first, datagrams = reserved(1)
    other, forbidden = reserved(1)
    with first, datagrams, other, forbidden:
        granted, refused = first.getsockname()[1], other.getsockname()[1]
        ran = run(c_program(SENDMMSG, *options), str(granted), str(refused), options=("--connect", f"{HOST}:{granted}"))
        assert ran.done.stdout.splitlines() == ["3 0 1 2 3", "-1 13 99 99 99", "0", "-1"], str(ran.done)
        datagrams.setblocking(False)
        forbidden.setblocking(False)
        assert [datagrams.recv(9) for _ in range(3)] == [b"a", b"bb", b"ccc"]
        for one in (datagrams, forbidden):
            with pytest.raises(BlockingIOError):
                one.recv(9)
    assert ran.denied("sendmmsg")["suggestion"] == f"--connect {HOST}:{refused}"


def test_a_slow_host_holds_nobody_else():
    """A connect that waits for a listener whose queue is full, and beside it connects that do not; at the end what waits is given up."""
    program = """
import os, socket, sys, threading
slow, quick = int(sys.argv[1]), int(sys.argv[2])
for _ in range(20):
    threading.Thread(target=lambda: socket.create_connection(("127.0.0.1", slow)), daemon=True).start()
for _ in range(50):
    socket.create_connection(("127.0.0.1", quick)).close()
print("done", flush=True)
os._exit(0)
"""
    first, datagrams = reserved(1)
    with first, datagrams, socket.socket() as full, contextlib.ExitStack() as waiting, serving(first):
        full.bind((HOST, 0))
        full.listen(0)
        for _ in range(4):  # more than the queue holds; the rest of the handshakes is never answered
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        slow, quick = full.getsockname()[1], first.getsockname()[1]
        ran = run(python(), "-c", program, str(slow), str(quick), options=("--connect", f"{HOST}:{slow}", "--connect", f"{HOST}:{quick}"))
    assert ran.done.stdout == "done\n", str(ran.done)
    assert ran.report["code"] == 0


def test_what_is_granted_answers_as_without_a_broker():
    """The same tries without Seclude: what was not denied came out the same."""
    where = directory()
    first, datagrams = reserved(4)
    port = first.getsockname()[1]
    script = where / "victim.py"
    script.write_text(VICTIM)
    with first, datagrams, local(where / "granted") as granted, local(where / "secret") as secret, serving(first, granted, secret):
        done = support.run([python(), str(script), str(port), str(where)])
    assert done.status == 0, str(done)
    native = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    if os.geteuid() != 0:
        # Of a file that is no socket the kernel says so only to who may write it.
        assert native.pop("local-file") == "EACCES"
    expected = dict(line.replace("PORT1", str(port + 1)).split(" ", 1) for line in EXPECTED.strip().splitlines())
    denied = {name for name, result in expected.items() if result in ("EACCES", "EPERM")}
    # getsockname() of a local socket that the broker bound shows the last part of its path; that is all the victim prints.
    assert {name: result for name, result in native.items() if name not in denied} == {
        name: result for name, result in expected.items() if name not in denied and name in native
    }
    assert native.keys() >= expected.keys() - {"local-file"}


@pytest.mark.parametrize("nobody", who())
def test_a_supervisor_that_is_killed_in_the_middle(nobody):
    """Its target waits in a connect that the broker makes: it ends, and is never connected."""
    program = "import os, socket, sys\nprint(os.getpid(), flush=True)\nsocket.create_connection(('127.0.0.1', int(sys.argv[1])))\nprint('connected', flush=True)\n"
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind((HOST, 0))
        full.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        port = str(full.getsockname()[1])
        interpreter = python() if nobody else sys.executable
        child = support.start(
            [interpreter, "-m", "seclude", "run", "--connect", f"{HOST}:{port}", "--", python(), "-c", program, port],
            nobody=nobody, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert child.stdout is not None
        target = int(child.stdout.readline())
        handle = os.pidfd_open(target)
        try:
            # In the call: the supervisor has a thread for it, and this one has another.
            status = proc.status(target)
            assert status is not None
            parent = status.parent or 0
            assert parent > 1
            while len(proc.threads(parent)) < 3:
                os.sched_yield()
            os.kill(parent, 9)
            assert gone(handle)
        finally:
            os.close(handle)
        rest = child.communicate(timeout=support.PATIENCE)[0]
        assert b"connected" not in rest


SETTINGS = """
import ctypes, errno, socket, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
port, low = int(sys.argv[1]), int(sys.argv[2])

def attempt(function):
    try:
        return function()
    except OSError as error:
        return errno.errorcode[error.errno]

def greeted():
    with socket.create_connection(("127.0.0.1", port)) as one:
        return one.recv(9).decode()

def own_table():
    if libc.unshare(0x400):  # CLONE_FILES
        raise OSError(ctypes.get_errno(), "")
    keep = [socket.socket() for _ in range(5)]
    print(attempt(greeted))

def low_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", low))

if sys.argv[3] == "namespace" and libc.unshare(0x10000000):  # CLONE_NEWUSER, while there is one thread
    print(errno.errorcode[ctypes.get_errno()])
thread = threading.Thread(target=own_table)
thread.start()
thread.join()
if sys.argv[3] == "hidden":
    libc.prctl(4, 0)  # PR_SET_DUMPABLE
print(attempt(greeted))
print(attempt(low_port))
"""


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("what", ["hidden", "namespace"])
def test_targets_of_unusual_kinds(what, nobody):
    """A thread with a table of descriptors of its own; a process that hides its memory; one in a user namespace of its own, whose capabilities count there only."""
    first, datagrams = reserved(1)
    port = first.getsockname()[1]
    with first, datagrams, serving(first):
        ran = run(
            python(), "-c", SETTINGS, str(port), "98", what, nobody=nobody, options=("--connect", f"{HOST}:{port}", "--bind", f"{HOST}:98")
        )  # fmt: skip
    lines = ran.done.stdout.split()
    assert lines[0] == "hello", str(ran.done)
    privileged = os.geteuid() == 0 and not nobody
    if what == "hidden" and not privileged:
        assert lines[1:] == ["EPERM", "EPERM"]
        assert any("not dumpable" in denial["reason"] for denial in ran.denials)
    elif what == "hidden":
        assert lines[1:] == ["hello", "None"]
    else:
        assert lines[1:] == ["hello", "None" if everybodys(98) else "EACCES"]


LATER = """
import errno, os, socket, sys
where = sys.argv[1]

def tried(name="later"):
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(f"{where}/{name}")
            return one.recv(9).decode()
    except OSError as error:
        return errno.errorcode[error.errno]

print(tried())
os.symlink(f"{where}/secret", f"{where}/later")
print(tried())
os.unlink(f"{where}/later")
try:
    os.link(f"{where}/secret", f"{where}/later")
    print(tried())
    os.unlink(f"{where}/later")
except PermissionError:  # fs.protected_hardlinks
    print("EACCES")
os.rename(where, where + "-moved")
os.mkdir(where)
os.symlink(f"{where}-moved/secret", f"{where}/later")
print(tried())
where += "-moved"
server = socket.socket(socket.AF_UNIX)
server.bind(f"{where}/later")
server.listen()
if os.fork() == 0:
    server.accept()[0].send(b"own")
    os._exit(0)
print(tried())
os.rename(f"{where}/granted", f"{where}/elsewhere")
os.rename(f"{where}/secret", f"{where}/granted")
print(tried("granted"), tried("elsewhere"))
"""


@pytest.mark.parametrize("nobody", who())
def test_sockets_that_come_later_and_names_that_are_played_with(nobody):
    """A name lends nothing: not a link's, not another directory's in the place of the one that was granted, not a socket moved to where the granted one was."""
    where = directory()
    parent = where / "inner"
    parent.mkdir()
    parent.chmod(0o777)
    with local(parent / "granted") as granted, local(parent / "secret") as secret, serving(granted):
        for name in ("secret", "granted"):
            if nobody:
                os.chown(parent / name, support.NOBODY, support.NOBODY)
        ran = run(
            python(), "-c", LATER, str(parent), nobody=nobody, options=(
                "--connect", f"unix:{parent}/later", "--connect", f"unix:{parent}/granted", "--bind", f"unix:{parent}/later",
            ),
        )  # fmt: skip
        secret.setblocking(False)
        with pytest.raises(BlockingIOError):
            secret.accept()
    assert ran.done.stdout.split() == ["ENOENT", "EACCES", "EACCES", "EACCES", "own", "EACCES", "hello"], str(ran.done)


SIGNALLED = """
import ctypes, os, select, signal, socket, sys, threading, time
slow, quick, what = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

class Late(Exception):
    pass

def late(*_):
    raise Late

if what == "caught":
    signal.signal(signal.SIGALRM, late)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)  # on a busy machine it may be over before the call
        socket.create_connection(("127.0.0.1", slow))
    except Late:
        print("late")
elif what == "fatal":
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    socket.create_connection(("127.0.0.1", slow))
elif what == "restarted":
    # A handler of C's that asks for the call to be begun anew; it makes room for the connection that waits, by what it writes.
    reading, writing = os.pipe()
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False) if os.set_blocking(writing, False) is None else None
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, False)
    one = socket.socket()
    libc = ctypes.CDLL(None, use_errno=True)
    address = socket.AF_INET.to_bytes(2, sys.byteorder) + slow.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        with socket.create_connection(("127.0.0.1", quick)):
            os._exit(0)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    print(libc.connect(one.fileno(), address, 16))
"""


@pytest.mark.parametrize("what", ["caught", "fatal", "restarted"])
def test_signals_while_a_peer_is_waited_for(what):
    """They are taken as without a broker: a handler runs, a fatal one ends the program, and a call that its handler wants begun anew is."""
    with socket.socket() as full, socket.socket() as quick, contextlib.ExitStack() as waiting:
        full.bind((HOST, 0))
        full.listen(0)
        quick.bind((HOST, 0))
        quick.listen()
        held = []
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            held.append(one)

        def make_room():
            """Once the handler has run: take what is in the queue, until the one that waits gets in."""
            quick.accept()[0].close()
            full.settimeout(0.05)
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    full.accept()[0].close()

        done = threading.Event()
        thread = threading.Thread(target=make_room)
        if what == "restarted":
            thread.start()
        ports = [one.getsockname()[1] for one in (full, quick)]
        ran = run(
            python(), "-c", SIGNALLED, *map(str, ports), what,
            options=("--connect", f"{HOST}:{ports[0]}", "--connect", f"{HOST}:{ports[1]}", "--wall", "60s"),
        )  # fmt: skip
        done.set()
        if what == "restarted":
            thread.join()
    assert ran.report["limit"] == "", str(ran.done)
    if what == "fatal":
        assert ran.report["signal"] == 14
    else:
        assert ran.done.stdout == {"caught": "late\n", "restarted": "0\n"}[what], str(ran.done)


@pytest.mark.parametrize(
    ("option", "rule"), [("--allow", "connect"), ("--allow", "@network-io"), ("--deny", "connect"), ("--allow", "sendto")]
)
def test_rules_that_go_past_the_broker_are_refused(option, rule):
    done = support.seclude("run", option, rule, "--connect", "127.0.0.1:9", "--", "true")
    assert done.status == 125
    assert "already" in done.stderr
    assert support.seclude("run", "--allow", "getppid", "--connect", "127.0.0.1:9", "--", "true").status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--connect", "nonsense"), "a port after the name"),
        (("--connect", "no-such-host.invalid:80"), "cannot be resolved"),
        (("--bind", "unix:"), "the path of a socket"),
        (("--no-report", "--connect", "127.0.0.1:9"), "reporting is off"),
    ],
)
def test_what_cannot_be_held_is_refused_before_anything_runs(words, said):
    done = support.seclude("run", *words, "--", "echo", "ran")
    assert done.status == 125
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("preset", ["container", "no-network", "readonly"])
def test_addresses_open_what_they_need_under_every_preset(preset):
    first, datagrams = reserved(1)
    port = first.getsockname()[1]
    code = f"import socket; print(socket.create_connection(('{HOST}', {port})).recv(9))"
    with first, datagrams, serving(first):
        done = support.seclude("run", "--policy", preset, "--connect", f"{HOST}:{port}", "--", python(), "-c", code)
    assert done.stdout == "b'hello'\n", str(done)


SERVER = """
import socket, sys
port = int(sys.argv[1])
with socket.create_server(("::1" if sys.argv[2] == "6" else "127.0.0.1", port), family=socket.AF_INET6 if sys.argv[2] == "6" else socket.AF_INET) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    connection.sendall(connection.recv(9) + b" yourself")
    connection.close()
with socket.socket(server.family, socket.SOCK_DGRAM) as datagrams:
    datagrams.bind(("::1" if sys.argv[2] == "6" else "127.0.0.1", port))
    print("ready", flush=True)
    data, sender = datagrams.recvfrom(9)
    try:
        datagrams.sendto(data, sender)
    except PermissionError:
        print("denied", flush=True)
"""


@pytest.mark.parametrize("version", ["4", "6"])
def test_a_server(version):
    """It binds, listens and accepts where it may; an answer to a datagram is one to an address, which was not granted."""
    family, host = (socket.AF_INET6, "::1") if version == "6" else (socket.AF_INET, HOST)
    try:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    port = free(1, family, host)
    granted = f"[{host}]:{port}" if version == "6" else f"{host}:{port}"
    child = support.start(
        [sys.executable, "-m", "seclude", "run", "--policy", "no-network", "--bind", granted, "--", python(), "-c", SERVER, str(port), version],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n"
        with socket.create_connection((host, port), timeout=support.PATIENCE) as one:
            one.sendall(b"hello")
            assert one.recv(99) == b"hello yourself"
        assert child.stdout.readline() == b"ready\n"
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind((host, 0))
            one.sendto(b"hello", (host, port))
            assert child.stdout.readline() == b"denied\n"
            shown = f"[{host}]:{one.getsockname()[1]}" if version == "6" else f"{host}:{one.getsockname()[1]}"
        _, report = child.communicate(timeout=support.PATIENCE)
    finally:
        child.kill()
        child.wait()
    assert f"--connect '{shown}'".encode() in report or f"--connect {shown}".encode() in report


@pytest.mark.parametrize("engine", ["notify", "ptrace"])
def test_beside_a_handler_on_either_engine(engine):
    """A handler that allows a call leaves it to the broker, and one that denies has the last word."""
    where = directory()
    (where / "mine.py").write_text(
        "from seclude.supervise import Allow, Deny, handler\n@handler('connect', may=(Allow, Deny))\n"
        "def decide(call):\n    return Deny('ENETDOWN') if call.args['sockfd'] == 77 else Allow()\n"
    )
    first, datagrams = reserved(2)
    port = first.getsockname()[1]
    code = f"""
import errno, os, socket
def attempt(port, number=None):
    one = socket.socket()
    if number is not None:
        os.dup2(one.fileno(), number)
        one = socket.socket(fileno=number)
    try:
        one.connect(("{HOST}", port))
        print(one.recv(9).decode())
    except OSError as error:
        print(errno.errorcode[error.errno])
attempt({port})
attempt({port + 1})
attempt({port}, 77)
"""
    with first, datagrams, serving(first):
        done = support.seclude(
            "run", "--engine", engine, "--handler", f"{where}/mine.py:decide", "--connect", f"{HOST}:{port}", "--", python(), "-c", code
        )  # fmt: skip
    assert done.stdout.split() == ["hello", "EACCES", "ENETDOWN"], str(done)
