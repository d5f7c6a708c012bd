"""Sphinx extension: writes the reference tables from the code into ``reference/generated``, and colours policies.

The pages include these fragments, so that presets, groups, options and architectures can never differ from the code.
A file is rewritten only when its content changed, which keeps repeated builds incremental.
"""

from __future__ import annotations

import importlib
import textwrap
from typing import TYPE_CHECKING, ClassVar

from pygments import token
from pygments.lexer import RegexLexer, words

from seclude import abi, policy
from seclude.analysis.lint_rules import RULES, SEVERITIES
from seclude.cli import main
from seclude.policy import parser
from seclude.sandbox import files
from seclude.supervise import files_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sphinx.application import Sphinx

ACTIONS = ("allow", "log", "trace", "notify", "errno", "trap", "kill", "kill_thread", "kill_process")
HEADERS = ("default", "arch", "badarch", "x32", "unknown", "negative", "tables", "include")


class PolicyLexer(RegexLexer):
    """Colours for the policy language."""

    name = "Seclude policy"
    aliases: ClassVar = ["seclude"]
    filenames: ClassVar = ["*.seclude"]
    tokens: ClassVar = {
        "root": [
            (r"#.*$", token.Comment.Single),
            (words(HEADERS, prefix=r"^\s*", suffix=r"\b"), token.Keyword.Declaration),
            (words(ACTIONS, suffix=r"\b"), token.Keyword),
            (words(("on", "and", "or", "not", "in"), prefix=r"\b", suffix=r"\b"), token.Operator.Word),
            (r"@[\w-]+", token.Name.Class),
            (r"0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|\d[\d_]*", token.Number),
            (r"\b[A-Z][A-Z0-9_]+\b", token.Name.Constant),
            (r"[a-z_]\w*", token.Name),
            (r"==|!=|<=|>=|<<|>>|\.\.|[<>&|~^+\-*]", token.Operator),
            (r"[(){},:]", token.Punctuation),
            (r"\s+", token.Whitespace),
            (r".", token.Text),
        ]
    }


def presets() -> Iterable[str]:
    """Each preset with its whole text."""
    for name, about in policy.PRESETS.items():
        yield f"## `{name}`\n"
        yield f"{about[0].upper()}{about[1:].rstrip('.')}.\n"
        yield f"```seclude\n{policy.preset_text(name).rstrip()}\n```\n"


def grammar() -> Iterable[str]:
    """The grammar that opens the parser's module, without its example: the last indented block of the docstring."""
    text = textwrap.dedent((parser.__doc__ or "").split("::\n")[-1].rpartition("\n\n")[0])
    yield f"```text\n{text.strip()}\n```\n"


def groups() -> Iterable[str]:
    """Each group with its members."""
    for group in policy.GROUPS.values():
        yield f"## `{group.name}`\n"
        yield f"{group.about[0].upper()}{group.about[1:].rstrip('.')}." + (" As systemd's.\n" if group.systemd else "\n")
        yield ", ".join(f"`{call}`" for call in group.calls) + "\n"


def commands() -> Iterable[str]:
    """Each command's ``--help``."""
    for name, line in main.COMMANDS.items():
        command = importlib.import_module(f"seclude.cli.{name}").COMMAND
        yield f"## `seclude {name}`\n"
        yield f"{line[0].upper()}{line[1:]}.\n"
        yield f"```text\n{command.help().rstrip()}\n```\n"


def architectures() -> Iterable[str]:
    """One row an architecture."""
    yield "| name | `AUDIT_ARCH_*` token | bits | byte order | calls | also written |\n|---|---|---|---|---|---|"
    for name in abi.ARCHITECTURES:
        arch = abi.arch(name)
        aliases = ", ".join(f"`{alias}`" for alias in arch.aliases)
        yield f"| `{arch.name}` | `{arch.token_name}` `{arch.token:#010x}` | {arch.bits} | {arch.byteorder} | {len(arch.calls())} | {aliases} |"


def lints() -> Iterable[str]:
    """Each lint rule: what is asked, why, what to do."""
    for rule in RULES.values():
        yield f"## {rule.id} `{rule.name}`\n"
        others = "".join(f", {SEVERITIES[severity]} for a {use}" for use, severity in rule.contexts.items())
        yield f"Severity: {SEVERITIES[rule.severity]}{others}. {rule.question}\n"
        yield f"**Why.** {rule.why}\n"
        yield f"**What to do.** {rule.fix}\n"


def runtime() -> Iterable[str]:
    """One row a path of the runtime set."""
    yield "| path | what it is | the program may |\n|---|---|---|"
    for names, may in ((files.RUNTIME, "read"), (files.DEVICES, "read and write")):
        for path, about in names:
            yield f"| `{path}` | {about} | {may} |"


def brokered() -> Iterable[str]:
    """What is done about each call that takes a path."""
    yield ", ".join(f"`{call}`" for call in files_table.BROKERED) + ".\n"
    yield "Refused, since a supervisor could not do them for a program, or they would go around it:\n"
    yield "| with | calls |\n|---|---|"
    for error, calls in files_table.REFUSED.items():
        yield f"| {error} | {', '.join(f'`{call}`' for call in calls)} |"
    yield "\nLeft to the kernel:\n"
    yield "| call | since |\n|---|---|"
    for call, why in files_table.COVERED.items():
        yield f"| `{call}` | {why} |"


FRAGMENTS: dict[str, Callable[[], Iterable[str]]] = {
    "grammar.md": grammar,
    "presets.md": presets,
    "groups.md": groups,
    "commands.md": commands,
    "architectures.md": architectures,
    "lints.md": lints,
    "runtime.md": runtime,
    "files.md": brokered,
}


def write(directory: Path) -> None:
    """Write every fragment into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in FRAGMENTS.items():
        text = "\n".join(make()) + "\n"
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx's entry point."""
    write(app.srcdir / "reference" / "generated")
    app.add_lexer("seclude", PolicyLexer)
    return {"parallel_read_safe": True}
