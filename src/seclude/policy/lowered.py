"""What a policy means once names, types and architectures are resolved: the hand-over from `policy` to `decision`.

A seccomp filter sees sixteen 32-bit words. They are numbered here independently of byte order::

    0 nr   1 arch   2 ip.low   3 ip.high   4 arg0.low   5 arg0.high   6 arg1.low ... 15 arg5.high

A condition is a tree of `All`, `Any`, `Negation` over `Test` leaves. A `Test` takes a field (the low bits of one word,
or several words joined, least significant first), masks it, and asks whether the unsigned result lies in one of some
inclusive ranges: every comparison of the policy language, signed or not, comes down to that.

For each audit token the numbers are given as `calls` (one entry a number that the table names or the policy lists)
over `others`, a partition of all 2**32 numbers into inclusive runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seclude.errors import Span

__all__ = [
    "ARG0_LOW",
    "IP_HIGH",
    "IP_LOW",
    "All",
    "Any",
    "Clause",
    "Field",
    "Lowered",
    "LoweredCall",
    "LoweredToken",
    "Negation",
    "Predicate",
    "Test",
    "arg_word",
]

NR, ARCH, IP_LOW, IP_HIGH, ARG0_LOW = 0, 1, 2, 3, 4


def arg_word(index: int, high: bool = False) -> int:
    """The word number of one half of argument register ``index`` (0..5)."""
    return ARG0_LOW + 2 * index + high


@dataclass(frozen=True, slots=True)
class Field:
    """Bits of the call: ``(word, bits)`` pairs, least significant part first; ``bits`` low bits of each word count.

    An ``int`` in register 0 is ``((4, 32),)``; a ``umode_t`` in register 1 ``((6, 16),)``; a raw 64-bit register 2
    ``((8, 32), (9, 32))``; a 64-bit offset that a 32-bit architecture splits over registers 3 and 4, low half first,
    ``((10, 32), (12, 32))``.
    """

    parts: tuple[tuple[int, int], ...]

    @property
    def width(self) -> int:
        return sum(bits for _, bits in self.parts)


@dataclass(frozen=True, slots=True)
class Test:
    """``(field & mask)`` lies in one of ``ranges``: disjoint, sorted, inclusive ``(low, high)`` pairs, unsigned."""

    field: Field
    mask: int
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; ``All(())`` is true."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """Some part holds; ``Any(())`` is false."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """The part does not hold."""

    part: Predicate


Predicate = Test | All | Any | Negation


@dataclass(frozen=True, slots=True)
class Clause:
    """One rule as it bears on one call: if ``condition`` holds, the filter returns ``value``.

    ``value`` is the 32-bit SECCOMP_RET_* word with its data. ``rule`` is the rule's index in the policy, ``span`` the
    place of the call in it, ``named`` false where the call came through a group, ``file`` the text it stands in.
    """

    condition: Predicate
    value: int
    rule: int
    named: bool
    file: str
    span: Span | None


@dataclass(frozen=True, slots=True)
class LoweredCall:
    """One number: clauses tried in order, then ``otherwise``, a 32-bit SECCOMP_RET_* word. ``name`` is for messages."""

    name: str
    clauses: tuple[Clause, ...]
    otherwise: int


@dataclass(frozen=True, slots=True)
class LoweredToken:
    """One AUDIT_ARCH token. ``others`` covers 0..2**32-1 in ascending inclusive runs ``(first, last, value)``; ``calls`` overrides it."""

    token: int
    arch: str
    calls: Mapping[int, LoweredCall]
    others: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Lowered:
    """A whole policy. Tokens that are not listed get ``badarch``. All tokens share ``byteorder`` ("little" or "big")."""

    byteorder: str
    tokens: tuple[LoweredToken, ...]
    badarch: int
