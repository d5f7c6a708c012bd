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
    "answer": "answer, in another terminal, what a run asks",
    "judge": "run a submission on test cases, and give a verdict with what it used",
    "compile": "compile a policy into a proven filter: raw, assembly, C, Go, Rust or JSON",
    "prove": "prove that a filter means exactly what a policy says",
    "diff": "every call that two policies or filters answer differently",
    "subset": "whether one filter permits no more than another",
    "fuse": "one filter in place of several that are stacked",
    "optimize": "compile an existing filter anew, smaller and faster",
    "decompile": "any filter as a policy",
    "lint": "judge a policy or a filter: what gets through that should not, each with a call that shows it",
    "explain": "what a policy or a filter does with calls, in words",
    "report": "one or two filters on one self-contained HTML page",
    "policy": "list, show and check policies, presets and groups",
    "dump": "show the filters that a program installs, or that a live process has",
    "disasm": "print a filter as text that says what each instruction is about",
    "asm": "assemble a filter from text",
    "emu": "put one call to a filter, and see every instruction on the way",
    "simulate": "tell what the kernel would do with one call, on any machine",
    "expect": "check a policy against a file of expectations",
    "model": "draw what the kernel keeps, step by step",
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
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        _occupy_closed()
    try:
        code = _dispatch(words)
        sys.stdout.flush()  # here, where a full disk can still be told
        return code
    except SecludeError as error:
        _say(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (| head): not an error, and nothing more can be said.
        _discard_output()
        return OWN_FAILURE
    except OSError as error:
        _discard_output()
        where = f": {error.filename}" if error.filename is not None else ""
        _say(f"the operating system refused what Seclude itself needs{where}: {error.strerror}{_remedy(error)}")
        return OWN_FAILURE
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        import os

        if os.environ.get("SECLUDE_TRACEBACK"):
            raise
        _discard_output()
        _say(_fault(error))
        return OWN_FAILURE


def _fault(error: Exception) -> str:
    """A fault of ours, in one message: what, and where it came up."""
    place, step = "", error.__traceback__
    while step is not None:
        place, step = f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}", step.tb_next
    return f"a fault of Seclude itself: {type(error).__name__}: {error} ({place})\n  please report it, with what SECLUDE_TRACEBACK=1 shows"


def _remedy(error: OSError) -> str:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return "\n  what was to be written is not complete"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "\n  raise the limit of open files: ulimit -n"
    return "\n  see: seclude doctor"


def _say(text: str) -> None:
    """One message on stderr. It may hold names that a stranger chose: nothing of them reaches the terminal raw."""
    from seclude.errors import printable

    try:
        sys.stderr.write(f"seclude: {printable(text)}\n")
        sys.stderr.flush()
    except OSError:
        return  # nowhere left to say so


def _occupy_closed() -> None:
    """Put /dev/null where stdin, stdout or stderr are closed (``>&-``).

    Otherwise the next descriptor that we open, a report or a listener, would become the target's stdout. It is closed on
    exec: the target finds its descriptors as closed as they were.
    """
    import os

    while (descriptor := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        pass
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for as long as the process lives
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _discard_output() -> None:
    """Point stdout at /dev/null, lest what is still in its buffer fails again when the interpreter ends."""
    import os

    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    os.close(null)


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
