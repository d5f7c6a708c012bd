"""A supervisor that the kernel holds, in its target's memory or in a file that it opens for it, ends with its run: by the limit, by a signal, with its host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import support
from run_support import ALLOW, c_program, gone, policy
from seclude.abi import native
from seclude.kernel import proc

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may hold the kernel's own faults"),
]
PAGES = pytest.mark.skipif(not os.path.exists("/dev/userfaultfd"), reason="this kernel has no /dev/userfaultfd (Linux 6.1)")
FILES = pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="this kernel has no FUSE")

HERE = Path(__file__).parent
MKDIR = policy(ALLOW + "errno(EPERM) mkdir\n")
KILLED = policy(ALLOW + "kill_process mkdir\n")


def victim():
    return c_program((HERE / "held_victim.c").read_text())


def command(*words):
    return [sys.executable, "-m", "seclude", "run", "--report", "json", *words]


def start(words):
    """The command, begun; and handles of its target's processes. Unbuffered: what is read here is not read by `subprocess.Popen.communicate`."""
    child = support.start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert child.stdout is not None
    line = child.stdout.readline().split()
    if len(line) != 2:
        pytest.fail(f"{words}: {line} {child.communicate()}")
    return child, [os.pidfd_open(int(word)) for word in line]


def finish(child, handles):
    """The command's exit code and report, once it has ended and nobody of its target is left."""
    out, err = child.communicate(timeout=support.PATIENCE)
    assert out == b""  # it did not go on
    report = json.loads(err.splitlines()[-1])
    for handle in handles:
        assert gone(handle), report
        os.close(handle)
    return child.returncode, report


def together(*scenes):
    """Begin all of these, one after another, and then see how each of them ends: what they do in between is wait."""
    for scene in scenes:
        next(scene)
    for scene in scenes:
        assert next(scene, None) is None


def held(guard, call):
    """Wait until the supervisor under ``guard`` waits in ``call``."""
    number = native().number(call)
    while True:
        for one in proc.children(guard):
            current = proc.current_call(one)
            if current is not None and current[0] == number:
                return
        assert os.path.exists(f"/proc/{guard}/exe"), "the command ended"
        os.sched_yield()


#: who reads the page of a call that is never to be read, with what options; and whose clock ends it
READERS = [
    (("--policy", MKDIR), "mkdir", "guard"),  # the loop that reports
    (("--policy", MKDIR, "--no-ptrace"), "mkdir", "guard"),
    (("--policy", KILLED), "mkdir", "guard"),  # the tracer, of a process that the kernel has killed
    (("--policy", MKDIR, "--trace", "mkdir", "--trace-file", "/dev/null"), "mkdir", "guard"),
    (("--policy", policy(ALLOW), "--write", "/"), "open", "guard"),  # the broker of files
    (
        ("--policy", policy(ALLOW), "--connect", "127.0.0.1:9"),
        "connect",
        "engine",
    ),  # the broker of addresses has threads, and they hold nobody else
]


def by_the_limit(options, call, whose):
    """``whose`` clock ends it: `READERS`."""
    run = start(command("--wall", "2s", *options, "--", victim(), call))
    yield
    code, report = finish(*run)
    assert (code, report["limit"], report["code"]) == (124, "wall", 124), options
    assert report["bound_by"]["wall"] == whose, (options, report)
    if whose == "guard":
        assert "process_vm_readv" in report["notes"][0], options


def with_a_cgroup():
    """Which is removed."""
    child, handles = start(command("--wall", "2s", "--memory", "256M", "--processes", "50", "--policy", MKDIR, "--", victim(), "mkdir"))
    (supervisor,) = proc.children(child.pid)
    name = f"-{supervisor}-{proc.start_time(supervisor)}-"
    made = any(name in one for place in os.walk("/sys/fs/cgroup") for one in place[1])
    yield
    code, report = finish(child, handles)
    assert (code, report["ended_by"]) == (124, "cgroup" if made else "subreaper")
    assert report["memory"] > 0 or not made
    assert not any(name in one for place in os.walk("/sys/fs/cgroup") for one in place[1])


def by_its_processor_time(limit, code, named):
    """Without a limit on the clock: it is the time of all processes together that its supervisor does not add up."""
    child, handles = start(command("--cpu", limit, "--policy", MKDIR, "--", victim(), "mkdir", "burn"))
    yield
    if not named:
        child.send_signal(signal.SIGTERM)  # half a second is not thirty
    got, report = finish(child, handles)
    assert (got, report["limit"]) == (code, named), report
    if named:
        assert report["bound_by"] == {"cpu": "guard"}
        assert report["cpu"] >= 0.3


def by_a_signal(number, options):
    """Without a limit."""
    child, handles = start(command("--policy", MKDIR, *options, "--", victim(), "mkdir"))
    held(child.pid, "process_vm_readv")
    child.send_signal(number)
    yield
    code, report = finish(child, handles)
    assert (code, report["limit"]) == (128 + number, "")
    assert f"signal {int(number)} " in report["notes"][0]


