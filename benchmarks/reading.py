"""What `make bench` runs for reading filters: listings and emulation, with the numbers they are held to.

Each time is the best of several, in this process and without start-up, since a slow moment of the machine can only add.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bench_support import docker
from seclude.analysis.lint import lint
from seclude.analysis.listing import annotated
from seclude.analysis.source import source_of
from seclude.bpf import Program, pack_data, run, validate
from seclude.decision import from_policy

if TYPE_CHECKING:
    from collections.abc import Callable

X86_64 = 0xC000003E
ALLOW = 0x7FFF0000


def best(work: Callable[[], object], rounds: int = 15) -> float:
    """Seconds of the quickest of ``rounds`` runs."""
    shortest = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def largest() -> Program:
    """4096 instructions, as many as the kernel takes: calls with a mask and two comparisons of an argument each, all of them reachable."""
    lines = [(0x20, 0, 0, 4), (0x15, 1, 0, X86_64), (0x06, 0, 0, 0), (0x20, 0, 0, 0)]
    while len(lines) < 4088:
        number = len(lines) % 400
        lines += [(0x15, 0, 6, number), (0x20, 0, 0, 16 + number % 6 * 8), (0x15, 3, 0, number), (0x54, 0, 0, 0xFF), (0x15, 1, 0, 3)]
        lines += [(0x06, 0, 0, 0x50001), (0x06, 0, 0, ALLOW)]
    lines += [(0x06, 0, 0, ALLOW)] * (4096 - len(lines))
    return Program(lines, "little")


def diamonds(count: int) -> Program:
    """``count`` branches that meet again at once: 2 to the power of ``count`` ways, and no more than three instructions each."""
    lines = [line for number in range(count) for line in ((0x20, 0, 0, 16), (0x15, 0, 1, number), (0x04, 0, 0, 1))]
    return Program([*lines, (0x06, 0, 0, ALLOW)], "little")


def command(*words: str) -> float:
    """Milliseconds of ``seclude WORDS``."""
    line = [sys.executable, "-m", "seclude", *words]
    return 1000 * best(lambda: subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True), 7)


def main() -> None:
    """Print one line a number: what was measured, and what it should be."""
    raw = largest().to_bytes()
    small = diamonds(16)

    def read() -> None:
        source = source_of(raw, "filter")
        annotated(source.program, findings=validate(source.program))

    to_socket = [(0x20, 0, 0, 4), (0x15, 0, 6, X86_64), (0x20, 0, 0, 0), (0x15, 4, 0, 0), (0x15, 0, 3, 41)]
    eight = Program([*to_socket, (0x20, 0, 0, 16), (0x15, 0, 1, 2), (0x06, 0, 0, ALLOW), (0x06, 0, 0, 0)], "little")
    words = pack_data(41, X86_64, 0, (2,))
    assert run(eight, words) == (ALLOW, 8)

    def evaluate() -> None:
        for _ in range(10_000):
            run(eight, words)

    with tempfile.NamedTemporaryFile(suffix=".bpf") as large, tempfile.NamedTemporaryFile(suffix=".bpf") as tiny:
        large.write(raw)
        large.flush()
        tiny.write(eight.to_bytes())
        tiny.flush()
        start_up = command("disasm", tiny.name)
        whole = command("disasm", large.name)
    listing, little, emulation = 1000 * best(read), 1000 * best(lambda: annotated(small)), best(evaluate)
    decision = from_policy(docker())
    once, again = 1000 * best(lambda: lint(decision), 1), 1000 * best(lambda: lint(decision))
    rows = [
        ("disasm of 4096 instructions, in process, ms", f"{listing:.1f}", "<= 60"),
        ("the command, over its own start-up, ms", f"{whole - start_up:.1f}", "<= 60"),
        ("the command's start-up, ms", f"{start_up:.1f}", ""),
        ("disasm of 16 diamonds, ms", f"{little:.2f}", "<= 5"),
        ("lint of docker.json, three ABIs, 40 rules, ms", f"{again:.1f}", "<= 100"),
        ("the same with the tables still to be read, ms", f"{once:.1f}", ""),
        ("emulation, executed instructions a second", f"{80_000 / emulation:,.0f}", ">= 500,000"),
        ("emulation, evaluations of 8 instructions a second", f"{10_000 / emulation:,.0f}", ">= 100,000"),
    ]
    for what, measured, target in rows:
        print(f"{what:52}{measured:>12}  {target}".rstrip())


if __name__ == "__main__":
    main()
