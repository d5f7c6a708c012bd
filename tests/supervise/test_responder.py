"""The notify loop's answers and counts, against a kernel whose every answer is chosen by the test."""

from __future__ import annotations

import errno
import struct

import pytest

from seclude.abi import arch
from seclude.bpf.machine import pack_data
from seclude.kernel.notify import Notification
from seclude.supervise.notifications import Responder
from seclude.supervise.plain import Plain, without_trace
from seclude.supervise.record import Denial, Record
from supervise_support import program

X86_64 = arch("x86_64")
EPERM, NOTIFY, TRACE, ALLOW, KILL = 0x50001, 0x7FC00000, 0x7FF00003, 0x7FFF0000, 0x80000000


def plain(value: int) -> Plain:
    return Plain(program(value))


def notification(name: str, *args: int, id_: int = 7, pid: int = 100) -> Notification:
    out = Notification(bytes(80))
    out.id, out.pid, out.nr, out.arch, out.ip = id_, pid, X86_64.number(name), X86_64.token, 0
    out.args = (*args, *(0,) * (6 - len(args)))
    return out


class Scripted:
    """A kernel that gives these notifications, and answers as told. ``log`` is what was asked of it."""

    def __init__(self, *calls, valid=True, delivered=(7,), memory=b"/tmp/x\0"):
        # delivered: the ids whose answer arrives
        self.calls, self.valid, self.delivered, self.memory = list(calls), valid, delivered, memory
        self.log = []

    def receive(self, listener):
        return self.calls.pop(0)

    def reply(self, listener, id_, *, error=0, value=0):
        self.log.append(("reply", id_, error))
        return id_ in self.delivered

    def continue_(self, listener, id_):
        self.log.append(("continue", id_))
        return True

    def still_waiting(self, listener, id_):
        return self.valid

    def read(self, tid, address, size):
        return self.memory[:size] if self.memory is not None else None

    def read_string(self, tid, address, limit):
        return self.memory.partition(b"\0")[0] if self.memory is not None else None


def serve(kernel, value=EPERM, start=None, times=1):
    record = Record()
    responder = Responder(kernel, 3, plain(value), record, start)
    for _ in range(times):
        responder.serve()
    return record


def test_the_policys_own_errno_is_the_answer():
    kernel = Scripted(notification("mkdir", 0x1000, 0o755))
    (denial,) = serve(kernel).denials
    assert kernel.log == [("reply", 7, errno.EPERM)]
    assert (denial.text, denial.result, denial.count) == ('mkdir("/tmp/x", 0755)', "EPERM", 1)


@pytest.mark.parametrize(("value", "action"), [(NOTIFY, "notify"), (TRACE, "trace"), (KILL, "kill_process")])
def test_what_nobody_handles_is_enosys(value, action):
    kernel = Scripted(notification("mkdir", 0x1000))
    (denial,) = serve(kernel, value).denials
    assert kernel.log == [("reply", 7, errno.ENOSYS)]
    assert denial.action == action


def fprog(length=1, address=0x2000):
    return struct.pack("=HxxxxxxQ", length, address)


RETURN = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)


@pytest.mark.parametrize(
    ("flags", "memory", "number"),
    [
        (8, {0x1000: fprog(), 0x2000: RETURN}, errno.EBUSY),
        (8, {}, errno.EFAULT),
        (8 | 1 << 30, {}, errno.EINVAL),
        (8 | 1, {0x1000: fprog(), 0x2000: RETURN}, errno.EINVAL),
        (8, {0x1000: fprog()[:9]}, errno.EFAULT),
        (8, {0x1000: fprog(0)}, errno.EINVAL),
        (8, {0x1000: fprog(4097)}, errno.EINVAL),
        (8, {0x1000: fprog(1, 0)}, errno.EINVAL),
        (8, {0x1000: fprog(2), 0x2000: RETURN}, errno.EFAULT),
        (8, {0x1000: fprog(), 0x2000: b"\xff" * 8}, errno.EINVAL),
    ],
)
def test_a_listener_of_the_targets_own_gets_the_kernels_answer(flags, memory, number):
    call = notification("seccomp", 1, flags, 0x1000)
    call.ip = 0x9000
    kernel = Scripted(call)
    contents = {0x9000: b"\x0f", **memory}
    kernel.read = lambda tid, address, size: contents.get(address, b"")[:size] or None  # type: ignore[method-assign]
    denials = serve(kernel, ALLOW).denials
    assert kernel.log == [("reply", 7, number)]
    assert [denial.action for denial in denials] == (["busy"] if number == errno.EBUSY else []), "what the kernel would refuse is no denial"


