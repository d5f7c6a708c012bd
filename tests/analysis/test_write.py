"""Forms that are written, and what filters on top of each other amount to."""

from __future__ import annotations

import pytest

from seclude.abi import arch
from seclude.analysis.summary import summary
from seclude.analysis.write import write
from seclude.bpf import assemble
from seclude.errors import FilterError, UsageError


def test_an_unknown_form_is_refused():
    with pytest.raises(UsageError, match="unknown form"):
        write(assemble("return ALLOW"), "elf")


def test_stacks_are_taken_together():
    first = assemble(
        "A = arch\nif (A != ARCH_X86_64) goto bad\nA = sys_number\nif (A == ptrace) goto no\nreturn ALLOW\nno: return ERRNO(1)\nbad: return KILL_PROCESS"
    )
    second = assemble(
        "A = sys_number\nif (A != x86_64.socket) goto ok\nA = args[0]\nif (A == 1) goto ok\nreturn ERRNO(EACCES)\nok: return ALLOW"
    )
    found = summary([first, second])
    one = next(one for one in found.architectures if one.arch == "x86_64")
    assert one.calls["ERRNO(EPERM)"] == ("ptrace",)
    assert one.calls["depends on arguments"] == ("socket",)
    assert "read" in one.calls["ALLOW"]
    assert found.foreign == "KILL_PROCESS"
    assert "ptrace" in found.text()
    assert found.as_json()["other_architectures"] == "KILL_PROCESS"


def test_a_filter_that_does_not_look_at_the_architecture():
    found = summary([assemble("A = sys_number\nif (A == 5) goto no\nreturn ALLOW\nno: return KILL", arch="x86_64")], [arch("aarch64")])
    (one,) = found.architectures
    assert one.arch == "aarch64"
    assert one.calls["KILL_THREAD"] == ("setxattr",)
    assert found.foreign == "depends on the call"
    assert summary([assemble("return LOG")]).text() == "every call: LOG\n"


def test_programs_that_would_not_load_have_no_meaning():
    with pytest.raises(FilterError):
        summary([assemble("A = 1")])


def test_public_names_all_exist():
    from seclude import analysis

    for name in analysis.__all__:
        assert getattr(analysis, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        analysis.nonsense  # noqa: B018 - the access is the test
