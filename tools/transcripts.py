"""Write what commands really print into the console blocks of README and documentation.

``python tools/transcripts.py PAGE...`` runs each page as the tests do (tests/test_project_docs.py describes blocks) and
replaces the output of every command whose shown output no longer matches; what matches stays as it is, ellipses included.
Read the difference before committing it: this tool shows what happens, not what ought to happen.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import test_project_docs as pages  # noqa: E402 - after the path above

__all__ = ["rewrite"]


def rewrite(page: Path) -> str:
    """The page's text with every transcript brought up to date."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "examples").symlink_to(ROOT / "examples")
        for block in pages.blocks(text):
            kind, _, rest = block.note.partition(":")
            if kind == "not run":
                continue
            if kind == "file":
                (directory / rest.strip()).write_text(block.body, encoding="utf-8")
            elif block.language == "console":
                text = text.replace(f"```console\n{block.body}```", f"```console\n{replay(block, directory)}```", 1)
            elif block.language == "python":
                pages.run_python(block, directory)
    return text


def replay(block: pages.Block, directory: Path) -> str:
    """The body of a console block with the outputs that do not match replaced."""
    steps = pages.commands(block.body)
    lines = []
    for (command, expected), actual in zip(steps, pages.outputs(steps, directory), strict=True):
        lines.append("$ " + command.replace("\n", "\n> "))
        lines += expected if pages.matches(expected, actual) else actual.splitlines()
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        path = Path(argument).resolve()
        path.write_text(rewrite(path), encoding="utf-8")
