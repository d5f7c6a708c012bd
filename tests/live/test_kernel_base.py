"""The running kernel, as root and as nobody: flags, errnos, threads, capabilities, domains. Each filter in a process of its own."""

import os

import pytest

from support import need_root, run_python

pytestmark = pytest.mark.live

WHO = pytest.mark.parametrize("nobody", [False, True], ids=["self", "nobody"])

START = """
import errno, os, struct, sys, threading
from seclude.errors import KernelError
from seclude.kernel import capabilities, landlock, prctl, proc, seccomp
ret = lambda *values: b"".join(struct.pack("=HBBI", 6, 0, 0, value) for value in values)
ALLOW = ret(0x7FFF0000)
def fails(function, *args):
    try:
        function(*args)
    except KernelError as error:
        return errno.errorcode[error.errno], str(error)
    return "", ""
"""


def outcome(code, *, nobody=False):
    from textwrap import dedent

    done = run_python(START + dedent(code), nobody=nobody)
    assert done.status == 0, done
    return done.stdout


@WHO
def test_every_flag_loads(nobody):
    code = """
    prctl.set_no_new_privs()
    assert prctl.no_new_privs() and proc.status().no_new_privs
    for flags in (0, seccomp.TSYNC, seccomp.LOG, seccomp.SPEC_ALLOW, seccomp.TSYNC_ESRCH | seccomp.TSYNC):
        assert seccomp.install_filter(ALLOW, flags) == 0, flags
    listener = seccomp.install_filter(ALLOW, seccomp.NEW_LISTENER | seccomp.WAIT_KILLABLE_RECV | seccomp.TSYNC | seccomp.TSYNC_ESRCH)
    assert listener > 2 and not os.get_inheritable(listener)
    print(proc.status().seccomp, proc.status().filters)
    """
    assert outcome(code, nobody=nobody) == "2 6\n"


@WHO
def test_errnos_of_the_kernel_are_those_explained(nobody):
    code = """
    if not capabilities.has(capabilities.CAP_SYS_ADMIN):
        assert fails(seccomp.install_filter, ALLOW)[0] == "EACCES"
    prctl.set_no_new_privs()
    bad = struct.pack("=HBBI", 0x30, 0, 0, 0) + ALLOW  # a byte load
    print(fails(seccomp.install_filter, bad)[0], "refused the program" in fails(seccomp.install_filter, bad)[1])
    print(fails(seccomp.install_filter, ALLOW, 1 << 20)[0], fails(seccomp.install_filter, ALLOW, seccomp.WAIT_KILLABLE_RECV)[0])
    first = seccomp.install_filter(ALLOW, seccomp.NEW_LISTENER)
    print(fails(seccomp.install_filter, ALLOW, seccomp.NEW_LISTENER)[0])
    os.close(first)
    for _ in range(3):
        assert fails(seccomp.install_filter, ret(*[0x7FFF0000] * 4096)) == ("", "")
    print(fails(seccomp.install_filter, ret(*[0x7FFF0000] * 4096))[0])
    """
    assert outcome(code, nobody=nobody) == "EINVAL True\nEINVAL EINVAL\nEBUSY\nENOMEM\n"


def test_an_outer_filter_that_refuses_is_told_from_the_kernel():
    code = """
    from seclude.kernel.libc import number
    prctl.set_no_new_privs()
    jump = struct.pack("=HBBI", 0x20, 0, 0, 0) + struct.pack("=HBBI", 0x15, 0, 1, number("seccomp"))
    seccomp.install_filter(jump + ret(0x50001, 0x7FFF0000))
    print(fails(seccomp.install_filter, ALLOW))
    print(seccomp.notification_sizes(), seccomp.flag_available(seccomp.TSYNC))
    """
    assert "already installed refuses" in outcome(code)


def test_strict_after_filter_is_refused_with_the_reason():
    code = """
    prctl.set_no_new_privs()
    seccomp.install_filter(ALLOW)
    print(fails(seccomp.enter_strict))
    """
    assert "strict mode cannot follow filter mode" in outcome(code)


def test_what_the_kernel_has_agrees_with_its_own_list():
    code = """
    listed = proc.actions_available()
    for name, (value, _) in seccomp.ACTIONS.items():
        assert seccomp.action_available(value) == ((name if name != "notify" else "user_notif") in listed), name
    assert not seccomp.action_available(0x12340000)
    sizes = seccomp.notification_sizes()
    assert sizes is None or sizes[2] == 64
    print(proc.status().seccomp)
    """
    assert outcome(code) == "0\n"


