/* An actor that does what it is told over a pipe, with no system call of its own but read, write and those it is told to make.
 * Threads and forks of it are actors of their own, each with a pair of pipes that was there from the beginning. x86-64. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CALL, INT80, ACTION, MASK, THREAD, FORK, DISPATCH };
struct command { uint32_t op, selector; int64_t nr; uint64_t a[6]; uint32_t pointers, size; };
struct seen { int32_t signo, code, error, nr; uint32_t arch, count; };
struct reply { int64_t value; struct seen seen; unsigned char arena[256]; };
#define ARENA 65536

static __thread struct seen seen;
/* what becomes of calls under user dispatch: let through but for the one that is told */
static __thread volatile unsigned char selector;

__attribute__((noinline, noclone)) static long raw(long n, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return r;
}

static long raw80(long n, long a, long b, long c) {
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c) : "r8", "r9", "r10", "r11", "memory");
    return r;
}

static void handler(int signo, siginfo_t *info, void *context) {
    (void)context;
    selector = 0;
    seen.count++;
    seen.signo = signo;
    seen.code = info->si_code;
    seen.error = info->si_errno;
    seen.nr = signo == SIGSYS ? info->si_syscall : 0;
    seen.arch = signo == SIGSYS ? info->si_arch : 0;
}

static int get(int fd, void *buffer, size_t size) {
    for (size_t at = 0; at < size;) {
        long n = raw(SYS_read, fd, (long)buffer + at, size - at, 0, 0, 0);
        if (n == -4) continue;
        if (n <= 0) return -1;
        at += n;
    }
    return 0;
}

static void *serve(void *which);

static long action(int signo, long how) {
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_flags = SA_SIGINFO | (how == 3 ? SA_RESTART : 0);
    if (how == 0) act.sa_handler = SIG_DFL;
    else if (how == 1) act.sa_handler = SIG_IGN;
    else act.sa_sigaction = handler;
    return sigaction(signo, &act, 0);
}

static long obey(struct command *c, unsigned char *arena) {
    pthread_t thread;
    sigset_t set;
    for (int i = 0; i < 6; i++)
        if (c->pointers >> i & 1) c->a[i] += (uint64_t)(uintptr_t)arena;
    /* struct sock_fprog in the arena: its pointer is relative as well */
    if (c->pointers & 256) *(uint64_t *)(arena + 8) += (uint64_t)(uintptr_t)arena;
    switch (c->op) {
    case CALL: {
        selector = (unsigned char)c->selector;
        long value = raw(c->nr, c->a[0], c->a[1], c->a[2], c->a[3], c->a[4], c->a[5]);
        selector = 0;
        return value;
    }
    /* mode, whether the range begins at raw, its length, the selector: none, ours, one that cannot be read */
    case DISPATCH: return raw(SYS_prctl, 59, c->a[0], c->a[1] == 1 ? (long)raw : (long)c->a[1], c->a[2], c->a[3] == 1 ? (long)&selector : c->a[3] ? -4096 : 0, 0);
    case INT80: return raw80(c->nr, c->a[0], c->a[1], c->a[2]);
    case ACTION: return action(c->a[0], c->a[1]);
    case MASK:
        sigemptyset(&set);
        sigaddset(&set, c->a[0]);
        return pthread_sigmask(c->a[1] ? SIG_BLOCK : SIG_UNBLOCK, &set, 0);
    case THREAD: return -pthread_create(&thread, 0, serve, (void *)c->a[0]);
    case FORK: {
        /* 1: vfork(2), without sharing memory: what is to be seen of it is when its maker goes on; 2: into a pid namespace of its own */
        long flags = c->a[1] == 1 ? 0x4000 : 0x20000000;
        long child = c->a[1] ? raw(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0, 0) : raw(SYS_fork, 0, 0, 0, 0, 0, 0);
        if (child == 0) { serve((void *)c->a[0]); raw(SYS_exit_group, 0, 0, 0, 0, 0, 0); }
        return child;
    }
    }
    return -38;
}

static void *serve(void *which) {
    static __thread unsigned char arena[ARENA] __attribute__((aligned(16)));
    static __thread struct command c;
    static __thread struct reply reply;
    int in = 100 + 2 * (long)which, out = in + 1;
    /* who I am, before anything else: an actor that nobody told anything yet can be looked at */
    memset(&reply, 0, sizeof reply);
    reply.value = raw(SYS_gettid, 0, 0, 0, 0, 0, 0);
    raw(SYS_write, out, (long)&reply, sizeof reply, 0, 0, 0);
    while (get(in, &c, sizeof c) == 0 && get(in, arena, c.size) == 0) {
        memset(&seen, 0, sizeof seen);
        reply.value = obey(&c, arena);
        reply.seen = seen;
        memcpy(reply.arena, arena, sizeof reply.arena);
        raw(SYS_write, out, (long)&reply, sizeof reply, 0, 0, 0);
    }
    return 0;
}

int main(void) {
    serve((void *)0);
    return 0;
}
