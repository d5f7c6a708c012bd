"""The table of the lint rules: for each, inputs that have the defect and inputs that do not.

It is the test (tests/analysis/test_lint_rules.py) and the examples of docs/reference/lints.md. An input is a policy's text; assembly text starts
with ``.arch``; a tuple is a list of instructions. ``{BASE}`` is what every program needs, so that one rule at a time is shown.
"""

from typing import NamedTuple

from seclude import abi
from seclude.analysis.lint import lint
from seclude.bpf import Program, assemble
from seclude.decision import from_policy, from_program
from seclude.policy import parse

__all__ = ["CASES", "Case", "judge"]

BASE = "allow rt_sigreturn, exit_group, restart_syscall, futex, futex_waitv"
#: a policy that no rule says anything about
CLEAN = f"default errno(EPERM)\narch x86_64, x86\n{BASE}\n"
OPEN = "default allow\narch x86_64, x86\n"


class Case(NamedTuple):
    """An input, the calls that the finding must name (none: any), and the profile of use."""

    text: str | tuple[tuple[int, int, int, int], ...]
    calls: tuple[str, ...] = ()
    profile: str = ""


def program(text, arch="x86_64"):
    """Assembly text, in which a condition may return at once."""
    lines: list[str] = []
    ends: list[str] = []
    for line in text.splitlines():
        head, returned, value = line.partition(") return ")
        if returned:
            lines.append(f"{head}) goto end{len(ends)}")
            ends.append(f"end{len(ends)}: return {value}")
        else:
            lines.append(line)
    return assemble("\n".join([*lines, *ends]), arch=arch)


def judge(case, **options):
    """The report on a case."""
    if isinstance(case.text, str) and "default " in case.text:
        policy = parse(case.text, "case.seclude", native="x86_64")
        return from_policy(policy), lint(from_policy(policy), policy=policy, profile=case.profile, **options)
    one = program(case.text) if isinstance(case.text, str) else Program(case.text, "little")
    decision = from_program(one)
    return decision, lint(decision, [one], home=abi.arch("x86_64"), profile=case.profile, **options)


def clean(*lines):
    return Case(CLEAN + "".join(line + "\n" for line in lines))


def bad(*lines, calls="", profile=""):
    return Case(CLEAN + "".join(line + "\n" for line in lines), tuple(calls.split()), profile)


def opened(*lines, calls=""):
    return Case(OPEN + "".join(line + "\n" for line in lines), tuple(calls.split()))


_ARCH = "A = arch\nif (A != ARCH_X86_64) return KILL_PROCESS\nA = sys_number\nif (A >= 0x40000000) return KILL_PROCESS\n"
_NEEDED = "if (A == rt_sigreturn) return ALLOW\nif (A == exit_group) return ALLOW\nif (A == restart_syscall) return ALLOW\nif (A == futex) return ALLOW\n"
_KILL = "return KILL_PROCESS\n"
TIDY = Case(_ARCH + _NEEDED + _KILL)


def listing(*lines):
    return Case(_ARCH + _NEEDED + "".join(line + "\n" for line in lines) + _KILL)


_LD = 0x20
_NR, _TOKEN = 0, 4
X86_64, I386 = 0xC000003E, 0x40000003
ALLOW, KILL = 0x7FFF0000, 0x80000000

#: architecture checked with XOR and AND: what naive checkers take for no check at all
XOR_ARCH = Case(
    (
        (_LD, 0, 0, _TOKEN),
        (0xA4, 0, 0, X86_64),  # A ^= AUDIT_ARCH_X86_64
        (0x15, 1, 0, 0),
        (0x06, 0, 0, KILL),
        (_LD, 0, 0, _NR),
        (0x35, 0, 1, 0x40000000),
        (0x06, 0, 0, KILL),
        (0xA4, 0, 0, 0xFF),  # A ^= 0xff
        (0x15, 4, 0, 15 ^ 0xFF),
        (0x15, 3, 0, 231 ^ 0xFF),
        (0x15, 2, 0, 219 ^ 0xFF),
        (0x15, 1, 0, 202 ^ 0xFF),
        (0x06, 0, 0, KILL),
        (0x06, 0, 0, ALLOW),
    )
)
#: bit 30 tested with AND, the number masked before it is compared
AND_NUMBER = Case(
    (
        (_LD, 0, 0, _TOKEN),
        (0x15, 1, 0, X86_64),
        (0x06, 0, 0, KILL),
        (_LD, 0, 0, _NR),
        (0x54, 0, 0, 0xFFFFFC00),  # A &= ~0x3ff
        (0x15, 1, 0, 0),
        (0x06, 0, 0, KILL),
        (_LD, 0, 0, _NR),
        (0x54, 0, 0, 0x3FF),
        (0x15, 4, 0, 15),
        (0x15, 3, 0, 231),
        (0x15, 2, 0, 219),
        (0x15, 1, 0, 202),
        (0x06, 0, 0, KILL),
        (0x06, 0, 0, ALLOW),
    )
)

