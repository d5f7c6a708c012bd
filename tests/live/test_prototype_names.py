"""Parameters against the kernel's own metadata: tracefs events/syscalls, which SYSCALL_DEFINE fills."""

from __future__ import annotations

import importlib.util
import platform
import re
import subprocess

import pytest

from seclude.abi.prototypes import prototype
from support import ROOT, missing, need_root

pytestmark = [pytest.mark.live, pytest.mark.skipif(platform.machine() != "x86_64", reason="the metadata are those of the native entry")]

WIDTHS = {
    "umode_t": 16,
    "int": 32,
    "unsigned int": 32,
    "unsigned": 32,
    "u32": 32,
    "pid_t": 32,
    "long": 64,
    "unsigned long": 64,
    "size_t": 64,
}


def reader():
    """tools/abi_kernel_signatures.py as a module."""
    specification = importlib.util.spec_from_file_location("abi_kernel_signatures", ROOT / "tools" / "abi_kernel_signatures.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def signatures(tmp_path_factory):
    """The running kernel's signatures, from a tracefs of our own, which nothing else sees or leaves behind."""
    need_root()
    place = tmp_path_factory.mktemp("tracefs")
    if subprocess.run(["mount", "-t", "tracefs", "tracefs", place], capture_output=True, check=False).returncode != 0:
        missing("tracefs", "a kernel with CONFIG_FTRACE_SYSCALLS and the right to mount it")
    try:
        events = place / "events" / "syscalls"
        if not events.is_dir():
            missing("events/syscalls in tracefs", "a kernel with CONFIG_FTRACE_SYSCALLS")
        yield reader().signatures(events)
    finally:
        subprocess.run(["umount", place], check=True)


def test_as_many_parameters_with_the_kernels_names_in_its_order(signatures):
    different = {}
    for call, declarations in signatures.items():
        shape = prototype("x86_64", call)
        if shape is None:
            continue  # newer than these tables
        names = [re.split(r"[ *]", declaration)[-1].lstrip("_") for declaration in declarations]
        if "pos_h" in names:
            names.remove("pos_h")  # shifted out on 64-bit kernels: not a parameter of ours
        ours = [{parameter.name, *parameter.aliases} for parameter in shape.parameters]
        if len(ours) != len(names) or any(name not in known for name, known in zip(names, ours, strict=True)):
            different[call] = (names, ours)
    # Renames between kernel versions are no fault of the tables, but there are few of them.
    counts = {call for call, (names, ours) in different.items() if len(names) != len(ours)}
    assert not counts, {call: different[call] for call in counts}
    assert len(different) <= len(signatures) // 20, different


def test_no_parameter_is_wider_than_its_type(signatures):
    """The review may narrow what a C type says, never widen it."""
    for call, declarations in signatures.items():
        shape = prototype("x86_64", call)
        for declaration, parameter in zip(declarations, shape.parameters if shape else (), strict=False):
            type_ = re.sub(r"\s*\w+$", "", declaration).removeprefix("const ")
            if type_ in WIDTHS:
                assert parameter.width <= WIDTHS[type_], (call, parameter)
