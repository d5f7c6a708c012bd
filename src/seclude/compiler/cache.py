"""Compiled policies kept between runs, where only their owner can touch them.

What could go wrong: someone else's file taken for a filter that was proven here. So the directory must be a real directory,
owned by the effective user and closed to everyone else, or it is not used and the reason is said; and every entry carries a
keyed BLAKE2b of its name and content, under a random key that lies in the same directory. A digest without a key would be
no trust: whoever can write an entry can write its digest. (Who can read the key is the owner, who can do anything anyway; the key guards against entries
copied in from elsewhere, from backups, or written by a program that could only create files.)

An entry that is damaged, forged or cannot be read is ignored, and removed where possible. Entries are written under
another name and renamed, so a reader sees a whole entry or none. The name of an entry is a digest of everything that decides
its content, each field with its length before it, so that no two sets of fields can be taken for each other.
"""

from __future__ import annotations

import os
from _blake2 import blake2b
from _operator import _compare_digest
from errno import EEXIST

from seclude.compiler.artifact import Artifact
from seclude.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LIMIT", "Cache", "digest", "directory"]

#: entries kept; beyond it the longest unused go
LIMIT = 256
_SIZE_LIMIT = 16 << 20
_MAC = 32
_KEY = "key"
_SUFFIX = ".filter"


def directory() -> str | None:
    """``$XDG_CACHE_HOME/seclude``, or ``~/.cache/seclude``; None where neither is known."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):  # the XDG specification: relative paths are to be ignored
        home = os.environ.get("HOME", "")
        if not home.startswith("/"):
            return None
        base = home + "/.cache"
    return base + "/seclude"


def digest(fields: Iterable[bytes]) -> str:
    """A name for these fields, each delimited by its length: 64 hexadecimal digits."""
    hasher = blake2b(digest_size=32, person=b"seclude-key")
    for field in fields:
        hasher.update(len(field).to_bytes(8, "little"))
        hasher.update(field)
    return hasher.hexdigest()


class Cache:
    """The cache directory, opened and judged. ``refused`` says why it is not used, or is empty."""

    __slots__ = ("_fd", "_secret", "refused")

    def __init__(self, path: str | None = None) -> None:
        self._fd = -1
        self._secret = b""
        self.refused = ""
        path = directory() if path is None else path
        if path is None:
            self.refused = "neither XDG_CACHE_HOME nor HOME names a directory"
            return
        try:
            self._open(path)
        except OSError as error:
            self.refused = f"{path}: {error.strerror}"
        if self.refused:
            self.close()

    def _open(self, path: str) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags)
        except FileNotFoundError:
            os.makedirs(path, 0o700, exist_ok=True)
            self._fd = os.open(path, flags)
        status = os.fstat(self._fd)
        if status.st_uid != os.geteuid():
            self.refused = f"{path} belongs to user {status.st_uid}, not to user {os.geteuid()}"
        elif status.st_mode & 0o077:
            self.refused = f"{path} is open to other users (mode {status.st_mode & 0o7777:04o}); chmod 700 it"
        else:
            self._secret = self._read_secret()

    def _read_secret(self) -> bytes:
        secret = self._read(_KEY)
        if secret is not None and len(secret) == _MAC:
            return secret
        # Another process may make the key at the same moment: link() lets one of them win, and both read the winner's.
        self._remove(_KEY)
        self._write(_KEY, os.urandom(_MAC), replace=False)
        secret = self._read(_KEY)
        if secret is None or len(secret) != _MAC:
            raise OSError(EEXIST, "its key cannot be read")
        return secret

    def close(self) -> None:
        """Give the directory back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Cache:  # noqa: PYI034 -- Self would import typing
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, name: str) -> Artifact | None:
        """The entry, or None: absent, damaged or forged (then it is removed)."""
        if self._fd < 0:
            return None
        raw = self._read(name + _SUFFIX)
        if raw is None:
            return None
        if not _compare_digest(self._mac(name, raw[_MAC:]), raw[:_MAC]):
            self._remove(name + _SUFFIX)
            return None
        try:
            return Artifact.from_bytes(raw[_MAC:])
        except InputError:  # authentic, but of another version of the format
            self._remove(name + _SUFFIX)
            return None

    def put(self, name: str, artifact: Artifact) -> bool:
        """Store an entry; whether that worked. A cache that cannot be written is no error."""
        if self._fd < 0:
            return False
        raw = artifact.to_bytes()
        try:
            self._write(name + _SUFFIX, self._mac(name, raw) + raw, replace=True)
            self._evict()
        except OSError:
            return False
        return True

    def _mac(self, name: str, raw: bytes) -> bytes:
        hasher = blake2b(name.encode(), digest_size=_MAC, key=self._secret, person=b"seclude-cache")
        hasher.update(raw)
        return hasher.digest()

    def _read(self, file: str) -> bytes | None:
        try:
            fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
        except OSError:
            return None
        try:
            status = os.fstat(fd)
            regular = status.st_mode & 0o170000 == 0o100000
            if not regular or status.st_uid != os.geteuid() or status.st_mode & 0o022 or status.st_size > _SIZE_LIMIT:
                self._remove(file)
                return None
            raw = b""
            while piece := os.read(fd, 1 << 20):
                raw += piece
            return raw
        except OSError:
            return None
        finally:
            os.close(fd)

    def _write(self, file: str, raw: bytes, *, replace: bool) -> None:
        draft = f".{os.getpid()}.{os.urandom(8).hex()}"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        try:
            try:
                view = memoryview(raw)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            if replace:
                os.rename(draft, file, src_dir_fd=self._fd, dst_dir_fd=self._fd)
                return
            try:
                os.link(draft, file, src_dir_fd=self._fd, dst_dir_fd=self._fd, follow_symlinks=False)
            finally:
                os.unlink(draft, dir_fd=self._fd)
        except FileExistsError:
            return
        except BaseException:
            self._remove(draft)
            raise

    def _remove(self, file: str) -> None:
        try:
            os.unlink(file, dir_fd=self._fd)
        except OSError:
            return

    def _evict(self) -> None:
        names = [name for name in os.listdir(self._fd) if name.endswith(_SUFFIX)]
        if len(names) > LIMIT:
            ages = sorted((os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mtime_ns, name) for name in names)
            for _, name in ages[: len(names) - LIMIT]:
                self._remove(name)
