"""Jobs and results between processes: a length, then plain values (`seclude.sandbox.plain`). No pickle, no marshal."""

from __future__ import annotations

import _socket
import os
import struct

from seclude.errors import InternalError, KernelError, PolicyError, SecludeError, UsageError
from seclude.sandbox.plain import OURS, decode, encode
from seclude.sandbox.result import Job, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "Closed",
    "announce",
    "answer",
    "job_from_plain",
    "job_to_plain",
    "outcome",
    "pass_descriptors",
    "read_answer",
    "receive",
    "rights",
    "take_descriptors",
    "transmit",
]

_SIZE = struct.Struct("<Q")
_ERRORS = {kind.__name__: kind for kind in (PolicyError, UsageError, KernelError, InternalError, SecludeError)}


class Closed(Exception):  # noqa: N818 - an outcome, not a fault
    """The other end went away before the message was whole."""


def transmit(descriptor: int, value: Any) -> None:
    """Send one value. Raises OSError (EPIPE: nobody reads)."""
    body = encode(value, OURS)
    rest = memoryview(_SIZE.pack(len(body)) + bytes(body))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int) -> Any:
    """The next value. Raises `Closed` at the end of the stream."""
    (size,) = _SIZE.unpack(_exactly(descriptor, _SIZE.size))
    return decode(_exactly(descriptor, size), OURS)


def _exactly(descriptor: int, size: int) -> bytes:
    out = bytearray()
    while len(out) < size:
        try:
            piece = os.read(descriptor, min(size - len(out), 1 << 20))
        except ConnectionResetError:
            raise Closed from None
        if not piece:
            raise Closed
        out += piece
    return bytes(out)


def pass_descriptors(channel: _socket.socket, descriptors: list[int]) -> None:
    """Send one byte with ``descriptors``."""
    channel.sendmsg([b"d"], rights(descriptors), _socket.MSG_NOSIGNAL)


def rights(descriptors: list[int]) -> list[tuple[int, int, bytes]]:
    """Ancillary data that carries ``descriptors`` (SCM_RIGHTS, unix(7))."""
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"={len(descriptors)}i", *descriptors))] if descriptors else []


def take_descriptors(channel: _socket.socket, count: int) -> list[int] | None:
    """The ``count`` descriptors sent with the next byte, close-on-exec; None where the other end is gone."""
    data, ancillary, _, _ = channel.recvmsg(1, _socket.CMSG_SPACE(count * 4), _socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    found: list[int] = []
    for level, kind, raw in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            found += struct.unpack(f"={len(raw) // 4}i", raw[: len(raw) // 4 * 4])
    return found


_JOB = ("argv", "environment", "cwd", "capture", "stdin", "report", "ptrace", "umask", "mask", "weaker", "supervision", "reach")


def job_to_plain(job: Job) -> dict[str, Any]:
    """A job as plain values."""
    out: dict[str, Any] = {name: getattr(job, name) for name in _JOB}
    out["artifact"] = job.artifact.to_bytes()
    out["limits"] = {name: getattr(job.limits, name) for name in job.limits.__slots__}
    return out


def job_from_plain(plain: dict[str, Any]) -> Job:
    """The inverse of `job_to_plain`."""
    from seclude.compiler.artifact import Artifact
    from seclude.sandbox.limits import Limits

    values = dict(plain)
    artifact, limits = Artifact.from_bytes(values.pop("artifact")), Limits(**values.pop("limits"))
    return Job(values.pop("argv"), values.pop("environment"), artifact, limits, **values)


def answer(descriptor: int, outcome: Result | SecludeError) -> None:
    """Send how a run ended; an error keeps its kind, its text and its errno."""
    if isinstance(outcome, Result):
        transmit(descriptor, ["result", outcome.to_plain()])
    else:
        name = next((kind.__name__ for kind in type(outcome).__mro__ if kind.__name__ in _ERRORS), "SecludeError")
        first = outcome.diagnostics[0]
        text = first.message if len(outcome.diagnostics) == 1 else str(outcome)
        transmit(descriptor, ["error", name, text, first.remedy if len(outcome.diagnostics) == 1 else "", getattr(outcome, "errno", 0)])


def announce(descriptor: int, line: str) -> None:
    """Send what was put in force, ahead of the answer."""
    transmit(descriptor, ["loaded", line])


def read_answer(descriptor: int, loaded: Callable[[str], object] | None = None) -> Result:
    """The result that `answer` sent, or the error raised; what is announced before it goes to ``loaded``. Raises `Closed`."""
    message = receive(descriptor)
    while message[0] == "loaded":
        if loaded is not None:
            loaded(message[1])
        message = receive(descriptor)
    return outcome(message)


def outcome(message: Any) -> Result:
    """The result, or the error raised, that a received message of `answer` is."""
    if message[0] == "result":
        return Result.from_plain(message[1])
    _, name, text, remedy, number = message
    if name == "KernelError":
        raise KernelError(text, remedy, number)
    raise _ERRORS[name](text, remedy)
