"""What the tests of the room `model` share: programs that say one thing of one call, and names for the kernel's numbers."""

from __future__ import annotations

from seclude.abi import arch
from seclude.bpf import codes
from seclude.bpf.program import Program

__all__ = ["ALLOW", "X86_64", "always", "of", "ready", "result"]

X86_64 = arch("x86_64")
ALLOW = codes.SECCOMP_RET_ALLOW


def always(value: int) -> Program:
    """A filter that says ``value`` to every call."""
    return Program([(0x06, 0, 0, value)])


def of(value: int, *calls: str | int, otherwise: int = ALLOW) -> Program:
    """A filter that says ``value`` to these calls of x86-64, and ``otherwise`` to all others."""
    lines = [(0x20, 0, 0, 0)]
    for call in calls:
        number = X86_64.number(call) if isinstance(call, str) else call & 0xFFFFFFFF
        assert number is not None
        lines += [(0x15, 0, 1, number), (0x06, 0, 0, value)]
    return Program([*lines, (0x06, 0, 0, otherwise)])


def ready(kernel, comm="target", **options):
    """A process that may load filters."""
    task = kernel.process(comm, **options)
    task.no_new_privs = True
    return task


def result(actor):
    """What the last call of an actor came to: its value, or the state it was left in."""
    if not actor.done:
        return "never made"
    return actor.last.value if actor.last.state == "returned" else actor.last.state
