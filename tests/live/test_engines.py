"""The same handlers and the same programs on both engines, on the real kernel: what a program sees is the engine's business nowhere."""

from __future__ import annotations

import os
import platform
import sys

import pytest

import support
from engine_support import ALL, POLICY, VICTIM, handlers
from run_support import ALLOW, c_program, policy, public, python, run, who
from support import need_program

pytestmark = [pytest.mark.live, pytest.mark.slow]

ENGINES = ["notify", "ptrace"]


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture(params=who())
def nobody(request):
    return request.param


@pytest.fixture
def log():
    """A file that handlers of any user can write."""
    path = public() / f"log{os.getpid()}"
    path.write_text("")
    path.chmod(0o666)
    yield path
    path.unlink()


@pytest.fixture
def victim():
    return c_program(VICTIM, "-pthread")


@pytest.fixture
def under(engine, nobody, log):
    """``under(command...)``: run it with these handlers, on the engine and as the user of this round."""

    def start(*command, text=POLICY, names=ALL, options=(), **more):
        return run(*command, text=text, options=(*handlers(log, *names), "--engine", engine, *options), nobody=nobody, **more)

    return start


def test_every_verdict_reaches_the_program(under, victim):
    numbers = ("5000000", "11", "12", "13", "15", "16", "17", "18", "19", "20", "21", "22")
    ran = under(victim, "verdicts", *numbers)
    lines = dict(line.split(" ", 1) for line in ran.done.stdout.splitlines())
    assert lines.pop("5000000") == "-1 3", str(ran.done)  # ESRCH: the kernel's own answer
    assert lines == {
        "11": "-1 13", "12": "1212 0", "13": "-1 1", "15": "1515 0", "16": "-1 28", "17": "-1 18", "18": "-1 1", "19": "-1 4095",
        "20": f"{(1 << 40) + 7} 0", "21": "-1 1", "22": "64 0",
    }  # fmt: skip
    told = {denial["text"]: (denial["result"], denial["reason"]) for denial in ran.denials}
    assert told.keys() == {f"getpgid({number})" for number in (11, 13, 17, 18, 21)}
    assert told["getpgid(11)"] == ("EACCES", "handler decide: eleven")
    assert "RuntimeError: thirteen" in told["getpgid(13)"][1]
    assert "answered Skip, which it does not declare" in told["getpgid(18)"][1]


def test_a_kill_ends_the_process_before_its_call(under, victim):
    ran = under(victim, "verdicts", "12", "14", "12")
    assert ran.report["signal"] == 9, str(ran.done)
    assert ran.done.stdout == "12 1212 0\n"
    assert ran.denied("getpgid")["result"] == "SIGKILL"


def test_threads_wait_for_their_own_calls_only(under, victim):
    ran = under(victim, "threads")
    assert ran.done.stdout == "bad 0\n", str(ran.done)


def test_processes_and_their_programs_are_followed(under, victim):
    ran = under(victim, "tree")
    assert (ran.done.stdout, ran.report["code"]) == ("tree\n", 0), str(ran.done)


def test_exec_by_another_thread_while_the_first_stands_in_a_call(under, victim, log):
    ran = under(victim, "leave")
    assert ran.done.stdout == "free 31 0\n12 1212 0\n34 34 0\n", str(ran.done)
    assert log.read_text() in ("", "undone 30\n")  # the run may be over before the late handler is


def test_a_program_killed_in_its_call_holds_nobody(under, victim):
    ran = under(victim, "kill")
    assert ran.done.stdout == "killed 9\nfree 31 0\n", str(ran.done)


def test_a_program_stopped_in_its_call_stops_behind_it_and_goes_on(under, victim):
    ran = under(victim, "stop")
    lines = ran.done.stdout.splitlines()
    assert set(lines[:2]) <= {"free 31 0", "held 30 0", "stopped 19"}, str(ran.done)
    assert [line for line in lines if line != "held 30 0"] == ["free 31 0", "stopped 19", "continued 1", "ended 7"], str(ran.done)
    assert "held 30 0" in lines


def test_signals_arrive_as_they_were_sent_and_no_effect_happens_twice(under, victim):
    ran = under(victim, "signals")
    numbers = (10, 5, 37, 17, 31)
    assert ran.done.stdout.splitlines() == [
        *(f"signal {number} code -1 value {40 + index} own 1" for index, number in enumerate(numbers)),
        "wrong 0 ticks 1",
    ], str(ran.done)


