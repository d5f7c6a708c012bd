"""What each instruction is about: the call in question, its parameter by name, the constant it is compared with, what an action does.

One pass in the order of the instructions, since classic BPF only jumps forward: at each one, what A, X and the scratch cells hold, the architecture
in force and which calls can still be meant, joined over every way that leads there. Time and memory are linear in the program's length.
A remark is only made where it holds on every such way.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from seclude.abi import by_token
from seclude.abi.constants import decode
from seclude.abi.prototypes import prototype
from seclude.bpf import codes
from seclude.bpf.flow import CONDITIONAL
from seclude.bpf.machine import word_at
from seclude.bpf.names import action_text, call_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter
    from seclude.bpf.program import Instruction, Program

__all__ = ["action_meaning", "remarks"]

_FULL = 0xFFFFFFFF
#: calls that are told apart; beyond this they are "several"
_CALLS = 4


class _Held(NamedTuple):
    """A word of the data, masked."""

    word: int
    mask: int = _FULL


class _State(NamedTuple):
    a: _Held | None
    x: _Held | None
    cells: tuple[_Held | None, ...]
    arch: Architecture | None
    #: numbers that the call is one of, or None where it may be any
    calls: frozenset[int] | None


_NOTHING = (None,) * 16


def _joined(one: _State, other: _State) -> _State:
    if one == other:
        return one
    calls = None if one.calls is None or other.calls is None else one.calls | other.calls
    return _State(
        one.a if one.a == other.a else None,
        one.x if one.x == other.x else None,
        one.cells if one.cells == other.cells else tuple(a if a == b else None for a, b in zip(one.cells, other.cells, strict=True)),
        one.arch if one.arch is other.arch else None,
        calls if calls is not None and len(calls) <= _CALLS else None,
    )


def remarks(program: Program, arch: Architecture | None = None) -> Iterator[str]:
    """A remark for each instruction, "" where there is nothing to say; "unreachable" where no way leads. ``arch`` is assumed at the start."""
    start = _State(None, None, _NOTHING, arch, None)
    states: dict[int, _State] = {0: start}
    words = {4 * offset: word_at(4 * offset, program.byteorder) for offset in range(16)}
    for pc, instruction in enumerate(program):
        state = states.pop(pc, None)
        if state is None:
            yield "unreachable"
            continue
        yield _remark(instruction, state, words)
        for target, after in _after(pc, instruction, state, words):
            known = states.get(target)
            states[target] = after if known is None else _joined(known, after)


def _after(pc: int, instruction: Instruction, state: _State, words: dict[int, int]) -> list[tuple[int, _State]]:
    code, jt, jf, k = instruction
    if code in CONDITIONAL:
        holds = fails = state
        if code == 0x15 and state.a is not None and state.a.mask == _FULL:
            if state.a.word == 1:
                candidates = by_token(k)
                if state.arch is None or state.arch.token != k:
                    holds = state._replace(arch=candidates[0] if candidates else None)
            elif state.a.word == 0:
                holds = state._replace(calls=frozenset((k,)))
                if state.calls is not None:
                    fails = state._replace(calls=state.calls - {k})
        return [(pc + 1 + jt, holds), (pc + 1 + jf, fails)]
    if code == 0x05:
        return [(pc + 1 + k, state)]
    kind = code & 0x07
    if kind == 0x06:
        return []
    if code == 0x20:
        word = words.get(k)
        state = state._replace(a=None if word is None else _Held(word))
    elif code == 0x07:
        state = state._replace(x=state.a)
    elif code == 0x87:
        state = state._replace(a=state.x)
    elif code in (0x02, 0x03) and k < 16:
        cells = list(state.cells)
        cells[k] = state.a if code == 0x02 else state.x
        state = state._replace(cells=tuple(cells))
    elif code in (0x60, 0x61):
        held = state.cells[k] if k < 16 else None
        state = state._replace(a=held) if code == 0x60 else state._replace(x=held)
    elif code == 0x54 and state.a is not None:
        state = state._replace(a=_Held(state.a.word, state.a.mask & k))
    elif kind in (0x00, 0x04):
        state = state._replace(a=None)
    elif kind == 0x01:
        state = state._replace(x=None)
    return [(pc + 1, state)]


def _remark(instruction: Instruction, state: _State, words: dict[int, int]) -> str:
    code, _, _, k = instruction
    if code == 0x06:
        return " ".join(filter(None, (action_meaning(k, state.arch), _subject(state))))
    if code == 0x20:
        word = words.get(k, 0)
        return _parameter_text(state, word) if word > 3 else ""
    if code not in CONDITIONAL or code & codes.BPF_X or state.a is None:
        return ""
    operation = code & 0xF0
    if state.a.word == 0:
        return _number_remark(operation, k, state.arch)
    return _argument_remark(operation, k, state) if state.a.word > 3 else ""


def _subject(state: _State) -> str:
    """``: read, write`` where only these calls get here."""
    if not state.calls or state.arch is None:
        return ""
    names = [call_text(number, state.arch) or str(number) for number in sorted(state.calls)]
    return "(" + ", ".join(names) + ")"


def _number_remark(operation: int, k: int, arch: Architecture | None) -> str:
    if arch is not None and arch.name == "x86_64":
        if k == 0x40000000 and operation in (codes.BPF_JGE, codes.BPF_JSET):
            return "x32 numbers"
        if k == 0x3FFFFFFF and operation == codes.BPF_JGT:
            return "x32 numbers"
    if operation in (codes.BPF_JGT, codes.BPF_JGE) and k < 0x40000000:
        first = k + (operation == codes.BPF_JGT)
        name = call_text(first, arch)
        return f"from {name} on" if name else ""
    if k == 0x80000000 and operation in (codes.BPF_JGE, codes.BPF_JSET):
        return "negative numbers"
    return ""


def _parameters(state: _State, register: int) -> list[tuple[str, Parameter]]:
    """The parameter that a register belongs to, for each call that can be meant; empty unless all of them are known."""
    return _known_parameters(state.calls, state.arch, register) if state.calls and state.arch is not None else []


@lru_cache(maxsize=4096)
def _known_parameters(calls: frozenset[int], within: Architecture, register: int) -> list[tuple[str, Parameter]]:
    found = []
    for number in sorted(calls):
        arch = next((one for one in by_token(within.token) if one.call_name(number)), None)
        name = arch.call_name(number) if arch is not None else None
        known = prototype(arch, name) if arch is not None and name is not None else None
        parameter = next((one for one in known.parameters if register in one.registers), None) if known is not None else None
        if name is None or parameter is None:
            return []
        found.append((name, parameter))
    return found


def _half(parameter: Parameter, word: int) -> str:
    """Which part of the parameter a word is: "" for all of it, or of what the kernel reads of it."""
    register, high = divmod(word - 4, 2)
    if len(parameter.registers) > 1:
        if high:
            return "the kernel does not read this"
        return "low half" if parameter.registers[0] == register else "high half"
    if high:
        return "high half" if parameter.width == 64 else "the kernel does not read this"
    return "low half" if parameter.width == 64 else ""


def _parameter_text(state: _State, word: int) -> str:
    found = _parameters(state, (word - 4) // 2)
    if not found:
        return ""
    texts = {}
    for call, parameter in found:
        half = _half(parameter, word)
        texts[f"{parameter.name}{f' ({half})' if half else ''}"] = call
    if len(texts) == 1:
        text, call = next(iter(texts.items()))
        return f"{call}: {text}" if len(found) == 1 else text
    return "; ".join(f"{call}: {text}" for text, call in texts.items())


_SIGNS = {codes.BPF_JEQ: "==", codes.BPF_JGT: ">", codes.BPF_JGE: ">=", codes.BPF_JSET: "&"}


def _argument_remark(operation: int, k: int, state: _State) -> str:
    held = state.a
    assert held is not None
    found = _parameters(state, (held.word - 4) // 2)
    if not found or state.arch is None:
        return ""
    names = {parameter.name for _, parameter in found}
    values = {_value_text(parameter, held, k, state.arch) for _, parameter in found}
    halves = {_half(parameter, held.word) for _, parameter in found}
    if len(names) != 1 or len(values) != 1 or len(halves) != 1:
        return ""
    name, value, half = names.pop(), values.pop(), halves.pop()
    if held.mask != _FULL:
        name = f"{name} & {_value_text(found[0][1], held, held.mask, state.arch)}"
    return f"{name} {_SIGNS[operation]} {value}{f' ({half})' if half else ''}"


def _value_text(parameter: Parameter, held: _Held, k: int, arch: Architecture) -> str:
    """The constant as a person reads it, where the word holds what the name means: the low word of one register."""
    low = not (held.word & 1) and len(parameter.registers) == 1
    if not low:
        return f"{k:#x}" if k > 9 else str(k)
    if parameter.constants and k:
        return decode(parameter, k, arch)
    return decode(parameter, k, arch) if parameter.kind in ("mode", "fd", "signal", "pid", "cmd") else (f"{k:#x}" if k > 9 else str(k))


_MEANINGS = {
    codes.SECCOMP_RET_KILL_PROCESS: "the process is killed",
    codes.SECCOMP_RET_KILL_THREAD: "the thread is killed",
    codes.SECCOMP_RET_USER_NOTIF: "a listener decides",
    codes.SECCOMP_RET_LOG: "the call runs, and is logged",
    codes.SECCOMP_RET_ALLOW: "the call runs",
}


@lru_cache(maxsize=1024)
def action_meaning(value: int, arch: Architecture | None = None) -> str:
    """What the kernel does with a filter's 32-bit result, in words."""
    action, data = value & codes.SECCOMP_RET_ACTION_FULL, value & codes.SECCOMP_RET_DATA
    if action in _MEANINGS:
        return _MEANINGS[action]
    match action:
        case codes.SECCOMP_RET_TRAP:
            return f"SIGSYS with data {data}" if data else "SIGSYS"
        case codes.SECCOMP_RET_TRACE:
            return "a tracer decides; ENOSYS without one"
        case codes.SECCOMP_RET_ERRNO:
            if data == 0:
                return "the call does nothing and returns 0"
            error = action_text(codes.SECCOMP_RET_ERRNO | min(data, 4095), arch).removeprefix("ERRNO(").removesuffix(")")
            return f"the call fails with {error}" + ("; the kernel takes 4095 at most" if data > 4095 else "")
    return "unknown action: acts as KILL_PROCESS"
