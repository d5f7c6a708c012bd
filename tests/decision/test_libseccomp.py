"""Filters that libseccomp made of Docker's profile, where its Python binding is installed: read, compared, improved, written down."""

import json
import sys

import pytest

from bench_support import DOCKER
from seclude.bpf import Program
from seclude.cli.main import main
from seclude.decision import bypass, difference, from_policy, from_program, subset
from seclude.decision.changes import changes
from seclude.decision.decompile import decompile
from seclude.policy import parse
from support import need_system_module, run

BUILDER = r"""
import json, sys, seccomp
rules = json.load(sys.stdin)["rules"]
for level in (1, 2):
    f = seccomp.SyscallFilter(seccomp.ERRNO(1))
    f.set_attr(seccomp.Attr.CTL_OPTIMIZE, level)
    f.add_arch(seccomp.Arch.X86)
    f.add_arch(seccomp.Arch.X32)
    for action, name, conditions in rules:
        if name == "ptrace" and "--without" in sys.argv:
            continue
        args = [seccomp.Arg(i, getattr(seccomp, op), *([v] if op != "MASKED_EQ" else [v, w])) for i, op, v, w in conditions]
        try:
            f.add_rule(seccomp.ALLOW if action == "ALLOW" else seccomp.ERRNO(38), name, *args)
        except (RuntimeError, ValueError):
            pass  # a name that this version does not know
    with open(sys.argv[level], "wb") as out:
        f.export_bpf(out)
"""


@pytest.fixture(scope="module")
def filters(tmp_path_factory):
    """Paths of four filters: O1 and O2, and the same without ptrace."""
    interpreter = need_system_module("seccomp", "python3-seccomp")
    place = tmp_path_factory.mktemp("libseccomp")
    paths = [place / name for name in ("o1", "o2", "o1-less", "o2-less")]
    for pair, flags in ((paths[:2], []), (paths[2:], ["--without"])):
        done = run([interpreter, "-c", BUILDER, *map(str, pair), *flags], stdin=json.dumps(DOCKER))
        assert done.status == 0, str(done)
    return paths


def decision(path):
    return from_program(Program.from_bytes(path.read_bytes(), sys.byteorder))


def test_both_optimisation_levels_mean_the_same(filters):
    assert decision(filters[0]) is decision(filters[1])
    assert len(filters[1].read_bytes()) // 8 > 800


def test_a_missing_rule_is_found_at_once(filters):
    a, b = decision(filters[1]), decision(filters[3])
    assert subset(b, a)
    found = changes(difference(a, b))
    assert {(change.arch.name if change.arch else "", str(change.witness)) for change in found} == {
        ("x86_64", "ptrace(PTRACE_TRACEME, 0, 0, 0)"),
        ("x86", "ptrace(PTRACE_TRACEME, 0, 0, 0)"),
        ("x32", "ptrace(PTRACE_TRACEME, 0, 0, 0)"),
    }


def test_the_profiles_own_hole_is_named(filters):
    # Its socket rules keep AF_ALG and AF_VSOCK out by comparing all 64 bits.
    call = bypass(decision(filters[0])).witness()
    assert call is not None
    assert str(call) == "socket(0x100000026 = AF_ALG after the kernel drops the high word, SOCK_STREAM, 0)"


def test_the_circle_closes(filters):
    d = decision(filters[1])
    assert from_policy(parse(str(decompile(d)))) is d


@pytest.mark.slow
def test_optimize_and_fuse(filters, tmp_path, capsys):
    before = len(filters[1].read_bytes()) // 8
    assert main(["optimize", str(filters[1]), "-o", str(tmp_path / "out")]) == 0
    err = capsys.readouterr().err
    assert f"before: {before} instructions" in err
    assert len((tmp_path / "out").read_bytes()) // 8 < before / 3
    assert decision(tmp_path / "out") is decision(filters[1])
    assert main(["fuse", str(filters[1]), str(filters[3]), "-o", str(tmp_path / "fused")]) == 0
    assert decision(tmp_path / "fused") is decision(filters[3])
