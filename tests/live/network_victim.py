"""Uses sockets in every way the broker knows, and prints what came of each, one line a try: ``name result``. Arguments: a granted port (the next one is not), a directory."""

import array
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sys
import threading

PORT, DIRECTORY = int(sys.argv[1]), sys.argv[2]
HOST, ELSEWHERE = "127.0.0.1", "127.0.0.2"
UNIX, INET, INET6, DGRAM = socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM
libc = ctypes.CDLL(None, use_errno=True)


def attempt(name, function):
    try:
        result = function()
    except OSError as error:
        result = errno.errorcode.get(error.errno or 0, "?")
    print(name, result, flush=True)


def raw(call, where, *arguments):
    """A call of the C library on a socket (which stays open meanwhile) or on a number."""
    result = call(where if isinstance(where, int) else where.fileno(), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def connected(family, address, kind=socket.SOCK_STREAM):
    one = socket.socket(family, kind)
    one.connect(address)
    return one


def greeted(family, address):
    return connected(family, address).recv(20).decode()


def not_blocking():
    one = socket.socket()
    one.setblocking(False)
    begun = one.connect_ex((HOST, PORT))
    select.select([], [one], [])
    return errno.errorcode.get(begun, begun), one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def disconnected():
    one = connected(INET, (HOST, PORT), DGRAM)
    one.send(b"x")
    raw(libc.connect, one, bytes(16), 16)
    return one.getpeername()


def sent(address, family=INET):
    return socket.socket(family, DGRAM).sendto(b"hello", address)


def of_no_family():
    address = struct.pack("=H", 0) + struct.pack(">H", PORT) + bytes([127, 0, 0, 2]) + bytes(8)
    return raw(libc.sendto, socket.socket(INET, DGRAM), b"hello", 5, 0, address, 16)


def by_message(address=None, kind=DGRAM, control=()):
    one = socket.socket(INET, kind)
    return one.sendmsg([b"a", b"bc"], control, 0, *([address] if address else []))


def fast_open(port):
    return socket.socket().sendto(b"zz", socket.MSG_FASTOPEN, (HOST, port))


def passed():
    here, there = socket.socketpair()
    reading, writing = os.pipe()
    socket.send_fds(here, [b"m"], [writing, reading])
    _, descriptors, _, _ = socket.recv_fds(there, 10, 4)
    os.write(descriptors[0], b"through")
    return os.read(descriptors[1], 9).decode()


def passed_closed():
    here, _ = socket.socketpair()
    return here.sendmsg([b"m"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [999]))])


def bound(address, family=INET, kind=socket.SOCK_STREAM):
    one = socket.socket(family, kind)
    one.bind(address)
    if kind == socket.SOCK_STREAM:
        one.listen()
    return one.getsockname()


def relative():
    os.chdir(DIRECTORY)
    return greeted(UNIX, "granted")


def rebound():
    os.unlink("new")
    return bound("new", UNIX)


def large():
    here, there = socket.socketpair()
    size = 3_000_000
    got = []
    thread = threading.Thread(target=lambda: got.append(sum(map(len, iter(lambda: there.recv(1 << 20), b"")))))
    thread.start()
    result = here.sendmsg([b"x" * (size - 5), b"", b"yyyyy"])
    here.close()
    thread.join()
    return result == size, got == [size]


def broken(flags=0):
    here, there = socket.socketpair()
    there.close()
    seen = []
    signal.signal(signal.SIGPIPE, lambda *_: seen.append("SIGPIPE"))
    try:
        here.sendmsg([b"x"], [], flags)
    except BrokenPipeError:
        return "EPIPE", seen
    finally:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def full():
    here, _ = socket.socketpair(UNIX, DGRAM)
    here.setblocking(False)
    while True:
        here.sendmsg([b"x" * 1000])


def timed():
    here, _ = socket.socketpair()
    here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 1000))
    while True:
        here.sendmsg([b"x" * 100_000])


def short(length, call=libc.connect):
    address = struct.pack("=H", INET) + struct.pack(">H", PORT) + bytes([127, 0, 0, 1]) + bytes(200)
    return raw(call, socket.socket(), address, length)


