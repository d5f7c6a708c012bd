"""Programs for tests of the bpf room: hypothesis strategies, and a loader that puts programs before the running kernel.

The loader is a process of its own (as root, or as uid 65534 with no_new_privs) that forks a child for each stack of filters. Results
travel through shared memory, since under a generated filter no system call can be relied on.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

from hypothesis import strategies as st

from seclude.bpf import codes
from seclude.bpf.program import Instruction, Program
from seclude.bpf.validator import _KNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The loader: standard library only, so that any python3 runs it as any user. A request and a reply are a line of JSON each.
LOADER = r"""
import ctypes, errno, json, mmap, os, resource, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
SECCOMP, GETPPID = int(sys.argv[1]), int(sys.argv[2])
LONG = ctypes.c_ulong
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
def fprog(text):
    raw = bytes.fromhex(text)
    return Fprog(len(raw) // 8, raw)
def load(program, flags=0):
    # SECCOMP_SET_MODE_FILTER
    if libc.syscall(LONG(SECCOMP), LONG(1), LONG(flags), ctypes.byref(program)) < 0:
        return ctypes.get_errno()
    return 0
def no_new_privs():
    assert libc.prctl(38, LONG(1), LONG(0), LONG(0), LONG(0)) == 0
def in_child(work, room):
    # work(shared) runs in a child; what it wrote into shared is returned with the wait status
    shared = memoryview(mmap.mmap(-1, 8 * room)).cast("q")
    pid = os.fork()
    if pid == 0:
        try:
            no_new_privs()
            work(shared)
        except BaseException as error:
            os.write(2, repr(error).encode() + b"\n")
            os._exit(99)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return list(shared), status
def probe(request):
    # A filter with a listener is refused with EMFILE after all checks of its instructions, and is never installed.
    programs = [fprog(text) for text in request["programs"]]
    def work(shared):
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        for i, program in enumerate(programs):
            shared[i] = load(program, 8)
    found, status = in_child(work, len(programs))
    assert status == 0, status
    return found
def stack(request):
    # loads filters one after the other until one is refused
    programs = [fprog(text) for text in request["programs"]]
    def work(shared):
        for program in programs:
            refused = load(program)
            if refused:
                shared[1] = refused
                return
            shared[0] += 1
    found, status = in_child(work, 2)
    return found
def call(request):
    # loads filters, then makes each call of getppid; [0 = not made, 1 = made], errno or 0
    stacked = [fprog(text) for text in request["programs"]]
    calls = [[LONG(GETPPID), *map(LONG, args)] for args in request["calls"]]
    results = []
    while len(results) < len(calls):
        rest = calls[len(results):]
        def work(shared):
            for program in stacked:
                shared[0] = load(program)
                if shared[0]:
                    return
            for i, call in enumerate(rest):
                shared[1] = i + 1
                outcome = libc.syscall(*call)
                shared[2 + i] = ctypes.get_errno() if outcome == -1 else 0
                shared[1] = -(i + 1)
        found, status = in_child(work, 2 + len(rest))
        if found[0]:
            return {"refused": found[0]}
        done = found[1]
        if done > 0:
            assert os.WIFSIGNALED(status), status
            results += found[2 : 1 + done] + [-os.WTERMSIG(status)]
        else:
            assert status == 0, status
            results += found[2:]
    return {"results": results}
def cost(request):
    # the cheapest of many batches of getppid, before and after the filter, in nanoseconds a call
    from time import perf_counter_ns
    program = fprog(request["program"])
    def best():
        lowest = 1 << 62
        getppid = os.getppid
        for _ in range(request["batches"]):
            start = perf_counter_ns()
            for _ in range(200):
                getppid()
            lowest = min(lowest, perf_counter_ns() - start)
        return lowest // 200
    def work(shared):
        shared[0] = best()
        shared[1] = load(program)
        shared[2] = best()
    found, status = in_child(work, 3)
    assert status == 0, status
    return found
for line in sys.stdin:
    request = json.loads(line)
    reply = {"probe": probe, "stack": stack, "call": call, "cost": cost, "user": lambda _: os.geteuid()}[request["do"]](request)
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()
"""


class Loader:
    """The loader's process; ``nobody`` makes it uid 65534 where the caller is root."""

    def __init__(self, *, nobody: bool = False) -> None:
        from seclude.abi import native
        from support import nobody_python, start

        numbers = [str(native().number(name)) for name in ("seccomp", "getppid")]
        self.process: subprocess.Popen[bytes] = start(
            [nobody_python() if nobody else sys.executable, "-I", "-c", LOADER, *numbers],
            nobody=nobody,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def _ask(self, do: str, **request: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the loader died with {self.process.wait()}"
        return json.loads(line)

    def user(self) -> int:
        """The loader's uid."""
        return int(self._ask("user"))

    def accepts(self, programs: Sequence[Program]) -> list[bool]:
        """Which programs pass every check of the kernel; none of them is installed."""
        answers = self._ask("probe", programs=[program.to_bytes().hex() for program in programs])
        assert set(answers) <= {errno.EMFILE, errno.EINVAL}, [os.strerror(answer) for answer in answers]
        return [answer == errno.EMFILE for answer in answers]

    def stack(self, programs: Sequence[Program]) -> tuple[int, int]:
        """Load one after the other in one child: how many were installed, and the errno that stopped it, or 0."""
        installed, refused = self._ask("stack", programs=[program.to_bytes().hex() for program in programs])
        return installed, refused

    def results(self, program: Program | Sequence[Program], calls: Sequence[Sequence[int]]) -> list[int]:
        """What getppid with each list of six arguments gives: an errno, 0, or minus the signal that killed.

        ``program`` is one, or a stack of them, oldest first.
        """
        stacked = [program] if isinstance(program, Program) else program
        reply = self._ask("call", programs=[one.to_bytes().hex() for one in stacked], calls=[list(args) for args in calls])
        assert "results" in reply, os.strerror(reply["refused"])
        results: list[int] = reply["results"]
        return results

    def cost(self, program: Program, batches: int = 30) -> tuple[int, int]:
        """Nanoseconds of a getppid without and with the program; it must allow everything."""
        before, refused, after = self._ask("cost", program=program.to_bytes().hex(), batches=batches)
        assert not refused, os.strerror(refused)
        return before, after


# Strategies

#: Constants at which comparisons, signs and shifts change their mind.
numbers = st.one_of(
    st.sampled_from([0, 1, 2, 31, 32, 63, 64, 255, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF]),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 300),
)

_CONDITIONAL = (0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D)
_ALU_K = (0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0xA4)
_ALU_X = (0x0C, 0x1C, 0x2C, 0x3C, 0x4C, 0x5C, 0x6C, 0x7C, 0xAC)
_PLAIN = (0x07, 0x87, 0x84, 0x80, 0x81)


@st.composite
def instructions(
    draw: st.DrawFn, ahead: int, cells: frozenset[int] = frozenset(), offsets: Sequence[int] = tuple(range(0, 64, 4))
) -> Instruction:
    """One instruction that the kernel takes ``ahead`` lines before the last, where the scratch cells ``cells`` are written."""
    kinds = ["alu k", "alu x", "plain", "load", "immediate", "store"]
    if ahead > 0:
        kinds += ["jump", "jump", "jump", "ja"]
    if cells:
        kinds.append("cell")
    match draw(st.sampled_from(kinds)):
        case "alu k":
            code = draw(st.sampled_from(_ALU_K))
            k = draw(numbers)
            if code == 0x34:
                k = k or 1
            return Instruction(code, 0, 0, k & 31 if code in (0x64, 0x74) else k)
        case "alu x":
            return Instruction(draw(st.sampled_from(_ALU_X)), 0, 0, 0)
        case "plain":
            return Instruction(draw(st.sampled_from(_PLAIN)), 0, 0, 0)
        case "load":
            return Instruction(0x20, 0, 0, draw(st.sampled_from(list(offsets))))
        case "immediate":
            return Instruction(draw(st.sampled_from([0x00, 0x01])), 0, 0, draw(numbers))
        case "store":
            return Instruction(draw(st.sampled_from([0x02, 0x03])), 0, 0, draw(st.integers(0, 15)))
        case "cell":
            return Instruction(draw(st.sampled_from([0x60, 0x61])), 0, 0, draw(st.sampled_from(sorted(cells))))
        case "ja":
            return Instruction(0x05, 0, 0, draw(st.integers(0, ahead)))
        case _:
            skips = st.integers(0, min(ahead, 255))
            return Instruction(draw(st.sampled_from(_CONDITIONAL)), draw(skips), draw(skips), draw(numbers))


results = st.one_of(
    st.sampled_from([value for name, value in sorted(vars(codes).items()) if name.startswith("SECCOMP_RET_")]),
    st.builds(lambda n: codes.SECCOMP_RET_ERRNO | n, st.integers(0, 0xFFFF)),
    numbers,
)
returns = st.one_of(st.builds(lambda k: Instruction(0x06, 0, 0, k), results), st.just(Instruction(0x16, 0, 0, 0)))


@st.composite
def loadable(draw: st.DrawFn, most: int = 40) -> Program:
    """A program that the kernel loads, as far as scratch cells are concerned by construction: cells 0 to 3 are written first."""
    first = draw(st.sets(st.integers(0, 3)))
    lines = [Instruction(0x02, 0, 0, cell) for cell in sorted(first)]
    length = draw(st.integers(0, most))
    lines += [draw(returns) if draw(st.integers(0, 9)) == 0 else draw(instructions(length - place - 1)) for place in range(length)]
    return Program([*lines, draw(returns)])


@st.composite
def near(draw: st.DrawFn, most: int = 24) -> Program:
    """A program that the kernel may or may not load: known opcodes mostly, small jumps, scratch cells read and written at will."""
    length = draw(st.integers(1, most))
    wild = st.integers(0, 0xFFFF)
    known = st.sampled_from(sorted(_KNOWN))
    cell = st.sampled_from([0x02, 0x03, 0x60, 0x61])
    lines = []
    for place in range(length - 1):
        match draw(st.integers(0, 19)):
            case 0:
                lines.append(
                    Instruction(draw(st.one_of(known, known, wild)), draw(st.integers(0, 3)), draw(st.integers(0, 3)), draw(numbers))
                )
            case 1 | 2 | 3:
                lines.append(draw(returns))
            case 4 | 5 | 6 | 7:
                lines.append(Instruction(draw(cell), 0, 0, draw(st.integers(0, 2))))
            case _:
                lines.append(draw(instructions(length - place - 2)))
    if draw(st.integers(0, 19)):
        lines.append(draw(returns))
    else:
        lines.append(Instruction(draw(known), 0, 0, draw(numbers)))
    return Program(lines)


@st.composite
def mutated(draw: st.DrawFn) -> Program:
    """A loadable program with one field of one instruction changed."""
    lines = list(draw(loadable(20)))
    place = draw(st.integers(0, len(lines) - 1))
    field, values = draw(
        st.sampled_from([("code", st.sampled_from(sorted(_KNOWN))), ("jt", st.integers(0, 30)), ("jf", st.integers(0, 30)), ("k", numbers)])
    )
    lines[place] = lines[place]._replace(**{field: draw(values)})
    return Program(lines)


#: Any fields at all, half of them with opcodes that exist.
anything = st.lists(
    st.builds(
        Instruction,
        st.one_of(st.sampled_from(sorted(_KNOWN)), st.integers(0, 0xFFFF)),
        st.one_of(st.just(0), st.integers(0, 255)),
        st.one_of(st.just(0), st.integers(0, 255)),
        numbers,
    ),
    max_size=30,
)
byteorders = st.sampled_from(["little", "big"])
