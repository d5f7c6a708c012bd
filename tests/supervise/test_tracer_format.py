"""Calls and memory in, arguments out, as strace spells them: native and 32-bit layouts."""

from __future__ import annotations

import struct
import sys

import pytest

import support
from seclude.abi import ALL, arch
from seclude.supervise.tracer_format import find
from seclude.supervise.tracer_memory import View
from seclude.supervise.tracer_structs import signal_set, wait_status
from seclude.supervise.tracer_text import failure, hexadecimal, quoted
from support import ROOT

X86_64, I386, ARM64 = arch("x86_64"), arch("x86"), arch("aarch64")
A, B, C = 0x5000, 0x6000, 0x7000


def shown(name, *args, memory=None, result=0, before=None, of=X86_64):
    """The whole line of a call, without padding; ``before`` is the memory at its beginning, where that was another."""
    held: dict[int, bytes] = {}

    def copy(_, address, size):
        for start, raw in held.items():
            if start <= address < start + len(raw):
                return raw[address - start : address - start + size]
        return None

    number = of.number(name)
    assert number is not None
    form, view = find(of.token, number), View(copy)
    words = (*args, *(0,) * (6 - len(args)))
    view.tid = 7
    held.update(memory or {} if before is None else before)
    text = form.entry(view, words)
    held.clear()
    held.update(memory or {})
    view.result, view.failed = result, -4096 < result < 0
    return f"{text}{form.rest(view, words)}) = {form.outcome(view, words)}"


