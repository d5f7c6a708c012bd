"""fs.protected_symlinks, _hardlinks, _regular and _fifos (proc_sys_fs(5)) under ``--write``: what the kernel forbids in directories that everybody may write, the broker does."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

import support
from run_support import ALLOW, c_program, policy, who
from seclude.supervise import files_sticky

pytestmark = pytest.mark.live

SETTINGS = ("protected_symlinks", "protected_hardlinks", "protected_regular", "protected_fifos")
SOURCE = (Path(__file__).parent / "sticky.c").read_text()


@pytest.fixture
def place():
    made = Path(tempfile.mkdtemp(prefix="seclude-sticky-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def tree(root):
    """Directories that everybody may write, or a group, sticky and not, of root and of nobody, and in each one of everything of root, of nobody and of somebody else."""
    root.mkdir(mode=0o755)
    (root / "goal").mkdir()
    os.chown(root / "goal", support.NOBODY, support.NOBODY)
    for name, mode, owner in (("shared", 0o1777, 0), ("group", 0o1775, 0), ("loose", 0o777, 0), ("theirs", 0o1777, support.NOBODY)):
        directory = root / name
        directory.mkdir()
        for number, user in enumerate((0, support.NOBODY, 1234), start=1):
            file, fifo = directory / f"{number}-file", directory / f"{number}-fifo"
            file.write_text("text")
            file.chmod(0o666)
            os.mkfifo(fifo)
            fifo.chmod(0o666)
            (directory / f"{number}-setuid").write_text("")
            (directory / f"{number}-link").symlink_to(root / "goal" / "file")
            (directory / f"{number}-chain").symlink_to(f"{number}-link")
            (directory / f"{number}-nowhere").symlink_to(root / "goal" / f"{name}{number}")
            (directory / f"{number}-way").symlink_to(root / "goal")
            os.mknod(directory / f"{number}-null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            (directory / f"{number}-null").chmod(0o666)
            (directory / f"{number}-directory").mkdir()
            for made in directory.glob(f"{number}-*"):
                os.chown(made, user, support.NOBODY, follow_symlinks=False)
            (directory / f"{number}-setuid").chmod(0o4666)
        os.chown(directory, owner, support.NOBODY)
        directory.chmod(mode)
    (root / "goal" / "file").write_text("goal")
    (root / "goal" / "file").chmod(0o666)


def settings():
    return {name: Path("/proc/sys/fs", name).read_text().strip() for name in SETTINGS}


def same(place, nobody, extra=()):
    program = c_program(SOURCE, "-w")
    tree(place / "alone")
    tree(place / "under")
    alone = support.run([program, str(place / "alone"), *extra], nobody=nobody)
    under = support.seclude(
        "run", "--policy", policy(ALLOW), "--report", "none", "--write", str(place), "--read", "/dev", "--", program, str(place / "under"), *extra, nobody=nobody
    )  # fmt: skip
    assert (alone.status, under.status) == (0, 0), f"{alone}\n{under}"
    theirs, ours = alone.stdout.splitlines(), under.stdout.splitlines()
    # Whose a device is, no broker changes; and of names for it there is only the one.
    pairs = [(one, other) for one, other in zip(theirs, ours, strict=True) if not ("null" in one and one.startswith(("lengthen", "link")))]
    assert [pair for pair in pairs if pair[0] != pair[1]] == [], settings()
    return theirs


@pytest.fixture(params=[None, *(("0", "1", "2") if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else ())])
def setting(request):
    """As the machine has it; in a soak whatever it can be, since that is a change for everybody."""
    support.need_root()
    before = settings()
    try:
        for name in SETTINGS if request.param else ():
            most = 2 if name in ("protected_regular", "protected_fifos") else 1
            Path("/proc/sys/fs", name).write_text(str(min(int(request.param), most)))
        yield request.param
    finally:
        for name, old in before.items() if request.param else ():
            Path("/proc/sys/fs", name).write_text(old)


@pytest.mark.soak
@pytest.mark.parametrize("nobody", who())
def test_what_the_kernel_forbids_where_everybody_may_write_the_broker_does(place, nobody, setting):
    told = same(place, nobody)
    # A device of somebody else's is not opened with O_CREAT whatever is set: something is always there to be forbidden.
    assert "create to read shared/3-null: EACCES" in told, setting
    assert "create to read loose/3-null: done" in told, setting


@pytest.mark.soak
@pytest.mark.usefixtures("setting")
def test_of_a_program_that_is_nobody_under_a_supervisor_that_is_root_too(place):
    same(place, False, ("nobody",))


ME, ROOT, OTHER = 1000, 0, 1234


def status(mode, uid):
    return os.stat_result((mode, 1, 1, 1, uid, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "owner", "kind", "whose", "value", "permitted"),
    [
        (0o1777, ROOT, stat.S_IFREG, OTHER, 0, True),
        (0o1777, ROOT, stat.S_IFREG, OTHER, 1, False),
        (0o1777, ROOT, stat.S_IFREG, OTHER, 2, False),
        (0o1777, ROOT, stat.S_IFREG, ME, 2, True),
        (0o1777, ROOT, stat.S_IFREG, ROOT, 2, True),
        (0o1777, OTHER, stat.S_IFREG, OTHER, 2, True),
        (0o1777, OTHER, stat.S_IFREG, ROOT, 1, False),
        (0o0777, ROOT, stat.S_IFREG, OTHER, 2, True),
        (0o1775, ROOT, stat.S_IFREG, OTHER, 1, True),
        (0o1775, ROOT, stat.S_IFREG, OTHER, 2, False),
        (0o1755, ROOT, stat.S_IFREG, OTHER, 2, True),
        (0o1777, ROOT, stat.S_IFIFO, OTHER, 0, True),
        (0o1777, ROOT, stat.S_IFIFO, OTHER, 1, False),
        (0o1775, ROOT, stat.S_IFIFO, OTHER, 2, False),
        (0o1777, ROOT, stat.S_IFCHR, OTHER, 0, False),
        (0o1775, ROOT, stat.S_IFCHR, OTHER, 2, True),
        (0o1777, ROOT, stat.S_IFSOCK, OTHER, 0, False),
    ],
)
def test_the_rule_for_what_is_there_already(monkeypatch, mode, owner, kind, whose, value, permitted):
    monkeypatch.setattr(files_sticky, "_values", {"fs.protected_regular": value, "fs.protected_fifos": value})
    refused = []
    try:
        files_sticky.permit_creation(status(stat.S_IFDIR | mode, owner), status(kind | 0o666, whose), ME)
    except PermissionError as error:
        refused.append(error.errno)
    assert refused == ([] if permitted else [13])


@pytest.mark.parametrize(
    ("mode", "owner", "whose", "value", "permitted"),
    [
        (0o1777, ROOT, OTHER, 1, False),
        (0o1777, ROOT, OTHER, 0, True),
        (0o1777, ROOT, ME, 1, True),
        (0o1777, OTHER, OTHER, 1, True),
        (0o1775, ROOT, OTHER, 1, True),
        (0o0777, ROOT, OTHER, 1, True),
    ],
)
def test_the_rule_for_links(monkeypatch, mode, owner, whose, value, permitted):
    monkeypatch.setattr(files_sticky, "_values", {"fs.protected_symlinks": value})
    refused = []
    try:
        files_sticky.permit_following(status(stat.S_IFDIR | mode, owner), status(stat.S_IFLNK | 0o777, whose), ME)
    except PermissionError as error:
        refused.append(error.errno)
    assert refused == ([] if permitted else [13])
