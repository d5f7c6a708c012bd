"""The proof that ends every compile: the program is read back and must be the very decision that it was made from.

The same reading certifies the kernel's constant-allow bitmap (since Linux 5.11). At load the kernel follows each filter
for every native and compat number; a number counts as always allowed if the path to ``RET ALLOW`` consists of loads of nr and arch, jumps
with a constant, and AND with a constant (kernel/seccomp.c, seccomp_is_const_allow). So no other instruction may stand on
the path of a plainly allowed number. As the reading knows what the program means from every instruction on, it suffices that no such instruction
means "allow, whatever the arguments are".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.bpf.machine import constant_allow
from seclude.decision.nodes import END, Node
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.read import Axis, read
from seclude.decision.value import NR
from seclude.errors import InternalError

if TYPE_CHECKING:
    from seclude.bpf.program import Program
    from seclude.decision.read import Meaning
    from seclude.decision.value import Decision

__all__ = ["prove"]

_ALLOW = 0x7FFF_0000
_ARCH_OFFSET, _NR_OFFSET = 4, 0
#: JA, and JEQ, JGT, JGE, JSET, AND with a constant, and RET K
_PERMITTED = frozenset((0x05, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06))
#: no system call of any architecture has a greater number (x32's bit apart, which the kernel never caches)
_HIGHEST_CALL = 8192


def prove(program: Program, decision: Decision) -> None:
    """Raise `InternalError` unless the program means exactly ``decision`` and keeps every plain allow cacheable."""
    reading = read(program.instructions, program.byteorder)
    if reading.decision is not decision:
        raise InternalError(
            "a compiled filter does not mean what its policy means", "nothing was written or loaded; please report the policy"
        )
    for (code, _, _, k), meanings in zip(program.instructions, reading.meanings, strict=True):
        if code not in _PERMITTED and not (code == 0x20 and k in (_NR_OFFSET, _ARCH_OFFSET)):
            for meaning in meanings:
                if not _apart(meaning):
                    _each(program, decision)
                    return


def _apart(meaning: Meaning) -> bool:
    """Whether no (architecture, number) that comes here can be a plain allow: the meaning depends on neither and is not ALLOW."""
    if isinstance(meaning, Axis):
        return False
    return meaning.level >= 16 and not (meaning.level == END and meaning.value == _ALLOW)


def _each(program: Program, decision: Decision) -> None:
    """The long way: ask the kernel's own question about every number."""
    try:
        tokens = [(first, kid) for first, last, kid in decision.tokens if first == last or kid.level < 16]
        plain = [
            (token, first, min(last, _HIGHEST_CALL)) for token, kid in tokens for first, last, node in _numbers(kid) if _is_allow(node)
        ]
    except TooManyRunsError:
        return  # a filter that looks at single bits of the number: nothing that a policy can say
    for token, first, last in plain:
        for number in range(first, last + 1):
            if not constant_allow(program.instructions, token, number):
                raise InternalError(f"call {number} of architecture {token:#x} is allowed, but the kernel could not cache that")


def _numbers(kid: Node) -> list[tuple[int, int, Node]]:
    return list(runs(kid, NR)) if kid.level < 16 else [(0, _HIGHEST_CALL, kid)]


def _is_allow(node: Node) -> bool:
    return node.level == END and node.value == _ALLOW
