"""Stops in, lines out: what a tracer prints for threads whose calls overlap, end, fail, are denied, or never come back."""

from __future__ import annotations

import os
import struct
from typing import Any, cast

import pytest

from seclude.abi import arch
from seclude.supervise.observer import LEAVE
from seclude.supervise.tracer import Tracer, Wanted
from seclude.supervise.tracer_counts import Counts
from seclude.supervise.tracer_output import Output

X86_64, I386 = arch("x86_64"), arch("x86")


class Machine:
    """Memory at addresses, and results of calls, both as told."""

    def __init__(self):
        self.memory: dict[int, bytes] = {}
        self.results: dict[int, int] = {}
        self.info = b""

    def copy(self, tid, address, size):
        for start, raw in self.memory.items():
            if start <= address < start + len(raw):
                return raw[address - start : address - start + size]
        return None

    read = copy

    def call_result(self, tid):
        return self.results[tid]

    def signal_info(self, tid):
        return self.info


class Trace:
    def __init__(self, tmp_path, **options):
        self.machine = cast("Any", Machine())
        self.path = tmp_path / "trace"
        self.output = Output(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), colour=options.pop("colour", False))
        self.tracer = Tracer(self.machine, self.output, Wanted(options.pop("wanted", "!")), reader=self.machine, **options)
        self.tracer.began(100, 0)

    def enter(self, tid, name, *args, of=X86_64):
        words = (*args, *(0,) * (6 - len(args)))
        return self.tracer.entered(tid, (of.number(name), of.token, 0x1000, words, 0))

    def leave(self, tid, result):
        self.machine.results[tid] = result
        self.tracer.left(tid)

    def call(self, tid, name, *args, result=0, of=X86_64):
        self.enter(tid, name, *args, of=of)
        self.leave(tid, result)

    @property
    def text(self):
        self.tracer.show()
        self.output.flush()
        return self.path.read_text()

    @property
    def lines(self):
        return self.text.splitlines()


@pytest.fixture
def trace(tmp_path):
    return Trace(tmp_path)


def test_a_call_is_a_line_with_its_result_at_column_forty(trace):
    assert trace.enter(100, "close", 3) == LEAVE
    trace.leave(100, 0)
    assert trace.text == "close(3)" + " " * 32 + "= 0\n"


def test_a_failure_has_its_name_and_words(trace):
    trace.machine.memory[0x5000] = b"/etc/none\0"
    trace.call(100, "openat", 0xFFFFFF9C, 0x5000, 0x80000, result=-2)
    assert trace.lines == ['openat(AT_FDCWD, "/etc/none", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)']


def test_a_waiting_call_can_be_seen_waiting(trace):
    trace.enter(100, "read", 0, 0x5000, 10)
    assert trace.text == "read(0, "


def test_what_the_kernel_fills_in_is_read_behind_the_call(trace):
    trace.enter(100, "read", 3, 0x5000, 100)
    trace.machine.memory[0x5000] = b"hello\n"
    trace.leave(100, 6)
    assert trace.lines == ['read(3, "hello\\n", 100)                 = 6']


def test_a_failed_read_shows_the_address(trace):
    trace.call(100, "read", 3, 0x5000, 100, result=-9)
    assert trace.lines == ["read(3, 0x5000, 100)                    = -1 EBADF (Bad file descriptor)"]


def test_threads_leave_lines_unfinished_and_resume_them(trace):
    trace.tracer.began(101, 100)
    trace.enter(100, "read", 3, 0x5000, 4)
    trace.call(101, "getpid", result=100)
    trace.machine.memory[0x5000] = b"abcd"
    trace.leave(100, 4)
    assert trace.lines == [
        "[pid   100] read(3,  <unfinished ...>",
        "[pid   101] getpid()                    = 100",
        '[pid   100] <... read resumed>"abcd", 4) = 4',
    ]


def test_the_prefix_goes_with_the_last_other_thread(trace):
    trace.tracer.began(101, 100)
    trace.tracer.gone(101, 3 << 8)
    trace.call(100, "getpid", result=100)
    assert trace.lines == ["[pid   101] +++ exited with 3 +++", "getpid()                                = 100"]


