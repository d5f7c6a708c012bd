"""Named groups of system calls."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GROUPS", "Group", "expand", "group"]


@dataclass(frozen=True, slots=True)
class Group:
    """A ``@name``, what it is for, and the calls it names; ``systemd`` where it has systemd's name and meaning."""

    name: str
    about: str
    calls: tuple[str, ...]
    systemd: bool


GROUPS: dict[str, Group] = {}


def expand(name: str) -> tuple[str, ...]:
    return GROUPS[name].calls


def group(name: str) -> Group:
    return GROUPS[name]
