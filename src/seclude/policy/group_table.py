"""The groups' contents, as text: ``@name: what it is for``, then its members; a member with ``@`` is another group's.

`SYSTEMD` are systemd's sets as systemd 252 prints them (``systemd-analyze syscall-filter``), facts of that program's
manual (systemd.exec(5), SystemCallFilter=). They stay as they are: a call that Linux added later is in `OWN` only, where
it belongs to no set there. ``@sandbox`` is a set of later systemd versions, with the same members.
"""

from __future__ import annotations

__all__ = ["OWN", "SYSTEMD"]

SYSTEMD = """
@aio: asynchronous I/O: the old interface and io_uring
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit io_uring_enter
    io_uring_register io_uring_setup
@basic-io: reading, writing, seeking and duplicating open descriptors
    _llseek close close_range dup dup2 dup3 lseek pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readv write
    writev
@chown: changing who owns a file
    chown chown32 fchown fchown32 fchownat lchown lchown32
@clock: setting the system time
    adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday
@cpu-emulation: switching the processor into other modes
    modify_ldt subpage_prot switch_endian vm86 vm86old
@debug: tracing, profiling and debugging of other processes and the kernel
    lookup_dcookie perf_event_open pidfd_getfd ptrace rtas s390_runtime_instr sys_debug_setcontext
@default: what every process needs: its identity, time, memory, exit, and the execve that starts it
    arch_prctl brk cacheflush clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 execve exit exit_group futex futex_time64 futex_waitv get_robust_list get_thread_area getegid
    getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getrandom getresgid
    getresgid32 getresuid getresuid32 getrlimit getsid gettid gettimeofday getuid getuid32 membarrier mmap mmap2
    mprotect munmap nanosleep pause prlimit64 restart_syscall riscv_flush_icache riscv_hwprobe rseq rt_sigreturn
    sched_getaffinity sched_yield set_robust_list set_thread_area set_tid_address set_tls sigreturn time ugetrlimit
    uretprobe
@file-system: files and directories by name: opening, creating, changing, deleting
    access chdir chmod close creat faccessat faccessat2 fallocate fchdir fchmod fchmodat fchmodat2 fcntl fcntl64
    fgetxattr flistxattr fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 ftruncate ftruncate64
    futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    lgetxattr link linkat listxattr llistxattr lremovexattr lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat
    newfstatat oldfstat oldlstat oldstat open openat openat2 readlink readlinkat removexattr rename renameat renameat2
    rmdir setxattr stat stat64 statfs statfs64 statx symlink symlinkat truncate truncate64 unlink unlinkat utime
    utimensat utimensat_time64 utimes
@io-event: waiting for events: poll, select, epoll, eventfd
    _newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select
@ipc: pipes, System V and POSIX message queues, shared memory, memory of other processes
    ipc memfd_create mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 process_madvise process_vm_readv
    process_vm_writev semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
@keyring: the kernel's key rings
    add_key keyctl request_key
@memlock: locking memory
    mlock mlock2 mlockall munlock munlockall
@module: loading and unloading kernel modules
    delete_module finit_module init_module
@mount: mounting and changing the root
    chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root umount umount2
@network-io: sockets of any kind, the multiplexer socketcall included
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    send sendmmsg sendmsg sendto setsockopt shutdown socket socketcall socketpair
@obsolete: calls that are unimplemented, unusual or replaced
    _sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle lock mpx prof profil putpmsg
    query_module security sgetmask ssetmask stime stty sysfs tuxcall ulimit uselib ustat vserver
@pkey: memory protection keys
    pkey_alloc pkey_free pkey_mprotect
@privileged: calls that need a capability to be of use
    @chown @clock @module @raw-io @reboot @swap _sysctl acct bpf capset chroot fanotify_init fanotify_mark nfsservctl
    open_by_handle_at pivot_root quotactl quotactl_fd setdomainname setfsuid setfsuid32 setgroups setgroups32
    sethostname setresuid setresuid32 setreuid setreuid32 setuid setuid32 vhangup
@process: starting processes, signalling them, waiting for them, namespaces
    capget clone clone3 execveat fork getrusage kill pidfd_open pidfd_send_signal prctl rt_sigqueueinfo
    rt_tgsigqueueinfo setns swapcontext tgkill times tkill unshare vfork wait4 waitid waitpid
@raw-io: I/O ports and PCI
    ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write s390_pci_mmio_read s390_pci_mmio_write
@reboot: rebooting and loading another kernel
    kexec_file_load kexec_load reboot
@resources: priorities, scheduling, limits, memory placement
    ioprio_set mbind migrate_pages move_pages nice sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    set_mempolicy set_mempolicy_home_node setpriority setrlimit
@setuid: changing the user and group identity
    setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
    setreuid32 setuid setuid32
@signal: receiving signals
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 sigaction sigaltstack
    signal signalfd signalfd4 sigpending sigprocmask sigsuspend
@swap: swap devices
    swapoff swapon
@sync: writing files and memory back to storage
    fdatasync fsync msync sync sync_file_range sync_file_range2 syncfs
@system-service: what a usual system service needs, a base for allow lists
    @aio @basic-io @chown @default @file-system @io-event @ipc @keyring @memlock @network-io @process @resources @setuid
    @signal @sync @timer arm_fadvise64_64 capget capset copy_file_range fadvise64 fadvise64_64 flock get_mempolicy
    getcpu getpriority ioctl ioprio_get kcmp madvise mremap name_to_handle_at oldolduname olduname personality readahead
    readdir remap_file_pages sched_get_priority_max sched_get_priority_min sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_yield sendfile sendfile64 setfsgid
    setfsgid32 setfsuid setfsuid32 setpgid setsid splice sysinfo tee umask uname userfaultfd vmsplice
@timer: timers that fire later
    alarm getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times
@sandbox: confining oneself further
    landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp
"""

