"""The validator, the machine, the lengths and the constant-allow emulator against the running kernel."""

from __future__ import annotations

import errno
import signal
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bpf_support import Loader, instructions, loadable, mutated, near, numbers
from seclude.abi import native
from seclude.bpf import codes
from seclude.bpf.lengths import converted_length, path_length
from seclude.bpf.machine import constant_allow, pack_data, run
from seclude.bpf.program import BPF_JUMP, BPF_STMT, Instruction, Program
from seclude.bpf.validator import validate
from support import NOBODY, need_root

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux", reason="loads filters"),
]

RET_ALLOW = Instruction(0x06, 0, 0, codes.SECCOMP_RET_ALLOW)


#: The same programs on every run: what fails here is a change of ours, or another kernel.
def fixed(examples):
    return settings(derandomize=True, deadline=None, database=None, max_examples=examples)


@pytest.fixture(scope="module", params=["root", "nobody"])
def loader(request):
    if request.param == "root":
        need_root()
    with Loader(nobody=request.param == "nobody") as started:
        assert (started.user() == 0) == (request.param == "root")
        yield started


@pytest.fixture(scope="module")
def one_loader():
    with Loader() as started:
        yield started


def test_the_loader_is_who_it_says(loader):
    assert loader.user() in (0, NOBODY)


# Validity


@pytest.mark.slow
def test_every_opcode_alone(loader):
    """All 65536 values of code, followed by a RET and with fields that no rule objects to."""
    programs = [
        Program([Instruction(0x02, 0, 0, 1), Instruction(code, 0, 0, 0 if code == 0x20 else 1), RET_ALLOW, RET_ALLOW])
        for code in range(0x200)
    ]
    programs += [Program([Instruction(code, 0, 0, 1), RET_ALLOW, RET_ALLOW]) for code in range(0x200, 0x10000, 0x7F)]
    assert loader.accepts(programs) == [not validate(program) for program in programs]


@pytest.mark.slow
@fixed(300)
@given(st.one_of(near(), mutated()))
def test_near_valid_programs(one_loader, program):
    assert one_loader.accepts([program]) == [not validate(program)], validate(program)


@pytest.mark.slow
@fixed(150)
@given(loadable())
def test_loadable_programs_are_loaded(one_loader, program):
    assert one_loader.accepts([program]) == [not validate(program)], validate(program)


@fixed(20)
@given(st.lists(near(), min_size=5, max_size=5))
def test_for_an_ordinary_user_the_rules_are_the_same(loader, programs):
    assert loader.accepts(programs) == [not validate(program) for program in programs]


EDGES = {
    "empty": [],
    "too long": [RET_ALLOW] * 4097,
    "as long as can be": [RET_ALLOW] * 4096,
    "division by 0": [BPF_STMT(0x34, 0), RET_ALLOW],
    "shift by 31": [BPF_STMT(0x64, 31), RET_ALLOW],
    "shift by 32": [BPF_STMT(0x74, 32), RET_ALLOW],
    "cell 15": [BPF_STMT(0x02, 15), RET_ALLOW],
    "cell 16": [BPF_STMT(0x03, 16), RET_ALLOW],
    "JA to the last": [BPF_STMT(0x05, 1), RET_ALLOW, RET_ALLOW],
    "JA behind the last": [BPF_STMT(0x05, 2), RET_ALLOW, RET_ALLOW],
    "JA far behind the last": [BPF_STMT(0x05, 0xFFFFFFFF), RET_ALLOW, RET_ALLOW],
    "jt behind the last": [BPF_JUMP(0x15, 0, 2, 0), RET_ALLOW, RET_ALLOW],
    "jf behind the last": [BPF_JUMP(0x15, 0, 0, 2), RET_ALLOW, RET_ALLOW],
    "no RET last": [RET_ALLOW, BPF_STMT(0x00, 0)],
    "RET X last": [BPF_STMT(0x0E, 0)],
    "RET A last": [BPF_STMT(0x16, 0)],
    "load of word 15": [BPF_STMT(0x20, 60), RET_ALLOW],
    "load of word 16": [BPF_STMT(0x20, 64), RET_ALLOW],
    "load between words": [BPF_STMT(0x20, 6), RET_ALLOW],
    "load of an ancillary": [BPF_STMT(0x20, 0xFFFFF000), RET_ALLOW],
    "read of an unwritten cell": [BPF_STMT(0x60, 0), RET_ALLOW],
    "read of a written cell": [BPF_STMT(0x02, 0), BPF_STMT(0x60, 0), RET_ALLOW],
    "written on one branch only": [BPF_JUMP(0x15, 0, 0, 1), BPF_STMT(0x02, 0), BPF_STMT(0x60, 0), RET_ALLOW],
    # RET hands nothing on and forgets nothing: the line behind it, reached by the jump only, must not rely on its own branch.
    "a safe read behind a RET": [BPF_STMT(0x02, 0), BPF_JUMP(0x15, 0, 1, 0), RET_ALLOW, BPF_STMT(0x60, 0), RET_ALLOW],
    "unreachable read behind a RET": [RET_ALLOW, BPF_STMT(0x60, 0), RET_ALLOW],
    "unreachable read behind a JA": [BPF_STMT(0x05, 1), BPF_STMT(0x60, 0), RET_ALLOW],
    # Instruction 4 is reached from 2 only, where the cell is written; the pass comes to it through the RET above.
    "a safe read that is refused": [BPF_JUMP(0x15, 0, 2, 0), BPF_STMT(0x02, 0), BPF_STMT(0x05, 1), RET_ALLOW, BPF_STMT(0x60, 0), RET_ALLOW],
    "unused fields": [Instruction(0x07, 3, 4, 5), Instruction(0x16, 9, 9, 9)],
}


