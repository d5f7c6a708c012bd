"""The compiled form on disk: what is written is read, and nothing else is."""

import random

import pytest

from compiler_support import artifact
from seclude.compiler.artifact import Artifact
from seclude.errors import InputError


def test_written_and_read():
    assert Artifact.from_bytes(artifact().to_bytes()) == artifact()
    assert artifact() != artifact(overrides=[])
    assert Artifact.from_bytes(artifact(sources=[("a\udcff", "b")], overrides=(), summary={}).to_bytes()).sources == (("a\udcff", "b"),)


def test_fields_do_not_run_together():
    assert artifact(overrides=[("ab", "c")]).to_bytes() != artifact(overrides=[("a", "bc")]).to_bytes()


def test_any_damage_is_noticed():
    raw = artifact().to_bytes()
    rnd = random.Random(0)
    for position in range(len(raw)):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << rnd.randrange(8)
        with pytest.raises(InputError):
            Artifact.from_bytes(bytes(damaged))


@pytest.mark.parametrize("cut", [0, 5, 8, 12, 100, -1, -9])
def test_a_part_is_refused(cut):
    with pytest.raises(InputError):
        Artifact.from_bytes(artifact().to_bytes()[:cut])


def test_more_is_refused():
    with pytest.raises(InputError):
        Artifact.from_bytes(artifact().to_bytes() + b"\0")
