"""Write src/seclude/compiler/presets: every preset compiled for the natives that most machines have.

Run it after a change to a preset, to the tables or to the compiler: ``python tools/compile_presets.py``; with ``--check`` nothing is
written and the exit code says whether the files are up to date. The output is a function of the sources alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from seclude.compiler.pack import pack
from seclude.policy import PRESETS, load

NATIVES = ("x86_64", "aarch64")
PLACE = Path(__file__).resolve().parent.parent / "src" / "seclude" / "compiler" / "presets"


def compiled() -> dict[str, bytes]:
    """File name → content."""
    return {f"{name}.{native}": pack(load(name, native=native), name, native).to_bytes() for name in PRESETS for native in NATIVES}


def main(arguments: list[str]) -> int:
    wanted = compiled()
    present = {path.name: path.read_bytes() for path in PLACE.iterdir() if path.is_file()} if PLACE.is_dir() else {}
    if wanted == present:
        return 0
    if "--check" in arguments:
        print("compiled presets are out of date; run: python tools/compile_presets.py", file=sys.stderr)
        return 1
    PLACE.mkdir(exist_ok=True)
    for name in present.keys() - wanted.keys():
        (PLACE / name).unlink()
    for name, raw in wanted.items():
        (PLACE / name).write_bytes(raw)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