@WHO
def test_a_thread_in_the_way_is_named_and_nothing_is_installed(nobody):
    code = """
    from seclude.sandbox.install import install_program
    ready, stop, seen = threading.Event(), threading.Event(), []
    def other():
        seen.append(threading.get_native_id())
        install_program(ALLOW, threads="this")
        ready.set()
        stop.wait()
    thread = threading.Thread(target=other); thread.start(); ready.wait()
    try:
        install_program(ALLOW)
    except seccomp.TsyncConflict as conflict:
        print(conflict.thread == seen[0], f"thread {seen[0]} (" in str(conflict), proc.status("self", os.getpid()).filters)
    stop.set(); thread.join()
    while len(os.listdir("/proc/self/task")) > 1:  # join returns while the thread is still on its way out of the kernel
        os.sched_yield()
    print(install_program(ALLOW).flags, proc.status().filters)
    """
    assert outcome(code, nobody=nobody) == "True True 0\n('TSYNC',) 1\n"


@WHO
def test_install_confines_every_thread_and_tells(nobody):
    code = """
    import logging, socket
    from seclude.sandbox.install import install
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
    ready, go, seen = threading.Event(), threading.Event(), []
    def other():
        ready.set(); go.wait()
        try:
            socket.socket(socket.AF_INET)
        except OSError as error:
            seen.append(errno.errorcode[error.errno])
    thread = threading.Thread(target=other); thread.start(); ready.wait()
    told = []
    assert install("no-network", on_loaded=told.append) is told[0]
    go.set(); thread.join()
    print(seen, told[0].default, told[0].calls.isdigit(), told[0].threads)
    """
    lines = outcome(code, nobody=nobody).splitlines()
    assert lines[0].startswith("seclude INFO installed no-network")
    assert lines[1].startswith("['E")
    assert lines[1].endswith("True all")


@WHO
def test_capabilities_are_given_up_everywhere(nobody):
    code = """
    prctl.set_no_new_privs()
    kept = capabilities.drop(capabilities.CAP_SYS_PTRACE)
    for which in ("effective", "permitted", "inheritable", "ambient"):
        assert not capabilities.has(capabilities.CAP_SYS_PTRACE, which), which
    assert capabilities.has(capabilities.CAP_SYS_PTRACE, "bounding") == ("bounding" in kept)
    print(kept)
    """
    said = outcome(code, nobody=nobody)
    assert said == ("()\n" if os.geteuid() == 0 and not nobody else "('bounding',)\n")


def test_without_no_new_privs_a_capability_that_stays_is_an_error():
    need_root()
    code = """
    print(fails(capabilities.drop, capabilities.CAP_SYS_PTRACE)[0])
    """
    assert outcome(code, nobody=True) == "EPERM\n"


@WHO
def test_a_domain_keeps_its_hands_off_the_parent(nobody):
    code = """
    import signal
    if landlock.abi_version() < 6:
        print("EPERM EPERM"); sys.exit()
    pid = os.fork()
    if not pid:
        prctl.set_no_new_privs()
        with landlock.scope_ruleset() as ruleset:
            ruleset.restrict()
        said = []
        for attempt in (lambda: os.kill(os.getppid(), 0), lambda: os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR))):
            try:
                attempt()
                said.append("done")
            except OSError as error:
                said.append("EPERM" if error.errno in (errno.EPERM, errno.EACCES) else str(error))
        os.close(os.open("/etc/passwd", os.O_RDONLY))  # files are not restricted
        print(*said, flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    """
    assert outcome(code, nobody=nobody) == "EPERM EPERM\n"


def test_a_ruleset_restricts_files_when_it_is_asked_to():
    code = """
    if landlock.abi_version() < 1:
        sys.exit()
    prctl.set_no_new_privs()
    READ_FILE = 1 << 2
    with landlock.Ruleset(fs=READ_FILE) as ruleset:
        ruleset.allow_path("/proc", READ_FILE)
        print(fails(ruleset.allow_path, "/no/such/place", READ_FILE)[0])
        ruleset.restrict()
    open("/proc/self/status").close()
    try:
        open("/etc/passwd")
    except PermissionError:
        print("denied")
    print(fails(lambda: landlock.Ruleset(fs=1 << 60))[0])
    """
    assert outcome(code) == "ENOENT\ndenied\nEINVAL\n"


def test_a_domain_needs_no_new_privs():
    need_root()
    code = """
    if landlock.abi_version() < 1:
        print("EPERM"); sys.exit()
    with landlock.scope_ruleset() as ruleset:
        print(fails(ruleset.restrict)[0])
    """
    assert outcome(code, nobody=True) == "EPERM\n"


def test_switches_of_a_process():
    code = """
    prctl.set_child_subreaper(True); assert prctl.child_subreaper()
    prctl.set_child_subreaper(False); assert not prctl.child_subreaper()
    prctl.set_dumpable(False); assert prctl.dumpable() == 0
    prctl.set_dumpable(True); assert prctl.dumpable() == 1
    prctl.set_parent_death_signal(15); prctl.set_parent_death_signal(0)
    print(fails(prctl.set_parent_death_signal, 1000)[0], prctl.seccomp_mode())
    prctl.set_ptracer(-1)
    """
    assert outcome(code) == "EINVAL 0\n"
