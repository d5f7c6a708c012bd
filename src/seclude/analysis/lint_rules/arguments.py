"""L12..L16: what a filter compares and what the kernel reads are not the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.abi.prototypes import WIDE, prototype
from seclude.analysis.lint_rules.base import CRITICAL, HIGH, MEDIUM, rule
from seclude.analysis.lint_view import Hit, support
from seclude.decision.nodes import END, FALSE, Node, reachable
from seclude.decision.ops import both, either, excluding
from seclude.decision.typed import bypass, forget_bits
from seclude.decision.words import FULL, bit_set, equals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.abi.prototypes import Parameter
    from seclude.analysis.lint_view import Subject, View

__all__: list[str] = []


def _calls_with_arguments(subject: Subject) -> Iterator[tuple[View, str, Node]]:
    """Every named call that is permitted for some arguments only, with where."""
    for view in subject.views:
        for call in view.calls:
            permit = view.permit(call)
            if permit.level != END:
                yield view, call, permit


def _project(node: Node, words: tuple[int, ...]) -> Node:
    """Where some value of these words leads to `TRUE`."""
    return forget_bits(node, tuple(FULL if word in words else 0 for word in range(16)), either)


@rule(
    "L12",
    "ignored-bits",
    CRITICAL,
    question="Is a call let through with bits set that the kernel ignores, while the same call to the kernel is denied without them?",
    why="The kernel takes an int from the low half of the register. A filter that denies by comparing all 64 bits is passed by setting one above: "
    "socket(0x100000028) opens an AF_VSOCK socket where socket(40) is denied.",
    fix="Compare what the kernel reads: names of parameters do (drop ':u64'); elsewhere mask with 0xffffffff, or list what is allowed instead of what is not.",
)
def ignored(subject: Subject) -> Iterator[Hit]:
    """Bits that the kernel ignores change the answer."""
    root = bypass(subject.decision).root
    if root is FALSE:
        return
    for view in subject.views:
        for call, number in view.calls.items():
            inside = both(view.at(number, _descend(root, view.arch.token, number)), root)
            if inside is not FALSE:
                yield Hit("denied, but let through with bits set that the kernel ignores", call, view.arch, inside)


def _descend(root: Node, token: int, number: int) -> Node:
    from seclude.decision.nodes import LEVEL_SHIFT

    node = root
    while node.level < 8:
        node = node.kids[token >> LEVEL_SHIFT[node.level] & 15]
    while node.level < 16:
        node = node.kids[number >> LEVEL_SHIFT[node.level] & 15]
    return node


def _wide(view: View, call: str) -> Iterator[Parameter]:
    found = prototype(view.arch, call)
    for parameter in found.parameters if found else ():
        if parameter.width == 64 and len(parameter.registers) == 1:
            yield parameter


@rule(
    "L13",
    "low-word-only",
    HIGH,
    question="Is an argument of 64 bits bounded by its low word while its high word may be anything?",
    why="The kernel reads all 64 bits: what is meant as a small number or one exact value passes with any high word.",
    fix="Compare both words. In a policy, comparing the parameter by its name does.",
)
def low_word_only(subject: Subject) -> Iterator[Hit]:
    """64-bit arguments judged by half."""
    for view, call, permit in _calls_with_arguments(subject):
        needed = support(permit)
        for parameter in _wide(view, call):
            low, high = 4 + 2 * parameter.index, 5 + 2 * parameter.index
            # A run of bits up to bit 31 bounds the value; single bits further down are flags, and testing those alone is right.
            if high not in needed and needed.get(low, 0) >> 24 == 0xFF:
                inside = both(permit, equals(high, 1))
                if inside is not FALSE:
                    yield Hit(
                        f"'{parameter.name}' has 64 bits, and only the low 32 are looked at", call, view.arch, view.whole(call, inside)
                    )


@rule(
    "L14",
    "sign-extension",
    MEDIUM,
    question="Does the answer for a negative int depend on whether the register was sign-extended?",
    why="Compilers leave either in the register for -1 or AT_FDCWD, and the kernel reads the same int. Programs built differently are denied, or a denial is passed by.",
    fix="Compare the low word only. In a policy, the parameter's name does.",
)
def sign_extension(subject: Subject) -> Iterator[Hit]:
    """Negative ints in two forms."""
    for view, call, permit in _calls_with_arguments(subject):
        if view.arch.bits != 64 and view.arch.name not in WIDE:
            continue
        found = prototype(view.arch, call)
        for parameter in found.parameters if found else ():
            if parameter.width != 32 or not parameter.signed or len(parameter.registers) > 1:
                continue
            high = 5 + 2 * parameter.index
            negative = bit_set(high - 1, 31)
            one = _project(both(permit, both(negative, equals(high, FULL))), (high,))
            other = _project(both(permit, both(negative, equals(high, 0))), (high,))
            # Bits above that compilers never leave there are L12's business: here the two usual forms are compared.
            extended = both(both(permit, both(negative, equals(high, FULL))), excluding(one, other))
            plain = both(both(permit, both(negative, equals(high, 0))), excluding(other, one))
            for inside, word in ((extended, "sign-extended"), (plain, "zero-extended")):
                if inside is not FALSE:
                    yield Hit(
                        f"a negative '{parameter.name}' is let through only if it is {word}", call, view.arch, view.whole(call, inside)
                    )


@rule(
    "L15",
    "pointer-value",
    HIGH,
    question="Does a permission depend on the value of a pointer, beyond its being NULL?",
    why="A filter sees the address, not what is there: the program chooses what the memory holds, before the check and after it.",
    fix="Limit names with Landlock, or decide the call in a supervisor that reads the memory once and acts itself. Compare a pointer with NULL only.",
)
def pointer_value(subject: Subject) -> Iterator[Hit]:
    """Addresses compared."""
    for view, call, permit in _calls_with_arguments(subject):
        found = prototype(view.arch, call)
        for parameter in found.parameters if found else ():
            if parameter.kind not in ("pointer", "path", "string", "sockaddr") or len(parameter.registers) > 1:
                continue
            low, high = 4 + 2 * parameter.index, 5 + 2 * parameter.index
            if low not in (bits := support(permit)) and high not in bits:
                continue
            null = both(equals(low, 0), equals(high, 0)) if parameter.width == 64 else equals(low, 0)
            inside = excluding(permit, null)
            if excluding(excluding(_project(inside, (low, high)), null), inside) is not FALSE:
                text = f"the address '{parameter.name}' is compared with a number"
                yield Hit(text, call, view.arch, view.whole(call, inside if inside is not FALSE else permit))


@rule(
    "L16",
    "instruction-pointer",
    MEDIUM,
    question="Does a permission depend on the instruction pointer?",
    why="Whoever controls the program jumps to the permitted system call instruction. It stops accidents, not attacks.",
    fix="Do not rely on it.",
)
def instruction_pointer(subject: Subject) -> Iterator[Hit]:
    """Answers by place of the call."""
    if not any(16 <= node.level < 32 for node in reachable([subject.permit])):
        return
    for view in subject.views:
        below = subject.permit_of(view.below)
        inside = both(below, _project(excluding(_project(below, (2, 3)), below), (2, 3)))
        if inside is FALSE:
            continue
        text = "permitted from some places in the program only"
        named = False
        for call in view.calls:
            permit = view.permit(call)
            if 16 <= permit.level < 32:
                named = True
                yield Hit(text, call, view.arch, view.whole(call, permit))
        if not named:
            yield Hit(text, "", view.arch, both(view.numbers(((0, FULL),)), inside))
