"""What benchmarks share: rounds in which each way has its turn, so that a slow moment of the machine hits all alike; the processors; C programs; tables."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["beside_c", "c_program", "interleaved", "medians", "milliseconds", "seconds", "table"]


def interleaved(ways: Mapping[str, Callable[[], float]], rounds: int, *, warm: bool = False) -> dict[str, list[float]]:
    """``rounds`` measurements of each way, one of each after another. ``warm``: after a round that only fills caches."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + warm):
        for way, measure in ways.items():
            took = measure()
            if number >= warm:
                times[way].append(took)
    return times


def medians(ways: Mapping[str, Callable[[], float]], rounds: int, *, warm: bool = False) -> dict[str, float]:
    """The medians of `interleaved`."""
    return {way: statistics.median(found) for way, found in interleaved(ways, rounds, warm=warm).items()}


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """The median of what ``work`` takes, in milliseconds of process time."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def seconds(command: Sequence[str], cwd: Path | None = None) -> float:
    """What a command takes from start to end, on the clock."""
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def beside_c(who: str, ways: Sequence[str], measure: Callable[[str, tuple[int, int]], float], rounds: int) -> None:
    """Print a table of nanoseconds a call, for a target and what supervises it on one processor, and on one each; the first way is C's, and what others are held to.

    ``measure``: a way, and the processors of the target and its supervisor.
    """
    cpus = sorted(os.sched_getaffinity(0))
    pairs = {"one CPU": (cpus[0], cpus[0])}
    if len(cpus) > 1:
        pairs["two CPUs"] = (cpus[0], cpus[1])
    print(f"{'':12}{who:>12}{'ns a call':>12}{'calls/s':>12}{'of C':>8}")
    for where, pair in pairs.items():
        middle = medians({way: partial(measure, way, pair) for way in ways}, rounds)
        for way in ways:
            print(f"{where:12}{way:>12}{middle[way]:12.0f}{1e9 / middle[way]:12.0f}{middle[ways[0]] / middle[way]:8.2f}")


def c_program(script: Path, place: str) -> str:
    """The C program beside a benchmark's script, compiled."""
    path = f"{place}/{script.stem}"
    subprocess.run(["gcc", "-O2", "-o", path, str(script.with_suffix(".c"))], check=True)
    return path


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows under a head, numbers to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, tuple("-" * width for width in widths), *rows]:
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip())
    print()
