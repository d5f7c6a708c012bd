"""Filters: compile and proof times beside the installed libseccomp in the same run, and what a call costs under either filter.

    python benchmarks/filters.py

Docker's profile and P300 are the benchmark policies of the tests. Times are medians of interleaved rounds, in milliseconds of process
time; the cost of a call is the lowest of several loops of a C program that loads the filter, in nanoseconds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from bench_support import DOCKER, P300, docker, docker_mean, load, one_argument_each, p300_measured, p300_text  # noqa: E402
from seclude.bpf import Program  # noqa: E402
from seclude.compiler import compile as build  # noqa: E402
from seclude.decision import from_program  # noqa: E402
from seclude.policy import parse  # noqa: E402
from seclude.sandbox.prepare import prepare  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = int(os.environ.get("ROUNDS", "15"))

LIBSECCOMP = r"""
import json, sys, time, tempfile, seccomp
rules = json.load(sys.stdin)["rules"]
def build(level, path):
    f = seccomp.SyscallFilter(seccomp.ERRNO(1))
    f.set_attr(seccomp.Attr.CTL_OPTIMIZE, level)
    f.add_arch(seccomp.Arch.X86); f.add_arch(seccomp.Arch.X32)
    for action, name, conditions in rules:
        args = [seccomp.Arg(i, getattr(seccomp, op), *([v] if op != "MASKED_EQ" else [v, w])) for i, op, v, w in conditions]
        try:
            f.add_rule(seccomp.ALLOW if action == "ALLOW" else seccomp.ERRNO(38), name, *args)
        except (RuntimeError, ValueError):
            pass  # a name that this version does not know
    with open(path, "wb") as out:
        f.export_bpf(out)
times = {1: [], 2: []}
for _ in range(int(sys.argv[1])):
    for level in (1, 2):
        start = time.process_time()
        build(level, sys.argv[1 + level])
        times[level].append(1000 * (time.process_time() - start))
json.dump([times[1], times[2]], sys.stdout)
"""

CALLS = r"""
#define _GNU_SOURCE
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return 1e9 * t.tv_sec + t.tv_nsec; }
static double cost(long number, long argument) {
    double best = 1e30;
    for (int round = 0; round < 40; round++) {
        double start = now();
        for (int i = 0; i < 20000; i++) syscall(number, argument);
        double each = (now() - start) / 20000;
        if (each < best) best = each;
    }
    return best;
}
int main(int argc, char **argv) {
    static struct sock_filter code[4096];
    if (argc > 1) {
        FILE *file = fopen(argv[1], "rb");
        struct sock_fprog program = {fread(code, 8, 4096, file), code};
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (prctl(PR_SET_SECCOMP, 2, &program, 0, 0)) return 1;
    }
    /* getppid is in the bitmap; personality(0xffffffff) only reads, and its argument is filtered. */
    printf("%f %f\n", cost(SYS_getppid, 0), cost(SYS_personality, 0xffffffff));
}
"""


def milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def libseccomp(place: Path) -> list[float] | None:
    done = subprocess.run(
        ["/usr/bin/python3", "-c", LIBSECCOMP, str(ROUNDS), place / "o1", place / "o2"],
        input=json.dumps(DOCKER),
        capture_output=True,
        text=True,
        check=False,
    )
    return [statistics.median(times) for times in json.loads(done.stdout)] if done.returncode == 0 else None


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        os.environ["XDG_CACHE_HOME"] = directory
        low = docker()
        built = build(low, optimize_for="uniform")
        (place / "ours").write_bytes(bytes(build(low, optimize_for="bitmap")))
        mean = docker_mean(load(bytes(built)), built.decision)
        print(f"Docker's profile, uniform: {len(built)} instructions, {mean:.2f} executed on average")
        ours = milliseconds(lambda: build(low, optimize_for="uniform"))
        print(f"  compile and proof          {ours:8.2f} ms")
        theirs = libseccomp(place)
        if theirs is not None:
            for level, taken in enumerate(theirs, 1):
                program = Program.from_bytes((place / f"o{level}").read_bytes(), "little")
                print(
                    f"  libseccomp O{level}              {taken:8.2f} ms, {len(program)} instructions; ours takes {ours / taken:.2f} of that"
                )
                print(f"    read into a decision     {milliseconds(lambda program=program: from_program(program)):8.2f} ms")  # type: ignore[misc]
        (place / "p.seclude").write_text(p300_text())
        prepare(place / "p.seclude")
        print(f"  a policy from the cache    {milliseconds(lambda: prepare(place / 'p.seclude')):8.2f} ms")
        for values in (1, 5):
            many = one_argument_each(120, values)
            print(f"120 calls, {values} values each     {milliseconds(lambda many=many: build(many)):8.2f} ms")  # type: ignore[misc]
        for mode in ("blend", "profile", "bitmap"):
            policy = parse(p300_text())
            one = build(policy, optimize_for=mode, weights=P300["profile"])
            _, profile, uncached = p300_measured(load(bytes(one)))
            taken = milliseconds(lambda policy=policy, mode=mode: build(policy, optimize_for=mode, weights=P300["profile"]))  # type: ignore[misc]
            print(f"P300 {mode:8} {len(one):4} instructions, profile {profile:.2f}, uncached {uncached:.2f} {taken:8.2f} ms")
        calls(place, theirs is not None)


def calls(place: Path, compared: bool) -> None:
    (place / "calls.c").write_text(CALLS)
    subprocess.run(["cc", "-O2", "-o", place / "calls", place / "calls.c"], check=True)
    print("one call, ns                     in the bitmap   filtered")
    for name, words in (("no filter", []), ("seclude", ["ours"]), *([("libseccomp O2", ["o2"])] if compared else [])):
        done = subprocess.run([place / "calls", *(place / word for word in words)], capture_output=True, text=True, check=True)
        plain, filtered = map(float, done.stdout.split())
        print(f"  {name:28} {plain:15.0f} {filtered:10.0f}")


if __name__ == "__main__":
    main()
