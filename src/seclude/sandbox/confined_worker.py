"""The confined worker: from the template's fork to the call, and the answer.

Everything that could be refused later is done before the filter: descriptors are closed, limits set, the Landlock domain entered. What is left needs
``read`` and ``write`` on one descriptor, and the template's go-ahead once it has taken the listener.

Descriptors here: 0, 1 and 2 are the null device; `CHANNEL` leads to the host; `SYNC` to the template and `LISTENER` exist only until the template
has the listener, which is before anything of the function runs.

Frames, integers little-endian. Towards the worker: 8 bytes of nonce, 8 of size, the arguments. From it: first 16 bytes of greeting (a fixed word and the
process id), then for each call the same nonce, one byte of what it is, 8 of size, and a plain value: ``R`` the result, ``E`` an exception (name, text,
places), ``U`` a result that is not plain, why. A worker that has run a function is not trusted any more: the host checks all of it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import ctypes
import os
import resource
import struct

from seclude.errors import KernelError
from seclude.kernel import capabilities, libc, prctl, seccomp
from seclude.kernel.signals import csignal
from seclude.sandbox.plain import PlainError, decode, encode
from seclude.sandbox.strict_child import exception

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from seclude.kernel.landlock import Ruleset
    from seclude.kernel.seccomp import FilterArgument

    Limit = tuple[int, int, int]

__all__ = ["ANSWER", "CALL", "CHANNEL", "GREETING", "HELLO", "LISTENER", "SYNC", "Plan", "become"]

CHANNEL, SYNC, LISTENER = 3, 4, 5
HELLO = struct.Struct("<8sQ")
GREETING = b"confined"
CALL = struct.Struct("<8sQ")
ANSWER = struct.Struct("<8scQ")
SIGKILL, SIG_MAX = 9, 64
_ROOM = 1 << 16


class Plan:
    """What every worker of one template gets: made once, so that the fork has nothing to look up."""

    __slots__ = ("domain", "function", "input", "memory", "notes", "output", "plain", "reported", "rlimits")

    def __init__(
        self,
        function: Callable[..., Any],
        plain: FilterArgument,
        reported: FilterArgument | None,
        domain: Ruleset | None,
        rlimits: Sequence[Limit],
        memory: int,
        limits: tuple[int, int],
        notes: list[str],
    ) -> None:
        self.function = function
        self.plain = plain
        self.reported = reported
        self.domain = domain
        self.rlimits = tuple(rlimits)
        self.memory = memory
        self.input, self.output = limits
        self.notes = notes


def become(plan: Plan, channel: int, sync: int, parent: int, rlimits: Sequence[Limit]) -> NoReturn:
    """In the fork: become a confined worker and serve. ``rlimits`` are this worker's own. Never returns into the template's code."""
    what = "the worker's start"
    try:
        what = "PR_SET_PDEATHSIG"
        prctl.set_parent_death_signal(SIGKILL)
        if os.getppid() != parent:
            os._exit(70)
        os.setsid()
        what = "reading how large it is"
        memory = _address_space() + plan.memory if plan.memory else 0
        for number in range(1, SIG_MAX + 1):
            try:
                _signal.signal(number, _signal.SIG_DFL)
            except (OSError, ValueError):
                continue  # SIGKILL, SIGSTOP, and those that the C library keeps
        # As any interpreter has them: a write beyond a limit or to nobody is an exception, not the end.
        for number in (csignal.SIGPIPE, csignal.SIGXFSZ):
            csignal.signal(number, csignal.SIG_IGN)
        _signal.set_wakeup_fd(-1)
        csignal.pthread_sigmask(csignal.SIG_SETMASK, ())
        # The domain's descriptor is used before the table is swept.
        what = "no_new_privs"
        prctl.set_no_new_privs()
        what = "giving up capabilities"
        capabilities.drop_all()  # the bounding set may stay: under no_new_privs execve raises nothing from it
        prctl.set_child_subreaper(True)  # what it leaves behind stays its own until it ends
        if plan.domain is not None:
            what = "Landlock"
            plan.domain.restrict()
        what = "descriptors"
        _keep(channel, sync)
        what = "setrlimit"
        for kind, soft, hard in (*plan.rlimits, *rlimits):
            resource.setrlimit(kind, (soft, hard))
        if memory:
            _bound_memory(memory)
        what = "seccomp"
        _confine(plan)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the template can tell it and this process cannot
        _fail(what, error)
    _serve(plan.function, plan.input, plan.output)


def _keep(channel: int, sync: int) -> None:
    """Move the two descriptors to where they belong, and close everything else beyond the standard ones."""
    high = max(channel, sync, LISTENER) + 1
    os.dup2(channel, high, inheritable=False)
    os.dup2(sync, high + 1, inheritable=False)
    os.dup2(high, CHANNEL, inheritable=False)
    os.dup2(high + 1, SYNC, inheritable=False)
    if libc.syscall("close_range", LISTENER, 0xFFFFFFFF, 0) < 0:  # Linux 5.9
        for name in os.listdir("/proc/self/fd"):
            if int(name) >= LISTENER:
                os.closerange(int(name), int(name) + 1)


def _address_space() -> int:
    """Bytes that are mapped: what ``memory`` adds to, since an absolute number would have to know the interpreter's size."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _bound_memory(wanted: int) -> None:
    ceiling = resource.getrlimit(resource.RLIMIT_AS)[1]
    if ceiling != resource.RLIM_INFINITY:
        wanted = min(wanted, ceiling)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, wanted))