def test_edges_of_the_rules(loader):
    programs = [Program(lines) for lines in EDGES.values()]
    found = dict(zip(EDGES, loader.accepts(programs), strict=True))
    assert found == {name: not validate(program) for name, program in zip(EDGES, programs, strict=True)}


def test_probing_and_loading_agree(loader):
    """The rest of the validity tests ask with a listener that can get no descriptor; here the same programs are installed."""
    for name in ("unused fields", "no RET last", "unreachable read behind a RET", "as long as can be"):
        program = Program(EDGES[name])
        installed, refused = loader.stack([program])
        assert (installed, refused) == ((1, 0) if not validate(program) else (0, errno.EINVAL)), name


# Results


GETPPID = native().number("getppid") if sys.platform == "linux" else 0
OFFSETS = (0, 4, *range(16, 64, 4))
#: which 12 bits of A come back
PIECES = (0, 12, 24)


def readable(body):
    """A program that applies ``body`` to getppid only, and returns 12 bits of A, from the bit that the sixth argument says, as an errno."""
    low_of_last = 56 if sys.byteorder == "little" else 60
    assert GETPPID is not None
    return Program([
        BPF_STMT(0x20, 0),
        BPF_JUMP(0x15, GETPPID, 1, 0),
        RET_ALLOW,
        *[BPF_STMT(0x02, cell) for cell in range(4)],
        *body,
        BPF_STMT(0x02, 15),
        BPF_STMT(0x20, low_of_last),
        BPF_STMT(0x07, 0),
        BPF_STMT(0x60, 15),
        BPF_STMT(0x7C, 0),
        BPF_STMT(0x54, 0xFFF),
        BPF_STMT(0x44, codes.SECCOMP_RET_ERRNO),
        BPF_STMT(0x16, 0),
    ])  # fmt: skip


def expected(value):
    """What a process sees of a filter's result: an errno, 0, or minus a signal."""
    if value & codes.SECCOMP_RET_ACTION_FULL == codes.SECCOMP_RET_ERRNO:
        return min(value & codes.SECCOMP_RET_DATA, 4095)
    assert value in (codes.SECCOMP_RET_ALLOW, codes.SECCOMP_RET_KILL_THREAD), hex(value)
    return 0 if value == codes.SECCOMP_RET_ALLOW else -signal.SIGSYS


@st.composite
def bodies(draw):
    length = draw(st.integers(1, 30))
    lines = []
    for place in range(length):
        if draw(st.integers(0, 12)) == 0:
            lines.append(BPF_STMT(0x06, codes.SECCOMP_RET_ERRNO | draw(st.integers(0, 5000))))
        else:
            lines.append(draw(instructions(length - place - 1, frozenset(range(4)), OFFSETS)))
    return lines


words = st.one_of(numbers, st.integers(0, (1 << 64) - 1), numbers.map(lambda n: n << 32))


