"""Programs as graphs: nothing is left out, weights add up, costs are those of the machine, and boxes do not lie on each other."""

from __future__ import annotations

from itertools import pairwise

import pytest

from seclude import abi
from seclude.analysis.report_flow import MOST_BOXES, flow_graph
from seclude.bpf import Instruction, Program, assemble
from seclude.bpf.machine import run
from seclude.compiler import compile_decision
from seclude.decision import from_policy, from_program
from seclude.policy import PRESETS, load

X86_64, X86 = abi.arch("x86_64"), abi.arch("x86")
RETURNS = (0x06, 0x16)


def chain(length, *, by="=="):
    """A filter as simple generators write it: one comparison after the other."""
    tests = "\n".join(f"if (A {by} {number}) goto ok" for number in range(length))
    return assemble(f"A = arch\nif (A != ARCH_X86_64) goto bad\nA = sys_number\n{tests}\nbad:\nreturn KILL_PROCESS\nok:\nreturn ALLOW")


DIAMONDS = assemble(
    "A = sys_number\n"
    + "".join(f"if (A & {1 << bit}) goto a{bit}\nA += 1\ngoto b{bit}\na{bit}:\nA += 2\nb{bit}:\nA ^= 3\n" for bit in range(8))
    + "if (A == 7) goto ok\nreturn ERRNO(EPERM)\nok:\nreturn ALLOW"
)
PROGRAMS = {
    "one": assemble("return ALLOW"),
    "returns A": assemble("A = 0x7fff0000\nreturn A"),
    "chain": chain(200),
    "diamonds": DIAMONDS,
    **{
        name: compile_decision(from_policy(load(name, native="x86_64")), "little", order=[X86_64.token, X86.token])
        for name in PRESETS
    },
}  # fmt: skip


def drawing(program, archs, decision=None):
    graph = flow_graph(program, decision or from_program(program), archs)
    assert graph is not None
    return graph


@pytest.fixture(scope="module", params=list(PROGRAMS))
def drawn(request):
    program = PROGRAMS[request.param]
    return program, drawing(program, [X86_64, X86])


def reachable(program):
    found = {0}
    for pc, (code, jt, jf, k) in enumerate(program):
        if pc in found and code not in RETURNS:
            jumps = code & 0x07 == 0x05
            found |= {pc + 1 + k} if code == 0x05 else {pc + 1 + jt, pc + 1 + jf} if jumps else {pc + 1}
    return found


@pytest.mark.slow
def test_every_reachable_instruction_stands_in_exactly_one_box(drawn):
    program, graph = drawn
    shown = [row.pc for box in graph.boxes for row in box.rows if program[row.pc][0] not in RETURNS]
    assert sorted(shown) == sorted(pc for pc in reachable(program) if program[pc][0] not in RETURNS)


def test_calls_are_conserved(drawn):
    _, graph = drawn
    assert graph.sampled == graph.samples
    assert graph.boxes[0].calls == graph.sampled
    for box in graph.boxes:
        left = sum(one.calls for row in box.rows for one in row.exits) + sum(arrow.calls for arrow in box.arrows)
        assert left == box.calls, box.start
        if box.start:
            assert box.calls == sum(arrow.calls for arrow in graph.arrows if arrow.target == box.start)


def test_costs_are_those_of_the_machine(drawn):
    program, graph = drawn
    most = least = None
    for arch in (X86_64, X86):
        for number in arch.calls().values():
            steps = run(program, (number, arch.token, *(0,) * 14))[1]
            most, least = max(steps, most or 0), min(steps, least or steps)
    assert max(box.most for box in graph.boxes) <= len(program)
    assert max(box.most for box in graph.boxes) + 1 >= most
    assert all(box.least <= box.most for box in graph.boxes)


