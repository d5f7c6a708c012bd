"""Calls whose second or later argument depends on a command before it: fcntl, ioctl, prctl, arch_prctl, seccomp, ioprio_set."""

from __future__ import annotations

from seclude.abi.constants import family
from seclude.supervise.tracer_endings import priority
from seclude.supervise.tracer_format import Format, argument, open_flags, value_of
from seclude.supervise.tracer_memory import FACTORIES, pointer
from seclude.supervise.tracer_records import record
from seclude.supervise.tracer_structs import FACTORIES as STRUCTS
from seclude.supervise.tracer_structs import bits_of, signal_name
from seclude.supervise.tracer_terminal import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Prototype
    from seclude.supervise.tracer_format import Part
    from seclude.supervise.tracer_memory import Args, Decode, View

__all__ = ["COMMANDS"]


def _parts(arch: Architecture, known: Prototype) -> list[Part]:
    return [argument(arch, one, known.parameters) for one in known.parameters]


def _by_command(known: Prototype, index: int, choose: Callable[[int], Part | None]) -> Part:
    """The argument after the command: how it is shown depends on it; None leaves it out."""
    command = value_of(known.parameters[index])
    chosen: dict[int, Part | None] = {}

    def show(view: View, args: Args) -> str:
        value = command(args)
        if value not in chosen:
            if len(chosen) > 1000:
                chosen.clear()
            chosen[value] = choose(value)
        part = chosen[value]
        return "" if part is None else ", " + part(view, args)

    return show


def _pointed(show: Decode, address: Callable[[Args], int], *, late: bool = False) -> Part:
    """What is behind a pointer, or the pointer where it cannot be read, or (``late``) the kernel has not written it."""

    def part(view: View, args: Args) -> str:
        where = address(args)
        return (None if not where or (late and view.failed) else show(view, where, args)) or pointer(where)

    return part


# --- fcntl


_SEALS = (
    (1, "F_SEAL_SEAL"),
    (2, "F_SEAL_SHRINK"),
    (4, "F_SEAL_GROW"),
    (8, "F_SEAL_WRITE"),
    (0x10, "F_SEAL_FUTURE_WRITE"),
    (0x20, "F_SEAL_EXEC"),
)
_NOTES = (
    (1, "DN_ACCESS"),
    (2, "DN_MODIFY"),
    (4, "DN_CREATE"),
    (8, "DN_DELETE"),
    (0x10, "DN_RENAME"),
    (0x20, "DN_ATTRIB"),
    (0x80000000, "DN_MULTISHOT"),
)
_LEASES = {0: "F_RDLCK", 1: "F_WRLCK", 2: "F_UNLCK"}


def _fcntl(arch: Architecture, name: str, known: Prototype) -> Format:
    names = {value: word for word, value in family("F", arch).items()}
    command, third = value_of(known.parameters[1]), value_of(known.parameters[2])
    locks = {word for word in names.values() if word.endswith(("LK", "LKW", "LK64", "LKW64"))}
    asking = {word for word in locks if "GETLK" in word}  # filled in by the kernel

    def lock(word: str) -> Part:
        wide = "64" if word.endswith("64") or "OFD" in word or arch.bits == 64 else ""
        return _pointed(STRUCTS["lock"](arch, wide, "R" if word in asking else ""), third, late=word in asking)

    def choose(number: int) -> Part | None:
        word = names.get(number, "")
        if word in ("F_GETFD", "F_GETFL", "F_GETOWN", "F_GETSIG", "F_GETLEASE", "F_GETPIPE_SZ", "F_GET_SEALS") or word in asking:
            return None
        if word == "F_SETFD":
            return lambda _, args: "FD_CLOEXEC" if third(args) == 1 else hex(third(args)) if third(args) else "0"
        if word == "F_SETFL":
            return lambda _, args: open_flags(third(args), arch)
        if word == "F_ADD_SEALS":
            return lambda _, args: bits_of(third(args), _SEALS)
        if word == "F_NOTIFY":
            return lambda _, args: bits_of(third(args), _NOTES)
        if word == "F_SETLEASE":
            return lambda _, args: _LEASES.get(third(args)) or hex(third(args))
        if word in locks:
            return lock(word)
        if word.startswith("F_DUPFD") or word in ("F_SETOWN", "F_SETPIPE_SZ", "F_SETSIG"):
            return lambda _, args: str(third(args))
        return lambda _, args: hex(third(args)) if third(args) else "0"

    def answered(number: int) -> Part | None:
        word = names.get(number, "")
        return lock(word) if word in asking else None

    made = Format(arch, name, [*_parts(arch, known)[:2], _by_command(known, 1, choose)], [_by_command(known, 1, answered)], "")
    made.before = [_glued(made.before)]
    made.glue = ""

    def ending(view: View, args: Args) -> str:
        word = names.get(command(args), "")
        if word == "F_GETFL":
            return f" (flags {open_flags(view.result, arch)})"
        if word == "F_GET_SEALS":
            return f" (seals {bits_of(view.result, _SEALS)})"
        return " (flags FD_CLOEXEC)" if word == "F_GETFD" and view.result == 1 else ""

    made.ending = ending
    made.result = "fcntl"
    return made


