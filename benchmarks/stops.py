"""A call that stops for a tracer, from the target's side: nanoseconds from the call to its result, for tracers in Python and one in C.

Each row is the same target (benchmarks/stops.c) under another tracer, on one CPU for both and on one CPU each. All look at the call's registers and let it
go on. "C" is a loop of waitpid, GETREGSET and CONT; "stop" is the same in Python over `seclude.kernel` (waitpid, GET_SYSCALL_INFO, CONT); "observer" is
what `seclude run` follows a tree with; "handler" asks a function in Python for each call; "run" is that under the whole command. Tracers are
interleaved, and medians shown. The share of C that counts is "stop".
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measuring import beside_c, c_program

CALLS = int(os.environ.get("CALLS", "10000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
HERE = Path(__file__).resolve()
WAYS = ("C", "stop", "observer", "handler", "run")
HANDLER = """
from seclude.supervise import Allow, handler

@handler("getppid")
def decide(call):
    return Allow()
"""
POLICY = "default allow\nerrno(EPERM) ptrace\ntrace(0) getppid\n"


def trace(way: str, program: str, cpus: tuple[int, int]) -> None:
    """Be the tracer of one target, until it is gone."""
    from seclude.kernel import ptrace, registers

    reader, writer = os.pipe()
    target = subprocess.Popen([program, "target", str(reader), str(cpus[0]), str(CALLS)], pass_fds=(reader,))
    os.sched_setaffinity(0, {cpus[1]})
    ptrace.seize(target.pid, ptrace.OBSERVE_CALLS)
    os.close(reader)
    os.close(writer)
    wait, any_thread = os.waitpid, 0x40000000
    if way == "stop":
        read, resume = registers.stopped_call(), ptrace.resume
        while True:
            tid, status = wait(-1, any_thread)
            if status & 0xFF != 0x7F:
                break
            if status >> 8 == 5 | ptrace.EVENT_SECCOMP << 8:
                read(tid)
                resume(tid)
            else:
                resume(tid, 0 if status >> 16 else status >> 8 & 0xFF)
    else:
        handle = _observer(target.pid, way).handle
        while not handle(*wait(-1, any_thread)):
            pass
    target.returncode = 0  # its status was taken here


def _observer(pid: int, way: str) -> Any:
    import seclude
    from seclude.abi import native
    from seclude.supervise import Allow, Router, handler
    from seclude.supervise.kernel import Linux
    from seclude.supervise.observer import GO, Observer
    from seclude.supervise.plain import Plain
    from seclude.supervise.ptrace_engine import PtraceEngine
    from seclude.supervise.record import Record

    class Passing(PtraceEngine):
        __slots__ = ()

        def entered(self, tid: int, call: object) -> int:  # noqa: ARG002 - goes on whatever it is
            return GO

    @handler("getppid")
    def decide(_: object) -> Allow:
        return Allow()

    def nothing(*_: int) -> None:
        return

    kernel, record = Linux(), Record()
    plain = Plain(bytes(seclude.compile(seclude.parse(POLICY))))
    engine = (Passing if way == "observer" else PtraceEngine)(kernel, Router([decide], [native()]), plain, record)
    observer = Observer(
        kernel, pid, plain, record, started=nothing, leaving=nothing, stopped=nothing, calls=engine, loaded=plain,
    )  # fmt: skip
    engine.release = observer.release
    return observer


def measure(place: str, program: str, way: str, cpus: tuple[int, int]) -> float:
    """Nanoseconds a call."""
    if way == "C":
        command = [program, "tracer", str(cpus[0]), str(cpus[1]), str(CALLS)]
    elif way == "run":
        command = [
            "taskset", "-c", ",".join(map(str, sorted(set(cpus)))), sys.executable, "-m", "seclude", "run", "--policy", f"{place}/stops.seclude",
            "--handler", f"{place}/handlers.py:decide", "--engine", "ptrace", "--", program, "plain", str(cpus[0]), str(CALLS),
        ]  # fmt: skip
    else:
        command = [sys.executable, str(HERE), way, program, *map(str, cpus)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        program = c_program(HERE, place)
        Path(place, "stops.seclude").write_text(POLICY)
        Path(place, "handlers.py").write_text(HANDLER)
        print(f"A call that stops for a tracer, which looks at its registers; {CALLS} calls, median of {ROUNDS}")
        beside_c("tracer", WAYS, partial(measure, place, program), ROUNDS)


if __name__ == "__main__":
    if len(sys.argv) == 5:
        trace(sys.argv[1], sys.argv[2], (int(sys.argv[3]), int(sys.argv[4])))
    else:
        main()
