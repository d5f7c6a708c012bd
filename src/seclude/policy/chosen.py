"""Which calls a person means by ``openat,@network-io``, ``all``, ``!futex,close`` or strace's ``%file``: names, groups, sets, and everything but them."""

from __future__ import annotations

from seclude.abi import ALL
from seclude.errors import UsageError, nearest
from seclude.policy.groups import group

__all__ = ["chosen"]


def chosen(text: str) -> tuple[tuple[str, ...], bool]:
    """``(names, others)``: the calls named by a comma list, sorted; ``others`` says that all calls but these are meant.

    ``all`` is nothing left out: ``((), True)``. Names hold on whatever architecture has them. As in strace(1), ``-e trace=``: ``%file`` is a set of
    calls, ``/open`` all whose names a regular expression is found in, ``?name`` one that need not be there, and ``trace=`` may stand before
    the list. Raises `UsageError` for a name that no table has, with the nearest one, for an unknown group or set, and for a list that names nothing.
    """
    rest = text.strip().removeprefix("trace=")
    others = rest.startswith("!")
    words = [word.strip() for word in rest.removeprefix("!").split(",")]
    if not all(words):
        raise UsageError(f"{text!r} has an empty place where a call belongs", "write openat,@network-io, or %file, or all, or '!futex'")
    names: set[str] = set()
    known: set[str] = set()
    for word in words:
        if word.startswith("@"):
            names.update(group(word).calls)
            continue
        if word.startswith("%"):
            from seclude.policy.strace_sets import calls_of

            names.update(calls_of(word))
            continue
        known = known or {call for arch in ALL for call in arch.calls()}
        if word.startswith("/"):
            names.update(_matching(word, known))
        elif word in known:
            names.add(word)
        elif word != "all" and not word.startswith("?"):
            raise _unknown(word, known)
        elif word.removeprefix("?") in known:
            names.add(word.removeprefix("?"))
    everything = "all" in words
    if (everything and others) or not (everything or names):
        raise UsageError(f"{text!r} chooses no call at all")
    return ((), True) if everything else (tuple(sorted(names)), others)


def _matching(word: str, known: set[str]) -> set[str]:
    import re

    try:
        found = {name for name in known if re.search(word[1:], name)}
    except re.error as error:
        raise UsageError(f"{word!r} is no regular expression: {error}", "a comma ends it, since it separates calls") from None
    if not found:
        raise UsageError(f"no call matches {word!r}", "see: seclude syscalls")
    return found


def _unknown(word: str, known: set[str]) -> UsageError:
    from seclude.policy.strace_sets import SETS

    guess = f"%{word}" if word in SETS else nearest(word, known)
    return UsageError(f"unknown call {word!r}" + (f"; did you mean {guess!r}?" if guess else ""), "see: seclude syscalls")
