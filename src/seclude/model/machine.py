"""What depends on the machine: the calls that its kernel has, how long the bitmaps are, and the few calls that the model executes itself."""

from __future__ import annotations

import functools

from seclude.abi import arch as find_arch
from seclude.abi import companions, known_at
from seclude.model.task import task_pid_vnr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.calls import Body, Steps
    from seclude.model.kernel import KernelModel
    from seclude.model.task import Task
    from seclude.model.versions import Version

__all__ = ["BODIES", "MODELLED", "bitmap_sizes", "numbers"]

#: architectures that give the bitmap a size (SECCOMP_ARCH_NATIVE in arch/*/include/asm/seccomp.h); the model has no other, since errno
#: and signals of mips and parisc are numbered differently
MODELLED = ("x86_64", "x86", "aarch64", "arm", "riscv64", "s390x", "ppc64le", "ppc64", "ppc")


@functools.cache
def numbers(arch: str, version: Version) -> dict[int, str]:
    """The calls that a kernel has, by number."""
    one = find_arch(arch)
    return {nr: name for name, nr in one.calls().items() if known_at(name, str(version), one)}


@functools.cache
def bitmap_sizes(arch: str, version: Version) -> dict[int, int]:
    """SECCOMP_ARCH_NATIVE_NR and SECCOMP_ARCH_COMPAT_NR: one more than the last number of the table, by audit token. x32 has no bitmap."""
    native = find_arch(arch)
    members = [native, *(one for one in companions(native) if one.token != native.token)]
    # Private calls of an architecture (arm's from 0xf0000 on) are no part of its table.
    return {one.token: 1 + max(nr for nr in numbers(one.name, version) if nr < 0x10000) for one in members}


def _getpid(kernel: KernelModel, task: Task) -> Steps[int]:
    yield from ()
    return task_pid_vnr(task.process.leader, task)


def _gettid(kernel: KernelModel, task: Task) -> Steps[int]:
    yield from ()
    return task_pid_vnr(task, task)


def _getppid(kernel: KernelModel, task: Task) -> Steps[int]:
    yield from ()
    parent = task.process.parent
    return task_pid_vnr(parent.leader, task) if parent is not None else 0


#: calls that are executed for real
BODIES: dict[str, Body] = {"getpid": _getpid, "gettid": _gettid, "getppid": _getppid}
