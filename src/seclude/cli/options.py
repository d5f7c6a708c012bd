"""Command lines, read from a table, without argparse (12 ms): the same table prints ``--help``.

``--name VALUE`` and ``--name=VALUE``, short flags ``-n``, ``--`` ends options; a command with ``stops=True`` takes the
first positional as the end of its options, as ``env`` and ``timeout`` do, so that ``seclude run ls -l`` needs no ``--``.
Nothing is abbreviated: an unknown option is an error that names the nearest one.
"""

from __future__ import annotations

import os

from seclude.errors import UsageError, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CHDIR",
    "NO_PTRACE",
    "Arguments",
    "Command",
    "Option",
    "given_limits",
    "given_number",
    "given_policy",
    "given_variables",
    "limit_options",
    "policy_option",
]

#: columns of a help text
_WIDTH = 100


class Option:
    """One option. ``metavar`` "" makes it a switch; ``many`` collects repeated values into a list; ``choices`` limits it.

    ``list_after``: where that many positionals came before it, it takes every word up to the next option, not one; 0: never.
    """

    __slots__ = ("choices", "default", "flags", "help", "list_after", "many", "metavar")

    def __init__(
        self,
        flags: str,
        metavar: str,
        help: str,
        *,
        many: bool = False,
        default: str | None = None,
        choices: tuple[str, ...] = (),
        list_after: int = 0,
    ) -> None:
        self.flags = tuple(flags.split(", "))
        self.metavar = metavar
        self.help = help
        self.many = many
        self.default = default
        self.choices = choices
        self.list_after = list_after

    @property
    def name(self) -> str:
        """The key in `Arguments`: the longest flag without dashes, ``-`` as ``_``."""
        return max(self.flags, key=len).lstrip("-").replace("-", "_")


class Arguments:
    """What was given: ``text(name)``, ``flag(name)``, ``all(name)``, and the positionals in ``rest``."""

    __slots__ = ("ordered", "rest", "values")

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}
        self.rest: list[str] = []
        #: every option as given, in order: (name, value)
        self.ordered: list[tuple[str, str]] = []

    def text(self, name: str) -> str | None:
        """The option's value (the last one given, or its default), or None."""
        got = self.values.get(name)
        return got[-1] if got else None

    def all(self, name: str) -> list[str]:
        """Every value given, in order."""
        return self.values.get(name, [])

    def flag(self, name: str) -> bool:
        """Whether the switch was given."""
        return name in self.values


