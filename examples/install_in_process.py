"""A process that confines itself: it opens what it needs, gives up the rest for good, and works on."""

import os
import tempfile

import seclude

POLICY = """
default errno(EPERM)
include compute
"""


def read_passwd() -> None:
    """Open a file."""
    with open("/etc/passwd"):
        pass


def start_true() -> None:
    """Start another program in this one's place."""
    os.execv("/bin/true", ["true"])


def main() -> None:
    """Open, confine, work."""
    with tempfile.TemporaryFile("w+") as out:
        # From here on no file can be opened and no program started; there is no way back.
        seclude.parse(POLICY, "service.seclude").install()

        out.write("written after the filter was installed\n")
        out.seek(0)
        print(out.read(), end="")
        for attempt in (read_passwd, start_true):
            try:
                attempt()
            except OSError as error:
                print(f"{attempt.__name__}: {error.strerror}")
            else:
                raise SystemExit(f"{attempt.__name__}: succeeded, which the policy should not allow")


if __name__ == "__main__":
    main()
