"""What each system call takes, per architecture: parameters, and how wide and with which sign the kernel reads them.

A filter sees six 64-bit registers; the kernel reads of each what its function declares, or less. ``Parameter.width`` is what the kernel
distinguishes: 16 (``umode_t``, old user ids), 32 (``int``, ``pid_t``, ...) or 64. Pointers and ``long`` are as wide as the architecture's
registers: 32 bits on 32-bit architectures, whatever a 64-bit kernel leaves in the upper half (on x86-64, ``int 0x80`` from 64-bit code
leaves the caller's bits there, and the kernel does not read them).

Two architectures have 32-bit pointers and 64-bit registers: x32 and mips64n32. Their kernel entry is the native one for most calls, so ``long`` and
pointers are 64 bits wide; the calls that go through ``compat_sys_*`` functions read 32 bits of a ``long`` (COMPAT below), and 64 of a pointer.

A 64-bit value (``loff_t``) on a 32-bit architecture is passed in two registers, ``Parameter.registers``, least significant half first in the tuple: which of
them comes first follows the byte order; on arm, mips and ppc a pair starts at an even register, leaving one unused (kernel: SC_ARG64 and
``__ARCH_WANT_COMPAT_*`` wrappers; arch/mips/kernel/linux32.c; arch/parisc/kernel/sys_parisc.c, which has no padding; syscall(2), "Architecture-specific
requirements"). What lies beyond the sixth register (mips o32: the last argument of sync_file_range and fadvise64) no filter can see, and is left out.

On s390 (31-bit) the kernel also drops bit 31 of a pointer; a comparison with NULL there sees it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seclude.abi.architecture import Architecture

__all__ = ["WIDE", "WITHOUT_PROTOTYPE", "Parameter", "Prototype", "calls_with_prototype", "prototype"]

REGISTERS = 6
# code of the generated text → (bits, signed); 0 is the width of a register
CODES = {
    "H": (16, False),
    "i": (32, True),
    "u": (32, False),
    "l": (0, True),
    "L": (0, False),
    "p": (0, False),
    "q": (64, True),
    "Q": (64, False),
    "s": (64, True),
}
SPLIT = "qQs"
# The System V supplements of these pass a 64-bit value in an even and the following odd register.
EVEN_PAIRS = frozenset(("arm", "mips", "mipsel", "ppc"))
# 64-bit registers, although pointers in memory have 32 bits
WIDE = frozenset(("x32", "mips64n32", "mipsel64n32"))
# Calls of those that enter through compat_sys_* and read 32 bits of a long (arch/x86/entry/syscalls/syscall_64.tbl from 512 on,
# arch/mips/kernel/syscalls/syscall_n32.tbl), or through a *_time32 function that declares 32 bits (fs/aio.c, ipc/mqueue.c)
_COMPAT_X32 = (
    "rt_sigaction ioctl recvfrom ptrace rt_sigpending rt_sigtimedwait kexec_load set_robust_list io_setup io_submit"
    " getsockopt setsockopt recvmmsg sendmmsg"
)
_COMPAT_N32 = (
    "rt_sigaction rt_sigprocmask ioctl readv writev _newselect shmctl sendfile recvfrom semctl msgsnd msgrcv fcntl fcntl64 ptrace"
    " rt_sigpending rt_sigtimedwait rt_sigtimedwait_time64 rt_sigsuspend io_setup io_submit statfs64 fstatfs64 keyctl pselect6"
    " pselect6_time64 ppoll ppoll_time64 set_robust_list kexec_load epoll_pwait signalfd signalfd4 recvmmsg recvmmsg_time64"
    " io_getevents io_pgetevents io_pgetevents_time64 epoll_pwait2 mq_timedsend mq_timedreceive"
)
COMPAT = {
    "x32": frozenset(_COMPAT_X32.split()),
    "mips64n32": frozenset(_COMPAT_N32.split()),
    "mipsel64n32": frozenset(_COMPAT_N32.split()),
}

# Names in the tables that no kernel has given a meaning to: there is nothing to name (unimplemented(2); sys_ni_syscall from the first version on).
_NEVER = "afs_syscall break ftime getpmsg gtty idle lock mpx multiplexer prof profil putpmsg security stty tuxcall ulimit vserver"
WITHOUT_PROTOTYPE = frozenset(_NEVER.split())


class Parameter:
    """One argument of a call, as the kernel reads it.

    ``name`` is the man page's, ``aliases`` are the kernel's. ``width`` is 16, 32 or 64 bits. ``index`` is the register (0..5) it starts in;
    ``registers`` are all of them, least significant first. ``kind`` says what a person thinks of it as (int, uint, size, pointer, path,
    string, sockaddr, fd, flags, mode, pid, signal, cmd, offset, uid, gid, device); ``constants`` is the family to decode it with, or empty.
    """

    __slots__ = ("aliases", "constants", "ctype", "index", "kind", "name", "registers", "signed", "width")

    def __init__(
        self,
        name: str,
        aliases: tuple[str, ...],
        ctype: str,
        width: int,
        signed: bool,
        kind: str,
        registers: tuple[int, ...],
        constants: str,
    ) -> None:
        self.name = name
        self.aliases = aliases
        self.ctype = ctype
        self.width = width
        self.signed = signed
        self.kind = kind
        self.index = min(registers)
        self.registers = registers
        self.constants = constants

    def value(self, registers: Sequence[int]) -> int:
        """The argument in a call's six ``registers`` as the kernel reads it, unsigned: joined where it is split over two, cut to its width."""
        if len(self.registers) == 1:
            whole = registers[self.registers[0]]
        else:
            whole = 0
            for position, register in enumerate(self.registers):
                whole |= (registers[register] & 0xFFFFFFFF) << 32 * position
        return whole & (1 << self.width) - 1

    def __repr__(self) -> str:
        return f"Parameter({self}, {'s' if self.signed else 'u'}{self.width}, {self.kind}, registers={self.registers})"

    def __str__(self) -> str:
        return f"{self.ctype}{'' if self.ctype.endswith('*') else ' '}{self.name}"


