"""Which addresses a run may connect to and bind: grants, as ``--connect`` and ``--bind`` spell them, and what they cover.

Only values and comparisons; nothing here asks a kernel or a name server (`grants` is handed a function that resolves names). The grammar:

    --connect   HOST:PORT | NETWORK[:PORT] | unix:PATH | unix:@NAME
    --bind      [HOST:]PORT | NETWORK:PORT | unix:PATH | unix:@NAME
    HOST        192.0.2.1, [2001:db8::1], [fe80::1%eth0], or a name, which stands for all its addresses
    NETWORK     192.0.2.0/24, 2001:db8::/32, [2001:db8::/32]
    PORT        80, 8000-8100, or * for every port

What is compared is an `Endpoint`: an IP address by its value, not by its spelling. ``::ffff:192.0.2.1`` *is* 192.0.2.1 (ipv6(7): "IPv4-mapped"), and is
judged so on both sides. The unspecified addresses (0.0.0.0 and ::) are the machine itself when connected to; they are covered only where a grant names them.
"""

from __future__ import annotations

import os

from seclude.errors import UsageError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    #: name → addresses as text, ``192.0.2.1`` or ``2001:db8::1``; raises OSError
    Resolver = Callable[[str], Iterable[str]]

__all__ = ["Endpoint", "Grant", "endpoint", "grants", "suggestion"]

_MOST_PORT = 65535
_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96
_SUN_PATH = 108  # sizeof(sockaddr_un.sun_path), unix(7)
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_+=:,./-")


class Endpoint:
    """An IP address and port that a target named: ``version`` 4 or 6, ``value`` the address as a number, ``scope`` the interface of a link-local one (0: none)."""

    __slots__ = ("port", "scope", "value", "version")

    def __init__(self, version: int, value: int, port: int, scope: int = 0) -> None:
        if version == 6 and value >> 32 == _MAPPED >> 32:
            version, value, scope = 4, value & 0xFFFFFFFF, 0
        self.version, self.value, self.port, self.scope = version, value, port, scope

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Endpoint) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash((self.version, self.value, self.port, self.scope))

    def __str__(self) -> str:
        """As `grants` reads it back: ``192.0.2.1:80``, ``[2001:db8::1]:80``, ``[fe80::1%2]:80``."""
        host = _host(self.version, self.value)
        if self.version == 4:
            return f"{host}:{self.port}"
        return f"[{host}{f'%{self.scope}' if self.scope else ''}]:{self.port}"

    def __repr__(self) -> str:
        return f"Endpoint({self})"


class Grant:
    """One thing granted. ``kind`` is "ip", "unix" (``path``, absolute) or "abstract" (``path`` is the name, without its NUL).

    For "ip": the network ``value``/``prefix`` of ``version`` (0: any address of either), ports ``low`` to ``high``, and ``scope`` (0: any).
    ``text`` is what the user wrote.
    """

    __slots__ = ("high", "kind", "low", "path", "prefix", "scope", "text", "value", "version")

    def __init__(
        self, text: str, kind: str, *, version: int = 0, value: int = 0, prefix: int = 0, low: int = 0, high: int = _MOST_PORT, scope: int = 0,
        path: bytes = b"",
    ) -> None:  # fmt: skip
        self.text, self.kind, self.path = text, kind, path
        if version == 6 and value >> 32 == _MAPPED >> 32 and prefix >= 96:
            version, value, prefix, scope = 4, value & 0xFFFFFFFF, prefix - 96, 0
        self.version, self.value, self.prefix, self.scope = version, value, prefix, scope
        self.low, self.high = low, high

    def covers(self, asked: Endpoint) -> bool:
        """Whether this grant is for that address and port."""
        if self.kind != "ip" or not self.low <= asked.port <= self.high:
            return False
        if self.version == 0:
            return True
        if asked.version != self.version or (self.scope and asked.scope != self.scope):
            return False
        free = _bits(self.version) - self.prefix
        return asked.value >> free == self.value >> free

    def __str__(self) -> str:
        """The grant in full, a name already replaced by its address."""
        if self.kind == "unix":
            return "unix:" + os.fsdecode(self.path)
        if self.kind == "abstract":
            return "unix:@" + os.fsdecode(self.path)
        port = str(self.low) if self.low == self.high else "*" if (self.low, self.high) == (0, _MOST_PORT) else f"{self.low}-{self.high}"
        if self.version == 0:
            return port
        host = _host(self.version, self.value) + (f"%{self.scope}" if self.scope else "")
        host += f"/{self.prefix}" if self.prefix != _bits(self.version) else ""
        return f"{host}:{port}" if self.version == 4 else f"[{host}]:{port}"

    def __repr__(self) -> str:
        return f"Grant({self})"


