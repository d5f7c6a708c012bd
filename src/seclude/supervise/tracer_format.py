"""One formatter for each (architecture, call), made when the call is first seen: its arguments before it runs, and the rest behind it.

The problem: a traced call costs two stops, and reading prototypes and tables at each would cost more than the kernel does. So everything that depends on
the call alone (which registers, which widths, which flags) is bound once into a list of small functions; a call then runs over two lists. Flag words
are remembered by value, since programs use few.

A formatter splits as strace(1) does: what the target gives is shown before the call, and from the first argument that the kernel fills in
on, the rest behind it. Where the call failed such an argument is shown as its address.
"""

from __future__ import annotations

from seclude.abi.constants import decode, family
from seclude.abi.prototypes import prototype
from seclude.supervise.describe import architecture
from seclude.supervise.tracer_memory import FACTORIES, pointer
from seclude.supervise.tracer_records import FACTORIES as RECORDS
from seclude.supervise.tracer_records import scheduler
from seclude.supervise.tracer_sockets import FACTORIES as SOCKETS
from seclude.supervise.tracer_structs import FACTORIES as STRUCTS
from seclude.supervise.tracer_structs import bits_of
from seclude.supervise.tracer_table import RESULTS, SHAPES
from seclude.supervise.tracer_text import failure, restart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter
    from seclude.supervise.tracer_memory import Args, View

    Part = Callable[[View, Args], str]

__all__ = ["Format", "find"]

_DECODERS = {**FACTORIES, **STRUCTS, **RECORDS, **SOCKETS}
_REMEMBERED = 2048  # distinct values of one flags argument


class Format:
    """How one call is shown: ``name``, ``before`` and ``behind`` it, each a list of parts, and ``result``.

    ``ending`` gives what follows the result (``([{fd=3, revents=POLLIN}])``); ``early`` looks at what the call will change; ``glue`` stands
    between what is shown before the call and what is shown behind it.
    """

    __slots__ = ("arch", "before", "behind", "early", "ending", "glue", "name", "open", "result")

    def __init__(self, arch: Architecture, name: str, before: list[Part], behind: list[Part], result: str) -> None:
        self.arch = arch
        self.name = name
        self.open = name + "("
        self.before = before
        self.behind = behind
        self.result = result
        self.glue = ", " if before and behind else ""
        self.early: Callable[[View, Args], None] | None = None
        self.ending: Callable[[View, Args], str] | None = None

    def entry(self, view: View, args: Args) -> str:
        """``read(3, `` or ``close(3``: what is known before the call."""
        if self.early is not None:
            self.early(view, args)
        return self.open + ", ".join([part(view, args) for part in self.before]) + self.glue

    def rest(self, view: View, args: Args) -> str:
        """What is known behind it, without the parenthesis."""
        return ", ".join([part(view, args) for part in self.behind]) if self.behind else ""

    def outcome(self, view: View, args: Args) -> str:
        """``= 3`` without the sign: ``3``, ``0x7f..``, ``-1 ENOENT (...)``, ``?``."""
        value = view.result
        if view.failed:
            return restart(value) or failure(self.arch, -value)
        kind = self.result
        text = str(value)
        if kind:
            if kind in ("address", "hex"):
                text = (
                    "0"
                    if kind == "hex" and not value
                    else hex(value & (0xFFFFFFFF if self.arch.bits == 32 and self.arch.name != "x32" else (1 << 64) - 1))
                )
            elif kind == "unsigned":
                text = str(value & (0xFFFFFFFF if self.arch.bits == 32 and self.arch.name != "x32" else (1 << 64) - 1))
            elif kind == "octal":
                text = f"0{value:o}" if value else "0"
            elif kind == "none":
                text = "?"
            elif kind == "fcntl" and self.ending is not None and (more := self.ending(view, args)):
                return (hex(value) if value else "0") + more
        return text + self.ending(view, args) if self.ending is not None else text

    def whole(self, view: View, args: Args) -> str:
        """The call as it stands before it runs, in one piece: what the kernel would fill in are addresses."""
        view.failed, view.result = True, 0
        return self.entry(view, args) + self.rest(view, args) + ")"

    def finished(self, view: View, args: Args, result: int) -> tuple[str, str]:
        """The call that has ``result``, in one piece, with what it gave back, and its outcome."""
        view.failed, view.result = -4096 < result < 0, result
        text = self.entry(view, args) + self.rest(view, args) + ")"
        return text, self.outcome(view, args)


