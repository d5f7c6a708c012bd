"""What a person says: actions, conditions, rules, the text language, named groups and presets.

`parse` and `load` read policies, `Policy` and the words `allow`, `errno`, `kill`... build them, ``str`` prints them,
`evaluate` says what one means for a call, `lower` hands it to `seclude.decision`.
"""

from __future__ import annotations

from seclude.policy.evaluate import Outcome, evaluate
from seclude.policy.groups import GROUPS, Group, group
from seclude.policy.language import (
    allow,
    call,
    errno,
    include,
    kill,
    kill_process,
    kill_thread,
    load,
    log,
    notify,
    parse,
    prepend,
    trace,
    trap,
)
from seclude.policy.lower import action_word, lower
from seclude.policy.nodes import Action, Call, Rule
from seclude.policy.policy import Policy
from seclude.policy.presets import PRESETS, preset_text
from seclude.policy.suggest import suggest

__all__ = [
    "GROUPS",
    "PRESETS",
    "Action",
    "Call",
    "Group",
    "Outcome",
    "Policy",
    "Rule",
    "action_word",
    "allow",
    "call",
    "errno",
    "evaluate",
    "group",
    "include",
    "kill",
    "kill_process",
    "kill_thread",
    "load",
    "log",
    "lower",
    "notify",
    "parse",
    "prepend",
    "preset_text",
    "suggest",
    "trace",
    "trap",
]
