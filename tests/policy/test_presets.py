"""Presets: they read on every architecture, they keep their promises, and what they are for works."""

import itertools
import json
from pathlib import Path

import pytest

from seclude import abi
from seclude.abi.constants import constant, errno_number
from seclude.decision import shadowed
from seclude.errors import PolicyError
from seclude.policy import PRESETS, evaluate, load, lower, parse, preset_text

FIXTURES = Path(__file__).parent / "fixtures"
ALLOW = 0x7FFF0000


def value(policy, arch, name, *args):
    number = abi.arch(arch).number(name)
    assert number is not None, name
    return evaluate(policy, arch, number, args).value


def errno(name, arch="x86_64"):
    return 0x50000 | (errno_number(name, arch) or 0)


@pytest.mark.parametrize(("name", "arch"), list(itertools.product(PRESETS, abi.ARCHITECTURES)))
def test_every_preset_is_well_formed_everywhere(name, arch):
    policy = load(name, native=arch)
    assert policy.notes == ()
    assert policy.architectures[0].name == arch
    assert parse(str(policy), native=arch) == policy
    assert lower(policy).byteorder == abi.arch(arch).byteorder
    assert shadowed(policy) == []


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_permits_what_a_sandbox_must_refuse(name):
    policy = load(name, native="x86_64")
    refused = [
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "pidfd_getfd",
        "process_madvise",
        "kcmp",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "clone3",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "mount",
        "umount2",
        "fsopen",
        "fsmount",
        "move_mount",
        "mount_setattr",
        "open_tree",
        "pivot_root",
        "chroot",
        "unshare",
        "setns",
        "init_module",
        "finit_module",
        "delete_module",
        "kexec_load",
        "kexec_file_load",
        "reboot",
        "swapon",
        "swapoff",
        "acct",
        "iopl",
        "ioperm",
        "modify_ldt",
        "open_by_handle_at",
        "name_to_handle_at",
        "add_key",
        "request_key",
        "keyctl",
        "settimeofday",
        "clock_settime",
        "clock_adjtime",
        "adjtimex",
        "quotactl",
        "lookup_dcookie",
        "syslog",
        "vhangup",
        "sethostname",
        "setdomainname",
        "nfsservctl",
        "mbind",
        "move_pages",
        "migrate_pages",
        "vmsplice",
    ]

    def denied(call, *args):
        return value(policy, "x86_64", call, *args) >> 16 in (5, 0x8000)

    for call in refused:
        assert denied(call), call
    for domain in range(1, 50):
        assert denied("socket", domain, 1, 0) or (domain == 1 and name == "container")
        assert denied("socket", domain | 7 << 32, 1, 0) or (domain == 1 and name == "container")
    assert value(policy, "x86", "socketcall", 1) == errno("ENOSYS")
    assert value(policy, "x86", "ipc", 1) == errno("ENOSYS")
    for flag in ("CLONE_NEWUSER", "CLONE_NEWNS", "CLONE_NEWNET", "CLONE_NEWPID", "CLONE_NEWIPC", "CLONE_NEWUTS", "CLONE_NEWCGROUP"):
        flags = constant(flag, "x86_64") or 0
        assert denied("clone", flags | 17)
        assert denied("clone", flags | 17 | 1 << 40)
    for request in ("TIOCSTI", "TIOCLINUX"):
        for high in (0, 1 << 32):
            assert value(policy, "x86_64", "ioctl", 0, (constant(request, "x86_64") or 0) | high) >> 16 == 5
    assert evaluate(policy, "x86_64", 0x40000000).value == 0x80000000
    assert evaluate(policy, "aarch64", 0).value == 0x80000000
    assert evaluate(policy, "x86_64", 999).value == errno("ENOSYS")
    assert evaluate(policy, "x86_64", 0xFFFFFFFF).value == 0x80000000


def test_stacked_clone_on_s390_is_judged_by_its_own_register():
    policy = load("container", native="s390x")
    number = abi.arch("s390x").number("clone")
    newuser = constant("CLONE_NEWUSER", "s390x") or 0
    assert number is not None
    assert evaluate(policy, "s390x", number, (newuser, 17)).value == ALLOW  # the stack stands first there
    assert evaluate(policy, "s390x", number, (0, newuser | 17)).value == errno("EPERM", "s390x")


def test_judge_ends_what_no_solution_has_a_use_for():
    policy = load("judge", native="x86_64")
    threads = sum(constant(name, "x86_64") or 0 for name in ("CLONE_VM", "CLONE_FS", "CLONE_FILES", "CLONE_SIGHAND", "CLONE_THREAD"))
    assert value(policy, "x86_64", "clone", threads) == ALLOW
    for call, *args in (("clone", 17), ("fork",), ("vfork",), ("kill", 1, 9), ("socket", 2, 1, 0), ("ptrace", 0), ("process_vm_readv", 1)):
        assert value(policy, "x86_64", call, *args) == 0x80000000, call
    assert value(policy, "x86_64", "execve") == errno("EPERM"), "the first execve must be let pass"
    assert value(policy, "x86_64", "openat", 0, 0, 1) == errno("EROFS")
    assert value(policy, "x86_64", "shmget") == errno("EPERM")
    assert value(policy, "x86_64", "tgkill", 1, 1, 6) == ALLOW


