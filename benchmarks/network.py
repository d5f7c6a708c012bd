"""What brokered addresses cost: calls with an address, and calls on connected sockets that no broker sees.

The same C program each time (benchmarks/network.c), the three ways interleaved, medians shown. "sendmsg" goes over a pair of sockets and includes the receiving.
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

TIMES = int(os.environ.get("CALLS", "3000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
HERE = Path(__file__).resolve()
WAYS = ("as it is", "seclude run", "with --connect")
CALLS = ("connect", "sendto", "sendmsg", "send")


def measure(program: str, call: str, way: str) -> float:
    """Microseconds a call."""
    command = [program, call, str(20 * TIMES if call == "send" else TIMES)]
    run = [sys.executable, "-m", "seclude", "run", "--report", "none"]
    open_network = ["--allow", "socket(domain == AF_INET)"]
    before = {"as it is": [], "seclude run": [*run, *open_network, "--"], "with --connect": [*run, "--connect", "127.0.0.1:9", "--"]}[way]
    done = subprocess.run([*before, *command], stdout=subprocess.PIPE, check=True)
    return float(done.stdout) / 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        program = c_program(HERE, place)
        print(f"Calls of a target whose addresses are brokered, in microseconds; median of {ROUNDS}")
        print(f"{'':10}" + "".join(f"{way:>16}" for way in WAYS))
        for call in CALLS:
            middle = medians({way: partial(measure, program, call, way) for way in WAYS}, ROUNDS)
            print(f"{call:10}" + "".join(f"{middle[way]:16.3f}" for way in WAYS))


if __name__ == "__main__":
    main()
