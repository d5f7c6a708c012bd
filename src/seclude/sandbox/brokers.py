"""What ``--connect``, ``--bind`` and ``--exec`` mean for a run: the rules they put before the policy's, and the broker behind these rules.

Each of the first two closes every address that is not listed: to connect to, to send to, to bind and to listen at. The rules come after those of ``--allow`` and ``--deny``, and
before the policy's own. What they open is what is needed to use a TCP or UDP socket, and, where one is granted, a local one; what they close are ways around an
address: sockets of kinds that the broker does not know, source routes and tunnels (IP_OPTIONS, IPV6_RTHDR, IP_XFRM_POLICY and what carries them), io_uring and socketcall, whose arguments nobody sees.
"""

from __future__ import annotations

import os

from seclude.errors import UsageError
from seclude.kernel import landlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from seclude.compiler.artifact import Artifact
    from seclude.kernel.landlock import Ruleset
    from seclude.sandbox.result import Job
    from seclude.sandbox.start import Step
    from seclude.supervise.handlers import Handler
    from seclude.supervise.network_rules import Grant
    from seclude.supervise.pool import Pool

__all__ = ["Brokers", "asked", "rules"]

#: calls that wait for a peer at the same time; more wait for one of these to end
WAITING = 512

_TCP = 3  # LANDLOCK_ACCESS_NET_BIND_TCP, LANDLOCK_ACCESS_NET_CONNECT_TCP

_USE = "getsockname, getpeername, getsockopt, setsockopt, shutdown, recvfrom, recvmsg, recvmmsg"
_STREAMS_AND_DATAGRAMS = "type & 0xf in {SOCK_STREAM, SOCK_DGRAM} and protocol in {0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE}"


