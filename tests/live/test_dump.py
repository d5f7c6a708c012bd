"""``seclude dump`` on the running kernel: what a command installs is read before it is in force, and the command does what it does anyway."""

from __future__ import annotations

import json
import os
import platform
import signal

import pytest

from dump_support import ALLOW, dump, victim
from run_support import who
from support import need_root, run, seclude, start

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.skipif(platform.machine() != "x86_64", reason="victims are of x86")]
each_user = pytest.mark.parametrize("nobody", who())


@each_user
def test_both_calls_with_flags_and_results(nobody):
    done, data = dump(victim(), "both", nobody=nobody)
    assert done.status == 0, str(done)
    first, second = data["loads"]
    assert (first["via"], first["flags"], first["result"], first["in_force"], first["below"]) == ("prctl", [], 0, True, [])
    assert (second["via"], second["flags"], second["result"], second["in_force"], second["below"]) == ("seccomp", ["LOG"], 0, True, [1])
    assert first["program"] == {"length": 1, "byteorder": "little", "bytes": ALLOW}
    assert second["program"]["length"] == 4
    assert first["pid"] == first["tid"] == second["pid"]
    assert first["exe"] == victim()
    assert first["comm"] == os.path.basename(victim())[:15]
    assert 0 < first["seconds"] < second["seconds"]
    # Where we are root the kernel itself was asked.
    assert first["confirmed"] is (True if os.geteuid() == 0 and not nobody else None)
    assert (data["ended"], data["exit_status"], data["signal"]) == ("itself", 3, None)
    assert done.stderr == "0 0 -1 1\n", "the command's stdout goes to stderr beside JSON"
    (stack,) = data["stacks"]
    assert stack["loads"] == [1, 2]
    assert stack["amounts_to"]["architectures"]["x86_64"]["calls"]["ERRNO(EPERM)"] == ["getppid"]


def test_text_says_who_what_when_and_how(tmp_path):
    done = seclude("dump", "--output", tmp_path / "out", "--", victim(), "both")
    assert done.status == 0
    assert "0 0 -1 1\n" in done.stdout, "the command's own output"
    for said in (
        "filter 1, 1 instruction: in force",
        "filter 2, 4 instructions: in force",
        "seccomp(SECCOMP_SET_MODE_FILTER) with LOG on x86_64",
        "on top of 1",
        "return ERRNO(EPERM)",
        "exit status 3",
        "filters 1, 2 together",
    ):
        assert said in done.stdout
    assert (tmp_path / "out" / "1.bpf").read_bytes().hex() == ALLOW
    assert json.loads((tmp_path / "out" / "dump.json").read_text())["schema"] == "seclude.dump/1"
    shown = seclude("disasm", "--arch", "x86_64", tmp_path / "out" / "2.bpf")
    assert shown.status == 0
    assert "getppid" in shown.stdout


@each_user
def test_forks_and_execs_inherit(nobody):
    _, data = dump(victim(), "fork", nobody=nobody)
    first, child, executed = data["loads"]
    assert child["pid"] != first["pid"] != executed["pid"]
    assert child["below"] == executed["below"] == [1]
    assert sorted(stack["loads"] for stack in data["stacks"]) == [[1], [1, 2], [1, 3]]


@each_user
def test_threads_have_stacks_of_their_own_and_tsync_joins_them(nobody):
    _, data = dump(victim(), "threads", nobody=nobody)
    *own, last = data["loads"]
    assert [load["below"] for load in own] == [[], [], []]
    assert len({load["tid"] for load in own}) == 3
    assert {load["pid"] for load in own} == {last["pid"]} == {last["tid"]}
    assert last["flags"] == ["TSYNC"]
    assert last["in_force"]
    assert sorted(stack["loads"] for stack in data["stacks"]) == [[1], [2], [3], [4]]


