"""What appeared when: every feature on both sides of its release, by what a program sees of it."""

from __future__ import annotations

import pytest

from model_support import always, of, ready
from seclude.bpf import codes
from seclude.errors import UsageError
from seclude.model import KernelModel, uapi
from seclude.model.notify import AddFd, Response, SeccompNotif
from seclude.model.versions import FEATURES, NEWEST, OLDEST, Version

FILTER = codes.SECCOMP_SET_MODE_FILTER
LISTENER = codes.SECCOMP_FILTER_FLAG_NEW_LISTENER


def supervised(version, flags=0):
    kernel = KernelModel(version)
    target, boss = ready(kernel), kernel.process("boss")
    fd = kernel.seccomp(target, FILTER, LISTENER | flags, of(codes.SECCOMP_RET_USER_NOTIF, "mkdir")).value
    assert fd is not None
    listener = kernel.give(target, fd, boss)
    kernel.close(target, fd)
    return kernel, target, boss, listener


def received(version, flags=0):
    kernel, target, boss, listener = supervised(version, flags)
    call = kernel.syscall(target, "mkdir", 0x7000)
    buffer = SeccompNotif()
    assert kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_RECV, buffer).value == 0
    return kernel, boss, listener, buffer.id, call


def user_notif(version):
    return supervised(version)[3] == 3


def answers_with_continue(version):
    kernel, boss, listener, number, call = received(version)
    value = kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_SEND, Response(number, flags=1)).value
    assert value == (0 if call.ran else -uapi.EINVAL)
    return call.ran


def refuses_a_dirty_buffer(version):
    kernel, target, boss, listener = supervised(version)
    kernel.syscall(target, "mkdir", 0x7000)
    return kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_RECV, SeccompNotif(zeroed=False)).value == -uapi.EINVAL


def flag(value):
    def ask(version):
        kernel = KernelModel(version)
        extra = LISTENER if value == codes.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV else 0
        answer = kernel.seccomp(ready(kernel), FILTER, value | extra, None).value
        assert answer in (-uapi.EINVAL, -uapi.EFAULT)
        return answer == -uapi.EFAULT

    return ask


def injects(flags):
    def ask(version):
        kernel, boss, listener, number, call = received(version)
        value = kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_ADDFD, AddFd(number, 0, flags)).value
        return value == 3 and (call.value == 3 if flags & codes.SECCOMP_ADDFD_FLAG_SEND else call.state == "sleeping")

    return ask


def hangs_up(version):
    kernel, target, boss, listener = supervised(version)
    kernel.exit_group(target)
    kernel.wait(kernel.process("init"))
    if target in kernel.tasks:
        kernel.release(target)
    return kernel.poll(boss, listener) == uapi.EPOLLHUP


def id_valid_as_the_header_says(version):
    kernel, boss, listener, number, _ = received(version)
    assert kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR, number).value == 0, "the old command always works"
    return kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_ID_VALID, number).value == 0


def checks_the_mode_before_the_listener(version):
    kernel, target, _, _ = supervised(version)
    target.process.files.limit = 3
    assert kernel.seccomp(target, FILTER, LISTENER, always(codes.SECCOMP_RET_ALLOW)).value == -uapi.EMFILE, (
        "a descriptor is taken before either"
    )
    target.process.files.limit = 100
    # A task in strict mode makes no such call, so the function itself is asked.
    target.mode = codes.SECCOMP_MODE_STRICT
    from seclude.model.filter import Fprog
    from seclude.model.seccomp import seccomp_set_mode_filter

    steps = seccomp_set_mode_filter(kernel, target, LISTENER, Fprog(always(codes.SECCOMP_RET_ALLOW)))
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value == -uapi.EINVAL


def caches(version):
    kernel = KernelModel(version)
    task = ready(kernel)
    kernel.seccomp(task, FILTER, 0, of(codes.SECCOMP_RET_ERRNO | 1, "mkdir"))
    return kernel.syscall(task, "getpid").cached


def dies_in_mode_dead(version):
    kernel = KernelModel(version)
    task = ready(kernel)
    kernel.seccomp(task, FILTER, 0, always(codes.SECCOMP_RET_KILL_PROCESS))
    kernel.syscall(task, "getpid")
    return task.mode == uapi.SECCOMP_MODE_DEAD


def sets_flags(version):
    kernel, _, boss, listener = supervised(version)
    return kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1).value == 0


def leaves_its_filters_at_exit(version):
    kernel = KernelModel(version)
    task = ready(kernel)
    kernel.seccomp(task, FILTER, 0, always(codes.SECCOMP_RET_ALLOW))
    kernel.exit_group(task)
    assert task.process.zombie
    assert task.status()["Seccomp_filters"] == 1, "a zombie still shows its count"
    return not kernel.filters


