"""``seclude run --ask``: calls that the policy does not decide are shown to a person, who allows or denies each, once or always.

Undecided is what no rule of the policy lists: where its ``default`` would have answered with an errno. Rules that deny on purpose are not asked
about. "Always" becomes a rule, tried after those of the policy, for the rest of the run, and a line with a comment in the file of ``--ask-save``.

One question at a time; the calling thread waits meanwhile, all others run. No answer within the time is a denial, and so is a channel that
goes away. A call that is gone (killed, interrupted) takes its question with it, and so does a signal that is to end the program.

What a yes permits is the call with the registers it came with. What its pointers show is read once and shown, but can change before the kernel
looks; where the supervisor can do the call itself (opening files, under --read and the like), it does it on what was shown.

A terminal that the target shares could be made to answer for the person: whoever may push characters into it (TIOCSTI, TIOCLINUX) is denied, and a
policy that allows it is refused.
"""

from __future__ import annotations

import _thread
import os
import time

from seclude.errors import PolicyError, SecludeError
from seclude.kernel.signals import csignal
from seclude.supervise.call import Call, Gone
from seclude.supervise.describe import describe, quote
from seclude.supervise.handlers import Handler
from seclude.supervise.interrupt import signalled
from seclude.supervise.plain import ALLOW, ERRNO, LOG
from seclude.supervise.record import Denial
from seclude.supervise.verdict import Allow, Deny, Return
from seclude.supervise.words import in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from seclude.compiler.artifact import Artifact
    from seclude.kernel.notify import Notification
    from seclude.policy import Policy
    from seclude.policy.evaluate import Outcome
    from seclude.supervise.router import Router
    from seclude.supervise.verdict import Verdict

    class Channel(Protocol):
        """Where a person sits."""

        shared: bool  # whether the target can get at it

        def ask(self, question: Question, timeout: float, waits: Callable[[], bool]) -> Answer:
            """Raises `Gone` where the call does not wait any more, `Unanswered` otherwise."""

        def close(self) -> None: ...


__all__ = ["ANSWERS", "TIMEOUT", "Answer", "Asking", "Question", "Unanswered", "build", "timeout_of"]

TIMEOUT = 60.0
#: what can be answered
ANSWERS = ("allow", "allow-always", "deny", "deny-always", "deny-rest")
_ORIGIN = "--ask"
#: ioctl requests that type into a terminal: TIOCSTI, TIOCLINUX (asm-generic/ioctls.h; alpha, mips, parisc, powerpc and sparc have others)
_TYPING = ("TIOCSTI", "TIOCLINUX")
_REQUEST = 6  # the word of struct seccomp_data in which the request lies: args[1], its low half (seclude.decision.calls)


#: signals by which somebody means to end a program: others wait for the answer, since a timer's would take every question back
_ENDING = sum(1 << number - 1 for number in (csignal.SIGHUP, csignal.SIGINT, csignal.SIGQUIT, csignal.SIGTERM))


class Unanswered(Exception):  # noqa: N818 - an outcome, not a fault
    """Nobody answered; the text says why."""


class Interrupted(Exception):  # noqa: N818 - an outcome, not a fault
    """The program has a signal to take that is meant to end it, and takes none while its call waits."""


class Question:
    """One call to decide. ``words`` says what it would do, ``text`` is the call, ``rules`` are those that "always" can mean, the narrowest first."""

    __slots__ = ("arch", "call", "id", "pid", "program", "rules", "text", "tid", "words")

    def __init__(self, id_: int, call: str, arch: str, words: str, text: str, program: str, pid: int, tid: int, rules: list[str]) -> None:
        self.id = id_
        self.call = call
        self.arch = arch
        self.words = words
        self.text = text
        self.program = program
        self.pid = pid
        self.tid = tid
        self.rules = rules


class Answer:
    """``what`` is one of `ANSWERS`; ``rule`` what an "always" means: the narrowest of the question's rules if empty."""

    __slots__ = ("rule", "what")

    def __init__(self, what: str, rule: str = "") -> None:
        self.what = what
        self.rule = rule