def _bits(version: int) -> int:
    return 32 if version == 4 else 128


def _host(version: int, value: int) -> str:
    import _socket

    if version == 4:
        return _socket.inet_ntop(_socket.AF_INET, value.to_bytes(4, "big"))
    return _socket.inet_ntop(_socket.AF_INET6, value.to_bytes(16, "big"))


def endpoint(raw: bytes, family: int) -> Endpoint | None:
    """What a ``struct sockaddr_in`` (16 bytes) or ``sockaddr_in6`` (24, or 28 with the scope) names, read as ``family``, whatever its own field says.

    None where it is too short: the kernel answers EINVAL then (ip(7), ipv6(7); net/ipv6/af_inet6.c takes SIN6_LEN_RFC2133).
    """
    import _socket
    import sys

    port = int.from_bytes(raw[2:4], "big")
    if family == _socket.AF_INET and len(raw) >= 16:
        return Endpoint(4, int.from_bytes(raw[4:8], "big"), port)
    if family == _socket.AF_INET6 and len(raw) >= 24:
        return Endpoint(6, int.from_bytes(raw[8:24], "big"), port, int.from_bytes(raw[24:28], sys.byteorder))
    return None


def suggestion(option: str, what: str) -> str:
    """``--connect 192.0.2.1:80``, quoted for a shell where it must be."""
    if what and set(what) <= _PLAIN:
        return f"{option} {what}"
    return f"{option} '" + what.replace("'", "'\\''") + "'"


# -- reading ---------------------------------------------------------------------------------------------------------------


def grants(texts: Iterable[str], option: str, resolve: Resolver | None = None) -> list[Grant]:
    """Read what was given with ``option`` (``--connect`` or ``--bind``). A name becomes one grant for each address.

    ``resolve`` None uses this machine's resolver (getaddrinfo(3)). Raises `UsageError`, for a name without an address too.
    """
    out: list[Grant] = []
    for text in texts:
        out += _unix(text, option) if text.startswith("unix:") else _ip(text, option, resolve or resolved)
    return out


def _unix(text: str, option: str) -> list[Grant]:
    path = os.fsencode(text[5:])
    if path.startswith(b"@"):
        name = path[1:]
        if not name or len(name) >= _SUN_PATH:
            raise _fault(option, text, f"an abstract name of 1 to {_SUN_PATH - 1} bytes after unix:@")
        return [Grant(text, "abstract", path=name)]
    if not path or b"\0" in path or path.endswith(b"/"):
        raise _fault(option, text, "the path of a socket after unix:")
    return [Grant(text, "unix", path=os.path.normpath(os.path.join(os.getcwdb(), path)))]


def _ip(text: str, option: str, resolve: Resolver) -> list[Grant]:
    host, port = _split(text, option)
    low, high = _ports(port, option, text)
    if not host:
        if option != "--bind":
            raise _fault(option, text, "a host before the port, such as 127.0.0.1:80, or a network, such as 0.0.0.0/0:80")
        return [Grant(text, "ip", low=low, high=high)]
    name, slash, length = host.partition("/")
    name, percent, scope = name.partition("%")
    at = _address(name)
    if at is None:
        if slash or percent or not all(c.isascii() and (c.isalnum() or c in "-._") for c in name):
            raise _fault(option, text, "an address, a network such as 192.0.2.0/24, or a name")
        if _numeric(name):
            raise _fault(option, text, "an IPv4 address of four numbers")  # inet_aton(3) reads 127.1 and 2130706433, people do not
        if port is None:
            raise _fault(option, text, f"a port after the name, such as {name}:443")
        return [_one(text, version, value, low, high) for version, value in _addresses(name, option, text, resolve)]
    version, value = at
    bits = _bits(version)
    if slash and not (length.isdecimal() and int(length) <= bits):
        raise _fault(option, text, f"a prefix length of 0 to {bits} after the slash")
    prefix = int(length) if slash else bits
    if value & (1 << bits - prefix) - 1:
        network = _host(version, value >> bits - prefix << bits - prefix)
        raise _fault(option, text, f"a network without host bits, such as {network}/{prefix}")
    if port is None and option == "--bind":
        raise _fault(option, text, "a port: [HOST:]PORT")
    return [
        Grant(
            text, "ip", version=version, value=value, prefix=prefix, low=low, high=high, scope=_scope(percent, scope, version, option, text)
        )
    ]


