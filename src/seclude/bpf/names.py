"""What the words of struct seccomp_data, the actions and the operations are called in assembly text."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from seclude.abi import ARCHITECTURES, arch, by_token
from seclude.bpf import codes
from seclude.bpf.machine import offset_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seclude.abi import Architecture

__all__ = ["ACTIONS", "ALU", "COMPARISONS", "INVERSE", "WORDS", "action_text", "call_text", "offsets", "token_text", "tokens"]

#: logical word → how it is written
WORDS = (
    "sys_number",
    "arch",
    "instruction_pointer",
    "instruction_pointer >> 32",
    *(f"args[{i}]{high}" for i in range(6) for high in ("", " >> 32")),
)

#: written name → action; the first name of an action is the printed one
ACTIONS = {
    "KILL_PROCESS": codes.SECCOMP_RET_KILL_PROCESS,
    "KILL_THREAD": codes.SECCOMP_RET_KILL_THREAD,
    "KILL": codes.SECCOMP_RET_KILL_THREAD,
    "TRAP": codes.SECCOMP_RET_TRAP,
    "ERRNO": codes.SECCOMP_RET_ERRNO,
    "USER_NOTIF": codes.SECCOMP_RET_USER_NOTIF,
    "TRACE": codes.SECCOMP_RET_TRACE,
    "LOG": codes.SECCOMP_RET_LOG,
    "ALLOW": codes.SECCOMP_RET_ALLOW,
}
_ACTION_NAMES = {value: name for name, value in reversed(ACTIONS.items())}

#: operator of ``A op= value`` → operation bits of an ALU instruction
ALU = {
    "+": codes.BPF_ADD,
    "-": codes.BPF_SUB,
    "*": codes.BPF_MUL,
    "/": codes.BPF_DIV,
    "%": codes.BPF_MOD,
    "|": codes.BPF_OR,
    "&": codes.BPF_AND,
    "^": codes.BPF_XOR,
    "<<": codes.BPF_LSH,
    ">>": codes.BPF_RSH,
}

#: comparison → operation bits of a conditional jump, and whether the branches are exchanged
COMPARISONS = {
    "==": (codes.BPF_JEQ, False),
    ">": (codes.BPF_JGT, False),
    ">=": (codes.BPF_JGE, False),
    "&": (codes.BPF_JSET, False),
    "!=": (codes.BPF_JEQ, True),
    "<=": (codes.BPF_JGT, True),
    "<": (codes.BPF_JGE, True),
}

#: operation bits → the comparison that holds where the test does not
INVERSE = {operation: text for text, (operation, exchanged) in COMPARISONS.items() if exchanged}

#: Errno numbers up to ERANGE are the same on every architecture (asm-generic/errno-base.h).
_COMMON_ERRNO = 34


@cache
def offsets(byteorder: str) -> Mapping[int, str]:
    """Byte offset in struct seccomp_data → how its word is written, for a target of that byte order."""
    return {offset_of(word, byteorder): text for word, text in enumerate(WORDS)}


@cache
def tokens() -> Mapping[str, int]:
    """``ARCH_X86_64`` and the like → AUDIT_ARCH token; the ``AUDIT_`` of linux/audit.h is left out, as people write them."""
    return {arch(name).token_name.removeprefix("AUDIT_"): arch(name).token for name in ARCHITECTURES}


@lru_cache(maxsize=64)
def token_text(token: int) -> str | None:
    """How an AUDIT_ARCH token is written, or None where it is not one of ours."""
    known = by_token(token)
    return known[0].token_name.removeprefix("AUDIT_") if known else None


@lru_cache(maxsize=4096)
def call_text(number: int, architecture: Architecture | None) -> str | None:
    """How a call's number is written where ``architecture`` is in force: ``read``, ``x32.read``, or None for a bare number."""
    if architecture is None:
        return None
    name = architecture.call_name(number)
    if name is not None:
        return name if architecture.number(name) == number else None
    # x32 shares the token of x86_64; its numbers have bit 30 set.
    for other in by_token(architecture.token):
        name = other.call_name(number)
        if name is not None and other.number(name) == number:
            return f"{other.name}.{name}"
    return None


@lru_cache(maxsize=1024)
def action_text(value: int, architecture: Architecture | None) -> str:
    """How a filter's 32-bit result is written: ``ALLOW``, ``ERRNO(EPERM)``, ``TRAP(7)``, or a number for an unknown action."""
    name = _ACTION_NAMES.get(value & codes.SECCOMP_RET_ACTION_FULL)
    data = value & codes.SECCOMP_RET_DATA
    if name is None:
        return f"0x{value:08x}"
    if name == "ERRNO":
        return f"ERRNO({_errno_text(data, architecture)})"
    return f"{name}({data})" if data else name


def _errno_text(number: int, architecture: Architecture | None) -> str:
    from seclude.abi.constants import errno_name, errno_number

    if architecture is None:
        if number > _COMMON_ERRNO:
            return str(number)
        architecture = arch("x86_64")
    name = errno_name(number, architecture)
    return name if name is not None and errno_number(name, architecture) == number else str(number)
