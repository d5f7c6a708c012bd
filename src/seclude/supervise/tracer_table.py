"""Which argument of which call points to what: one line a call, ``N:decoder:options`` for argument N, ``>`` where the kernel fills it in.

Decoders are those of `tracer_memory` and `tracer_sockets`; options are numbers of other arguments (a size, a count), ``R`` for the result, or a
variant. What is not named here is shown by its prototype: paths as strings, flags by name, other pointers as addresses. Numbers are of the man page's
parameters, not of registers. Source: man pages of section 2.
"""

from __future__ import annotations

__all__ = ["RESULTS", "SHAPES"]

_TEXT = """\
read 1:>bytes:R
pread64 1:>bytes:R
write 1:bytes:2
pwrite64 1:bytes:2
readv 1:>iovecs:2:R
preadv 1:>iovecs:2:R
preadv2 1:>iovecs:2:R
writev 1:iovecs:2
pwritev 1:iovecs:2
pwritev2 1:iovecs:2
getrandom 0:>bytes:R:x
stat 1:>stat
lstat 1:>stat
fstat 1:>stat
newfstatat 2:>stat
stat64 1:>stat:64
lstat64 1:>stat:64
fstat64 1:>stat:64
fstatat64 2:>stat:64
statx 4:>statx
getdents 1:>entries
getdents64 1:>entries:64
readlink 1:>bytes:R
readlinkat 2:>bytes:R
getcwd 0:>string
pipe 0:>ints:2
pipe2 0:>ints:2
socketpair 3:>ints:2
execve 1:argv 2:environment
execveat 2:argv 3:environment
uname 0:>uname
sysinfo 0:>sysinfo
bind 1:to:2
connect 1:to:2
sendto 1:bytes:2 4:to:5
recvfrom 1:>bytes:R 4:>from:5 5:>length
accept 1:>from:2 2:>length
accept4 1:>from:2 2:>length
getsockname 1:>from:2 2:>length
getpeername 1:>from:2 2:>length
setsockopt 3:integer:4
getsockopt 3:>option:4 4:>length
sendmsg 1:message
recvmsg 1:>message:R
rt_sigaction 1:action 2:>action
rt_sigprocmask 1:signals:3 2:>signals:3
rt_sigsuspend 0:signals:1
rt_sigpending 0:>signals:1
rt_sigtimedwait 0:signals:3 1:>siginfo 2:time:nsec
rt_sigqueueinfo 2:siginfo
rt_tgsigqueueinfo 3:siginfo
sigaltstack 0:record:altstack 1:>record:altstack
signalfd 1:signals:2
signalfd4 1:signals:2
wait4 1:>status 3:>usage
waitpid 1:>status
waitid 2:>siginfo 4:>usage
getrusage 1:>usage
getrlimit 1:>limits
ugetrlimit 1:>limits
setrlimit 1:limits
prlimit64 2:limits:64 3:>limits:64
poll 0:pollfds:1
ppoll 0:pollfds:1 2:time:nsec 3:signals:4
ppoll_time64 0:pollfds:1 2:time:nsec:64 3:signals:4
select 1:fd_set 2:fd_set 3:fd_set 4:time:usec
_newselect 1:fd_set 2:fd_set 3:fd_set 4:time:usec
pselect6 1:fd_set 2:fd_set 3:fd_set 4:time:nsec 5:masked
epoll_ctl 3:events:1
epoll_wait 1:>events:R
epoll_pwait 1:>events:R 4:signals:5
epoll_pwait2 1:>events:R 3:time:nsec 4:signals:5
nanosleep 0:time:nsec 1:>left:nsec
clock_nanosleep 2:time:nsec 3:>left:nsec
clock_nanosleep_time64 2:time:nsec:64 3:>left:nsec:64
clock_gettime 1:>time:nsec
clock_getres 1:>time:nsec
clock_gettime64 1:>time:nsec:64
clock_settime 1:time:nsec
gettimeofday 0:>time:usec
utimensat 2:times:nsec
futimesat 2:times:usec
utimes 1:times:usec
getitimer 1:>interval
setitimer 1:interval 2:>interval
getxattr 1:string 2:>bytes:R
lgetxattr 1:string 2:>bytes:R
fgetxattr 1:string 2:>bytes:R
setxattr 1:string 2:bytes:3
listxattr 1:>bytes:R
llistxattr 1:>bytes:R
flistxattr 1:>bytes:R
memfd_create 0:string
mount 4:string
add_key 2:bytes:3
statfs 1:>record:statfs
fstatfs 1:>record:statfs
statfs64 2:>record:statfs64
fstatfs64 2:>record:statfs64
getgroups 1:>groups:R:narrow
setgroups 1:groups:0:narrow
getgroups32 1:>groups:R
setgroups32 1:groups:0
getresuid 0:>id:narrow 1:>id:narrow 2:>id:narrow
getresgid 0:>id:narrow 1:>id:narrow 2:>id:narrow
getresuid32 0:>id 1:>id 2:>id
getresgid32 0:>id 1:>id 2:>id
getcpu 0:>id 1:>id
capget 0:record:capheader 1:>capabilities:0
capset 0:record:capheader 1:capabilities:0
times 0:>record:tms
time 0:>record:seconds
utime 1:record:utimbuf
sched_getaffinity 2:>processors:R
sched_setaffinity 2:processors:1
sched_getparam 1:>ints:1
sched_setparam 1:ints:1
sched_setscheduler 2:ints:1
sched_rr_get_interval 1:>time:nsec
sched_getattr 1:>record:schedattr
sched_setattr 1:record:schedattr
timer_create 1:sigevent 2:>ints:1
timer_settime 2:record:itimerspec 3:>record:itimerspec
timer_gettime 1:>record:itimerspec
timer_settime64 2:record:itimerspec:64 3:>record:itimerspec:64
timer_gettime64 1:>record:itimerspec:64
timerfd_settime 2:record:itimerspec 3:>record:itimerspec
timerfd_gettime 1:>record:itimerspec
timerfd_settime64 2:record:itimerspec:64 3:>record:itimerspec:64
timerfd_gettime64 1:>record:itimerspec:64
sendfile 2:>offset:narrow
sendfile64 2:>offset
copy_file_range 1:offset 3:offset
splice 1:offset 3:offset
vmsplice 1:iovecs:2
process_vm_readv 1:>iovecs:2:R 3:addresses:4
process_vm_writev 1:iovecs:2 3:addresses:4
mincore 2:>pages:1
get_robust_list 1:>record:long 2:>record:size
semop 1:records:2:sembuf
semtimedop 1:records:2:sembuf 3:time:nsec
msgsnd 1:mail:2
msgrcv 1:>mail:R
sendmmsg 1:>messages
recvmmsg 1:>messages:received 4:time:nsec
"""

#: call → number of the parameter → (decoder, options, whether the kernel fills it in)
SHAPES: dict[str, dict[int, tuple[str, tuple[str, ...], bool]]] = {}
for _line in _TEXT.splitlines():
    _name, *_words = _line.split()
    SHAPES[_name] = {}
    for _word in _words:
        _index, _decoder, *_options = _word.split(":")
        SHAPES[_name][int(_index)] = (_decoder.removeprefix(">"), tuple(_options), _decoder.startswith(">"))

#: how a result is shown that is no plain number
RESULTS = {
    **dict.fromkeys(("mmap", "mmap2", "brk", "mremap", "shmat"), "address"),
    **dict.fromkeys(("exit", "exit_group"), "none"),
    "umask": "octal",
    "personality": "hex",
    "times": "unsigned",
}
