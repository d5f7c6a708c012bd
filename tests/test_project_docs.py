"""README and documentation are run: every code block does what the page says, and every link inside leads somewhere.

How a block is treated follows from its language:

- ``console``: lines after ``$ `` are commands (``> `` continues one); what follows is their output, both streams as they
  come. All commands of a block share one shell, so ``$ echo $?`` works. ``...`` alone on a line stands for any lines,
  inside a line for any characters. Lines that begin with ``seclude: note:`` are left out, since what a kernel lacks is
  a fact of the machine at hand. Nothing else is approximate.
- ``python``: a script of its own that must end well; with ``>>>`` prompts its output is compared (doctest).
- ``seclude``: a policy that must compile; rules without ``default`` or ``include`` are a fragment.

An HTML comment just above a block changes that: ``<!-- file: NAME -->`` writes the block to a file of the page's directory
(whatever its language), ``<!-- wrong -->`` says a policy must be refused, ``<!-- not run: REASON -->`` leaves the block out.
Each page has a directory of its own, shared by its blocks in order, with the checkout's ``examples`` in it.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

import seclude as package
from seclude.cli.main import COMMANDS
from support import ROOT, run

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if not {"_build", "generated"} & set(p.parts)),
]
FENCE = re.compile(
    r"^(?:<!--\s*(?P<note>.*?)\s*-->\n+)?(?P<fence>`{3,})(?P<language>\w+)[^\n]*\n(?P<body>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
MARK = "\x1eend of command\x1e"
DOCTEST = """
import doctest, sys
text = sys.stdin.read()
test = doctest.DocTestParser().get_doctest(text, {"__name__": "page"}, "block", None, 0)
sys.exit(bool(doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test).failed))
"""


class Block(NamedTuple):
    language: str
    note: str
    body: str
    line: int


def blocks(text: str) -> list[Block]:
    return [Block(m["language"], m["note"] or "", m["body"], text.count("\n", 0, m.start("fence")) + 1) for m in FENCE.finditer(text)]


def name(page):
    return str(page.relative_to(ROOT))


def commands(body: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with its expected output."""
    found: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = (found[-1][0] + "\n" + line[2:], [])
        else:
            assert found, f"a console block starts with '$ ', not {line!r}"
            found[-1][1].append(line)
    return found


def matches(expected: list[str], actual: str) -> bool:
    """Whether ``actual`` is ``expected``, where ``...`` stands for anything within its line, or alone for any lines."""
    pattern = ""
    for line in expected:
        pattern += r"(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"
    return re.fullmatch(pattern, actual) is not None


def environment(directory: Path) -> dict[str, str]:
    """As a reader would have it: the command on PATH, an empty home, output buffered as usual."""
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(directory), "XDG_CACHE_HOME": str(directory / ".cache"), "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": ""}


def outputs(steps: list[tuple[str, list[str]]], directory: Path) -> list[str]:
    """What each command of one shell prints."""
    script = "".join(f"{command}\n{{ s=$?; printf '%s\\n' '{MARK}'; (exit $s); }} 2>/dev/null\n" for command, _ in steps)
    done = run(["/bin/sh", "-c", "exec 2>&1\n" + script], cwd=directory, env=environment(directory))
    pieces = done.stdout.split(MARK + "\n")
    assert len(pieces) == len(steps) + 1, str(done)
    return ["".join(line + "\n" for line in piece.splitlines() if not line.startswith("seclude: note:")) for piece in pieces[:-1]]


def run_console(block, directory):
    steps = commands(block.body)
    for (command, expected), actual in zip(steps, outputs(steps, directory), strict=True):
        assert matches(expected, actual), f"$ {command}\n--- the page says\n" + "\n".join(expected) + f"\n--- but it prints\n{actual}"


def run_python(block: Block, directory: Path) -> None:
    doctest = ">>> " in block.body
    command = [sys.executable, "-c", DOCTEST] if doctest else [sys.executable, "-"]
    done = run(command, stdin=block.body, cwd=directory, env=environment(directory))
    assert done.status == 0, str(done)


