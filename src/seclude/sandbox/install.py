"""Put the process that is running under a policy, for good.

There is no way back: a filter stays until the process ends, its children inherit it, and so do no_new_privs. Nobody supervises here, so policies with notify
or trace actions are refused: without a listener or a tracer the kernel would answer ENOSYS, which is not what such a policy means.

Order: everything that can be refused is refused first (actions that this kernel lacks, the architecture), then no_new_privs is set,
then the filter is loaded. If only the load fails, no_new_privs stays set: nothing can clear it, and it takes nothing from an ordinary program.

With ``threads="all"`` the kernel puts every thread under the filter or none (TSYNC): it refuses when a thread has a filter of its own. Threads
started later inherit it anyway.

No silent fallback: an action that the kernel lacks stops the load, unless ``weaker`` names its substitute. `substitute` does the same for those
who load filters elsewhere.
"""

from __future__ import annotations

import struct
import sys

from seclude.errors import FilterError, KernelError, PolicyError, UsageError, nearest
from seclude.kernel import prctl, proc, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from seclude.compiler.artifact import Artifact
    from seclude.policy import Policy

__all__ = ["Installed", "actions_of", "install", "install_program", "read_weaker", "substitute"]

RET_K = 0x06
ACTION_MASK, DATA_MASK = 0xFFFF0000, 0xFFFF
PERMITTING = ("log", "allow")


class Installed:
    """What was put in force. ``calls`` is how many calls the policy permits, ``default`` its default action; both "" for a bare program.

    ``flags`` are the header's names of the seccomp flags, ``substitutes`` action → what took its place (see ``weaker``), ``threads`` "all" or "this".
    """

    __slots__ = ("calls", "default", "flags", "instructions", "name", "substitutes", "threads")

    def __init__(self, name: str, calls: str, default: str, instructions: int, flags: tuple[str, ...], threads: str) -> None:
        self.name = name
        self.calls = calls
        self.default = default
        self.instructions = instructions
        self.flags = flags
        self.threads = threads
        self.substitutes: dict[str, str] = {}

    def __str__(self) -> str:
        """One line, as ``--verbose`` prints it."""
        words = [f"{self.name}:"]
        if self.calls:
            words.append(f"{self.calls} calls allowed, default {self.default},")
        words.append(
            f"{self.instructions} instructions, {self.threads} threads"
            if self.threads == "all"
            else f"{self.instructions} instructions, this thread"
        )
        if self.flags:
            words.append(f"flags {'|'.join(self.flags)}")
        if self.substitutes:
            words.append("weaker: " + ", ".join(f"{old} became {new}" for old, new in self.substitutes.items()))
        return " ".join(words)


def install(
    policy: str | os.PathLike[str] | Policy | Artifact,
    *,
    threads: str = "all",
    weaker: Mapping[str, str] | None = None,
    on_loaded: Callable[[Installed], object] | None = None,
    log: bool = False,
    spec_allow: bool = False,
) -> Installed:
    """Confine this process. **Irreversible.** ``policy`` is a preset's name, a file, a `Policy`, or a compiled `Artifact`.

    ``threads``: "all" (all or nothing) or "this", the calling thread only. ``weaker`` maps an action that this kernel may lack to its
    substitute, such as ``{"kill_process": "trap"}``. ``log`` has the kernel log denials that its actions_logged lists; ``spec_allow`` leaves
    speculative store bypass on (faster on some processors, open to Spectre v4). ``on_loaded`` gets an `Installed` once it is in force, and so
    does the logger ``seclude`` if logging is imported.

    Raises `PolicyError` for notify and trace actions, `UsageError` for a policy that does not cover this architecture, `KernelError` for what the
    kernel refuses; `seccomp.TsyncConflict` names the thread that stood in the way. After an error no filter was installed.
    """
    from seclude.compiler.artifact import Artifact

    if isinstance(policy, Artifact):
        artifact = policy
    else:
        from seclude.sandbox.prepare import prepare

        artifact = prepare(policy)
    _covers(artifact)
    return install_program(
        artifact.plain,
        threads=threads,
        weaker=weaker,
        on_loaded=on_loaded,
        log=log,
        spec_allow=spec_allow,
        name=artifact.name,
        calls=artifact.summary.get("calls", ""),
        default=artifact.summary.get("default", ""),
    )