CASES = [
    (("openat", 0xFFFFFF9C, A, 0o101, 0o644), {A: b"f\0"}, 3, 'openat(AT_FDCWD, "f", O_WRONLY|O_CREAT, 0644) = 3'),
    (("openat", 5, A, 0o2000000, 0o644), {A: b"f\0"}, 3, 'openat(5, "f", O_RDONLY|O_CLOEXEC) = 3'),
    (("open", A, 0o4000 | 0o200000 | 0o2000000), {A: b".\0"}, 3, 'open(".", O_RDONLY|O_NONBLOCK|O_CLOEXEC|O_DIRECTORY) = 3'),
    (("openat2", 5, A, B, 24), {A: b"f\0", B: struct.pack("=3Q", 0o100, 0o600, 9)}, 3, 'openat2(5, "f", {flags=O_RDONLY|O_CREAT, mode=0600, resolve=RESOLVE_NO_XDEV|RESOLVE_BENEATH}, 24) = 3'),
    (("write", 1, A, 40), {A: b"x" * 40}, 40, 'write(1, "' + "x" * 32 + '"..., 40) = 40'),
    (("write", 1, A, 3), {}, -14, "write(1, 0x5000, 3) = -1 EFAULT (Bad address)"),
    (("read", 0, A, 9), {}, 0, 'read(0, "", 9) = 0'),
    (("pipe2", A, 0o2000000), {A: struct.pack("=ii", 3, 4)}, 0, "pipe2([3, 4], O_CLOEXEC) = 0"),
    (("mmap", 0, 4096, 3, 0x22, 0xFFFFFFFF, 0x1000), {}, 0x7F0000000000, "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0x1000) = 0x7f0000000000"),
    (("umask", 0o22), {}, 0, "umask(022) = 0"),
    (("access", A, 6), {A: b"f\0"}, -13, 'access("f", R_OK|W_OK) = -1 EACCES (Permission denied)'),
    (("access", A, 0), {A: b"f\0"}, 0, 'access("f", F_OK) = 0'),
    (("fcntl", 3, 3), {}, 0o4002, "fcntl(3, F_GETFL) = 0x802 (flags O_RDWR|O_NONBLOCK)"),
    (("fcntl", 3, 1), {}, 1, "fcntl(3, F_GETFD) = 0x1 (flags FD_CLOEXEC)"),
    (("fcntl", 3, 1), {}, 0, "fcntl(3, F_GETFD) = 0"),
    (("fcntl", 3, 6, A), {A: struct.pack("=hhxxxxqqi", 1, 0, 5, 10, 0)}, 0, "fcntl(3, F_SETLK, {l_type=F_WRLCK, l_whence=SEEK_SET, l_start=5, l_len=10}) = 0"),
    (("ioctl", 1, 0x5413, A), {A: struct.pack("=4H", 24, 80, 0, 0)}, 0, "ioctl(1, TIOCGWINSZ, {ws_row=24, ws_col=80, ws_xpixel=0, ws_ypixel=0}) = 0"),
    (("ioctl", 1, 0xC0045A7F, 0), {}, -25, "ioctl(1, _IOC(_IOC_READ|_IOC_WRITE, 0x5a, 0x7f, 0x4), 0) = -1 ENOTTY (Inappropriate ioctl for device)"),
    (("futex", A, 0x81, 1), {}, 1, "futex(0x5000, FUTEX_WAKE_PRIVATE, 1) = 1"),
    (("futex", A, 0x80, 2, B), {B: struct.pack("=qq", 1, 5)}, -110, "futex(0x5000, FUTEX_WAIT_PRIVATE, 2, {tv_sec=1, tv_nsec=5}) = -1 ETIMEDOUT (Connection timed out)"),
    (("futex", A, 10, 3, 4, B, 5), {}, 0, "futex(0x5000, FUTEX_WAKE_BITSET, 3, 0x5) = 0"),
    (("futex", A, 0x86, 3, B), {B: struct.pack("=qq", 0, 5)}, -1, "futex(0x5000, FUTEX_LOCK_PI_PRIVATE, {tv_sec=0, tv_nsec=5}) = -1 EPERM (Operation not permitted)"),
    (("futex", A, 0x88, 3), {}, -1, "futex(0x5000, FUTEX_TRYLOCK_PI_PRIVATE) = -1 EPERM (Operation not permitted)"),
    (("futex", A, 0x84, 3, 4, B, 0xFFFFFFFF), {}, 0, "futex(0x5000, FUTEX_CMP_REQUEUE_PRIVATE, 3, 4, 0x6000, 4294967295) = 0"),
    (("futex", A, 0x8B, 3, 0, B, 5), {}, 0, "futex(0x5000, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 3, NULL, 0x6000) = 0"),
    (("sysinfo", A), {A: struct.pack("=10QHxxxxxxQQIxxxx", *range(1, 12), 12, 13, 1)}, 0, "sysinfo({uptime=1, loads=[2, 3, 4], totalram=5, freeram=6, sharedram=7, bufferram=8, totalswap=9, freeswap=10, procs=11, totalhigh=12, freehigh=13, mem_unit=1}) = 0"),
    (("sysinfo", 0), {}, -14, "sysinfo(NULL) = -1 EFAULT (Bad address)"),
    (("futex", A, 0x189, 0, 0, 0, 0xFFFFFFFF), {}, -11, "futex(0x5000, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 0, NULL, FUTEX_BITSET_MATCH_ANY) = -1 EAGAIN (Resource temporarily unavailable)"),
    (("prctl", 15, A), {A: b"name\0"}, 0, 'prctl(PR_SET_NAME, "name") = 0'),
    (("prctl", 38, 1, 0, 0, 0), {}, 0, "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) = 0"),
    (("socket", 2, 0o2000001, 0), {}, 3, "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 3"),
    (("socket", 16, 3, 0), {}, 3, "socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) = 3"),
    (("socket", 1, 2, 0), {}, 3, "socket(AF_UNIX, SOCK_DGRAM, 0) = 3"),
    (("connect", 3, A, 16), {A: struct.pack("=H", 2) + b"\0\x50\x7f\0\0\1" + bytes(8)}, 0, 'connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0'),
    (("connect", 3, A, 28), {A: struct.pack("=H", 10) + b"\0\x50" + bytes(19) + b"\1" + bytes(4)}, 0, 'connect(3, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0'),
    (("connect", 3, A, 6), {A: struct.pack("=H", 1) + b"\0abc"}, -111, 'connect(3, {sa_family=AF_UNIX, sun_path=@"abc"}, 6) = -1 ECONNREFUSED (Connection refused)'),
    (("bind", 3, A, 12), {A: struct.pack("=HHII", 16, 0, 5, 1)}, 0, "bind(3, {sa_family=AF_NETLINK, nl_pid=5, nl_groups=00000001}, 12) = 0"),
    (("setsockopt", 3, 1, 2, A, 4), {A: struct.pack("=i", 1)}, 0, "setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0"),
    (("setsockopt", 3, 6, 1, A, 4), {A: struct.pack("=i", 1)}, 0, "setsockopt(3, SOL_TCP, TCP_NODELAY, [1], 4) = 0"),
    (("poll", A, 2, 5), {A: struct.pack("=iHHiHH", 3, 1, 1, 4, 4, 0)}, 1, "poll([{fd=3, events=POLLIN}, {fd=4, events=POLLOUT}], 2, 5) = 1 ([{fd=3, revents=POLLIN}])"),
    (("poll", A, 1, 5), {A: struct.pack("=iHH", 3, 1, 0)}, 0, "poll([{fd=3, events=POLLIN}], 1, 5) = 0 (Timeout)"),
    (("select", 5, A, 0, 0, B), {A: b"\x18" + bytes(7), B: struct.pack("=qq", 1, 2)}, 1, "select(5, [3 4], NULL, NULL, {tv_sec=1, tv_usec=2}) = 1 (in [3 4], left {tv_sec=1, tv_usec=2})"),
    (("epoll_ctl", 3, 1, 4, A), {A: struct.pack("=IQ", 1, 7)}, 0, "epoll_ctl(3, EPOLL_CTL_ADD, 4, {events=EPOLLIN, data={u32=7, u64=7}}) = 0"),
    (("epoll_wait", 3, A, 8, -1 & (1 << 64) - 1), {A: struct.pack("=IQ", 0x11, 9)}, 1, "epoll_wait(3, [{events=EPOLLIN|EPOLLHUP, data={u32=9, u64=9}}], 8, -1) = 1"),
    (("wait4", 0xFFFFFFFF, A, 0, 0), {A: struct.pack("=I", 0x300)}, 7, "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 7"),
    (("wait4", 0xFFFFFFFF, A, 1, 0), {A: bytes(4)}, 0, "wait4(-1, 0x5000, WNOHANG, NULL) = 0"),
    (("rt_sigaction", 10, A, 0, 8), {A: struct.pack("=4Q", 0x400, 0x14000000, 0x500, 1)}, 0, "rt_sigaction(SIGUSR1, {sa_handler=0x400, sa_mask=[HUP], sa_flags=SA_RESTORER|SA_RESTART, sa_restorer=0x500}, NULL, 8) = 0"),
    (("rt_sigprocmask", 2, A, 0, 8), {A: bytes(8)}, 0, "rt_sigprocmask(SIG_SETMASK, [], NULL, 8) = 0"),
    (("execve", A, B, C), {A: b"/x\0", B: struct.pack("=3Q", A, A, 0), C: struct.pack("=2Q", A, 0)}, 0, 'execve("/x", ["/x", "/x"], 0x7000 /* 1 var */) = 0'),
    (("fstat", 3, A), {A: struct.pack("=24xI12xQq88x", 0o100644, 0, 9)}, 0, "fstat(3, {st_mode=S_IFREG|0644, st_size=9, ...}) = 0"),
    (("fstat", 3, A), {A: struct.pack("=24xI12xQq88x", 0o020620, 0x8801, 0)}, 0, "fstat(3, {st_mode=S_IFCHR|0620, st_rdev=makedev(0x88, 0x1), ...}) = 0"),
    (("uname", A), {A: b"Linux".ljust(65, b"\0") + b"h\33".ljust(325, b"\0")}, 0, 'uname({sysname="Linux", nodename="h\\33", ...}) = 0'),
    (("getcwd", A, 9), {A: b"/w\0"}, 3, 'getcwd("/w", 9) = 3'),
    (("readlink", A, B, 9), {A: b"l\0", B: b"target"}, 6, 'readlink("l", "target", 9) = 6'),
    (("getdents64", 3, A, 99), {A: struct.pack("=QQH6x", 1, 1, 24) * 2}, 48, "getdents64(3, 0x5000 /* 2 entries */, 99) = 48"),
    (("getdents64", 3, A, 99), {}, 0, "getdents64(3, 0x5000 /* 0 entries */, 99) = 0"),
    (("prlimit64", 0, 3, 0, A), {A: struct.pack("=QQ", 8 << 20, (1 << 64) - 1)}, 0, "prlimit64(0, RLIMIT_STACK, NULL, {rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}) = 0"),
    (("sendmsg", 3, A, 0), {A: struct.pack("=QIxxxxQQQQIxxxx", 0, 0, B, 1, 0, 0, 0), B: struct.pack("=QQ", C, 2), C: b"hi"}, 2, 'sendmsg(3, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="hi", iov_len=2}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 2'),
    (("readv", 3, B, 2), {B: struct.pack("=4Q", A, 2, C, 9), A: b"ab", C: b"cdef"}, 5, 'readv(3, [{iov_base="ab", iov_len=2}, {iov_base="cde", iov_len=9}], 2) = 5'),
    (("clone", 0x1200011, 0, 0, 0x9000, 0), {}, 8, "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x9000) = 8"),
    (("getrandom", A, 2, 1), {A: b"\1\xff"}, 2, 'getrandom("\\x01\\xff", 2, GRND_NONBLOCK) = 2'),
    (("exit_group", 3), {}, 0, "exit_group(3) = ?"),
    (("clock_nanosleep", 0, 0, A, B), {A: struct.pack("=qq", 1, 0), B: struct.pack("=qq", 0, 7)}, -4, "clock_nanosleep(CLOCK_REALTIME, 0, {tv_sec=1, tv_nsec=0}, {tv_sec=0, tv_nsec=7}) = -1 EINTR (Interrupted system call)"),
    (("utimensat", 0xFFFFFF9C, A, B, 0), {A: b"f\0", B: struct.pack("=4q", 0, 0x3FFFFFFF, 0, 0x3FFFFFFE)}, 0, 'utimensat(AT_FDCWD, "f", [UTIME_NOW, UTIME_OMIT], 0) = 0'),
    (("rseq", A, 32, 0, 0x53053053), {}, 0, "rseq(0x5000, 0x20, 0, 0x53053053) = 0"),
    (("setitimer", 0, A, 0), {A: struct.pack("=4q", 0, 0, 1, 5)}, 0, "setitimer(ITIMER_REAL, {it_interval={tv_sec=0, tv_usec=0}, it_value={tv_sec=1, tv_usec=5}}, NULL) = 0"),
    (("waitid", 1, 7, A, 4, B), {A: struct.pack("=iiixxxxiIiqq", 17, 0, 1, 7, 0, 3, 0, 0).ljust(128, b"\0"), B: bytes(144)}, 0, "waitid(P_PID, 7, {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=7, si_uid=0, si_status=3, si_utime=0, si_stime=0}, WEXITED, {ru_utime={tv_sec=0, tv_usec=0}, ru_stime={tv_sec=0, tv_usec=0}, ...}) = 0"),
    (("waitid", 0, 0, A, 5, 0), {A: bytes(128)}, 0, "waitid(P_ALL, 0, {}, WNOHANG|WEXITED, NULL) = 0"),
    (("sendfile", 4, 3, A, 9), {A: struct.pack("=q", 7)}, 0, "sendfile(4, 3, [7], 9) = 0"),
    (("ioctl", 0, 0x5402, A), {A: struct.pack("=4I", 0x500, 5, 0xBF, 0x8A3B)}, 0, "ioctl(0, TCSETS, {c_iflag=ICRNL|IXON, c_oflag=NL0|CR0|TAB0|BS0|VT0|FF0|OPOST|ONLCR, c_cflag=B38400|CS8|CREAD, c_lflag=ISIG|ICANON|ECHO|ECHOE|ECHOK|IEXTEN|ECHOCTL|ECHOKE, ...}) = 0"),
    (("ioctl", 0, 0x5401, A), {}, -25, "ioctl(0, TCGETS, 0x5000) = -1 ENOTTY (Inappropriate ioctl for device)"),
    (("timer_create", 1, A, B), {A: struct.pack("=QiiI", 0xFFFFFFFE, 10, 4, 77), B: struct.pack("=i", 3)}, 0, "timer_create(CLOCK_MONOTONIC, {sigev_value={sival_int=-2, sival_ptr=0xfffffffe}, sigev_signo=SIGUSR1, sigev_notify=SIGEV_THREAD_ID, sigev_notify_thread_id=77}, [3]) = 0"),
    (("recvmmsg", 3, A, 4, 0, 0), {A: struct.pack("=QIxxxxQQQQIxxxxIxxxx", 0, 0, B, 1, 0, 0, 0, 2), B: struct.pack("=QQ", C, 20), C: b"hello"}, 1, 'recvmmsg(3, [{msg_hdr={msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="he", iov_len=20}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, msg_len=2}], 4, 0, NULL) = 1'),
    (("sched_setscheduler", 0, 0x40000001, A), {A: struct.pack("=i", 5)}, 0, "sched_setscheduler(0, SCHED_FIFO|SCHED_RESET_ON_FORK, [5]) = 0"),
    (("futex", A, 5, 1, 2, B, 0x93005FFF), {}, 0, "futex(0x5000, FUTEX_WAKE_OP, 1, 2, 0x6000, FUTEX_OP_OPARG_SHIFT<<28|FUTEX_OP_ADD<<28|0x5<<12|FUTEX_OP_CMP_LE<<24|0xfff) = 0"),
    (("statx", 0xFFFFFF9C, A, 0x4100, 0x20, B), {A: b"f\0"}, -2, 'statx(AT_FDCWD, "f", AT_STATX_DONT_SYNC|AT_SYMLINK_NOFOLLOW, STATX_ATIME, 0x6000) = -1 ENOENT (No such file or directory)'),
    (("statfs", A, B), {A: b"/\0", B: struct.pack("=7Q2I3Q", 0xEF53, 4096, 9, 8, 7, 6, 5, 1, 0, 255, 4096, 0x1021).ljust(120, b"\0")}, 0, 'statfs("/", {f_type=EXT2_SUPER_MAGIC, f_bsize=4096, f_blocks=9, f_bfree=8, f_bavail=7, f_files=6, f_ffree=5, f_fsid={val=[0x1, 0]}, f_namelen=255, f_frsize=4096, f_flags=ST_VALID|ST_RDONLY|ST_RELATIME}) = 0'),
    (("process_vm_readv", 7, A, 1, B, 1, 0), {A: struct.pack("=QQ", C, 9), B: struct.pack("=QQ", 0x10, 9), C: b"ab"}, 2, 'process_vm_readv(7, [{iov_base="ab", iov_len=9}], 1, [{iov_base=0x10, iov_len=9}], 1, 0) = 2'),
    (("sched_getaffinity", 0, 8, A), {A: b"\x05" + bytes(7)}, 8, "sched_getaffinity(0, 8, [0 2]) = 8"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "memory", "result", "line"), CASES, ids=[f"{number}-{case[0][0]}" for number, case in enumerate(CASES)])
