"""Calls about user and group ids, made raw: the C library's change every thread of a process (nptl(7)), and these only the calling one.

Where ids once had 16 bits (x86, arm, ...), the plain names still mean those, and the calls with 32-bit ids have names of their own:
setuid(2), "C library/kernel differences".
"""

from __future__ import annotations

import ctypes

from seclude.errors import KernelError
from seclude.kernel.libc import number, syscall

__all__ = ["id_call", "set_groups"]

_numbers: dict[str, int] = {}


def id_call(name: str) -> int:
    """The number of the call ``name`` (``setfsuid``, ``setgroups``, ...) in its form with 32-bit ids."""
    found = _numbers.get(name)
    if found is None:
        try:
            found = number(name + "32")
        except KernelError:
            found = number(name)
        _numbers[name] = found
    return found


def set_groups(groups: tuple[int, ...]) -> int:
    """setgroups(2) of this thread: 0, or a negated errno."""
    array = (ctypes.c_uint32 * max(1, len(groups)))(*groups)
    return syscall(id_call("setgroups"), len(groups), ctypes.byref(array))
