"""``--exec``: which files the kernel executes for a run, whatever they are called, and what is told of the others."""

import os
import shutil

import pytest

from run_support import c_program, directory, python, run, who
from seclude.kernel import landlock

pytestmark = [pytest.mark.live, pytest.mark.skipif(landlock.abi_version() < 1, reason="this kernel has no Landlock")]

#: executes each argument, and prints what came of it
TRIES = r"""
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *words[] = { argv[i], NULL }, *none[] = { NULL };
		fflush(stdout);
		int status, child = fork();
		if (!child) {
			execve(argv[i], words, none);
			_exit(errno);
		}
		waitpid(child, &status, 0);
		printf("%d\n", WEXITSTATUS(status));
	}
	return 0;
}
"""
QUIET = "int main(void) { return 0; }"
LOUD = "int main(void) { return 77; }"


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def results(ran):
    assert ran.done.status == 0, str(ran.done)
    return list(map(int, ran.done.stdout.split()))


@pytest.mark.parametrize("nobody", who())
def test_files_and_not_names(nobody):
    where = directory()
    granted, other = str(where / "granted"), str(where / "other")
    shutil.copy(c_program(QUIET), granted)
    shutil.copy(c_program(LOUD), other)
    os.symlink(granted, where / "link")
    os.link(granted, where / "hard")
    os.symlink(other, where / "wrong")
    ran = run(
        c_program(TRIES), granted, other, str(where / "link"), str(where / "hard"), str(where / "wrong"), str(where / "missing"),
        options=("--exec", granted), nobody=nobody,
    )  # fmt: skip
    assert results(ran) == [0, 13, 0, 0, 13, 2]
    told = [denial for denial in ran.denials if denial["call"] == "execve"]
    assert {denial["suggestion"] for denial in told} == {f"--exec {other}"}
    assert sum(denial["count"] for denial in told) == 2


def test_scripts_with_their_interpreters():
    where = directory()
    plain = script(where / "plain", "#!/bin/sh\nexit 5\n")
    env = script(where / "env", "#!/usr/bin/env sh\nexit 6\n")
    nested = script(where / "nested", f"#!{plain}\n")
    other = script(where / "other", "#!/bin/sh\nexit 7\n")
    ran = run(c_program(TRIES), plain, env, nested, other, options=("--exec", plain, "--exec", env, "--exec", nested))
    # The environment is empty there: env(1) falls back to its own search path.
    assert results(ran) == [5, 6, 5, 13]
    lone = run(c_program(TRIES), plain, options=("--exec", env))
    assert results(lone) == [13]


def test_static_programs_and_other_architectures():
    static = c_program(QUIET, "-static")
    narrow = c_program(QUIET, "-m32")
    ran = run(c_program(TRIES), static, narrow, options=("--exec", static, "--exec", narrow))
    assert results(ran) == [0, 0]
    ran = run(c_program(TRIES), static, narrow, options=("--exec", static))
    assert results(ran) == [0, 13]


RACE = r"""
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static char path[200];
static char *good, *bad;
static volatile int done;
static void *flip(void *unused)
{
	while (!done) {
		strcpy(path, bad);
		__asm__ volatile("" ::: "memory");
		strcpy(path, good);
		__asm__ volatile("" ::: "memory");
	}
	return unused;
}
int main(int argc, char **argv)
{
	int counts[3] = {0};
	good = argv[1], bad = argv[2];
	strcpy(path, good);
	for (int i = 0; i < atoi(argv[3]); i++) {
		int status, child = fork();
		if (!child) {
			char *words[] = { "x", NULL };
			pthread_t thread;
			pthread_create(&thread, NULL, flip, NULL);
			execve(path, words, words + 1);
			_exit(33);
		}
		waitpid(child, &status, 0);
		counts[WEXITSTATUS(status) == 0 ? 0 : WEXITSTATUS(status) == 77 ? 1 : 2]++;
	}
	printf("%d %d %d\n", counts[0], counts[1], counts[2]);
	return 0;
}
"""


def test_a_path_that_changes_during_the_call():
    good, bad = c_program(QUIET), c_program(LOUD)
    rounds = 3000 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 150
    ran = run(c_program(RACE, "-pthread"), good, bad, str(rounds), options=("--exec", good))
    went, leaked, refused = results(ran)
    assert leaked == 0
    assert went + refused == rounds


MEMORY = """
import os
for flags in (0, os.MFD_CLOEXEC, os.MFD_ALLOW_SEALING, 0x10, 0x8):
    fd = os.memfd_create("name", flags)
    os.write(fd, open(PROGRAM, "rb").read())
    try:
        os.fchmod(fd, 0o777)
    except PermissionError:
        pass
    child = os.fork()
    if child == 0:
        try:
            os.execve(f"/proc/self/fd/{fd}", ["x"], {})
        except OSError as error:
            os._exit(error.errno)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("nobody", who())
def test_files_in_memory(nobody):
    loud = c_program(LOUD)
    code = MEMORY.replace("PROGRAM", repr(loud))
    ran = run(python(), "-c", code, options=("--exec", c_program(QUIET)), nobody=nobody)
    assert results(ran) == [13] * 5
    assert run(python(), "-c", code).done.stdout.split()[:1] == ["77"]


def test_moving_between_directories_still_works():
    where = directory()
    (where / "one").mkdir()
    (where / "two").mkdir()
    (where / "one" / "file").write_text("")
    code = f"import os; os.rename('{where}/one/file', '{where}/two/file'); os.link('{where}/two/file', '{where}/one/again')"
    ran = run(python(), "-c", code, options=("--exec", c_program(QUIET)))
    if landlock.abi_version() >= 2:
        assert ran.done.status == 0, str(ran.done)
        assert sorted(os.listdir(where / "one")) == ["again"]


@pytest.mark.parametrize(
    ("word", "said"),
    [("/nonexistent/program", "No such file"), ("no-such-program-anywhere", "no such program in PATH"), ("/usr", "no regular file")],
)
def test_what_is_no_program_is_refused(word, said):
    from support import seclude

    done = seclude("run", "--exec", word, "--", "true")
    assert done.status == 125
    assert said in done.stderr


def test_the_library():
    import seclude

    result = seclude.run([c_program(TRIES), c_program(QUIET), c_program(LOUD)], programs=[c_program(QUIET)], capture=True)
    assert (result.stdout or b"").split() == [b"0", b"13"]
    assert [denial.suggestion for denial in result.denials if denial.call == "execve"] == [f"--exec {c_program(LOUD)}"]
    result = seclude.run([c_program(TRIES), c_program(QUIET)], programs=[], capture=True)
    assert (result.stdout or b"").split() == [b"13"]
