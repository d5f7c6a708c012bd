"""Programs read into decisions, against the machine."""

import random

import pytest

from decision_support import ALLOW, ERRNO1, I386, KILL, X86_64, constants, random_program, random_words
from seclude.bpf import Program
from seclude.bpf.machine import run
from seclude.decision import from_program
from seclude.decision.read import from_instructions
from seclude.decision.value import canonical_value
from seclude.errors import BudgetError, FilterError

LOAD_NR, LOAD_ARCH = (0x20, 0, 0, 0), (0x20, 0, 0, 4)


def agrees(instructions, byteorder, rnd, calls=40):
    decision = from_instructions(instructions, byteorder)
    values = constants(instructions)
    for _ in range(calls):
        words = random_words(rnd, values)
        assert decision.value(words) == canonical_value(run(instructions, words, byteorder)[0])


@pytest.mark.parametrize("seed", range(120))
def test_random_programs_mean_what_the_machine_does(seed):
    rnd = random.Random(seed)
    byteorder = rnd.choice(("little", "big"))
    instructions = random_program(rnd, rnd.randrange(3, 35), heavy=seed % 4 == 0)
    try:
        agrees(instructions, byteorder, rnd)
    except BudgetError:
        assert seed % 4 == 0, "only heavy arithmetic may exceed the budget"


def test_equal_meaning_is_the_same_object():
    a = [LOAD_NR, (0x15, 1, 0, 5), (0x06, 0, 0, KILL), (0x06, 0, 0, ALLOW)]
    b = [LOAD_NR, (0x35, 0, 2, 5), (0x25, 1, 0, 5), (0x06, 0, 0, ALLOW), (0x06, 0, 0, KILL)]
    assert from_instructions(a, "little") is from_instructions(b, "little")


def test_data_that_the_kernel_ignores_is_dropped():
    def ret(value):
        return from_instructions([(0x06, 0, 0, value)], "little")

    assert ret(0x7FFF1234) is ret(ALLOW)
    assert ret(0x0005FFFF) is ret(0x00050FFF)
    assert ret(0x00030001) is not ret(0x00030002)
    assert ret(0x12345678) is ret(0x12340000)
    assert ret(0x12345678) is not ret(0x80000000)


def test_a_chain_of_diamonds_is_linear():
    code = []
    for bit in range(16):
        code += [(0x20, 0, 0, 16 + 8 * (bit % 6)), (0x45, 0, 1, 1 << bit), (0x00, 0, 0, 1)]
    code += [LOAD_NR, (0x15, 0, 1, 3), (0x06, 0, 0, ALLOW), (0x06, 0, 0, KILL)]
    agrees(code, "little", random.Random(1))


def test_low_bits_of_the_number_are_read_as_diagrams():
    agrees([LOAD_NR, (0x54, 0, 0, 5), (0x15, 0, 1, 4), (0x06, 0, 0, ALLOW), (0x06, 0, 0, KILL)], "little", random.Random(2))
    agrees([LOAD_ARCH, (0x45, 0, 1, 1), (0x06, 0, 0, ALLOW), (0x06, 0, 0, KILL)], "little", random.Random(3))


def test_division_by_a_zero_in_x_kills_the_thread():
    code = [LOAD_NR, (0x07, 0, 0, 0), (0x00, 0, 0, 7), (0x3C, 0, 0, 0), (0x06, 0, 0, ALLOW)]
    decision = from_instructions(code, "little")
    assert decision.value((0,) * 16) == 0
    assert decision.value((1,) + (0,) * 15) == ALLOW


def test_a_returned_argument_is_followed_exactly():
    code = [(0x20, 0, 0, 16), (0x54, 0, 0, 0xFFF), (0x44, 0, 0, 0x50000), (0x16, 0, 0, 0)]
    agrees(code, "little", random.Random(4))


@pytest.mark.slow
def test_what_is_too_complex_says_so():
    multiply = [
        (0x20, 0, 0, 16),
        (0x07, 0, 0, 0),
        (0x20, 0, 0, 24),
        (0x2C, 0, 0, 0),
        (0x15, 0, 1, 77),
        (0x06, 0, 0, ALLOW),
        (0x06, 0, 0, KILL),
    ]
    with pytest.raises(BudgetError, match="this filter is too complex"):
        from_instructions(multiply, "little")


def test_bytes_that_are_no_filter_are_refused():
    with pytest.raises(FilterError):
        from_program(Program([LOAD_NR]))


def test_both_byte_orders_load_the_same_words():
    little = from_instructions([(0x20, 0, 0, 16), (0x15, 0, 1, 7), (0x06, 0, 0, ALLOW), (0x06, 0, 0, ERRNO1)], "little")
    big = from_instructions([(0x20, 0, 0, 20), (0x15, 0, 1, 7), (0x06, 0, 0, ALLOW), (0x06, 0, 0, ERRNO1)], "big")
    assert little is big


def test_tokens_and_calls_are_found():
    code = [LOAD_ARCH, (0x15, 0, 3, X86_64), LOAD_NR, (0x15, 0, 1, 59), (0x06, 0, 0, ALLOW), (0x06, 0, 0, KILL)]
    decision = from_instructions(code, "little")
    assert [(first, last) for first, last, _ in decision.tokens] == [(0, X86_64 - 1), (X86_64, X86_64), (X86_64 + 1, 0xFFFFFFFF)]
    assert decision.of_call(X86_64, 59).value == ALLOW
    assert decision.of_call(I386, 59).value == KILL
    assert decision.leaves() == {ALLOW, KILL}
