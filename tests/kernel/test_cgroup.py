"""What is read from and written to cgroup files, on directories made like those of kernels that this machine is not."""

import os

import pytest

from seclude.kernel import cgroup, proc


def write(directory, **files):
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return str(directory)


def test_version_2_usage(tmp_path):
    place = write(
        tmp_path / "u",
        cpu__stat="usage_usec 1500000\nuser_usec 1\n",
        memory__peak="4096\n",
        memory__events="low 0\noom_kill 3\n",
        pids__events="max 7\n",
    )
    usage = cgroup.Cgroup({"unified": place, "memory": place, "pids": place}, frozenset()).usage()
    assert (usage.cpu, usage.memory_peak, usage.oom_kills, usage.fork_denials) == (1.5, 4096, 3, 7)


def test_version_1_usage(tmp_path):
    memory = write(tmp_path / "m", memory__max_usage_in_bytes="8192\n", memory__oom_control="oom_kill_disable 0\noom_kill 1\n")
    cpu = write(tmp_path / "c", cpuacct__usage="2000000000\n")
    usage = cgroup.Cgroup({"memory": memory, "cpuacct": cpu}, frozenset()).usage()
    assert (usage.cpu, usage.memory_peak, usage.oom_kills, usage.fork_denials) == (2.0, 8192, 1, None)


def test_what_is_not_counted_is_none(tmp_path):
    usage = cgroup.Cgroup({"unified": write(tmp_path / "u")}, frozenset()).usage()
    assert (usage.cpu, usage.memory_peak, usage.oom_kills, usage.fork_denials) == (None,) * 4


def test_version_2_limits_take_swap_away(tmp_path):
    place = write(tmp_path / "u", memory__max="", memory__swap__max="")
    reasons: list[str] = []
    assert cgroup._limit_memory(place, 1000, place, reasons)
    assert ((tmp_path / "u/memory.max").read_text(), (tmp_path / "u/memory.swap.max").read_text()) == ("1000", "0")
    assert not reasons


def test_version_1_limits_bound_memory_plus_swap(tmp_path):
    place = write(tmp_path / "m", memory__limit_in_bytes="-1", memory__memsw__limit_in_bytes="-1")
    assert cgroup._limit_memory(place, 1000, None, [])
    assert (tmp_path / "m/memory.memsw.limit_in_bytes").read_text() == "1000"


def test_a_limit_that_cannot_be_written_is_said(tmp_path):
    reasons: list[str] = []
    assert not cgroup._limit(str(tmp_path / "gone/pids.max"), 3, reasons)
    assert "No such file" in reasons[0]


def test_kill_in_one_step(tmp_path):
    place = write(tmp_path / "u", cgroup__kill="")
    group = cgroup.Cgroup({"unified": place}, frozenset())
    assert group.kills_at_once
    group.kill()
    assert (tmp_path / "u/cgroup.kill").read_text() == "1"


def test_kill_by_freezing_where_there_is_no_cgroup_kill(tmp_path):
    freezer = write(tmp_path / "f", freezer__state="", cgroup__procs="")
    pids = write(tmp_path / "p", pids__max="", cgroup__procs="")
    group = cgroup.Cgroup({"freezer": freezer, "pids": pids}, frozenset())
    assert not group.kills_at_once
    group.kill()
    assert (tmp_path / "f/freezer.state").read_text() == "THAWED"
    assert (tmp_path / "p/pids.max").read_text() == "0"
    assert not group.populated()


@pytest.mark.parametrize(
    ("path", "root", "inside"),
    [("/", "/", ""), ("/a/b", "/", "/a/b"), ("/a/b", "/a", "/b"), ("/a", "/a", ""), ("/ab", "/a", None), ("/x", "/a", None)],
)
def test_where_we_are_in_a_mount(path, root, inside):
    assert cgroup._relative(path, root) == inside


def test_version_2_goes_beside_us_only_if_we_are_not_limited(tmp_path):
    top = tmp_path / "top"
    own = write(top / "own", memory__max="max\n", pids__max="max\n")
    mount = cgroup._Mount(own, str(top), frozenset({"memory", "pids"}), unified=True)
    assert cgroup._parents(mount, frozenset({"memory"})) == [own, str(top)]
    (top / "own/memory.max").write_text("5000\n")
    assert cgroup._parents(mount, frozenset({"memory"})) == [own]
    assert cgroup._parents(mount, frozenset({"pids"})) == [own, str(top)]


def test_version_2_without_delegation_says_what_to_do(tmp_path):
    own = write(tmp_path / "own", cgroup__subtree_control="")
    os.chmod(own, 0o755)
    (tmp_path / "own/cgroup.subtree_control").unlink()  # as if the write were refused
    reasons: list[str] = []
    mount = cgroup._Mount(own, own, frozenset({"memory"}), unified=True)
    path, enabled = cgroup._make(mount, "run", {"memory"}, reasons)
    assert path == own + "/run"  # still good for killing and counting
    assert not enabled
    assert "Delegate=yes" in reasons[0]


def test_leftovers_are_told_from_living_runs(tmp_path):
    prefix = cgroup._maker_prefix()
    living = f"{prefix}{os.getpid()}-{proc.start_time()}-1"
    dead = f"{prefix}{os.getpid()}-{(proc.start_time() or 0) + 1}-1"  # our pid, but another process's start
    other = "seclude-1-2-3-4"
    for name in (living, dead, other, prefix + "junk"):
        (tmp_path / "own" / name).mkdir(parents=True)
    mount = cgroup._Mount(str(tmp_path / "own"), str(tmp_path / "own"), frozenset(), unified=True)
    assert cgroup.remove_stale([mount]) == 1
    assert sorted(entry.name for entry in (tmp_path / "own").iterdir()) == sorted([living, other, prefix + "junk"])


def test_groups_made_beneath_are_removed_too(tmp_path):
    (tmp_path / "g/a/b").mkdir(parents=True)
    assert cgroup.Cgroup({"unified": str(tmp_path / "g")}, frozenset()).remove()
    assert not (tmp_path / "g").exists()
