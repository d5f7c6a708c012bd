"""Filters: compile and proof times beside the installed libseccomp in the same run, and what a call costs under either filter.

    python benchmarks/filters.py

Docker's profile and P300 are the benchmark policies of the tests. Times are medians of interleaved rounds, in milliseconds of process
time; the cost of a call is the lowest of several loops of a C program that loads the filter, in nanoseconds.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.calls import DENIED, FILTERED, PLAIN, compared, jit  # noqa: E402
from benchmarks.measuring import milliseconds  # noqa: E402

from bench_support import DOCKER, P300, X86_64, docker, docker_mean, load, one_argument_each, p300_measured, p300_text  # noqa: E402
from seclude.abi import native  # noqa: E402
from seclude.bpf import Program  # noqa: E402
from seclude.compiler import compile as build  # noqa: E402
from seclude.decision import from_program  # noqa: E402
from seclude.policy import parse  # noqa: E402
from seclude.sandbox.prepare import prepare  # noqa: E402

if TYPE_CHECKING:
    from typing import Any

ROUNDS = int(os.environ.get("ROUNDS", "15"))
CALL_ROUNDS = int(os.environ.get("CALL_ROUNDS", "60"))

#: what is printed, call, arguments, permitted: calls that the kernel itself is quickly done with
IN_BITMAP = [("getppid(), in the bitmap", "getppid", (), PLAIN), ("umask(022), in the bitmap", "umask", (0o22,), PLAIN)]
DOCKER_CALLS = [
    *IN_BITMAP,
    ("personality(0xffffffff)", "personality", (0xFFFFFFFF,), FILTERED),
    ("clone(CLONE_SIGHAND), EINVAL", "clone", (0x800,), FILTERED),
    ("socket(AF_INET, invalid), EINVAL", "socket", (2, 0x7FFF0001), FILTERED),
    ("personality(1), denied", "personality", (1,), DENIED),
    ("clone(CLONE_NEWUSER), denied", "clone", (0x10000000,), DENIED),
    ("socket(AF_VSOCK), denied", "socket", (40, 1), DENIED),
    ("clone3(), denied", "clone3", (), DENIED),
    ("acct(), denied", "acct", (), DENIED),
    ("kexec_load(), denied", "kexec_load", (), DENIED),
]
P300_CALLS = [
    *IN_BITMAP,
    ("personality(0xffffffff)", "personality", (0xFFFFFFFF,), FILTERED),
    ("socket(AF_INET, invalid), EINVAL", "socket", (2, 0x7FFF0001), FILTERED),
    ("clone(CLONE_SIGHAND), EINVAL", "clone", (0x800,), FILTERED),
    ("ioctl(-1, TCGETS), EBADF", "ioctl", (0xFFFFFFFF, 0x5401), FILTERED),
    ("fcntl(-1, F_GETFD), EBADF", "fcntl", (0xFFFFFFFF, 1), FILTERED),
    ("fcntl(-1, F_DUPFD_CLOEXEC), EBADF", "fcntl", (0xFFFFFFFF, 1030), FILTERED),
    ("mmap(0, 0, PROT_READ), EINVAL", "mmap", (0, 0, 1, 0x22), FILTERED),
    ("mprotect(0, 0, PROT_READ)", "mprotect", (0, 0, 1), FILTERED),
    ("prctl(PR_GET_DUMPABLE)", "prctl", (3,), FILTERED),
    ("futex(0, FUTEX_WAKE_PRIVATE), EFAULT", "futex", (0, 129), FILTERED),
    ("kill(-2147483648, 0), ESRCH", "kill", (0x80000000, 0), FILTERED),
    ("fcntl(0, 999), denied", "fcntl", (0, 999), DENIED),
    ("mmap(PROT_WRITE|PROT_EXEC), denied", "mmap", (0, 4096, 6, 0x22), DENIED),
    ("socket(AF_VSOCK), denied", "socket", (40, 1), DENIED),
    ("prctl(1), denied", "prctl", (1,), DENIED),
    ("acct(), denied", "acct", (), DENIED),
]


def libseccomp() -> dict[str, Any] | None:
    """What `by_libseccomp.py` made of the benchmark policies, or None without that library."""
    done = subprocess.run(
        ["/usr/bin/python3", str(Path(__file__).with_name("by_libseccomp.py"))],
        input=json.dumps({"rounds": ROUNDS, "policies": {"docker": _docker(), "p300": _p300()}}),
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def _docker() -> dict[str, Any]:
    rules = []
    for action, name, conditions in DOCKER["rules"]:
        spelled = [[i, op, *([v, w] if op == "MASKED_EQ" else [v])] for i, op, v, w in conditions]
        rules.append([action, name, native().number(name), spelled])
    return {"default": 1, "archs": ["X86", "X32"], "rules": rules}


def _p300() -> dict[str, Any]:
    rules: list[list[Any]] = [["ALLOW", name, P300["numbers"][name], []] for name in P300["allow"]]
    for name, ways in P300["args"].items():
        for way in ways:
            spelled = [
                [i, "MASKED_EQ" if op == "meq" else op.upper(), *([*mask, value] if mask else [value])] for i, op, value, *mask in way
            ]
            rules.append(["ALLOW", name, P300["numbers"][name], spelled])
    return {"default": 1, "archs": [], "rules": rules}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        os.environ["XDG_CACHE_HOME"] = directory
        theirs = libseccomp()
        if theirs is None:
            print("not compared with libseccomp: apt-get install python3-seccomp")
        times(place, theirs)
        if native().name == "x86_64":
            calls(place, theirs)


def times(place: Path, theirs: dict[str, Any] | None) -> None:
    """Compile and proof."""
    low = docker()
    built = build(low, optimize_for="uniform")
    print(
        f"Docker's profile, uniform: {len(built)} instructions, {docker_mean(load(bytes(built)), built.decision):.2f} executed on average"
    )
    ours = milliseconds(lambda: build(low, optimize_for="uniform"), ROUNDS)
    print(f"  compile and proof          {ours:8.2f} ms")
    if theirs is not None:
        print(f"  libseccomp {theirs['version']}; it lacks the names of {theirs['names']['docker']} calls, which went in by number")
        for level, (raw, taken) in enumerate(zip(theirs["filters"]["docker"], theirs["times"]["docker"], strict=True), 1):
            program, middle = Program.from_bytes(bytes.fromhex(raw), "little"), statistics.median(taken)
            print(
                f"  libseccomp O{level}              {middle:8.2f} ms, {len(program)} instructions; ours takes {ours / middle:.2f} of that"
            )
            print(f"    read into a decision     {milliseconds(lambda program=program: from_program(program), ROUNDS):8.2f} ms")  # type: ignore[misc]
    (place / "p.seclude").write_text(p300_text())
    prepare(place / "p.seclude")
    print(f"  a policy from the cache    {milliseconds(lambda: prepare(place / 'p.seclude'), ROUNDS):8.2f} ms")
    for values in (1, 5):
        many = one_argument_each(120, values)
        print(f"120 calls, {values} values each     {milliseconds(lambda many=many: build(many), ROUNDS):8.2f} ms")  # type: ignore[misc]
    for mode in ("blend", "profile", "bitmap"):
        policy = parse(p300_text())
        one = build(policy, optimize_for=mode, weights=P300["profile"])
        _, profile, uncached = p300_measured(load(bytes(one)))
        taken = milliseconds(lambda policy=policy, mode=mode: build(policy, optimize_for=mode, weights=P300["profile"]), ROUNDS)  # type: ignore[misc]
        print(f"P300 {mode:8} {len(one):4} instructions, profile {profile:.2f}, uncached {uncached:.2f} {taken:8.2f} ms")


def calls(place: Path, theirs: dict[str, Any] | None) -> None:
    """One call on the running kernel: those that the bitmap skips, filtered ones that are permitted, denied ones."""
    print(f"\none call, Linux {platform.release()}, JIT {jit()}; in parentheses executed instructions")
    # Denied calls must return here.
    p300 = parse(p300_text().replace("default kill_process", "default errno(EPERM)\nunknown errno(EPERM)"))
    policies = {
        "docker": (docker(), None, DOCKER_CALLS),
        "p300": (p300, P300["profile"], P300_CALLS),
    }
    for name, (policy, profile, chosen) in policies.items():
        built = build(policy, optimize_for="blend", weights=profile)
        filters = {"seclude": bytes(built)}
        if theirs is not None:
            slow, fast = (bytes.fromhex(raw) for raw in theirs["filters"][name])
            filters |= {"libseccomp O2": fast, "libseccomp O1": slow}
            for raw in (slow, fast):
                other = from_program(Program.from_bytes(raw, "little"))
                assert all(built.decision.of_call(X86_64, number) is other.of_call(X86_64, number) for number in range(512))
        print(f"{name}: " + ", ".join(f"{one} {len(raw) // 8} instructions" for one, raw in filters.items()))
        table = native().calls()
        compared(place, filters, [(label, table[call], arguments, kind) for label, call, arguments, kind in chosen], CALL_ROUNDS)


if __name__ == "__main__":
    main()
