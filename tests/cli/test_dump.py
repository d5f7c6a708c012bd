"""``seclude dump`` without a kernel's help: what it refuses at once, and how results are told."""

from __future__ import annotations

import pytest

from seclude.cli.main import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no command given"),
        (("--pid", "x"), "no process id"),
        (("--pid", "1", "ls"), "not both"),
        (("--limit", "-1", "ls"), "no count"),
        (("--limit", "many", "ls"), "no count"),
        (("--timeout", "1y", "ls"), "not a time"),
        (("--style", "odd", "ls"), "takes one of"),
        (("--output", "/dev/null/x", "--", "ls"), "name a directory"),
        (("--pid", "1", "--timeout", "1"), "for a command"),
    ],
)
def test_usage(words, said, capsys):
    assert main(["dump", *words]) == 125
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["dump", "disasm", "asm", "emu"])
def test_help_says_the_exit_codes(command, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: seclude " + command)
    assert "exit codes:" in shown
