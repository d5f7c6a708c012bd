"""Open files and the tables that number them: as much of fs/file.c as listeners and injected descriptors need."""

from __future__ import annotations

from seclude.model.uapi import EBADF, EBUSY, EMFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.filter import SeccompFilter

__all__ = ["File", "Files"]


class File:
    """struct file: counted by the descriptors that lead to it, and by calls in progress. A listener is a file with a ``filter``."""

    __slots__ = ("count", "filter", "name", "path_only", "released")

    def __init__(self, name: str, filter: SeccompFilter | None = None, *, path_only: bool = False) -> None:
        self.name = name
        self.filter = filter
        #: opened with O_PATH: it cannot be injected
        self.path_only = path_only
        self.count = 0
        self.released = False

    def __repr__(self) -> str:
        return f"<File {self.name}>"


class Files:
    """struct files_struct: one table of descriptors, shared by the threads of a process. ``limit`` is RLIMIT_NOFILE."""

    __slots__ = ("limit", "reserved", "sharers", "table")

    def __init__(self, limit: int = 1024) -> None:
        #: descriptor → (file, close on exec)
        self.table: dict[int, tuple[File, bool]] = {}
        self.limit = limit
        #: numbers that a call has taken, and has no file at yet
        self.reserved: set[int] = set()
        #: tasks that have this table
        self.sharers = 0

    def get_unused_fd(self) -> int:
        """The lowest free descriptor, reserved for the caller until it installs a file there or puts it back; or -EMFILE."""
        fd = 0
        while fd in self.table or fd in self.reserved:
            fd += 1
        if fd >= self.limit:
            return -EMFILE
        self.reserved.add(fd)
        return fd

    def put_unused_fd(self, fd: int) -> None:
        """Give a reserved descriptor back."""
        self.reserved.discard(fd)

    def fd_install(self, fd: int, file: File, *, cloexec: bool) -> None:
        """Put a file in the table."""
        file.count += 1
        self.reserved.discard(fd)
        self.table[fd] = (file, cloexec)

    def fget(self, fd: int, *, o_path: bool = False) -> File | None:
        """The file behind a descriptor; None where there is none. O_PATH files only where asked for."""
        found = self.table.get(fd)
        if found is None or (found[0].path_only and not o_path):
            return None
        return found[0]

    def replace_fd(self, fd: int, file: File, *, cloexec: bool) -> tuple[int, File | None]:
        """As dup2(2): ``(fd, the file that was there)``, or ``(-EBADF, None)``, or ``(-EBUSY, None)`` where it is being opened just now."""
        if not 0 <= fd < self.limit:
            return -EBADF, None
        if fd in self.reserved:
            return -EBUSY, None
        before = self.table.pop(fd, None)
        self.fd_install(fd, file, cloexec=cloexec)
        return fd, before[0] if before else None
