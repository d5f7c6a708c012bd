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