def test_a_filter_of_the_targets_own_that_says_trace_opens_nothing(under, victim):
    ran = under(victim, "own")
    assert ran.done.stdout == "filter 0 0\ntimes -1 38\n12 1212 0\n11 -1 13\n", str(ran.done)


def test_what_an_emulated_call_gives_back_is_in_the_targets_memory(under, victim):
    ran = under(victim, "place", "7")
    assert ran.done.stdout.splitlines() == ["getcwd 7 0", "/place", "nowhere -1 14"], str(ran.done)
    ran = under(victim, "place", "6")
    assert ran.done.stdout.splitlines() == ["getcwd -1 1", "x" * 63, "nowhere -1 1"], str(ran.done)


PYTHON = """
import ctypes, os, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(*words):
    result = libc.syscall(*words)
    return result if result >= 0 else -ctypes.get_errno()
GETPRIORITY, GETPPID = {getpriority}, {getppid}
out = []
threads = [threading.Thread(target=lambda n=n: out.append(call(GETPRIORITY, 0, n))) for n in range(100, 104)]
for one in threads: one.start()
for one in threads: one.join()
print(sorted(out), call(GETPRIORITY, 1, 5), call(GETPPID))
for path in ("/gone", "/"):
    try: os.chdir(path); print("there")
    except OSError as error: print(error.errno)
"""


def test_async_handlers_trace_data_and_memory_in_a_python_program(under):
    from seclude.abi import native

    numbers = {name: native().number(name) for name in ("getpriority", "getppid")}
    ran = under(support.nobody_python(), "-c", PYTHON.format(**numbers))
    assert ran.done.stdout.splitlines() == ["[100, 101, 102, 103] -1 7", "2", "1"], str(ran.done)
    assert any("after looking at the target's memory" in denial["reason"] for denial in ran.denials)


def test_a_call_that_no_handler_takes_is_enosys_and_told(under, victim):
    ran = under(victim, "slow", "34", names=("decide",))
    assert ran.done.stdout == "34 -1 38\n", str(ran.done)
    assert ran.denied("getsid")["result"] == "ENOSYS"


x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="an x86-64 kernel's compatible calls")


@x86
def test_an_i386_call_from_64_bit_code_is_one(under, victim):
    ran = under(victim, "int80", "22", "12", "11", "19")
    assert ran.done.stdout.splitlines() == ["22 32", "12 1212", "11 -13", "19 -4095"], str(ran.done)


@x86
def test_an_i386_program(under):
    ran = under(c_program(VICTIM, "-pthread", "-m32"), "verdicts", "22", "12", "11", "15", "20")
    assert ran.done.stdout.splitlines() == ["22 32 0", "12 1212 0", "11 -1 13", "15 1515 0", "20 7 0"], str(ran.done)
    ran = under(c_program(VICTIM, "-pthread", "-m32"), "threads")
    assert ran.done.stdout == "bad 0\n", str(ran.done)


#: processes at once, and calls of each; with HYPOTHESIS_PROFILE=soak enough that a leak of anything shows
CROWD = ("64", "400") if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else ("24", "10")


@pytest.mark.soak
def test_a_crowd_of_processes_threads_kills_and_execs_leaves_nothing_behind(under, victim, log):
    ran = under(victim, "crowd", *CROWD)
    assert ran.done.stdout == f"wrong 0 killed {int(CROWD[0]) // 8}\n", str(ran.done)
    (before, pages, _), (after, more, threads) = (map(int, line.split()) for line in log.read_text().splitlines())
    assert after <= before, "descriptors of the supervisor's"
    assert (more - pages) * os.sysconf("SC_PAGESIZE") < 8 << 20, "memory of the supervisor's"
    assert threads <= 18


CLONE_UNTRACED, CLONE_NEWUSER, CLONE_NEWPID = 0x00800000, 0x10000000, 0x20000000


def test_a_process_that_no_tracer_may_follow_gets_no_call_through(under, victim, engine):
    ran = under(victim, "apart", str(CLONE_UNTRACED))
    asked = ["11 -1 13", "12 1212 0", "34 34 0"] if engine == "notify" else ["11 -1 38", "12 -1 38", "34 -1 38"]
    assert ran.done.stdout.splitlines() == [*asked, "12 1212 0"], str(ran.done)


