"""What a policy is compiled to for handlers: which calls reach them, and the form in which a tracer asks."""

from __future__ import annotations

import pytest

from seclude.abi import arch
from seclude.bpf.machine import decode, pack_data, run
from seclude.errors import PolicyError
from seclude.policy import parse
from seclude.sandbox.explain import place_of
from seclude.sandbox.prepare import prepare

X86_64 = arch("x86_64")
NOTIFY, TRACE, ERRNO, ALLOW = 0x7FC00000, 0x7FF00000, 0x50001, 0x7FFF0000
TEXT = """
default allow
arch    x86_64, x86
errno(EPERM)  mount, socket(domain == AF_INET6)
notify        connect, socket(domain == AF_INET)
on x86: notify  stat64
trace(7)      mkdir
kill          reboot
"""


def answer(program, call, *args, where=X86_64):
    return run(decode(program), pack_data(where.number(call), where.token, 0, args))[0]


def test_which_calls_reach_a_handler_is_known_without_reading_the_policy_again():
    told = prepare(parse(TEXT), native="x86_64").summary["attended"]
    assert {word.partition(":")[0]: set(word.partition(":")[2].split(",")) for word in told.split()} == {
        "x86_64": {"connect", "socket", "mkdir"},
        "x86": {"connect", "socket", "mkdir", "stat64"},
    }
    assert "attended" not in prepare("compute", native="x86_64").summary


def test_a_tracer_is_asked_where_a_listener_would_be_and_denials_are_still_reported():
    plain = prepare(parse(TEXT), native="x86_64")
    traced = prepare(parse(TEXT), native="x86_64", rules=[("engine", "ptrace")])
    assert traced.plain == plain.plain  # what the policy means is the same
    for call, args, before, after in (
        ("connect", (), NOTIFY, TRACE),
        ("socket", (2,), NOTIFY, TRACE),
        ("socket", (10,), NOTIFY, NOTIFY),  # errno(EPERM), reported
        ("mount", (), NOTIFY, NOTIFY),
        ("mkdir", (), TRACE | 7, TRACE | 7),
        ("reboot", (), 0x80000000, 0x80000000),
        ("read", (), ALLOW, ALLOW),
    ):
        assert answer(plain.reported, call, *args) == before, call
        assert answer(traced.reported, call, *args) == after, call


def test_a_notify_rule_in_front_leaves_the_call_to_handlers(tmp_path):
    file = tmp_path / "p.seclude"
    file.write_text("default errno(EPERM)\narch x86_64\nallow read\n")
    made = prepare(file, native="x86_64", rules=[("notify", "connect"), ("allow", "write"), ("deny", "read(fd == 3)")])
    assert answer(made.plain, "connect") == NOTIFY
    assert answer(made.plain, "write") == ALLOW
    assert answer(made.plain, "read", 3) == ERRNO
    assert answer(made.plain, "read", 4) == ALLOW
    again = prepare(file, native="x86_64", rules=[("notify", "connect"), ("allow", "write"), ("deny", "read(fd == 3)")])
    assert again == made or again.plain == made.plain  # from the cache, where there is one
    # An explanation reads the rules again, each under the option that it came from.
    connect = X86_64.number("connect")
    assert connect is not None
    assert place_of(made, "x86_64", connect, (0,) * 6) == "notify connect (--notify:1)"


def test_a_rule_that_is_none_is_placed_where_it_was_given():
    with pytest.raises(PolicyError, match="--notify"):
        prepare(parse(TEXT), native="x86_64", rules=[("notify", "opennat")])
