"""Which file systems may keep a caller waiting for somebody: another process, or another machine (proc_pid_mountinfo(5)).

The problem: whoever opens a file of FUSE, NFS and the like waits until its server answers, and one that serves others meanwhile must not. Nothing asks such a file system
a question here: statfs(2), which would name it, is itself a request to it. The table of mounts names it by its device.

What can still go wrong: a layered file system (overlayfs) waits where its layers do, and is not among these; nor is what is mounted in another mount namespace.
"""

from __future__ import annotations

import os
import select

__all__ = ["Mounts"]

_TYPES = frozenset(
    (
        b"9p", b"afs", b"autofs", b"beegfs", b"ceph", b"cifs", b"coda", b"fuse", b"fuseblk", b"gfs2", b"gpfs", b"lustre", b"ncpfs", b"nfs", b"nfs4", b"ocfs2",
        b"orangefs", b"smb3", b"smbfs", b"vboxsf", b"virtiofs",
    )
)  # fmt: skip


class Mounts:
    """The table of mounts of this process's namespace, read anew when it has changed. Holds a descriptor; close it."""

    __slots__ = ("_descriptor", "_devices", "_poll")

    def __init__(self) -> None:
        self._devices: frozenset[int] | None = None
        self._poll = select.poll()
        try:
            self._descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor, self._devices = -1, frozenset()
        else:
            self._poll.register(self._descriptor, select.POLLPRI)

    def waiting(self) -> frozenset[int]:
        """The devices (st_dev) of mounted file systems that may keep their callers waiting."""
        if self._devices is None or (self._descriptor >= 0 and self._poll.poll(0)):  # POLLERR: something was mounted, or unmounted
            self._devices = self._read()
        return self._devices

    def _read(self) -> frozenset[int]:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        text = b""
        while piece := os.read(self._descriptor, 1 << 16):
            text += piece
        found = set()
        for line in text.splitlines():
            place, _, kind = line.partition(b" - ")
            if kind.split(b" ", 1)[0].partition(b".")[0] in _TYPES:
                major, _, minor = place.split(b" ", 3)[2].partition(b":")
                found.add(os.makedev(int(major), int(minor)))
        return frozenset(found)

    def close(self) -> None:
        """Close the table. Harmless if done twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._devices = -1, frozenset()
