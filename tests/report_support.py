"""Inputs for the tests of reports."""

from __future__ import annotations

import json

from support import ROOT

__all__ = ["docker_profile"]


def docker_profile() -> bytes:
    """The default profile of a well-known engine for three ABIs, 377 rules, as an OCI seccomp object."""
    facts = json.loads((ROOT / "tests/policy/fixtures/docker-default.json").read_text())
    rules = []
    for action, call, conditions in facts["rules"]:
        name, _, number = action.partition("(")
        rule: dict[str, object] = {"names": [call], "action": f"SCMP_ACT_{name}"}
        if number:
            rule["errnoRet"] = int(number[:-1])
        if conditions:
            rule["args"] = [
                {"index": index, "op": f"SCMP_CMP_{operator.removeprefix('SCMP_CMP_')}", "value": value, "valueTwo": two[0] if two else 0}
                for index, operator, value, *two in conditions
            ]
        rules.append(rule)
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": [f"SCMP_ARCH_{name.upper()}" for name in facts["architectures"]],
            "syscalls": rules,
        }
    ).encode()