def read_policy(block):
    text = block.body if re.search(r"^(default|include)\b", block.body, re.MULTILINE) else "default kill\n" + block.body
    if block.note == "wrong":
        with pytest.raises(package.PolicyError):
            package.compile(package.parse(text, "page"))
    else:
        # Compiled, since only the compiler sees rules that can never decide.
        package.compile(package.parse(text, "page"))


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_of_a_page_do_what_it_says(page, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for block in blocks(page.read_text(encoding="utf-8")):
        place = f"{name(page)}:{block.line}"
        kind, _, rest = block.note.partition(":")
        try:
            if kind == "not run":
                assert rest.strip(), f"{place}: say why the block is not run"
            elif kind == "file":
                (tmp_path / rest.strip()).write_text(block.body, encoding="utf-8")
                if block.language == "seclude":
                    read_policy(block)
            elif block.language == "console":
                run_console(block, tmp_path)
            elif block.language == "python":
                run_python(block, tmp_path)
            elif block.language == "seclude":
                read_policy(block)
        except AssertionError as error:
            pytest.fail(f"{place}: {error}")
        except package.SecludeError as error:
            pytest.fail(f"{place}: {error}")


LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_of_a_page_lead_to_files(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{name(page)} links to {target}, which does not exist"


#: of other programs, or wrong on purpose
FOREIGN = {"--seccomp-bpf", "--seccomp", "--polcy", "--indent", "--version"}


def options() -> dict[str, set[str]]:
    """Command → its options, long and short."""
    return {
        command: {flag for option in importlib.import_module(f"seclude.cli.{command}").COMMAND.options for flag in option.flags}
        for command in COMMANDS
    }


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_that_a_page_names_exist(page):
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text(encoding="utf-8")))
    assert named - FOREIGN <= set().union(*options().values())


def test_the_reference_shows_every_option_of_every_command(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs/_ext")
    written = "".join(importlib.import_module("seclude_tables").commands())
    sections = dict(re.findall(r"^## `seclude (\w+)`$(.*?)(?=^## |\Z)", written, re.MULTILINE | re.DOTALL))
    assert "generated/commands.md" in (ROOT / "docs/reference/commands.md").read_text()
    for command, flags in options().items():
        assert flags <= set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", sections[command])), command


def test_exit_codes_are_told_of_every_command_that_answers_a_question():
    answering = {
        command
        for command in COMMANDS
        if re.search(r"exit codes?.*?[,;] 1 ", importlib.import_module(f"seclude.cli.{command}").COMMAND.epilog, re.DOTALL | re.IGNORECASE)
    }
    rows = re.findall(r"^\| (`[a-z].*?`) \|", (ROOT / "docs/reference/exit-codes.md").read_text(), re.MULTILINE)
    assert {name.split()[0] for row in rows for name in re.findall(r"`(.+?)`", row)} == answering


def test_ellipsis_is_minimal():
    assert matches(["a ... c"], "a b c\n")
    assert not matches(["a ... c"], "a b\nc\n")
    assert matches(["a", "...", "d"], "a\nb\nc\nd\n")
    assert matches(["a", "...", "d"], "a\nd\n")
    assert not matches(["a"], "a\nb\n")
    assert not matches([], "a\n")
    assert matches([], "")


def test_blocks_are_found():
    text = "x\n\n<!-- file: a.txt -->\n```text\nhi\n```\n\n```console\n$ echo $(cat a.txt)\nhi\n```\n"
    assert [(b.language, b.note, b.line) for b in blocks(text)] == [("text", "file: a.txt", 4), ("console", "", 8)]


@pytest.mark.live
def test_report_page_lists_every_field(tmp_path):
    out = tmp_path / "report.json"
    command = [sys.executable, "-c", "import socket; socket.socket()"]
    done = run([sys.executable, "-m", "seclude", "run", "--report", "json", "--report-file", str(out), "--", *command])
    assert done.status == 1, str(done)
    report = json.loads(out.read_text())
    run_fields, _, denial_fields = (ROOT / "docs/reference/report.md").read_text().partition("### Fields of a denial")
    described = re.compile(r"^\| (`.+?`) \|", re.MULTILINE)
    assert fields(described.findall(run_fields)) == set(report)
    assert report["denials"], "the command was to be denied its socket"
    assert fields(described.findall(denial_fields)) == set(report["denials"][0])


def fields(cells):
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
