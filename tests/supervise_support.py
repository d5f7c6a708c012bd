"""What the tests of the room `supervise` share."""

from __future__ import annotations

from seclude.bpf.program import Program

__all__ = ["program"]


def program(value: int) -> bytes:
    """A filter that returns ``value`` for every call."""
    return Program([(6, 0, 0, value)]).to_bytes()
