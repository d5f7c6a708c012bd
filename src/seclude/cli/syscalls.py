"""``seclude syscalls``: what a system call is called, numbered and given on each architecture, and since when."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from seclude import abi
from seclude.cli.options import Command, Option
from seclude.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seclude.abi import Architecture
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "syscalls",
    "syscalls [NAME|NUMBER|PATTERN] [--arch ARCH] [--json]",
    "Show a system call's number on each architecture, its prototype, the policy groups that hold it, and the kernel that added it."
    " A PATTERN has *, ? or [...]. Without any, list the calls of this architecture.",
    (
        Option(
            "--arch, -a", "ARCH", "only this architecture: a name, an alias (amd64, arm64, armv7l ...), an audit token, or 'all'", many=True
        ),
        Option("--json", "", "print JSON: a list of calls"),
    ),
    epilog="""
A NUMBER (decimal, or hexadecimal with 0x) means another call on each architecture. Without --arch it is looked up on all of them.
x32's numbers carry bit 30: 0x40000209 is its ptrace.
'retired' marks what no current kernel answers; 'since' is the kernel that added a call, where a source says so; 1.0 stands for 1.0 or before.
""",
)

_UNNAMED = "-"


class _Row:
    """One call and where it was found: architecture → number."""

    __slots__ = ("name", "numbers")

    def __init__(self, name: str, numbers: dict[Architecture, int]) -> None:
        self.name = name
        self.numbers = numbers

    @property
    def since(self) -> str | None:
        """The version that added the call: to the one architecture asked for, or to any."""
        return abi.since(self.name, next(iter(self.numbers)) if len(self.numbers) == 1 else None)

    @property
    def retired(self) -> list[str]:
        return [one.name for one in self.numbers if self.name in one.retired]

    def groups(self) -> list[str]:
        """The policy groups that hold the call, as ``@base``."""
        from seclude.policy.groups import GROUPS, expand

        return [name for name in GROUPS if self.name in expand(name)]

    def prototypes(self) -> dict[str, list[Architecture]]:
        """The call as C writes it → the architectures where it is written so. Empty where no source has it."""
        from seclude.abi.prototypes import prototype

        found: dict[str, list[Architecture]] = {}
        for one in self.numbers:
            got = prototype(one, self.name)
            if got is not None:
                text = f"{self.name}({', '.join(_declared(p.ctype, p.name) for p in got.parameters) or 'void'})"
                found.setdefault(text, []).append(one)
        return found


def _declared(ctype: str, name: str) -> str:
    """``const char *`` and ``path`` as ``const char *path``."""
    return ctype + ("" if ctype.endswith("*") else " ") + name


def main(arguments: Arguments) -> int:
    """Run the command. Raises `UsageError` for an unknown name, number or architecture."""
    if len(arguments.rest) > 1:
        raise UsageError(
            f"seclude syscalls takes one name, number or pattern, not {len(arguments.rest)}", 'quote a pattern for the shell: "clock_*"'
        )
    chosen = _architectures(arguments.all("arch"))
    word = arguments.rest[0] if arguments.rest else ""
    number = _number(word)
    single = False
    if number is not None:
        rows = _by_number(number, chosen or abi.ALL, word)
        single = bool(chosen) and len(rows) == 1
    elif not word or any(c in word for c in "*?["):
        rows = _by_pattern(word or "*", chosen)
    else:
        rows = [_by_name(word, chosen or abi.ALL)]
        single = True
    if arguments.flag("json"):
        import json

        sys.stdout.write(json.dumps([_as_json(row) for row in rows], indent=2) + "\n")
    elif single:
        sys.stdout.write(_card(rows[0]))
    elif number is not None:
        sys.stdout.write(_meanings(rows))
    else:
        sys.stdout.write(_listing(rows))
    return 0


def _architectures(words: Sequence[str]) -> tuple[Architecture, ...]:
    """What --arch names, in the order of `abi.ALL`; empty where nothing was given."""
    if "all" in words:
        return abi.ALL
    named = [abi.arch(int(word) if word.isascii() and word.isdigit() and len(word) > 3 else word) for word in words]
    return tuple(one for one in abi.ALL if one in named)


def _number(word: str) -> int | None:
    """The number that ``word`` writes, or None where it is no number. Raises `UsageError` where it is none that a call could have."""
    digits = word.removeprefix("-")
    try:
        value = int(word, 16 if digits.lower().startswith("0x") else 10)
    except ValueError:
        return None
    if not 0 <= value < 1 << 32:
        raise UsageError(f"no call can have the number {word}", "a filter sees the number as 32 bits without a sign: 0 to 0xffffffff")
    return value


def _by_name(name: str, among: Sequence[Architecture]) -> _Row:
    numbers = {one: number for one in among if (number := one.number(name)) is not None}
    if numbers:
        first = next(iter(numbers))
        return _Row(first.call_name(numbers[first]) or name, numbers)
    elsewhere = [one.name for one in abi.ALL if one.number(name) is not None]
    if elsewhere:
        raise UsageError(f"{_names(among)} has no call {name!r}", f"it exists on {', '.join(elsewhere)}")
    guess = nearest(name, {call for one in among for call in one.calls()})
    raise UsageError(f"unknown call {name!r}" + (f"; did you mean {guess!r}?" if guess else ""), "see: seclude syscalls --arch all '*'")


def _by_number(number: int, among: Sequence[Architecture], word: str) -> list[_Row]:
    found: dict[str, dict[Architecture, int]] = {}
    for one in among:
        name = one.call_name(number)
        if name is not None:
            found.setdefault(name, {})[one] = number
    if not found:
        where = _names(among) if len(among) < len(abi.ALL) else "any architecture"
        raise UsageError(f"no call has the number {word} on {where}", _number_hint(number, among))
    return [_Row(name, numbers) for name, numbers in found.items()]


def _number_hint(number: int, among: Sequence[Architecture]) -> str:
    if len(among) == 1 and among[0].x32_bit and not number & among[0].x32_bit and among[0].call_name(number | among[0].x32_bit):
        return f"x32's numbers carry bit 30: {number | among[0].x32_bit:#x}"
    return "a policy decides such numbers by its line 'unknown'"


def _by_pattern(pattern: str, chosen: Sequence[Architecture]) -> list[_Row]:
    """Every call whose name matches: by number on one architecture, by name on several.

    Where none is chosen: of the native one and its companions, or of all where these have no such call.
    """
    near = (abi.native(),) if pattern == "*" else (abi.native(), *abi.companions(abi.native()))
    for among in (chosen,) if chosen else (near, abi.ALL):
        found = _matching(pattern, among)
        if found:
            rows = [_Row(name, numbers) for name, numbers in found.items()]
            return sorted(rows, key=lambda row: row.name if len(among) > 1 else f"{next(iter(row.numbers.values())):08x}")
    raise UsageError(f"no call of {_names(chosen) or 'any architecture'} matches {pattern!r}", "see: seclude syscalls --arch all '*'")


def _matching(pattern: str, among: Sequence[Architecture]) -> dict[str, dict[Architecture, int]]:
    from fnmatch import fnmatchcase

    found: dict[str, dict[Architecture, int]] = {}
    for one in among:
        for name, number in one.calls().items():
            if fnmatchcase(name, pattern):
                found.setdefault(name, {})[one] = number
    return found


def _names(among: Iterable[Architecture]) -> str:
    return ", ".join(one.name for one in among)


def _show(one: Architecture, number: int) -> str:
    """A number as people write it: x32's and the private ones in hexadecimal, since their bits say something."""
    return f"{number:#x}" if one.x32_bit or number >= 0xF0000 else str(number)


