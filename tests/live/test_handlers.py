"""Handlers on the real kernel, under the command: what they answer is what the target gets, and what denies is told."""

import os
import sys

import pytest

import support
from run_support import ALLOW, c_program, gone, policy, public, python, run, who

pytestmark = pytest.mark.live

HANDLERS = """
import os
from seclude.supervise import Allow, Call, Deny, Emulate, Inject, Kill, Return, handler

@handler("getpgid")
def group(call):
    if call.args["pid"] == 0:
        return Allow()
    return Deny("EACCES", "not your group")

@handler("getppid", may={Return})
def parent(call):
    return Return(4242)

@handler("chdir")
def careless(call):
    return Deny("ENOENT") if call.path("path") == "/gone" else Allow()
"""

VICTIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
static void show(const char *what, long result) { printf("%s %ld %d\n", what, result < 0 ? -1 : result, result < 0 ? errno : 0); }
int main(void) {
    show("own", getpgid(0) == getpgrp());
    show("other", getpgid(1));
    show("parent", getppid());
    show("gone", chdir("/gone"));
    show("root", chdir("/"));
    return 0;
}
"""


def handlers(text: str) -> str:
    """A file with handlers that every user can read."""
    path = public() / f"handlers{abs(hash(text)):x}.py"
    path.write_text(text)
    path.chmod(0o644)
    return str(path)


def options(text: str, *names: str) -> tuple[str, ...]:
    file = handlers(text)
    return tuple(word for name in names for word in ("--handler", f"{file}:{name}"))


@pytest.mark.parametrize("nobody", who())
def test_a_handlers_answer_is_what_the_target_gets_and_denials_are_told(nobody):
    ran = run(
        c_program(VICTIM), text=ALLOW + "notify getpgid, getppid, chdir\n", options=options(HANDLERS, "group", "parent", "careless"),
        nobody=nobody,
    )  # fmt: skip
    lines = ran.done.stdout.splitlines()
    assert lines == ["own 1 0", "other -1 13", "parent 4242 0", "gone -1 2", "root -1 1"], str(ran.done)
    denied = ran.denied("getpgid")
    assert (denied["action"], denied["result"], denied["reason"], denied["count"]) == (
        "handler",
        "EACCES",
        "handler group: not your group",
        1,
    )
    refused = [denial for denial in ran.denials if denial["call"] == "chdir" and denial["result"] == "EPERM"]
    assert len(refused) == 1
    assert "after looking at the target's memory" in refused[0]["reason"]


MORE = """
import asyncio, os, time
from seclude.supervise import Allow, Deny, Emulate, Inject, Kill, Return, Rewrite, handler

@handler("getppid", may={Return})
async def parent(call):
    await asyncio.sleep(0.001)
    return Return(4242)

@handler("getpgid", threads=True)
def raises(call):
    raise ValueError("on purpose")

@handler("chdir", may={Emulate, Deny})
def emulated(call):
    return Emulate(lambda call: -2 if call.path("path") == "/gone" else 0)

@handler("chdir", may={Inject, Rewrite})
def impossible(call):
    return Rewrite([0])

@handler("chdir", may={Rewrite})
def rewritten(call):
    return Rewrite([0])

@handler("chdir", "getcwd")
def astray(call):
    return Allow()

@handler("@network-io")
def nowhere(call):
    return Allow()