attempt("tcp", lambda: greeted(INET, (HOST, PORT)))
attempt("tcp-other", lambda: greeted(INET, (HOST, PORT + 1)))
attempt("mapped", lambda: greeted(INET6, ("::ffff:" + HOST, PORT)))
attempt("mapped-other", lambda: greeted(INET6, ("::ffff:" + ELSEWHERE, PORT)))
attempt("loopback6", lambda: greeted(INET6, ("::1", PORT)))
attempt("anywhere", lambda: greeted(INET, ("0.0.0.0", PORT)))
attempt("not-blocking", not_blocking)
attempt("disconnect", disconnected)
attempt("udp", lambda: sent((HOST, PORT)))
attempt("udp-other", lambda: sent((ELSEWHERE, PORT)))
attempt("udp-mapped", lambda: sent(("::ffff:" + HOST, PORT), INET6))
attempt("udp-of-no-family", of_no_family)
attempt("message", lambda: by_message((HOST, PORT)))
attempt("message-other", lambda: by_message((HOST, PORT + 1)))
attempt("message-nowhere", by_message)
attempt("message-stream", lambda: by_message((ELSEWHERE, PORT), socket.SOCK_STREAM, ()))
attempt("message-ttl", lambda: by_message((HOST, PORT), DGRAM, [(socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 9))]))
attempt("message-route", lambda: by_message((HOST, PORT), DGRAM, [(socket.IPPROTO_IP, socket.IP_RETOPTS, b"\x83\x07\x04" + bytes(5))]))
attempt("fast-open", lambda: fast_open(PORT))
attempt("fast-open-other", lambda: fast_open(PORT + 1))
attempt("passed", passed)
attempt("passed-closed", passed_closed)
attempt("local", lambda: greeted(UNIX, DIRECTORY + "/granted"))
attempt("local-relative", relative)
attempt("local-other", lambda: greeted(UNIX, DIRECTORY + "/secret"))
attempt("local-missing", lambda: greeted(UNIX, DIRECTORY + "/missing"))
attempt("local-file", lambda: greeted(UNIX, "/etc/passwd"))
attempt("local-by-proc", lambda: greeted(UNIX, f"/proc/self/cwd/{'granted'}"))
attempt("local-long", lambda: raw(libc.connect, socket.socket(UNIX), struct.pack("=H", UNIX) + b"/" * 109, 111))
attempt("abstract", lambda: greeted(UNIX, "\0nobody-granted-this"))
attempt("bind", lambda: bound((HOST, PORT + 1)))
attempt("bind-other", lambda: bound((HOST, PORT + 2)))
attempt("bind-anywhere", lambda: bound(("", PORT + 1)))
attempt("bind-udp", lambda: bound((HOST, PORT + 1), INET, DGRAM))
attempt("listen-unbound", lambda: socket.socket().listen())
attempt("bind-local", lambda: os.path.basename(bound(DIRECTORY + "/new", UNIX)))
attempt("bind-local-again", lambda: bound(DIRECTORY + "/new", UNIX))
attempt("bind-local-relative", rebound)
attempt("bind-local-other", lambda: bound(DIRECTORY + "/other", UNIX))
attempt("bind-automatic", lambda: raw(libc.bind, socket.socket(UNIX, DGRAM), struct.pack("=H", UNIX), 2))
attempt("closed", lambda: raw(libc.connect, 999, bytes(16), 16))
attempt("no-socket", lambda: raw(libc.connect, 0, bytes(16), 16))
attempt("short", lambda: short(15))
attempt("shorter", lambda: short(1))
attempt("long", lambda: short(129))
attempt("negative", lambda: short(-1))
attempt("nowhere", lambda: raw(libc.connect, socket.socket(), 8, 16))
attempt("wrong-family", lambda: raw(libc.connect, socket.socket(), struct.pack("=H", INET6) + bytes(26), 28))
attempt("raw", lambda: socket.socket(INET, socket.SOCK_RAW, 1))
attempt("route-option", lambda: socket.socket().setsockopt(0, 4, b"\x83\x07\x04" + bytes(5)))
attempt("large", large)
attempt("broken", broken)
attempt("broken-silent", lambda: broken(socket.MSG_NOSIGNAL))
attempt("full", full)
attempt("timed", timed)
attempt("refused", lambda: greeted(INET, (HOST, PORT + 3)))
