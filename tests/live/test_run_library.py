"""`seclude.run` from Python programs: with threads, without, after fork, and when things end badly."""

from __future__ import annotations

import os

import pytest

import support
from run_support import ALLOW, gone, policy, python, who

pytestmark = [pytest.mark.live, pytest.mark.slow]


#: a target that says its pid and waits for ever
WAITS = "import os, signal\nos.write(1, b'%d\\n' % os.getpid())\nsignal.pause()"


def host(code: str, **options):
    """Run a host program; it finds the policy file's name in ``POLICY``."""
    rules = options.pop("rules", "")
    done = support.run_python(
        f"POLICY = {policy(ALLOW + rules)!r}\nPYTHON = {python()!r}\nWAITS = {WAITS!r}\nimport seclude\n" + code, **options
    )
    assert done.status == 0, str(done)
    return done.stdout


@pytest.mark.parametrize("nobody", who())
def test_a_result_says_what_happened(nobody):
    out = host(
        """
r = seclude.run(['sh', '-c', 'cat; echo err >&2; mkdir /tmp/never; exit 4'], policy=POLICY, stdin=b'fed', capture=True)
print(r.code, r.status, r.signal, r.stdout, r.stderr[:4], r.reporting)
(d,) = r.denials
print(d.call, d.count, d.result, d.suggestion, d.text)
print(r.cpu > 0, r.wall > 0, r.memory > 100000, r.notes, r.limit, r.ended_by)
""",
        nobody=nobody,
        rules="errno(EPERM) mkdir\n",
    )
    assert out.splitlines() == [
        "4 4 None b'fed' b'err\\n' notify+ptrace",
        'mkdir 1 EPERM --allow mkdir mkdir("/tmp/never", 0777)',
        "True True True []  ",
    ]


def test_many_threads_each_get_their_own():
    out = host(
        """
import threading
seen = {}
def go(n):
    for _ in range(3):
        victim = f"import os\\nfor _ in range({n}):\\n try: os.mkdir('/tmp/never')\\n except OSError: pass\\nprint({n})"
        r = seclude.run([PYTHON, '-c', victim], policy=POLICY, capture=True)
        seen.setdefault(n, []).append((r.code, r.stdout, [d.count for d in r.denials]))
busy = True
def spin():
    while busy: pass
spinner = threading.Thread(target=spin, daemon=True); spinner.start()
threads = [threading.Thread(target=go, args=(n,)) for n in range(1, 5)]
for t in threads: t.start()
for t in threads: t.join()
busy = False
for n in sorted(seen): print(n, set(map(str, seen[n])))
""",
        rules="errno(EPERM) mkdir\n",
    )
    assert out.splitlines() == [f"{n} {{\"(0, b'{n}\\\\n', [{n}])\"}}" for n in range(1, 5)]


def test_the_host_is_never_confined():
    out = host(
        """
import threading
def state(): return [line for line in open('/proc/self/status') if line.startswith(('Seccomp', 'NoNewPrivs'))]
before = state()
seclude.run(['true'], policy=POLICY)
print(before == state())
"""
    )
    assert out == "True\n"


def test_streams_directory_environment_and_mask():
    out = host(
        """
import os, signal, tempfile
with tempfile.TemporaryFile() as file:
    r = seclude.run(['sh', '-c', 'pwd; echo $A; umask; env | wc -l'], policy=POLICY, stdout=file.fileno(), cwd='/usr', env={'A': 'b', 'PATH': os.environ['PATH']})
    file.seek(0); print(file.read().decode().split()[:3])
os.umask(0o027); signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print(seclude.run(['grep', '-E', 'SigBlk|Umask', '/proc/self/status'], policy=POLICY, capture=True).stdout.split())
os.chdir('/usr/bin'); print(seclude.run(['./pwd'], policy=POLICY, capture=True).stdout)
"""
    )
    assert out.splitlines() == ["['/usr', 'b', '0022']", "[b'Umask:', b'0027', b'SigBlk:', b'0000000000000200']", "b'/usr/bin\\n'"]


def test_timeouts_and_limits():
    out = host(
        """
r = seclude.run(['sleep', '100'], policy=POLICY, timeout=0.2); print(r.code, r.limit)
r = seclude.run(['yes'], policy=POLICY, limits={'output': '4K'}, capture=True); print(r.limit, len(r.stdout))
"""
    )
    assert out.splitlines() == ["124 wall", "output 4096"]


def test_large_input_and_output():
    out = host("r = seclude.run(['cat'], policy=POLICY, stdin=bytes(3000000), capture=True); print(len(r.stdout))")
    assert out == "3000000\n"


def test_errors_keep_their_kind():
    out = host(
        """
def tried(*args, **kw):
    try: print(seclude.run(*args, **kw).code)
    except seclude.SecludeError as error: print(type(error).__name__, str(error).splitlines()[0])
tried(['true'], policy='no-such')
tried('true')
tried([])
tried(['a\\0b'])
tried(['no-such-command'])
tried(['true'], policy=POLICY, cwd='/no/such')
tried(['true'], policy=seclude.parse('default allow\\nkill execve\\n'))
tried(['true'], limits={'wal': 1})
tried(['true'], stdin=99)
"""
    )
    kinds = [line.split()[0] for line in out.splitlines()]
    assert kinds == [
        "PolicyError",
        "UsageError",
        "UsageError",
        "UsageError",
        "127",
        "KernelError",
        "PolicyError",
        "UsageError",
        "UsageError",
    ], out


