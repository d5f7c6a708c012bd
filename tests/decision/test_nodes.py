"""Diagrams: canonical, bounded, and forgotten when nothing needs them."""

import gc
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from decision_support import FIELDS, I386, X86_64, holds, random_lowered, random_predicate, random_words
from seclude.decision import from_policy, nodes
from seclude.decision.nodes import FALSE, TRUE, boolean, leaf, make, reachable
from seclude.decision.ops import both, either, excluding, invert, ite, map_leaves
from seclude.decision.parts import TooManyRunsError, runs
from seclude.decision.policy import condition
from seclude.decision.value import Decision, canonical_value
from seclude.decision.words import equals, from_runs, overlaps, word_in
from seclude.errors import BudgetError


def test_equal_children_make_no_node():
    assert make(3, (TRUE,) * 16) is TRUE
    assert make(3, (TRUE,) * 15 + (FALSE,)) is make(3, (TRUE,) * 15 + (FALSE,))
    assert leaf(7) is leaf(7)


@pytest.mark.parametrize("seed", range(40))
def test_predicates_hold_where_they_are_defined_to(seed):
    rnd = random.Random(seed)
    predicate, other = random_predicate(rnd, 3), random_predicate(rnd, 2)
    a, b = condition(predicate), condition(other)
    for _ in range(60):
        words = random_words(rnd)
        x, y = holds(predicate, words), holds(other, words)
        for node, want in ((a, x), (both(a, b), x and y), (either(a, b), x or y), (excluding(a, b), x and not y), (invert(a), not x)):
            assert Decision(node).value(words) == want
    assert invert(invert(a)) is a
    assert either(a, invert(a)) is TRUE
    assert both(a, invert(a)) is FALSE
    assert both(a, b) is both(b, a)
    assert invert(both(a, b)) is either(invert(a), invert(b))
    assert ite(b, a, a) is a


def test_runs_and_diagrams_are_the_same():
    rnd = random.Random(3)
    for _ in range(60):
        starts = [0, *sorted({rnd.choice((rnd.getrandbits(32), rnd.randrange(600))) or 1 for _ in range(rnd.randrange(12))})]
        kids = [leaf(index % 3) if index % 2 else equals(4, index) for index, _ in enumerate(starts)]
        node = from_runs(0, starts, kids)
        found = runs(node, 0)
        assert from_runs(0, found.starts, found.kids) is node
        assert list(found)[-1][1] == 0xFFFFFFFF
        for first, last, kid in found:
            for value in (first, last):
                index = max(i for i, start in enumerate(starts) if start <= value)
                assert kids[index] is kid


def test_too_many_runs_are_said():
    with pytest.raises(TooManyRunsError):
        runs(overlaps(0, 1), 0)
    assert len(runs(overlaps(0, 1 << 30), 0)) == 4


def test_masks_of_every_shape():
    rnd = random.Random(4)
    for _ in range(100):
        mask = rnd.choice((0, 1, 0xFFFFFFFF, 0xF0, 0x80000001, rnd.getrandbits(32)))
        edges = sorted(rnd.choice((rnd.getrandbits(32), rnd.randrange(300))) for _ in range(4))
        ranges = ((edges[0], edges[1]), (edges[2], edges[3])) if edges[1] + 1 < edges[2] else ((edges[0], edges[3]),)
        node = Decision(word_in(6, mask, ranges))
        for _ in range(30):
            words = list(random_words(rnd))
            assert node.value(words) == any(low <= words[6] & mask <= high for low, high in ranges)


def test_a_budget_ends_an_operation_and_names_it():
    def work():
        with nodes.budget("this test", 5):
            for value in range(100_000, 100_100):
                equals(8, value)

    with pytest.raises(BudgetError, match="this test is too complex: more than 5 diagram nodes"):
        work()


def test_what_no_decision_needs_is_forgotten(monkeypatch):
    rnd = random.Random(9)
    kept = [random_lowered(rnd, tokens=(X86_64, I386)) for _ in range(3)]
    decisions = [from_policy(low) for low in kept]
    sizes = [len(decision) for decision in decisions]
    for _ in range(20):
        from_policy(random_lowered(rnd))
    gc.collect()
    before = sum(map(len, nodes._tables))
    monkeypatch.setattr(nodes, "COLLECT_AT", 0)
    again = [from_policy(low) for low in kept]
    assert all(one is other for one, other in zip(decisions, again, strict=True))
    assert [len(decision) for decision in decisions] == sizes
    assert sum(map(len, nodes._tables)) < before


def test_threads_share_what_they_make(monkeypatch):
    monkeypatch.setattr(nodes, "COLLECT_AT", 2000)
    lows = [random_lowered(random.Random(seed), tokens=(X86_64, I386), calls=8) for seed in range(6)]
    with ThreadPoolExecutor(4) as pool:
        rounds = list(pool.map(lambda _: [from_policy(low) for low in lows], range(12)))
    assert all(one is other for found in rounds for one, other in zip(rounds[0], found, strict=True))
    assert nodes._running == 0


def test_leaves_are_mapped_and_nodes_reached():
    node = ite(equals(4, 1), leaf(1), leaf(2))
    assert map_leaves(node, lambda one: boolean(one.value == 1)) is equals(4, 1)
    assert {one.value for one in reachable([node]) if not one.kids} == {1, 2}
    assert len(FIELDS) > 3
    assert canonical_value(0x0005FFFF) == 0x00050FFF