no_handler = 3
"""
ALL_THREE = ALLOW + "notify getpgid, getppid, chdir\n"


@pytest.mark.parametrize("engine", ["notify", "ptrace"])
def test_async_threads_and_emulation(engine):
    ran = run(
        c_program(VICTIM), text=ALL_THREE, options=(*options(MORE, "parent", "raises", "emulated"), "--engine", engine)
    )  # fmt: skip
    assert ran.done.stdout.splitlines() == ["own 0 0", "other -1 1", "parent 4242 0", "gone -1 2", "root 0 0"], str(ran.done)
    assert [(denial["call"], denial["count"]) for denial in ran.denials] == [("getpgid", 1), ("getpgid", 1)]
    assert ran.denials[0]["reason"].startswith("handler raises raised ValueError: on purpose (handlers")


@pytest.mark.parametrize(
    ("names", "engine", "said"),
    [
        (("impossible",), "auto", "no engine can give every verdict that the handlers declare: notify lacks Rewrite, ptrace lacks Inject"),
        (("rewritten",), "notify", "handler rewritten may answer Rewrite, which the engine notify cannot do"),
        (("astray",), "auto", "handler astray: under the policy"),
        (("nowhere",), "auto", "none of its calls reaches it"),
        (("no_handler",), "auto", "no_handler is a int, no handler"),
        (("missing",), "auto", "has no 'missing'"),
    ],
)
def test_handlers_that_cannot_be_meant_are_refused_before_anything_runs(names, engine, said):
    done = support.seclude(
        "run", "--policy", policy(ALL_THREE), *options(MORE, *names), "--engine", engine, "--", "sh", "-c", "echo ran"
    )  # fmt: skip
    assert done.status == 125, str(done)
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nonexistent_module_of_a_test", "ModuleNotFoundError"),
        ("1/0", "ZeroDivisionError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("def (", "SyntaxError"),
        (
            """
import threading, time
from seclude.supervise import Allow, handler
threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
@handler('chdir')
def x(call): return Allow()
""",
            "started threads",
        ),
    ],
)
def test_a_module_that_cannot_be_used_is_one_line(text, said):
    done = support.seclude("run", "--policy", policy(ALL_THREE), *options(text, "x"), "--", "sh", "-c", "echo ran")
    assert (done.status, done.stdout) == (125, ""), str(done)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_verdict_chooses_the_engine():
    ran = run(c_program(VICTIM), text=ALLOW + "notify chdir\n", options=options(MORE, "rewritten"))
    assert ran.done.stdout.splitlines()[-2:] == ["gone -1 14", "root -1 14"]  # chdir(NULL): EFAULT


def test_under_a_supervisor_with_a_listener_the_other_engine_still_decides():
    """One listener a process: a run inside a run cannot have its own, and says what can be done."""
    inner = [*options(MORE, "parent"), "--policy", policy(ALLOW + "notify getppid\n")]
    for engine, status, out, said in (
        ("notify", 125, "", "try --engine ptrace, which needs no listener"),
        ("ptrace", 0, "parent 4242 0\n", ""),
        ("auto", 0, "parent 4242 0\n", "calls are decided by ptrace instead (as with --engine ptrace)\n"),
    ):
        done = nested("default allow\n", *inner, "--engine", engine, "--", c_program(VICTIM))
        assert done.status == status, str(done)
        assert out in done.stdout
        assert said in done.stderr


def nested(outer, *inner, options=(), **more):
    """A run in a run: the outer one has a listener, and no tracer unless its policy forbids to trace."""
    command = (python(), "-m", "seclude", "run", *inner)
    return support.seclude("run", "--policy", policy(outer), "--report", "none", *options, "--", *command, **more)


INJECTING = """
import os
from seclude.supervise import Allow, Deny, Inject, handler
@handler('getppid', may={Allow, Deny, Inject})
def give(call): return Inject(os.open('/dev/null', os.O_RDONLY))
@handler('getppid')
def allow(call): return Allow()
"""


@pytest.mark.parametrize(
    ("outer", "name", "rest", "said", "remedy"),
    [
        # One that needs descriptors to be given cannot do with the other engine.
        ("default allow\n", "give", (), "which need a supervisor, but denials are not reported: this process is under a filter", "run it where there is no such filter"),
        ("default allow\n", "allow", ("--read", "/usr"), "--read: files are decided by a supervisor, but denials are not reported: ", "run it where"),
        ("default allow\n", "allow", ("--no-ptrace",), "neither can be had: denials are not reported: ", "see: seclude doctor"),
        # The outer run traces too, and a thread has one tracer.
        (ALLOW, "allow", (), "calls are decided through a listener or by a tracer, and neither can be had: ", "see: seclude doctor"),
    ],
)  # fmt: skip
def test_where_neither_engine_can_be_had_it_is_one_line(outer, name, rest, said, remedy):
    inner = [*options(INJECTING, name), "--policy", policy(ALLOW + "notify getppid\n"), *rest]
    done = nested(outer, *inner, "--", "sh", "-c", "echo ran")
    assert (done.status, done.stdout) == (125, ""), str(done)
    first, second = done.stderr.splitlines()
    assert said in first, str(done)
    assert remedy in second, str(done)


def test_where_a_filter_hides_listeners_the_other_engine_decides():
    """As on a kernel that has none, or none that can be waited at."""
    hiding = "default allow\nerrno(EINVAL) seccomp(op == SECCOMP_SET_MODE_FILTER and flags & 8 != 0)\n"  # SECCOMP_FILTER_FLAG_NEW_LISTENER
    inner = [*options(MORE, "parent"), "--policy", policy(ALLOW + "notify getppid\n")]
    done = nested(hiding, *inner, "--", c_program(VICTIM), options=("--no-report", "--no-ptrace"))
    assert done.status == 0, str(done)
    assert "parent 4242 0\n" in done.stdout
    assert "calls are decided by ptrace instead" in done.stderr


def test_addresses_are_brokered_by_the_other_engine_too():
    code = "import socket\nfor port in (9, 10):\n try: socket.socket().connect(('127.0.0.1', port))\n except OSError as error: print(error.strerror)"
    inner = ["--policy", policy(ALLOW), "--connect", "127.0.0.1:9"]
    done = nested("default allow\n", *inner, "--", python(), "-c", code)
    assert done.stdout == "Connection refused\nPermission denied\n", str(done)
    assert "127.0.0.1:10 is not granted by --connect" in done.stderr


def test_handlers_of_the_library_are_asked_by_the_other_engine_too():
    """What one of them allowed after a look is refused then: there is nobody who could do it on the copy."""
    code = f"""