def test_a_policy_made_in_python():
    out = host(
        """
p = seclude.parse('default allow\\nerrno(EPERM) ptrace, mkdir\\n')
(d,) = seclude.run(['mkdir', '/tmp/never'], policy=p, capture=True).denials
print(d.call, d.rule)
"""
    )
    assert out.startswith("mkdir errno(EPERM) ptrace, mkdir")


def test_after_fork_the_child_has_a_helper_of_its_own():
    out = host(
        """
import os
print(seclude.run(['true'], policy=POLICY).code, flush=True)
pid = os.fork()
if pid == 0:
    os._exit(seclude.run(['sh', '-c', 'exit 3'], policy=POLICY).code)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seclude.run(['true'], policy=POLICY).code)
"""
    )
    assert out == "0\n3 0\n"


def test_a_host_that_gave_up_root_gets_no_root_back():
    support.need_root()
    out = host(
        """
import os
print(seclude.run(['id', '-u'], capture=True).stdout)
os.setgroups([]); os.setgid(65534); os.setuid(65534); os.chdir('/')
import sys; sys.executable = '/usr/bin/python3'
try: print(seclude.run(['id', '-u'], capture=True).stdout)
except seclude.SecludeError as error: print('refused')
"""
    )
    assert out.splitlines()[0] == "b'0\\n'"
    assert out.splitlines()[1] in ("b'65534\\n'", "refused")


def test_the_helper_killed_between_runs_is_replaced():
    out = host(
        """
import os, signal
from seclude.sandbox import zygote
seclude.run(['true'], policy=POLICY)
os.kill(zygote._helper.pid, signal.SIGKILL)
os.waitid(os.P_PID, zygote._helper.pid, os.WEXITED | os.WNOWAIT)
print(seclude.run(['true'], policy=POLICY).code)
"""
    )
    assert out == "0\n"


