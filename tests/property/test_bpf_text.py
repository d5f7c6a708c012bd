"""Laws of the bpf room: what is printed reads back, what is packed unpacks, and nothing given to a reader ends in a traceback."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf_support import anything, byteorders, loadable, near, numbers
from seclude.abi import ARCHITECTURES, arch
from seclude.bpf import (
    BPF_JUMP,
    BPF_STMT,
    Instruction,
    Program,
    assemble,
    check,
    codes,
    constant_allow,
    decode,
    disassemble,
    listing,
    pack_data,
    run,
    validate,
)
from seclude.errors import FilterError, UsageError

pytestmark = pytest.mark.slow

architectures = st.sampled_from([arch(name) for name in ARCHITECTURES])


@st.composite
def dispatching(draw):
    """Programs as filters are: arch compared with tokens, numbers with calls, errnos returned, in any arrangement."""
    first = draw(architectures)
    second = draw(architectures)
    lines = []
    length = draw(st.integers(4, 30))
    for place in range(length):
        ahead = length - place - 1
        of = draw(st.sampled_from([first, second]))
        skip = st.integers(0, min(4, ahead))
        match draw(st.integers(0, 6)):
            case 0:
                lines.append(BPF_STMT(0x20, 4))
            case 1:
                lines.append(BPF_STMT(0x20, 0))
            case 2:
                lines.append(BPF_JUMP(0x15, of.token, draw(skip), draw(skip)))
            case 3 | 4:
                number = draw(st.sampled_from(sorted(of.calls().values())))
                lines.append(BPF_JUMP(draw(st.sampled_from([0x15, 0x15, 0x25, 0x35, 0x45])), number, draw(skip), draw(skip)))
            case 5:
                lines.append(BPF_STMT(0x06, codes.SECCOMP_RET_ERRNO | draw(st.integers(0, 140))))
            case _:
                lines.append(BPF_STMT(0x54, draw(numbers)))
    return Program([*lines, BPF_STMT(0x06, codes.SECCOMP_RET_ALLOW)], draw(byteorders))


@given(st.one_of(loadable(), near(), dispatching(), st.builds(Program, anything, byteorders)))
def test_what_is_disassembled_assembles_to_the_same_bytes(program):
    text = disassemble(program)
    again = assemble(text)
    assert again == program
    assert again.to_bytes() == program.to_bytes()
    assert disassemble(again) == text


@given(st.one_of(dispatching(), st.builds(Program, anything, byteorders)), architectures)
def test_also_with_an_architecture_assumed(program, assumed):
    assert assemble(disassemble(program, assumed)) == program


@given(st.one_of(near(), st.builds(Program, anything, byteorders)))
def test_a_listing_has_a_line_for_each_instruction(program):
    assert len(listing(program).splitlines()) == 2 + len(program)


@given(anything, byteorders)
def test_bytes_round_trip(instructions, byteorder):
    program = Program(instructions, byteorder)
    assert Program.from_bytes(bytes(program), byteorder) == program
    assert decode(program.to_bytes(), byteorder) == list(program)
    other = Program(instructions, "big" if byteorder == "little" else "little")
    assert (other.to_bytes() == program.to_bytes()) == all(
        code == (code & 0xFF) << 8 | code >> 8 and k == int.from_bytes(k.to_bytes(4, "big"), "little") for code, _, _, k in program
    )


@given(loadable(), st.lists(st.integers(0, (1 << 64) - 1), min_size=7, max_size=7), numbers, numbers)
def test_the_same_meaning_in_either_byte_order(program, wide, nr, token):
    """A program whose loads are placed for big-endian data gives the same result on the same logical words."""
    swapped = Program([Instruction(c, t, f, k ^ 4 if c == 0x20 and k >= 8 else k) for c, t, f, k in program], "big")
    words = pack_data(nr, token, wide[0], wide[1:])
    little = Program(program, "little")
    assert run(swapped, words) == run(little, words)
    value, steps = run(little, words)
    assert 0 <= value <= 0xFFFFFFFF
    assert 1 <= steps <= len(program)


@given(dispatching(), architectures, st.integers(0, 500))
def test_constant_allow_is_sound(program, of, nr):
    """Where the emulator says that the filter need not run, running it allows, whatever the arguments."""
    if constant_allow(program, of.token, nr):
        for fill in (0, 0xFFFFFFFFFFFFFFFF, 0x123456789ABCDEF0):
            assert run(program, pack_data(nr, of.token, fill, [fill] * 6))[0] == codes.SECCOMP_RET_ALLOW


@given(st.one_of(near(), st.builds(Program, anything)))
def test_a_program_that_passes_the_check_runs_to_its_end(program):
    if validate(program):
        with pytest.raises(FilterError):
            check(program)
        return
    check(program)
    value, steps = run(program, pack_data(1, 2, 3, [4, 5, 6, 7, 8, 9]))
    assert 0 <= value <= 0xFFFFFFFF
    assert steps <= len(program)


@given(anything)
def test_the_machine_never_ends_in_a_traceback(instructions):
    try:
        run(instructions, pack_data(1, 2, 3, [4, 5, 6, 7, 8, 9]))
    except FilterError:
        assert validate(instructions)


pieces = st.sampled_from([
    "A", "X", "mem", "[", "]", "(", ")", "if", "goto", "else", "next", "return", "=", "==", "!=", "&", "&=", "<<", ">>", "32", "0", "0x", "09",
    "99999999999999999999999", "args", "args_h", "data", "L", "L:", ":", "?", "!", "-", "+", "~", "read", "x32.read", "no.such", "ARCH_X86_64", "ERRNO",
    "EPERM", "ALLOW", ".arch", ".byteorder", ".insn", ",", "#", "\n", "\n", " ", "len", "sys_number", "\x00", "é", "||", "x86_64",
])  # fmt: skip


@given(st.one_of(st.lists(pieces, max_size=40).map(" ".join), st.text(max_size=80)))
def test_any_text_assembles_or_is_refused_with_places(text):
    try:
        program = assemble(text, file="t.asm")
    except FilterError as error:
        for fault in error.diagnostics:
            assert fault.span is not None
            assert 1 <= fault.span.line <= text.count("\n") + 1
            assert 1 <= fault.span.column <= len(fault.span.source) + 1
            assert str(fault).startswith(f"t.asm:{fault.span.line}:{fault.span.column}: ")
    else:
        assert assemble(disassemble(program)) == program


@given(st.binary(max_size=64), byteorders)
def test_any_bytes_are_a_program_or_are_refused(raw, byteorder):
    if len(raw) % 8:
        with pytest.raises(FilterError, match="offset"):
            Program.from_bytes(raw, byteorder)
    else:
        assert Program.from_bytes(raw, byteorder).to_bytes() == raw


def test_an_unknown_byte_order_is_the_callers_fault():
    for call in (
        lambda: Program([], "middle"),
        lambda: decode(b"", "middle"),
        lambda: assemble("", byteorder="middle"),
        lambda: run([(6, 0, 0, 0)], [], "middle"),
    ):
        with pytest.raises(UsageError, match="middle"):
            call()
