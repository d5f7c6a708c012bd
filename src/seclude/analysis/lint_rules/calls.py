"""L19..L31: calls that reach more than they seem to, and arguments that turn ordinary calls into such."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seclude.analysis.lint_rules.base import CRITICAL, HIGH, LOW, MEDIUM, NOTE, permits, rule
from seclude.decision.nodes import FALSE, TRUE
from seclude.decision.ops import both, excluding
from seclude.decision.words import FULL, word_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seclude.analysis.lint_view import Hit, Subject, View

_PTRACE_ATTACH = 16  # linux/ptrace.h
__all__ = ["HANDLES", "KERNEL_CODE", "MOUNT", "SURFACE"]

HANDLES = "open_by_handle_at name_to_handle_at"
MOUNT = "mount umount umount2 fsopen fsconfig fsmount fspick open_tree open_tree_attr move_mount mount_setattr pivot_root"
KERNEL_CODE = (
    "create_module init_module finit_module delete_module kexec_load kexec_file_load bpf iopl ioperm modify_ldt reboot swapon swapoff acct"
)
SURFACE = "perf_event_open add_key request_key keyctl vmsplice quotactl quotactl_fd lookup_dcookie move_pages mbind set_mempolicy nfsservctl uselib vm86 vm86old"


@rule(
    "L19",
    "io-uring",
    CRITICAL,
    question="Is a call of io_uring permitted while opening, connecting, reading, writing or removing is denied or limited?",
    why="What a ring is asked to do never passes the filter: sockets, files and more, whatever else the filter denies. A ring may also be inherited.",
    fix="errno(ENOSYS) io_uring_setup, io_uring_enter, io_uring_register",
)
def io_uring(subject: Subject) -> Iterator[Hit]:
    """io_uring around the filter."""
    for view in subject.views:
        limited = next((call for call in _IN_A_RING.split() if view.has(call) and view.permit(call) is not TRUE), None)
        if limited is not None:
            yield from permits(view, "operations of a ring are not filtered", "io_uring_setup io_uring_enter io_uring_register")


_IN_A_RING = (
    "socket connect bind listen accept4 sendmsg recvmsg openat openat2 read write readv writev unlinkat renameat2 mkdirat symlinkat linkat"
    " fallocate statx fsetxattr setxattr splice"
)


@rule(
    "L20",
    "ptrace",
    HIGH,
    question="Is ptrace permitted? With PTRACE_TRACEME alone it weighs less.",
    why="A tracer changes what its tracee does after the filter has looked (before Linux 4.8 even the call's number), and steers processes without a filter.",
    fix="Deny it.",
)
def ptrace(subject: Subject) -> Iterator[Hit]:
    """Tracing."""
    for view in subject.views:
        text = "other processes can be traced"
        request = _first(view, "ptrace")
        for test in (view.equal("ptrace", request, _PTRACE_ATTACH), view.test("ptrace", request, FULL, 1, FULL)):
            found = list(view.hit(text, "ptrace", test))
            if found:
                break
        yield from found or view.hit("tracing can be asked for", "ptrace", severity=LOW)


@rule(
    "L21",
    "cross-process",
    HIGH,
    question="Is a call permitted that reads, writes or takes from another process?",
    why="Memory and descriptors of any process of the same user are within reach, filtered or not.",
    fix="Deny them.",
)
def cross_process(subject: Subject) -> Iterator[Hit]:
    """Other processes' memory and descriptors."""
    for view in subject.views:
        yield from permits(view, "other processes' memory can be read and written", "process_vm_readv process_vm_writev")
        yield from permits(view, "other processes' descriptors can be taken or compared", "pidfd_getfd kcmp")
        for call in ("pidfd_open", "process_madvise", "process_mrelease"):
            yield from view.hit("other processes can be named and worked on", call, severity=LOW)


@rule(
    "L22",
    "file-handles",
    CRITICAL,
    question="Is open_by_handle_at or name_to_handle_at permitted?",
    why="A handle opens a file by its number, past every mount and directory: with CAP_DAC_READ_SEARCH this leaves containers.",
    fix="Deny them.",
)
def handles(subject: Subject) -> Iterator[Hit]:
    """Files by handle."""
    for view in subject.views:
        yield from view.hit("files can be opened by their handle", "open_by_handle_at")
        yield from view.hit("handles of files can be had", "name_to_handle_at", severity=LOW)


