"""Unit tests of policies: what a call shall come to, asked of the model, so that the test runs on any machine.

>>> from seclude.model import expect
>>> policy = expect("no-network")
>>> policy.denies("socket", domain="AF_INET")
>>> policy.allows("getpid")
>>> policy.answers("errno(EACCES)", "socket", "AF_INET", "SOCK_STREAM", 0)
>>> policy.allows("socket", domain="AF_INET")
Traceback (most recent call last):
...
AssertionError: no-network: socket(AF_INET, 0x0, 0) on x86_64 is answered errno(EACCES), not allow or log

A call that is not made ``denies``: errno, trap and both kills. What only a handler or a tracer decides is neither allowed nor denied.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from seclude.abi import Architecture, native
from seclude.abi import arch as find_arch
from seclude.abi.constants import errno_name, errno_number
from seclude.bpf.codes import (
    SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_DATA,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
)
from seclude.bpf.program import Program
from seclude.decision.asked import read_call
from seclude.errors import UsageError, nearest
from seclude.model.simulate import machine_of, simulate
from seclude.model.uapi import ACTION_NAMES, MAX_ERRNO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.compiler import Filter
    from seclude.decision.asked import Call
    from seclude.policy import Policy

__all__ = ["Expectations", "Wanted", "action_word", "expect", "programs_of"]

#: action → its word in a policy
_WORDS = {action: {"user_notif": "notify"}.get(name, name) for action, name in ACTION_NAMES.items()}
_ACTIONS = {word: action for action, word in _WORDS.items()}
_DATA = (SECCOMP_RET_ERRNO, SECCOMP_RET_TRAP, SECCOMP_RET_TRACE)
#: words for several actions
CLASSES = {
    "permit": ("log", "allow"),
    "deny": ("kill_process", "kill_thread", "trap", "errno"),
    "kill": ("kill_process", "kill_thread"),
    "undecided": ("notify", "trace"),
}


def action_word(value: int, arch: Architecture) -> str:
    """A filter's answer as a policy spells it: ``allow``, ``errno(EPERM)``, ``trap(5)``. What nobody knows acts as kill_process."""
    action, data = value & SECCOMP_RET_ACTION_FULL, value & SECCOMP_RET_DATA
    word = _WORDS.get(action, _WORDS[SECCOMP_RET_KILL_PROCESS])
    if action == SECCOMP_RET_ERRNO:
        number = min(data, MAX_ERRNO)
        return f"errno({errno_name(number, arch) or number})"
    return f"{word}({data})" if action in _DATA and data else word


class Wanted(NamedTuple):
    """What a call shall come to: one of ``actions``, with ``data`` where that is not None. ``text`` is how it was written."""

    text: str
    actions: tuple[str, ...]
    data: int | None

    @classmethod
    def read(cls, text: str, arch: Architecture) -> Wanted:
        """``allow``, ``errno``, ``errno(EPERM)``, ``trap(5)``, or a class: permit, deny, kill, undecided. Raises `UsageError`."""
        match = re.fullmatch(r"\s*([a-z_]+)\s*(?:\(\s*(\w+)\s*\))?\s*", text)
        word = match[1] if match else ""
        if match is None or word not in {*_ACTIONS, *CLASSES}:
            near = nearest(word or text, {*_ACTIONS, *CLASSES})
            raise UsageError(
                f"no action {text!r}" + (f"; did you mean {near!r}?" if near else ""), f"one of {', '.join((*_ACTIONS, *CLASSES))}"
            )
        data = None
        if match[2] is not None:
            if word not in ("errno", "trap", "trace"):
                raise UsageError(f"{text!r}: {word} has no data", "errno, trap and trace have")
            named = errno_number(match[2], arch) if word == "errno" else None
            if named is None and not match[2].isdecimal():
                raise UsageError(f"{text!r}: {match[2]} is no errno of {arch.name}" if word == "errno" else f"{text!r}: no number")
            data = named if named is not None else int(match[2])
        return cls(text.strip(), CLASSES.get(word, (word,)), data)

    def met(self, value: int) -> bool:
        """Whether a filter's answer is what is wanted."""
        action, data = value & SECCOMP_RET_ACTION_FULL, value & SECCOMP_RET_DATA
        if _WORDS.get(action, "kill_process") not in self.actions:
            return False
        if action == SECCOMP_RET_ERRNO:
            data = min(data, MAX_ERRNO)
        return self.data is None or self.data == data

    def __str__(self) -> str:
        if len(self.actions) == 1:
            return self.text
        return " or ".join(reversed(self.actions)) if len(self.actions) == 2 else f"one of {', '.join(self.actions)}"


