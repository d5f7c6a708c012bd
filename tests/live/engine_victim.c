/* What the engines are tried with: argv[1] says what to do. A line for each thing seen; numbers of processes are never printed. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static char *self;

static void show(const char *what, long result) {
    printf("%s %ld %d\n", what, result < 0 ? -1 : result, result < 0 ? errno : 0);
    fflush(stdout);
}
static long group(long pid) { return syscall(SYS_getpgid, pid); }
static long slow(long pid) { return syscall(SYS_getsid, pid); }

static void verdicts(int count, char **which) {
    for (int i = 0; i < count; i++)
        show(which[i], group(atoi(which[i])));
}

/* threads: each makes many calls, and two of them calls that end only together */
static long bad;
static void *many(void *number) {
    for (int i = 0; i < 50; i++)
        if (group(12) != 1212 || slow(34) != 34)
            __sync_fetch_and_add(&bad, 1);
    long mine = (long)number;
    if (mine < 2 && slow(30 + mine) != 30 + mine)
        __sync_fetch_and_add(&bad, 1);
    return NULL;
}
static void threads(void) {
    pthread_t all[6];
    for (long i = 0; i < 6; i++)
        pthread_create(&all[i], NULL, many, (void *)i);
    for (int i = 0; i < 6; i++)
        pthread_join(all[i], NULL);
    printf("bad %ld\n", bad);
}

/* processes: made by fork, vfork and clone, and other programs in them */
static void tree(int depth) {
    if (group(12) != 1212)
        _exit(1);
    pid_t made = 0;
    if (depth > 0)
        made = fork();
    if (depth > 0 && made == 0) {
        tree(depth - 1);
        pid_t child = vfork();
        if (child == 0) {
            if (group(12) != 1212)
                _exit(2);
            execl(self, self, "leaf", NULL);
            _exit(3);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status != 0)
            _exit(4);
        _exit(0);
    }
    int status = 0;
    if (made && (waitpid(made, &status, 0) != made || status != 0))
        _exit(5);
}

/* exec by a thread that is not the first, while the first stands in a call */
static void *leave(void *unused) {
    slow(32); /* until the other is in its call */
    execl(self, self, "after", NULL);
    return unused;
}

/* another process's death or stop while it stands in a call */
static void held(int number) {
    int until[2];
    if (pipe(until))
        _exit(98);
    pid_t child = fork();
    if (child == 0) {
        char end;
        close(until[1]);
        show("held", slow(30));
        _exit(read(until[0], &end, 1) == 0 ? 7 : 8); /* not before it was seen to go on */
    }
    int status;
    slow(32);
    kill(child, number);
    if (number == SIGKILL) {
        waitpid(child, &status, 0);
        printf("killed %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
        fflush(stdout);
        show("free", slow(31));
        return;
    }
    show("free", slow(31));
    waitpid(child, &status, WUNTRACED);
    printf("stopped %d\n", WIFSTOPPED(status) ? WSTOPSIG(status) : -1);
    fflush(stdout);
    kill(child, SIGCONT);
    waitpid(child, &status, WCONTINUED);
    printf("continued %d\n", WIFCONTINUED(status));
    fflush(stdout);
    close(until[1]);
    waitpid(child, &status, 0);
    printf("ended %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

/* signals arrive as they were sent */
static volatile sig_atomic_t ticks;
static void told(int number, siginfo_t *info, void *unused) {
    (void)unused;
    printf("signal %d code %d value %d own %d\n", number, info->si_code, info->si_value.sival_int, info->si_pid == getpid());
}
static void tick(int number) { ticks += number == SIGALRM; }
static void signals(void) {
    struct sigaction action = {.sa_sigaction = told, .sa_flags = SA_SIGINFO | SA_RESTART};
    int numbers[] = {SIGUSR1, SIGTRAP, SIGRTMIN + 3, SIGCHLD, SIGSYS};
    for (int i = 0; i < 5; i++) {
        sigaction(numbers[i], &action, NULL);
        sigqueue(getpid(), numbers[i], (union sigval){.sival_int = 40 + i});
    }
    fflush(stdout);
    struct sigaction often = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &often, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 1000}, {0, 1000}}, NULL);
    long wrong = 0;
    for (int i = 1; i <= 60; i++)
        wrong += slow(33) != i; /* the handler counts what it did */
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    printf("wrong %ld ticks %d\n", wrong, ticks > 0);
}