class Prototype:
    """A call's parameters on one architecture, in register order."""

    __slots__ = ("call", "parameters")

    def __init__(self, call: str, parameters: tuple[Parameter, ...]) -> None:
        self.call = call
        self.parameters = parameters

    def parameter(self, name: str) -> Parameter | None:
        """By man-page name, else by kernel name."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        for parameter in self.parameters:
            if name in parameter.aliases:
                return parameter
        return None

    def __repr__(self) -> str:
        return f"Prototype({self})"

    def __str__(self) -> str:
        return f"{self.call}({', '.join(map(str, self.parameters)) or 'void'})"


_lines: dict[str, list[tuple[str, str]]] = {}
_parsed: dict[tuple[str, str], Prototype | None] = {}


def _index() -> Mapping[str, list[tuple[str, str]]]:
    if not _lines:
        from seclude.abi._prototypes import TEXT

        found: dict[str, list[tuple[str, str]]] = {}
        for line in TEXT.splitlines():
            head, _, spelt = line.partition(" ")
            call, _, where = head.partition("@")
            found.setdefault(call, []).append((where, spelt))
        _lines.update(found)  # all at once: another thread may be looking already
    return _lines


def calls_with_prototype() -> frozenset[str]:
    """Every call name that has a prototype on some architecture."""
    return frozenset(_index())


def _spelt(call: str, architecture: str) -> str | None:
    plain = None
    for where, spelt in _index().get(call, ()):
        if not where:
            plain = spelt
        elif architecture in where.split(","):
            return spelt
    return plain


def _place(code: str, register: int, arch: Architecture) -> tuple[tuple[int, ...], int]:
    """Registers of a parameter that may start at ``register``, and the first register after it."""
    halves = arch.bits == 32 and (arch.name not in WIDE or (code == "s" and arch.name != "x32"))
    if code == "s" and not halves:
        return (register,), register + 2  # the high half is passed and shifted out (fs/read_write.c pos_from_hilo)
    if code not in SPLIT or not halves:
        return (register,), register + 1
    if code == "s":
        return (register, register + 1), register + 2
    if arch.name in EVEN_PAIRS and register % 2:
        register += 1
    pair = (register, register + 1) if arch.byteorder == "little" else (register + 1, register)
    return pair, register + 2


def _parse(call: str, spelt: str, arch: Architecture) -> Prototype:
    wide = arch.bits == 64 or arch.name in WIDE
    narrow_longs = call in COMPAT.get(arch.name, ())
    parameters = []
    register = 0
    for part in spelt.split(";") if spelt else ():
        names, code, kind, constants, ctype = part.split(":", 4)
        if code == "-":
            register += 1
            continue
        registers, register = _place(code, register, arch)
        if max(registers) >= REGISTERS:
            continue  # on the stack: not in seccomp_data
        bits, signed = CODES[code]
        if not bits:
            bits = 64 if wide and (code == "p" or not narrow_longs) else 32
        name, *aliases = names.split("/")
        parameters.append(Parameter(name, tuple(aliases), ctype, bits, signed, kind, registers, constants))
    return Prototype(call, tuple(parameters))


def prototype(arch: Architecture | str, call: str) -> Prototype | None:
    """The parameters of a call on an architecture, or None where the tables have none.

    ``arch`` may be a name; an unknown one raises UsageError. A call that the architecture lacks has the shape that it would have there.
    """
    if isinstance(arch, str):
        from seclude.abi.architecture import arch as find

        arch = find(arch)
    key = (arch.name, call)
    if key not in _parsed:
        spelt = _spelt(call, arch.name)
        _parsed[key] = None if spelt is None else _parse(call, spelt, arch)
    return _parsed[key]
