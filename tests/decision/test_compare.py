"""Comparing decisions: classes, lattice, stacks, sets and counts, witnesses."""

import itertools
import random

import pytest

from decision_support import ARM, I386, X86_64, random_lowered, random_program, random_words
from seclude.bpf import assemble
from seclude.bpf.codes import combine as machine_combine
from seclude.bpf.machine import run
from seclude.decision import (
    SystemCall,
    calls_of,
    denied,
    difference,
    equivalent,
    from_policy,
    from_program,
    intersection,
    permitted,
    restrict,
    stack,
    subset,
    undecided,
    union,
)
from seclude.decision.calls import ALL_CALLS, NO_CALLS, calls_where
from seclude.decision.compare import DENY, PERMIT, UNDECIDED, action_class, excess, pair, rank
from seclude.decision.nodes import END, reachable
from seclude.decision.value import canonical_value
from seclude.errors import UsageError
from seclude.policy import parse

HEADER = "arch x86_64\ndefault errno(EPERM)\n"
ACTIONS = (0x80000000, 0, 0x30000, 0x50001, 0x7FC00000, 0x7FF00003, 0x7FFC0000, 0x7FFF0000)


def seen(calls):
    found = calls.witness()
    assert found is not None
    return found


def of(text, header=HEADER):
    return from_policy(parse(header + text))


def program(text):
    return from_program(assemble(text))


def always(value):
    return from_program(assemble(f"return {value:#x}"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *zip(ACTIONS, (DENY,) * 4 + (UNDECIDED,) * 2 + (PERMIT,) * 2, strict=True),
        (0x12340000, DENY),
        (0x7FFE0000, DENY),
        (0x90000000, DENY),
    ],
)
def test_unknown_actions_are_denials(value, expected):
    assert action_class(value) == expected


def test_the_kernels_order():
    assert sorted(ACTIONS, key=rank) == list(ACTIONS)
    assert rank(0x90000000) > rank(0x80000000)  # an unknown action keeps its rank
    assert rank(0x7FFE0000) < rank(0x7FFF0000)


def test_subset_compares_classes_and_strict_compares_actions():
    errno, kill, allow, log, notify = (always(v) for v in (0x50001, 0x80000000, 0x7FFF0000, 0x7FFC0000, 0x7FC00000))
    assert subset(errno, kill)
    assert subset(kill, errno)
    assert subset(allow, log)
    assert subset(errno, notify)
    assert not subset(notify, errno)
    assert not subset(allow, notify)
    assert subset(kill, errno, strict=True)
    assert not subset(errno, kill, strict=True)
    assert subset(log, allow, strict=True)
    assert not subset(allow, log, strict=True)
    assert not subset(errno, always(0x50002), strict=True)  # the same action, other data
    assert not subset(always(0x50002), errno, strict=True)


def test_a_subset_of_rules_permits_less():
    more, less = of("allow read, write, socket"), of("allow read, socket(domain == AF_UNIX)")
    assert subset(less, more)
    assert not subset(more, less)
    assert excess(more, less).calls == permitted(more) - permitted(less)
    assert str(seen(excess(more, less).calls)) == "write(0, NULL, 0)"


def test_equal_meanings_are_equivalent():
    assert equivalent(of("allow read, write"), of("allow write\nallow read"))
    assert not difference(of("allow read"), of("allow read"))
    assert subset(of("allow read"), of("allow read"), strict=True)


def test_a_difference_holds_both_answers():
    a, b = of("allow read, write"), of("allow read\nkill write")
    found = difference(a, b)
    assert found
    leaves = [node for node in reachable([found.root]) if node.level == END]
    assert {pair(node) for node in leaves if node.value} == {(0x7FFF0000, 0x80000000)}
    assert found.calls == calls_of("x86_64", "write")
    assert not found.within(calls_of("x86_64", "read"))
    assert found.within(ALL_CALLS) is found
    assert found.only(lambda x, y: y == 0x80000000) is found
    assert not found.only(lambda x, y: x == 0x80000000)


