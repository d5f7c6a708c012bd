"""Write src/seclude/abi/_prototypes.py from tools/abi_signatures.txt and src/seclude/abi/overrides.py.

The output is one text, a line a call and set of architectures, so that a process that asks for one prototype splits lines and parses one of them.
Kinds and constant families are derived here from the type, the name and the tables below.

    python tools/make_prototypes.py            # writes; --check exits 1 when the file is out of date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from seclude.abi.overrides import OVERRIDES  # noqa: E402 - the path must be set first

SIGNATURES = ROOT / "tools" / "abi_signatures.txt"
OUTPUT = ROOT / "src" / "seclude" / "abi" / "_prototypes.py"

# C type → code: h and H are 16 bits, i and u 32, l and L the architecture's long, q and Q 64, p a pointer (signed lower, unsigned upper, but u)
CODES = {
    "int": "i", "pid_t": "i", "key_t": "i", "timer_t": "i", "clockid_t": "i", "mqd_t": "i", "key_serial_t": "i", "rwf_t": "i", "__s32": "i",
    "unsigned": "u", "unsigned int": "u", "u32": "u", "__u32": "u", "uid_t": "u", "gid_t": "u", "qid_t": "u", "enum landlock_rule_type": "u",
    "umode_t": "H", "old_uid_t": "H", "old_gid_t": "H",
    "long": "l", "off_t": "l", "unsigned long": "L", "size_t": "L", "aio_context_t": "L",
    "loff_t": "q", "__u64": "Q", "loff_t split": "s",
    "cap_user_header_t": "p", "cap_user_data_t": "p",
}  # fmt: skip
OVERRIDE_CODES = {"u16": "H", "s32": "i", "u32": "u", "ulong": "L"}


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


DESCRIPTORS = words(
    "fd sockfd dirfd olddirfd newdirfd from_dirfd to_dirfd epfd oldfd newfd pidfd targetfd fd_in fd_out in_fd out_fd ruleset_fd group_fd mount_fd "
    "kernel_fd initrd_fd fanotify_fd mqdes neighbor_fd first last"
)
PATHS = words("pathname path oldpath newpath linkpath filename new_root put_old from_pathname to_pathname source library")
STRINGS = words("name type description callout_info fsname key param_values cmdline filesystemtype")
ADDRESSES = words("stack old_address new_address tls start end child_stack mmio_addr newsp")
SIZES = words(
    "len length count size bufsiz buflen bytecount old_size new_size nbytes addrlen optlen sigsetsize argsz bufsize sz usize msgsz msg_len plen cpusetsize cmdline_len"
)
OPERATIONS = words("cmd request op option operation code futex_op futex_cmd command opcode call func type")
# call.parameter → kind, where name and type do not tell
KINDS = {
    "rseq.sig": "uint",
    "truncate.length": "offset",
    "fallocate.mode": "flags", "access.mode": "flags", "faccessat.mode": "flags", "faccessat2.mode": "flags", "mbind.mode": "int",
    "set_mempolicy.mode": "int", "umask.mask": "mode", "mq_open.oflag": "flags", "mmap.prot": "flags", "mmap2.prot": "flags",
    "mprotect.prot": "flags", "pkey_mprotect.prot": "flags", "waitid.id": "pid", "symlink.target": "path", "symlinkat.target": "path",
    "umount2.target": "path", "umount.target": "path", "mount.target": "path", "quotactl.special": "path", "wait4.options": "flags",
    "waitid.options": "flags", "waitpid.options": "flags", "mount.mountflags": "flags", "inotify_add_watch.mask": "flags", "statx.mask": "flags",
    "fanotify_mark.mask": "flags", "personality.persona": "flags", "setns.nstype": "flags", "shmget.shmflg": "flags", "msgget.msgflg": "flags",
    "semget.semflg": "flags", "shmat.shmflg": "flags", "msgsnd.msgflg": "flags", "msgrcv.msgflg": "flags", "socket.type": "flags",
    "socketpair.type": "flags", "flock.operation": "flags", "swapon.swapflags": "flags", "fsmount.attr_flags": "flags", "brk.addr": "pointer",
    "fanotify_init.event_f_flags": "flags", "arch_prctl.addr": "uint", "ptrace.addr": "uint", "shmctl.cmd": "cmd", "kcmp.type": "cmd",
    "mknod.dev": "device", "mknodat.dev": "device", "ustat.dev": "device", "execveat.pathname": "path", "getpriority.who": "int",
    "setpgid.pgid": "pid", "rt_sigprocmask.how": "cmd", "lseek.whence": "cmd", "_llseek.whence": "cmd", "sched_setattr.flags": "flags",
    "utimensat.times": "pointer", "sigaction.signum": "signal", "s390_runtime_instr.signum": "int", "swapoff.path": "path",
    "fadvise64.advice": "cmd", "fadvise64_64.advice": "cmd", "arm_fadvise64_64.advice": "cmd", "mseal.addr": "pointer",
}  # fmt: skip

# call.parameter (a call may be *) → constant family of tools/make_constants.py
FAMILIES = {
    "socket.domain": "AF", "socketpair.domain": "AF", "socket.type": "SOCK", "socketpair.type": "SOCK", "socket.protocol": "IPPROTO",
    "socketpair.protocol": "IPPROTO", "accept4.flags": "SOCKFLAG", "open.flags": "O", "openat.flags": "O", "mq_open.oflag": "O",
    "open_by_handle_at.flags": "O", "pipe2.flags": "O", "dup3.flags": "O", "clone.flags": "CLONE", "unshare.flags": "CLONE",
    "setns.nstype": "CLONE", "mmap.prot": "PROT", "mmap2.prot": "PROT", "mprotect.prot": "PROT", "pkey_mprotect.prot": "PROT", "mmap.flags": "MAP",
    "mmap2.flags": "MAP", "madvise.advice": "MADV", "process_madvise.advice": "MADV", "mremap.flags": "MREMAP", "msync.flags": "MSYNC",
    "mount.mountflags": "MS", "umount2.flags": "MNT", "prctl.option": "PR", "arch_prctl.code": "ARCH", "fcntl.cmd": "F", "fcntl64.cmd": "F",
    "flock.operation": "LOCK", "futex.futex_op": "FUTEX", "futex_time64.futex_op": "FUTEX", "ioctl.request": "IOCTL", "personality.persona": "PER",
    "lseek.whence": "SEEK", "_llseek.whence": "SEEK", "rt_sigprocmask.how": "SIGHOW", "sigprocmask.how": "SIGHOW", "setrlimit.resource": "RLIMIT",
    "getrlimit.resource": "RLIMIT", "ugetrlimit.resource": "RLIMIT", "prlimit64.resource": "RLIMIT", "timerfd_create.clockid": "CLOCK",
    "timerfd_create.flags": "TFD", "timerfd_settime.flags": "TFDTIMER", "timerfd_settime64.flags": "TFDTIMER", "eventfd2.flags": "EFD", "epoll_create1.flags": "EPOLLCREATE", "epoll_ctl.op": "EPOLLCTL",
    "inotify_init1.flags": "INCREATE", "inotify_add_watch.mask": "IN", "memfd_create.flags": "MFD", "getrandom.flags": "GRND",
    "ptrace.request": "PTRACE", "seccomp.operation": "SECCOMPMODE", "seccomp.flags": "SECCOMPFLAG", "keyctl.operation": "KEYCTL", "bpf.cmd": "BPF",
    "perf_event_open.flags": "PERFFLAG", "renameat2.flags": "RENAME", "statx.mask": "STATX", "statx.flags": "AT", "wait4.options": "W",
    "waitpid.options": "W", "waitid.options": "W", "waitid.idtype": "P", "shmat.shmflg": "SHM", "shmget.shmflg": "IPC", "msgget.msgflg": "IPC",
    "semget.semflg": "IPC", "shmctl.cmd": "IPCCMD", "msgctl.cmd": "IPCCMD", "semctl.cmd": "SEMCMD", "sendto.flags": "MSG", "sendmsg.flags": "MSG",
    "sendmmsg.flags": "MSG", "recvfrom.flags": "MSG", "recvmsg.flags": "MSG", "recvmmsg.flags": "MSG", "recvmmsg_time64.flags": "MSG",
    "send.flags": "MSG", "recv.flags": "MSG", "sched_setscheduler.policy": "SCHED", "sched_get_priority_max.policy": "SCHED",
    "sched_get_priority_min.policy": "SCHED", "userfaultfd.flags": "UFFD", "landlock_create_ruleset.flags": "LANDLOCKCREATE",
    "landlock_add_rule.rule_type": "LANDLOCKRULE", "membarrier.cmd": "MEMBARRIER", "mbind.mode": "MPOL", "set_mempolicy.mode": "MPOL",
    "mlockall.flags": "MCL", "mlock2.flags": "MLOCK", "fallocate.mode": "FALLOC", "setxattr.flags": "XATTR", "lsetxattr.flags": "XATTR",
    "fsetxattr.flags": "XATTR", "unlinkat.flags": "ATREMOVE", "linkat.flags": "AT", "fchownat.flags": "AT", "newfstatat.flags": "AT",
    "fstatat64.flags": "AT", "execveat.flags": "AT", "utimensat.flags": "AT", "utimensat_time64.flags": "AT", "faccessat2.flags": "ATACCESS",
    "fchmodat2.flags": "AT", "name_to_handle_at.flags": "AT", "setxattrat.at_flags": "AT", "getxattrat.at_flags": "AT",
    "listxattrat.at_flags": "AT", "removexattrat.at_flags": "AT", "file_getattr.at_flags": "AT", "file_setattr.at_flags": "AT",
    "mount_setattr.flags": "AT", "access.mode": "ACCESS", "faccessat.mode": "ACCESS", "faccessat2.mode": "ACCESS", "shutdown.how": "SHUT",
    "getsockopt.level": "SOL", "setsockopt.level": "SOL",  "fadvise64.advice": "FADV",
    "fadvise64_64.advice": "FADV", "arm_fadvise64_64.advice": "FADV", "sync_file_range.flags": "SYNCRANGE", "sync_file_range2.flags": "SYNCRANGE",
    "splice.flags": "SPLICE", "tee.flags": "SPLICE", "vmsplice.flags": "SPLICE", "preadv2.flags": "RWF", "pwritev2.flags": "RWF",
    "close_range.flags": "CLOSERANGE", "signalfd4.flags": "SFD", "clock_nanosleep.flags": "TIMER", "clock_nanosleep_time64.flags": "TIMER",
    "timer_settime.flags": "TIMER", "timer_settime64.flags": "TIMER", "getitimer.which": "ITIMER", "setitimer.which": "ITIMER",
    "getrusage.who": "RUSAGE", "getpriority.which": "PRIO", "setpriority.which": "PRIO", "reboot.cmd": "REBOOT", "reboot.magic": "REBOOTMAGIC", "reboot.magic2": "REBOOTMAGIC",
    "kcmp.type": "KCMP", "move_pages.flags": "MPOLMF", "mbind.flags": "MPOLMF", "get_mempolicy.flags": "MPOLF", "fanotify_init.flags": "FANINIT",
    "fanotify_init.event_f_flags": "O", "fanotify_mark.flags": "FANMARK", "fanotify_mark.mask": "FAN", "finit_module.flags": "MODULEINIT",
    "delete_module.flags": "O", "kexec_load.flags": "KEXEC", "kexec_file_load.flags": "KEXECFILE", "io_uring_enter.flags": "IORINGENTER",
    "io_uring_register.opcode": "IORINGREGISTER", "fsopen.flags": "FSOPEN", "fsmount.flags": "FSMOUNT", "fsmount.attr_flags": "MOUNTATTR",
    "fspick.flags": "FSPICK", "fsconfig.cmd": "FSCONFIG", "move_mount.flags": "MOVEMOUNT", "open_tree.flags": "OPENTREE",
    "open_tree_attr.flags": "OPENTREE", "pidfd_open.flags": "PIDFD", "socketcall.call": "SOCKETCALL", "ipc.call": "IPCCALL",
    "pkey_alloc.access_rights": "PKEY", "ioprio_get.which": "IOPRIO", "ioprio_set.which": "IOPRIO", "memfd_secret.flags": "OCLOEXEC",
    "rseq.flags": "RSEQ", "swapon.swapflags": "SWAP", "quotactl.cmd": "", "add_key.keyring": "KEYSPEC", "request_key.dest_keyring": "KEYSPEC",
    "syslog.type": "", "cachectl.op": "",
}  # fmt: skip
CLOCKS = {"clockid", "clk_id"}


def kind(call: str, name: str, ctype: str, code: str) -> str:
    """What a person thinks of the parameter as, by its type, its name and the exceptions."""
    told = KINDS.get(f"{call}.{name}")
    if told:
        return told
    if code == "p":
        if "sockaddr" in ctype:
            return "sockaddr"
        if "char *" in ctype and "**" not in ctype and "*const" not in ctype:
            return "path" if name in PATHS else "string" if name in STRINGS else "pointer"
        return "pointer"
    if ctype == "umode_t":
        return "mode"
    if ctype in {"uid_t", "old_uid_t"}:
        return "uid"
    if ctype in {"gid_t", "old_gid_t"}:
        return "gid"
    if ctype == "pid_t" or name in {"pid", "tid", "tgid"}:
        return "pid"
    if name in {"sig", "signum"}:
        return "signal"
    if name in DESCRIPTORS:
        return "fd"
    if name in ADDRESSES or (name == "addr" and code == "L"):
        return "pointer" if code == "L" else "int"
    if ctype.startswith(("loff_t", "off_t")) or name in {"offset", "pgoffset"}:
        return "offset"
    if ctype == "size_t" or name in SIZES:
        return "size"
    if name.endswith("flags") or name == "flags":
        return "flags"
    if name in OPERATIONS:
        return "cmd"
    return "int" if code in "ilqs" else "uint"


def family(call: str, name: str, shape: str) -> str:
    """The constants that an argument is decoded with, or the empty string."""
    told = FAMILIES.get(f"{call}.{name}")
    if told is not None:
        return told
    if shape == "signal":
        return "SIG"
    if shape == "fd" and name.endswith("dirfd"):
        return "ATFD"
    return "CLOCK" if name in CLOCKS else ""


def read(text: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(call, architectures joined by commas or "", [(type, names)]) for each line, aliases resolved."""
    sets: dict[str, str] = {}
    lines: list[tuple[str, str, list[tuple[str, str]]]] = []
    plain: dict[str, list[tuple[str, str]]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith(":"):
            name, members = line.split(" = ")
            sets[name] = ",".join(members.split())
            continue
        if " = " in line:
            name, target = line.split(" = ")
            plain[name] = plain[target]
            lines.append((name, "", plain[target]))
            continue
        head, rest = line.rstrip(")").split("(", 1)
        call, _, architectures = head.partition("@")
        where = ",".join(sets[a] if a.startswith(":") else a for a in architectures.split(",")) if architectures else ""
        parameters = []
        for declaration in rest.split(", ") if rest else []:
            match = re.fullmatch(r"(.*?)([\w/]+)", declaration)
            assert match, line
            parameters.append((match[1].strip(), match[2]))
        if not where:
            assert call not in plain, f"{call} twice"
            plain[call] = parameters
        lines.append((call, where, parameters))
    return lines


def code_of(ctype: str) -> str:
    """The letter of a C type; raises KeyError for one that the table lacks."""
    if "*" in ctype:
        return "p"
    bare = ctype.removeprefix("const ").strip()
    return CODES[bare]


def spelled(call: str, ctype: str, names: str, overrides: dict[tuple[str, str], str]) -> str:
    """One parameter as the generated text has it: names:code:kind:family:type."""
    name = names.partition("/")[0]
    if name == "pad":
        return ":-:::"
    code = code_of(ctype)
    shape = kind(call, name, ctype, code)
    code = overrides.pop((call, name), code)
    if shape == "pointer" and code in "lL":
        code = "L"
    return f"{names}:{code}:{shape}:{family(call, name, shape)}:{ctype.replace(' split', '')}"


def generate() -> str:
    """The whole module."""
    overrides = {(call, name): OVERRIDE_CODES[type_] for call, name, type_, _ in OVERRIDES}
    used: set[tuple[str, str]] = set()
    body = []
    for call, where, parameters in read(SIGNATURES.read_text()):
        left = dict(overrides)
        spelt = ";".join(spelled(call, ctype, names, left) for ctype, names in parameters)
        used |= overrides.keys() - left.keys()
        body.append(f"{call}{'@' + where if where else ''} {spelt}".rstrip())
    unused = overrides.keys() - used
    assert not unused, f"overrides that match nothing: {sorted(unused)}"
    return (
        '"""Generated by tools/make_prototypes.py from tools/abi_signatures.txt and seclude.abi.overrides; do not edit.\n\n'
        "A line a call: ``call[@architectures] parameter;...``, a parameter ``names:code:kind:family:type``.\n"
        '"""\n\n__all__ = ["TEXT"]\n\nTEXT = """\\\n' + "\n".join(sorted(body)) + '\n"""\n'
    )


def main() -> int:
    """Write the module, or with --check compare it."""
    text = generate()
    if "--check" in sys.argv[1:]:
        return 0 if OUTPUT.read_text() == text else 1
    OUTPUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
