"""Every order in which things can happen: a scenario is run again and again, each time with other choices, until none is left.
Where there are too many, `sample` draws some by chance, the same ones each time.

Nothing is remembered between runs but the choices, so whatever a scenario builds it builds anew each time; it must be
deterministic but for what the `Chooser` says. The search is depth first, so the number of runs is that of the orders: a scenario has a handful of
steps for each actor, not dozens.
"""

from __future__ import annotations

from random import Random

from seclude.errors import BudgetError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from seclude.model.scenario import Scenario

__all__ = ["Chooser", "Explored", "Violation", "explore", "sample"]


class Violation(AssertionError):  # noqa: N818 - the word for it
    """A check failed in one order of steps; the message is that order, as a numbered story. ``choices`` replays it."""

    def __init__(self, message: str, choices: Sequence[int]) -> None:
        super().__init__(message)
        self.choices = tuple(choices)


class Chooser:
    """Takes the choices it is given, then always the first, or one by chance. ``taken`` and ``counts`` are what it chose, out of how many."""

    __slots__ = ("chance", "counts", "given", "taken")

    def __init__(self, given: Sequence[int] = (), chance: Random | None = None) -> None:
        self.given = tuple(given)
        #: chooses where nothing is given
        self.chance = chance
        self.taken: list[int] = []
        self.counts: list[int] = []

    def choose(self, count: int) -> int:
        """One of ``count`` alternatives. Where there is only one, nothing is chosen."""
        if count == 1:
            return 0
        at = len(self.taken)
        chosen = self.given[at] if at < len(self.given) else self.chance.randrange(count) if self.chance is not None else 0
        self.taken.append(chosen)
        self.counts.append(count)
        return chosen

    def following(self) -> list[int] | None:
        """The choices of the next run; None where every order was had."""
        taken = list(self.taken)
        while taken and taken[-1] == self.counts[len(taken) - 1] - 1:
            taken.pop()
        if not taken:
            return None
        taken[-1] += 1
        return taken


class Explored:
    """How many orders there were, and each outcome with the story of the first order that led to it."""

    __slots__ = ("orders", "outcomes")

    def __init__(self) -> None:
        self.orders = 0
        self.outcomes: dict[Hashable, tuple[str, ...]] = {}


def explore(build: Callable[[], Scenario], *, limit: int = 50_000) -> Explored:
    """Run a scenario in every order. Raises `Violation` for the first in which a check fails, `BudgetError` beyond ``limit`` orders."""
    found = Explored()
    given: list[int] | None = []
    while given is not None:
        if found.orders == limit:
            raise BudgetError(f"the scenario has more than {limit} orders", "give its actors fewer steps, or raise the limit")
        chooser = Chooser(given)
        _run(build, chooser, found)
        given = chooser.following()
    return found


def sample(build: Callable[[], Scenario], orders: int, seed: int = 0) -> Explored:
    """Run a scenario in ``orders`` orders drawn by chance; the outcomes are some of those that there are. Raises `Violation`."""
    found = Explored()
    for number in range(orders):
        _run(build, Chooser((), Random(f"{seed}/{number}")), found)  # noqa: S311 - orders, not secrets
    return found


def _run(build: Callable[[], Scenario], chooser: Chooser, found: Explored) -> None:
    found.orders += 1
    scenario = build()
    try:
        outcome = scenario.run(chooser)
    except Violation:
        raise
    except AssertionError as error:
        raise Violation(_sequence(scenario, error), chooser.taken) from error
    found.outcomes.setdefault(outcome, tuple(scenario.kernel.story))


def _sequence(scenario: Scenario, error: AssertionError) -> str:
    lines = [f"{number:3}. {line}" for number, line in enumerate(scenario.kernel.story, 1)]
    return "\n".join([f"{str(error) or 'the check failed'}, in this order:", *lines])
