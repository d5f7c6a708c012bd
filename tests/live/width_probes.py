"""Asks the running kernel which bits of a register it reads; run as a program, it prints one JSON object a line for each probe.

    PYTHONPATH=src python tests/live/width_probes.py

Each probe makes one harmless call again and again: with its usual arguments, with the bits above the parameter's width changed (nothing may
change), and with one bit inside the width changed (the outcome must change). Registers are set by raw system calls: syscall(2) for x86-64, and for
i386 an ``int 0x80`` from 64-bit code, whose registers carry 64 bits that the kernel must not read.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import socket
import struct
import sys
import tempfile
from pathlib import Path

from seclude.abi.architecture import arch as architecture
from seclude.abi.prototypes import prototype

MASK = (1 << 64) - 1
JUNK = (0xFFFFFFFFFFFFFFFF, 0x5A5A5A5A5A5A5A5A, 0x1000000000001)  # shifted to lie above the width

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
LOW = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40)  # MAP_32BIT, so that 32-bit pointers reach it
BASE = ctypes.addressof(ctypes.c_char.from_buffer(LOW))
PAGE = 4096


class Memory:
    """Bytes below 4 GiB, handed out in order; each is kept for the life of the process."""

    used = 16 * PAGE  # the first pages are for mprotect, madvise and the like

    @classmethod
    def put(cls, data: bytes) -> int:
        at = cls.used
        LOW[at : at + len(data)] = data
        cls.used = at + (len(data) + 15) // 16 * 16
        return BASE + at


def read(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


def path(name: str | Path) -> int:
    return Memory.put(os.fsencode(name) + b"\0")


# push rbx; push rbp; mov rax, rdi; mov r11, rsi; rbx, rcx, rdx, rsi, rdi, rbp from [r11]; int 0x80; pop rbp; pop rbx; ret
STUB = bytes.fromhex("5355 4889f8 4989f3 498b1b 498b4b08 498b5310 498b7318 498b7b20 498b6b28 cd80 5d5bc3")


def int80():
    """A function (number, pointer to six registers) → eax, through the 32-bit entry."""
    page = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(STUB)
    pointer = ctypes.addressof(ctypes.c_char.from_buffer(page))
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_uint64, ctypes.c_void_p)(pointer)
    entry.page = page  # type: ignore[attr-defined]
    return entry


class Abi:
    """One way into the kernel."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.arch = architecture(name)
        self.entry = int80() if name == "x86" else None

    def raw(self, call: str, registers: list[int]) -> int:
        """The result, negative errno where it failed."""
        number = self.arch.number(call)
        assert number is not None, f"{self.name} has no {call}"
        if self.entry is not None:
            block = (ctypes.c_uint64 * 6)(*registers)
            return int(self.entry(number, ctypes.addressof(block)))
        result = libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(value) for value in registers))
        return -ctypes.get_errno() if result == -1 else result

    def registers(self, call: str, values: dict[str, int]) -> list[int]:
        """Six registers from values by parameter name, split as the prototype says."""
        shape = prototype(self.arch, call)
        assert shape is not None
        registers = [0] * 6
        for name, value in values.items():
            parameter = shape.parameter(name)
            assert parameter is not None, f"{call} has no {name}"
            if len(parameter.registers) == 1:
                registers[parameter.registers[0]] = value & MASK
            else:
                for half, register in enumerate(parameter.registers):
                    registers[register] = value >> (32 * half) & 0xFFFFFFFF
        return registers

    def call(self, call: str, **values: int) -> int:
        return self.raw(call, self.registers(call, values))


def named(result: int) -> object:
    return errno.errorcode.get(-result, result) if result < 0 else result


def plain(abi, call, values):
    """The outcome is the result."""
    return named(abi.call(call, **values))


def done(abi, call, values):
    """The outcome is whether it worked, or the error."""
    result = abi.call(call, **values)
    return named(result) if result < 0 else "done"


def opened(abi, call, values):
    """The outcome is what the new descriptor is, which is closed again."""
    result = abi.call(call, **values)
    if result < 0:
        return named(result)
    status = os.stat(result)
    import fcntl

    outcome = [status.st_mode, fcntl.fcntl(result, fcntl.F_GETFL), fcntl.fcntl(result, fcntl.F_GETFD)]
    os.close(result)
    return outcome


def fed(writer):
    """The outcome of a call that takes a byte out of a pipe, which is put in before."""

    def outcome(abi, call, values):
        os.write(writer, b"x")
        return plain(abi, call, values)

    return outcome


