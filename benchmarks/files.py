"""What brokered files cost: one call on a path, and calls that no broker sees, as they are, in a run, and in a run with --read.

The same C program each time (benchmarks/files.c), the three ways interleaved, medians shown. "open" includes the close, which no broker sees. The target and its supervisor share
one CPU, or run where the kernel puts them: to wake a process on another CPU can cost more than all the rest, and an open that is given to the target wakes twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measuring import c_program, medians

TIMES = int(os.environ.get("CALLS", "10000"))
ROUNDS = int(os.environ.get("ROUNDS", "7"))
TARGET = 45.0  # microseconds of a brokered open
HERE = Path(__file__).resolve()
WAYS = ("as it is", "seclude run", "with --read")
CALLS = ("open", "stat", "missing", "pread", "getppid")


def measure(program: str, place: str, call: str, way: str) -> float:
    """Microseconds a call."""
    command = [program, call, f"{place}/file", str(TIMES if call in CALLS[:3] else 20 * TIMES)]
    run = [sys.executable, "-m", "seclude", "run", "--report", "none"]
    before = {"as it is": [], "seclude run": [*run, "--"], "with --read": [*run, "--read", place, "--"]}[way]
    done = subprocess.run([*before, *command], cwd=place, stdout=subprocess.PIPE, check=True)
    return float(done.stdout) / 1000


def table(program: str, place: str, where: str) -> None:
    """Measure and print one table."""
    print(f"{where:10}" + "".join(f"{way:>14}" for way in WAYS))
    for call in CALLS:
        middle = medians({way: partial(measure, program, place, call, way) for way in WAYS}, ROUNDS)
        print(f"{call:10}" + "".join(f"{middle[way]:14.3f}" for way in WAYS))


def main() -> None:
    cpus = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as place:
        program = c_program(HERE, place)
        Path(place, "file").write_text("a line\n")
        print(f"Calls of a target whose files are brokered, in microseconds; median of {ROUNDS}; target: open within {TARGET:g}")
        os.sched_setaffinity(0, {min(cpus)})
        table(program, place, "one CPU")
        os.sched_setaffinity(0, cpus)
        if len(cpus) > 1:
            table(program, place, "any CPU")


if __name__ == "__main__":
    main()
