#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char block[1 << 16];
static volatile unsigned long sink;

static void answer(void) { if (write(1, "42\n", 3) != 3) _exit(9); }
static void *spin(void *_) { for (;;) sink++; return _; }
static void *leave(void *_) { answer(); syscall(SYS_exit_group, 0); return _; }
static void *later(void *_) { usleep(1000); answer(); return _; }
static int deep(int n) { volatile char room[4096]; room[0] = (char)n; return deep(n + 1) + room[0]; }
static void handler(int number) { (void)number; }

int main(int argc, char **argv)
{
    const char *what = argv[1];
    pthread_t thread;
    (void)argc;
#define IS(name) if (!strcmp(what, name))
    IS("right") { answer(); return 0; }
    IS("wrong") { puts("41"); return 0; }
    IS("bomb") for (;;) fork();
    IS("memory") for (;;) { char *p = malloc(1 << 20); if (!p) abort(); memset(p, 1, 1 << 20); }
    IS("shared-memory") {
        int f = memfd_create("x", 0);
        for (;;) if (write(f, block, sizeof block) < 0) return 5;
    }
    IS("one-huge-block") { if (!malloc(1L << 46)) return 3; return 4; }
    IS("flood") for (;;) if (write(1, block, sizeof block) < 0) return 5;
    IS("flood-stderr") for (;;) if (write(2, block, sizeof block) < 0) return 5;
    IS("file") {
        int f = open("big", O_WRONLY | O_CREAT, 0600);
        if (f < 0) return 6;
        for (;;) if (write(f, block, sizeof block) < 0) return 5;
    }
    IS("sleep") { sleep(1000); return 0; }
    IS("spin") spin(NULL);
    IS("spin-threads") { for (int i = 0; i < 3; i++) pthread_create(&thread, NULL, spin, NULL); spin(NULL); }
    IS("spin-ignoring-SIGXCPU") { signal(SIGXCPU, handler); spin(NULL); }
    IS("answer-then-spin") { answer(); spin(NULL); }
    IS("answer-then-sleep") { answer(); sleep(1000); }
    IS("close-everything") { for (int i = 0; i < 4096; i++) close(i); return 0; }
    IS("kill-group") { kill(0, SIGKILL); answer(); return 0; }
    IS("kill-all") { kill(-1, SIGKILL); answer(); return 0; }
    IS("kill-judge") { kill(getppid(), SIGKILL); answer(); return 0; }
    IS("tgkill-judge") { syscall(SYS_tgkill, getppid(), getppid(), SIGKILL); answer(); return 0; }
    IS("stop-itself") { raise(SIGSTOP); return 0; }
    IS("ptrace") { ptrace(PTRACE_ATTACH, getppid(), 0, 0); answer(); return 0; }
    IS("read-expected") {
        int f = open(argv[2] + 1, O_RDONLY);
        ssize_t n = f < 0 ? -1 : read(f, block, sizeof block);
        if (n < 0) return 7;
        return write(1, block, (size_t)n) != n;
    }
    IS("descriptors") { for (int i = 3; i < 4096; i++) if (fcntl(i, F_GETFD) >= 0) return 8; answer(); return 0; }
    IS("change-input") {
        int f = open("/proc/self/fd/0", O_RDWR);
        if (f >= 0 && (pwrite(f, "other", 5, 0) > 0 || !ftruncate(f, 0))) return 8;
        answer();
        return 0;
    }
    IS("map-input") {
        struct stat s;
        if (fstat(0, &s) || s.st_size != 5) return 8;
        char *p = mmap(NULL, 5, PROT_READ, MAP_PRIVATE, 0, 0);
        if (p == MAP_FAILED || memcmp(p, "given", 5)) return 7;
        answer();
        return 0;
    }
    IS("escapes") { fputs("\033[2J\033]0;owned\007\n", stdout); return 0; }
    IS("exit-from-thread") { pthread_create(&thread, NULL, leave, NULL); pause(); }
    IS("main-thread-first") { pthread_create(&thread, NULL, later, NULL); pthread_exit(NULL); }
    IS("exec-itself") { execl("/proc/self/exe", argv[0], what, NULL); return 11; }
    IS("daemon") { if (!fork()) { setsid(); if (fork()) _exit(0); close(0); close(1); close(2); sleep(1000); } answer(); return 0; }
    IS("daemon-keeps-pipe") { if (!fork()) { setsid(); sleep(1000); } answer(); return 0; }
    IS("no-newline") { return write(1, "42", 2) != 2; }
    IS("binary") { return write(1, "\0\377\200\n", 4) != 4; }
    IS("segv") { *(volatile int *)8 = 1; }
    IS("abort") abort();
    IS("status") return 200;
    IS("stack") return deep(0);
    IS("fake-SIGSYS") { raise(SIGSYS); }
    IS("fake-SIGXCPU") { raise(SIGXCPU); }
    IS("fake-SIGKILL") { syscall(SYS_tgkill, getpid(), gettid(), SIGKILL); }
    IS("lower-limits") { struct rlimit r = {1, 1}; setrlimit(RLIMIT_CPU, &r); setrlimit(RLIMIT_FSIZE, &r); answer(); return 0; }
    IS("network") { return syscall(SYS_socket, 2, 1, 0) < 0 ? 12 : 13; }
    IS("nothing-but-dots") { for (int i = 0; i < 1000; i++) if (write(1, ".", 1) != 1) return 5; return 0; }
    return 99;
}
