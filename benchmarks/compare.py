"""Comparing filters: what each operation on two of libseccomp's filters for Docker's profile takes, in milliseconds of process time.

    python benchmarks/compare.py

The two differ in the rules for ptrace. Reading, difference and its witnesses, typed view, bypasses, stack, decompiling; medians of `ROUNDS`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.measuring import milliseconds  # noqa: E402

from bench_support import DOCKER  # noqa: E402
from seclude.abi import native  # noqa: E402
from seclude.bpf import Program  # noqa: E402
from seclude.decision import bypass, calls_of, changes, decompile, difference, from_program, permitted, restrict, stack, subset, typed  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = int(os.environ.get("ROUNDS", "15"))


def main() -> int:
    """Print the table."""
    rules = [
        [action, name, native().number(name), [[i, op, *([v, w] if op == "MASKED_EQ" else [v])] for i, op, v, w in conditions]]
        for action, name, conditions in DOCKER["rules"]
    ]
    done = subprocess.run(
        ["/usr/bin/python3", str(Path(__file__).with_name("by_libseccomp.py"))],
        input=json.dumps({"rounds": 1, "policies": {"docker": {"default": 1, "archs": ["X86", "X32"], "rules": rules}}}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print("needs libseccomp's Python binding: apt-get install python3-seccomp")
        return 1
    made = json.loads(done.stdout)
    print(f"libseccomp {made['version']}; medians of {ROUNDS}, milliseconds of process time")
    programs = [Program.from_bytes(bytes.fromhex(raw)) for raw in made["filters"]["docker"]]
    a = from_program(programs[1])
    three = calls_of("x86_64", "ptrace") | calls_of("x86", "ptrace") | calls_of("x32", "ptrace")
    b = restrict(a, ~three, 0x50001)
    rows: dict[str, Callable[[], object]] = {
        f"read O1, {len(programs[0])} instructions": lambda: from_program(programs[0]),
        f"read O2, {len(programs[1])} instructions": lambda: from_program(programs[1]),
        "difference": lambda: difference(a, b),
        "difference with witnesses": lambda: changes(difference(a, b)),
        "subset": lambda: subset(b, a),
        "stack": lambda: stack(a, b),
        "count of permitted calls": lambda: permitted(a).count(),
        "typed view": lambda: typed(a),
        "bypasses": lambda: bypass(a),
        "decompile, proven": lambda: decompile(a),
    }
    for name, work in rows.items():
        work()  # warms tables
        print(f"{name:32} {milliseconds(work, ROUNDS):8.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
