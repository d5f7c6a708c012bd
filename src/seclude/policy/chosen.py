"""Which calls a person means by ``openat,@network-io``, ``all`` or ``!futex,close``: names, groups, and everything but them."""

from __future__ import annotations

from seclude.abi import ALL
from seclude.errors import UsageError, nearest
from seclude.policy.groups import group

__all__ = ["chosen"]


def chosen(text: str) -> tuple[tuple[str, ...], bool]:
    """``(names, others)``: the calls named by a comma list, sorted; ``others`` says that all calls but these are meant.

    ``all`` is nothing left out: ``((), True)``. Names hold on whatever architecture has them. Raises `UsageError` for a name that no table
    has, with the nearest one, for an unknown group, and for a list that names nothing.
    """
    rest = text.strip()
    others = rest.startswith("!")
    words = [word.strip() for word in rest.removeprefix("!").split(",")]
    if not all(words):
        raise UsageError(f"{text!r} has an empty place where a call belongs", "write openat,@network-io, or all, or '!futex'")
    if words == ["all"]:
        if others:
            raise UsageError(f"{text!r} chooses no call at all")
        return (), True
    names: set[str] = set()
    known: set[str] = set()
    for word in words:
        if word.startswith("@"):
            names.update(group(word).calls)
            continue
        known = known or {call for arch in ALL for call in arch.calls()}
        if word not in known:
            guess = nearest(word, known)
            raise UsageError(f"unknown call {word!r}" + (f"; did you mean {guess!r}?" if guess else ""), "see: seclude syscalls")
        names.add(word)
    return tuple(sorted(names)), others
