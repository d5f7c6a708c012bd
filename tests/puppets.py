"""Real processes that do what they are told, one system call at a time: ``puppet.c`` from Python.

A `World` starts a first process, hands each new thread a socket of its own, and knows when a thread has answered, when it is gone, and
when it sleeps in the kernel's seccomp code. Nothing waits for a time to pass: whoever compares asks again until what it sees is what it
expects, or patience ends.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
from typing import NamedTuple

__all__ = ["Audit", "Reply", "Seen", "Thread", "World"]

OPS = {
    name: number
    for number, name in enumerate(
        [
            "SYSCALL",
            "INT80",
            "SECCOMP",
            "PRCTL",
            "IOCTL",
            "FORK",
            "THREAD",
            "EXIT",
            "EXIT_GROUP",
            "SIGACTION",
            "SIGMASK",
            "HANDLED",
            "RECVFD",
            "POLL",
            "WAIT",
            "DISPATCH",
        ],
        1,
    )
}
_HEAD = struct.Struct("=II7Q")
_SEEN = struct.Struct("=iiiiII")
_LIBC = ctypes.CDLL(None, use_errno=True)


class Reply(NamedTuple):
    result: int
    payload: bytes


class Seen(NamedTuple):
    """A signal that a handler was called with."""

    signo: int
    code: int
    errno: int
    syscall: int
    arch: int


class Thread:
    """One thread, and the socket that it listens to."""

    def __init__(self, channel):
        self.channel = channel
        self.tid = self.pid = 0
        self.replies = []

    def tell(self, op, *args, payload=b"", fd=None):
        raw = _HEAD.pack(OPS[op], len(payload), *(value & 0xFFFFFFFFFFFFFFFF for value in (*args, *(0,) * (7 - len(args))))) + payload
        self.channel.send(raw)
        if fd is not None:
            self.channel.sendmsg([b"f"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])

    def look(self):
        """Take what it has answered so far."""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while raw := self.channel.recv(4096, socket.MSG_DONTWAIT):
                self.replies.append(Reply(struct.unpack_from("=q", raw)[0], raw[8:]))

    def status(self):
        """The lines of /proc/PID/task/TID/status; None where it is gone, or a zombie."""
        try:
            with open(f"/proc/{self.pid}/task/{self.tid}/status") as file:
                lines = dict(line.rstrip("\n").partition(":\t")[::2] for line in file)
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if lines.get("State", "X")[:1] in "ZX" else lines

    def asleep(self):
        """Whether it sleeps in the kernel's seccomp code: as a notified call, or as one that waits for a notification."""
        try:
            with open(f"/proc/{self.pid}/task/{self.tid}/wchan") as file:
                where = file.read()
                return "seccomp" in where or where == "recv_wait_event"
        except (FileNotFoundError, ProcessLookupError):
            return False

    @staticmethod
    def handled(reply):
        return [
            Seen(*_SEEN.unpack_from(reply.payload, at * _SEEN.size)[:5])
            for at in range(min(reply.result, len(reply.payload) // _SEEN.size))
        ]


class World:
    """All the processes of one experiment. Ended, and reaped, by `close`: this process becomes their reaper."""

    def __init__(self, program):
        _LIBC.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        self.threads = []
        ours, theirs = self._channel()
        self._pid = os.posix_spawn(
            program, [program], {}, file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)], setpgroup=0,
            setsigdef=list(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}), setsigmask=[],
        )  # fmt: skip
        theirs.close()
        self.first = Thread(ours)
        self._greet(self.first, None)

    @staticmethod
    def _channel():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        return ours, theirs

    def _greet(self, thread, pid):
        raw = thread.channel.recv(4096)
        assert raw, "the puppet did not start"
        thread.tid = struct.unpack_from("=q", raw)[0]
        thread.pid = thread.tid if pid is None else pid
        self.threads.append(thread)

    def make(self, thread, op):
        """FORK or THREAD: the new thread, once it listens; its maker's reply is taken."""
        ours, theirs = self._channel()
        thread.tell(op, fd=theirs.fileno())
        raw = thread.channel.recv(4096)
        theirs.close()
        made = Thread(ours)
        assert struct.unpack_from("=q", raw)[0] >= 0
        self._greet(made, None if op == "FORK" else thread.pid)
        return made

    def give(self, giver, fd, taker):
        """Send the taker a copy of the giver's descriptor; False where there is none."""
        handle = os.pidfd_open(giver.tid, os.O_EXCL)  # PIDFD_THREAD: the leader may be gone
        try:
            got = _LIBC.syscall(438, handle, fd, 0)  # pidfd_getfd
            if got < 0:
                return False
            try:
                taker.tell("RECVFD", fd=got)
            finally:
                os.close(got)
            return True
        finally:
            os.close(handle)

    @staticmethod
    def wait(threads, patience=1):
        """Until one of them has answered or is gone, at most so many milliseconds."""
        poll = select.poll()
        for thread in threads:
            poll.register(thread.channel, select.POLLIN)
        poll.poll(patience)

    def close(self):
        for pid in {thread.pid for thread in self.threads}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0x40000000)  # __WALL
        for thread in self.threads:
            thread.channel.close()


class Audit:
    """The kernel's audit records of seccomp, as every reader of the log group gets them. ``open()`` is None where this process may not read."""

    def __init__(self, reader):
        self._reader = reader
        self.complete = True

    @classmethod
    def open(cls):
        try:
            reader = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)  # NETLINK_AUDIT
            reader.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
            reader.bind((0, 1))  # AUDIT_NLGRP_READLOG
        except OSError:
            return None
        return cls(reader)

    def take(self):
        """What came since: dictionaries of the fields, numbers as they are written."""
        found: list[dict[str, str]] = []
        while True:
            try:
                raw = self._reader.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            except OSError:  # ENOBUFS: some were lost
                self.complete = False
                continue
            if struct.unpack_from("=H", raw, 4)[0] == 1326:
                text = raw[16:].decode("utf-8", "replace").rstrip("\0")
                found.append(dict(word.partition("=")[::2] for word in text.split() if "=" in word))

    def wait(self, patience=20):
        """Until there is a record, at most so many milliseconds."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.poll(patience)

    def close(self):
        self._reader.close()
