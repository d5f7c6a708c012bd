"""Calls whose later arguments depend on the earlier ones, or are there only with them: open's mode, clone, futex, mmap (and those of `tracer_commands`)."""

from __future__ import annotations

import struct

from seclude.abi.constants import family
from seclude.supervise.tracer_commands import COMMANDS
from seclude.supervise.tracer_format import Format, argument, lengths, open_flags, scalar_text, value_of
from seclude.supervise.tracer_memory import mode, pointer
from seclude.supervise.tracer_records import record
from seclude.supervise.tracer_structs import FACTORIES as STRUCTS
from seclude.supervise.tracer_structs import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter, Prototype
    from seclude.supervise.tracer_format import Part
    from seclude.supervise.tracer_memory import Args, View

__all__ = ["SPECIAL"]

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


def _wake_op(value: int) -> str:
    """``FUTEX_OP_ADD<<28|0x1<<12|FUTEX_OP_CMP_EQ<<24|0`` (futex(2), FUTEX_OP)."""
    operations, comparisons = ("SET", "ADD", "OR", "ANDN", "XOR"), ("EQ", "NE", "LT", "LE", "GT", "GE")
    operation, comparison = value >> 28 & 7, value >> 24 & 0xF
    first = f"FUTEX_OP_{operations[operation]}<<28" if operation < 5 else f"{operation:#x}<<28"
    if value >> 31:
        first = f"FUTEX_OP_OPARG_SHIFT<<28|{first}"
    second = f"FUTEX_OP_CMP_{comparisons[comparison]}<<24" if comparison < 6 else f"{comparison:#x}<<24"
    left, right = (hex(number) if number else "0" for number in (value >> 12 & 0xFFF, value & 0xFFF))
    return f"{first}|{left}<<12|{second}|{right}"


def _futex(arch: Architecture, name: str, known: Prototype) -> Format:
    parts = _parts(arch, known)
    op, value, third, last = (value_of(known.parameters[index]) for index in (1, 2, 3, 5))
    names = {number: word for word, number in family("FUTEX", arch).items() if number < 0x80}
    form = STRUCTS["time"](arch, "nsec", *(["64"] if name.endswith("time64") else []))

    def operation(_: View, args: Args) -> str:
        number = op(args)
        word = names.get(number & 0x7F)
        if word is None:
            return f"{number:#x} /* FUTEX_??? */"
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
        "operation": lambda _, args: _wake_op(last(args) & 0xFFFFFFFF),
        "raw": lambda _, args: f"{pointer(third(args))}, {pointer(value_of(known.parameters[4])(args))}, {hex(last(args) & 0xFFFFFFFF)}",
    }

    def rest(view: View, args: Args) -> str:
        words = _FUTEX_REST.get(names.get(op(args) & 0x7F, ""), ("value", "raw"))
        return "".join(f", {show[word](view, args)}" for word in words)

    return Format(arch, name, [parts[0], lambda view, args: operation(view, args) + rest(view, args)], [], "")


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
        found = {value: word for word, value in reversed(list(family("SO", arch).items()))}
        return {**found, **{value: word for word, value in family("SO", arch).items() if word.endswith("_OLD")}}
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
    plain = argument(arch, known.parameters[3], known.parameters, "option" if late else "integer", ("4",), late=late)
    address = value_of(known.parameters[3])
    shapes = {option: record(arch, shape) for option, shape in (("SO_PEERCRED", "peer"), ("SO_LINGER", "linger"))}

    def third(view: View, args: Args) -> str:
        word = names.get(level(args), {}).get(option(args), "") if level(args) == socket_level else ""
        show = None if late and view.failed else shapes.get(word)
        return (None if show is None or not address(args) else show(view, address(args), args)) or plain(view, args)

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


def _mknod(arch: Architecture, name: str, known: Prototype) -> Format:
    """The device is there only where one is made."""
    from seclude.supervise.tracer_memory import device

    parts = _parts(arch, known)
    kind, number = value_of(known.parameters[-2]), value_of(known.parameters[-1])

    def both(view: View, args: Args) -> str:
        made = kind(args) & 0o170000 in (0o020000, 0o060000)
        return parts[-2](view, args) + (f", {device(number(args))}" if made else "")

    return Format(arch, name, [*parts[:-2], both], [], "")


def _statx(arch: Architecture, name: str, known: Prototype) -> Format:
    """How remote files are asked for has a name also where it is the default."""
    parts = _parts(arch, known)
    flags = value_of(known.parameters[2])
    ways = {0: "AT_STATX_SYNC_AS_STAT", 0x2000: "AT_STATX_FORCE_SYNC", 0x4000: "AT_STATX_DONT_SYNC"}

    def shown(_: View, args: Args) -> str:
        value = flags(args)
        rest = scalar_text(arch, known.parameters[2], value & ~0x6000) if value & ~0x6000 else ""
        return "|".join(word for word in (ways.get(value & 0x6000, "AT_STATX_SYNC_TYPE"), rest) if word)

    last = argument(arch, known.parameters[4], known.parameters, "statx", (), late=True)
    return Format(arch, name, [*parts[:2], shown, parts[3]], [last], "")


def _keyed(arch: Architecture, name: str, known: Prototype) -> Format:
    key = value_of(known.parameters[0])
    return Format(arch, name, [lambda _, args: hex(key(args)) if key(args) else "IPC_PRIVATE", *_parts(arch, known)[1:]], [], "")


def _msgsnd(arch: Architecture, name: str, known: Prototype) -> Format:
    parts = _parts(arch, known)
    flags = value_of(known.parameters[3])
    text = argument(arch, known.parameters[1], known.parameters, "mail", ("2",))
    return Format(
        arch,
        name,
        [parts[0], text, parts[2], lambda _, args: "IPC_NOWAIT" if flags(args) == 0x800 else hex(flags(args)) if flags(args) else "0"],
        [],
        "",
    )


SPECIAL: dict[str, Callable[[Architecture, str, Prototype], Format | None]] = {
    **COMMANDS,
    "open": _open, "openat": _open, "openat2": _openat2, "clone": _clone, "clone3": _clone3, "mknod": _mknod, "mknodat": _mknod, "statx": _statx,
    "shmget": _keyed, "semget": _keyed, "msgget": _keyed, "msgsnd": _msgsnd,
    "futex": _futex, "futex_time64": _futex, "mmap": _mmap, "mmap2": _mmap, "socket": _socket, "socketpair": _socket,
    "rt_sigreturn": _sigreturn, "setsockopt": _sockopt, "getsockopt": _sockopt, "rseq": _hexadecimal_size, "umask": _umask,
}  # fmt: skip