# ── stacks: the bpf machine and the kernel's rule, on raw values ────────────────────────────────────────────────────


def kernel(values):
    """seccomp_run_filters: ``values`` oldest first, run newest first, signed compare of the action, strictly smaller wins."""
    best = 0x7FFF0000
    for value in reversed(values):
        action = value & 0xFFFF0000
        if (action ^ 0x80000000) < (best & 0xFFFF0000 ^ 0x80000000):
            best = value
    return best


RAW = (0x80000000, 0x80001234, 0, 7, 0x30005, 0x30006, 0x50001, 0x50002, 0x5FFFF, 0x51000, 0x7FC00009, 0x7FF00001, 0x7FF00002,
       0x7FFC0000, 0x7FFF0000, 0x7FFF0001, 0x12340000, 0x7FFE0000, 0x7FFFFFFF, 0x90000000)  # fmt: skip


@pytest.mark.parametrize(("older", "newer"), list(itertools.product(RAW, RAW)))
def test_two_stacked_returns(older, newer):
    wanted = canonical_value(kernel([older, newer]))
    assert stack(always(older), always(newer)) is always(wanted)
    assert canonical_value(machine_combine([newer, older])) == wanted


@pytest.mark.parametrize("seed", range(30))
def test_stacked_programs_do_what_the_kernel_makes_of_them(seed):
    rnd = random.Random(seed)
    codes = [random_program(rnd, rnd.randrange(3, 25), heavy=False) for _ in range(3)]
    programs = [from_program_raw(code) for code in codes]
    both = stack(*programs)
    assert both is stack(stack(programs[0], programs[1]), programs[2])
    assert both is stack(programs[0], stack(programs[1], programs[2]))
    for _ in range(60):
        words = random_words(rnd)
        assert both.value(words) == canonical_value(kernel([run(code, words, "little")[0] for code in codes]))


def from_program_raw(code):
    from seclude.decision.read import from_instructions

    return from_instructions(code, "little")


def test_the_newest_filters_errno_wins():
    old, new = of("errno(EACCES) read"), of("errno(ENOSYS) read")
    assert stack(old, new).value(SystemCall(X86_64, 0, (0,) * 6).words) == 0x50026
    assert stack(new, old).value(SystemCall(X86_64, 0, (0,) * 6).words) == 0x5000D


def test_nothing_to_combine_is_an_error():
    for operation in (stack, union, intersection):
        with pytest.raises(UsageError, match="at least one"):
            operation()


# ── sets ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(15))
def test_permitted_sets_meet_and_join(seed):
    rnd = random.Random(seed)
    a, b = (from_program_raw(random_program(rnd, rnd.randrange(3, 25), heavy=False)) for _ in range(2))
    assert permitted(intersection(a, b)) is permitted(a) & permitted(b)
    assert permitted(union(a, b)) is permitted(a) | permitted(b)
    for one in (a, b):
        parts = permitted(one), undecided(one), denied(one)
        assert parts[0] | parts[1] | parts[2] is ALL_CALLS
        assert all(x & y is NO_CALLS for x, y in itertools.combinations(parts, 2))
        assert sum(part.count() for part in parts) == 1 << 512


def test_counts_are_exact():
    assert ALL_CALLS.count() == 1 << 512
    assert NO_CALLS.count() == 0
    one_call = 1 << 32 * 14
    assert calls_of("x86_64", "read").count() == one_call
    assert calls_of("x86_64").count() == (2**30 + 2**31) * one_call
    assert calls_of("x32").count() == 2**30 * one_call
    assert calls_of(0x12345678).count() == one_call << 32
    assert calls_of(0x12345678, 7).count() == one_call
    assert calls_of(None, 7).count() == one_call << 32
    assert permitted(of("allow read, socket(domain in {1, 2, 10} and type != 3)")).count() == one_call + 3 * (2**32 - 1) * (one_call >> 64)


