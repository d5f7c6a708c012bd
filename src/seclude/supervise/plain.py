"""What the policy itself says of a call: its plain program, run by the BPF machine on the words of the call."""

from __future__ import annotations

import sys

from seclude.bpf.machine import decode, pack_data, run
from seclude.errors import FilterError

__all__ = [
    "ACTIONS",
    "ALLOW",
    "ERRNO",
    "KILL_PROCESS",
    "KILL_THREAD",
    "LOG",
    "TRACE",
    "TRAP",
    "USER_NOTIF",
    "Plain",
    "with_trace",
    "without_trace",
]

KILL_PROCESS, KILL_THREAD, TRAP, ERRNO = 0x80000000, 0, 0x30000, 0x50000
USER_NOTIF, TRACE, LOG, ALLOW = 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000

#: action part of a return value → as a policy spells it
ACTIONS = {
    KILL_PROCESS: "kill_process",
    KILL_THREAD: "kill_thread",
    TRAP: "trap",
    ERRNO: "errno",
    USER_NOTIF: "notify",
    TRACE: "trace",
    LOG: "log",
    ALLOW: "allow",
}
_RET_K = 0x06
_MOST = 4096


class Plain:
    """A policy's program, decoded once."""

    __slots__ = ("_instructions", "_known")

    def __init__(self, program: bytes) -> None:
        self._instructions = decode(program)
        self._known: dict[tuple[int, int], tuple[int, int] | None] = {}

    def value(self, nr: int, arch: int, ip: int, args: tuple[int, ...]) -> tuple[int, int]:
        """``(action, data)``: the two halves of what the program returns. An unknown action acts as kill_process."""
        try:
            found = self._known[nr, arch]
        except KeyError:
            found = self._constant(nr, arch)
        return found if found is not None else _halves(run(self._instructions, pack_data(nr, arch, ip, args))[0])

    def _constant(self, nr: int, arch: int) -> tuple[int, int] | None:
        """What the program returns for the call whatever its arguments, None where it looks at them. Remembered for the first `_MOST` calls."""
        try:
            found = _halves(run(self._instructions, (nr & 0xFFFFFFFF, arch & 0xFFFFFFFF), "little")[0])
        except FilterError:  # it asked for a word that was not given
            found = None
        if len(self._known) < _MOST:  # the target chooses the numbers
            self._known[nr, arch] = found
        return found

    def returns(self, *actions: int) -> bool:
        """Whether any instruction returns one of ``actions``: what the program might do, reachable or not."""
        return any(code == _RET_K and k & 0xFFFF0000 in actions for code, _, _, k in self._instructions)


def _halves(word: int) -> tuple[int, int]:
    action = word & 0xFFFF0000
    return (action if action in ACTIONS else KILL_PROCESS), word & 0xFFFF


def without_trace(program: bytes) -> bytes:
    """The program with every TRACE answer made USER_NOTIF, so that the unhandled call is seen and answered ENOSYS as before.

    Without a tracer that asked for seccomp stops the kernel itself answers a TRACE with ENOSYS, unseen by anyone.
    """
    return _replaced(program, TRACE, USER_NOTIF)


def with_trace(program: bytes) -> bytes:
    """The program with every USER_NOTIF answer made TRACE: a plain filter whose handlers are asked by a tracer, without a listener."""
    return _replaced(program, USER_NOTIF, TRACE)


def _replaced(program: bytes, old: int, new: int) -> bytes:
    raw = bytearray(program)
    for at, (code, _, _, k) in enumerate(decode(program)):
        if code == _RET_K and k & 0xFFFF0000 == old:
            raw[8 * at + 4 : 8 * at + 8] = new.to_bytes(4, sys.byteorder)
    return bytes(raw)
