"""``traced(decision, calls)``: where the chosen calls are allowed they stop for a tracer, and nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seclude.abi import ALL, arch
from seclude.compiler.build import compile_decision
from seclude.decision import from_policy, from_program, reported, traced
from seclude.decision.reporting import TRACED
from seclude.errors import UsageError
from seclude.policy import parse
from seclude.policy.chosen import chosen
from seclude.policy.strace_sets import SETS

X86_64 = arch("x86_64")
POLICY = """
default errno(EPERM)
arch x86_64, x86
allow openat(flags & 3 == 0), read, close
log getppid
kill_process ptrace
trap(3) chroot
notify connect
trace(5) bind
"""
KILL, TRAP, EPERM, NOTIFY, LOG, ALLOW = 0x80000000, 0x30003, 0x50001, 0x7FC00000, 0x7FFC0000, 0x7FFF0000


def numbers(*names):
    return [(one.token, one.number(name)) for one in (X86_64, arch("x86")) for name in names if one.number(name) is not None]


def value(decision, name, *args, of=X86_64):
    words = [of.number(name), of.token, 0, 0]
    for word in (*args, *(0,) * (6 - len(args))):
        words += [word & 0xFFFFFFFF, word >> 32]
    return decision.value(words)


@pytest.fixture(scope="module")
def decision():
    return from_policy(parse(POLICY, native="x86_64"))


def test_allowed_calls_stop_and_only_the_chosen_ones(decision):
    told = traced(reported(decision), numbers("openat", "close"))
    assert value(told, "openat") == TRACED
    assert value(told, "openat", 0, 0, 1) == NOTIFY  # denied: reported
    assert value(told, "close") == TRACED
    assert value(told, "close", of=arch("x86")) == TRACED
    assert value(told, "read") == ALLOW


def test_what_is_not_allowed_stays_what_it_is(decision):
    told = traced(reported(decision), None)
    assert value(told, "read") == TRACED
    assert value(told, "getppid") == LOG
    assert value(told, "ptrace") == KILL
    assert value(told, "chroot") == TRAP
    assert value(told, "connect") == NOTIFY
    assert value(told, "bind") == NOTIFY  # the policy's own trace is not mistaken for ours
    assert value(traced(reported(decision), None, asked=True), "bind") == 0x7FF00005


def test_all_but_some(decision):
    told = traced(reported(decision), numbers("read"), others=True)
    assert value(told, "read") == ALLOW
    assert value(told, "close") == TRACED


def test_the_traced_form_is_proven_like_any_other(decision):
    told = traced(reported(decision), numbers("openat"))
    program = compile_decision(told, "little")
    assert from_program(program) == told


@pytest.mark.slow
@given(st.sets(st.sampled_from(["openat", "read", "close", "getppid", "ptrace", "chroot", "connect", "bind", "mkdir"])), st.booleans())
def test_tracing_back_is_the_reported_form(decision, names, others):
    """What is traced is what was allowed: with TRACED read as allow nothing has changed but the policy's own trace leaves."""
    from seclude.decision.nodes import leaf
    from seclude.decision.ops import map_leaves

    before = reported(decision)
    told = traced(before, numbers(*names), others=others)
    back = map_leaves(told.root, lambda node: leaf(ALLOW) if node.value == TRACED else node)
    quiet = map_leaves(before.root, lambda node: leaf(NOTIFY) if node.value == 0x7FF00005 else node)
    assert back is quiet


@pytest.mark.parametrize(
    ("text", "names", "others"),
    [("all", (), True), ("openat", ("openat",), False), (" openat , close ", ("close", "openat"), False), ("!futex", ("futex",), True)],
)
def test_calls_that_a_person_chooses(text, names, others):
    assert chosen(text) == (names, others)


def test_groups_are_their_members():
    names, others = chosen("@network-io,read")
    assert {"connect", "sendto", "read"} <= set(names)
    assert not others


@pytest.mark.parametrize(
    ("text", "holds", "lacks"),
    [
        ("%file", "openat open stat execve mount", "read connect fstat"),
        ("%desc", "openat read close mmap epoll_wait", "connect stat"),
        ("%network", "socket connect sendto socketcall", "read openat"),
        ("%net", "socket connect", "read"),
        ("%process", "fork clone execve exit_group wait4", "getpid"),
        ("%signal", "kill rt_sigaction signalfd4", "wait4"),
        ("%ipc", "shmat msgget semop", "pipe"),
        ("%memory", "mmap brk mprotect", "read"),
        ("%%stat", "stat fstat lstat newfstatat statx", "statfs"),
        ("trace=%file,close", "openat close", "read"),
        ("/^open", "open openat openat2 open_tree", "fsopen mq_open"),
        ("?openat,?nothing", "openat", "open"),
    ],
)
def test_words_of_strace(text, holds, lacks):
    names, others = chosen(text)
    assert set(holds.split()) <= set(names)
    assert not set(lacks.split()) & set(names)
    assert not others


@pytest.mark.parametrize("text", ["all,openat", "openat,all", "trace=all"])
def test_all_beside_names_is_all(text):
    assert chosen(text) == ((), True)


def test_everything_but_a_set():
    names, others = chosen("!%memory,futex")
    assert others
    assert {"mmap", "brk", "futex"} <= set(names)


def test_every_call_of_a_set_is_one_that_some_kernel_has():
    known = {call for one in ALL for call in one.calls()}
    for name, calls in SETS.items():
        assert set(calls) <= known, name
        assert len(set(calls)) == len(calls), name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty place"),
        ("a,,b", "empty place"),
        ("opneat", "openat"),
        ("!all", "no call at all"),
        ("!openat,all", "no call at all"),
        ("@netwrk-io", "@network-io"),
        ("%netwrok", "'%network'"),
        ("file", "mean '%file'"),
        ("trace=desc", "mean '%desc'"),
        ("/opne", "no call matches"),
        ("/open(", "no regular expression"),
        ("?opneat", "no call at all"),
    ],
)
def test_what_names_nothing(text, said):
    with pytest.raises(UsageError, match=said):
        chosen(text)