def with_its_host(number):
    """A host that is interrupted, or killed."""
    host, handles = start(
        [sys.executable, "-c", "import sys, seclude\nseclude.run([sys.argv[1], 'mkdir'], policy=sys.argv[2])", victim(), MKDIR]
    )
    (helper,) = proc.children(host.pid)
    held(helper, "process_vm_readv")
    host.send_signal(number)
    yield
    host.communicate(timeout=support.PATIENCE)
    for handle in handles:
        assert gone(handle), number
        os.close(handle)


#: a shell's part: the command is a job of its own at a terminal, and its stops are told
SHELL = """
import os, pty, signal, sys
pid, master = pty.fork()
if pid:
    said = b''
    while said.count(b'@') < 2:
        piece = os.read(master, 4096)
        shown = piece if not said else b''
        if b'@' in shown: shown = shown[:shown.index(b'@')]
        said += piece[len(shown):]
        os.write(1, shown)
    os.close(master)
    os._exit(int(said.split(b'@')[1]))
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    if not os.WIFSTOPPED(status): break
    print("stopped", flush=True)
# The end of a session's leader takes from its terminal what nobody has read yet: so it says that this was all, and stays until that is closed (SIGHUP).
os.write(1, b'@%d@' % os.waitstatus_to_exitcode(status))
signal.pause()
"""


