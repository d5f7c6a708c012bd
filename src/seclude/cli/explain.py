"""``seclude explain``: what a policy or a filter does with calls, in words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from seclude.cli.options import Command, Option
from seclude.cli.sources import INPUTS, READ_OPTIONS, read_sources, say_notes
from seclude.errors import UsageError

if TYPE_CHECKING:
    from seclude.cli.options import Arguments

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "explain",
    "explain X [CALL...] [options]",
    "Say what a policy or a filter does: every call by its answer, with the conditions in words; or every way that the named calls can go.",
    (*READ_OPTIONS, Option("--json", "", "print JSON instead")),
    epilog=f"""
X is {INPUTS}.
CALL is a name or a number, perhaps with an architecture in front: socket, x86:socketcall, 41

exit codes: 0 explained, 125 an input that cannot be read, an unknown call, or usage
""",
)


def main(arguments: Arguments) -> int:
    """Explain; the exit code."""
    from seclude import abi
    from seclude.analysis.explain import as_json, as_text, explain

    if not arguments.rest:
        raise UsageError("seclude explain: name what to explain: a policy, a preset, or a filter", "see: seclude explain --help")
    name, *calls = arguments.rest
    arguments.rest = [name]
    (source,) = read_sources(arguments, 1)
    say_notes([source])
    named = arguments.text("arch")
    found = explain(source.decision, calls, policy=source.policy, home=abi.arch(named) if named else None)
    if arguments.flag("json"):
        import json

        sys.stdout.write(json.dumps(as_json(name, found), indent=2) + "\n")
    else:
        sys.stdout.write(as_text(name, found))
    return 0