def test_a_process_in_namespaces_of_its_own(under, victim):
    ran = under(victim, "apart", str(CLONE_NEWUSER | CLONE_NEWPID))
    if ran.done.stdout.startswith("not made"):
        pytest.skip("this kernel makes no user namespaces for this user")
    assert ran.done.stdout.splitlines() == ["11 -1 13", "12 1212 0", "34 34 0", "12 1212 0"], str(ran.done)


# -- what only ptrace can do

REWRITTEN = ALLOW + "errno(EXDEV) getpgid(pid == 13)\nkill getpgid(pid == 14)\nnotify getpgid\n"


@pytest.mark.parametrize("engine", ["ptrace", "auto"])
def test_a_rewritten_call_runs_with_its_new_arguments_unless_the_policy_denies_it(under, victim):
    ran = under(victim, "verdicts", "100", "5000000", "113", "12", text=REWRITTEN, names=("other",))
    lines = ran.done.stdout.splitlines()
    assert lines[1:] == ["5000000 -1 3", "113 -1 18", "12 1212 0"], str(ran.done)
    assert int(lines[0].split()[1]) > 0
    assert "rewrote it into a call for which the policy says errno" in ran.denied("getpgid")["reason"]
    ran = under(victim, "verdicts", "114", "12", text=REWRITTEN, names=("other",))
    assert (ran.report["signal"], ran.done.stdout) == (9, ""), str(ran.done)


@x86
@pytest.mark.parametrize("engine", ["ptrace"])
def test_i386_calls_are_rewritten_too(under, victim):
    ran = under(victim, "int80", "113", "12", "100", text=REWRITTEN, names=("other",))
    lines = ran.done.stdout.splitlines()
    assert lines[:2] == ["113 -18", "12 1212"], str(ran.done)
    assert int(lines[2].split()[1]) > 0
    ran = under(c_program(VICTIM, "-pthread", "-m32"), "verdicts", "113", "12", "100", text=REWRITTEN, names=("other",))
    lines = ran.done.stdout.splitlines()
    assert lines[:2] == ["113 -1 18", "12 1212 0"], str(ran.done)
    assert int(lines[2].split()[1]) > 0


@pytest.mark.parametrize("engine", ["ptrace"])
def test_without_a_listener_a_tracer_can_still_ask(under, victim):
    """The machine may have a listener already, or none to give: notify needs one, ptrace does not."""
    ran = under(victim, "verdicts", "12", "11", options=("--no-report",))
    assert (ran.done.stdout, ran.report["reporting"]) == ("12 1212 0\n11 -1 13\n", "ptrace"), str(ran.done)
    ran = under(victim, "threads", options=("--no-report",))
    assert ran.done.stdout == "bad 0\n", str(ran.done)


@pytest.mark.parametrize("engine", ["ptrace"])
def test_where_the_target_cannot_be_traced_it_is_not_started(under, nobody, log):
    done = start_only(("--no-ptrace",), "ptrace", nobody, log, "echo", "started")
    assert (done.status, done.stdout) == (125, "")
    assert "the ptrace engine decides calls, and this run does not trace" in done.stderr
    tracer = need_program("strace")
    done = start_only((), "ptrace", nobody, log, "echo", "started", before=(tracer, "-f", "-o", "/dev/null"))
    assert (done.status, done.stdout) == (125, "")
    assert "the target cannot be traced" in done.stderr


@pytest.mark.parametrize("nobody", [False])
def test_what_an_engine_cannot_give_is_refused_before_anything_runs(engine, nobody, log):
    name, verdict, other = {"notify": ("other", "Rewrite, Skip", "ptrace"), "ptrace": ("give", "Inject", "notify")}[engine]
    done = start_only((), engine, nobody, log, "echo", "started", names=(name,), text=REWRITTEN)
    assert (done.status, done.stdout) == (125, "")
    assert f"handler {name} may answer {verdict}, which the engine {engine} cannot do" in done.stderr
    assert f"try --engine {other}" in done.stderr


