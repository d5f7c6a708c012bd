r"""A compiled policy as the run path loads it: bytes for the kernel, and what is needed to explain them.

Kept free of everything that costs start-up time: this module reads and writes one flat format.

Format (all integers little-endian, lengths in bytes)::

    magic   8   b"SECLUDE\x01"   the last byte is the version of this format
    fields      tag (1), length (4), bytes; unknown tags are refused; source, summary and override may repeat
    end         tag 0, length 4, CRC-32 of everything before it

A CRC finds accidents only. Trust comes from where the bytes lie: `seclude.compiler.cache` authenticates its entries, and
the shipped presets are part of the package.
"""

from __future__ import annotations

import binascii

from seclude.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAGIC", "Artifact"]

MAGIC = b"SECLUDE\x01"
_END, _NAME, _SOURCE, _BYTEORDER, _NATIVE, _PLAIN, _REPORTED, _SUMMARY, _OVERRIDE = range(9)


class Artifact:
    """A policy's two filters and where they come from.

    ``name``: the preset or file that was asked for. ``sources``: ``(file name, text)``, the main text first, included files
    and the lines of ``--allow``/``--deny`` after it. ``byteorder``: "little" or "big". ``native``: the architecture that ``native``
    was resolved to. ``plain``: struct sock_filter[] of the policy. ``reported``: the same for ``reported(policy)``, where errno answers
    are notifications. ``summary``: what is said when it is loaded (`calls`, `default`, `architectures`, `instructions`,
    `reported_instructions`, `actions`), and `attended`: which calls can reach a handler, where any can. ``overrides``: the extra rules it was compiled with, ``("allow" or "deny", rule)``.
    """

    __slots__ = ("byteorder", "name", "native", "overrides", "plain", "reported", "sources", "summary")

    def __init__(
        self,
        name: str,
        sources: Iterable[tuple[str, str]],
        byteorder: str,
        native: str,
        plain: bytes,
        reported: bytes,
        summary: dict[str, str],
        overrides: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.name = name
        self.sources = tuple(sources)
        self.byteorder = byteorder
        self.native = native
        self.plain = plain
        self.reported = reported
        self.summary = summary
        self.overrides = tuple(overrides)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and all(getattr(self, slot) == getattr(other, slot) for slot in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.name, self.plain))

    def to_bytes(self) -> bytes:
        """This artifact in the format above."""
        fields = [(_NAME, self.name.encode())]
        fields += [(_SOURCE, _pair(file, text)) for file, text in self.sources]
        fields += [(_BYTEORDER, self.byteorder.encode()), (_NATIVE, self.native.encode())]
        fields += [(_PLAIN, self.plain), (_REPORTED, self.reported)]
        fields += [(_SUMMARY, _pair(key, value)) for key, value in self.summary.items()]
        fields += [(_OVERRIDE, _pair(kind, rule)) for kind, rule in self.overrides]
        body = MAGIC + b"".join(bytes((tag,)) + len(raw).to_bytes(4, "little") + raw for tag, raw in fields)
        return body + bytes((_END,)) + (4).to_bytes(4, "little") + binascii.crc32(body).to_bytes(4, "little")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Artifact:
        """Read what `to_bytes` wrote. Raises `InputError` on anything else."""
        if raw[: len(MAGIC)] != MAGIC:
            raise InputError("not a compiled policy of this version of Seclude")
        many: dict[int, list[bytes]] = {tag: [] for tag in range(1, 9)}
        position = len(MAGIC)
        while True:
            if len(raw) - position < 5:
                raise InputError("a compiled policy is cut short")
            tag = raw[position]
            size = int.from_bytes(raw[position + 1 : position + 5], "little")
            value = raw[position + 5 : position + 5 + size]
            if len(value) != size:
                raise InputError("a compiled policy is cut short")
            if tag == _END:
                if size != 4 or position + 9 != len(raw) or int.from_bytes(value, "little") != binascii.crc32(raw[:position]):
                    raise InputError("a compiled policy is damaged")
                break
            if tag not in many:
                raise InputError(f"a compiled policy has an unknown field {tag}")
            many[tag].append(value)
            position += 5 + size
        if any(len(many[tag]) != 1 for tag in (_NAME, _BYTEORDER, _NATIVE, _PLAIN, _REPORTED)) or not many[_SOURCE]:
            raise InputError("a compiled policy lacks a field or has one twice")
        try:
            return cls(
                many[_NAME][0].decode(),
                [_unpair(one) for one in many[_SOURCE]],
                many[_BYTEORDER][0].decode(),
                many[_NATIVE][0].decode(),
                many[_PLAIN][0],
                many[_REPORTED][0],
                dict(_unpair(one) for one in many[_SUMMARY]),
                [_unpair(one) for one in many[_OVERRIDE]],
            )
        except UnicodeDecodeError:
            raise InputError("a compiled policy is damaged: a text is not UTF-8") from None


def _pair(first: str, second: str) -> bytes:
    raw = first.encode(errors="surrogateescape")
    return len(raw).to_bytes(4, "little") + raw + second.encode(errors="surrogateescape")


def _unpair(raw: bytes) -> tuple[str, str]:
    size = int.from_bytes(raw[:4], "little")
    if 4 + size > len(raw):
        raise InputError("a compiled policy is damaged")
    return raw[4 : 4 + size].decode(errors="surrogateescape"), raw[4 + size :].decode(errors="surrogateescape")
