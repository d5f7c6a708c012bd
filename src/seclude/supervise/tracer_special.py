"""Calls whose later arguments depend on the earlier ones, or are there only with them: open's mode, clone, fcntl, ioctl, futex, prctl, mmap."""

from __future__ import annotations

import struct

from seclude.abi.constants import family
from seclude.supervise.tracer_format import Format, argument, lengths, open_flags, scalar_text, value_of
from seclude.supervise.tracer_memory import FACTORIES, mode, pointer
from seclude.supervise.tracer_structs import FACTORIES as STRUCTS
from seclude.supervise.tracer_structs import descriptors, polled, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter, Prototype
    from seclude.supervise.tracer_format import Part
    from seclude.supervise.tracer_memory import Args, View

__all__ = ["ENDINGS", "SPECIAL"]

_O_CREAT, _O_TMPFILE = 0o100, 0o20000000


def _parts(arch: Architecture, known: Prototype) -> list[Part]:
    return [argument(arch, one, known.parameters) for one in known.parameters]


def _open(arch: Architecture, name: str, known: Prototype) -> Format:
    """The mode is there only where a file may be made."""
    parts = _parts(arch, known)
    flags = value_of(known.parameters[-2])
    creat = family("O", arch).get("O_CREAT", _O_CREAT)
    tmpfile = family("O", arch).get("O_TMPFILE", _O_TMPFILE)
    last = parts[-1]
    remembered: dict[int, str] = {}

    def both(view: View, args: Args) -> str:
        value = flags(args)
        text = remembered.get(value)
        if text is None:
            if len(remembered) > 1000:
                remembered.clear()
            text = remembered[value] = open_flags(value, arch)
        there = value & creat or value & tmpfile == tmpfile
        return f"{text}, {last(view, args)}" if there else text

    return Format(arch, name, [*parts[:-2], both], [], "")


def _clone(arch: Architecture, name: str, known: Prototype) -> Format | None:
    where = {one.name: value_of(one) for one in known.parameters}
    parameter = known.parameter("flags")
    if parameter is None or not {"stack", "parent_tid", "child_tid", "tls"} <= where.keys():
        return None
    flags = where["flags"]

    def head(_: View, args: Args) -> str:
        return f"child_stack={pointer(where['stack'](args))}, flags={_clone_flags(arch, parameter, flags(args))}"

    def tail(view: View, args: Args) -> str:
        value = flags(args)
        out = []
        if value & 0x00100000:  # CLONE_PARENT_SETTID
            raw = None if view.failed else view.read(where["parent_tid"](args), 4)
            out.append("parent_tid=" + (f"[{struct.unpack('=i', raw)[0]}]" if raw else pointer(where["parent_tid"](args))))
        if value & 0x00080000:  # CLONE_SETTLS
            out.append(f"tls={pointer(where['tls'](args))}")
        if value & 0x01200000:  # CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID
            out.append(f"child_tidptr={pointer(where['child_tid'](args))}")
        return "".join(", " + one for one in out)

    made = Format(arch, name, [head], [tail], "")
    made.glue = ""
    return made


def _clone_flags(arch: Architecture, parameter: Parameter, value: int) -> str:
    signal = value & 0xFF
    flags = scalar_text(arch, parameter, value & ~0xFF) if value & ~0xFF else ""
    words = [flags] if flags else []
    if signal or not flags:
        words.append(signal_name(arch, signal))
    return "|".join(words)


def _clone3(arch: Architecture, name: str, known: Prototype) -> Format:
    """Struct clone_args, and behind the call what was written through it."""
    from seclude.abi.prototypes import prototype

    clone = prototype(arch, "clone")
    parameter = clone.parameter("flags") if clone is not None else None
    at, size = value_of(known.parameters[0]), value_of(known.parameters[1])
    form = struct.Struct(("<" if arch.byteorder == "little" else ">") + "8Q")

    def words(view: View, args: Args) -> tuple[int, ...] | None:
        raw = view.read(at(args), form.size) if size(args) >= form.size else None
        return None if raw is None else form.unpack(raw)

    def head(view: View, args: Args) -> str:
        found = words(view, args)
        if found is None or parameter is None:
            return pointer(at(args))
        flags, pidfd, child, parent, signal, stack, stack_size, tls = found
        out = [f"flags={scalar_text(arch, parameter, flags) if flags else 0}"]
        if flags & 0x1000:
            out.append(f"pidfd={pointer(pidfd)}")
        if flags & 0x01200000:
            out.append(f"child_tid={pointer(child)}")
        if flags & 0x00100000:
            out.append(f"parent_tid={pointer(parent)}")
        out.append(f"exit_signal={signal_name(arch, signal) if signal else 0}")
        out += [f"stack={pointer(stack)}", f"stack_size={stack_size and hex(stack_size)}"]
        if flags & 0x00080000:
            out.append(f"tls={pointer(tls)}")
        return "{" + ", ".join(out) + "}"

    def tail(view: View, args: Args) -> str:
        found = None if view.failed else words(view, args)
        shown = []
        if found is not None:
            for bit, where, label in ((0x1000, found[1], "pidfd"), (0x00100000, found[3], "parent_tid")):
                raw = view.read(where, 4) if found[0] & bit else None
                if raw is not None:
                    shown.append(f"{label}=[{struct.unpack('=i', raw)[0]}]")
        return (f" => {{{', '.join(shown)}}}" if shown else "") + f", {size(args)}"

    made = Format(arch, name, [head], [tail], "")
    made.glue = ""
    return made


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


