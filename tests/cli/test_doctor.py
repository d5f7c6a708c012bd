import json

import pytest

from seclude.cli.doctor import COMMAND, Probe, examine, main
from seclude.errors import UsageError
from seclude.kernel import seccomp
from support import need_root, run_python, seclude


class Modern(Probe):
    """A kernel and user that lack nothing."""

    def release(self):
        return "6.18.1-generic"

    def machine(self):
        return "x86_64"

    def seccomp_state(self):
        return 0, 0, False

    def action(self, value):
        return True

    def flag(self, value):
        return True

    def sizes(self):
        return 80, 24, 64

    def load(self, strict):
        return ""

    def sysctl(self, name):
        return {"kernel.yama.ptrace_scope": "0", "kernel.seccomp.actions_logged": "kill_process log"}.get(name)

    def landlock(self):
        return 7

    def cgroups(self):
        return dict.fromkeys(("memory", "pids", "cpu", "kill"), "")

    def trace_child(self):
        return ""

    def uid(self):
        return 1000

    def capability(self, number):
        return False

    def compatible(self):
        return "yes"

    def python_threads(self):
        return True

    def audit(self):
        return True


class Old(Modern):
    """Linux 4.4: seccomp with TSYNC, before actions could be asked for."""

    def release(self):
        return "4.4.0"

    def flag(self, value):
        return value == seccomp.TSYNC

    def action(self, value):
        return value not in (0x80000000, 0x7FC00000, 0x7FFC0000)

    def sizes(self):
        return None

    def load(self, strict):
        return "" if strict else "seccomp: EINVAL"

    def sysctl(self, name):
        return None

    def landlock(self):
        return 0


class Container(Modern):
    """Inside a container that filters seccomp(2), without cgroups or tracing."""

    def seccomp_state(self):
        return 2, 1, True

    def load(self, strict):
        return "EPERM: a filter that is already installed refuses more filters"

    def flag(self, value):
        return False

    def cgroups(self):
        return dict.fromkeys(("memory", "pids", "cpu", "kill"), "read-only file system")

    def trace_child(self):
        return "EPERM"

    def sysctl(self, name):
        return {"kernel.yama.ptrace_scope": "3"}.get(name)

    def uid(self):
        return 0


class Empty(Modern):
    """No seccomp, no /proc, nothing."""

    def release(self):
        return "3.2"

    def seccomp_state(self):
        return None, None, None

    def action(self, value):
        return False

    def flag(self, value):
        return False

    def sizes(self):
        return None

    def load(self, strict):
        return "ENOSYS"

    def sysctl(self, name):
        return None

    def landlock(self):
        return 3

    def compatible(self):
        return None

    def python_threads(self):
        return False

    def audit(self):
        return False


def states(probe):
    rows = list(examine(probe))
    assert len({row.feature for row in rows}) == len(rows)
    for row in rows:
        assert row.state in ("ok", "limited", "missing")
        assert row.detail
        assert row.remedy or row.state == "ok", row.feature
    return {row.feature: row for row in rows}


def test_nothing_to_do_on_a_modern_kernel():
    assert {row.state for row in states(Modern()).values()} == {"ok"}


def test_an_old_kernel():
    rows = states(Old())
    assert rows["kernel"].state == "limited"
    assert rows["action kill_process"].state == "missing"
    assert "--allow-weaker kill_process=trap" in rows["action kill_process"].remedy
    assert "log=allow" in rows["action log"].remedy
    assert "notify=errno(ENOSYS)" in rows["action notify"].remedy
    assert rows["flag WAIT_KILLABLE_RECV"].remedy == "needs Linux 5.19"
    assert rows["filter"].state == "ok"
    assert rows["landlock"].state == "missing"
    assert rows["constant-allow cache"].state == "missing"


def test_a_container():
    rows = states(Container())
    assert "under 1 filter(s) already" in rows["own state"].detail
    assert rows["load a filter"].state == "missing"
    assert rows["ptrace"].detail == "Yama 3: nobody; a child cannot be watched: EPERM"
    assert rows["cgroup pids"].remedy == "read-only file system"
    assert rows["user"].state == "limited"


def test_a_kernel_with_nothing():
    rows = states(Empty())
    assert rows["own state"].state == "limited"
    assert rows["landlock"].detail == "ABI 3; files are held to --read and --write, but not ioctl_dev"
    assert rows["seclude.strict"].state == "missing"
    assert "32-bit programs" not in rows


@pytest.mark.parametrize(("probe", "code"), [(Modern(), 0), (Old(), 1), (Container(), 1), (Empty(), 1)])
def test_the_exit_code_says_whether_denials_can_be_reported(probe, code, capsys):
    assert main(COMMAND.parse([]), probe) == code
    out = capsys.readouterr().out
    assert out.endswith(
        f"'seclude run' can{'not' if code else ''} report {'denials' if code else 'every denial'} here{': see the rows above' if code else ''}.\n"
    )


def test_json(capsys):
    assert main(COMMAND.parse(["--json"]), Old()) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["ready"] is False
    assert {row["feature"]: row["state"] for row in said["rows"]}["action log"] == "missing"


def test_it_takes_no_arguments():
    with pytest.raises(UsageError, match="takes no arguments"):
        main(COMMAND.parse(["now"]), Modern())


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("nobody", [False, True], ids=["self", "nobody"])
def test_the_running_kernel(nobody):
    done = seclude("doctor", "--json", nobody=nobody)
    assert done.status in (0, 1), done
    said = json.loads(done.stdout)
    rows = {row["feature"]: row for row in said["rows"]}
    assert said["ready"] == (done.status == 0)
    assert rows["strict mode"]["state"] == "ok"
    assert rows["filter"]["state"] == "ok"
    assert rows["own state"]["detail"].startswith("not filtered")


@pytest.mark.live
@pytest.mark.slow
def test_under_a_filter_of_someone_else():
    need_root()
    code = """
    import struct, sys
    from seclude.kernel import prctl, seccomp
    from seclude.kernel.libc import number
    from seclude.cli.main import main
    prctl.set_no_new_privs()
    parts = [(0x20, 0, 0, 0), (0x15, 0, 1, number("seccomp")), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)]
    seccomp.install_filter(b"".join(struct.pack("=HBBI", *part) for part in parts))
    sys.exit(main(["doctor"]))
    """
    done = run_python(code)
    assert done.status == 1, done
    assert "already installed refuses more filters" in done.stdout
    assert "cannot report denials here" in done.stdout
