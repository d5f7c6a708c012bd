"""One concrete call out of a set, and how a person reads it.

A diagram's every path that does not end in `FALSE` leads to members, so a member is found without search. Which one matters to the
reader: this machine's architecture before others, calls that have a name before bare numbers, and for each argument the value that
programs usually pass (``AF_UNIX``, ``SOCK_STREAM``), else a constant with a name, else the smallest number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.decision.nodes import FALSE, LEVEL_SHIFT, Node
from seclude.decision.value import ARCH, NR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter

__all__ = ["SystemCall", "architecture_of", "witness", "witness_of"]

_X32_BIT = 0x4000_0000
_FULL = 0xFFFF_FFFF
#: constant family → the value that a reader expects to see
_TYPICAL = {"AF": "AF_UNIX", "SOCK": "SOCK_STREAM", "SIG": "SIGTERM", "MAP": "MAP_PRIVATE"}
#: how many named constants of a family are tried
_TRIED = 200


def architecture_of(token: int, number: int) -> Architecture | None:
    """The architecture that a call belongs to, or None for a token that is not one of ours."""
    from seclude.abi import by_token

    found = by_token(token)
    if len(found) > 1:
        x32 = bool(number & _X32_BIT and number < 0x8000_0000)
        found = tuple(one for one in found if bool(one.x32_bit) == x32)
    return found[0] if found else None


class SystemCall(NamedTuple):
    """One call as a filter sees it: AUDIT_ARCH ``token``, ``number``, six 64-bit ``args``, and the instruction pointer ``ip``."""

    token: int
    number: int
    args: tuple[int, ...]
    ip: int = 0

    @classmethod
    def from_words(cls, words: Sequence[int]) -> SystemCall:
        """From the sixteen words 0 nr, 1 arch, 2 ip.low, 3 ip.high, 4 arg0.low, ..."""
        values = [words[i] | words[i + 1] << 32 for i in range(2, 16, 2)]
        return cls(words[1], words[0], tuple(values[1:]), values[0])

    @property
    def words(self) -> tuple[int, ...]:
        """The sixteen 32-bit words."""
        halves = (half for value in (self.ip, *self.args) for half in (value & _FULL, value >> 32))
        return (self.number, self.token, *halves)

    @property
    def arch(self) -> Architecture | None:
        """The architecture, or None for a token that is not one of ours."""
        return architecture_of(self.token, self.number)

    @property
    def name(self) -> str:
        """The call's name, or its number."""
        arch = self.arch
        return (arch and arch.call_name(self.number)) or (str(self.number) if self.number < 0x8000_0000 else f"{self.number:#x}")

    def clean(self) -> SystemCall:
        """The same call to the kernel, with every bit zero that it does not read."""
        from seclude.decision.typed import ignored_bits

        arch = self.arch
        if arch is None:
            return self
        ignored = ignored_bits(arch, arch.call_name(self.number) or "")
        return self.from_words([word & ~bits for word, bits in zip(self.words, ignored, strict=True)])

    def __str__(self) -> str:
        arch = self.arch
        name = arch.call_name(self.number) if arch else None
        shown = _arguments(arch, name or "", self.args) if arch else _registers(self.args)
        if self.ip:
            shown.append(f"from instruction {self.ip:#x}")
        return f"{self.name}({', '.join(shown)})"


# ── how it is read ──────────────────────────────────────────────────────────────────────────────────────────────────


def _arguments(arch: Architecture, call: str, args: Sequence[int]) -> list[str]:
    from seclude.abi.prototypes import prototype

    found = prototype(arch, call) if call else None
    if found is None:
        return _registers(args)
    shown = [_argument(arch, parameter, args) for parameter in found.parameters]
    read = {register for parameter in found.parameters for register in parameter.registers}
    unread = [f"arg{index} {value:#x}, which the kernel does not read" for index, value in enumerate(args) if value and index not in read]
    return shown + unread


def _argument(arch: Architecture, parameter: Parameter, args: Sequence[int]) -> str:
    from seclude.abi.constants import decode

    raw = [args[register] for register in parameter.registers]
    if len(raw) > 1:
        value = raw[0] & _FULL | (raw[1] & _FULL) << 32
        dropped = any(part >> 32 for part in raw)
        text = decode(parameter, value, arch)
        return f"{' and '.join(f'{part:#x}' for part in raw)} = {text} after the kernel drops the high words" if dropped else text
    width = parameter.width
    text = decode(parameter, raw[0], arch)
    above = raw[0] >> width
    if not above:
        return text
    if parameter.signed and raw[0] >> (width - 1) == (1 << 65 - width) - 1:
        return f"{raw[0]:#x} = {text}"  # sign-extended, as compilers leave it
    return f"{raw[0]:#x} = {text} after the kernel drops {'the high word' if width == 32 else f'all but {width} bits'}"


