// Calls whose arguments and results point to structures, one after another, between two calls of getpriority. Linked statically and at fixed places, so
// that addresses are the same in every run; nothing that it makes outlives it.
#define _GNU_SOURCE
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/stat.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>
#define S syscall

static char buf[8192], stack[16384];
static int fds[4], n, word = SECCOMP_RET_KILL_PROCESS;
static unsigned ids[3], groups[8];
static unsigned long mask[16];
static uint64_t set;
static struct timespec ts, ts2, two[2] = {{1, 5}, {2, (1L << 30) - 2}};
static struct timeval tv, tv2[2] = {{5, 6}, {0, 0}};
static struct itimerval it, it2;
static struct itimerspec its, its2;
static struct rlimit rl, rl2;
static struct rusage ru;
static struct utsname un;
static struct sysinfo si;
static struct tms tm;
static struct statfs sf;
static struct statx sx;
static struct pollfd pf[2];
static struct epoll_event ev, evs[4];
static fd_set rs, ws;
static struct { uint64_t *at; size_t size; } masked = {&set, 8};
static struct { void *handler; unsigned long flags; void *restorer; uint64_t mask; } sa, old;
static stack_t ss, oss;
static struct iovec iov[2];
static struct { struct msghdr header; unsigned length; } mm[2];
static struct sched_param sp;
static struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t rest[3]; } attributes;
static int timer;
static struct sigevent se;
static siginfo_t info;
static struct __user_cap_header_struct ch = {_LINUX_CAPABILITY_VERSION_3, 0};
static struct __user_cap_data_struct cd[2];
static long off, off2;
static struct utimbuf ub = {1, 2};
static struct sembuf sb = {0, -1, IPC_NOWAIT};
static struct { long type; char text[8]; } letter = {1, "hi"};
static struct flock lock = {F_WRLCK, SEEK_SET, 5, 10, 0};
static struct termios tio;
static struct winsize wz = {24, 80, 0, 0};
static struct { unsigned short length; void *filter; } program = {0, buf};
static socklen_t length;

