"""capabilities(7): look, and give up for good. Numbers from include/uapi/linux/capability.h."""

from __future__ import annotations

import ctypes
import errno as _errno

from seclude.errors import KernelError
from seclude.kernel import prctl
from seclude.kernel.libc import failed, syscall

__all__ = [
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_SETPCAP",
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
    "drop",
    "drop_all",
    "has",
    "limit",
    "set_effective",
    "sets",
]

CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETPCAP = 8
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
CAP_SYS_RESOURCE = 24

_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of 32 bits a set


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _get() -> tuple[_Header, ctypes.Array[_Data]]:
    header, data = _Header(_VERSION, 0), (_Data * 2)()
    result = syscall("capget", ctypes.byref(header), data)
    if result < 0:
        raise failed("capget", -result, "version 3 of the capability interface (Linux 2.6.26)", "")
    return header, data


def sets() -> dict[str, int]:
    """``effective``, ``permitted`` and ``inheritable`` of the calling thread, each a bit mask."""
    _, data = _get()
    return {name: getattr(data[0], name) | getattr(data[1], name) << 32 for name in ("effective", "permitted", "inheritable")}


def has(capability: int, which: str = "effective") -> bool:
    """Whether the calling thread has ``capability`` in the set ``which`` (also ``bounding`` and ``ambient``)."""
    if which == "bounding":
        return prctl.raw(prctl.PR_CAPBSET_READ, capability) == 1
    if which == "ambient":
        return prctl.raw(prctl.PR_CAP_AMBIENT, prctl.PR_CAP_AMBIENT_IS_SET, capability) == 1
    return bool(sets()[which] >> capability & 1)


def set_effective(mask: int) -> None:
    """Make ``mask`` the calling thread's effective set; the others stay. Raises `KernelError` (EPERM beyond the permitted set)."""
    header, data = _get()
    data[0].effective, data[1].effective = mask & 0xFFFFFFFF, mask >> 32
    result = syscall("capset", ctypes.byref(header), data)
    if result < 0:
        raise failed("capset", -result, f"effective capabilities {mask:#x}", "")


def drop(capability: int) -> tuple[str, ...]:
    """Give up ``capability`` in every set of the calling thread; the names of the sets where it had to stay.

    Only ``bounding`` can stay: lowering it needs CAP_SETPCAP. That is harmless under no_new_privs, since then execve
    raises nothing from the bounding set; without it `KernelError` is raised.
    """
    kept: tuple[str, ...] = ()
    if has(capability, "bounding"):
        result = prctl.raw(prctl.PR_CAPBSET_DROP, capability)
        if result < 0:
            if result != -_errno.EPERM or not prctl.no_new_privs():
                raise failed(
                    f"prctl(PR_CAPBSET_DROP, {capability})", -result, "CAP_SETPCAP, or no_new_privs set before", "set no_new_privs"
                )
            kept = ("bounding",)
    prctl.raw(prctl.PR_CAP_AMBIENT, prctl.PR_CAP_AMBIENT_LOWER, capability)  # EINVAL before 4.3: there is no ambient set to clear
    header, data = _get()
    word, bit = divmod(capability, 32)
    mask = ~(1 << bit) & 0xFFFFFFFF
    for name in ("effective", "permitted", "inheritable"):
        setattr(data[word], name, getattr(data[word], name) & mask)
    result = syscall("capset", ctypes.byref(header), data)
    if result < 0:
        raise failed("capset", -result, f"capability {capability} given up", "")
    if has(capability) or has(capability, "ambient"):
        raise KernelError(f"capability {capability} is still effective after capset", "a security module may be in the way")
    return kept


def drop_all() -> None:
    """Clear every set of the calling thread but the bounding one. Raises `KernelError`."""
    prctl.raw(prctl.PR_CAP_AMBIENT, prctl.PR_CAP_AMBIENT_CLEAR_ALL)  # EINVAL before 4.3: there is no ambient set to clear
    result = syscall("capset", ctypes.byref(_Header(_VERSION, 0)), (_Data * 2)())
    if result < 0:
        raise failed("capset", -result, "every capability given up", "")


def limit(mask: int) -> None:
    """Keep of the calling thread's capabilities those in ``mask``, effective and permitted, and make none inheritable. Raises `KernelError`."""
    header, data = _get()
    for word in (0, 1):
        data[word].permitted &= mask >> 32 * word & 0xFFFFFFFF
        data[word].effective = data[word].permitted
        data[word].inheritable = 0
    result = syscall("capset", ctypes.byref(header), data)
    if result < 0:
        raise failed("capset", -result, f"no capabilities but {mask:#x}", "")