_found: dict[tuple[int, int], Format] = {}


def find(token: int, nr: int) -> Format:
    """The formatter of a call. Never fails: what the tables do not know is shown as six words."""
    found = _found.get((token, nr))
    if found is None:
        if len(_found) > 20000:  # a target can make up numbers without end
            _found.clear()
        found = _found[token, nr] = _make(token, nr)
    return found


def _make(token: int, nr: int) -> Format:
    arch = architecture(token, nr)
    if arch is None:
        from seclude.abi import native

        return Format(native(), f"syscall_{nr & 0xFFFFFFFF:#x}", [_word(index, 64) for index in range(6)], [], "")
    name = arch.call_name(nr)
    known = prototype(arch, name) if name is not None else None
    wide = 32 if arch.bits == 32 and arch.name != "x32" else 64
    if name is None or known is None:
        return Format(arch, name or f"syscall_{nr & 0xFFFFFFFF:#x}", [_word(index, wide) for index in range(6)], [], "")
    from seclude.supervise.tracer_special import SPECIAL

    special = SPECIAL.get(name)
    if special is not None:
        made = special(arch, name, known)
        if made is not None:
            return made
    shape = SHAPES.get(name, {})
    before: list[Part] = []
    behind: list[Part] = []
    for index, parameter in enumerate(known.parameters):
        decoder, options, late = shape.get(index, ("", (), False))
        part = argument(arch, parameter, known.parameters, decoder, options, late)
        (behind if late or behind else before).append(part)
    out = Format(arch, name, before, behind, RESULTS.get(name, ""))
    for decoder, size in (("length", 4), ("offset", 4 if arch.bits == 32 and name == "sendfile" and arch.name != "x32" else 8)):
        changed = [known.parameters[index].registers[0] for index, (found, _, late) in shape.items() if found == decoder and late]
        if changed:
            out.early = lengths(arch, changed, size)
    from seclude.supervise.tracer_endings import ENDINGS

    ending = ENDINGS.get(name)
    if ending is not None:
        out.ending = ending(arch)
    return out


def lengths(arch: Architecture, registers: list[int], size: int = 4) -> Callable[[View, Args], None]:
    """Lengths and offsets that the kernel changes, ``size`` bytes behind pointers in ``registers``, are read before the call as well."""
    mask = 0xFFFFFFFF if arch.bits == 32 and arch.name != "x32" else (1 << 64) - 1
    order = arch.byteorder

    def early(view: View, args: Args) -> None:
        for register in registers:
            address = args[register] & mask
            raw = view.read(address, size) if address else None
            if raw is not None:
                view.saved[view.tid, address] = int.from_bytes(raw, order, signed=True)

    return early


def _word(register: int, bits: int) -> Part:
    mask = (1 << bits) - 1

    def show(_: View, args: Args) -> str:
        value = args[register] & mask
        return hex(value) if value else "0"

    return show


def value_of(parameter: Parameter) -> Callable[[Args], int]:
    """The parameter as the kernel reads it, unsigned."""
    mask = (1 << parameter.width) - 1
    first = parameter.registers[0]
    if len(parameter.registers) == 1:
        return lambda args: args[first] & mask
    second = parameter.registers[1]
    return lambda args: (args[first] & 0xFFFFFFFF | args[second] << 32) & mask


def argument(
    arch: Architecture,
    parameter: Parameter,
    parameters: tuple[Parameter, ...],
    decoder: str = "",
    options: tuple[str, ...] = (),
    late: bool = False,
) -> Part:
    """One argument. ``decoder`` and ``options`` as in `tracer_table`; without, by what the prototype says."""
    if not decoder and parameter.kind == "path":
        decoder = "path"
    if not decoder and parameter.kind == "string":
        decoder = "string"
    if decoder:
        # Options that are numbers of parameters become numbers of registers.
        turned = tuple(
            str(parameters[int(one)].registers[0]) if _names_parameter(decoder, at) and one.isdigit() else one
            for at, one in enumerate(options)
        )
        return _pointed(parameter, _DECODERS[decoder](arch, *turned), late)
    return _scalar(arch, parameter)


def _names_parameter(decoder: str, at: int) -> bool:
    return at == 0 and decoder in _COUNTED


#: decoders whose first option is the number of another parameter
_COUNTED = frozenset(
    (
        "addresses", "bytes", "capabilities", "from", "groups", "integer", "iovecs", "mail", "option", "pages", "pollfds", "processors", "records",
        "signals", "to",
    )
)  # fmt: skip


