"""Constants of every architecture against the headers installed on this machine, compiled anew."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from seclude.abi.constants import constants, errors
from support import ROOT, need_header, need_program

_specification = importlib.util.spec_from_file_location("make_constants", ROOT / "tools" / "make_constants.py")
assert _specification is not None
assert _specification.loader is not None
generator = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(generator)


@pytest.mark.slow
@pytest.mark.parametrize("target", generator.TARGETS)
def test_headers_agree(target):
    need_program("gcc")
    directory = Path(generator.TARGETS[target][0])
    need_header(directory / "linux" / "prctl.h", "the linux-libc-dev-*-cross package of this architecture")
    need_header("/usr/include/x86_64-linux-gnu/gnu/stubs-32.h", "gcc-multilib")
    seen = generator.values(target)
    ours = constants(target)
    # What tools/abi_constants.txt sets on purpose is not the headers' to say.
    own = {name for where, name, _ in generator.more() if where}
    assert len(seen) > 1500
    assert {name: (value, ours[name]) for name, value in seen.items() if name in ours and name not in own and value != ours[name]} == {}
    assert len(seen.keys() - ours.keys()) < 300, "newer headers than the tables': run tools/make_constants.py"
    assert {
        name: (number, errors(target).get(name)) for name, number in generator.errors(target).items() if errors(target).get(name) != number
    } == {}
