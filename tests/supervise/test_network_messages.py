"""How messages are copied from a target's memory: layouts, limits, and what the kernel would refuse is refused with its errno."""

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seclude import abi
from seclude.kernel.sockets import Control, packed
from seclude.supervise.call import Call, Unreadable
from seclude.supervise.network import Network, address
from seclude.supervise.network_rules import grants
from seclude.supervise.network_send import CONTROL, WHOLE, Message, _control, _windows, messages
from seclude.supervise.network_unix import Denied

NARROW = {"x86", "x32"}
BASE = 0x10000


class Memory:
    """A kernel that has nothing but a target's memory."""

    def __init__(self):
        self.pages = bytearray(b"\xee" * (4 << 20))
        self.end = 64

    def put(self, data):
        at = self.end
        self.pages[at : at + len(data)] = data
        self.end = at + -(-len(data) // 16) * 16 + 16
        return BASE + at

    def read(self, tid, at, size):
        if not BASE <= at < BASE + len(self.pages):
            return None
        return bytes(self.pages[at - BASE : at - BASE + size]) or None

    read_string = None


def call(memory, name, *args, arch="x86_64"):
    here = abi.arch(arch)
    number = here.number(name)
    assert number is not None
    return Call(memory, 7, here.token, number, BASE, (*args, *[0] * (6 - len(args))), lambda: True)


def header(memory, arch, *, name=b"", data=(b"x",), control=b"", length=None):
    """A struct msghdr of that architecture with everything that it points to."""
    word = "I" if arch in NARROW else "Q"
    pad = "" if arch in NARROW else "4x"
    vectors = b"".join(struct.pack(f"={word}{word}", memory.put(piece), len(piece)) for piece in data)
    return struct.pack(
        f"={word}i{pad}{word}{word}{word}{word}i{pad}", memory.put(name) if name else 0, len(name) if length is None else length,
        memory.put(vectors), len(data), memory.put(control) if control else 0, len(control), 0,
    )  # fmt: skip


def inet(port, host="127.0.0.1", family=socket.AF_INET):
    return struct.pack("=H", family) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)


@pytest.mark.parametrize("arch", ["x86_64", "x86", "x32"])
def test_layouts(arch):
    memory = Memory()
    width = 4 if arch in NARROW else 8
    cmsg = struct.pack("=Iii" if width == 4 else "=Qii", width + 8 + 4, socket.SOL_SOCKET, socket.SCM_RIGHTS) + struct.pack("i", 5)
    raw = header(memory, arch, name=inet(80), data=[b"one", b"", b"three"], control=cmsg)
    (one,) = messages(call(memory, "sendmsg", 3, memory.put(raw), 0x40, arch=arch))
    assert one.name == inet(80)
    assert [length for _, length in one.vectors] == [3, 0, 5]
    assert one.flags == 0x40
    assert [(piece.level, piece.type, piece.data) for piece in one.control] == [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 5))]
    asked = call(memory, "sendmsg", 3, 0, arch=arch)
    assert list(_windows(asked, one.vectors)) == [(True, [b"one", b"three"])]


@pytest.mark.parametrize("arch", ["x86_64", "x86"])
def test_several(arch):
    memory = Memory()
    tail = struct.pack("=I", 99) + (b"" if arch in NARROW else bytes(4))
    raw = b"".join(header(memory, arch, name=inet(port)) + tail for port in (1, 2, 3))
    at = memory.put(raw)
    found = messages(call(memory, "sendmmsg", 3, at, 3, 0, arch=arch))
    assert [one.name for one in found] == [inet(1), inet(2), inet(3)]
    stride = len(raw) // 3
    assert [one.count_at for one in found] == [at + index * stride + stride - len(tail) for index in range(3)]
    assert len(messages(call(memory, "sendmmsg", 3, at, 1 << 32 | 2, 0, arch=arch))) == 2  # an unsigned int
    assert messages(call(memory, "sendmmsg", 3, at, 0, 0, arch=arch)) == []


def failing(function):
    with pytest.raises((OSError, Unreadable)) as caught:
        function()
    return getattr(caught.value, "errno", None)