def _registers(args: Sequence[int]) -> list[str]:
    last = max((index for index, value in enumerate(args) if value), default=-1)
    return [f"{value:#x}" if value > 9 else str(value) for value in args[: last + 1]]


# ── how it is found ─────────────────────────────────────────────────────────────────────────────────────────────────


def witness(root: Node) -> SystemCall | None:
    """A member of the set with this diagram, or None where it is empty; every leaf but `FALSE` counts as inside."""
    if root is FALSE:
        return None
    node, token = _architecture(root)
    node, number = _number(node, token)
    return witness_of(node, token, number)


def witness_of(region: Node, token: int, number: int) -> SystemCall:
    """The witness among the calls of this number: ``region`` is what remains, over the instruction pointer and the arguments; not `FALSE`."""
    words = [0] * 16
    words[ARCH], words[NR] = token, number
    node, words[3] = _least(region, 16)
    node, words[2] = _least(node, 24)
    wanted = _usual(token, number)
    for register in range(6):
        level = 32 + 16 * register
        for low, high in (*wanted.get(register, ()), (0, 0)):
            inside = _follow(_follow(node, level, high), level + 8, low)
            if inside is not FALSE:
                node, words[4 + 2 * register], words[5 + 2 * register] = inside, low, high
                break
        else:
            node, words[5 + 2 * register] = _least(node, level)
            node, words[4 + 2 * register] = _low(node, level + 8, wanted.get(register, ()))
    return SystemCall.from_words(words)


def _low(node: Node, level: int, wanted: Sequence[tuple[int, int]]) -> tuple[Node, int]:
    for low, _ in wanted:
        inside = _follow(node, level, low)
        if inside is not FALSE:
            return inside, low
    return _least(node, level)


def _follow(node: Node, level: int, value: int) -> Node:
    """What is left when the word whose first digit is ``level`` has this value."""
    while node.level < level + 8:
        node = node.kids[value >> LEVEL_SHIFT[node.level] & 15]
    return node


def _least(node: Node, level: int) -> tuple[Node, int]:
    """The smallest value of the word that leads anywhere, and what is left."""
    value = 0
    while node.level < level + 8:
        digit = next(index for index, kid in enumerate(node.kids) if kid is not FALSE)
        value |= digit << LEVEL_SHIFT[node.level]
        node = node.kids[digit]
    return node, value


def _architecture(root: Node) -> tuple[Node, int]:
    from seclude import abi
    from seclude.errors import UsageError

    try:
        first = (abi.native(), *abi.companions(abi.native()))
    except UsageError:  # a machine that is none of the 23
        first = ()
    named = None
    for one in dict.fromkeys((*first, abi.arch("x86_64"), *abi.ALL)):
        node = _follow(root, 0, one.token)
        if node is not FALSE:
            if next(_named(node, one.token), None) is not None:
                return node, one.token
            named = named or (node, one.token)
    return named or _least(root, 0)


def _named(node: Node, token: int) -> Iterator[tuple[Node, int]]:
    """The calls with a name that are inside, by number, current ones first."""
    from seclude.abi import by_token

    for one in by_token(token):
        calls = sorted((name in one.retired, number) for name, number in one.calls().items())
        for _, number in calls:
            inside = _follow(node, 8, number)
            if inside is not FALSE:
                yield inside, number


def _number(node: Node, token: int) -> tuple[Node, int]:
    found = next(_named(node, token), None)
    return found if found is not None else _least(node, 8)


def _usual(token: int, number: int) -> dict[int, list[tuple[int, int]]]:
    """For each register, (low word, high word) worth trying, best first."""
    from seclude.abi.constants import family
    from seclude.abi.prototypes import prototype

    arch = architecture_of(token, number)
    name = arch.call_name(number) if arch else None
    found = prototype(arch, name) if arch and name else None
    wanted: dict[int, list[tuple[int, int]]] = {}
    for parameter in found.parameters if found else ():
        if len(parameter.registers) == 1 and parameter.constants:
            assert arch is not None
            members = family(parameter.constants, arch)
            usual = members.get(_TYPICAL.get(parameter.constants, ""), 0)
            mask = (1 << parameter.width) - 1
            values = dict.fromkeys(value & mask for value in (usual, 0, *list(members.values())[:_TRIED]))
            wanted[parameter.registers[0]] = [(value & _FULL, value >> 32) for value in values]
    return wanted
