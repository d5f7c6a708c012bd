"""A socket address as read from a target: ``struct sockaddr`` of the families that connect(2) and bind(2) see most."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

__all__ = ["Address"]

_UNIX, _INET, _INET6 = 1, 2, 10
_NAMES = {0: "AF_UNSPEC", 1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET", 40: "AF_VSOCK"}


class Address:
    """One address. Layouts: unix(7), ip(7), ipv6(7).

    ``family`` is the number, ``family_name`` its name where known. ``host`` (text) and ``port`` are for AF_INET and AF_INET6; ``path`` (bytes) is for AF_UNIX: a
    file's, or with a NUL first an abstract name; "" where the socket is unnamed. What does not apply, or is cut short, is None. ``raw`` is the copy.
    """

    __slots__ = ("family", "host", "path", "port", "raw", "scope")

    def __init__(self, raw: bytes, byteorder: Literal["little", "big"] = "little") -> None:
        self.raw = raw
        self.family = int.from_bytes(raw[:2], byteorder) if len(raw) >= 2 else -1
        self.host: str | None = None
        self.port: int | None = None
        self.path: bytes | None = None
        self.scope = 0
        if self.family == _UNIX:
            body = raw[2:]
            self.path = body if body[:1] == b"\0" else body.partition(b"\0")[0]
        elif self.family == _INET and len(raw) >= 16:
            self.host, self.port = ".".join(map(str, raw[4:8])), int.from_bytes(raw[2:4], "big")
        elif self.family == _INET6 and len(raw) >= 24:  # SIN6_LEN_RFC2133: without the scope
            import _socket

            self.host, self.port = _socket.inet_ntop(_socket.AF_INET6, raw[8:24]), int.from_bytes(raw[2:4], "big")
            self.scope = int.from_bytes(raw[24:28], byteorder)

    @property
    def family_name(self) -> str:
        return _NAMES.get(self.family, f"AF {self.family}")

    def __str__(self) -> str:
        if self.host is not None:
            return f"[{self.host}]:{self.port}" if self.family == _INET6 else f"{self.host}:{self.port}"
        if self.path is not None:
            name = self.path.decode("utf-8", "backslashreplace")
            return "@" + name[1:] if name[:1] == "\0" else name
        return self.family_name

    def __repr__(self) -> str:
        return f"Address({self.family_name}, {str(self)!r})"
