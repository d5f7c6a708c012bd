"""Constants by C name, errno, and how a person reads an argument; per architecture where Linux differs.

mips, parisc, powerpc and others number flags, signals, socket options, ioctls and errors in their own way, so every look-up takes an
architecture. Values come from the kernel's own headers (tools/make_constants.py says how); a name that an architecture lacks is None there.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seclude.abi.architecture import Architecture
    from seclude.abi.prototypes import Parameter

__all__ = [
    "FIELDS",
    "VALUES",
    "constant",
    "constant_names",
    "constants",
    "decode",
    "errno_name",
    "errno_number",
    "errors",
    "families",
    "family",
]

_tables: dict[str, dict[str, int]] = {}
_errors: dict[str, dict[str, int]] = {}
_families: dict[str, tuple[str, ...]] = {}
_names: list[str] = []

# errno names that share a number with the one to show
_ERRNO_SYNONYMS = frozenset(("EWOULDBLOCK", "EDEADLOCK", "ENOTSUP", "EREFUSED"))


def _name(arch: Architecture | str) -> str:
    if isinstance(arch, str):
        from seclude.abi.architecture import arch as find

        return find(arch).name
    return arch.name


def _select(text: str, architecture: str) -> dict[str, int]:
    """The lines of the sections that hold for an architecture; later sections are the more special ones."""
    table: dict[str, int] = {}
    for section in text.split("@")[1:]:
        where, _, lines = section.partition("\n")
        if where != "*" and architecture not in where.split(","):
            continue
        for line in lines.splitlines():
            name, _, value = line.partition(" ")
            if value == "-":
                table.pop(name, None)
            else:
                table[name] = int(value)
    return table


def constants(arch: Architecture | str) -> Mapping[str, int]:
    """Every constant of an architecture, by name. An unknown architecture's name raises UsageError."""
    name = _name(arch)
    if name not in _tables:
        from seclude.abi._constants import TEXT

        _tables[name] = _select(TEXT, name)
    return _tables[name]


def constant(name: str, arch: Architecture | str) -> int | None:
    """The value of ``name`` (AF_INET, O_CREAT, TIOCSTI, ...) on an architecture, or None where it has none.

    Negative where the C constant is (AT_FDCWD is -100); compare it modulo the width of what it is compared with.
    """
    return constants(arch).get(name)


def constant_names() -> Sequence[str]:
    """Every name that some architecture has, sorted, for "did you mean"."""
    if not _names:
        from seclude.abi._constants import TEXT

        _names.extend(sorted({line.partition(" ")[0] for line in TEXT.splitlines() if not line.startswith("@")}))
    return _names


def families() -> Mapping[str, tuple[str, ...]]:
    """Family → the names of its constants, the preferred ones first. `Parameter.constants` names one."""
    if not _families:
        from seclude.abi._constants import FAMILIES

        for line in FAMILIES.splitlines():
            name, *members = line.split(" ")
            _families[name] = tuple(member for member in members if member)
    return _families


def family(name: str, arch: Architecture | str) -> Mapping[str, int]:
    """The constants of one family on an architecture, preferred names first; empty for an unknown family."""
    table = constants(arch)
    return {member: table[member] for member in families().get(name, ()) if member in table}


def errors(arch: Architecture | str) -> Mapping[str, int]:
    """Every errno name of an architecture with its number (errno(3), asm/errno.h)."""
    name = _name(arch)
    if name not in _errors:
        from seclude.abi._errno import TEXT

        _errors[name] = _select(TEXT, name)
    return _errors[name]


def errno_number(name: str, arch: Architecture | str) -> int | None:
    """The number of an error by name (EPERM) on an architecture, or None."""
    return errors(arch).get(name)


def errno_name(number: int, arch: Architecture | str) -> str | None:
    """The name of an error by number on an architecture (EAGAIN rather than EWOULDBLOCK), or None."""
    found = None
    for name, value in errors(arch).items():
        if value == number and (found is None or found in _ERRNO_SYNONYMS):
            found = name
    return found


