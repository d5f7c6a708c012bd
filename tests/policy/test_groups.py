"""Groups: complete, real names only, overlaps as documented, and systemd's where the name is systemd's."""

import re

import pytest

from seclude import abi
from seclude.errors import UsageError
from seclude.policy import GROUPS, group
from seclude.policy.groups import groups_of
from support import need_program, run

KNOWN = set(GROUPS["@known"].calls)


@pytest.mark.parametrize("arch", abi.ARCHITECTURES)
def test_every_call_of_every_table_is_in_a_group(arch):
    assert [call for call in abi.arch(arch).calls() if not groups_of(call)] == []


def test_groups_name_calls_that_exist_and_say_what_they_are_for():
    for one in GROUPS.values():
        assert one.calls, one.name
        assert set(one.calls) <= KNOWN, (one.name, set(one.calls) - KNOWN)
        assert len(one.about) > 10
        assert list(one.calls) == sorted(set(one.calls))
        assert len(set(one.members)) == len(one.members), one.name
        assert re.fullmatch("@[a-z0-9-]+", one.name)


def test_no_two_groups_are_the_same():
    twins = [(a.name, b.name) for a in GROUPS.values() for b in GROUPS.values() if a.name < b.name and a.calls == b.calls]
    assert twins == []


#: these share no call, so that a policy may permit one and refuse the other without an order between the rules
APART = [
    ("@files-read", "@files-write"),
    ("@files-read", "@files-open"),
    ("@files-write", "@files-open"),
    ("@files-write", "@devices"),
    ("@io", "@files-read"),
    ("@io", "@io-uring"),
    ("@libaio", "@io-uring"),
    ("@socket-io", "@multiplexers"),
    ("@sockets", "@multiplexers"),
    ("@sysv", "@multiplexers"),
    ("@fork", "@clone3"),
    ("@fork", "@exec"),
    ("@base", "@exec"),
    ("@base", "@fork"),
    ("@base", "@files-open"),
    ("@base", "@sockets"),
    ("@base", "@other-processes"),
    ("@memory", "@other-processes"),
    ("@signals", "@send-signals"),
    ("@sandbox", "@namespaces"),
    ("@mount-info", "@mount"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_groups_that_are_kept_apart_share_nothing(one, other):
    assert set(GROUPS[one].calls) & set(GROUPS[other].calls) == set()


def test_groups_are_found_and_nearly_found():
    assert group("base") is group("@base")
    assert "exit_group" in group("base").calls
    assert "systemd" in str(group("@swap"))
    assert str(group("@exec")) == "@exec: replacing the program\n  execve execveat\n"
    with pytest.raises(UsageError, match="did you mean @base"):
        group("@bsae")


@pytest.mark.live
def test_groups_with_systemds_names_have_systemds_calls():
    need_program("systemd-analyze", "systemd")
    done = run(["systemd-analyze", "syscall-filter", "--no-pager"])
    theirs: dict[str, list[str]] = {}
    name = ""
    for line in done.stdout.splitlines():
        if line.startswith("@"):
            name = line.strip()
        elif line.startswith("#"):
            name = ""
        elif name and line.strip() and not line.strip().startswith("#"):
            theirs.setdefault(name, []).append(line.strip())

    def flat(name):
        return {call for member in theirs[name] for call in (flat(member) if member.startswith("@") else {member})}

    known = flat("@known")
    for name in theirs.keys() - {"@known"}:
        assert name in GROUPS, name
        # What newer systemd versions moved or added is not held against us: only calls that this one knows, and both name.
        ours = set(GROUPS[name].calls)
        assert ours - known <= KNOWN
        assert flat(name) - ours == set() or _newer(done.stdout), name
        assert ours & known <= flat(name), name
    assert not [name for name, one in GROUPS.items() if one.systemd and name not in {*theirs, "@sandbox"}]


def _newer(text):
    return "@sandbox" in text