#: rule → (has the defect, does not)
CASES = {
    "L01": ([Case("A = sys_number\nif (A == 11) return ALLOW\nreturn KILL_PROCESS\n")], [TIDY, XOR_ARCH, AND_NUMBER]),
    "L02": (
        [Case("A = arch\nif (A == ARCH_I386) return KILL_PROCESS\nreturn ALLOW\n"), Case(OPEN + "badarch allow\n")],
        [TIDY, XOR_ARCH, Case(OPEN)],
    ),
    "L03": (
        [Case("A = arch\nif (A == ARCH_X86_64) goto ok\nif (A == ARCH_I386) goto ok\nreturn KILL_PROCESS\nok: A = sys_number\nif (A == 11) return ALLOW\nreturn KILL_PROCESS\n")],
        [clean("allow read"), XOR_ARCH],
    ),
    "L04": (
        [Case(_ARCH.replace("if (A >= 0x40000000) return KILL_PROCESS\n", "") + "if (A == ptrace) return KILL_PROCESS\nreturn ALLOW\n"), opened("x32 allow")],
        [TIDY, AND_NUMBER, opened(), Case("default errno(EPERM)\narch x86_64, x32\nallow read\n")],
    ),
    "L05": (
        [Case(_ARCH + "if (A == 520) return ALLOW\nreturn KILL_PROCESS\n"), opened("unknown allow")],
        [TIDY, AND_NUMBER, opened()],
    ),
    "L06": (
        [bad("allow socket(domain == AF_UNIX), socketcall", calls="socket"), bad("allow ipc", calls="shmat"), bad("allow socketcall(call == SYS_SOCKET)", calls="socket")],
        [clean("allow socket(domain == AF_UNIX)", "errno(ENOSYS) socketcall, ipc"), clean("allow socketcall(call == SYS_SOCKET), socket")],
    ),
    "L07": ([opened("unknown allow"), Case(_ARCH + "if (A == ptrace) return KILL_PROCESS\nreturn ALLOW\n")], [TIDY, opened(), AND_NUMBER]),
    "L08": (
        [bad("unknown errno(EPERM)"), bad("allow openat", calls="openat2"), bad("allow futex, faccessat", calls="faccessat2")],
        [clean("errno(ENOSYS) openat2", "allow openat"), Case(CLEAN.replace("futex, futex_waitv", "read") + "allow openat, openat2\n")],
    ),
    "L09": (
        [opened("errno(EPERM) unshare(flags & CLONE_NEWUSER != 0)", calls="clone3"), bad("allow clone(flags & CLONE_NEWUSER == 0), clone3"), bad("allow clone")],
        [clean("allow clone(flags & CLONE_NEWUSER == 0)", "errno(ENOSYS) clone3"), clean("allow clone, clone3, unshare")],
    ),
    "L10": (
        [bad("allow clone", calls="clone"), bad("allow clone(flags & CLONE_NEWUSER == 0)")],
        [
            clean("allow clone(flags & (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET) == 0)"),
            clean("allow fork"),
        ],
    ),
    "L11": (
        [bad("allow unshare", calls="unshare"), bad("allow setns(nstype != CLONE_NEWUSER)", calls="setns")],
        [clean("allow unshare(flags & CLONE_NEWUSER == 0)"), clean("allow setns(nstype == CLONE_NEWNET)")],
    ),
    "L12": (
        [bad("allow socket(domain:u64 != AF_VSOCK)", calls="socket"), opened("kill ioctl(request:u64 == TIOCSTI)", calls="ioctl"), bad("allow socket(domain:u64 < 38 or domain:u64 > 40)")],
        [clean("allow socket(domain != AF_VSOCK)"), clean("allow socket(domain:u64 == AF_UNIX)"), opened("kill ioctl(request == TIOCSTI)"), XOR_ARCH],
    ),
    "L13": (
        [
            listing("if (A != lseek) goto other", "A = args[1]", "if (A < 4096) return ALLOW", "other: A = sys_number"),
            listing("if (A != brk) goto other", "A = args[0]", "if (A == 0) return ALLOW", "other: A = sys_number"),
        ],
        [clean("allow lseek(offset == 0)"), clean("allow clone(flags & CLONE_NEWUSER == 0)"), clean("on x86_64: allow mmap(prot & PROT_EXEC == 0)")],
    ),
    "L14": (
        [bad("allow openat(dirfd:u64 == 0xffffffffffffff9c)", calls="openat"), opened("kill openat(dirfd:u64 == 0xffffffffffffff9c)", calls="openat")],
        [clean("allow openat(dirfd == AT_FDCWD)"), opened("kill openat(dirfd == AT_FDCWD)"), clean("allow personality(persona:u64 == 0xffffffff)")],
    ),
    "L15": (
        [bad("allow open(pathname:u64 == 0x31337)", calls="open"), opened("kill connect(addr:u64 == 0x1000)", calls="connect")],
        [clean("allow open"), clean("allow prlimit64(new_limit == NULL)"), clean("allow prlimit64(new_limit != NULL)")],
    ),
    "L16": ([bad("allow read(ip in 0x1000..0x1fff)", calls="read")], [clean("allow read"), clean("allow read(fd == 0)"), clean("errno(EIO) read(ip == 5)")]),
    "L17": (
        [
            bad("allow openat(flags & O_ACCMODE == O_RDONLY), openat2", calls="openat2"),
            bad("allow sched_setscheduler(policy == SCHED_OTHER), sched_setattr", calls="sched_setattr"),
            bad("allow prctl(option != PR_SET_SECCOMP), seccomp", calls="seccomp"),
        ],
        [clean("allow openat(flags & O_ACCMODE == O_RDONLY)"), clean("allow openat, openat2"), clean("allow openat(dirfd == AT_FDCWD), openat2")],
    ),
    "L18": (
        [
            opened("kill chmod", calls="fchmodat"),
            opened("kill execve", calls="execveat"),
            bad("allow fchmod(mode & 0o6000 == 0), fchmodat2", calls="fchmodat2"),
            bad("allow kill(sig == 0), tkill", calls="tkill"),
        ],
        [clean("allow open(flags & O_ACCMODE == O_RDONLY)", "errno(EROFS) creat"), clean("allow fchmod(mode & 0o6000 == 0), fchmodat(mode & 0o6000 == 0)"), opened("kill execve, execveat, uselib"), opened("errno(ENOSYS) fchmodat2")],
    ),
    "L19": ([bad("allow io_uring_setup, io_uring_enter", calls="io_uring_setup io_uring_enter"), opened("kill socket", calls="io_uring_setup")], [clean("allow read"), opened()]),
    "L20": ([bad("allow ptrace", calls="ptrace"), bad("allow ptrace(request == PTRACE_TRACEME)", calls="ptrace")], [clean("allow read"), opened("kill ptrace")]),
    "L21": ([bad("allow process_vm_readv, pidfd_getfd", calls="process_vm_readv"), opened(calls="process_vm_writev")], [clean("allow read")]),
    "L22": ([bad("allow open_by_handle_at", calls="open_by_handle_at"), bad("log name_to_handle_at")], [clean("allow openat, openat2")]),
    "L23": ([bad("allow fsopen, move_mount", calls="fsopen move_mount"), opened("kill mount, umount2", calls="fsopen")], [clean("allow statfs")]),
    "L24": ([bad("allow bpf", calls="bpf"), bad("allow finit_module, kexec_load", calls="finit_module kexec_load")], [clean("allow read")]),
    "L25": ([bad("allow keyctl, perf_event_open", calls="keyctl perf_event_open"), bad("allow userfaultfd", calls="userfaultfd")], [clean("allow userfaultfd(flags & 1 == 1)")]),
    "L26": (
        [bad("allow ioctl", calls="ioctl"), bad("allow ioctl(request:u64 not in {TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS})", calls="ioctl")],
        [clean("allow ioctl(request not in {TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS})"), clean("allow ioctl(request == TCGETS)")],
    ),
    "L27": (
        [bad("allow socket", calls="socket"), bad("allow socket(domain == AF_INET)", calls="socket"), bad("allow socketpair", calls="socketpair", profile="compute")],
        [clean("allow socket(domain == AF_UNIX)"), clean("allow socket(domain == AF_INET and type & 0xf == SOCK_STREAM)"), clean("allow socketpair")],
    ),
    "L28": ([bad("allow personality", calls="personality")], [clean("allow personality(persona in {0, 8, 0x20000, 0x20008, 0xffffffff})")]),
    "L29": (
        [bad("allow mmap, mprotect(prot & PROT_EXEC == 0)", calls="mmap"), bad("allow shmat", calls="shmat")],
        [clean("on x86_64: allow mmap(prot & (PROT_WRITE | PROT_EXEC) != PROT_WRITE | PROT_EXEC)"), clean("allow mprotect(prot & PROT_EXEC == 0)")],
    ),
    "L30": (
        [bad("allow fchmodat2", calls="fchmodat2"), bad("allow mknodat(mode & 0o6000 == 0)", calls="mknodat"), bad("allow openat", calls="openat")],
        [clean("allow fchmod(mode & 0o6000 == 0)"), clean("allow openat(flags & O_CREAT == 0)"), clean("allow mknodat(mode & (S_IFMT | 0o6000) == S_IFREG)")],
    ),
    "L31": ([bad("allow prctl", calls="prctl"), bad("allow seccomp", calls="seccomp")], [clean("allow prctl(option == PR_SET_NAME)"), clean("allow seccomp(flags == 0)")]),
    "L32": ([bad("notify openat", calls="openat"), bad("notify clone", calls="clone")], [clean("notify getppid"), clean("allow openat")]),
    "L33": ([bad("trace(1) getppid", calls="getppid"), bad("trace getppid", "allow ptrace", calls="getppid")], [clean("errno(EPERM) getppid")]),
    "L34": (
        [Case(CLEAN.replace("default errno(EPERM)", "default log\nunknown log")), bad("log mount", calls="mount")],
        [clean("log read"), clean("allow mount")],
    ),
    "L35": ([bad("errno(0) setuid", calls="setuid"), Case(CLEAN.replace("errno(EPERM)", "errno(0)"))], [clean("errno(0) fsync, fdatasync"), clean("errno(EPERM) setuid")]),
    "L36": ([listing("if (A == getppid) return ERRNO(5000)")], [listing("if (A == getppid) return ERRNO(4095)"), TIDY]),
    "L37": (
        [
            bad("kill_thread getppid"),
            listing("if (A == getppid) return 0x12340000"),
            listing("if (A == getppid) return 0x7fff0001"),
            listing("if (A != getppid) goto other", "A = 0x7fff0000", "return A", "other: A = sys_number"),
        ],
        [clean("kill getppid"), TIDY],
    ),
    "L38": ([bad("allow openat, read, write", profile="compute"), bad("allow open, mmap, sendto", profile="service")], [clean("allow openat, read"), clean("allow read, write")]),
    "L39": (
        [
            Case("default errno(EPERM)\narch x86_64\nallow read\n", ("rt_sigreturn", "exit_group")),
            Case(_ARCH + _NEEDED + "goto end\nreturn ALLOW\nend: return KILL_PROCESS\n"),
            Case(_ARCH + _NEEDED + "A ^= 1\nif (A == 1) return ALLOW\nreturn KILL_PROCESS\n", ("read",)),
        ],
        [TIDY, clean()],
    ),
    "L40": (
        [bad("# lint: ignore L20: nothing traces here"), bad("allow ptrace  # lint: ignore L20"), bad("allow ptrace  # lint: ignore L99: no such rule")],
        [clean("allow ptrace  # lint: ignore L20: a debugger")],
    ),
}  # fmt: skip
