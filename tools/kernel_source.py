"""System call tables out of a kernel source tree: the third source, for review.

    python -m tools.kernel_source DIRECTORY    compare our tables with that kernel's syscall.tbl files

Debian's linux-source-6.1 is such a tree. Prints, per table, every number or name on which the two disagree, and every
name that only one of them takes for retired; what was added later than that kernel is left out. A retired call is one
that has no entry point of its own there, or sys_ni_syscall.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools import make_syscall_numbers, make_syscall_versions, syscall_review

__all__ = ["TABLES", "read_tbl"]

#: table → (file below arch/, the ABIs whose rows it is made of)
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "x86": ("x86/entry/syscalls/syscall_32.tbl", ("i386",)),
    "x86_64": ("x86/entry/syscalls/syscall_64.tbl", ("common", "64")),
    "x32": ("x86/entry/syscalls/syscall_64.tbl", ("common", "x32")),
    "arm": ("arm/tools/syscall.tbl", ("common", "eabi")),
    "m68k": ("m68k/kernel/syscalls/syscall.tbl", ("common",)),
    "mips": ("mips/kernel/syscalls/syscall_o32.tbl", ("o32",)),
    "mips64": ("mips/kernel/syscalls/syscall_n64.tbl", ("n64",)),
    "mips64n32": ("mips/kernel/syscalls/syscall_n32.tbl", ("n32",)),
    "parisc": ("parisc/kernel/syscalls/syscall.tbl", ("common", "32")),
    "parisc64": ("parisc/kernel/syscalls/syscall.tbl", ("common", "64")),
    "ppc": ("powerpc/kernel/syscalls/syscall.tbl", ("common", "nospu", "32")),
    "ppc64": ("powerpc/kernel/syscalls/syscall.tbl", ("common", "nospu", "64")),
    "s390": ("s390/kernel/syscalls/syscall.tbl", ("common", "32")),
    "s390x": ("s390/kernel/syscalls/syscall.tbl", ("common", "64")),
    "sh": ("sh/kernel/syscalls/syscall.tbl", ("common",)),
}
BASE = {"mips": 4000, "mips64": 5000, "mips64n32": 6000}


def read_tbl(tree: Path, table: str) -> tuple[dict[int, str], set[str]]:
    """Number → name, and the names without an entry point, of one syscall.tbl."""
    file, abis = TABLES[table]
    calls = {}
    retired = set()
    for line in (tree / "arch" / file).read_text().splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 3 or words[1] not in abis or words[2].startswith(("unused", "reserved")):
            continue
        calls[int(words[0]) + BASE.get(table, 0)] = words[2]
        # s390 has the 64-bit entry first and the 31-bit one after it, and "-" for none.
        entries = words[4:5] if table == "s390" else words[3:4]
        if not entries or entries[0] in ("-", "sys_ni_syscall"):
            retired.add(words[2])
    return calls, retired


def main() -> int:
    tree = Path(sys.argv[1])
    for table in TABLES:
        calls, retired = read_tbl(tree, table)
        ours, our_retired, synonyms = make_syscall_numbers.merge(table)
        for number in sorted(calls.keys() | ours.keys()):
            there, here = calls.get(number), ours.get(number)
            there = synonyms.get(there or "", there)
            if there != here and not (there is None and here is not None and _later(here, table)):
                print(f"{table}: {number} is {here} here, {there} there")
        for name in sorted(retired ^ our_retired):
            print(f"{table}: {name} is retired only {'there' if name in retired else 'here'}")
    return 0


def _later(name: str, table: str) -> bool:
    version = syscall_review.LATER.get((name, table)) or make_syscall_versions.versions().get(name, "0")
    return make_syscall_versions.key(version) > (6, 1)


if __name__ == "__main__":
    sys.exit(main())