class Command:
    """One command: its words in ``--help`` and the table of its options."""

    __slots__ = ("elsewhere", "epilog", "name", "negatives", "options", "stops", "summary", "usage")

    def __init__(
        self,
        name: str,
        usage: str,
        summary: str,
        options: tuple[Option, ...],
        *,
        epilog: str = "",
        stops: bool = False,
        negatives: bool = False,
        elsewhere: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.name = name
        self.usage = usage
        self.summary = summary
        self.options = (*options, Option("--help, -h", "", "show this help and exit"))
        self.epilog = epilog
        self.stops = stops
        #: negative numbers are arguments, not options: ``emu FILE mmap 0 4096 3 2 -1 0``
        self.negatives = negatives
        #: options of similar programs, and what they are called here
        self.elsewhere = elsewhere

    def parse(self, argv: list[str]) -> Arguments:
        """Read ``argv`` (without the command's own name). Raises `UsageError`."""
        table = {flag: option for option in self.options for flag in option.flags}
        out = Arguments()
        words = iter(argv)
        listed: Option | None = None  # the option whose list goes on
        for word in words:
            if listed is not None and not word.startswith("-"):
                out.ordered.append((listed.name, word))
                out.values[listed.name].append(word)
                continue
            listed = None
            if word == "--":
                out.rest.extend(words)
                break
            if not word.startswith("-") or word == "-" or (self.negatives and word[1].isdigit()):
                out.rest.append(word)
                if self.stops:
                    out.rest.extend(words)
                    break
                continue
            flag, equals, value = word.partition("=")
            option = table.get(flag)
            if option is None:
                guess = dict(self.elsewhere).get(flag) or nearest(flag, table)
                raise UsageError(
                    f"seclude {self.name}: unknown option {flag!r}" + (f"; did you mean {guess}?" if guess else ""),
                    f"see: seclude {self.name} --help",
                )
            if not option.metavar:
                if equals:
                    raise UsageError(f"seclude {self.name}: {flag} takes no value, but {value!r} was given")
                value = ""
            elif not equals:
                following = next(words, None)
                if following is None or following == "--":
                    raise UsageError(f"seclude {self.name}: {flag} needs a value: {flag} {option.metavar}")
                value = following
            if option.choices and value not in option.choices:
                raise UsageError(f"seclude {self.name}: {flag} takes one of {', '.join(option.choices)}, not {value!r}")
            out.ordered.append((option.name, value))
            if option.many:
                out.values.setdefault(option.name, []).append(value)
            else:
                out.values[option.name] = [value]
            if option.list_after and len(out.rest) >= option.list_after:
                listed = option
        for option in self.options:
            if option.default is not None:
                out.values.setdefault(option.name, [option.default])
        return out

    def help(self) -> str:
        """The text of ``--help``: usage, summary, options aligned, epilog."""
        rows = [(", ".join(o.flags) + (f" {o.metavar}" if o.metavar else ""), o.help + _notes(o)) for o in self.options]
        width = min(30, max(len(left) for left, _ in rows))
        lines = [f"usage: seclude {self.usage}", "", *_wrap(self.summary, _WIDTH), "", "options:"]
        for left, right in rows:
            wrapped = _wrap(right, _WIDTH - 4 - width)
            if len(left) > width:
                lines.append(f"  {left}")
                lines += [f"  {'':{width}}  {line}" for line in wrapped]
            else:
                lines.append(f"  {left:{width}}  {wrapped[0]}")
                lines += [f"  {'':{width}}  {line}" for line in wrapped[1:]]
        if self.epilog:
            lines += ["", *_fitted(self.epilog.strip("\n"))]
        return "\n".join(lines) + "\n"


def _notes(option: Option) -> str:
    notes = []
    if option.choices:
        notes.append("one of " + ", ".join(option.choices))
    if option.default is not None:
        notes.append(f"default {option.default}")
    if option.many:
        notes.append("repeatable")
    return f" ({'; '.join(notes)})" if notes else ""


def _fitted(text: str) -> list[str]:
    """Lines of running text filled anew to the width, a sentence that ends a line ending it still; what is indented or in columns as it is."""
    out: list[str] = []
    running: list[str] = []
    for line in [*text.split("\n"), None]:
        if line and line[0] != " " and "  " not in line:
            running.append(line)
            if line[-1] not in ".:":
                continue
            line = None
        if running:
            out += _wrap(" ".join(running), _WIDTH)
            running = []
        if line is not None:
            out.append(line)
    return out


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def given_number(arguments: Arguments, command: str, option: str, beyond: int, *, least: int = 0) -> int:
    """The option's value, decimal or hexadecimal, from ``least`` and less than ``beyond``. Raises `UsageError`."""
    given = arguments.text(option) or "0"
    try:
        value = int(given, 0)
    except ValueError:
        raise UsageError(f"seclude {command}: --{option} {given!r} is no number", "write 4096 or 0x1000") from None
    if not least <= value < beyond:
        raise UsageError(
            f"seclude {command}: --{option} {given} is not within {least}..{beyond - 1 if beyond < 1 << 32 else hex(beyond - 1)}"
        )
    return value


# -- options that every command has which runs a program under a policy ---------------------------------------------------

#: in the order and by the names of `seclude.sandbox.limits`
_LIMITS = {
    "cpu": ("TIME", "CPU time of all processes together, such as 500ms"),
    "wall": ("TIME", "time on the clock until the run is ended"),
    "memory": ("SIZE", "memory, such as 64M"),
    "files": ("N", "open descriptors of each process"),
    "processes": ("N", "processes and threads together"),
    "output": ("SIZE", "bytes written to stdout and stderr together, and to each file"),
}

CHDIR = Option("--chdir", "DIR", "start in this directory")
NO_PTRACE = Option("--no-ptrace", "", "do not trace: kills are known by their wait status only")


def limit_options(defaults: Mapping[str, str], *, wall: str) -> tuple[Option, ...]:
    """The limits, with a command's ``defaults`` for some; ``wall`` is what it says about that one besides."""
    return tuple(
        Option(f"--{name}", metavar, said + (wall if name == "wall" else ""), default=defaults.get(name))
        for name, (metavar, said) in _LIMITS.items()
    )


def given_limits(arguments: Arguments) -> dict[str, str | None]:
    """Every limit by its name, None where it was not given."""
    return {name: arguments.text(name) for name in _LIMITS}


def policy_option(default: str) -> Option:
    """The policy of a run."""
    return Option("--policy, -p", "FILE|PRESET", "the policy: a preset's name or a file", default=default)


def given_policy(arguments: Arguments, command: str) -> str:
    """The policy's name. Raises `UsageError` for an empty one, a variable that is not set, most likely: never another policy than was meant."""
    name = arguments.text("policy")
    if not name:
        raise UsageError(f"seclude {command}: --policy names nothing", "give a preset's name or a file; see: seclude policy list")
    return name


def given_variables(arguments: Arguments, command: str) -> dict[str, str]:
    """The variables of ``--env NAME=VALUE`` and, where we have them ourselves, of ``--env NAME``. Raises `UsageError`."""
    out = {}
    for word in arguments.all("env"):
        name, equals, value = word.partition("=")
        if not name:
            raise UsageError(f"seclude {command}: --env {word!r} names no variable", "give NAME=VALUE, or NAME to pass on its value")
        if equals:
            out[name] = value
        elif name in os.environ:
            out[name] = os.environ[name]
    return out
