"""The action cache: calls that every filter of a path allows whatever their arguments are, so that none has to run.

One bit for each number of the native architecture's table and of its 32-bit companion's. A new filter starts from the bits of
the one below it, or from all ones, and clears those that it does not itself allow for certain; bits never come back. The
kernel fills the whole bitmap when a filter is loaded; here a bit is worked out when it is first asked for, which nobody can tell.

Source: kernel/seccomp.c (``seccomp_cache_prepare``, ``seccomp_is_const_allow``, ``seccomp_cache_check_allow``); Linux 5.11.
"""

from __future__ import annotations

from seclude.bpf.machine import constant_allow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.filter import SeccompData, SeccompFilter
    from seclude.model.kernel import KernelModel

__all__ = ["ActionCache", "allow_bit", "bitmap", "seccomp_cache_check_allow", "seccomp_uprobe_exception"]

_URETPROBE, _UPROBE = 335, 336
_X86_64 = 0xC000003E


class ActionCache:
    """struct action_cache: ``bits`` holds what was asked for: (token, number) → whether the call is always allowed."""

    __slots__ = ("bits",)

    def __init__(self) -> None:
        self.bits: dict[tuple[int, int], bool] = {}


def seccomp_uprobe_exception(kernel: KernelModel, token: int, nr: int) -> bool:
    """Whether this is a call that no filter may block: the kernel itself puts it into traced programs."""
    if token != _X86_64 or kernel.arch.name != "x86_64":
        return False
    return (nr == _URETPROBE and kernel.version.has("uretprobe")) or (nr == _UPROBE and kernel.version.has("uprobe"))


def allow_bit(kernel: KernelModel, filter: SeccompFilter, token: int, nr: int) -> bool:
    """One bit of a filter's bitmap: whether this filter and all below it allow the call for certain."""
    known = filter.cache.bits.get((token, nr))
    if known is None:
        below = filter.prev is None or allow_bit(kernel, filter.prev, token, nr)
        known = below and (seccomp_uprobe_exception(kernel, token, nr) or constant_allow(filter.code, token, nr))
        filter.cache.bits[token, nr] = known
    return known


def seccomp_cache_check_allow(kernel: KernelModel, filter: SeccompFilter, data: SeccompData) -> bool:
    """Whether the call is in the bitmap of the task's newest filter. Numbers outside the tables, x32's among them, never are."""
    size = kernel.bitmap_sizes.get(data.arch, 0)
    nr = data.nr & 0xFFFFFFFF
    return nr < size and allow_bit(kernel, filter, data.arch, nr)


def bitmap(kernel: KernelModel, filter: SeccompFilter, token: int) -> list[int]:
    """The numbers whose bit is set for one architecture."""
    return [nr for nr in range(kernel.bitmap_sizes.get(token, 0)) if allow_bit(kernel, filter, token, nr)]