@rule(
    "L23",
    "mount",
    CRITICAL,
    question="Is a call of the mount interfaces permitted, old or new?",
    why="Mounting changes what every path means; with a user namespace anybody may, and file systems' parsers are reached by crafted images.",
    fix="Deny all of them together: each has a sibling that does the same.",
)
def mounting(subject: Subject) -> Iterator[Hit]:
    """Mounts."""
    for view in subject.views:
        yield from permits(view, "what is mounted can be changed", MOUNT)


@rule(
    "L24",
    "kernel-code",
    CRITICAL,
    question="Is a call permitted that loads code into the kernel, replaces it, or takes hold of the hardware?",
    why="Whoever has the capability owns the machine, and some need none: bpf and modify_ldt were in many escalations.",
    fix="Deny them.",
)
def kernel_code(subject: Subject) -> Iterator[Hit]:
    """Modules, kexec, bpf, ports."""
    for view in subject.views:
        yield from permits(view, "the kernel's own code or the machine can be changed", KERNEL_CODE)


@rule(
    "L25",
    "attack-surface",
    HIGH,
    question="Is a call permitted that ordinary programs do not need and that had many kernel defects, or userfaultfd without UFFD_USER_MODE_ONLY?",
    why="Each is a piece of the kernel that an attacker reaches for nothing in return.",
    fix="Deny them; of userfaultfd permit flags with UFFD_USER_MODE_ONLY (1) only.",
)
def surface(subject: Subject) -> Iterator[Hit]:
    """Rarely needed, often broken."""
    for view in subject.views:
        yield from permits(view, "seldom needed and often the way into the kernel", SURFACE)
        test = view.test("userfaultfd", "flags", 1, 0)
        yield from view.hit("faults of the kernel can be handled by the program", "userfaultfd", test)


@rule(
    "L26",
    "ioctl-terminal",
    HIGH,
    question="Is ioctl permitted with TIOCSTI or TIOCLINUX, TIOCCONS or TIOCSETD, whatever the bits above the 32 that the kernel reads?",
    why="TIOCSTI types on the terminal of whoever started the program: the sandbox ends with their next command.",
    fix="Deny them by the low word: ioctl(request not in {TIOCSTI, TIOCLINUX, ...}).",
)
def ioctl_terminal(subject: Subject) -> Iterator[Hit]:
    """Typing for others."""
    for view in subject.views:
        name = _ioctl_command(view)
        for constant, text, severity in (
            ("TIOCSTI", "characters can be typed on the terminal", None),
            ("TIOCLINUX", "the console's text can be pasted", None),
            ("TIOCSETD", "line disciplines can be chosen, which loads their modules", LOW),
            ("TIOCCONS", "the console's output can be taken", LOW),
        ):
            value = view.constant(constant)
            if value and name:
                yield from view.hit(text, "ioctl", word_in(name, FULL, ((value, value),)), severity)


def _ioctl_command(view: View) -> int:
    return 6 if view.has("ioctl") else 0


