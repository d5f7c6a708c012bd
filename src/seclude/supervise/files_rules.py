"""Which files a target may see and change: paths and globs, and what they say of a resolved path. Pure: no file is touched here.

A rule names a path (absolute, without symbolic links, as the kernel prints the path of an open file) or a glob of such paths: ``*``, ``?`` and
``[...]`` match within one component and also match a leading dot, ``**`` as a whole component matches any number of them. A grant covers what it
matches and everything beneath. ``hide`` wins over every grant; the level of a path is the highest that is granted:

    HIDDEN    behaves as if it did not exist
    NOTHING   outside of everything granted
    PASS      a directory on the way to something granted: it may be looked at and passed through, not listed
    READ      read, listed, executed
    WRITE     changed, and made and removed things in
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HIDDEN", "NOTHING", "PASS", "READ", "WRITE", "Pattern", "Rules", "is_glob", "literal_prefix", "matches"]

HIDDEN, NOTHING, PASS, READ, WRITE = range(-1, 4)
_MAGIC = b"*?["
_REMEMBERED = 4096  # paths whose level is kept


def is_glob(path: bytes) -> bool:
    """Whether ``path`` is a glob rather than a name."""
    return any(character in path for character in _MAGIC)


def literal_prefix(path: bytes) -> tuple[bytes, bytes]:
    """A glob as the directory that it starts from and what follows: ``/a/b*/c`` is ``(/a, b*/c)``. A plain path has nothing following."""
    parts = path.split(b"/")
    for index, part in enumerate(parts):
        if is_glob(part):
            return b"/".join(parts[:index]) or b"/", b"/".join(parts[index:])
    return path, b""


def matches(pattern: bytes, name: bytes) -> bool:
    """Whether one component of a glob matches a name. As glob(7): ``[!a-c]`` negates, an unclosed ``[`` is itself; a dot is nothing special."""
    star = mark = -1
    at = place = 0
    while place < len(name):
        if at < len(pattern) and pattern[at] == 0x2A:  # *: first as nothing; widened by one when what follows fails
            star, mark = at, place
            at += 1
            continue
        after = _one(pattern, at, name[place]) if at < len(pattern) else 0
        if after:
            at, place = after, place + 1
        elif star >= 0:
            mark += 1
            at, place = star + 1, mark
        else:
            return False
    return not pattern[at:].strip(b"*")


def _one(pattern: bytes, at: int, character: int) -> int:
    """Where the pattern goes on after matching one character, or 0 where it does not match."""
    head = pattern[at]
    if head == 0x3F:
        return at + 1
    if head == 0x5B:
        negated = pattern[at + 1 : at + 2] in (b"!", b"^")
        first = at + 1 + negated
        end = pattern.find(b"]", first + 1)
        if end > 0:
            return end + 1 if _in_set(pattern[first:end], character) != negated else 0
    return at + 1 if head == character else 0


def _in_set(body: bytes, character: int) -> bool:
    at = 0
    while at < len(body):
        if at + 2 < len(body) and body[at + 1] == 0x2D:
            if body[at] <= character <= body[at + 2]:
                return True
            at += 3
        else:
            if body[at] == character:
                return True
            at += 1
    return False


class Pattern:
    """One path or glob, by components. A state is how many of its components are matched; a set of them is where a path can be in it."""

    __slots__ = ("parts", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.parts = tuple(part for part in text.split(b"/") if part)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def start(self) -> frozenset[int]:
        """The states before any component."""
        return self._closed({0})

    def step(self, states: Iterable[int], name: bytes) -> frozenset[int]:
        """The states after one more component of a path."""
        out = set()
        for state in states:
            if state == len(self.parts):
                out.add(state)  # what lies beneath a match
            elif self.parts[state] == b"**":
                out.add(state)
            elif self.parts[state] == name or (is_glob(self.parts[state]) and matches(self.parts[state], name)):
                out.add(state + 1)
        return self._closed(out)

    def _closed(self, states: set[int]) -> frozenset[int]:
        for state in tuple(states):
            while state < len(self.parts) and self.parts[state] == b"**":
                state += 1
                states.add(state)
        return frozenset(states)

    def states(self, path: bytes) -> frozenset[int]:
        """The states after a whole path; none where neither it nor anything beneath can match."""
        now = self.start()
        for name in path.split(b"/"):
            if name:
                now = self.step(now, name)
                if not now:
                    break
        return now

    def covers(self, states: Iterable[int]) -> bool:
        """Whether a path with these states is matched, or lies beneath something that is."""
        return len(self.parts) in states


class Rules:
    """What is granted and hidden. ``read``, ``write``, ``hide``: paths and globs; ``links``: names to pass through that are none of these.

    ``open``: nothing is closed; all that is not hidden may be written (as far as the file system permits).
    """

    __slots__ = ("_globs", "_known", "_links", "_passed", "_plain", "hide", "open", "read", "write")

    def __init__(
        self,
        *,
        read: Iterable[bytes] = (),
        write: Iterable[bytes] = (),
        hide: Iterable[bytes] = (),
        links: Iterable[bytes] = (),
        open: bool = False,
    ) -> None:
        self.read, self.write, self.hide = tuple(read), tuple(write), tuple(Pattern(path) for path in hide)
        self.open = open
        self._links = frozenset(links)
        self._known: dict[bytes, int] = {}
        self._plain: dict[bytes, int] = {}
        self._globs: list[tuple[int, Pattern]] = []
        self._passed = {b"/"} if read or write or links else set()
        for level, paths in ((READ, self.read), (WRITE, self.write)):
            for path in paths:
                if is_glob(path):
                    self._globs.append((level, Pattern(path)))
                else:
                    self._plain[path] = max(level, self._plain.get(path, NOTHING))
        for path in (*self._plain, *self._links):
            while path != b"/":
                path = path[: path.rindex(b"/")] or b"/"
                self._passed.add(path)

    def level(self, path: bytes) -> int:
        """The level of an absolute path without ``.``, ``..``, doubled or trailing slashes."""
        known = self._known.get(path)
        if known is None:
            known = self._judge(path)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[path] = known
        return known

    def _judge(self, path: bytes) -> int:
        if self.hidden_by(path) is not None:
            return HIDDEN
        if self.open:
            return WRITE
        best = PASS if path in self._passed or path in self._links else NOTHING
        at = path
        while True:
            best = max(best, self._plain.get(at, NOTHING))
            if at == b"/":
                break
            at = at[: at.rindex(b"/")] or b"/"
        for level, pattern in self._globs:
            if level <= best:
                continue
            states = pattern.states(path)
            if pattern.covers(states):
                best = level
            elif states:
                best = max(best, PASS)
        return best

    def hidden_by(self, path: bytes) -> bytes | None:
        """The rule that hides ``path``, or None."""
        for pattern in self.hide:
            if pattern.covers(pattern.states(path)):
                return pattern.text
        return None

    def may_move(self, source: bytes, target: bytes) -> bool:
        """Whether everything beneath the directory ``source`` is hidden beneath ``target`` too, if it is now: else renaming would uncover it."""
        return all(pattern.states(source) <= pattern.states(target) for pattern in self.hide)
