"""The ``seclude`` command: find the sub-command's module, run it, turn errors into one message and an exit code.

Each command is a module of this package with ``COMMAND`` (a `Command` table) and ``main(arguments) -> int``. Only the
module of the command at hand is imported.
"""

from __future__ import annotations

import sys

from seclude.errors import OWN_FAILURE, SecludeError, UsageError, nearest

__all__ = ["main"]

#: command → one line for the overview, in the order they are listed
COMMANDS = {
    "run": "run a program under a policy and explain every denial",
    "policy": "list, show and check policies, presets and groups",
    "syscalls": "numbers, prototypes and groups of system calls",
    "doctor": "what this kernel and this user can do",
}


def overview() -> str:
    """The text of ``seclude --help``."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:{width}}  {line}" for name, line in COMMANDS.items())
    return f"""usage: seclude COMMAND [options]

A seccomp workbench: say what a program may call, get a filter that means exactly that, run the program under it.

commands:
{rows}

'seclude COMMAND --help' explains one. 'seclude --version' prints the version.
Exit codes: 125 is Seclude's own failure (usage, policy, kernel); each command's help names the others.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code. Never raises `SecludeError`."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(words)
    except SecludeError as error:
        sys.stdout.flush()
        sys.stderr.write(f"seclude: {error}\n")
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (| head): not an error, and nothing more can be said.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OWN_FAILURE
    except KeyboardInterrupt:
        return 130


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h", "help"):
        if len(words) > 1 and words[0] == "help":
            words = [words[1], "--help"]
        else:
            sys.stdout.write(overview())
            return 0 if words else OWN_FAILURE
    name = words[0]
    if name in ("--version", "-V"):
        from seclude._version import __version__

        sys.stdout.write(f"seclude {__version__}\n")
        return 0
    if name not in COMMANDS:
        guess = nearest(name, COMMANDS)
        raise UsageError(f"unknown command {name!r}" + (f"; did you mean {guess!r}?" if guess else ""), "see: seclude --help")
    module = __import__(f"seclude.cli.{name}", fromlist=["COMMAND", "main"])
    arguments = module.COMMAND.parse(words[1:])
    if arguments.flag("help"):
        sys.stdout.write(module.COMMAND.help())
        return 0
    code: int = module.main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
