"""``seclude.judge`` and ``seclude.Judge``: run a submission on an input, under a policy and limits, and give a verdict.

What is the same for every run is made once: the policy is compiled, its text parsed (only if a denial is to be explained), the limits are
read, the inputs are sealed. Each run is a process of the helper that serves `seclude.run` too, so that nothing of a submission
touches the caller; ``jobs`` of them go on at once.

What a submission is given: its input as descriptor 0, pipes as 1 and 2, an environment of four variables, and no other descriptor. Of files it can
open what programs need to run (`seclude.sandbox.reach`), its own, and what ``read`` and ``write`` name: a Landlock domain holds it to that. An expected
output that would be among them is refused. It is compared here, after the run has ended with all its processes.
"""

from __future__ import annotations

import os
import threading

from seclude.errors import UsageError
from seclude.sandbox.judge_cases import Case, find_cases
from seclude.sandbox.judge_compare import compare, read_mode
from seclude.sandbox.judge_verdict import Judgement, decide
from seclude.sandbox.launch import NotStarted, find_program
from seclude.sandbox.limits import Limits
from seclude.sandbox.options import PATHS, texts
from seclude.sandbox.prepare import prepare
from seclude.sandbox.reach import SYSTEM, beneath, files_of_command
from seclude.sandbox.result import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from seclude.policy import Policy
    from seclude.sandbox.judge_cases import Content
    from seclude.supervise.record import Denial

    Command = Sequence[str | bytes | os.PathLike[str]]

__all__ = ["ENVIRONMENT", "LIMITS", "Judge", "judge"]

#: what a submission's environment is, unless more is given: nothing of the judge's own
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/", "TMPDIR": "/tmp"}  # noqa: S108 - a name, no file
#: the limits, unless others are given; ``wall`` is three times ``cpu`` and a second
LIMITS = {"cpu": 2, "memory": 256 << 20, "output": 16 << 20}