def _one(text: str, version: int, value: int, low: int, high: int) -> Grant:
    return Grant(text, "ip", version=version, value=value, prefix=_bits(version), low=low, high=high)


def _split(text: str, option: str) -> tuple[str, str | None]:
    """Host and port; the port None where none is given."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        length, colon, port = rest.partition(":")
        if not bracket or (length and (not length.startswith("/") or "/" in host)) or _is_v6(host) is None:
            raise _fault(option, text, "an IPv6 address in brackets, such as [2001:db8::1]:80")
        return host + length, port if colon else None
    if text.count(":") > 1:
        return text, None  # an IPv6 address or network without a port
    host, colon, port = text.rpartition(":")
    if colon:
        return host, port
    return ("", text) if option == "--bind" else (text, None)


def _is_v6(host: str) -> tuple[int, int] | None:
    found = _address(host.partition("/")[0].partition("%")[0])
    return found if found is not None and found[0] == 6 else None


def _address(text: str) -> tuple[int, int] | None:
    import _socket

    for version, family in ((4, _socket.AF_INET), (6, _socket.AF_INET6)):
        try:
            return version, int.from_bytes(_socket.inet_pton(family, text), "big")
        except (OSError, ValueError):
            continue
    return None


def _numeric(name: str) -> bool:
    return all(part.isdecimal() or part[:2].lower() == "0x" for part in name.split("."))


def _ports(text: str | None, option: str, whole: str) -> tuple[int, int]:
    if text is None or text == "*":
        return 0, _MOST_PORT
    first, dash, last = text.partition("-")
    words = (first, last) if dash else (first, first)
    if not all(word.isascii() and word.isdecimal() and int(word) <= _MOST_PORT for word in words) or int(words[0]) > int(words[1]):
        raise _fault(option, whole, f"a port of 0 to {_MOST_PORT}, two of them as in 8000-8100, or *")
    return int(words[0]), int(words[1])


def _scope(percent: str, scope: str, version: int, option: str, text: str) -> int:
    if not percent:
        return 0
    import _socket

    if version == 4:
        raise _fault(option, text, "an IPv4 address without a scope")
    if scope.isdecimal() and 0 < int(scope) < 1 << 32:
        return int(scope)
    try:
        return _socket.if_nametoindex(scope)
    except (OSError, ValueError):
        raise _fault(option, text, f"an interface of this machine after the %, not {scope!r}") from None


def _addresses(name: str, option: str, text: str, resolve: Resolver) -> list[tuple[int, int]]:
    try:
        found = [at for at in map(_address, resolve(name)) if at is not None]
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"{option} {printable(text)}: the name {printable(name)} cannot be resolved: {why}", "give its address") from None
    if not found:
        raise UsageError(f"{option} {printable(text)}: the name {printable(name)} has no address", "give its address")
    return list(dict.fromkeys(found))


def resolved(name: str) -> list[str]:
    """All addresses of a host, as this machine resolves names. Raises OSError (socket.gaierror)."""
    import _socket

    # An interface's number behind a link-local address is of no use in a grant: it is dropped.
    found = _socket.getaddrinfo(name, None, 0, _socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def _fault(option: str, text: str, expected: str) -> UsageError:
    return UsageError(f"{option} {printable(text)}: expected {expected}", f"{option} takes " + _FORMS[option])


_FORMS = {
    "--connect": "HOST:PORT, NETWORK[:PORT] or unix:PATH",
    "--bind": "[HOST:]PORT or unix:PATH",
}
