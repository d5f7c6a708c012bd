"""What fs.protected_symlinks, fs.protected_regular and fs.protected_fifos forbid, asked where a broker goes by handles.

The kernel asks it while it walks a path: of the link that it is about to follow last, and of a file that is there already although O_CREAT was given. A broker that
walks by itself, or opens what it has pinned, gives the kernel nothing to ask; so it is asked here, of the directory in which the last component was found. (fs.protected_hardlinks
is asked by linkat(2) itself, also of a handle.)

No capability stands above these. Source: proc_sys_fs(5); fs/namei.c, may_follow_link and may_create_in_sticky.
"""

from __future__ import annotations

import errno
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

__all__ = ["permit_creation", "permit_following"]

_STRICTEST = 2  # where a value cannot be read: /proc/sys is another's to close, and kernels before 5.16 show these to root alone
_values: dict[str, int] = {}


def permit_following(directory: os.stat_result, link: os.stat_result, fsuid: int) -> None:
    """Raise PermissionError (EACCES) where ``fsuid`` may not follow ``link``, the last of a path, in ``directory``: a sticky one that all may write, and a link that is
    neither one's own nor of the directory's owner.
    """  # fmt: skip
    shared = stat.S_ISVTX | stat.S_IWOTH
    if directory.st_mode & shared == shared and link.st_uid not in (fsuid, directory.st_uid) and _value("fs.protected_symlinks"):
        raise PermissionError(errno.EACCES, "")


def permit_creation(directory: os.stat_result, file: os.stat_result, fsuid: int) -> None:
    """Raise PermissionError (EACCES) where ``fsuid`` may not open ``file``, which is there already in ``directory``, with O_CREAT.

    In a sticky directory, of what is neither one's own nor of the directory's owner: where all may write there, a file with ``fs.protected_regular`` 1, a FIFO with
    ``fs.protected_fifos`` 1, and anything else whatever is set; where its group may, files and FIFOs with 2.
    """
    if not directory.st_mode & stat.S_ISVTX or file.st_uid in (fsuid, directory.st_uid):
        return
    kind = stat.S_IFMT(file.st_mode)
    if kind in (stat.S_IFREG, stat.S_IFIFO):
        protected = _value("fs.protected_regular" if kind == stat.S_IFREG else "fs.protected_fifos")
        writers = (0, stat.S_IWOTH, stat.S_IWOTH | stat.S_IWGRP)[min(protected, 2)]
    else:
        writers = stat.S_IWOTH
    if directory.st_mode & writers:
        raise PermissionError(errno.EACCES, "")


def _value(name: str) -> int:
    """A setting, as it was when it was first asked for."""
    known = _values.get(name)
    if known is None:
        from seclude.kernel import proc

        text = proc.sysctl(name)
        known = _values[name] = int(text) if text is not None and text.isdecimal() else _STRICTEST
    return known
