"""What the lint rules ask: a decision, seen one architecture at a time, and hits with what they need to become findings.

Every question is a set of calls: what is permitted, cut with a condition on the arguments, is empty or has a witness. Conditions are on the bits
that the kernel reads of a parameter (`seclude.abi.prototypes`), so a filter that looks at more or fewer bits is judged by what it lets through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.abi import ALL, by_token
from seclude.abi.constants import constant, errno_number
from seclude.abi.prototypes import prototype
from seclude.decision.compare import PERMIT, UNDECIDED, action_class
from seclude.decision.nodes import END, FALSE, LEVEL_SHIFT, TRUE, Node, boolean, reachable
from seclude.decision.ops import both, excluding, map_leaves
from seclude.decision.value import ARCH, NR
from seclude.decision.words import FULL, equals, word_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter
    from seclude.bpf import Program
    from seclude.decision.value import Decision

__all__ = ["Hit", "Subject", "View", "register_test", "support"]

_X32 = 0x4000_0000
_NEGATIVE = 0x8000_0000
_ERRNO = 0x0005_0000
#: a token that no architecture has: what it gets, unlisted architectures get
_NO_TOKEN = 0x00DE_AD00


class Hit(NamedTuple):
    """One place where a rule applies: calls of ``call`` on ``arch``, those in the set ``root``.

    ``text`` says what can be done there; hits with the same text and severity are one finding. ``severity`` overrides the rule's. ``call`` is ""
    where it is no call of a name. ``instruction`` is the place in a program for what is wrong with the program rather than its meaning; then
    ``root`` may be `FALSE`.
    """

    text: str
    call: str = ""
    arch: Architecture | None = None
    root: Node = FALSE
    severity: int | None = None
    instruction: tuple[int, int] | None = None
    word: str = ""


def register_test(register: int, width: int, mask: int, low: int, high: int) -> Node:
    """``low <= register & mask <= high`` of the bits that the kernel reads; of a 64-bit parameter the high word must be zero."""
    bits = (1 << min(width, 32)) - 1
    test = word_in(4 + 2 * register, mask & bits, ((low & bits, high & bits),)) if mask & bits else TRUE
    return both(test, equals(5 + 2 * register, 0)) if width == 64 else test


def support(node: Node) -> dict[int, int]:
    """For each word that the diagram depends on, the bits that matter."""
    from seclude.decision.nodes import LEVEL_WORD

    out: dict[int, int] = {}
    for one in reachable([node]):
        if one.level == END:
            continue
        word, shift = LEVEL_WORD[one.level], LEVEL_SHIFT[one.level]
        for bit in (1, 2, 4, 8):
            if not out.get(word, 0) >> shift & bit and any(one.kids[digit] is not one.kids[digit ^ bit] for digit in range(16)):
                out[word] = out.get(word, 0) | bit << shift
    return out


class View:
    """One architecture of the decision."""

    __slots__ = ("_answers", "_default", "_permits", "arch", "below", "beyond", "calls", "open", "subject")

    def __init__(self, subject: Subject, arch: Architecture) -> None:
        self.subject = subject
        self.arch = arch
        self.below = subject.decision.of_token(arch.token)
        self.calls = arch.calls()
        self._answers: dict[str, Node] = {}
        self._permits: dict[str, Node] = {}
        self._default: int | bool | None = False
        #: the numbers above every one that the table names, up to where another ABI's numbers or negative ones begin
        self.beyond = _beyond(arch)
        #: whether calls that the table does not name are let through: the filter lists what is denied
        self.open = self.numbers(self.beyond) is not FALSE

    def answer(self, call: str) -> Node | None:
        """What remains of the decision for this call, or None where the architecture has no such call."""
        found = self._answers.get(call)
        if found is None:
            number = self.arch.number(call)
            if number is None:
                return None
            found = self._answers[call] = _below(self.below, number)
        return found

    def answer_at(self, number: int) -> Node:
        """What remains of the decision for a number."""
        return _below(self.below, number)

    def permit(self, call: str) -> Node:
        """For which registers the call is let through (logged or allowed). `FALSE` where there is no such call."""
        found = self._permits.get(call)
        if found is None:
            answer = self.answer(call)
            found = self._permits[call] = FALSE if answer is None else self.subject.permit_of(answer)
        return found

    def has(self, call: str) -> bool:
        """Whether the architecture has the call."""
        return self.arch.number(call) is not None

    def parameter(self, call: str, name: str) -> Parameter | None:
        """The parameter, where it is in one register."""
        found = prototype(self.arch, call)
        one = found.parameter(name) if found else None
        return one if one is not None and len(one.registers) == 1 else None

    def test(self, call: str, name: str, mask: int, low: int, high: int | None = None) -> Node:
        """``low <= parameter & mask <= high`` (``high`` None: equal to ``low``). `FALSE` where there is no such parameter."""
        one = self.parameter(call, name)
        if one is None:
            return FALSE
        return register_test(one.index, one.width, mask, low, low if high is None else high)

    def equal(self, call: str, name: str, value: int) -> Node:
        """The parameter is ``value``."""
        return self.test(call, name, FULL, value & FULL)

    def any_bit(self, call: str, name: str, bits: int) -> Node:
        """One of ``bits`` is set."""
        return self.test(call, name, bits, 1, FULL) if bits else FALSE

    def all_bits(self, call: str, name: str, bits: int) -> Node:
        """All ``bits`` are set."""
        return self.test(call, name, bits, bits)

    def constant(self, name: str) -> int:
        """A C constant, unsigned; 0 where this architecture has none."""
        return (constant(name, self.arch) or 0) & FULL

    @property
    def enosys(self) -> int:
        """The RET word of ERRNO(ENOSYS)."""
        return _ERRNO | (errno_number("ENOSYS", self.arch) or 38)

    def whole(self, call: str, inside: Node) -> Node:
        """The set of this call's calls whose registers are in ``inside``."""
        number = self.arch.number(call)
        assert number is not None
        return self.at(number, inside)

    def at(self, number: int, inside: Node) -> Node:
        """As `whole`, for a number."""
        return both(equals(ARCH, self.arch.token), both(equals(NR, number), inside))

    def hit(self, text: str, call: str, test: Node = TRUE, severity: int | None = None) -> Iterator[Hit]:
        """A hit if the call is permitted where ``test`` holds."""
        inside = both(self.permit(call), test)
        if inside is not FALSE:
            yield Hit(text, call, self.arch, self.whole(call, inside), severity)

    def numbers(self, ranges: Sequence[tuple[int, int]], permitted: bool = True) -> Node:
        """The calls with a number in one of the ranges, permitted ones only or all."""
        inside = word_in(NR, FULL, tuple(ranges))
        here = both(inside, self.subject.permit_of(self.below)) if permitted else inside
        return both(equals(ARCH, self.arch.token), here)

    @property
    def default(self) -> int | None:
        """The RET word that calls get which nobody thought of; None where the filter lists what is denied."""
        if self._default is False:
            self._default = None
            if not self.open:
                counted: dict[int, int] = {}
                for call in self.calls:
                    answer = self.answer(call)
                    if answer is not None and answer.level == END and action_class(answer.value) < PERMIT:
                        counted[answer.value] = counted.get(answer.value, 0) + 1
                self._default = max(counted, key=lambda value: counted[value], default=None)
        return self._default

    def refused_on_purpose(self, call: str) -> bool:
        """Whether the call is denied always, and not merely because nobody listed it."""
        answer = self.answer(call)
        return answer is not None and answer.level == END and action_class(answer.value) < UNDECIDED and answer.value != self.default

    def limited(self, call: str) -> bool:
        """Whether the call is permitted for some arguments only."""
        permit = self.permit(call)
        return permit is not TRUE and permit is not FALSE

    def where(self, call: str, value: int) -> Node:
        """Where the call gets exactly this RET word."""
        answer = self.answer(call)
        return FALSE if answer is None else map_leaves(answer, lambda node: boolean(node.value == value))


