"""What a handler sees of a call: copies, each pointer read once, and whether anything was looked at."""

import errno

import pytest

from seclude.abi import arch
from seclude.errors import UsageError
from seclude.kernel.proc import Status
from seclude.supervise import Allow, Call, Deny, Emulate, Gone, Handler, Inject, Return, Rewrite, Unreadable, handler
from seclude.supervise.address import Address

X86_64 = arch("x86_64")
PAGE = 4096


class Memory:
    """A kernel with one thread whose memory is ``{address: bytes}``; what was read is in ``reads``."""

    def __init__(self, memory=None, fields=None, links=None):
        self.memory = memory or {}
        self.fields = {"Tgid": "70", "Uid": "0 1 2 3", "Gid": "4 5 6 7", "Groups": "8 9", "CapEff": "21"} if fields is None else fields
        self.links = links or {}
        self.reads = []

    def read(self, tid, address, size):
        self.reads.append((address, size))
        for start, body in self.memory.items():
            if start <= address < start + len(body):
                return body[address - start : address - start + size]
        return None

    def read_string(self, tid, address, limit):
        raw = self.read(tid, address, limit)
        return None if raw is None else raw.partition(b"\0")[0]

    def status(self, tid):
        return Status(self.fields) if self.fields else None

    def link(self, tid, name):
        return self.links.get(name)


def call(name, *args, kernel=None, where=X86_64, waits=lambda: True, tid=77):
    kernel = kernel or Memory({0x9000: b"\x90"})
    raw = (*args, *[0] * (6 - len(args)))
    return Call(kernel, tid, where.token, where.number(name), 0x9000, raw, waits)


def test_arguments_by_name_kernel_name_and_index_as_the_kernel_reads_them():
    one = call("openat", 0xFFFFFFFFFFFFFF9C, 0, 0x80042, 0o10644)
    assert one.name == "openat"
    assert one.arch is X86_64
    assert one.args["dirfd"] == one.args["dfd"] == one.args[0] == -100
    assert str(one.args["dirfd"]) == "AT_FDCWD"
    assert str(one.args["flags"]) == "O_RDWR|O_CREAT|O_CLOEXEC"
    assert one.args["mode"] == 0o10644 & 0xFFFF
    assert one.args.names == ("dirfd", "pathname", "flags", "mode")
    assert not one.reads
    with pytest.raises(KeyError, match="openat has no parameter 'path'; it has dirfd, pathname, flags, mode"):
        one.args["path"]


def test_a_value_split_over_two_registers_is_one():
    one = call("ftruncate64", 3, 0x89ABCDEF, 0x1, where=arch("x86"))
    assert one.args["length"] == 0x1_89ABCDEF


def test_an_unknown_number_has_its_registers_only():
    one = Call(Memory(), 77, X86_64.token, 4000, 0, (1, 2, 3, 4, 5, 6), lambda: True)  # type: ignore[arg-type]
    assert one.name == "#4000"
    assert one.args[5] == 6
    assert len(one.args) == 6
    with pytest.raises(KeyError):
        one.args["fd"]


def test_a_path_is_read_once_whatever_becomes_of_it():
    kernel = Memory({0x1000: b"/etc/shadow\0"})
    one = call("openat", 3, 0x1000, kernel=kernel)
    assert not one.reads
    assert one.path("pathname") == "/etc/shadow"
    assert one.reads
    kernel.memory[0x1000] = b"/tmp/harmless\0"
    assert one.path("pathname") == one.path(1) == "/etc/shadow"
    assert len(kernel.reads) == 1


def test_a_path_that_is_no_utf8_comes_back_as_it_was():
    import os

    one = call("chdir", 0x1000, kernel=Memory({0x1000: b"/\xff\xfe\0"}))
    assert os.fsencode(one.path("path")) == b"/\xff\xfe"


@pytest.mark.parametrize(
    ("memory", "address", "number"),
    [
        pytest.param({0x9000: b"\x90"}, 0x1000, errno.EFAULT, id="no memory there"),
        pytest.param({}, 0x1000, errno.EPERM, id="no memory of it may be read"),
        pytest.param({0x1000: b"a" * PAGE + b"\0", 0x9000: b"\x90"}, 0x1000, errno.ENAMETOOLONG, id="no end in a page"),
        pytest.param({0x1F00: b"a" * 0x100, 0x9000: b"\x90"}, 0x1F00, errno.EFAULT, id="it ends with its mapping"),
    ],
)
def test_what_cannot_be_read_is_the_errno_that_the_kernel_would_give(memory, address, number):
    one = call("chdir", address, kernel=Memory(memory))
    with pytest.raises(Unreadable) as told:
        one.path("path")
    assert told.value.errno == number
    assert one.reads


