"""How true a verdict's numbers are: against wait4 of the same process, and against a control group that nothing but the program was in.

What neither says of a program is left out by the sizes: the kernel keeps resident pages and a group's charges in batches a processor (up to 256 KiB of
either), so each program here takes many times that, and a group's members stay on one processor.
"""

from __future__ import annotations

import json
import os

import pytest

import support
from run_support import c_program, who
from seclude.kernel import cgroup

pytestmark = [pytest.mark.live, pytest.mark.slow]

MIB = 1 << 20

# argv[1] MiB are touched, by argv[2]: "main", "child" (waited for), "thread" (after the first one is gone), "before" (given up by an exec).
TOUCH = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static size_t size;
static pthread_t first;
static void touch(void)
{
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) _exit(1);
    memset(p, 1, size);
}
static void *thread(void *_) { (void)_; pthread_join(first, NULL); touch(); _exit(0); }
int main(int n, char **v)
{
    pthread_t other;
    if (n < 3) return 0;
    size = (size_t)atol(v[1]) << 20;
    if (*v[2] == 'm') touch();
    if (*v[2] == 'c') { if (fork() == 0) { touch(); _exit(0); } wait(NULL); }
    if (*v[2] == 't') { first = pthread_self(); if (pthread_create(&other, NULL, thread, NULL)) return 2; pthread_exit(NULL); }
    if (*v[2] == 'b') { touch(); execl(v[0], v[0], NULL); return 3; }
    return 0;
}
"""

# Runs its arguments and says what wait4 does; with SECLUDE_GROUP in a group made before, which is told its processes first.
PEER = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int n, char **v)
{
    struct rusage u;
    int status;
    (void)n;
    pid_t child = fork();
    if (child == 0) {
        char *group = getenv("SECLUDE_GROUP");
        if (group) { int f = open(group, O_WRONLY); if (f < 0 || write(f, "0", 1) != 1) _exit(126); close(f); }
        execv(v[1], v + 1);
        _exit(127);
    }
    if (wait4(child, &status, 0, &u) != child) return 1;
    printf("%ld\n", u.ru_maxrss);
    return status != 0;
}
"""

HOST = """
import json, os, sys, seclude
asked = json.load(sys.stdin)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
out = []
for command, options in asked['runs']:
    one = seclude.judge(command, policy='container', cpu=20, wall=120, memory='1G', read=[asked['program']], **options)
    out.append([one.verdict, one.memory, one.resident, one.bound_by['memory'], one.stdout.decode()])
json.dump(out, sys.stdout)
"""


def judged(*runs, nobody):
    asked = {"runs": runs, "program": c_program(TOUCH, "-pthread")}
    done = support.run_python(HOST, stdin=json.dumps(asked), nobody=nobody)
    assert done.status == 0, str(done)
    found = json.loads(done.stdout)
    assert [one[0] for one in found] == ["accepted"] * len(runs), found
    return found


def near(found, said):
    """Within the five percent that are promised."""
    return abs(found - said) <= said / 20


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("ptrace", [True, False], ids=["traced", "untraced"])
def test_the_resident_set_is_what_wait4_says_of_the_same_process(nobody, ptrace):
    program, peer = c_program(TOUCH, "-pthread"), c_program(PEER)
    for _, memory, resident, bound_by, said in judged(
        *(([peer, program, str(size), "main"], {"ptrace": ptrace}) for size in (24, 96)), nobody=nobody
    ):
        assert near(resident, int(said) * 1024), (resident, said)
        assert memory == resident or bound_by == "cgroup"


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("whose", ["child", "thread", "before"])
def test_the_resident_set_of_whoever_had_the_largest(nobody, whose):
    """Also what the last thread took after the first was gone, and what an exec gave up: neither is in the first thread's status at its end."""
    ((_, _, resident, _, _),) = judged(([c_program(TOUCH, "-pthread"), "64", whose], {}), nobody=nobody)
    assert near(resident, 64 * MIB), resident


def test_a_groups_memory_is_what_the_program_takes_in_a_group_of_its_own():
    group, reasons = cgroup.create(memory=1 << 30)
    if group is None or "memory" not in group.bound:
        if group is not None:
            group.remove()
        pytest.skip("; ".join(reasons))
    program, peer = c_program(TOUCH, "-pthread"), c_program(PEER)
    try:
        here = min(os.sched_getaffinity(0))
        code = f"import os, sys; os.sched_setaffinity(0, {{{here}}}); os.execv(sys.argv[1], sys.argv[1:])"
        environment = {"SECLUDE_GROUP": group.places["memory"] + "/cgroup.procs"}
        done = support.run_python(code, peer, program, "24", "main", env={**os.environ, **environment})
        assert done.status == 0, str(done)
        said = group.usage().memory_peak
    finally:
        assert group.remove()
    ((_, memory, _, bound_by, _),) = judged(([program, "24", "main"], {}), nobody=False)
    assert bound_by == "cgroup"
    assert said is not None
    assert near(memory, said), (memory, said)
