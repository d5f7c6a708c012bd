"""What one call costs on the running kernel under filters of the same policy: nanoseconds, beside the instructions that each executes."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from bench_support import X86_64, load, run  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DENIED", "FILTERED", "PLAIN", "Call", "compared", "jit"]

#: what is printed, the call's number, its arguments, and its kind: PLAIN, FILTERED (permitted by looking at arguments), DENIED
Call = tuple[str, int, tuple[int, ...], int]
DENIED, FILTERED, PLAIN = 0, 1, 2

#: an argument is loaded, so that the kernel cannot keep anything in its bitmap, and everything is allowed: no filter that runs costs less
_SHORTEST = struct.pack("<HBBIHBBI", 0x20, 0, 0, 16, 0x06, 0, 0, 0x7FFF0000)


def jit() -> str:
    """Whether the kernel translates filters."""
    try:
        state = Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip()
    except OSError:
        state = "unknown"
    return {"0": "off", "1": "on", "2": "on, with debugging"}.get(state, state)


def compared(place: Path, filters: Mapping[str, bytes], calls: Sequence[Call], rounds: int) -> None:
    """Print a table: each call without a filter, under the shortest one, and under each of ``filters``.

    The first of these is ours, the second what it is held against. ``ratio``: what the whole call takes; ``net``: what is added to the
    same call without a filter; ``over``: what is added to the same call under the shortest filter that the kernel must run. The last
    two only where they are more than noise.
    """
    program = place / "calls"
    if not program.exists():
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, Path(__file__).with_suffix(".c")], check=True)
    paths = []
    for number, raw in enumerate([_SHORTEST, *filters.values()]):
        paths.append(place / f"filter{number}")
        paths[-1].write_bytes(raw)
    lines = "".join(" ".join(map(str, [kind, number, *_six(arguments)])) + "\n" for _, number, arguments, kind in calls)
    done = subprocess.run([program, str(rounds), "-", *paths], input=lines, capture_output=True, text=True, check=True, timeout=300)
    programs = [load(raw) for raw in filters.values()]
    executed: list[list[float]] = [[run(one, number, X86_64, _six(arguments))[1] for one in programs] for _, number, arguments, _ in calls]
    steps = list(executed)
    rows = [(name, kind) for name, _, _, kind in calls]
    for name, kind in (("permitted ones in random order", FILTERED), ("denied ones in random order", DENIED)):
        own = [step for step, call in zip(executed, calls, strict=True) if call[3] == kind]
        rows.append((name, kind))
        steps.append([sum(column) / len(column) for column in zip(*own, strict=True)])
    names = ["no filter", "shortest", *filters]
    print(f"  {'least / median, ns':36}" + "".join(f"{name:>20}" for name in names) + f"{'ratio':>8}{'net':>7}{'over':>7}")
    for (name, kind), counts, line in zip(rows, steps, done.stdout.splitlines(), strict=True):
        numbers = list(map(float, line.split()))
        least = numbers[0::2]
        cells = [
            f"{numbers[2 * i]:.0f} / {numbers[2 * i + 1]:.0f}" + (f" ({counts[i - 2]:3.0f})" if i > 1 else "") for i in range(len(names))
        ]
        if kind == DENIED:
            cells[:2] = "", ""  # not made where it would be carried out
        bases = [0.0, *(least[:2] if kind == FILTERED else [])]
        ratios = [(least[2] - base) / (least[3] - base) for base in bases if len(least) > 3 and least[3] - base > 2]
        print(f"  {name:36}" + "".join(f"{cell:>20}" for cell in cells) + " " + "".join(f"{ratio:7.2f}" for ratio in ratios))


def _six(arguments: Sequence[int]) -> list[int]:
    return [*arguments, *[0] * (6 - len(arguments))]