@pytest.mark.parametrize(
    ("name", "engine", "options", "told", "remedy"),
    [
        ("decide", "ptrace", ("--read", "/usr"), "--read needs the engine notify", "try --engine notify, or leave out --read\n"),
        (
            "decide", "ptrace", ("--write", "/tmp", "--hide", "/root"), "--write and --hide need the engine notify",
            "try --engine notify, or leave out --write and --hide\n",
        ),
        ("decide", "ptrace", ("--exec", "/bin/ls"), "--exec needs the engine notify", "try --engine notify, or leave out --exec\n"),
        (
            "other", "auto", ("--read", "/usr", "--connect", "127.0.0.1:9"), "--read needs the engine notify",
            "leave out --read: handler other may answer",
        ),
    ],
)  # fmt: skip
def test_an_option_that_needs_the_other_engine_says_so(name, engine, options, told, remedy, log):
    done = start_only(options, engine, False, log, "echo", "started", names=(name,), text=REWRITTEN)
    assert (done.status, done.stdout) == (125, "")
    assert f"seclude: {told}: " in done.stderr, str(done)
    assert f"\n  {remedy}" in done.stderr, str(done)


def test_addresses_are_brokered_on_both_engines(under):
    code = "import socket\nfor port in (9, 10):\n try: socket.socket().connect(('127.0.0.1', port))\n except OSError as error: print(error.strerror)"
    ran = under(python(), "-c", code, text=ALLOW + "notify getpgid, getsid\n", names=("decide",), options=("--connect", "127.0.0.1:9"))
    assert ran.done.stdout == "Connection refused\nPermission denied\n", str(ran.done)
    assert ran.denied("connect")["reason"] == "127.0.0.1:10 is not granted by --connect"


@pytest.mark.parametrize("engine", ["notify"])
def test_a_descriptor_is_given_where_the_engine_can(under, victim):
    ran = under(victim, "verdicts", "12", text=REWRITTEN, names=("give",))
    assert ran.done.stdout == "12 3 0\n", str(ran.done)


def start_only(options, engine, nobody, log, *command, before=(), names=ALL, text=POLICY):
    """A run that may be refused, and so has no report."""
    interpreter = support.nobody_python() if nobody else sys.executable
    return support.run(
        [*before, interpreter, "-m", "seclude", "run", "--policy", policy(text), *handlers(log, *names), "--engine", engine, *options, "--", *command],
        nobody=nobody,
    )  # fmt: skip


@pytest.mark.parametrize("nobody", [False])
def test_seclude_in_seclude(under, victim, nobody):
    """The inner run has no listener and no tracer of its own then, and its calls are decided by the outer one's handlers."""
    inner = policy(ALLOW + "errno(EXDEV) getsid\n")
    interpreter = support.nobody_python() if nobody else sys.executable
    command = (interpreter, "-m", "seclude", "run", "--policy", inner, "--", victim)
    outer = {"text": ALLOW + "notify getpgid, getsid\n", "names": ("decide", "slow")}  # a supervisor asks who its parent is
    ran = under(*command, "verdicts", "12", "11", "15", **outer)
    assert ran.done.stdout.splitlines() == ["12 1212 0", "11 -1 13", "15 1515 0"], str(ran.done)
    ran = under(*command, "slow", "34", **outer)
    assert ran.done.stdout == "34 -1 18\n", str(ran.done)


@pytest.mark.parametrize("engine", ["ptrace"])
def test_a_trace_shows_what_was_asked_for_while_handlers_decide(under, victim):
    ran = under(victim, "verdicts", "12", "11", "15", options=("--trace", "getpgid"))
    told = [line.split() for line in ran.done.stderr.splitlines() if line.startswith("getpgid(")]
    ended = [(words[0], words[2]) for words in told if "=" in words]
    assert ended == [("getpgid(12)", "1212"), ("getpgid(11)", "-1"), ("getpgid(15)", "1515")], str(ran.done)
    ran = under(victim, "verdicts", "12", "11", "15", options=("--trace", "brk"))
    assert "getpgid(" not in ran.done.stderr[: ran.done.stderr.rindex("\n{")], str(ran.done)
    assert "12 1212 0\n" in ran.done.stdout


@pytest.mark.parametrize("nobody", [False])
def test_a_handler_that_does_not_answer_holds_no_limit_up(under, victim):
    ran = under(victim, "slow", "30", options=("--wall", "1s"))
    assert (ran.report["code"], ran.report["limit"], ran.done.stdout) == (124, "wall", ""), str(ran.done)
