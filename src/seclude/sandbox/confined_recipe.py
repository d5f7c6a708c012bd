"""What a template is told: the function's place, the filters, the limits. Made once for each confined function.

The worker itself needs a handful of calls on its own two descriptors, whatever the policy says: read and write on its channel, and to be let go by its
template. Where the policy does not allow them they are put before it, and nothing more than them.
"""

from __future__ import annotations

import os
import sys

from seclude.abi import native
from seclude.errors import PolicyError, UsageError
from seclude.kernel import seccomp
from seclude.sandbox.confined import KEPT, ONE_THREAD
from seclude.sandbox.confined_worker import CHANNEL, LISTENER, SYNC
from seclude.sandbox.install import substitute
from seclude.sandbox.prepare import prepare
from seclude.supervise.plain import ALLOW, LOG, TRACE, USER_NOTIF, Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from seclude.compiler.artifact import Artifact

__all__ = ["NEEDED", "PROCESSES", "recipe"]

#: what the worker calls after the filter is in force, and the registers it calls it with: (call, registers, rule)
NEEDED = (
    ("read", (CHANNEL, 1 << 40, 1 << 16, 0, 0, 0), f"read(fd in {{{CHANNEL}, {SYNC}}})"),
    ("write", (CHANNEL, 1 << 40, 1 << 16, 0, 0, 0), f"write(fd in {{{CHANNEL}, {SYNC}}})"),
    ("read", (SYNC, 1 << 40, 1 << 16, 0, 0, 0), f"read(fd in {{{CHANNEL}, {SYNC}}})"),
    ("write", (SYNC, 1 << 40, 1 << 16, 0, 0, 0), f"write(fd in {{{CHANNEL}, {SYNC}}})"),
    ("close", (SYNC, 0, 0, 0, 0, 0), f"close(fd in {{{SYNC}, {LISTENER}}})"),
    ("close", (LISTENER, 0, 0, 0, 0, 0), f"close(fd in {{{SYNC}, {LISTENER}}})"),
)
#: tasks of a worker under a policy that allows new processes, unless told otherwise
PROCESSES = 32
_NEW_PROCESS = (("fork", (0,) * 6), ("vfork", (0,) * 6), ("clone", (17, 0, 0, 0, 0, 0)), ("clone3", (0,) * 6))


def recipe(where: tuple[str, str, str | None, bool], policy: Any, options: dict[str, Any]) -> tuple[Artifact, dict[str, Any]]:
    """The compiled policy, and the plain values that `seclude.sandbox.confined_template` reads. Raises `PolicyError`, `UsageError`."""
    rules = [*options["rules"]]
    if options["files"] is not None:
        from seclude.sandbox.confined_files import rules as opening

        rules += [("allow", rule) for rule in opening(write=bool(options["files"][1]))]
    artifact = prepare(policy, rules=rules)
    plain = Plain(substitute(artifact.plain)[0])
    here = native()

    def allowed(call: str, registers: tuple[int, ...]) -> bool:
        number = here.number(call)
        return number is not None and plain.value(number, here.token, 0, registers)[0] in (ALLOW, LOG)

    missing = list(dict.fromkeys(rule for call, registers, rule in NEEDED if not allowed(call, registers)))
    if missing:
        artifact = prepare(policy, rules=[*(("allow", rule) for rule in missing), *rules])
        plain = Plain(substitute(artifact.plain)[0])
    if plain.returns(USER_NOTIF, TRACE):
        raise PolicyError(
            f"{artifact.name} has notify or trace actions, which nobody would answer for a confined function", "use errno instead"
        )
    tree = any(allowed(call, registers) for call, registers in _NEW_PROCESS)
    if options["processes"] is not None and not tree:
        raise UsageError(f"confined: processes= is given, and {artifact.name} allows no new process", "leave it out")
    report = options["report"] and seccomp.flag_available(seccomp.WAIT_KILLABLE_RECV)
    module, name, file, main = where
    made: dict[str, Any] = {
        "module": module,
        "name": name,
        "file": file,
        "main": main,
        "path": [os.path.abspath(entry) for entry in sys.path],
        "warm": _warm(options["warm"]),
        "environment": _environment(options["env"]),
        "plain": substitute(artifact.plain)[0],
        "reported": artifact.reported if report else None,
        "tree": tree,
    }
    if tree and options["processes"] is None:
        options = options | {"processes": PROCESSES}
    made |= {key: options[key] for key in ("memory", "processes", "descriptors", "file_size", "files", "input", "output")}
    return artifact, made


def _warm(given: Any) -> list[str]:
    if callable(given):
        from seclude.sandbox.confined import place

        module, name, _, main = place(given)
        return [f"{'__main__' if main else module}:{name}"]
    if isinstance(given, str):
        raise UsageError(f"confined: warm is a function or a list of modules, not {given!r}", f"write warm=[{given!r}]")
    return [str(name) for name in given]


def _environment(extra: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | dict.fromkeys(ONE_THREAD, "1") | {str(name): str(value) for name, value in extra.items()}
