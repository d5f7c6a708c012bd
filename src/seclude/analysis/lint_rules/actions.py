"""L32..L37: answers that do not do what their author hoped for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.abi.prototypes import prototype
from seclude.analysis.lint_rules.base import HIGH, LOW, MEDIUM, rule
from seclude.analysis.lint_rules.calls import HANDLES, KERNEL_CODE, MOUNT, SURFACE
from seclude.analysis.lint_view import Hit
from seclude.bpf.names import ACTIONS
from seclude.decision.nodes import END, FALSE, boolean, reachable
from seclude.decision.ops import both, map_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.analysis.lint_view import Subject, View
    from seclude.decision.nodes import Node

__all__: list[str] = []

_ERRNO, _NOTIFY, _TRACE, _LOG = 0x0005_0000, 0x7FC0_0000, 0x7FF0_0000, 0x7FFC_0000
_MORE_DANGER = "ptrace process_vm_readv process_vm_writev pidfd_getfd io_uring_setup userfaultfd"
_POINTERS = ("pointer", "path", "string", "sockaddr")
_STARTS = frozenset(("fork", "vfork", "clone", "clone3", "execve", "execveat"))


def _with_action(view: View, call: str, action: int) -> Node:
    answer = view.answer(call)
    return FALSE if answer is None else map_leaves(answer, lambda node: boolean(node.value & 0xFFFF_0000 == action))


@rule(
    "L32",
    "notify-memory",
    HIGH,
    question="Is a call with pointers, or one that starts a process or program, handed to a supervisor?",
    why="The memory can change between the supervisor's look and the kernel's: an answer of CONTINUE decides on something else than what runs.",
    fix="The supervisor must do the call itself (and hand over descriptors with ADDFD), check SECCOMP_IOCTL_NOTIF_ID_VALID, and never answer CONTINUE for security.",
)
def notify_memory(subject: Subject) -> Iterator[Hit]:
    """Supervised calls with memory behind them."""
    if subject.has_action(_NOTIFY) is FALSE:
        return
    for view in subject.views:
        for call in view.calls:
            found = prototype(view.arch, call)
            if call in _STARTS or (found and any(one.kind in _POINTERS for one in found.parameters)):
                inside = _with_action(view, call, _NOTIFY)
                if inside is not FALSE:
                    yield Hit("handed to a supervisor, with arguments that it cannot hold still", call, view.arch, view.whole(call, inside))


@rule(
    "L33",
    "trace-without-tracer",
    LOW,
    question="Is any call answered with trace? Worse where ptrace is permitted.",
    why="Without a tracer that asked for it, the call fails with ENOSYS; with a tracer of the attacker's it is whatever that tracer likes, permitted included.",
    fix="Use errno or kill, or notify with a listener.",
)
def trace_without_tracer(subject: Subject) -> Iterator[Hit]:
    """Answers that depend on who traces."""
    inside = subject.has_action(_TRACE)
    if inside is FALSE:
        return
    tracing = [view for view in subject.views if view.permit("ptrace") is not FALSE]
    text = "left to a tracer" + (", and ptrace is permitted" if tracing else "")
    found = False
    for one in subject.views:
        for call in one.calls:
            own = _with_action(one, call, _TRACE)
            if own is not FALSE:
                found = True
                yield Hit(text, call, one.arch, one.whole(call, own), MEDIUM if tracing else None)
    if not found:
        yield Hit(text, "", None, inside, MEDIUM if tracing else None)


@rule(
    "L34",
    "log-permits",
    HIGH,
    question="Is log the default answer, or the answer for a call that other rules here would report as permitted?",
    why="log lets the call through and writes a line: a filter that logs what it should deny denies nothing.",
    fix="Log while a policy is being written; deny in production.",
)
def log_permits(subject: Subject) -> Iterator[Hit]:
    """Permissions in disguise."""
    if subject.has_action(_LOG) is FALSE:
        return
    danger = f"{HANDLES} {MOUNT} {KERNEL_CODE} {SURFACE} {_MORE_DANGER}"
    for view in subject.views:
        inside = both(view.numbers(view.beyond), subject.has_action(_LOG))
        if inside is not FALSE:
            yield Hit("what nobody listed is logged and let through", "", view.arch, inside)
            continue
        for call in danger.split():
            own = _with_action(view, call, _LOG)
            if own is not FALSE:
                yield Hit("logged, which lets it through", call, view.arch, view.whole(call, own))


#: whose work a program can do without: answering 0 without doing it is a known way to save time
_MAY_LIE = frozenset(("fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "sync_file_range2", "msync"))


@rule(
    "L35",
    "errno-zero",
    HIGH,
    question="Is a call answered with ERRNO(0), those apart that only write data to disk?",
    why="The caller is told that the call succeeded: setuid that did nothing leaves a program running as root that believes it is not.",
    fix="Name a real error.",
)
def errno_zero(subject: Subject) -> Iterator[Hit]:
    """Success that did not happen."""
    if _ERRNO not in subject.decision.leaves():
        return
    text = "reported as done without being done"
    found = False
    for view in subject.views:
        for call in view.calls:
            inside = view.where(call, _ERRNO)
            if inside is not FALSE:
                found = True
                if call not in _MAY_LIE:
                    yield Hit(text, call, view.arch, view.whole(call, inside))
    if not found:
        yield Hit(text, "", None, map_leaves(subject.decision.root, lambda node: boolean(node.value == _ERRNO)))


@rule(
    "L37",
    "action",
    MEDIUM,
    question="Is any answer an action that the kernel does not know, or one that ends a single thread? Of programs: data that is ignored, computed answers?",
    why="Unknown actions kill the process. Ending one thread leaves the others running, in whatever state that thread left locks and data. "
    "What RET A returns is hard to review, and data beside allow and kill is dropped by the kernel.",
    fix="Return one of the known actions; to kill, KILL_PROCESS.",
)
def action(subject: Subject) -> Iterator[Hit]:
    """Actions that are not what they seem."""
    from seclude.analysis.lint_rules.program import dropped_data

    known = set(ACTIONS.values())
    values = {node.value for node in reachable([subject.decision.root]) if node.level == END}
    for value in sorted(values):
        if value & 0xFFFF_0000 not in known:
            inside = map_leaves(subject.decision.root, lambda node, value=value: boolean(node.value == value))  # type: ignore[misc]
            yield Hit(f"{value:#010x} is no action that the kernel knows; it kills the process", "", None, inside)
    if 0 in values:
        inside = map_leaves(subject.decision.root, lambda node: boolean(node.value == 0))
        yield Hit("ends one thread and leaves the others running", "", None, inside)
    yield from dropped_data(subject)