def test_calls_by_name():
    assert calls_of("x86", "socketcall") <= calls_of("x86")
    assert calls_of(None, "read") & calls_of("arm") == calls_of("arm", "read")
    assert calls_of(None, "socketcall") & calls_of("x86_64") is NO_CALLS
    assert calls_of() is ALL_CALLS
    with pytest.raises(UsageError, match="did you mean 'socket'"):
        calls_of("x86_64", "sokcet")
    with pytest.raises(UsageError, match="unknown architecture"):
        calls_of("vax")


def test_membership_follows_the_definition():
    inside = permitted(of("allow read(fd == 3)"))
    assert SystemCall(X86_64, 0, (3, 0, 0, 0, 0, 0)).words in inside
    assert SystemCall(X86_64, 0, (1 << 32 | 3, 0, 0, 0, 0, 0)).words in inside
    assert SystemCall(X86_64, 0, (4, 0, 0, 0, 0, 0)).words not in inside
    assert SystemCall(I386, 0, (3, 0, 0, 0, 0, 0)).words not in inside


def test_restriction():
    d = of("allow read, write", "arch x86_64, x86\ndefault errno(EPERM)\n")
    only = restrict(d, calls_of("x86_64"))
    assert only.of_token(I386).value == 0x80000000
    assert only.of_call(X86_64, 0) is d.of_call(X86_64, 0)
    assert restrict(only, ALL_CALLS) is only
    assert restrict(d, NO_CALLS, 0x7FFF0000).root.value == 0x7FFF0000


# ── witnesses ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("allow read", "read(0, NULL, 0)"),
        ("allow socket", "socket(AF_UNIX, SOCK_STREAM, 0)"),
        ("allow socket(domain != AF_UNIX)", "socket(AF_UNSPEC, SOCK_STREAM, 0)"),
        ("allow socket(domain > 30)", "socket(AF_ALG, SOCK_STREAM, 0)"),
        ("allow socket(domain > 100)", "socket(101, SOCK_STREAM, 0)"),
        ("allow socket(domain:u64 > 0xffffffff)", "socket(0x100000001 = AF_UNIX after the kernel drops the high word, SOCK_STREAM, 0)"),
        ("allow openat(dirfd:u64 == 0xffffffffffffff9c)", "openat(0xffffffffffffff9c = AT_FDCWD, NULL, O_RDONLY, 0)"),
        ("allow fchmod(mode:u64 == 0x109ed)", "fchmod(0, 0x109ed = 04755 after the kernel drops all but 16 bits)"),
        ("allow kill(sig == SIGKILL and pid < 0)", "kill(-2147483648, SIGKILL)"),
        ("allow 5000(arg0 == 17)", "5000(0x11)"),
        ("allow getpid(arg2:u64 == 5)", "getpid(arg2 0x5, which the kernel does not read)"),
        ("allow getpid(ip >= 0x1000)", "getpid(from instruction 0x1000)"),
    ],
)
def test_witnesses_read_as_people_read_calls(text, shown):
    call = seen(permitted(of(text)))
    assert str(call) == shown
    assert call.words in permitted(of(text))


def test_split_values_are_recombined():
    call = seen(permitted(of("allow truncate64(length == 0x123456789)", "arch x86\ndefault errno(EPERM)\n")))
    assert str(call) == "truncate64(NULL, 4886718345)"
    assert call.args[1:3] == (0x23456789, 1)


def test_empty_sets_have_no_witness():
    assert NO_CALLS.witness() is None
    assert ALL_CALLS.witness() is not None
    assert not NO_CALLS
    assert str(seen(calls_of(0x12345678, 0xFFFFFFFF))) == "0xffffffff()"


@pytest.mark.parametrize("seed", range(40))
def test_witnesses_are_members(seed):
    rnd = random.Random(seed)
    d = from_policy(random_lowered(rnd, tokens=(X86_64, I386, ARM)))
    for value in d.leaves():
        members = calls_where(d, value.__eq__)
        call = seen(members)
        assert call.words in members
        assert d.value(call.words) == value
        assert SystemCall.from_words(call.words) == call
