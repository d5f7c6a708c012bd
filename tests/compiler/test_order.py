"""Words are loaded in the order that is cheapest for what programs do, not in the diagram's."""

import random

import pytest

from decision_support import ALLOW, ERRNO1, X86_64
from seclude.bpf.machine import run
from seclude.compiler import compile as build
from seclude.compiler import compile_decision, order
from seclude.decision import from_policy
from seclude.decision.nodes import END, LEVEL_SHIFT
from seclude.decision.ops import both, either, ite
from seclude.decision.parts import word_of
from seclude.decision.value import decision_of, result
from seclude.decision.words import equals, overlaps, word_in
from seclude.policy import parse


def executed(condition, call, number, *arguments):
    """The answer, and how many instructions were executed after the call was found."""
    words = [number, X86_64, 0, 0]
    for argument in (*arguments, *[0] * (6 - len(arguments))):
        words += [argument & 0xFFFFFFFF, argument >> 32]
    value, steps = run(instructions(condition, call), words, "little")
    # What finds the call is the same for a condition of which it is known that it takes three: LD, JSET, RET.
    return value, steps - run(instructions("arg0:u64 & 1 == 1", call), words, "little")[1] + 3


def instructions(condition, call):
    return build(parse(f"default errno(EPERM)\narch x86_64\nallow {call}({condition})\n")).program.instructions


# ``!=``: one low word decides most calls; the high word is asked for only after it.
@pytest.mark.parametrize(("value", "steps", "answer"), [(1, 3, ALLOW), (41, 3, ALLOW), (40, 5, ERRNO1), (40 | 1 << 32, 5, ALLOW)])
def test_not_equal_looks_at_the_low_word_first(value, steps, answer):
    assert executed("arg0:u64 != 40", "socket", 41, value) == (answer, steps)


@pytest.mark.parametrize(("value", "steps", "answer"), [(100, 3, ALLOW), (5, 5, ERRNO1), (5 | 1 << 32, 5, ALLOW)])
def test_greater_looks_at_the_low_word_first(value, steps, answer):
    assert executed("arg0:u64 > 40", "socket", 41, value) == (answer, steps)


def test_an_argument_that_decides_alone_comes_first():
    condition = "cmd == 1 and arg0 in {3, 9, 27, 81} or cmd == 2"
    assert executed(condition, "fcntl", 72, 5, 2) == (ALLOW, 4)  # load, two tests, RET: the descriptor is never looked at
    assert executed(condition, "fcntl", 72, 3, 1)[0] == ALLOW
    assert executed(condition, "fcntl", 72, 4, 1)[0] == ERRNO1
    assert executed(condition, "fcntl", 72, 3, 3) == (ERRNO1, 4)


def test_the_high_word_is_looked_at_once():
    values = ", ".join(map(str, (3, 9, 27, 81)))
    code = instructions(f"arg1:u64 in {{{values}}}", "prctl")
    assert sum(one[0] == 0x20 and one[3] == 28 for one in code) == 1


def random_test(rnd):
    word = rnd.choice((4, 5, 6, 8, 10))
    if rnd.random() < 0.3:
        return overlaps(word, rnd.choice((1, 6, 0x7E020000)))
    if rnd.random() < 0.4:
        low = rnd.choice((0, 3, 100))
        return word_in(word, 0xFFFFFFFF, ((low, rnd.choice((low + 7, 0xFFFFFFFF))),))
    return equals(word, rnd.choice((0, 1, 2, 40, 0xFFFFFFFF)))


@pytest.mark.parametrize("seed", range(60))
def test_any_order_means_the_same(seed):
    """Turned diagrams evaluate to what they were turned from, down to the last word; so does the code."""
    rnd = random.Random(seed)
    test = random_test(rnd)
    for _ in range(rnd.randrange(1, 6)):
        test = rnd.choice((both, either))(test, random_test(rnd))
    node = ite(test, result(ALLOW), result(ERRNO1))
    decision = decision_of(node)
    orders = order.Order()
    program = compile_decision(decision)  # proven
    for _ in range(40):
        words = [rnd.choice((0, 1, 2, 3, 7, 40, 100, 0x20000, 0xFFFFFFFF)) for _ in range(16)]
        at = node
        asked = []
        while at.level != END:
            word, turned = orders.first(at)
            asked.append(word)
            leaf = turned
            while leaf.level != END and word_of(leaf) == word:
                leaf = leaf.kids[words[word] >> LEVEL_SHIFT[leaf.level] & 15]
            at = orders.behind.get(leaf, leaf)
        assert len(set(asked)) == len(asked)
        assert at.value == decision.value(words) == run(program.instructions, words)[0]


def test_large_diagrams_keep_their_order_and_end_soon():
    rules = " or ".join(f"option == {i} and arg2 == {i * 7}" for i in range(40))
    text = f"default errno(EPERM)\narch x86_64\nallow prctl({rules} or arg3 == 5 or arg4 == 6)\n"
    assert len(build(parse(text))) <= 260


def test_without_effort_the_order_is_the_diagrams():
    node = from_policy(parse("default errno(EPERM)\narch x86_64\nallow socket(arg0:u64 != 40)\n")).of_call(X86_64, 41)
    assert order.Order(0).first(node) == (5, node)
    assert order.Order().first(node)[0] == 4
