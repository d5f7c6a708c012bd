"""connect(2), bind(2), listen(2) and sendmsg(2) on a descriptor with an address given as bytes, as the kernel answers them.

The problem: Python's socket objects put a layer between caller and kernel (timeouts, retries after EINTR, addresses as tuples) that
a broker must not have: it acts for another process, with that process's address, flags and blocking mode, and hands back the very errno. So these are
the bare calls; the interpreter lock is released meanwhile, since any of them may wait for a peer. A result in -4095..-1 is a negated errno.

Source: the man pages named; struct msghdr and struct cmsghdr from include/linux/socket.h.
"""

from __future__ import annotations

import _socket
import ctypes
import os

from seclude.kernel.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BYTE_ORDER", "Control", "bind", "connect", "kind", "listen", "local_address", "option", "send"]


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct msghdr, as user space passes it (struct user_msghdr)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_int),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_uint),
    )


class Control:
    """One control message: ``level``, ``type`` and its data (cmsg(3))."""

    __slots__ = ("data", "level", "type")

    def __init__(self, level: int, type: int, data: bytes) -> None:
        self.level, self.type, self.data = level, type, data


def connect(fd: int, address: bytes) -> int:
    """Connect to ``address``."""
    return syscall("connect", fd, address, len(address), wait=True)


def bind(fd: int, address: bytes) -> int:
    """Bind to ``address``."""
    return syscall("bind", fd, address, len(address), wait=True)


def listen(fd: int, backlog: int) -> int:
    """Wait for connections."""
    return syscall("listen", fd, backlog)


def send(fd: int, data: Sequence[bytes], flags: int, address: bytes = b"", control: Iterable[Control] = ()) -> int:
    """sendmsg(2): the bytes sent. ``address`` b"" sends to the connected peer."""
    message = _Message()
    name = ctypes.create_string_buffer(address, len(address)) if address else None
    vectors = (_Vector * len(data))()
    # The bytes objects stay alive in ``data``; ctypes' own pointer type keeps none of them by itself.
    for vector, piece in zip(vectors, data, strict=True):
        vector.base = ctypes.cast(ctypes.c_char_p(piece), ctypes.c_void_p).value
        vector.length = len(piece)
    raw = packed(control)
    buffer = ctypes.create_string_buffer(raw, len(raw)) if raw else None
    if name is not None:
        message.name, message.name_length = ctypes.addressof(name), len(address)
    message.vectors, message.vector_count = ctypes.addressof(vectors), len(data)
    if buffer is not None:
        message.control, message.control_length = ctypes.addressof(buffer), len(raw)
    return syscall("sendmsg", fd, ctypes.byref(message), flags, wait=True)


def packed(control: Iterable[Control]) -> bytes:
    """Control messages as sendmsg(2) takes them: a header of size, level and type, data aligned to the size of a long (cmsg(3))."""
    out = bytearray()
    width = ctypes.sizeof(ctypes.c_size_t)
    for one in control:
        length = width + 8 + len(one.data)
        out += length.to_bytes(width, BYTE_ORDER)
        out += (one.level & 0xFFFFFFFF).to_bytes(4, BYTE_ORDER) + (one.type & 0xFFFFFFFF).to_bytes(4, BYTE_ORDER)
        out += one.data + bytes(-len(one.data) % width)
    return bytes(out)


BYTE_ORDER: _Order = "little" if (1).to_bytes(2, "little") == bytes(ctypes.c_uint16(1)) else "big"

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    _Order: TypeAlias = Literal["little", "big"]


def option(fd: int, level: int, name: int) -> int | None:
    """An int option, getsockopt(2); None where the socket does not have it. Raises OSError (ENOTSOCK) where ``fd`` is no socket."""
    value, length = ctypes.c_int(0), ctypes.c_uint32(4)
    result = syscall("getsockopt", fd, level, name, ctypes.byref(value), ctypes.byref(length))
    if result < 0:
        import errno

        if -result in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
            return None
        raise OSError(-result, os.strerror(-result))
    return value.value


def kind(fd: int) -> tuple[int, int, int]:
    """A socket's domain, type and protocol (SO_DOMAIN, SO_TYPE, SO_PROTOCOL; Linux 2.6.32). Raises OSError: ENOTSOCK, EBADF for O_PATH."""
    found = [option(fd, _socket.SOL_SOCKET, name) for name in (_socket.SO_DOMAIN, _socket.SO_TYPE, _socket.SO_PROTOCOL)]
    return found[0] or 0, found[1] or 0, found[2] or 0


def local_address(fd: int) -> bytes:
    """The address a socket is bound to, getsockname(2). Raises OSError."""
    buffer, length = ctypes.create_string_buffer(128), ctypes.c_uint32(128)  # sizeof(struct sockaddr_storage)
    result = syscall("getsockname", fd, buffer, ctypes.byref(length))
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return buffer.raw[: min(length.value, 128)]