#: address families that few programs need and that reach deep (linux/socket.h): the numbers are the same everywhere
_FAMILIES = {"AF_KEY": 15, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_BLUETOOTH": 31, "AF_ALG": 38, "AF_VSOCK": 40, "AF_XDP": 44}


@rule(
    "L27",
    "socket-family",
    HIGH,
    question="Is socket permitted with a family that few programs need, or with SOCK_RAW? In the profile 'compute': at all?",
    why="AF_ALG, AF_VSOCK, AF_PACKET and the like reach code that saw little use, and past the network namespace (AF_VSOCK).",
    fix="allow socket(domain in {AF_UNIX, AF_INET, AF_INET6})",
)
def socket_family(subject: Subject) -> Iterator[Hit]:
    """Families of sockets."""
    for view in subject.views:
        for call in ("socket", "socketpair"):
            if subject.profile == "compute":
                yield from view.hit("sockets can be made", call)
                continue
            if call == "socketpair":
                continue
            found = [name for name, number in _FAMILIES.items() if both(view.permit(call), view.equal(call, "domain", number)) is not FALSE]
            for name in found[:1]:
                text = f"families that few programs need: {', '.join(found)}"
                yield from view.hit(text, call, view.equal(call, "domain", _FAMILIES[name]))
            raw = both(view.test(call, "type", 0xF, 3), view.test(call, "domain", FULL, 2, 10))
            if both(raw, view.equal(call, "domain", 2)) is not FALSE:
                yield from view.hit("raw sockets", call, both(view.test(call, "type", 0xF, 3), view.equal(call, "domain", 2)))


_PERSONALITY = {"READ_IMPLIES_EXEC": 0x0040_0000, "ADDR_NO_RANDOMIZE": 0x0004_0000, "MMAP_PAGE_ZERO": 0x0010_0000}


@rule(
    "L28",
    "personality",
    MEDIUM,
    question="Is personality permitted with READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE or MMAP_PAGE_ZERO (0xffffffff, which asks, apart)?",
    why="They turn off defences of the program and of those it executes.",
    fix="allow personality(persona in {0, 8, 0x20000, 0x20008, 0xffffffff})",
)
def personality(subject: Subject) -> Iterator[Hit]:
    """Defences turned off."""
    for view in subject.views:
        test = excluding(view.any_bit("personality", "persona", sum(_PERSONALITY.values())), word_in(4, FULL, ((FULL, FULL),)))
        yield from view.hit("address randomisation and the like can be turned off", "personality", test)


@rule(
    "L29",
    "write-and-execute",
    MEDIUM,
    question="Can memory be had that is writable and executable at once: mmap, mprotect, pkey_mprotect, shmat, PR_SET_MM?",
    why="Code that an attacker writes can be run. Programs with a just-in-time compiler need it; others do not.",
    fix="allow mmap, mprotect and pkey_mprotect with prot & (PROT_WRITE | PROT_EXEC) != PROT_WRITE | PROT_EXEC; shmat without SHM_EXEC.",
    contexts={"container": NOTE},
)
def write_and_execute(subject: Subject) -> Iterator[Hit]:
    """W^X."""
    text = "memory can be writable and executable"
    for view in subject.views:
        for call in ("mmap", "mmap2", "mprotect", "pkey_mprotect"):
            # The first mmap of 32-bit architectures takes its arguments from memory: what is asked for cannot be seen.
            hidden = view.has(call) and view.parameter(call, "prot") is None
            yield from view.hit(text, call, TRUE if hidden else view.all_bits(call, "prot", 6))
        yield from view.hit(text, "shmat", view.all_bits("shmat", "shmflg", 0x8000))


@rule(
    "L30",
    "set-user-id",
    MEDIUM,
    question="Can files get the set-user-ID or set-group-ID bit, or device files be made?",
    why="Such a file keeps what the program has now for whoever runs it later, outside the filter.",
    fix="Permit modes with mode & 0o6000 == 0, in chmod, fchmod, fchmodat, fchmodat2, open and mknod alike.",
    contexts={"container": NOTE},
)
def set_user_id(subject: Subject) -> Iterator[Hit]:
    """Modes and devices."""
    for view in subject.views:
        for call in ("chmod", "fchmod", "fchmodat", "fchmodat2"):
            yield from view.hit("files can be made set-user-ID", call, view.any_bit(call, "mode", 0o6000))
        create = view.constant("O_CREAT")
        for call in ("open", "openat", "creat", "mknod", "mknodat"):
            test = view.any_bit(call, "mode", 0o6000)
            if call.startswith("open"):
                test = both(test, view.any_bit(call, "flags", create))
            yield from view.hit("files can be created set-user-ID", call, test)
        for call in ("mknod", "mknodat"):
            for kind in (0o020000, 0o060000):
                yield from view.hit("device files can be made", call, view.test(call, "mode", 0o170000, kind))


_PRCTL = {"PR_SET_MM": 35, "PR_SET_PTRACER": 0x5961_6D61}


@rule(
    "L31",
    "process-controls",
    LOW,
    question="Is prctl permitted with PR_SET_MM or PR_SET_PTRACER, seccomp with SECCOMP_FILTER_FLAG_NEW_LISTENER?",
    why="The first rearranges the process's memory map, the second lets others trace it, the third makes a supervisor inside the sandbox.",
    fix="Limit prctl to the options that are needed: option in {PR_SET_NAME, ...}.",
)
def process_controls(subject: Subject) -> Iterator[Hit]:
    """Options of prctl and seccomp."""
    for view in subject.views:
        for name, number in _PRCTL.items():
            yield from view.hit(f"prctl accepts {name}", "prctl", view.equal("prctl", _option(view), number))
        listener = both(view.equal("seccomp", _first(view, "seccomp"), 1), view.any_bit("seccomp", "flags", 8))
        yield from view.hit("seccomp makes listeners", "seccomp", listener, NOTE)


def _option(view: View) -> str:
    return _first(view, "prctl")


def _first(view: View, call: str) -> str:
    from seclude.abi.prototypes import prototype

    found = prototype(view.arch, call)
    return found.parameters[0].name if found and found.parameters else ""
