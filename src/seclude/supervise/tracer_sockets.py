"""Socket addresses and messages of a traced call (ip(7), ipv6(7), unix(7), netlink(7), packet(7), recvmsg(2))."""

from __future__ import annotations

import struct

from seclude.supervise.tracer_memory import ELEMENTS, order_of, pointer, vectors
from seclude.supervise.tracer_text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.abi import Architecture
    from seclude.supervise.tracer_memory import Args, Decode, Factory, View

__all__ = ["FACTORIES", "address_text"]

_LONGEST = 128  # sizeof(struct sockaddr_storage)


def address_text(raw: bytes, arch: Architecture) -> str:
    """``{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}``"""
    order = order_of(arch)
    if len(raw) < 2:
        return quoted(raw)
    (family,) = struct.unpack_from(order + "H", raw)
    port = int.from_bytes(raw[2:4], "big")
    if family == 1:
        path = raw[2:]
        if not path:
            return "{sa_family=AF_UNIX}"
        shown = "@" + quoted(path[1:], 108) if path[0] == 0 else quoted(path.partition(b"\0")[0], 108)
        return f"{{sa_family=AF_UNIX, sun_path={shown}}}"
    if family == 2 and len(raw) >= 8:
        host = ".".join(map(str, raw[4:8]))
        return f'{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("{host}")}}'
    if family == 10 and len(raw) >= 24:
        import _socket

        host = _socket.inet_ntop(_socket.AF_INET6, raw[8:24])
        flow = int.from_bytes(raw[4:8], "big")
        scope = struct.unpack_from(order + "I", raw, 24)[0] if len(raw) >= 28 else 0
        return (
            f"{{sa_family=AF_INET6, sin6_port=htons({port}), sin6_flowinfo=htonl({flow}), "
            f'inet_pton(AF_INET6, "{host}", &sin6_addr), sin6_scope_id={scope}}}'
        )
    if family == 16 and len(raw) >= 12:
        pid, groups = struct.unpack_from(order + "II", raw, 4)
        return f"{{sa_family=AF_NETLINK, nl_pid={pid}, nl_groups={groups:08x}}}"
    from seclude.abi.constants import family as names_of

    name = next((name for name, value in names_of("AF", arch).items() if value == family), f"{family:#x}")
    return f"{{sa_family={name}, sa_data={quoted(raw[2:], 14)}}}" if len(raw) > 2 else f"{{sa_family={name}}}"


def _given(arch: Architecture, length: str) -> Decode:
    """An address that the target gives; ``length``: the argument with its size."""

    def show(view: View, address: int, args: Args) -> str | None:
        size = args[int(length)] & 0xFFFFFFFF
        raw = view.read(address, min(size, _LONGEST)) if 0 < size <= 1 << 16 else None
        return None if raw is None else address_text(raw, arch)

    return show


def _taken(arch: Architecture, length: str) -> Decode:
    """An address that the kernel wrote; ``length``: the argument that points to its size."""
    mask = 0xFFFFFFFF if arch.bits == 32 and arch.name != "x32" else (1 << 64) - 1

    def show(view: View, address: int, args: Args) -> str | None:
        raw = view.read(args[int(length)] & mask, 4)
        if raw is None:
            return None
        size = struct.unpack(order_of(arch) + "I", raw)[0]
        body = view.copy(view.tid, address, min(size, _LONGEST)) if size else b""
        return None if not body else address_text(body, arch)

    return show


_MESSAGE_FLAGS = (
    (0x1, "MSG_OOB"), (0x2, "MSG_PEEK"), (0x4, "MSG_DONTROUTE"), (0x8, "MSG_CTRUNC"), (0x20, "MSG_TRUNC"), (0x40, "MSG_DONTWAIT"), (0x80, "MSG_EOR"),
    (0x100, "MSG_WAITALL"), (0x800, "MSG_CONFIRM"), (0x2000, "MSG_ERRQUEUE"), (0x4000, "MSG_NOSIGNAL"), (0x8000, "MSG_MORE"), (0x10000, "MSG_WAITFORONE"),
    (0x4000000, "MSG_ZEROCOPY"), (0x20000000, "MSG_FASTOPEN"), (0x40000000, "MSG_CMSG_CLOEXEC"),
)  # fmt: skip


def _message(arch: Architecture, size: str = "") -> Decode:
    """Struct msghdr; ``size``: R where the kernel filled it with ``result`` bytes."""

    def show(view: View, address: int, _: Args) -> str | None:
        return _header(view, arch, address, view.result if size else -1)

    return show


def _form(arch: Architecture) -> struct.Struct:
    # x32's is the compatible one too (net/compat.c)
    return struct.Struct(order_of(arch) + ("IIIIIII" if arch.bits == 32 else "QIxxxxQQQQIxxxx"))


def _header(view: View, arch: Architecture, address: int, filled: int) -> str | None:
    """Struct msghdr; ``filled`` >= 0: how many bytes its vectors hold."""
    from seclude.supervise.tracer_structs import bits_of

    form = _form(arch)
    raw = view.read(address, form.size)
    if raw is None:
        return None
    name, name_length, vector, count, control, control_length, flags = form.unpack(raw)
    where = "NULL"
    if name:
        body = view.copy(view.tid, name, min(name_length, _LONGEST)) if name_length else None
        where = address_text(body, arch) if body else pointer(name)
    data = vectors(view, arch, vector, count & 0xFFFFFFFF, filled) if vector else "NULL"
    ancillary = f"msg_control={pointer(control)}, " if control and control_length else ""
    return (
        f"{{msg_name={where}, msg_namelen={name_length}, msg_iov={data or pointer(vector)}, msg_iovlen={count}, {ancillary}"
        f"msg_controllen={control_length}, msg_flags={bits_of(flags, _MESSAGE_FLAGS)}}}"
    )


def _messages(arch: Architecture, received: str = "") -> Decode:
    """As many of struct mmsghdr as were sent or received: the result."""
    step = _form(arch).size + (4 if arch.bits == 32 else 8)

    def show(view: View, address: int, _: Args) -> str | None:
        shown = []
        for at in range(address, address + min(view.result, ELEMENTS) * step, step):
            raw = view.read(at + step - (4 if arch.bits == 32 else 8), 4)
            if raw is None:
                return None
            (length,) = struct.unpack(order_of(arch) + "I", raw)
            header = _header(view, arch, at, length if received else -1)
            if header is None:
                return None
            shown.append(f"{{msg_hdr={header}, msg_len={length}}}")
        return f"[{', '.join(shown)}{', ...' if view.result > ELEMENTS else ''}]"

    return show


FACTORIES: dict[str, Factory] = {"to": _given, "from": _taken, "message": _message, "messages": _messages}
