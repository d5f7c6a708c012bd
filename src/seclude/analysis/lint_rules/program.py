"""L36, L37, L39: what can only be seen in the instructions, and whether the filter can be loaded and lived with at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.analysis.lint_rules.base import CRITICAL, LOW, NOTE, rule
from seclude.analysis.lint_view import Hit
from seclude.decision.nodes import END, FALSE, TRUE, Node, boolean
from seclude.decision.ops import map_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.analysis.lint_view import Subject
    from seclude.bpf import Program

__all__ = ["dropped_data", "loads"]

_ERRNO, _TRAP, _TRACE = 0x0005_0000, 0x0003_0000, 0x7FF0_0000
_LSH_X, _RSH_X = 0x6C, 0x7C  # BPF_ALU | BPF_LSH | BPF_X
_KNOWN_DATA = (_ERRNO, _TRAP, _TRACE)
_DATA, _ALLOW = 0xFFFF, 0x7FFF_0000


def _reaching(program: Program, pc: int) -> Node:
    """The calls for which the program ends at instruction ``pc``, found by giving that one an answer that no other has."""
    from seclude.decision.read import from_instructions

    used = {instruction.k & 0xFFFF_0000 for instruction in program.instructions}
    mark = next(value << 16 for value in range(0x1234, 0x7000) if value << 16 not in used)
    changed = [
        (0x06, 0, 0, mark if index == pc else 0) if instruction.code & 7 == 6 else tuple(instruction)
        for index, instruction in enumerate(program.instructions)
    ]
    decision = from_instructions(changed, program.byteorder)  # type: ignore[arg-type]
    return map_leaves(decision.root, lambda node: boolean(node.value == mark))


@rule(
    "L36",
    "errno-too-large",
    LOW,
    question="Does a program return ERRNO with more than 4095, for some call?",
    why="The kernel makes 4095 of it: programs see an errno that nobody meant.",
    fix="Return an errno that exists.",
)
def errno_too_large(subject: Subject) -> Iterator[Hit]:
    """ERRNO beyond MAX_ERRNO."""
    for which, program in enumerate(subject.programs):
        for pc, instruction in enumerate(program.instructions):
            if instruction.code == 0x06 and instruction.k & 0xFFFF_0000 == _ERRNO and instruction.k & _DATA > 4095:
                inside = _reaching(program, pc)
                if inside is not FALSE:
                    yield Hit(f"ERRNO({instruction.k & _DATA}) becomes ERRNO(4095)", "", None, inside, None, (which, pc))


def dropped_data(subject: Subject) -> Iterator[Hit]:
    """The part of L37 that looks at instructions: data beside actions that have none, and computed answers."""
    from seclude.bpf.names import ACTIONS

    known = set(ACTIONS.values())
    for which, program in enumerate(subject.programs):
        for pc, instruction in enumerate(program.instructions):
            if instruction.code == 0x16:
                inside = _reaching(program, pc)
                if inside is not FALSE:
                    yield Hit("the answer is computed (RET A)", "", None, inside, LOW, (which, pc))
            elif instruction.code == 0x06:
                action, data = instruction.k & 0xFFFF_0000, instruction.k & _DATA
                if data and action in known and action not in _KNOWN_DATA:
                    inside = _reaching(program, pc)
                    if inside is not FALSE:
                        yield Hit(f"the kernel drops the data of {instruction.k:#010x}", "", None, inside, LOW, (which, pc))


#: what C libraries and the kernel itself call on a program's behalf
_NEEDED = "rt_sigreturn exit_group restart_syscall futex"


@rule(
    "L39",
    "hygiene",
    LOW,
    question="Would the kernel refuse the program? Are there instructions that no call reaches, shifts by more than 31, permissions that miss the kernel's "
    "bitmap? Are calls missing that every program makes without knowing?",
    why="A filter that is refused protects nothing. Missing rt_sigreturn, restart_syscall or exit_group kills programs at odd moments. "
    "A permission outside the bitmap costs the whole filter on each call (Linux 5.11 and later).",
    fix="Mend what the kernel refuses; leave out what cannot be reached; permit what every program needs.",
)
def hygiene(subject: Subject) -> Iterator[Hit]:
    """Loading, and living with it."""
    yield from _refused(subject)
    for view in subject.views:
        if view.open or view.below.level == END:
            continue
        for call in _NEEDED.split():
            if view.has(call) and view.permit(call) is FALSE and call not in view.arch.retired:
                answer = view.answer(call)
                assert answer is not None
                yield Hit("every program needs it sooner or later, and it is denied", call, view.arch, view.whole(call, TRUE))
    yield from _shifts(subject)
    yield from _uncached(subject)


def loads(program: Program) -> bool:
    """Whether the kernel would take the program."""
    from seclude.bpf import validate

    return not validate(program)


def _refused(subject: Subject) -> Iterator[Hit]:
    from seclude.bpf.lengths import converted_length
    from seclude.decision.read import read

    total = 0
    for which, program in enumerate(subject.programs):
        total += converted_length(program) + (4 if which else 0)
        reading = read(program.instructions, program.byteorder)
        dead = [pc for pc, meanings in enumerate(reading.meanings) if not meanings]
        if dead:
            shown = ", ".join(map(str, dead[:8])) + (f" and {len(dead) - 8} more" if len(dead) > 8 else "")
            yield Hit(f"no call reaches instruction{'s' if len(dead) > 1 else ''} {shown}", "", None, FALSE, None, (which, dead[0]))
    if total > 32768:
        text = f"the stack of filters is {total} instructions long as the kernel counts; it takes 32768"
        yield Hit(text, "", None, FALSE, CRITICAL, (len(subject.programs) - 1, 0))


def _shifts(subject: Subject) -> Iterator[Hit]:
    """Shifts by X where X is 32 or more for some call: the machine shifts by the low five bits."""
    from seclude.decision.read import from_instructions

    for which, program in enumerate(subject.programs):
        code = [tuple(instruction) for instruction in program.instructions]
        for pc, instruction in enumerate(code):
            if instruction[0] not in (_LSH_X, _RSH_X):
                continue
            # In the shift's place, jump to a question at the end: X >= 32? What answers yes are the calls.
            asked = [(0x06, 0, 0, 0) if one[0] & 7 == 6 else one for one in code]
            asked[pc] = (0x05, 0, 0, len(code) - pc - 1)
            asked += [(0x87, 0, 0, 0), (0x35, 0, 1, 32), (0x06, 0, 0, _ALLOW), (0x06, 0, 0, 0)]
            decision = from_instructions(asked, program.byteorder)  # type: ignore[arg-type]
            inside = map_leaves(decision.root, lambda node: boolean(node.value == _ALLOW))
            if inside is not FALSE:
                yield Hit("shifts by 32 or more, of which the machine takes the remainder by 32", "", None, inside, None, (which, pc))


def _uncached(subject: Subject) -> Iterator[Hit]:
    from seclude.bpf.machine import constant_allow

    if not subject.programs:
        return
    for view in subject.views:
        if view.arch.x32_bit:
            continue
        always = [
            call for call in view.calls if (answer := view.answer(call)) is not None and answer.level == END and answer.value == _ALLOW
        ]
        missed = [
            call
            for call in always
            if not all(constant_allow(one.instructions, view.arch.token, view.calls[call]) for one in subject.programs)
        ]
        for call in missed:
            text = "always permitted, but the kernel cannot see that: the filter runs on each call"
            yield Hit(text, call, view.arch, view.whole(call, TRUE), NOTE)


@rule(
    "L40",
    "suppression",
    LOW,
    question="Does every suppression in the policy's text name a rule, give a reason, and suppress something?",
    why="A suppression that nothing needs hides the next finding of its kind; one without a reason cannot be judged by the next reader.",
    fix="Delete it, or say why: '# lint: ignore L29(mmap): the interpreter compiles as it runs'.",
)
def suppression(subject: Subject) -> Iterator[Hit]:  # noqa: ARG001 - it is asked of comments, when all other rules have been
    """Answered by `seclude.analysis.lint`, which knows what was suppressed."""
    yield from ()