def test_arrows_lead_on_and_boxes_do_not_overlap(drawn):
    _, graph = drawn
    by_start = {box.start: box for box in graph.boxes}
    for arrow in graph.arrows:
        assert by_start[arrow.source].layer < by_start[arrow.target].layer
        assert arrow.path.startswith("M")
    for layer in {box.layer for box in graph.boxes}:
        column = sorted((box for box in graph.boxes if box.layer == layer), key=lambda box: box.y)
        assert len({box.x for box in column}) == 1
        for above, below in pairwise(column):
            assert above.y + above.height < below.y
        for box in graph.boxes:
            if box.layer == layer + 1:
                assert max(one.x + one.width for one in column) < box.x
    for box in graph.boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= graph.width
        assert box.y + box.height <= graph.height


def test_words_and_ends_of_a_small_filter():
    program = assemble(
        "A = arch\nif (A != ARCH_X86_64) goto bad\nA = sys_number\nif (A == read) goto ok\nbad:\nreturn ERRNO(EPERM)\nok:\nreturn ALLOW"
    )
    graph = drawing(program, [X86_64])
    (box,) = graph.boxes
    calls = len(X86_64.calls())
    assert [(row.text, [(one.when, one.answer, one.calls) for one in row.exits]) for row in box.rows] == [
        ("A = arch", []),
        ("A != ARCH_X86_64?", [("yes", "ERRNO(EPERM)", 0)]),
        ("A = sys_number", []),
        ("A == read?", [("yes", "ALLOW", 1), ("no", "ERRNO(EPERM)", calls - 1)]),
    ]
    assert box.cost == "4"


def test_both_ways_of_a_test_are_told_apart_whichever_is_written_first():
    for text, ends in (
        ("if (A == 0) goto ok\nreturn KILL_PROCESS\nok:\nreturn ALLOW", {"yes": "ALLOW", "no": "KILL_PROCESS"}),
        ("if (A != 0) goto ok\nreturn KILL_PROCESS\nok:\nreturn ALLOW", {"yes": "ALLOW", "no": "KILL_PROCESS"}),
        ("if (!(A & 1)) goto ok\nreturn KILL_PROCESS\nok:\nreturn ALLOW", {"yes": "ALLOW", "no": "KILL_PROCESS"}),
    ):
        program = assemble("A = sys_number\n" + text)
        graph = drawing(program, [X86_64])
        (box,) = graph.boxes
        exits = box.rows[-1].exits
        assert {one.when: one.answer for one in exits} == ends
        permitted = sum(run(program, (number, X86_64.token, *(0,) * 14))[0] == 0x7FFF0000 for number in X86_64.calls().values())
        assert {one.answer: one.calls for one in exits}["ALLOW"] == permitted


def test_a_jump_whose_ways_are_one():
    program = Program([Instruction(0x20, 0, 0, 0), Instruction(0x15, 0, 0, 1), Instruction(0x06, 0, 0, 0x7FFF0000)])
    graph = drawing(program, [X86_64])
    (box,) = graph.boxes
    assert [row.pc for row in box.rows] == [0, 1, 2]
    assert box.rows[-1].exits[0].calls == len(X86_64.calls())


@pytest.mark.slow
def test_too_many_boxes_are_not_drawn():
    # Each step is reached on two ways, so each is a box.
    steps = "".join(f"if (A & {1 + step % 64}) goto a{step}\nA += 1\na{step}:\nA ^= 3\n" for step in range(MOST_BOXES))
    program = assemble(f"A = 5\n{steps}return ALLOW")
    assert flow_graph(program, from_program(assemble("return ALLOW")), [X86_64]) is None


@pytest.mark.slow
def test_a_long_filter_is_weighed_with_as_many_calls_as_time_allows():
    # Every call passes four thousand instructions.
    steps = "".join("A += 1\n" for _ in range(4000))
    program = assemble(f"A = sys_number\n{steps}return ALLOW")
    graph = drawing(program, [X86_64], from_program(assemble("return ALLOW")))
    assert 0 < graph.sampled < graph.samples
    assert graph.boxes[0].calls == graph.sampled
