"""Supervisors run against the model in every order of their requests and the target's moves: the same code that runs against Linux."""

from __future__ import annotations

import doctest

import pytest

import seclude.model.protocol
from model_support import of, result
from seclude.bpf import codes
from seclude.model import explore, uapi
from seclude.model.protocol import Modelled
from seclude.model.scenario import Scenario
from seclude.supervise.notifications import Responder
from seclude.supervise.plain import Plain
from seclude.supervise.record import Record

KILLABLE = codes.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
DENY = codes.SECCOMP_RET_ERRNO | uapi.EACCES


def test_the_module_shows_what_it_does():
    assert doctest.testmod(seclude.model.protocol).failed == 0


def supervised(flags, how, signal, version="6.18", policy=DENY):
    """A target whose call is denied by the Responder while somebody sends it a signal."""
    s = Scenario(version)
    target = s.process("target")
    s.kernel.sigaction(target, uapi.SIGUSR1, how)
    target.process.memory[0x7000] = b"/tmp/x\0"
    listener = s.listen(target, of(codes.SECCOMP_RET_USER_NOTIF, "mkdir"), flags)
    kernel = Modelled(s, listener.supervisor)
    record = Record()
    responder = Responder(kernel, listener.fd, Plain(of(policy, "mkdir").to_bytes()), record, None)
    made = s.actor("target", s.calls(target, "mkdir", 0x7000, 0o755))
    s.actor("somebody", s.signals(target, signal))

    def serve():
        while kernel.readable(listener.fd):
            responder.serve()

    s.main = serve
    s.outcome = lambda: (result(made), sum(one.count for one in record.denials))
    s.check = lambda: answered(made)
    return s


def answered(actor):
    assert result(actor) != "sleeping", "the call waits for an answer that never comes"


@pytest.mark.parametrize("version", ["5.19", "6.18"])
def test_under_wait_killable_a_received_call_is_answered_once_whatever_signals_come(version):
    found = set(explore(lambda: supervised(KILLABLE, "restart", uapi.SIGUSR1, version)).outcomes)
    # Before 6.17 an answer given while the target wakes for its signal is lost: SEND succeeds, and the call comes again.
    assert found == ({(-uapi.EACCES, 1), (-uapi.EACCES, 2)} if version == "5.19" else {(-uapi.EACCES, 1)})


def test_a_handler_that_does_not_restart_sees_eintr_only_before_the_call_was_received():
    found = set(explore(lambda: supervised(KILLABLE, "catch", uapi.SIGUSR1)).outcomes)
    assert found == {(-uapi.EACCES, 1), (-uapi.EINTR, 0)}


def test_a_killed_target_leaves_the_responder_unharmed():
    found = set(explore(lambda: supervised(KILLABLE, "catch", uapi.SIGKILL)).outcomes)
    # Its answer can arrive and it dies all the same, behind the call: it was denied, and that counts.
    assert found == {("never made", 0), ("gone", 0), ("gone", 1)}