import seclude
from seclude.supervise import Allow, Return, handler
@handler('getppid', may={{Allow, Return}})
def parent(call): return Return(4242)
@handler('chdir')
def look(call):
    call.path(0)
    return Allow()
result = seclude.run([{python()!r}, '-c', 'import os; print(os.getppid(), flush=True); os.chdir("/")'], policy={policy(ALLOW + "notify getppid, chdir" + chr(10))!r},
                     handlers=[parent, look], capture=True, env={{}})
print(result.stdout, result.stderr[-40:], [denial.reason[:37] for denial in result.denials], result.notes[-1])
"""
    done = support.seclude("run", "--policy", policy("default allow\n"), "--report", "none", "--", python(), "-c", code)
    assert done.stdout.startswith("b'4242\\n' "), str(done)
    assert "['handler look allowed it after looking']" in done.stdout, str(done)
    assert "calls are decided by ptrace instead" in done.stdout


def test_few_descriptors_are_enough_or_the_shortage_is_said():
    for limit, status in ((12, 125), (24, 0)):
        words = ["run", "--policy", policy(ALLOW + "notify getppid\n"), *options(MORE, "parent"), "--", c_program(VICTIM)]
        done = support.run_python(
            f"""
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
os.execv(sys.executable, [sys.executable, "-m", "seclude", *sys.argv[1:]])
""",
            *words,
        )
        assert done.status == status, str(done)
        assert ("parent 4242 0" in done.stdout) == (status == 0)
        assert (status == 0) or "no descriptor is free" in done.stderr


# -- in the host of seclude.run

HOST = """
import asyncio, os, signal, sys, threading, time
import seclude
from seclude.supervise import Allow, Deny, Emulate, Inject, Kill, Return, handler

PROGRAM, POLICY, ENGINE = sys.argv[1:4]
here = (os.getpid(), threading.get_ident())
seen = []

@handler("getpgid")
def group(call):
    seen.append((os.getpid(), threading.get_ident()) == here)
    return Allow() if call.args["pid"] == 0 else Deny("EACCES", "not your group")

@handler("getppid", may={Return})
async def parent(call):
    await asyncio.sleep(0)
    return Return(4242)

@handler("chdir", may={Emulate}, threads=True)
def slow(call):
    seen.append(threading.get_ident() != here[1])
    return Emulate(lambda call: -2 if call.path("path") == "/gone" else 0)

def once():
    return seclude.run([PROGRAM], policy=POLICY, handlers=[group, parent, slow], engine=ENGINE, capture=True)
