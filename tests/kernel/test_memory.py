"""Another process's memory: written whole or not at all as far as can be told, and never by a number that may be another's."""

from __future__ import annotations

import ctypes
import mmap
import os

import pytest

from seclude.kernel import memory


@pytest.fixture
def page():
    """A page of ours, with its address; two are mapped, and the second cannot be written."""
    size = mmap.PAGESIZE
    with mmap.mmap(-1, 2 * size) as mapped:
        view = ctypes.c_char.from_buffer(mapped)
        address = ctypes.addressof(view)
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + size), size, mmap.PROT_READ) == 0
        yield mapped, address
        del view


def test_what_is_written_is_there_and_nothing_else(page):
    mapped, address = page
    assert memory.write(os.getpid(), address + 16, b"seclude") is True
    assert mapped[:32] == b"\0" * 16 + b"seclude" + b"\0" * 9
    assert memory.write(os.getpid(), address + 16, b"handler", lambda: True) is True
    assert mapped[16:23] == b"handler"
    assert memory.write(os.getpid(), 0, b"") is True


@pytest.mark.parametrize("address", [0, 8, -1, 1 << 63, 1 << 64])
@pytest.mark.parametrize("still", [None, lambda: True])
def test_where_nothing_is_mapped_nothing_is_written(address, still):
    assert memory.write(os.getpid(), address, b"x", still) is False


def test_a_held_thread_is_written_only_where_it_could_write_itself(page):
    mapped, address = page
    assert memory.write(os.getpid(), address + mmap.PAGESIZE, b"x") is False
    assert memory.write(os.getpid(), address + mmap.PAGESIZE - 1, b"xy") is False
    assert mapped[mmap.PAGESIZE] == 0


def test_memory_that_is_not_the_askers_any_more_is_not_touched(page):
    mapped, address = page
    asked = []

    def gone():
        asked.append(mapped[0])
        return False

    assert memory.write(os.getpid(), address, b"x", gone) is None
    assert asked == [0]
    assert mapped[0] == 0
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert memory.write(child, address, b"x", gone) is None
    assert memory.write(child, address, b"x") is False