def where_the_guard_is_stopped():
    """A target that stops as if by the terminal has its guard stopped too, and gains nothing."""
    shell = support.start(
        [sys.executable, "-c", SHELL, *command("--wall", "2s", "--policy", MKDIR, "--", victim(), "mkdir", "stop")],
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert shell.stdout is not None
    lines: list[str] = []
    handles: list[int] = []
    while not handles and (line := shell.stdout.readline()):
        lines.append(line.decode().strip())
        words = lines[-1].split()
        if len(words) == 2 and all(word.isdigit() for word in words):
            handles = [os.pidfd_open(int(word)) for word in words]
    yield
    out, _ = shell.communicate(timeout=support.PATIENCE)
    lines += out.decode().splitlines()
    assert shell.returncode == 124, lines
    assert "stopped" in [line.strip() for line in lines]
    report = json.loads(next(line for line in lines if line.startswith("{")))
    assert report["bound_by"] == {"wall": "guard"}
    assert len(handles) == 2
    for handle in handles:
        assert gone(handle)
        os.close(handle)


IN_A_HOST = """
import json, os, sys, threading
import seclude
command, policy = sys.argv[1:3]
out = {}
def run():
    found = seclude.run([command, "mkdir"], policy=policy, timeout=2, capture=True)
    out["run"] = [found.code, found.limit, found.stdout.decode(), found.stderr.decode(), found.bound_by, found.notes]
def judge():
    with seclude.Judge(policy=policy, wall=2, memory=None, write=["/dev/userfaultfd"]) as one:
        found = one.judge([command, "mkdir"])
    out["judge"] = [found.verdict, found.limit, found.bound_by, found.notes]
def free():
    out["free"] = seclude.run(["/bin/echo", "unhindered"], capture=True).stdout.decode()
threads = [threading.Thread(target=one) for one in (run, judge)]
for one in threads: one.start()
for one in threads: one.join()
free()
json.dump(out, sys.stdout)
"""


def in_a_host():
    """Runs and judges."""
    host = support.start([sys.executable, "-c", IN_A_HOST, victim(), MKDIR], stdout=subprocess.PIPE)
    yield
    out, _ = host.communicate(timeout=support.PATIENCE)
    assert host.returncode == 0
    found = json.loads(out)
    code, limit, *captured, by, notes = found["run"]
    assert (code, limit, by, captured) == (124, "wall", {"wall": "guard"}, ["", ""])
    assert "process_vm_readv" in notes[0]
    verdict, limit, by, notes = found["judge"]
    assert (verdict, limit, by) == ("time limit", "wall", {"wall": "guard"})
    assert "process_vm_readv" in notes[0]
    assert found["free"] == "unhindered\n"


@PAGES
def test_a_run_whose_supervisor_is_held_in_its_target_s_memory_ends():
    together(
        *(by_the_limit(*reader) for reader in READERS),
        with_a_cgroup(),
        by_its_processor_time("300ms", 137, "cpu"),
        by_its_processor_time("30s", 143, ""),
        by_a_signal(signal.SIGINT, ()),
        by_a_signal(signal.SIGTERM, ("--no-ptrace",)),
        by_a_signal(signal.SIGHUP, ()),
        with_its_host(signal.SIGINT),
        with_its_host(signal.SIGKILL),
        where_the_guard_is_stopped(),
        in_a_host(),
    )


def on_a_file_system(request, place, words):
    """``words``, where a directory in ``place`` has a file whose ``request`` is never answered; and that file."""
    files = place / "files"
    files.mkdir()
    return [c_program((HERE / "held_files.c").read_text()), str(files), request, *words], str(files / "file")


def only_who_opens_it(place):
    """One process waits for the file; another one's calls are done meanwhile, and the run's own clock ends it."""
    words, file = on_a_file_system("open", place, ())
    script = f"cat {file} & cat /etc/hostname >/dev/null; mkdir /never; echo $!"
    child = support.start(
        [*words, *command("--wall", "2s", "--policy", MKDIR, "--read", "/etc", "--read", file, "--", "sh", "-c", script + "; wait")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert child.stdout is not None
    handle = os.pidfd_open(int(child.stdout.readline()))
    yield
    out, err = child.communicate(timeout=support.PATIENCE)
    assert out == b""
    report = json.loads(err.splitlines()[-1])
    assert (child.returncode, report["limit"], report["bound_by"]["wall"]) == (124, "wall", "engine")
    assert [denial["call"] for denial in report["denials"]] == ["mkdir"]
    assert gone(handle)
    os.close(handle)


def only_who_makes_one(place):
    """One process waits for a file that is to be made there; another one makes its own elsewhere meanwhile."""
    words, file = on_a_file_system("create", place, ())
    there, made = os.path.dirname(file), place / "made"
    script = f"test -e {file}; : > {there}/new & until test -s {file}; do :; done; : > {made}; echo $!; wait"
    child = support.start(
        [*words, *command("--wall", "4s", "--policy", policy(ALLOW), "--write", str(place), "--", "sh", "-c", script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, child.communicate(timeout=support.PATIENCE)
    assert made.exists()
    handle = os.pidfd_open(int(line))
    yield
    _, err = child.communicate(timeout=support.PATIENCE)
    report = json.loads(err.splitlines()[-1])
    assert (child.returncode, report["limit"], report["bound_by"]["wall"]) == (124, "wall", "engine")
    assert gone(handle)
    os.close(handle)


def a_supervisor_that_cannot_be_killed(place):
    """It waits for a request that the file system has taken. Nobody waits for it in turn."""
    words, file = on_a_file_system("read", place, ())
    child, handles = start([*words, *command("--wall", "2s", "--policy", MKDIR, "--", victim(), "mkdir", file)])
    yield
    code, report = finish(child, handles)  # its file system ends with the command, and with it what was left
    assert (code, report["limit"], report["bound_by"]) == (124, "wall", {"wall": "guard"})
    assert "process_vm_readv" in report["notes"][0]
    assert report["notes"][1].startswith("processes that could not be ended were left")


IN_A_HOST_WITH_FILES = """
import json, sys
import seclude
found = seclude.run(["cat", sys.argv[1]], read=[sys.argv[1]], timeout=2, capture=True)
print(json.dumps([found.code, found.limit, found.bound_by]))
sys.stdout.flush()
from seclude.sandbox import zygote
zygote.stop()
print("stopped")
"""


def in_a_host_that_stops_its_helper(place):
    """Which does not wait for a thread that waits for ever."""
    words, file = on_a_file_system("open", place, ())
    host = support.start([*words, sys.executable, "-c", IN_A_HOST_WITH_FILES, file], stdout=subprocess.PIPE)
    yield
    out, _ = host.communicate(timeout=support.PATIENCE)
    assert host.returncode == 0
    first, last = out.decode().splitlines()
    assert json.loads(first) == [124, "wall", {"wall": "engine"}]
    assert last == "stopped"


HOLDS_ITS_TEMPLATE = """
def hold(path):
    import ctypes, os
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mkdir.argtypes = [ctypes.c_void_p, ctypes.c_int]
    libc.mkdir(libc.mmap(None, 4096, 1, 2, os.open(path, os.O_RDONLY), 0), 0)

def answer():
    return 42
"""

CONFINED = """
import os, sys
place, file, policy = sys.argv[1:]
sys.path.insert(0, place)
import seclude, holds_its_template
from seclude.sandbox import confined_pool
confined_pool.GRACE = 1.0
made = seclude.confined(policy, timeout=1, read=[os.path.dirname(file)])
with made(holds_its_template.hold) as hold:
    for _ in range(2):  # by a template each: the first one is held for good
        try:
            hold(file)
        except seclude.ConfinedTimeout:
            print("timeout")
print(seclude.confined(policy)(holds_its_template.answer)())
"""


def a_template_of_a_confined_function(place):
    """The function's calls end by their limit, each time, and others go on."""
    (place / "holds_its_template.py").write_text(HOLDS_ITS_TEMPLATE)
    words, file = on_a_file_system("read", place, ())
    host = support.start([*words, sys.executable, "-c", CONFINED, str(place), file, MKDIR], stdout=subprocess.PIPE)
    yield
    out, _ = host.communicate(timeout=support.PATIENCE)
    assert (host.returncode, out) == (0, b"timeout\ntimeout\n42\n")


@FILES
def test_a_file_system_that_does_not_answer_holds_nobody_for_ever(tmp_path):
    scenes = (
        only_who_opens_it, only_who_makes_one, a_supervisor_that_cannot_be_killed, in_a_host_that_stops_its_helper, a_template_of_a_confined_function,
    )  # fmt: skip
    for scene in scenes:
        (tmp_path / scene.__name__).mkdir()
    together(*(scene(tmp_path / scene.__name__) for scene in scenes))
