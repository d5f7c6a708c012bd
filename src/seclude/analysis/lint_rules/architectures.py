"""L01..L07: architectures, their numbers, the calls that carry calls inside, and what nobody has thought of yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.abi import ALL, arch
from seclude.analysis.lint_rules.base import CRITICAL, HIGH, MEDIUM, rule
from seclude.analysis.lint_view import Hit
from seclude.decision.nodes import FALSE, TRUE
from seclude.decision.ops import both, excluding, ite
from seclude.decision.value import ARCH, NR
from seclude.decision.words import FULL, equals, word_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.analysis.lint_view import Subject, View
    from seclude.decision.nodes import Node

__all__ = ["DIRECT"]

_X32 = 0x4000_0000
_OWN_NUMBERS = ((0, _X32 - 1),)


@rule(
    "L01",
    "arch-missing",
    CRITICAL,
    question="Does any answer depend on the architecture? If numbers matter and the architecture does not, this applies.",
    why="On a 64-bit kernel a program can enter the 32-bit table, whose numbers name other calls: 11 is munmap on x86-64 and execve on i386.",
    fix="Load the architecture first and kill the process where it is not the expected one. In a policy: the 'arch' line does it.",
)
def arch_missing(subject: Subject) -> Iterator[Hit]:
    """The answer depends on the number and not on the architecture."""
    if not subject.blind or subject.permit is FALSE:
        return
    text = "the architecture is never looked at: every number is judged as if there were one table"
    home = subject.home
    confused = next((one for one in ALL if one.token != home.token and _confused(subject, home.name, one.name) is not None), None)
    if confused is None:
        yield Hit(text, "", None, subject.permit)
        return
    found = _confused(subject, home.name, confused.name)
    assert found is not None
    mine, theirs, number = found
    yield Hit(
        f"{text}; {number} is {mine} on {home.name} and {theirs} on {confused.name}",
        theirs,
        confused,
        both(equals(ARCH, confused.token), both(equals(NR, number), subject.permit)),
    )


def _confused(subject: Subject, first: str, second: str) -> tuple[str, str, int] | None:
    """A number permitted on both whose names differ, those that matter most first."""
    one, other = arch(first), arch(second)
    weighty = ("execve", "socketcall", "ptrace", "open", "fork", "mount")
    names = sorted(other.calls().items(), key=lambda item: (item[0] not in weighty, item[1]))
    for name, number in names:
        mine = one.call_name(number)
        if mine is None or mine == name or name in other.retired or number >= _X32:
            continue
        inside = both(both(equals(ARCH, one.token), equals(NR, number)), subject.permit)
        if inside is FALSE:
            continue
        if both(both(equals(ARCH, other.token), equals(NR, number)), subject.permit) is not FALSE:
            return mine, name, number
    return None


@rule(
    "L02",
    "arch-open",
    CRITICAL,
    question="Is any call permitted under an audit token that belongs to no architecture?",
    why="Whoever reaches a kernel entry that the author did not think of is not filtered at all.",
    fix="Make killing the answer for every architecture that is not listed ('badarch kill_process').",
)
def arch_open(subject: Subject) -> Iterator[Hit]:
    """Unlisted architectures are let through."""
    if subject.unlisted is not FALSE and not (subject.blind and subject.permit is not FALSE):
        yield Hit("architectures that are not listed are let through", "", None, subject.unlisted)


@rule(
    "L03",
    "arch-confusion",
    HIGH,
    question="Are two architectures with different tables answered alike, number by number?",
    why="The rules were written for one table; under the other the same numbers name other calls.",
    fix="Judge each architecture by its own numbers. In a policy: list both on the 'arch' line.",
)
def arch_confusion(subject: Subject) -> Iterator[Hit]:
    """Two listed architectures share their rules by number."""
    if subject.blind:
        return
    numbers = word_in(NR, FULL, _OWN_NUMBERS)
    seen: dict[Node, View] = {}
    for view in subject.views:
        if view.arch.x32_bit:
            continue
        own = ite(numbers, view.below, FALSE)
        if own is ite(numbers, view.answer_at(0), FALSE):
            continue  # every number gets the same: there is nothing to confuse
        first = seen.setdefault(own, view)
        if first is view:
            continue
        found = _confused(subject, first.arch.name, view.arch.name)
        if found is not None:
            mine, theirs, number = found
            yield Hit(
                f"{first.arch.name} and {view.arch.name} are judged by the same numbers: {number} is {mine} on one and {theirs} on the other",
                theirs,
                view.arch,
                view.at(number, view.permit(theirs)),
            )


@rule(
    "L04",
    "x32-open",
    HIGH,
    question="Is a call permitted with bit 30 of the number set that is denied without, or a number there that names no call?",
    why="x32 calls have x86-64's token and their own numbers. A filter that compares numbers only lets every denied call through in that form, on kernels with x32.",
    fix="Kill every number from 0x40000000 on before anything else ('x32 kill_process'), or list x32 as an architecture.",
)
def x32_open(subject: Subject) -> Iterator[Hit]:
    """Numbers with bit 30 set reach what their plain forms do not."""
    wide, narrow = subject.view("x86_64"), subject.view("x32")
    if wide is None:
        return
    text = "let through by its x32 number, though the x86-64 number is not"
    if narrow is not None:
        for call in narrow.calls:
            more = excluding(narrow.permit(call), wide.permit(call)) if wide.has(call) else FALSE
            if more is not FALSE:
                yield Hit(text, call, narrow.arch, narrow.whole(call, more))
    unnamed = wide.numbers(((_X32, 0x7FFF_FFFF),))
    for number in arch("x32").calls().values():
        if unnamed is FALSE:
            return
        unnamed = excluding(unnamed, equals(NR, number))
    renumbered = word_in(NR, FULL, tuple((_X32 | number, _X32 | number) for number in sorted(_renumbered())))
    unnamed = excluding(unnamed, renumbered)
    if unnamed is not FALSE:
        yield Hit("numbers from 0x40000000 on that name no call are let through", "", narrow.arch if narrow else wide.arch, unnamed)


def _renumbered() -> set[int]:
    """The x86-64 numbers of the calls that x32 has under numbers of its own (arch/x86/entry/syscalls/syscall_64.tbl, from 512 on)."""
    wide, narrow = arch("x86_64").calls(), arch("x32").calls()
    return {wide[call] for call, number in narrow.items() if number & ~_X32 >= 512 and call in wide}


@rule(
    "L05",
    "x32-bogus",
    MEDIUM,
    question="Is a number 512..547 permitted on x86-64, or bit 30 with the number of a call that x32 has renumbered?",
    why="Before Linux 5.4 these reached the x32 handlers from 64-bit programs and the other way round, with the wrong layout of arguments.",
    fix="Deny them: nothing uses them.",
)
def x32_bogus(subject: Subject) -> Iterator[Hit]:
    """The numbers that belong to neither ABI."""
    view = subject.view("x86_64")
    if view is None:
        return
    inside = view.numbers(((512, 547),))
    if inside is not FALSE:
        yield Hit("numbers 512 to 547 are let through on x86-64", "", view.arch, inside)
    bogus = view.numbers(tuple((_X32 | number, _X32 | number) for number in sorted(_renumbered())))
    if bogus is not FALSE:
        yield Hit("x86-64 numbers with bit 30 set are let through for calls that x32 numbers otherwise", "", view.arch, bogus)


# First arguments of the multiplexers (linux/net.h, linux/ipc.h) → the calls they stand for, and those that do the same.
_SOCKETCALL = (
    "1 socket,2 bind,3 connect,4 listen,5 accept accept4,6 getsockname,7 getpeername,8 socketpair,9 send sendto,10 recv recvfrom,11 sendto,"
    "12 recvfrom,13 shutdown,14 setsockopt,15 getsockopt,16 sendmsg,17 recvmsg,18 accept4,19 recvmmsg recvmmsg_time64,20 sendmmsg"
)
_IPC = (
    "1 semop semtimedop semtimedop_time64,2 semget,3 semctl,4 semtimedop semtimedop_time64,11 msgsnd,12 msgrcv,13 msgget,14 msgctl,21 shmat,"
    "22 shmdt,23 shmget,24 shmctl"
)


def _direct(text: str) -> dict[int, tuple[str, ...]]:
    parts = (part.split() for part in text.split(","))
    return {int(number): tuple(names) for number, *names in parts}


#: multiplexer → first argument → direct calls
DIRECT = {"socketcall": _direct(_SOCKETCALL), "ipc": _direct(_IPC)}


@rule(
    "L06",
    "multiplexer",
    HIGH,
    question="Does socketcall or ipc permit an operation whose direct call is denied or limited by its arguments?",
    why="What socketcall is asked to do lies behind a pointer. Limits on socket() do not hold there: even SYS_SOCKET alone gives every address family.",
    fix="Deny both with ENOSYS; C libraries fall back to the direct calls. Give another errno than the default: some runtimes drop rules that equal it.",
)
def multiplexer(subject: Subject) -> Iterator[Hit]:
    """Socketcall and ipc around the limits on what they carry."""
    for view in subject.views:
        for name in view.arch.multiplexers:
            permit = view.permit(name)
            if permit is FALSE:
                continue
            # ipc keeps a version in the upper half of its first argument (ipc/syscall.c).
            mask = 0xFFFF if name == "ipc" else FULL
            for number, direct in DIRECT[name].items():
                inside = both(permit, word_in(4, mask, ((number, number),)))
                if inside is FALSE:
                    continue
                hidden = _refused(subject, view, direct)
                if hidden:
                    yield Hit(
                        f"{name} carries calls that are denied or limited when made directly", hidden, view.arch, view.whole(name, inside)
                    )


def _refused(subject: Subject, view: View, direct: tuple[str, ...]) -> str:
    """The first of the direct calls if none of them is permitted whatever its arguments, here or on the architecture beside it."""
    here = [call for call in direct if view.has(call)]
    if here:
        return "" if any(view.permit(call) is TRUE for call in here) else here[0]
    beside = [other for other in subject.views if not other.arch.multiplexers and any(other.has(call) for call in direct)]
    if not beside or any(other.permit(call) is TRUE for other in beside for call in direct):
        return ""
    return direct[0]


@rule(
    "L07",
    "open-default",
    HIGH,
    question="Is a number above all that the table names permitted?",
    why="Calls that Linux gets next year are permitted today: io_uring, clone3 and openat2 once came this way into every filter that lists what is bad.",
    fix="List what is needed and let the default deny.",
)
def open_default(subject: Subject) -> Iterator[Hit]:
    """Calls that do not exist yet are let through."""
    for view in subject.views:
        if view.arch.x32_bit and subject.view("x86_64") is not None and subject.view("x86_64").open:  # type: ignore[union-attr]
            continue
        inside = view.numbers(view.beyond)
        if inside is not FALSE:
            yield Hit("calls that the tables do not name yet are let through", "", view.arch, inside)
