"""Laws of comparing: a lattice, a stack, sets that count, judged by enumeration of small words and by an SMT solver."""

import itertools
import random

import pytest
import z3
from hypothesis import given
from hypothesis import strategies as st

from bench_support import docker
from decision_support import ARM, I386, X86_64, boundary_values, outcome, random_lowered, random_program, random_words
from seclude.decision import (
    bypass,
    calls_of,
    denied,
    difference,
    from_policy,
    intersection,
    permitted,
    restrict,
    same_to_kernel,
    stack,
    subset,
    typed,
    undecided,
    union,
)
from seclude.decision.calls import ALL_CALLS, NO_CALLS, calls_where
from seclude.decision.changes import changes
from seclude.decision.compare import action_class, excess, rank
from seclude.decision.nodes import END, LEVEL_SHIFT, LEVEL_WORD
from seclude.decision.read import from_instructions
from seclude.decision.value import canonical_value

pytestmark = pytest.mark.slow

KILL, ALLOW = 0x80000000, 0x7FFF0000
bottom, top = (from_instructions([(0x06, 0, 0, value)], "little") for value in (KILL, ALLOW))
seeds = st.integers(0, 2**32 - 1)


def read(seed):
    rnd = random.Random(seed)
    return from_instructions(random_program(rnd, rnd.randrange(3, 25), heavy=False), "little")


programs = st.builds(read, seeds)
policies = st.builds(lambda seed: from_policy(random_lowered(random.Random(seed), tokens=(X86_64, I386), calls=8)), seeds)
decisions = programs | policies


@given(decisions, decisions, decisions)
def test_meet_and_join_form_a_distributive_lattice(a, b, c):
    for operation in (intersection, union):
        assert operation(a, a) is a
        assert operation(a, b) is operation(b, a)
        assert operation(a, operation(b, c)) is operation(operation(a, b), c) is operation(a, b, c)
    assert intersection(a, union(a, b)) is a is union(a, intersection(a, b))
    assert intersection(a, union(b, c)) is union(intersection(a, b), intersection(a, c))
    assert intersection(a, bottom) is bottom
    assert intersection(a, top) is a
    assert union(a, bottom) is a
    assert union(a, top) is top


@given(decisions, decisions)
def test_difference_is_empty_for_equals_and_symmetric(a, b):
    assert not difference(a, a)
    one, other = difference(a, b), difference(b, a)
    assert one.calls is other.calls
    assert bool(one) == (a is not b)
    assert permitted(a) - permitted(a) is NO_CALLS
    assert restrict(a, one.calls) is not restrict(b, one.calls) or not one
    assert restrict(a, ~one.calls) is restrict(b, ~one.calls)


@given(decisions, decisions, decisions, st.booleans())
def test_subset_is_an_order(a, b, c, strict):
    assert subset(a, a, strict=strict)
    assert subset(a, b, strict=strict) == (not excess(a, b, strict=strict))
    if subset(a, b, strict=strict) and subset(b, c, strict=strict):
        assert subset(a, c, strict=strict)
    both = subset(a, b, strict=strict) and subset(b, a, strict=strict)
    if strict:
        assert both == (a is b)  # antisymmetric
    else:  # antisymmetric up to the class
        assert both == (permitted(a) is permitted(b) and undecided(a) is undecided(b) and denied(a) is denied(b))
    assert subset(intersection(a, b), a)
    assert subset(a, union(a, b))


@given(decisions, decisions, decisions)
def test_stacks_are_associative_and_never_weaker(a, b, c):
    assert stack(a, stack(b, c)) is stack(stack(a, b), c) is stack(a, b, c)
    assert stack(a, a) is a
    assert stack(a, bottom) is bottom is stack(bottom, a)
    assert stack(a, top) is a is stack(top, a)
    # By rank of the action: neither of the two is exceeded.
    for one in (a, b):
        assert not difference(stack(a, b), one).where(lambda x, y: rank(x) > rank(y))


@given(decisions, decisions)
def test_sets_are_a_boolean_algebra_that_counts(a, b):
    x, y = permitted(a), permitted(b)
    assert ~~x is x
    assert x & ~x is NO_CALLS
    assert x | ~x is ALL_CALLS
    assert ~(x & y) is ~x | ~y
    assert x - y is x & ~y
    assert (x <= y) == ((x & y) is x)
    assert (x | y).count() == x.count() + y.count() - (x & y).count()
    assert x.count() + (~x).count() == 1 << 512


