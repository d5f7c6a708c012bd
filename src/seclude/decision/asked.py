"""A call as it is typed on a command line: ``socket AF_INET SOCK_STREAM 0``, ``openat flags=O_RDONLY|O_CLOEXEC``, ``0x3b arg2=-1``.

A value is a number, constants by name with ``| & ~ + - << >>``, or NULL. Each stands in the parameter that it is given for, as the kernel reads
it: as wide as its type, in the registers of the architecture. ``argN=`` is a whole register. What a pointer points to no filter can see, so text in
the place of a pointer is refused, with that reason.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from seclude.abi.constants import constant, constant_names, decode, errno_number
from seclude.abi.prototypes import prototype
from seclude.bpf.expression import Fault, Token, Tokens, evaluate, expression, tokenize
from seclude.bpf.machine import pack_data
from seclude.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter, Prototype

__all__ = ["Call", "read_call"]

_POINTERS = ("pointer", "path", "string", "sockaddr")


class Call(NamedTuple):
    """One call: ``nr`` and six registers as the filter sees them, and the call as a person reads it."""

    arch: Architecture
    name: str | None
    nr: int
    args: tuple[int, ...]
    text: str

    def words(self, ip: int = 0) -> tuple[int, ...]:
        """The sixteen logical words of struct seccomp_data."""
        return pack_data(self.nr, self.arch.token, ip, self.args)


def read_call(arch: Architecture, call: str, arguments: Sequence[str] = ()) -> Call:
    """The call that is meant. Raises `UsageError` for an unknown name, too many arguments, or a value that no register can hold."""
    nr, name = _number(arch, call)
    known = prototype(arch, name) if name is not None else None
    registers = [0] * 6
    place = 0
    for word in arguments:
        left, equals, right = word.partition("=")
        if equals and re.fullmatch(r"[A-Za-z_]\w*", left):
            _named(arch, name or call, known, left, right, registers)
            continue
        if known is not None and place < len(known.parameters):
            _put(arch, known.parameters[place], word, registers)
        elif known is not None and name not in _VARIABLE:
            raise UsageError(
                f"{known} takes {len(known.parameters)} argument{'s' if len(known.parameters) != 1 else ''}, {word!r} is one more",
                "a register beyond the call's own is given by number: arg5=1",
            )
        elif place >= 6:
            raise UsageError(f"a system call has at most six arguments, {word!r} is one more")
        else:
            registers[place] = _value(arch, word, None) & _mask(arch)
        place += 1
    return Call(arch, name, nr, tuple(registers), _text(arch, name or call, known, registers))


#: calls whose prototype ends in ``...``: further registers may matter
_VARIABLE = frozenset(("syscall",))


def _mask(arch: Architecture) -> int:
    from seclude.abi.prototypes import WIDE

    return 0xFFFFFFFFFFFFFFFF if arch.bits == 64 or arch.name in WIDE else 0xFFFFFFFF


def _number(arch: Architecture, call: str) -> tuple[int, str | None]:
    number = arch.number(call)
    if number is not None:
        return number, arch.call_name(number) or call
    try:
        value = int(call, 0)
    except ValueError:
        near = nearest(call, arch.calls())
        elsewhere = "" if near else f"a number is taken as well; see: seclude syscalls {call}"
        raise UsageError(f"{arch.name} has no call {call!r}", f"did you mean {near!r}?" if near else elsewhere) from None
    if not -(1 << 31) <= value < 1 << 32:
        raise UsageError(f"no call can have the number {call}", "a filter sees the number as 32 bits")
    value &= 0xFFFFFFFF
    return value, arch.call_name(value)


def _named(arch: Architecture, call: str, known: Prototype | None, name: str, text: str, registers: list[int]) -> None:
    if re.fullmatch(r"arg[0-5]", name):
        registers[int(name[3])] = _value(arch, text, None) & _mask(arch)
        return
    parameter = known.parameter(name) if known is not None else None
    if parameter is None:
        names = [*(one.name for one in known.parameters)] if known is not None else []
        near = nearest(name, names)
        raise UsageError(
            f"{call} has no parameter {name!r}" + (f"; did you mean {near!r}?" if near else ""),
            f"it has {', '.join(names)}; a register is arg0 to arg5" if names else "a register is arg0 to arg5",
        )
    _put(arch, parameter, text, registers)


def _put(arch: Architecture, parameter: Parameter, text: str, registers: list[int]) -> None:
    value = _value(arch, text, parameter)
    width = parameter.width
    if not -(1 << (width - 1)) <= value < 1 << width:
        raise UsageError(
            f"{parameter.name}={text}: {value:#x} does not fit in the {width} bits that the kernel reads",
            f"the whole register is arg{parameter.index}=",
        )
    value &= (1 << width) - 1
    if len(parameter.registers) == 1:
        registers[parameter.registers[0]] = value & _mask(arch)
    else:
        for position, register in enumerate(parameter.registers):
            registers[register] = value >> 32 * position & 0xFFFFFFFF


def _value(arch: Architecture, text: str, parameter: Parameter | None) -> int:
    if text == "NULL":
        return 0

    def look_up(token: Token) -> int:
        for found in (constant(token.text, arch), errno_number(token.text, arch)):
            if found is not None:
                return found
        near = nearest(token.text, constant_names())
        raise Fault(f"unknown constant {token.text!r}", token, f"did you mean {near!r}?" if near else "")

    try:
        tokens = Tokens(tokenize(text))
        value = evaluate(expression(tokens), look_up)
        if tokens.peek().kind != "end":
            raise Fault(f"unexpected {tokens.peek().text!r}", tokens.peek())
    except Fault as fault:
        if parameter is not None and parameter.kind in _POINTERS:
            raise UsageError(
                f"{text!r} cannot stand for {parameter.name}: it is a pointer, and a filter sees the address alone, never what is there",
                "give an address, such as 0x1000, or NULL",
            ) from None
        shown = f"{parameter.name}={text}" if parameter is not None else text
        remedy = fault.remedy or "a value is a number, or constants by name such as O_RDONLY|O_CLOEXEC"
        raise UsageError(f"{shown}: {fault.message}", remedy) from None
    if not -(1 << 63) <= value < 1 << 64:
        raise UsageError(f"{text}: {value:#x} does not fit in a register of 64 bits")
    return value


def _text(arch: Architecture, call: str, known: Prototype | None, registers: Sequence[int]) -> str:
    if known is None:
        return f"{call}({', '.join(map(hex, registers))})"
    return f"{call}({', '.join(decode(one, one.value(registers), arch) for one in known.parameters)})"
