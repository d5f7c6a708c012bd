"""Constants by C name, errno, and how arguments are shown."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from seclude import abi
from seclude.abi.constants import constant, constant_names, constants, decode, errno_name, errno_number, errors, families, family
from seclude.abi.prototypes import prototype
from seclude.errors import UsageError
from support import need_header, need_program


@pytest.mark.parametrize(
    ("name", "arch", "value"),
    [
        # generic, and where architectures differ; arch/*/include/uapi/asm
        ("AF_INET", "x86_64", 2),
        ("SOCK_STREAM", "x86_64", 1),
        ("SOCK_STREAM", "mips", 2),
        ("SOCK_DGRAM", "mipsel64n32", 1),
        ("SOCK_NONBLOCK", "x86_64", 0o4000),
        ("SOCK_NONBLOCK", "mips64", 0x80),
        ("SOCK_NONBLOCK", "parisc", 0x40000000),
        ("O_CREAT", "x86_64", 0o100),
        ("O_CREAT", "mips", 0x100),
        ("O_DIRECTORY", "x86_64", 0o200000),
        ("O_DIRECTORY", "arm", 0o40000),
        ("O_DIRECTORY", "ppc64le", 0o40000),
        ("EFD_NONBLOCK", "mips", 0x80),
        ("MAP_ANONYMOUS", "x86_64", 0x20),
        ("MAP_ANONYMOUS", "mips", 0x800),
        ("MAP_ANONYMOUS", "parisc", 0x10),
        ("MAP_32BIT", "x86_64", 0x40),
        ("MAP_32BIT", "aarch64", None),
        ("TIOCSTI", "x86_64", 0x5412),
        ("TIOCSTI", "mips", 0x5472),
        ("TIOCGWINSZ", "ppc", 0x40087468),
        ("TIOCGWINSZ", "x86_64", 0x5413),
        ("FIONREAD", "sh", 0x8004667F),
        ("FS_IOC_GETFLAGS", "x86_64", 0x80086601),
        ("FS_IOC_GETFLAGS", "x86", 0x80046601),
        ("FS_IOC_GETFLAGS", "ppc64", 0x40086601),
        ("SIGUSR1", "x86_64", 10),
        ("SIGUSR1", "mips", 16),
        ("SIGCHLD", "parisc", 18),
        ("SIG_SETMASK", "mips", 3),
        ("SIG_BLOCK", "x86_64", 0),
        ("SOL_SOCKET", "x86_64", 1),
        ("SOL_SOCKET", "mips", 0xFFFF),
        ("SO_REUSEADDR", "parisc64", 4),
        ("RLIMIT_NOFILE", "x86_64", 7),
        ("RLIMIT_NOFILE", "mips", 5),
        ("CLONE_NEWUSER", "s390x", 0x10000000),
        ("PR_SET_NO_NEW_PRIVS", "riscv64", 38),
        ("ARCH_SET_FS", "x86_64", 0x1002),
        ("ARCH_SET_FS", "arm", None),
        ("AT_FDCWD", "x86_64", -100),
        ("F_SETLK64", "x86", 13),
        ("ADDR_NO_RANDOMIZE", "x86_64", 0x40000),
        ("PTRACE_ATTACH", "x86_64", 16),
        ("PTRACE_SYSEMU", "x86_64", 31),
        ("CAP_SYS_ADMIN", "x86_64", 21),
        ("LANDLOCK_SCOPE_SIGNAL", "x86_64", 2),
        ("NULL", "x86_64", 0),
        ("EPERM", "x86_64", None),
        ("NONSENSE", "x86_64", None),
    ],
)
def test_values(name, arch, value):
    assert constant(name, arch) == value


def test_every_architecture_has_what_policies_use():
    for arch in abi.ARCHITECTURES:
        table = constants(arch)
        assert len(table) > 1900
        for name in [
            "AF_UNIX",
            "SOCK_CLOEXEC",
            "O_RDONLY",
            "O_CLOEXEC",
            "CLONE_NEWNS",
            "PROT_EXEC",
            "MAP_PRIVATE",
            "MADV_DONTNEED",
            "MS_BIND",
            "MNT_DETACH",
            "PR_SET_NAME",
            "F_SETFL",
            "LOCK_EX",
            "FUTEX_WAIT",
            "TIOCSTI",
            "TIOCLINUX",
            "PER_LINUX",
            "S_ISUID",
            "SEEK_SET",
            "SIGKILL",
            "SA_RESTART",
            "SIG_BLOCK",
            "RLIMIT_CORE",
            "CLOCK_MONOTONIC",
            "TFD_CLOEXEC",
            "EFD_CLOEXEC",
            "EPOLL_CLOEXEC",
            "IN_CLOEXEC",
            "MFD_CLOEXEC",
            "GRND_RANDOM",
            "PTRACE_TRACEME",
            "SECCOMP_SET_MODE_FILTER",
            "KEYCTL_READ",
            "BPF_PROG_LOAD",
            "PERF_FLAG_FD_CLOEXEC",
            "IORING_ENTER_GETEVENTS",
            "RENAME_EXCHANGE",
            "STATX_ALL",
            "RESOLVE_BENEATH",
            "WNOHANG",
            "P_PIDFD",
            "SHM_EXEC",
            "IPC_CREAT",
            "MSG_DONTWAIT",
            "SCHED_FIFO",
            "UFFD_USER_MODE_ONLY",
            "LANDLOCK_ACCESS_FS_EXECUTE",
            "MEMBARRIER_CMD_QUERY",
            "MPOL_BIND",
            "MCL_FUTURE",
            "FALLOC_FL_KEEP_SIZE",
            "XATTR_CREATE",
            "CAP_SYS_PTRACE",
            "AT_EMPTY_PATH",
            "MREMAP_MAYMOVE",
            "SIOCGIFCONF",
            "IPPROTO_TCP",
            "R_OK",
        ]:
            assert name in table, (arch, name)


def test_names_are_sorted_and_whole():
    names = list(constant_names())
    assert names == sorted(names)
    assert set(names) == {name for arch in abi.ARCHITECTURES for name in constants(arch)}
    assert all(member in set(names) for members in families().values() for member in members)


def test_an_unknown_architecture_is_an_error():
    with pytest.raises(UsageError):
        constant("AF_INET", "pdp11")


def test_errno_agrees_with_python_on_this_machine():
    native = abi.native()
    ours = errors(native)
    for number, name in errno.errorcode.items():
        assert ours[name] == number
        known = errno_name(number, native)
        assert known is not None
        assert ours[known] == number


@pytest.mark.parametrize(
    ("name", "arch", "number"),
    [
        ("ENOSYS", "x86_64", 38),
        ("ENOSYS", "mips", 89),
        ("ENOSYS", "parisc", 251),
        ("EDEADLK", "ppc", 35),
        ("EDEADLOCK", "ppc", 58),
        ("EWOULDBLOCK", "parisc", 11),
        ("ENOSUCH", "x86_64", None),
    ],
)
def test_errno(name, arch, number):
    assert errno_number(name, arch) == number


def test_errno_names_prefer_the_usual_one():
    assert errno_name(11, "x86_64") == "EAGAIN"
    assert errno_name(35, "x86_64") == "EDEADLK"
    assert errno_name(95, "x86_64") == "EOPNOTSUPP"
    assert errno_name(89, "mips") == "ENOSYS"
    assert errno_name(4095, "x86_64") is None
    assert errno_name(0, "x86_64") is None


def shown(arch, call, *values):
    found = prototype(arch, call)
    assert found is not None
    return [decode(parameter, value, arch) for parameter, value in zip(found.parameters, values, strict=False)]


@pytest.mark.parametrize(
    ("arch", "call", "values", "expected"),
    [
        ("x86_64", "openat", (0xFFFFFF9C, 0x7FFF1234, 0o2000101, 0o644), "AT_FDCWD 0x7fff1234 O_WRONLY|O_CREAT|O_CLOEXEC 0644"),
        ("x86_64", "openat", (0xFFFFFFFFFFFFFF9C, 0, 0, 0), "AT_FDCWD NULL O_RDONLY 0"),
        ("x86_64", "openat", (3, 0x10, 0o10200002, 0), "3 0x10 O_RDWR|O_DIRECTORY|O_PATH 0"),
        ("x86_64", "open", (0x10, 0o20200000, 0o755), "0x10 O_RDONLY|O_TMPFILE 0755"),
        ("mips", "openat", (3, 0x10, 0x100, 0o4755), "3 0x10 O_RDONLY|O_CREAT 04755"),
        ("x86_64", "socket", (2, 0x80801, 0), "AF_INET SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC 0"),
        ("mips", "socket", (10, 0x80081, 17), "AF_INET6 SOCK_DGRAM|SOCK_NONBLOCK|SOCK_CLOEXEC IPPROTO_UDP"),
        ("x86_64", "socket", (0x100000028, 3, 0), "AF_VSOCK SOCK_RAW 0"),
        ("x86_64", "socket", (99, 12, 1000), "99 0xc 1000"),
        ("x86_64", "mmap", (0, 4096, 3, 0x22, 2**64 - 1, 0), "NULL 4096 PROT_READ|PROT_WRITE MAP_PRIVATE|MAP_ANONYMOUS -1 0"),
        ("parisc", "mmap", (0, 4096, 0, 0x16, 5, 0), "NULL 4096 PROT_NONE MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS 5 0"),
        ("x86_64", "mprotect", (4096, 4096, 7 | 1 << 33), "0x1000 4096 PROT_READ|PROT_WRITE|PROT_EXEC|0x200000000"),
        ("x86_64", "clone", (0x1200011, 0, 0, 0, 0), "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD NULL NULL NULL NULL"),
        ("s390x", "clone", (0x1000, 17, 0, 0, 0), "0x1000 SIGCHLD NULL NULL NULL"),
        ("x86_64", "unshare", (0x10020000,), "CLONE_NEWNS|CLONE_NEWUSER"),
        ("x86_64", "kill", (0xFFFFFFFF, 9), "-1 SIGKILL"),
        ("mips", "kill", (1, 16), "1 SIGUSR1"),
        ("x86_64", "kill", (1, 0), "1 0"),
        ("x86_64", "kill", (1, 36), "1 SIGRTMIN+4"),
        ("x86_64", "kill", (1, 99), "1 99"),
        ("x86_64", "ioctl", (0, 0x5412, 0x7FFFABCD0000), "0 TIOCSTI 0x7fffabcd0000"),
        ("x86_64", "ioctl", (0, 0x99999, 1), "0 0x99999 1"),
        ("x86_64", "fcntl", (4, 1033, 7), "4 F_ADD_SEALS 7"),
        ("x86_64", "personality", (0xFFFFFFFF,), "0xffffffff"),
        ("x86_64", "personality", (0x40008,), "ADDR_NO_RANDOMIZE|PER_LINUX32"),
        ("x86_64", "personality", (0,), "PER_LINUX"),
        ("x86_64", "mount", (1, 2, 3, 0x1020, 0), "0x1 0x2 0x3 MS_REMOUNT|MS_BIND NULL"),
        ("x86_64", "futex", (1, 0x80, 1, 0, 0, 0), "0x1 FUTEX_WAIT|FUTEX_PRIVATE_FLAG 1 NULL NULL 0"),
        ("x86_64", "prctl", (38, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS 1 0 0 0"),
        ("x86_64", "ptrace", (16, 77, 0, 0), "PTRACE_ATTACH 77 0 0"),
        ("x86_64", "fchmod", (3, 0x10000 | 0o4755), "3 04755"),
        ("x86_64", "umask", (0o22,), "022"),
        ("x86_64", "mknod", (1, 0o20644, 0x103), "0x1 S_IFCHR|0644 0x103"),
        ("x86_64", "shmget", (0, 4096, 0o1600), "0 4096 IPC_CREAT|0600"),
        ("x86_64", "chown", (1, 2**32 - 1, 100), "0x1 -1 100"),
        ("x86", "chown", (1, 0xFFFF, 100), "0x1 -1 100"),
        ("x86_64", "lseek", (3, 2**64 - 1, 1), "3 -1 SEEK_CUR"),
        ("x86", "pread64", (3, 1, 10, 0x100000001), "3 0x1 10 4294967297"),
        ("x86_64", "setsockopt", (3, 1, 2, 0, 4), "3 SOL_SOCKET 2 NULL 4"),
        ("x86_64", "seccomp", (1, 8, 1), "SECCOMP_SET_MODE_FILTER SECCOMP_FILTER_FLAG_NEW_LISTENER 0x1"),
        ("x86_64", "accept4", (3, 0, 0, 0x80000), "3 NULL NULL SOCK_CLOEXEC"),
        ("x86_64", "access", (1, 4), "0x1 R_OK"),
        ("x86_64", "access", (1, 0), "0x1 F_OK"),
    ],
)
def test_decode(arch, call, values, expected):
    assert shown(arch, call, *values) == expected.split()


def test_decode_never_raises_and_always_says_something():
    """Every parameter of every call, with values at the edges, on architectures of each kind."""
    for arch in ("x86_64", "x86", "mips", "parisc", "s390"):
        for call in abi.arch(arch).calls():
            found = prototype(arch, call)
            for parameter in found.parameters if found else ():
                for value in (0, 1, 0x7F, 0xFFFF, 0xFFFFFFFF, 2**64 - 1, 0x8000000080000000, -1):
                    text = decode(parameter, value, arch)
                    assert text
                    assert " " not in text


def test_flags_are_shown_whole():
    """What is shown for a flags argument, read back, is the value."""
    flags = [
        p for c in abi.arch("x86_64").calls() if (f := prototype("x86_64", c)) for p in f.parameters if p.kind == "flags" and p.constants
    ]
    for parameter in flags:
        for value in (*(1 << bit for bit in range(parameter.width)), 0, 0x1234, 0xFFFF, 0x80801):
            value &= (1 << parameter.width) - 1
            back = 0
            for part in decode(parameter, value, "x86_64").split("|"):
                name, _, more = part.partition("+")
                number = constant(name, "x86_64")
                if number is None:
                    number = int(part, 8) if part.startswith("0") and part.isdigit() else int(part, 0)
                back |= number + int(more or 0)
            assert back & (1 << parameter.width) - 1 == value, (parameter, value, decode(parameter, value, "x86_64"))


PROGRAM_HEADERS = """#define _GNU_SOURCE
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sys/ptrace.h>
#include <sys/personality.h>
#include <sys/timerfd.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/fanotify.h>
#include <sys/random.h>
#include <sys/shm.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/xattr.h>
#include <sys/swap.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include <poll.h>
#include <linux/seccomp.h>
#include <linux/keyctl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/membarrier.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/sockios.h>
#include <linux/securebits.h>
#include <linux/fiemap.h>
#include <errno.h>
#include <stdio.h>
"""
# What the C library defines otherwise than the kernel, for its own use
LIBRARYS_OWN = {
    "O_LARGEFILE", "SIGRTMIN", "SIGRTMAX", "F_GETLK64", "F_SETLK64", "F_SETLKW64", "RLIM_INFINITY", "S_IFMT", "MAP_TYPE", "F_GETLK", "F_SETLK",
    "F_SETLKW", "RLIM64_INFINITY", "SOCK_PACKET", "NULL", "IPC_OLD", "IPC_64", "SA_RESTORER", "MS_NOUSER", "MS_RMT_MASK",
    "TCGETS2", "TCSETS2", "TCSETSW2", "TCSETSF2",  # of a structure that only the kernel's headers have
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "flag"), [("x86_64", "-m64"), ("x86", "-m32")])
def test_the_compiler_agrees(arch, flag, tmp_path):
    """What a C program of this machine sees under the same names, through the C library's headers and the kernel's."""
    need_program("gcc")
    if flag == "-m32":
        need_header("/usr/include/x86_64-linux-gnu/gnu/stubs-32.h", "gcc-multilib")
    names = [name for name in constants(arch) if name not in LIBRARYS_OWN]
    body = "".join(f'#ifdef {name}\n printf("{name} %lld\\n", (long long)({name}));\n#endif\n' for name in names)
    body += "".join(f'#ifdef {name}\n printf("{name} %lld\\n", (long long)({name}));\n#endif\n' for name in errors(arch))
    source, program = tmp_path / "constants.c", tmp_path / "constants"
    source.write_text(PROGRAM_HEADERS + "int main(void) {\n" + body + "return 0; }\n")
    built = subprocess.run(["gcc", flag, "-w", "-o", program, source], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[:2000]
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    seen = {name: int(value) for name, value in (line.split() for line in lines)}
    ours = {**constants(arch), **errors(arch)}
    assert len(seen) > 1000
    assert {name: (value, ours[name]) for name, value in seen.items() if (value - ours[name]) % (1 << 32)} == {}


def test_families_of_an_architecture():
    assert family("SEEK", "x86_64") == {"SEEK_CUR": 1, "SEEK_DATA": 3, "SEEK_END": 2, "SEEK_HOLE": 4, "SEEK_SET": 0}
    assert family("NOTHING", "x86_64") == {}


def test_the_run_path_pays_for_none_of_it():
    """Importing the look-ups parses no table."""
    code = "import sys, seclude.abi.prototypes, seclude.abi.constants; print([m for m in sys.modules if m.startswith('seclude.abi._')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