def test_a_thread_killed_inside_a_call_ends_its_line(trace):
    trace.enter(100, "pause")
    trace.tracer.gone(100, 9)
    assert trace.lines == ["pause()                                 = ?", "+++ killed by SIGKILL +++"]


def test_a_core_dump_is_said(trace):
    trace.tracer.gone(100, 11 | 0x80)
    assert trace.lines == ["+++ killed by SIGSEGV (core dumped) +++"]


def test_execve_of_another_thread_goes_on_under_the_process_number(trace):
    trace.tracer.began(101, 100)
    trace.enter(100, "pause")
    trace.machine.memory[0x5000] = b"/bin/true\0"
    trace.enter(101, "execve", 0x5000, 0, 0)
    trace.tracer.executed(100, 101)
    trace.leave(100, 0)
    assert trace.lines == [
        "[pid   100] pause( <unfinished ...>",
        '[pid   101] execve("/bin/true", NULL, NULL <unfinished ...>',
        "<... pause resumed>)                    = ?",
        "+++ superseded by execve in pid 101 +++",
        "<... execve resumed>)                   = 0",
    ]


def test_an_interrupted_call_says_how_it_will_be_restarted(trace):
    trace.call(100, "read", 0, 0x5000, 1, result=-512)
    assert trace.lines == ["read(0, 0x5000, 1)                      = ? ERESTARTSYS (To be restarted if SA_RESTART is set)"]


def test_a_signal_breaks_into_a_line(trace):
    trace.enter(100, "pause")
    trace.machine.info = struct.pack("=iii4xiI", 10, 0, 0, 42, 1000).ljust(128, b"\0")
    trace.tracer.signalled(100, 10)
    trace.leave(100, -514)
    assert trace.lines == [
        "pause( <unfinished ...>",
        "--- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, si_pid=42, si_uid=1000} ---",
        "<... pause resumed>)                    = ? ERESTARTNOHAND (To be restarted if no handler)",
    ]


@pytest.mark.parametrize(
    ("number", "code", "body", "said"),
    [
        (17, 1, struct.pack("=iIi4xqq", 7, 0, 3, 1, 2), "SIGCHLD, si_code=CLD_EXITED, si_pid=7, si_uid=0, si_status=3, si_utime=1, si_stime=2"),
        (17, 2, struct.pack("=iIi4xqq", 7, 0, 9, 0, 0), "SIGCHLD, si_code=CLD_KILLED, si_pid=7, si_uid=0, si_status=SIGKILL, si_utime=0, si_stime=0"),
        (11, 1, struct.pack("=Q", 0), "SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL"),
        (31, 1, struct.pack("=QiI", 0x1234, 39, 0xC000003E), "SIGSYS, si_code=SYS_SECCOMP, si_call_addr=0x1234, si_syscall=__NR_getpid, si_arch=AUDIT_ARCH_X86_64"),
        (36, -1, struct.pack("=iIQ", 5, 6, 0xFFFFFFFF), "SIGRT_4, si_code=SI_QUEUE, si_pid=5, si_uid=6, si_int=-1, si_ptr=0xffffffff"),
        (15, -6, struct.pack("=iI", 5, 6), "SIGTERM, si_code=SI_TKILL, si_pid=5, si_uid=6"),
        (15, 77, b"", "SIGTERM, si_code=77"),
    ],
)  # fmt: skip
def test_signals_carry_what_they_say(trace, number, code, body, said):
    trace.machine.info = (struct.pack("=iii4x", number, 0, code) + body).ljust(128, b"\0")
    trace.tracer.signalled(100, number)
    name = said.partition(",")[0]
    assert trace.lines == [f"--- {name} {{si_signo={said}}} ---"]


def test_only_calls_that_fail(tmp_path):
    trace = Trace(tmp_path, failed=True)
    trace.call(100, "close", 3)
    trace.call(100, "close", 4, result=-9)
    assert trace.lines == ["close(4)                                = -1 EBADF (Bad file descriptor)"]


