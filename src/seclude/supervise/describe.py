r"""A call as a person reads it: ``openat(AT_FDCWD, "/etc/shadow", O_RDONLY)``.

What the target showed in its memory is its own choice and may be meant for the reader's terminal: it is cut, and
everything that is not printable is escaped, direction marks included. ``<unreadable>`` stands where it would not be
read. Each pointer is read once.
"""

from __future__ import annotations

from seclude.abi import by_token
from seclude.abi.prototypes import prototype

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter
    from seclude.kernel.protocol import Kernel

__all__ = ["architecture", "as_strace", "describe", "quote"]

LONGEST = 256  # bytes of a path or an address that are shown
SOCKADDR = 128  # sizeof(struct sockaddr_storage)
_found: dict[int, tuple[Architecture, ...]] = {}  # by token: the kernel's own, so never many


def architecture(token: int, nr: int) -> Architecture | None:
    """The architecture whose table ``nr`` belongs to: x86_64 and x32 share a token. None: not one of ours."""
    found = _found.get(token)
    if found is None:
        found = _found[token] = by_token(token)
    for one in found:
        if one.x32_bit and nr >= 0 and nr & one.x32_bit:
            return one
    return found[0] if found else None


def quote(raw: bytes, limit: int = LONGEST) -> str:
    """``raw`` in double quotes, escaped as C and Python do, cut after ``limit`` bytes with ``...``."""
    out = []
    for character in raw[:limit].decode("utf-8", "surrogateescape"):
        code = ord(character)
        if character in '"\\':
            out.append("\\" + character)
        elif character.isprintable():
            out.append(character)
        elif 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif character in _SHORT:
            out.append(_SHORT[character])
        elif code < 0x100:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"' + ("..." if len(raw) > limit else "")


_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def describe(kernel: Kernel, tid: int, token: int, nr: int, args: tuple[int, ...]) -> tuple[str, str, str, str]:
    """``(architecture's name, call's name, text, key)``; calls with the same key are the same for a reader, whatever their addresses."""
    arch = architecture(token, nr)
    if arch is None:
        text = f"#{nr}({', '.join(map(hex, args))})"
        return f"{token:#x}", f"#{nr}", text, text
    name = arch.call_name(nr)
    known = prototype(arch, name) if name is not None else None
    if name is None or known is None:
        called = name or f"#{nr}"
        text = f"{called}({', '.join(map(hex, args))})"
        return arch.name, called, text, called if name is not None else text
    shown, keys = [], []
    for index, parameter in enumerate(known.parameters):
        text, key = _argument(kernel, tid, arch, parameter, known.parameters[index + 1 :], args)
        shown.append(text)
        keys.append(key)
    return arch.name, name, f"{name}({', '.join(shown)})", f"{name}({', '.join(keys)})"


def as_strace(kernel: Kernel, tid: int, token: int, nr: int, args: tuple[int, ...]) -> str:
    """The call before it runs, as strace(1) spells it: structures decoded, what the kernel is to fill in as addresses, printable ASCII alone."""
    from seclude.supervise.tracer_format import find
    from seclude.supervise.tracer_memory import View

    view = View(kernel.read)
    view.tid = tid
    return find(token, nr).whole(view, args)


def _argument(
    kernel: Kernel, tid: int, arch: Architecture, parameter: Parameter, following: tuple[Parameter, ...], args: tuple[int, ...]
) -> tuple[str, str]:
    from seclude.abi.constants import decode

    value = parameter.value(args)
    if parameter.kind == "path":
        text = "NULL" if value == 0 else _path(kernel, tid, value)
        return text, text
    if parameter.kind == "sockaddr":
        # An address that is written by the kernel (accept, getsockname) has a pointer to its length, not a length.
        length = next((other.value(args) for other in following if other.kind in ("size", "int", "uint") and "len" in other.name), 0)
        if value == 0:
            return "NULL", "NULL"
        if 0 < length <= 4096:
            text = _address(kernel, tid, value, min(length, SOCKADDR), arch.byteorder)
            return text, text
    text = decode(parameter, value, arch)
    if parameter.kind == "pointer" or parameter.kind == "sockaddr":
        return text, "NULL" if value == 0 else "pointer"
    return text, text


def _path(kernel: Kernel, tid: int, address: int) -> str:
    raw = kernel.read_string(tid, address, LONGEST + 1)
    return "<unreadable>" if raw is None else quote(raw)


def _address(kernel: Kernel, tid: int, address: int, length: int, order: Literal["little", "big"]) -> str:
    """A struct sockaddr: ``{AF_INET, 192.0.2.1:80}``. Layouts: ip(7), ipv6(7), unix(7), netlink(7)."""
    raw = kernel.read(tid, address, length)
    if raw is None:
        return "<unreadable>"
    if len(raw) < 2:
        return quote(raw)
    family = int.from_bytes(raw[:2], order)
    port = int.from_bytes(raw[2:4], "big")
    if family == 1:
        if len(raw) == 2:
            return "{AF_UNIX}"
        if raw[2:3] == b"\0":
            return "{AF_UNIX, @" + quote(raw[3:]) + "}"
        return "{AF_UNIX, " + quote(raw[2:].partition(b"\0")[0]) + "}"
    if family == 2 and len(raw) >= 8:
        return "{AF_INET, " + ".".join(map(str, raw[4:8])) + f":{port}}}"
    if family == 10 and len(raw) >= 24:
        import _socket

        return "{AF_INET6, [" + _socket.inet_ntop(_socket.AF_INET6, raw[8:24]) + f"]:{port}}}"
    if family == 16 and len(raw) >= 12:
        return f"{{AF_NETLINK, pid {int.from_bytes(raw[4:8], order)}, groups {int.from_bytes(raw[8:12], order):#x}}}"
    return f"{{family {family}, {quote(raw[2:])}}}"
