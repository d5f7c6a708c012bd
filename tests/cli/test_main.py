"""What the command does when it cannot do what was asked: one message, an exit code, no traceback."""

from __future__ import annotations

import errno

import pytest

import seclude.cli.doctor
from seclude.cli.main import COMMANDS, main
from seclude.errors import KernelError, printable


@pytest.fixture
def raising(monkeypatch):
    """Make ``seclude doctor`` raise."""

    def put(error):
        def fail(arguments):
            raise error

        monkeypatch.setattr(seclude.cli.doctor, "main", fail)

    return put


def told(capsys):
    done = capsys.readouterr()
    assert done.out == ""
    return done.err


def test_an_error_of_the_tree_says_what_to_do(raising, capsys):
    raising(KernelError("no \x1b[31mfilters\udcff", "use another kernel"))
    assert main(["doctor"]) == 125
    assert told(capsys) == "seclude: no \\x1b[31mfilters\\xff\n  use another kernel\n"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EPERM, "Operation not permitted"), ": Operation not permitted\n  see: seclude doctor\n"),
        (OSError(errno.EMFILE, "Too many open files"), ": Too many open files\n  raise the limit of open files: ulimit -n\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x"),
            ": /x: No space left on device\n  what was to be written is not complete\n",
        ),
    ],
)
def test_what_the_system_refuses_is_no_traceback(raising, capfd, error, text):
    raising(error)
    assert main(["doctor"]) == 125
    assert capfd.readouterr().err == "seclude: the operating system refused what Seclude itself needs" + text


def test_a_fault_of_ours_names_its_place(raising, capfd, monkeypatch):
    monkeypatch.delenv("SECLUDE_TRACEBACK", raising=False)
    raising(NameError("name 'x' is not defined"))
    assert main(["doctor"]) == 125
    err = capfd.readouterr().err
    assert err.startswith("seclude: a fault of Seclude itself: NameError: name 'x' is not defined (")
    assert "test_main.py:" in err
    assert "SECLUDE_TRACEBACK=1" in err


def test_the_traceback_is_there_for_who_asks(raising, monkeypatch):
    monkeypatch.setenv("SECLUDE_TRACEBACK", "1")
    raising(NameError("name 'x' is not defined"))
    with pytest.raises(NameError):
        main(["doctor"])


def test_interrupted(raising):
    raising(KeyboardInterrupt())
    assert main(["doctor"]) == 130


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with\nlines", "plain, with\nlines"),
        ("\t\r\x7f\x9b", "\\x09\\x0d\\x7f\\x9b"),
        ("ä \u202e \U000e0041 \udcff \ud800", "ä \\u202e \\U000e0041 \\xff \\ud800"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_a_terminal(capsys, name):
    """A hundred columns, but for lines of the assembly language, which are what they are."""
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: seclude {name}")
    assert [line for line in out.splitlines() if len(line) > 100] == [] or name == "asm"
