"""What commands write: files whole or not at all, and standard output."""

from __future__ import annotations

import os
import stat

import pytest

from seclude.cli.output import write_file
from seclude.errors import UsageError
from support import seclude


def test_a_file_is_replaced_with_its_mode(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_file(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    link = tmp_path / "link"
    link.symlink_to(path)
    write_file(str(link), b"newer")
    assert link.is_symlink()
    assert path.read_bytes() == b"newer"
    assert sorted(os.listdir(tmp_path)) == ["f", "link"]


def test_what_cannot_be_written_is_said_and_left(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        write_file(str(tmp_path / "none" / "f"), b"x")
    with pytest.raises(UsageError, match="is a directory"):
        write_file(str(tmp_path), b"x")
    with pytest.raises(UsageError, match="null"):
        write_file("a\0b", b"x")
    with pytest.raises(UsageError, match="No space left"):
        write_file("/dev/full", b"x")
    write_file("/dev/null", b"x")


@pytest.mark.slow
@pytest.mark.parametrize("words", [("compile",), ("decompile",), ("optimize",), ("report",)])
def test_a_dash_is_standard_output(tmp_path, words):
    done = seclude(*words, "compute", "-o", "-", *(("--emit", "asm") if words[0] in ("compile", "optimize") else ()), cwd=tmp_path)
    assert done.status == 0, str(done)
    assert done.stdout
    assert not list(tmp_path.iterdir())