@each_user
def test_exec_by_another_thread_keeps_its_filters(nobody):
    _, data = dump(victim(), "exec", nobody=nobody)
    first, second = data["loads"]
    assert first["tid"] != first["pid"] == second["tid"]
    assert second["below"] == [1]


@each_user
@pytest.mark.parametrize("what", ["both", "fork", "threads", "strict", "bad", "refused"])
def test_32_bit_targets(what, nobody):
    wide, narrow = (dump(program, what, nobody=nobody)[1]["loads"] for program in (victim(), victim("-m32")))
    assert {load["arch"] for load in wide} == {"x86_64"}
    assert {load["arch"] for load in narrow} == {"x86"}
    keys = ["mode", "flags", "result", "in_force", "below"]
    assert [[load[key] for key in keys] for load in narrow] == [[load[key] for key in keys] for load in wide]
    assert [load["program"] and load["program"]["length"] for load in narrow] == [
        load["program"] and load["program"]["length"] for load in wide
    ]


def test_an_i386_call_from_64_bit_code():
    done, data = dump(victim(), "int80")
    if done.stderr == "-38\n":
        pytest.skip("this kernel has no i386 entry")
    (load,) = data["loads"]
    assert load["arch"] == "x86"
    assert load["program"]["bytes"] == ALLOW


@each_user
def test_strict_mode_and_its_end(nobody):
    done, data = dump(victim(), "strict", nobody=nobody)
    (load,) = data["loads"]
    assert (load["mode"], load["program"], load["in_force"]) == ("strict", None, True)
    assert done.stderr == "strict\n"
    assert data["signal"] == signal.SIGKILL


@each_user
@pytest.mark.parametrize(
    ("what", "printed", "status", "number"),
    [("trap", "2 traps\n", 0, None), ("killed", "", None, signal.SIGSYS), ("crash", "", None, signal.SIGSEGV)],
)
def test_traps_kills_and_crashes(what, printed, status, number, nobody):
    done, data = dump(victim(), what, nobody=nobody)
    assert done.stderr == printed
    assert (data["exit_status"], data["signal"]) == (status, number)
    assert [load["in_force"] for load in data["loads"]] == [True]


@each_user
def test_every_signal_is_delivered(nobody):
    done, data = dump(victim(), "signals", nobody=nobody)
    assert done.stderr == "all delivered\n"
    assert data["exit_status"] == 0


@pytest.mark.parametrize("what", ["for ever", "busy"])
def test_timeout_ends_the_tree(what):
    # Every process of the tree holds our pipes: that they are closed says that all of them are gone.
    _, data = dump("--timeout", "1s", "--", victim(), what)
    assert data["ended"] == "timeout"
    assert (data["exit_status"], data["signal"]) == (None, None)


def test_limit():
    _, data = dump("--limit", "4", "--", victim(), "many")
    assert data["ended"] == "limit"
    assert [load["number"] for load in data["loads"]] == [1, 2, 3, 4]
    assert data["exit_status"] is None


