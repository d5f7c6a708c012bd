"""Real programs under each preset, on the running kernel, as root and as nobody: what a preset is for works, what it is against does not.

Denials are looked for in the report: a program that works but was denied something on the way is told apart from one that
was not.
"""

from __future__ import annotations

import os
import shutil
import sys

import pytest

import support
from run_support import c_program, who

pytestmark = [pytest.mark.live, pytest.mark.slow]

EVERYTHING = ("container", "no-network", "readonly")
WRITING = ("container", "no-network")
#: presets, command, what it prints. Numeric owners: looking names up tries a local socket first
PROGRAMS = [
    (EVERYTHING, "ls -n /", "usr"),
    (EVERYTHING, "cat words", "beta\nalpha\n"),
    (EVERYTHING, "grep -r alpha .", "./words:alpha\n"),
    (EVERYTHING, "sed s/alpha/omega/ words", "beta\nomega\n"),
    (EVERYTHING, "gzip -dc words.gz", "beta\nalpha\n"),
    (EVERYTHING, "tar -tzf words.tgz", "words\n"),
    (EVERYTHING, "sort words", "alpha\nbeta\n"),
    (WRITING, "sh -c 'sed -i s/beta/gamma/ words && cat words'", "gamma\nalpha\n"),
    (WRITING, "sh -c 'gzip -k words -S .z && ls *.z'", "words.z\n"),
    (WRITING, "sh -c 'tar --numeric-owner -czf new.tgz words && tar --numeric-owner -tzf new.tgz'", "words\n"),
    (WRITING, "sh -c 'mkdir -p a/b && ln -s words a/b/c && mv a d && chmod 700 d && rm -r d && echo done'", "done\n"),
]


@pytest.fixture
def place(request):
    with support.nobody_directory() as directory:
        (directory / "words").write_text("beta\nalpha\n")
        support.run(["tar", "--numeric-owner", "-czf", "words.tgz", "words"], cwd=directory)
        support.run(["gzip", "-k", "words"], cwd=directory)
        if os.geteuid() == 0:
            for path in directory.iterdir():
                shutil.chown(path, support.NOBODY, support.NOBODY)
        yield directory


def under(preset, command, place, *, nobody=False):
    words = ["sh", "-c", command] if isinstance(command, str) else command
    return support.seclude("run", "--policy", preset, "--", *words, nobody=nobody, cwd=place)


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize(("preset", "command", "expected"), [(preset, *rest) for presets, *rest in PROGRAMS for preset in presets])
def test_programs_work(preset, command, expected, nobody, place):
    done = under(preset, command, place, nobody=nobody)
    assert done.status == 0, str(done)
    assert expected in done.stdout
    assert "denied" not in done.stderr, str(done)


PYTHON = """
import json, multiprocessing, sqlite3, subprocess, threading
found = []
threads = [threading.Thread(target=found.append, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert sorted(found) == [0, 1, 2, 3]
assert subprocess.run(["tr", "a-z", "A-Z"], input=b"sub", capture_output=True).stdout == b"SUB"
base = sqlite3.connect("base.db")
base.execute("create table t (a)"); base.execute("insert into t values (7)"); base.commit()
with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]
print(json.dumps(base.execute("select a from t").fetchall()))
"""


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("preset", WRITING)
def test_python_with_threads_processes_and_a_database(preset, nobody, place):
    interpreter = support.nobody_python() if nobody else sys.executable
    done = under(preset, [interpreter, "-I", "-c", PYTHON], place, nobody=nobody)
    assert done.status == 0, str(done)
    assert done.stdout == "[[7]]\n"
    # The C library tries clone3 once a thread and goes on with clone.
    assert all("clone3(" in line for line in done.stderr.splitlines() if "denied" in line), str(done)


@pytest.mark.parametrize("preset", WRITING)
def test_git_and_a_compiler(preset, place):
    support.need_program("git")
    support.need_program("gcc")
    script = (
        "git init -q repo && cd repo && cp ../words . && git add words && "
        "git -c user.name=a -c user.email=a@b commit -qm first && git status --short && git log --oneline | wc -l && "
        "printf '#include <stdio.h>\\nint main(void) { puts(\"hello\"); }' > h.c && gcc h.c -o h && ./h"
    )
    done = under(preset, script, place)
    assert done.status == 0, str(done)
    assert done.stdout == "1\nhello\n"


@pytest.mark.parametrize("preset", [*EVERYTHING, "compute"])
@pytest.mark.parametrize("flags", [("-static",), ("-static", "-m32")])
def test_static_programs_of_both_widths(preset, flags, place):
    done = under(
        preset,
        [
            str(
                c_program(
                    '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { puts(malloc(9999999) ? "works" : "none"); return 4; }',
                    *flags,
                )
            )
        ],
        place,
    )
    assert (done.status, done.stdout) == (4, "works\n"), str(done)
    assert "denied" not in done.stderr, str(done)


@pytest.mark.parametrize("preset", EVERYTHING)
def test_a_dynamic_program_of_32_bits(preset, place):
    done = under(preset, [str(c_program('#include <stdio.h>\nint main(void) { puts("works"); return 0; }', "-m32"))], place)
    assert (done.status, done.stdout) == (0, "works\n"), str(done)
    assert "denied" not in done.stderr, str(done)


THREADS = """
#include <pthread.h>
#include <stdio.h>
static void *go(void *unused) { return unused; }
int main(void) {
    pthread_t one;
    if (pthread_create(&one, 0, go, 0) || pthread_join(one, 0)) return 1;
    puts("joined");
    return 0;
}
"""


@pytest.mark.parametrize("preset", [*EVERYTHING, "compute"])
def test_threads(preset, place):
    done = under(preset, [str(c_program(THREADS, "-static", "-pthread"))], place)
    assert (done.status, done.stdout) == (0, "joined\n"), str(done)


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize(
    ("preset", "command", "named"),
    [
        ("readonly", "touch words", "openat("),
        ("readonly", "rm -f words", "unlinkat("),
        ("readonly", "mkdir new", "mkdir"),
        ("readonly", "chmod 777 words", "fchmodat("),
        ("readonly", "mv words other", "renameat2("),
        ("readonly", "ln words other", "linkat("),
    ],
)
def test_readonly_changes_nothing(preset, command, named, nobody, place):
    before = {path.name: (path.stat().st_mode, path.stat().st_mtime_ns) for path in place.iterdir()}
    done = under(preset, command.split(), place, nobody=nobody)
    assert done.status, str(done)
    assert "Read-only file system" in done.stderr
    assert named in done.stderr
    assert {path.name: (path.stat().st_mode, path.stat().st_mtime_ns) for path in place.iterdir()} == before


SOCKETS = """
import socket, sys
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_UNIX):
    try: socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error: print(family.name, error.errno)
    else: print(family.name, "open")
a, b = socket.socketpair(); a.send(b"x"); print(b.recv(1))
"""


@pytest.mark.parametrize(("preset", "unix"), [("container", "open"), ("no-network", "13"), ("readonly", "13")])
def test_sockets_stay_on_this_machine(preset, unix, place):
    done = under(preset, [sys.executable, "-I", "-c", SOCKETS], place)
    lines = done.stdout.splitlines()
    refused = "1" if preset == "container" else "13"
    assert lines == [f"{name} {refused}" for name in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET")] + [f"AF_UNIX {unix}", "b'x'"], str(
        done
    )


def test_compute_cannot_start_a_dynamic_program(place):
    done = under("compute", ["cat", "words"], place)
    assert done.status == 127, str(done)
    assert "openat(" in done.stderr
    assert "compute.seclude" in done.stderr
