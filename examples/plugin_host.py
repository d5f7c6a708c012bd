"""A host for plug-ins that strangers wrote: each runs in a worker of its own, which can compute and nothing else.

    python3 examples/plugin_host.py FOLDER TEXT      every *.py there that defines transform(text)
    python3 examples/plugin_host.py                  a demonstration with plug-ins of its own

The host reads a plug-in as text and never imports it. A plug-in's worker is kept between its calls (``reuse``), so it may keep state; what it
breaks by that is its own, since no two plug-ins share a worker.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import seclude

DEMONSTRATION = {
    "counts.py": "seen = 0\ndef transform(text):\n    global seen\n    seen += 1\n    return f'{text} (call {seen})'\n",
    "shouts.py": "def transform(text):\n    return text.upper()\n",
    "spies.py": "def transform(text):\n    return open('/etc/passwd').read()\n",
    "phones_home.py": "import _socket\ndef transform(text):\n    _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM).connect(('198.51.100.7', 80))\n",
    "hangs.py": "def transform(text):\n    while True: pass\n",
    "eats.py": "def transform(text):\n    kept = []\n    while True: kept.append(bytes(1 << 20))\n",
    "leaves.py": "import os\ndef transform(text):\n    os._exit(0)\n",
    "returns_itself.py": "def transform(text):\n    return transform\n",
    "breaks_python.py": "import builtins\ndef transform(text):\n    builtins.str = builtins.len = None\n    return text\n",
    "is_broken.py": "def transform(text:\n",
}

loaded: dict[str, Any] = {}


def use(name: str, source: str, text: str) -> object:
    """In a worker: make the plug-in from its text at the first call, and call it."""
    if name not in loaded:
        names: dict[str, Any] = {"__name__": name}
        exec(compile(source, name, "exec"), names)
        loaded[name] = names["transform"]
    return loaded[name](text)


class Plugin:
    """One plug-in, and the workers that it has to itself."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.source = path.read_text()
        self.use = seclude.confined("compute", reuse=True, timeout=1.0, memory="64M", output="64K", warm=["_socket"])(use)

    def transform(self, text: str) -> str:
        """What the plug-in makes of ``text``; where it fails, what it did instead."""
        try:
            result = self.use(self.name, self.source, text)
        except seclude.ConfinedError as error:
            denied = "".join(f"; denied: {one.text}" for one in error.denials)
            return f"failed: {str(error).splitlines()[0]}{denied}"
        # It may be anything that is plain: what a plug-in returns is a stranger's word too.
        return result if isinstance(result, str) else f"failed: returned {type(result).__name__}"


def main(words: list[str]) -> None:
    """Every plug-in of a folder on one text, twice."""
    with tempfile.TemporaryDirectory() as place:
        folder, text = (Path(words[0]), words[1]) if words else (Path(place), "hello")
        if not words:
            for name, source in DEMONSTRATION.items():
                (folder / name).write_text(source)
        plugins = [Plugin(path) for path in sorted(folder.glob("*.py"))]
        for _ in range(2):
            for plugin in plugins:
                print(f"{plugin.name}: {plugin.transform(text)}")
        for plugin in plugins:
            plugin.use.close()


if __name__ == "__main__":
    main(sys.argv[1:])
