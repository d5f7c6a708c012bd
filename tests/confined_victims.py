"""Functions for confined workers: what should work, and everything that should not. Imported by `tests/live/test_confined.py` and by workers."""

import ctypes
import itertools
import os
import signal
import struct
import sys
import threading
import time

import seclude

CHANNEL = 3
calls = 0


class Rude(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Loud(Exception):
    def __str__(self):
        return "\x1b[2J\x1b]0;owned\x07\u202e" + "x" * 100_000


class Nameless(type):
    def __getattribute__(cls, name):
        if name == "__qualname__":
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class Anonymous(Exception, metaclass=Nameless):
    pass


class Number(int):
    pass


def add(a, b=1):
    return a + b


def echo(*args, **keywords):
    return [args, keywords]


def huge():
    return b"x" * 50_000_000


def many():
    return list(range(3_000_000))


def cyclic():
    found: list[object] = []
    found.append(found)
    return found


def deep():
    found: list[object] = []
    for _ in range(100_000):
        found = [found]
    return found


def an_object():
    return {"a": [1, object()]}


def a_subclass():
    return Number(3)


def fail(text):
    raise ValueError(text)


def rude():
    raise Rude


def loud():
    raise Loud


def anonymous():
    raise Anonymous


def leave():
    sys.exit(3)


def interrupt():
    raise KeyboardInterrupt


def end_hard(status):
    os._exit(status)


def forever():
    while True:
        pass


def sleep():
    time.sleep(3600)


def endless():
    return endless()


def crash():
    ctypes.memset(0, 0, 1)


def allocate():
    held = []
    while True:
        held.append(bytes(1 << 20))


def in_small_pieces():
    return [object() for _ in itertools.count()]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def read_and_say(path):
    try:
        return read(path).decode()
    except OSError as error:
        return type(error).__name__


def raw_call(number, *arguments):
    return ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))


def connect():
    import socket

    socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def leave_daemons():
    """Processes that left the session, and whose parent is gone; their numbers."""
    reader, writer = os.pipe()
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(writer, struct.pack("i", os.getpid()))
                time.sleep(3600)
            os._exit(0)
    return [struct.unpack("i", os.read(reader, 4))[0] for _ in range(3)]


def start_processes():
    made = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(3600)
            os._exit(0)
        made.append(pid)
    return made


def forks(most):
    """Fork until it is refused, ``most`` times at the most; the children wait."""
    for made in range(most):
        try:
            if os.fork() == 0:
                time.sleep(3600)
                os._exit(0)
        except OSError as error:
            return [made, type(error).__name__]
    return [most, ""]


def leave_threads():
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    return threading.active_count()


def late_writer():
    """Return, and write to the channel when the worker waits for the next call."""
    main = threading.get_ident()

    def write():
        while sys._current_frames()[main].f_code.co_name != "_serve":
            time.sleep(0)
        os.write(CHANNEL, b"\0" * 64)

    threading.Thread(target=write, daemon=True).start()
    return "first"


def descriptors():
    found = {}
    for number in range(1024):
        try:
            found[number] = os.fstat(number).st_mode & 0o170000
        except OSError:
            continue
    return found


def state():
    fields = (line.partition(":") for line in read("/proc/self/status").decode().splitlines())
    wanted = ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp", "SigBlk")
    return {name: int(value, 16) for name, _, value in fields if name in wanted}


def process_group():
    return [os.getpid(), os.getpgid(0), os.getsid(0)]


def environment():
    return dict(os.environ)


def count():
    global calls
    calls += 1
    return calls


def poison():
    """Change what the next call in the same worker will see."""
    vars(sys.modules["builtins"])["sorted"] = lambda _: 42
    return "poisoned"


def length(value):
    return len(value)


def close_channel():
    os.close(CHANNEL)
    return "nobody hears this"


def write_garbage(garbage):
    os.write(CHANNEL, garbage)
    time.sleep(3600)


def forge(size):
    """An answer by hand, with the nonce of the call at hand, as an attacker who reads this process's memory finds it."""
    nonce = sys._getframe(1).f_locals["nonce"]
    os.write(CHANNEL, struct.pack("<8scQ", nonce, b"R", size) + b"L\x05" * 10)
    time.sleep(3600)


def forge_kind(kind, payload):
    nonce = sys._getframe(1).f_locals["nonce"]
    os.write(CHANNEL, struct.pack("<8scQ", nonce, kind, len(payload)) + payload)
    time.sleep(3600)


def forge_two():
    nonce = sys._getframe(1).f_locals["nonce"]
    answer = struct.pack("<8scQ", nonce, b"R", 1) + b"N"
    os.write(CHANNEL, answer * 2)
    time.sleep(3600)


def kill_template():
    os.kill(os.getppid(), signal.SIGKILL)


def trace_template():
    return raw_call(101, 0x4206, os.getppid(), 0, 0)


def stop_itself():
    os.kill(os.getpid(), signal.SIGSTOP)


def outer():
    return inner(20)


@seclude.confined("compute")
def inner(depth):
    return depth if depth == 0 else inner(depth - 1)


@seclude.confined("compute")
def fibonacci(number):
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


def prepare():
    global calls
    calls = 100


def start_thread():
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


def die():
    os._exit(1)


def either(what):
    """Several functions in one, for workers that are reused."""
    if what == "poison":
        return poison()
    if what == "sort":
        return sorted("ba")
    if what == "write late":
        return late_writer()
    if what == "forever":
        forever()
    return what


def files(place, scratch):
    found = {}

    def attempt(name, function, *arguments):
        try:
            found[name] = function(*arguments)
        except OSError as error:
            found[name] = type(error).__name__

    def write(path):
        with open(path, "w") as file:
            return file.write("hello")

    attempt("read", lambda: read(place + "/open/it").decode())
    attempt("read beside", read, place + "/secret")
    attempt("empty by reading", lambda: os.open(place + "/open/it", os.O_RDONLY | os.O_TRUNC))
    attempt("read again", lambda: read(place + "/open/it").decode())
    attempt("write", write, scratch + "/new")
    attempt("write beside", write, place + "/open/new")
    attempt("make", os.mkdir, scratch + "/directory")
    attempt("rename", os.rename, scratch + "/directory", scratch + "/made")
    attempt("list", lambda: sorted(os.listdir(scratch)))
    attempt("link out", os.symlink, place + "/secret", scratch + "/link")
    attempt("read through it", read, scratch + "/link")
    write(scratch + "/more")
    attempt("remove", os.remove, scratch + "/more")
    attempt("chmod", os.chmod, scratch + "/new", 0o777)
    attempt("late import", lambda: repr(__import__("fractions").Fraction(1, 3)))
    attempt("execute", os.execv, "/bin/true", ["true"])
    attempt("make beside", os.mkdir, place + "/directory")
    return found


def disturb_the_start():
    """In a template: have workers make a denied call between the filter and their word that it is in force."""
    from seclude.sandbox import confined_worker

    class Disturbed:
        def __getattr__(self, name):
            return getattr(os, name)

        def write(self, descriptor, data):
            if descriptor == confined_worker.SYNC and data == b"i":
                try:
                    os.mkdir("/denied")
                except PermissionError:
                    os.sched_yield()
            return os.write(descriptor, data)

    vars(confined_worker)["os"] = Disturbed()
