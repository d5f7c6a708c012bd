"""How long the kernel thinks a program is: it counts converted eBPF instructions, not classic ones.

Sources: net/core/filter.c (bpf_convert_filter) and kernel/seccomp.c (seccomp_attach_filter) of Linux 6.18, checked against
the running kernel. With ``net.core.bpf_jit_harden`` set, the JIT blinds constants after the conversion and the kernel's own count is larger still.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.bpf.codes import MAX_INSNS_PER_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.bpf.machine import Code

__all__ = ["MAX_INSNS_PER_PATH", "converted_length", "path_length"]

#: Clearing A and X, and moving the context register.
_PROLOGUE = 3
#: What each filter below the newest adds to the path beyond its own length.
_PENALTY = 4

_RET_K = 0x06
_DIV_X = 0x3C
_JSET = 0x40
_CONDITIONAL = frozenset((0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D))


def converted_length(program: Code) -> int:
    """The number of eBPF instructions that the kernel makes of a valid program."""
    return _PROLOGUE + sum(_weight(code, jt, jf, k) for code, jt, jf, k in program)


def _weight(code: int, jt: int, jf: int, k: int) -> int:
    if code in _CONDITIONAL:
        # eBPF immediates are signed: a constant with the top bit set goes through a register first.
        constant = 1 if not code & 0x08 and k & 0x80000000 else 0
        # One eBPF jump does where the false branch is the next line, or where the true branch is and the test can be inverted.
        if jf == 0 or (jt == 0 and code & 0xF0 != _JSET):
            return 1 + constant
        return 2 + constant
    if code == _RET_K:
        return 2
    if code == _DIV_X:
        # Widening X, testing it for 0, and leaving with 0.
        return 5
    return 1


def path_length(stack: Iterable[Code]) -> int:
    """What seccomp(2) compares with ``MAX_INSNS_PER_PATH`` (32768): ``stack`` is every filter of the task, oldest first, the new one last.

    Above the limit the new filter is refused with ENOMEM.
    """
    lengths = [converted_length(program) for program in stack]
    return sum(lengths) + _PENALTY * max(0, len(lengths) - 1)
