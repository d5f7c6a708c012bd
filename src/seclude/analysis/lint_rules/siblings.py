"""L08, L17, L18, L38: calls that do the same work, judged differently; and calls that together do what none does alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.analysis.lint_rules.base import HIGH, LOW, MEDIUM, NOTE, rule
from seclude.analysis.lint_view import Hit
from seclude.decision.nodes import END, FALSE, TRUE, Node, make
from seclude.decision.ops import both, either, excluding
from seclude.decision.typed import forget_bits
from seclude.decision.words import FULL, equals, word_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.analysis.lint_view import Subject, View

__all__: list[str] = []

_ERRNO = 0x0005_0000
#: new call → the older one that C libraries fall back to on ENOSYS
_FALLBACKS = {
    "openat2": "openat",
    "faccessat2": "faccessat",
    "statx": "newfstatat fstatat64 stat",
    "futex_waitv": "futex",
    "fchmodat2": "fchmodat",
    "close_range": "close",
    "epoll_pwait2": "epoll_pwait",
}


@rule(
    "L08",
    "not-enosys",
    LOW,
    question="Does a call that the tables do not name, or a new one whose older form works, get another errno than ENOSYS?",
    why="Programs ask for the new call and use the old one on ENOSYS. Told EPERM, they believe that the file or the user is at fault and give up.",
    fix="errno(ENOSYS) for what is unknown or has an older form that is permitted; EPERM for what is known and refused.",
)
def not_enosys(subject: Subject) -> Iterator[Hit]:
    """Errors that break fallbacks."""
    from seclude.decision.nodes import boolean
    from seclude.decision.ops import map_leaves

    for view in subject.views:
        enosys = view.enosys
        wrong = map_leaves(view.below, lambda node, enosys=enosys: boolean(node.value & 0xFFFF_0000 == _ERRNO and node.value != enosys))  # type: ignore[misc]
        inside = both(view.numbers(view.beyond, permitted=False), wrong)
        if inside is not FALSE:
            yield Hit("calls that the tables do not name are refused with another errno than ENOSYS", "", view.arch, inside)
        for call, older in _FALLBACKS.items():
            answer = view.answer(call)
            if answer is None or answer.level != END or answer.value & 0xFFFF_0000 != _ERRNO or answer.value == view.enosys:
                continue
            if any(view.permit(one) is TRUE for one in older.split()):
                text = "refused with another errno than ENOSYS, while its older form is permitted"
                yield Hit(text, call, view.arch, view.whole(call, TRUE))


@rule(
    "L17",
    "behind-a-pointer",
    MEDIUM,
    question="Is an argument limited on one call, while its sibling, which takes the same behind a pointer or under another name, is permitted?",
    why="The limit holds for those who use the old call.",
    fix="Answer the sibling with errno(ENOSYS), or limit it too.",
)
def behind_a_pointer(subject: Subject) -> Iterator[Hit]:
    """Limits with a way round."""
    for view in subject.views:
        for call, name, sibling in (
            ("openat", "flags", "openat2"),
            ("open", "flags", "openat2"),
            ("sched_setscheduler", "policy", "sched_setattr"),
        ):
            if view.limited(call) and _depends(view, call, name) and view.permit(sibling) is not FALSE:
                yield from view.hit(f"'{name}' of {call} is limited; {sibling} takes it from memory", sibling)
        filters = view.equal("prctl", _option(view), 22)
        if (
            view.has("prctl")
            and filters is not FALSE
            and both(view.permit("prctl"), filters) is FALSE
            and view.permit("prctl") is not FALSE
        ):
            yield from view.hit("prctl(PR_SET_SECCOMP) is denied; seccomp does the same", "seccomp")


def _option(view: View) -> str:
    from seclude.abi.prototypes import prototype

    found = prototype(view.arch, "prctl")
    return found.parameters[0].name if found and found.parameters else ""


def _depends(view: View, call: str, name: str) -> bool:
    one = view.parameter(call, name)
    if one is None:
        return False
    permit = view.permit(call)
    return forget_bits(permit, _words(2 * one.index + 4, 2 * one.index + 5), either) is not permit


def _words(*words: int) -> tuple[int, ...]:
    return tuple(FULL if word in words else 0 for word in range(16))


#: group → call → the parameter that says what is done ("" where nothing that a filter sees does)
_GROUPS: dict[str, dict[str, str]] = {
    what: {call: name for word in members.split() for call, _, name in [word.partition(":")]}
    for what, members in {
        "executes a program": "execve execveat uselib",
        "opens a file": "open:flags openat:flags open_by_handle_at:flags creat openat2",
        "starts a process": "fork vfork",
        "sends a signal": "kill:sig tkill:sig tgkill:sig rt_sigqueueinfo:sig rt_tgsigqueueinfo:sig pidfd_send_signal:sig",
        "changes a mode": "chmod:mode fchmod:mode fchmodat:mode fchmodat2:mode",
        "mounts": "mount fsopen fsconfig fsmount fspick open_tree open_tree_attr move_mount mount_setattr pivot_root",
        "sets an attribute": "setxattr lsetxattr fsetxattr setxattrat",
        "removes an attribute": "removexattr lremovexattr fremovexattr removexattrat",
        "loads a module": "init_module finit_module",
        "loads a kernel": "kexec_load kexec_file_load",
        "sets the clock": "settimeofday clock_settime clock_settime64 clock_adjtime clock_adjtime64 adjtimex stime",
        "removes a name": "unlink unlinkat",
        "renames": "rename renameat renameat2",
        "makes a directory": "mkdir mkdirat",
        "makes a link": "link linkat symlink symlinkat",
        "changes the owner": "chown fchown fchownat lchown",
        "reads another's memory": "process_vm_readv ptrace",
    }.items()
}


@rule(
    "L18",
    "gap-between-siblings",
    HIGH,
    question="Is a call denied on purpose or limited in what it does, while another that does the same is permitted beyond that?",
    why="A denial holds only if every way to the same end is denied: whoever is refused chmod uses fchmodat.",
    fix="Treat the calls of a group alike.",
)
def gap(subject: Subject) -> Iterator[Hit]:
    """One door locked, the other open."""
    for view in subject.views:
        for what, members in _GROUPS.items():
            here = {call: name for call, name in members.items() if view.has(call)}
            for call, name in here.items():
                denied = _denied(view, call, name)
                if denied is FALSE:
                    continue
                for sibling, other in here.items():
                    if sibling == call or view.permit(sibling) is FALSE:
                        continue
                    inside = _reached(view, denied, name, sibling, other)
                    if inside is not FALSE:
                        text = f"{what}, as {call} does, which is {'denied' if view.permit(call) is FALSE else 'limited'}"
                        yield Hit(text, sibling, view.arch, view.whole(sibling, inside))


def _denied(view: View, call: str, name: str) -> Node:
    """What of the call is denied on purpose, seen by the parameter that says what it does (in register 0); `FALSE` for nothing."""
    permit = view.permit(call)
    if permit is FALSE:
        if not view.refused_on_purpose(call) and not view.open:
            return FALSE
        # Told that a call does not exist, programs turn to its sibling: that is what ENOSYS is for.
        answer = view.answer(call)
        if answer is not None and answer.level == END and answer.value == view.enosys:
            return FALSE
        if call == "creat":  # open with these flags (open(2)): what else open does is not what was denied
            wanted = view.constant("O_CREAT") | view.constant("O_TRUNC")
            return word_in(4, 3 | wanted, ((1 | wanted, 1 | wanted),))
        return TRUE
    one = view.parameter(call, name) if name else None
    if one is None:
        return FALSE
    return excluding(_canonical(one.width), _moved(_only(permit, one.index), one.index, 0))


def _canonical(width: int) -> Node:
    """The high word of register 0 is zero, as compilers leave it."""
    zero = equals(5, 0)
    return zero if width >= 32 else both(zero, word_in(4, FULL ^ ((1 << width) - 1), ((0, 0),)))


def _only(permit: Node, register: int) -> Node:
    """Which values of the register are permitted together with some values of the others."""
    keep = (4 + 2 * register, 5 + 2 * register)
    return forget_bits(
        permit,
        tuple(0 if word in keep else FULL for word in range(2)) + tuple(0 if word in keep else FULL for word in range(2, 16)),
        either,
    )


def _moved(node: Node, source: int, target: int) -> Node:
    """A diagram over one register, as one over another."""
    shift = 16 * (target - source)
    if not shift:
        return node
    memo: dict[Node, Node] = {}

    def walk(node: Node) -> Node:
        if node.level == END:
            return node
        if node not in memo:
            memo[node] = make(node.level + shift, tuple([walk(kid) for kid in node.kids]))
        return memo[node]

    return walk(node)


def _reached(view: View, denied: Node, name: str, sibling: str, other: str) -> Node:
    """The calls of the sibling that do what is denied."""
    permit = view.permit(sibling)
    if denied is TRUE or not other:
        # Which part is denied cannot be told from this sibling's arguments: L17 looks at what hides behind pointers.
        if denied is not TRUE:
            return FALSE
        if name and other and permit is not TRUE:
            return FALSE
        return permit
    one = view.parameter(sibling, other)
    if one is None:
        return FALSE
    return both(permit, _moved(denied, 0, one.index))


_OPEN = "open openat openat2 creat"
_READ = "read readv pread64 preadv preadv2 mmap mmap2 sendfile sendfile64 splice copy_file_range"
_WRITE = "write writev pwrite64 pwritev pwritev2 sendto sendmsg sendfile sendfile64 splice vmsplice"


@rule(
    "L38",
    "open-read-write",
    NOTE,
    question="Can a file be opened, its content read, and the content written somewhere?",
    why="Together the three carry any file that the user may read to wherever a descriptor leads.",
    fix="Where files are not needed, open none (preset compute); else limit names with Landlock.",
    contexts={"service": LOW, "compute": HIGH},
)
def open_read_write(subject: Subject) -> Iterator[Hit]:
    """The chain to take a file out."""
    for view in subject.views:
        chain = [next((call for call in names.split() if view.permit(call) is not FALSE), None) for names in (_OPEN, _READ, _WRITE)]
        if all(chain):
            assert chain[0] is not None
            yield Hit(
                f"{', '.join(map(str, chain))} together take files out", chain[0], view.arch, view.whole(chain[0], view.permit(chain[0]))
            )
