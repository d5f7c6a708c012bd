"""Execute a notebook's code cells in order, without Jupyter, and compare with the outputs that it stores.

    python tools/run_notebook.py NOTEBOOK            exit 1 and say where an output differs
    python tools/run_notebook.py --write NOTEBOOK    store what the cells print

A cell's outputs are what it prints and, as Jupyter shows it, the value of its last expression. In a stored output ``...`` stands for any characters of a
line, so that what is the machine's (an address, a time) need not agree. The format is nbformat 4 (nbformat.readthedocs.io, "The Notebook file format").
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any


def execute(source: str, names: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Run one cell in ``names``; its outputs, in the notebook's form."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": lines(printed.getvalue())})
    if value is not None:
        outputs.append({"data": {"text/plain": lines(repr(value))}, "metadata": {}, "output_type": "execute_result"})
    return outputs


def lines(text: str) -> list[str]:
    """As the format stores texts: a list of lines with their ends."""
    return text.splitlines(keepends=True)


def shown(outputs: list[dict[str, Any]]) -> str:
    """What a reader of the notebook sees below a cell."""
    return "\n".join("".join(output["text"] if "text" in output else output["data"]["text/plain"]).rstrip("\n") for output in outputs)


def same(stored: str, found: str) -> bool:
    """Whether ``found`` is what was stored, where ``...`` is anything within a line."""
    return re.fullmatch(".*".join(map(re.escape, stored.split("..."))), found) is not None


def main(words: list[str]) -> int:
    """Execute, and compare or store."""
    write = "--write" in words
    (path,) = (Path(word) for word in words if word != "--write")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    wrong = 0
    count = 0
    for position, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        count += 1
        outputs = execute("".join(cell["source"]), names, f"{path.name}, cell {position + 1}")
        for output in outputs:
            if output["output_type"] == "execute_result":
                output["execution_count"] = count
        stored, found = shown(cell["outputs"]), shown(outputs)
        if write:
            if not same(stored, found) or not stored:
                cell["outputs"] = outputs
            cell["execution_count"] = count
        elif not same(stored, found):
            wrong += 1
            print(f"{path.name}, cell {position + 1}: the notebook says\n{stored}\nbut it prints\n{found}")
    if write:
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path.name}: {count} cells, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