@pytest.mark.slow
@fixed(300)
@given(bodies(), st.lists(st.lists(words, min_size=5, max_size=5), min_size=3, max_size=3))
@example([BPF_STMT(0x20, 16), BPF_STMT(0x07, 0), BPF_STMT(0x3C, 0)], [[0, 1, 2, 3, 4], [5, 1, 2, 3, 4], [0xFFFFFFFF, 0, 0, 0, 0]])
@example([BPF_STMT(0x01, 33), BPF_STMT(0x20, 16), BPF_STMT(0x6C, 0)], [[1, 0, 0, 0, 0], [0x80000001, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
@example([BPF_STMT(0x80, 0), BPF_STMT(0x07, 0), BPF_STMT(0x84, 0), BPF_STMT(0x0C, 0)], [[0] * 5] * 3)
def test_results(one_loader, body, arguments):
    program = readable(body)
    assert not validate(program)
    calls = [[*args, piece] for args in arguments for piece in PIECES]
    token = native().token
    assert GETPPID is not None
    values = [run(program, pack_data(GETPPID, token, 0, args))[0] for args in calls]
    assert one_loader.results(program, calls) == [expected(value) for value in values]


@fixed(15)
@given(bodies(), st.lists(words, min_size=5, max_size=5))
def test_results_for_an_ordinary_user_too(loader, body, arguments):
    program = readable(body)
    calls = [[*arguments, piece] for piece in PIECES]
    assert GETPPID is not None
    values = [run(program, pack_data(GETPPID, native().token, 0, args))[0] for args in calls]
    assert loader.results(program, calls) == [expected(value) for value in values]


# Stacks


def deciding(value):
    """A program that returns ``value`` for getppid and allows everything else."""
    assert GETPPID is not None
    return Program([BPF_STMT(0x20, 0), BPF_JUMP(0x15, GETPPID, 0, 1), BPF_STMT(0x06, value), RET_ALLOW])


def outcome(value):
    """What a process sees of a value that getppid ends with, where nobody listens, traces or catches."""
    match value & codes.SECCOMP_RET_ACTION_FULL:
        case codes.SECCOMP_RET_ERRNO:
            return min(value & codes.SECCOMP_RET_DATA, 4095)
        case codes.SECCOMP_RET_ALLOW | codes.SECCOMP_RET_LOG:
            return 0
        case codes.SECCOMP_RET_USER_NOTIF | codes.SECCOMP_RET_TRACE:
            return errno.ENOSYS
        case _:
            return -signal.SIGSYS


verdicts = st.one_of(
    st.builds(lambda n: codes.SECCOMP_RET_ERRNO | n, st.integers(1, 5000)),
    st.sampled_from(
        [codes.SECCOMP_RET_ALLOW, codes.SECCOMP_RET_ALLOW | 5, codes.SECCOMP_RET_TRACE, codes.SECCOMP_RET_USER_NOTIF, codes.SECCOMP_RET_LOG]
    ),
    st.sampled_from(
        [0, 7, codes.SECCOMP_RET_KILL_PROCESS, codes.SECCOMP_RET_TRAP | 3, 0x00040000, 0x7FFD0000, 0x7FFFFFFF, 0xFFFF0000, 0x00060001]
    ),
)


@pytest.mark.slow
@fixed(150)
@given(st.lists(verdicts, min_size=1, max_size=4))
@example([codes.SECCOMP_RET_ERRNO | 1, codes.SECCOMP_RET_ERRNO | 2])
def test_a_stack_decides_as_combine_says(one_loader, values):
    programs = [deciding(value) for value in values]
    assert one_loader.results(programs, [[0] * 6]) == [outcome(codes.combine(reversed(values)))]


# Lengths


def filler(length):
    """A program of that converted length that allows everything."""
    # The prologue is 3, RET K is 2, a JA is 1.
    return Program([*[BPF_STMT(0x05, 0)] * (length - 5), RET_ALLOW])


@st.composite
def jumped_over(draw):
    """Any instructions, jumped over: counted, and never run."""
    length = draw(st.integers(1, 60))
    lines = [draw(instructions(length - place - 1)) if draw(st.integers(0, 9)) else BPF_STMT(0x16, 0) for place in range(length)]
    return Program([BPF_STMT(0x05, length), *lines, RET_ALLOW])


@pytest.mark.slow
@fixed(8)
@given(jumped_over())
@example(
    Program(
        [
            BPF_STMT(0x05, 4),
            BPF_STMT(0x3C, 0),
            BPF_JUMP(0x45, 0x80000000, 0, 1),
            BPF_JUMP(0x15, 0x80000000, 0, 1),
            BPF_JUMP(0x1D, 0, 1, 1),
            RET_ALLOW,
            RET_ALLOW,
        ]
    )
)
def test_the_path_limit_is_met_exactly(one_loader, program):
    """The program and fillers that make 32768 together load; one eBPF instruction more does not."""
    stack = [Program([*program])]
    while codes.MAX_INSNS_PER_PATH - path_length(stack) - 4 > 4100:
        stack.append(filler(4000))
    rest = codes.MAX_INSNS_PER_PATH - path_length(stack) - 4
    assert path_length([*stack, filler(rest)]) == codes.MAX_INSNS_PER_PATH
    assert one_loader.stack([*stack, filler(rest)]) == (len(stack) + 1, 0)
    assert one_loader.stack([*stack, filler(rest + 1)]) == (len(stack), errno.ENOMEM)


SHAPES = {
    "RET only": [RET_ALLOW] * 4096,
    "jumps on equality, both ways": [*[BPF_JUMP(0x15, 7, 1, 1)] * 3000, RET_ALLOW, RET_ALLOW],
    "jumps with a negative constant": [*[BPF_JUMP(0x25, 0x80000000, 1, 1)] * 3000, RET_ALLOW, RET_ALLOW],
    "jumps with one way": [*[BPF_JUMP(0x35, 7, 0, 1)] * 3000, RET_ALLOW, RET_ALLOW],
    "bit tests with the other way": [*[BPF_JUMP(0x45, 7, 0, 1)] * 3000, RET_ALLOW, RET_ALLOW],
    "divisions by X": [BPF_STMT(0x01, 1), *[BPF_STMT(0x3C, 0)] * 2000, RET_ALLOW],
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_how_many_fit(loader, shape):
    program = Program(SHAPES[shape])
    most = 1
    while path_length([program] * (most + 1)) <= codes.MAX_INSNS_PER_PATH:
        most += 1
    assert loader.stack([program] * (most + 1)) == (most, errno.ENOMEM)
    assert converted_length(program) + (most - 1) * (converted_length(program) + 4) <= codes.MAX_INSNS_PER_PATH


# The constant-allow bitmap


PAD = 3000
PREFIXES = {
    "nothing": [],
    "arch and number": [BPF_STMT(0x20, 4), BPF_JUMP(0x15, native().token, 1, 0), BPF_STMT(0x06, 0), BPF_STMT(0x20, 0)],
    "all four tests": [
        BPF_STMT(0x20, 0),
        BPF_JUMP(0x15, 9999, 0, 0),
        BPF_JUMP(0x25, 5, 0, 0),
        BPF_JUMP(0x35, 5, 0, 0),
        BPF_JUMP(0x45, 5, 0, 0),
    ],
    "JA and AND": [BPF_STMT(0x05, 0), BPF_STMT(0x54, 0xFF)],
    "an argument": [BPF_STMT(0x20, 16)],
    "the instruction pointer": [BPF_STMT(0x20, 8)],
    "LD IMM": [BPF_STMT(0x00, 1)],
    "LD LEN": [BPF_STMT(0x80, 0)],
    "LDX IMM": [BPF_STMT(0x01, 1)],
    "ST": [BPF_STMT(0x02, 0)],
    "STX": [BPF_STMT(0x03, 0)],
    "TAX": [BPF_STMT(0x07, 0)],
    "TXA": [BPF_STMT(0x87, 0)],
    "a compare with X": [BPF_JUMP(0x1D, 0, 0, 0)],
    "ADD": [BPF_STMT(0x04, 0)],
    "OR": [BPF_STMT(0x44, 0)],
    "AND with X": [BPF_STMT(0x5C, 0)],
    "an argument on a path not taken": [BPF_STMT(0x20, 0), BPF_JUMP(0x15, 9999, 0, 1), BPF_STMT(0x20, 16)],
}


@pytest.mark.slow
@pytest.mark.skipif(not native().name.startswith("x86"), reason="the cost of a long filter was measured on x86 only")
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("last", ["RET ALLOW", "RET ALLOW with data"])
def test_the_kernel_skips_the_filter_where_we_say(one_loader, prefix, last):
    """The bitmap cannot be read back, but it shows: a filter of 3000 instructions costs a microsecond, or nothing at all."""
    value = codes.SECCOMP_RET_ALLOW | (1 if last.endswith("data") else 0)
    program = Program([*PREFIXES[prefix], *[BPF_STMT(0x54, 0xFFFFFFFF)] * PAD, BPF_STMT(0x06, value)])
    assert GETPPID is not None
    ours = constant_allow(program, native().token, GETPPID)
    for batches in (10, 40, 160):
        before, after = one_loader.cost(program, batches)
        skipped = after - before < 300
        # A busy machine can only make a skipped filter look slow: ask longer before disagreeing.
        if skipped == ours:
            return
    pytest.fail(f"emulator says {ours}; getppid took {before} ns without and {after} ns with the filter")