/* a filter of its own that answers TRACE, with data of its choice */
static void own(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_times, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 7),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    show("filter", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    show("times", syscall(SYS_times, NULL));
    show("12", group(12));
    show("11", group(11));
}

#if defined(__x86_64__)
/* an i386 call from 64-bit code */
static long old(long nr, long first) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(first) : "memory", "r8", "r9", "r10", "r11");
    return result;
}
#endif

/* many processes at once, each with threads, and each making its calls; some leave by exec, some are killed in a call */
static void *calls(void *count) {
    for (long i = 0; i < (long)count; i++)
        if (group(12) != 1212 || slow(34) != 34 || group(11) != -1 || errno != EACCES)
            __sync_fetch_and_add(&bad, 1);
    return NULL;
}
static void crowd(int processes, long count) {
    long all = 0;
    slow(35);
    for (int i = 0; i < processes; i++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t other;
            pthread_create(&other, NULL, calls, (void *)count);
            calls((void *)count);
            if (i % 4 == 0) /* the other thread may stand in a call */
                execl(self, self, "leaf", NULL);
            pthread_join(other, NULL);
            _exit(bad != 0);
        }
        if (i % 8 == 7) {
            pid_t victim = fork();
            if (victim == 0)
                for (;;)
                    slow(34);
            kill(victim, SIGKILL);
        }
    }
    int status, killed = 0;
    while (wait(&status) > 0)
        if (WIFSIGNALED(status))
            killed += WTERMSIG(status) == SIGKILL;
        else
            all += WEXITSTATUS(status) != 0;
    slow(35);
    printf("wrong %ld killed %d\n", all, killed);
}

/* a process that the kernel lets no tracer follow */
static void apart(unsigned long flags) {
    int status;
    pid_t child = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, 0);
    if (child < 0) {
        printf("not made %d\n", errno);
        return;
    }
    if (child == 0) {
        show("11", group(11));
        show("12", group(12));
        show("34", slow(34));
        _exit(0);
    }
    waitpid(child, &status, 0);
    show("12", group(12));
}

static void place(size_t size) {
    char there[64];
    memset(there, 'x', sizeof there);
    long result = syscall(SYS_getcwd, there, size);
    show("getcwd", result);
    there[sizeof there - 1] = 0;
    puts(there);
    show("nowhere", syscall(SYS_getcwd, (void *)8, size));
}

int main(int argc, char **argv) {
    self = argv[0];
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "verdicts"))
        verdicts(argc - 2, argv + 2);
    else if (!strcmp(what, "slow"))
        show(argv[2], slow(atoi(argv[2])));
    else if (!strcmp(what, "threads"))
        threads();
    else if (!strcmp(what, "tree")) {
        tree(4);
        puts("tree");
    } else if (!strcmp(what, "leaf"))
        return group(12) != 1212;
    else if (!strcmp(what, "leave")) {
        pthread_t other;
        pthread_create(&other, NULL, leave, NULL);
        slow(30);
        puts("not reached");
    } else if (!strcmp(what, "after")) {
        show("free", slow(31));
        show("12", group(12));
        show("34", slow(34));
    } else if (!strcmp(what, "kill"))
        held(SIGKILL);
    else if (!strcmp(what, "stop"))
        held(SIGSTOP);
    else if (!strcmp(what, "signals"))
        signals();
    else if (!strcmp(what, "own"))
        own();
    else if (!strcmp(what, "crowd"))
        crowd(atoi(argv[2]), atol(argv[3]));
    else if (!strcmp(what, "apart"))
        apart(strtoul(argv[2], NULL, 0));
    else if (!strcmp(what, "place"))
        place(atoi(argv[2]));
#if defined(__x86_64__)
    else if (!strcmp(what, "int80"))
        for (int i = 2; i < argc; i++)
            printf("%s %ld\n", argv[i], old(132, atoi(argv[i])));
#endif
    else if (!strcmp(what, "mark")) {
        show("ready", 0);
        if (fork()) { /* the first process dies with its parent in any case: another one is what can be left */
            wait(NULL);
            return 0;
        }
        setsid();
        show(argv[3], syscall(SYS_mkdir, argv[3], strtol(argv[2], NULL, 0)));
    } else
        return 99;
    return 0;
}
