"""What is asked of a run, and what came of it: two plain classes that travel between processes.

Neither is a dataclass: the run path cannot afford the import.
"""

from __future__ import annotations

from seclude.supervise.record import Denial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from seclude.compiler.artifact import Artifact
    from seclude.sandbox.limits import Limits

__all__ = ["Job", "Result"]


class Job:
    """One run: ``argv`` and ``environment`` (``NAME=value``) as bytes, ``cwd`` or None, the compiled policy, limits, options.

    ``capture`` names which of 1 (stdout) and 2 (stderr) are collected into the result; ``stdin`` is bytes to feed, or None to
    leave descriptor 0. ``umask`` and ``mask`` (blocked signals) are the target's; None leaves this process's. ``report`` and ``ptrace`` false do without that mechanism.
    ``reach``: all that can be opened, ``{"read": paths, "write": paths}`` (`seclude.sandbox.reach`); None: whatever the policy and permissions say.
    ``supervision`` says in plain values what is decided while the run happens (`seclude.sandbox.supervision`); empty: nothing.
    """

    __slots__ = (
        "argv",
        "artifact",
        "capture",
        "cwd",
        "environment",
        "limits",
        "mask",
        "ptrace",
        "reach",
        "report",
        "stdin",
        "supervision",
        "umask",
        "weaker",
    )

    def __init__(
        self,
        argv: list[bytes],
        environment: list[bytes],
        artifact: Artifact,
        limits: Limits,
        *,
        cwd: bytes | None = None,
        capture: tuple[int, ...] = (),
        stdin: bytes | None = None,
        report: bool = True,
        ptrace: bool = True,
        umask: int | None = None,
        mask: list[int] | None = None,
        weaker: dict[str, str] | None = None,
        supervision: dict[str, Any] | None = None,
        reach: dict[str, list[bytes]] | None = None,
    ) -> None:
        self.argv = argv
        self.environment = environment
        self.artifact = artifact
        self.limits = limits
        self.cwd = cwd
        self.capture = capture
        self.stdin = stdin
        self.report = report
        self.ptrace = ptrace
        self.umask = umask
        self.mask = mask
        self.weaker = weaker or {}
        self.supervision = supervision or {}
        self.reach = reach


class Result:
    """How a run ended.

    ``code``      what a shell would show: the exit status, 128 + signal, 124 where ``wall`` ended it, 126 and 127 where it never began
    ``status``    the exit status, or None
    ``signal``    the signal that ended it, or None
    ``stdout``, ``stderr``  what was captured (bytes), or None
    ``cpu``       seconds of user and system time of all processes; where the command is traced, from its execve on
    ``wall``      seconds from start to end
    ``memory``    peak bytes: what the cgroup was charged for all processes together where there is one, else ``resident``
    ``resident``  peak bytes of the largest process's resident set, files that it mapped included: what wait4(2) says. Without
                  tracing not less than Seclude itself has before it executes the command
    ``denials``   what was denied, each kind once (`seclude.supervise.record.Denial`)
    ``overflow``  denied calls beyond the number of kinds that are kept apart
    ``address_space``  peak bytes of the largest process's address space, where its end was observed, else 0
    ``oom_kills``  processes that the kernel ended for the memory of the run's cgroup
    ``bound_by``  limit → by what it was bound: "cgroup", "rlimit", "engine", joined by "+"; "guard" where that ended it, since the supervisor was held
    ``limit``     the limit that ended it ("wall", "cpu", "memory", "output"), or ""
    ``ended_by``  how what was left at the end was ended: "" (nothing was left), "cgroup", "subreaper"
    ``reporting`` what was in force: "notify+ptrace", "notify", "ptrace" or "none"
    ``error``     why the command could not be started, or ""
    ``notes``     what the user should know, each a sentence
    """

    __slots__ = (
        "address_space", "bound_by", "code", "cpu", "denials", "ended_by", "error", "limit", "memory", "notes", "oom_kills", "overflow",
        "reporting", "resident", "signal", "status", "stderr", "stdout", "wall",
    )  # fmt: skip

    def __init__(self) -> None:
        self.code = 125
        self.status: int | None = None
        self.signal: int | None = None
        self.stdout: bytes | None = None
        self.stderr: bytes | None = None
        self.cpu = 0.0
        self.wall = 0.0
        self.memory = 0
        self.resident = 0
        self.address_space = 0
        self.oom_kills = 0
        self.bound_by: dict[str, str] = {}
        self.denials: list[Denial] = []
        self.overflow = 0
        self.limit = ""
        self.ended_by = ""
        self.reporting = "none"
        self.error = ""
        self.notes: list[str] = []

    def __repr__(self) -> str:
        return f"Result(code={self.code}, denials={self.denials!r})"

    def to_plain(self) -> dict[str, Any]:
        """All fields as plain values."""
        out: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        out["denials"] = [denial.to_plain() for denial in self.denials]
        return out

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Result:
        """The inverse of `to_plain`."""
        out = cls()
        for name, value in plain.items():
            setattr(out, name, value)
        out.denials = [Denial.from_plain(one) for one in plain["denials"]]
        return out
