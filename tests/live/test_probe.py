"""What the running kernel does with a call, without the call: every action, as root and as nobody, against the model's own answer."""

from __future__ import annotations

import json
import os
import random
import sys

import pytest

from model_support import always, of
from seclude.abi import arch
from seclude.errors import KernelError, UsageError
from seclude.model import uapi
from seclude.model.filter import Fprog
from seclude.model.kernel import KernelModel
from seclude.model.simulate import simulate
from seclude.sandbox.probe import observable, probe
from support import run_python

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="the probe is x86-64 code"),
]
X86_64, X86, X32 = arch("x86_64"), arch("x86"), arch("x32")
VALUES = [
    0x80000000, 0, 0x30000, 0x30005, 0x50000, 0x50001, 0x5FFFF, 0x7FC00000, 0x7FF00003, 0x7FFC0000, 0x7FFF0000, 0x12340000, 0x7FFF0007,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_every_answer_shows_itself(value):
    reboot = X86_64.number("reboot")
    assert reboot is not None
    assert probe([of(value, "reboot").to_bytes()], X86_64, reboot, (1, 2, 3, 4, 5, 6)) == observable(value)


def test_a_call_that_is_let_through_is_not_made():
    number = X86_64.number("rmdir")
    assert number is not None
    # rmdir with an address that nobody has: it would fail, and that would show.
    assert probe([of(0x7FFF0000, 1).to_bytes()], X86_64, number, (0,) * 6) == "let through"


def test_stacks_answer_as_the_model_says():
    rnd = random.Random(8)
    for _ in range(20):
        programs = [of(rnd.choice(VALUES), "mkdir", otherwise=rnd.choice([0x7FFF0000, 0x7FFC0000])) for _ in range(rnd.randint(1, 3))]
        call = rnd.choice([83, 84])
        done = simulate([("p", program) for program in programs], call, X86_64, supervisor="silent", tracer="kill")
        assert probe([program.to_bytes() for program in programs], X86_64, call, (0,) * 6) == observable(done.call.evaluations[0].value)


def test_other_widths():
    assert probe([of(0x50007, 39).to_bytes()], X86, 39, (1, 2, 3, 4, 5, 6)) == "result -7"
    assert probe([of(0x50007, 0x40000053).to_bytes()], X32, 0x40000053, (0,) * 6) == "result -7"


def test_arguments_arrive_whole():
    from seclude.bpf.program import Program

    lines = [(0x20, 0, 0, 0), (0x15, 0, 13, 83)]
    args = tuple(0x1111111111111111 * (n + 1) for n in range(6))
    for n in range(6):
        lines += [(0x20, 0, 0, 16 + 8 * n), (0x15, 0, 11 - 2 * n, args[n] & 0xFFFFFFFF)]
    lines += [(0x06, 0, 0, 0x50009), (0x06, 0, 0, 0x7FFF0000)]
    assert probe([Program(lines).to_bytes()], X86_64, 83, args) == "result -9"


def test_what_cannot_be_asked():
    with pytest.raises(UsageError, match="x86-64 machines"):
        probe([always(0x7FFF0000).to_bytes()], arch("aarch64"), 1, (0,) * 6)
    bad = bytes(8)
    with pytest.raises(KernelError, match="refuses"):
        probe([bad], X86_64, 1, (0,) * 6)
    assert KernelModel().seccomp(KernelModel().process(privileged=True), 1, 0, Fprog(None, 1)).value == -uapi.EINVAL


def test_nobody_can_ask_too():
    done = run_python(
        """
        import json, sys
        from seclude.abi import arch
        from seclude.sandbox.probe import probe
        filters, = json.loads(sys.argv[1])
        print(probe([bytes.fromhex(filters)], arch("x86_64"), 83, (0,) * 6))
        """,
        json.dumps([of(0x50007, "mkdir").to_bytes().hex()]),
        nobody=True,
    )
    assert done.stdout == "result -7\n", str(done)
