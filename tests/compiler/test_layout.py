"""Blocks into instructions: distances, shared code, limits."""

import pytest

from decision_support import ALLOW, ERRNO1, KILL
from seclude.bpf import Program, check
from seclude.bpf.machine import run
from seclude.compiler.blocks import JEQ, JGE, JSET, LOAD, RET, Blocks
from seclude.compiler.layout import MAX_JUMP, emit
from seclude.errors import BudgetError


def words(nr, *args):
    out = [nr, 0, 0, 0] + [half for arg in args for half in (arg & 0xFFFFFFFF, arg >> 32)]
    return out + [0] * (16 - len(out))


def ladder(blocks, length, end):
    """A chain of ``length`` compares of the number, ending at ``end``; each step's other way is a RET of its own."""
    block = end
    for number in range(length):
        block = blocks.jump(JEQ, 100_000 + number, blocks.ret(0x30000 | number), block)
    return block


def straight(blocks, length, end):
    """``length`` loads in a row, the cheapest code that only takes room."""
    block = end
    for _ in range(length):
        block = blocks.mask(0xFFFFFFFF, block)
    return block


def meaning(instructions, nr, *args):
    check(Program(instructions, "little"))
    return run(instructions, words(nr, *args), "little")[0]


@pytest.mark.parametrize("length", range(250, 260))
@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("far_is_ret", [True, False])
def test_every_distance_around_the_limit(length, taken, far_is_ret):
    blocks = Blocks()
    far = blocks.ret(ALLOW) if far_is_ret else blocks.load(2, blocks.jump(JEQ, 9, blocks.ret(ERRNO1), blocks.ret(ALLOW)))
    # Both ways are used twice, so that the far block cannot simply be put beside the jump.
    near = straight(blocks, length, blocks.jump(JSET, 1, blocks.ret(KILL), far))
    pair = (near, far) if taken else (far, near)
    instructions = emit(blocks.load(0, blocks.jump(JGE, 1000, *pair)), "little")
    assert all(jt <= MAX_JUMP and jf <= MAX_JUMP for _, jt, jf, _ in instructions)
    through, past = (2001, 5) if taken else (5, 2001)
    assert meaning(instructions, through) == KILL
    assert meaning(instructions, past) == ALLOW
    assert meaning(instructions, through - through % 2 + (0 if taken else 4)) == ALLOW


def test_many_far_jumps_share_a_copy():
    blocks = Blocks()
    end = blocks.ret(ALLOW)
    block = blocks.jump(JEQ, 1, blocks.ret(KILL), end)
    for number in range(900):
        block = (
            blocks.jump(JEQ, 100_000 + number, end, block) if number % 2 else blocks.jump(JGE, 200_000 + number, blocks.ret(ERRNO1), block)
        )
    instructions = emit(blocks.load(0, block), "little")
    assert len(instructions) <= 902 + 3 + 10
    assert meaning(instructions, 1) == KILL
    assert meaning(instructions, 2) == ALLOW
    assert meaning(instructions, 100_001) == ALLOW
    assert meaning(instructions, 300_000) == ERRNO1


def test_equal_blocks_are_one():
    blocks = Blocks()
    one = blocks.load(4, blocks.jump(JEQ, 1, blocks.ret(ALLOW), blocks.ret(KILL)))
    two = blocks.load(4, blocks.jump(JEQ, 1, blocks.ret(ALLOW), blocks.ret(KILL)))
    assert one is two
    assert len(emit(blocks.load(0, blocks.jump(JEQ, 7, one, blocks.jump(JEQ, 9, two, blocks.ret(ALLOW)))), "little")) == 7


def test_code_reached_by_two_loads_is_entered_without_a_jump():
    blocks = Blocks()
    tail = blocks.jump(JEQ, 1, blocks.ret(ALLOW), blocks.ret(KILL))
    root = blocks.load(0, blocks.jump(JEQ, 7, blocks.load(4, tail), blocks.load(6, tail)))
    instructions = emit(root, "little")
    assert not any(code == 0x05 for code, *_ in instructions)
    assert meaning(instructions, 7, 1, 0) == ALLOW
    assert meaning(instructions, 8, 1, 0) == KILL
    assert meaning(instructions, 8, 0, 1) == ALLOW


def test_words_lie_where_the_byte_order_puts_them():
    blocks = Blocks()
    root = blocks.load(5, blocks.jump(JEQ, 1, blocks.ret(ALLOW), blocks.ret(KILL)))
    assert emit(root, "little")[0] == (LOAD, 0, 0, 20)
    assert emit(root, "big")[0] == (LOAD, 0, 0, 16)
    assert emit(blocks.load(1, root.next[0]), "big")[0] == (LOAD, 0, 0, 4)


def test_the_kernels_limit_is_an_error_that_says_what_is_large():
    blocks = Blocks()
    assert len(emit(ladder(blocks, 2000, blocks.ret(ALLOW)), "little")) <= 4096
    with pytest.raises(BudgetError, match=r"4096 instructions[\s\S]*the ladder"):
        emit(ladder(blocks, 4000, blocks.ret(ALLOW)), "little", lambda: "the ladder")


def test_what_can_never_matter_is_not_written():
    blocks = Blocks()
    end = blocks.ret(ALLOW)
    assert blocks.load(4, end) is end
    assert blocks.jump(JEQ, 1, end, end) is end
    assert emit(end, "little") == [(RET, 0, 0, ALLOW)]
