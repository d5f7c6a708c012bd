"""Judging from Python: what decides among several causes, boundaries, many at once, and judges that are interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

import support
from run_support import ALLOW, c_program, gone, policy, who

pytestmark = [pytest.mark.live, pytest.mark.slow]

# argv[1]: what a child does; argv[2]: what the first process does after it has waited for that child.
FAMILY = r"""
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void go_on(int number) { (void)number; }
static void act(char what)
{
    static volatile unsigned long sink;
    if (what == 'm') for (;;) { char *p = malloc(1 << 20); if (p) memset(p, 1, 1 << 20); else abort(); }
    if (what == 'c') syscall(SYS_getpriority, 0, 0);
    if (what == 't') { signal(SIGSYS, go_on); syscall(SYS_getpriority, 0, 0); }
    if (what == 's') for (;;) sink++;
    if (what == 'w') sleep(1000);
    if (what == 'p') if (write(1, "42\n", 3) != 3) _exit(9);
    if (what == 'e') _exit(3);
}
int main(int argc, char **argv)
{
    (void)argc;
    pid_t child = fork();
    if (child == 0) { for (char *p = argv[1]; *p; p++) act(*p); _exit(0); }
    if (!strchr(argv[2], '&')) waitpid(child, NULL, 0);
    for (char *p = argv[2]; *p; p++) act(*p);
    return 0;
}
"""

HOST = """
import json, sys, seclude
asked = json.load(sys.stdin)
out = []
for options, command, given, expect in asked:
    judged = seclude.judge(command, stdin=given.encode(), expect=None if expect is None else expect.encode(), **options)
    plain = judged.to_plain()
    plain['call'] = judged.denied.call if judged.denied else ''
    plain['kept'] = len(judged.stdout), len(judged.stderr)
    out.append(plain)
json.dump(out, sys.stdout)
"""


def judged(*tasks, nobody=False):
    """Outcomes of ``(options, command, stdin, expect)``."""
    done = support.run_python(HOST, stdin=json.dumps(tasks), nobody=nobody)
    assert done.status == 0, str(done)
    return json.loads(done.stdout)


def family(rules, child, parent, **options):
    return (
        {"policy": policy(ALLOW + rules), "cpu": 0.2, "wall": 30, "memory": "64M", **options},
        [c_program(FAMILY), child, parent],
        "",
        "42",
    )


@pytest.mark.parametrize("nobody", who())
def test_the_first_cause_in_the_order_is_the_verdict(nobody):
    kill, trap, errno = (f"{action} getpriority\n" for action in ("kill", "trap", "errno(EPERM)"))
    table = [
        (family(kill, "c", "p"), "disallowed call", "getpriority"),  # a child's, though the first process answers well
        (family(kill, "c", "pe"), "disallowed call", "getpriority"),
        (family(kill, "c", "s"), "disallowed call", "getpriority"),
        (family(kill, "", "c"), "disallowed call", "getpriority"),
        (family(trap, "t", "p"), "disallowed call", "getpriority"),  # caught, and gone on
        (family(errno, "c", "cp"), "accepted", ""),
        (family(errno, "c", "ce"), "runtime error", ""),
        (family("", "s", "p"), "time limit", "cpu"),  # the tree's
        (family("", "w", "&p"), "accepted", ""),  # what is left behind is ended
        (family("", "w", "p", wall=0.3), "time limit", "wall"),
        (family("", "s", "&w"), "time limit", "cpu"),
    ]
    found = judged(*(task for task, *_ in table), nobody=nobody)
    assert [(one["verdict"], one["limit"] or one["call"]) for one in found] == [(verdict, what) for _, verdict, what in table]


def test_memory_of_a_child_counts_where_a_cgroup_counts():
    (one,) = judged(family("", "m", "p"))
    if one["bound_by"]["memory"] == "cgroup":
        assert (one["verdict"], one["limit"]) == ("memory limit", "memory")
        assert one["memory"] > 60 << 20
    else:
        assert one["verdict"] == "accepted", "the child alone was short of memory, and it is no one's evidence"


def test_kills_without_tracing_are_known_by_the_signal():
    kill = family("kill getpriority\n", "", "c", ptrace=False)
    (one,) = judged(kill)
    assert (one["verdict"], one["denied"]) == ("disallowed call", None)
    assert "SIGSYS" in one["reason"]


@pytest.mark.parametrize("nobody", who())
def test_output_up_to_the_limit_and_one_byte_more(nobody):
    script = "import os, sys\nfor stream, size in ((1, {}), (2, {})): os.write(stream, b'x' * size)"
    python = support.nobody_python()
    found = judged(
        *(
            ({"output": 1000, "memory": None, "wall": 30}, [python, "-c", script.format(*sizes)], "", None)
            for sizes in ((1000, 0), (500, 500), (0, 1001), (501, 500))
        ),
        nobody=nobody,
    )
    assert [one["verdict"] for one in found] == ["accepted", "accepted", "output limit", "output limit"]
    assert [one["output"] for one in found] == [1000] * 4
    assert [one["kept"] for one in found[:2]] == [[1000, 0], [500, 500]]


def test_an_input_that_nobody_reads_costs_no_time():
    (one,) = judged(({"memory": None}, ["/usr/bin/env"], "x" * 20_000_000, None))
    assert one["verdict"] == "accepted"


@pytest.mark.parametrize("nobody", who())
def test_a_submission_has_no_privileges_whoever_judges(nobody):
    script = """
