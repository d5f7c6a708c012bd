/* A process whose threads do what they are told: each reads commands from a socket of its own, makes one system call, and says what came of it.
 *
 * The sockets have numbers from 900 on, so that what the kernel hands out from below is what a program without them would get.
 * Between two commands a thread calls nothing but read and write (and recvmsg where a descriptor comes along). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SYSCALL = 1, INT80, SECCOMP, PRCTL, IOCTL, FORK, THREAD, EXIT, EXIT_GROUP, SIGACTION, SIGMASK, HANDLED, RECVFD, POLL, WAIT, DISPATCH };
enum { FIRST = 900, ROOM = 40000, MOST = 64 };

struct command { uint32_t op, size; uint64_t a[7]; unsigned char payload[ROOM]; };
struct reply { int64_t result; unsigned char payload[512]; };
struct seen { int32_t signo, code, error, syscall; uint32_t arch, pad; };

static __thread struct seen handled[MOST];
static __thread volatile int handlings;
/* what user dispatch makes of a call: lets it through, but for the one that is told otherwise */
static __thread volatile unsigned char selector;
static int sockets = FIRST;

static long raw(long n, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long out;
    __asm__ volatile("syscall" : "=a"(out) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return out;
}

static long old(long n, long a, long b, long c) {
    long out;
    __asm__ volatile("int $0x80" : "=a"(out) : "a"(n), "b"(a), "c"(b), "d"(c) : "r8", "r9", "r10", "r11", "memory");
    return (int)out;
}

static void handler(int signo, siginfo_t *info, void *context) {
    (void)context;
    selector = 0;
    if (handlings < MOST) {
        struct seen *one = &handled[handlings];
        one->signo = signo;
        one->code = info->si_code;
        one->error = info->si_errno;
        one->syscall = signo == SIGSYS ? info->si_syscall : 0;
        one->arch = signo == SIGSYS ? info->si_arch : 0;
        handlings++;
    }
}

static long action(int signo, int how) {
    struct sigaction act;
    memset(&act, 0, sizeof act);
    if (how >= 2) {
        act.sa_sigaction = handler;
        act.sa_flags = SA_SIGINFO | (how == 3 ? SA_RESTART : 0);
    } else
        act.sa_handler = how == 1 ? SIG_IGN : SIG_DFL;
    return sigaction(signo, &act, NULL) ? -errno : 0;
}

static int descriptor(int from, int cloexec) {
    char byte, room[CMSG_SPACE(sizeof(int))];
    struct iovec one = {&byte, 1};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    while (recvmsg(from, &message, cloexec ? MSG_CMSG_CLOEXEC : 0) < 0)
        if (errno != EINTR) return -errno;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL) return -EMFILE; /* no room in the table: the kernel dropped it */
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

/* To a number beyond what the limit may allow. */
static void move(int fd, int to) {
    struct rlimit before, room;
    getrlimit(RLIMIT_NOFILE, &before);
    room = before;
    room.rlim_cur = room.rlim_max;
    setrlimit(RLIMIT_NOFILE, &room);
    dup3(fd, to, O_CLOEXEC);
    setrlimit(RLIMIT_NOFILE, &before);
    close(fd);
}

/* A socket of ours, moved out of the way of the numbers that are compared. */
static int take(int from) {
    int fd = descriptor(from, 0), high = __sync_fetch_and_add(&sockets, 1);
    move(fd, high);
    return high;
}

static void *serve(void *given);

static long load(long op, long flags, struct command *in, struct reply *out, int by_prctl, long option) {
    struct sock_fprog program = {.len = (unsigned short)(in->size / 8), .filter = (struct sock_filter *)in->payload};
    void *pointer = &program;
    switch (in->a[2]) {
    case 0: pointer = NULL; break;
    case 2: pointer = (void *)8; break;
    case 3: program.filter = NULL; program.len = in->a[3]; break;
    case 4: program.filter = (struct sock_filter *)8; program.len = in->a[3]; break;
    case 5: pointer = in->payload; break;
    case 6: pointer = out->payload; break;
    }
    return by_prctl ? raw(SYS_prctl, option, op, (long)pointer, 0, 0, 0) : raw(SYS_seccomp, op, flags, (long)pointer, 0, 0, 0);
}

static void *serve(void *given) {
    int channel = (int)(long)given, status;
    struct command *in = malloc(sizeof *in);
    struct reply out;
    unsigned char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    handlings = 0;
    memset(&out, 0, sizeof out);
    out.result = raw(SYS_gettid, 0, 0, 0, 0, 0, 0);
    for (;;) {
        while (write(channel, &out, sizeof out) < 0)
            if (errno != EINTR) raw(SYS_exit_group, 99, 0, 0, 0, 0, 0);
        long got;
        while ((got = read(channel, in, sizeof *in)) < 0)
            if (errno != EINTR) break;
        if (got <= 0) raw(SYS_exit_group, 98, 0, 0, 0, 0, 0);
        memset(&out, 0, sizeof out);
        uint64_t *a = in->a;
        switch (in->op) {
        case SYSCALL:
            selector = in->size ? in->payload[0] : 0;
            out.result = raw(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
            selector = 0;
            break;
        case DISPATCH: out.result = raw(SYS_prctl, 59, a[0], a[1], a[2], a[3] ? (long)&selector : 0, 0); break;
        case INT80: out.result = old(a[0], a[1], a[2], a[3]); break;
        case SECCOMP: out.result = load(a[0], a[1], in, &out, 0, 0); break;
        case PRCTL: out.result = in->size ? load(a[1], 0, in, &out, 1, a[0]) : raw(SYS_prctl, a[0], a[1], a[2], a[3], a[4], 0); break;
        case IOCTL: {
            long pointer = a[2] == 0 ? (long)out.payload : a[2] == 1 ? (long)a[3] : a[2] == 2 ? 8 : (long)page;
            memcpy(out.payload, in->payload, in->size < sizeof out.payload ? in->size : sizeof out.payload);
            out.result = raw(SYS_ioctl, a[0], a[1], pointer, 0, 0, 0);
            break;
        }
        case FORK: {
            int fresh = take(channel);
            long pid = raw(SYS_fork, 0, 0, 0, 0, 0, 0);
            if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, 0);
                for (int fd = FIRST; fd < sockets; fd++)
                    if (fd != fresh) close(fd);
                move(fresh, FIRST);
                sockets = FIRST + 1;
                serve((void *)(long)FIRST);
            }
            close(fresh);
            out.result = pid;
            break;
        }
        case THREAD: {
            pthread_t thread;
            int fresh = take(channel);
            out.result = -pthread_create(&thread, NULL, serve, (void *)(long)fresh);
            break;
        }
        case EXIT: raw(SYS_exit, a[0], 0, 0, 0, 0, 0); break;
        case EXIT_GROUP: raw(SYS_exit_group, a[0], 0, 0, 0, 0, 0); break;
        case SIGACTION: out.result = action(a[0], a[1]); break;
        case SIGMASK: {
            uint64_t set = 1ull << (a[0] - 1);
            out.result = raw(SYS_rt_sigprocmask, a[1] ? SIG_BLOCK : SIG_UNBLOCK, (long)&set, 0, 8, 0, 0);
            break;
        }
        case HANDLED:
            out.result = handlings;
            memcpy(out.payload, handled, handlings * sizeof *handled < sizeof out.payload ? handlings * sizeof *handled : sizeof out.payload);
            handlings = 0;
            break;
        case RECVFD: out.result = descriptor(channel, 1); break;
        case POLL: {
            struct pollfd one = {.fd = (int)a[0], .events = POLLIN | POLLOUT};
            struct timespec none = {0, 0};
            out.result = raw(SYS_ppoll, (long)&one, 1, (long)&none, 0, 0, 0);
            memcpy(out.payload, &one.revents, sizeof one.revents);
            break;
        }
        case WAIT:
            status = 0;
            out.result = raw(SYS_wait4, -1, (long)&status, WNOHANG | __WALL, 0, 0, 0);
            memcpy(out.payload, &status, sizeof status);
            break;
        }
    }
    return NULL;
}

int main(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    raw(SYS_close_range, 4, ~0u, 0, 0, 0, 0); /* whatever came along from whoever runs the tests */
    move(3, FIRST);
    sockets = FIRST + 1;
    serve((void *)(long)FIRST);
}
