"""A table of calls instead of the calls: how often each was made, how often it failed, and how long it took, as ``strace -c -w`` shows it.

Times are from the stop before a call to the stop behind it, so they hold what waiting for the tracer cost: they tell calls apart, not
how long one takes without us.
"""

from __future__ import annotations

import time

__all__ = ["Counts"]


class Counts:
    """What was counted: for each call ``[nanoseconds, calls, errors]``. ``failed``: of calls that failed only."""

    __slots__ = ("_began", "_failed", "_found")

    def __init__(self, *, failed: bool = False) -> None:
        self._failed = failed
        self._found: dict[str, list[int]] = {}
        self._began: dict[int, int] = {}

    def begin(self, tid: int) -> None:
        """A call of the thread begins."""
        self._began[tid] = time.perf_counter_ns()

    def end(self, tid: int, name: str, failed: bool) -> None:
        """It is over. One that was not begun here (a denied one) took no time."""
        began = self._began.pop(tid, None)
        if self._failed and not failed:
            return
        entry = self._found.get(name)
        if entry is None:
            entry = self._found[name] = [0, 0, 0]
        entry[0] += 0 if began is None else time.perf_counter_ns() - began
        entry[1] += 1
        entry[2] += failed

    def table(self) -> str:
        """The table, most time first."""
        total = sum(entry[0] for entry in self._found.values())
        lines = [
            "% time     seconds  usecs/call     calls    errors syscall",
            "------ ----------- ----------- --------- --------- ----------------",
        ]
        for name, (spent, calls, errors) in sorted(self._found.items(), key=lambda item: (-item[1][0], -item[1][1], item[0])):
            share = 100 * spent / total if total else 0.0
            lines.append(f"{share:6.2f} {spent / 1e9:11.6f} {spent // 1000 // calls:11d} {calls:9d} {errors or '':>9} {name}")
        calls, errors = (sum(entry[index] for entry in self._found.values()) for index in (1, 2))
        lines.append(lines[1])
        lines.append(f"100.00 {total / 1e9:11.6f} {total // 1000 // calls if calls else 0:11d} {calls:9d} {errors or '':>9} total")
        return "".join(line + "\n" for line in lines)
