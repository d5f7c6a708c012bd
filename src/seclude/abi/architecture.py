"""The 23 architectures that seccomp filters meet: what a filter sees of each, and its system calls by number and by name.

A filter tells architectures apart by one word, the audit token: the ELF machine number with flags for 64 bits and
little endian (linux/audit.h, linux/elf-em.h). x32 has no token of its own: it is x86_64's with bit 30 of the number set.

Numbers live in one small module per distinct table (`seclude.abi.numbers`), read when an architecture is first asked:
a filter for one architecture costs one table.
"""

from __future__ import annotations

import sys

from seclude.errors import UsageError, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

__all__ = ["ALL", "ARCHITECTURES", "Architecture", "arch", "by_token", "companions", "elf_architecture", "native"]

# linux/audit.h
_64BIT = 0x80000000
_LE = 0x40000000
_N32 = 0x20000000  # __AUDIT_ARCH_CONVENTION_MIPS64_N32

#: __X32_SYSCALL_BIT of asm/unistd.h
X32_BIT = 0x40000000

#: the calls that carry other calls inside: what they do is decided by their first argument
_MULTIPLEXERS = ("socketcall", "ipc")
# types.MappingProxyType, without importing types: the tables are everyone's, and nobody may change them.
_View = type(type.__dict__)


class Architecture:
    """One architecture as a filter meets it.

    ``token`` is the word at offset 4 of `struct seccomp_data`, ``token_name`` its name in linux/audit.h; ``bits`` is the
    size of a pointer; ``byteorder`` ``"little"`` or ``"big"``; ``x32_bit`` is set in every number of x32 and 0 elsewhere.
    ``aliases`` are the other names people write. Two values of the same name never exist: compare with ``is`` or ``==``.
    """

    __slots__ = (
        "_calls",
        "_companions",
        "_names",
        "_retired",
        "_synonyms",
        "_table",
        "aliases",
        "bits",
        "byteorder",
        "name",
        "token",
        "token_name",
        "x32_bit",
    )

    def __init__(self, name: str, token: int, token_name: str, table: str, aliases: str, companions: str = "", *, bits: int = 0) -> None:
        self.name = name
        self.token = token
        self.token_name = token_name
        self.bits = bits or (64 if token & _64BIT else 32)
        self.byteorder: Literal["little", "big"] = "little" if token & _LE else "big"
        self.x32_bit = X32_BIT if name == "x32" else 0
        self.aliases = tuple(aliases.split())
        self._table = table
        self._companions = tuple(companions.split())
        self._calls: dict[str, int] | None = None
        self._names: dict[int, str] = {}
        self._retired: frozenset[str] = frozenset()
        self._synonyms: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Architecture {self.name}>"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[object, ...]:
        return arch, (self.name,)

    def _load(self) -> dict[str, int]:
        """Read this architecture's table.

        A table is text: a line is a number and the names from there on, ``!`` after those that no current kernel has.
        """
        module = __import__(f"seclude.abi.numbers.{self._table}", fromlist=["TABLE"])
        calls: dict[str, int] = {}
        retired = []
        for line in module.TABLE.split("\n"):
            words = line.split()
            if not words:
                continue
            number = int(words[0]) | self.x32_bit
            for word in words[1:]:
                if word[-1] == "!":
                    word = word[:-1]
                    retired.append(word)
                calls[word] = number
                number += 1
        self._names = {number: name for name, number in calls.items()}
        self._retired = frozenset(retired)
        self._synonyms = module.SYNONYMS
        self._calls = calls
        return calls

    def calls(self) -> Mapping[str, int]:
        """Every call of the table, name to number: current, retired and private ones; x32's with bit 30 set. Read-only."""
        return _View(self._calls if self._calls is not None else self._load())

    def number(self, name: str) -> int | None:
        """The number of the call ``name``, or None where this architecture has no such call. Synonyms are understood."""
        calls = self._calls if self._calls is not None else self._load()
        return calls.get(self._synonyms.get(name, name))

    def call_name(self, number: int) -> str | None:
        """The name of the call with ``number`` (of x32: with bit 30 set), or None where the table names none."""
        if self._calls is None:
            self._load()
        return self._names.get(number)

    @property
    def highest(self) -> int:
        """The highest number that the table names, private ones (arm's 0xf0000 and up) apart; of x32 with bit 30 set."""
        if self._calls is None:
            self._load()
        limit = 0xF0000 | self.x32_bit
        return max(number for number in self._names if number < limit)

    @property
    def retired(self) -> frozenset[str]:
        """Names in the table that current kernels answer with ENOSYS alone: removed, or reserved and never built.

        They stay in the table, since the number still means that call, to an old kernel and to a reader. s390 is judged
        by Linux 6.18, the last that ran 31-bit programs.
        """
        if self._calls is None:
            self._load()
        return self._retired

    @property
    def synonyms(self) -> Mapping[str, str]:
        """Second names of a number (arm's ``arm_sync_file_range``) to the name that `call_name` gives."""
        if self._calls is None:
            self._load()
        return _View(self._synonyms)

    @property
    def multiplexers(self) -> tuple[str, ...]:
        """Those of socketcall and ipc that this architecture has."""
        calls = self.calls()
        return tuple(name for name in _MULTIPLEXERS if name in calls)