def test_a_signal_to_seclude_ends_it_with_what_was_seen():
    import subprocess
    import sys

    child = start([sys.executable, "-m", "seclude", "dump", "--style", "none", "--", victim(), "for ever"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    seen = b""
    while not seen.endswith(b"r"):
        seen += os.read(child.stdout.fileno(), 4096)
    child.terminate()
    out, _ = child.communicate(timeout=30)
    assert b"the command: ended by a signal to seclude; 1 seen\n" in out
    assert child.returncode == 0


@each_user
def test_what_the_kernel_refuses_is_shown(nobody):
    _, data = dump(victim(), "bad", nobody=nobody)
    loads = data["loads"]
    assert [load["result"] for load in loads] == [-14, -22, -22, -14, -22, -22]
    assert not any(load["in_force"] for load in loads)
    assert "cannot be read" in loads[0]["problem"]
    assert "0 instructions" in loads[1]["problem"]
    assert loads[4]["flags"] == ["0x40"]
    assert loads[5]["program"]["length"] == 1
    assert data["stacks"] == []


def test_what_an_earlier_filter_refuses_or_kills():
    _, data = dump(victim(), "refused")
    assert [load["result"] for load in data["loads"]] == [0, -1, 0, None]
    assert [load["in_force"] for load in data["loads"]] == [True, False, True, False]
    assert data["signal"] == signal.SIGSYS


@each_user
def test_a_target_that_hides_its_memory(nobody):
    _, data = dump(victim(), "hidden", nobody=nobody)
    (load,) = data["loads"]
    assert load["program"]["bytes"] == ALLOW
    assert load["in_force"]


@each_user
def test_a_real_program_does_the_same(nobody):
    command = ["sh", "-c", "seq 3 | sed s/^/x/; (exit 4); echo $?; trap 'echo caught' USR1; kill -USR1 $$; exit 5"]
    alone = run(command, nobody=nobody)
    watched, data = dump("--", *command, nobody=nobody)
    assert watched.stderr == alone.stdout
    assert data["exit_status"] == alone.status == 5
    assert watched.status == 1, "no filter was found"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no command given"),
        (("--", "/nonexistent/program"), "no such file"),
        (("--", "no-such-command-anywhere"), "command not found"),
        (("--", "/etc/passwd"), "Permission denied"),
        (("--limit", "0", "true"), "no count"),
        (("--timeout", "soon", "true"), "not a time"),
        (("--pid", "0"), "no process id"),
        (("--pid", "1", "true"), "not both"),
        (("--pid", "99999999999"), "no process id"),
        (("--pid", "2147483647"), "no process has the id"),
        (("--pid", "1", "--limit", "2"), "only read"),
    ],
)
def test_usage(words, said):
    done = seclude("dump", *words)
    assert done.status == 125, str(done)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


# ── live processes ──────────────────────────────────────────────────────────────────────────────────────────────────


