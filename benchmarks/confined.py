"""What a confined call costs: in a reused worker, in a pre-warmed one that is used once, and in one that is made for it; peers in the same run.

Measurements are interleaved (one of each, again and again). The host has one thread; the machine's scheduler decides much of what is measured here, since each
call is two processes that wait for each other: ``a pipe there and back`` is that alone, with no confinement and nothing but one byte.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import seclude

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = int(os.environ.get("ROUNDS", "200"))
TARGETS = {"reused worker": 0.040, "pre-warmed, used once": 0.5, "made for the call, over fork": 2.0}


def add(a: int, b: int) -> int:
    """The function."""
    return a + b


#: the same function, decorated twice: workers import this module and look these names up
@seclude.confined("compute", reuse=True)
def reused(a: int, b: int) -> int:
    """In a worker that is kept."""
    return a + b


@seclude.confined("compute")
def once(a: int, b: int) -> int:
    """In a worker that is ready, and used once."""
    return a + b


@seclude.confined("compute")
def cold(a: int, b: int) -> int:
    """In a worker that is made for the call."""
    return a + b


@seclude.confined("compute", workers=2)
def steady(a: int, b: int) -> int:
    """One after another, without a pause."""
    return a + b


class Echo:
    """A forked process that sends back what it is sent."""

    def __init__(self) -> None:
        there, back = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            while True:
                os.write(back[1], os.read(there[0], 1))
        self.write, self.read = there[1], back[0]

    def __call__(self) -> None:
        os.write(self.write, b"x")
        os.read(self.read, 1)


def forked() -> None:
    """A bare fork of this process, which answers by one byte and ends."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, b"%d" % add(1, 2))
        os._exit(0)
    os.read(reader, 8)
    taken = time.perf_counter()
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    forked.at = taken  # type: ignore[attr-defined]


def without_a_worker() -> None:
    """Let the pool of `cold` be empty."""
    pool = cold._pool
    assert pool is not None
    pool.drop(pool.take())


def milliseconds(function: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Measure, print."""
    times: dict[str, list[float]] = {}

    def measure(name: str, function: Callable[[], object]) -> None:
        times.setdefault(name, []).append(milliseconds(function))

    echo = Echo()
    with reused, once, cold, steady, ProcessPoolExecutor(1) as executor:
        for function in (reused, once, cold, steady):
            function(1, 2)
        executor.submit(add, 1, 2).result()
        for _ in range(ROUNDS):
            without_a_worker()
            time.sleep(0.005)  # until the workers that were ordered are there
            for _ in range(10):
                measure("a pipe there and back", echo)
            for _ in range(10):
                measure("reused worker", lambda: reused(1, 2))
            measure("ProcessPoolExecutor, unconfined", lambda: executor.submit(add, 1, 2).result())
            measure("pre-warmed, used once", lambda: once(1, 2))
            time.sleep(0.003)
            start = time.perf_counter()
            forked()
            times.setdefault("a bare fork that answers", []).append((forked.at - start) * 1000)  # type: ignore[attr-defined]
            measure("made for the call", lambda: cold(1, 2))
        begin = time.perf_counter()
        for _ in range(ROUNDS):
            reused(1, 2)
        in_a_row = (time.perf_counter() - begin) / ROUNDS * 1000
        begin = time.perf_counter()
        for _ in range(ROUNDS):
            steady(1, 2)
        rate = ROUNDS / (time.perf_counter() - begin)
    os.kill(echo.pid, 9)
    os.waitpid(echo.pid, 0)

    times["made for the call, over fork"] = [
        max(0.0, made - bare) for made, bare in zip(times["made for the call"], times["a bare fork that answers"], strict=True)
    ]
    times["reused worker, calls in a row"] = [in_a_row]
    print(f"confined calls, milliseconds; {ROUNDS} rounds, Python {sys.version.split()[0]}, {os.cpu_count()} processors\n")
    print(f"{'':34} {'median':>8} {'p10':>8} {'p99':>8} {'target':>8}")
    for name, found in times.items():
        ordered = sorted(found)
        target = f"{TARGETS[name]:8.3f}" if name in TARGETS else ""
        tenth, last = ordered[len(ordered) // 10], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
        print(f"{name:34} {statistics.median(found):8.3f} {tenth:8.3f} {last:8.3f} {target}")
    print(f"\nused once, one call after another with two workers: {rate:.0f} calls/s")


if __name__ == "__main__":
    main()
