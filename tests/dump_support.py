"""A C program that installs filters in every way that ``seclude dump`` has to see; its first argument says which."""

from __future__ import annotations

import json
import sys
from typing import Any

from run_support import c_program
from support import Finished, seclude

__all__ = ["ALLOW", "dump", "victim"]

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
static struct sock_fprog all = {1, allow};

/* answers call NR with VALUE, and allows everything else */
static struct sock_filter one[4];
static struct sock_fprog *answer(unsigned nr, unsigned value)
{
    static struct sock_fprog program = {4, one};
    one[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    one[1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1);
    one[2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, value);
    one[3] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    return &program;
}
static int load(unsigned flags, struct sock_fprog *program) { return syscall(__NR_seccomp, 1, flags, program); }
static int load_old(struct sock_fprog *program) { return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program); }
static void *loads(void *value) { load(0, answer(__NR_getppid, SECCOMP_RET_ERRNO | (unsigned)(long)value)); return 0; }
static void *pauses(void *value) { (void)value; for (;;) pause(); return 0; }
static void *executes(void *path) { load(0, answer(__NR_getppid, SECCOMP_RET_ERRNO | 7)); execl(path, path, "two", NULL); return 0; }
static volatile sig_atomic_t caught;
static void count(int number) { (void)number; caught++; }
static void ready(void) { write(1, "r", 1); }

int main(int argc, char **argv)
{
    const char *what = argv[1];
    (void)argc;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!strcmp(what, "both")) {
        int a = load_old(&all), b = load(SECCOMP_FILTER_FLAG_LOG, answer(__NR_getppid, SECCOMP_RET_ERRNO | 1));
        long answered = syscall(__NR_getppid);
        printf("%d %d %ld %d\n", a, b, answered, errno);
        return 3;
    }
    if (!strcmp(what, "two"))
        return load(0, &all) == 0 ? 0 : 1;
    if (!strcmp(what, "fork")) {
        load(0, &all);
        if (fork() == 0) { load(0, answer(__NR_getppid, SECCOMP_RET_ERRNO | 2)); _exit(0); }
        wait(NULL);
        if (vfork() == 0) { execl(argv[0], argv[0], "two", NULL); _exit(1); }
        wait(NULL);
        return 0;
    }
    if (!strcmp(what, "threads")) {
        pthread_t thread;
        for (long i = 1; i < 4; i++) { pthread_create(&thread, NULL, loads, (void *)i); pthread_join(thread, NULL); }
        pthread_create(&thread, NULL, pauses, NULL);
        return load(SECCOMP_FILTER_FLAG_TSYNC, &all);
    }
    if (!strcmp(what, "exec")) {
        pthread_t thread;
        pthread_create(&thread, NULL, executes, argv[0]);
        for (;;) pause();
    }
    if (!strcmp(what, "strict")) {
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        write(1, "strict\n", 7);
        syscall(__NR_getpid);
    }
    if (!strcmp(what, "trap")) {
        signal(SIGSYS, count);
        load(0, answer(__NR_getppid, SECCOMP_RET_TRAP | 5));
        syscall(__NR_getppid); syscall(__NR_getppid);
        printf("%d traps\n", (int)caught);
        return 0;
    }
    if (!strcmp(what, "killed")) {
        load(0, answer(__NR_getppid, SECCOMP_RET_KILL_PROCESS));
        syscall(__NR_getppid);
    }
    if (!strcmp(what, "crash")) {
        load(0, &all);
        *(volatile int *)8 = 1;
    }
    if (!strcmp(what, "signals")) {
        struct sigaction action = {.sa_handler = count};
        sigaction(SIGUSR1, &action, NULL); sigaction(SIGTRAP, &action, NULL); sigaction(SIGCONT, &action, NULL);
        for (int i = 0; i < 20; i++) { raise(SIGUSR1); raise(SIGTRAP); }
        pid_t parent = getpid(), child = fork();
        if (child == 0) { /* wakes the parent, which stops itself, once it is stopped */
            char path[64], line[512];
            for (;;) {
                snprintf(path, sizeof path, "/proc/%d/stat", parent);
                FILE *file = fopen(path, "r");
                if (!file || !fgets(line, sizeof line, file)) _exit(1);
                fclose(file);
                if (strstr(line, ") T") || strstr(line, ") t")) { kill(parent, SIGCONT); if (caught) _exit(0); usleep(1000); }
                else { struct timespec t = {0, 1000000}; nanosleep(&t, NULL); if (getppid() != parent) _exit(0); }
            }
        }
        raise(SIGSTOP);
        kill(child, SIGKILL); waitpid(child, NULL, 0);
        load(0, &all);
        printf("%s\n", caught >= 41 ? "all delivered" : "missing");
        return 0;
    }
    if (!strcmp(what, "for ever")) { load(0, &all); if (fork() == 0) for (;;) pause(); ready(); for (;;) pause(); }
    if (!strcmp(what, "busy")) { fork(); for (;;) syscall(__NR_getppid); }
    if (!strcmp(what, "many")) { for (int i = 0; i < 9; i++) load(0, &all); return 0; }
    if (!strcmp(what, "bad")) {
        struct sock_fprog none = {0, allow}, long_one = {5000, allow}, outside = {3, (void *)64};
        struct sock_filter wrong[] = {{0x15, 9, 9, 0}};
        struct sock_fprog invalid = {1, wrong};
        load(0, (void *)16); load(0, &none); load(0, &long_one); load(0, &outside); load(64, &all); load_old(&invalid);
        return 0;
    }
    if (!strcmp(what, "probes")) {
        load(SECCOMP_FILTER_FLAG_TSYNC, NULL); load(1 << 20, NULL);
        for (int i = 0; i < 2; i++) { if (fork() == 0) return load(0, &all); wait(NULL); }
        return 0;
    }
    if (!strcmp(what, "refused")) {
        load(0, answer(__NR_seccomp, SECCOMP_RET_ERRNO | EPERM));
        load(0, &all);
        load_old(answer(__NR_prctl, SECCOMP_RET_KILL_PROCESS));
        load_old(&all);
    }
    if (!strcmp(what, "hidden")) { prctl(PR_SET_DUMPABLE, 0); return load(0, &all); }