def test_null_is_no_path():
    assert call("chdir", 0).path("path") is None


def test_a_path_that_ends_where_a_page_does_is_whole():
    one = call("chdir", 0x1F00, kernel=Memory({0x1F00: b"a" * 0xFF + b"\0"}))
    assert one.path("path") == "a" * 0xFF


def test_a_call_that_went_away_tells_nothing():
    kernel = Memory({0x1000: b"/\0"})
    one = call("chdir", 0x1000, kernel=kernel, waits=lambda: False)
    for look in (lambda: one.path("path"), lambda: one.pid, lambda: one.exe, lambda: one.bytes("path", 1), lambda: one.describe()):
        with pytest.raises(Gone):
            look()


def test_a_thread_of_another_namespace_is_unreadable():
    one = call("chdir", 0x1000, kernel=Memory({0: b"\0" * 0x9001}), tid=0)
    for look in (lambda: one.path("path"), lambda: one.pid):
        with pytest.raises(Unreadable) as told:
            look()
        assert told.value.errno == errno.EPERM
    assert one.exe is None


@pytest.mark.parametrize(
    ("raw", "text", "host", "port", "path"),
    [
        (b"\x02\0\0\x50\xc0\0\2\1" + bytes(8), "192.0.2.1:80", "192.0.2.1", 80, None),
        (b"\x0a\0\x01\xbb\0\0\0\0" + bytes(15) + b"\1" + b"\2\0\0\0", "[::1]:443", "::1", 443, None),
        (b"\x01\0/run/x\0junk", "/run/x", None, None, b"/run/x"),
        (b"\x01\0\0name", "@name", None, None, b"\0name"),
        (b"\x01\0", "", None, None, b""),
        (b"\x02\0\0\x50\xc0", "AF_INET", None, None, None),
        (b"\x10\0", "AF_NETLINK", None, None, None),
        (b"\x63\0", "AF 99", None, None, None),
        (b"\x63", "AF -1", None, None, None),
    ],
)
def test_addresses(raw, text, host, port, path):
    one = Address(raw)
    assert (str(one), one.host, one.port, one.path) == (text, host, port, path)


def test_a_sockaddr_has_the_length_that_the_call_says():
    kernel = Memory({0x1000: b"\x02\0\0\x50\xc0\0\2\1" + bytes(8), 0x9000: b"\x90"})
    assert str(call("connect", 3, 0x1000, 16, kernel=kernel).sockaddr("addr")) == "192.0.2.1:80"
    assert kernel.reads == [(0x1000, 16)]
    for length in (-1 & 0xFFFFFFFF, 129):
        with pytest.raises(Unreadable) as told:
            call("connect", 3, 0x1000, length, kernel=kernel).sockaddr("addr")
        assert told.value.errno == errno.EINVAL


def words(size, *pointers):
    return b"".join(pointer.to_bytes(size, "little") for pointer in pointers)


@pytest.mark.parametrize(("where", "size"), [("x86_64", 8), ("x86", 4), ("x32", 4)])
def test_an_argv_is_pointers_of_the_callers_width(where, size):
    kernel = Memory({0x1000: words(size, 0x2000, 0x2004, 0), 0x2000: b"ls\0\0-l\0"})
    assert call("execve", 0, 0x1000, kernel=kernel, where=arch(where)).argv("argv") == ["ls", "-l"]


def test_an_endless_argv_has_an_end():
    kernel = Memory({0x10000: words(8, 0x2000) * 5000, 0x2000: b"x\0", 0x9000: b"\x90"})
    with pytest.raises(Unreadable) as told:
        call("execve", 0, 0x10000, kernel=kernel).argv("argv")
    assert told.value.errno == errno.E2BIG
    assert len(kernel.reads) < 9000


