"""Laws of lint and explain on random filters, and of the OCI reader on random documents."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_support import random_lowered, random_program
from seclude import abi
from seclude.analysis.explain import explain
from seclude.analysis.lint import lint
from seclude.bpf import Program, validate
from seclude.decision import from_policy, from_program
from seclude.errors import BudgetError, InputError
from seclude.formats import Profile, detect, read

HOME = abi.arch("x86_64")


def _random(seed):
    rnd = random.Random(seed)
    if seed % 2:
        return from_policy(random_lowered(rnd, tokens=(0xC000003E, 0x40000003)[: 1 + seed % 3 % 2])), []
    program = Program(tuple(random_program(rnd, rnd.randrange(4, 16))), "little")
    return (None, []) if validate(program) else (from_program(program), [program])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_every_witness_is_what_it_is_said_to_be(seed):
    try:
        decision, programs = _random(seed)
    except BudgetError:
        return
    if decision is None:
        return
    for finding in lint(decision, programs, home=HOME).findings:
        assert finding.witness is None or decision.value(finding.witness.words) == finding.value
    if seed % 2:
        for way in explain(decision, home=HOME).ways:
            assert decision.value(way.witness.words) == way.value


_WORDS = st.sampled_from(
    [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_NOTIFY",
        "SCMP_ARCH_X86",
        "SCMP_CMP_EQ",
        "SCMP_CMP_MASKED_EQ",
        "read",
        "socket",
        "",
        "nothing",
    ]
)
_KEYS = st.sampled_from(
    [
        "defaultAction",
        "defaultErrnoRet",
        "architectures",
        "flags",
        "syscalls",
        "names",
        "action",
        "errnoRet",
        "args",
        "index",
        "value",
        "valueTwo",
        "op",
        "x",
    ]
)
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1 << 65) | st.floats(allow_nan=False) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(_DOCUMENTS, st.sampled_from(["runc", "crun"]))
def test_any_document_is_read_or_refused(document, runtime):
    raw = json.dumps(document).encode()
    detect(raw)
    try:
        found = read(raw, "p.json", format="oci", runtime=runtime, native="x86_64")
    except InputError:
        return
    assert isinstance(found, Profile)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw):
    detect(raw)
    with pytest.raises(InputError):
        read(raw, "p.json", format="oci", native="x86_64")
