"""A log file: its lines, its rotation, its owner, and what is said when a line cannot be written."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat

import pytest

from seclude.errors import UsageError
from seclude.sandbox.journal import SCHEMA, Journal, size_of


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_an_object_with_its_schema_and_time(tmp_path):
    path = tmp_path / "log"
    journal = Journal(str(path))
    journal.write("denied", call="mkdir", text='mkdir("\x1b[31m\udcff")', where="", limit=None)
    journal.close()
    (line,) = lines(path)
    assert (line["v"], line["event"], line["call"]) == (SCHEMA, "denied", "mkdir")
    assert line["time"] > 1e9
    assert "where" not in line
    assert "limit" not in line
    assert path.read_bytes().isascii()
    assert b"\x1b" not in path.read_bytes()


def test_the_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "log"
    path.touch(0o644)
    before = os.umask(0)
    try:
        Journal(str(path)).close()
        Journal(str(tmp_path / "new")).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["fifo", "symlink", "link", "directory", "missing"])
def test_other_kinds_of_files_are_refused(tmp_path, kind):
    path = tmp_path / "log"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "link":
        (tmp_path / "first").touch()
        path.hardlink_to(tmp_path / "first")
    elif kind == "directory":
        path.mkdir()
    else:
        path = tmp_path / "no" / "log"
    with pytest.raises(UsageError, match=r"^--log |log"):
        Journal(str(path))


def test_a_symbolic_link_is_told_to_be_one(tmp_path):
    """The kernel says "Too many levels of symbolic links", and a directory that can be written is no remedy."""
    path = tmp_path / "log"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="it is a symbolic link"):
        Journal(str(path))
    assert not (tmp_path / "elsewhere").exists()


def test_a_large_file_is_rotated_and_the_oldest_go(tmp_path):
    path = tmp_path / "log"
    journal = Journal(str(path), size=4096, keep=2)
    for number in range(400):
        journal.write("call", number=number)
    journal.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    numbers = [line["number"] for name in ("log.2", "log.1", "log") for line in lines(tmp_path / name)]
    assert numbers == list(range(numbers[0], 400))
    assert all(one.stat().st_size <= 4096 for one in tmp_path.iterdir())


def test_none_kept(tmp_path):
    journal = Journal(str(tmp_path / "log"), size=4096, keep=0)
    for number in range(200):
        journal.write("call", number=number)
    journal.close()
    assert [one.name for one in tmp_path.iterdir()] == ["log"]
    assert lines(tmp_path / "log")[-1]["number"] == 199


def test_who_finds_the_file_rotated_by_another_goes_on_in_the_new_one(tmp_path):
    path = tmp_path / "log"
    first, second = Journal(str(path), size=4096, keep=9), Journal(str(path), size=4096, keep=9)
    for number in range(300):
        (first if number % 2 else second).write("call", number=number)
    first.close()
    second.close()
    found = [line["number"] for one in tmp_path.iterdir() for line in lines(one)]
    assert sorted(found) == list(range(300))


def test_losses_are_counted_and_written_when_there_is_room_again(tmp_path):
    """A full disk, made by a limit on the size of files; the write that is cut leaves no broken line in the middle."""
    path = tmp_path / "log"
    journal = Journal(str(path))
    journal.write("call", number=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
        for number in (1, 2, 3):
            journal.write("call", number=number)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    journal.write("call", number=4)
    journal.close()
    first, torn, lost, last = path.read_text().splitlines()
    assert json.loads(first)["number"] == 0
    assert len(torn) == 20
    assert (json.loads(lost)["event"], json.loads(lost)["count"]) == ("lost", 3)
    assert json.loads(last)["number"] == 4
    assert journal.lost == 3


def test_a_closed_log_takes_no_more(tmp_path):
    journal = Journal(str(tmp_path / "log"))
    journal.close()
    journal.close()
    journal.write("call")
    assert journal.lost == 1


@pytest.mark.parametrize(("text", "size"), [("4096", 4096), ("16M", 16 << 20), ("64k", 65536), ("1GiB", 1 << 30), ("1T", 1 << 40)])
def test_sizes(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "12", "big", "1X", "9" * 30, "\u0664k"])
def test_what_is_no_size(text):
    with pytest.raises(UsageError, match="--log-size"):
        size_of(text)