"""


def host(code, engine="notify", nobody=False, text=ALL_THREE, **options):
    done = support.run_python(HOST + code, c_program(VICTIM), policy(text), engine, nobody=nobody, **options)
    assert done.status == 0, str(done)
    return done.stdout.splitlines()


@pytest.mark.parametrize("engine", ["notify", "ptrace"])
@pytest.mark.parametrize("nobody", who())
def test_handlers_of_the_library_decide_in_the_host(engine, nobody):
    out = host(
        "r = once()\nprint(r.stdout.decode() + repr([(d.call, d.result, d.reason, d.count) for d in r.denials]), seen)", engine, nobody
    )
    assert out[:5] == ["own 1 0", "other -1 13", "parent 4242 0", "gone -1 2", "root 0 0"]
    assert out[5] == "[('getpgid', 'EACCES', 'handler group: not your group', 1)] [True, True, True, True]"


def test_a_host_with_handlers_keeps_nothing_of_its_runs():
    out = host(
        """
from pathlib import Path
def rest():
    # A thread that was told to leave does so in its own time.
    while len(os.listdir("/proc/self/task")) > 1:
        os.sched_yield()
    return sorted(os.listdir("/proc/self/fd"))
once()
before = rest()
for _ in range(4):
    once()
print(rest() == before, threading.active_count())
"""
    )
    assert out == ["True 1"]


def test_an_interrupt_in_a_handler_is_the_hosts_own():
    out = host(
        """
@handler("getpgid")
def interrupted(call):
    raise KeyboardInterrupt
try:
    seclude.run([PROGRAM], policy=POLICY, handlers=[interrupted, parent, slow], capture=True)
except KeyboardInterrupt:
    print("interrupted", once().code)
"""
    )
    assert out == ["interrupted 0"]


def test_handlers_in_several_threads_of_a_host():
    out = host(
        """
results = []
def work():
    r = seclude.run([PROGRAM], policy=POLICY, handlers=[parent, slow, here_only()], capture=True)
    results.append((r.stdout, len(r.denials)))
def here_only():
    @handler("getpgid")
    def group(call):
        return Allow() if call.args["pid"] == 0 else Deny("EACCES")
    return group