#: the names of all architectures, in the order in which they are listed everywhere
ALL: tuple[Architecture, ...] = (
    Architecture("x86", 3 | _LE, "AUDIT_ARCH_I386", "x86", "i386 i486 i586 i686 ia32 x86_32 386"),
    Architecture("x86_64", 62 | _64BIT | _LE, "AUDIT_ARCH_X86_64", "x86_64", "amd64 x64", "x86"),
    Architecture("x32", 62 | _64BIT | _LE, "AUDIT_ARCH_X86_64", "x32", "amd64p32 gnux32", "x86", bits=32),
    Architecture("arm", 40 | _LE, "AUDIT_ARCH_ARM", "arm", "armel armhf armeabi armv5l armv5tel armv5tejl armv6 armv6l armv7 armv7l armv8l arm/v5 arm/v6 arm/v7"),
    Architecture("aarch64", 183 | _64BIT | _LE, "AUDIT_ARCH_AARCH64", "aarch64", "arm64 armv8 arm64/v8", "arm"),
    Architecture("loongarch64", 258 | _64BIT | _LE, "AUDIT_ARCH_LOONGARCH64", "loongarch64", "loong64"),
    Architecture("m68k", 4, "AUDIT_ARCH_M68K", "m68k", "68k m68000"),
    Architecture("mips", 8, "AUDIT_ARCH_MIPS", "mips", "mipsbe mips32 mipso32"),
    Architecture("mips64", 8 | _64BIT, "AUDIT_ARCH_MIPS64", "mips64", "mips64be mips64n64", "mips mips64n32"),
    Architecture("mips64n32", 8 | _64BIT | _N32, "AUDIT_ARCH_MIPS64N32", "mips64n32", "mipsn32 mips64_n32 mips64p32", "", bits=32),
    Architecture("mipsel", 8 | _LE, "AUDIT_ARCH_MIPSEL", "mips", "mipsle mips_le mips32el mipso32el"),
    Architecture("mipsel64", 8 | _64BIT | _LE, "AUDIT_ARCH_MIPSEL64", "mips64", "mips64el mips64le mips64_le", "mipsel mipsel64n32"),
    Architecture("mipsel64n32", 8 | _64BIT | _LE | _N32, "AUDIT_ARCH_MIPSEL64N32", "mips64n32", "mipsn32el mips64el_n32 mips64p32le mips64_le_n32 mips64eln32", "", bits=32),
    Architecture("parisc", 15, "AUDIT_ARCH_PARISC", "parisc", "hppa hppa1.1 hppa2.0 parisc32"),
    Architecture("parisc64", 15 | _64BIT, "AUDIT_ARCH_PARISC64", "parisc64", "hppa64", "parisc"),
    Architecture("ppc", 20, "AUDIT_ARCH_PPC", "ppc", "powerpc ppc32 powerpc32"),
    Architecture("ppc64", 21 | _64BIT, "AUDIT_ARCH_PPC64", "ppc64", "powerpc64", "ppc"),
    Architecture("ppc64le", 21 | _64BIT | _LE, "AUDIT_ARCH_PPC64LE", "ppc64", "ppc64el ppc64_le powerpc64le powerpc64el"),
    Architecture("riscv64", 243 | _64BIT | _LE, "AUDIT_ARCH_RISCV64", "riscv64", "rv64 riscv64gc"),
    Architecture("s390", 22, "AUDIT_ARCH_S390", "s390", "s390_31"),
    Architecture("s390x", 22 | _64BIT, "AUDIT_ARCH_S390X", "s390x", "s390_64", "s390"),
    # The kernel's SH is big endian without a suffix (AUDIT_ARCH_SH), the distributions' and libseccomp's is the common little one.
    Architecture("sh", 42 | _LE, "AUDIT_ARCH_SHEL", "sh", "shel sh4 sh4a sh3"),
    Architecture("sheb", 42, "AUDIT_ARCH_SH", "sh", "sh4eb sh3eb sh4aeb"),
)  # fmt: skip
ARCHITECTURES: tuple[str, ...] = tuple(one.name for one in ALL)

_BY_NAME: dict[str, Architecture] = {}


def _index() -> dict[str, Architecture]:
    names = {one.token_name.lower(): one for one in reversed(ALL)}  # x86_64 stands before x32, so that it gets the token they share
    for one in ALL:
        for name in (one.name, "scmp_arch_" + one.name, *one.aliases):
            names[name.replace("-", "_")] = one
    _BY_NAME.update(names)  # all at once: another thread may be looking already
    return _BY_NAME