def asked(
    connect: Iterable[str | os.PathLike[str]] = (), bind: Iterable[str | os.PathLike[str]] = (),
    programs: Iterable[str | os.PathLike[str]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What a job's supervision holds of these options: texts with absolute paths, since a run may be started from elsewhere. ``programs`` None binds nothing."""
    out: dict[str, Any] = {}
    for name, values in (("connect", connect), ("bind", bind)):
        texts = [os.fspath(value) for value in values]
        if texts:
            local = {text for text in texts if text.startswith("unix:") and not text.startswith(("unix:/", "unix:@")) and text != "unix:"}
            out[name] = ["unix:" + os.path.join(os.getcwd(), text[5:]) if text in local else text for text in texts]
    if programs is not None:
        words = [os.fspath(value) for value in programs]
        out["exec"] = [os.path.join(os.getcwd(), word) if "/" in word else word for word in words]
    return out


def rules(supervision: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The ``rules`` of `prepare` for what ``connect``, ``bind`` and ``exec`` of a job's supervision grant; none where it has none of them."""
    connect, bind = supervision.get("connect", ()), supervision.get("bind", ())
    executes = [("broker", "execve,execveat,memfd_create")] if "exec" in supervision else []
    if not connect and not bind:
        return executes
    out = [
        # IP_OPTIONS; IP_IPSEC_POLICY, IP_XFRM_POLICY
        ("deny", "setsockopt(level == IPPROTO_IP and optname in {4, 16, 17})"),
        # IPV6_2292RTHDR, IPV6_2292PKTOPTIONS, IPV6_FLOWLABEL_MGR, IPV6_RTHDR; IPV6_IPSEC_POLICY, IPV6_XFRM_POLICY
        ("deny", "setsockopt(level == IPPROTO_IPV6 and optname in {5, 6, 32, 57, 34, 35})"),
        ("notify", "connect, bind, listen, sendmsg, sendmmsg"),
        ("allow", "sendto(dest_addr == NULL)"),
        ("notify", "sendto"),
        ("allow", _USE),
    ]
    if any(not text.startswith("unix:") for text in (*connect, *bind)):
        out.append(("allow", f"socket(domain in {{AF_INET, AF_INET6}} and {_STREAMS_AND_DATAGRAMS})"))
    out.append(("deny", "socket(domain in {AF_INET, AF_INET6})"))
    if any(text.startswith("unix:") for text in (*connect, *bind)):
        out.append(("allow", "socket(domain == AF_UNIX)"))
    if bind:
        out.append(("allow", "accept, accept4"))
    out.append(("refuse", "ENOSYS @io-uring,socketcall"))
    return out + executes


class Brokers:
    """The brokers of one run, made in the supervisor before anything of the target runs. ``notes`` are for ``--verbose``."""

    __slots__ = ("_belt", "_layer", "_network", "_programs", "handlers", "notes")

    def __init__(self, supervision: Mapping[str, Any], job: Job, command: bytes) -> None:
        """``command``: the path of the program that the run begins with. Resolves names, opens files. Raises `UsageError`."""
        self.handlers: list[Handler] = []
        self.notes: list[str] = []
        connect = _read(supervision, "connect", "--connect", self.notes)
        bind = _read(supervision, "bind", "--bind", self.notes)
        self._network = self._programs = None
        self._layer: Ruleset | None = None
        # Besides: the kernel itself connects and binds no TCP socket for the target (Landlock ABI 4), unless somebody asked for calls that go past the broker.
        past = any(kind == "allow" and any(word in rule for word in ("connect", "bind", "@")) for kind, rule in job.artifact.overrides)
        self._belt = bool(connect or bind) and not past
        if connect or bind:
            _refuse_past(job.artifact)
            from seclude.kernel.credentials import own_identity
            from seclude.supervise.acting import catch_interruptions
            from seclude.supervise.network import Network

            self._network = Network(connect, bind, own_identity())
            self.handlers.append(self._network.handler())
            catch_interruptions()
        if "exec" in supervision:
            from seclude.supervise.programs import Programs, permitted

            self._programs = Programs(permitted(supervision["exec"], os.path.join(job.cwd or b"", command), _search(job)))
            self.handlers.append(self._programs.handler())
            self.notes += self._programs.notes

    def domain(self, scope: Ruleset | None) -> Ruleset | None:
        """The Landlock domain of the run, given the one that it would have, which is closed if another takes its place.

        Two layers that know nothing of files forbid nothing there, but one that does and one that does not forbid renames between directories together
        (LANDLOCK_ACCESS_FS_REFER). So what is asked for here goes into one layer with what keeps a target's hands off others; only where the run's files have
        a domain of their own, in which it is the broker that renames, is there a second one.
        """
        fs = 0 if self._programs is None else self._programs.access
        net = _TCP if self._belt and landlock.abi_version() >= 4 else 0
        if not fs and not net:
            return scope
        alone = scope is not None and not scope.fs
        made = landlock.Ruleset(fs=fs, net=net, scoped=scope.scoped if scope is not None and alone else 0)
        try:
            if self._programs is not None:
                self._programs.allow(made)
        except BaseException:
            made.close()
            raise
        if scope is not None and alone:
            scope.close()
            return made
        self._layer = made
        return scope

    def steps(self) -> list[Step]:
        """What the child does for the brokers before it is filtered."""
        return [] if self._layer is None else [("Landlock for --exec and --connect", self._layer.restrict, ())]

    def pool(self) -> Pool:
        """The threads that brokers run in: made one by one, as calls wait, so that a slow host holds nobody but its own caller."""
        from seclude.supervise.descriptors import capacity
        from seclude.supervise.pool import Pool

        return Pool(min(WAITING, capacity() // 16))  # each holds up to eight descriptors, and half of what there is remains for other waits

    def close(self) -> None:
        """Let go of what the brokers hold."""
        for one in (self._network, self._programs, self._layer):
            if one is not None:
                one.close()


def _refuse_past(artifact: Artifact) -> None:
    """Raise `UsageError` where rules of --allow or --deny decide a call before the broker could: then what was granted would mean nothing."""
    from seclude.sandbox.supervision import architectures
    from seclude.supervise.network import CALLS

    attended = {name: calls.split(",") for name, _, calls in (word.partition(":") for word in artifact.summary.get("attended", "").split())}
    for arch in architectures(artifact):
        missing = [call for call in CALLS if arch.number(call) is not None and call not in attended.get(arch.name, ())]
        if missing:
            raise UsageError(
                f"--connect and --bind: rules of --allow or --deny decide {', '.join(missing)} on {arch.name} already",
                "leave out those rules; with --connect or --bind every address is denied that is not listed",
            )


def _search(job: Job) -> str:
    """The PATH that the command will have; the one of execvp(3) where it has none."""
    value = next((word[5:] for word in job.environment if word.startswith(b"PATH=")), None)
    return os.defpath if value is None else os.fsdecode(value)


def _read(supervision: Mapping[str, Any], name: str, option: str, notes: list[str]) -> list[Grant]:
    from seclude.supervise.network_rules import grants

    texts: Sequence[str] = supervision.get(name, ())
    found = grants(texts, option)
    notes += [f"{option} {grant.text} is {grant}" for grant in found if grant.kind == "ip" and str(grant) != grant.text]
    return found
