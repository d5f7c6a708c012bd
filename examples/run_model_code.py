"""Run Python that a language model wrote: files in a scratch directory, no network, no processes, limits, and the result as JSON.

    python3 examples/run_model_code.py FILE [INPUT=FILE ...]
    python3 examples/run_model_code.py               a demonstration with code of its own

The code finds its input files in the directory it starts in, may write there, and leaves its answer in a variable named ``result``.
What it prints is part of the answer, and so are the files it made.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import seclude

DEMONSTRATION = {
    "a sum": "import csv\nwith open('prices.csv') as file:\n    result = sum(float(row['price']) for row in csv.DictReader(file))\nprint('summed')\n",
    "a file": "with open('answer.txt', 'w') as file:\n    file.write('42\\n')\n",
    "the network": "import urllib.request\nresult = urllib.request.urlopen('http://198.51.100.7/').read()\n",
    "other files": "result = open('/etc/passwd').read()\n",
    "a shell": "import subprocess\nresult = subprocess.run(['id'], capture_output=True).stdout\n",
    "no end": "while True:\n    pass\n",
    "too much": "result = 'x' * 10**10\n",
    "a large file": "with open('large', 'wb') as file:\n    while True: file.write(bytes(1 << 20))\n",
    "a mistake": "result = 1 / 0\n",
    "no value": "result = object()\n",
}
PRICES = b"name,price\nbread,2.5\nbutter,3\n"


def execute(source: str, place: str) -> dict[str, Any]:
    """In the worker: run the code in ``place``."""
    os.chdir(place)
    printed = io.StringIO()
    names: dict[str, Any] = {"__name__": "__main__", "result": None}
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "code.py", "exec"), names)
    return {"result": names["result"], "printed": printed.getvalue()[:10_000]}


def run(source: str, inputs: dict[str, bytes]) -> dict[str, Any]:
    """What came of it, as values that JSON has."""
    with tempfile.TemporaryDirectory(prefix="model-code-") as place:
        for name, content in inputs.items():
            (Path(place) / name).write_bytes(content)
        answer: dict[str, Any] = {"ok": False}
        # Landlock is told of this directory, so each run has a template of its own; nothing of one run is there in the next.
        decorate = seclude.confined("compute", write=[place], timeout=2.0, memory="256M", output="1M", file_size="8M")
        with decorate(execute) as confined:
            try:
                outcome = confined.run(source, place)
                answer |= {"ok": True, **outcome.value}
                denials = outcome.denials
            except seclude.ConfinedError as error:
                answer["error"] = str(error).splitlines()[0]
                denials = error.denials
        answer["denied"] = [denial.text for denial in denials if denial.result != "ENOSYS"]
        made = [path for path in sorted(Path(place).iterdir()) if path.name not in inputs and path.is_file() and not path.is_symlink()]
        answer["files"] = {path.name: path.stat().st_size for path in made}
        return answer


def main(words: list[str]) -> None:
    """A file, or the demonstration."""
    if words:
        pairs = [word.partition("=")[::2] for word in words[1:]]
        wrong = [name for name, path in pairs if not path or name in ("", ".", "..") or "/" in name]
        if wrong:
            sys.exit(f"{wrong[0]!r}: expected NAME=FILE, and a name of one part")
        try:
            source, inputs = Path(words[0]).read_text(), {name: Path(path).read_bytes() for name, path in pairs}
        except (OSError, UnicodeDecodeError) as error:
            sys.exit(str(error))
        print(json.dumps(run(source, inputs), default=str, indent=2))
        return
    for name, source in DEMONSTRATION.items():
        print(f"{name}: {json.dumps(run(source, {'prices.csv': PRICES}), default=str)}")


if __name__ == "__main__":
    main(sys.argv[1:])