# --- how a person reads an argument

# Families of values, not of bits
_VALUE_FAMILIES = (
    "AF IPPROTO MADV PR ARCH F SEEK SIG SIGHOW RLIMIT CLOCK ITIMER RUSAGE PRIO EPOLLCTL PTRACE SECCOMPMODE KEYCTL"
    " KEYSPEC BPF P IPCCMD SEMCMD SHUT LANDLOCKRULE MEMBARRIER SOL FADV REBOOT REBOOTMAGIC KCMP IORINGREGISTER FSCONFIG SOCKETCALL IPCCALL IOPRIO IOCTL ATFD"
)
VALUES = frozenset(_VALUE_FAMILIES.split(" "))
# Families with a field of values in their low bits: its mask, and the names in it; the rest are flags
FIELDS = {
    "SOCK": (0xF, "SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET SOCK_DCCP SOCK_PACKET"),
    "O": (0x3, "O_RDONLY O_WRONLY O_RDWR"),
    "FUTEX": (
        0x7F,
        (
            "FUTEX_WAIT FUTEX_WAKE FUTEX_FD FUTEX_REQUEUE FUTEX_CMP_REQUEUE FUTEX_WAKE_OP FUTEX_LOCK_PI FUTEX_UNLOCK_PI FUTEX_TRYLOCK_PI"
            " FUTEX_WAIT_BITSET FUTEX_WAKE_BITSET FUTEX_WAIT_REQUEUE_PI FUTEX_CMP_REQUEUE_PI FUTEX_LOCK_PI2"
        ),
    ),
    "MAP": (0x3, "MAP_SHARED MAP_PRIVATE MAP_SHARED_VALIDATE"),  # MAP_TYPE is wider on some, and overlaps MAP_FIXED on parisc
    "SCHED": (0xFF, "SCHED_NORMAL SCHED_FIFO SCHED_RR SCHED_BATCH SCHED_ISO SCHED_IDLE SCHED_DEADLINE SCHED_EXT"),
    "MPOL": (0xFF, "MPOL_DEFAULT MPOL_PREFERRED MPOL_BIND MPOL_INTERLEAVE MPOL_LOCAL MPOL_PREFERRED_MANY MPOL_WEIGHTED_INTERLEAVE"),
}
# Parts of a flags argument that are no flags: family → (mask, how they are shown)
_PARTS = {"CLONE": 0xFF, "PER": 0xFF, "IPC": 0o777}


def _flags(value: int, names: Mapping[str, int], width: int) -> str:
    """``A|B|0x40``: the names whose bits are all set, those with most bits first, then what remains in hex."""
    mask = (1 << width) - 1
    if value == 0:
        return next((name for name, bits in names.items() if bits == 0), "0")
    rest = value
    found: list[tuple[int, str]] = []
    for name, bits in sorted(names.items(), key=lambda item: -(item[1] & mask).bit_count()):
        bits &= mask
        if bits and value & bits == bits and rest & bits:
            found.append((bits, name))
            rest &= ~bits
    shown = [name for _, name in sorted(found)]
    if rest or not shown:
        shown.append(f"{rest:#x}")
    return "|".join(shown)


def _value(value: int, names: Mapping[str, int], width: int) -> str | None:
    mask = (1 << width) - 1
    return next((name for name, number in names.items() if number & mask == value), None)


def _mode(value: int, arch: str) -> str:
    """``0755``, with the file type by name where there is one."""
    kind = value & 0o170000
    if not kind:
        return f"0{value:o}" if value else "0"
    table = constants(arch)
    for name in ("S_IFSOCK", "S_IFLNK", "S_IFREG", "S_IFBLK", "S_IFDIR", "S_IFCHR", "S_IFIFO"):
        if table.get(name) == kind:
            return f"{name}|0{value & 0o7777:o}"
    return f"0{value:o}"