def test_a_table_counts_calls_and_errors(tmp_path):
    trace = Trace(tmp_path, counts=(counts := Counts()))
    for result in (0, -9, 0):
        trace.call(100, "close", 3, result=result)
    trace.tracer.gone(100, 0)
    trace.tracer.answered(100, 'mkdir("x", 0)', "-1 EPERM")
    assert trace.text == ""
    head, _, *rows, _, total = counts.table().splitlines()
    assert head.split() == ["%", "time", "seconds", "usecs/call", "calls", "errors", "syscall"]
    assert [row.split()[-3:] for row in rows] == [["3", "1", "close"], ["1", "1", "mkdir"]]
    assert total.split()[-3:] == ["4", "2", "total"]


def test_an_empty_table_divides_by_nothing():
    assert Counts().table().splitlines()[-1].split() == ["100.00", "0.000000", "0", "0", "total"]


def test_denied_calls_stand_in_place_where_they_are_wanted(tmp_path):
    trace = Trace(tmp_path, wanted="mkdir")
    trace.machine.memory[0x5000] = b"/x\0"
    nr = X86_64.calls().__getitem__
    text = trace.tracer.denied(100, X86_64.token, nr("mkdir"), (0x5000, 0o755, 0, 0, 0, 0))
    assert text == 'mkdir("/x", 0755)'
    assert trace.tracer.denied(100, X86_64.token, nr("rmdir"), (0x5000, 0, 0, 0, 0, 0)) is None
    trace.tracer.answered(100, text, "-1 EPERM (Operation not permitted)")
    assert trace.lines == ['mkdir("/x", 0755)                       = -1 EPERM (Operation not permitted) (DENIED)']


def test_what_a_target_shows_never_reaches_the_terminal(trace):
    trace.machine.memory[0x5000] = b"\x1b]0;owned\x07\xe2\x80\xae\0"
    trace.call(100, "unlink", 0x5000, result=-2)
    assert trace.text.isascii()
    assert "\x1b" not in trace.text
    assert trace.lines[0].startswith(r'unlink("\33]0;owned\7\342\200\256")')


def test_colours_are_for_terminals(tmp_path):
    trace = Trace(tmp_path, colour=True)
    trace.call(100, "close", 9, result=-9)
    assert trace.text == "\x1b[36mclose\x1b[0m(9)" + " " * 32 + "= \x1b[31m-1 EBADF (Bad file descriptor)\x1b[0m\n"


def test_callers_of_thirty_two_bits_have_their_own_layouts(trace):
    trace.machine.memory[0x5000] = struct.pack("<IIII", 0x6000, 2, 0x7000, 3)
    trace.machine.memory[0x6000] = b"ab"
    trace.machine.memory[0x7000] = b"cde"
    trace.call(100, "writev", 1, 0x5000, 2, result=5, of=I386)
    trace.machine.memory[0x8000] = struct.pack("<ii", 1, 2)
    trace.call(100, "nanosleep", 0x8000, 0, of=I386)
    trace.call(100, "_llseek", 3, 1, 2, 0x9000, 0, of=I386)
    assert trace.lines == [
        'writev(1, [{iov_base="ab", iov_len=2}, {iov_base="cde", iov_len=3}], 2) = 5',
        "nanosleep({tv_sec=1, tv_nsec=2}, NULL)  = 0",
        "_llseek(3, 1, 2, 0x9000, SEEK_SET)      = 0",
    ]


def test_numbers_that_no_table_has_are_shown_as_words(trace):
    trace.tracer.entered(100, (9999, X86_64.token, 0, (1, 0, 0, 0, 0, 0x10), 0))
    trace.leave(100, -38)
    trace.tracer.entered(100, (1, 0x12345678, 0, (0,) * 6, 0))
    trace.leave(100, -38)
    assert trace.lines == [
        "syscall_0x270f(0x1, 0, 0, 0, 0, 0x10)   = -1 ENOSYS (Function not implemented)",
        "syscall_0x1(0, 0, 0, 0, 0, 0)           = -1 ENOSYS (Function not implemented)",
    ]


def test_wanted_names_or_all_others():
    assert "openat" in Wanted("openat,close")
    assert "read" not in Wanted("openat,close")
    assert "futex" not in Wanted("!futex")
    assert "read" in Wanted("!futex")
    assert "read" in Wanted("!")


def test_a_reader_who_left_costs_the_target_nothing(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    output = Output(writing)
    output.text("close(3) = 0\n")
    output.flush()
    os.close(writing)
    assert output.lost == 13
