"""The broker of files: the notified calls that name files, done by the supervisor on what the path means to the target, and on nothing else.

The problem: a path that was looked at can mean another file by the time the kernel walks it, so to look and then let the call run protects nothing. Here a
call is never let run. Its path is copied once; walked once, as the target, to a handle (`files_resolve`); the handle is judged by its own path (`files_rules`); and the
call is done on the handle (`files_open`, `files_look`, `files_changes`). A descriptor goes to the target together with the answer.

`files_table` says for every call with a path what is done about it. Denials name the path, and the option that would grant it.

File systems whose server may not answer (`seclude.kernel.mounts`) are not entered by the loop that has everything else to serve, and clocks to keep: a call that leads
there is begun anew in a thread.

What can still go wrong: links made to a file before the run lead to it by other names than those it is hidden under, except for single files hidden by their
plain name, which are known by their identity. Whether something outside exists can be told by its errors (EACCES, not ENOENT), except for what is hidden.
"""

from __future__ import annotations

import _thread
import errno
import os

from seclude.kernel import memory
from seclude.kernel.impersonation import Impersonation
from seclude.kernel.mounts import Mounts
from seclude.supervise.call import Gone, Unreadable
from seclude.supervise.files_act import Act, Refused, part
from seclude.supervise.files_resolve import Resolver, Waits
from seclude.supervise.files_rules import HIDDEN, WRITE, Rules
from seclude.supervise.files_table import BROKERED
from seclude.supervise.handlers import Handler
from seclude.supervise.verdict import Deny, Emulate, Inject, Return, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.abi import Architecture
    from seclude.supervise.call import Call
    from seclude.supervise.pool import Pool

__all__ = ["FilesBroker", "threads"]

#: FIFOs that wait for their other end at the same time; more wait for one of these to end
WAITING = 512


def threads() -> Pool:
    """The threads in which FIFOs wait, made as they are needed: enough that the other end of one finds a thread too."""
    from seclude.supervise.descriptors import capacity
    from seclude.supervise.pool import Pool

    return Pool(min(WAITING, capacity() // 16))


class FilesBroker:
    """One run's broker of files: `handler` is what the engine asks. One call at a time, in whichever thread: the process has one umask."""

    __slots__ = ("_apart", "_hidden", "_impersonation", "_lock", "_mounts", "_resolver", "_waits", "rules")

    def __init__(self, rules: Rules, hidden: frozenset[tuple[int, int]] = frozenset(), *, waits: bool = False) -> None:
        """``hidden``: (st_dev, st_ino) of single files that are hidden under every name. ``waits``: it is for a thread, which may wait for whoever serves a file."""
        self.rules = rules
        self._hidden = hidden
        self._lock = _thread.allocate_lock()
        self._impersonation: Impersonation | None = None
        self._resolver: Resolver | None = None
        self._waits = waits
        self._apart = False
        self._mounts: Mounts | None = None

    def another(self) -> FilesBroker:
        """A broker with the same rules, for another thread."""
        return FilesBroker(self.rules, self._hidden, waits=True)

    def close(self) -> None:
        """Close what is kept open between calls."""
        if self._resolver is not None:
            self._resolver.close()
            self._resolver = None
        if self._mounts is not None:
            self._mounts.close()
            self._mounts = None

    def handler(self, architectures: Iterable[Architecture]) -> Handler:
        """The handler to give to an engine: for the brokered calls that these architectures have."""
        known = [arch.number for arch in architectures]
        made = Handler(
            self.decide, [call for call in BROKERED if any(number(call) is not None for number in known)], (Deny, Return, Inject, Emulate)
        )
        made.name = "--read, --write, --hide"
        return made

    def decide(self, call: Call) -> Verdict:
        """Do one call. Raises `Gone`."""
        with self._lock:
            return self._decide(call)

    def _decide(self, call: Call) -> Verdict:
        spec = BROKERED.get(call.name)
        if spec is None:
            return Deny("ENOSYS", "no broker does this call")
        if self._impersonation is None:
            self._impersonation = Impersonation()
            self._apart = self._waits and part()
        if self._resolver is None:
            self._resolver = Resolver()
            self._mounts = None if self._waits else Mounts()
        if self._mounts is not None:
            self._resolver.waiting = self._mounts.waiting()
        view = self._resolver.view(call.tid)
        if view is None:
            if not call.waits():
                raise Gone
            return Deny("EPERM", "files: the target hides from its supervisor (it is not dumpable), so nothing is done for it")
        act = Act(call, view, self._resolver, self.rules, self._impersonation, self._hidden, apart=self._apart)
        try:
            # What was taken of the thread so far is held by its directory in /proc, which a dead thread's number does not lead to any more: one question, after
            # the path is read, answers for both.
            result, writes = spec(act)
        except Waits:
            return Emulate(self._beside)
        except Refused as refused:
            return self._refusal(refused)
        except Unreadable as error:
            if error.errno == errno.EPERM:
                return Deny("EPERM", f"files: {error}")
            return Return(-error.errno)
        except OSError as error:
            return Return(-(error.errno or errno.EPERM))
        finally:
            act.close()
        for address, data in writes:
            written = memory.write(call.tid, address, data, call.waits)
            if written is None:
                raise Gone
            if not written:
                return Return(-errno.EFAULT)
        return result if isinstance(result, Verdict) else Return(result)

    def _beside(self, call: Call) -> Verdict:
        """Do a call that may have to wait for a server, from its beginning, in a thread. Raises OSError, `Gone`."""
        one = self.another()
        try:
            verdict = one.decide(call)
        finally:
            one.close()
        if not isinstance(verdict, Emulate):
            return verdict
        rest = verdict.function(call)  # a FIFO whose other end is closed, say
        return rest if isinstance(rest, Verdict) else Return(rest)

    def _refusal(self, refused: Refused) -> Verdict:
        path = os.fsdecode(refused.path)
        if refused.level == HIDDEN:
            rule = self.rules.hidden_by(refused.path)
            which = f"--hide {os.fsdecode(rule)}" if rule is not None else "--hide, by another name"
            return Deny("ENOENT", f"{path} is hidden by {which}")
        if refused.why:
            return Deny("EACCES", f"{path}: {refused.why}")
        option = "--write" if refused.need >= WRITE else "--read"
        granted = (
            "may be read, not written"
            if refused.need >= WRITE and refused.level == WRITE - 1
            else "is outside of what --read and --write grant"
        )
        return Deny("EACCES", f"{path} {granted}", f"{option} {_quoted(path)}" if path.isprintable() else "")


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
