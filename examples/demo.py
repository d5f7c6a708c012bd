"""Honest work, followed by the attempts named on the command line: network, ptrace, shell.

An ordinary script that knows nothing of Seclude. `make demo` runs it under two policies; each attempt says what came
of it and the script goes on, as a program with a harmless bug or a harmful dependency would.
"""

import ctypes
import hashlib
import os
import socket
import subprocess
import sys
import tempfile


def work() -> None:
    """Compute something, write it to a file, read it back."""
    primes = [n for n in range(2, 20_000) if all(n % d for d in range(2, int(n**0.5) + 1))]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "primes.txt")
        with open(path, "w") as file:
            file.writelines(f"{n}\n" for n in primes)
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    print(f"work done: {len(primes)} primes below 20000, sha256 {digest[:16]}")


def network() -> None:
    """Open a connection. 192.0.2.1 is reserved for documentation (RFC 5737): nothing is there, even without a filter."""
    socket.create_connection(("192.0.2.1", 80), timeout=1).close()


def ptrace() -> None:
    """Attach to the parent, as a debugger would: whoever succeeds reads and writes its memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    PTRACE_SEIZE = 0x4206
    if libc.ptrace(PTRACE_SEIZE, os.getppid(), None, None) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def shell() -> None:
    """Start a shell."""
    subprocess.run(["/bin/sh", "-c", "echo a shell says hello"], check=True)


ATTEMPTS = {"network": network, "ptrace": ptrace, "shell": shell}


def main() -> None:
    """Work, then try each attempt given."""
    work()
    for name in sys.argv[1:]:
        # What was printed so far comes before what a child prints, also when the output is a pipe.
        sys.stdout.flush()
        try:
            ATTEMPTS[name]()
        except OSError as error:
            print(f"{name}: {type(error).__name__}: {error.strerror or error}")
        else:
            print(f"{name}: succeeded")


if __name__ == "__main__":
    main()
