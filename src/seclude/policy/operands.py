"""Which bits of a call a name in a condition means, on one architecture: registers, width and sign.

Parameters come from `seclude.abi.prototypes`, which says how the kernel reads them. A call without a known prototype
(retired and private ones) has its registers only: ``arg0``..``arg5``, unsigned, as wide as a register.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seclude.policy.lowered import ARG0_LOW, IP_HIGH, IP_LOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter
    from seclude.policy.nodes import Name

__all__ = ["NoOperandError", "Operand", "operand", "parameter_names", "register_width"]

POINTERS = frozenset({"pointer", "path", "sockaddr"})
_REGISTER = re.compile("arg([0-9]+)$")


class NoOperandError(Exception):
    """A register that this call does not have; the message says why."""


@dataclass(frozen=True, slots=True)
class Operand:
    """``parts`` are ``(word, bits)`` as in `lowered.Field`; ``pointer`` restricts comparisons to NULL."""

    parts: tuple[tuple[int, int], ...]
    signed: bool
    pointer: bool = False

    @property
    def width(self) -> int:
        return sum(bits for _, bits in self.parts)


def _register(index: int, bits: int) -> tuple[tuple[int, int], ...]:
    low = ARG0_LOW + 2 * index
    return ((low, min(bits, 32)),) if bits <= 32 else ((low, 32), (low + 1, 32))


def _parameters(arch: Architecture, call: str) -> tuple[Parameter, ...] | None:
    from seclude.abi.prototypes import prototype

    found = prototype(arch, call) if call else None
    return found.parameters if found else None


def parameter_names(arch: Architecture, call: str) -> Iterator[str]:
    """The names a condition on ``call`` may use for its parameters."""
    for parameter in _parameters(arch, call) or ():
        yield parameter.name
        yield from parameter.aliases


def register_width(arch: Architecture) -> int:
    """Bits of an argument register as the filter shows it: x32 and n32 pass 64-bit registers to a kernel of 64 bits."""
    return 64 if arch.bits == 64 or arch.x32_bit or arch.name.endswith("n32") else 32


def _of_parameter(parameter: Parameter) -> Operand:
    if len(parameter.registers) > 1:
        parts = tuple(_register(index, 32)[0] for index in parameter.registers)
    else:
        parts = _register(parameter.registers[0], parameter.width)
    return Operand(parts, parameter.signed, parameter.kind in POINTERS)


def operand(arch: Architecture, call: str, name: Name) -> Operand | None:
    """What ``name`` means in a condition on ``call``, or None where it is no parameter. Raises `NoOperandError`."""
    if name.name == "ip":
        wide = name.raw or register_width(arch) == 64
        return Operand(((IP_LOW, 32), (IP_HIGH, 32)) if wide else ((IP_LOW, 32),), signed=False)
    parameters = _parameters(arch, call)
    found = _REGISTER.match(name.name)
    if found:
        return _numbered(arch, call, int(found[1]), name.raw, parameters)
    for parameter in parameters or ():
        if name.name == parameter.name or name.name in parameter.aliases:
            if not name.raw:
                return _of_parameter(parameter)
            if len(parameter.registers) > 1:
                return Operand(_of_parameter(parameter).parts, signed=False)
            return Operand(_register(parameter.registers[0], 64), signed=False)
    return None


def _numbered(arch: Architecture, call: str, index: int, raw: bool, parameters: tuple[Parameter, ...] | None) -> Operand:
    if index > 5:
        raise NoOperandError(f"there is no arg{index}: system calls have at most six arguments, arg0..arg5")
    if raw:
        return Operand(_register(index, 64), signed=False)
    if parameters is None:
        return Operand(_register(index, register_width(arch)), signed=False)
    for parameter in parameters:
        if index in parameter.registers:
            split = len(parameter.registers) > 1
            return Operand(_register(index, 32), signed=False) if split else _of_parameter(parameter)
    last = max((r for p in parameters for r in p.registers), default=-1)
    if index < last:  # the padding before an even register pair
        return Operand(_register(index, register_width(arch)), signed=False)
    count = len(parameters)
    raise NoOperandError(f"{call} has {count or 'no'} parameter{'' if count == 1 else 's'}, so arg{index} is never read")