def programs_of(policy: Policy | Program | Filter | str | os.PathLike[str], arch: Architecture | None = None) -> tuple[str, Program]:
    """A name for messages, and the program: of a policy, a preset's name, a policy's file, an OCI profile's file, a filter."""
    from seclude.compiler import compile as build
    from seclude.compiler import compile_decision

    if isinstance(policy, Program):
        return "the filter", policy
    made = getattr(policy, "program", None)
    if isinstance(made, Program):
        return "the filter", made
    own = machine_of(arch).name if arch is not None else None
    if isinstance(policy, (str, os.PathLike)):
        from seclude import formats
        from seclude.policy import PRESETS, load

        name = os.fspath(policy)
        if name not in PRESETS and os.path.exists(name):
            with open(name, "rb") as file:
                raw = file.read()
            if formats.detect(raw) is not None:
                profile = formats.read(raw, name, native=own)
                return name, compile_decision(profile.decision, profile.byteorder)
        return name, build(load(name, native=own)).program
    from seclude.policy import Policy as PolicyType

    if not isinstance(policy, PolicyType):
        raise UsageError(f"{policy!r} is neither a policy nor a filter")
    return policy.file if policy.file != "<python>" else "the policy", build(policy).program


class Expectations:
    """A policy, and questions to it. ``programs`` are (name, program), the oldest first. Every method raises AssertionError where it does not hold."""

    def __init__(self, programs: Iterable[tuple[str, Program]], arch: Architecture, kernel: str = "6.18") -> None:
        self.programs = tuple(programs)
        self.arch = arch
        self.kernel = kernel

    @property
    def name(self) -> str:
        return " + ".join(name for name, _ in self.programs)

    def stacked(self, policy: Policy | Program | Filter | str) -> Expectations:
        """The same with another filter on top."""
        return Expectations((*self.programs, programs_of(policy, self.arch)), self.arch, self.kernel)

    def value(self, call: Call) -> int:
        """What the filters answer together, as the kernel takes it: 32 bits."""
        done = simulate(self.programs, call.nr, call.arch, call.args, version=self.kernel, supervisor="silent", tracer="kill")
        return done.call.evaluations[0].value

    def asked(self, call: str, arguments: tuple[object, ...], named: dict[str, object], arch: str | None = None) -> Call:
        """The call that is meant."""
        words = [str(value) for value in arguments] + [f"{name}={value}" for name, value in named.items()]
        return read_call(find_arch(arch) if arch is not None else self.arch, call, words)

    def answers(self, action: str, call: str, *arguments: object, arch: str | None = None, **named: object) -> None:
        """The call is answered ``action``: as in a policy (``errno(EPERM)``), without data (``errno``), or a class (``deny``, ``permit`` ...)."""
        made = self.asked(call, arguments, named, arch)
        wanted = Wanted.read(action, made.arch)
        value = self.value(made)
        if not wanted.met(value):
            raise AssertionError(f"{self.name}: {made.text} on {made.arch.name} is answered {action_word(value, made.arch)}, not {wanted}")

    def allows(self, call: str, *arguments: object, arch: str | None = None, **named: object) -> None:
        """The call is made: allow or log."""
        self.answers("permit", call, *arguments, arch=arch, **named)

    def denies(self, call: str, *arguments: object, errno: str = "", arch: str | None = None, **named: object) -> None:
        """The call is not made: errno (that of ``errno``, if given), trap, or a kill."""
        self.answers(f"errno({errno})" if errno else "deny", call, *arguments, arch=arch, **named)

    def kills(self, call: str, *arguments: object, arch: str | None = None, **named: object) -> None:
        """The call is the end: kill_process or kill_thread."""
        self.answers("kill", call, *arguments, arch=arch, **named)

    def notifies(self, call: str, *arguments: object, arch: str | None = None, **named: object) -> None:
        """A supervisor decides."""
        self.answers("notify", call, *arguments, arch=arch, **named)


def expect(policy: Policy | Program | Filter | str | os.PathLike[str], *, arch: str | None = None, kernel: str = "6.18") -> Expectations:
    """Questions to a policy, a preset's name, a policy's or an OCI profile's file, or a filter. ``arch`` is that of the calls (this machine's)."""
    found = find_arch(arch) if arch is not None else native()
    return Expectations([programs_of(policy, found)], found, kernel)
