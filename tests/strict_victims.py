"""Functions for strict mode: what should work, and everything that should not. Copied next to the script that calls them."""

import ctypes
import os
import socket
import sys
import time

BIG = list(range(300_000))


class Stubborn(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def add(a, b=1):
    return a + b


def kinds():
    return [None, True, -1, 2**200, 1.5, 2j, "hé\udc80", b"x", bytearray(b"y"), (1, (2,)), {"a": {1, 2}}, frozenset({3})]


def strings(count):
    return [str(number) for number in range(count)]


def blob(size):
    return b"x" * size


def deep(depth):
    return 0 if depth == 0 else 1 + deep(depth - 1)


def endless():
    return endless()


def churn():
    for _ in range(4):
        made = strings(200_000)
        del made
    return "done"


def consume(numbers):
    total = 0
    while numbers:
        total += numbers.pop()
    numbers.extend(range(500_000))
    return total + len(numbers)


def same(first, second):
    first.append(1)
    return first is second, second


def clear_global():
    total = sum(BIG)
    BIG.clear()
    return total


def huge_integer():
    return 3**50_000


def fail(text):
    raise ValueError(f"no {text}")


def fail_stubbornly():
    raise Stubborn


def leave():
    sys.exit(3)


def open_file():
    return open("/etc/passwd").read()


def process_id():
    return os.getpid()


def clock():
    return time.time()


def connect():
    return socket.socket()


def random():
    return os.urandom(4)


def kill_parent():
    os.kill(os.getppid(), 9)


def end_hard():
    os._exit(3)


def too_much():
    return len(bytearray(1 << 31))


def little_by_little():
    held: list[str] = []
    while True:
        held.append(str(len(held)) * 10)


def forever():
    while True:
        pass


def an_object():
    return [1, {"a": object()}]


def itself():
    made: list[object] = []
    made.append([made])
    return made


def show():
    os.write(1, b"shown")


def crash():
    return ctypes.string_at(8)


def forge(raw):
    for descriptor in range(3, 300):
        try:
            os.write(descriptor, raw)
        except OSError:
            continue
        os.write(descriptor, b"")
        forever()


def close_everything():
    os.closerange(0, 4096)


def descriptors():
    found = []
    for descriptor in range(64):
        try:
            os.write(descriptor, b"")
        except OSError:
            continue
        found.append(descriptor)
    return len(found)
