"""Write src/seclude/abi/_constants.py and _errno.py: constants by C name, per architecture, from the kernel's own headers.

For each architecture the program below includes the user-space kernel headers of Debian's linux-libc-dev packages (native, and the cross
packages under /usr/*-linux-gnu*/include), lists every macro and enumerator that a family of ``FAMILIES`` wants, and lets the native
compiler evaluate them: the headers decide by the target's predefined macros, which are given, and by the sizes of types, which -m32 and
-m64 give (with -malign-double, since only i386 aligns 64-bit integers to 4 bytes in structures, and -fpack-struct=2 for m68k, which aligns
nothing to more than 2 bytes): ioctl numbers hold the sizes of structures. What no kernel header has
(AF_*, SOCK_*, which C libraries define; and what came after the installed headers) is in tools/abi_constants.txt with its source.

    python tools/make_constants.py            # writes; needs gcc-multilib, and the headers of all architectures in TARGETS
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ABI = ROOT / "src" / "seclude" / "abi"
MORE = ROOT / "tools" / "abi_constants.txt"

# architecture → (directory of headers, bits, big-endian, predefined macros)
TARGETS: dict[str, tuple[str, int, bool, str]] = {
    "x86_64": ("/usr/include", 64, False, "__x86_64__"),
    "x86": ("/usr/i686-linux-gnu/include", 32, False, "__i386__"),
    "x32": ("/usr/x86_64-linux-gnux32/include", 32, False, "__x86_64__ __ILP32__"),
    "arm": ("/usr/arm-linux-gnueabihf/include", 32, False, "__arm__ __ARM_EABI__"),
    "aarch64": ("/usr/aarch64-linux-gnu/include", 64, False, "__aarch64__"),
    "loongarch64": ("/usr/riscv64-linux-gnu/include", 64, False, "__riscv"),  # both have only the generic headers' values
    "m68k": ("/usr/m68k-linux-gnu/include", 32, True, "__m68k__ __mc68000__"),
    "mips": ("/usr/mips-linux-gnu/include", 32, True, "__mips__ __mips=32 __MIPSEB__ _MIPS_SIM=1"),
    "mips64": ("/usr/mips64-linux-gnuabi64/include", 64, True, "__mips__ __mips=64 __mips64 __MIPSEB__ _MIPS_SIM=3"),
    "mips64n32": ("/usr/mips64-linux-gnuabin32/include", 32, True, "__mips__ __mips=64 __mips64 __MIPSEB__ _MIPS_SIM=2"),
    "mipsel": ("/usr/mipsel-linux-gnu/include", 32, False, "__mips__ __mips=32 __MIPSEL__ _MIPS_SIM=1"),
    "mipsel64": ("/usr/mips64el-linux-gnuabi64/include", 64, False, "__mips__ __mips=64 __mips64 __MIPSEL__ _MIPS_SIM=3"),
    "mipsel64n32": ("/usr/mips64el-linux-gnuabin32/include", 32, False, "__mips__ __mips=64 __mips64 __MIPSEL__ _MIPS_SIM=2"),
    "parisc": ("/usr/hppa-linux-gnu/include", 32, True, "__hppa__"),
    "parisc64": ("/usr/hppa-linux-gnu/include", 64, True, "__hppa__ __LP64__"),
    "ppc": ("/usr/powerpc-linux-gnu/include", 32, True, "__powerpc__"),
    "ppc64": ("/usr/powerpc64-linux-gnu/include", 64, True, "__powerpc__ __powerpc64__"),
    "ppc64le": ("/usr/powerpc64le-linux-gnu/include", 64, False, "__powerpc__ __powerpc64__ __LITTLE_ENDIAN__"),
    "riscv64": ("/usr/riscv64-linux-gnu/include", 64, False, "__riscv __riscv_xlen=64"),
    "s390": ("/usr/s390x-linux-gnu/include", 32, True, "__s390__"),
    "s390x": ("/usr/s390x-linux-gnu/include", 64, True, "__s390__ __s390x__"),
    "sh": ("/usr/sh4-linux-gnu/include", 32, False, "__sh__ __LITTLE_ENDIAN__"),
    "sheb": ("/usr/sh4-linux-gnu/include", 32, True, "__sh__ __BIG_ENDIAN__"),
}

HEADER_NAMES = """asm/types.h linux/types.h linux/posix_types.h asm/socket.h linux/in.h linux/in6.h asm/fcntl.h linux/fcntl.h linux/openat2.h linux/stat.h
linux/sched.h linux/sched/types.h asm/mman.h linux/mman.h linux/mount.h linux/fs.h linux/prctl.h asm/ioctls.h asm/termbits.h asm/termios.h linux/sockios.h
asm/sockios.h linux/futex.h linux/personality.h asm/signal.h linux/signal.h asm/siginfo.h asm/resource.h linux/resource.h linux/time.h linux/timerfd.h linux/eventpoll.h linux/inotify.h
linux/fanotify.h linux/memfd.h linux/random.h asm/ptrace.h linux/ptrace.h linux/seccomp.h linux/keyctl.h linux/bpf.h linux/perf_event.h linux/io_uring.h
linux/wait.h linux/ipc.h linux/shm.h linux/msg.h linux/sem.h linux/userfaultfd.h linux/landlock.h linux/membarrier.h linux/mempolicy.h linux/falloc.h
linux/xattr.h linux/capability.h linux/fadvise.h linux/close_range.h linux/reboot.h linux/kcmp.h linux/module.h linux/kexec.h linux/net.h linux/ioprio.h
linux/rseq.h linux/pidfd.h linux/netlink.h linux/if_packet.h linux/if_tun.h linux/loop.h linux/kd.h linux/vt.h linux/tiocl.h linux/rtc.h linux/nsfs.h linux/limits.h
linux/tcp.h linux/quota.h asm/poll.h linux/securebits.h linux/watchdog.h linux/fiemap.h linux/fscrypt.h linux/btrfs.h linux/input.h linux/uinput.h linux/random.h linux/if_alg.h linux/vm_sockets.h linux/un.h"""
NATIVE_ONLY = {"x86": ["asm/prctl.h", "asm/ldt.h"], "x86_64": ["asm/prctl.h", "asm/ldt.h"], "x32": ["asm/prctl.h"]}

# family → (what it has, what of that it has not). A family whose name differs from the prefix is one parameter's set.
FAMILIES: dict[str, tuple[str, str]] = {
    "AF": (r"AF_\w+", "AF_MAX"),
    "PF": (r"PF_(?!F|EXITING|KTHREAD|[XRW]$)\w+", "PF_MAX"),
    "SOCK": (r"SOCK_(STREAM|DGRAM|RAW|RDM|SEQPACKET|DCCP|PACKET|CLOEXEC|NONBLOCK)", "$"),
    "SOCKFLAG": (r"SOCK_(CLOEXEC|NONBLOCK)", "$"),
    "SOL": (r"SOL_\w+", "$"),
    "SO": (r"SO_\w+", r"SO_(EE_|GET_FILTER|ORIGINAL_DST|VM_SOCKETS)\w*"),
    "IPPROTO": (r"IPPROTO_\w+", "IPPROTO_MAX"),
    "IP": (r"(IP|IPV6|TCP)_[A-Z_0-9]+", r"(TCP_(ESTABLISHED|SYN_\w+|FIN_\w+|TIME_WAIT|CLOSE\w*|LAST_ACK|LISTEN|NEW_SYN_RECV|MAX_\w+)|IPV6_(SRCRT|OPT|TLV)\w*)"),
    "O": (r"O_[A-Z_0-9]+", "$"),
    "ATFD": ("AT_FDCWD", "$"),
    "AT": (r"AT_(SYMLINK_\w+|NO_AUTOMOUNT|EMPTY_PATH|STATX_\w+|RECURSIVE|HANDLE_\w+|EXECVE_\w+|RENAME_\w+)", "AT_STATX_SYNC_TYPE"),
    "ATREMOVE": ("AT_REMOVEDIR", "$"),
    "ATACCESS": (r"AT_(EACCESS|SYMLINK_NOFOLLOW|EMPTY_PATH)", "$"),
    "CLONE": (r"CLONE_\w+", r"CLONE_(ARGS_\w+|NEWTIME|CLEAR_SIGHAND|INTO_CGROUP)"),
    "CLONE3": (r"CLONE_(NEWTIME|CLEAR_SIGHAND|INTO_CGROUP)", "$"),
    "PROT": (r"PROT_\w+", "PROT_(RESERVED\\w*|NONE_)"),
    "MAP": (r"MAP_(?!HUGE_)\w+", r"MAP_(HUGETLB_FLAG_ENCODE\w*|FILE|VARIABLE|INHERIT|TYPE|LOGICAL\w*)"),
    "MAPHUGE": (r"MAP_HUGE_\w+", "$"),
    "MADV": (r"MADV_\w+", "$"),
    "MREMAP": (r"MREMAP_\w+", "$"),
    "MSYNC": (r"MS_(ASYNC|INVALIDATE|SYNC)", "$"),
    "MS": (r"MS_\w+", r"MS_(ASYNC|INVALIDATE|SYNC|RMT_MASK|MGC_\w+|VERBOSE)"),
    "MNT": (r"(MNT_(FORCE|DETACH|EXPIRE)|UMOUNT_NOFOLLOW)", "$"),
    "PR": (r"PR_(SET|GET|CAP|CAPBSET|TASK|MCE|MPX|PAC|SVE|SME|SCHED|FP|RISCV|TIMER|FUTEX|MDWE|PPC|SPEC|ENDIAN|UNALIGN|FPEMU|TSC|TIMING|TAGGED|SYSCALL|MTE|THP)_\w+",
           r"PR_(SET_PTRACER_ANY|SET_MM_\w+|MCE_KILL_(CLEAR|SET|LATE|EARLY|DEFAULT)|CAP_AMBIENT_\w+|PAC_AP\w*|SPEC_\w+|ENDIAN_\w+|UNALIGN_\w+|FPEMU_\w+|FP_EXC_\w+|FP_MODE_\w+|TSC_\w+|TIMING_\w+|TAGGED_\w+|SYSCALL_DISPATCH\w*|MTE_\w+|SVE_(VL_LEN_MASK|VL_INHERIT|SET_VL_ONEXEC)|SME_(VL_LEN_MASK|VL_INHERIT|SET_VL_ONEXEC)|SCHED_CORE_\w+|MDWE_\w+|RISCV_V_VSTATE\w*|RISCV_(CTX|SCOPE)\w*|PPC_DEXCR_CTRL\w*|TIMER_CREATE_RESTORE_IDS_\w+)"),
    "PRARG": (r"PR_\w+", "$"),
    "ARCH": (r"ARCH_(?!AMD|WANT|HAS)\w+", r"ARCH_DEFAULT_PKEY"),
    "F": (r"F_(DUPFD\w*|[GS]ET\w+|OFD_\w+|NOTIFY|CANCELLK|ADD_SEALS|CREATED_QUERY)", "F_SETLK_"),
    "FSEAL": (r"F_(SEAL_\w+|RDLCK|WRLCK|UNLCK|OWNER_\w+)", "$"),
    "LOCK": (r"LOCK_(SH|EX|UN|NB|MAND|READ|WRITE|RW)", "$"),
    "FUTEX": (r"FUTEX_(WAIT|WAKE|FD|REQUEUE|CMP_REQUEUE|WAKE_OP|LOCK_PI|UNLOCK_PI|TRYLOCK_PI|WAIT_BITSET|WAKE_BITSET|WAIT_REQUEUE_PI|CMP_REQUEUE_PI|LOCK_PI2|PRIVATE_FLAG|CLOCK_REALTIME)", "$"),
    "FUTEXMORE": (r"FUTEX2?_\w+", "$"),
    "IOCTL": (r"(TIOC[A-Z0-9_]+|TC[GS]ET[A-Z0-9]+|TCSBRKP?|TCXONC|TCFLSH|FIO[A-Z0-9]+|SIOC[A-Z0-9_]+|FS_IOC_\w+|FICLONE\w*|FIGETBSZ|FIBMAP|FIFREEZE|FITHAW|FITRIM|BLK[A-Z0-9]+|LOOP_[A-Z_0-9]+|TUN[A-Z]+|KD[A-Z0-9]+|VT_[A-Z0-9]+|NS_GET_\w+|RND[A-Z]+|SECCOMP_IOCTL_\w+|PERF_EVENT_IOC_\w+|UFFDIO_\w+|RTC_(RD|SET|AIE|UIE|PIE|WIE|EPOCH|IRQP|WKALM|ALM|PLL|VL)\w*|EVIOC[A-Z]+)",
              r"(TIOC(PKT_\w+|M_\w+|SER_\w+)|SIOC(DEVPRIVATE|PROTOPRIVATE)|KD_(FONT_\w+|GRAPHICS|TEXT\w*)|KDFONTOP_?\w*|LOOP_(CONFIGURE_SETTABLE\w*|SET_STATUS_\w+)|UFFDIO_\w+_MODE\w*|UFFDIO|FS_IOC_GETFSMAP_|SIOCPROTOPRIVATE|VT_(AUTO|PROCESS|ACKACQ|EVENT\w*|MAX_EVENT)|BLK(TRACE\w*_|_)\w*|EVIOCG(NAME|PHYS|UNIQ|PROP|MTSLOTS|KEY|LED|SND|SW|BIT|ABS)|EVIOCSABS|UFFDIO_REGISTER_MODE.*|PERF_EVENT_IOC_FLAG.*|KDSKBLED_)"),
    "PER": (r"(PER_(?!CLEAR)\w+|ADDR_NO_RANDOMIZE|ADDR_COMPAT_LAYOUT|ADDR_LIMIT_\w+|READ_IMPLIES_EXEC|MMAP_PAGE_ZERO|SHORT_INODE|WHOLE_SECONDS|STICKY_TIMEOUTS|UNAME26|FDPIC_FUNCPTRS)", "$"),
    "S": (r"S_I[A-Z]+", "$"),
    "SEEK": (r"SEEK_\w+", "SEEK_MAX"),
    "SIG": (r"SIG(HUP|INT|QUIT|ILL|TRAP|ABRT|IOT|BUS|FPE|KILL|USR1|SEGV|USR2|PIPE|ALRM|TERM|STKFLT|CHLD|CLD|CONT|STOP|TSTP|TTIN|TTOU|URG|XCPU|XFSZ|VTALRM|PROF|WINCH|IO|POLL|LOST|PWR|SYS|EMT|RTMIN|RTMAX)", "$"),
    "SIGHOW": (r"SIG_(BLOCK|UNBLOCK|SETMASK)", "$"),
    "SA": (r"SA_\w+", "$"),
    "SS": (r"SS_(ONSTACK|DISABLE|AUTODISARM)", "$"),
    "RLIMIT": (r"RLIMIT_\w+", "$"),
    "RLIM": (r"RLIM(64)?_\w+", "RLIM_NLIMITS"),
    "CLOCK": (r"CLOCK_(REALTIME|MONOTONIC|PROCESS|THREAD|BOOTTIME|SGI|TAI)\w*", "$"),
    "TIMER": (r"TIMER_ABSTIME", "$"),
    "TFD": (r"TFD_(CLOEXEC|NONBLOCK)", "$"),
    "TFDTIMER": (r"TFD_TIMER_\w+", "$"),
    "ITIMER": (r"ITIMER_\w+", "$"),
    "RUSAGE": (r"RUSAGE_\w+", "$"),
    "PRIO": (r"PRIO_\w+", "PRIO_M\\w+"),
    "EFD": (r"EFD_\w+", "$"),
    "EPOLLCREATE": (r"EPOLL_CLOEXEC", "$"),
    "EPOLLCTL": (r"EPOLL_CTL_\w+", "$"),
    "EPOLL": (r"EPOLL[A-Z]+", "$"),
    "POLL": (r"POLL(IN|OUT|PRI|ERR|HUP|NVAL|RDHUP|RDNORM|RDBAND|WRNORM|WRBAND|MSG|REMOVE)", "$"),
    "INCREATE": (r"IN_(CLOEXEC|NONBLOCK)", "$"),
    "IN": (r"IN_(ACCESS|MODIFY|ATTRIB|CLOSE\w*|OPEN|MOVE\w*|CREATE|DELETE\w*|UNMOUNT|Q_OVERFLOW|IGNORED|ONLYDIR|DONT_FOLLOW|EXCL_UNLINK|MASK_\w+|ISDIR|ONESHOT)", "$"),
    "FANINIT": (r"FAN_(CLOEXEC|NONBLOCK|CLASS_\w+|UNLIMITED_\w+|ENABLE_AUDIT|REPORT_\w+)", "$"),
    "FANMARK": (r"FAN_MARK_\w+", "$"),
    "FAN": (r"FAN_(ACCESS|MODIFY|ATTRIB|CLOSE\w*|OPEN\w*|MOVED?\w*|CREATE|DELETE\w*|Q_OVERFLOW|FS_ERROR|ONDIR|EVENT_ON_CHILD|RENAME)", "$"),
    "MFD": (r"MFD_(?!HUGE_)\w+", "$"),
    "MFDHUGE": (r"MFD_HUGE_\w+", "$"),
    "GRND": (r"GRND_\w+", "$"),
    "PTRACE": (r"PTRACE_(?!O_|EVENT_|SYSCALL_INFO|PEEKSIGINFO_SHARED)\w+", r"PTRACE_(OLDSETOPTIONS_)"),
    "PTRACEMORE": (r"PTRACE_(O|EVENT|SYSCALL_INFO)_\w+|PTRACE_PEEKSIGINFO_SHARED", "$"),
    "SECCOMPMODE": (r"SECCOMP_(SET_MODE_\w+|GET_ACTION_AVAIL|GET_NOTIF_SIZES)", "$"),
    "SECCOMPFLAG": (r"SECCOMP_FILTER_FLAG_\w+", "$"),
    "SECCOMP": (r"SECCOMP_(MODE|RET|USER_NOTIF|ADDFD)_\w+", "$"),
    "KEYCTL": (r"KEYCTL_\w+", r"KEYCTL_(SUPPORTS_\w+|CAPS\d_\w+|MOVE_EXCL)"),
    "KEYSPEC": (r"KEY_(SPEC|REQKEY)_\w+", "$"),
    "BPF": (r"BPF_(MAP_CREATE|MAP_(LOOKUP|UPDATE|DELETE)_ELEM|MAP_GET_NEXT_KEY|MAP_FREEZE|MAP_(LOOKUP|UPDATE|DELETE|LOOKUP_AND_DELETE)_BATCH|MAP_LOOKUP_AND_DELETE_ELEM|PROG_(LOAD|ATTACH|DETACH|TEST_RUN|RUN|GET_\w+|QUERY|BIND_MAP|STREAM_READ_BY_FD)|OBJ_(PIN|GET\w*)|MAP_GET_FD_BY_ID|MAP_GET_NEXT_ID|RAW_TRACEPOINT_OPEN|BTF_(LOAD|GET_\w+)|TASK_FD_QUERY|LINK_(CREATE|UPDATE|GET_\w+|DETACH)|ENABLE_STATS|ITER_CREATE|TOKEN_CREATE)", "$"),
    "PERFFLAG": (r"PERF_FLAG_\w+", "$"),
    "PERF": (r"PERF_(TYPE|COUNT|SAMPLE|FORMAT)_\w+", r"\w+_MAX"),
    "IORINGENTER": (r"IORING_ENTER_\w+", "$"),
    "IORINGREGISTER": (r"IORING_(UN)?REGISTER_\w+", "IORING_REGISTER_(LAST|FILES_SKIP)"),
    "IORING": (r"IORING_(SETUP|OP|FEAT|OFF|TIMEOUT|FSYNC|SQ|CQ)_\w+", "$"),
    "RENAME": (r"RENAME_\w+", "$"),
    "STATX": (r"STATX_(?!ATTR_|_)\w+", "$"),
    "RESOLVE": (r"RESOLVE_\w+", "$"),
    "W": (r"(WNOHANG|WUNTRACED|WSTOPPED|WEXITED|WCONTINUED|WNOWAIT|__WNOTHREAD|__WALL|__WCLONE)", "$"),
    "P": (r"P_(ALL|PID|PGID|PIDFD)", "$"),
    "SHM": (r"SHM_(RDONLY|RND|REMAP|EXEC)", "$"),
    "SHMMORE": (r"SHM_(HUGETLB|NORESERVE|LOCK|UNLOCK|STAT\w*|INFO|R|W)", "$"),
    "IPC": (r"IPC_(CREAT|EXCL|NOWAIT)", "$"),
    "IPCCMD": (r"(IPC_(RMID|SET|STAT|INFO)|SHM_(LOCK|UNLOCK|STAT\w*|INFO)|MSG_(STAT\w*|INFO))", "$"),
    "SEMCMD": (r"(IPC_(RMID|SET|STAT|INFO)|(GET|SET)(PID|VAL|ALL|NCNT|ZCNT)|SEM_(STAT\w*|INFO))", "$"),
    "IPCMORE": (r"(IPC_\w+|SEM_UNDO)", "$"),
    "MSG": (r"MSG_(OOB|PEEK|DONTROUTE|TRYHARD|CTRUNC|PROBE|TRUNC|DONTWAIT|EOR|WAITALL|FIN|SYN|CONFIRM|RST|ERRQUEUE|NOSIGNAL|MORE|WAITFORONE|BATCH|ZEROCOPY|FASTOPEN|CMSG_CLOEXEC)", "$"),
    "MSGIPC": (r"MSG_(NOERROR|EXCEPT|COPY)", "$"),
    "SHUT": (r"SHUT_\w+", "$"),
    "SCHED": (r"SCHED_(NORMAL|OTHER|FIFO|RR|BATCH|ISO|IDLE|DEADLINE|EXT|RESET_ON_FORK)", "$"),
    "SCHEDFLAG": (r"SCHED_FLAG_\w+", "$"),
    "UFFD": (r"(UFFD_USER_MODE_ONLY|O_CLOEXEC|O_NONBLOCK)", "$"),
    "UFFDMORE": (r"UFFD_\w+", "$"),
    "LANDLOCKCREATE": (r"LANDLOCK_CREATE_\w+", "$"),
    "LANDLOCKRULE": (r"LANDLOCK_RULE_\w+", "$"),
    "LANDLOCK": (r"LANDLOCK_(ACCESS|SCOPE|RESTRICT)_\w+", "$"),
    "MEMBARRIER": (r"MEMBARRIER_CMD_\w+", r"MEMBARRIER_CMD_(SHARED|FLAG_\w+)"),
    "MPOL": (r"MPOL_(DEFAULT|PREFERRED|BIND|INTERLEAVE|LOCAL|PREFERRED_MANY|WEIGHTED_INTERLEAVE)", "$"),
    "MPOLF": (r"MPOL_F_(NODE|ADDR|MEMS_ALLOWED)", "$"),
    "MPOLMF": (r"MPOL_MF_(STRICT|MOVE|MOVE_ALL|LAZY)", "$"),
    "MPOLMODEFLAG": (r"MPOL_F_\w+", "$"),
    "MCL": (r"MCL_\w+", "$"),
    "MLOCK": (r"MLOCK_ONFAULT", "$"),
    "FALLOC": (r"FALLOC_FL_\w+", "$"),
    "XATTR": (r"XATTR_(CREATE|REPLACE)", "$"),
    "CAP": (r"CAP_(?!LAST|BSET|OPT|MTE)[A-Z_0-9]+", "CAP_(TO_\\w+|EMPTY\\w*)"),
    "ACCESS": (r"[RWXF]_OK", "$"),
    "FADV": (r"POSIX_FADV_\w+", "$"),
    "SYNCRANGE": (r"SYNC_FILE_RANGE_\w+", "SYNC_FILE_RANGE_WRITE_AND_WAIT"),
    "SPLICE": (r"SPLICE_F_\w+", "$"),
    "RWF": (r"RWF_\w+", "RWF_(SUPPORTED|WRITE_LIFE_NOT_SET)"),
    "CLOSERANGE": (r"CLOSE_RANGE_\w+", "$"),
    "SFD": (r"SFD_\w+", "$"),
    "REBOOT": (r"LINUX_REBOOT_CMD_\w+", "$"),
    "REBOOTMAGIC": (r"LINUX_REBOOT_MAGIC\w+", "$"),
    "KCMP": (r"KCMP_\w+", "KCMP_TYPES"),
    "MODULEINIT": (r"MODULE_INIT_\w+", "$"),
    "KEXEC": (r"KEXEC_(ON_CRASH|PRESERVE_CONTEXT|UPDATE_ELFCOREHDR|CRASH_HOTPLUG_SUPPORT)", "$"),
    "KEXECFILE": (r"KEXEC_FILE_\w+", "$"),
    "FSOPEN": (r"FSOPEN_\w+", "$"),
    "FSMOUNT": (r"FSMOUNT_\w+", "$"),
    "MOUNTATTR": (r"MOUNT_ATTR_\w+", "MOUNT_ATTR_(SIZE\\w*|_ATIME)"),
    "FSPICK": (r"FSPICK_\w+", "$"),
    "FSCONFIG": (r"FSCONFIG_\w+", "$"),
    "MOVEMOUNT": (r"MOVE_MOUNT_\w+", "MOVE_MOUNT__MASK"),
    "OPENTREE": (r"(OPEN_TREE_\w+|AT_(EMPTY_PATH|NO_AUTOMOUNT|RECURSIVE|SYMLINK_NOFOLLOW))", "$"),
    "PIDFD": (r"PIDFD_\w+", "$"),
    "SOCKETCALL": (r"SYS_(SOCKET|BIND|CONNECT|LISTEN|ACCEPT|GETSOCKNAME|GETPEERNAME|SOCKETPAIR|SEND|RECV|SENDTO|RECVFROM|SHUTDOWN|SETSOCKOPT|GETSOCKOPT|SENDMSG|RECVMSG|ACCEPT4|RECVMMSG|SENDMMSG)", "$"),
    "IPCCALL": (r"(SEM(OP|GET|CTL|TIMEDOP)|MSG(SND|RCV|GET|CTL)|SHM(AT|DT|GET|CTL))", "$"),
    "PKEY": (r"PKEY_\w+", "PKEY_ACCESS_MASK"),
    "IOPRIO": (r"IOPRIO_WHO_\w+", "$"),
    "OCLOEXEC": (r"O_CLOEXEC", "$"),
    "RSEQ": (r"RSEQ_FLAG_\w+", "$"),
    "SWAP": (r"SWAP_FLAG_\w+", "$"),
    "NETLINK": (r"NETLINK_[A-Z_0-9]+", "$"),
    "SECBIT": (r"SECBIT_\w+", "$"),
    "VMADDR": (r"VMADDR_\w+", "$"),
    "NULL": (r"NULL", "$"),
}  # fmt: skip
WANTED = re.compile("|".join(f"(?:{has})" for has, _ in FAMILIES.values()))


def compiler(target: str, include: Path) -> list[str]:
    """The native compiler made to read another architecture's headers as that architecture's own compiler would."""
    _, bits, big, defines = TARGETS[target]
    command = ["gcc", f"-m{bits}", "-w", "-nostdinc", "-fmax-errors=0", "-O0", "-fno-asynchronous-unwind-tables"]
    if bits == 32 and target != "x86":
        command.append("-fpack-struct=2" if target == "m68k" else "-malign-double")
    if target != "x86_64":
        if target not in {"x86", "x32"}:
            command += ["-U__x86_64__", "-U__i386__", "-U__amd64__", "-U__i386", "-Ui386", "-U__x86_64", "-U__amd64"]
            command += ["-U__BYTE_ORDER__", f"-D__BYTE_ORDER__={4321 if big else 1234}"]
            command += ["-U__LP64__"] if bits == 32 else []
        if target == "x32":
            command += ["-U__i386__", "-U__i386", "-Ui386"]
        command += [f"-D{define}" if "=" in define else f"-D{define}=1" for define in defines.split() if define != "__LP64__"]
    return [*command, "-isystem", str(include)]


def arrange(target: str, directory: Path) -> Path:
    """A directory with the kernel's headers only, and empty ones in place of the few of the C library that they include."""
    root = directory / "include"
    root.mkdir()
    origin = Path(TARGETS[target][0])
    for part in ("linux", "asm-generic"):
        (root / part).symlink_to(origin / part)
    (root / "asm").symlink_to(origin / "x86_64-linux-gnu" / "asm" if target == "x86_64" else origin / "asm")
    (root / "sys").mkdir()
    for name in ("unistd.h", "stddef.h", "sys/time.h", "sys/socket.h", "sys/types.h", "sys/ioctl.h"):
        (root / name).touch()
    return root


