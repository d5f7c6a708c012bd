"""Handles: what they mean stays, whatever becomes of the names."""

import errno
import os

from seclude.kernel import paths


def test_a_handle_stays_the_same_file(tmp_path):
    (tmp_path / "a").write_text("first")
    handle = paths.pin(-100, os.fsencode(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").write_text("second")
    assert paths.handle_path(handle) == os.fsencode(tmp_path.resolve() / "b")
    with open(paths.at(handle)) as file:
        assert file.read() == "first"
    os.close(handle)


def test_links_are_followed_or_not_and_magic_ones_never(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    name = os.fsencode(tmp_path / "link")
    assert paths.pin(-100, name) == -errno.ENOENT
    handle = paths.pin(-100, name, follow=False)
    assert paths.link_text(handle) == b"nowhere"
    os.close(handle)
    assert paths.pin(-100, b"/proc/self/cwd") == -errno.ELOOP
    assert paths.pin(-100, b"/proc/self/root/etc") == -errno.ELOOP


def test_identities_tell_files_and_mounts_apart(tmp_path):
    identities = paths.Identities()
    handles = [os.open(path, os.O_PATH) for path in ("/", "/proc", tmp_path, tmp_path.parent / tmp_path.name)]
    root, proc, first, second = map(identities.of, handles)
    assert first == second
    assert len({root, proc, first}) == 3
    for handle in handles:
        os.close(handle)


def test_a_proc_is_known():
    for path, known in (("/proc/self/status", True), ("/proc", True), ("/dev/null", False), (__file__, False)):
        handle = os.open(path, os.O_PATH)
        assert paths.is_proc(handle, os.fstat(handle).st_dev) is known
        os.close(handle)