def _as_json(row: _Row) -> Mapping[str, object]:
    return {
        "name": row.name,
        "since": row.since,
        "groups": row.groups(),
        "retired": row.retired,
        "numbers": {one.name: number for one, number in row.numbers.items()},
        "prototypes": {one.name: text for text, where in row.prototypes().items() for one in where},
    }


def _card(row: _Row) -> str:
    """Everything about one call."""
    lines = [row.name]
    facts = [("since", f"Linux {row.since}" if row.since else "unknown"), ("groups", ", ".join(row.groups()) or "none")]
    if row.retired:
        everywhere = len(row.retired) == len(row.numbers)
        facts.append(("retired", "no current kernel answers it" + ("" if everywhere else f" on {', '.join(row.retired)}")))
    prototypes = sorted(row.prototypes().items(), key=lambda pair: -len(pair[1]))
    for text, where in prototypes[1:]:
        facts.append(("prototype", f"{text}  on {_names(where)}"))
    for text, _ in prototypes[:1]:
        facts.append(("prototype", text + ("  elsewhere" if prototypes[1:] else "")))
    lines += [f"  {label:9}  {text}" for label, text in facts]
    cells = [(one.name, _show(one, number)) for one, number in row.numbers.items()]
    lines += ["", *_columns(cells)]
    return "\n".join(lines) + "\n"


def _columns(cells: Sequence[tuple[str, str]], width: int = 96) -> list[str]:
    """Pairs of a name and a number, set in as many columns as fit, filled downwards."""
    left = max(len(name) for name, _ in cells)
    right = max(len(number) for _, number in cells)
    across = max(1, min(len(cells), width // (left + right + 6)))
    down = -(-len(cells) // across)
    return ["  " + "    ".join(f"{name:{left}}  {number:>{right}}" for name, number in cells[row::down]) for row in range(down)]


def _meanings(rows: Sequence[_Row]) -> str:
    """One number's meaning on each architecture."""
    pairs = [(one, row) for row in rows for one in row.numbers]
    pairs.sort(key=lambda pair: abi.ARCHITECTURES.index(pair[0].name))
    left = max(len(one.name) for one, _ in pairs)
    return "".join(f"{one.name:{left}}  {row.name}{'  (retired)' if row.name in one.retired else ''}\n" for one, row in pairs)


def _listing(rows: Sequence[_Row]) -> str:
    """A table: number on each architecture found, name, version."""
    among = [one for one in abi.ALL if any(one in row.numbers for row in rows)]
    table = [[*(one.name for one in among), "call", "since", ""]]
    for row in rows:
        numbers = [_show(one, row.numbers[one]) if one in row.numbers else _UNNAMED for one in among]
        retired = row.retired
        note = "" if not retired else "retired" if len(retired) == len(row.numbers) else f"retired on {', '.join(retired)}"
        table.append([*numbers, row.name, row.since or _UNNAMED, note])
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    text = []
    for line in table:
        cells = [f"{cell:>{widths[i]}}" if i < len(among) else f"{cell:{widths[i]}}" for i, cell in enumerate(line)]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text) + "\n"