def _glued(parts: list[Part]) -> Part:
    """Descriptor and command, and right behind them what brings its own comma."""
    first, second, last = parts
    return lambda view, args: f"{first(view, args)}, {second(view, args)}{last(view, args)}"


# --- ioctl


def _ioctl(arch: Architecture, name: str, known: Prototype) -> Format:
    names = {value & 0xFFFFFFFF: word for word, value in reversed(list(family("IOCTL", arch).items()))}
    parts = _parts(arch, known)
    request, third = value_of(known.parameters[1]), value_of(known.parameters[2])
    number, window, terminal = FACTORIES["ints"](arch, "1"), STRUCTS["window"](arch), settings(arch)
    late = {
        **dict.fromkeys(("FIONREAD", "TIOCGPGRP", "TIOCOUTQ", "TIOCGPTN", "TIOCGSID"), number),
        "TIOCGWINSZ": window,
        "TCGETS": terminal,
    }
    early = {
        **dict.fromkeys(("FIONBIO", "FIOASYNC", "TIOCSPGRP", "TIOCSPTLCK"), number),
        **dict.fromkeys(("TCSETS", "TCSETSW", "TCSETSF"), terminal),
        "TIOCSWINSZ": window,
    }
    plain = {
        "TCFLSH": ("TCIFLUSH", "TCOFLUSH", "TCIOFLUSH"),
        "TCXONC": ("TCOOFF", "TCOON", "TCIOFF", "TCION"),
    }

    def command(_: View, args: Args) -> str:
        value = request(args) & 0xFFFFFFFF
        word = names.get(value)
        if word is not None:
            return word
        # asm-generic/ioctl.h: direction, size, type, number
        way = {0: "_IOC_NONE", 1: "_IOC_WRITE", 2: "_IOC_READ", 3: "_IOC_READ|_IOC_WRITE"}[value >> 30]
        return f"_IOC({way}, {value >> 8 & 0xFF:#x}, {value & 0xFF:#x}, {value >> 16 & 0x3FFF:#x})"

    def value(view: View, args: Args) -> str:
        word = names.get(request(args) & 0xFFFFFFFF, "")
        address = third(args)
        if word in ("FIOCLEX", "FIONCLEX", "TIOCNOTTY"):
            return ""
        if word in plain and address < len(plain[word]):
            return ", " + plain[word][address]
        show = early.get(word) or (None if view.failed else late.get(word))
        text = show(view, address, args) if show is not None and address else None
        return ", " + (text or (hex(address) if address else "0"))

    made = Format(arch, name, [parts[0], command], [value], "")
    made.glue = ""
    return made


# --- prctl


_DUMPS = ("SUID_DUMP_DISABLE", "SUID_DUMP_USER", "SUID_DUMP_ROOT")
_NOTHING = ("PR_GET_DUMPABLE", "PR_GET_KEEPCAPS", "PR_GET_SECCOMP", "PR_GET_TIMERSLACK", "PR_GET_SECUREBITS", "PR_GET_TIMING")
_NUMBERS = ("PR_SET_KEEPCAPS", "PR_SET_TIMERSLACK", "PR_SET_CHILD_SUBREAPER")


def _filter(arch: Architecture, address: Callable[[Args], int]) -> Part:
    return _pointed(record(arch, "program"), address)