def test_arguments_are_spelt_as_strace_does(call, memory, result, line):
    assert shown(*call, memory=memory, result=result) == line


NARROW = [
    (("fstat64", 3, A), {A: struct.pack("<16xI12xQ4xq44x", 0o100755, 0, 7)}, 0, "fstat64(3, {st_mode=S_IFREG|0755, st_size=7, ...}) = 0"),
    (("poll", A, 1, 0xFFFFFFFF), {A: struct.pack("<iHH", 3, 1, 0x10)}, 1, "poll([{fd=3, events=POLLIN}], 1, -1) = 1 ([{fd=3, revents=POLLHUP}])"),
    (("execve", A, B, C), {A: b"/x\0", B: struct.pack("<2I", A, 0), C: struct.pack("<3I", A, A, 0)}, 0, 'execve("/x", ["/x"], 0x7000 /* 2 vars */) = 0'),
    (("rt_sigaction", 17, A, 0, 8), {A: struct.pack("<IIIQ", 1, 0x4000000, 0x500, 0)}, 0, "rt_sigaction(SIGCHLD, {sa_handler=SIG_IGN, sa_mask=[], sa_flags=SA_RESTORER, sa_restorer=0x500}, NULL, 8) = 0"),
    (("mmap2", 0, 4096, 1, 2, 3, 2), {}, 0xF7000000 - (1 << 32), "mmap2(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0x2000) = 0xf7000000"),
    (("pread64", 3, A, 4, 5, 1), {A: b"abcd"}, 4, 'pread64(3, "abcd", 4, 4294967301) = 4'),
    (("ugetrlimit", 3, A), {A: struct.pack("<II", 0xFFFFFFFF, 4096)}, 0, "ugetrlimit(RLIMIT_STACK, {rlim_cur=RLIM_INFINITY, rlim_max=4*1024}) = 0"),
    (("getgroups", 4, A), {A: struct.pack("<2H", 5, 6)}, 2, "getgroups(4, [5, 6]) = 2"),
    (("getgroups32", 4, A), {A: struct.pack("<2I", 5, 6)}, 2, "getgroups32(4, [5, 6]) = 2"),
    (("getresuid", A, B, 0), {A: struct.pack("<H", 5), B: struct.pack("<H", 6)}, 0, "getresuid([5], [6], NULL) = 0"),
    (("times", A), {A: struct.pack("<4i", 1, 2, 3, 4)}, -2 << 20, "times({tms_utime=1, tms_stime=2, tms_cutime=3, tms_cstime=4}) = 4292870144"),
    (("sigaltstack", A, 0), {A: struct.pack("<3I", 0x5000, 2, 9)}, 0, "sigaltstack({ss_sp=0x5000, ss_flags=SS_DISABLE, ss_size=9}, NULL) = 0"),
    (("timerfd_gettime", 3, A), {A: struct.pack("<4i", 1, 2, 3, 4)}, 0, "timerfd_gettime(3, {it_interval={tv_sec=1, tv_nsec=2}, it_value={tv_sec=3, tv_nsec=4}}) = 0"),
    (("timerfd_gettime64", 3, A), {A: struct.pack("<4q", 1, 2, 3, 4)}, 0, "timerfd_gettime64(3, {it_interval={tv_sec=1, tv_nsec=2}, it_value={tv_sec=3, tv_nsec=4}}) = 0"),
    (("sendfile", 4, 3, A, 9), {A: struct.pack("<i", 7)}, 0, "sendfile(4, 3, [7], 9) = 0"),
    (("waitid", 0, 0, A, 4, 0), {A: b"x" * 128}, 0, "waitid(P_ALL, 0, 0x5000, WEXITED, NULL) = 0"),
    (("clock_nanosleep_time64", 0, 0, A, 0), {A: struct.pack("<qq", 1, 2)}, 0, "clock_nanosleep_time64(CLOCK_REALTIME, 0, {tv_sec=1, tv_nsec=2}, NULL) = 0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "memory", "result", "line"), NARROW, ids=[f"{number}-{case[0][0]}" for number, case in enumerate(NARROW)])
def test_thirty_two_bit_callers_have_their_own_structures(call, memory, result, line):
    assert shown(*call, memory=memory, result=result, of=I386) == line


def test_a_length_that_the_kernel_changed_shows_both():
    after = {A: struct.pack("=HH4s8x", 2, 0, b"\0\0\0\0"), B: struct.pack("=i", 16)}
    line = shown("getsockname", 3, A, B, memory=after, before={B: struct.pack("=i", 128)})
    assert line == 'getsockname(3, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("0.0.0.0")}, [128 => 16]) = 0'


def test_arm64_has_its_own_stat():
    raw = struct.pack("<16xI12xQ8xq72x", 0o040755, 0, 4096)
    assert shown("fstat", 3, A, memory={A: raw}, of=ARM64) == "fstat(3, {st_mode=S_IFDIR|0755, st_size=4096, ...}) = 0"


def test_every_call_of_every_architecture_is_shown_whatever_it_points_to():
    """Unreadable memory, and memory full of ones: nothing raises, and nothing but ASCII comes out."""
    ones = {0: b"\xff" * 70000}
    for one in (*map(arch, ("x86_64", "x86", "aarch64", "x32", "mips")), *ALL[-2:]):
        for name in one.calls():
            for memory in ({}, ones):
                line = shown(name, *(0x100,) * 6, memory=memory, result=3, of=one)
                assert line.isascii(), line
                assert line.isprintable(), line
                assert shown(name, *(0x100,) * 6, memory=memory, result=-1, of=one).isascii()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", '"plain"'),
        (b'a\n\t\r\v\f"\\', r'"a\n\t\r\v\f\"\\"'),
        (b"\0\0011\xff", r'"\0\0011\377"'),
        (b"\x1b[31m", r'"\33[31m"'),
        (b"\x001", r'"\0001"'),
        ("é".encode(), r'"\303\251"'),
        (b"x" * 33, '"' + "x" * 32 + '"...'),
    ],
)
def test_bytes_are_escaped_as_in_c(raw, text):
    assert quoted(raw) == text


