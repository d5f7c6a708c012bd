"""``seclude run --trace all`` and strace, line by line, over calls that take and give structures: `trace_probe.c`."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

import support
from run_support import ALLOW, c_program, policy, public
from support import need_program

pytestmark = [pytest.mark.live, pytest.mark.slow]

#: what another run of the same program would show differently, and what the two tracers give a target
_VARYING = (
    (r"^(?:\[pid +)?\d+\]? +", ""),
    (r"\) += ", ") = "),
    (r"^(sysinfo|times|getrusage|clock_gettime|gettimeofday|timerfd_gettime|getcpu)\(.*", r"\1"),
    (r"^getpid\(\) = \d+", "getpid() = PID"),
    (r"^kill\(\d+", "kill(PID"),
    (r"pid=\d+", "pid=PID"),
    (r"1<<CAP_SYS_PTRACE\|?", ""),  # not left to a target
    (r"\[0x[0-9a-f]+\], \[24\]", "[HEAD], [24]"),  # beside the heap, whose place is another each time
)


def between(text):
    """The lines of the probe: from one getpriority to the next."""
    lines = [re.sub(r"^(?:\[pid +)?\d+\]? +", "", line) for line in text.splitlines()]
    first, last = (number for number, line in enumerate(lines) if line.startswith("getpriority("))
    out = []
    for line in lines[first + 1 : last]:
        for pattern, word in _VARYING:
            line = re.sub(pattern, word, line)
        out.append(line)
    return out


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the probe's structures are this machine's")
def test_structures_are_shown_as_strace_shows_them():
    strace = need_program("strace")
    program = c_program((Path(__file__).parent / "trace_probe.c").read_text(), "-w", "-static", "-no-pie")
    theirs, ours = public() / "theirs", public() / "ours"
    subprocess.run([strace, "-f", "-o", str(theirs), program], stdin=subprocess.DEVNULL, check=True, cwd=public())
    done = support.seclude(
        "run", "--policy", policy(ALLOW), "--report", "none", "--trace", "all", "--trace-file", str(ours), "--", program, cwd=public()
    )
    assert done.status == 0, str(done)
    found, expected = between(ours.read_text()), between(theirs.read_text())
    assert len(expected) >= 150
    assert found == expected