int main(void)
{
    S(SYS_getpriority, 0, 0);

    S(SYS_statfs, "/proc", &sf); S(SYS_fstatfs, 99, &sf); S(SYS_statfs, "/nonexistent", &sf);
    S(SYS_getgroups, 0, NULL); S(SYS_setgroups, 1 << 20, groups); S(SYS_setgroups, 2, groups); S(SYS_getgroups, 8, groups);
    S(SYS_getresuid, ids, ids + 1, ids + 2); S(SYS_getresgid, ids, ids + 1, NULL); S(SYS_setresuid, -1, -1, -1);
    S(SYS_capget, &ch, NULL); S(SYS_capget, &ch, cd); S(SYS_capset, &ch, cd);
    S(SYS_uname, &un); S(SYS_sysinfo, &si); S(SYS_times, &tm); S(SYS_getrusage, RUSAGE_SELF, &ru); S(SYS_getcpu, ids, ids + 1, NULL);
    S(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &rl); S(SYS_prlimit64, 0, RLIMIT_NOFILE, &rl, &rl2); S(SYS_getrlimit, RLIMIT_STACK, &rl);

    S(SYS_sched_getaffinity, 0, sizeof mask, mask); S(SYS_sched_setaffinity, 0, sizeof mask, mask); S(SYS_sched_getaffinity, 0, 4, mask);
    S(SYS_sched_getparam, 0, &sp); S(SYS_sched_setscheduler, 0, SCHED_OTHER, &sp); S(SYS_sched_getscheduler, 0);
    S(SYS_sched_getattr, 0, &attributes, 48, 0); S(SYS_sched_setattr, 0, &attributes, 0); S(SYS_sched_rr_get_interval, 0, &ts2);
    S(SYS_ioprio_get, 1, 0); S(SYS_ioprio_set, 1, 0, 4 | 2 << 13); S(SYS_personality, 0xffffffff);

    S(SYS_pipe, fds); S(SYS_pipe2, fds + 2, O_CLOEXEC | O_NONBLOCK); S(SYS_eventfd2, 3, EFD_CLOEXEC | EFD_NONBLOCK);
    pf[0] = (struct pollfd){fds[0], POLLIN, 0}; pf[1] = (struct pollfd){fds[1], POLLOUT, 0};
    S(SYS_poll, pf, 2, 0); S(SYS_poll, pf, 1, 0); set = 1 << 9; S(SYS_ppoll, pf, 2, &ts, &set, 8); S(SYS_ppoll, pf, 1, &ts, NULL, 8);
    FD_SET(fds[1], &ws); FD_SET(fds[0], &rs); S(SYS_select, 10, &rs, &ws, NULL, &tv); FD_SET(fds[0], &rs); S(SYS_select, 10, &rs, NULL, NULL, &tv);
    S(SYS_pselect6, 10, NULL, &ws, NULL, &ts, &masked); S(SYS_pselect6, 10, NULL, NULL, NULL, &ts, NULL);
    int ep = S(SYS_epoll_create1, EPOLL_CLOEXEC);
    ev.events = EPOLLIN | EPOLLET; ev.data.fd = fds[0]; S(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, fds[0], &ev); S(SYS_write, fds[1], "hello", 5);
    S(SYS_epoll_wait, ep, evs, 4, 0); S(SYS_epoll_pwait, ep, evs, 4, 0, &set, 8); S(SYS_epoll_pwait2, ep, evs, 4, &ts, NULL, 8);
    S(SYS_epoll_ctl, ep, EPOLL_CTL_DEL, fds[0], NULL);

    S(SYS_ioctl, fds[0], FIONREAD, &n); n = 0; S(SYS_ioctl, fds[0], FIONBIO, &n); S(SYS_ioctl, fds[0], TCGETS, &tio); S(SYS_ioctl, fds[0], TIOCGWINSZ, &wz);
    int tty = S(SYS_open, "/dev/ptmx", O_RDWR | O_NOCTTY);
    S(SYS_ioctl, tty, TCGETS, &tio); S(SYS_ioctl, tty, TIOCSPTLCK, &n); S(SYS_ioctl, tty, TIOCSWINSZ, &wz); S(SYS_ioctl, tty, TIOCGWINSZ, &wz);
    S(SYS_ioctl, tty, TCFLSH, TCIFLUSH); S(SYS_ioctl, tty, TIOCOUTQ, &n); S(SYS_close, tty);

    sa.handler = (void *)1; sa.flags = SA_RESTART | SA_NODEFER; sa.mask = 1 << 14;
    S(SYS_rt_sigaction, SIGUSR1, NULL, &old, 8); S(SYS_rt_sigaction, SIGUSR1, &sa, &old, 8); S(SYS_rt_sigaction, SIGKILL, &sa, NULL, 8);
    set = 1 << 16; S(SYS_rt_sigtimedwait, &set, &info, &ts, 8); S(SYS_rt_sigprocmask, SIG_BLOCK, &set, &set, 8); set = 1 << 16;
    S(SYS_kill, S(SYS_getpid), SIGCHLD); S(SYS_rt_sigpending, &set, 8); S(SYS_rt_sigtimedwait, &set, &info, &ts, 8);
    S(SYS_rt_sigqueueinfo, 99999999, SIGUSR1, &info); S(SYS_signalfd4, -1, &set, 8, SFD_CLOEXEC);
    ss.ss_sp = stack; ss.ss_size = sizeof stack; S(SYS_sigaltstack, &ss, &oss); S(SYS_sigaltstack, NULL, &oss);
    oss.ss_flags = SS_DISABLE; S(SYS_sigaltstack, &oss, NULL);
    S(SYS_wait4, -1, &n, WNOHANG, &ru); S(SYS_waitid, P_ALL, 0, &info, WEXITED | WNOHANG, NULL);

    S(SYS_futex, &n, FUTEX_WAIT_PRIVATE, 1, NULL); S(SYS_futex, &n, FUTEX_WAIT, 0, &ts); S(SYS_futex, &n, FUTEX_WAKE_PRIVATE, 1);
    S(SYS_futex, &n, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2L, &word, 0);
    S(SYS_futex, &n, FUTEX_WAKE_OP, 1, 1L, buf, FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)); S(SYS_futex, &n, FUTEX_WAKE_OP_PRIVATE, 1, 1L, buf, 0x4000001);
    S(SYS_futex, &n, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, -1); S(SYS_futex, &n, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 3);
    S(SYS_futex, &n, 99, 1, NULL, NULL, 3);

    S(SYS_clock_getres, CLOCK_REALTIME, &ts2); S(SYS_clock_gettime, CLOCK_MONOTONIC, &ts2); S(SYS_gettimeofday, &tv, NULL);
    S(SYS_getitimer, ITIMER_REAL, &it); it.it_value.tv_sec = 100; S(SYS_setitimer, ITIMER_VIRTUAL, &it, &it2);
    S(SYS_timer_create, CLOCK_MONOTONIC, NULL, &timer); its.it_value.tv_sec = 100; S(SYS_timer_settime, timer, 0, &its, &its2);
    S(SYS_timer_delete, timer); se.sigev_notify = SIGEV_SIGNAL; se.sigev_signo = SIGUSR1; S(SYS_timer_create, CLOCK_REALTIME, &se, &timer);
    int tf = S(SYS_timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC);
    S(SYS_timerfd_settime, tf, 0, &its, &its2); S(SYS_timerfd_settime, tf, 0, &its2, NULL); S(SYS_timerfd_gettime, tf, &its);

    int f = S(SYS_memfd_create, "probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    S(SYS_write, f, "0123456789", 10); S(SYS_lseek, f, 0, SEEK_SET); S(SYS_sendfile, fds[1], f, &off, 3); S(SYS_copy_file_range, f, &off, f, NULL, 0, 0);
    off = 1; S(SYS_splice, f, &off, fds[1], NULL, 2, 0); iov[0].iov_base = "zz"; iov[0].iov_len = 2; S(SYS_vmsplice, fds[1], iov, 1, 0);
    S(SYS_statx, AT_FDCWD, "/proc/self", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &sx);
    S(SYS_utime, "/nonexistent", &ub); S(SYS_utimes, "/nonexistent", tv2); S(SYS_utimensat, AT_FDCWD, "/nonexistent", two, 0);
    S(SYS_mknod, "/nonexistent/x", S_IFIFO | 0600, 0); S(SYS_mknodat, AT_FDCWD, "/nonexistent/x", S_IFCHR | 0600, 0x103);
    S(SYS_listxattr, "/nonexistent", buf, 100); S(SYS_mount, "none", "/nonexistent", "tmpfs", 2, "size=1m");
    S(SYS_fcntl, f, F_SETLK, &lock); S(SYS_fcntl, f, F_GETLK, &lock); S(SYS_fcntl, f, F_ADD_SEALS, 4); S(SYS_fcntl, f, F_GET_SEALS);
    S(SYS_fcntl, f, F_GETFD); S(SYS_fcntl, f, F_GETFL); S(SYS_fcntl, f, F_SETLEASE, F_RDLCK); S(SYS_fcntl, f, F_NOTIFY, 1);
    S(SYS_mmap, 0x10000000, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); S(SYS_mincore, 0x10000000, 8192, buf);

    S(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds); iov[0].iov_base = "mmm"; iov[0].iov_len = 3;
    mm[0].header.msg_iov = mm[1].header.msg_iov = iov; mm[0].header.msg_iovlen = mm[1].header.msg_iovlen = 1;
    S(SYS_sendmmsg, fds[0], mm, 2, 0); iov[0].iov_base = buf; iov[0].iov_len = 20; S(SYS_recvmmsg, fds[1], mm, 2, MSG_DONTWAIT, NULL);
    length = 12; S(SYS_getsockopt, fds[0], SOL_SOCKET, SO_PEERCRED, buf, &length); S(SYS_setsockopt, fds[0], SOL_SOCKET, SO_LINGER, "\1\0\0\0\2\0\0\0", 8);
    iov[0].iov_base = "mmm"; iov[0].iov_len = 3; S(SYS_process_vm_writev, 99999999, iov, 1, iov, 1, 0);

    S(SYS_prctl, PR_SET_PDEATHSIG, SIGTERM); S(SYS_prctl, PR_GET_PDEATHSIG, &n); S(SYS_prctl, PR_SET_DUMPABLE, 1); S(SYS_prctl, PR_GET_DUMPABLE);
    S(SYS_prctl, PR_CAPBSET_READ, 1); S(SYS_prctl, PR_GET_CHILD_SUBREAPER, &n); S(SYS_prctl, PR_SET_NAME, "probe"); S(SYS_prctl, PR_GET_NAME, buf);
    S(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program); S(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
    S(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &word); S(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, buf); S(SYS_get_robust_list, 0, buf, buf + 8);

    S(SYS_shmget, IPC_PRIVATE, 0, IPC_CREAT | 0600); S(SYS_semget, 0x7ec1de, 1, 0); S(SYS_msgget, 0x7ec1de, 0600);
    S(SYS_semop, -1, &sb, 1); S(SYS_msgsnd, -1, &letter, 2, IPC_NOWAIT);

    S(SYS_getpriority, 0, 0);
    return 0;
}
