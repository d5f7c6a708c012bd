import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seclude.errors import KernelError, UsageError
from seclude.kernel import cgroup
from seclude.sandbox.limits import Limits, plan, read_bytes, read_count, read_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5s", 1.5),
        ("2m", 120),
        ("500ms", 0.5),
        ("1h", 3600),
        ("10", 10),
        ("1d", 86400),
        (" 3 s ", 3),
        (0.25, 0.25),
        (2, 2),
        ("250us", 0.00025),
    ],
)
def test_times(text, seconds):
    assert read_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1e3", "0", "0s", "1.s", ".s", "1..2", "1_0", "1x", "٣s", "nan", "inf", None, True, [], float("nan"), -1, 1e10]
)
def test_times_that_are_none(text):
    with pytest.raises(UsageError, match="cpu"):
        read_seconds(text, "cpu")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64M", 64 << 20),
        ("1G", 1 << 30),
        ("1.5K", 1536),
        ("512k", 512 << 10),
        ("2GiB", 2 << 30),
        ("3MB", 3 << 20),
        ("100", 100),
        ("7B", 7),
        (4096, 4096),
    ],
)
def test_sizes(text, size):
    assert read_bytes(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "0", "1.5.2M", "1X", "1iB", "1 0", "9E", "16777216T", 1.5, True, None, -4, 1 << 63])
def test_sizes_that_are_none(text):
    with pytest.raises(UsageError, match="memory"):
        read_bytes(text, "memory")


@pytest.mark.parametrize("text", ["", "1.5", "-1", "0", "10k", 1.0, None, True, 0, 2**31, "9" * 30])
def test_counts_that_are_none(text):
    with pytest.raises(UsageError, match="files"):
        read_count(text, "files")


@given(st.integers(1, 1 << 50))
def test_whole_numbers_are_exact(number):
    assert read_bytes(str(number)) == read_bytes(number) == number
    assert read_bytes(f"{number}K") == number * 1024


def test_limits_are_values():
    limits = Limits(cpu="1.5s", memory="64M")
    assert limits == Limits(cpu=1.5, memory=64 << 20) == Limits.read({"cpu": 1.5, "memory": "64M"})
    assert hash(limits) == hash(Limits(cpu=1.5, memory=64 << 20))
    assert limits.replace(cpu=None) == Limits(memory="64M")
    assert repr(limits) == "Limits(cpu=1.5, memory=67108864)"
    assert limits
    assert not Limits()
    assert Limits.read(None) == Limits()
    assert Limits.read(limits) is limits
    with pytest.raises(AttributeError):
        limits.cpu = 3


def test_an_unknown_limit_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'memory'"):
        Limits.read({"memry": "1G"})


def test_without_a_cgroup_each_limit_says_what_binds_it():
    with plan(Limits(cpu="1.2s", wall=3, memory="64M", files=40, output="1K"), use_cgroup=False) as made:
        assert made.cgroup is None
        assert made.rlimits == (
            (resource.RLIMIT_CPU, 2, 3),
            (resource.RLIMIT_AS, 64 << 20, 64 << 20),
            (resource.RLIMIT_FSIZE, 1024, 1024),
            (resource.RLIMIT_NOFILE, 40, 40),
        )
        assert made.bound_by == {"cpu": "rlimit+engine", "wall": "engine", "memory": "rlimit", "output": "rlimit+engine", "files": "rlimit"}
        assert (made.cpu, made.wall, made.output) == (1.2, 3, 1024)
        assert len(made.notes) == 2


def test_nothing_asked_nothing_made():
    with plan(Limits()) as made:
        assert (made.rlimits, made.cgroup, made.notes, made.bound_by) == ((), None, [], {})


def test_a_process_limit_for_root_is_refused_where_no_cgroup_binds_it():
    with pytest.raises(KernelError, match=r"does not apply RLIMIT_NPROC to root") as caught:
        plan(Limits(processes=5), use_cgroup=False, uid=0)
    assert "doctor" in caught.value.diagnostics[0].remedy


def test_a_process_limit_for_another_user_counts_what_runs():
    with plan(Limits(processes=5), use_cgroup=False, uid=54321) as made:
        assert made.rlimits == ((resource.RLIMIT_NPROC, 5, 5),)
        assert "all tasks of user 54321" in made.notes[0]


def test_a_cgroup_that_binds_nothing_is_removed_when_the_plan_is_refused(tmp_path, monkeypatch):
    place = tmp_path / "group"
    place.mkdir()
    monkeypatch.setattr(cgroup, "create", lambda **_: (cgroup.Cgroup({"unified": str(place)}, frozenset()), ("not delegated",)))
    with pytest.raises(KernelError, match="not delegated"):
        plan(Limits(processes=5), uid=0)
    assert not place.exists()


def test_a_lower_hard_limit_of_ours_is_kept(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (10, 20))
    with plan(Limits(files=100), use_cgroup=False) as made:
        assert made.rlimits == ((resource.RLIMIT_NOFILE, 20, 20),)


def test_the_next_look_at_the_cpu_is_never_too_late():
    with plan(Limits(cpu=4), use_cgroup=False) as made:
        processors = os.cpu_count() or 1
        assert made.cpu_check_after(0) == pytest.approx(4 / processors)
        assert made.cpu_check_after(3.9999) == 0.02
        assert made.cpu_check_after(4) == 0.0
        assert made.cpu_used([os.getpid()], 1.0) >= 1.0
    with plan(Limits(), use_cgroup=False) as made:
        assert made.cpu_check_after(100) is None