threads = [threading.Thread(target=work) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
print(len(results), len(set(results)), results[0][1])
"""
    )
    assert out == ["4 1 1"]


def test_a_host_that_is_killed_takes_the_run_with_it():
    with support.nobody_directory() as place:
        said = place / "said"
        said.write_text("")
        child = support.start(
            [
                sys.executable, "-c",
                HOST + f"""
@handler("getpgid")
def stuck(call):
    open({str(said)!r}, "w").write(f"{{call.pid}} ")
    signal.pause()
seclude.run([PROGRAM], policy=POLICY, handlers=[stuck, parent, slow])
""",
                c_program(VICTIM), policy(ALL_THREE), "notify",
            ]
        )  # fmt: skip
        try:
            while not said.read_text().endswith(" "):
                assert child.poll() is None
                os.sched_yield()
            target = os.pidfd_open(int(said.read_text()))
            child.kill()
            child.wait()
            assert gone(target)
            os.close(target)
        finally:
            child.kill()
            child.wait()


def test_handlers_of_the_library_that_cannot_be_meant():
    out = host(
        """
from seclude import UsageError
@handler("getcwd")
def astray(call): return Allow()
for given, engine in (([astray], "auto"), ([group], "both")):
    try:
        seclude.run([PROGRAM], policy=POLICY, handlers=given, engine=engine)
    except UsageError as error:
        print(str(error).splitlines()[0][:30])
"""
    )
    assert out == ["handler astray: under the poli", "engine='both': it is 'notify',"]


# -- allowed after a look: done by the supervisor, on the copy

LOOKS = """
from seclude.supervise import Allow, Deny, handler

@handler("openat", "newfstatat", "rename")
def harmless(call):
    path = call.path(0 if call.name == "rename" else "pathname")
    return Deny("EACCES", "secret") if path.endswith("secret") else Allow()

@handler("connect")
def not_nine(call):
    address = call.sockaddr("addr")
    return Deny("ECONNREFUSED") if address.port == 9 else Allow()

@handler("openat")
def by_directory(call):
    return Allow() if call.cwd != "/nowhere" and call.path("pathname") else Deny()
"""
LOOKING = ALLOW + "notify openat, newfstatat, rename, connect\n"

FLIPS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static char path[64];
static volatile int stop;
static void *flip(void *unused) {
    size_t at = strlen(path) - 6;
    while (!stop) { memcpy(path + at, "secret", 6); memcpy(path + at, "public", 6); }
    return unused;
}
int main(int argc, char **argv) {
    pthread_t thread;
    snprintf(path, sizeof path, "%s/public", argv[1]);
    pthread_create(&thread, NULL, flip, NULL);
    int opened = 0, denied = 0, leaked = 0;
    for (int i = 0; i < atoi(argv[2]); i++) {
        char text[8] = "";
        int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
        if (fd < 0) { denied += errno == EACCES; continue; }
        opened++;
        if (read(fd, text, 6) > 0 && !memcmp(text, "secret", 6)) leaked++;
        close(fd);
    }
    stop = 1;
    pthread_join(thread, NULL);
    printf("leaked %d other %d\n", leaked, atoi(argv[2]) - opened - denied);
    return 0;
}
"""


@pytest.mark.parametrize("nobody", who())
def test_a_path_that_changes_after_it_was_read_opens_what_was_read(nobody):
    with support.nobody_directory() as place:
        place.chmod(0o755)
        for name in ("secret", "public"):
            (place / name).write_text(name)
        ran = run(
            c_program(FLIPS, "-pthread"), str(place), "400", text=ALLOW + "notify openat, newfstatat, rename\n",
            options=options(LOOKS, "harmless"), nobody=nobody,
        )  # fmt: skip
        # "other": names in the middle of a flip
        assert ran.done.stdout.startswith("leaked 0 "), str(ran.done)


def test_what_a_handler_allowed_after_a_look_is_done_as_the_kernel_would():
    with support.nobody_directory() as place:
        (place / "public").write_text("public")
        code = f"""
import os, socket
os.chdir({str(place)!r})
print(open("public").read(), os.stat("public").st_size, os.path.exists("nothing"))
os.rename("public", "other")
print(os.listdir("."), open("made", "w").write("x"))
try: open("secret", "w")
except OSError as error: print(error.strerror)
server = socket.create_server(("127.0.0.1", 0))
print(socket.create_connection(server.getsockname()).getpeername() == server.getsockname())
for address, family in ((("127.0.0.1", 9), socket.AF_INET), ("/nothing", socket.AF_UNIX)):
    try: socket.socket(family).connect(address)
    except OSError as error: print(error.strerror)
"""
        ran = run(python(), "-c", code, text=LOOKING, options=options(LOOKS, "harmless", "not_nine"))
        assert ran.done.stdout.splitlines() == [
            "public 6 False", "['other'] 1", "Permission denied", "True", "Connection refused", "Operation not permitted",
        ], str(ran.done)  # fmt: skip


def test_what_cannot_be_given_back_as_it_was_read_is_refused():
    ran = run("cat", "/etc/hostname", text=ALLOW + "notify openat\n", options=options(LOOKS, "by_directory"))
    assert ran.done.status != 0
    assert "after looking at the target's memory" in ran.denials[0]["reason"]


STUCK = """
import threading
from seclude.supervise import Allow, Deny, handler

@handler("getpgid")
def stuck(call):
    threading.Event().wait()

@handler("openat")
async def later(call):
    return Deny("EACCES") if call.path("pathname").endswith("secret") else Allow()

@handler("openat", threads=True)
def beside(call):
    return Deny("EACCES") if call.path("pathname").endswith("secret") else Allow()
"""


@pytest.mark.parametrize("engine", ["notify", "ptrace"])
def test_a_handler_that_never_comes_back_holds_no_clock(engine):
    ran = run(c_program(VICTIM), text=ALL_THREE, options=(*options(STUCK, "stuck"), "--engine", engine, "--wall", "0.3"))
    assert ran.report["limit"] == "wall", str(ran.done)
    assert ran.done.status == 124


@pytest.mark.parametrize("name", ["later", "beside"])
def test_a_broker_stands_behind_handlers_in_any_thread(name):
    with support.nobody_directory() as place:
        (place / "public").write_text("public")
        (place / "secret").write_text("secret")
        code = f"""
import threading
done = []
def work():
    for _ in range(5):
        assert open({str(place / "public")!r}).read() == "public"
        for path in ({str(place / "secret")!r}, "/etc/hostname"):
            try: open(path)
            except PermissionError: done.append(path)
threads = [threading.Thread(target=work) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
print(len(done))
"""
        ran = run(
            python(), "-c", code, text=ALLOW + "notify openat\n", options=(*options(STUCK, name), "--read", str(place), "--read", "/tmp"),
        )  # fmt: skip
        assert ran.done.stdout == "40\n", str(ran.done)


def test_a_handler_of_the_library_that_never_comes_back_does_not_outlast_the_timeout():
    out = host(
        """
@handler("getpgid")
def stuck(call):
    threading.Event().wait()
result = seclude.run([PROGRAM], policy=POLICY, handlers=[stuck, parent, slow], timeout=0.3)
print(result.limit, result.code, len(result.denials))
"""
    )
    assert out == ["wall 124 0"]


COUNTED = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    long wrong = 0;
    for (int i = 0; i < 900; i++) {
        wrong += syscall(SYS_getppid) != -1 || errno != EACCES;
        wrong += syscall(SYS_getpgid, i % 3) != -1 || errno != ESRCH;
        wrong += syscall(SYS_chdir, i % 2 ? "/a" : "/b") != -1 || errno != EPERM;
    }
    printf("wrong %ld\n", wrong);
    return 0;
}
"""


@pytest.mark.parametrize("limits", [(), ("--wall", "60")])
def test_denials_that_come_again_and_again_are_counted_exactly(limits):
    """Those that show no memory are answered from a table, and counted there."""
    ran = run(c_program(COUNTED), rules="errno(EACCES) getppid\nerrno(ESRCH) getpgid\nerrno(EPERM) chdir\n", options=limits)
    assert ran.done.stdout == "wrong 0\n", str(ran.done)
    counts = {denial["text"]: denial["count"] for denial in ran.denials}
    assert counts == {
        "getppid()": 900, "getpgid(0)": 300, "getpgid(1)": 300, "getpgid(2)": 300, 'chdir("/a")': 450, 'chdir("/b")': 450,
    }  # fmt: skip


def test_a_rule_of_the_command_line_leaves_a_call_to_handlers():
    ran = run(c_program(VICTIM), rules="errno(ENOSYS) getpgid\n", options=("--notify", "getpgid(pid == 1)", *options(HANDLERS, "group")))
    assert ran.done.stdout.splitlines()[:2] == ["own 0 0", "other -1 13"], str(ran.done)
    assert [(denial["result"], denial["rule"]) for denial in ran.denials if denial["action"] == "handler"] == [
        ("EACCES", "notify getpgid(pid == 1) (--notify:1)")
    ]


def test_what_a_handler_of_the_library_allowed_after_a_look_is_done_on_the_copy():
    with support.nobody_directory() as place:
        place.chmod(0o755)
        for name in ("secret", "public"):
            (place / name).write_text(name)
        out = host(
            f"""