@given(decisions)
def test_restriction_and_union_put_a_decision_together_again(a):
    here = calls_of("x86_64") | calls_of("arm")
    assert union(restrict(a, here), restrict(a, ~here)) is union(a, bottom)
    assert restrict(restrict(a, here), here) is restrict(a, here)


@given(decisions, decisions)
def test_every_difference_is_shown_by_its_witness(a, b):
    found = difference(a, b)
    listed = changes(found)
    assert bool(listed) == bool(found)
    for change in listed:
        words = change.witness.words
        assert words in found.calls
        assert (a.value(words), b.value(words)) == (change.a, change.b)
    if found:
        call = found.calls.witness()
        assert call is not None
        assert a.value(call.words) != b.value(call.words)


@given(seeds)
def test_answers_are_what_the_definition_says(seed):
    rnd = random.Random(seed)
    lows = [random_lowered(rnd, tokens=(X86_64, ARM), calls=6) for _ in range(2)]
    a, b = map(from_policy, lows)
    values = sorted({*boundary_values(lows[0]), *boundary_values(lows[1])})
    sets = permitted(a), excess(a, b).calls, excess(a, b, strict=True).calls
    meet, join, stacked = intersection(a, b), union(a, b), stack(a, b)
    numbers = [number for low in lows for token in low.tokens for number in token.calls]
    for _ in range(40):
        words = list(random_words(rnd, values))
        words[0] = rnd.choice(numbers)
        words[1] = rnd.choice((X86_64, ARM))
        x, y = (canonical_value(outcome(low, words)) for low in lows)
        assert (words in sets[0]) == (action_class(x) == 2)
        assert (words in sets[1]) == (action_class(x) > action_class(y))
        assert (words in sets[2]) == (rank(x) > rank(y) or (rank(x) == rank(y) and x != y))
        order = sorted((x, y), key=lambda v: (action_class(v), rank(v), v & 0xFFFF))
        assert [meet.value(words), join.value(words)] == order
        assert stacked.value(words) == (x if rank(x) < rank(y) else y)


@given(seeds, seeds)
def test_counts_by_enumeration_of_small_words(one, other):
    # Programs that look at four bits of three words: 4096 cases stand for all.
    words = (0, 4, 6)
    built = [from_instructions(small_program(random.Random(seed), words), "little") for seed in (one, other)]
    wanted = [0, 0]
    for digits in itertools.product(range(16), repeat=3):
        call = [0] * 16
        for word, digit in zip(words, digits, strict=True):
            call[word] = digit
        inside = [action_class(d.value(call)) == 2 for d in built]
        wanted[0] += inside[0]
        wanted[1] += inside[0] and not inside[1]
    scale = 1 << (512 - 12)
    assert permitted(built[0]).count() == wanted[0] * scale
    assert excess(*built).calls.count() == sum(
        scale
        for digits in itertools.product(range(16), repeat=3)
        if action_class(built[0].value(small(words, digits))) > action_class(built[1].value(small(words, digits)))
    )
    assert (permitted(built[0]) - permitted(built[1])).count() == wanted[1] * scale


def small(words, digits):
    call = [0] * 16
    for word, digit in zip(words, digits, strict=True):
        call[word] = digit
    return call


def small_program(rnd, words):
    """A program that looks at the low four bits of these words only."""
    out = []
    for _ in range(rnd.randrange(1, 6)):
        out += [(0x20, 0, 0, 4 * rnd.choice(words)), (0x54, 0, 0, 15)]
        out += [(rnd.choice((0x15, 0x25, 0x35, 0x45)), rnd.randrange(2), rnd.randrange(2), rnd.randrange(16))]
        out += [(0x06, 0, 0, rnd.choice((ALLOW, KILL, 0x50001, 0x7FFC0000, 0x7FC00000)))]
    return [*out, (0x06, 0, 0, rnd.choice((ALLOW, KILL))), (0x06, 0, 0, ALLOW)]


@given(seeds)
def test_typed_views_only_widen_and_settle(seed):
    low = random_lowered(random.Random(seed), tokens=(X86_64,), calls=4, filtered=0.6)
    d = from_policy(low)
    view = typed(d)
    assert subset(d, view)
    assert typed(view) is view
    assert not bypass(view)
    assert same_to_kernel(d, view)
    assert bypass(d) <= ~denied(d)
    # What gets past is nothing that the same call without the ignored bits gets.
    call = bypass(d).witness()
    if call is not None:
        assert action_class(d.value(call.words)) > action_class(d.value(call.clean().words))
        assert view.value(call.words) == view.value(call.clean().words)


