"""Which mounted file systems may keep their callers waiting."""

import os
import tempfile
from pathlib import Path

import pytest

from seclude.kernel import paths
from seclude.kernel.mounts import Mounts
from seclude.supervise.files_resolve import Resolver, Waits
from support import need_root, run_python

pytestmark = pytest.mark.live


def test_an_ordinary_directory_is_on_none_of_them(tmp_path):
    mounts = Mounts()
    assert os.stat(tmp_path).st_dev not in mounts.waiting()
    assert mounts.waiting() is mounts.waiting()  # read once, as long as nothing changes
    mounts.close()
    mounts.close()
    assert mounts.waiting() == frozenset()


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="this kernel has no FUSE")
def test_one_that_comes_and_goes_is_seen(tmp_path):
    need_root()
    done = run_python(
        """
import ctypes, os, sys
from seclude.kernel.mounts import Mounts
libc = ctypes.CDLL(None, use_errno=True)
place = sys.argv[1].encode()
assert libc.unshare(0x20000) == 0 and libc.mount(None, b"/", None, 0x44000, None) == 0  # CLONE_NEWNS; MS_REC | MS_PRIVATE
mounts = Mounts()
before = mounts.waiting()
device = os.open("/dev/fuse", os.O_RDWR)
assert libc.mount(b"none", place, b"fuse.anything", 0, b"fd=%d,rootmode=40755,user_id=0,group_id=0" % device) == 0, ctypes.get_errno()
print(len(mounts.waiting() - before))
assert libc.umount2(place, 2) == 0
print(len(mounts.waiting() - before))
""",
        str(tmp_path),
    )
    assert (done.status, done.stdout) == (0, "1\n0\n"), str(done)


def test_the_identity_of_a_handle_tells_its_device(tmp_path):
    handle = os.open(tmp_path, os.O_PATH)
    assert paths.device(paths.Identities().of(handle)) == os.fstat(handle).st_dev
    os.close(handle)


@pytest.fixture
def elsewhere():
    """A directory on another file system than the root's."""
    try:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
            if os.stat(place).st_dev == os.stat("/").st_dev:
                pytest.skip("/dev/shm is no file system of its own here")
            yield Path(place)
    except FileNotFoundError:
        pytest.skip("there is no /dev/shm here")


def test_a_resolver_enters_none_of_those_that_it_is_not_to_wait_for(elsewhere):
    (elsewhere / "file").write_text("")
    (elsewhere / "link").symlink_to("file")
    resolver = Resolver()
    view = resolver.view(os.getpid())
    assert view is not None
    here = os.stat(elsewhere).st_dev
    names = [os.fsencode(elsewhere / name) for name in ("file", "link", "missing", "file/below")]
    held = set(os.listdir("/proc/self/fd"))
    for waiting, waits in (({here}, True), ({here + (1 << 40)}, False), ((), False)):
        resolver.waiting = frozenset(waiting)
        for name in names:
            for follow in (False, True):
                try:
                    resolver.find(view, view.root, name, follow=follow, create=True).close()
                except Waits:
                    assert waits, (name, waiting)
                except NotADirectoryError:
                    assert not waits
                    assert name.endswith(b"below")
                else:
                    assert not waits, (name, waiting)
        with pytest.raises(Waits) if waits else open(os.devnull):
            resolver.parent(view, view.root, names[0] + b"/").close()
    # A /proc asks nobody, and is walked as ever.
    resolver.waiting = frozenset({here})
    found = resolver.find(view, view.root, b"/proc/self/status", follow=True)
    assert found.path == b"/proc/%d/status" % os.getpid()
    found.close()
    assert set(os.listdir("/proc/self/fd")) == held
    view.close()
    resolver.close()
