"""Handlers by name: what a file says now is what decides."""

from __future__ import annotations

import os
import sys

import support

HANDLER = """from seclude.supervise import Deny, handler

@handler("getpgid", may={{Deny}})
def decide(call): return Deny("{}")
"""


def test_a_file_that_was_changed_in_the_same_second_is_read_again(tmp_path):
    """As many bytes, and no later by its date: an import would have taken the compiled file of before."""
    file = tmp_path / "mine.py"
    seen = []
    for name in ("EACCES", "EBADFD"):
        file.write_text(HANDLER.format(name))
        os.utime(file, (1_700_000_000, 1_700_000_000))
        code = "from seclude.sandbox.handler_names import load_handlers; print(load_handlers(['./mine.py:decide'])[0].function(None).errno)"
        done = support.run([sys.executable, "-c", code], cwd=tmp_path)
        assert done.status == 0, str(done)
        seen.append(done.stdout.strip())
    assert seen == ["EACCES", "EBADFD"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mine.py"]