def _named(constants_family: str, value: int, width: int, arch: str) -> str | None:
    """A value by the constants of a family; None where it is better shown as a number."""
    names = family(constants_family, arch)
    if constants_family == "SIG":
        return _signal(value, names)
    if constants_family in VALUES:
        return _value(value, names, width)
    if constants_family in FIELDS:
        mask, members = FIELDS[constants_family]
        field = {name: names[name] for name in members.split(" ") if name in names}
        flags = {name: bits for name, bits in names.items() if name not in field and bits & ~mask}
        low = _value(value & mask, field, width) or f"{value & mask:#x}"
        high = value & ~mask
        return f"{low}|{_flags(high, flags, width)}" if high else low
    if constants_family in _PARTS and value:
        return _with_part(constants_family, value, names, width, arch)
    return _flags(value, names, width)


def _signal(value: int, names: Mapping[str, int]) -> str | None:
    low, high = names.get("SIGRTMIN", 32), names.get("SIGRTMAX", 64)
    if low <= value <= high:
        return f"SIGRTMIN+{value - low}" if value > low else "SIGRTMIN"
    return next((name for name, number in names.items() if number == value), None)


def _with_part(constants_family: str, value: int, names: Mapping[str, int], width: int, arch: str) -> str:
    """Clone's exit signal, personality's execution domain, a System V object's mode: numbers beside the flags."""
    mask = _PARTS[constants_family]
    part, rest = value & mask, value & ~mask
    if constants_family == "CLONE":
        shown = _signal(part, family("SIG", arch)) or (f"{part:#x}" if part else "")
    elif constants_family == "IPC":
        shown = f"0{part:o}" if part else ""
    else:
        if value == (1 << width) - 1:
            return f"{value:#x}"  # personality's "tell me"
        shown = next((name for name, number in names.items() if number == part and name.startswith("PER_")), f"{part:#x}") if part else ""
    flags = {name: bits for name, bits in names.items() if bits & ~mask and not bits & mask}
    pieces = [_flags(rest, flags, width)] if rest else []
    return "|".join([*pieces, shown] if shown else pieces) or "0"


def decode(parameter: Parameter, value: int, arch: Architecture | str) -> str:
    """One argument as a person reads it: ``AF_INET``, ``O_RDONLY|O_CLOEXEC``, ``0x7f12``, ``-1``, ``AT_FDCWD``, ``SIGKILL``, ``0755``.

    ``value`` is the parameter's value, recombined from its registers and of any size: bits beyond its width are dropped, as the kernel
    does. Never raises: what has no name is a number, hexadecimal for pointers and flags, decimal otherwise.
    """
    try:
        return _decode(parameter, value, arch)
    except Exception:  # noqa: BLE001 - it explains a denial; a wrong table must not hide it
        return f"{value:#x}"


def _decode(parameter: Parameter, value: int, arch: Architecture | str) -> str:
    width, kind = parameter.width, parameter.kind
    value &= (1 << width) - 1
    signed = value - (1 << width) if value >> (width - 1) else value
    if kind in ("pointer", "path", "string", "sockaddr"):
        return f"{value:#x}" if value else "NULL"
    if parameter.constants and not (parameter.constants == "IPPROTO" and value == 0):  # "the default", whatever the domain
        named = _named(parameter.constants, value, width, _name(arch))
        if named is not None:
            return named
    if kind == "mode":
        return _mode(value, _name(arch))
    if kind == "device":
        return f"{value:#x}"
    if kind in ("fd", "pid", "offset", "int", "signal"):
        return str(signed)
    if kind in ("uid", "gid"):
        return "-1" if value == (1 << width) - 1 else str(value)
    if kind in ("flags", "cmd"):
        return f"{value:#x}" if value > 9 else str(value)
    if kind == "size":
        return str(value)
    # a bare unsigned long may be a number or an address (ioctl's and fcntl's third argument): small ones read as numbers
    return str(value) if value < 0x10000 else str(signed) if -0x10000 < signed < 0 else f"{value:#x}"