def test_what_the_kernel_refuses():
    memory = Memory()

    def sending(**more):
        raw = header(memory, "x86_64", **more)
        return failing(lambda: messages(call(memory, "sendmsg", 3, memory.put(raw), 0)))

    assert sending(name=inet(80), length=-1) == errno.EINVAL
    assert sending(data=[b""] * 1025) == errno.EMSGSIZE
    assert sending(control=bytes(CONTROL + 1)) == errno.ENOBUFS
    assert sending(control=struct.pack("=Qii", 15, 1, 1)) == errno.EINVAL
    assert sending(control=struct.pack("=Qii", 17, 1, 1)) == errno.EINVAL
    assert failing(lambda: messages(call(memory, "sendmsg", 3, 8, 0))) == errno.EFAULT
    assert failing(lambda: messages(call(memory, "sendto", 3, 8, 1, 0, 8, 16))) == errno.EFAULT
    assert failing(lambda: messages(call(memory, "sendto", 3, 8, 1, 0, 8, 129))) == errno.EINVAL
    assert failing(lambda: address(call(memory, "connect", 3, 8, 16), 8, 129)) == errno.EINVAL
    # A name that is too long is cut in a message, as by the kernel, and none at all has no length either.
    (one,) = messages(call(memory, "sendmsg", 3, memory.put(header(memory, "x86_64", name=bytes(200))), 0))
    assert len(one.name) == 128
    (one,) = messages(call(memory, "sendto", 3, memory.put(b"x"), 1, 0, 0, 16))
    assert one.name == b""


def test_large_data_comes_in_windows_and_is_read_once():
    memory = Memory()
    at = memory.put(bytes(range(256)) * 4096)
    asked = call(memory, "sendto", 3, at, 1 << 20)
    windows = list(_windows(asked, [(at, 10), (at + 10, (1 << 20) - 10)]))
    assert [sum(map(len, pieces)) for _, pieces in windows] == [WHOLE] * 4 + [0]
    assert b"".join(piece for _, pieces in windows for piece in pieces) == bytes(range(256)) * 4096
    assert [last for last, _ in windows] == [False] * 4 + [True]
    # What cannot be read ends it; what came before is sent, and nothing at all is a fault.
    assert list(_windows(asked, [(at, 5), (8, 5)])) == [(True, [bytes(range(5))])]
    assert failing(lambda: list(_windows(asked, [(8, 5)]))) == errno.EFAULT


@given(
    st.lists(st.tuples(st.integers(-(1 << 31), (1 << 31) - 1), st.integers(-(1 << 31), (1 << 31) - 1), st.binary(max_size=40)), max_size=5)
)
def test_control_messages_that_are_packed_are_read_back(given_messages):
    raw = packed(Control(*one) for one in given_messages)
    assert [(one.level, one.type, one.data) for one in _control(raw, 8)] == given_messages


@given(st.binary(max_size=120), st.sampled_from((4, 8)))
def test_any_bytes_are_control_messages_or_are_refused(raw, width):
    try:
        found = _control(raw, width)
    except OSError as error:
        code = error.errno
    else:
        code = errno.EINVAL
        assert sum(width + 8 + len(one.data) for one in found) <= len(raw)
    assert code == errno.EINVAL


# -- how an address is judged for a socket of each kind


@pytest.fixture
def network():
    from seclude.kernel.credentials import own_identity

    made = Network(grants(["127.0.0.1:80"], "--connect"), grants(["127.0.0.1:81"], "--bind"), own_identity())
    yield made
    made.close()


TCP, UDP = (socket.AF_INET, socket.SOCK_STREAM, 6), (socket.AF_INET, socket.SOCK_DGRAM, 17)
TCP6, UDP6 = (socket.AF_INET6, socket.SOCK_STREAM, 6), (socket.AF_INET6, socket.SOCK_DGRAM, 17)


def judged(network, kind, name, flags=0):
    message = Message(name, [], [], flags)
    network._judge_message(kind, message)
    return message.name


def test_the_family_that_is_judged_is_the_one_that_is_handed_on(network):
    unspecified = inet(80, family=0)
    assert judged(network, UDP, unspecified) == inet(80)
    assert judged(network, UDP6, unspecified) == b""
    assert judged(network, UDP6, inet(80)) == inet(80)
    assert judged(network, TCP, inet(9, "192.0.2.1")) == b""  # a stream does not look
    fast = 0x20000000
    assert judged(network, TCP, inet(80), fast) == inet(80)
    for kind, name, flags in (
        (UDP, inet(9), 0),
        (UDP, inet(9, family=0), 0),
        (UDP6, inet(9), 0),
        (TCP, inet(9), fast),
        (TCP6, inet(9), fast),
    ):
        with pytest.raises(Denied):
            judged(network, kind, name, flags)
    with pytest.raises(OSError, match="does not take"):
        judged(network, UDP, struct.pack("=H", socket.AF_INET6) + bytes(26))
    with pytest.raises(OSError, match="too short"):
        judged(network, UDP, inet(80)[:15])


@pytest.mark.parametrize(
    "kind", [(socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_INET, socket.SOCK_STREAM, 132), (17, socket.SOCK_RAW, 3), (40, 1, 0)]
)
def test_sockets_of_other_kinds_are_denied(network, kind):
    with pytest.raises(Denied, match="brokered"):
        judged(network, kind, inet(80), 0x20000000)
