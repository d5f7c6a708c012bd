"""What is left of a filter's meaning when only those bits count that the kernel reads.

A filter compares 64-bit registers; the kernel takes an ``int`` from the low half, a ``umode_t`` from 16 bits, and nothing from registers that
a call does not have. What it takes is in `seclude.abi.prototypes`; of calls without a prototype every bit counts, and so does the
instruction pointer. A program can put what it likes into the bits that are ignored, so what a filter grants for one call *to the kernel* is the best
answer that any setting of those bits gets.

* `typed(d)` gives each call that best answer. `same_to_kernel(a, b)`: the two differ at most in bits that the kernel ignores.
* `bypass(d)` are the calls that are let through although the same call, to the kernel, is stopped when the ignored bits are as compilers leave
  them: zero, or the sign. ``socket(0x100000028)`` is one where a filter denies AF_VSOCK (40) by comparing 64 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.decision.calls import Calls, calls_with
from seclude.decision.compare import PERMIT, UNDECIDED, action_class, order_key
from seclude.decision.nodes import END, LEVEL_SHIFT, LEVEL_WORD, TRUE, WORD_LEVEL, Node, boolean, budget, leaf, make
from seclude.decision.ops import apply, both, either, excluding, ite, map_leaves
from seclude.decision.value import ARCH, NR, Decision, decision_of
from seclude.decision.words import bit_set, equals, word_in
from seclude.policy.operands import register_width

if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.abi import Architecture

__all__ = ["bypass", "forget_bits", "ignored_bits", "same_to_kernel", "typed"]

_FULL = 0xFFFF_FFFF
#: for each of the sixteen words, the bits that the kernel ignores
Ignored = tuple[int, ...]


def ignored_bits(arch: Architecture, call: str) -> Ignored:
    """For each of the sixteen words, the bits that the kernel does not read when this call is made; "" is a call without a name."""
    from seclude.abi.prototypes import prototype

    found = prototype(arch, call) if call else None
    read = [0] * 16
    read[:4] = [_FULL] * 4
    if found is None:
        for register in range(6):
            read[4 + 2 * register] = _FULL
            read[5 + 2 * register] = _FULL if register_width(arch) == 64 else 0
    else:
        for parameter in found.parameters:
            split = len(parameter.registers) > 1
            for register in parameter.registers:
                width = 32 if split else parameter.width
                read[4 + 2 * register] |= (1 << min(width, 32)) - 1
                read[5 + 2 * register] |= _FULL if width == 64 else 0
    return tuple(bits ^ _FULL for bits in read)


def _per_call(root: Node, change: Callable[[Node, Architecture, str], Node]) -> Node:
    """The diagram with ``change(node, arch, call)`` in place of what remains for each call of each known architecture."""
    from seclude import abi

    out = root
    for token in dict.fromkeys(one.token for one in abi.ALL):
        below = root
        while below.level < 8:
            below = below.kids[token >> LEVEL_SHIFT[below.level] & 15]
        if below.level == END:
            continue
        changed = below
        # what replaces a call's diagram → the numbers it does so for
        replaced: dict[Node, list[int]] = {}
        for one in abi.by_token(token):
            if register_width(one) == 32:
                # What has no name still has high halves that the kernel never sees.
                changed = _below_numbers(changed, lambda node, one=one: change(node, one, ""))  # type: ignore[misc]
            for name, number in one.calls().items():
                node = below
                while node.level < 16:
                    node = node.kids[number >> LEVEL_SHIFT[node.level] & 15]
                if node.level != END:
                    replaced.setdefault(change(node, one, name), []).append(number)
        for node, numbers in replaced.items():
            changed = ite(word_in(NR, _FULL, _ranges(numbers)), node, changed)
        if changed is not below:
            out = ite(equals(ARCH, token), changed, out)
    return out


def _ranges(numbers: list[int]) -> tuple[tuple[int, int], ...]:
    out: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if out and out[-1][1] + 1 == number:
            out[-1] = (out[-1][0], number)
        else:
            out.append((number, number))
    return tuple(out)


def _below_numbers(node: Node, change: Callable[[Node], Node]) -> Node:
    memo: dict[Node, Node] = {}

    def walk(node: Node) -> Node:
        if node not in memo:
            memo[node] = change(node) if node.level >= 16 else make(node.level, tuple([walk(kid) for kid in node.kids]))
        return memo[node]

    return walk(node)


def forget_bits(node: Node, ignored: Ignored, join: Callable[[Node, Node], Node]) -> Node:
    """``node`` with the ignored bits chosen by ``join``: the result depends on none of them."""
    memo: dict[Node, Node] = {}
    last = max((WORD_LEVEL[word] + 8 for word in range(16) if ignored[word]), default=0)

    def walk(node: Node) -> Node:
        if node.level >= last:
            return node
        found = memo.get(node)
        if found is None:
            kids = [walk(kid) for kid in node.kids]
            bits = ignored[LEVEL_WORD[node.level]] >> LEVEL_SHIFT[node.level] & 15
            for bit in (1, 2, 4, 8):
                if bits & bit:
                    kids = [
                        kid if kid is kids[index ^ bit] else join(kids[index & ~bit], kids[index | bit]) for index, kid in enumerate(kids)
                    ]
            found = memo[node] = make(node.level, tuple(kids))
        return found

    return walk(node)


def _better(a: Node, b: Node) -> Node:
    def choose(x: Node, y: Node) -> Node | None:
        if x is y:
            return x
        return leaf(max(x.value, y.value, key=order_key)) if x.level == END == y.level else None

    return apply(choose, a, b)


def typed(decision: Decision) -> Decision:
    """The best answer for each call that some setting of the ignored bits gets. Raises `BudgetError`."""
    memo: dict[tuple[Node, Ignored], Node] = {}

    def change(node: Node, arch: Architecture, call: str) -> Node:
        key = (node, ignored_bits(arch, call))
        if key not in memo:
            memo[key] = forget_bits(node, key[1], _better)
        return memo[key]

    with budget("the typed view of this filter"):
        return decision_of(_per_call(decision.root, change))


def same_to_kernel(a: Decision, b: Decision) -> bool:
    """Whether whatever a program can make the kernel do under one filter it can under the other, with the same answers."""
    return a is b or typed(a) is typed(b)


def _clean(arch: Architecture, call: str) -> Node:
    """Where the ignored bits of every parameter are zero, or repeat its sign; registers that are not read are zero or not, as they come."""
    from seclude.abi.prototypes import prototype

    found = prototype(arch, call)
    out = TRUE
    for parameter in found.parameters if found else ():
        if len(parameter.registers) > 1 or parameter.width == 64:
            continue
        low, high = 4 + 2 * parameter.index, 5 + 2 * parameter.index
        above = _FULL ^ ((1 << min(parameter.width, 32)) - 1)
        zero = both(word_in(low, above, ((0, 0),)) if above else TRUE, equals(high, 0))
        if parameter.signed and register_width(arch) == 64:
            ones = both(word_in(low, above, ((above, above),)) if above else TRUE, equals(high, _FULL))
            zero = either(zero, both(bit_set(low, parameter.width - 1), ones))
        out = both(out, zero)
    return out


def bypass(decision: Decision) -> Calls:
    """The calls that get a better class of answer than any clean call that is the same to the kernel. Raises `BudgetError`."""
    memo: dict[tuple[Node, Ignored, Node], Node] = {}

    def change(node: Node, arch: Architecture, call: str) -> Node:
        if not call:
            return node
        key = (node, ignored_bits(arch, call), _clean(arch, call))
        if key not in memo:
            memo[key] = _marked(*key)
        return memo[key]

    with budget("the search for bypasses"):
        marked = _per_call(decision.root, change)
        return calls_with(map_leaves(marked, lambda one: boolean(one is _BYPASSED)))


def _marked(node: Node, ignored: Ignored, clean: Node) -> Node:
    for least in (PERMIT, UNDECIDED):
        reached = map_leaves(node, lambda one, least=least: boolean(action_class(one.value) >= least))  # type: ignore[misc]
        found = excluding(reached, forget_bits(both(reached, clean), ignored, either))
        node = ite(found, _BYPASSED, node)
    return node


#: a leaf that no decision holds
_BYPASSED = Node(END, (), -1)