class Asking:
    """The questions of one run, and what was answered. `undecided` and `decide` are its two entries: the loop's, and the handler's."""

    __slots__ = ("_channel", "_lock", "_number", "_rest", "_router", "_timeout", "counts", "file", "handler", "lines", "policy")

    def __init__(self, artifact: Artifact, channel: Channel, *, timeout: float = TIMEOUT, save: str | None = None) -> None:
        """Raises `PolicyError` where there is nothing to ask, or where a shared terminal could be typed into; `UsageError` for the file."""
        from seclude.sandbox.explain import policy_of

        self.policy: Policy = policy_of(artifact)
        default = self.policy.effective.default
        if default is None or default.kind != "errno":
            raise PolicyError(
                f"--ask: the policy's default is {default}, so no call waits for an answer", "ask under a policy with: default errno(EPERM)"
            )
        if channel.shared:
            _refuse_typing(self.policy)
        self._channel = channel
        self._timeout = timeout
        self._lock = _thread.allocate_lock()
        self._router: Router | None = None
        self._number = 0
        self._rest = False
        self.counts = {"allowed": 0, "denied": 0}
        #: the policy lines that were answered, with their comments
        self.lines: list[str] = []
        self.handler = Handler(self.decide, ["@known"], {Allow, Deny, Return}, threads=True)
        self.handler.name = _ORIGIN
        self.file = None
        if save is not None:
            from seclude.sandbox.ask_file import AnswersFile

            self.file = AnswersFile(save, artifact)

    def use(self, router: Router) -> None:
        """Calls that ``router`` has performers for are done by them, on what was shown."""
        self._router = router

    def undecided(self, notification: Notification) -> bool:
        """Whether the call is for a person to decide, or was decided by an answer."""
        outcome = self._outcome(notification.arch, notification.nr, notification.args, notification.ip)
        return outcome.reason == "default" or (outcome.rule is not None and outcome.place.startswith(_ORIGIN))

    def _outcome(self, token: int, nr: int, args: tuple[int, ...], ip: int) -> Outcome:
        from seclude.policy.evaluate import evaluate

        return evaluate(self.policy, token, nr, args, ip)

    def decide(self, call: Call) -> Verdict:
        """The handler: asks, unless an answer covers the call by now."""
        with self._lock:  # one question at a time
            outcome = self._outcome(call.token, call.nr, call.raw, call.ip)
            if self._channel.shared and _types(call):
                return _denied(outcome, "it would type into the terminal at which answers are given")
            if outcome.reason != "default":
                if outcome.value & 0xFFFF0000 in (ALLOW, LOG):
                    return Allow()
                return _denied(outcome, "as answered before")
            if self._rest:
                return _denied(outcome, "denied like the rest, as answered before")
            question = self._question(call)
            try:
                answer = self._asked(question, call)
                self._learn(answer, question)
            except Interrupted:
                self.counts["denied"] += 1
                return Deny("EINTR", "a signal to the program came first")
            except Unanswered as reason:
                self.counts["denied"] += 1
                return _denied(outcome, str(reason))
            if answer.what.startswith("allow"):
                self.counts["allowed"] += 1
                return Allow()
            self.counts["denied"] += 1
            self._rest = answer.what == "deny-rest"
            return _denied(outcome, "denied by whoever was asked")

    def _asked(self, question: Question, call: Call) -> Answer:
        until = time.monotonic() + self._timeout
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise Unanswered(f"nobody answered within {self._timeout:g} s")
            try:
                answer = self._channel.ask(question, left, lambda: call.waits() and not signalled(call, _ENDING))
            except Gone:
                if not call.waits():
                    raise
                raise Interrupted from None
            if not answer.what.endswith("-always") or self._accepts(answer, question):
                return answer

    def _accepts(self, answer: Answer, question: Question) -> bool:
        """Whether the rule of an "always" is one, and decides this call. What is no rule is asked for again."""
        answer.rule = answer.rule or (question.rules[0] if question.rules else "")
        return answer.rule in question.rules

    def _learn(self, answer: Answer, question: Question) -> None:
        if not answer.what.endswith("-always"):
            return
        from seclude.policy.language import append

        default = self.policy.effective.default
        action = "allow" if answer.what == "allow-always" else str(default)
        self.policy = append(self.policy, [(action, answer.rule, _ORIGIN)])
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        # Quoted: a line's end in a file's name would begin a line of policy.
        program = quote(os.fsencode(question.program)) if question.program else "a program"
        lines = f"# asked {when} UTC by {program}: {question.text}\n{action:<7} {answer.rule}\n"
        self.lines.append(lines)
        if self.file is not None:
            self.file.add(lines)

    def _question(self, call: Call) -> Question:
        from seclude.sandbox.explain import rules_that_allow

        if self._router is None or call.name not in self._router.performers:
            # Nobody can do the call on the copy that is shown, so a yes is to its registers: what is shown is looked at on the side.
            call = Call(call.kernel, call.tid, call.token, call.nr, call.ip, call.raw, call.waits, call.data)
        arch, name, text, _ = describe(call.kernel, call.tid, call.token, call.nr, call.raw)
        words = in_words(call)
        program = call.exe or ""
        if not call.waits():
            raise Gone
        denial = Denial(
            call=name, arch=arch, nr=call.nr, token=call.token, ip=call.ip, args=call.raw, text=text, action="errno", result="", value=ERRNO
        )
        self._number += 1
        return Question(self._number, name, arch, words, text, program, call.pid, call.tid, rules_that_allow(self.policy, denial))

    def notes(self) -> list[str]:
        """For the result: how many were asked, and where the answers are."""
        allowed, denied = self.counts["allowed"], self.counts["denied"]
        if not allowed + denied:
            return []
        out = [f"--ask: {allowed + denied} question{'s' * (allowed + denied != 1)}, {allowed} allowed, {denied} denied"]
        if self.file is not None and self.file.written:
            out.append(f"--ask: {len(self.lines)} answer{'s' * (len(self.lines) != 1)} kept in {self.file.name}")
        elif self.lines:
            rules = "; ".join(line.splitlines()[-1] for line in self.lines)
            out.append(f"--ask: to keep what was answered, name a file with --ask-save; it was: {rules}")
        return out

    def close(self) -> None:
        """Let go of the channel, and of the file."""
        self._channel.close()
        if self.file is not None:
            self.file.close()