def test_random_bytes_are_hexadecimal():
    assert hexadecimal(b"\1a", more=True) == r'"\x01\x61"...'


def test_signal_sets_are_inverted_where_most_are_in():
    assert signal_set(X86_64, 0) == "[]"
    assert signal_set(X86_64, (1 << 64) - 1) == "~[]"
    assert signal_set(X86_64, ~(1 << 8 | 1 << 18)) == "~[KILL STOP]"
    assert signal_set(X86_64, 1 << 31 | 1 << 33) == "[RTMIN RT_2]"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0x8B, "{WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV && WCOREDUMP(s)}"),
        (0x137F, "{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}"),
        (0xFFFF, "{WIFCONTINUED(s)}"),
    ],
)
def test_wait_statuses(status, text):
    assert wait_status(X86_64, status) == text


def test_errors_without_a_name():
    assert failure(X86_64, 4000) == "-1 (errno 4000)"
    assert failure(arch("mips"), 89) == "-1 ENOSYS (Function not implemented)"


def test_what_a_trace_starts_with_is_light():
    """A traced program waits for these imports."""
    heavy = ("re", "enum", "collections", "functools", "typing", "dataclasses", "inspect", "json")
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import seclude.supervise.tracer_special; print([name for name in {heavy} if name in sys.modules])"
    assert support.run([sys.executable, "-I", "-S", "-c", code]).stdout == "[]\n"
