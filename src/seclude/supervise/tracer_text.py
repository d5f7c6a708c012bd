r"""Bytes, flags and numbers of a traced call as strace(1) spells them: ``"ab\0\33[31m"...``, ``-1 ENOENT (No such file or directory)``.

Everything that a target chose comes out of here as printable ASCII: what it holds may be meant for the reader's terminal.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.abi import Architecture

__all__ = ["SHOWN", "failure", "hexadecimal", "quoted", "restart"]

#: bytes of a buffer that are shown (strace -s)
SHOWN = 32
_SHORT = {9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
_PLAIN = [_SHORT.get(code) or (chr(code) if 32 <= code < 127 else f"\\{code:o}") for code in range(256)]
#: the same, before a digit: an octal escape must be as long as can be
_LONG = [_SHORT.get(code) or (chr(code) if 32 <= code < 127 else f"\\{code:03o}") for code in range(256)]


def quoted(raw: bytes, limit: int = SHOWN, *, more: bool = False) -> str:
    """``raw`` in double quotes, as C would write it, cut after ``limit`` bytes; ``...`` where it was cut, or ``more`` was there."""
    if len(raw) > limit:
        raw, more = raw[:limit], True
    text = raw.decode("latin-1")
    if not (text.isascii() and text.isprintable()) or '"' in text or "\\" in text:
        out = []
        last = len(raw) - 1
        for at, code in enumerate(raw):
            out.append((_LONG if at < last and 48 <= raw[at + 1] <= 55 else _PLAIN)[code])
        text = "".join(out)
    return f'"{text}"...' if more else f'"{text}"'


def hexadecimal(raw: bytes, *, more: bool = False) -> str:
    """Bytes that are never text, random ones."""
    return '"' + "".join([f"\\x{code:02x}" for code in raw]) + ('"...' if more else '"')


# What the kernel leaves in the register of an interrupted call, to restart it (include/linux/errno.h)
_RESTARTS = {
    512: "ERESTARTSYS (To be restarted if SA_RESTART is set)",
    513: "ERESTARTNOINTR (To be restarted)",
    514: "ERESTARTNOHAND (To be restarted if no handler)",
    516: "ERESTART_RESTARTBLOCK (Interrupted by signal)",
}


def restart(result: int) -> str | None:
    """``? ERESTARTSYS (...)`` for a call that a signal interrupted and that the kernel will begin again."""
    found = _RESTARTS.get(-result)
    return None if found is None else f"? {found}"


_failures: dict[tuple[str, int], str] = {}


def failure(arch: Architecture, number: int) -> str:
    """``-1 ENOENT (No such file or directory)``: errno names are the architecture's, their words this system's."""
    key = (arch.name, number)
    found = _failures.get(key)
    if found is None:
        from seclude.abi import native
        from seclude.abi.constants import errno_name, errno_number

        name = errno_name(number, arch)
        here = errno_number(name, native()) if name else None
        found = f"-1 {name} ({os.strerror(here)})" if name and here is not None else f"-1 {name or f'(errno {number})'}"
        _failures[key] = found
    return found