def _fcntl(arch: Architecture, name: str, known: Prototype) -> Format:
    names = {value: word for word, value in family("F", arch).items()}
    third = value_of(known.parameters[2])
    locks = {word for word in names.values() if word.endswith(("LK", "LKW", "LK64", "LKW64"))}

    def choose(command: int) -> Part | None:
        word = names.get(command, "")
        if word in ("F_GETFD", "F_GETFL", "F_GETOWN", "F_GETSIG", "F_GETLEASE", "F_GETPIPE_SZ", "F_GET_SEALS"):
            return None
        if word == "F_SETFD":
            return lambda _, args: "FD_CLOEXEC" if third(args) == 1 else hex(third(args)) if third(args) else "0"
        if word == "F_SETFL":
            return lambda _, args: open_flags(third(args), arch)
        if word in locks:
            wide = "64" if word.endswith("64") or "OFD" in word or arch.bits == 64 else ""
            show = STRUCTS["lock"](arch, *([wide] if wide else []))
            return lambda view, args: (show(view, third(args), args) or pointer(third(args))) if third(args) else "NULL"
        if word.startswith("F_DUPFD") or word in ("F_SETOWN", "F_SETPIPE_SZ", "F_SETSIG"):
            return lambda _, args: str(third(args))
        return lambda _, args: hex(third(args)) if third(args) else "0"

    # F_GETLK is filled in by the kernel; nearly nobody asks, and what is asked for reads as well before.
    made = Format(arch, name, _parts(arch, known)[:2], [_by_command(known, 1, choose)], "")
    made.glue = ""

    def ending(view: View, args: Args) -> str:
        word = names.get(value_of(known.parameters[1])(args), "")
        if word == "F_GETFL":
            return f" (flags {open_flags(view.result, arch)})"
        return " (flags FD_CLOEXEC)" if word == "F_GETFD" and view.result == 1 else ""

    made.ending = ending
    made.result = "fcntl"
    return made


