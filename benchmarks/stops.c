/* Both sides of a call that stops for a tracer, in C: what benchmarks/stops.py is compared with.
 *   stops target FD CPU CALLS         under a filter that answers getppid with TRACE; prints nanoseconds a call. FD: a pipe, and an
 *                                     end of file means go
 *   stops plain CPU CALLS             the same calls, under whatever filter there is
 *   stops tracer CPU CPU CALLS        forks a target, and lets each call go on after a look at its registers: waitid, GETREGS, CONT
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <elf.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void on_cpu(int cpu) {
    cpu_set_t set;
    if (cpu < 0) return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set)) { perror("sched_setaffinity"); exit(1); }
}

static int calls(long count) {
    struct timespec from, to;
    long parent = getppid();
    for (long i = 0; i < count / 10; i++) syscall(SYS_getppid);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (long i = 0; i < count; i++)
        if (syscall(SYS_getppid) != parent) { fprintf(stderr, "another parent\n"); return 1; }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.1f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / count);
    return 0;
}

static int target(int channel, long count) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    char byte;
    if (read(channel, &byte, 1) != 0) return 1;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) { perror("seccomp"); return 1; }
    return calls(count);
}

static int tracer(int cpu, long count) {
    int go[2], status;
    struct user_regs_struct registers;
    struct iovec vector = {&registers, sizeof registers};
    unsigned long seen = 0;
    if (pipe(go)) return 1;
    pid_t child = fork();
    if (child == 0) {
        close(go[1]);
        on_cpu(cpu);
        exit(target(go[0], count));
    }
    if (ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL)) { perror("seize"); return 1; }
    close(go[0]), close(go[1]);
    for (;;) {
        pid_t who = waitpid(-1, &status, __WALL);
        if (who < 0) return 1;
        if (!WIFSTOPPED(status)) return !WIFEXITED(status) || WEXITSTATUS(status) || seen == 0;
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)) {
            vector.iov_len = sizeof registers;
            if (ptrace(PTRACE_GETREGSET, who, NT_PRSTATUS, &vector)) return 1;
            seen++;
            ptrace(PTRACE_CONT, who, 0, 0);
        } else
            ptrace(PTRACE_CONT, who, 0, status >> 16 ? 0 : WSTOPSIG(status));
    }
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "target")) {
        on_cpu(atoi(argv[3]));
        return target(atoi(argv[2]), atol(argv[4]));
    }
    if (argc == 4 && !strcmp(argv[1], "plain")) {
        on_cpu(atoi(argv[2]));
        return calls(atol(argv[3]));
    }
    if (argc == 5 && !strcmp(argv[1], "tracer")) {
        on_cpu(atoi(argv[3]));
        return tracer(atoi(argv[2]), atol(argv[4]));
    }
    return 2;
}
