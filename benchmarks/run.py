"""What `make bench` runs: start-up and compile times on this machine, as two tables.

Times are facts about a machine, not about the code: no test asserts them.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import seclude

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measuring import interleaved, seconds, table

TARGET = 45.0
BIN = Path(sys.executable).parent
ROUNDS = int(os.environ.get("ROUNDS", "25"))

# The same list of calls, all allowed, through libseccomp's Python bindings, which Debian has for its own python3 only.
LIBSECCOMP = """
import json, sys, tempfile, time
import seccomp
names = json.load(sys.stdin)
times = []
for _ in range(int(sys.argv[1])):
    start = time.perf_counter()
    f = seccomp.SyscallFilter(seccomp.ERRNO(1))
    for name in names:
        try:
            f.add_rule(seccomp.ALLOW, name)
        except (RuntimeError, ValueError):
            pass
    with tempfile.TemporaryFile() as out:
        f.export_bpf(out)
        times.append(time.perf_counter() - start)
        size = out.seek(0, 2) // 8
json.dump([times, size], sys.stdout)
"""


def start_up() -> None:
    """How long until a program runs, and has ended, under a policy."""
    command = str(BIN / "seclude")
    bare = "python -I -S -c pass"
    commands = {
        bare: [sys.executable, "-I", "-S", "-c", "pass"],
        "/bin/true": ["/bin/true"],
        "seclude --version": [command, "--version"],
        "seclude run -- /bin/true": [command, "run", "--", "/bin/true"],
        "seclude run --no-report -- /bin/true": [command, "run", "--no-report", "--", "/bin/true"],
    }
    times = interleaved({name: partial(seconds, words) for name, words in commands.items()}, ROUNDS, warm=True)
    medians = {name: 1000 * statistics.median(values) for name, values in times.items()}
    table(
        (f"start-up, ms (median of {ROUNDS})", "median", "best", "over bare"),
        [
            (name, f"{medians[name]:.1f}", f"{1000 * min(values):.1f}", f"{medians[name] - medians[bare]:+.1f}")
            for name, values in times.items()
        ],
    )
    over = medians["seclude run -- /bin/true"] - medians[bare]
    print(f"target: seclude run within {TARGET:g} ms of a bare Python: {'met' if over <= TARGET else 'MISSED'} ({over:.1f} ms)\n")


def compiling() -> None:
    """How long text to proven filter takes, and how large the filter is."""
    rows = []
    for name in seclude.PRESETS:
        times = []
        for number in range(6):
            start = time.perf_counter()
            compiled = seclude.compile(seclude.load(name))
            if number:
                times.append((time.perf_counter() - start) * 1000)
        rows.append((name, f"{statistics.median(times):.1f}", str(len(compiled.program))))
    table(("compile a preset, warm", "ms", "instructions"), rows)


def against_libseccomp() -> None:
    """The names of the container preset, all allowed unconditionally, compiled by both."""
    from seclude import abi

    python = "/usr/bin/python3"
    if not os.path.exists(python) or subprocess.run([python, "-c", "import seccomp"], capture_output=True, check=False).returncode:
        print("not compared with libseccomp: apt-get install python3-seccomp")
        return
    names = sorted(abi.native().calls())[:300]
    done = subprocess.run([python, "-c", LIBSECCOMP, "7"], input=json.dumps(names), capture_output=True, text=True, check=True)
    theirs, size = json.loads(done.stdout)
    text = "default errno(EPERM)\nallow " + ", ".join(names) + "\n"
    ours = []
    for number in range(8):
        start = time.perf_counter()
        compiled = seclude.compile(seclude.parse(text))
        if number:
            ours.append(time.perf_counter() - start)
    table(
        (f"{len(names)} calls allowed by name", "ms", "instructions"),
        [
            ("seclude: parse, compile, prove", f"{statistics.median(ours) * 1000:.1f}", str(len(compiled.program))),
            ("libseccomp: add_rule, export_bpf", f"{statistics.median(theirs) * 1000:.1f}", str(size)),
        ],
    )


def main() -> None:
    """Print every table."""
    print(
        f"seclude {seclude.__version__}, Python {platform.python_version()}, Linux {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs\n"
    )
    start_up()
    compiling()
    against_libseccomp()


if __name__ == "__main__":
    main()
