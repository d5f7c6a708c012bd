"""Classic BPF as seccomp takes it: instruction, program, assembler, disassembler, validator, machine, constant-allow emulator.

A program printed in a C example carries over line by line:

>>> from seclude.bpf import BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JUMP, BPF_K, BPF_LD, BPF_RET, BPF_STMT, BPF_W, Program, disassemble, offsetof
>>> from seclude.bpf import SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
>>> program = Program(
...     [
...         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof("nr")),
...         BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 101, 0, 1),
...         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
...         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
...     ],
...     "little",
... )
>>> print(disassemble(program), end="")
    A = sys_number
    if (A != 101) goto L3
    return ERRNO(EPERM)
L3:
    return ALLOW

Every name is imported from its module when it is first used: the run path pays for ``codes`` and ``machine`` only. The
names of ``seclude.bpf.codes`` (``BPF_*``, ``SECCOMP_*``, ``AUDIT_ARCH_*``) can be imported from here as well.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from seclude.bpf.assembler import Assembly, assemble, read_assembly
    from seclude.bpf.codes import *  # noqa: F403 -- every name of the headers
    from seclude.bpf.codes import combine, offsetof, precedence
    from seclude.bpf.disassembler import disassemble, listing
    from seclude.bpf.lengths import converted_length, path_length
    from seclude.bpf.machine import constant_allow, decode, evaluate, offset_of, pack_data, run, word_at
    from seclude.bpf.program import BPF_JUMP, BPF_STMT, Instruction, Program
    from seclude.bpf.validator import Finding, check, validate

#: public name → the module it lives in; names of constants are looked up in ``codes``
_HOMES = {
    "Assembly": "assembler",
    "BPF_JUMP": "program",
    "BPF_STMT": "program",
    "Finding": "validator",
    "Instruction": "program",
    "Program": "program",
    "assemble": "assembler",
    "check": "validator",
    "constant_allow": "machine",
    "converted_length": "lengths",
    "decode": "machine",
    "disassemble": "disassembler",
    "evaluate": "machine",
    "listing": "disassembler",
    "offset_of": "machine",
    "pack_data": "machine",
    "path_length": "lengths",
    "read_assembly": "assembler",
    "run": "machine",
    "validate": "validator",
    "word_at": "machine",
}

__all__ = [
    "BPF_JUMP",
    "BPF_STMT",
    "Assembly",
    "Finding",
    "Instruction",
    "Program",
    "assemble",
    "check",
    "combine",
    "constant_allow",
    "converted_length",
    "decode",
    "disassemble",
    "evaluate",
    "listing",
    "offset_of",
    "offsetof",
    "pack_data",
    "path_length",
    "precedence",
    "read_assembly",
    "run",
    "validate",
    "word_at",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name, "codes" if name.startswith(("BPF_", "SECCOMP_", "AUDIT_ARCH_")) or name in _CODES else "")
    if not home:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(__import__(f"seclude.bpf.{home}", fromlist=[name]), name)
    globals()[name] = value
    return value


_CODES = ("MAX_INSNS_PER_PATH", "combine", "offsetof", "precedence")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