def _ioctl(arch: Architecture, name: str, known: Prototype) -> Format:
    names = {value & 0xFFFFFFFF: word for word, value in family("IOCTL", arch).items()}
    parts = _parts(arch, known)
    request, third = value_of(known.parameters[1]), value_of(known.parameters[2])
    late = {"TIOCGWINSZ": STRUCTS["window"](arch), "FIONREAD": FACTORIES["ints"](arch, "1"), "TIOCGPGRP": FACTORIES["ints"](arch, "1")}
    early = {
        "TIOCSWINSZ": STRUCTS["window"](arch),
        "FIONBIO": FACTORIES["ints"](arch, "1"),
        "TIOCSPGRP": FACTORIES["ints"](arch, "1"),
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
        show = early.get(word) or (None if view.failed else late.get(word))
        text = show(view, address, args) if show is not None and address else None
        return ", " + (text or (hex(address) if address else "0"))

    made = Format(arch, name, [parts[0], command], [value], "")
    made.glue = ""
    return made


#: operation → what it takes behind itself (futex(2)); what it does not look at is not shown
_FUTEX_REST = {
    "FUTEX_WAIT": ("value", "timeout"),
    "FUTEX_WAKE": ("value",),
    "FUTEX_FD": ("value",),
    "FUTEX_REQUEUE": ("value", "count", "other"),
    "FUTEX_CMP_REQUEUE": ("value", "count", "other", "last"),
    "FUTEX_CMP_REQUEUE_PI": ("value", "count", "other", "last"),
    "FUTEX_WAKE_OP": ("value", "count", "other", "operation"),
    "FUTEX_LOCK_PI": ("timeout",),
    "FUTEX_LOCK_PI2": ("timeout",),
    "FUTEX_UNLOCK_PI": (),
    "FUTEX_TRYLOCK_PI": (),
    "FUTEX_WAIT_BITSET": ("value", "timeout", "mask"),
    "FUTEX_WAKE_BITSET": ("value", "mask"),
    "FUTEX_WAIT_REQUEUE_PI": ("value", "timeout", "other"),
}


def _futex(arch: Architecture, name: str, known: Prototype) -> Format:
    parts = _parts(arch, known)
    op, value, third, last = (value_of(known.parameters[index]) for index in (1, 2, 3, 5))
    names = {number: word for word, number in family("FUTEX", arch).items() if number < 0x80}
    form = STRUCTS["time"](arch, "nsec", *(["64"] if name.endswith("time64") else []))

    def operation(_: View, args: Args) -> str:
        number = op(args)
        word = names.get(number & 0x7F)
        if word is None:
            return hex(number)
        out = word + ("_PRIVATE" if number & 0x80 else "")
        return out + ("|FUTEX_CLOCK_REALTIME" if number & 0x100 else "")

    def timeout(view: View, args: Args) -> str:
        address = third(args)
        return (form(view, address, args) or hex(address)) if address else "NULL"

    def mask(_: View, args: Args) -> str:
        return "FUTEX_BITSET_MATCH_ANY" if last(args) & 0xFFFFFFFF == 0xFFFFFFFF else hex(last(args))

    show: dict[str, Part] = {
        "value": lambda _, args: str(value(args) & 0xFFFFFFFF),
        "timeout": timeout,
        "count": lambda _, args: str(third(args) & 0xFFFFFFFF),
        "other": parts[4],
        "mask": mask,
        "last": lambda _, args: str(last(args) & 0xFFFFFFFF),
        "operation": lambda _, args: hex(last(args)),
    }

    def rest(view: View, args: Args) -> str:
        words = _FUTEX_REST.get(names.get(op(args) & 0x7F, ""), ("value", "count", "other", "operation"))
        return "".join(f", {show[word](view, args)}" for word in words)

    return Format(arch, name, [parts[0], lambda view, args: operation(view, args) + rest(view, args)], [], "")


def _prctl(arch: Architecture, name: str, known: Prototype) -> Format:
    parts = _parts(arch, known)
    option, second = value_of(known.parameters[0]), value_of(known.parameters[1])
    names = {value: word for word, value in family("PR", arch).items()}
    string = FACTORIES["string"](arch)

    def rest(view: View, args: Args) -> str:
        word = names.get(option(args), "")
        if word in ("PR_SET_NAME", "PR_GET_NAME"):
            address = second(args)
            shown = string(view, address, args) if address and (word == "PR_SET_NAME" or not view.failed) else None
            return ", " + (shown or pointer(address))
        if word in ("PR_GET_DUMPABLE", "PR_GET_KEEPCAPS", "PR_GET_SECCOMP", "PR_GET_TIMERSLACK", "PR_GET_SECUREBITS", "PR_GET_TIMING"):
            return ""
        if word in ("PR_SET_DUMPABLE", "PR_SET_KEEPCAPS", "PR_SET_TIMERSLACK", "PR_SET_PDEATHSIG", "PR_CAPBSET_READ", "PR_CAPBSET_DROP"):
            value = second(args)
            if word == "PR_SET_PDEATHSIG":
                return ", " + signal_name(arch, value)
            return f", {value}"
        if word == "PR_SET_SECCOMP":
            mode_ = {1: "SECCOMP_MODE_STRICT", 2: "SECCOMP_MODE_FILTER"}.get(second(args), hex(second(args)))
            return f", {mode_}, {pointer(value_of(known.parameters[2])(args))}"
        return "".join(f", {hex(v) if (v := value_of(one)(args)) > 9 else v}" for one in known.parameters[1:])

    made = Format(arch, name, [parts[0]], [rest], "")
    made.glue = ""
    return made


def _mmap(arch: Architecture, name: str, known: Prototype) -> Format | None:
    if len(known.parameters) != 6:
        return None
    parts = _parts(arch, known)
    offset = value_of(known.parameters[5])
    pages = name == "mmap2"

    def last(_: View, args: Args) -> str:
        value = offset(args) * (4096 if pages else 1)
        return hex(value) if value else "0"

    return Format(arch, name, [*parts[:5], last], [], "address")


def _socket(arch: Architecture, name: str, known: Prototype) -> Format:
    """A protocol has a name only in the Internet families."""
    parts = _parts(arch, known)
    domain, protocol = value_of(known.parameters[0]), value_of(known.parameters[2])
    names = {value: word for word, value in reversed(list(family("IPPROTO", arch).items()))}
    netlinks = ("ROUTE", "UNUSED", "USERSOCK", "FIREWALL", "SOCK_DIAG", "NFLOG", "XFRM", "SELINUX", "ISCSI", "AUDIT", "FIB_LOOKUP", "CONNECTOR", "NETFILTER", "IP6_FW", "DNRTMSG", "KOBJECT_UEVENT", "GENERIC")  # fmt: skip

    def last(_: View, args: Args) -> str:
        value, where = protocol(args), domain(args)
        if where in (2, 10):
            return "IPPROTO_IP" if value == 0 else names.get(value, hex(value))
        if where == 16 and value < len(netlinks):
            return "NETLINK_" + netlinks[value]
        return str(value) if value < 10 else hex(value)

    rest = [argument(arch, known.parameters[3], known.parameters, "ints", ("2",), late=True)] if name == "socketpair" else []
    return Format(arch, name, [*parts[:2], last], rest, "")


#: level → options by number where the header's names are not one family (linux/tcp.h, linux/in.h, linux/in6.h)
_OPTIONS = {
    6: "TCP_ NODELAY MAXSEG CORK KEEPIDLE KEEPINTVL KEEPCNT SYNCNT LINGER2 DEFER_ACCEPT WINDOW_CLAMP INFO QUICKACK CONGESTION MD5SIG - THIN_LINEAR_TIMEOUTS"
    " THIN_DUPACK USER_TIMEOUT REPAIR REPAIR_QUEUE QUEUE_SEQ REPAIR_OPTIONS FASTOPEN TIMESTAMP NOTSENT_LOWAT",
    0: "IP_ TOS TTL HDRINCL OPTIONS ROUTER_ALERT RECVOPTS RETOPTS PKTINFO PKTOPTIONS MTU_DISCOVER RECVERR RECVTTL RECVTOS MTU FREEBIND"
    " IPSEC_POLICY XFRM_POLICY PASSSEC TRANSPARENT" + " -" * 12 + " MULTICAST_IF MULTICAST_TTL MULTICAST_LOOP ADD_MEMBERSHIP DROP_MEMBERSHIP",
    41: "IPV6_ ADDRFORM 2292PKTINFO 2292HOPOPTS 2292DSTOPTS 2292RTHDR 2292PKTOPTIONS CHECKSUM 2292HOPLIMIT NEXTHOP AUTHHDR FLOWINFO - - - -"
    " UNICAST_HOPS MULTICAST_IF MULTICAST_HOPS MULTICAST_LOOP ADD_MEMBERSHIP DROP_MEMBERSHIP ROUTER_ALERT MTU_DISCOVER MTU RECVERR V6ONLY",
}  # fmt: skip


def _options(arch: Architecture, level: int) -> dict[int, str]:
    if level == family("SOL", arch).get("SOL_SOCKET", 1):
        return {value: word for word, value in reversed(list(family("SO", arch).items()))}
    start, *words = _OPTIONS.get(level, "-").split()
    return {number: start + word for number, word in enumerate(words, 1) if word != "-"}


def _sockopt(arch: Architecture, name: str, known: Prototype) -> Format:
    """What an option's number means depends on the level."""
    level, option = value_of(known.parameters[1]), value_of(known.parameters[2])
    first = argument(arch, known.parameters[0], known.parameters)
    names: dict[int, dict[int, str]] = {}
    socket_level = family("SOL", arch).get("SOL_SOCKET", 1)

    def both(_: View, args: Args) -> str:
        where = level(args)
        if where not in names:
            if len(names) > 100:
                names.clear()
            names[where] = _options(arch, where)
        label = "SOL_SOCKET" if where == socket_level else scalar_text(arch, known.parameters[1], where)
        return f"{label}, {names[where].get(option(args)) or hex(option(args))}"

    late = name == "getsockopt"
    third = argument(arch, known.parameters[3], known.parameters, "option" if late else "integer", ("4",), late=late)
    fourth = argument(arch, known.parameters[4], known.parameters, "length" if late else "", (), late=late)
    made = Format(arch, name, [first, both], [third, fourth], "") if late else Format(arch, name, [first, both, third, fourth], [], "")
    if late:
        made.early = lengths(arch, [known.parameters[4].registers[0]])
    return made


def _hexadecimal_size(arch: Architecture, name: str, known: Prototype) -> Format:
    parts = _parts(arch, known)
    size = value_of(known.parameters[1])
    return Format(arch, name, [parts[0], lambda _, args: hex(size(args)), *parts[2:]], [], "")


def _umask(arch: Architecture, name: str, known: Prototype) -> Format:
    value = value_of(known.parameters[0])
    return Format(arch, name, [lambda _, args: mode(value(args) & 0o7777)], [], "octal")


def _openat2(arch: Architecture, name: str, known: Prototype) -> Format:
    parts = _parts(arch, known)
    where = value_of(known.parameters[2])
    names = ("RESOLVE_NO_XDEV", "RESOLVE_NO_MAGICLINKS", "RESOLVE_NO_SYMLINKS", "RESOLVE_BENEATH", "RESOLVE_IN_ROOT", "RESOLVE_CACHED")

    def how(view: View, args: Args) -> str:
        raw = view.read(where(args), 24)
        if raw is None:
            return pointer(where(args))
        flags, permissions, resolve = struct.unpack("=3Q", raw)
        words = [word for at, word in enumerate(names) if resolve >> at & 1]
        made = f", mode={mode(permissions)}" if flags & _O_CREAT or flags & _O_TMPFILE else ""
        return f"{{flags={open_flags(flags, arch)}{made}, resolve={'|'.join(words) or 0}}}"

    return Format(arch, name, [*parts[:2], how, parts[3]], [], "")


def _sigreturn(arch: Architecture, name: str, _: Prototype) -> Format | None:
    """The mask that will be in force again: in the frame on the stack, at struct ucontext's uc_sigmask (x86-64 alone)."""
    if arch.name != "x86_64":
        return None
    from seclude.supervise.tracer_structs import signal_set

    def mask(view: View, _: Args) -> str:
        from seclude.kernel import calls

        try:
            stack = calls.call_info(view.tid)[3]
        except OSError:
            return ""
        raw = view.read(stack + 296, 8)
        return "" if raw is None else f"{{mask={signal_set(arch, int.from_bytes(raw, 'little'))}}}"

    return Format(arch, name, [mask], [], "")


SPECIAL: dict[str, Callable[[Architecture, str, Prototype], Format | None]] = {
    "open": _open, "openat": _open, "openat2": _openat2, "clone": _clone, "clone3": _clone3, "fcntl": _fcntl, "fcntl64": _fcntl, "ioctl": _ioctl,
    "futex": _futex, "futex_time64": _futex, "prctl": _prctl, "mmap": _mmap, "mmap2": _mmap, "socket": _socket, "socketpair": _socket,
    "rt_sigreturn": _sigreturn, "setsockopt": _sockopt, "getsockopt": _sockopt, "rseq": _hexadecimal_size, "umask": _umask,
}  # fmt: skip


# --- what follows a result


def _poll_ending(arch: Architecture) -> Callable[[View, Args], str]:
    mask = 0xFFFFFFFF if arch.bits == 32 else (1 << 64) - 1

    def ending(view: View, args: Args) -> str:
        if view.result == 0:
            return " (Timeout)"
        found = polled(view, arch, args[0] & mask, args[1] & 0xFFFFFFFF, results=True)
        return f" ({found})" if found is not None else ""

    return ending


def _select_ending(unit: str) -> Callable[[Architecture], Callable[[View, Args], str]]:
    def make(arch: Architecture) -> Callable[[View, Args], str]:
        mask = 0xFFFFFFFF if arch.bits == 32 else (1 << 64) - 1
        time = STRUCTS["time"](arch, unit)

        def ending(view: View, args: Args) -> str:
            if view.result == 0:
                return " (Timeout)"
            words = []
            for register, label in ((1, "in"), (2, "out"), (3, "except")):
                found = descriptors(view, args[register] & mask, args[0] & 0xFFFFFFFF) if args[register] & mask else None
                if found:
                    words.append(f"{label} [{' '.join(map(str, found))}]")
            left = time(view, args[4] & mask, args) if args[4] & mask else None
            if left is not None:
                words.append(f"left {left}")
            return f" ({', '.join(words)})" if words else ""

        return ending

    return make


ENDINGS: dict[str, Callable[[Architecture], Callable[[View, Args], str]]] = {
    "poll": _poll_ending,
    "ppoll": _poll_ending,
    "select": _select_ending("usec"),
    "_newselect": _select_ending("usec"),
    "pselect6": _select_ending("nsec"),
}