def test_the_hosts_death_ends_the_run():
    import subprocess
    import sys

    code = f"import seclude\nseclude.run([{python()!r}, '-c', {WAITS!r}], policy={policy(ALLOW)!r}, ptrace=False)"
    process = support.start([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    target = os.pidfd_open(int(process.stdout.readline()))
    process.kill()
    process.wait()
    assert gone(target)
    os.close(target)
    process.stdout.close()


def test_an_interrupted_wait_ends_the_run():
    out = host(
        """
import os, select, signal, threading
reading, writing = os.pipe()
def interrupt():
    global target
    target = os.pidfd_open(int(os.read(reading, 100)))
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try: seclude.run([PYTHON, '-c', WAITS], policy=POLICY, stdout=writing)
except KeyboardInterrupt: print('interrupted')
poll = select.poll(); poll.register(target, 1)
print(bool(poll.poll(20000)))
"""
    )
    assert out == "interrupted\nTrue\n"


def test_a_killed_supervisor_raises_and_leaves_nobody():
    out = host(
        """
import os, select, signal, threading
from seclude.sandbox import zygote
reading, writing = os.pipe()
def attack():
    global target
    target = os.pidfd_open(int(os.read(reading, 100)))
    helper = zygote._helper.pid
    (supervisor,) = open(f'/proc/{helper}/task/{helper}/children').read().split()
    os.kill(int(supervisor), signal.SIGKILL)
threading.Thread(target=attack).start()
try: seclude.run([PYTHON, '-c', WAITS], policy=POLICY, stdout=writing, ptrace=False)
except seclude.KernelError as error: print(str(error).splitlines()[0])
poll = select.poll(); poll.register(target, 1)
print(bool(poll.poll(20000)))
print(seclude.run(['true'], policy=POLICY).code)
"""
    )
    assert out == "the supervisor was killed; every process of the run was ended\nTrue\n0\n"


def test_a_fork_while_another_thread_starts_a_run_leaves_the_child_free():
    out = host(
        """
import os, threading
from seclude.sandbox import zygote
seclude.run(['true'], policy=POLICY)
held, done = threading.Event(), threading.Event()
def hold():
    with zygote._lock:
        held.set(); done.wait()
threading.Thread(target=hold).start(); held.wait()
pid = os.fork()
if pid == 0:
    import signal
    signal.alarm(20)
    os._exit(seclude.run(['sh', '-c', 'exit 3'], policy=POLICY).code)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
done.set()
"""
    )
    assert out == "3\n"


def test_a_host_that_closed_every_descriptor_sends_nothing_to_whoever_has_the_numbers_now():
    out = host(
        """
import os, socket
seclude.run(['true'], policy=POLICY)
os.closerange(3, 100)
pairs = [socket.socketpair() for _ in range(20)]
for pair in pairs:
    for end in pair: end.setblocking(False)
print(seclude.run(['sh', '-c', 'exit 3'], policy=POLICY).code)
strays = 0
for pair in pairs:
    for end in pair:
        try: strays += len(end.recv(10))
        except BlockingIOError: pass
print(strays)
"""
    )
    assert out == "3\n0\n"


def test_a_forked_child_of_the_host_does_not_keep_its_runs_alive():
    import subprocess
    import sys

    code = f"""
import os, seclude, signal, threading
reading, writing = os.pipe()
run = lambda: seclude.run([{python()!r}, '-c', {WAITS!r}], policy={policy(ALLOW)!r}, stdout=writing)
threading.Thread(target=run, daemon=True).start()
target = os.read(reading, 100)
if os.fork() == 0:
    for stream in (0, 1, 2): os.close(stream)
    signal.alarm(30); signal.pause()
os.write(1, target)
signal.pause()
"""
    process = support.start([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    target = os.pidfd_open(int(process.stdout.readline()))
    process.kill()
    process.wait()
    assert gone(target, 10)
    os.close(target)
    process.stdout.close()


def test_a_descriptor_beyond_a_lowered_limit_does_not_stay_open_in_the_helper():
    out = host(
        """
import os, resource
reading, writing = os.pipe()
os.dup2(writing, 200); os.set_inheritable(200, True); os.close(writing)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
seclude.run(['true'], policy=POLICY)
os.close(200)
print(os.read(reading, 1))
"""
    )
    assert out == "b''\n"


def test_the_interpreters_own_library_is_found_by_the_helper_too():
    support.need_root()  # nobody else may read the helper's environment
    out = host(
        """
import os
from seclude.sandbox import zygote
seclude.run(['true'], policy=POLICY)
print(open(f'/proc/{zygote._helper.pid}/environ').read().split(chr(0))[:-1])
""",
        env={"LD_LIBRARY_PATH": "/no/such"},
    )
    assert out == "['LD_LIBRARY_PATH=/no/such']\n"


def test_what_was_put_in_force_is_told_and_logged():
    out = host(
        """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format='%(name)s %(message)s')
seclude.run(['true'], on_loaded=print)
"""
    )
    logged, told = out.splitlines()
    assert logged == f"seclude {told}"
    assert told.startswith("policy container: ")
    assert "default errno(EPERM)" in told
    assert "flags NEW_LISTENER|WAIT_KILLABLE_RECV" in told


def test_a_callback_that_raises_ends_the_run():
    out = host(
        """
def refuse(line):
    raise LookupError(line)
try:
    seclude.run(['sleep', '1000'], on_loaded=refuse)
except LookupError as error:
    print(str(error)[:16])
"""
    )
    assert out == "policy container\n"


def test_a_current_directory_that_is_gone_is_said_and_matters_only_where_it_is_used():
    out = host(
        """
import os, tempfile
gone = tempfile.mkdtemp(); os.chdir(gone); os.rmdir(gone)
try: seclude.run(['true'], policy=POLICY)
except seclude.UsageError as error: print(str(error).splitlines()[0])
print(seclude.run(['pwd'], policy=POLICY, cwd='/usr', capture=True).stdout)
"""
    )
    assert out == "run: the current directory cannot be named: No such file or directory\nb'/usr\\n'\n"


@pytest.mark.parametrize(
    ("words", "keywords"),
    [
        pytest.param(
            "--allow mkdir --connect 127.0.0.1:9 --bind unix:/tmp/never --exec true --read /usr --hide /usr/never --trace mkdir",
            "rules=[('allow', 'mkdir')], connect=['127.0.0.1:9'], bind=['unix:/tmp/never'], programs=['true'], "
            "read=['/usr'], hide=['/usr/never'], trace='mkdir'",
            id="granted",
        ),
        pytest.param("--read /usr --no-report", "read=['/usr'], report=False", id="unreported"),
        pytest.param(
            "--notify mkdir --deny rmdir --handler HANDLER --trace rmdir --engine ptrace",
            "rules=[('notify', 'mkdir'), ('deny', 'rmdir')], handlers=[handlers.decide], trace='rmdir', engine='ptrace'",
            id="handled",
        ),
    ],
)
def test_the_command_line_finds_what_the_library_compiled(tmp_path, words, keywords):
    (tmp_path / "handlers.py").write_text(
        "from seclude.supervise import Allow, handler\n@handler('mkdir')\ndef decide(call):\n    return Allow()\n"
    )
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = f"import sys; sys.path[0:0] = [{str(tmp_path)!r}]; import handlers; print(seclude.run(['true'], policy=POLICY, {keywords}).code)"
    assert host(code, env=env) == "0\n"
    (compiled,) = (tmp_path / "cache" / "seclude").glob("*.filter")
    options = words.replace("HANDLER", f"{tmp_path}/handlers.py:decide").split()
    done = support.seclude("run", "--policy", policy(ALLOW), *options, "--", "true", env=env)
    assert done.status == 0, str(done)
    assert list((tmp_path / "cache" / "seclude").glob("*.filter")) == [compiled]