def test_a_listener_is_refused_where_the_targets_memory_cannot_be_read():
    kernel = Scripted(notification("seccomp", 1, 8, 0x1000), memory=None)
    (denial,) = serve(kernel, ALLOW).denials
    assert kernel.log == [("reply", 7, errno.EBUSY)]
    assert denial.action == "busy"


def test_a_call_that_went_away_before_it_was_received_is_nothing():
    kernel = Scripted(None)
    assert serve(kernel).denials == []
    assert kernel.log == []


def test_what_was_read_for_a_stale_id_is_thrown_away():
    kernel = Scripted(notification("mkdir", 0x1000), valid=False)
    assert serve(kernel).denials == []
    assert kernel.log == []


def test_only_a_delivered_answer_counts():
    assert serve(Scripted(notification("mkdir", 0x1000), delivered=())).denials == []


def test_a_restarted_call_counts_once():
    kernel = Scripted(notification("mkdir", 0x1000, id_=1), notification("mkdir", 0x1000, id_=2), delivered={2})
    (denial,) = serve(kernel, times=2).denials
    assert denial.count == 1


START = (100, X86_64.token, X86_64.number("execve"), (1, 2, 3))


def test_one_execve_is_let_pass_and_no_other():
    kernel = Scripted(notification("execve", 1, 2, 3, id_=1), notification("execve", 1, 2, 3, id_=2))
    serve(kernel, start=START, times=2)
    assert kernel.log == [("continue", 1), ("reply", 2, errno.EPERM)]


def test_another_process_or_another_call_does_not_start_the_target():
    kernel = Scripted(notification("execve", 1, 2, 3, pid=101), notification("mkdir", 1, 2, 3), notification("execve", 1, 2, 3))
    serve(kernel, start=START, times=3)
    assert [entry[0] for entry in kernel.log] == ["reply", "reply", "continue"]


def test_another_architectures_call_of_that_number_or_other_pointers_do_not_start_the_target():
    foreign = notification("execve", 1, 2, 3)
    foreign.arch = arch("x86").token
    kernel = Scripted(foreign, notification("execve", 1, 0, 3), notification("execve", 1, 2, 3))
    serve(kernel, start=START, times=3)
    assert [entry[0] for entry in kernel.log] == ["reply", "reply", "continue"]


def test_calls_that_differ_in_addresses_only_are_one():
    kernel = Scripted(notification("read", 0, 0x1000, 5), notification("read", 0, 0x2000, 5), delivered={7})
    (denial,) = serve(kernel, times=2).denials
    assert denial.count == 2


def test_unreadable_memory_is_said():
    (denial,) = serve(Scripted(notification("mkdir", 0x1000), memory=None)).denials
    assert denial.text.startswith("mkdir(<unreadable>")


def test_the_record_is_bounded():
    record = Record(limit=2)
    for n in (1, 2, 3, 1):
        record.add((n,), denial(n))
    assert [one.count for one in record.denials] == [2, 1]
    assert record.overflow == 1


def denial(n: int) -> Denial:
    return Denial(call="x", arch="x86_64", nr=n, token=0, ip=0, args=(0,) * 6, text="x()", action="errno", result="EPERM", value=EPERM)


def test_denials_survive_the_wire():
    one = denial(3)
    assert Denial.from_plain(one.to_plain()).to_plain() == one.to_plain()


def test_trace_answers_become_notifications_and_nothing_else_changes():
    raw = program(TRACE) + program(EPERM) + program(ALLOW)
    assert without_trace(raw) == program(NOTIFY) + program(EPERM) + program(ALLOW)


def test_plain_is_the_machine():
    assert plain(TRACE).value(1, 2, 3, (4, 5, 6, 7, 8, 9)) == (0x7FF00000, 3)
    assert plain(0x12340000).value(1, 2, 3, ())[0] == KILL, "an unknown action acts as kill_process"
    assert plain(TRACE).returns(0x7FF00000)
    assert not plain(TRACE).returns(0x50000)
    assert len(pack_data(1, 2)) == 16