class Running:
    """A victim that has said it is ready, killed at the end."""

    def __init__(self, what, *options, nobody=False):
        import subprocess

        self.child = start([victim(*options), what], nobody=nobody, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")

    def __enter__(self):
        assert self.child.stdout is not None
        assert self.child.stdout.read(1) == b"r"
        return self.child.pid

    def __exit__(self, *_):
        self.child.kill()
        self.child.communicate()


@pytest.mark.parametrize("options", [(), ("-m32",)])
@each_user
def test_live_threads(options, nobody):
    need_root()
    with Running("live", *options, nobody=nobody) as pid:
        for _ in range(2):  # it does not notice, so it can be asked again
            done, data = dump("--pid", str(pid))
            assert done.status == 0, str(done)
            by_count = {len(thread["filters"]): thread for thread in data["threads"]}
            assert sorted(by_count) == [0, 1, 2]
            assert by_count[0]["mode"] == 0
            assert by_count[1]["filters"][0]["flags"] == ["LOG"]
            assert by_count[2]["tids"] == [pid]
            assert [one["length"] for one in by_count[2]["filters"]] == [1, 4]
            assert by_count[2]["filters"][1]["flags"] == []
            assert by_count[2]["no_new_privs"]
            assert data["process"]["arch"] == ("x86" if options else "x86_64")
        text = seclude("dump", "--pid", str(pid))
        assert "filter 2 of 2 (newest)" in text.stdout
        with open(f"/proc/{pid}/status") as status:
            assert "TracerPid:\t0\n" in status.read()


def test_live_strict_and_none():
    with Running("live strict") as pid:
        # It may be on its way from telling to being strict.
        for _ in range(2000):
            done, data = dump("--pid", str(pid))
            if data["threads"][0]["mode"] == 1:
                break
        assert done.status == 0
        assert data["threads"][0]["mode"] == 1
    with Running("plain") as pid:
        done, data = dump("--pid", str(pid), nobody=True)
        assert done.status == 1
        assert data["threads"][0]["mode"] == 0


def test_a_target_that_loads_filters_meanwhile_is_read_whole():
    need_root()
    with Running("growing") as pid:
        counts = []
        for _ in range(4):
            _, data = dump("--pid", str(pid))
            (thread,) = data["threads"]
            answers = [int.from_bytes(bytes.fromhex(one["bytes"])[20:22], "little") for one in thread["filters"]]
            assert answers == list(range(1, len(answers) + 1))
            counts.append(len(answers))
        assert counts == sorted(counts)
        assert counts[0] >= 3


def test_no_right_is_named():
    with Running("live") as pid:
        done = seclude("dump", "--pid", str(pid), nobody=True)
        assert done.status == 125
        assert "CAP_SYS_ADMIN" in done.stderr


def test_another_tracer_is_named():
    need_root()
    with Running("live") as pid:
        code = """
        import os, sys
        from seclude.kernel import ptrace
        ptrace.seize(int(sys.argv[1]), 0)
        os.write(1, b"s")
        os.read(0, 1)
        """
        import subprocess
        import sys
        from textwrap import dedent

        tracer = start([sys.executable, "-c", dedent(code), str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert tracer.stdout is not None
        assert tracer.stdout.read(1) == b"s"
        done = seclude("dump", "--pid", str(pid))
        tracer.communicate(b"x")
        assert done.status == 125
        assert f"is traced by process {tracer.pid}" in done.stderr


def test_a_pid_that_is_a_thread_or_a_zombie():
    need_root()
    with Running("live") as pid:
        thread = max(int(name) for name in os.listdir(f"/proc/{pid}/task"))
        done = seclude("dump", "--pid", str(thread))
        assert done.status == 125
        assert f"name the process: {pid}" in done.stderr
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    done = seclude("dump", "--pid", str(child))
    os.waitpid(child, 0)
    assert done.status in (1, 125)
    assert "Traceback" not in done.stderr


def test_under_a_filter_of_our_own_the_kernel_shows_nothing():
    need_root()
    with Running("live") as pid:
        done = seclude("run", "--policy", "container", "--allow", "ptrace", "--", victim(), "both")
        assert done.status is not None
        code = """
        import sys
        from seclude.policy import parse
        import seclude
        seclude.parse("default allow").install()
        from seclude.cli.main import main
        sys.exit(main(["dump", "--pid", sys.argv[1]]))
        """
        from support import run_python

        done = run_python(code, str(pid))
        assert done.status == 125
        assert "under seccomp itself" in done.stderr


@each_user
def test_probes_of_libraries_are_no_filters(nobody):
    _, data = dump("--limit", "2", "--", victim(), "probes", nobody=nobody)
    assert [load["mode"] for load in data["loads"]] == ["probe", "probe", "filter", "filter"]
    assert [load["result"] for load in data["loads"]] == [-14, -22, 0, 0]
    assert data["ended"] == "limit"
    shown = seclude("dump", "--style", "none", "--", victim(), "probes", nobody=nobody).stdout
    assert "flags TSYNC: known\n" in shown
    assert "flags 0x100000: refused with EINVAL\n" in shown
    assert "; 2 seen\n" in shown
    assert "filters 3 and alike 4, what that amounts to:" in shown


@each_user
def test_the_documented_fields_are_the_fields(nobody):
    """docs/reference/filter-json.md names every field of a dump, and none besides."""
    from support import ROOT

    page = (ROOT / "docs" / "reference" / "filter-json.md").read_text()
    of_command = page.partition("## seclude.dump/1")[2]
    _, data = dump(victim(), "both", nobody=nobody)
    names = {*data, *data["loads"][0], *data["loads"][0]["program"], *data["stacks"][0], *data["stacks"][0]["amounts_to"]} - {"schema"}
    assert {name for name in names if f"`{name}`" not in of_command} == set()