def pair(at):
    def outcome(abi, call, values):
        result = abi.call(call, **values)
        if result < 0:
            return named(result)
        import fcntl

        fds = struct.unpack("ii", read(at, 8))
        shown = [[os.fstat(fd).st_mode, fcntl.fcntl(fd, fcntl.F_GETFL), fcntl.fcntl(fd, fcntl.F_GETFD)] for fd in fds]
        for fd in fds:
            os.close(fd)
        return shown

    return outcome


def made(where: Path):
    """The outcome is the mode of a file made (and removed again)."""

    def outcome(abi, call, values):
        old = os.umask(0)
        result = abi.call(call, **values)
        os.umask(old)
        shown = named(result) if result < 0 else [os.lstat(where).st_mode, os.lstat(where).st_rdev]
        if result > 2:
            os.close(result)
        if where.is_dir():
            where.rmdir()
        else:
            where.unlink(missing_ok=True)
        return shown

    return outcome


def statted(where: Path):
    """The outcome is what a file's mode, owner and size are afterwards."""

    def outcome(abi, call, values):
        result = abi.call(call, **values)
        status = os.stat(where)
        return [named(result), status.st_mode, status.st_uid, status.st_gid, status.st_size]

    return outcome


def mapped(abi, call, values):
    """The outcome is the permissions of the new mapping."""
    result = abi.call(call, **values)
    if -4096 < result < 0:
        return named(result)
    address = result & (0xFFFFFFFF if abi.name == "x86" else MASK)
    with open("/proc/self/maps") as maps:
        for line in maps:
            first, last = (int(end, 16) for end in line.split()[0].split("-"))
            if first <= address < last:
                shown = [line.split()[1], line.split()[4] != "0", line.split()[2]]
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(values.get("length", PAGE) & 0xFFFFFF))
    return shown


def forked(abi, call, values):
    """The outcome is whether a child came of it (which leaves at once)."""
    result = abi.call(call, **values)
    if result == 0:
        os._exit(7)
    if result < 0:
        return named(result)
    return ["child", os.waitpid(result, 0)[1]]


