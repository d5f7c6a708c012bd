"""What watching costs: the build of a small C program under ``seclude run --trace`` and under strace, in turn, on this machine.

Also what each call costs in a program that makes nothing but calls. Needs gcc and strace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measuring import medians, seconds, table

ROUNDS = int(os.environ.get("ROUNDS", "9"))
FILES = 6
LOOP = '#include <unistd.h>\n#include <sys/stat.h>\nint main(void) { struct stat s; for (int i = 0; i < 20000; i++) stat("/etc/passwd", &s); return 0; }\n'
SOURCE = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n#include <sys/socket.h>\nint f%d(int n) { char b[99]; snprintf(b, 99, \"%%d\", n); return atoi(b) + (int)strlen(b); }\n"  # fmt: skip


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
            commands = {
                "alone": command,
                "strace -f --seccomp-bpf -e openat": [*theirs, "--seccomp-bpf", "-e", "openat", *command],
                "seclude run --trace openat": [*ours, "--trace", "openat", "--", *command],
                "strace -f": [*theirs, *command],
                "seclude run --trace all": [*ours, "--trace", "all", "--", *command],
            }
            found = medians({name: partial(seconds, words, place) for name, words in commands.items()}, ROUNDS, warm=True)
            alone = found["alone"]
            table(
                (title, "seconds", "slowdown"),
                [(name, f"{took:.3f}", f"{took / alone:.2f}") for name, took in found.items()],
            )
            names = list(found)
            for one, other, most in ((2, 1, 1.5), (4, 3, 2.0)):
                print(f"{names[one]} over {names[other]}: {found[names[one]] / found[names[other]]:.2f} (aim: at most {most})")
            print()


if __name__ == "__main__":
    main()