def includes(target: str, directory: Path) -> str:
    """An include line for each header that this architecture has and that compiles."""
    lines = [
        "typedef __SIZE_TYPE__ size_t;",
        "typedef unsigned short sa_family_t;",
        "struct sockaddr { sa_family_t sa_family; char sa_data[14]; };",
    ]
    root = arrange(target, directory)
    lines += [f"#include <{header}>" for header in [*HEADER_NAMES.split(), *NATIVE_ONLY.get(target, [])] if (root / header).exists()]
    source = directory / "headers.c"
    while (
        True
    ):  # drop the headers that clash with others (linux/fcntl.h with asm/fcntl.h and the like do not; some do on some architectures)
        source.write_text("\n".join(lines) + "\n")
        result = subprocess.run([*compiler(target, root), "-fsyntax-only", str(source)], capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return "\n".join(lines) + "\n"
        blamed = {int(n) for n in re.findall(r"headers\.c:(\d+)", result.stderr)}
        if not blamed:
            sys.exit(result.stderr)
        last = max(blamed)
        print(f"{target}: without {lines[last - 1]}: {result.stderr.splitlines()[0:3]}", file=sys.stderr)
        del lines[last - 1]


def candidates(target: str, directory: Path) -> list[str]:
    """Names of macros and enumerators that some family wants."""
    source, include = directory / "headers.c", directory / "include"
    macros = subprocess.run([*compiler(target, include), "-E", "-dM", str(source)], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^#define (\w+) ", macros, re.MULTILINE))
    text = subprocess.run([*compiler(target, include), "-E", "-P", str(source)], capture_output=True, text=True, check=True).stdout
    for body in re.findall(r"enum\s*\w*\s*\{([^}]*)\}", text):
        names |= set(re.findall(r"(?:^|,)\s*(\w+)", body))
    return sorted(name for name in names if WANTED.fullmatch(name))


def values(target: str) -> dict[str, int]:
    """Every wanted constant of an architecture."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        head = includes(target, directory)
        names = candidates(target, directory)
        source, binary, raw = directory / "values.c", directory / "values.o", directory / "values.bin"
        while True:
            lines = [f'long long v_{name} __attribute__((section("seclude"))) = (long long)({name});' for name in names]
            source.write_text(head + "\n".join(lines) + "\n")
            result = subprocess.run(
                [*compiler(target, directory / "include"), "-c", "-o", str(binary), str(source)],
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode == 0:
                break
            first = head.count("\n") + 1
            bad = {int(n) - first for n in re.findall(r"values\.c:(\d+):\d+: error", result.stderr)}
            names = [name for position, name in enumerate(names) if position not in bad]
        subprocess.run(
            ["objcopy", "-O", "binary", "-j", "seclude", "--set-section-flags", "seclude=alloc", str(binary), str(raw)], check=True
        )
        found = struct.unpack(f"<{len(names)}q", raw.read_bytes())
    return dict(zip(names, found, strict=True))


def more() -> list[tuple[frozenset[str], str, str]]:
    """What tools/abi_constants.txt adds: (architectures or empty, name, a number or another constant)."""
    rows: list[tuple[frozenset[str], str, str]] = []
    where: frozenset[str] = frozenset()
    for line in MORE.read_text().splitlines():
        if line.startswith("@"):
            where = frozenset(line[1:].split())
        elif line and not line.startswith("#"):
            name, value = line.split("=")
            rows.append((where, name.strip(), value.partition("#")[0].strip()))
    return rows


# Second names, shown only where a value has no first one
SYNONYM_NAMES = """SOL_ICMP AF_LOCAL AF_FILE AF_ROUTE PF_LOCAL PF_FILE PF_ROUTE SIGIOT SIGPOLL SIGCLD SIGLOST SIGRTMIN SIGRTMAX MAP_ANON MSG_TRYHARD O_NDELAY SCHED_OTHER
    MAP_EXECUTABLE MAP_DENYWRITE S_IREAD S_IWRITE S_IEXEC F_GETLK64 F_SETLK64 F_SETLKW64 SO_RCVTIMEO_OLD SO_SNDTIMEO_OLD SO_TIMESTAMP_OLD
    SO_TIMESTAMPNS_OLD SO_TIMESTAMPING_OLD SO_GET_FILTER SO_DETACH_BPF FAN_MARK_INODE BPF_PROG_RUN CLONE_DETACHED LINUX_REBOOT_MAGIC2A TIOCINQ
    AT_STATX_SYNC_AS_STAT IPPROTO_BEETPH SIOCINQ SIOCOUTQ O_TMPFILE_MASK"""
SYNONYMS = frozenset(SYNONYM_NAMES.split())


def family_text(names: set[str]) -> str:
    """family: names, for decoding, a line each."""
    lines = []
    for family, (has, not_) in FAMILIES.items():
        include, exclude = re.compile(has), re.compile(not_)
        members = sorted((n for n in names if include.fullmatch(n) and not exclude.fullmatch(n)), key=lambda n: (n in SYNONYMS, n))
        lines.append(f"{family} {' '.join(members)}")
    return "\n".join(lines)


def layered(tables: dict[str, dict[str, int]]) -> str:
    """A section a distinct set of architectures: the value that most have stands under ``*``, the others' under their names."""
    sections: dict[str, list[str]] = {}
    for name in sorted({name for table in tables.values() for name in table}):
        held: dict[int | None, list[str]] = {}
        for target in TARGETS:
            held.setdefault(tables[target].get(name), []).append(target)
        common: int | None = max((v for v in held if v is not None), key=lambda v: len(held[v]))
        if len(held[common]) * 2 < len(TARGETS) and None in held:
            common = None  # few have it at all: list them, not the many that lack it
        if common is not None:
            sections.setdefault("*", []).append(f"{name} {common}")
        for value, targets in held.items():
            if value != common:
                sections.setdefault(",".join(targets), []).append(f"{name} {'-' if value is None else value}")
    order = sorted(sections, key=lambda s: (s != "*", s))
    return "\n".join(f"@{where}\n" + "\n".join(sections[where]) for where in order)


def errors(target: str) -> dict[str, int]:
    """Errno names of an architecture (asm/errno.h)."""
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "errno.c"
        source.write_text("#include <asm/errno.h>\n")
        macros = subprocess.run(
            [*compiler(target, arrange(target, Path(temporary))), "-E", "-dM", str(source)], capture_output=True, text=True, check=True
        ).stdout
    defined = dict(re.findall(r"^#define (E[A-Z0-9]+) +(\w+)", macros, re.MULTILINE))
    found = {}
    for name, value in defined.items():
        while not value.isdigit():
            value = defined[value]
        found[name] = int(value)
    found.setdefault("ENOTSUP", found["EOPNOTSUPP"])  # the C library's name for it, where the kernel has none
    return found


BANNER = '"""Generated by tools/make_constants.py from the kernel\'s headers (linux-libc-dev 6.1) and tools/abi_constants.txt; do not edit.\n\n{}\n"""\n\n__all__ = [{}]\n\n'


def main() -> int:
    """Write both modules."""
    tables = {target: values(target) for target in TARGETS}
    for where, name, value in more():
        for target in where or TARGETS:
            if where or name not in tables[target]:
                tables[target][name] = tables[target][value] if value[0].isalpha() else int(value, 0)
    names = {name for table in tables.values() for name in table}
    text = BANNER.format(
        "Sections ``@architectures`` (``@*`` all), lines ``NAME value``; ``-`` says that it has none. FAMILIES: ``family names...``.",
        '"FAMILIES", "TEXT"',
    )
    text += 'FAMILIES = """\\\n' + family_text(names) + '\n"""\n\nTEXT = """\\\n' + layered(tables) + '\n"""\n'
    (ABI / "_constants.py").write_text(text)
    text = BANNER.format("Sections ``@architectures`` (``@*`` all), lines ``NAME number``.", '"TEXT"')
    text += 'TEXT = """\\\n' + layered({target: errors(target) for target in TARGETS}) + '\n"""\n'
    (ABI / "_errno.py").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
