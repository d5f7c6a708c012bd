"""The cache: only its owner's, authenticated, whole entries or none."""

import os

import pytest

from compiler_support import artifact
from seclude.compiler.cache import LIMIT, Cache, digest, directory

NAME = digest([b"x"])


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "cache" / "seclude")


def entry(place, name=NAME):
    return os.path.join(place, name + ".filter")


def test_what_is_put_is_got(place):
    with Cache(place) as cache:
        assert not cache.refused
        assert cache.get(NAME) is None
        assert cache.put(NAME, artifact())
        assert cache.get(NAME) == artifact()
    with Cache(place) as again:
        assert again.get(NAME) == artifact()
    assert os.stat(place).st_mode & 0o777 == 0o700
    assert all(os.stat(os.path.join(place, file)).st_mode & 0o777 == 0o600 for file in os.listdir(place))
    assert not [file for file in os.listdir(place) if file.startswith(".")]


def test_fields_of_a_key_are_delimited():
    assert digest([b"ab", b"c"]) != digest([b"a", b"bc"]) != digest([b"abc"])


@pytest.mark.parametrize("mode", [0o750, 0o707, 0o770, 0o1777])
def test_a_directory_open_to_others_is_refused(place, mode):
    os.makedirs(place)
    os.chmod(place, mode)
    with Cache(place) as cache:
        assert "open to other users" in cache.refused
        assert not cache.put(NAME, artifact())
        assert cache.get(NAME) is None
    assert os.listdir(place) == []


def test_a_link_in_its_place_is_refused(place, tmp_path):
    os.makedirs(os.path.dirname(place))
    os.mkdir(tmp_path / "elsewhere", 0o700)
    os.symlink(tmp_path / "elsewhere", place)
    with Cache(place) as cache:
        assert cache.refused


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_another_users_directory_is_refused(place):
    os.makedirs(place, 0o700)
    os.chown(place, 65534, 65534)
    with Cache(place) as cache:
        assert "belongs to user 65534" in cache.refused


def test_damaged_and_forged_entries_are_ignored_and_removed(place):
    with Cache(place) as cache:
        cache.put(NAME, artifact())
        with open(entry(place), "rb") as file:
            whole = file.read()
        for bad in (b"", whole[:-1], whole[:20] + b"!" + whole[21:], whole[:-9] + b"!" + whole[-8:], artifact().to_bytes()):
            with open(entry(place), "wb") as file:
                file.write(bad)
            assert cache.get(NAME) is None
            assert not os.path.exists(entry(place))


def test_an_entry_under_another_name_or_key_is_a_forgery(place, tmp_path):
    other = digest([b"y"])
    with Cache(place) as cache:
        cache.put(NAME, artifact())
        os.rename(entry(place), entry(place, other))
        assert cache.get(other) is None
        with Cache(str(tmp_path / "second")) as second:
            second.put(NAME, artifact())
        os.rename(entry(str(tmp_path / "second")), entry(place))
        assert cache.get(NAME) is None


def test_entries_that_others_may_write_or_that_are_no_files_are_ignored(place, tmp_path):
    with Cache(place) as cache:
        cache.put(NAME, artifact())
        os.chmod(entry(place), 0o666)
        assert cache.get(NAME) is None
        os.mkfifo(entry(place))
        assert cache.get(NAME) is None
        (tmp_path / "target").write_bytes(b"")
        os.symlink(tmp_path / "target", entry(place))
        assert cache.get(NAME) is None


def test_a_broken_key_is_made_anew_and_old_entries_end(place):
    with Cache(place) as cache:
        cache.put(NAME, artifact())
    with open(os.path.join(place, "key"), "wb") as file:
        file.write(b"short")
    with Cache(place) as cache:
        assert not cache.refused
        assert cache.get(NAME) is None
        assert cache.put(NAME, artifact())
        assert cache.get(NAME) == artifact()


def test_the_oldest_entries_go(place):
    with Cache(place) as cache:
        small = artifact(plain=b"", sources=[("a", "")])
        names = [digest([str(i).encode()]) for i in range(LIMIT + 3)]
        for age, name in enumerate(names[:-1]):
            cache.put(name, small)
            os.utime(entry(place, name), (age, age))
        cache.put(names[-1], small)
        kept = [file for file in os.listdir(place) if file.endswith(".filter")]
        assert len(kept) == LIMIT
        assert cache.get(names[0]) is None
        assert cache.get(names[-1]) == small


def test_where_it_lies(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert directory() == "/x/seclude"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/h")
    assert directory() == "/h/.cache/seclude"
    monkeypatch.setenv("HOME", "")
    assert directory() is None
    with Cache() as cache:
        assert cache.refused
