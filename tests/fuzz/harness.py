"""Coverage-guided fuzzing of one target, with atheris: ``python tests/fuzz/harness.py TARGET DIRECTORY [libFuzzer's options]``.

Targets are those of ``tests/fuzz_support.py``. DIRECTORY is new or empty; seeds are put there, and inputs that reach new code join them.
An input that breaks a promise, takes longer than ``-timeout`` or makes the process larger than ``-rss_limit_mb`` ends the run with a
status other than 0, and is printed and kept (``-artifact_prefix=``). To look at one again: ``python tests/fuzz/harness.py TARGET FILE``.

Memory is watched here, too, as libFuzzer's limit is one for the whole process: once the tables are loaded and the caches are warm, it must not grow.
"""

from __future__ import annotations

import gc
import json
import random
import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

#: inputs after which memory counts as settled, and how much it may grow from then on, whatever the number of inputs
SETTLED = 1000
GROWTH_MIB = 48


def resident() -> int:
    """The memory of this process, in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20


def main(argv: list[str]) -> None:
    """Fuzz a target; ends the process."""
    # Tables are data: without instructions to cover, they only cost time to instrument.
    with atheris.instrument_imports(include=["seclude"], exclude=["seclude.abi"]):
        from fuzz_support import TARGETS, seeds
        from seclude.decision import nodes

        target = TARGETS[argv[1]]
        starts = seeds(argv[1])
        # What is imported on first use is imported, and instrumented, now.
        for raw in starts.values():
            target.body(raw)
    # Nodes that nobody holds are collected past a bound that short runs never see: lower, it is part of what is tried.
    nodes.COLLECT_AT = 20_000
    where = Path(argv[2])
    options = [argv[0], *argv[2:]]
    if where.is_dir():
        corpus, dictionary = where / "corpus", where / "words"
        corpus.mkdir(exist_ok=True)
        for name, raw in starts.items():
            (corpus / name).write_bytes(raw)
        dictionary.write_text("".join(f"{json.dumps(word)}\n".replace("\\n", "\\x0A") for word in target.words))
        options = [argv[0], str(corpus), f"-max_len={target.longest}", *([f"-dict={dictionary}"] if target.words else []), *argv[3:]]

    count = base = 0

    def one(raw: bytes) -> None:
        nonlocal count, base
        target.body(raw)
        count += 1
        if count % SETTLED == 0:
            gc.collect()
            base = base or resident()
            assert resident() - base < GROWTH_MIB, f"grew from {base} to {resident()} MiB in {count - SETTLED} inputs"

    def mutated(raw: bytes, largest: int, seed: int) -> bytes:
        rnd = random.Random(seed)
        if target.other is not None and rnd.random() < 0.7:
            changed = target.other(raw, rnd)
            if changed != raw and len(changed) <= largest:
                return changed
        found: bytes = atheris.Mutate(raw, max(len(raw), largest))
        return found

    if target.other is None:
        atheris.Setup(options, one)
    else:
        atheris.Setup(options, one, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