def _confine(plan: Plan) -> None:
    """Install the filter and say so. Until the template has the listener, a call that the policy denies has to wait: also one of the interpreter's own
    before the word is out, which is why the template looks for the listener now and then by itself.
    """
    install = libc.libc.syscall
    number, operation = ctypes.c_long(libc.number("seccomp")), ctypes.c_long(seccomp.SET_MODE_FILTER)
    greeting = HELLO.pack(GREETING, os.getpid())
    told = b"p"  # the plain filter
    if plan.reported is not None:
        program = ctypes.byref(plan.reported)
        flags = ctypes.c_long(seccomp.NEW_LISTENER | seccomp.WAIT_KILLABLE_RECV)
        if install(number, operation, flags, program) >= 0:
            told = b"i"
        elif ctypes.get_errno() != 16:  # EBUSY: we are under somebody's listener already, and do without
            raise seccomp.explain(ctypes.get_errno(), seccomp.NEW_LISTENER | seccomp.WAIT_KILLABLE_RECV)
    if told == b"p" and install(number, operation, ctypes.c_long(0), ctypes.byref(plan.plain)) < 0:
        raise seccomp.explain(ctypes.get_errno())
    os.write(SYNC, told)
    if os.read(SYNC, 1) != b"c":
        os._exit(70)  # the template is gone
    if told == b"i":
        os.close(LISTENER)
    os.close(SYNC)
    os.write(CHANNEL, greeting)


def _fail(what: str, error: BaseException) -> NoReturn:
    try:
        number = getattr(error, "errno", 0) or 0
        text = str(error) if isinstance(error, KernelError) else f"{type(error).__name__}: {error}"
        os.write(SYNC, b"f" + encode((what, text[:1000], number), 1 << 20))
    finally:
        os._exit(70)


def _serve(function: Callable[..., Any], input_limit: int, output: int) -> NoReturn:
    """Read calls and answer them, until the host hangs up."""
    read, write = os.read, os.write
    head, room = CALL.size, _ROOM
    while True:
        received = read(CHANNEL, room)
        if not received:
            os._exit(0)
        if len(received) < head or len(received) < head + CALL.unpack_from(received)[1]:
            received = _rest(received)
        nonce = received[:8]
        count, *given = decode(memoryview(received)[head:], input_limit)
        args, keywords = given[:count], dict(zip(given[count::2], given[count + 1 :: 2], strict=True))
        del given
        try:
            kind, payload = b"R", encode(function(*args, **keywords), output)
        except PlainError as error:
            kind, payload = b"U", encode(str(error), 1 << 20)
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are carried back like any other
            kind, payload = b"E", _carried(error)
        del args, keywords
        answer = ANSWER.pack(nonce, kind, len(payload)) + payload
        sent = write(CHANNEL, answer)
        if sent < len(answer):
            view = memoryview(answer)[sent:]
            while view:
                view = view[write(CHANNEL, view) :]


def _carried(error: BaseException) -> bytearray:
    try:
        return exception(error)
    except BaseException:  # noqa: BLE001 - a class that will not even say its name
        return encode(("exception", "(it cannot be described)", []), 1 << 20)


def _rest(received: bytes) -> bytes:
    whole = bytearray(received)
    while len(whole) < CALL.size or len(whole) < CALL.size + CALL.unpack_from(whole)[1]:
        piece = os.read(CHANNEL, 1 << 20)
        if not piece:
            os._exit(0)
        whole += piece
    return bytes(whole)