def _denied(outcome: Outcome, reason: str) -> Verdict:
    number = min(outcome.value & 0xFFFF, 4095)
    return Deny(number, reason) if number else Return(0)


def _types(call: Call) -> bool:
    """Whether the call types into a terminal."""
    if call.name != "ioctl" or call.arch is None:
        return False
    from seclude.abi.constants import constant

    return call.raw[1] & 0xFFFFFFFF in {constant(name, call.arch) for name in _TYPING}


def _refuse_typing(policy: Policy) -> None:
    """Of any descriptor, with anything else in the registers: it is the policy that is asked, not an example."""
    from seclude.abi.constants import constant
    from seclude.decision.calls import calls_of, calls_with
    from seclude.decision.compare import permitted
    from seclude.decision.policy import from_policy
    from seclude.decision.words import equals

    allowed = permitted(from_policy(policy))
    for arch in policy.architectures:
        for name in _TYPING:
            request = constant(name, arch)
            if arch.number("ioctl") is None or request is None:
                continue
            if allowed & calls_of(arch.name, "ioctl") & calls_with(equals(_REQUEST, request)):
                raise PolicyError(
                    f"--ask: the policy allows ioctl(request == {name}) on {arch.name}, by which the target could type the answers itself",
                    "give answers elsewhere (--ask-via SOCKET), or deny it: --deny 'ioctl(request in {TIOCSTI, TIOCLINUX})'",
                )


def build(wanted: dict[str, Any], artifact: Artifact) -> Asking:
    """What ``Job.supervision["ask"]`` asks for: ``via`` (a terminal's device or a socket, "" for the terminal that this runs at), ``timeout``, ``save``."""
    from seclude.sandbox.ask_channels import open_channel

    channel = open_channel(wanted.get("via") or "")
    try:
        return Asking(artifact, channel, timeout=float(wanted.get("timeout") or TIMEOUT), save=wanted.get("save"))
    except SecludeError:
        channel.close()
        raise


def timeout_of(text: str | None) -> float:
    """Seconds from a word of the command line. Raises `UsageError`."""
    if text is None:
        return TIMEOUT
    from seclude.sandbox.limits import read_seconds

    return read_seconds(text, "--ask-timeout")
