"""The words that the policy language has for one call: which name stands for a register, and how its numbers are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.abi.constants import FIELDS, VALUES, constants, family
from seclude.policy.nodes import Binary, Literal, Name
from seclude.policy.operands import NoOperandError, operand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter
    from seclude.policy.nodes import Expression

__all__ = ["Term", "Vocabulary"]

_MOST_FLAGS = 12


class Term(NamedTuple):
    """A name for a register, or for the bits of it that a condition looks at: ``width`` bits, compared with ``signed`` order."""

    name: Name
    width: int
    signed: bool
    pointer: bool
    parameter: Parameter | None
    arch: Architecture | None

    def number(self, value: int, mask: int) -> Expression:
        """``value`` of the bits ``mask``, by name where the parameter has constants and one fits."""
        whole = mask == (1 << self.width) - 1
        if whole or (self.flags and (value or mask & self._field)):
            named = self._named(value)
            if named is not None:
                return named
        if self.pointer and not value:
            return Name("NULL")
        if whole and self.signed and value >= (1 << self.width) - 4096:
            return Literal(value - (1 << self.width))
        return self.plain(value)

    def plain(self, value: int) -> Literal:
        """``value`` as digits: octal for modes, decimal for small numbers, else hexadecimal."""
        if self.parameter is not None and self.parameter.kind == "mode" and value > 7:
            return Literal(value, f"0o{value:o}")
        return Literal(value, f"{value:#x}" if value > 4096 or (value > 9 and self.flags) else "")

    @property
    def flags(self) -> bool:
        """Whether its values are read as bits."""
        return self.parameter is not None and self.parameter.kind in ("flags", "mode")

    def mask(self, value: int) -> Expression:
        """``value`` where it selects bits: by name where all of them are flags."""
        named = self._named(value, mask=True) if self.flags else None
        if named is not None:
            return named
        plain = self.plain(value)
        return plain if plain.text or value < 10 else Literal(value, f"{value:#x}")

    @property
    def _field(self) -> int:
        """The bits of a flags argument that together hold one value."""
        return FIELDS.get(self.parameter.constants, (0, ""))[0] if self.parameter is not None else 0

    def _named(self, value: int, *, mask: bool = False) -> Expression | None:
        if self.parameter is None or not self.parameter.constants or self.arch is None:
            return None
        top = (1 << self.width) - 1
        members = family(self.parameter.constants, self.arch)
        for name, number in members.items():
            if number & top == value:
                return Name(name)
        if self.parameter.constants in VALUES:
            return None
        field, names = FIELDS.get(self.parameter.constants, (0, ""))
        flags = {name: bits for name, bits in members.items() if 0 < bits <= top and not bits & field}
        if not value & field:
            return _bits(value, flags)
        if mask:
            # A part of the field has a name only as a whole: O_ACCMODE.
            whole = next((name for name, bits in constants(self.arch).items() if bits == field and name.endswith("_ACCMODE")), None)
            return _bits(value & ~field, flags, whole) if whole and value & field == field else None
        low = next((name for name in names.split() if members.get(name) == value & field), None)
        return _bits(value & ~field, flags, low) if low else None


def _bits(value: int, flags: dict[str, int], first: str | None = None) -> Expression | None:
    """``first | A | B`` for a value that is made of named bits, those with most bits tried first."""
    rest = value
    found: list[tuple[int, str]] = []
    for name, bits in sorted(flags.items(), key=lambda item: -item[1].bit_count()):
        if value & bits == bits and rest & bits:
            found.append((bits, name))
            rest &= ~bits
    if rest or len(found) > _MOST_FLAGS:
        return None
    out: Expression | None = Name(first) if first else None
    for _, name in sorted(found):
        out = Name(name) if out is None else Binary("|", out, Name(name))
    return out


class Vocabulary:
    """The names for one call's registers. ``arch`` None: raw registers only. ``call`` "": a number without a name."""

    __slots__ = ("arch", "call", "parameters")

    def __init__(self, arch: Architecture | None, call: str) -> None:
        from seclude.abi.prototypes import prototype

        self.arch = arch
        self.call = call
        found = prototype(arch, call) if arch is not None and call else None
        self.parameters = found.parameters if found else ()

    def term(self, register: int, high: int, low: int, *, zero: bool) -> Term:
        """What to call ``register`` (0..5, or -1 for the instruction pointer) in a condition on the bits ``high`` and ``low`` of its words.

        ``zero``: the condition only asks whether they are zero, which is all that can be asked of a pointer.
        """
        words = (2, 3) if register < 0 else (4 + 2 * register, 5 + 2 * register)
        for name in self._names(register):
            if self.arch is None:
                return Term(name, 64, False, False, None, None)
            try:
                of = operand(self.arch, self.call, name)
            except NoOperandError:
                continue
            if of is None or (of.pointer and not (zero and high << 32 | low == (1 << of.width) - 1)):
                continue
            if of.width > 32:
                if of.parts != ((words[0], 32), (words[1], 32)):
                    continue
            elif of.parts != ((words[0], of.width),) or high or low >> of.width:
                continue
            parameter = next((p for p in self.parameters if p.registers == (register,)), None)
            return Term(name, of.width, of.signed, of.pointer, parameter, self.arch)
        raise AssertionError("every register has a raw name")

    def _names(self, register: int) -> Iterator[Name]:
        if register < 0:
            yield from (Name("ip"), Name("ip", raw=True))
            return
        own = [parameter.name for parameter in self.parameters if parameter.registers == (register,)]
        if self.arch is not None:
            yield from map(Name, own)
            yield Name(f"arg{register}")
            yield from (Name(name, raw=True) for name in own)
        yield Name(f"arg{register}", raw=True)
