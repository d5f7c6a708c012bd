"""Coverage-guided fuzzing of what reads other people's bytes: programs, assembly text, policies, container profiles.

A bounded, repeatable number of inputs by default; with ``HYPOTHESIS_PROFILE=soak`` new ones for `SOAK_SECONDS` a target. Where a run fails,
its output ends with the input in Base64: it becomes a named test in the room at fault, and a file in ``tests/fuzz/corpus`` if it opens new ground.
"""

import importlib.util
import os
import platform
import sys

import pytest

from fuzz_support import TARGETS, seeds
from support import missing, run

HARNESS = os.path.join(os.path.dirname(__file__), "harness.py")
SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
SOAK_SECONDS = int(os.environ.get("FUZZ_SECONDS", "900"))
#: inputs in the bounded form: one or two seconds each
RUNS = {"program": 500, "assembler": 300, "policy": 600, "oci": 3000}
#: seconds on the clock for one input (a run of the tests may share the machine with others), MiB for the process; libFuzzer's own
LIMITS = ["-timeout=5" if SOAK else "-timeout=60", "-rss_limit_mb=512"]


def _need_atheris():
    if importlib.util.find_spec("atheris"):
        return
    if platform.machine() != "x86_64" or sys.version_info >= (3, 14) or sys.implementation.name != "cpython":
        # The condition in pyproject.toml: nothing to install, so nothing that CI could have forgotten.
        pytest.skip("atheris has no wheel for this Python on this machine")
    missing("atheris", "pip install --group test")


def _fuzz(target, place, *options, timeout=400.0):
    command = [sys.executable, HARNESS, target, place, *LIMITS, f"-artifact_prefix={place}/", *options]
    # Set iteration takes part in what coverage says, and so in which inputs come next.
    return run(command, cwd=place, env={"PYTHONHASHSEED": "0"}, timeout=timeout)


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed_keeps_the_promises(target):
    for name, raw in seeds(target).items():
        try:
            TARGETS[target].body(raw)
        except Exception as error:
            error.add_note(f"with the seed {name}")
            raise


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_ends_in_a_traceback_or_a_hang_or_grows(target, tmp_path):
    _need_atheris()
    if SOAK:
        done = _fuzz(target, tmp_path, f"-max_total_time={SOAK_SECONDS}", timeout=SOAK_SECONDS + 120)
    else:
        done = _fuzz(target, tmp_path, "-seed=1", f"-runs={RUNS[target]}")
    assert done.status == 0, str(done)
    assert "DONE" in done.stderr, str(done)
    # Coverage is there, and guided: inputs beyond the seeds were worth keeping.
    assert len(list((tmp_path / "corpus").iterdir())) > len(seeds(target)) + 20