def test_iovecs_are_cut_together():
    kernel = Memory({0x1000: words(8, 0x2000, 3, 0x2003, 4), 0x2000: b"abcdefg"})
    assert call("writev", 1, 0x1000, 2, kernel=kernel).iovecs("iov") == [b"abc", b"defg"]
    assert call("writev", 1, 0x1000, 2, kernel=kernel).iovecs("iov", 5) == [b"abc", b"de"]
    with pytest.raises(Unreadable) as told:
        call("writev", 1, 0x1000, 1025, kernel=kernel).iovecs("iov")
    assert told.value.errno == errno.EINVAL


def test_bytes_are_read_once_and_never_more_than_once_asked():
    kernel = Memory({0x1000: b"abcdef", 0x9000: b"\x90"})
    one = call("write", 1, 0x1000, 6, kernel=kernel)
    assert one.bytes("buf", 4) == b"abcd"
    assert one.bytes("buf", 2) == b"ab"
    with pytest.raises(ValueError, match="once only"):
        one.bytes("buf", 6)
    with pytest.raises(Unreadable):
        call("write", 1, 0x1000, 6, kernel=kernel).bytes("buf", 7)


def test_who_called():
    one = call("getpid", kernel=Memory(links={"exe": b"/bin/x", "cwd": b"/tmp"}))
    who = one.credentials
    assert (one.pid, one.exe) == (70, "/bin/x")
    assert (who.uid, who.gid, who.fsuid, who.fsgid, who.groups, who.capabilities) == (1, 5, 3, 7, (8, 9), 0x21)
    assert not one.reads  # nobody else can change these while the thread waits
    assert one.cwd == "/tmp"
    assert one.reads  # another thread can


def test_a_description_counts_as_a_look():
    one = call("chdir", 0x1000, kernel=Memory({0x1000: b"/tmp\0"}))
    assert one.describe() == 'chdir("/tmp")'
    assert one.reads


# -- verdicts and handlers


def test_verdicts_are_values():
    assert Deny("EACCES") == Deny("EACCES") != Deny("EPERM")
    assert repr(Return(3)) == "Return(value=3)"
    assert Deny("EDEADLOCK").number("ppc64") == 58
    assert Deny("EDEADLOCK").number("x86_64") == 35
    assert Deny(13).number("") == 13
    assert Rewrite([1, 2]).args == {0: 1, 1: 2}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Deny("EPERMM"), "did you mean EPERM"),
        (lambda: Deny(0), "an errno is 1..4095"),
        (lambda: Deny(4096), "an errno is 1..4095"),
        (lambda: Return(1 << 63), "signed 64-bit"),
        (lambda: Inject(-1), "not negative"),
        (lambda: Inject(1, newfd=-1), "not negative"),
        (lambda: Emulate(3), "something to call"),  # type: ignore[arg-type]
        (lambda: Rewrite({}), "nothing to rewrite"),
        (lambda: Handler(lambda call: Allow(), ()), "names no call"),
        (lambda: Handler(lambda call: Allow(), ("read",), {int}), "no verdict"),  # type: ignore[arg-type]
        (lambda: handler(len), "without calls"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_meant_is_refused(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_an_async_function_needs_no_threads():
    async def decide(call):
        return Allow()

    assert Handler(decide, ("read",)).is_async
    with pytest.raises(UsageError, match="async"):
        Handler(decide, ("read",), threads=True)


def test_what_was_read_as_a_whole_can_be_given_back_and_anything_else_is_more():
    raw = b"\x02\0\0\x50\xc0\0\2\1" + bytes(8)
    kernel = Memory({0x1000: raw, 0x2000: b"/etc\0"})
    one = call("connect", 3, 0x1000, 16, kernel=kernel)
    one.sockaddr("addr")
    kernel.memory[0x1000] = bytes(16)
    assert one.copy(0x1000, 16) == raw  # the same copy, for who acts on it
    with pytest.raises(ValueError, match="once only"):
        one.copy(0x1000, 12)
    assert one.reads
    assert not one.reads_more
    one.copy(0x2000, 4)
    assert one.reads_more
    for look in (
        lambda one: one.sockaddr("addr", 8),
        lambda one: one.describe(),
        lambda one: one.cwd,
        lambda one: one.bytes("addr", 2),
    ):
        other = call("connect", 3, 0x1000, 16, kernel=kernel)
        look(other)
        assert other.reads_more
    path = call("chdir", 0x2000, kernel=kernel)
    assert path.path("path") == "/etc"
    assert path.path_at(0x2000) == b"/etc"
    assert not path.reads_more