import resource
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
print(*(int(status[name], 16) & ~6 for name in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb')), status['NoNewPrivs'].strip())
for path in ('/proc/kcore', '/dev/mem', '/proc/1/mem', '/proc/1/environ', '/etc/shadow'):
    try: open(path, 'rb').read(4096); print(path)
    except OSError: pass
try: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)); print('FSIZE')
except (OSError, ValueError): pass
"""
    task = {"memory": None, "wall": 30}, [support.nobody_python(), "-c", script], "", "0 0 0 0 1"
    (one,) = judged(task, nobody=nobody)
    assert one["verdict"] == "accepted", one


MANY = """
import seclude, sys
with seclude.Judge(jobs=3, cpu=5, wall=30) as judge, seclude.Case(b'', b'7') as case:
    words = [['/usr/bin/printf', str(n)] for n in range(20)]
    assert [one.accepted for one in judge.each((word, case) for word in words)] == [n == 7 for n in range(20)]

    def tasks():
        yield words[7], case
        yield ['no-such-program'], case
        yield words[7], case
        raise OSError('the list ends')

    found = judge.each(tasks())
    assert next(found).accepted
    for kind, said in ((seclude.UsageError, 'not found'),):
        try:
            next(found)
        except kind as error:
            assert said in str(error), error
        else:
            raise AssertionError
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield words[0], case

    assert [one.verdict for one in judge.each(endless(), stop=True)] == ['wrong answer']
    assert len(asked) <= 20, asked
    found = judge.each([(words[7], case), (words[7], case)])
    next(found)
    found.close()
    try:
        list(judge.each(iter([(words[7], case), 5])))
    except TypeError:
        pass
    else:
        raise AssertionError
    import threading
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(judge.judge(words[7], case).verdict)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert seen == ['accepted'] * 4
policy = seclude.parse('default allow\\nerrno(EPERM) ptrace\\nkill getpriority')
one = seclude.judge([sys.executable, '-c', 'import os; os.getpriority(0, 0)'], policy=policy, memory=None, cpu=5)
assert one.verdict == 'disallowed call' and one.denied.rule, one
assert seclude.Case(b'', None).answer is None
print('well')
"""


def test_many_at_once_in_order_and_whatever_goes_wrong():
    done = support.run_python(MANY)
    assert (done.status, done.stdout) == (0, "well\n"), str(done)


def test_an_interrupted_judge_takes_its_submissions_along(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # What the submission opens tells its pid; then it waits for ever.
    victim = f"import os, time; os.write(os.open({str(fifo)!r}, os.O_WRONLY), b'%d\\n' % os.getpid()); time.sleep(1000)"
    host = f"""
import seclude, sys
with seclude.Judge(policy={policy(ALLOW)!r}, wall=1000, memory=None, write=[{str(tmp_path)!r}], jobs=2) as judge, seclude.Case() as case:
    list(judge.each([([{support.nobody_python()!r}, '-c', {victim!r}], case)]))
"""
    child = support.start([sys.executable, "-c", host], stderr=subprocess.PIPE)
    with open(fifo, "rb") as opened:
        pid = int(opened.readline())
    pidfd = os.pidfd_open(pid)
    try:
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=support.PATIENCE)
        assert b"KeyboardInterrupt" in err
        assert gone(pidfd)
    finally:
        os.close(pidfd)


TOUCH = r"""
#include <stdlib.h>
#include <string.h>
int main(void) { volatile char *p = malloc(48 << 20); if (!p) return 1; for (long i = 0; i < 48 << 20; i += 512) p[i] = 1; return p[512] != 1; }
"""


@pytest.mark.parametrize("nobody", who())
def test_peak_memory_is_what_was_touched_within_a_twentieth(nobody):
    (one,) = judged(({"memory": "128M", "wall": 30}, [c_program(TOUCH)], "", None), nobody=nobody)
    assert one["verdict"] == "accepted"
    assert 48 << 20 <= one["memory"] <= (48 << 20) * 1.05
