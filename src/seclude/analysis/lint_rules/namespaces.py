"""L09..L11: ways into new namespaces, of which the user namespace opens most of the kernel to anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.analysis.lint_rules.base import HIGH, MEDIUM, rule
from seclude.analysis.lint_view import Hit
from seclude.decision.nodes import END, FALSE
from seclude.decision.ops import both, either, excluding
from seclude.decision.words import equals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.analysis.lint_view import Subject, View

__all__: list[str] = []

# linux/sched.h; the same on every architecture
_THREAD, _NEWUSER = 0x1_0000, 0x1000_0000
_OTHERS = {
    "NEWNS": 0x20000,
    "NEWCGROUP": 0x0200_0000,
    "NEWUTS": 0x0400_0000,
    "NEWIPC": 0x0800_0000,
    "NEWPID": 0x2000_0000,
    "NEWNET": 0x4000_0000,
}
_NAMESPACES = _NEWUSER | sum(_OTHERS.values())


def _restricted(view: View, call: str, name: str) -> bool:
    """Whether some namespace flag is denied on this call."""
    return excluding(view.any_bit(call, name, _NAMESPACES), view.permit(call)) is not FALSE


@rule(
    "L09",
    "clone3",
    HIGH,
    question="Is clone3 permitted where namespace flags of clone or unshare are denied, or refused with another errno than ENOSYS where clone works?",
    why="The flags of clone3 lie behind a pointer, so a filter cannot limit them. C libraries fall back to clone on ENOSYS only; on EPERM threads fail.",
    fix="Answer clone3 with errno(ENOSYS).",
)
def clone3(subject: Subject) -> Iterator[Hit]:
    """clone3 as the way round, or as what breaks threads."""
    for view in subject.views:
        if _restricted(view, "clone", "flags") or _restricted(view, "unshare", "flags"):
            yield from view.hit("clone3 is permitted, and namespace flags are denied on clone or unshare", "clone3")
        answer = view.answer("clone3")
        if answer is None or answer.level != END or view.permit("clone") is FALSE:
            continue
        if answer.value & 0xFFFF_0000 == 0x0005_0000 and answer.value != view.enosys:
            text = "clone3 is refused with an errno that C libraries do not take for a missing call"
            yield Hit(text, "clone3", view.arch, view.whole("clone3", view.where("clone3", answer.value)))


@rule(
    "L10",
    "clone-namespaces",
    HIGH,
    question="Is clone permitted with CLONE_NEWUSER, or with another namespace flag?",
    why="A new user namespace gives every capability within it, and with them the parts of the kernel that have had most of its privilege escalations.",
    fix="allow clone(flags & (CLONE_NEWUSER | CLONE_NEWNS | ...) == 0); on s390 the flags are the second argument, which the name 'flags' knows.",
)
def clone_namespaces(subject: Subject) -> Iterator[Hit]:
    """Namespace flags on clone."""
    for view in subject.views:
        # The kernel refuses CLONE_THREAD with either (kernel/fork.c, copy_process).
        process = view.test("clone", "flags", _THREAD, 0)
        found = list(view.hit("clone makes user namespaces", "clone", both(process, view.any_bit("clone", "flags", _NEWUSER))))
        for name, bit in () if found else _OTHERS.items():
            test = view.any_bit("clone", "flags", bit)
            found += view.hit("clone makes namespaces", "clone", both(process, test) if name == "NEWPID" else test, MEDIUM)
            if found:
                break
        yield from found


@rule(
    "L11",
    "user-namespace",
    HIGH,
    question="Is unshare permitted with CLONE_NEWUSER, or setns with a type of 0 or CLONE_NEWUSER?",
    why="As with clone: a user namespace opens mounting, netfilter and more to unprivileged programs; setns enters the namespaces of others.",
    fix="Deny unshare and setns, or limit the flags of unshare.",
)
def user_namespace(subject: Subject) -> Iterator[Hit]:
    """User namespaces through unshare and setns."""
    for view in subject.views:
        yield from view.hit("unshare makes user namespaces", "unshare", view.any_bit("unshare", "flags", _NEWUSER))
        kind = view.parameter("setns", "nstype")
        if kind is not None:
            test = either(equals(4 + 2 * kind.index, 0), view.any_bit("setns", "nstype", _NEWUSER))
            yield from view.hit("setns enters user namespaces", "setns", test)
