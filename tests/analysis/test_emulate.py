"""One call put to a filter: reading the call, the trace, and the bitmap."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf_support import byteorders, loadable
from seclude.abi import ARCHITECTURES, arch
from seclude.analysis.emulate import emulate, trace_text
from seclude.bpf import Program, assemble, run
from seclude.bpf.trace import trace
from seclude.decision.asked import read_call
from seclude.errors import FilterError, UsageError

X86_64 = arch("x86_64")
words = st.lists(st.one_of(st.integers(0, 0xFFFFFFFF), st.sampled_from([0, 1, 0x40000000, 0xC000003E])), min_size=16, max_size=16)


@pytest.mark.slow
@given(loadable(), words, byteorders)
def test_the_two_machines_agree(program, data, order):
    """`trace` and `run` are written apart: each step's value and the count must be the same."""
    program = Program(program, order)
    steps = list(trace(program, data))
    assert (steps[-1].result, len(steps)) == run(program, data)
    assert [step.next for step in steps[:-1]] == [step.pc for step in steps[1:]]
    assert all(0 <= step.a <= 0xFFFFFFFF and 0 <= step.x <= 0xFFFFFFFF for step in steps)


def test_a_program_that_would_not_load_is_refused():
    with pytest.raises(FilterError, match="not a RET"):
        emulate(assemble("A = 1"), read_call(X86_64, "read"))


@pytest.mark.parametrize(
    ("call", "arguments", "args", "text"),
    [
        ("read", [], (0, 0, 0, 0, 0, 0), "read(0, NULL, 0)"),
        ("socket", ["AF_INET", "SOCK_STREAM|SOCK_CLOEXEC"], (2, 0o2000001, 0, 0, 0, 0), "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0)"),
        ("socket", ["domain=AF_UNIX"], (1, 0, 0, 0, 0, 0), "socket(AF_UNIX, 0x0, 0)"),
        ("mmap", ["0", "4096", "PROT_READ", "MAP_PRIVATE", "-1", "0"], (0, 4096, 1, 2, 0xFFFFFFFF, 0), None),
        ("openat", ["AT_FDCWD", "0x1000", "flags=O_RDONLY"], (0xFFFFFF9C, 0x1000, 0, 0, 0, 0), None),
        ("openat", ["arg0=-1"], (0xFFFFFFFFFFFFFFFF, 0, 0, 0, 0, 0), None),
        ("fchmod", ["3", "0644"], (3, 0o644, 0, 0, 0, 0), None),
        ("kill", ["1", "SIGKILL"], (1, 9, 0, 0, 0, 0), "kill(1, SIGKILL)"),
        ("lseek", ["0", "-1", "SEEK_SET"], (0, 0xFFFFFFFFFFFFFFFF, 0, 0, 0, 0), None),
        ("41", ["AF_UNIX"], (1, 0, 0, 0, 0, 0), "socket(AF_UNIX, 0x0, 0)"),
        ("0x1000", ["1", "-2"], (1, 0xFFFFFFFFFFFFFFFE, 0, 0, 0, 0), None),
        ("open", ["NULL"], (0, 0, 0, 0, 0, 0), None),
    ],
)
def test_calls_are_read(call, arguments, args, text):
    asked = read_call(X86_64, call, arguments)
    assert asked.args == args
    if text is not None:
        assert asked.text == text


def test_values_lie_where_the_architecture_puts_them():
    x86 = read_call(arch("x86"), "pread64", ["3", "0x1000", "16", "0x100000002"])
    assert x86.args[3:5] == (2, 1)
    arm = read_call(arch("arm"), "pread64", ["3", "0x1000", "16", "0x100000002"])
    assert arm.args[3:6] == (0, 2, 1)
    mips = read_call(arch("mips"), "truncate64", ["0x1000", "0x100000002"])
    assert mips.args[2:4] == (1, 2)
    assert read_call(arch("x86"), "lseek", ["arg0=-1"]).args[0] == 0xFFFFFFFF
    x32 = read_call(arch("x32"), "read")
    assert (x32.nr, x32.words()[:2]) == (0x40000000, (0x40000000, 0xC000003E))


@pytest.mark.parametrize(
    ("call", "arguments", "said"),
    [
        ("opennat", [], "did you mean 'openat'"),
        ("read", ["0", "0", "0", "0"], "one more"),
        ("openat", ["AT_FDCWD", "/etc/passwd"], "a filter sees the address alone"),
        ("openat", ["pathname=/etc/passwd"], "a filter sees the address alone"),
        ("socket", ["AF_INTE"], "did you mean 'AF_INET"),
        ("socket", ["domian=1"], "did you mean 'domain'"),
        ("socket", ["0x100000000"], "does not fit in the 32 bits"),
        ("socket", ["1 2"], "unexpected '2'"),
        ("socket", [""], "expected a number"),
        ("read", ["arg0=0x10000000000000000"], "64 bits"),
        ("4294967296", [], "32 bits"),
        ("socket", ["1/0"], "division by zero"),
        ("0xfff", ["1"] * 7, "at most six"),
    ],
)
def test_what_cannot_be_meant(call, arguments, said):
    with pytest.raises(UsageError) as error:
        read_call(X86_64, call, arguments)
    assert said in str(error.value)


@pytest.mark.slow
@given(st.sampled_from(ARCHITECTURES), st.sampled_from(["read", "openat", "clone", "9", "-1"]), st.lists(st.text(max_size=12), max_size=7))
def test_any_words_are_a_call_or_an_error(name, call, arguments):
    with contextlib.suppress(UsageError):
        assert len(read_call(arch(name), call, arguments).words()) == 16


FILTER = assemble(
    "A = arch\nif (A != ARCH_X86_64) goto bad\nA = sys_number\nif (A == read) goto ok\nif (A == write) goto look\nX = 5\nA += X\n"
    "bad: return KILL\nlook: A = args[0]\nmem[2] = A\nA = 0\nA = mem[2]\nif (A == 1) goto ok else goto bad2\nok: return ALLOW\nbad2: return ERRNO(9)"
)


def test_traces_show_registers():
    emulation = emulate(FILTER, read_call(X86_64, "write", ["1"]))
    assert (emulation.action, emulation.meaning) == ("ALLOW", "the call runs")
    shown = trace_text(FILTER, emulation)
    assert "mem[2] = 0x1" in shown
    assert "if (A == read)" in shown
    assert "A is 0x1: on to 0004" in shown
    other = trace_text(FILTER, emulate(FILTER, read_call(X86_64, "close")))
    assert "X = 0x5" in other
    assert "A = 0x8" in other


@pytest.mark.parametrize(
    ("name", "call", "cached", "why"),
    [
        ("x86_64", "read", True, "decide alone"),
        ("x86_64", "write", False, "looks at args[0]"),
        ("x86_64", "close", False, "does not follow"),
        ("x86", "read", False, "only a plain ALLOW"),
        ("x32", "read", False, "x32"),
        ("x86_64", "0xffffffff", False, "no call with this number"),
        ("x86_64", "3999", False, "tables name no call"),
    ],
)
def test_the_bitmap(name, call, cached, why):
    emulation = emulate(FILTER, read_call(arch(name), call))
    assert emulation.cached is cached
    assert why in emulation.why