@handler("openat", "rename")
def harmless(call):
    path = call.path(0 if call.name == "rename" else "pathname")
    return Deny("EACCES", "secret") if path.endswith("secret") else Allow()

@handler("connect")
def not_nine(call):
    return Deny("ECONNREFUSED") if call.sockaddr("addr").port == 9 else Allow()

code = '''
import socket
print(open("public").read())
try: open("secret")
except OSError as error: print(error.strerror)
server = socket.create_server(("127.0.0.1", 0))
print(socket.create_connection(server.getsockname()).getpeername() == server.getsockname())
try: socket.create_connection(("127.0.0.1", 9))
except OSError as error: print(error.strerror)
'''
before = sorted(os.listdir("/proc/self/fd"))
r = seclude.run([{python()!r}, "-c", code], policy=POLICY, handlers=[harmless, not_nine], capture=True, cwd={str(place)!r})
print(r.stdout.decode(), [d.reason for d in r.denials])
flips = seclude.run([{c_program(FLIPS, "-pthread")!r}, {str(place)!r}, "200"], policy=POLICY, handlers=[harmless, not_nine], capture=True)
print(flips.stdout.decode().split()[:2])
""",
            text=LOOKING.replace("newfstatat, ", ""),
        )
        assert out == [
            "public", "Permission denied", "True", "Connection refused", " ['handler harmless: secret', 'handler not_nine']", "['leaked', '0']",
        ], out  # fmt: skip