def receives_nothing_from_nobody(version):
    kernel, target, boss, listener = supervised(version)
    kernel.exit_group(target)
    if target in kernel.tasks:
        kernel.release(target)
    call = kernel.ioctl(boss, listener, uapi.SECCOMP_IOCTL_NOTIF_RECV, SeccompNotif())
    return call.value == -uapi.ENOENT


def tells_the_last_threads_status(version):
    kernel = KernelModel(version)
    leader = kernel.process()
    other = kernel.clone_thread(leader)
    kernel.exit(leader, 3)
    kernel.exit(other, 5)
    assert leader.process.status in (3 << 8, 5 << 8)
    return leader.process.status == 5 << 8


def cannot_block(nr):
    def ask(version):
        kernel = KernelModel(version)
        task = ready(kernel)
        kernel.seccomp(task, FILTER, 0, of(codes.SECCOMP_RET_ERRNO | 1, nr))
        return kernel.syscall(task, nr).value != -1

    return ask


def dispatches(version):
    kernel = KernelModel(version)
    return kernel.prctl(kernel.process(), uapi.PR_SET_SYSCALL_USER_DISPATCH, 1, 0x1000, 0x1000, 0).value == 0


SEEN = {
    "user_notif": user_notif,
    "continue": answers_with_continue,
    "zeroed_recv": refuses_a_dirty_buffer,
    "tsync_esrch": flag(codes.SECCOMP_FILTER_FLAG_TSYNC_ESRCH),
    "addfd": injects(0),
    "users": hangs_up,
    "id_valid_direction": id_valid_as_the_header_says,
    "listener_checked_late": checks_the_mode_before_the_listener,
    "cache": caches,
    "user_dispatch": dispatches,
    "addfd_send": injects(codes.SECCOMP_ADDFD_FLAG_SEND),
    "dead_mode": dies_in_mode_dead,
    "wait_killable": flag(codes.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV),
    "notif_flags": sets_flags,
    "release_at_exit": leaves_its_filters_at_exit,
    "recv_orphan": receives_nothing_from_nobody,
    "last_status": tells_the_last_threads_status,
    "uretprobe": cannot_block(335),
    "uprobe": cannot_block(336),
}
#: what the specification says of releases, in words of its own: the data is held against it
FACTS = {
    "user_notif": (5, 0), "continue": (5, 5), "tsync_esrch": (5, 7), "addfd": (5, 9), "users": (5, 9), "cache": (5, 11), "user_dispatch": (5, 11), "addfd_send": (5, 14),
    "wait_killable": (5, 19), "notif_flags": (6, 6), "recv_orphan": (6, 11), "uretprobe": (6, 14), "uprobe": (6, 18),
}  # fmt: skip


def before(release):
    major, minor = release
    if minor:
        return f"{major}.{minor - 1}"
    return "5.19"


@pytest.mark.parametrize("name", SEEN)
def test_a_feature_is_there_from_its_release_on(name):
    since = FEATURES[name].since
    assert SEEN[name](f"{since[0]}.{since[1]}"), f"{name} is not there in its release"
    if since > OLDEST:
        assert not SEEN[name](before(since)), f"{name} is there before its release"
    assert SEEN[name](f"{NEWEST[0]}.{NEWEST[1]}")


@pytest.mark.parametrize("name", FACTS)
def test_releases_are_those_of_the_table_of_facts(name):
    assert FEATURES[name].since == FACTS[name]


def test_every_feature_has_a_scenario():
    # killable_reply is a race (test_protocol), status_filters a line of /proc that the model always counts.
    assert set(FEATURES) - set(SEEN) == {"killable_reply", "status_filters"}


@pytest.mark.parametrize("text", ["4.14", "6.19", "7.0", "5", "", "5.x", "x.5", "5.123456", "-5.4"])
def test_other_versions_are_refused(text):
    with pytest.raises(UsageError):
        KernelModel(text)


def test_a_running_kernels_release_is_a_version():
    assert Version.read("6.18.44-fc-v669") == (6, 18)
    assert str(Version.read("5.4")) == "5.4"


@pytest.mark.parametrize("arch", ["x86_64", "x86", "aarch64", "arm", "riscv64", "s390x"])
def test_machines(arch):
    kernel = KernelModel(arch=arch)
    assert kernel.bitmap_sizes[kernel.arch.token] == max(number for number in kernel.names if number < 0x10000) + 1
    assert kernel.bitmap_sizes[kernel.arch.token] < 1024


def test_the_bitmap_is_as_long_as_the_kernels_table():
    # arch/x86/include/generated/asm/unistd*.h of those releases: NR_syscalls, IA32_NR_syscalls
    assert list(KernelModel("6.18").bitmap_sizes.values()) == [470, 470]
    assert list(KernelModel("5.11").bitmap_sizes.values()) == [442, 442]