def install_program(
    program: bytes,
    *,
    threads: str = "all",
    weaker: Mapping[str, str] | None = None,
    on_loaded: Callable[[Installed], object] | None = None,
    log: bool = False,
    spec_allow: bool = False,
    name: str = "filter",
    calls: str = "",
    default: str = "",
) -> Installed:
    """As `install`, for a program that is compiled already: ``struct sock_filter`` after one another, in this machine's byte order."""
    if threads not in ("all", "this"):
        raise UsageError(f"threads={threads!r}: it is 'all' or 'this'")
    attended = [action for action in actions_of(program) if action in ("notify", "trace")]
    if attended:
        raise PolicyError(
            f"{name} uses {' and '.join(attended)}, and a process that confines itself has no supervisor to answer",
            "give these calls another action, or run the program under seclude.run",
        )
    final, taken = substitute(program, weaker)
    argument = seccomp.prepare(final)
    flags = (seccomp.TSYNC if threads == "all" else 0) | (seccomp.LOG if log else 0) | (seccomp.SPEC_ALLOW if spec_allow else 0)
    prctl.set_no_new_privs()
    try:
        seccomp.install_filter(argument, flags)
    except seccomp.TsyncConflict as conflict:
        raise _named(conflict) from None
    installed = Installed(name, calls, default, len(final) // 8, tuple(seccomp.flag_names(flags)), threads)
    installed.substitutes = taken
    _say(installed)
    if on_loaded is not None:
        on_loaded(installed)
    return installed


def actions_of(program: bytes) -> tuple[str, ...]:
    """The names of the actions that a program's RET instructions give, strongest first; values that are no action are left out."""
    values = {k & ACTION_MASK for code, _, _, k in _instructions(program) if code == RET_K}
    return tuple(name for name, (value, _) in seccomp.ACTIONS.items() if value in values)


def substitute(
    program: bytes,
    weaker: Mapping[str, str] | None = None,
    available: Callable[[int], bool] = seccomp.action_available,
) -> tuple[bytes, dict[str, str]]:
    """The program with actions that this kernel lacks replaced as ``weaker`` says, and which were: ``{"kill_process": "trap"}``.

    Actions that the kernel has are never touched, whatever ``weaker`` says. Raises `KernelError` for one that it lacks and that
    ``weaker`` does not name; `UsageError` for a ``weaker`` that cannot be meant.
    """
    given = read_weaker(weaker)
    changes: dict[int, int] = {}
    taken: dict[str, str] = {}
    for name in actions_of(program):
        value, since = seccomp.ACTIONS[name]
        if available(value):
            continue
        if name not in given:
            suggestion = "allow" if name == "log" else "errno(ENOSYS)" if name == "notify" else "trap"
            raise KernelError(
                f"the policy uses {name}, which this kernel does not know (Linux {since})",
                f"use a newer kernel, or accept less by naming a substitute: --allow-weaker {name}={suggestion}, or weaker= in Python",
            )
        changes[value], taken[name] = given[name]
        if not available(changes[value] & ACTION_MASK):
            raise KernelError(f"the substitute {taken[name]} for {name} is unknown to this kernel too", "name another one")
    if not changes:
        return program, {}
    out = bytearray()
    for code, jt, jf, k in _instructions(program):
        value = changes.get(k & ACTION_MASK, k) if code == RET_K else k
        out += struct.pack("=HBBI", code, jt, jf, value)
    return bytes(out), taken


def read_weaker(weaker: Mapping[str, str] | None) -> dict[str, tuple[int, str]]:
    """``{"kill_process": "trap"}`` as action → (SECCOMP_RET_ value, text). Raises `UsageError`.

    A substitute may be weaker, but a denial stays a denial: only log may become allow.
    """
    found: dict[str, tuple[int, str]] = {}
    for name, text in (weaker or {}).items():
        if name not in seccomp.ACTIONS:
            guess = nearest(name, seccomp.ACTIONS)
            raise UsageError(f"weaker: unknown action {name!r}" + (f"; did you mean {guess}?" if guess else ""))
        kind, value = _action(text)
        if kind in PERMITTING and name not in PERMITTING:
            raise UsageError(f"weaker: {name} denies, and {text} would permit", "name kill_thread, trap or errno(EPERM)")
        if kind in ("notify", "trace"):
            raise UsageError(f"weaker: {text} cannot take the place of {name}: it needs someone to answer")
        found[name] = value, text
    return found


def _action(text: str) -> tuple[str, int]:
    kind, parenthesis, rest = text.strip().partition("(")
    value = seccomp.ACTIONS.get(kind)
    if value is None:
        guess = nearest(kind, seccomp.ACTIONS)
        raise UsageError(f"weaker: unknown action {text!r}" + (f"; did you mean {guess}?" if guess else ""))
    if not parenthesis and kind != "errno":
        return kind, value[0]
    word = rest.removesuffix(")").strip()
    if kind not in ("errno", "trap", "trace") or not rest.endswith(")"):
        raise UsageError(f"weaker: {text!r} is not an action", "write kill_thread, trap, or errno(EPERM)")
    if word.isascii() and word.isdigit():
        data = int(word)
    else:
        import errno

        data = getattr(errno, word, -1) if kind == "errno" and word.startswith("E") else -1
    if not 0 < data <= (4095 if kind == "errno" else DATA_MASK):
        raise UsageError(f"weaker: {text!r}: not a number or errno name that an action carries", "write errno(EPERM) or trap(1)")
    return kind, value[0] | data


def _instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    if len(program) % 8:
        raise FilterError(f"a program of {len(program)} bytes: instructions are 8 bytes each", "give the raw bytes as compiled")
    return list(struct.iter_unpack("=HBBI", program))


def _covers(artifact: Artifact) -> None:
    from seclude import abi

    here = abi.native()
    covered = [word.strip() for word in artifact.summary.get("architectures", here.name).split(",")]
    if here.name not in covered or artifact.byteorder != sys.byteorder:
        raise UsageError(
            f"{artifact.name} is compiled for {', '.join(covered)}, and this process is {here.name}: its first call would be denied",
            f"write 'arch native' or name {here.name} in the policy",
        )


def _named(conflict: seccomp.TsyncConflict) -> seccomp.TsyncConflict:
    """The same, with the thread's own name, if it is still there."""
    status = proc.status("self", conflict.thread) if conflict.thread else None
    if status is None:
        return conflict
    first = conflict.diagnostics[0]
    return seccomp.TsyncConflict(
        first.message.replace(f"thread {conflict.thread}", f"thread {conflict.thread} ({status.name})"), first.remedy, conflict.thread
    )


def _say(installed: Installed) -> None:
    """Log it where logging is in use anyway. A filter may already forbid what a handler does: that is the host's own policy then."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logger = logging.getLogger("seclude")
        (logger.warning if installed.substitutes else logger.info)("installed %s", installed)
