"""``seclude policy``: what there is to start from, what it says, and whether a policy of one's own is right."""

from __future__ import annotations

import sys

from seclude.cli.options import Command, Option
from seclude.errors import PolicyError, UsageError, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.cli.options import Arguments
    from seclude.errors import Diagnostic
    from seclude.policy import Policy

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "policy",
    "policy list | show NAME|@GROUP|FILE... | check FILE... [options]",
    "List presets and groups, show one, or check policies of your own.",
    (
        Option("--arch", "ARCH", "the architecture that 'native' means, instead of this machine's"),
        Option("--quiet, -q", "", "check: print faults only, no notes and no summary"),
    ),
    epilog="""
list           presets and groups of calls, one line each
show NAME      a preset as it is written; @GROUP: what the group is for and its calls;
               FILE: the policy as Seclude reads it
check FILE     read each policy (a preset's name does too) and say what is wrong or worth knowing:
               faults of syntax, names and types, calls that no architecture has,
               rules that can never decide

exit codes: 0 all is well (notes and warnings do not count), 1 check found faults, 125 a file that cannot be read, or usage
""",
)
_ACTIONS = ("list", "show", "check")


def main(arguments: Arguments) -> int:
    """Run one of the three sub-commands; the exit code."""
    if not arguments.rest:
        raise UsageError("seclude policy: say what: list, show or check", "see: seclude policy --help")
    word, *names = arguments.rest
    native = arguments.text("arch")
    if native is not None:
        from seclude import abi

        native = abi.arch(native).name
    match word:
        case "list":
            if names:
                raise UsageError("seclude policy list takes no names", "one of them is shown by: seclude policy show NAME")
            return _list()
        case "show":
            return _show(_some(names, word), native)
        case "check":
            return _check(_some(names, word), native, arguments.flag("quiet"))
    guess = nearest(word, _ACTIONS)
    raise UsageError(
        f"seclude policy: unknown word {word!r}" + (f"; did you mean {guess!r}?" if guess else ""), "see: seclude policy --help"
    )


def _some(names: list[str], word: str) -> list[str]:
    if not names:
        raise UsageError(f"seclude policy {word}: name at least one policy", "presets and groups: seclude policy list")
    return names


def _list() -> int:
    from seclude.policy import GROUPS, PRESETS

    width = max(map(len, GROUPS))
    lines = ["presets:"]
    lines += [f"  {name:{width}}  {about}" for name, about in PRESETS.items()]
    lines += ["", "groups (* as in systemd):"]
    lines += [f"  {name:{width}}{'*' if one.systemd else ' '} {one.about} ({len(one.calls)})" for name, one in GROUPS.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _show(names: list[str], native: str | None) -> int:
    from seclude.policy import PRESETS, group, load, preset_text

    texts = []
    for name in names:
        if name.startswith("@"):
            texts.append(str(group(name)))
        elif name in PRESETS:
            texts.append(preset_text(name))
        else:
            texts.append(str(load(name, native=native)))
    sys.stdout.write("\n".join(texts))
    return 0


def _check(names: list[str], native: str | None, quiet: bool) -> int:
    from seclude.policy import load, parse
    from seclude.policy.language import is_file, read_file

    faulty = False
    for name in names:
        # What cannot be read at all is no fault of the policy: 125. A pipe can be read once only.
        text = read_file(name) if is_file(name) else None
        try:
            policy = load(name, native=native) if text is None else parse(text, name, native=native)
            findings = [*policy.notes, *_shadowed(policy)]
        except PolicyError as error:
            findings, policy = list(error.diagnostics), None
        shown = [f for f in findings if f.severity == "error" or not quiet]
        for finding in shown:
            sys.stderr.write(f"{finding}\n")
        wrong = any(f.severity == "error" for f in findings)
        faulty |= wrong
        if policy is not None and not wrong and not quiet:
            sys.stdout.write(f"{name}: {_summary(policy)}\n")
    return 1 if faulty else 0


def _shadowed(policy: Policy) -> list[Diagnostic]:
    from seclude.decision import shadowed

    return list(shadowed(policy))


def _summary(policy: Policy) -> str:
    header = policy.effective
    count = len(policy.rules)
    rules = f"{count} rule{'' if count == 1 else 's'}"
    return f"well formed, {rules}, default {header.default}, for {', '.join(arch.name for arch in policy.architectures)}, tables {header.tables}"