class Judge:
    """Judges submissions one after another or ``jobs`` at a time; a context manager. Safe to use from several threads.

    ``policy``, ``rules``: as of `seclude.run`; the preset ``judge`` unless told. ``cpu``, ``wall`` (seconds, or "500ms"), ``memory``, ``output`` (bytes, or
    "64M"), ``processes``, ``files``: limits; `LIMITS` unless told. ``compare``: one of `seclude.sandbox.judge_compare.MODES`.
    ``env``: variables besides `ENVIRONMENT`; ``cwd``: the directory to start in. ``read``, ``write``: files and directories that submissions may open
    besides the system's and those that their command names; what may be written, the policy must permit too. ``ptrace=False`` as of `seclude.run`.

    Raises `PolicyError`, `UsageError`.
    """

    def __init__(
        self,
        *,
        policy: str | os.PathLike[str] | Policy = "judge",
        rules: Iterable[tuple[str, str]] = (),
        cpu: str | float | None = LIMITS["cpu"],
        wall: str | float | None = None,
        memory: str | int | None = LIMITS["memory"],
        output: str | int | None = LIMITS["output"],
        processes: str | int | None = None,
        files: str | int | None = None,
        compare: str = "lines",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        read: Iterable[str | os.PathLike[str]] = (),
        write: Iterable[str | os.PathLike[str]] = (),
        jobs: int | None = None,
        ptrace: bool = True,
    ) -> None:
        limits = Limits(cpu=cpu, wall=wall, memory=memory, output=output, processes=processes, files=files)
        if limits.wall is None and limits.cpu is not None:
            limits = limits.replace(wall=3 * limits.cpu + 1)
        self.limits = limits
        self.compare = read_mode(compare)
        if jobs is not None and jobs < 1:
            raise UsageError(f"judge: jobs={jobs!r} runs nothing", "give how many submissions may run at once")
        self.jobs = jobs or len(os.sched_getaffinity(0))
        extra = tuple(rules)
        self.artifact = prepare(policy, rules=extra)
        self._policy = None if isinstance(policy, (str, os.PathLike)) or extra else policy
        self._environment = [os.fsencode(f"{name}={value}") for name, value in {**ENVIRONMENT, **(env or {})}.items()]
        self._cwd = os.fsencode(os.path.abspath(cwd or "."))
        self._ptrace = ptrace
        self._read = [os.fsencode(os.path.abspath(path)) for path in texts("judge", "read", read, PATHS)]
        self._write = [os.fsencode(os.path.abspath(path)) for path in texts("judge", "write", write, PATHS)]
        self._given = [os.path.realpath(path) for path in (*SYSTEM, *self._read, *self._write)]
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more will be judged here. The helper process stays, for `seclude.run` and other judges."""
        self._policy = None

    def judge(self, command: Command, case: Case | None = None, *, stdin: Content = b"", expect: Content | None = None) -> Judgement:
        """Run ``command`` on ``case``, or on ``stdin`` with the answer ``expect`` (each bytes, or a file's name), and wait for the verdict.

        Without an expected output, "accepted" says that it ended well within its limits. Raises `UsageError` where the command cannot be
        executed, and `KernelError` where the run was refused.
        """
        if case is not None:
            return self._judge(command, case)
        with Case(stdin, expect) as one:
            return self._judge(command, one)

    def _judge(self, command: Command, case: Case) -> Judgement:
        from seclude.sandbox.zygote import submit

        if isinstance(command, (str, bytes)) or not command:
            raise UsageError(f"judge: expected a list of words, got {command!r}", "write seclude.judge(['./solution'])")
        words = [os.fsencode(word) for word in command]
        if any(b"\0" in word for word in (*words, *self._environment)):
            raise UsageError("judge: a word with a NUL character")
        reach = self._reach(words, case)
        job = Job(
            words, self._environment, self.artifact, self.limits, cwd=self._cwd, capture=(1, 2), ptrace=self._ptrace, umask=0o077, mask=[],
            reach=reach,
        )  # fmt: skip
        case.prepare()
        given = case.open()
        try:
            result = submit(job, (given, given, given))
        finally:
            os.close(given)
        if result.error:
            raise UsageError(f"judge: {result.error}")
        judged = decide(result, self.limits)
        judged.name = case.name
        if judged.accepted and case.answer is not None:
            judged.difference = compare(judged.stdout, case.answer, self.compare)
            if judged.difference is not None:
                judged.verdict, judged.reason = "wrong answer", judged.difference.describe()
        if judged.denials and not judged.accepted:
            self._explain(judged.denials)
        return judged

    def _reach(self, words: list[bytes], case: Case) -> dict[str, list[bytes]]:
        """What the command may open. Raises `UsageError` where the case's expected output would be among it, or the command is not to be found."""
        try:
            program = find_program(words[0], self._environment, self._cwd)
        except NotStarted as reason:
            raise UsageError(f"judge: {reason}") from None
        own = files_of_command(program, words[1:], self._cwd)
        place = case.place
        if place is not None:
            found = beneath(os.fsencode(place), [*self._given, *map(os.path.realpath, own)])
            if found is not None:
                raise UsageError(
                    f"judge: the submission could read the expected output {place}, since it may open {os.fsdecode(found)}",
                    "keep answers in a directory of their own, away from what submissions may read",
                )
        return {"read": [*self._read, *own], "write": self._write}

    def _explain(self, denials: list[Denial]) -> None:
        from seclude.errors import SecludeError
        from seclude.sandbox.explain import explain, policy_of

        with self._lock:
            if self._policy is None:
                try:
                    self._policy = policy_of(self.artifact)  # parsed once, and only where something was denied
                except SecludeError:
                    return
        explain(denials, self.artifact, self._policy)

    def each(self, tasks: Iterable[tuple[Command, Case]], *, stop: bool = False) -> Iterator[Judgement]:
        """Judge ``(command, case)`` pairs, ``jobs`` at a time, and yield the judgements in the order of ``tasks``.

        ``stop``: nothing after the first that is not accepted is yielded, or started once that is known. What a pair raises is raised in its place.
        """
        work = _Work(self, tasks)
        try:
            for number in range(self.jobs):
                work.start(number)
            while True:
                outcome = work.next()
                if outcome is None:
                    return
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
                if stop and not outcome.accepted:
                    return
        except KeyboardInterrupt:
            work.abandon()  # the runs end with this process
            raise
        finally:
            work.end()

    def cases(self, command: Command, directory: str | os.PathLike[str], *, stop: bool = False) -> Iterator[Judgement]:
        """Judge ``command`` on every case of a directory (`find_cases`); as `each`."""
        yield from self.once(command, find_cases(directory), stop=stop)

    def once(self, command: Command, cases: Sequence[Case], *, stop: bool = False) -> Iterator[Judgement]:
        """Judge ``command`` on each of ``cases``, and close each when its verdict is known: only as many are in memory as are under way."""
        try:
            for judged, case in zip(self.each(((command, case) for case in cases), stop=stop), cases, strict=False):
                case.close()
                yield judged
        finally:
            for case in cases:
                case.close()


class _Work:
    """Tasks taken by threads, each of which waits for one run at a time; outcomes handed out in the tasks' order."""

    def __init__(self, judge: Judge, tasks: Iterable[tuple[Command, Case]]) -> None:
        self.judge = judge
        self.tasks = enumerate(tasks)
        self.changed = threading.Condition()
        self.outcomes: dict[int, Judgement | BaseException] = {}
        self.given = 0  # tasks handed out to threads
        self.told = 0  # outcomes handed to the caller
        self.over = False  # no further task is taken
        self.threads: list[threading.Thread] = []

    def start(self, number: int) -> None:
        # Daemons: a caller that is interrupted ends, and with it every run, rather than wait for the limits of all of them.
        thread = threading.Thread(target=self._serve, name=f"seclude-judge-{number}", daemon=True)
        self.threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while True:
            with self.changed:
                # Not far ahead of the caller, who may be slow: outcomes hold outputs.
                while not self.over and self.given > self.told + 4 * self.judge.jobs:
                    self.changed.wait()
                if self.over:
                    return
                try:
                    index, (command, case) = next(self.tasks)
                except StopIteration:
                    self.over = True
                    self.changed.notify_all()
                    return
                except BaseException as error:  # noqa: BLE001 - the caller's own iterable: raised to the caller
                    self.outcomes[self.given] = error
                    self.given += 1
                    self.over = True
                    self.changed.notify_all()
                    return
                self.given = index + 1
            try:
                outcome: Judgement | BaseException = self.judge.judge(command, case)
            except BaseException as error:  # noqa: BLE001 - raised to the caller, in its place
                outcome = error
            with self.changed:
                self.outcomes[index] = outcome
                self.changed.notify_all()

    def next(self) -> Judgement | BaseException | None:
        """The next outcome in order; None where there is none any more."""
        with self.changed:
            while self.told not in self.outcomes:
                if self.over and self.told >= self.given:
                    return None
                self.changed.wait()
            outcome = self.outcomes.pop(self.told)
            self.told += 1
            self.changed.notify_all()
            return outcome

    def end(self) -> None:
        """Take no further task, and wait for the runs that go on, unless they were abandoned."""
        if self.over and not self.threads:
            return
        with self.changed:
            self.over = True
            self.changed.notify_all()
        while self.threads:
            self.threads.pop().join()

    def abandon(self) -> None:
        """Take no further task, and wait for nobody. Without the lock: an exception out of a signal may have come just as it was taken, and nobody would give it back."""
        self.over = True
        self.threads.clear()


def judge(command: Command, *, stdin: Content = b"", expect: Content | None = None, **options: object) -> Judgement:
    """Run ``command`` on ``stdin`` under a policy and limits, compare its output with ``expect``, and give the verdict.

    ``stdin`` and ``expect``: bytes, or a file's name. ``options``: those of `Judge`; use one of these for many runs. Raises `PolicyError`,
    `UsageError`, and `KernelError` where the run was refused.

    >>> import seclude
    >>> seclude.judge(["/bin/cat"], stdin=b"4 2", expect=b"4 2", cpu=1, memory="64M").verdict
    'accepted'
    """
    with Judge(**options) as one:  # type: ignore[arg-type]
        return one.judge(command, stdin=stdin, expect=expect)
