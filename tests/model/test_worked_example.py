"""The model's public face, by example: a program, its filter, its supervisor, and how each of its calls ends."""

from __future__ import annotations

import doctest

import seclude.model
from model_support import of
from seclude.bpf import codes
from seclude.model import KernelModel, uapi
from seclude.model.notify import Response, SeccompNotif
from seclude.model.task import CATCH


def test_the_package_shows_what_it_does():
    assert doctest.testmod(seclude.model).failed == 0


def test_a_program_and_its_supervisor():
    kernel = KernelModel("6.18")
    program = kernel.process("program")
    supervisor = kernel.process("supervisor")

    # Without no_new_privs, and without CAP_SYS_ADMIN, no filter is taken.
    flags = codes.SECCOMP_FILTER_FLAG_NEW_LISTENER
    notify = of(codes.SECCOMP_RET_USER_NOTIF, "mkdir")
    assert kernel.seccomp(program, codes.SECCOMP_SET_MODE_FILTER, flags, notify).value == -uapi.EACCES
    assert kernel.prctl(program, uapi.PR_SET_NO_NEW_PRIVS, 1).value == 0
    loaded = kernel.seccomp(program, codes.SECCOMP_SET_MODE_FILTER, flags, notify)
    assert loaded.value == 3
    listener = kernel.give(program, loaded.value, supervisor)
    assert kernel.close(program, loaded.value).value == 0

    # A notified call sleeps until the supervisor has received and answered it.
    call = kernel.syscall(program, "mkdir", 0x7000, 0o755)
    assert (call.state, call.why) == ("sleeping", "the answer to notification 1")
    assert kernel.poll(supervisor, listener) == uapi.EPOLLIN | uapi.EPOLLRDNORM
    notification = SeccompNotif()
    assert kernel.ioctl(supervisor, listener, uapi.SECCOMP_IOCTL_NOTIF_RECV, notification).value == 0
    assert notification.data is not None
    assert (notification.id, notification.pid, notification.data.args[1]) == (1, program.tid, 0o755)
    assert kernel.poll(supervisor, listener) == uapi.EPOLLOUT | uapi.EPOLLWRNORM
    answer = Response(notification.id, error=-uapi.EPERM)
    assert kernel.ioctl(supervisor, listener, uapi.SECCOMP_IOCTL_NOTIF_SEND, answer).value == 0
    assert (call.state, call.value) == ("returned", -uapi.EPERM)

    # A second filter: its trap reaches the handler, its kill does not.
    kernel.sigaction(program, uapi.SIGSYS, CATCH)
    assert kernel.seccomp(program, codes.SECCOMP_SET_MODE_FILTER, 0, of(codes.SECCOMP_RET_TRAP | 5, "getppid")).value == 0
    trapped = kernel.syscall(program, "getppid")
    assert [(info.signo, info.errno, info.syscall) for info in program.handled] == [(uapi.SIGSYS, 5, 110)]
    assert trapped.state == "returned"
    assert kernel.syscall(program, "getpid").value == program.tid, "the bitmap lets it through"
    assert kernel.seccomp(program, codes.SECCOMP_SET_MODE_FILTER, 0, of(codes.SECCOMP_RET_KILL_PROCESS, "getpid")).value == 0
    killed = kernel.syscall(program, "getpid")
    assert (killed.state, program.process.status) == ("gone", uapi.SIGSYS)
    assert killed.log[0].sig == uapi.SIGSYS

    # Nobody is left who could notify: the listener hangs up.
    assert kernel.poll(supervisor, listener) == uapi.EPOLLHUP
    assert kernel.ioctl(supervisor, listener, uapi.SECCOMP_IOCTL_NOTIF_RECV, SeccompNotif()).value == -uapi.ENOENT