def _prctl(arch: Architecture, name: str, known: Prototype) -> Format:
    parts = _parts(arch, known)
    option, second, third = (value_of(known.parameters[index]) for index in range(3))
    names = {value: word for word, value in family("PR", arch).items()}
    capabilities = {value: word for word, value in family("CAP", arch).items()}
    program = _filter(arch, third)
    string = _pointed(FACTORIES["string"](arch), second)
    late: dict[str, Part] = {
        "PR_GET_NAME": _pointed(FACTORIES["string"](arch), second, late=True),
        "PR_GET_PDEATHSIG": _pointed(STRUCTS["signal"](arch), second, late=True),
        "PR_GET_CHILD_SUBREAPER": _pointed(FACTORIES["ints"](arch, "1"), second, late=True),
        "PR_GET_TID_ADDRESS": _pointed(record(arch, "long"), second, late=True),
    }

    def rest(view: View, args: Args) -> str:
        word, value = names.get(option(args), ""), second(args)
        if word in late:
            return ", " + late[word](view, args)
        if word in _NOTHING:
            return ""
        if word in _NUMBERS:
            return f", {value}"
        if word == "PR_SET_NAME":
            return ", " + string(view, args)
        if word == "PR_SET_DUMPABLE":
            return ", " + (_DUMPS[value] if value < len(_DUMPS) else hex(value))
        if word in ("PR_CAPBSET_READ", "PR_CAPBSET_DROP"):
            return ", " + (capabilities.get(value) or hex(value))
        if word == "PR_SET_PDEATHSIG":
            return ", " + signal_name(arch, value)
        if word == "PR_SET_PTRACER":
            return ", " + ("PR_SET_PTRACER_ANY" if value & 0xFFFFFFFF == 0xFFFFFFFF else str(value))
        if word == "PR_SET_SECCOMP":
            mode = {1: "SECCOMP_MODE_STRICT", 2: "SECCOMP_MODE_FILTER"}.get(value, hex(value))
            return f", {mode}" + (f", {program(view, args)}" if value == 2 else "")
        return "".join(f", {hex(v) if (v := value_of(one)(args)) > 9 else v}" for one in known.parameters[1:])

    made = Format(arch, name, [parts[0]], [rest], "")
    made.glue = ""

    def ending(view: View, args: Args) -> str:
        said = names.get(option(args), "") == "PR_GET_DUMPABLE" and view.result < len(_DUMPS)
        return f" ({_DUMPS[view.result]})" if said else ""

    made.ending = ending
    return made


def _arch_prctl(arch: Architecture, name: str, known: Prototype) -> Format:
    parts = _parts(arch, known)
    code, address = value_of(known.parameters[0]), value_of(known.parameters[1])
    asking = {family("ARCH", arch).get(word) for word in ("ARCH_GET_FS", "ARCH_GET_GS")}
    got = _pointed(record(arch, "long"), address, late=True)
    return Format(arch, name, [parts[0]], [lambda view, args: got(view, args) if code(args) in asking else hex(address(args))], "")


# --- seccomp


_OPERATIONS = ("SECCOMP_SET_MODE_STRICT", "SECCOMP_SET_MODE_FILTER", "SECCOMP_GET_ACTION_AVAIL", "SECCOMP_GET_NOTIF_SIZES")


def _seccomp(arch: Architecture, name: str, known: Prototype) -> Format:
    parts = _parts(arch, known)
    operation, address = value_of(known.parameters[0]), value_of(known.parameters[2])
    program, sizes = _filter(arch, address), _pointed(record(arch, "notifysizes"), address, late=True)
    words = ("ALLOW", "LOG", "TRACE", "USER_NOTIF", "ERRNO", "TRAP", "KILL_THREAD", "KILL_PROCESS")
    numbers = {found: f"SECCOMP_RET_{word}" for word in words if (found := family("SECCOMP", arch).get(f"SECCOMP_RET_{word}")) is not None}

    def action(view: View, args: Args) -> str:
        raw = view.read(address(args), 4) if address(args) else None
        if raw is None:
            return pointer(address(args))
        value = int.from_bytes(raw, arch.byteorder)
        return f"[{numbers.get(value) or hex(value)}]"

    def rest(view: View, args: Args) -> str:
        which = operation(args)
        show = {1: program, 2: action, 3: sizes}.get(which)
        return show(view, args) if show is not None else pointer(address(args))

    def first(view: View, args: Args) -> str:
        which = operation(args)
        return _OPERATIONS[which] if which < len(_OPERATIONS) else parts[0](view, args)

    return Format(arch, name, [first, parts[1]], [rest], "")


def _ioprio(arch: Architecture, name: str, known: Prototype) -> Format:
    value = value_of(known.parameters[2])
    return Format(arch, name, [*_parts(arch, known)[:2], lambda _, args: priority(value(args))], [], "")


COMMANDS: dict[str, Callable[[Architecture, str, Prototype], Format | None]] = {
    "fcntl": _fcntl,
    "fcntl64": _fcntl,
    "ioctl": _ioctl,
    "prctl": _prctl,
    "arch_prctl": _arch_prctl,
    "seccomp": _seccomp,
    "ioprio_set": _ioprio,
}
