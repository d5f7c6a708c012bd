"""What a faulty policy is told: golden/NAME.policy beside golden/NAME.expected.

To renew them after a change of wording: SECLUDE_RENEW_GOLDEN=1 pytest tests/policy/test_golden.py, then read the difference.
"""

import os
from pathlib import Path

import pytest

from seclude.errors import PolicyError
from seclude.policy import parse

GOLDEN = Path(__file__).parent / "golden"


def findings(path: Path) -> str:
    try:
        policy = parse(path.read_bytes(), path.name, native="x86_64")
    except PolicyError as error:
        return f"{error}\n"
    return "".join(f"{note}\n" for note in policy.notes) or "nothing to say\n"


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.policy")))
def test_faults_are_reported_as_written_down(name, monkeypatch):
    monkeypatch.chdir(GOLDEN)
    got = findings(GOLDEN / f"{name}.policy")
    expected = GOLDEN / f"{name}.expected"
    if os.environ.get("SECLUDE_RENEW_GOLDEN"):
        expected.write_text(got)
    assert got == expected.read_text()
