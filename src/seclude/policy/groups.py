"""Named groups of system calls: ``@name`` in a rule stands for every call of the group that the architecture has.

A group whose name systemd uses means what it means there (`Group.systemd`); all others have names of their own. Every
call of the x86_64 table is in at least one of them, and groups overlap freely: a call in two groups of one rule is
listed once. ``@known`` is every call that the tables of any architecture name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from seclude.errors import UsageError, nearest
from seclude.policy.group_table import OWN, SYSTEMD

__all__ = ["GROUPS", "Group", "expand", "group", "groups_of"]


@dataclass(frozen=True, slots=True)
class Group:
    """A ``@name`` and what it is for. ``members`` are as documented, ``@other`` groups among them; ``calls`` are all calls,
    sorted. ``systemd`` where name and meaning are systemd's.
    """

    name: str
    about: str
    members: tuple[str, ...]
    calls: tuple[str, ...]
    systemd: bool

    def __str__(self) -> str:
        from textwrap import wrap

        origin = "  # systemd's set of this name\n" if self.systemd else ""
        lines = wrap(" ".join(self.members), 110, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
        return f"{self.name}: {self.about}\n{origin}" + "\n".join(lines) + "\n"


def _read(text: str) -> Iterator[tuple[str, str, list[str]]]:
    name, about = "", ""
    members: list[str] = []
    for line in text.split("\n"):
        if line.startswith("@"):
            if name:
                yield name, about, members
            name, _, about = line.partition(": ")
            members = []
        else:
            members += line.split()
    yield name, about, members


@cache
def _load() -> dict[str, Group]:
    written = {
        name: (about, tuple(members), systemd) for text, systemd in ((OWN, False), (SYSTEMD, True)) for name, about, members in _read(text)
    }

    def calls(name: str) -> set[str]:
        return {call for member in written[name][1] for call in (calls(member) if member.startswith("@") else {member})}

    known = _known()
    written["@known"] = ("every call that the tables name, on any architecture", known, True)
    return {
        name: Group(name, about, members, tuple(sorted(calls(name))), systemd)
        for name, (about, members, systemd) in sorted(written.items())
    }


def _known() -> tuple[str, ...]:
    from seclude.abi import ALL

    return tuple(sorted({call for arch in ALL for call in arch.calls()}))


class _Groups(Mapping[str, Group]):
    """``@name`` to `Group`, sorted; read when first asked."""

    def __getitem__(self, name: str) -> Group:
        return _load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_load())

    def __len__(self) -> int:
        return len(_load())


GROUPS: Mapping[str, Group] = _Groups()


def expand(name: str) -> tuple[str, ...]:
    """The calls of the group ``@name``, on any architecture."""
    return GROUPS[name].calls


def group(name: str) -> Group:
    """The group ``name``, with or without its ``@``. Raises `UsageError` with the nearest name."""
    wanted = name if name.startswith("@") else "@" + name
    if wanted not in GROUPS:
        guess = nearest(wanted, GROUPS)
        raise UsageError(f"unknown group {wanted}" + (f"; did you mean {guess}?" if guess else ""), "see: seclude policy list")
    return GROUPS[wanted]


def groups_of(call: str) -> tuple[str, ...]:
    """The names of the groups that ``call`` is in, ``@known`` apart."""
    return tuple(name for name, one in GROUPS.items() if name != "@known" and call in one.calls)
