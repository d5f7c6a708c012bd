"""What `make bench` runs for judging: submissions a second, where the time of one goes, and how true the numbers of a verdict are.

The peer is a bare C judge of the classic kind, compiled here: fork, setrlimit, execve, wait4, no policy, no report. To compare what is
measured, it is itself judged, so that wait4 and the verdict speak of the same run of the same process. What a control group says is asked of one
that the peer puts the same program into, without Seclude.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import seclude
from seclude.kernel import cgroup

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measuring import table

RUNS = int(os.environ.get("RUNS", "200"))
TARGET, JOBS = 60, 2

SUM = r"""
#include <stdio.h>
int main(void) { long a, b; if (scanf("%ld %ld", &a, &b) != 2) return 1; printf("%ld\n", a + b); return 0; }
"""

# Touches argv[1] MiB, then works for argv[2] milliseconds of its own CPU time.
WORK = r"""
#include <stdlib.h>
#include <string.h>
#include <time.h>
int main(int n, char **v)
{
    struct timespec t;
    volatile unsigned long sink = 0;
    (void)n;
    size_t size = (size_t)atol(v[1]) << 20;
    char *p = malloc(size);
    if (!p) return 1;
    memset(p, 1, size);
    do {
        for (int i = 0; i < 100000; i++) sink += (unsigned)p[i % 4096];
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    } while (t.tv_sec * 1000 + t.tv_nsec / 1000000 < atol(v[2]));
    return 0;
}
"""

PEER = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
static void join(const char *group)
{
    int f = open(group, O_WRONLY);
    if (f < 0 || write(f, "0", 1) != 1) _exit(126);
    close(f);
}
int main(int n, char **v)
{
    struct rusage u;
    struct rlimit cpu = {5, 6}, memory = {1UL << 30, 1UL << 30};
    int status;
    (void)n;
    pid_t child = fork();
    if (child == 0) {
        if (getenv("GROUP")) join(getenv("GROUP"));
        setrlimit(RLIMIT_CPU, &cpu);
        setrlimit(RLIMIT_AS, &memory);
        execv(v[1], v + 1);
        _exit(127);
    }
    if (wait4(child, &status, 0, &u) != child) return 1;
    printf("%.6f %ld\n", u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6, u.ru_maxrss);
    return status != 0;
}
"""


def compiled(place: Path, name: str, source: str) -> str:
    path = place / name
    subprocess.run(["gcc", "-O1", "-x", "c", "-", "-o", str(path)], input=source.encode(), check=True)
    return str(path)


def throughput(program: str, peer: str) -> None:
    rows = []
    with seclude.Case(b"40 2\n", b"42\n") as case:
        for jobs in (1, JOBS, JOBS + 1):
            with seclude.Judge(cpu=1, wall=10, memory="64M", output="16M", jobs=jobs) as judge:
                list(judge.each([([program], case)] * 5))
                start = time.perf_counter()
                verdicts = [one.verdict for one in judge.each([([program], case)] * RUNS)]
                took = time.perf_counter() - start
            assert set(verdicts) == {"accepted"}, verdicts
            note = f"{RUNS / took / TARGET:.1f}x the target of {TARGET}" if jobs == JOBS else ""
            rows.append((f"seclude.Judge, {jobs} at a time", f"{RUNS / took:.0f}", f"{took / RUNS * 1000:.2f} ms", note))
    start = time.perf_counter()
    for _ in range(RUNS):
        subprocess.run([peer, program], input=b"40 2\n", stdout=subprocess.DEVNULL, check=True)
    took = time.perf_counter() - start
    rows.append(("bare C judge, from Python", f"{RUNS / took:.0f}", f"{took / RUNS * 1000:.2f} ms", "no policy, no report"))
    print(f"Short C submissions, verdict and usage ({RUNS} runs)\n")
    table(("how", "a second", "each", ""), rows)


def charged(peer: str, words: list[str]) -> int | None:
    """The peak that a control group with nothing but this program in it tells, in bytes; None where there can be none."""
    group, _ = cgroup.create(memory=1 << 30)
    if group is None:
        return None
    try:
        if "memory" not in group.bound:
            return None
        subprocess.run([peer, *words], stdout=subprocess.DEVNULL, check=True, env={"GROUP": group.places["memory"] + "/cgroup.procs"})
        return group.usage().memory_peak
    finally:
        group.remove()


def truth(work: str, peer: str) -> None:
    rows = []
    for mebibytes, milliseconds in ((8, 100), (64, 500), (200, 1000)):
        words = [work, str(mebibytes), str(milliseconds)]
        cpu, resident, memory = [], [], []
        with seclude.Judge(policy="container", cpu=10, memory="1G", jobs=1, read=[work]) as judge:
            for _ in range(5):
                one = judge.judge([peer, *words])
                assert one.accepted, one
                seconds, kibibytes = map(float, one.stdout.split())
                cpu.append(abs(one.cpu - seconds) / seconds)
                resident.append(abs(one.resident - kibibytes * 1024) / (kibibytes * 1024))
                said = charged(peer, words)
                if said is not None:
                    memory.append(abs(judge.judge(words).memory - said) / said)
        group = f"{statistics.median(memory):.2%}" if memory else "no group here"
        rows.append((f"{mebibytes} MiB, {milliseconds} ms", f"{statistics.median(cpu):.2%}", f"{statistics.median(resident):.2%}", group))
    print(
        "A verdict's numbers against wait4's of the same process, and a control group's of the same program (targets: CPU 2 %, memory 5 %)\n"
    )
    table(("work", "CPU off by", "resident off by", "group's memory off by"), rows)


def main() -> int:
    if shutil.which("gcc") is None:
        print("benchmarks/judge.py needs gcc: apt-get install gcc", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        peer = compiled(place, "peer", PEER)
        throughput(compiled(place, "sum", SUM), peer)
        truth(compiled(place, "work", WORK), peer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