def test_readonly_opens_for_reading_only():
    policy = load("readonly", native="x86_64")
    flags = {
        name: constant(name, "x86_64") or 0
        for name in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE", "O_CLOEXEC", "O_DIRECTORY", "O_PATH")
    }
    for good in (0, flags["O_CLOEXEC"] | flags["O_DIRECTORY"], flags["O_PATH"]):
        assert value(policy, "x86_64", "openat", -100, 1, good) == ALLOW
        assert value(policy, "x86_64", "open", 1, good) == ALLOW
    for bad in (
        flags["O_WRONLY"],
        flags["O_RDWR"],
        flags["O_CREAT"],
        flags["O_TRUNC"],
        3,
        flags["O_TMPFILE"] | flags["O_RDWR"],
        flags["O_CREAT"] | 1 << 32,
    ):
        assert value(policy, "x86_64", "openat", -100, 1, bad) == errno("EROFS")
        assert value(policy, "x86_64", "open", 1, bad) == errno("EROFS")
    for call in [
        "creat",
        "mkdir",
        "rename",
        "unlink",
        "unlinkat",
        "link",
        "symlink",
        "chmod",
        "fchmod",
        "fchmodat2",
        "chown",
        "truncate",
        "utimensat",
        "setxattr",
        "mknodat",
        "mq_open",
    ]:
        assert value(policy, "x86_64", call) == errno("EROFS"), call
    assert value(policy, "x86_64", "openat2") == errno("ENOSYS")
    assert value(policy, "x86_64", "ioctl", 1, 0x40086602) == errno("ENOTTY")  # FS_IOC_SETFLAGS
    assert value(policy, "x86_64", "execve") == ALLOW


def test_compute_opens_and_starts_nothing():
    policy = load("compute", native="x86_64")
    for call in [
        "open",
        "openat",
        "openat2",
        "creat",
        "memfd_secret",
        "execve",
        "execveat",
        "fork",
        "vfork",
        "socket",
        "socketpair",
        "connect",
        "bind",
        "unlink",
        "mkdir",
        "kill",
        "tgkill",
    ]:
        assert value(policy, "x86_64", call) == errno("EPERM"), call
    thread = 0x3D0F00
    assert value(policy, "x86_64", "clone", thread) == ALLOW
    assert value(policy, "x86_64", "clone", 17) == errno("EPERM")
    assert value(policy, "x86_64", "prlimit64", 0, 3, 0, 0x7FFF0000) == ALLOW
    assert value(policy, "x86_64", "prlimit64", 0, 3, 0x7FFF0000, 0) == errno("EPERM")


def test_no_network_makes_no_socket_but_connected_pairs():
    policy = load("no-network", native="x86_64")
    for call in ("socket", "connect", "bind", "listen", "accept", "accept4"):
        assert value(policy, "x86_64", call, 1) == errno("EACCES")
    assert value(policy, "x86_64", "socketpair", 1, 1 | 0o2000000) == ALLOW
    assert value(policy, "x86_64", "socketpair", 1, 5) == ALLOW
    assert value(policy, "x86_64", "socketpair", 1, 2) == errno("EACCES")


# ── container is a part of the default profile of the container engine ──────────────────────────────────────────────


def docker(profile, name, args):
    """Whether the profile permits the call: rules OR, conditions of one rule AND, 64 bits unsigned (libseccomp's meaning)."""
    compare = {
        "LT": lambda a, b, _: a < b,
        "EQ": lambda a, b, _: a == b,
        "GT": lambda a, b, _: a > b,
        "MASKED_EQ": lambda a, b, c: a & b == c,
    }
    return any(
        action == "ALLOW" and all(compare[op](args[index], first, second) for index, op, first, second in conditions)
        for action, call, conditions in profile["rules"]
        if call == name
    )


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["x86_64", "x86"])
def test_container_permits_nothing_that_the_engines_default_refuses(arch):
    profile = json.loads((FIXTURES / "docker-default.json").read_text())
    policy = load("container", native="x86_64")
    one = abi.arch(arch)
    top = (1 << 64) - 1 if one.bits == 64 else (1 << 32) - 1
    edges = {
        0,
        1,
        2,
        3,
        8,
        16,
        17,
        37,
        38,
        39,
        40,
        41,
        0x5412,
        0x20000,
        0x20008,
        0x7E020000,
        0x10000011,
        0x02000000,
        0x80000000,
        0xFFFFFFFF,
    }
    edges |= {edge | 1 << 32 for edge in edges} | {top}
    permitted = 0
    for number in range(1024):
        name = one.call_name(number)
        for first in sorted(edge & top for edge in edges):
            args = (first, first, 0, 0, 0, 0)
            if evaluate(policy, arch, number, args).action.kind in ("allow", "log", "notify", "trace"):
                assert name is not None
                assert docker(profile, name, args), (name, hex(first))
                permitted += 1
    assert permitted > 5000


def test_unknown_presets_name_the_nearest():
    with pytest.raises(PolicyError, match="did you mean 'container'"):
        load("contianer")
    with pytest.raises(PolicyError, match="no preset named"):
        preset_text("none")
