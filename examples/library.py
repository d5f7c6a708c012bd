"""Run a program from Python, and look at what it was denied."""

import sys

import seclude

SCRIPT = """
import os, socket
print("sum of squares:", sum(n * n for n in range(1000)))
try:
    socket.socket(socket.AF_INET)
except OSError as error:
    print("no network:", error.strerror)
"""


def main() -> None:
    """Run, then report."""
    result = seclude.run([sys.executable, "-c", SCRIPT], policy="container", limits={"cpu": "10s", "memory": "512M"}, timeout=30)
    print(f"exit status {result.status}, {len(result.denials)} kind of call denied")
    for denial in result.denials:
        print(f"  {denial.count}x {denial.text} -> {denial.result}")


if __name__ == "__main__":
    main()
