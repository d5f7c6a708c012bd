"""A notified call from the target's side: nanoseconds from the call to its answer, for engines in Python and for a loop in C.

Each row is the same target (benchmarks/notify.c) with another supervisor, on one CPU for both (with SYNC_WAKE_UP, where the kernel has it) and on one CPU each.
Supervisors are interleaved, and medians shown. "responder" is what `seclude run` answers denials with and keeps its record by; "handler" asks a
function in Python for each call, and keeps the record too. "C" only receives and sends; "C, polling" also waits as all must that have more to wait for.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measuring import beside_c, c_program

CALLS = int(os.environ.get("CALLS", "40000"))
ROUNDS = int(os.environ.get("ROUNDS", "7"))
HERE = Path(__file__).resolve()
WAYS = ("C", "C, polling", "responder", "handler")


def supervise(channel: int, cpu: int, in_step: bool, way: str) -> None:
    """Be the supervisor of one target, until it is gone."""
    from seclude.abi import native
    from seclude.kernel import notify
    from seclude.supervise import Deny, NotifyEngine, Router, handler
    from seclude.supervise.kernel import Linux
    from seclude.supervise.notifications import Responder
    from seclude.supervise.plain import Plain
    from seclude.supervise.record import Record

    os.sched_setaffinity(0, {cpu})
    with socket.socket(fileno=channel) as link:
        _, (listener,), _, _ = socket.recv_fds(link, 1, 1)
        if in_step:
            notify.wake_in_step(listener)
        link.send(b"g")
        if way == "handler":

            @handler("getppid")
            def decide(_call: object) -> Deny:
                return Deny("EPERM")

            engine = NotifyEngine()
            engine.add(listener, Router([decide], [native()]))
            engine.run()
            engine.close()
            return
        import select

        import seclude

        program = bytes(seclude.compile(seclude.parse("default allow\nerrno(EPERM) getppid\n")))
        record = Record()
        responder = Responder(Linux(), listener, Plain(program), record, None)
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while True:
            for _, events in poll.poll():
                if not events & select.POLLIN:
                    responder.settle()
                    (denial,) = record.denials
                    assert denial.count >= CALLS
                    return
                responder.serve(poll.poll)


def measure(program: str, way: str, cpus: tuple[int, int]) -> float:
    """Nanoseconds a call."""
    ours, theirs = socket.socketpair()
    how = int(cpus[0] == cpus[1]) + (2 if way == "C, polling" else 0)
    with ours, theirs:
        command = [program, "supervisor"] if way.startswith("C") else [sys.executable, str(HERE), way]
        pair = (ours.fileno(), theirs.fileno())
        supervisor = subprocess.Popen([*command, str(pair[0]), str(cpus[1]), str(how)], pass_fds=pair[:1])
        target = subprocess.run(
            [program, "target", str(pair[1]), str(cpus[0]), str(CALLS)], pass_fds=pair[1:], stdout=subprocess.PIPE, check=True
        )
    if supervisor.wait(30):
        raise SystemExit(f"{way}: the supervisor failed")
    return float(target.stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        program = c_program(HERE, place)
        print(f"A notified call, answered with EPERM; {CALLS} calls, median of {ROUNDS}")
        beside_c("supervisor", WAYS, partial(measure, program), ROUNDS)


if __name__ == "__main__":
    if len(sys.argv) == 5:
        supervise(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] != "0", sys.argv[1])
    else:
        main()