OWN = """
@architecture: calls of single architectures for their own hardware
    atomic_barrier atomic_cmpxchg_32 breakpoint cachectl cacheflush get_tls getpagesize multiplexer s390_guarded_storage
    s390_sthyi set_tls spu_create spu_run swapcontext sysmips usr26 usr32
@base: what any running program needs whatever it does: who it is, what time it is, waiting, randomness, its end
    arch_prctl clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 exit
    exit_group futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list get_thread_area get_tls
    getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpagesize getpgid getpgrp getpid
    getppid getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid gettimeofday getuid
    getuid32 nanosleep pause restart_syscall riscv_hwprobe rseq rt_sigreturn sched_getaffinity sched_yield set_robust_list
    set_thread_area set_tid_address set_tls sigreturn swapcontext sysinfo time times ugetrlimit uname
@clone3: clone with its arguments behind a pointer, out of a filter's sight
    clone3
@credentials: changing the user and group identity, for file systems too, and capabilities
    @setuid capget capset setfsgid setfsgid32 setfsuid setfsuid32
@descriptors: making and steering descriptors that reach nothing outside: pipes, events, timers, memory
    @io-event close close_range dup dup2 dup3 fcntl fcntl64 memfd_create pipe pipe2 signalfd signalfd4 timerfd timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
@devices: making device files, pipes and sockets in the file system
    mknod mknodat
@exec: replacing the program
    execve execveat
@file-flags: a file's flags as chattr(1) sets them
    file_getattr file_setattr
@files-open: opening files by name; creates and truncates them too, unless a rule limits the flags (of openat2 none can)
    open openat openat2
@files-read: looking at files and directories; opens nothing, changes nothing
    @stat access cachestat chdir faccessat faccessat2 fchdir fgetxattr flistxattr fstatfs fstatfs64 getcwd getdents getdents64
    getxattr getxattrat lgetxattr listxattr listxattrat llistxattr readlink readlinkat statfs statfs64
@files-write: changing names, attributes, owners and contents of files by name or descriptor; opens nothing
    @chown chmod creat fallocate fchmod fchmodat fchmodat2 fremovexattr fsetxattr ftruncate ftruncate64 futimesat link linkat
    lremovexattr lsetxattr mkdir mkdirat removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat symlink
    symlinkat sync syncfs truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes
@fork: processes by the old calls, and waiting for them; clone and clone3, which also make threads and namespaces, apart
    fork vfork pidfd_open wait4 waitid waitpid
@handles: files by handle, around the directories that lead to them
    name_to_handle_at open_by_handle_at
@io: work on open descriptors: read, write, copy, seek, synchronise, lock; nothing is opened
    @basic-io arm_fadvise64_64 copy_file_range fadvise64 fadvise64_64 fdatasync flock fsync readahead sendfile sendfile64
    splice sync_file_range sync_file_range2 tee
@io-uring: io_uring, whose operations no filter sees
    io_uring_enter io_uring_register io_uring_setup
@kernel: programs and probes inside the kernel, and its log
    bpf perf_event_open syslog uprobe uretprobe userfaultfd
@legacy: forms that C libraries have long replaced
    nice oldfstat oldlstat oldolduname oldstat olduname readdir sigaction signal sigpending sigsuspend
@libaio: asynchronous I/O by the interface before io_uring
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
@limits: resource limits, read and changed, of other processes too
    getrlimit getrusage prlimit64 setrlimit ugetrlimit
@listen: waiting at an address for others to connect
    accept accept4 bind listen
@lsm: security modules' attributes of the process itself
    lsm_get_self_attr lsm_list_modules lsm_set_self_attr
@memory: the process's own address space; mapping of open files included
    brk cacheflush madvise map_shadow_stack membarrier mincore mmap mmap2 mprotect mremap mseal msync munmap
    remap_file_pages riscv_flush_icache
@mount-attributes: opening a mount with other attributes
    open_tree_attr
@mount-info: reading the table of mounts
    listmount statmount
@multiplexers: calls that carry other calls inside, out of a filter's sight
    ipc multiplexer socketcall syscall
@namespaces: listing, leaving and joining namespaces
    listns setns unshare
@other-processes: reading, changing and steering other processes
    kcmp pidfd_getfd process_madvise process_mrelease process_vm_readv process_vm_writev ptrace
@schedule: priorities, scheduling and processors, read and changed
    getpriority ioprio_get ioprio_set sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
    sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield setpriority
@secret-memory: memory hidden from the kernel itself
    memfd_secret
@send-signals: sending signals, to any process that the kernel lets it reach
    kill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo tgkill tkill
@sessions: process groups and sessions
    getpgid getpgrp getsid setpgid setsid
@signals: handling signals that arrive, and coming back from handlers
    pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 sigaltstack signalfd signalfd4 sigprocmask sigreturn
@socket-io: work on sockets; makes none but by accepting
    @listen connect getpeername getsockname getsockopt recv recvfrom recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg
    sendto setsockopt shutdown
@sockets: sockets of any kind by their own calls, without the multiplexer
    @socket-io socket socketpair
@stat: what kind of file a descriptor or a name is, its size and times
    fstat fstat64 fstatat64 lstat lstat64 newfstatat stat stat64 statx
@sysv: System V and POSIX queues, semaphores and shared memory, without the multiplexer
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
    msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
@time-slice: giving back an extended time slice
    rseq_slice_yield
@watch: being told of changes to files
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
"""
