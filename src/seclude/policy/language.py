"""Reading policies, and the words that build them in Python."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from seclude.errors import Diagnostic, PolicyError, nearest
from seclude.policy.lexer import report
from seclude.policy.nodes import Action, Call, Include, Rule
from seclude.policy.parser import parse_action, parse_call, parse_condition, parse_items
from seclude.policy.policy import Policy, build
from seclude.policy.presets import PRESETS, preset_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.policy.parser import Opener

__all__ = [
    "allow",
    "append",
    "call",
    "errno",
    "include",
    "is_file",
    "kill",
    "kill_process",
    "kill_thread",
    "load",
    "log",
    "make_rule",
    "notify",
    "parse",
    "prepend",
    "read_file",
    "trace",
    "trap",
]

SUFFIX = ".seclude"
#: a policy for people is a few kilobytes; this keeps a device or a disk image from being read to its end
LARGEST = 4 << 20


def parse(text: str | bytes, file: str = "<policy>", *, include: Opener | None = None, native: str | None = None) -> Policy:
    """The policy that ``text`` spells. Raises `PolicyError` with every fault found.

    ``file`` names the text in messages and is where relative includes start. ``include`` replaces how includes are
    found: called with the name as written and the including text's file, it returns ``(file, text)``. ``native`` is the
    architecture ``native`` stands for (this process's if None).
    """
    parsed = parse_items(text, file, include or open_include)
    if any(_unsettles(fault, file) for fault in parsed.faults):
        raise report(file, parsed.faults)
    try:
        policy = build(parsed.items, parsed.header, file, parsed.sources, native)
    except PolicyError as error:
        # A line that could not be read may be the missing 'default' or 'arch': what has no place may follow from it.
        meant = [f for f in error.diagnostics if f.span or not parsed.faults]
        raise report(file, [*parsed.faults, *meant]) from None
    if parsed.faults:
        raise report(file, parsed.faults)
    return policy


def _unsettles(fault: Diagnostic, file: str) -> bool:
    """Whether a fault leaves it open which architectures or tables are meant: names cannot be judged then."""
    span = fault.span
    return span is None or span.file != file or span.source.split(maxsplit=1)[:1] in (["arch"], ["include"], ["tables"])


def is_file(name: str) -> bool:
    """Whether ``name`` means a file rather than a preset: it has a slash or ends in ``.seclude``."""
    return "/" in name or name.endswith(SUFFIX)


def load(name: str | os.PathLike[str], *, native: str | None = None) -> Policy:
    """The policy of a preset's name (``container``), or of a file (a path with a slash, or ending in ``.seclude``).

    Raises `PolicyError` with every fault found, and where there is no such preset or the file cannot be read.
    """
    word = os.fspath(name)
    if not is_file(word) and word in PRESETS:
        return parse(preset_text(word), word + SUFFIX, native=native)
    if not is_file(word) and isinstance(name, str) and not os.path.exists(word):
        raise PolicyError(*_no_preset(word))
    return parse(read_file(word), word, native=native)


def _no_preset(name: str) -> tuple[str, str]:
    guess = nearest(name, PRESETS)
    hint = f"; did you mean {guess!r}?" if guess else ""
    return f"no preset and no file named {name!r}{hint}", f"presets: {', '.join(PRESETS)}; a file's name has a '/' or ends in {SUFFIX}"


def open_include(name: str, including: str) -> tuple[str, str | bytes]:
    """The text that ``include NAME`` means: a file relative to the including one, else a preset."""
    if is_file(name):
        path = os.path.normpath(os.path.join(os.path.dirname(including), name))
        return path, read_file(path)
    if name not in PRESETS:
        raise PolicyError(*_no_preset(name))
    return name + SUFFIX, preset_text(name)


def read_file(path: str) -> bytes:
    """The bytes of a policy file. Raises `PolicyError` where it cannot be read, is no regular file or is far too large."""
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        remedy = "name a file of rules, or a preset" if os.path.isdir(path) else ""
        raise PolicyError(f"{path}: {error.strerror or error}", remedy) from None
    except ValueError as error:
        raise PolicyError(f"{path!r}: {error}") from None
    if len(raw) > LARGEST:
        raise PolicyError(f"{path}: larger than {LARGEST >> 20} MiB", "a policy is a small text file")
    return raw


# ── the words ───────────────────────────────────────────────────────────────────────────────────────────────────────

allow = Action("allow")
log = Action("log")
notify = Action("notify")
kill_thread = Action("kill_thread")
kill_process = Action("kill_process")
kill = kill_process


def errno(name_or_number: str | int) -> Action:
    """The action ``errno(E)``. As a rule: ``errno("ENOSYS")("clone3")``. Raises `PolicyError` out of 0..4095."""
    return parse_action(f"errno({name_or_number})")


def trap(data: int = 0) -> Action:
    """The action ``trap(n)``: SIGSYS with 16 bits of data. Raises `PolicyError` out of range."""
    return parse_action(f"trap({data})")


def trace(data: int = 0) -> Action:
    """The action ``trace(n)``: a ptrace stop with 16 bits of data. Raises `PolicyError` out of range."""
    return parse_action(f"trace({data})")


def call(name: str | int, when: str | None = None) -> Call:
    """A call for a rule: a name, a ``@group`` or a number, with a condition as text."""
    plain = parse_call(str(name))
    if when is None:
        return plain
    if plain.condition is not None or plain.is_group:
        raise PolicyError(f"{name!r} takes no further condition")
    return Call(plain.name, plain.number, parse_condition(when))


def make_rule(action: Action, calls: Iterable[str | int | Call], when: str | None, on: str | Iterable[str]) -> Rule:
    """The rule that an action's call makes: see `Action.__call__`."""
    from seclude import abi
    from seclude.errors import UsageError

    listed = tuple(one if isinstance(one, Call) else call(one, when) for one in calls)
    if not listed:
        raise PolicyError(f"a rule needs calls: {action.kind}('read', 'write')")
    try:
        archs = tuple(abi.arch(name).name for name in ((on,) if isinstance(on, str) else on))
    except UsageError as error:
        raise PolicyError(error.diagnostics) from None
    return Rule(action, listed, archs)


def include(name: str) -> Include:
    """``include NAME``: a preset, or a file relative to the working directory. Raises `PolicyError`."""
    parsed = parse_items(f"include {name}\n", "<python>", open_include)
    if parsed.faults:
        raise report("<python>", parsed.faults)
    item = parsed.items[0]
    assert isinstance(item, Include)
    return item


def prepend(policy: Policy, lines: Iterable[tuple[str, str, str]]) -> Policy:
    """``policy`` with rules in front: each of ``lines`` is (action, the rest of the rule, where it was given).

    ``("allow", "socket(domain == AF_INET)", "--allow")``, or with architectures ``("allow", "on x86: read", "--allow")``. The first line is tried first. Raises `PolicyError`, placed in
    the text that was given.
    """
    items, sources = _rules(lines)
    return build((*items, *policy.items), policy.header, policy.file, (*policy.sources, *sources), policy.native or None)


def append(policy: Policy, lines: Iterable[tuple[str, str, str]]) -> Policy:
    """``policy`` with rules after its own, as in `prepend`: they decide only what no other rule did."""
    items, sources = _rules(lines)
    return build((*policy.items, *items), policy.header, policy.file, (*policy.sources, *sources), policy.native or None)


def _rules(lines: Iterable[tuple[str, str, str]]) -> tuple[list[Rule | Include], list[tuple[str, str]]]:
    """One rule of each line, and its text. Raises `PolicyError` with every fault."""
    items: list[Rule | Include] = []
    sources: list[tuple[str, str]] = []
    faults: list[Diagnostic] = []
    for action, text, origin in lines:
        where, colon, rest = text.partition(":") if text.startswith("on ") else ("", "", text)
        source = f"{where}{colon}{' ' if colon else ''}{action} {rest.lstrip()}"
        try:
            fresh, header, _, found = parse_items(source, origin, open_include)
            if found:
                raise PolicyError(found)
            if len(fresh) != 1 or not isinstance(fresh[0], Rule) or "\n" in source:
                raise PolicyError(f"{origin}: expected one rule, found {source!r}")
            if any(getattr(header, w) is not None for w in ("default", "arch")):
                raise PolicyError(f"{origin}: expected a rule, found a header line")
        except PolicyError as error:
            faults += error.diagnostics
            continue
        items += fresh
        sources.append((origin, source))
    if faults:
        raise PolicyError(faults)
    return items, sources
