"""Values that cannot be meant are refused by functions as by commands: one line that says what was expected, and no other exception."""

from __future__ import annotations

import pytest

import seclude
from seclude.errors import UsageError


def answer():
    return 42


@pytest.mark.parametrize("policy", [3, None, ["container"], b"container"])
def test_what_is_no_policy_is_refused(policy):
    with pytest.raises(UsageError, match="is no policy"):
        seclude.run(["true"], policy=policy)
    with pytest.raises(UsageError, match="is no policy"):
        seclude.confined(policy)(answer)()


@pytest.mark.parametrize("env", [["A"], {"A": 1}, {1: "A"}, {"A=B": "1"}, {"": "1"}, {"A": "\0"}, 3])
def test_an_environment_is_names_and_values(env):
    with pytest.raises(UsageError, match="expected names and values"):
        seclude.confined("compute", env=env)
    with pytest.raises(UsageError, match="expected names and values"):
        seclude.run(["true"], env=env)


@pytest.mark.parametrize("stdin", ["text", 0.5, ["a"]])
def test_input_is_bytes_or_a_descriptor(stdin):
    with pytest.raises(UsageError, match="expected bytes to feed, or a descriptor"):
        seclude.run(["cat"], stdin=stdin)


@pytest.mark.parametrize("rules", [["mkdir"], [("permit", "mkdir")], [("allow",)], [("allow", 3)], [("allow", "mkdir", "rmdir")], [None]])
def test_rules_are_pairs_of_a_known_kind(rules):
    for run in (lambda: seclude.run(["true"], rules=rules), lambda: seclude.Judge(rules=rules)):
        with pytest.raises(UsageError, match="is no rule to try first"):
            run()


@pytest.mark.parametrize("name", ["read", "write", "hide", "connect", "bind", "programs"])
@pytest.mark.parametrize("value", ["echo", b"echo", 3, [3], [None]])
def test_what_is_granted_is_a_list_of_words(name, value):
    """A text is a list of letters to Python: without a word of its own it would be told of a file named after its first one."""
    with pytest.raises(UsageError, match=rf"run: {name}=.*: expected a list of "):
        seclude.run(["true"], **{name: value})


@pytest.mark.parametrize("name", ["read", "write"])
@pytest.mark.parametrize("value", ["echo", b"echo", 3, [3]])
def test_what_a_submission_may_open_is_a_list_of_paths(name, value):
    with pytest.raises(UsageError, match=rf"judge: {name}=.*: expected a list of "):
        seclude.Judge(**{name: value})


@pytest.mark.parametrize("command", [[1], ["true", None], 3])
def test_a_command_is_a_list_of_words(command):
    with pytest.raises(UsageError, match="expected a list of words"):
        seclude.run(command)


@pytest.mark.parametrize("handlers", [[1], [answer], answer, "mine:decide"])
def test_handlers_are_what_the_decorator_makes(handlers):
    with pytest.raises(UsageError, match="expected a list of handlers"):
        seclude.run(["true"], handlers=handlers)
