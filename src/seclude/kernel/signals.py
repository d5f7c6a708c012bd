"""signalfd(2): signals as data, with who sent them, so that no handler ever runs in the middle of something.

A terminal's signals come from the kernel and reach the whole foreground group; another process's are for us alone.
Only the first kind may be left unforwarded, and only siginfo tells them apart: a Python handler is not given it.
"""

from __future__ import annotations

import ctypes
import os
import struct

from seclude.kernel.libc import call

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as csignal
    from collections.abc import Iterable
else:
    # The C module that `signal` wraps: the wrapper imports enum, which costs more than a whole start.
    import _signal as csignal

__all__ = ["csignal", "pending", "signal_descriptor"]

_SIZE = 128  # struct signalfd_siginfo
_FROM_KERNEL = 0x80  # SI_KERNEL


def signal_descriptor(signals: Iterable[int]) -> int:
    """A non-blocking, close-on-exec descriptor that is readable while one of ``signals``, which must be blocked, is pending."""
    mips = os.uname().machine.startswith("mips")
    words = bytearray(16 if mips else 8)
    for signal in signals:
        bit = signal - 1
        words[bit // 8] |= 1 << bit % 8
    mask = int.from_bytes(words, "little").to_bytes(len(words), "little")
    buffer = ctypes.create_string_buffer(mask, len(mask))
    return call("signalfd4", -1, ctypes.byref(buffer), len(mask), os.O_CLOEXEC | os.O_NONBLOCK)


def pending(descriptor: int) -> list[tuple[int, bool]]:
    """Every signal waiting: ``(number, whether the kernel sent it)``, each taken off the queue."""
    out: list[tuple[int, bool]] = []
    while True:
        try:
            raw = os.read(descriptor, _SIZE * 16)
        except BlockingIOError:
            return out
        for at in range(0, len(raw), _SIZE):
            number, _, code = struct.unpack_from("=Iii", raw, at)
            out.append((number, code == _FROM_KERNEL))
        if len(raw) < _SIZE * 16:  # what comes now makes the descriptor readable again
            return out
