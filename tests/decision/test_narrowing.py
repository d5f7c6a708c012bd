"""A broker's form of a policy: what was permitted of the chosen calls is asked about or refused, and nothing else changes."""

import pytest

import seclude
from seclude.abi import ALL, arch
from seclude.sandbox.prepare import prepare
from seclude.supervise.plain import Plain

TEXT = """\
default errno(EPERM)
arch x86_64, x86
kill    openat(flags & O_CREAT != 0)
errno(EROFS) openat(flags & O_TRUNC != 0)
log     openat(dirfd == 3)
notify  connect
allow   openat, read, mount
"""
TOKEN, COMPAT = 0xC000003E, 0x40000003
OPENAT, READ, CONNECT, MOUNT, STAT = 257, 0, 42, 165, 4
ALLOW, LOG, NOTIFY, KILL, ERRNO = 0x7FFF0000, 0x7FFC0000, 0x7FC00000, 0x80000000, 0x50000


@pytest.fixture(scope="module")
def filters():
    """Plain and reported, as the policy is and narrowed."""
    policy = seclude.parse(TEXT, native="x86_64")
    rules = [("broker", "openat,stat,connect"), ("refuse", "ENOSYS mount")]
    return [Plain(raw) for one in (prepare(policy), prepare(policy, rules=rules)) for raw in (one.plain, one.reported)]


@pytest.mark.parametrize(
    ("number", "args", "old", "new"),
    [
        (OPENAT, (3, 1, 0), (LOG, 0), (NOTIFY, 0)),
        (OPENAT, (4, 1, 0), (ALLOW, 0), (NOTIFY, 0)),
        (OPENAT, (4, 1, 0o100), (KILL, 0), (KILL, 0)),
        (OPENAT, (4, 1, 0o1000), (ERRNO, 30), (ERRNO, 30)),
        (STAT, (), (ERRNO, 1), (ERRNO, 1)),
        (CONNECT, (), (NOTIFY, 0), (NOTIFY, 0)),
        (MOUNT, (), (ALLOW, 0), (ERRNO, 38)),
        (READ, (), (ALLOW, 0), (ALLOW, 0)),
    ],
)
def test_only_what_was_permitted_of_the_chosen_calls_changes(filters, number, args, old, new):
    plain, _, narrowed, told = filters
    words = (*args, 0, 0, 0, 0, 0, 0)[:6]
    assert plain.value(number, TOKEN, 0, words) == old
    assert narrowed.value(number, TOKEN, 0, words) == new
    # What is denied is told first, and answered with its errno then.
    assert told.value(number, TOKEN, 0, words) == ((NOTIFY, 0) if new[0] == ERRNO else new)


def test_on_every_architecture_of_the_policy_and_on_no_other(filters):
    plain, _, narrowed, _ = filters
    assert narrowed.value(295, COMPAT, 0, (4, 1, 0, 0, 0, 0)) == (NOTIFY, 0)
    for one in ALL:
        for call, number in ((name, one.number(name)) for name in ("openat", "stat", "mount", "read", "close")):
            words = (4, 1, 0, 0, 0, 0)
            before = plain.value(number or 0, one.token, 0, words)
            after = narrowed.value(number or 0, one.token, 0, words)
            if one.token not in (TOKEN, COMPAT) or call in ("read", "close"):
                assert after == before
            assert after[0] == before[0] or (before[0] in (ALLOW, LOG) and after[0] in (NOTIFY, ERRNO))


def test_the_errno_is_the_architectures_own():
    artifact = prepare(seclude.parse("default allow\narch mips\n", native="mips"), rules=[("refuse", "ENOSYS mount")], native="mips")
    one = arch("mips")
    number = one.number("mount")
    assert number is not None
    assert Plain(swapped(artifact.plain)).value(number, one.token, 0, (0,) * 6) == (ERRNO, 89)


def swapped(program):
    """A big-endian program in this machine's order."""
    import struct
    import sys

    return (
        b"".join(struct.pack("=HBBI", *parts) for parts in struct.iter_unpack(">HBBI", program)) if sys.byteorder == "little" else program
    )