def _pointed(parameter: Parameter, show: Callable[[View, int, Args], str | None], late: bool) -> Part:
    register = parameter.registers[0]
    mask = (1 << parameter.width) - 1

    def part(view: View, args: Args) -> str:
        address = args[register] & mask
        if not address:
            return "NULL"
        if late and view.failed:
            return hex(address)
        return show(view, address, args) or hex(address)

    def left(view: View, args: Args) -> str:  # nanosleep fills in its argument only where it fails
        address = args[register] & mask
        return (show(view, address, args) or hex(address)) if address else "NULL"

    return left if late and parameter.name in ("remain", "rem") else part


_ACCESSES = ((4, "R_OK"), (2, "W_OK"), (1, "X_OK"))

# The order in which flags are shown is the one of strace's readers: what a call is about first.
_OPEN = (
    "O_CREAT", "O_EXCL", "O_NOCTTY", "O_TRUNC", "O_APPEND", "O_NONBLOCK", "O_SYNC", "O_DSYNC", "O_DIRECT", "O_LARGEFILE", "O_NOFOLLOW", "O_NOATIME",
    "O_CLOEXEC", "O_PATH", "O_TMPFILE", "O_DIRECTORY",
)  # fmt: skip
_ACCESS = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")


def open_flags(value: int, arch: Architecture, *, opening: bool = True) -> str:
    """``O_RDWR|O_CREAT|O_CLOEXEC``; flags that come without an access mode where nothing is opened (pipe2)."""
    names = family("O", arch)
    words = [_ACCESS[value & 3]] if opening else []
    value &= ~3 if opening else -1
    tmpfile = names.get("O_TMPFILE", 0)
    for name in _OPEN:
        bits = names.get(name, 0)
        if name == "O_DIRECTORY" and tmpfile and "O_TMPFILE" in words:
            continue
        if bits and value & bits == bits:
            words.append(name)
            value &= ~bits
    if value:
        words.append(hex(value))
    return "|".join(words) or "0"


def _scalar(arch: Architecture, parameter: Parameter) -> Part:
    kind, width = parameter.kind, parameter.width
    value = value_of(parameter)
    if kind in ("pointer", "sockaddr"):
        return lambda _, args: pointer(value(args))
    if not parameter.constants and kind in ("fd", "pid", "offset", "int", "signal"):
        half, whole = 1 << width - 1, 1 << width
        return lambda _, args: str(found if (found := value(args)) < half else found - whole)
    if kind == "size" and not parameter.constants:
        return lambda _, args: str(value(args))
    known: dict[int, str] = {}

    def part(_: View, args: Args) -> str:
        found = value(args)
        text = known.get(found)
        if text is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            text = known[found] = scalar_text(arch, parameter, found)
        return text

    return part


_IPC = ((0x200, "IPC_CREAT"), (0x400, "IPC_EXCL"), (0x800, "IPC_NOWAIT"))


def _key_flags(value: int, permissions: str) -> str:
    """``IPC_CREAT|0600``: shmget(2), semget(2), msgget(2)."""
    return f"{bits_of(value & ~0o777, _IPC)}|{permissions}" if value & ~0o777 else permissions


#: flags among which the one about exec comes first
_AT_EXEC = ("EFD", "SFD", "TFD", "INCREATE")


def scalar_text(arch: Architecture, parameter: Parameter, value: int) -> str:
    """A number as strace spells it."""
    constants, kind = parameter.constants, parameter.kind
    if value == 0 and kind == "flags" and constants not in ("PROT", "ACCESS", "IPC"):
        return "0"
    if constants == "ACCESS":
        return bits_of(value, _ACCESSES) if value else "F_OK"
    if constants == "SIG":
        from seclude.supervise.tracer_structs import signal_name

        return signal_name(arch, value)
    if constants == "O":
        return open_flags(value, arch, opening=False)
    if constants == "SCHED":
        return scheduler(value)
    if kind == "mode" or constants == "IPC":
        from seclude.supervise.tracer_memory import mode

        return mode(value) if kind == "mode" else _key_flags(value, mode(value & 0o777))
    text = decode(parameter, value, arch)
    if constants in _AT_EXEC and "|" in text:
        return "|".join(sorted(text.split("|"), key=lambda word: not word.endswith("_CLOEXEC")))
    if kind in ("flags", "uint") and text.isdigit() and value > 9:
        return hex(value) if kind == "flags" else text
    return text
