"""What watching costs: the build of a small C program under ``seclude run --trace`` and under strace, in turn, on this machine.

Also what each call costs in a program that makes nothing but calls. Needs gcc and strace.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print rows under a head, numbers to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(w) if at == 0 else cell.rjust(w) for at, (cell, w) in enumerate(zip(row, widths, strict=True))))
    print()


ROUNDS = int(os.environ.get("ROUNDS", "9"))
FILES = 6
LOOP = '#include <unistd.h>\n#include <sys/stat.h>\nint main(void) { struct stat s; for (int i = 0; i < 20000; i++) stat("/etc/passwd", &s); return 0; }\n'
SOURCE = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n#include <sys/socket.h>\nint f%d(int n) { char b[99]; snprintf(b, 99, \"%%d\", n); return atoi(b) + (int)strlen(b); }\n"  # fmt: skip


def timed(command: list[str], where: Path) -> float:
    """Seconds from start to end."""
    start = time.perf_counter()
    subprocess.run(command, cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def measure(commands: dict[str, list[str]], where: Path) -> dict[str, float]:
    """The median of each, measured in turn after one round that warms the caches."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(ROUNDS + 1):
        for name, command in commands.items():
            took = timed(command, where)
            if number:
                times[name].append(took)
    return {name: statistics.median(all_) for name, all_ in times.items()}


def main() -> None:
    """Both tables."""
    gcc, strace = shutil.which("gcc"), shutil.which("strace")
    if gcc is None or strace is None:
        sys.exit("benchmarks/trace.py needs gcc and strace: apt-get install gcc strace")
    seclude = [sys.executable, "-m", "seclude"] if not (own := Path(sys.executable).parent / "seclude").exists() else [str(own)]
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for number in range(FILES):
            (place / f"f{number}.c").write_text(SOURCE % number)
        (place / "main.c").write_text("int main(void) { return 0; }\n")
        (place / "loop.c").write_text(LOOP)
        (place / "p.seclude").write_text("default allow\narch native, compat\nerrno(EPERM) ptrace\n")
        (place / "build").write_text(
            "".join(f"gcc -O1 -c {name}.c -o {name}.o\n" for name in [*(f"f{number}" for number in range(FILES)), "main"])
            + "gcc -o program *.o\n"
        )
        subprocess.run([gcc, "-O1", "loop.c", "-o", "loop"], cwd=place, check=True)
        ours = [*seclude, "run", "--policy", "./p.seclude", "--report", "none", "--trace-file", "out"]
        theirs = [strace, "-f", "-o", "out"]
        for title, command in (("a build of a C program", ["sh", "build"]), ("20,000 calls of stat", ["./loop"])):
            found = measure(
                {
                    "alone": command,
                    "strace -f --seccomp-bpf -e openat": [*theirs, "--seccomp-bpf", "-e", "openat", *command],
                    "seclude run --trace openat": [*ours, "--trace", "openat", "--", *command],
                    "strace -f": [*theirs, *command],
                    "seclude run --trace all": [*ours, "--trace", "all", "--", *command],
                },
                place,
            )
            alone = found["alone"]
            table(
                (title, "seconds", "slowdown"),
                [(name, f"{seconds:.3f}", f"{seconds / alone:.2f}") for name, seconds in found.items()],
            )
            names = list(found)
            for one, other, most in ((2, 1, 1.5), (4, 3, 2.0)):
                print(f"{names[one]} over {names[other]}: {found[names[one]] / found[names[other]]:.2f} (aim: at most {most})")
            print()


if __name__ == "__main__":
    main()