# ── an SMT solver that knows nothing of diagrams ────────────────────────────────────────────────────────────────────

WORDS = [z3.BitVec(f"w{index}", 32) for index in range(16)]


def formula(root):
    """A diagram's value as an SMT term, read digit by digit."""
    memo: dict[object, z3.BitVecRef] = {}

    def walk(node):
        if node not in memo:
            if node.level == END:
                memo[node] = z3.BitVecVal(node.value, 32)
            else:
                shift = LEVEL_SHIFT[node.level]
                digit = z3.Extract(shift + 3, shift, WORDS[LEVEL_WORD[node.level]])
                groups: dict[object, list[int]] = {}
                for value, kid in enumerate(node.kids):
                    groups.setdefault(kid, []).append(value)
                (_, out), *rest = [(values, walk(kid)) for kid, values in groups.items()]
                for values, term in rest:
                    out = z3.If(z3.Or([digit == value for value in values]), term, out)
                memo[node] = out
        return memo[node]

    return walk(root)


def signed_rank(value):
    return value & 0xFFFF0000


def class_of(value):
    action = value & 0xFFFF0000
    return z3.If(
        z3.Or(action == 0x7FFC0000, action == 0x7FFF0000),
        z3.BitVecVal(2, 8),
        z3.If(z3.Or(action == 0x7FC00000, action == 0x7FF00000), z3.BitVecVal(1, 8), z3.BitVecVal(0, 8)),
    )


def never(claim):
    solver = z3.Solver()
    solver.add(claim)
    return solver.check() == z3.unsat


@pytest.mark.parametrize("seed", range(25))
def test_the_solver_agrees(seed):
    rnd = random.Random(seed)
    if seed % 2:
        a, b = (from_policy(random_lowered(rnd, tokens=(X86_64,), calls=4)) for _ in range(2))
    else:
        a, b = (from_instructions(random_program(rnd, rnd.randrange(3, 20), heavy=False), "little") for _ in range(2))
    x, y = formula(a.root), formula(b.root)
    assert never(x != y) == (a is b)
    assert never(z3.UGT(class_of(x), class_of(y))) == subset(a, b)
    later = z3.Or(signed_rank(x) > signed_rank(y), z3.And(signed_rank(x) == signed_rank(y), x != y))  # a signed comparison, as the kernel's
    assert never(later) == subset(a, b, strict=True)
    assert never(formula(stack(a, b).root) != z3.If(signed_rank(y) <= signed_rank(x), y, x))
    inside = formula(permitted(a).root)
    assert never(inside != z3.If(class_of(x) == 2, z3.BitVecVal(1, 32), z3.BitVecVal(0, 32)))
    value = rnd.choice(sorted(a.leaves()))
    assert never(formula(calls_where(a, value.__eq__).root) != z3.If(x == value, z3.BitVecVal(1, 32), z3.BitVecVal(0, 32)))


# ── scale ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sixteen_diamonds_against_seventeen():
    def diamonds(count):
        out = [(0x00, 0, 0, 0), (0x02, 0, 0, 0)]
        for index in range(count):
            out += [(0x20, 0, 0, 16 + 4 * (index % 12)), (0x45, 0, 1, 1 << index), (0x05, 0, 0, 0)]
        return from_instructions([*out, (0x60, 0, 0, 0), (0x06, 0, 0, ALLOW)], "little")

    assert diamonds(16) is diamonds(17) is top


def test_programs_of_4096_instructions():
    def chain(step):
        out = [(0x20, 0, 0, 0)]
        for number in range(2047):
            out += [(0x15, 0, 1, number * step), (0x06, 0, 0, ALLOW)]
        return from_instructions([*out, (0x06, 0, 0, KILL)], "little")

    a, b = chain(1), chain(2)
    assert subset(chain(1), a)
    assert permitted(a).count() == 2047 << 480
    assert permitted(intersection(a, b)).count() == 1024 << 480
    assert sum(len(change.numbers) for change in changes(difference(a, b)))


def test_large_filters_compare():
    a = from_policy(docker())
    b = restrict(a, ~calls_of("x86_64", "ptrace"))
    found = changes(difference(a, b))
    assert [(change.sign, str(change.witness)) for change in found] == [("-", "ptrace(PTRACE_TRACEME, 0, 0, 0)")]