def alone(abi, call, values):
    """`done`, in a child: for what would change this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, repr(done(abi, call, values)).encode())
        os._exit(0)
    os.close(writer)
    shown = os.read(reader, 1000).decode()
    os.close(reader)
    os.waitpid(child, 0)
    return shown


def masked(abi, call, values):
    result = abi.call(call, **values)
    back = os.umask(0o22)
    return ["done" if result >= 0 else named(result), back]


def persona(abi, call, values):
    result = abi.call(call, **values)
    back = libc.personality(ctypes.c_ulong(0xFFFFFFFF))
    libc.personality(ctypes.c_ulong(0))
    return [named(result), back & 0xFFFFFFFF]


class Probes:
    """The list, built around files and descriptors of this process."""

    def __init__(self, directory: Path) -> None:
        self.rows: list[tuple[str, str, str, dict[str, int], object, object]] = []
        self.directory = directory

    def add(self, call, parameter, changed, outcome=plain, abis="x86_64 x86", **values):
        """``changed``: the bit whose change must show, ``=V`` a value that must show a difference, or None where the kernel shows none."""
        for abi in abis.split():
            self.rows.append((abi, call, parameter, values, changed, outcome))

    def several(self, call, changes, outcome=plain, abis="x86_64 x86", **values):
        for parameter, changed in changes.items():
            self.add(call, parameter, changed, outcome, abis, **values)


def build(directory: Path) -> Probes:
    """Every probe. Values name what is usual; bits are chosen so that the change is refused rather than done, wherever it can be."""
    p = Probes(directory)
    me = os.getpid()
    file = directory / "file"
    file.write_bytes(b"x" * 8192)
    named_file, fresh, missing = path(file), directory / "fresh", path(directory / "missing")
    fd = os.open(file, os.O_RDWR)
    folder = os.open(directory, os.O_RDONLY)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.write(writer, b"abc")
    buffer, zeros = Memory.put(bytes(4096)), Memory.put(bytes(256))
    word, deadline = Memory.put(struct.pack("I", 5)), Memory.put(bytes(16))
    only = "x86_64"
    AT, END = -100 & 0xFFFFFFFF, 31

    # sockets
    left, right = socket.socketpair()
    left.setblocking(False)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.bind(str(directory / "socket"))
    waiting.listen(1)
    waiting.setblocking(False)
    end, listener = left.detach(), waiting.detach()
    right.detach()
    spare = socket.socket(socket.AF_UNIX).detach()
    address = struct.pack("H", socket.AF_UNIX) + os.fsencode(file) + b"\0"
    taken, length = Memory.put(address), len(address)
    p.several("socket", {"domain": END, "type": END, "protocol": END}, opened, domain=1, type=1, protocol=0)
    p.several("socketpair", {"domain": END, "type": END, "protocol": END}, pair(buffer), domain=1, type=1, protocol=0, sv=buffer)
    p.several("accept4", {"sockfd": 20, "flags": 30}, sockfd=listener, addr=0, addrlen=0, flags=0)
    p.several("listen", {"sockfd": 20}, sockfd=listener, backlog=1)
    p.several("connect", {"sockfd": 20, "addrlen": END}, sockfd=spare, addr=taken, addrlen=length)
    p.several("bind", {"sockfd": 20, "addrlen": END}, sockfd=end, addr=taken, addrlen=length)
    p.several(
        "getsockopt",
        {"sockfd": 20, "level": END, "optname": END},
        sockfd=end,
        level=1,
        optname=3,
        optval=buffer,
        optlen=Memory.put(b"\4\0\0\0"),
    )
    p.several(
        "setsockopt", {"sockfd": 20, "level": END, "optname": END, "optlen": END}, sockfd=end, level=1, optname=2, optval=zeros, optlen=4
    )
    p.several("shutdown", {"sockfd": 20, "how": END}, sockfd=spare, how=0)
    p.several("recvfrom", {"sockfd": 20, "flags": 0}, sockfd=end, buf=buffer, len=10, flags=0x40, src_addr=0, addrlen=0)
    p.several("sendto", {"sockfd": 20, "flags": 0, "addrlen": END}, sockfd=end, buf=zeros, len=0, flags=0x40, dest_addr=zeros, addrlen=2)

    # descriptors
    p.several("lseek", {"fd": 20, "whence": END}, fd=fd, offset=0, whence=1)
    p.add("lseek", "offset", 40, abis=only, fd=fd, offset=100, whence=0)
    p.several("fcntl", {"fd": 20, "cmd": END}, fd=fd, cmd=1, arg=0)
    p.several("fcntl64", {"fd": 20, "cmd": END}, abis="x86", fd=fd, cmd=1, arg=0)
    p.several("ioctl", {"fd": 20, "request": END}, fd=reader, request=0x541B, arg=buffer)
    null = os.open("/dev/null", os.O_RDWR)
    p.several("ioctl", {"request": 14}, fd=null, request=0x5451, arg=0)
    p.several("dup", {"oldfd": 20}, opened, oldfd=fd)
    p.several("dup2", {"oldfd": 20, "newfd": 30}, opened, oldfd=fd, newfd=99)
    p.several("dup3", {"oldfd": 20, "newfd": 30, "flags": END}, opened, oldfd=fd, newfd=99, flags=0o2000000)
    p.several("pipe2", {"flags": END}, pair(buffer), pipefd=buffer, flags=0o2000000)
    p.several("eventfd2", {"flags": END}, opened, initval=1, flags=0)
    p.several("epoll_create1", {"flags": END}, opened, flags=0)
    p.several("epoll_create", {"size": END}, opened, size=1)
    poller, event = os.eventfd(0), Memory.put(struct.pack("<IQ", 1, 0))
    epoll = libc.epoll_create1(0)
    p.several("epoll_ctl", {"epfd": 20, "op": END, "fd": 20}, epfd=epoll, op=3, fd=poller, event=event)
    p.several("epoll_wait", {"epfd": 20, "maxevents": END}, epfd=epoll, events=buffer, maxevents=1, timeout=0)
    p.several("epoll_pwait", {"epfd": 20, "maxevents": END}, epfd=epoll, events=buffer, maxevents=1, timeout=0, sigmask=0, sigsetsize=8)
    p.several("inotify_init1", {"flags": END}, opened, flags=0)
    notify = libc.inotify_init1(0)
    p.several("inotify_add_watch", {"fd": 20, "mask": 0}, fd=notify, pathname=named_file, mask=1)
    p.several("inotify_rm_watch", {"fd": 20}, fd=notify, wd=77)
    p.several("signalfd4", {"flags": END}, opened, fd=0xFFFFFFFF, mask=zeros, sizemask=8, flags=0)
    p.several("timerfd_create", {"clockid": END, "flags": END}, opened, clockid=1, flags=0)
    timer = libc.timerfd_create(1, 0)
    p.several("timerfd_settime", {"fd": 20, "flags": END}, fd=timer, flags=0, new_value=zeros, old_value=0)
    p.several("memfd_create", {"flags": END}, opened, name=path("m"), flags=1)
    p.several("flock", {"fd": 20, "operation": END}, fd=fd, operation=8)
    p.several("close_range", {"first": END, "last": 12, "flags": END}, first=5000, last=5000, flags=0)
    p.several("fsync", {"fd": 20}, fd=fd)
    p.several("read", {"fd": 20}, fd=null, buf=buffer, count=1)
    p.several("write", {"fd": 20}, fd=null, buf=zeros, count=1)
    vector = Memory.put(struct.pack("QQ", buffer, 1) * 8)
    p.several("readv", {"fd": 20, "iovcnt": END}, abis=only, fd=null, iov=vector, iovcnt=1)
    p.several("writev", {"fd": 20, "iovcnt": END}, abis=only, fd=null, iov=vector, iovcnt=1)
    p.several("preadv", {"fd": 20, "iovcnt": END, "offset": 63}, abis=only, fd=fd, iov=vector, iovcnt=1, offset=0)
    p.several("pwritev", {"fd": 20, "iovcnt": END, "offset": 63}, abis=only, fd=fd, iov=vector, iovcnt=1, offset=0)
    p.several("preadv2", {"fd": 20, "iovcnt": END, "flags": END}, abis=only, fd=fd, iov=vector, iovcnt=1, offset=0, flags=0)
    p.several("pwritev2", {"fd": 20, "iovcnt": END, "flags": END}, abis=only, fd=fd, iov=vector, iovcnt=1, offset=0, flags=0)
    narrow = Memory.put(struct.pack("II", buffer, 1) * 8)
    p.several("readv", {"fd": 20, "iovcnt": END}, abis="x86", fd=null, iov=narrow, iovcnt=1)
    p.several("preadv2", {"fd": 20, "flags": END}, abis="x86", fd=fd, iov=narrow, iovcnt=1, offset=0, flags=0)
    p.several(
        "process_vm_readv",
        {"pid": 22, "liovcnt": END, "riovcnt": 40, "flags": 40},
        abis=only,
        pid=me,
        local_iov=vector,
        liovcnt=1,
        remote_iov=vector,
        riovcnt=1,
        flags=0,
    )
    p.several(
        "splice", {"fd_in": 20, "fd_out": 20, "flags": END}, fed(writer), fd_in=reader, off_in=0, fd_out=null, off_out=0, len=1, flags=2
    )
    p.several("tee", {"fd_in": 20, "fd_out": 20, "flags": END}, fd_in=reader, fd_out=os.pipe()[1], len=1, flags=2)
    p.several("vmsplice", {"fd": 20, "nr_segs": END, "flags": END}, abis=only, fd=writer, iov=Memory.put(bytes(64)), nr_segs=1, flags=2)
    p.several("sync_file_range", {"fd": 20, "flags": END}, fd=fd, offset=0, nbytes=1, flags=0)
    p.several("sync_file_range", {"offset": 63, "nbytes": 63}, fd=fd, offset=1, nbytes=1, flags=0)
    p.several("fadvise64", {"fd": 20, "advice": END}, fd=fd, offset=0, len=0, advice=0)
    p.several("fadvise64_64", {"fd": 20, "advice": END}, abis="x86", fd=fd, offset=0, len=0, advice=0)
    p.several("fallocate", {"fd": 20, "mode": END, "offset": 63, "len": 63}, fd=fd, mode=0, offset=1, len=1)
    p.several("pread64", {"fd": 20, "offset": 63}, fd=fd, buf=buffer, count=1, offset=0)
    p.several("pwrite64", {"fd": 20, "offset": 63}, fd=fd, buf=zeros, count=1, offset=0)
    p.several("ftruncate", {"fd": 20}, fd=fd, length=8192)
    p.several("ftruncate", {"length": 63}, abis=only, fd=fd, length=8192)
    p.several("ftruncate64", {"fd": 20, "length": 63}, abis="x86", fd=fd, length=8192)
    p.several("truncate64", {"length": 63}, abis="x86", path=named_file, length=8192)
    p.several("readahead", {"fd": 20}, fd=fd, offset=0, count=0)
    p.several("copy_file_range", {"fd_in": 20, "flags": END}, fd_in=fd, off_in=0, fd_out=fd, off_out=0, len=0, flags=0)
    p.several("sendfile", {"out_fd": 20, "in_fd": 20}, out_fd=null, in_fd=fd, offset=0, count=0)

    # files: modes are 16 bits
    here = path(fresh)
    p.several("open", {"flags": 0}, opened, pathname=named_file, flags=0, mode=0)
    p.several("openat", {"dirfd": 20, "flags": 0}, opened, dirfd=folder, pathname=path("file"), flags=0, mode=0)
    p.add("open", "mode", 9, made(fresh), pathname=here, flags=0o101, mode=0o600)
    p.add("openat", "mode", 9, made(fresh), dirfd=AT, pathname=here, flags=0o101, mode=0o600)
    p.add("creat", "mode", 9, made(fresh), pathname=here, mode=0o600)
    p.add("mkdir", "mode", 9, made(fresh), pathname=here, mode=0o700)
    p.several("mkdirat", {"dirfd": 20, "mode": 9}, made(fresh), dirfd=folder, pathname=path("fresh"), mode=0o700)
    p.several("mknod", {"mode": 9}, made(fresh), pathname=here, mode=0o10600, dev=0)
    p.several("mknodat", {"mode": 9}, made(fresh), dirfd=AT, pathname=here, mode=0o10600, dev=0)
    if os.geteuid() == 0:
        p.several("mknod", {"dev": 20}, made(fresh), pathname=here, mode=0o20600, dev=0x103)
        p.several("mknodat", {"dev": 20}, made(fresh), dirfd=AT, pathname=here, mode=0o20600, dev=0x103)
    p.add("chmod", "mode", 11, statted(file), pathname=named_file, mode=0o644)
    p.several("fchmod", {"fd": 20}, fd=fd, mode=0o644)
    p.add("fchmod", "mode", 11, statted(file), fd=fd, mode=0o644)
    p.add("fchmodat", "mode", 11, statted(file), dirfd=AT, pathname=named_file, mode=0o644)
    p.several("fchmodat2", {"mode": 11, "flags": END}, statted(file), dirfd=AT, pathname=named_file, mode=0o644, flags=0)
    p.add("umask", "mask", 3, masked, mask=0o22)
    uid = os.getuid()
    p.several(
        "fchownat",
        {"owner": 20, "flags": END},
        statted(file),
        abis=only,
        dirfd=AT,
        pathname=named_file,
        owner=uid,
        group=0xFFFFFFFF,
        flags=0,
    )
    p.several("chown", {"owner": 14}, statted(file), pathname=named_file, owner=uid, group=MASK)
    p.several("fchown", {"owner": 14}, statted(file), fd=fd, owner=uid, group=MASK)
    p.several("chown32", {"owner": 20}, statted(file), abis="x86", pathname=named_file, owner=uid, group=MASK)
    p.several("access", {"mode": END}, pathname=named_file, mode=0)
    p.several("faccessat", {"dirfd": 20, "mode": END}, dirfd=folder, pathname=path("file"), mode=0)
    p.several("faccessat2", {"mode": END, "flags": END}, dirfd=AT, pathname=named_file, mode=0, flags=0)
    p.several("newfstatat", {"dirfd": 20, "flags": END}, abis=only, dirfd=folder, pathname=path("file"), statbuf=buffer, flags=0)
    p.several("fstatat64", {"flags": END}, abis="x86", dirfd=folder, pathname=path("file"), statbuf=buffer, flags=0)
    p.several("statx", {"dirfd": 20, "flags": END, "mask": END}, dirfd=folder, pathname=path("file"), flags=0, mask=0, statxbuf=buffer)
    p.several("unlinkat", {"flags": END}, dirfd=AT, pathname=missing, flags=0)
    p.several("linkat", {"flags": END}, olddirfd=AT, oldpath=missing, newdirfd=AT, newpath=missing, flags=0)
    p.several("renameat2", {"flags": END}, olddirfd=AT, oldpath=missing, newdirfd=AT, newpath=here, flags=0)
    p.several("utimensat", {"flags": END}, dirfd=AT, pathname=missing, times=0, flags=0)
    p.several("execveat", {"flags": END}, dirfd=AT, pathname=missing, argv=zeros, envp=zeros, flags=0)
    p.several("openat2", {"size": 40}, abis=only, dirfd=AT, pathname=missing, how=zeros, size=24)
    p.several("readlinkat", {"bufsiz": END}, dirfd=AT, pathname=missing, buf=buffer, bufsiz=1)
    p.several("umount2", {"flags": END}, target=missing, flags=0)
    p.several("swapon", {"swapflags": END}, path=missing, swapflags=0)
    p.several("getdents64", {"fd": 20}, fd=null, dirp=buffer, count=10)
    p.several("setxattr", {"flags": END}, path=missing, name=path("user.x"), value=zeros, size=1, flags=0)

    # memory
    p.add("mmap", "prot", 1, mapped, abis=only, addr=0, length=PAGE, prot=1, flags=0x22, fd=MASK, offset=0)
    p.several(
        "mmap",
        {"fd": 20, "flags": 40, "offset": 40, "length": 62},
        mapped,
        abis=only,
        addr=0,
        length=PAGE,
        prot=1,
        flags=3,
        fd=fd,
        offset=0,
    )
    p.add("mmap2", "prot", 1, mapped, abis="x86", addr=0, length=PAGE, prot=1, flags=0x22, fd=MASK, pgoffset=0)
    p.several("mmap2", {"fd": 20, "flags": 25, "pgoffset": 0}, mapped, abis="x86", addr=0, length=PAGE, prot=1, flags=3, fd=fd, pgoffset=0)
    p.several("mprotect", {"prot": 40, "len": 46}, abis=only, addr=BASE, len=PAGE, prot=3)
    p.several("mprotect", {"prot": 30}, abis="x86", addr=BASE, len=PAGE, prot=3)
    p.several("pkey_mprotect", {"prot": 40, "pkey": 30}, abis=only, addr=BASE, len=PAGE, prot=3, pkey=0xFFFFFFFF)
    p.several("madvise", {"advice": END}, addr=BASE, length=PAGE, advice=0)
    p.several("madvise", {"length": 46}, abis=only, addr=BASE, length=PAGE, advice=0)
    p.several("msync", {"flags": END}, addr=BASE, length=PAGE, flags=1)
    p.several("mlock2", {"flags": END}, done, addr=BASE, len=PAGE, flags=0)
    p.several("mremap", {"flags": 40}, done, abis=only, old_address=BASE, old_size=PAGE, new_size=PAGE, flags=0)
    p.several("mremap", {"flags": 30}, done, abis="x86", old_address=BASE, old_size=PAGE, new_size=PAGE, flags=0)
    p.several("mbind", {"mode": END, "flags": END}, addr=BASE, len=PAGE, mode=0, nodemask=0, maxnode=0, flags=0)
    p.several("set_mempolicy", {"mode": END}, mode=0, nodemask=0, maxnode=0)
    p.several("get_mempolicy", {"flags": 40}, abis=only, mode=0, nodemask=0, maxnode=0, addr=0, flags=0)
    p.several("userfaultfd", {"flags": END}, opened, flags=1)

    # processes
    p.several("kill", {"pid": 22, "sig": END}, pid=me, sig=0)
    p.several("tgkill", {"tgid": 22, "tid": 22, "sig": END}, tgid=me, tid=me, sig=0)
    p.several("tkill", {"tid": 22, "sig": END}, tid=me, sig=0)
    p.several("getpriority", {"which": END, "who": 22}, which=0, who=0)
    p.several("getpgid", {"pid": 22}, done, pid=me)
    p.several("getsid", {"pid": 22}, done, pid=me)
    p.several("getrusage", {"who": END}, who=0, usage=buffer)
    p.several("prlimit64", {"pid": 22, "resource": END}, pid=0, resource=7, new_limit=0, old_limit=buffer)
    p.several("sched_getscheduler", {"pid": 22}, pid=me)
    p.several("sched_get_priority_max", {"policy": END}, policy=1)
    p.several("sched_getaffinity", {"pid": 22, "cpusetsize": 0}, done, pid=me, cpusetsize=512, mask=buffer)
    p.several("getitimer", {"which": END}, which=0, curr_value=buffer)
    p.several("clock_gettime", {"clockid": 20}, clockid=1, tp=buffer)
    p.several("clock_getres", {"clockid": 20}, clockid=1, res=buffer)
    p.several("wait4", {"options": 25, "pid": None}, pid=me, wstatus=0, options=1, rusage=0)
    p.several("waitid", {"idtype": END, "options": 25}, idtype=1, id=me, infop=buffer, options=5, rusage=0)
    p.several("rt_sigprocmask", {"how": END}, how=0, set=zeros, oldset=0, sigsetsize=8)
    p.several("rt_sigprocmask", {"sigsetsize": 40}, abis=only, how=0, set=zeros, oldset=0, sigsetsize=8)
    p.several("rt_sigaction", {"signum": END}, signum=10, act=0, oldact=buffer, sigsetsize=8)
    p.several("clone", {"flags": 11}, forked, flags=17, stack=0, parent_tid=0, child_tid=0, tls=0)
    p.add("clone", "flags", None, flags=0x10000, stack=0, parent_tid=0, child_tid=0, tls=0)
    p.add("clone", "flags", None, flags=0x800, stack=0, parent_tid=0, child_tid=0, tls=0)
    p.several("unshare", {"flags": 40}, abis=only, flags=0)
    p.several("unshare", {"flags": 5}, abis="x86", flags=0)
    p.several("pidfd_open", {"pid": END, "flags": END}, opened, pid=me, flags=0)
    pidfd = os.pidfd_open(me)
    p.several("pidfd_send_signal", {"pidfd": 20, "sig": END, "flags": END}, pidfd=pidfd, sig=0, info=0, flags=0)
    p.several("pidfd_getfd", {"pidfd": 20, "targetfd": 20, "flags": END}, opened, pidfd=pidfd, targetfd=fd, flags=0)
    p.several("kcmp", {"pid1": 22, "pid2": 22, "type": END, "idx1": 20}, pid1=me, pid2=me, type=0, idx1=fd, idx2=fd)
    p.several("ptrace", {"pid": 22}, request=16, pid=me, addr=0, data=0)
    p.add("ptrace", "request", 40, alone, abis=only, request=0, pid=0, addr=0, data=0)
    p.several("personality", {"persona": END}, persona, persona=0xFFFFFFFF)
    p.several("ioprio_get", {"which": END, "who": 22}, which=1, who=0)
    if uid:
        p.several("setuid", {"uid": 14}, alone, uid=uid)
        p.several("setgid", {"gid": 14}, alone, gid=os.getgid())
        p.several("setresuid", {"ruid": 14, "euid": 14, "suid": 14}, alone, ruid=uid, euid=uid, suid=uid)
        p.several("setuid32", {"uid": 20}, alone, abis="x86", uid=uid)

    # newer and rarer
    span = Memory.put(struct.pack("QQ", BASE + 4 * PAGE, PAGE))
    p.several(
        "process_madvise",
        {"pidfd": 20, "vlen": END, "advice": END, "flags": END},
        abis=only,
        pidfd=pidfd,
        iovec=span,
        vlen=1,
        advice=20,
        flags=0,
    )
    p.several(
        "process_vm_writev",
        {"pid": 22, "liovcnt": END, "riovcnt": 40, "flags": 40},
        abis=only,
        pid=me,
        local_iov=vector,
        liovcnt=1,
        remote_iov=vector,
        riovcnt=1,
        flags=0,
    )
    p.several("poll", {"nfds": END}, fds=0, nfds=0, timeout=0)
    p.several("ppoll", {"nfds": END}, fds=0, nfds=0, tmo_p=deadline, sigmask=0, sigsetsize=8)
    p.add("ppoll", "sigsetsize", 40, abis=only, fds=0, nfds=0, tmo_p=deadline, sigmask=zeros, sigsetsize=8)
    p.several("select", {"nfds": END}, abis=only, nfds=0, readfds=0, writefds=0, exceptfds=0, timeout=deadline)
    p.several("_newselect", {"nfds": END}, abis="x86", nfds=0, readfds=0, writefds=0, exceptfds=0, timeout=deadline)
    p.several("sched_setscheduler", {"pid": 22, "policy": END}, pid=me, policy=0, param=zeros)
    p.several("setpriority", {"which": END, "who": 22}, which=0, who=me, prio=0)
    p.several("clock_nanosleep", {"clockid": 20}, clockid=1, flags=0, request=deadline, remain=0)
    p.several(
        "name_to_handle_at",
        {"flags": END},
        dirfd=AT,
        pathname=named_file,
        handle=Memory.put(struct.pack("Ii", 128, 0) + bytes(128)),
        mount_id=buffer,
        flags=0,
    )
    p.several("open_tree", {"flags": END}, dirfd=AT, filename=missing, flags=0)
    p.several("cachestat", {"fd": 20, "flags": END}, fd=fd, cstat_range=zeros, cstat=buffer, flags=0)
    p.several("futex_wake", {"mask": 40, "flags": END}, abis=only, uaddr=word, mask=1, nr=1, flags=0x82)
    p.several("futex_wait", {"val": 40, "flags": END}, abis=only, uaddr=word, val=9, mask=1, flags=0x82, timeout=0, clockid=1)
    p.several(
        "futex_waitv",
        {"nr_futexes": END, "flags": END},
        waiters=Memory.put(struct.pack("QQII", 9, word, 0x82, 0)),
        nr_futexes=1,
        flags=0,
        timeout=0,
        clockid=1,
    )
    p.several("lsm_list_modules", {"flags": END}, ids=0, size=0, flags=0)
    p.several("removexattrat", {"at_flags": END}, dirfd=AT, pathname=missing, at_flags=0, name=path("user.x"))
    p.several("sysfs", {"option": END}, option=3, fs_index=0, buf=0)
    p.several("fstat64", {"fd": 20}, abis="x86", fd=fd, statbuf=buffer)
    p.several("fstat", {"fd": 20}, fd=fd, statbuf=buffer)

    # one call, many operations
    p.several("prctl", {"option": END}, option=3, arg2=0, arg3=0, arg4=0, arg5=0)
    p.add("prctl", "arg2", 40, abis=only, option=23, arg2=0)
    p.several("prctl", {"arg2": 40, "arg3": 40, "arg4": 40, "arg5": 40}, abis=only, option=39, arg2=0, arg3=0, arg4=0, arg5=0)
    p.several("prctl", {"arg2": 30, "arg5": 30}, abis="x86", option=39, arg2=0, arg3=0, arg4=0, arg5=0)
    p.several("futex", {"futex_op": 30, "val": END}, uaddr=word, futex_op=128, val=5, timeout=deadline, uaddr2=0, val3=0)
    p.add("futex", "val3", 0, uaddr=word, futex_op=138, val=1, timeout=0, uaddr2=0, val3=1)
    p.several("seccomp", {"operation": END, "flags": END}, operation=2, flags=0, args=Memory.put(struct.pack("I", 0x7FFF0000)))
    p.several("landlock_create_ruleset", {"flags": END}, attr=0, size=0, flags=1)
    p.several("membarrier", {"cmd": 30, "flags": END}, cmd=0, flags=0, cpu_id=0)
    p.several("keyctl", {"operation": END}, operation=31, arg2=buffer, arg3=8)
    p.several("getrandom", {"flags": END}, buf=buffer, buflen=1, flags=0)
    p.several("perf_event_open", {"flags": 40}, abis=only, attr=0, pid=0, cpu=0, group_fd=MASK, flags=0)
    p.several("arch_prctl", {"code": END}, abis=only, code=0x1003, addr=buffer)
    p.several("modify_ldt", {"func": END}, func=0, ptr=buffer, bytecount=0)
    p.several("getgroups", {"size": END}, done, size=0, list=0)
    return p


def judge(abi: Abi, call: str, parameter_name: str, values: dict[str, int], changed: object, outcome) -> dict[str, object]:
    """What the kernel showed for one parameter."""
    shape = prototype(abi.arch, call)
    assert shape is not None, call
    parameter = shape.parameter(parameter_name)
    assert parameter is not None, (call, parameter_name)
    result: dict[str, object] = {"abi": abi.name, "call": call, "parameter": parameter_name, "width": parameter.width}
    usual = outcome(abi, call, values)
    result["usual"] = usual
    if usual == "ENOSYS":
        result["absent"] = True
        return result
    differing = []
    if len(parameter.registers) == 1 and parameter.width < 64:
        for junk in JUNK:
            value = (values.get(parameter_name, 0) & ((1 << parameter.width) - 1)) | (junk << parameter.width) & MASK
            seen = outcome(abi, call, {**values, parameter_name: value})
            if seen != usual:
                differing.append([hex(value), seen])
    result["ignored_bits_matter"] = differing
    if changed is not None:
        assert isinstance(changed, int)
        assert changed < parameter.width, (call, parameter_name)
        seen = outcome(abi, call, {**values, parameter_name: values.get(parameter_name, 0) ^ (1 << changed)})
        result["changed"] = seen
        result["read_bit_matters"] = seen != usual
    return result


def emulated() -> bool:
    """Whether this kernel has the 32-bit entry (CONFIG_IA32_EMULATION, ia32_emulation=1); without, int 0x80 is a fault."""
    child = os.fork()
    if child == 0:
        os._exit(0 if Abi("x86").call("getpid") == os.getpid() else 1)
    return os.waitpid(child, 0)[1] == 0


def main() -> int:
    """Run every probe as the user that this process is."""
    if platform.machine() != "x86_64":
        return 2
    abis = {name: Abi(name) for name in ("x86_64", "x86") if name != "x86" or emulated()}
    with tempfile.TemporaryDirectory() as directory:
        for name, call, parameter, values, changed, outcome in build(Path(directory)).rows:
            if name not in abis:
                continue
            print(json.dumps(judge(abis[name], call, parameter, values, changed, outcome)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
