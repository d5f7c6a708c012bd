"""Handlers on the real kernel, under the command: what they answer is what the target gets, and what denies is told."""

import pytest

from run_support import ALLOW, c_program, public, run, who

pytestmark = pytest.mark.live

HANDLERS = """
import os
from seclude.supervise import Allow, Call, Deny, Emulate, Inject, Kill, Return, handler

@handler("getpgid")
def group(call):
    if call.args["pid"] == 0:
        return Allow()
    return Deny("EACCES", "not your group")

@handler("getppid", may={Return})
def parent(call):
    return Return(4242)

@handler("chdir")
def careless(call):
    return Deny("ENOENT") if call.path("path") == "/gone" else Allow()
"""

VICTIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
static void show(const char *what, long result) { printf("%s %ld %d\n", what, result < 0 ? -1 : result, result < 0 ? errno : 0); }
int main(void) {
    show("own", getpgid(0) == getpgrp());
    show("other", getpgid(1));
    show("parent", getppid());
    show("gone", chdir("/gone"));
    show("root", chdir("/"));
    return 0;
}
"""


def handlers(text: str) -> str:
    """A file with handlers that every user can read."""
    path = public() / f"handlers{abs(hash(text)):x}.py"
    path.write_text(text)
    path.chmod(0o644)
    return str(path)


def options(text: str, *names: str) -> tuple[str, ...]:
    file = handlers(text)
    return tuple(word for name in names for word in ("--handler", f"{file}:{name}"))


@pytest.mark.parametrize("nobody", who())
def test_a_handlers_answer_is_what_the_target_gets_and_denials_are_told(nobody):
    ran = run(
        c_program(VICTIM), text=ALLOW + "notify getpgid, getppid, chdir\n", options=options(HANDLERS, "group", "parent", "careless"),
        nobody=nobody,
    )  # fmt: skip
    lines = ran.done.stdout.splitlines()
    assert lines == ["own 1 0", "other -1 13", "parent 4242 0", "gone -1 2", "root -1 1"], str(ran.done)
    denied = ran.denied("getpgid")
    assert (denied["action"], denied["result"], denied["reason"], denied["count"]) == (
        "handler",
        "EACCES",
        "handler group: not your group",
        1,
    )
    refused = [denial for denial in ran.denials if denial["call"] == "chdir" and denial["result"] == "EPERM"]
    assert len(refused) == 1
    assert "after looking at the target's memory" in refused[0]["reason"]
