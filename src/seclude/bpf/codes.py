"""The names of linux/bpf_common.h, linux/filter.h and linux/seccomp.h as plain integers, and the order of actions.

Every name is spelled as in C, so that a published filter carries over line by line. ``AUDIT_ARCH_*`` (linux/audit.h)
are served from ``seclude.abi`` on first use. Sources: those headers of Linux 6.18, include/linux/filter.h for ``BPF_MEMWORDS``,
kernel/seccomp.c for the path limit and the order of actions.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BPF_A",
    "BPF_ABS",
    "BPF_ADD",
    "BPF_ALU",
    "BPF_AND",
    "BPF_B",
    "BPF_DIV",
    "BPF_H",
    "BPF_IMM",
    "BPF_IND",
    "BPF_JA",
    "BPF_JEQ",
    "BPF_JGE",
    "BPF_JGT",
    "BPF_JMP",
    "BPF_JSET",
    "BPF_K",
    "BPF_LD",
    "BPF_LDX",
    "BPF_LEN",
    "BPF_LSH",
    "BPF_MAXINSNS",
    "BPF_MEM",
    "BPF_MEMWORDS",
    "BPF_MISC",
    "BPF_MOD",
    "BPF_MSH",
    "BPF_MUL",
    "BPF_NEG",
    "BPF_OR",
    "BPF_RET",
    "BPF_RSH",
    "BPF_ST",
    "BPF_STX",
    "BPF_SUB",
    "BPF_TAX",
    "BPF_TXA",
    "BPF_W",
    "BPF_X",
    "BPF_XOR",
    "MAX_INSNS_PER_PATH",
    "SECCOMP_ADDFD_FLAG_SEND",
    "SECCOMP_ADDFD_FLAG_SETFD",
    "SECCOMP_DATA_SIZE",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_NEW_LISTENER",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_TSYNC_ESRCH",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    "SECCOMP_GET_ACTION_AVAIL",
    "SECCOMP_GET_NOTIF_SIZES",
    "SECCOMP_MODE_DISABLED",
    "SECCOMP_MODE_FILTER",
    "SECCOMP_MODE_STRICT",
    "SECCOMP_RET_ACTION",
    "SECCOMP_RET_ACTION_FULL",
    "SECCOMP_RET_ALLOW",
    "SECCOMP_RET_DATA",
    "SECCOMP_RET_ERRNO",
    "SECCOMP_RET_KILL",
    "SECCOMP_RET_KILL_PROCESS",
    "SECCOMP_RET_KILL_THREAD",
    "SECCOMP_RET_LOG",
    "SECCOMP_RET_TRACE",
    "SECCOMP_RET_TRAP",
    "SECCOMP_RET_USER_NOTIF",
    "SECCOMP_SET_MODE_FILTER",
    "SECCOMP_SET_MODE_STRICT",
    "SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP",
    "SECCOMP_USER_NOTIF_FLAG_CONTINUE",
    "combine",
    "offsetof",
    "precedence",
]

# Instruction classes: code & 0x07
BPF_LD = 0x00
BPF_LDX = 0x01
BPF_ST = 0x02
BPF_STX = 0x03
BPF_ALU = 0x04
BPF_JMP = 0x05
BPF_RET = 0x06
BPF_MISC = 0x07

# Size of a load: code & 0x18. Seccomp takes words only.
BPF_W = 0x00
BPF_H = 0x08
BPF_B = 0x10

# Mode of a load: code & 0xe0
BPF_IMM = 0x00
BPF_ABS = 0x20
BPF_IND = 0x40
BPF_MEM = 0x60
BPF_LEN = 0x80
BPF_MSH = 0xA0

# Operation of ALU and JMP: code & 0xf0
BPF_ADD = 0x00
BPF_SUB = 0x10
BPF_MUL = 0x20
BPF_DIV = 0x30
BPF_OR = 0x40
BPF_AND = 0x50
BPF_LSH = 0x60
BPF_RSH = 0x70
BPF_NEG = 0x80
BPF_MOD = 0x90
BPF_XOR = 0xA0
BPF_JA = 0x00
BPF_JEQ = 0x10
BPF_JGT = 0x20
BPF_JGE = 0x30
BPF_JSET = 0x40

# Source of the operand: code & 0x08; RET takes BPF_K or BPF_A
BPF_K = 0x00
BPF_X = 0x08
BPF_A = 0x10

# MISC
BPF_TAX = 0x00
BPF_TXA = 0x80

#: Instructions a program may have, and cells of scratch memory.
BPF_MAXINSNS = 4096
BPF_MEMWORDS = 16

#: ``sizeof(struct seccomp_data)``: what a LEN load yields.
SECCOMP_DATA_SIZE = 64
#: eBPF instructions that all filters of a task may have together (kernel/seccomp.c, MAX_INSNS_PER_PATH).
MAX_INSNS_PER_PATH = 32768

SECCOMP_MODE_DISABLED = 0
SECCOMP_MODE_STRICT = 1
SECCOMP_MODE_FILTER = 2

SECCOMP_SET_MODE_STRICT = 0
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_GET_ACTION_AVAIL = 2
SECCOMP_GET_NOTIF_SIZES = 3

SECCOMP_FILTER_FLAG_TSYNC = 1 << 0
SECCOMP_FILTER_FLAG_LOG = 1 << 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 1 << 4
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5

SECCOMP_RET_KILL_PROCESS = 0x80000000
SECCOMP_RET_KILL_THREAD = 0x00000000
SECCOMP_RET_KILL = SECCOMP_RET_KILL_THREAD
SECCOMP_RET_TRAP = 0x00030000
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_USER_NOTIF = 0x7FC00000
SECCOMP_RET_TRACE = 0x7FF00000
SECCOMP_RET_LOG = 0x7FFC0000
SECCOMP_RET_ALLOW = 0x7FFF0000

SECCOMP_RET_ACTION_FULL = 0xFFFF0000
SECCOMP_RET_ACTION = 0x7FFF0000
SECCOMP_RET_DATA = 0x0000FFFF

SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1 << 0
SECCOMP_ADDFD_FLAG_SETFD = 1 << 0
SECCOMP_ADDFD_FLAG_SEND = 1 << 1
SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP = 1 << 0

#: Byte offsets in struct seccomp_data (linux/seccomp.h). The 64-bit fields begin with the low word where the target is
#: little-endian and with the high word where it is big-endian.
_OFFSETS = {"nr": 0, "arch": 4, "instruction_pointer": 8, **{f"args[{i}]": 16 + 8 * i for i in range(6)}}


def offsetof(field: str) -> int:
    """The byte offset of a field of struct seccomp_data, as C's ``offsetof(struct seccomp_data, field)``.

    >>> offsetof("args[1]")
    24

    Raises ``UsageError`` for any other name.
    """
    try:
        return _OFFSETS[field]
    except KeyError:
        from seclude.errors import UsageError

        raise UsageError(f"struct seccomp_data has no field {field!r}", f"its fields are {', '.join(_OFFSETS)}") from None


def precedence(value: int) -> int:
    """The rank of a filter's 32-bit result: the lowest of a stack wins.

    The kernel compares ``value & SECCOMP_RET_ACTION_FULL`` as a signed number (kernel/seccomp.c, ACTION_ONLY), so KILL_PROCESS,
    whose top bit is set, comes before KILL_THREAD, which is 0. Unknown actions rank by their number as well.
    """
    action = value & SECCOMP_RET_ACTION_FULL
    return action - (1 << 32) if action & 0x80000000 else action


def combine(values: Iterable[int]) -> int:
    """What a stack of filters decides: ``values`` are their results, **newest filter first**.

    On a tie the newest filter's data is used (the kernel compares with a strict ``<``). No value at all means ALLOW.
    """
    # The kernel starts from a plain ALLOW, so the data of an ALLOW, and an unknown action above it, never shows.
    winner = SECCOMP_RET_ALLOW
    for value in values:
        if precedence(value) < precedence(winner):
            winner = value
    return winner


def __getattr__(name: str) -> int:
    if name.startswith("AUDIT_ARCH_"):
        from seclude import abi

        for known in abi.ARCHITECTURES:
            architecture = abi.arch(known)
            if architecture.token_name == name:
                value: int = architecture.token
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
