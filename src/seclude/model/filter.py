"""struct seccomp_filter: what a loaded filter is, how filters hang together, and when one is freed.

Filters form a tree: each points to the one that was there before it, and tasks point to the newest of theirs. Two counts
are kept. ``refs`` keeps a filter in memory: one for each task directly at it, for each filter that points to it, and for its listener's
file. ``users`` are the same without the file: when none is left no notification can come any more, and the listener is told (HUP).

A task that loads another filter leaves both its counts to it: they become the new filter's own.

Source: kernel/seccomp.c.
"""

from __future__ import annotations

from seclude.bpf.codes import SECCOMP_RET_ACTION_FULL, SECCOMP_RET_ALLOW
from seclude.bpf.lengths import MAX_INSNS_PER_PATH, converted_length
from seclude.bpf.machine import pack_data, run
from seclude.bpf.program import Program
from seclude.bpf.validator import validate
from seclude.model.cache import ActionCache, seccomp_cache_check_allow
from seclude.model.uapi import (
    EACCES,
    EFAULT,
    EINVAL,
    Fault,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.model.kernel import KernelModel
    from seclude.model.notify import Notification
    from seclude.model.task import Task

__all__ = [
    "MAX_INSNS_PER_PATH",
    "Evaluation",
    "Fprog",
    "SeccompData",
    "SeccompFilter",
    "get_seccomp_filter",
    "is_ancestor",
    "seccomp_filter_release",
    "seccomp_prepare_user_filter",
    "seccomp_run_filters",
]

BPF_MAXINSNS = 4096


class Fprog:
    """struct sock_fprog: a length and an address. ``length`` is that of the program unless told otherwise."""

    __slots__ = ("filter", "length")

    def __init__(self, filter: Program | Fault | None, length: int | None = None) -> None:
        self.filter = filter
        self.length = length if length is not None else len(filter) if isinstance(filter, Program) else 1


class SeccompData:
    """struct seccomp_data: what filters see of a call."""

    __slots__ = ("arch", "args", "ip", "nr", "words")

    def __init__(self, nr: int, arch: int, ip: int = 0, args: Sequence[int] = ()) -> None:
        self.nr = nr
        self.arch = arch
        self.ip = ip
        self.args = tuple(args) + (0,) * (6 - len(args))
        self.words = pack_data(nr, arch, ip, args)


class SeccompFilter:
    """One loaded filter. ``number`` counts the model's filters from 1, for people."""

    __slots__ = (
        "byteorder",
        "cache",
        "code",
        "freed",
        "length",
        "log",
        "notif",
        "number",
        "prev",
        "program",
        "refs",
        "users",
        "wait_killable_recv",
    )

    def __init__(self, number: int, program: Program) -> None:
        self.number = number
        self.program = program
        self.code = program.instructions
        self.byteorder = program.byteorder
        #: converted instructions: what the limit on the path counts
        self.length = converted_length(program)
        self.refs = 1
        self.users = 1
        self.log = False
        self.wait_killable_recv = False
        self.prev: SeccompFilter | None = None
        self.notif: Notification | None = None
        self.cache = ActionCache()
        self.freed = False

    def __repr__(self) -> str:
        return f"<filter {self.number}: refs {self.refs}, users {self.users}>"


class Evaluation:
    """One run of the filters of a task: ``cached`` where the bitmap answered and none ran; ``results`` of each that ran, the newest first."""

    __slots__ = ("cached", "data", "match", "recheck", "results", "steps", "value")

    def __init__(self, data: SeccompData, *, recheck: bool) -> None:
        self.data = data
        self.recheck = recheck
        self.cached = False
        self.results: list[tuple[SeccompFilter, int]] = []
        self.steps = 0
        self.match: SeccompFilter | None = None
        self.value = SECCOMP_RET_ALLOW


def seccomp_prepare_user_filter(kernel: KernelModel, task: Task, user_filter: Fprog | Fault | None) -> SeccompFilter | int:
    """The new filter, not yet attached, or the negated errno: checks 4 to 9 of loading, in the kernel's order."""
    if not isinstance(user_filter, Fprog):
        return -EFAULT
    return seccomp_prepare_filter(kernel, task, user_filter)


def seccomp_prepare_filter(kernel: KernelModel, task: Task, fprog: Fprog) -> SeccompFilter | int:
    """Length, privilege, then ``bpf_prog_create_from_user``: address, copy, classic rules, seccomp's rules."""
    if not 0 < fprog.length <= BPF_MAXINSNS:
        return -EINVAL
    # Otherwise a filter could make a set-user-ID program believe that a failed call succeeded.
    if not task.no_new_privs and not task.credentials.cap_sys_admin:
        return -EACCES
    if fprog.filter is None:
        return -EINVAL
    if isinstance(fprog.filter, Fault) or fprog.length > len(fprog.filter):
        return -EFAULT
    program = fprog.filter
    if fprog.length < len(program):
        program = Program(program[: fprog.length], program.byteorder)
    if validate(program):
        return -EINVAL
    kernel.filters_made += 1
    return SeccompFilter(kernel.filters_made, program)


def path_insns(task: Task, filter: SeccompFilter) -> int:
    """What loading ``filter`` would make of the task's path: each earlier filter costs four more."""
    return filter.length + sum(walker.length + 4 for walker in task.chain())


def is_ancestor(parent: SeccompFilter | None, child: SeccompFilter | None) -> bool:
    """Whether ``parent`` is ``child`` or below it; no filter at all is everyone's ancestor."""
    if parent is None:
        return True
    while child is not None:
        if child is parent:
            return True
        child = child.prev
    return False


def get_seccomp_filter(task: Task) -> None:
    """One more task at the filter of ``task``."""
    if task.filter is not None:
        task.filter.refs += 1
        task.filter.users += 1


def get_filter_file(filter: SeccompFilter) -> None:
    """``__get_seccomp_filter`` for the listener's file: it keeps the filter in memory, and is no user."""
    filter.refs += 1


def seccomp_filter_release(kernel: KernelModel, task: Task) -> None:
    """The task leaves its filters. Its mode and count stay as they were: a zombie still shows them."""
    orig = task.filter
    task.filter = None
    release_filter(kernel, orig)


def release_filter(kernel: KernelModel, orig: SeccompFilter | None) -> None:
    """``__seccomp_filter_release``: no user any more, then one reference less."""
    seccomp_filter_orphan(kernel, orig)
    put_seccomp_filter(kernel, orig)


def seccomp_filter_orphan(kernel: KernelModel, orig: SeccompFilter | None) -> None:
    """``__seccomp_filter_orphan``: filters that nobody uses any more tell their listeners, down the chain."""
    while orig is not None:
        orig.users -= 1
        if orig.users > 0:
            return
        kernel.tell(f"filter {orig.number} has no user left" + (": its listener hangs up" if orig.notif is not None else ""))
        orig = orig.prev


def put_seccomp_filter(kernel: KernelModel, orig: SeccompFilter | None) -> None:
    """``__put_seccomp_filter``: filters that nothing refers to are freed, down the chain."""
    while orig is not None:
        orig.refs -= 1
        if orig.refs > 0:
            return
        orig.freed = True
        if orig in kernel.filters:
            kernel.filters.remove(orig)
        kernel.tell(f"filter {orig.number} is freed")
        orig = orig.prev


def signed_action(value: int) -> int:
    """``ACTION_ONLY``: the action of a filter's answer as a signed number; the lowest wins."""
    action = value & SECCOMP_RET_ACTION_FULL
    return action - (1 << 32) if action & 0x80000000 else action


def seccomp_run_filters(kernel: KernelModel, task: Task, data: SeccompData, *, recheck: bool) -> Evaluation:
    """Every filter from the newest to the oldest; strictly lower wins, so that on a tie the newest filter's data stays."""
    done = Evaluation(data, recheck=recheck)
    filter = task.filter
    assert filter is not None
    if kernel.version.has("cache") and seccomp_cache_check_allow(kernel, filter, data):
        done.cached = True
        return done
    while filter is not None:
        value, steps = run(filter.code, data.words, filter.byteorder)
        done.results.append((filter, value))
        done.steps += steps
        if signed_action(value) < signed_action(done.value):
            done.value = value
            done.match = filter
        filter = filter.prev
    return done