#ifdef __x86_64__
    if (!strcmp(what, "int80")) { /* an i386 call from 64-bit code: a 32-bit struct sock_fprog, below 4 GiB */
        char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        memcpy(low + 64, allow, sizeof allow);
        *(unsigned short *)low = 1; *(unsigned *)(low + 4) = (unsigned)(unsigned long)(low + 64);
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(354), "b"(1), "c"(0), "d"(low) : "memory", "r8", "r9", "r10", "r11");
        printf("%ld\n", result);
        return 0;
    }
#endif
    if (!strcmp(what, "live")) { /* two threads under different filters, one without */
        pthread_t thread;
        pthread_create(&thread, NULL, pauses, NULL);
        load(SECCOMP_FILTER_FLAG_LOG, &all);
        pthread_create(&thread, NULL, pauses, NULL);
        load(0, answer(__NR_getppid, SECCOMP_RET_ERRNO | 1));
        ready();
        for (;;) pause();
    }
    if (!strcmp(what, "live strict")) { ready(); prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); char c; while (read(0, &c, 1) >= 0) {} }
    if (!strcmp(what, "growing")) { /* ever more filters, the Nth answering N */
        for (unsigned i = 1; i < 3000; i++) { load(0, answer(__NR_getppid, SECCOMP_RET_ERRNO | i)); if (i == 3) ready(); }
        for (;;) pause();
    }
    if (!strcmp(what, "plain")) { ready(); for (;;) pause(); }
    return 99;
}
"""

#: the instructions of its simplest filter, in hexadecimal
ALLOW = "06000000" + "0000ff7f"


def victim(*options: str) -> str:
    """The program, compiled; ``-m32`` makes it a 32-bit one."""
    return c_program(SOURCE, "-pthread", *options)


def dump(*words: str, nobody: bool = False, **more: Any) -> tuple[Finished, dict[str, Any]]:
    """``seclude dump --json WORDS``: the finished process, and what it printed as data ({} where it printed nothing)."""
    assert sys.byteorder == "little"
    done = seclude("dump", "--json", *words, nobody=nobody, **more)
    return done, json.loads(done.stdout) if done.stdout.startswith("{") else {}
