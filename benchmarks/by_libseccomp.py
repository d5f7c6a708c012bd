"""The benchmark policies through libseccomp's Python binding, which Debian has for its own python3 only: run by `filters.py`, with that.

Standard input: JSON ``{"rounds": n, "policies": {name: {"default": errno, "archs": [...], "rules": [[action, call, number, conditions]...]}}}``.
Standard output: ``{"version": "2.5.4", "names": {name: how many rules went in by number}, "filters": {name: [O1, O2 in hexadecimal]},
"times": {name: [[ms of each round at O1], [at O2]]}}``, times in milliseconds of process time from the first rule to the exported bytes.

A call that this libseccomp has no name for is added by its number. It takes such numbers for the native architecture only, and only while
no other architecture is in the filter, so they come first.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time

import seccomp


def build(policy: dict, level: int) -> tuple[bytes, int]:  # type: ignore[type-arg]
    """The filter, and how many of its rules went in by number."""
    by_number, by_name = policy["by_number"], policy["by_name"]
    made = seccomp.SyscallFilter(seccomp.ERRNO(policy["default"]))
    made.set_attr(seccomp.Attr.CTL_OPTIMIZE, level)
    for action, number, conditions in by_number:
        made.add_rule(action, number, *conditions)
    for arch in policy["archs"]:
        made.add_arch(arch)
    for action, name, conditions in by_name:
        made.add_rule(action, name, *conditions)
    with tempfile.TemporaryFile() as out:
        made.export_bpf(out)
        out.seek(0)
        return out.read(), len(by_number)


def resolved(policy: dict) -> dict:  # type: ignore[type-arg]
    """The policy with everything looked up that is none of libseccomp's work."""
    by_name, by_number = [], []
    for action, name, number, conditions in policy["rules"]:
        action = seccomp.ALLOW if action == "ALLOW" else seccomp.ERRNO(int(re.sub(r"\D", "", action)))
        arguments = [seccomp.Arg(index, getattr(seccomp, operator), *values) for index, operator, *values in conditions]
        try:
            seccomp.resolve_syscall(seccomp.Arch.X86_64, name)
        except (RuntimeError, ValueError):
            known = False
        else:
            known = seccomp.resolve_syscall(seccomp.Arch.X86_64, name) != -1
        if known:
            by_name.append((action, name, arguments))
        elif number is not None:
            by_number.append((action, number, arguments))
    archs = [getattr(seccomp.Arch, name) for name in policy["archs"]]
    return {"default": policy["default"], "archs": archs, "by_name": by_name, "by_number": by_number}


def version() -> str:
    """The installed package's version; the binding itself only knows the API level."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "libseccomp2"], capture_output=True, text=True, check=False)
    return done.stdout or f"with API level {seccomp.get_api()}"


def main() -> None:
    request = json.load(sys.stdin)
    answer: dict = {"version": version(), "names": {}, "filters": {}, "times": {}}  # type: ignore[type-arg]
    for name, policy in request["policies"].items():
        ready = resolved(policy)
        times: list[list[float]] = [[], []]
        for _ in range(request["rounds"]):
            for level in (1, 2):
                start = time.process_time()
                build(ready, level)
                times[level - 1].append(1000 * (time.process_time() - start))
        answer["times"][name] = times
        answer["filters"][name] = [build(ready, level)[0].hex() for level in (1, 2)]
        answer["names"][name] = build(ready, 1)[1]
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
