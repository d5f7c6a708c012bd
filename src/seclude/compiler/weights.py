"""How often each call is expected to reach the filter: what the search trees minimise.

Four views of the same question:

``uniform``   every call that is permitted counts the same.
``profile``   calls count as often as a profile (call name → number) says; those that it does not name count as rare.
``bitmap``    as ``profile``, but a call that is plainly allowed counts next to nothing: since Linux 5.11 the kernel keeps such calls in a
              bitmap and never runs the filter for them.
``blend``     as ``bitmap``, but such calls keep a tenth of their weight: older kernels run the filter for them, and so do newer ones for what
              another filter of the same task does not allow plainly.

Without a profile the last three start from equal weights. Denied calls hardly count: programs do not repeat them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.decision.nodes import END, reachable
from seclude.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seclude.abi import Architecture
    from seclude.decision.nodes import Node
    from seclude.decision.parts import Runs

__all__ = ["MODES", "NEXT_ARCHITECTURE", "Weights", "is_permitted"]

MODES = ("blend", "bitmap", "profile", "uniform")

_CACHED = {"blend": 0.1, "bitmap": 0.0001, "profile": 1.0, "uniform": 1.0}
#: a denied call, and a call that the profile does not name, as a share of an average one
_DENIED = 0.001
_RARE = 0.002
#: LOG and ALLOW (linux/seccomp.h)
_PERMIT = (0x7FFC_0000, 0x7FFF_0000)
_ALLOW = 0x7FFF_0000
#: every further architecture of a filter counts this much less than the one before it
NEXT_ARCHITECTURE = 0.01


def is_permitted(node: Node) -> bool:
    """Whether some arguments get ALLOW or LOG."""
    if node.level == END:
        return node.value & 0xFFFF_0000 in _PERMIT
    return any(one.level == END and one.value & 0xFFFF_0000 in _PERMIT for one in reachable([node]))


def _is_weight(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


class Weights:
    """The weights of one compile. Raises `UsageError` for an unknown mode or a profile that is no profile."""

    def __init__(self, mode: str = "blend", profile: Mapping[str, float] | None = None) -> None:
        if mode not in MODES:
            raise UsageError(f"cannot optimise for {mode!r}", f"one of: {', '.join(MODES)}")
        for name, value in ({} if profile is None else profile).items():
            if not _is_weight(value):
                raise UsageError(f"a profile gives each call a number that is not negative; {name!r} has {value!r}")
        self.mode = mode
        self.profile = None if mode == "uniform" else profile

    def of_calls(self, cut: Runs, archs: Iterable[Architecture]) -> tuple[list[float], dict[int, float]]:
        """The weight of each run of numbers, and of each single number that is part of it."""
        numbers: dict[int, float] = {}
        scale = 1.0
        for arch in archs:
            for number, share in self.shares(arch).items():
                numbers[number] = scale * share
            scale *= NEXT_ARCHITECTURE
        kinds: dict[Node, float] = {}
        weights = [1e-9] * len(cut)
        points: dict[int, float] = {}
        index = 0
        starts, kids, last = cut.starts, cut.kids, len(cut) - 1
        for number in sorted(numbers):
            while index < last and starts[index + 1] <= number:
                index += 1
            node = kids[index]
            kind = kinds.get(node)
            if kind is None:
                kind = kinds[node] = self._kind(node)
            weight = numbers[number] * kind
            weights[index] += weight
            points[number] = weight
        return weights, points

    def shares(self, arch: Architecture) -> dict[int, float]:
        """How often each number of an architecture occurs, as a share of all calls."""
        table = arch.calls()
        if not self.profile:
            return dict.fromkeys(table.values(), 1.0 / max(1, len(table)))
        total = sum(self.profile.get(name, 0.0) for name in table) or 1.0
        least = _RARE / len(table)
        return {number: max(self.profile.get(name, 0.0) / total, least) for name, number in table.items()}

    def _kind(self, node: Node) -> float:
        if node.level == END:
            if node.value == _ALLOW:
                return _CACHED[self.mode]
            return 1.0 if node.value in _PERMIT else _DENIED
        return 1.0 if is_permitted(node) else _DENIED
