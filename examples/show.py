"""What `make demo` runs: examples/demo.py under the default preset, then under examples/demo.seclude.

Each command line is printed before it is run, so that it can be copied. Ends with 1 when the sandbox did not hold.
"""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def show(title: str, *words: str) -> str:
    """Print and run one command; return what it printed."""
    print(f"\n# {title}\n$ {' '.join(words)}", flush=True)
    programs = {"seclude": os.path.join(os.path.dirname(sys.executable), "seclude"), "python3": sys.executable}
    done = subprocess.run(
        [programs.get(word, word) for word in words],
        cwd=os.path.dirname(HERE),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end="", flush=True)
    return done.stdout


def main() -> int:
    """Show both runs and check that every attempt was denied and explained."""
    first = show(
        "A script under the default preset: it may work, but neither use the network nor trace a process.",
        "seclude", "run", "--", "python3", "examples/demo.py", "network", "ptrace",
    )  # fmt: skip
    second = show(
        "The same script under examples/demo.seclude, which also forbids execve: now it cannot start a shell either.",
        "seclude", "run", "--policy", "examples/demo.seclude", "--", "python3", "examples/demo.py", "network", "ptrace", "shell",
    )  # fmt: skip
    expected = [(first, ("socket(", "ptrace(")), (second, ("socket(", "ptrace(", "execve("))]
    held = all(
        "work done" in output and "succeeded" not in output and all(f"  {call}" in output for call in calls) for output, calls in expected
    )
    if not held:
        print("\nThis is not what should happen: 'seclude doctor' says what this kernel lacks.", file=sys.stderr)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
