"""The decision: what a policy or a filter means, whatever it came from."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from seclude.decision.nodes import END, LEVEL_SHIFT, LEVEL_WORD, Node, forget, leaf, reachable, roots
from seclude.decision.parts import Runs, runs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ARCH", "NR", "Decision", "canonical_value", "decision_of", "result"]

NR, ARCH = 0, 1

_ACTION, _DATA = 0xFFFF_0000, 0x0000_FFFF
_TRAP, _ERRNO, _TRACE = 0x0003_0000, 0x0005_0000, 0x7FF0_0000
_MAX_ERRNO = 4095


def canonical_value(value: int) -> int:
    """A RET word without the data that the kernel ignores (kernel/seccomp.c, __seccomp_filter).

    ERRNO keeps min(data, 4095), TRAP and TRACE keep 16 bits, every other action none. Unknown actions keep their rank:
    they act as KILL_PROCESS but lose to what ranks before them in a stack.
    """
    action = value & _ACTION
    if action == _ERRNO:
        return action | min(value & _DATA, _MAX_ERRNO)
    if action in (_TRAP, _TRACE):
        return value
    return action


def result(value: int) -> Node:
    """The leaf for a RET word."""
    found = _results.get(value)
    if found is None:
        found = _results[value] = leaf(canonical_value(value))
    return found


_results: dict[int, Node] = {}
forget.append(_results.clear)


class Decision:
    """A function from the sixteen words to an action. Two decisions with the same meaning are the same object.

    ``root`` is its diagram, whose leaves hold RET words as `canonical_value` leaves them.
    """

    __slots__ = ("__weakref__", "_tokens", "root")

    def __init__(self, root: Node) -> None:
        self.root = root
        self._tokens: Runs | None = None

    def __repr__(self) -> str:
        return f"<Decision of {len(self)} nodes>"

    def __len__(self) -> int:
        """Diagram nodes, leaves included."""
        return len(reachable([self.root]))

    def value(self, words: Sequence[int]) -> int:
        """The RET word for one call: ``words`` are the sixteen 32-bit words 0 nr, 1 arch, 2 ip.low, 3 ip.high, 4 arg0.low, ..."""
        node = self.root
        while node.level != END:
            node = node.kids[words[LEVEL_WORD[node.level]] >> LEVEL_SHIFT[node.level] & 15]
        return node.value

    @property
    def tokens(self) -> Runs:
        """The axis of AUDIT_ARCH tokens in runs. Raises `TooManyRunsError` where a filter looks at a token's low bits."""
        if self._tokens is None:
            self._tokens = runs(self.root, ARCH)
        return self._tokens

    def of_token(self, token: int) -> Node:
        """The diagram that remains for one token."""
        node = self.root
        while node.level < 8:
            node = node.kids[token >> LEVEL_SHIFT[node.level] & 15]
        return node

    def of_call(self, token: int, number: int) -> Node:
        """The diagram over the instruction pointer and the arguments that remains for one call."""
        node = self.of_token(token)
        while node.level < 16:
            node = node.kids[number >> LEVEL_SHIFT[node.level] & 15]
        return node

    def leaves(self) -> set[int]:
        """The RET words that some call gets."""
        return {node.value for node in reachable([self.root]) if node.level == END}


_known: WeakValueDictionary[Node, Decision] = WeakValueDictionary()
_gate = Lock()


def decision_of(root: Node) -> Decision:
    """The one decision with this diagram."""
    found = _known.get(root)
    if found is None:
        with _gate:  # setdefault of a weak dictionary is not atomic, and two threads may have made the same diagram
            found = _known.get(root)
            if found is None:
                found = _known[root] = Decision(root)
                roots.add(found)
    return found