def arch(name: str | int | Architecture) -> Architecture:
    """The architecture that ``name`` means: its name, an alias, a token, a token's name, or ``"native"``.

    Case does not matter, ``-`` and ``_`` are one, and a leading ``linux/`` (as container platforms are written) is
    dropped. A token that x86_64 and x32 share means x86_64. Raises `UsageError`, with the nearest name.
    """
    if isinstance(name, Architecture):
        return name
    if isinstance(name, int):
        found = by_token(name)
        if not found:
            raise UsageError(f"no architecture has the audit token {name:#x}", f"known: {', '.join(ARCHITECTURES)}")
        return found[0]
    word = name.strip().lower().removeprefix("linux/").replace("-", "_")
    one = (_BY_NAME or _index()).get(word)
    if one is not None:
        return one
    if word == "native":
        return native()
    if word.startswith("0x"):
        try:
            return arch(int(word, 16))
        except ValueError:
            pass
    guess = nearest(word, _BY_NAME)
    raise UsageError(
        f"unknown architecture {name!r}" + (f"; did you mean {_BY_NAME[guess].name!r}?" if guess else ""),
        f"known: {', '.join(ARCHITECTURES)}",
    )


def by_token(token: int) -> tuple[Architecture, ...]:
    """The architectures that run under the audit token: one, or x86_64 and x32, or none where the token is unknown."""
    return tuple(one for one in ALL if one.token == token)


def companions(of: str | int | Architecture) -> tuple[Architecture, ...]:
    """The 32-bit architectures whose programs a 64-bit kernel runs beside its own; x32 is never implied.

    ppc64le has none that a filter could name: the kernel reports EM_PPC with the little-endian flag, a token that
    linux/audit.h leaves undefined on purpose.
    """
    return tuple(arch(name) for name in arch(of)._companions)


# e_machine, ELF class → architectures; byte order decides between the candidates (elf(5), linux/elf-em.h)
_ELF: dict[tuple[int, int], tuple[str, ...]] = {
    (3, 1): ("x86",), (62, 2): ("x86_64",), (62, 1): ("x32",), (40, 1): ("arm",), (183, 2): ("aarch64",), (258, 2): ("loongarch64",),
    (4, 1): ("m68k",), (8, 1): ("mips", "mipsel"), (8, 2): ("mips64", "mipsel64"), (15, 1): ("parisc",), (15, 2): ("parisc64",),
    (20, 1): ("ppc",), (21, 2): ("ppc64", "ppc64le"), (243, 2): ("riscv64",), (22, 1): ("s390",), (22, 2): ("s390x",), (42, 1): ("sh", "sheb"),
}  # fmt: skip
_EF_MIPS_ABI2 = 0x20  # e_flags of an n32 object (asm/elf.h of mips)


def elf_architecture(header: bytes) -> Architecture | None:
    """The architecture of a program from the first 52 bytes of its ELF file, or None where it is none of the 23."""
    if len(header) < 52 or header[:4] != b"\x7fELF" or header[4] not in (1, 2) or header[5] not in (1, 2):
        return None
    order: Literal["little", "big"] = "little" if header[5] == 1 else "big"
    bits = header[4]
    machine = int.from_bytes(header[18:20], order)
    flags_at = 36 if bits == 1 else 48
    names = _ELF.get((machine, bits), ())
    if machine == 8 and bits == 1 and int.from_bytes(header[flags_at : flags_at + 4], order) & _EF_MIPS_ABI2:
        names = ("mips64n32", "mipsel64n32")
    for name in names:
        one = arch(name)
        if one.byteorder == order:
            return one
    return None


_NATIVE: Architecture | None = None


def native() -> Architecture:
    """The architecture of this process, which a 32-bit Python on a 64-bit kernel does not share with `os.uname`.

    Read from the ELF header of the running program, since neither the machine's name nor the size of a pointer tells x32
    from x86 or n32 from o32; where /proc is missing, from ``uname -m``, the size of a pointer and the byte order. Raises
    `UsageError` where this is none of the 23.
    """
    global _NATIVE
    if _NATIVE is None:
        _NATIVE = _from_program() or _from_machine()
    return _NATIVE


def _from_program() -> Architecture | None:
    try:
        with open("/proc/self/exe", "rb", buffering=0) as file:
            return elf_architecture(file.read(64))
    except OSError:
        return None


def _from_machine() -> Architecture:
    import os

    machine = os.uname().machine if hasattr(os, "uname") else ""
    bits = 64 if sys.maxsize > 1 << 32 else 32
    return machine_architecture(machine, bits, sys.byteorder)


def machine_architecture(machine: str, bits: int, byteorder: str) -> Architecture:
    """The architecture of a process with pointers of ``bits`` on a kernel whose ``uname -m`` is ``machine``."""
    try:
        one = arch(machine)
    except UsageError:
        one = None
    family = (one, *companions(one), *(other for other in ALL if other.name == _OTHER_ORDER.get(one.name))) if one else ()
    wider = tuple(c for member in family for c in (member, *companions(member)))
    for member in wider:
        if member.bits == bits and member.byteorder == byteorder:
            return member
    raise UsageError(
        f"this machine ({machine or 'unknown'}, {bits} bits, {byteorder} endian) is no architecture that seccomp filters know here",
        f"name one: {', '.join(ARCHITECTURES)}",
    )


# uname -m says "mips", "mips64", "ppc64", "sh4" of both byte orders or only of one
_OTHER_ORDER = {"mips": "mipsel", "mips64": "mipsel64", "ppc64": "ppc64le", "sh": "sheb"}
