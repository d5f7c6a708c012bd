"""The model against the running kernel: the same random operations to both, and everything that can be seen compared after each."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

import run_support as runs
import support
from seclude.errors import UsageError
from seclude.model import KernelModel

pytestmark = [pytest.mark.live, pytest.mark.slow]

HERE = Path(__file__).parent
SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
#: operations as root: those of a run of the tests, and those of a soak
OPERATIONS = 200_000 if SOAK else 20_000


@pytest.fixture(scope="module")
def puppet():
    if os.uname().machine != "x86_64":
        pytest.skip("the puppets speak x86-64")
    try:
        KernelModel(os.uname().release)
    except UsageError as error:
        pytest.skip(str(error))
    return runs.c_program((HERE / "puppet.c").read_text(), "-pthread", "-Wno-infinite-recursion")


@pytest.mark.parametrize(("who", "operations"), [("caller", OPERATIONS), ("nobody", OPERATIONS // 10)])
def test_the_model_says_what_the_kernel_does(puppet, who, operations):
    """Twenty thousand operations, the same ones each time; ``make soak`` takes ten times as many, and others."""
    if who == "nobody" and os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    place = runs.public() / "puppet"
    if not place.exists():
        shutil.copy(puppet, place)
        place.chmod(0o755)
    seed = str(int(time.time()) if SOAK else 1000)
    done = support.run(
        [sys.executable, str(HERE / "differential.py"), str(place), str(operations), seed, who],
        env={"PYTHONPATH": os.pathsep.join((str(support.ROOT / "src"), str(support.ROOT / "tests")))}, timeout=3600 if SOAK else 400,
    )  # fmt: skip
    assert done.status == 0, str(done)[-20_000:]
    compared = re.search(r"^(\d+) operations agree", done.stdout)
    assert compared, str(done)
    assert int(compared[1]) >= operations
    kinds = {name.strip(): number for name, number in re.findall(r"([a-z ]+)=(\d+)", done.stdout.splitlines()[1])}
    assert len(kinds) > 25, kinds
    for kind in ("load", "probe", "receive", "send", "addfd", "kill", "clone", "fork", "close", "wait", "dispatched"):
        assert int(kinds[kind]) > operations // 500, kinds