def _beyond(arch: Architecture) -> tuple[tuple[int, int], ...]:
    highest = arch.highest
    last = _X32 - 1 if arch.name == "x86_64" else _NEGATIVE - 1
    start = highest + 1
    out = []
    for number in sorted(number for number in arch.calls().values() if number > highest):
        if start < number:
            out.append((start, number - 1))
        start = number + 1
    return (*out, (start, last))


def _below(node: Node, number: int) -> Node:
    while node.level < 16:
        node = node.kids[number >> LEVEL_SHIFT[node.level] & 15]
    return node


class Subject:
    """What is judged: the decision (of a stack: all of it together), the programs that it came from, and the profile of use.

    ``home`` is the architecture to read numbers by where the filter does not tell architectures apart.
    """

    __slots__ = ("_permits", "decision", "home", "permit", "profile", "programs", "tokens", "unlisted", "views")

    def __init__(
        self,
        decision: Decision,
        programs: Sequence[Program] = (),
        *,
        home: Architecture,
        archs: Sequence[Architecture] = (),
        profile: str = "",
    ) -> None:
        self.decision = decision
        self.programs = tuple(programs)
        self.home = home
        self.profile = profile
        self._permits: dict[Node, Node] = {}
        self.permit = self.permit_of(decision.root)
        self.tokens = tuple(dict.fromkeys(one.token for one in ALL))
        listed = {one.token for one in archs} or set(self.tokens)
        known = word_in(ARCH, FULL, tuple((token, token) for token in sorted(listed)))
        #: permitted calls under tokens that the policy does not list, or that no architecture has
        self.unlisted = excluding(self.permit, known)
        self.views = tuple(self._views(archs))

    def permit_of(self, node: Node) -> Node:
        """Where the diagram's answer is to let the call through."""
        return self._map(node)

    def _map(self, node: Node) -> Node:
        found = self._permits.get(node)
        if found is None:
            if node.level == END:
                found = boolean(action_class(node.value) == PERMIT)
            else:
                from seclude.decision.nodes import make

                found = make(node.level, tuple([self._map(kid) for kid in node.kids]))
            self._permits[node] = found
        return found

    @property
    def blind(self) -> bool:
        """Whether the decision looks at numbers but never at the architecture."""
        return 8 <= self.decision.root.level < END

    def _views(self, archs: Sequence[Architecture]) -> Iterator[View]:
        listed = list(archs)
        if not listed:
            other = self.decision.of_token(_NO_TOKEN)
            for token in self.tokens:
                below = self.decision.of_token(token)
                if below is not other and any(action_class(one.value) for one in reachable([below]) if one.level == END):
                    listed += by_token(token)
        if not listed:
            listed = [self.home]
        for one in listed:
            view = View(self, one)
            if one.x32_bit and not archs and view.numbers(((_X32, _NEGATIVE - 1),)) is FALSE:
                continue
            yield view

    def view(self, name: str) -> View | None:
        """The view of an architecture, or None where the filter does not accept it."""
        return next((view for view in self.views if view.arch.name == name), None)

    def has_action(self, action: int) -> Node:
        """The calls whose answer has this action half."""
        return map_leaves(self.decision.root, lambda node: boolean(node.value & 0xFFFF_0000 == action))
